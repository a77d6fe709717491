//! Locks, threads, bells and the clock of the crate `shuttle`, for tests: built with `--cfg kvwal_shuttle`, everything
//! that threads of the library do to each other goes through here, and a seed decides what happens when.
//!
//! Nothing but the schedule may decide: not the time, not how many processors there are, not where a thread's memory is.
//! All tasks of a run take turns on one thread of the system, so what tells threads apart must ask [`thread::pointer`].
//! Every lock that is taken or released, every wake-up and every [`thread::yield_now`] is a place where another task may
//! go on. Atomics are the processor's: what they do without a lock is not tried in every order.

pub mod clock;
pub mod event;
pub mod sync;
pub mod thread;

#[cfg(test)]
pub mod explore;
#[cfg(test)]
mod tests;
