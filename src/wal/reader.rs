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
        let file_len = file.size().map_err(|cause| Error::file("stat", path, &cause))?;
        Ok(Reader { file, path, file_len, buffer: Vec::new(), buffer_at: 0, next: 0 })
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
        let want = (len - have).max(CHUNK).min(left);
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
