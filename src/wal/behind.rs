//! What lies behind the first bad record of a log: only searched, never applied.
//!
//! Records have no marks between them, so behind a bad one the search tries every offset, until a valid record is
//! found; from there on it goes record by record. Two rules keep it from taking bytes inside a value for a record of
//! this log:
//!
//! - a bad record whose lengths agree with each other is skipped as a whole;
//! - the LSN must fit the distance: a record takes at least 33 bytes, so that from the bad record to one found d bytes
//!   behind it, LSNs can have grown by d / 33 — or a little more, if the damage also removed bytes. Or it goes on where a
//!   valid record ends, with the next LSN.

use std::path::Path;

use super::reader::{self, Bad};
use crate::error::{Error, Result};
use crate::format::{self, Lsn, MIN_RECORD_LEN, Peek};
use crate::vfs::File;

/// How much is read at once.
const WINDOW: usize = 1 << 20;
/// How many records damage may have removed from the file without hiding what is behind them.
const MISSING: u64 = 1000;
/// How many bytes are hashed at most, so that a file made to look like records everywhere costs a bounded time: so often
/// the length of the tail, and for a short tail so much.
const HASH_TIMES: u64 = 16;
const HASH_LEAST: u64 = 4 << 30;

/// What was found behind a bad record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Behind {
    /// Valid records.
    pub records: u64,
    /// The highest durable LSN in them.
    pub durable_lsn: Lsn,
    /// Where the last of them ends, or the last bad one whose lengths agree; 0 if there are none.
    pub end: u64,
}

/// Searches `file` behind a bad record.
pub fn search(file: &dyn File, path: &Path, bad: &Bad) -> Result<Behind> {
    search_from(file, path, bad.offset, |lsn, distance| fits(lsn, bad.lsn, distance))
}

/// Whether there is a valid record anywhere in `file`.
pub fn has_record(file: &dyn File, path: &Path) -> Result<bool> {
    Ok(search_from(file, path, 0, |_, _| true)?.records > 0)
}

/// Searches for records of whose LSN and distance `fits` approves.
fn search_from(file: &dyn File, path: &Path, bad_at: u64, fits: impl Fn(Lsn, u64) -> bool) -> Result<Behind> {
    let mut search = Search::new(file, path, bad_at)?;
    let mut found = Behind::default();
    // Only at the bad record's place, and where another record ends, is it certain that a record begins.
    let (mut at, mut begins_here) = (bad_at, true);
    // Where the record after the last valid one begins, and its LSN.
    let mut continues = None;
    while let Some((offset, candidate)) = search.next_candidate(at)? {
        let end = offset + candidate.len as u64;
        let plausible = continues == Some((offset, candidate.lsn)) || fits(candidate.lsn, offset - bad_at);
        let valid = plausible && search.is_valid(offset, candidate.len)?;
        if valid {
            continues = Some((end, candidate.lsn.saturating_add(1)));
            found.records += 1;
            found.durable_lsn = found.durable_lsn.max(candidate.durable_lsn);
        }
        begins_here = valid || (begins_here && offset == at);
        at = offset + 1;
        if begins_here {
            (at, found.end) = (end, end);
        }
    }
    Ok(found)
}

/// How far the bytes of a log from `from` on, which do not count, may hold data. Zeros at the end of the file, a page or
/// more of them and in no record, are space that was allocated ahead, and not worth saving.
pub fn data_end(file: &dyn File, path: &Path, from: u64, behind: &Behind) -> Result<u64> {
    const PAGE: u64 = 4096;
    let len = file.size().map_err(|cause| Error::file("stat", path, &cause))?;
    let not_zero = reader::data_end(file, path, from, len)?;
    let data_end = not_zero.max(behind.end);
    Ok(if data_end > from && len - data_end < PAGE { len } else { data_end })
}

fn fits(lsn: Lsn, bad_lsn: Lsn, distance: u64) -> bool {
    match distance {
        0 => lsn > bad_lsn,
        _ => lsn >= bad_lsn && lsn - bad_lsn <= distance / MIN_RECORD_LEN as u64 + MISSING,
    }
}

struct Search<'f> {
    file: &'f dyn File,
    path: &'f Path,
    end: u64,
    window: Vec<u8>,
    window_at: u64,
    /// How many bytes may still be hashed.
    budget: u64,
}

impl<'f> Search<'f> {
    fn new(file: &'f dyn File, path: &'f Path, from: u64) -> Result<Search<'f>> {
        let end = file.size().map_err(|cause| Error::file("stat", path, &cause))?;
        let budget = end.saturating_sub(from).saturating_mul(HASH_TIMES).max(HASH_LEAST);
        Ok(Search { file, path, end, window: Vec::new(), window_at: from, budget })
    }

    /// The first offset from `at` on where something looks like a record.
    fn next_candidate(&mut self, mut at: u64) -> Result<Option<(u64, Peek)>> {
        while at + MIN_RECORD_LEN as u64 <= self.end && self.budget > 0 {
            self.load(at)?;
            let window = &self.window[(at - self.window_at) as usize..];
            if window.len() < MIN_RECORD_LEN {
                break;
            }
            for skip in 0..=window.len() - MIN_RECORD_LEN {
                let offset = at + skip as u64;
                if let Some(candidate) = format::peek(&window[skip..])
                    && offset + candidate.len as u64 <= self.end
                {
                    return Ok(Some((offset, candidate)));
                }
            }
            at += (window.len() - MIN_RECORD_LEN) as u64 + 1;
        }
        Ok(None)
    }

    /// Makes the window hold at least a record's header at `at`, as far as the file goes.
    fn load(&mut self, at: u64) -> Result<()> {
        let window_end = self.window_at + self.window.len() as u64;
        let needed = (at + MIN_RECORD_LEN as u64).min(self.end);
        if at >= self.window_at && needed <= window_end {
            return Ok(());
        }
        let len = usize::try_from(self.end - at).unwrap_or(WINDOW).min(WINDOW);
        self.window.try_reserve(len).map_err(|_| Error::no_memory(len))?;
        self.window.resize(len, 0);
        let got = reader::read(self.file, self.path, &mut self.window, at)?;
        self.window.truncate(got);
        self.window_at = at;
        Ok(())
    }

    /// Whether the checksum is right, and the record one of ours.
    fn is_valid(&mut self, offset: u64, len: usize) -> Result<bool> {
        self.budget = self.budget.saturating_sub(len as u64);
        let mut record = reader::buffer(len)?;
        let got = reader::read(self.file, self.path, &mut record, offset)?;
        Ok(got == len && format::decode(&record).is_ok())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::{Op, Record};
    use crate::vfs::sim::SimDisk;
    use crate::vfs::{Access, Vfs};

    const PATH: &str = "/wal.log";

    fn record(lsn: Lsn, value: &[u8]) -> Vec<u8> {
        let record = Record { lsn, durable_lsn: lsn - 1, op: Op::Put, more: false, expires_at: 0, key: b"", value };
        let mut bytes = Vec::new();
        format::encode(&record, &mut bytes).unwrap();
        bytes
    }

    /// A record whose checksum is wrong and whose lengths agree.
    fn bad(value: &[u8]) -> Vec<u8> {
        let mut bytes = record(10, value);
        bytes[0] ^= 1;
        bytes
    }

    fn file(bytes: &[u8]) -> std::sync::Arc<dyn File> {
        let disk = SimDisk::new(1);
        let file = disk.open(Path::new(PATH), Access::Create).unwrap();
        disk.overwrite(PATH, bytes);
        file
    }

    /// Searches behind the bad record 10, which begins at `at`; the LSNs of `expected` are what is to be found.
    fn check(parts: &[&[u8]], at: usize, expected: &[Lsn], end: usize) {
        let bad = Bad { path: PATH.into(), lsn: 10, offset: at as u64, reason: String::new() };
        let durable_lsn = expected.iter().max().map_or(0, |lsn| lsn - 1);
        let expected = Behind { records: expected.len() as u64, durable_lsn, end: end as u64 };
        assert_eq!(search(&*file(&parts.concat()), Path::new(PATH), &bad).unwrap(), expected);
    }

    #[test]
    fn a_value_that_looks_like_a_record_is_none() {
        let inner = record(12, b"inside");
        // In a bad record whose lengths agree, and in a valid one.
        let (outer, valid) = (bad(&inner), record(11, &inner));
        check(&[&outer, &valid], 0, &[11], outer.len() + valid.len());
        check(&[&outer, &outer, &valid], 0, &[11], 2 * outer.len() + valid.len());
        check(&[&[0xff; 50], &valid], 0, &[11], 50 + valid.len());
        check(&[&outer], 0, &[], outer.len());
        // Nothing says where the first one ends, so all of it is searched.
        check(&[&[0xff; 50], &outer[33..], &valid], 0, &[12, 11], 50 + outer.len() - 33 + valid.len());
    }

    #[test]
    fn what_only_looks_like_a_record_hides_none() {
        // Its lengths agree, and it is so long that the next one would be in it; but nothing begins where it does.
        let next = record(11, b"value");
        let longer = bad(&[&next[..], &[0; 40]].concat());
        let hiding = &longer[..33];
        check(&[&[0xff; 50], hiding, &next, &[0xff; 40]], 0, &[11], 50 + 33 + next.len());
    }

    #[test]
    fn every_place_and_the_shortest_record_are_found() {
        let shortest = record(11, b"");
        for garbage in [0, 1, 32, 33, 34, WINDOW - 33, WINDOW - 32, WINDOW - 1, WINDOW, WINDOW + 1, 2 * WINDOW - 40] {
            check(&[&[0xff; 7], &vec![0xff; garbage], &shortest], 7, &[11], 7 + garbage + 33);
            check(&[&vec![0xff; garbage + 7], &shortest, &[0xff; 20]], 7, &[11], 7 + garbage + 33);
        }
    }

    #[test]
    fn numbers_must_fit_the_distance() {
        for distance in [1, 33, 34, 33 * 5000] {
            let most = 10 + distance / 33 + MISSING;
            assert!(fits(10, 10, distance) && fits(most, 10, distance));
            assert!(!fits(9, 10, distance) && !fits(most + 1, 10, distance));
        }
        assert!(fits(11, 10, 0) && fits(u64::MAX, 10, 0) && !fits(10, 10, 0));
        // Far behind the beginning of the file, and not far behind the bad record.
        let far = vec![0xff; 33 * 5000];
        check(&[&far, &[0xff; 40], &record(1011, b"")], far.len(), &[1011], far.len() + 40 + 33);
        check(&[&far, &[0xff; 40], &record(1012, b"")], far.len(), &[], 0);
        // The one behind a valid one is always plausible, and only that.
        let parts = [&[0xff; 40][..], &record(1011, b""), &record(1012, b"")].concat();
        check(&[&far, &parts], far.len(), &[1011, 1012], far.len() + parts.len());
    }

    #[test]
    fn a_page_of_zeros_at_the_end_is_not_data() {
        let path = Path::new(PATH);
        let end = |data: &[u8], zeros: usize, from: u64, behind: u64| {
            let behind = Behind { end: behind, ..Behind::default() };
            data_end(&*file(&[data, &vec![0; zeros]].concat()), path, from, &behind).unwrap()
        };
        assert_eq!(end(&[1; 100], 0, 10, 0), 100);
        assert_eq!(end(&[1; 100], 4095, 10, 0), 4195);
        assert_eq!(end(&[1; 100], 4096, 10, 0), 100);
        assert_eq!(end(&[1; 100], 10_000, 10, 0), 100);
        // Zeros that belong to a record are data.
        assert_eq!(end(&[1; 100], 10_000, 10, 5000), 5000);
        // Nothing but zeros.
        assert_eq!(end(&[1; 100], 50, 100, 0), 100);
        assert_eq!(end(&[1; 100], 10_000, 100, 0), 100);
    }
}
