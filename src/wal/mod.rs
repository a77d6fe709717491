//! The write-ahead log.
//!
//! # Format
//!
//! A log is a file of [records](crate::format), back to back from byte 0, numbered by LSN without a gap. Behind the
//! last one there may be zeros (see below), and after a crash anything that the interrupted writes left.
//!
//! # When a record is valid
//!
//! Its checksum is right, and its LSN is one more than that of the record before it. A record whose batch bit is set
//! is valid only if the rest of its batch is: the log is read batch by batch ([`reader`]). Reading stops at the first
//! record that is not valid, and what lies behind it is searched for evidence ([`behind`]): every record carries the
//! highest LSN that had been synced when it was written (its durable LSN), so a valid record behind the bad one whose
//! durable LSN reaches it proves that the bad one was once on the disk, whole.
//!
//! # Order of writes
//!
//! [`writer`] appends a group of records with one write and makes it durable with one sync. No record is written behind
//! one that is not complete: when a write fails, the file is cut back to its last good byte. When a sync fails, nothing
//! is known about what the disk holds, and the writer takes no more records ([`Latch`]).
//!
//! # Zeros ahead
//!
//! Syncing a write that extends a file costs more than syncing one over allocated, written blocks, for the file system
//! must record the new length, too. So there are zeros ahead of the last record, which a background thread writes
//! ([`space`]). A record is never all zeros, so they end the log as the end of the file does. The space is given back
//! when the log is closed.
//!
//! [`Log`] is such a log on its own, without a store.

pub mod behind;
pub mod buffer;
pub mod cursor;
mod follower;
mod log;
pub mod pair;
pub mod reader;
pub mod repair;
pub mod scan;
pub mod space;
pub mod writer;

pub use follower::Follower;
pub use log::{Log, replay, replay_on};

use std::sync::atomic::{AtomicBool, Ordering};

use crate::error::{Error, ErrorKind, Result};
use crate::sys::sync::Mutex;

/// Remembers that a sync failed, and why. Once set it stays set; only a new open, which reads what the disk really
/// holds, may write again.
pub struct Latch {
    is_set: AtomicBool,
    cause: Mutex<Option<Error>>,
}

impl Default for Latch {
    fn default() -> Latch {
        Latch { is_set: AtomicBool::new(false), cause: Mutex::new(None) }
    }
}

impl Latch {
    /// Sets the latch, unless it is set already; returns the error to be reported.
    pub fn set(&self, cause: &Error) -> Error {
        let failed = cause.with_kind(ErrorKind::Failed);
        self.cause.lock().get_or_insert_with(|| failed.clone());
        self.is_set.swap(true, Ordering::Release);
        failed
    }

    /// An error if the latch is set.
    pub fn check(&self) -> Result<()> {
        if !self.is_set.load(Ordering::Acquire) {
            return Ok(());
        }
        let cause = self.cause.lock().as_ref().map(Error::to_string).unwrap_or_default();
        Err(Error::new(ErrorKind::Failed, format!("no more writes on this handle, for earlier: {cause}")))
    }
}
