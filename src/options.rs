//! How to open a store.

use std::path::PathBuf;

/// When a write is made durable.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SyncMode {
    /// Before it is acknowledged or visible.
    #[default]
    Always,
    /// By a background thread, every [`Options::sync_interval_ms`]. Until it hands them over to the system, every few
    /// milliseconds, records are in memory only: the death of the process may take those, and a power cut what was not
    /// synced. What remains is an exact prefix.
    Interval,
    /// By [`Store::sync`](crate::Store::sync), a checkpoint, or closing. The system has every record when its write
    /// returns, so the death of the process takes nothing.
    None,
}

/// What to do when acknowledged data turns out to be damaged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RecoveryMode {
    /// Open with the longest exact prefix, and report.
    #[default]
    Prefix,
    /// Refuse, and change nothing.
    Strict,
}

/// A number of bytes, or what stands for one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Size {
    /// A sensible number.
    #[default]
    Default,
    /// So many bytes.
    Bytes(u64),
    /// Do not do it at all.
    Never,
}

/// More zeros than this are never written ahead.
const MAX_PREALLOCATE: u64 = 64 << 20;

/// How to open a store.
#[derive(Clone, Debug)]
pub struct Options {
    /// When a write is made durable.
    pub sync: SyncMode,
    /// Milliseconds between two syncs in [`SyncMode::Interval`]; at least 1.
    pub sync_interval_ms: u64,
    /// How much log starts a checkpoint in the background. By default 64 MiB, or the size of the newest checkpoint
    /// where that is more, so that checkpoints write at most about as much again as the log does.
    pub checkpoint_wal_bytes: Size,
    /// How many zero-filled bytes are kept ahead of the last record. By default 1 MiB (in the relaxed
    /// modes, which do not gain by it: none), at most 64 MiB. From 64 KiB
    /// on a background thread writes them.
    pub preallocate: Size,
    /// What to do about damage.
    pub recovery: RecoveryMode,
    /// Whether to create a store that does not exist.
    pub create: bool,
    /// A directory in which every log is kept that a checkpoint would do away with, and which is made if it is missing. With
    /// it, and a backup, [`restore`](crate::restore) makes the store as it was after any record, or at any time. Whoever opens
    /// the store must name it, or there will be a gap. A checkpoint whose log cannot be kept fails. The library deletes nothing
    /// there; what is older than the backups that are still wanted may be removed.
    pub archive_dir: Option<PathBuf>,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            sync: SyncMode::Always,
            sync_interval_ms: 100,
            checkpoint_wal_bytes: Size::Default,
            preallocate: Size::Default,
            recovery: RecoveryMode::Prefix,
            create: true,
            archive_dir: None,
        }
    }
}

impl Options {
    /// Bytes to keep ahead of the last record.
    pub(crate) fn preallocate_bytes(&self) -> u64 {
        match self.preallocate {
            // Zeros make the sync of a small write cheaper; in the relaxed modes there is none.
            Size::Default if self.sync != SyncMode::Always => 0,
            Size::Default => 1 << 20,
            Size::Bytes(bytes) => bytes.min(MAX_PREALLOCATE),
            Size::Never => 0,
        }
    }

    /// How much log starts a checkpoint, given the size of the newest one.
    pub(crate) fn checkpoint_threshold(&self, newest_checkpoint: u64) -> Option<u64> {
        match self.checkpoint_wal_bytes {
            Size::Default => Some(newest_checkpoint.max(64 << 20)),
            Size::Bytes(bytes) => Some(bytes),
            Size::Never => None,
        }
    }
}
