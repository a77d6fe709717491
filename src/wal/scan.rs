//! Reading a whole log file, and noting what its repair needs to know.

use std::path::Path;

use super::reader::{self, Bad, Reader, Step};
use crate::error::{Error, Result};
use crate::format::{self, Lsn, Record};
use crate::vfs::File;

/// Distance of the marks, in bytes.
const MARK_EVERY: u64 = 64 << 10;

/// What a log file holds.
#[derive(Debug)]
pub struct Scan {
    /// Offset behind the last valid batch.
    pub end: u64,
    /// LSN of the last valid record; one less than the expected first one if there is none.
    pub last_lsn: Lsn,
    /// Highest durable LSN in the valid records.
    pub durable_lsn: Lsn,
    /// Valid records.
    pub records: u64,
    /// The file's length.
    pub file_len: u64,
    /// What ended the log, if it was neither the end of the file nor zeros up to there.
    pub bad: Option<Bad>,
    /// Offsets of some batches with their first LSN, in order.
    marks: Vec<(u64, Lsn)>,
}

impl Scan {
    /// Where a batch begins, and with which LSN, from where to look for the record `lsn`, which is in the log.
    pub fn mark_before(&self, lsn: Lsn) -> (u64, Lsn) {
        let behind = self.marks.partition_point(|&(_, first)| first <= lsn);
        self.marks[behind.saturating_sub(1)]
    }

    /// What reading would give for a log of which no record counts, not even the first, which should be `expected`.
    pub fn of_nothing(file: &dyn File, path: &Path, expected: Lsn) -> Result<Scan> {
        let file_len = file.size().map_err(|cause| Error::file("stat", path, &cause))?;
        let last_lsn = expected - 1;
        Ok(Scan { end: 0, last_lsn, durable_lsn: 0, records: 0, file_len, bad: None, marks: Vec::new() })
    }
}

/// The LSN with which a log begins, or `expected` if it holds no valid first record. An error if the file is no log.
pub fn first_lsn(file: &dyn File, path: &Path) -> Result<Option<Lsn>> {
    let mut reader = Reader::new(file, path)?;
    let first = reader.first_lsn()?;
    if first.is_none()
        && reader.is_foreign()?
        && !super::behind::has_record(file, path)?
        // The first write into zeros that were there already may have ended before it came to what a record is known by.
        && reader::data_end(file, path, 0, u64::MAX)? > format::OP_AT as u64
    {
        return Err(Error::corrupt(format!("{} is not a log of kvwal", path.display())));
    }
    Ok(first)
}

/// Reads a log whose first record should be `expected`, calling `visit` with each record until it says false.
pub fn scan(
    file: &dyn File,
    path: &Path,
    expected: Lsn,
    mut visit: impl FnMut(&Record<'_>) -> Result<bool>,
) -> Result<Scan> {
    let mut reader = Reader::new(file, path)?;
    let mut scan = Scan::of_nothing(file, path, expected)?;
    scan.file_len = reader.file_len();
    loop {
        let offset = reader.offset();
        if scan.marks.last().is_none_or(|(last, _)| offset - last >= MARK_EVERY) {
            scan.marks.push((offset, scan.last_lsn + 1));
        }
        match reader.next(scan.last_lsn + 1)? {
            Step::End | Step::Zeros => return Ok(scan),
            Step::Bad(bad) => {
                scan.bad = Some(bad);
                return Ok(scan);
            }
            Step::Batch(records) => {
                let mut go_on = true;
                for record in records {
                    go_on = go_on && visit(&record)?;
                    scan.last_lsn = record.lsn;
                    scan.durable_lsn = scan.durable_lsn.max(record.durable_lsn);
                    scan.records += 1;
                }
                scan.end = reader.offset();
                if !go_on {
                    return Ok(scan);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::Op;
    use crate::vfs::sim::SimDisk;
    use crate::vfs::{Access, Vfs};

    #[test]
    fn a_mark_is_not_behind_the_record_and_not_far_before_it() {
        let (mut log, mut starts) = (Vec::new(), Vec::new());
        for lsn in 5..1000u64 {
            starts.push((lsn, log.len() as u64));
            let value = vec![1; lsn as usize * 7919 % 3000];
            let record =
                Record { lsn, durable_lsn: 0, op: Op::Put, more: false, expires_at: 0, key: b"k", value: &value };
            format::encode(&record, &mut log).unwrap();
        }
        let (disk, path) = (SimDisk::new(1), Path::new("/wal.log"));
        drop(disk.open(path, Access::Create).unwrap());
        disk.overwrite(path, &log);
        let file = disk.open(path, Access::Read).unwrap();
        let scan = scan(&*file, path, 5, |_| Ok(true)).unwrap();
        assert_eq!((scan.end, scan.last_lsn, scan.records), (log.len() as u64, 999, 995));
        assert_eq!(scan.mark_before(1), (0, 5));
        for (lsn, start) in starts {
            let (mark, _) = scan.mark_before(lsn);
            assert!(mark <= start && start - mark < MARK_EVERY + 3100, "LSN {lsn} at {start}: {mark}");
        }
    }
}
