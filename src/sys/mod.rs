//! The lowest layer: what needs `unsafe`, behind types that do not.
//!
//! Locks ([`sync`]), reading without them ([`epoch`]), threads ([`thread`], [`event`]), the table's memory ([`memory`],
//! [`block`], [`slot`]), buffers for the disk ([`aligned`]), and what a library must know about the process that it is a
//! guest in ([`fork`], [`signal`], [`panic`], [`valgrind`]). Files are in [`vfs::os`](crate::vfs::os).
#![allow(unsafe_code)]

pub mod aligned;
pub mod block;
pub mod epoch;
pub mod event;
pub mod fork;
pub mod membarrier;
pub mod memory;
pub mod panic;
pub mod prefetch;
pub mod signal;
pub mod slot;
pub mod sync;
pub mod thread;
pub mod valgrind;
