//! The archive: a directory that keeps what checkpoints let go of, so that the store can be restored as of any record.
//!
//! # What is in it
//!
//! | name | what |
//! |---|---|
//! | `wal-FIRST-LAST.log` | the records FIRST to LAST, in 20 digits each, as they were in the log |
//! | `times-000001-2026-11-26.log` | which record was the last durable one, and when: see [`times`] |
//! | `LOCK` | as in a store: one store at a time keeps its logs here |
//!
//! # The algorithm
//!
//! A log is kept when the checkpoint that covers it is durable, and before its name is given to the next one. So at every moment
//! each record is in the archive or in the store's own logs (or in both, where a crash came in between: then the next checkpoint
//! finds what was kept, and keeps it again). If a log cannot be kept, the checkpoint fails; the log stays, and so does the one
//! behind it, until a later checkpoint succeeds.
//!
//! Keeping a log gives its file a second name, or makes a copy of it where that is impossible, because the archive lies on
//! another file system. The name is always made anew, and then synced: of one that is there already no sync would prove anything.
//! The store may go on appending to a file that has a second name here, if it crashed before it got a new log. So it is the name
//! that says which records count; whatever follows them does not.
//!
//! # One history
//!
//! An archive belongs to one history of one store. A store that ends before the archive does is not the one whose logs were kept
//! here, but an older copy of it, which would write other records under the same LSNs; so it is not opened with this archive. A
//! log that overlaps with one that was kept, and is not the same as far as that goes, is refused.

pub mod times;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use self::times::Times;
use crate::directory;
use crate::error::{Error, ErrorKind, Result};
use crate::format::Lsn;
use crate::lock::DirLock;
use crate::sys::sync::Mutex;
use crate::vfs::{Access, Vfs};
use crate::wal::pair::Retiring;
use crate::wal::reader::{Reader, Step};
use crate::wal::repair::{self, Source};

/// A log that is being copied.
const UNFINISHED: &str = "wal.tmp";

/// Where an open store keeps its retired logs.
pub struct Archive {
    vfs: Arc<dyn Vfs>,
    dir: PathBuf,
    lock: DirLock,
    times: Mutex<Times>,
}

/// The records `first` to `last`, as a name in an archive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Range {
    /// The LSN of the first one.
    pub first: Lsn,
    /// The LSN of the last one.
    pub last: Lsn,
}

impl Range {
    /// The name of the file that holds these records.
    pub fn name(self) -> String {
        format!("wal-{:020}-{:020}.log", self.first, self.last)
    }

    fn parse(name: &str) -> Option<Range> {
        let (first, last) = name.strip_prefix("wal-")?.strip_suffix(".log")?.split_once('-')?;
        let number = |digits: &str| digits.parse().ok().filter(|_| digits.len() == 20);
        let range = Range { first: number(first)?, last: number(last)? };
        (range.first <= range.last).then_some(range)
    }

    fn overlaps(self, other: Range) -> bool {
        self.first <= other.last && other.first <= self.last
    }
}

/// Which logs an archive holds, in order.
pub fn list(vfs: &dyn Vfs, dir: &Path) -> Result<Vec<Range>> {
    let names = vfs.list(dir).map_err(|cause| Error::file("list", dir, &cause))?;
    let mut ranges: Vec<Range> = names.iter().filter_map(|name| Range::parse(name.to_str()?)).collect();
    ranges.sort_unstable();
    Ok(ranges)
}

/// An error if an archive holds records behind this one.
fn check_not_beyond(vfs: &dyn Vfs, dir: &Path, last_lsn: Lsn) -> Result<()> {
    match list(vfs, dir)?.iter().map(|range| range.last).max() {
        Some(kept) if kept > last_lsn => {
            let dir = dir.display();
            let message = format!(
                "{dir} keeps records up to LSN {kept}, but the store ends with {last_lsn}: it is an older copy, or another \
                 store, and needs an archive of its own"
            );
            Err(Error::new(ErrorKind::Invalid, message))
        }
        _ => Ok(()),
    }
}

impl Archive {
    /// The archive in `dir`, an absolute path, of a store that ends with the record `last_lsn`. It is made if it is missing.
    pub fn open(vfs: &Arc<dyn Vfs>, dir: &Path, last_lsn: Lsn) -> Result<Archive> {
        if !directory::create(&**vfs, dir)? {
            directory::keep_name(&**vfs, dir)?;
        }
        let lock = DirLock::acquire(&**vfs, dir)?;
        if let Err(error) = check_not_beyond(&**vfs, dir, last_lsn) {
            lock.abandon();
            return Err(error);
        }
        // How a checksum is best computed here is remembered in a static, whose atomics thread checkers take for a race with the
        // thread that keeps the time; so it is found out while there is no other.
        crc32fast::hash(&[]);
        let times = Mutex::new(Times::new(Arc::clone(vfs), dir));
        Ok(Archive { vfs: Arc::clone(vfs), dir: dir.to_owned(), lock, times })
    }

    /// Keeps a log that is about to be retired, durably.
    pub fn keep(&self, log: &Retiring) -> Result<()> {
        let Some(first) = Reader::new(&*log.file, &log.path)?.first_lsn()? else { return Ok(()) };
        let range = Range { first, last: log.at.last_lsn };
        if range.last < first {
            // Damaged in its first batch, and left for the checkpoint that covers it.
            return Ok(());
        }
        self.check_place()?;
        for kept in list(&*self.vfs, &self.dir)?.into_iter().filter(|kept| kept.overlaps(range)) {
            if kept.first != first || !self.agrees(kept, log, kept.last.min(range.last))? {
                let (kept, dir) = (kept.name(), self.dir.display());
                let message = format!("{dir} holds {kept}, whose records are not those of {}", log.path.display());
                return Err(Error::new(ErrorKind::Invalid, message));
            }
            if kept.last > range.last {
                // The log was damaged since, which does not matter: a checkpoint covers it.
                return directory::sync(&*self.vfs, &self.dir);
            }
        }
        let path = self.dir.join(range.name());
        // A link to a name that is there fails, and renaming a file to another name of its own does nothing.
        let _ = self.vfs.remove(&path);
        match self.vfs.link(&log.path, &path) {
            Ok(()) => {}
            Err(_) => self.copy(log, &path)?,
        }
        directory::sync(&*self.vfs, &self.dir)
    }

    /// An error if the directory is not the one that was locked, but, say, what another file system was mounted on.
    fn check_place(&self) -> Result<()> {
        match self.lock.is_in_place(&*self.vfs)? {
            true => Ok(()),
            false => {
                let message = format!("{} is not the archive any more: its LOCK is not there", self.dir.display());
                Err(Error::new(ErrorKind::Io, message))
            }
        }
    }

    /// Whether a file in the archive and the log, which begin with the same LSN, hold the same records up to the one of LSN `last`.
    fn agrees(&self, kept: Range, log: &Retiring, last: Lsn) -> Result<bool> {
        let path = self.dir.join(kept.name());
        let file = self.vfs.open(&path, Access::Read).map_err(|cause| Error::file("open", &path, &cause))?;
        let (mut ours, mut theirs) = (Reader::new(&*log.file, &log.path)?, Reader::new(&*file, &path)?);
        let mut lsn = kept.first;
        while lsn <= last {
            let (Step::Batch(our), Step::Batch(their)) = (ours.next(lsn)?, theirs.next(lsn)?) else { return Ok(false) };
            if our.bytes() != their.bytes() {
                return Ok(false);
            }
            lsn += our.count() as Lsn;
        }
        Ok(true)
    }

    fn copy(&self, log: &Retiring, path: &Path) -> Result<()> {
        let unfinished = self.dir.join(UNFINISHED);
        let copied =
            self.vfs.open(&unfinished, Access::Create).map_err(|cause| Error::file("create", &unfinished, &cause));
        let copied = copied.and_then(|file| {
            repair::copy_bytes(&*file, &unfinished, &Source { file: &*log.file, path: &log.path }, 0, log.at.end)?;
            self.vfs.rename(&unfinished, path).map_err(|cause| Error::file("rename", &unfinished, &cause))
        });
        copied.inspect_err(|_| {
            // It takes room. If it cannot be removed, the next copy overwrites it.
            let _ = self.vfs.remove(&unfinished);
        })
    }

    /// Notes that all records up to `lsn` are durable by now.
    pub fn note(&self, lsn: Lsn) -> Result<()> {
        self.times.lock().note(self.vfs.now_ms(), lsn)
    }

    /// Makes the notes durable.
    pub fn sync_notes(&self) -> Result<()> {
        self.times.lock().sync()
    }

    /// Notes how far the log has come, for good, and lets others have the archive.
    pub fn close(&self, last_lsn: Lsn) -> Result<()> {
        let noted = self.note(last_lsn).and_then(|()| self.sync_notes());
        noted.and(self.lock.release())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_says_which_records_it_holds() {
        let range = Range { first: 7, last: 1234 };
        assert_eq!(range.name(), "wal-00000000000000000007-00000000000000001234.log");
        assert_eq!(Range::parse(&range.name()), Some(range));
        for other in [
            "wal-7-1234.log",
            "wal-00000000000000000007-00000000000000001234.tmp",
            "wal-00000000000000000007-00000000000000000006.log",
            "wal-00000000000000000007.log",
            "wal-99999999999999999999-99999999999999999999.log",
            "wal.log",
            "LOCK",
        ] {
            assert_eq!(Range::parse(other), None, "{other}");
        }
    }

    #[test]
    fn ranges_overlap_that_share_a_record() {
        let range = |first, last| Range { first, last };
        assert!(range(1, 5).overlaps(range(5, 9)) && range(5, 9).overlaps(range(1, 5)));
        assert!(range(1, 9).overlaps(range(3, 4)) && range(3, 4).overlaps(range(1, 9)));
        assert!(!range(1, 4).overlaps(range(5, 9)) && !range(5, 9).overlaps(range(1, 4)));
    }
}
