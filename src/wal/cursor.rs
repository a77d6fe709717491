//! Reading the logs of a store from some LSN on, while its owner appends, and while checkpoints retire logs and rename them.
//!
//! # The algorithm
//!
//! LSNs have no gap, so the LSN of the next record says in which file it is: of `wal.log` and `wal.next` the one that begins at
//! or below it, and of two such files the later. There the cursor goes on, batch by batch, with the file open: what becomes of
//! its name does not matter. Where no whole batch follows, the cursor looks at the names again. If a file begins behind the
//! one that it has, and not behind the next record, that is where it goes on; otherwise there is nothing to be read yet.
//!
//! The names are looked at in the order `wal.log`, `wal.next`, `wal.log`. A log gets the name `wal.log` from `wal.next`, so it
//! is not missed if that happens in between. Whatever else is missed is there at the next attempt.
//!
//! If all files begin behind the next record, or are empty, and the newest checkpoint covers it, then its log was retired: the
//! cursor lags ([`Fetched::Lagged`]), and the checkpoint is where to begin again. It keeps no file from being retired. A log
//! that it has open takes room on the disk until it goes on to the next one, or [lets go](Cursor::let_go_behind) of it.
//!
//! A record whose writing is under way is not valid yet, which is no error here: it ends what can be read.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::pair::{LOG, NEXT};
use super::reader::{Reader, Records, Step};
use crate::checkpoint;
use crate::error::{Error, ErrorKind, Result};
use crate::format::{Lsn, Record};
use crate::vfs::{Access, File, Vfs};

/// Bytes of records that are fetched at once, if there are as many.
const FETCH: usize = 256 << 10;
/// How much is read at once: little, for mostly there is a record or two.
const CHUNK: usize = 64 << 10;

/// A place in the logs of a directory.
pub struct Cursor {
    vfs: Arc<dyn Vfs>,
    dir: PathBuf,
    /// The record to be fetched next.
    next: Lsn,
    /// Where it is, or is going to be, as far as is known.
    place: Option<Place>,
    /// The newest checkpoint that it has let go of a file for.
    checkpoint_lsn: Lsn,
    /// Records that were fetched, back to back, and where the first begins that was not taken.
    fetched: Vec<u8>,
    taken: usize,
}

struct Place {
    file: Arc<dyn File>,
    path: PathBuf,
    /// The LSN with which the file begins.
    first: Lsn,
    /// Where a batch begins, and its first LSN.
    offset: u64,
    lsn: Lsn,
}

/// What came of fetching.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fetched {
    /// Records, to be [taken](Cursor::take).
    Some,
    /// There is no whole batch yet.
    Nothing,
    /// The next record is in no log any more, for the checkpoint of this LSN covers it.
    Lagged(Lsn),
}

impl Cursor {
    /// A cursor before the record `next` in the logs of `dir`.
    pub fn new(vfs: Arc<dyn Vfs>, dir: &Path, next: Lsn) -> Cursor {
        let (place, fetched) = (None, Vec::new());
        Cursor { vfs, dir: dir.to_owned(), next: next.max(1), place, checkpoint_lsn: 0, fetched, taken: 0 }
    }

    /// The record to be fetched next.
    pub fn next(&self) -> Lsn {
        self.next
    }

    /// Goes on with the record `next`; nothing is fetched that was not taken.
    pub fn move_to(&mut self, next: Lsn) {
        debug_assert!(!self.has_record());
        (self.next, self.place) = (next, None);
    }

    /// There is a checkpoint of this LSN: lets go of a file that was retired for it, if all that it had was fetched. The file
    /// is found again if it was not; so that is done once for each checkpoint.
    pub fn let_go_behind(&mut self, checkpoint_lsn: Lsn) {
        if checkpoint_lsn > self.checkpoint_lsn && checkpoint_lsn < self.next {
            self.checkpoint_lsn = checkpoint_lsn;
            self.place.take_if(|place| place.first <= checkpoint_lsn);
        }
    }

    /// Whether a record was fetched that was not taken.
    pub fn has_record(&self) -> bool {
        self.taken < self.fetched.len()
    }

    /// Takes the next of the records that were fetched.
    pub fn take(&mut self) -> Option<Record<'_>> {
        let record = Records::of(&self.fetched[self.taken..]).next()?;
        self.taken += record.encoded_len();
        Some(record)
    }

    /// Fetches whole batches that end at or below `up_to`, some of them or one. What was fetched before has been taken.
    pub fn fetch(&mut self, up_to: Lsn) -> Result<Fetched> {
        self.fetched.clear();
        self.taken = 0;
        if self.next > up_to {
            return Ok(Fetched::Nothing);
        }
        if self.place.is_none() {
            self.place = self.find()?;
        }
        while self.place.is_some() {
            self.read_on(up_to)?;
            if self.has_record() {
                return Ok(Fetched::Some);
            }
            if !self.go_on()? {
                break;
            }
        }
        match self.place {
            Some(_) => Ok(Fetched::Nothing),
            None => {
                Ok(self.newest_checkpoint()?.filter(|&lsn| lsn >= self.next).map_or(Fetched::Nothing, Fetched::Lagged))
            }
        }
    }

    /// The LSN of the newest checkpoint, if there is one that can be read.
    pub fn newest_checkpoint(&self) -> Result<Option<Lsn>> {
        let path = self.dir.join(checkpoint::NAME);
        let Some(file) = open_if_there(&*self.vfs, &path)? else { return Ok(None) };
        match checkpoint::reader::header(&*file, &path) {
            Ok(header) => Ok(Some(header.lsn)),
            Err(error) if error.kind() == ErrorKind::Corrupt => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Looks at the names again: true if the next record is to be looked for in another file. Lets go of one that has no name
    /// any more.
    fn go_on(&mut self) -> Result<bool> {
        let first = self.place.as_ref().map_or(0, |place| place.first);
        match self.find()? {
            Some(found) if found.first == first => Ok(false),
            found => {
                self.place = found;
                Ok(self.place.is_some())
            }
        }
    }

    /// Finds the file of the next record, and its place there; `None` if there is no such file, or it ends before it.
    fn find(&self) -> Result<Option<Place>> {
        let mut found: Option<Place> = None;
        for name in [LOG, NEXT, LOG] {
            let path = self.dir.join(name);
            let Some(file) = open_if_there(&*self.vfs, &path)? else { continue };
            let Some(first) = Reader::in_chunks(&*file, &path, 0, CHUNK)?.first_lsn()? else { continue };
            let is_later = found.as_ref().is_none_or(|found| found.first < first);
            if first <= self.next && is_later {
                found = Some(Place { file, path, first, offset: 0, lsn: first });
            }
        }
        match found {
            Some(mut place) => Ok(place.skip_to(self.next)?.then_some(place)),
            None => Ok(None),
        }
    }

    fn read_on(&mut self, up_to: Lsn) -> Result<()> {
        let Some(place) = &mut self.place else { return Ok(()) };
        let mut reader = Reader::in_chunks(&*place.file, &place.path, place.offset, CHUNK)?;
        while self.fetched.len() < FETCH {
            let Step::Batch(records) = reader.next(place.lsn)? else { break };
            let bytes = records.bytes();
            let behind = place.lsn + records.count() as Lsn;
            if behind - 1 > up_to {
                break;
            }
            // The cursor may have begun inside a batch.
            let skipped = len_before(bytes, self.next);
            let bytes = &bytes[skipped..];
            self.fetched.try_reserve(bytes.len()).map_err(|_| Error::no_memory(bytes.len()))?;
            self.fetched.extend_from_slice(bytes);
            (place.offset, place.lsn, self.next) = (reader.offset(), behind, behind);
        }
        Ok(())
    }
}

impl Place {
    /// Goes on to the batch with the record `lsn` in it, or to where it would begin; false if the file ends before.
    fn skip_to(&mut self, lsn: Lsn) -> Result<bool> {
        let mut reader = Reader::at(&*self.file, &self.path, self.offset)?;
        while self.lsn < lsn {
            let Step::Batch(records) = reader.next(self.lsn)? else { return Ok(false) };
            let behind = self.lsn + records.count() as Lsn;
            if behind > lsn {
                break;
            }
            (self.offset, self.lsn) = (reader.offset(), behind);
        }
        Ok(true)
    }
}

/// Opens a file for reading, if there is one.
pub fn open_if_there(vfs: &dyn Vfs, path: &Path) -> Result<Option<Arc<dyn File>>> {
    match vfs.open(path, Access::Read) {
        Ok(file) => Ok(Some(file)),
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(cause) => Err(Error::file("open", path, &cause)),
    }
}

/// How many bytes of verified records lie before the one with this LSN.
fn len_before(bytes: &[u8], lsn: Lsn) -> usize {
    Records::of(bytes).take_while(|record| record.lsn < lsn).map(|record| record.encoded_len()).sum()
}
