//! The log of a store: `wal.log`, and while a checkpoint is being made `wal.next`, to which the records behind it go.
//! There are never more than these two.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::Latch;
use super::buffer::{self, Buffer, Chunk, Level};
use super::space::{LEAST_FOR_FILLER, Space};
use super::writer::{Position, Writer, sync_file};
use crate::error::{Error, ErrorKind, Result};
use crate::format::Record;
use crate::options::SyncMode;
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
    mode: SyncMode,
    ahead: Ahead,
    /// Calls the thread that hands over.
    bell: Option<Arc<Bell>>,
    latch: Arc<Latch>,
    active: Mutex<Active>,
    /// That of the active log. Locked for a moment, never while another is waited for.
    space: Mutex<Arc<Space>>,
    /// Held while that is filled: so whoever has had it knows that the filler has let go of an earlier one.
    filling: Mutex<()>,
    /// Held during a sync that is not part of an append, and while records are handed over. Two syncs of one file at once
    /// could not both be believed: the kernel reports a failure to one of them.
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
    direct: Option<Arc<dyn File>>,
}

/// Opens the log `path`, which nobody renames meanwhile, past the page cache, if that is of use and possible.
fn open_direct(vfs: &dyn Vfs, path: &Path, mode: SyncMode) -> Option<Arc<dyn File>> {
    match mode {
        SyncMode::Interval => vfs.open_direct(path).ok().flatten(),
        _ => None,
    }
}

/// A log that is about to be retired. Nothing is appended to it any more.
pub struct Retiring {
    /// The open file.
    pub file: Arc<dyn File>,
    /// Its path, as long as it is not retired.
    pub path: PathBuf,
    /// Where its last record ends.
    pub at: Position,
    /// Zeros follow it, which were written ahead.
    has_zeros: bool,
}

impl Retiring {
    /// Gives the zeros back, once the log is retired and the archive has it. That this is durable does not matter.
    pub fn trim(&self) {
        if self.has_zeros {
            let _ = self.file.set_len(self.at.end);
        }
    }
}

struct Active {
    /// On `wal.next` if there is a `retiring` log, otherwise on `wal.log`.
    writer: Writer,
    /// The `wal.log` that the next complete checkpoint makes needless.
    retiring: Option<Writer>,
    /// A failed append was rolled back, and that is not durable yet.
    is_cut: bool,
    /// This process has given the log its name, and made that durable.
    is_named: bool,
    /// Records of the writer's that the system has not got yet.
    buffer: Option<Buffer>,
    /// The writer's file, past the page cache. Away while something is handed over.
    direct: Option<Arc<dyn File>>,
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
    /// Has the buffers begin behind what the writer has written past them.
    fn restart_buffer(&mut self, latch: &Latch) -> Result<()> {
        let Active { writer, buffer: Some(buffer), .. } = self else { return Ok(()) };
        let restarted = buffer.restart(&*writer.file(), writer.path(), &writer.position());
        restarted.map_err(|error| latch.set(&error))
    }

    /// What the system has of the log.
    fn handed_over(&self) -> Position {
        let at = self.writer.position();
        match &self.buffer {
            Some(buffer) => {
                let (end, last_lsn) = buffer.handed_over();
                Position { end, last_lsn, ..at }
            }
            None => at,
        }
    }

    /// Hands over what is in the buffer while the log is locked. The caller also has the right to sync.
    fn hand_over(&mut self, latch: &Latch) -> Result<()> {
        while let Some(mut chunk) = self.buffer.as_mut().and_then(Buffer::take) {
            latch.check()?;
            let written = chunk.write(&*self.writer.file(), &mut self.direct, self.writer.space());
            self.give_back(chunk, written)?;
        }
        Ok(())
    }

    fn give_back(&mut self, chunk: Chunk, written: io::Result<()>) -> Result<()> {
        let (end, lsn) = (chunk.end(), chunk.last_lsn());
        self.buffer.as_mut().expect("it came from there").give_back(chunk, written.is_ok());
        let path = self.writer.path().display();
        written.map_err(|cause| Error::io(format_args!("write {path} up to offset {end}, LSN {lsn}"), &cause))
    }

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
        options: (SyncMode, Ahead),
        bell: Option<Arc<Bell>>,
        latch: Arc<Latch>,
    ) -> LogPair {
        let (mode, ahead) = options;
        let writer = |(file, at): OpenLog, path: PathBuf, space| Writer::new(file, path, at, space, Arc::clone(&latch));
        let (log_path, next_path) = (dir.join(LOG), dir.join(NEXT));
        let active = match next {
            None => {
                let space = Arc::new(ahead.space(&*vfs, &log_path, log.1.end));
                Active {
                    writer: writer(log, log_path, space),
                    retiring: None,
                    is_cut: false,
                    is_named: false,
                    buffer: None,
                    direct: None,
                }
            }
            Some(next) => {
                let space = Arc::new(ahead.space(&*vfs, &next_path, next.1.end));
                let full = Arc::new(Space::new(log.1.end, 0));
                let (writer, retiring) = (writer(next, next_path, space), Some(writer(log, log_path, full)));
                Active { writer, retiring, is_cut: false, is_named: false, buffer: None, direct: None }
            }
        };
        let mut active = active;
        active.direct = open_direct(&*vfs, active.writer.path(), mode);
        LogPair {
            vfs,
            mode,
            bell,
            dir: dir.to_owned(),
            ahead,
            space: Mutex::new(Arc::clone(active.writer.space())),
            filling: Mutex::new(()),
            active: Mutex::new(active),
            syncing: Mutex::new(()),
            commits: AtomicU64::new(0),
            syncs: AtomicU64::new(0),
            latch,
        }
    }

    /// Appends a group of records, as the mode has it: on the disk, with the system, or in memory. Nobody else can append
    /// or begin a checkpoint until what is returned is dropped.
    pub fn append<'a>(&self, records: impl Iterator<Item = Record<'a>> + Clone) -> Result<Locked<'_>> {
        let active = match self.mode {
            SyncMode::Always => self.append_synced(records)?,
            SyncMode::None => self.append_written(records)?,
            SyncMode::Interval => self.append_buffered(records)?,
        };
        self.commits.fetch_add(1, Ordering::Relaxed);
        Ok(Locked { active })
    }

    /// Locks the log for records that are still to be decided on: what is [appended](Self::append_locked) then follows what
    /// the table holds now.
    pub fn lock(&self) -> Result<Locked<'_>> {
        let active = match self.mode {
            SyncMode::Always => self.active.lock(),
            SyncMode::None => self.lock_whole()?,
            SyncMode::Interval => self.lock_buffer(buffer::USUAL)?,
        };
        Ok(Locked { active })
    }

    /// As [`append`](Self::append), to the log that the caller has locked, and that nobody has touched since.
    pub fn append_locked<'l, 'a>(
        &'l self,
        log: Locked<'l>,
        records: impl Iterator<Item = Record<'a>>,
    ) -> Result<Locked<'l>> {
        let active = match self.mode {
            SyncMode::Always => self.sync_locked(log.active, records)?,
            SyncMode::None => self.write_locked(log.active, records)?,
            SyncMode::Interval => self.buffer_locked(log.active, records)?,
        };
        self.commits.fetch_add(1, Ordering::Relaxed);
        Ok(Locked { active })
    }

    /// Only for the leader of the commit queue.
    fn append_synced<'a>(&self, records: impl Iterator<Item = Record<'a>>) -> Result<MutexGuard<'_, Active>> {
        self.sync_locked(self.active.lock(), records)
    }

    fn sync_locked<'l, 'a>(
        &self,
        mut active: MutexGuard<'l, Active>,
        records: impl Iterator<Item = Record<'a>>,
    ) -> Result<MutexGuard<'l, Active>> {
        active.writer.append(records, true)?;
        self.syncs.fetch_add(1, Ordering::Relaxed);
        Ok(active)
    }

    fn append_written<'a>(&self, records: impl Iterator<Item = Record<'a>>) -> Result<MutexGuard<'_, Active>> {
        self.write_locked(self.lock_whole()?, records)
    }

    /// Locks the log when no roll-back is waiting to be made durable.
    fn lock_whole(&self) -> Result<MutexGuard<'_, Active>> {
        loop {
            let active = self.active.lock_soon();
            if !active.is_cut {
                return Ok(active);
            }
            drop(active);
            self.sync_cut()?;
        }
    }

    fn write_locked<'l, 'a>(
        &'l self,
        mut active: MutexGuard<'l, Active>,
        records: impl Iterator<Item = Record<'a>>,
    ) -> Result<MutexGuard<'l, Active>> {
        if let Err(error) = active.writer.append(records, false) {
            active.is_cut = true;
            drop(active);
            self.sync_cut()?;
            return Err(error);
        }
        Ok(active)
    }

    /// Makes it durable that a failed append was rolled back, so that no crash brings a part of it back behind the records
    /// of the next one. Until then nobody appends.
    fn sync_cut(&self) -> Result<()> {
        let _alone = self.syncing.lock();
        let mut active = self.active.lock();
        if active.is_cut {
            active.writer.sync()?;
            active.is_cut = false;
        }
        Ok(())
    }

    fn append_buffered<'a>(&self, records: impl Iterator<Item = Record<'a>> + Clone) -> Result<MutexGuard<'_, Active>> {
        let len = records.clone().map(|record| record.encoded_len()).sum();
        if len > buffer::LONGEST {
            return self.append_past_buffer(records);
        }
        self.buffer_locked(self.lock_buffer(len)?, records)
    }

    /// Locks the log when there is a buffer that takes `len` bytes.
    fn lock_buffer(&self, len: usize) -> Result<MutexGuard<'_, Active>> {
        loop {
            let active = self.active.lock_soon();
            match &active.buffer {
                Some(buffer) if buffer.takes(len) => return Ok(active),
                Some(_) => {
                    drop(active);
                    self.make_room(len)?;
                }
                None => {
                    drop(active);
                    self.make_buffer()?;
                }
            }
        }
    }

    fn buffer_locked<'l, 'a>(
        &self,
        mut active: MutexGuard<'l, Active>,
        records: impl Iterator<Item = Record<'a>>,
    ) -> Result<MutexGuard<'l, Active>> {
        let Active { writer, buffer, .. } = &mut *active;
        let buffer = buffer.as_mut().expect("whoever locked the log made sure of that");
        if writer.buffer(records, buffer)? == Level::Call
            && let Some(bell) = &self.bell
        {
            bell.ring();
        }
        Ok(active)
    }

    /// Hands over what is in the buffer, unless somebody else has by now.
    fn make_room(&self, len: usize) -> Result<()> {
        let alone = self.syncing.lock();
        let takes = self.active.lock().buffer.as_ref().is_none_or(|buffer| buffer.takes(len));
        if takes { Ok(()) } else { self.hand_over_alone(&alone) }
    }

    fn make_buffer(&self) -> Result<()> {
        let _alone = self.syncing.lock();
        let mut active = self.active.lock();
        if active.buffer.is_none() {
            let writer = &active.writer;
            active.buffer = Some(Buffer::new(&*writer.file(), writer.path(), &writer.position())?);
        }
        Ok(())
    }

    /// Appends a group that is too long for the buffer: hands over what is in it, and then writes.
    fn append_past_buffer<'a>(&self, records: impl Iterator<Item = Record<'a>>) -> Result<MutexGuard<'_, Active>> {
        let alone = self.syncing.lock();
        self.hand_over_alone(&alone)?;
        let mut active = self.active.lock();
        active.hand_over(&self.latch)?;
        if let Err(error) = active.writer.append(records, false) {
            // It was rolled back, and as nobody else syncs now, that is made durable here.
            active.writer.sync()?;
            return Err(error);
        }
        active.restart_buffer(&self.latch)?;
        Ok(active)
    }

    /// Hands over to the system what only memory holds, in the mode that has such a thing.
    pub fn hand_over(&self) -> Result<()> {
        match self.mode {
            SyncMode::Interval => self.hand_over_alone(&self.syncing.lock()),
            _ => Ok(()),
        }
    }

    /// The log is not locked while the system takes it.
    fn hand_over_alone(&self, _alone: &MutexGuard<'_, ()>) -> Result<()> {
        // What was there when it began is in the chunk that got stuck, if there is one, and in the one that is being filled.
        for _ in 0..2 {
            self.latch.check()?;
            let mut active = self.active.lock_soon();
            let Some(mut chunk) = active.buffer.as_mut().and_then(Buffer::take) else { break };
            let (file, space) = (active.writer.file(), Arc::clone(active.writer.space()));
            let mut direct = active.direct.take();
            drop(active);
            let written = chunk.write(&*file, &mut direct, &space);
            let mut active = self.active.lock_soon();
            active.direct = direct;
            active.give_back(chunk, written)?;
        }
        Ok(())
    }

    /// Makes what was appended before durable; returns how far the log is durable now.
    pub fn sync(&self) -> Result<Position> {
        self.latch.check()?;
        let alone = self.syncing.lock();
        self.hand_over_alone(&alone)?;
        let (file, path, at) = {
            let active = self.active.lock();
            (active.writer.file(), active.writer.path().to_owned(), active.handed_over())
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
        self.renew_name()?;
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
        let direct = open_direct(&*self.vfs, &path, self.mode);
        Ok(Some(NextLog { file, space, direct }))
    }

    /// Notes that the log was made just now, so that the disk knows its name.
    pub fn trust_name(&self) {
        self.active.lock().is_named = true;
    }

    /// Makes sure that the disk calls the log `wal.log`, before its other name is given to the next one. Where the sync behind
    /// an earlier renaming failed, the disk may know a log that was found as `wal.next`, although the page cache calls it
    /// `wal.log`, and another sync would prove nothing; so it is renamed there and back, each durably. In between there is a
    /// `wal.next` and no `wal.log`. A log without records is left as it is: nobody could tell that it goes on from the
    /// checkpoint, and if it does, no new checkpoint is made before there are records in it.
    fn renew_name(&self) -> Result<()> {
        if self.active.lock().is_named || self.sync()?.end == 0 {
            return Ok(());
        }
        // If the way back failed before, this begins half-way.
        if self.active.lock().writer.path() == self.dir.join(LOG) {
            self.rename_active(NEXT)?;
        }
        self.rename_active(LOG)?;
        self.trust_name();
        Ok(())
    }

    /// Gives the active log a new name, durably.
    fn rename_active(&self, name: &str) -> Result<()> {
        let (old, new) = (self.active.lock().writer.path().to_owned(), self.dir.join(name));
        self.vfs.rename(&old, &new).map_err(|cause| Error::file("rename", &old, &cause))?;
        self.active.lock().writer.renamed(new);
        self.sync_dir()
    }

    /// Makes all records so far durable, directs the following ones to `next`, if given, and runs `begin`, before
    /// anybody else can append.
    pub fn switch<R>(&self, next: Option<NextLog>, begin: impl FnOnce(Position) -> R) -> Result<R> {
        let alone = self.syncing.lock();
        self.hand_over_alone(&alone)?;
        let mut active = self.active.lock();
        active.hand_over(&self.latch)?;
        let at = active.writer.position();
        if at.durable_lsn < at.last_lsn || active.is_cut {
            active.writer.sync()?;
            active.is_cut = false;
            self.syncs.fetch_add(1, Ordering::Relaxed);
        }
        if let Some(NextLog { file, space, direct }) = next {
            let at = Position { end: 0, ..active.writer.position() };
            let writer = Writer::new(file, self.dir.join(NEXT), at, Arc::clone(&space), Arc::clone(&self.latch));
            active.writer.close_space();
            // The filler is called at once, so that the first record behind the switch finds zeros.
            *self.space.lock() = Arc::clone(&space);
            space.used(0);
            active.retiring = Some(std::mem::replace(&mut active.writer, writer));
            active.direct = direct;
            active.restart_buffer(&self.latch)?;
        }
        Ok(begin(active.writer.position()))
    }

    /// The log that is to be retired, if there is one.
    pub fn retiring(&self) -> Option<Retiring> {
        let active = self.active.lock();
        let writer = active.retiring.as_ref()?;
        let (file, path, at) = (writer.file(), writer.path().to_owned(), writer.position());
        Some(Retiring { file, path, at, has_zeros: writer.space().filled() > at.end })
    }

    /// Puts `wal.next` in the place of `wal.log`, whose records a durable checkpoint covers. Returns the bytes of
    /// records that are left.
    pub fn retire(&self) -> Result<u64> {
        self.rename_active(LOG)?;
        let mut active = self.active.lock();
        active.is_named = true;
        let retired = active.retiring.take();
        let bytes = active.appended().bytes;
        drop(active);
        // The filler has been stopped there. It may be in its last piece.
        drop(self.filling.lock());
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
        let _filling = self.filling.lock();
        let space = Arc::clone(&self.space.lock());
        space.fill(&self.latch)
    }

    /// Makes all records durable and gives allocated space back.
    pub fn close(&self) -> Result<()> {
        if let Err(error) = self.sync() {
            self.cut_half_written();
            return Err(error);
        }
        let mut active = self.active.lock();
        active.retiring.as_mut().map_or(Ok(()), Writer::trim)?;
        active.writer.trim()
    }

    /// Cuts off what the system took of records that it would not take whole, and that are given up now: a closed log ends
    /// with a record, and opening it must not need room for a quarantine.
    fn cut_half_written(&self) {
        let _alone = self.syncing.lock();
        let active = self.active.lock();
        if self.latch.check().is_err() {
            return;
        }
        // If that fails, too, the next open finds a torn tail, as after a crash.
        let (file, end) = (active.writer.file(), active.handed_over().end);
        let _ = file.set_len(end).and_then(|()| file.sync_data());
    }

    /// What ends all writing.
    pub fn latch(&self) -> &Arc<Latch> {
        &self.latch
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
