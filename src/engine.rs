//! The parts of an open store at work: writes go through the commit queue to the log and then to the table, and
//! checkpoints are made of both.
//!
//! Lock order, from the outside in: the commit queue's (never held while another is taken), the log's
//! ([`LogPair`]: `syncing`, then `active`), `visible`, a shard's of the table or the [`Watchers`]'.

use std::path::PathBuf;
use std::ptr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::archive::Archive;
use crate::checkpoint;
use crate::checkpoints::{Checkpoints, Newest};
use crate::commit::{CommitQueue, Committer};
use crate::error::{Error, ErrorKind, Result};
use crate::format::{Lsn, Op};
use crate::options::{Options, SyncMode};
use crate::sys::event::Bell;
use crate::sys::sync::Mutex;
use crate::sys::{thread, valgrind};
use crate::table::{Snapshot, Table};
use crate::vfs::stream::Stream;
use crate::vfs::{Access, File, Vfs};
use crate::wal::Latch;
use crate::wal::pair::{Appended, Locked, LogPair};
use crate::watchers::Watchers;
use crate::write::{self, Write};

/// Shared by the callers' threads and the background threads of a store.
pub struct Engine {
    pub vfs: Arc<dyn Vfs>,
    pub dir: PathBuf,
    pub options: Options,
    pub table: Table,
    pub logs: LogPair,
    pub latch: Arc<Latch>,
    pub checkpoints: Checkpoints,
    /// Where retired logs are kept.
    pub archive: Option<Archive>,
    queue: CommitQueue<Write>,
    /// What readers see. Held while a group is applied, so that a snapshot never begins inside one.
    visible: Mutex<Visible>,
    /// A checkpoint is requested when the log is longer than this.
    checkpoint_above: AtomicU64,
    /// The thread that runs works, 0 if there is none.
    worker: AtomicU64,
    /// Told under the lock of `visible` how far the log is durable.
    pub watchers: Watchers,
    sets: AtomicU64,
    dels: AtomicU64,
}

/// How far the table is, and the log with it.
#[derive(Clone, Copy, Debug)]
pub struct Visible {
    /// The last record applied.
    pub lsn: Lsn,
    /// The last record known to be on the disk.
    pub durable_lsn: Lsn,
    /// Bytes of records in the log.
    pub wal_bytes: u64,
}

impl Committer<Write> for Engine {
    fn commit(&self, group: &mut [Write]) -> Result<()> {
        let _unwinding = LatchOnPanic(&self.latch);
        let appended = match group.iter().any(Write::has_works) {
            false => self.logs.append(group.iter().flat_map(Write::records))?,
            true => match self.run_and_append(group)? {
                Some(appended) => appended,
                None => return Ok(()),
            },
        };
        if self.options.sync == SyncMode::Always {
            // Not before, for the sync has taken a while.
            self.table.prefetch(group.iter().flat_map(Write::changes));
        }
        // The log stays locked until the group is applied, so that the table is never behind it.
        self.apply(group, appended.state())
    }
}

impl Drop for Engine {
    /// The other end of [`let_go`](Engine::let_go).
    fn drop(&mut self) {
        valgrind::happens_after(ptr::from_ref(self).cast());
    }
}

impl Engine {
    /// Puts the parts of a recovered store together.
    pub fn new(
        vfs: Arc<dyn Vfs>,
        dir: PathBuf,
        options: Options,
        table: Table,
        logs: LogPair,
        newest: Option<Newest>,
        archive: Option<Archive>,
    ) -> Engine {
        let Appended { at, bytes } = logs.end();
        let visible = Visible { lsn: at.last_lsn, durable_lsn: at.durable_lsn, wal_bytes: bytes };
        let is_unfinished = logs.is_retiring();
        let threshold = options.checkpoint_threshold(newest.map_or(0, |newest| newest.file_len));
        Engine {
            vfs,
            dir,
            options,
            table,
            latch: Arc::clone(logs.latch()),
            logs,
            checkpoints: Checkpoints::new(newest, is_unfinished),
            archive,
            queue: CommitQueue::new(),
            visible: Mutex::new(visible),
            checkpoint_above: AtomicU64::new(threshold.unwrap_or(u64::MAX)),
            worker: AtomicU64::new(0),
            watchers: Watchers::new(),
            sets: AtomicU64::new(0),
            dels: AtomicU64::new(0),
        }
    }

    /// For the store and its feeds, each before it lets go of this: whoever is the last frees what the others have used. The
    /// count of an [`Arc`] orders that, which thread checkers do not know, and are told.
    pub fn let_go(&self) {
        valgrind::happens_before(ptr::from_ref(self).cast());
    }

    /// Commits changes; returns them, applied.
    pub fn write(&self, write: Write) -> Result<Write> {
        self.check_caller()?;
        let written = match self.options.sync {
            SyncMode::Always => self.queue.submit(write, self)?,
            // There is no sync to be shared, so nobody waits for anybody but for the log's lock.
            SyncMode::Interval | SyncMode::None => {
                // Meanwhile the records are encoded.
                self.table.prefetch(write.changes());
                let mut group = [write];
                self.commit(&mut group)?;
                let [written] = group;
                written
            }
        };
        for change in written.changes() {
            match (change.op(), change.found()) {
                (Op::Delete, true) => self.dels.fetch_add(1, Ordering::Relaxed),
                (Op::Delete, false) => 0,
                _ => self.sets.fetch_add(1, Ordering::Relaxed),
            };
        }
        Ok(written)
    }

    /// Runs the works of a group and appends what they have decided, and all else; `None` if that is nothing.
    fn run_and_append(&self, group: &mut [Write]) -> Result<Option<Locked<'_>>> {
        let log = self.logs.lock()?;
        self.latch.check()?;
        {
            let _at_work = AtWork::begin(&self.worker);
            write::run_works(group, &self.table, log.state().at.last_lsn, self.vfs.now_ms());
        }
        let records = group.iter().flat_map(Write::records);
        match records.clone().next() {
            Some(_) => self.logs.append_locked(log, records).map(Some),
            None => Ok(None),
        }
    }

    /// An error if the caller is a work of a transaction, which has the log already.
    fn check_caller(&self) -> Result<()> {
        match self.worker.load(Ordering::Relaxed) {
            worker if worker != 0 && worker == thread::pointer() => {
                Err(Error::new(ErrorKind::Invalid, "a transaction of the same store is under way on this thread"))
            }
            _ => Ok(()),
        }
    }

    fn apply(&self, group: &mut [Write], appended: Appended) -> Result<()> {
        let mut visible = self.visible.lock();
        let mut lsn = visible.lsn + 1;
        for write in group {
            for batch in write.batches_mut() {
                let count = batch.len() as Lsn;
                let applied = match batch {
                    [change] => self.table.apply(change, lsn, || self.vfs.now_ms()),
                    changes => self.table.apply_batch(changes, lsn, || self.vfs.now_ms()),
                };
                // In the log but not in the table, for want of memory: only a new open brings the two together again.
                // What is in the table is to be seen by scans as it is by lookups.
                applied.map_err(|error| {
                    visible.lsn = appended.at.last_lsn;
                    self.latch.set(&error)
                })?;
                lsn += count;
            }
        }
        *visible = Visible { lsn: lsn - 1, durable_lsn: appended.at.durable_lsn, wal_bytes: appended.bytes };
        self.watchers.durable(visible.durable_lsn);
        if appended.bytes > self.checkpoint_above.load(Ordering::Relaxed) {
            self.checkpoint_above.swap(u64::MAX, Ordering::Relaxed);
            self.checkpoints.request();
        }
        Ok(())
    }

    /// How far the table is. Waits for a group that is being applied, not for the disk.
    pub fn visible(&self) -> Visible {
        *self.visible.lock()
    }

    /// Keys set and keys deleted so far.
    pub fn counts(&self) -> (u64, u64) {
        (self.sets.load(Ordering::Relaxed), self.dels.load(Ordering::Relaxed))
    }

    /// The table as it is now.
    pub fn snapshot(&self) -> Snapshot<'_> {
        let visible = self.visible.lock();
        self.table.snapshot(visible.lsn)
    }

    /// Makes every earlier write durable.
    pub fn sync(&self) -> Result<()> {
        self.check_caller()?;
        let at = self.logs.sync()?;
        let mut visible = self.visible.lock();
        visible.durable_lsn = visible.durable_lsn.max(at.durable_lsn);
        self.watchers.durable(visible.durable_lsn);
        Ok(())
    }

    /// How far the log is durable, if that is up to the record `lsn`; otherwise `bell` rings when it is, or earlier.
    pub fn durable_or_ring(&self, lsn: Lsn, bell: &Arc<Bell>) -> Option<Lsn> {
        let visible = self.visible.lock();
        if visible.durable_lsn >= lsn {
            return Some(visible.durable_lsn);
        }
        self.watchers.add(lsn, bell);
        None
    }

    /// Returns when a checkpoint covers everything that is visible now.
    pub fn checkpoint(&self) -> Result<()> {
        self.check_caller()?;
        self.latch.check()?;
        self.checkpoints.ensure(self.visible().lsn, || {
            let made = self.make_checkpoint();
            self.schedule_next(made.as_ref().ok());
            made
        })?;
        // Whoever waits lets go of the log that was retired.
        self.watchers.wake_all();
        Ok(())
    }

    /// Sets the length of the log that starts the next checkpoint in the background. After a failure, wait for as much
    /// log again.
    fn schedule_next(&self, made: Option<&Newest>) {
        let (newest, _) = self.checkpoints.newest();
        let newest_len = made.copied().or(newest).map_or(0, |newest| newest.file_len);
        let Some(threshold) = self.options.checkpoint_threshold(newest_len) else { return };
        let from = if made.is_some() { 0 } else { self.visible().wal_bytes };
        self.checkpoint_above.swap(from.saturating_add(threshold), Ordering::Relaxed);
    }

    /// The steps are those of [`checkpoint`](crate::checkpoint).
    fn make_checkpoint(&self) -> Result<Newest> {
        let next = self.logs.prepare()?;
        let (snapshot, wal_offset) = self.logs.switch(next, |at| {
            let mut visible = self.visible.lock();
            self.latch.check()?;
            visible.durable_lsn = at.durable_lsn;
            self.watchers.durable(at.durable_lsn);
            Ok((self.table.snapshot(visible.lsn), at.end))
        })??;
        let unfinished = self.dir.join(checkpoint::UNFINISHED);
        let finished = self.dir.join(checkpoint::NAME);
        let written = self.write_checkpoint(snapshot, wal_offset).and_then(|newest| {
            let renamed = self.vfs.rename(&unfinished, &finished);
            renamed.map_err(|cause| Error::file("rename", &unfinished, &cause))?;
            Ok(newest)
        });
        let newest = written.inspect_err(|_| {
            // If it cannot be removed either, the next checkpoint or the next open overwrites or removes it.
            let _ = self.vfs.remove(&unfinished);
        })?;
        self.logs.sync_dir()?;
        self.retire()?;
        Ok(newest)
    }

    /// Does away with the log that a durable checkpoint covers, once the archive, if there is one, has it.
    fn retire(&self) -> Result<()> {
        let kept = match (&self.archive, self.logs.retiring()) {
            (Some(archive), Some(log)) => {
                archive.keep(&log)?;
                Some(log)
            }
            _ => None,
        };
        self.visible.lock().wal_bytes = self.logs.retire()?;
        if let Some(log) = kept {
            log.trim();
        }
        Ok(())
    }

    fn write_checkpoint(&self, snapshot: Snapshot<'_>, wal_offset: u64) -> Result<Newest> {
        self.write_snapshot(&*self.vfs, self.dir.join(checkpoint::UNFINISHED), snapshot, wal_offset)
    }

    /// Writes a checkpoint to the file `path`, syncs it, and reads it back from the disk.
    pub fn write_snapshot(
        &self,
        vfs: &dyn Vfs,
        path: PathBuf,
        snapshot: Snapshot<'_>,
        wal_offset: u64,
    ) -> Result<Newest> {
        let file: Arc<dyn File> =
            vfs.open(&path, Access::Create).map_err(|cause| Error::file("create", &path, &cause))?;
        let mut stream = Stream::new(vfs, &path, Arc::clone(&file));
        let usage = self.table.usage();
        let is_large = usage.value_bytes + usage.keys * 32 > checkpoint::WORTH_A_THREAD;
        let now = self.vfs.now_ms();
        let written = checkpoint::writer::write(&mut stream, &path, snapshot, wal_offset, now, is_large)?;
        file.sync_all().map_err(|cause| Error::file("fsync", &path, &cause))?;
        file.drop_cache();
        let read = checkpoint::reader::verify(&mut stream, &path, usize::from(is_large));
        if read.as_ref() != Ok(&written) {
            let what = read.err().map_or_else(|| path.display().to_string(), |error| error.to_string());
            return Err(Error::new(ErrorKind::Io, format!("what was read back is not what was written: {what}")));
        }
        Ok(Newest { lsn: written.lsn, file_len: written.file_len })
    }
}

/// Says which thread runs works, while it does.
struct AtWork<'a>(&'a AtomicU64);

impl AtWork<'_> {
    fn begin(worker: &AtomicU64) -> AtWork<'_> {
        worker.swap(thread::pointer(), Ordering::Relaxed);
        AtWork(worker)
    }
}

impl Drop for AtWork<'_> {
    fn drop(&mut self) {
        self.0.swap(0, Ordering::Relaxed);
    }
}

/// Sets the latch if whoever holds it panics: then nobody knows how far the log and the table have come.
struct LatchOnPanic<'a>(&'a Latch);

impl Drop for LatchOnPanic<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.set(&Error::new(ErrorKind::Internal, "a bug in kvwal: a write panicked"));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;
    use crate::options::Size;
    use crate::vfs::sim::{Call, Fault, SimDisk};
    use crate::{Batch, Store};

    fn open(disk: &SimDisk, checkpoint_wal_bytes: Size) -> Store {
        let options = Options { checkpoint_wal_bytes, preallocate: Size::Never, ..Options::default() };
        Store::open_on(Arc::new(disk.clone()), "/store", &options).unwrap()
    }

    #[test]
    fn a_checkpoint_comes_by_itself_when_the_log_is_longer_than_it_may_be() {
        let disk = SimDisk::new(1);
        let store = open(&disk, Size::Bytes(1000));
        let write = |records: u32| {
            for number in 0..records {
                store.set(&[number as u8], &[0; 66]).unwrap();
            }
        };
        // Once without one, and so that the next one lacks a single record.
        let reaches = |count: u64| {
            std::thread::sleep(Duration::from_millis(20));
            assert_eq!(store.stats().checkpoints, count - 1, "{} bytes are not too many", store.stats().wal_bytes);
            write(1);
            let began = Instant::now();
            while store.stats().checkpoints < count {
                assert!(began.elapsed() < Duration::from_secs(10), "none at {} bytes", store.stats().wal_bytes);
                std::thread::sleep(Duration::from_millis(1));
            }
        };
        write(10);
        reaches(1);
        write(10);
        reaches(2);
        // After a failure as much log again is waited for.
        write(7);
        disk.fail(Fault { call: Some(Call::Rename), after: 0, times: 1, errno: libc::EIO, short_first: false });
        store.checkpoint().unwrap_err();
        write(10);
        reaches(3);
        // The failed one had begun a second log, and only the first could go.
        assert_eq!((store.stats().wal_bytes, store.stats().checkpoint_lsn), (1100, 40));
    }

    #[test]
    fn what_was_set_and_what_was_deleted_is_counted() {
        let store = open(&SimDisk::new(1), Size::Never);
        let mut batch = Batch::new();
        batch.set(b"first", b"1").unwrap();
        batch.set(b"second", b"2").unwrap();
        batch.del(b"none").unwrap();
        store.write(&batch).unwrap();
        store.set_ttl(b"third", b"3", 1000).unwrap();
        assert!(store.del(b"first").unwrap() && !store.del(b"first").unwrap());
        let stats = store.stats();
        assert_eq!((stats.sets, stats.dels, stats.keys, stats.bytes), (3, 1, 2, 2));
        assert_eq!((stats.last_lsn, stats.durable_lsn, stats.commits, stats.syncs), (5, 5, 3, 3));
    }
}
