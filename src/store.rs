//! The store as its users see it.

use std::ffi::CStr;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::{io, mem};

use crate::archive::Archive;
use crate::backup;
use crate::batch::{Batch, BatchChange};
use crate::checkpoints::Newest;
use crate::chores;
use crate::directory;
use crate::engine::{Engine, Visible};
use crate::error::{Error, ErrorKind, Result};
use crate::format::{self, Lsn, Op};
use crate::lock::{self, DirLock};
use crate::options::{Options, Size, SyncMode};
use crate::recovery::{self, Recovered, Report};
use crate::sys::block::Block;
use crate::sys::event::Bell;
use crate::sys::fork::Owner;
use crate::sys::loan;
use crate::sys::thread::Thread;
use crate::table::{Change, Cursor, is_expired};
use crate::tail::Tail;
use crate::transaction::{Entry, Transaction, Work, Works};
use crate::vfs::Vfs;
use crate::vfs::os::OsVfs;
use crate::wal::pair::{Ahead, LogPair};
use crate::write::{Transactions, Write};

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
    /// Calls the one that keeps the time for the archive.
    time_bell: Option<Arc<Bell>>,
    /// Ends the former.
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
    /// Attempts to make a checkpoint that failed since the store was opened, those in the background included.
    pub checkpoints_failed: u64,
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
        let archive = options.archive_dir.as_ref();
        let archive = archive.map(|archive| open_archive(&vfs, archive, &dir, report.last_lsn)).transpose()?;
        let ahead = options.preallocate_bytes();
        let fills = options.sync == SyncMode::Always && Ahead::wants_filler(ahead);
        let bell = match fills || options.sync == SyncMode::Interval {
            true => Some(Arc::new(Bell::new().map_err(|cause| Error::io("eventfd", &cause))?)),
            false => None,
        };
        let ahead = Ahead { bytes: ahead, filler: bell.clone().filter(|_| fills) };
        let modes = (options.sync, ahead);
        let logs = LogPair::new(Arc::clone(&vfs), &dir, log, next, modes, bell.clone(), Arc::default());
        if is_new {
            logs.trust_name();
        }
        let newest = checkpoint.map(|header| Newest { lsn: header.lsn, file_len: header.file_len });
        let engine = Arc::new(Engine::new(vfs, dir, options.clone(), table, logs, newest, archive));
        let stop = Arc::new(AtomicBool::new(false));
        let (threads, errors) = (Vec::new(), AtomicU64::new(0));
        let mut store = Store { engine, owner, lock: None, bell, time_bell: None, stop, threads, report, errors };
        store.start_threads()?;
        Ok(store)
    }

    /// Starts the threads that the options call for.
    fn start_threads(&mut self) -> Result<()> {
        if let Some(bell) = self.bell.clone() {
            let stop = Arc::clone(&self.stop);
            self.start(c"kvwal-log", move |engine| chores::do_chores(engine, &bell, &stop))?;
        }
        if self.engine.options.checkpoint_wal_bytes != Size::Never {
            self.start(c"kvwal-ckpt", |engine| {
                while engine.checkpoints.wait_for_request() {
                    // If it fails the log stays, and another is tried when it has grown.
                    let _ = engine.checkpoint();
                }
            })?;
        }
        if self.engine.archive.is_some() {
            let bell = Arc::new(Bell::new().map_err(|cause| Error::io("eventfd", &cause))?);
            self.time_bell = Some(Arc::clone(&bell));
            self.start(c"kvwal-times", move |engine| chores::keep_time(engine, &bell))?;
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
            _ => unreachable!("the queue gives back what it was given"),
        }
    }

    /// Makes all changes of a batch, or, after any failure or crash, none.
    pub fn write(&self, batch: &Batch) -> Result<()> {
        self.check_process()?;
        let mut changes = Vec::new();
        changes.try_reserve_exact(batch.len()).map_err(|_| Error::no_memory(batch.len() * size_of::<Change>()))?;
        for BatchChange { key, value, expires_at } in batch.changes() {
            let op = match (value, expires_at) {
                (None, _) => Op::Delete,
                (Some(_), 0) => Op::Put,
                (Some(_), _) => Op::PutExpiring,
            };
            changes.push(self.change(op, key, value.unwrap_or_default(), expires_at)?);
        }
        if changes.is_empty() {
            return self.engine.latch.check();
        }
        self.engine.write(Write::Many(changes)).map(drop)
    }

    fn change(&self, op: Op, key: &[u8], value: &[u8], expires_at: u64) -> Result<Change> {
        self.engine.table.new_change(op, key, value, expires_at)
    }

    /// Runs `work`, which reads keys and makes changes, as a whole at one moment: nobody else writes between what it reads
    /// and what it writes, and its changes are made all at once. Returns what it returns, once that is durable together with
    /// all that it has seen. After an error nothing is changed. For what it may do see [`Work`].
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let store = kvwal::Store::open(dir.path().join("store"), &kvwal::Options::default())?;
    /// store.set(b"alice", &[10])?;
    /// let moved = store.transact(|transaction| {
    ///     let balance = transaction.get(b"alice")?.unwrap_or_default();
    ///     if balance < vec![7] {
    ///         return Ok(false);
    ///     }
    ///     transaction.set(b"alice", &[balance[0] - 7])?;
    ///     transaction.set(b"bob", &[7])?;
    ///     Ok(true)
    /// })?;
    /// assert!(moved && store.get(b"bob")? == Some(vec![7]));
    /// # Ok::<(), kvwal::Error>(())
    /// ```
    pub fn transact<R: Send>(&self, work: impl FnOnce(&mut Transaction<'_>) -> Result<R> + Send) -> Result<R> {
        let (mut work, mut answer) = (Some(work), None);
        let run = |transaction: &mut Transaction<'_>| {
            let work = work.take().expect("a work runs once");
            answer = Some(work(transaction)?);
            Ok(())
        };
        self.transact_all(&mut [run]).pop().expect("one result for each")?;
        Ok(answer.expect("a work that succeeded has returned"))
    }

    /// Runs works as [`transact`](Self::transact) does, each for itself and after the one before it, and returns their results
    /// in the same order. They share as few group commits as a sensible length of those allows: hundreds of small ones, one.
    /// If one of these fails so do the works that come after it, which are not run.
    pub fn transact_all<W: Work + Send>(&self, works: &mut [W]) -> Vec<Result<()>> {
        let count = works.len();
        let mut results = Vec::with_capacity(count);
        let mut run = |(number, mut transaction): (usize, Transaction<'_>)| {
            let work: &mut W = &mut works[number];
            work.run(&mut transaction)?;
            Ok(transaction.into_changes())
        };
        let ran = loan::lend::<Works, _>(&mut run, |works| {
            self.check_process()?;
            while results.len() < count {
                let (first, left) = (results.len(), count - results.len());
                let write = Write::Transactions(Transactions::new(works.clone(), first, left));
                let Write::Transactions(done) = self.engine.write(write)? else {
                    unreachable!("the queue gives back what it was given")
                };
                results.extend(done.into_results());
            }
            Ok(())
        });
        if let Err(error) = ran {
            results.resize(count, Err(error));
        }
        results
    }

    /// Sets `key` to `value` if it is not there; says whether it did.
    pub fn set_if_absent(&self, key: &[u8], value: &[u8]) -> Result<bool> {
        self.compare_and_set(key, None, Some(value))
    }

    /// Sets `key` to `value`, or deletes it, if its value is `expected`, or if it is not there and that is what is expected;
    /// says whether it was so.
    pub fn compare_and_set(&self, key: &[u8], expected: Option<&[u8]>, value: Option<&[u8]>) -> Result<bool> {
        format::check_lengths(key, value.unwrap_or_default())?;
        self.transact(|transaction| {
            let is_expected = transaction.get_with(key, |entry| Some(entry.value) == expected)?;
            if !is_expected.unwrap_or(expected.is_none()) {
                return Ok(false);
            }
            match value {
                Some(value) => transaction.set(key, value)?,
                None => drop(transaction.del(key)?),
            }
            Ok(true)
        })
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

    /// As [`get_with`](Self::get_with), with all that is known of the key.
    pub fn entry_with<R>(&self, key: &[u8], found: impl FnOnce(Entry<'_>) -> R) -> Result<Option<R>> {
        self.check_process()?;
        format::check_lengths(key, b"")?;
        let living = |block: &Block| (!self.has_expired(block)).then(|| found(Entry::of(block, block.lsn())));
        Ok(self.engine.table.get(key, living).flatten())
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
        self.scan_expiring(prefix, |key, value, _| visit(key, value))
    }

    /// As [`scan`](Store::scan), with the Unix time in milliseconds at which each key expires, 0 for never.
    pub fn scan_expiring(&self, prefix: &[u8], mut visit: impl FnMut(&[u8], &[u8], u64) -> bool) -> Result<()> {
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
                Ok(block.expires_at())
            });
            let expires_at = copied.expect("a snapshot keeps what it sees")?;
            if !visit(key, &value, expires_at) {
                break;
            }
        }
        Ok(())
    }

    /// Visits keys one stretch after the other, with no state kept in between: calls `visit` with each key of the next few,
    /// at least `at_least` of them, from `cursor` on, and returns where to go on. 0 is the first cursor, and the last.
    /// A key that is there from the first call to the last is visited exactly once; the keys of one call are those
    /// of one moment. The order is that of a hash with a random seed, so a cursor is good only as long as the store is open.
    ///
    /// Writers may wait while `visit` runs, which must not call the store.
    pub fn keys_from(&self, cursor: u64, at_least: usize, mut visit: impl FnMut(&[u8])) -> Result<u64> {
        self.check_process()?;
        let now = self.engine.vfs.now_ms();
        let snapshot = self.engine.snapshot();
        let (mut cursor, mut visited) = (Cursor::from_number(cursor), 0);
        while visited < at_least {
            let is_more = snapshot.visit_some(&mut cursor, |block| {
                if !is_expired(block, now) {
                    visited += 1;
                    visit(block.key());
                }
                Ok(())
            })?;
            if !is_more {
                return Ok(0);
            }
        }
        Ok(cursor.to_number())
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
            checkpoints_failed: self.engine.checkpoints.failures(),
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
        if let Some(bell) = &self.time_bell {
            bell.ring();
        }
        let mut result = Ok(());
        for thread in self.threads.drain(..) {
            if !thread.join() {
                result = Err(Error::new(ErrorKind::Internal, "a bug in kvwal: a background thread panicked"));
            }
        }
        if let Some(lock) = self.lock.take() {
            let closed = self.engine.logs.close();
            let archived = self.close_archive(closed.is_ok());
            result = result.and(closed).and(archived).and(lock.release());
        }
        result
    }

    fn close_archive(&self, all_is_durable: bool) -> Result<()> {
        let Some(archive) = &self.engine.archive else { return Ok(()) };
        let Visible { lsn, durable_lsn, .. } = self.engine.visible();
        archive.close(if all_is_durable { lsn } else { durable_lsn })
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
        self.engine.let_go();
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

/// The archive `dir` of the store in `store`, which ends with the record `last_lsn`.
fn open_archive(vfs: &Arc<dyn Vfs>, dir: &Path, store: &Path, last_lsn: Lsn) -> Result<Archive> {
    let dir = std::path::absolute(dir).map_err(|cause| Error::file("open", dir, &cause))?;
    if dir == store {
        let message = format!("{} is the store: its archive needs a directory of its own", dir.display());
        return Err(Error::new(ErrorKind::Invalid, message));
    }
    Archive::open(vfs, &dir, last_lsn)
}

/// Makes sure that there is a directory, and unless one may be created, a store in it; enters it.
fn enter_dir(vfs: &dyn Vfs, dir: &Path, create: bool) -> Result<Arc<dyn Vfs>> {
    let entered = match vfs.enter(dir) {
        Err(cause) if cause.kind() == io::ErrorKind::NotFound && create => {
            // If somebody else was faster, the lock decides between us.
            directory::create(vfs, dir)?;
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
    directory::keep_name(vfs, dir)?;
    Ok(entered)
}
