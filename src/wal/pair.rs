//! The log of a store: `wal.log`, and while a checkpoint is being made `wal.next`, to which the records behind it go.
//! There are never more than these two.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::Latch;
use super::space::{LEAST_FOR_FILLER, Space};
use super::writer::{Position, Writer, sync_file};
use crate::error::{Error, ErrorKind, Result};
use crate::format::Record;
use crate::sys::event::Bell;
use crate::sys::sync::{Mutex, MutexGuard};
use crate::vfs::{Access, File, Vfs};

/// The log.
pub const LOG: &str = "wal.log";
/// What becomes the log when the running checkpoint completes.
pub const NEXT: &str = "wal.next";

/// The log files of an open store.
///
/// Lock order: `syncing` before `active`.
pub struct LogPair {
    vfs: Arc<dyn Vfs>,
    dir: PathBuf,
    ahead: Ahead,
    latch: Arc<Latch>,
    active: Mutex<Active>,
    /// That of the active log. Taken alone.
    space: Mutex<Arc<Space>>,
    /// Held during a sync that is not part of an append. Two syncs of one file at once could not both be believed: the
    /// kernel reports a failure to one of them.
    syncing: Mutex<()>,
    commits: AtomicU64,
    syncs: AtomicU64,
}

/// What is to be kept ahead of the last record.
pub struct Ahead {
    /// So many bytes.
    pub bytes: u64,
    /// Calls the thread that fills them with zeros. `None`: there is none.
    pub filler: Option<Arc<Bell>>,
}

impl Ahead {
    /// Whether so many bytes call for a thread.
    pub fn wants_filler(bytes: u64) -> bool {
        bytes >= LEAST_FOR_FILLER
    }

    /// The space of the log `path`, which nobody renames meanwhile.
    fn space(&self, vfs: &dyn Vfs, path: &Path, len: u64) -> Space {
        let Some(bell) = &self.filler else { return Space::new(len, self.bytes) };
        match vfs.open(path, Access::Write) {
            Ok(file) => Space::with_filler(len, self.bytes, file, path.to_owned(), Arc::clone(bell)),
            // Then the writers carry the zeros.
            Err(_) => Space::new(len, self.bytes),
        }
    }
}

/// An empty `wal.next`.
pub struct NextLog {
    file: Arc<dyn File>,
    space: Arc<Space>,
}

struct Active {
    /// On `wal.next` if there is a `retiring` log, otherwise on `wal.log`.
    writer: Writer,
    /// The `wal.log` that the next complete checkpoint makes needless.
    retiring: Option<Writer>,
}

/// State of the log after an append.
#[derive(Clone, Copy, Debug, Default)]
pub struct Appended {
    /// Where the log ends now.
    pub at: Position,
    /// Bytes of records in both files.
    pub bytes: u64,
}

impl Active {
    fn appended(&self) -> Appended {
        let retiring = self.retiring.as_ref().map_or(0, |writer| writer.position().end);
        Appended { at: self.writer.position(), bytes: self.writer.position().end + retiring }
    }
}

/// The log after an append, locked.
pub struct Locked<'a> {
    active: MutexGuard<'a, Active>,
}

impl Locked<'_> {
    /// Where the log ends.
    pub fn state(&self) -> Appended {
        self.active.appended()
    }
}

/// A log file with the place behind its last record.
pub type OpenLog = (Arc<dyn File>, Position);

impl LogPair {
    /// The logs as recovery left them: `log`, and if a checkpoint was not completed, `next`.
    pub fn new(
        vfs: Arc<dyn Vfs>,
        dir: &Path,
        log: OpenLog,
        next: Option<OpenLog>,
        ahead: Ahead,
        latch: Arc<Latch>,
    ) -> LogPair {
        let writer = |(file, at): OpenLog, path: PathBuf, space| Writer::new(file, path, at, space, Arc::clone(&latch));
        let (log_path, next_path) = (dir.join(LOG), dir.join(NEXT));
        let active = match next {
            None => {
                let space = Arc::new(ahead.space(&*vfs, &log_path, log.1.end));
                Active { writer: writer(log, log_path, space), retiring: None }
            }
            Some(next) => {
                let space = Arc::new(ahead.space(&*vfs, &next_path, next.1.end));
                let full = Arc::new(Space::new(log.1.end, 0));
                Active { writer: writer(next, next_path, space), retiring: Some(writer(log, log_path, full)) }
            }
        };
        LogPair {
            vfs,
            dir: dir.to_owned(),
            ahead,
            space: Mutex::new(Arc::clone(active.writer.space())),
            active: Mutex::new(active),
            syncing: Mutex::new(()),
            commits: AtomicU64::new(0),
            syncs: AtomicU64::new(0),
            latch,
        }
    }

    /// Appends a group of records, and makes it durable if `sync` says so. Nobody else can append or begin a checkpoint
    /// until what is returned is dropped.
    pub fn append<'a>(&self, records: impl IntoIterator<Item = Record<'a>>, sync: bool) -> Result<Locked<'_>> {
        let mut active = self.active.lock();
        if let Err(error) = active.writer.append(records, sync) {
            drop(active);
            if !sync {
                self.sync_roll_back()?;
            }
            return Err(error);
        }
        self.commits.fetch_add(1, Ordering::Relaxed);
        self.syncs.fetch_add(u64::from(sync), Ordering::Relaxed);
        Ok(Locked { active })
    }

    /// Makes it durable that a failed append was rolled back, so that no crash brings a part of it back behind the records
    /// of the next one. Nobody else appends: whoever did holds the lead of the commit queue.
    fn sync_roll_back(&self) -> Result<()> {
        let _alone = self.syncing.lock();
        self.active.lock().writer.sync()
    }

    /// Makes what was appended before durable; returns how far the log is durable now.
    pub fn sync(&self) -> Result<Position> {
        self.latch.check()?;
        let _alone = self.syncing.lock();
        let (file, path, at) = {
            let active = self.active.lock();
            (active.writer.file(), active.writer.path().to_owned(), active.writer.position())
        };
        if at.durable_lsn < at.last_lsn {
            sync_file(&*file, &path, &self.latch)?;
            self.syncs.fetch_add(1, Ordering::Relaxed);
            self.active.lock().writer.synced_to(at.last_lsn);
        }
        Ok(Position { durable_lsn: at.last_lsn, ..at })
    }

    /// Makes an empty `wal.next`, durably, unless the last checkpoint was not completed and left one. To be passed to
    /// [`switch`](Self::switch).
    pub fn prepare(&self) -> Result<Option<NextLog>> {
        self.latch.check()?;
        if self.is_retiring() {
            return Ok(None);
        }
        let path = self.dir.join(NEXT);
        let file = self.vfs.open(&path, Access::Create).map_err(|cause| Error::file("create", &path, &cause))?;
        match file.size() {
            Ok(0) => {}
            Ok(len) => {
                let message = format!("{} is there already, with {len} bytes", path.display());
                return Err(Error::new(ErrorKind::Io, message));
            }
            Err(cause) => return Err(Error::file("stat", &path, &cause)),
        }
        if let Err(cause) = file.sync_all() {
            // Nothing is in it, and the next attempt makes another file: so this failure is not for ever.
            let _ = self.vfs.remove(&path);
            return Err(Error::file("fsync", &path, &cause));
        }
        self.sync_dir()?;
        let space = Arc::new(self.ahead.space(&*self.vfs, &path, 0));
        Ok(Some(NextLog { file, space }))
    }

    /// Makes all records so far durable, directs the following ones to `next`, if given, and runs `begin`, before
    /// anybody else can append.
    pub fn switch<R>(&self, next: Option<NextLog>, begin: impl FnOnce(Position) -> R) -> Result<R> {
        let _alone = self.syncing.lock();
        let mut active = self.active.lock();
        let at = active.writer.position();
        if at.durable_lsn < at.last_lsn {
            active.writer.sync()?;
            self.syncs.fetch_add(1, Ordering::Relaxed);
        }
        if let Some(NextLog { file, space }) = next {
            let at = Position { end: 0, ..active.writer.position() };
            *self.space.lock() = Arc::clone(&space);
            space.used(0);
            let writer = Writer::new(file, self.dir.join(NEXT), at, space, Arc::clone(&self.latch));
            active.writer.close_space();
            active.retiring = Some(std::mem::replace(&mut active.writer, writer));
        }
        Ok(begin(active.writer.position()))
    }

    /// Puts `wal.next` in the place of `wal.log`, whose records a durable checkpoint covers. Returns the bytes of
    /// records that are left.
    pub fn retire(&self) -> Result<u64> {
        let (next, log) = (self.dir.join(NEXT), self.dir.join(LOG));
        self.vfs.rename(&next, &log).map_err(|cause| Error::file("rename", &next, &cause))?;
        self.sync_dir()?;
        let mut active = self.active.lock();
        active.writer.renamed(log);
        let retired = active.retiring.take();
        let bytes = active.appended().bytes;
        drop(active);
        // Closing the last descriptor frees the file's blocks, which need not happen under the lock.
        drop(retired);
        Ok(bytes)
    }

    /// Makes the names in the store's directory durable. A failure is final, as it is for a file: a later sync would
    /// prove nothing.
    pub fn sync_dir(&self) -> Result<()> {
        self.latch.check()?;
        self.vfs.sync_dir(&self.dir).map_err(|cause| self.latch.set(&Error::file("fsync directory", &self.dir, &cause)))
    }

    /// Fills the space ahead with zeros, as far as that is wanted. For the background thread alone.
    pub fn fill(&self) -> Result<()> {
        let space = Arc::clone(&self.space.lock());
        space.fill(&self.latch)
    }

    /// Makes all records durable and gives allocated space back.
    pub fn close(&self) -> Result<()> {
        self.sync()?;
        let mut active = self.active.lock();
        active.retiring.as_mut().map_or(Ok(()), Writer::trim)?;
        active.writer.trim()
    }

    /// Whether there is a log that the next complete checkpoint retires.
    pub fn is_retiring(&self) -> bool {
        self.active.lock().retiring.is_some()
    }

    /// Where the log ends, and how many bytes of records there are. Waits for a write that is under way.
    pub fn end(&self) -> Appended {
        self.active.lock().appended()
    }

    /// How often the log was written to, and synced.
    pub fn counts(&self) -> (u64, u64) {
        (self.commits.load(Ordering::Relaxed), self.syncs.load(Ordering::Relaxed))
    }
}
