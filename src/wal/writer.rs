//! Appending to a log.

use std::io::{self, IoSlice};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::Latch;
use super::buffer::{Buffer, Level};
use super::space::Space;
use crate::error::{Error, ErrorKind, Result};
use crate::format::{self, Lsn, Record};
use crate::sys::block::MAX_LSN;
use crate::vfs::{self, File};

/// Values from this length on are written from where they are, instead of being copied behind their record first.
const WRITE_IN_PLACE: usize = 64 << 10;

/// A buffer that one large batch needed is not kept.
const KEPT_BUFFER: usize = 2 << 20;

/// Where a log ends, and which records it has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Position {
    /// Offset behind the last record.
    pub end: u64,
    /// Number of the last record, in this file or before it.
    pub last_lsn: Lsn,
    /// Highest LSN known to be on the disk.
    pub durable_lsn: Lsn,
}

/// Appends records to one file.
pub struct Writer {
    file: Arc<dyn File>,
    path: PathBuf,
    at: Position,
    /// The zeros behind `at.end`.
    space: Arc<Space>,
    latch: Arc<Latch>,
    /// The group being written; kept for its memory.
    buffer: Vec<u8>,
}

impl Writer {
    /// A writer behind the records of `file`, whose length is `at.end`.
    pub fn new(file: Arc<dyn File>, path: PathBuf, at: Position, space: Arc<Space>, latch: Arc<Latch>) -> Writer {
        debug_assert_eq!(space.filled(), at.end);
        Writer { file, path, at, space, latch, buffer: Vec::new() }
    }

    /// The space ahead of its records.
    pub fn space(&self) -> &Arc<Space> {
        &self.space
    }

    /// Where the log ends.
    pub fn position(&self) -> Position {
        self.at
    }

    /// The file, to be synced by somebody else.
    pub fn file(&self) -> Arc<dyn File> {
        Arc::clone(&self.file)
    }

    /// The file's path, for messages.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Notes that the file has a new name.
    pub fn renamed(&mut self, path: PathBuf) {
        self.path = path;
    }

    /// Appends records in one write, and makes them durable if `sync` says so. Their LSNs are set here, whatever they
    /// say. On an error none of them is in the log, unless it is [`ErrorKind::Failed`]: then nobody knows.
    pub fn append<'a>(&mut self, records: impl IntoIterator<Item = Record<'a>>, sync: bool) -> Result<()> {
        self.latch.check()?;
        let group = Group::encode(records, self.at, std::mem::take(&mut self.buffer))?;
        let written = self.write(&group, sync);
        let (len, last_lsn) = (group.len, group.last_lsn);
        self.buffer = group.buffer;
        self.buffer.clear();
        self.buffer.shrink_to(KEPT_BUFFER);
        written?;
        if sync {
            self.sync()?;
            self.at.durable_lsn = last_lsn;
        }
        self.at.end += len;
        self.at.last_lsn = last_lsn;
        self.space.used(self.at.end);
        Ok(())
    }

    /// Appends records in memory. On an error none of them is there.
    pub fn buffer<'a>(&mut self, records: impl IntoIterator<Item = Record<'a>>, buffer: &mut Buffer) -> Result<Level> {
        self.latch.check()?;
        let group = Group::encode(records, self.at, std::mem::take(&mut self.buffer))?;
        buffer.make_room(group.len as usize)?;
        let mut level = Level::Enough;
        for piece in group.pieces() {
            if !piece.is_empty() && buffer.push(piece, group.last_lsn) == Level::Call {
                level = Level::Call;
            }
        }
        self.at.end += group.len;
        self.at.last_lsn = group.last_lsn;
        self.buffer = group.buffer;
        Ok(level)
    }

    /// Makes all records durable. A failure is final.
    pub fn sync(&mut self) -> Result<()> {
        sync_file(&*self.file, &self.path, &self.latch)?;
        self.at.durable_lsn = self.at.last_lsn;
        Ok(())
    }

    /// Notes that somebody else has synced the file when it held the records up to `lsn`.
    pub fn synced_to(&mut self, lsn: Lsn) {
        self.at.durable_lsn = self.at.durable_lsn.max(lsn);
    }

    /// Gives the zeros behind the last record back, and makes the new length durable. No record is appended any more.
    pub fn trim(&mut self) -> Result<()> {
        self.latch.check()?;
        let mut frontier = self.space.lock();
        if self.space.close(&mut frontier) > self.at.end {
            self.file.set_len(self.at.end).map_err(|cause| self.error("truncate", self.at.end, &cause))?;
            self.space.cut(&mut frontier, self.at.end);
            drop(frontier);
            sync_file(&*self.file, &self.path, &self.latch)?;
        }
        Ok(())
    }

    /// Ends the filling with zeros, which may go on for one more piece.
    pub fn close_space(&self) {
        self.space.stop();
    }

    fn write(&mut self, group: &Group<'_>, sync: bool) -> Result<()> {
        if self.at.end + group.len <= self.space.filled() {
            return self.write_or_roll_back(group, 0, sync);
        }
        let zeros = self.space.to_carry(group.len);
        match self.write_or_roll_back(group, zeros, sync) {
            // Perhaps there is room for the records alone.
            Err(error) if error.kind() == ErrorKind::NoSpace && zeros > 0 => self.write_or_roll_back(group, 0, sync),
            result => result,
        }
    }

    fn write_or_roll_back(&mut self, group: &Group<'_>, zeros: u64, sync: bool) -> Result<()> {
        match self.write_within_space(group, zeros) {
            Ok(()) => Ok(()),
            Err(cause) => {
                let error = self.error("write", self.at.end, &cause);
                self.roll_back(sync)?;
                Err(error)
            }
        }
    }

    fn write_within_space(&self, group: &Group<'_>, zeros: u64) -> io::Result<()> {
        let end = self.at.end + group.len;
        let write = || group.write_to(&*self.file, self.at.end, zeros);
        if end <= self.space.filled() {
            return write();
        }
        // What is beyond the zeros belongs to whoever holds the lock.
        let mut frontier = self.space.lock();
        write()?;
        if end + zeros > self.space.filled() {
            self.space.extend(&mut frontier, end + zeros, zeros);
        }
        Ok(())
    }

    /// Takes back a write that failed, so that nothing is ever written behind an incomplete record. It is synced here only
    /// if this writer is the one that syncs: otherwise another thread's sync of the same file could be told of success
    /// because the failure was reported here.
    fn roll_back(&mut self, sync: bool) -> Result<()> {
        let mut frontier = self.space.lock();
        self.space.cut(&mut frontier, self.at.end);
        let mut cut = self.file.set_len(self.at.end);
        drop(frontier);
        if sync {
            cut = cut.and_then(|()| self.file.sync_data());
        }
        cut.map_err(|cause| self.latch.set(&self.error("roll back", self.at.end, &cause)))
    }

    fn error(&self, call: &str, offset: u64, cause: &io::Error) -> Error {
        let (path, lsn) = (self.path.display(), self.at.last_lsn + 1);
        Error::io(format_args!("{call} {path} at offset {offset}, LSN {lsn}"), cause)
    }
}

/// Syncs a log file; a failure sets the latch.
pub fn sync_file(file: &dyn File, path: &Path, latch: &Latch) -> Result<()> {
    latch.check()?;
    file.sync_data().map_err(|cause| latch.set(&Error::file("fdatasync", path, &cause)))
}

/// Records that are written together.
struct Group<'a> {
    /// All but the values in place.
    buffer: Vec<u8>,
    /// Values that stay where they are, each with the length that the buffer had before it.
    in_place: Vec<(usize, &'a [u8])>,
    len: u64,
    last_lsn: Lsn,
}

impl<'a> Group<'a> {
    fn encode(records: impl IntoIterator<Item = Record<'a>>, at: Position, mut buffer: Vec<u8>) -> Result<Group<'a>> {
        buffer.clear();
        let mut group = Group { buffer, in_place: Vec::new(), len: 0, last_lsn: at.last_lsn };
        for record in records {
            group.push(Record { lsn: group.last_lsn + 1, durable_lsn: at.durable_lsn, ..record })?;
        }
        Ok(group)
    }

    fn push(&mut self, record: Record<'a>) -> Result<()> {
        if record.lsn > MAX_LSN {
            return Err(Error::new(ErrorKind::NoSpace, format!("LSN {} is the last one", self.last_lsn)));
        }
        let len = record.encoded_len();
        let in_place = record.value.len() >= WRITE_IN_PLACE;
        let buffered = if in_place { len - record.value.len() } else { len };
        self.buffer.try_reserve(buffered).map_err(|_| Error::no_memory(buffered))?;
        format::encode_head(&record, &mut self.buffer);
        if in_place {
            self.in_place.push((self.buffer.len(), record.value));
        } else {
            self.buffer.extend_from_slice(record.value);
        }
        self.len += len as u64;
        self.last_lsn = record.lsn;
        Ok(())
    }

    /// In the order in which they follow each other in the log.
    fn pieces(&self) -> impl Iterator<Item = &[u8]> {
        let starts = std::iter::once(0).chain(self.in_place.iter().map(|(at, _)| *at));
        let ends =
            self.in_place.iter().map(|(at, value)| (*at, *value)).chain(std::iter::once((self.buffer.len(), &[][..])));
        starts.zip(ends).flat_map(|(start, (end, value))| [&self.buffer[start..end], value])
    }

    fn write_to(&self, file: &dyn File, offset: u64, zeros: u64) -> io::Result<()> {
        if self.in_place.is_empty() && zeros == 0 {
            return vfs::write_all_at(file, &mut [IoSlice::new(&self.buffer)], offset);
        }
        let pieces = self.pieces().chain(vfs::zeros(zeros)).filter(|slice| !slice.is_empty());
        vfs::write_all_at(file, &mut pieces.map(IoSlice::new).collect::<Vec<_>>(), offset)
    }
}
