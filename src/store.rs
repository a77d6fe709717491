//! The store as its users see it.

use std::ffi::CStr;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use std::{io, mem};

use crate::backup;
use crate::batch::Batch;
use crate::checkpoints::Newest;
use crate::engine::{Engine, Write};
use crate::error::{Error, ErrorKind, Result};
use crate::format::{self, Lsn, Op};
use crate::lock::{self, DirLock};
use crate::options::{Options, Size, SyncMode};
use crate::recovery::{self, Recovered, Report};
use crate::sys::block::Block;
use crate::sys::clock::Instant;
use crate::sys::event::Bell;
use crate::sys::fork::Owner;
use crate::sys::thread::Thread;
use crate::table::{Change, Cursor, is_expired};
use crate::tail::Tail;
use crate::vfs::Vfs;
use crate::vfs::os::OsVfs;
use crate::wal::Latch;
use crate::wal::pair::{Ahead, LogPair};

/// A durable key-value store in a directory.
///
/// Any number of threads may use one store. A change is durable when the call that made it returns (in
/// [`SyncMode::Always`]), and visible only then. Dropping a store closes it; [`close`](Store::close) also says whether
/// that went well.
pub struct Store {
    engine: Arc<Engine>,
    owner: Owner,
    /// `None` once the store is closed.
    lock: Option<DirLock>,
    /// Calls the thread that does the log's chores.
    bell: Option<Arc<Bell>>,
    /// Ends it.
    stop: Arc<AtomicBool>,
    threads: Vec<Thread>,
    report: Report,
    errors: AtomicU64,
}

/// Counters and sizes of an open store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Lookups, found or not.
    pub gets: u64,
    /// Keys set.
    pub sets: u64,
    /// Keys deleted that were there.
    pub dels: u64,
    /// Calls that ended in an error, as far as they were counted by [`Store::count_error`].
    pub errors: u64,
    /// Keys in the store; one that has expired counts until it is dropped.
    pub keys: u64,
    /// Bytes of the values in the store.
    pub bytes: u64,
    /// LSN of the last record written.
    pub last_lsn: Lsn,
    /// Highest LSN known to be on stable storage.
    pub durable_lsn: Lsn,
    /// LSN of the newest checkpoint, 0 if there is none.
    pub checkpoint_lsn: Lsn,
    /// Bytes of records in the log.
    pub wal_bytes: u64,
    /// Checkpoints completed since the store was opened.
    pub checkpoints: u64,
    /// Group commits.
    pub commits: u64,
    /// Syncs of the log.
    pub syncs: u64,
}

impl Store {
    /// Opens the store in `dir`, creating it if it is missing, and recovers it first.
    pub fn open(dir: impl AsRef<Path>, options: &Options) -> Result<Store> {
        Store::open_on(Arc::new(OsVfs::default()), dir, options)
    }

    /// As [`open`](Store::open), on any file system.
    pub fn open_on(vfs: Arc<dyn Vfs>, dir: impl AsRef<Path>, options: &Options) -> Result<Store> {
        // Absolute, so that the store stays where it is when the program changes its working directory.
        let dir = std::path::absolute(dir.as_ref()).map_err(|cause| Error::file("open", dir.as_ref(), &cause))?;
        let vfs = enter_dir(&*vfs, &dir, options.create)?;
        let lock = DirLock::acquire(&*vfs, &dir)?;
        match Store::open_locked(vfs, dir, options) {
            Ok(mut store) => {
                store.lock = Some(lock);
                Ok(store)
            }
            Err(error) => {
                lock.abandon();
                Err(error)
            }
        }
    }

    fn open_locked(vfs: Arc<dyn Vfs>, dir: PathBuf, options: &Options) -> Result<Store> {
        let owner = Owner::current().map_err(|cause| Error::file("open", &dir, &cause))?;
        let Recovered { table, log, next, checkpoint, report, is_new } = recovery::recover(&*vfs, &dir, options)?;
        let latch = Arc::new(Latch::default());
        let ahead = options.preallocate_bytes();
        let fills = options.sync == SyncMode::Always && Ahead::wants_filler(ahead);
        let bell = match fills || options.sync == SyncMode::Interval {
            true => Some(Arc::new(Bell::new().map_err(|cause| Error::io("eventfd", &cause))?)),
            false => None,
        };
        let ahead = Ahead { bytes: ahead, filler: bell.clone().filter(|_| fills) };
        let modes = (options.sync, ahead);
        let logs = LogPair::new(Arc::clone(&vfs), &dir, log, next, modes, bell.clone(), Arc::clone(&latch));
        if is_new {
            logs.trust_name();
        }
        let newest = checkpoint.map(|header| Newest { lsn: header.lsn, file_len: header.file_len });
        let engine = Arc::new(Engine::new(vfs, dir, options.clone(), table, logs, latch, newest));
        let stop = Arc::new(AtomicBool::new(false));
        let (threads, errors) = (Vec::new(), AtomicU64::new(0));
        let mut store = Store { engine, owner, lock: None, bell, stop, threads, report, errors };
        store.start_threads()?;
        Ok(store)
    }

    /// Starts the threads that the options call for.
    fn start_threads(&mut self) -> Result<()> {
        if let Some(bell) = self.bell.clone() {
            let stop = Arc::clone(&self.stop);
            self.start(c"kvwal-log", move |engine| do_chores(engine, &bell, &stop))?;
        }
        if self.engine.options.checkpoint_wal_bytes != Size::Never {
            self.start(c"kvwal-ckpt", |engine| {
                while engine.checkpoints.wait_for_request() {
                    // If it fails the log stays, and another is tried when it has grown.
                    let _ = engine.checkpoint();
                }
            })?;
        }
        Ok(())
    }

    fn start(&mut self, name: &CStr, work: impl FnOnce(&Engine) + Send + 'static) -> Result<()> {
        let engine = Arc::clone(&self.engine);
        let thread = Thread::start(name, move || work(&engine));
        self.threads.push(thread.map_err(|cause| Error::io(format_args!("start thread {name:?}"), &cause))?);
        Ok(())
    }

    /// Sets `key` to `value`.
    pub fn set(&self, key: &[u8], value: &[u8]) -> Result<()> {
        self.put(Op::Put, key, value, 0)
    }

    /// Sets `key` to `value` for the next `ttl_ms` milliseconds; at least 1.
    pub fn set_ttl(&self, key: &[u8], value: &[u8], ttl_ms: u64) -> Result<()> {
        if ttl_ms == 0 {
            return Err(Error::new(ErrorKind::Invalid, "a time to live of 0"));
        }
        self.put(Op::PutExpiring, key, value, self.engine.vfs.now_ms().saturating_add(ttl_ms))
    }

    fn put(&self, op: Op, key: &[u8], value: &[u8], expires_at: u64) -> Result<()> {
        self.check_process()?;
        let change = self.change(op, key, value, expires_at)?;
        self.engine.write(Write::One([change])).map(drop)
    }

    /// Deletes `key`; false if it was not there.
    pub fn del(&self, key: &[u8]) -> Result<bool> {
        self.check_process()?;
        self.engine.latch.check()?;
        let change = self.change(Op::Delete, key, b"", 0)?;
        // What is not visible now is not there at this moment, whatever else is under way.
        if !self.engine.table.peek(key, |block| !self.has_expired(block)).unwrap_or(false) {
            return Ok(false);
        }
        match self.engine.write(Write::One([change]))? {
            Write::One([change]) => Ok(change.found()),
            Write::Many(_) => unreachable!("the queue gives back what it was given"),
        }
    }

    /// Makes all changes of a batch, or, after any failure or crash, none.
    pub fn write(&self, batch: &Batch) -> Result<()> {
        self.check_process()?;
        let mut changes = Vec::new();
        changes.try_reserve_exact(batch.len()).map_err(|_| Error::no_memory(batch.len() * size_of::<Change>()))?;
        for (key, value) in batch.changes() {
            let op = if value.is_some() { Op::Put } else { Op::Delete };
            changes.push(self.change(op, key, value.unwrap_or_default(), 0)?);
        }
        if changes.is_empty() {
            return self.engine.latch.check();
        }
        self.engine.write(Write::Many(changes)).map(drop)
    }

    fn change(&self, op: Op, key: &[u8], value: &[u8], expires_at: u64) -> Result<Change> {
        format::check_lengths(key, value)?;
        let block = Block::new(self.engine.table.pool(), key, value, expires_at)
            .ok_or_else(|| Error::no_memory(key.len() + value.len()))?;
        Ok(self.engine.table.change(op, block))
    }

    /// The value of `key`.
    pub fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>> {
        self.get_with(key, <[u8]>::to_vec)
    }

    /// Calls `found` with the value of `key`, if it is there. While that runs, memory that writers replace is not freed.
    pub fn get_with<R>(&self, key: &[u8], found: impl FnOnce(&[u8]) -> R) -> Result<Option<R>> {
        self.check_process()?;
        let mut result = None;
        self.look_up(key, |value| result = Some(found(value)))?;
        Ok(result)
    }

    /// As [`get_with`](Self::get_with), for whoever has called [`check_process`](Self::check_process); says whether the key
    /// was there.
    #[inline(always)]
    pub(crate) fn look_up(&self, key: &[u8], found: impl FnOnce(&[u8])) -> Result<bool> {
        format::check_lengths(key, b"")?;
        let found = |block: &Block| {
            let is_there = !self.has_expired(block);
            if is_there {
                found(block.value());
            }
            is_there
        };
        Ok(self.engine.table.get(key, found).unwrap_or(false))
    }

    /// Looks many keys up, each as [`get_with`](Self::get_with) does, and calls `found` for each of them in order. The
    /// waits for memory overlap.
    pub fn get_many<T>(
        &self,
        lookups: &mut [T],
        key: impl Fn(&T) -> &[u8],
        mut found: impl FnMut(&mut T, Option<&[u8]>),
    ) -> Result<()> {
        self.check_process()?;
        lookups.iter().try_for_each(|lookup| format::check_lengths(key(lookup), b""))?;
        self.engine.table.get_many(lookups, key, |lookup, block| {
            found(lookup, block.filter(|block| !self.has_expired(block)).map(Block::value));
        });
        Ok(())
    }

    #[inline(always)]
    fn has_expired(&self, block: &Block) -> bool {
        block.expires_at() != 0 && is_expired(block, self.engine.vfs.now_ms())
    }

    /// Calls `visit` with every key that begins with `prefix`, in byte order, and its value, as of this moment, until
    /// it returns false. It may call the store.
    pub fn scan(&self, prefix: &[u8], mut visit: impl FnMut(&[u8], &[u8]) -> bool) -> Result<()> {
        self.check_process()?;
        let now = self.engine.vfs.now_ms();
        let snapshot = self.engine.snapshot();
        let mut keys = Keys::default();
        let mut cursor = Cursor::default();
        let mut note = |block: &Block| match block.key().starts_with(prefix) && !is_expired(block, now) {
            true => keys.push(block.key()),
            false => Ok(()),
        };
        while snapshot.visit_some(&mut cursor, &mut note)? {}
        let mut value = Vec::new();
        for key in keys.sorted() {
            let copied = snapshot.get(key, |block| {
                value.clear();
                value.try_reserve(block.value_len()).map_err(|_| Error::no_memory(block.value_len()))?;
                value.extend_from_slice(block.value());
                Ok(())
            });
            copied.expect("a snapshot keeps what it sees")?;
            if !visit(key, &value) {
                break;
            }
        }
        Ok(())
    }

    /// Makes every earlier write durable, in the relaxed modes.
    pub fn sync(&self) -> Result<()> {
        self.check_process()?;
        self.engine.sync()
    }

    /// Returns when a checkpoint covers everything acknowledged before the call.
    pub fn checkpoint(&self) -> Result<()> {
        self.check_process()?;
        self.engine.checkpoint()
    }

    /// Makes a backup: a store of its own in `dir`, which must not exist or be empty, that holds what this one holds at some
    /// moment of the call. Writers go on meanwhile, and checkpoints do. It is verified, and durable; returns the LSN as of
    /// which it is, with which it goes on when it is opened.
    pub fn backup(&self, dir: impl AsRef<Path>) -> Result<Lsn> {
        self.check_process()?;
        let dir = std::path::absolute(dir.as_ref()).map_err(|cause| Error::file("open", dir.as_ref(), &cause))?;
        backup::make(&self.engine, &dir)
    }

    /// A feed of the durable records, from the record `from` on; see [`Tail`].
    pub fn tail(&self, from: Lsn) -> Result<Tail> {
        self.check_process()?;
        Tail::new(&self.engine, from)
    }

    /// Counters and sizes.
    pub fn stats(&self) -> Stats {
        let usage = self.engine.table.usage();
        let visible = self.engine.visible();
        let (sets, dels) = self.engine.counts();
        let (commits, syncs) = self.engine.logs.counts();
        let (newest, checkpoints) = self.engine.checkpoints.newest();
        Stats {
            gets: usage.gets,
            sets,
            dels,
            errors: self.errors.load(Ordering::Relaxed),
            keys: usage.keys,
            bytes: usage.value_bytes,
            last_lsn: visible.lsn,
            durable_lsn: visible.durable_lsn,
            checkpoint_lsn: newest.map_or(0, |newest| newest.lsn),
            wal_bytes: visible.wal_bytes,
            checkpoints,
            commits,
            syncs,
        }
    }

    /// What opening found.
    pub fn recovery_report(&self) -> &Report {
        &self.report
    }

    /// Counts a failed call, for [`Stats::errors`].
    pub fn count_error(&self) {
        self.errors.fetch_add(1, Ordering::Relaxed);
    }

    /// An error in a forked child of the process that opened the store.
    pub fn check_process(&self) -> Result<()> {
        lock::check_process(&self.owner)
    }

    /// Panics unless the table is consistent. For tests.
    pub fn check_invariants(&self) {
        self.engine.table.check_invariants();
    }

    /// Closes the store: waits for a running checkpoint, makes everything durable, and gives allocated space back.
    pub fn close(mut self) -> Result<()> {
        self.shut()
    }

    fn shut(&mut self) -> Result<()> {
        if let Err(error) = self.check_process() {
            self.leave_to_parent();
            return Err(error);
        }
        self.stop.swap(true, Ordering::Relaxed);
        if let Some(bell) = &self.bell {
            bell.ring();
        }
        self.engine.checkpoints.stop();
        self.engine.watchers.close();
        let mut result = Ok(());
        for thread in self.threads.drain(..) {
            if !thread.join() {
                result = Err(Error::new(ErrorKind::Internal, "a bug in kvwal: a background thread panicked"));
            }
        }
        if let Some(lock) = self.lock.take() {
            let closed = self.engine.logs.close();
            result = result.and(closed).and(lock.release());
        }
        result
    }

    /// In a forked child: gives our share of the lock back, and leaves the rest alone. The memory may be in the middle
    /// of a change by a thread that the child does not have, so it is not even freed.
    fn leave_to_parent(&mut self) {
        drop(self.lock.take());
        self.threads.clear();
        mem::forget(Arc::clone(&self.engine));
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        if self.lock.is_some() || !self.threads.is_empty() {
            // Whoever wants to know calls close().
            let _ = self.shut();
        }
    }
}

/// How long a record may stay in memory before it is handed over to the system, in [`SyncMode::Interval`].
const HAND_OVER_EVERY: Duration = Duration::from_millis(3);

/// The chores of the log. Failures are latched, or made up for by the writers, who report them.
fn do_chores(engine: &Engine, bell: &Bell, stop: &AtomicBool) {
    match engine.options.sync {
        SyncMode::Interval => hand_over_and_sync(engine, bell, stop),
        SyncMode::Always | SyncMode::None => {
            while !stop.load(Ordering::Relaxed) {
                let _ = engine.logs.fill();
                bell.wait(None);
            }
        }
    }
}

/// In [`SyncMode::Interval`]: sleeps until there is something in the buffer, hands it over after a moment, or as soon as
/// the buffer is half full, and syncs at regular times.
fn hand_over_and_sync(engine: &Engine, bell: &Bell, stop: &AtomicBool) {
    let interval = Duration::from_millis(engine.options.sync_interval_ms.max(1));
    let mut unsynced_since = None;
    let mut is_rung = false;
    loop {
        if is_rung {
            bell.wait(Some(HAND_OVER_EVERY.min(interval)));
            let _ = engine.logs.hand_over();
            unsynced_since.get_or_insert_with(Instant::now);
        }
        if unsynced_since.is_some_and(|since: Instant| since.elapsed() >= interval) {
            // What could not be handed over is tried again, even if nobody writes any more.
            unsynced_since = engine.sync().is_err().then(Instant::now);
        }
        if stop.load(Ordering::Relaxed) {
            // Perhaps that was what the bell rang for when it was heard above.
            return;
        }
        is_rung = bell.wait(unsynced_since.map(|since| interval.saturating_sub(since.elapsed())));
    }
}

/// Keys that a scan has found.
#[derive(Default)]
struct Keys {
    bytes: Vec<u8>,
    places: Vec<Range<usize>>,
}

impl Keys {
    fn push(&mut self, key: &[u8]) -> Result<()> {
        let no_memory = |_| Error::no_memory(key.len());
        self.bytes.try_reserve(key.len()).map_err(no_memory)?;
        self.places.try_reserve(1).map_err(no_memory)?;
        let start = self.bytes.len();
        self.bytes.extend_from_slice(key);
        self.places.push(start..self.bytes.len());
        Ok(())
    }

    fn sorted(&mut self) -> impl Iterator<Item = &[u8]> {
        let bytes = &self.bytes;
        self.places.sort_unstable_by(|a, b| bytes[a.clone()].cmp(&bytes[b.clone()]));
        self.places.iter().map(|place| &bytes[place.clone()])
    }
}

/// Makes sure that there is a directory, and unless one may be created, a store in it; enters it.
fn enter_dir(vfs: &dyn Vfs, dir: &Path, create: bool) -> Result<Arc<dyn Vfs>> {
    let entered = match vfs.enter(dir) {
        Err(cause) if cause.kind() == io::ErrorKind::NotFound && create => {
            create_dir(vfs, dir)?;
            vfs.enter(dir)
        }
        result => result,
    };
    let entered = entered.map_err(|cause| Error::file("open directory", dir, &cause))?;
    if recovery::exists(&*entered, dir)? {
        return Ok(entered);
    }
    if !create {
        return Err(Error::new(ErrorKind::Io, format!("there is no store in {}", dir.display())));
    }
    // Whoever made the directory may have been stopped before its name was durable.
    match sync_parent(vfs, dir) {
        Err(cause) if cause.kind() == io::ErrorKind::PermissionDenied => Ok(entered),
        result => result.map(|()| entered).map_err(|cause| Error::file("fsync the parent directory of", dir, &cause)),
    }
}

fn create_dir(vfs: &dyn Vfs, dir: &Path) -> Result<()> {
    match vfs.create_dir(dir) {
        Ok(()) => {}
        // Somebody else was faster; the lock decides between us.
        Err(cause) if cause.kind() == io::ErrorKind::AlreadyExists => {}
        Err(cause) => return Err(Error::file("mkdir", dir, &cause)),
    }
    sync_parent(vfs, dir).map_err(|cause| {
        // So that the next attempt makes it anew: for a name that is there a second sync proves nothing.
        let _ = vfs.remove_dir(dir);
        Error::file("fsync the parent directory of", dir, &cause)
    })
}

fn sync_parent(vfs: &dyn Vfs, dir: &Path) -> io::Result<()> {
    vfs.sync_dir(dir.parent().unwrap_or(Path::new("/")))
}
