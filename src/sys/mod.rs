//! The lowest layer: what needs `unsafe`, behind types that do not.
//!
//! Locks ([`sync`]), reading without them ([`epoch`]), threads ([`thread`], [`helpers`], [`event`]), borrowed functions
//! for other threads ([`loan`]), the table's memory ([`memory`], [`block`], [`slot`]), buffers for the disk
//! ([`aligned`]), and what a library must know about the process that it is a guest in ([`fork`], [`signal`], [`panic`],
//! [`valgrind`]). Files are in [`vfs::os`](crate::vfs::os).
//!
//! Built with `--cfg kvwal_shuttle`, locks, threads and the clock are those of `scheduled`, for tests in which a seed
//! decides the schedule.
#![allow(unsafe_code)]

pub mod aligned;
pub mod block;
pub mod epoch;
pub mod fork;
pub mod helpers;
pub mod loan;
pub mod membarrier;
pub mod memory;
pub mod panic;
pub mod prefetch;
pub mod signal;
pub mod slot;
pub mod valgrind;

#[cfg(not(kvwal_shuttle))]
pub mod event;
#[cfg(not(kvwal_shuttle))]
pub mod sync;
#[cfg(not(kvwal_shuttle))]
pub mod thread;
#[cfg(not(kvwal_shuttle))]
pub mod clock {
    //! Time for those who wait; what is only reported is measured anyhow.
    pub use std::time::Instant;
}

#[cfg(kvwal_shuttle)]
pub mod scheduled;
#[cfg(kvwal_shuttle)]
pub use scheduled::{clock, event, sync, thread};
