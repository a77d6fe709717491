//! The change feed of a store that another process has open, or nobody.
//!
//! # When a record counts as durable
//!
//! Every record carries the highest LSN that had been synced when it was written. So a later record proves an earlier one
//! durable, and so does a checkpoint that covers it. What nothing proves is not delivered: the last group of a store that is
//! open appears with the write that follows it. (In the relaxed modes that may be much later.)
//!
//! Unless the store's lock is free, before the logs were read and after (as far as the system tells: see
//! [`lock::is_held`]): then nobody writes, and every record that is whole is
//! delivered, for the next opening makes them durable before anything else ([`recovery`](crate::recovery)). A power cut before
//! that opening can still take those that the disk never got: a store that crashed together with its system is to be opened
//! before it is followed.
//!
//! One [`Cursor`] runs ahead and only looks at what records prove; another one delivers. So memory is bounded however long
//! nothing is proven. There is no call from one process to another, so the files are looked at every [`POLL`].

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::cursor::{Cursor, Fetched};
use super::pair::{LOG, NEXT};
use crate::error::{Error, Result};
use crate::format::Lsn;
use crate::lock;
use crate::recovery;
use crate::sys::clock::Instant;
use crate::tail::Next;
use crate::vfs::Vfs;
use crate::vfs::os::OsVfs;

/// How often a store is looked at that has nothing new.
const POLL: Duration = Duration::from_millis(20);

/// The durable records of a store in a directory, from some LSN on. Opens files for reading only, and takes no lock.
pub struct Follower {
    vfs: Arc<dyn Vfs>,
    dir: PathBuf,
    cursor: Cursor,
    /// Runs ahead.
    scout: Cursor,
    /// All records up to this LSN are durable.
    proven: Lsn,
}

impl Follower {
    /// A feed of the store in `dir` that begins with the record `from`; 0 counts as 1.
    pub fn open(dir: impl AsRef<Path>, from: Lsn) -> Result<Follower> {
        Follower::open_on(&OsVfs::default(), dir.as_ref(), from)
    }

    /// As [`open`](Self::open), on any file system.
    pub fn open_on(vfs: &dyn Vfs, dir: &Path, from: Lsn) -> Result<Follower> {
        let vfs = vfs.enter(dir).map_err(|cause| Error::file("open directory", dir, &cause))?;
        recovery::check_exists(&*vfs, dir)?;
        let cursor = || Cursor::new(Arc::clone(&vfs), dir, from);
        Ok(Follower { cursor: cursor(), scout: cursor(), proven: 0, dir: dir.to_owned(), vfs })
    }

    /// The LSN of the next record.
    pub fn next_lsn(&mut self) -> Lsn {
        self.cursor.next()
    }

    /// Somebody else knows that all records up to this LSN are durable.
    pub fn prove(&mut self, lsn: Lsn) {
        self.proven = self.proven.max(lsn);
    }

    /// Looks how far the log is proven to be durable now.
    pub fn proven(&mut self) -> Result<Lsn> {
        self.look_ahead()?;
        Ok(self.proven)
    }

    /// The next record. Waits for it for `timeout`, or for as long as it takes.
    pub fn next(&mut self, timeout: Option<Duration>) -> Result<Next<'_>> {
        let began = Instant::now();
        while !self.cursor.has_record() {
            if self.cursor.next() > self.proven {
                self.look_ahead()?;
            }
            match self.cursor.fetch(self.proven)? {
                Fetched::Some => break,
                Fetched::Lagged(lsn) => return Ok(Next::Lagged(lsn)),
                Fetched::Nothing => {}
            }
            let left = timeout.map(|timeout| timeout.saturating_sub(began.elapsed()));
            match left {
                Some(Duration::ZERO) => return Ok(Next::Nothing),
                left => std::thread::sleep(left.unwrap_or(POLL).min(POLL)),
            }
        }
        Ok(self.cursor.take().map_or(Next::Nothing, Next::Record))
    }

    /// Finds out how far the log is proven to be durable.
    fn look_ahead(&mut self) -> Result<()> {
        let is_free = self.is_free()?;
        let checkpoint_lsn = self.scout.newest_checkpoint()?.unwrap_or(0);
        self.cursor.let_go_behind(checkpoint_lsn);
        let mut proven = self.proven.max(checkpoint_lsn);
        loop {
            match self.scout.fetch(Lsn::MAX)? {
                Fetched::Some => {
                    while let Some(record) = self.scout.take() {
                        proven = proven.max(record.durable_lsn);
                    }
                }
                // What the checkpoint covers proves nothing that it does not prove itself.
                Fetched::Lagged(lsn) => self.scout.move_to(lsn + 1),
                Fetched::Nothing => break,
            }
        }
        if is_free && self.is_free()? {
            proven = proven.max(self.scout.next() - 1);
        }
        self.proven = proven;
        Ok(())
    }

    fn is_free(&self) -> Result<bool> {
        Ok(lock::is_held(&*self.vfs, &self.dir, &[LOG, NEXT])? == Some(false))
    }
}
