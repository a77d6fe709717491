//! The change feed of an open store: its durable records, in order, each once.
//!
//! # The algorithm
//!
//! The store knows how far its log is durable. A tail that has delivered everything up to there waits until that grows
//! ([`Watchers`](crate::watchers::Watchers)); what is durable it reads from the log's files ([`Cursor`]), whatever writers and
//! checkpoints do there. So it takes no part in a commit, and holds none up. How far the log is durable only ever grows by
//! whole groups, so a batch is delivered as a whole.
//!
//! A tail that waits has read everything that was durable, so it needs no log that a checkpoint has retired meanwhile: when one
//! was completed it lets go of the file, and finds its place in the next one when there is something to read.

use std::sync::Arc;
use std::time::Duration;

use crate::engine::Engine;
use crate::error::{Error, ErrorKind, Result};
use crate::format::{Lsn, Record};
use crate::lock;
use crate::sys::clock::Instant;
use crate::sys::event::Bell;
use crate::sys::fork::Owner;
use crate::wal::cursor::{Cursor, Fetched};

/// How often a durable record is looked for that is not found: names may be changing. From the tenth time on with a pause.
const MOST_ATTEMPTS: u32 = 200;
const PAUSE: Duration = Duration::from_millis(1);

/// What a feed has next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next<'a> {
    /// A record. If its [`more`](Record::more) is set, the next one belongs to the same batch, and is there, too.
    Record(Record<'a>),
    /// Nothing came within the time.
    Nothing,
    /// The next record is in no log any more: a checkpoint of this LSN covers it. Begin again with what the store holds now, or
    /// with a backup, and a feed from the LSN behind this one. Records that the store's contents already reflect may come
    /// again; they set or delete whole values, so in the end that makes no difference.
    Lagged(Lsn),
}

/// The durable records of an open store, from some LSN on. One thread at a time. It may outlive the store's being closed: then
/// there are no more records, and it gives an error.
pub struct Tail {
    engine: Arc<Engine>,
    owner: Owner,
    cursor: Cursor,
    bell: Arc<Bell>,
}

impl Tail {
    /// A feed that begins with the record `from`, at most the one that the next write will have. 0 counts as 1.
    pub(crate) fn new(engine: &Arc<Engine>, from: Lsn) -> Result<Tail> {
        let last = engine.visible().lsn;
        if from > last + 1 {
            let message = format!("a feed from LSN {from}, but the store's last is {last}: is it another store's?");
            return Err(Error::new(ErrorKind::Invalid, message));
        }
        let owner = Owner::current().map_err(|cause| Error::io("mmap", &cause))?;
        let bell = Arc::new(Bell::new().map_err(|cause| Error::io("eventfd", &cause))?);
        let cursor = Cursor::new(Arc::clone(&engine.vfs), &engine.dir, from);
        Ok(Tail { engine: Arc::clone(engine), owner, cursor, bell })
    }

    /// The next record. Waits for it for `timeout`, or for as long as it takes.
    pub fn next(&mut self, timeout: Option<Duration>) -> Result<Next<'_>> {
        self.check_process()?;
        let began = Instant::now();
        let mut attempts = 0;
        while !self.cursor.has_record() {
            let left = timeout.map(|timeout| timeout.saturating_sub(began.elapsed()));
            let Some(durable_lsn) = self.wait(left)? else {
                match left {
                    Some(Duration::ZERO) => return Ok(Next::Nothing),
                    _ => continue,
                }
            };
            match self.cursor.fetch(durable_lsn)? {
                Fetched::Some => {}
                Fetched::Lagged(lsn) => return Ok(Next::Lagged(lsn)),
                Fetched::Nothing => self.look_again(&mut attempts)?,
            }
        }
        Ok(self.cursor.take().map_or(Next::Nothing, Next::Record))
    }

    /// An error in a forked child of the process that opened it.
    pub fn check_process(&self) -> Result<()> {
        lock::check_process(&self.owner)
    }

    /// How far the log is durable, if the next record is; otherwise waits for that once.
    fn wait(&mut self, timeout: Option<Duration>) -> Result<Option<Lsn>> {
        if self.engine.watchers.is_closed() {
            return Err(Error::new(ErrorKind::Invalid, "the store that is followed was closed"));
        }
        if let Some(durable_lsn) = self.engine.durable_or_ring(self.cursor.next(), &self.bell) {
            return Ok(Some(durable_lsn));
        }
        let (newest, _) = self.engine.checkpoints.newest();
        self.cursor.let_go_behind(newest.map_or(0, |newest| newest.lsn));
        // Perhaps that was said before we were on the list.
        if timeout != Some(Duration::ZERO) && !self.engine.watchers.is_closed() {
            self.bell.wait(timeout);
        }
        self.engine.watchers.remove(&self.bell);
        Ok(None)
    }

    fn look_again(&self, attempts: &mut u32) -> Result<()> {
        *attempts += 1;
        if *attempts > MOST_ATTEMPTS {
            let (dir, lsn) = (self.engine.dir.display(), self.cursor.next());
            return Err(Error::corrupt(format!("record {lsn} is durable, but the logs in {dir} do not hold it")));
        }
        if *attempts > 10 {
            std::thread::sleep(PAUSE);
        }
        Ok(())
    }
}

impl Drop for Tail {
    fn drop(&mut self) {
        self.engine.let_go();
    }
}
