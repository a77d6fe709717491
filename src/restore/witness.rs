//! Whether a checkpoint and an archive are of one history.
//!
//! A checkpoint does not say which records it covers, only how many. But where the archive holds the last of those, what they did
//! must be what the checkpoint holds: the value that was set is there, the key that was deleted is not. The last records before the
//! checkpoint's end bear witness, so many that two stores will hardly agree in all of them.

use std::collections::{BTreeMap, VecDeque};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::{holding, visit_archived};
use crate::archive::Range;
use crate::checkpoint::reader::{Entry, Visitor};
use crate::error::{Error, ErrorKind, Result};
use crate::format::{Lsn, Op, Record};
use crate::vfs::Vfs;
use crate::wal::reader::Records;

/// How many records are asked.
const MOST: usize = 100;

/// What an archive says of the last records that a checkpoint covers.
#[derive(Default)]
pub struct Witness {
    /// What became of their keys.
    keys: BTreeMap<Vec<u8>, Fate>,
    /// How many of them were found as they should be.
    found: AtomicUsize,
    /// And how many otherwise.
    contradicted: AtomicUsize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Deleted,
    /// The value, by its length and checksum.
    Set {
        len: usize,
        crc: u32,
        expires_at: u64,
    },
}

impl Fate {
    fn of(record: &Record<'_>) -> Fate {
        match record.op {
            Op::Delete => Fate::Deleted,
            _ => Fate::value(record.value, record.expires_at),
        }
    }

    fn value(value: &[u8], expires_at: u64) -> Fate {
        Fate::Set { len: value.len(), crc: crc32fast::hash(value), expires_at }
    }
}

impl Witness {
    /// The last records up to this one in the archive `dir`, which holds `ranges`. What cannot be read says nothing.
    pub fn of(vfs: &dyn Vfs, dir: &Path, ranges: &[Range], lsn: Lsn) -> Result<Witness> {
        let Some(range) = holding(ranges, lsn) else { return Ok(Witness::default()) };
        let mut last = VecDeque::new();
        let read = visit_archived(vfs, dir, range, |_, batch, _| {
            for record in Records::of(batch).filter(|record| record.lsn <= lsn) {
                last.push_back((record.key.to_vec(), Fate::of(&record)));
                if last.len() > MOST {
                    last.pop_front();
                }
            }
            Ok(last.is_empty() || Records::of(batch).all(|record| record.lsn < lsn))
        });
        match read {
            Ok(()) => Ok(Witness { keys: last.into_iter().collect(), ..Witness::default() }),
            Err(error) if error.kind() == ErrorKind::Corrupt => Ok(Witness::default()),
            Err(error) => Err(error),
        }
    }

    /// An error if the checkpoint, all of whose entries were visited, and which was made at this time, is of another history.
    pub fn agree(&self, checkpoint: &Path, dir: &Path, created_at: u64) -> Result<()> {
        // What had expired was left out.
        let must_be_there = self.keys.values().filter(|fate| match fate {
            Fate::Deleted => false,
            Fate::Set { expires_at, .. } => *expires_at == 0 || *expires_at > created_at,
        });
        let is_missing = self.found.load(Ordering::Relaxed) < must_be_there.count();
        if self.contradicted.load(Ordering::Relaxed) == 0 && !is_missing {
            return Ok(());
        }
        let (checkpoint, dir) = (checkpoint.display(), dir.display());
        Err(Error::corrupt(format!("{checkpoint} is not what the records in {dir} make: it is another history")))
    }
}

impl Visitor for Witness {
    type Batch = ();

    fn entry(&self, _: &mut (), entry: Entry<'_>) -> Result<()> {
        if let Some(fate) = self.keys.get(entry.key) {
            let is_so = *fate == Fate::value(entry.value, entry.expires_at);
            let count = if is_so { &self.found } else { &self.contradicted };
            count.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    }

    fn end(&self, _: &mut ()) -> Result<()> {
        Ok(())
    }
}
