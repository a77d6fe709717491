//! Reading a log, batch by batch, with as much memory as the longest batch takes.

use std::fmt;
use std::path::{Path, PathBuf};

use crate::error::{Error, ErrorKind, Result};
use crate::format::{self, Lsn, Record};
use crate::sys::block::MAX_LSN;
use crate::vfs::{self, File};

/// How much is read at once.
const CHUNK: usize = 1 << 20;

/// Reads a log from its beginning.
pub struct Reader<'f> {
    file: &'f dyn File,
    path: &'f Path,
    /// The file's length when reading began: no record is believed to be longer than what is left of it.
    file_len: u64,
    /// A part of the file.
    buffer: Vec<u8>,
    /// Where it begins in the file.
    buffer_at: u64,
    /// Where the next batch begins in it.
    next: usize,
    /// How much is read at once.
    chunk: usize,
}

/// What comes next in a log.
pub enum Step<'a> {
    /// A record, or the records of a batch.
    Batch(Records<'a>),
    /// The end of the file, right behind a record.
    End,
    /// Zeros up to the end of the file.
    Zeros,
    /// Something else.
    Bad(Bad),
}

/// Where and why a log ends before its file does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bad {
    /// The log.
    pub path: PathBuf,
    /// The LSN that the bad record should have had.
    pub lsn: Lsn,
    /// Where the bad record begins; not before the [`Reader::offset`], which is the beginning of its batch.
    pub offset: u64,
    /// Why it is bad.
    pub reason: String,
}

impl fmt::Display for Bad {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: record {} at offset {}: {}", self.path.display(), self.lsn, self.offset, self.reason)
    }
}

/// Records that were read together; their checksums have been verified.
pub struct Records<'a> {
    bytes: &'a [u8],
}

impl<'a> Records<'a> {
    /// Those that were verified before.
    pub fn of(bytes: &'a [u8]) -> Records<'a> {
        Records { bytes }
    }

    /// Those that were not visited yet, back to back.
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }
}

impl<'a> Iterator for Records<'a> {
    type Item = Record<'a>;

    fn next(&mut self) -> Option<Record<'a>> {
        if self.bytes.is_empty() {
            return None;
        }
        let len = format::record_len(self.bytes).expect("verified when it was read");
        let (record, rest) = self.bytes.split_at(len);
        self.bytes = rest;
        Some(format::decode_checked(record).expect("verified when it was read"))
    }
}

impl<'f> Reader<'f> {
    /// A reader at the beginning of `file`; `path` is for messages.
    pub fn new(file: &'f dyn File, path: &'f Path) -> Result<Reader<'f>> {
        Reader::at(file, path, 0)
    }

    /// A reader at `offset`, where a batch begins.
    pub fn at(file: &'f dyn File, path: &'f Path, offset: u64) -> Result<Reader<'f>> {
        Reader::in_chunks(file, path, offset, CHUNK)
    }

    /// As [`at`](Self::at), of which `chunk` bytes are read at once.
    pub fn in_chunks(file: &'f dyn File, path: &'f Path, offset: u64, chunk: usize) -> Result<Reader<'f>> {
        let file_len = file.size().map_err(|cause| Error::file("stat", path, &cause))?;
        Ok(Reader { file, path, file_len, buffer: Vec::new(), buffer_at: offset, next: 0, chunk })
    }

    /// Where the next batch begins.
    pub fn offset(&self) -> u64 {
        self.buffer_at + self.next as u64
    }

    /// The file's length when reading began.
    pub fn file_len(&self) -> u64 {
        self.file_len
    }

    /// The LSN of the first record, if there is a valid one at the very beginning.
    pub fn first_lsn(&mut self) -> Result<Option<Lsn>> {
        debug_assert_eq!(self.offset(), 0);
        Ok(self.record_at(0)?.ok().map(|record| record.lsn).filter(|lsn| (1..=MAX_LSN).contains(lsn)))
    }

    /// Whether the file begins with what is no log at all.
    pub fn is_foreign(&mut self) -> Result<bool> {
        debug_assert_eq!(self.offset(), 0);
        self.fill(format::MIN_RECORD_LEN)?;
        Ok(format::is_foreign(&self.buffer))
    }

    /// Reads the next batch, whose first record should have the LSN `expected`.
    pub fn next(&mut self, expected: Lsn) -> Result<Step<'_>> {
        let (mut len, mut lsn) = (0, expected);
        loop {
            if self.fill(len + 1)? <= len {
                return Ok(if len == 0 { Step::End } else { self.bad(lsn, len, "the batch is not complete") });
            }
            let record = self.record_at(len)?.map(|record| (record.lsn, record.encoded_len(), record.more));
            let (record_len, more) = match record {
                Ok((found, len, more)) if found == lsn && lsn <= MAX_LSN => (len, more),
                Ok((found, ..)) => return Ok(self.bad(lsn, len, format!("it has the LSN {found}"))),
                Err(error) if error.kind() == ErrorKind::Version => {
                    let place = format!("{} at offset {}", self.path.display(), self.offset() + len as u64);
                    return Err(Error::new(ErrorKind::Version, format!("record {lsn} in {place}: {error}")));
                }
                Err(_) if len == 0 && self.only_zeros_follow()? => return Ok(Step::Zeros),
                Err(error) => return Ok(self.bad(lsn, len, error.to_string())),
            };
            len += record_len;
            lsn += 1;
            if !more {
                let start = self.next;
                self.next += len;
                return Ok(Step::Batch(Records { bytes: &self.buffer[start..self.next] }));
            }
        }
    }

    fn bad(&self, lsn: Lsn, at: usize, reason: impl Into<String>) -> Step<'static> {
        let offset = self.offset() + at as u64;
        Step::Bad(Bad { path: self.path.to_owned(), lsn, offset, reason: reason.into() })
    }

    /// Decodes the record `at` bytes behind the offset. The outer result is about reading, the inner about what was
    /// read.
    fn record_at(&mut self, at: usize) -> Result<Result<Record<'_>>> {
        self.fill(at + format::PREFIX_LEN)?;
        // Only as far as the file goes, so that a damaged length cannot make us allocate what it says.
        if let Ok(len) = format::record_len(self.ahead(at))
            && self.offset() + (at + len) as u64 <= self.file_len
        {
            self.fill(at + len)?;
        }
        Ok(format::decode(self.ahead(at)))
    }

    fn ahead(&self, at: usize) -> &[u8] {
        &self.buffer[self.next + at..]
    }

    /// Reads on until the buffer has `len` bytes behind the offset, or the file ends; returns how many there are.
    fn fill(&mut self, len: usize) -> Result<usize> {
        let have = self.buffer.len() - self.next;
        if have >= len {
            return Ok(have);
        }
        self.buffer.drain(..self.next);
        self.buffer_at += self.next as u64;
        self.next = 0;
        let offset = self.buffer_at + have as u64;
        let left = usize::try_from(self.file_len.saturating_sub(offset)).unwrap_or(usize::MAX);
        let want = (len - have).max(self.chunk).min(left);
        self.buffer.try_reserve(want).map_err(|_| Error::no_memory(want))?;
        self.buffer.resize(have + want, 0);
        let got = read(self.file, self.path, &mut self.buffer[have..], offset)?;
        self.buffer.truncate(have + got);
        Ok(self.buffer.len())
    }

    fn only_zeros_follow(&self) -> Result<bool> {
        if self.ahead(0).iter().any(|&byte| byte != 0) {
            return Ok(false);
        }
        let from = self.buffer_at + self.buffer.len() as u64;
        Ok(data_end(self.file, self.path, from, self.file_len)? == from)
    }
}

/// Where the data ends in `from..to` of a file: behind the last byte that is not zero; `from` if there is none.
pub fn data_end(file: &dyn File, path: &Path, from: u64, to: u64) -> Result<u64> {
    let mut chunk = buffer(CHUNK)?;
    let (mut at, mut end) = (from, from);
    while at < to {
        let want = usize::try_from(to - at).unwrap_or(CHUNK).min(CHUNK);
        let got = read(file, path, &mut chunk[..want], at)?;
        if got == 0 {
            break;
        }
        if let Some(last) = chunk[..got].iter().rposition(|&byte| byte != 0) {
            end = at + last as u64 + 1;
        }
        at += got as u64;
    }
    Ok(end)
}

/// A buffer of zeros.
pub fn buffer(len: usize) -> Result<Vec<u8>> {
    let mut buffer = Vec::new();
    buffer.try_reserve_exact(len).map_err(|_| Error::no_memory(len))?;
    buffer.resize(len, 0);
    Ok(buffer)
}

/// Reads until `buf` is full or the file ends. A read error is an error, never the end of the log.
pub fn read(file: &dyn File, path: &Path, buf: &mut [u8], offset: u64) -> Result<usize> {
    vfs::read_full_at(file, buf, offset)
        .map_err(|cause| Error::io(format_args!("read {} at offset {offset}", path.display()), &cause))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::Op;
    use crate::vfs::sim::SimDisk;
    use crate::vfs::{Access, Vfs};

    const PATH: &str = "/wal.log";

    /// Value lengths and batch bits of records that end in all sorts of places of the chunks in which a log is read.
    const RECORDS: [(usize, bool); 12] = [
        (10, false),
        (CHUNK - 100, false),
        (0, false),
        (CHUNK, false),
        (300_000, true),
        (CHUNK + CHUNK / 2, true),
        (700_000, false),
        (3 * CHUNK, false),
        (5, true),
        (5, true),
        (5, false),
        (CHUNK - 34, false),
    ];

    /// The log, and where each record begins.
    fn log() -> (Vec<u8>, Vec<usize>) {
        let (mut log, mut starts) = (Vec::new(), Vec::new());
        for (lsn, (len, more)) in (1..).zip(RECORDS) {
            starts.push(log.len());
            let value = vec![lsn as u8; len];
            let record =
                Record { lsn, durable_lsn: lsn - 1, op: Op::Put, more, expires_at: 0, key: b"k", value: &value };
            format::encode(&record, &mut log).unwrap();
        }
        (log, starts)
    }

    /// Reads a log: the first bad record, if there is one, and where the last batch before it ends.
    fn read_all(log: &[u8]) -> (Option<Bad>, u64) {
        let disk = SimDisk::new(1);
        drop(disk.open(Path::new(PATH), Access::Create).unwrap());
        disk.overwrite(PATH, log);
        let file = disk.open(Path::new(PATH), Access::Read).unwrap();
        let mut reader = Reader::new(&*file, Path::new(PATH)).unwrap();
        let mut lsn = 1;
        loop {
            match reader.next(lsn).unwrap() {
                Step::Batch(records) => {
                    for record in records {
                        assert_eq!((record.lsn, record.value.len()), (lsn, RECORDS[lsn as usize - 1].0));
                        assert!(record.value.iter().all(|&byte| byte == lsn as u8));
                        lsn += 1;
                    }
                }
                Step::End | Step::Zeros => return (None, reader.offset()),
                Step::Bad(bad) => return (Some(bad), reader.offset()),
            }
        }
    }

    #[test]
    fn records_and_batches_longer_than_what_is_read_at_once() {
        let (log, starts) = log();
        assert_eq!(read_all(&log), (None, log.len() as u64));
        for (number, &start) in starts.iter().enumerate() {
            let end = starts.get(number + 1).map_or(log.len(), |next| *next);
            let batch = (0..=number).rev().find(|&at| at == 0 || !RECORDS[at - 1].1).unwrap();
            let check = |damaged: &[u8], what: &str| {
                let (bad, offset) = read_all(damaged);
                let bad = bad.unwrap_or_else(|| panic!("record {number} {what}"));
                assert_eq!((bad.lsn, bad.offset), (number as u64 + 1, start as u64), "record {number} {what}");
                assert_eq!(offset, starts[batch] as u64, "record {number} {what}");
            };
            let mut damaged = log.clone();
            damaged[end - 1] ^= 1;
            check(&damaged, "damaged");
            check(&log[..end - 1], "cut off");
            check(&log[..start + 1], "cut off at its beginning");
        }
    }

    #[test]
    fn zeros_up_to_the_end_are_told_from_zeros_before_something() {
        let (log, starts) = log();
        for end in starts[..4].iter().copied() {
            for zeros in [1, 7, 8, 33, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK] {
                let mut log = [&log[..end], &vec![0; zeros]].concat();
                assert_eq!(read_all(&log), (None, end as u64), "{zeros} zeros behind {end}");
                *log.last_mut().unwrap() = 1;
                let bad = read_all(&log).0.expect("that is no record");
                assert_eq!(bad.offset, end as u64, "{zeros} zeros behind {end}, then something");
            }
        }
    }

    #[test]
    fn data_ends_behind_the_last_byte_that_is_not_zero() {
        let disk = SimDisk::new(1);
        let file = disk.open(Path::new(PATH), Access::Create).unwrap();
        let end_of = |from: usize| data_end(&*file, Path::new(PATH), from as u64, u64::MAX).unwrap() as usize;
        for last in [0, 1, 5000, CHUNK - 1, CHUNK, 2 * CHUNK + 7] {
            let mut bytes = vec![0; 3 * CHUNK];
            (bytes[0], bytes[last]) = (1, 1);
            disk.overwrite(PATH, &bytes);
            assert_eq!((end_of(0), end_of(last), end_of(last + 1)), (last + 1, last + 1, last + 1));
        }
    }
}
