//! A walk through all of a log file, over what is bad, too.
//!
//! Where no valid record begins, the walk tries the end of what is there, if its lengths agree with each other, and then
//! every offset, until one begins. A file made to look like records everywhere would cost a checksum an offset; so when
//! [`MOST_HASHED`] bytes were hashed in vain, the rest is called bad.

use std::fs::File;
use std::io;

use kvwal::format::{self, MIN_RECORD_LEN};

use super::read_at;

const WINDOW: usize = 1 << 20;
const MOST_HASHED: u64 = 4 << 30;

/// What comes next in a log file.
pub enum Piece {
    /// A valid record.
    Record { offset: u64, bytes: Vec<u8> },
    /// Bytes among which no valid record begins.
    Bad { offset: u64, length: u64, reason: String },
    /// Nothing but zeros up to the end of the file.
    Zeros { offset: u64, length: u64 },
}

pub struct Walk<'f> {
    file: &'f File,
    /// The file's length when the walk began.
    len: u64,
    at: u64,
    /// A part of the file, and where it begins.
    window: Vec<u8>,
    window_at: u64,
    /// How many bytes may still be hashed in vain.
    budget: u64,
}

impl<'f> Walk<'f> {
    /// Begins at `at`, where a record should begin.
    pub fn new(file: &'f File, at: u64) -> io::Result<Walk<'f>> {
        let len = file.metadata()?.len();
        Ok(Walk { file, len, at, window: Vec::new(), window_at: 0, budget: MOST_HASHED })
    }

    pub fn next(&mut self) -> io::Result<Option<Piece>> {
        let offset = self.at;
        if offset >= self.len {
            return Ok(None);
        }
        let reason = match self.record(offset)? {
            Ok(bytes) => {
                self.at += bytes.len() as u64;
                return Ok(Some(Piece::Record { offset, bytes }));
            }
            Err(error) => error.to_string(),
        };
        let length = self.len - offset;
        if self.only_zeros_follow(offset)? {
            self.at = self.len;
            return Ok(Some(Piece::Zeros { offset, length }));
        }
        self.at = self.next_valid(offset)?.unwrap_or(self.len);
        Ok(Some(Piece::Bad { offset, length: self.at - offset, reason }))
    }

    /// The record at `offset`; the inner result says why it is not valid.
    fn record(&mut self, offset: u64) -> io::Result<kvwal::Result<Vec<u8>>> {
        let len = match format::record_len(self.bytes(offset, format::PREFIX_LEN)?) {
            Ok(len) => len,
            Err(error) => return Ok(Err(error)),
        };
        // Only as far as the file goes, so that a damaged length cannot make us allocate what it says.
        let len = len.min((self.len - offset) as usize);
        let bytes = self.bytes(offset, len)?;
        Ok(format::decode(bytes).map(|record| bytes[..record.encoded_len()].to_vec()))
    }

    /// Where the next valid record behind `offset` begins.
    fn next_valid(&mut self, offset: u64) -> io::Result<Option<u64>> {
        if let Some(seen) = format::peek(self.bytes(offset, MIN_RECORD_LEN)?) {
            let behind = offset + seen.len as u64;
            if behind < self.len && self.record(behind)?.is_ok() {
                return Ok(Some(behind));
            }
        }
        let mut at = offset + 1;
        while at + MIN_RECORD_LEN as u64 <= self.len && self.budget > 0 {
            let window = self.bytes(at, MIN_RECORD_LEN)?;
            if window.len() < MIN_RECORD_LEN {
                break;
            }
            let starts = window.len() - MIN_RECORD_LEN + 1;
            let candidate = (0..starts).find_map(|start| Some((start, format::peek(&window[start..])?.len)));
            let Some((start, len)) = candidate else {
                at += starts as u64;
                continue;
            };
            at += start as u64;
            if at + len as u64 <= self.len {
                if self.record(at)?.is_ok() {
                    return Ok(Some(at));
                }
                self.budget = self.budget.saturating_sub(len as u64);
            }
            at += 1;
        }
        Ok(None)
    }

    fn only_zeros_follow(&mut self, offset: u64) -> io::Result<bool> {
        let mut at = offset;
        while at < self.len {
            let bytes = self.bytes(at, 1)?;
            if bytes.is_empty() {
                break;
            }
            if bytes.iter().any(|&byte| byte != 0) {
                return Ok(false);
            }
            at += bytes.len() as u64;
        }
        Ok(true)
    }

    /// The bytes at `offset`: at least `len`, as far as the file goes, and perhaps more.
    fn bytes(&mut self, offset: u64, len: usize) -> io::Result<&[u8]> {
        let left = self.len.saturating_sub(offset);
        let len = len.min(usize::try_from(left).unwrap_or(usize::MAX));
        let end = self.window_at + self.window.len() as u64;
        if offset < self.window_at || offset + len as u64 > end {
            let want = (len.max(WINDOW) as u64).min(left) as usize;
            self.window.resize(want, 0);
            let got = read_at(self.file, &mut self.window, offset)?;
            self.window.truncate(got);
            self.window_at = offset;
        }
        Ok(&self.window[(offset - self.window_at) as usize..])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kvwal::format::{Op, Record};
    use std::io::Write;

    fn record(lsn: u64, value: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        let record = Record { lsn, durable_lsn: 0, op: Op::Put, more: false, expires_at: 0, key: b"k", value };
        format::encode(&record, &mut bytes).unwrap();
        bytes
    }

    /// Each piece in short: its length, and whether it is a record, bad, or zeros.
    fn walk(bytes: &[u8]) -> Vec<(char, u64)> {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        let mut walk = Walk::new(&file, 0).unwrap();
        let mut pieces = Vec::new();
        while let Some(piece) = walk.next().unwrap() {
            pieces.push(match piece {
                Piece::Record { bytes, .. } => ('r', bytes.len() as u64),
                Piece::Bad { length, .. } => ('b', length),
                Piece::Zeros { length, .. } => ('z', length),
            });
        }
        pieces
    }

    #[test]
    fn it_goes_on_behind_what_is_bad() {
        let (short, long) = (record(1, b"short"), record(2, &vec![7; 3 * WINDOW]));
        let (s, l) = (short.len() as u64, long.len() as u64);
        assert_eq!(walk(&[]), []);
        assert_eq!(walk(&[&short[..], &long, &short].concat()), [('r', s), ('r', l), ('r', s)]);
        assert_eq!(walk(&[&short[..], &[0; 5000]].concat()), [('r', s), ('z', 5000)]);
        let mut bad = long.clone();
        bad[1000] ^= 1;
        assert_eq!(walk(&[&bad[..], &short].concat()), [('b', l), ('r', s)]);
        // Its length is wrong, so every offset has to be tried.
        let mut bad = long.clone();
        bad[5] ^= 1;
        assert_eq!(walk(&[&bad[..], &short].concat()), [('b', l), ('r', s)]);
        // What lies in the value of a bad record is none of the log's.
        let mut bad = record(2, &short);
        bad[0] ^= 1;
        assert_eq!(walk(&[&bad[..], &short].concat()), [('b', bad.len() as u64), ('r', s)]);
        assert_eq!(walk(&[&short[..], &long[..100]].concat()), [('r', s), ('b', 100)]);
        assert_eq!(walk(&[&[0; 700][..], &short].concat()), [('b', 700), ('r', s)]);
    }
}
