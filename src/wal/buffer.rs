//! Records that the system has not got yet: what makes a write in the mode
//! [`SyncMode::Interval`](crate::options::SyncMode::Interval) as cheap as a copy.
//!
//! # The algorithm
//!
//! There are two buffers. Writers append encoded records to one of them, under the log's lock. Whoever hands over (the
//! background thread every few milliseconds; a sync; a writer that finds the buffer full) takes that one away, puts the
//! other in its place, and writes what it took without the log's lock, so that writers go on meanwhile. One thread at a
//! time does that, the one that holds `LogPair::syncing`. So records reach the file in their order, and what a crash
//! leaves is a prefix.
//!
//! A buffer is aligned in memory as it is in the file, by [`DIRECT_ALIGN`], and begins with a copy of what is already
//! in the file's last block. So whole blocks can be written past the page cache: the first again with the same bytes in
//! front (which is harmless, for a disk writes a sector whole or not at all), the last with zeros behind.
//!
//! A transaction's records are known only when the log is locked, and then there is no waiting for whoever hands over. If
//! they are longer than what is left, the buffer grows for them ([`Buffer::make_room`]), until it was handed over. No
//! other group is added to a buffer that is longer than usual, so at most one such transaction is in memory twice.
//!
//! # When it fails
//!
//! What could not be handed over stays in memory, *stuck*, and is handed over again, the same bytes in the same place,
//! by the next who tries: nothing acknowledged is dropped while the process lives. As long as something is stuck, every
//! writer tries first, and gets the error if that fails: so a full disk is reported by the next write, and heals.

use std::io::{self, IoSlice};
use std::path::Path;
use std::sync::Arc;

use super::reader;
use super::space::Space;
use super::writer::Position;
use crate::error::{Error, Result};
use crate::format::Lsn;
use crate::sys::aligned::AlignedBuf;
use crate::vfs::{self, DIRECT_ALIGN, File};

/// Bytes of each of the two buffers.
const CAPACITY: usize = 2 << 20;
/// Longest group that goes through a buffer.
pub const LONGEST: usize = CAPACITY - DIRECT_ALIGN;
/// Bytes that are free when the records of transactions are decided on: few are longer.
pub const USUAL: usize = 64 << 10;
/// From here on the background thread is called.
const CALL_AT: usize = CAPACITY / 2;

/// From here on a chunk goes past the page cache, which costs a small one more than it saves.
const LEAST_DIRECT: usize = 128 << 10;

/// The two buffers.
pub struct Buffer {
    filling: Chunk,
    /// `None` while it is being handed over.
    spare: Option<Chunk>,
    stuck: Option<Chunk>,
    /// How far the file has the log: offset and LSN.
    handed_over: (u64, Lsn),
}

/// A part of the log in memory.
pub struct Chunk {
    bytes: AlignedBuf,
    /// The offset in the file of its first byte; a multiple of [`DIRECT_ALIGN`].
    base: u64,
    /// What is before this is in the file already.
    from: usize,
    /// Where the records end.
    to: usize,
    /// The last record in it.
    last_lsn: Lsn,
}

/// Who is to be called after something was added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// It is no longer empty, or half full: the background thread.
    Call,
    /// Nobody.
    Enough,
}

impl Buffer {
    /// Buffers behind what the file has, which ends at `at`.
    pub fn new(file: &dyn File, path: &Path, at: &Position) -> Result<Buffer> {
        let mut buffer =
            Buffer { filling: Chunk::new()?, spare: Some(Chunk::new()?), stuck: None, handed_over: (0, 0) };
        buffer.restart(file, path, at)?;
        Ok(buffer)
    }

    /// Begins again behind what the file has; the buffers are empty.
    pub fn restart(&mut self, file: &dyn File, path: &Path, at: &Position) -> Result<()> {
        let chunk = &mut self.filling;
        chunk.begin(at.end);
        if reader::read(file, path, &mut chunk.bytes[..chunk.from], chunk.base)? < chunk.from {
            return Err(Error::corrupt(format!("{} became shorter", path.display())));
        }
        self.handed_over = (at.end, at.last_lsn);
        Ok(())
    }

    /// How far the file has the log: where its records end, and the last of them.
    pub fn handed_over(&self) -> (u64, Lsn) {
        self.handed_over
    }

    /// Whether a group of `len` bytes may be added now.
    pub fn takes(&self, len: usize) -> bool {
        self.stuck.is_none() && self.filling.to + len <= CAPACITY
    }

    /// Makes the buffer so long that it can hold `len` bytes more.
    pub fn make_room(&mut self, len: usize) -> Result<()> {
        let chunk = &mut self.filling;
        let needed = chunk.to + len;
        if needed > chunk.bytes.len() {
            let needed = needed.next_multiple_of(DIRECT_ALIGN);
            let mut bytes = AlignedBuf::new(needed).ok_or_else(|| Error::no_memory(needed))?;
            bytes[..chunk.to].copy_from_slice(&chunk.bytes[..chunk.to]);
            chunk.bytes = bytes;
        }
        Ok(())
    }

    /// Adds a record, already encoded, for which there is room.
    pub fn push(&mut self, encoded: &[u8], last_lsn: Lsn) -> Level {
        let chunk = &mut self.filling;
        let (was_empty, before) = (chunk.is_empty(), chunk.to);
        chunk.bytes[chunk.to..chunk.to + encoded.len()].copy_from_slice(encoded);
        (chunk.to, chunk.last_lsn) = (chunk.to + encoded.len(), last_lsn);
        match was_empty || (before < CALL_AT && chunk.to >= CALL_AT) {
            true => Level::Call,
            false => Level::Enough,
        }
    }

    /// Takes what is to be handed over next; to be given back.
    pub fn take(&mut self) -> Option<Chunk> {
        if let Some(stuck) = self.stuck.take() {
            return Some(stuck);
        }
        if self.filling.is_empty() {
            return None;
        }
        let mut next = self.spare.take()?;
        next.continue_behind(&self.filling);
        Some(std::mem::replace(&mut self.filling, next))
    }

    /// Gives back what was handed over, or could not be.
    pub fn give_back(&mut self, mut chunk: Chunk, is_handed_over: bool) {
        if is_handed_over {
            self.handed_over = (chunk.end(), chunk.last_lsn);
            // Unless there is no memory for another, in which case it is kept.
            if chunk.bytes.len() > CAPACITY
                && let Some(usual) = AlignedBuf::new(CAPACITY)
            {
                chunk.bytes = usual;
            }
            self.spare = Some(chunk);
        } else {
            self.stuck = Some(chunk);
        }
    }
}

impl Chunk {
    fn new() -> Result<Chunk> {
        let bytes = AlignedBuf::new(CAPACITY).ok_or_else(|| Error::no_memory(CAPACITY))?;
        Ok(Chunk { bytes, base: 0, from: 0, to: 0, last_lsn: 0 })
    }

    /// Begins anew at an offset of the file, with the block's beginning still to be copied.
    fn begin(&mut self, at: u64) {
        self.from = (at % DIRECT_ALIGN as u64) as usize;
        self.base = at - self.from as u64;
        self.to = self.from;
    }

    fn continue_behind(&mut self, before: &Chunk) {
        self.begin(before.end());
        let block = before.to - self.from;
        self.bytes[..self.from].copy_from_slice(&before.bytes[block..before.to]);
    }

    fn is_empty(&self) -> bool {
        self.from == self.to
    }

    /// Where its records end in the file.
    pub fn end(&self) -> u64 {
        self.base + self.to as u64
    }

    /// Its last record.
    pub fn last_lsn(&self) -> Lsn {
        self.last_lsn
    }

    /// Hands the records over to the system, and notes that in `space`. A `direct` that turns out to be unable is taken
    /// away.
    pub fn write(&mut self, file: &dyn File, direct: &mut Option<Arc<dyn File>>, space: &Space) -> io::Result<()> {
        let mut frontier = space.lock();
        let blocks = self.to.next_multiple_of(DIRECT_ALIGN);
        space.reach(&mut frontier, self.base + blocks as u64);
        let mut end = self.end();
        match direct {
            Some(past) if blocks >= LEAST_DIRECT => match self.write_direct(&**past, blocks) {
                Err(cause) if vfs::refuses_direct(&cause) => {
                    *direct = None;
                    self.write_cached(file)?;
                }
                written => {
                    written?;
                    end = self.base + blocks as u64;
                }
            },
            _ => self.write_cached(file)?,
        }
        if end > space.filled() {
            space.extend(&mut frontier, end, 0);
        }
        Ok(())
    }

    fn write_cached(&self, file: &dyn File) -> io::Result<()> {
        vfs::write_all_at(file, &mut [IoSlice::new(&self.bytes[self.from..self.to])], self.base + self.from as u64)
    }

    fn write_direct(&mut self, direct: &dyn File, blocks: usize) -> io::Result<()> {
        self.bytes[self.to..blocks].fill(0);
        vfs::write_all_at(direct, &mut [IoSlice::new(&self.bytes[..blocks])], self.base)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vfs::sim::SimDisk;
    use crate::vfs::{Access, Vfs};

    fn buffer(file_len: usize, end: u64) -> Result<Buffer> {
        let (disk, path) = (SimDisk::new(1), Path::new("/wal.log"));
        let file = disk.open(path, Access::Create).unwrap();
        disk.overwrite(path, &vec![1; file_len]);
        Buffer::new(&*file, path, &Position { end, last_lsn: 1, durable_lsn: 1 })
    }

    #[test]
    fn the_thread_is_called_for_the_first_record_and_when_half_is_full() {
        let mut buffer = buffer(0, 0).unwrap();
        let half = vec![0; CALL_AT - 10];
        for _ in 0..2 {
            assert_eq!(buffer.push(&[1; 5], 1), Level::Call);
            assert_eq!(buffer.push(&half, 2), Level::Enough);
            assert_eq!(buffer.push(&[1; 5], 3), Level::Call);
            assert_eq!(buffer.push(&[1; 5], 4), Level::Enough);
            let chunk = buffer.take().unwrap();
            buffer.give_back(chunk, true);
            // What is in front now, of the last block, is in the file.
            assert!(buffer.take().is_none());
            buffer.filling.begin(0);
        }
    }

    #[test]
    fn a_group_is_taken_as_long_as_it_fits() {
        let mut buffer = buffer(5000, 5000).unwrap();
        assert!(buffer.takes(CAPACITY - (5000 - 4096)) && !buffer.takes(CAPACITY - (5000 - 4096) + 1));
        buffer.push(&[1; 100], 1);
        assert!(buffer.takes(CAPACITY - (5100 - 4096)) && !buffer.takes(CAPACITY - (5100 - 4096) + 1));
        let chunk = buffer.take().unwrap();
        buffer.give_back(chunk, false);
        assert!(!buffer.takes(1), "something is stuck");
    }

    #[test]
    fn a_buffer_grows_for_a_long_group_until_that_is_handed_over() {
        let mut buffer = buffer(5000, 5000).unwrap();
        buffer.push(&[1; 100], 2);
        let long = vec![2; CAPACITY + 1];
        buffer.make_room(long.len()).unwrap();
        buffer.push(&long, 3);
        assert!(!buffer.takes(0), "whoever comes next has it handed over first");
        let chunk = buffer.take().unwrap();
        let records = &chunk.bytes[chunk.from..chunk.to];
        assert_eq!((records.len(), &records[..100], &records[100..]), (100 + long.len(), &[1; 100][..], &long[..]));
        assert_eq!((chunk.end(), chunk.bytes.len() % DIRECT_ALIGN), (5100 + long.len() as u64, 0));
        buffer.give_back(chunk, true);
        assert!(buffer.takes(CAPACITY - DIRECT_ALIGN));
        assert_eq!(buffer.spare.as_ref().map(|spare| spare.bytes.len()), Some(CAPACITY));
    }

    #[test]
    fn a_file_that_became_shorter_is_an_error() {
        assert!(buffer(5000, 5000).is_ok() && buffer(4096, 4096).is_ok());
        assert_eq!(buffer(4999, 5000).err().map(|error| error.kind()), Some(crate::error::ErrorKind::Corrupt));
    }
}
