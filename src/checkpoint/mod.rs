//! Checkpoints: a snapshot of the table in a file, so that recovery need not read the log from its beginning.
//!
//! # How one is made while writers go on
//!
//! 1. An empty `wal.next` is made, synced, and so is its name ([`LogPair::prepare`](crate::wal::pair::LogPair)).
//! 2. Between two groups, under the lock of the log: `wal.log` is synced if it is not already, later records go to
//!    `wal.next`, and a snapshot of the table begins. Its LSN is that of the last record in `wal.log`.
//! 3. The snapshot is streamed to `checkpoint.tmp`, shard by shard ([`writer`]); the file is synced, read back from the
//!    disk, and verified ([`reader`]).
//! 4. It is renamed to `checkpoint.dat`, and the directory is synced. From here on it counts.
//! 5. `wal.next` is renamed to `wal.log`, and the directory is synced.
//!
//! A crash between any two steps leaves files of which recovery makes the same store: the old checkpoint with both
//! logs; the new one with both logs, the first of them needless; the new one with one log. If step 3 fails, the old
//! checkpoint and both logs stay, writers go on in `wal.next`, and the next checkpoint leaves step 1 out: its LSN then
//! lies inside `wal.next`, so `wal.log` may still go when it is done, and there are never more than two logs.

pub mod layout;
pub mod reader;
#[cfg(test)]
mod tests;
pub mod writer;

/// The newest checkpoint.
pub const NAME: &str = "checkpoint.dat";
/// One that is being written.
pub const UNFINISHED: &str = "checkpoint.tmp";
/// Bytes of entries from which on a thread beside the caller's makes writing and reading faster.
pub const WORTH_A_THREAD: u64 = 4 << 20;
