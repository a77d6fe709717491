//! The lowest layer: what needs `unsafe`, behind types that do not.
//!
//! Locks ([`sync`]), threads ([`thread`], [`event`]), memory blocks ([`block`]), and what a library must know about the
//! process that it is a guest in ([`fork`], [`signal`], [`panic`], [`valgrind`]). Files are in
//! [`vfs::os`](crate::vfs::os).
#![allow(unsafe_code)]

pub mod block;
pub mod event;
pub mod fork;
pub mod panic;
pub mod signal;
pub mod sync;
pub mod thread;
#[allow(dead_code)]
pub mod valgrind;
