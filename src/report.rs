//! What recovery found, in numbers.

use std::time::Duration;

use crate::format::Lsn;

/// What the end of a log says about its past. The numbers are those of the C interface.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing had to be cut off.
    #[default]
    Clean = 0,
    /// The log ended in writes that a crash had interrupted.
    Torn = 1,
    /// Data that had been durable was damaged.
    Damaged = 2,
}

impl Verdict {
    /// In one word: clean, torn or damaged.
    pub fn word(self) -> &'static str {
        match self {
            Verdict::Clean => "clean",
            Verdict::Torn => "torn",
            Verdict::Damaged => "damaged",
        }
    }
}

/// What recovery found.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Report {
    /// What the end of the log says.
    pub verdict: Verdict,
    /// LSN of the checkpoint that was loaded, 0 if none.
    pub checkpoint_lsn: Lsn,
    /// Keys loaded from it.
    pub checkpoint_keys: u64,
    /// LSN of the last record recovered.
    pub last_lsn: Lsn,
    /// Highest LSN that the files prove to have been synced.
    pub durable_lsn: Lsn,
    /// Records of the log that were applied.
    pub records_replayed: u64,
    /// Keys dropped because they had expired.
    pub keys_expired: u64,
    /// Where reading stopped, in the last log file read.
    pub stop_offset: u64,
    /// Bytes copied to quarantine and cut off.
    pub bytes_quarantined: u64,
    /// Valid records behind the first bad one.
    pub records_behind: u64,
    /// Bytes rewritten and synced because nothing proved them durable.
    pub bytes_rewritten: u64,
    /// How long it took.
    pub elapsed: Duration,
    /// Why reading stopped, if not at the end of the log.
    pub reason: Option<String>,
}
