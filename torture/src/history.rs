//! What was asked of a store, and what it answered.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use kvwal::{ErrorKind, SyncMode};

/// What a store holds.
pub type Contents = BTreeMap<Vec<u8>, Vec<u8>>;

/// A moment in the course of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Stamp {
    /// How many stamps there were before it.
    pub seq: u64,
    /// How many calls the disk had begun.
    pub calls: u64,
}

/// A change of one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    pub key: Vec<u8>,
    /// `None` deletes.
    pub value: Option<Arc<[u8]>>,
    /// The earliest and the latest time at which it may expire, if it does.
    pub expires: Option<(u64, u64)>,
}

/// How a call ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Done,
    /// A delete of what was not there.
    NotThere,
    Error(ErrorKind),
}

impl Outcome {
    /// Whether a call that ended so has certainly changed nothing.
    pub fn is_refusal(self) -> bool {
        match self {
            Outcome::Done | Outcome::NotThere => false,
            // Nobody knows what a sync that failed did.
            Outcome::Error(kind) => kind != ErrorKind::Failed,
        }
    }
}

/// A call that changes something: all of its changes or none.
#[derive(Clone, Debug)]
pub struct Write {
    pub writer: usize,
    pub mode: SyncMode,
    pub changes: Vec<Change>,
    pub is_batch: bool,
    pub invoked: Stamp,
    pub returned: Option<(Stamp, Outcome)>,
}

/// A call after which everything acknowledged before it is durable, in every mode.
#[derive(Clone, Copy, Debug)]
pub struct Sync {
    pub invoked: Stamp,
    pub returned: Stamp,
}

/// What a reader saw.
#[derive(Clone, Debug)]
pub struct Read {
    pub mode: SyncMode,
    pub invoked: Stamp,
    pub returned: Stamp,
    pub saw: Saw,
}

#[derive(Clone, Debug)]
pub enum Saw {
    Key(Vec<u8>, Option<Vec<u8>>),
    /// Everything; the time by the disk's clock before and after.
    All(Contents, (u64, u64)),
}

/// All calls of a run.
#[derive(Clone, Debug, Default)]
pub struct History {
    pub writes: Vec<Write>,
    pub syncs: Vec<Sync>,
    pub reads: Vec<Read>,
    /// The first answer that no store may give.
    pub wrong: Option<String>,
    /// When a call of this session was first told that the handle takes no more writes.
    pub failed_at: Option<Stamp>,
    stamps: u64,
}

impl History {
    /// The next stamp, when the disk has begun so many calls.
    pub fn stamp(&mut self, calls: u64) -> Stamp {
        self.stamps += 1;
        Stamp { seq: self.stamps, calls }
    }

    /// Notes that something is wrong.
    pub fn complain(&mut self, what: impl FnOnce() -> String) {
        self.wrong.get_or_insert_with(what);
    }
}

/// A history that several writers fill.
#[derive(Debug, Default)]
pub struct Recorder(Mutex<History>);

impl Recorder {
    /// Only for a moment: no call of the store or the disk is made while it is locked, for another writer may go on in those.
    pub fn lock(&self) -> MutexGuard<'_, History> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn into_history(self) -> History {
        self.0.into_inner().unwrap_or_else(PoisonError::into_inner)
    }
}
