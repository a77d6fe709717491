//! Locks and threads for programs around a store that have to stay clean under helgrind and drd.
//!
//! Those tools understand pthread's primitives, and report each futex of `std::sync` as a race. So a program that wants to
//! see its own mistakes among their reports uses the locks that the library uses itself.

pub use crate::sys::sync::{Condvar, Mutex, MutexGuard};
pub use crate::sys::thread::Thread;
