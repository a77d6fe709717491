//! A log on its own, without a store.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use super::repair::{self, Source};
use super::scan::{self, Scan};
use super::space::Space;
use super::writer::{Position, Writer};
use super::{Latch, behind};
use crate::directory;
use crate::error::{Error, ErrorKind, Result};
use crate::format::{self, Lsn, Record};
use crate::lock;
use crate::report::{Report, Verdict};
use crate::sys::fork::Owner;
use crate::vfs::os::OsVfs;
use crate::vfs::{Access, File, Vfs};

/// Each time the page cache may have let go of another page that the disk never got.
const MOST_SCANS: usize = 100;

/// A log file, open for appending. At every moment it is exactly as long as its records.
pub struct Log {
    writer: Writer,
    file: Arc<dyn File>,
    /// The empty file that it took the place of. Stays locked: somebody else may have opened it before.
    _replaced: Option<Arc<dyn File>>,
    latch: Arc<Latch>,
    owner: Owner,
}

impl Log {
    /// Opens the log `path`, creating it if it is missing. A bad tail is saved in `quarantine/` beside it, and cut off.
    pub fn open(path: &Path) -> Result<Log> {
        Log::open_on(&OsVfs::default(), path)
    }

    /// As [`open`](Self::open), on any file system.
    pub fn open_on(vfs: &dyn Vfs, path: &Path) -> Result<Log> {
        let dir = match path.parent() {
            Some(dir) if dir != Path::new("") => dir,
            _ => Path::new("."),
        };
        let file = vfs.open(path, Access::Create).map_err(|cause| Error::file("open", path, &cause))?;
        lock::lock_file(&*file, path)?;
        // In this order: a store locks its directory first and then looks whether its logs are locked.
        lock::check_unlocked(vfs, dir)?;
        let (file, replaced) = match file.size().map_err(|cause| Error::file("stat", path, &cause))? {
            0 => (make_anew(vfs, path)?, Some(file)),
            _ => (file, None),
        };
        let scan = recover(vfs, dir, &Source { file: &*file, path })?;
        let at = Position { end: scan.end, last_lsn: scan.last_lsn, durable_lsn: scan.last_lsn };
        let latch = Arc::new(Latch::default());
        let writer =
            Writer::new(Arc::clone(&file), path.to_owned(), at, Arc::new(Space::new(at.end, 0)), Arc::clone(&latch));
        let owner = Owner::current().map_err(|cause| Error::file("open", path, &cause))?;
        Ok(Log { writer, file, _replaced: replaced, latch, owner })
    }

    /// Appends a record durably. Gives it the next LSN, which is returned with its durable LSN.
    pub fn append(&mut self, record: &Record<'_>) -> Result<(Lsn, Lsn)> {
        self.check_process()?;
        format::check(record)?;
        let durable_lsn = self.writer.position().durable_lsn;
        self.writer.append([*record], true)?;
        Ok((self.writer.position().last_lsn, durable_lsn))
    }

    /// Closes the log.
    pub fn close(self) -> Result<()> {
        self.check_process()?;
        let unlocked = self.file.unlock().map_err(|cause| Error::file("unlock", self.writer.path(), &cause));
        self.latch.check().and(unlocked)
    }

    fn check_process(&self) -> Result<()> {
        lock::check_process(&self.owner)
    }
}

/// Makes an empty log once more: that its name became durable may have failed, and for a name that is there a second attempt
/// proves nothing.
fn make_anew(vfs: &dyn Vfs, path: &Path) -> Result<Arc<dyn File>> {
    vfs.remove(path).map_err(|cause| Error::file("remove", path, &cause))?;
    let file = vfs.open(path, Access::Create).map_err(|cause| Error::file("create", path, &cause))?;
    lock::lock_file(&*file, path)?;
    Ok(file)
}

/// Reads a stand-alone log, repairs its tail, and makes all of it, its name included, durable.
fn recover(vfs: &dyn Vfs, dir: &Path, source: &Source<'_>) -> Result<Scan> {
    let scan = scan_and_prove(source)?;
    if let Some(bad) = &scan.bad {
        let behind = behind::search(source.file, source.path, bad)?;
        let data_end = behind::data_end(source.file, source.path, scan.end, &behind)?;
        repair::quarantine(vfs, dir, source, scan.end, data_end, scan.last_lsn + 1)?;
    }
    // Also if there is nothing to cut: perhaps an earlier cut never reached the disk.
    repair::cut(source, scan.end)?;
    source.file.sync_all().map_err(|cause| Error::file("fsync", source.path, &cause))?;
    directory::sync(vfs, dir)?;
    Ok(scan)
}

/// Reads a log until what was read is what the disk has.
fn scan_and_prove(source: &Source<'_>) -> Result<Scan> {
    let Source { file, path } = *source;
    for _ in 0..MOST_SCANS {
        let first = scan::first_lsn(file, path)?.unwrap_or(1);
        let scan = scan::scan(file, path, first, |_| Ok(true))?;
        if repair::prove(source, &scan, scan.durable_lsn)?.is_some() {
            return Ok(scan);
        }
    }
    Err(Error::new(ErrorKind::Io, format!("{} is different each time it is read", path.display())))
}

/// Calls `visit` with each record of the log `path` whose LSN is above `after_lsn`, until it says false, and reports
/// what the file holds. Changes nothing.
pub fn replay(path: &Path, after_lsn: Lsn, visit: impl FnMut(&Record<'_>) -> bool) -> Result<Report> {
    replay_on(&OsVfs::default(), path, after_lsn, visit)
}

/// As [`replay`], on any file system.
pub fn replay_on(
    vfs: &dyn Vfs,
    path: &Path,
    after_lsn: Lsn,
    mut visit: impl FnMut(&Record<'_>) -> bool,
) -> Result<Report> {
    let started = Instant::now();
    let file = vfs.open(path, Access::Read).map_err(|cause| Error::file("open", path, &cause))?;
    let first = scan::first_lsn(&*file, path)?;
    if let Some(first) = first
        && after_lsn != 0
        && first - 1 > after_lsn
    {
        let message = format!("{} begins with LSN {first}, not {} or below", path.display(), after_lsn + 1);
        return Err(Error::corrupt(message));
    }
    let mut report = Report { checkpoint_lsn: after_lsn, ..Report::default() };
    let expected = first.unwrap_or(after_lsn.saturating_add(1));
    let scan = scan::scan(&*file, path, expected, |record| {
        if record.lsn <= after_lsn {
            return Ok(true);
        }
        report.records_replayed += 1;
        Ok(visit(record))
    })?;
    report.last_lsn = scan.last_lsn;
    report.durable_lsn = scan.durable_lsn;
    report.stop_offset = scan.end;
    if let Some(bad) = &scan.bad {
        let behind = behind::search(&*file, path, bad)?;
        report.records_behind = behind.records;
        report.durable_lsn = report.durable_lsn.max(behind.durable_lsn);
        report.verdict = if behind.durable_lsn >= bad.lsn { Verdict::Damaged } else { Verdict::Torn };
        report.bytes_quarantined = behind::data_end(&*file, path, scan.end, &behind)? - scan.end;
        report.reason = Some(bad.to_string());
    }
    report.elapsed = started.elapsed();
    Ok(report)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::Op;
    use crate::vfs::sim::{Call, Fault, SimDisk};

    const PATH: &str = "/dir/a.log";

    fn disk() -> SimDisk {
        let disk = SimDisk::new(1);
        disk.create_dir(Path::new("/dir")).unwrap();
        disk.sync_dir(Path::new("/")).unwrap();
        disk
    }

    fn open(disk: &SimDisk) -> Result<Log> {
        Log::open_on(disk, Path::new(PATH))
    }

    /// The record `lsn` as the tests write it: a sector each.
    fn record(lsn: Lsn) -> Record<'static> {
        static VALUES: [[u8; 478]; 32] = {
            let (mut values, mut at) = ([[0; 478]; 32], 0);
            while at < values.len() {
                values[at] = [at as u8; 478];
                at += 1;
            }
            values
        };
        let value = &VALUES[lsn as usize];
        Record { lsn, durable_lsn: 0, op: Op::Put, more: false, expires_at: 0, key: b"k", value }
    }

    fn append(log: &mut Log, lsns: impl IntoIterator<Item = Lsn>) -> Result<()> {
        lsns.into_iter().try_for_each(|lsn| {
            assert_eq!(log.append(&record(lsn))?, (lsn, lsn - 1));
            Ok(())
        })
    }

    /// What a log holds, and that it is what was appended.
    fn replay_all(disk: &SimDisk, after_lsn: Lsn) -> Result<(Vec<Lsn>, Report)> {
        let mut lsns = Vec::new();
        let report = replay_on(disk, Path::new(PATH), after_lsn, |found| {
            assert_eq!(*found, Record { durable_lsn: found.durable_lsn, ..record(found.lsn) });
            lsns.push(found.lsn);
            true
        })?;
        Ok((lsns, report))
    }

    fn log_bytes(lsns: std::ops::RangeInclusive<Lsn>) -> Vec<u8> {
        let mut bytes = Vec::new();
        for lsn in lsns {
            format::encode(&Record { durable_lsn: lsn - 1, ..record(lsn) }, &mut bytes).unwrap();
        }
        bytes
    }

    #[test]
    fn what_was_appended_survives_a_power_cut_or_a_kill_at_every_call() {
        for call in 0.. {
            let start = disk();
            start.power_off_at(call);
            let mut acknowledged = 0;
            let ended = (|| {
                for lsns in [1..4, 4..6] {
                    let mut log = open(&start)?;
                    for lsn in lsns {
                        append(&mut log, [lsn])?;
                        acknowledged = lsn;
                    }
                    log.close()?;
                }
                Ok::<_, Error>(())
            })();
            for seed in 0..8 {
                let disk = start.fork();
                if seed == 0 {
                    disk.kill()
                } else {
                    disk.crash(seed)
                }
                let context = format!("call {call}, seed {seed}");
                let mut log = open(&disk).unwrap();
                let last = log.writer.position().last_lsn;
                assert!((acknowledged..=acknowledged + 1).contains(&last), "{context}: {last} of {acknowledged}");
                append(&mut log, [last + 1]).unwrap();
                // Now it must also survive what nobody has closed.
                disk.crash(seed + 1);
                let (lsns, report) = replay_all(&disk, 0).unwrap();
                assert_eq!((lsns, report.verdict), ((1..=last + 1).collect(), Verdict::Clean), "{context}");
                let len = disk.contents(PATH).unwrap().len();
                assert_eq!(len as u64, (last + 1) * 512, "{context}");
            }
            if ended.is_ok() {
                assert!(call > 20, "there were calls: {call}");
                break;
            }
        }
    }

    #[test]
    fn a_tail_that_only_the_page_cache_holds_is_made_durable_before_anything_is_appended() {
        for seed in 0..20 {
            let disk = disk();
            let mut log = open(&disk).unwrap();
            append(&mut log, 1..4).unwrap();
            disk.fail(Fault { call: Some(Call::Sync), after: 0, times: 1, errno: libc::EIO, short_first: false });
            assert_eq!(append(&mut log, [4]).unwrap_err().kind(), ErrorKind::Failed);
            assert_eq!(append(&mut log, [4]).unwrap_err().kind(), ErrorKind::Failed);
            assert_eq!(log.close().unwrap_err().kind(), ErrorKind::Failed);
            let mut log = open(&disk).unwrap();
            // The fourth is there, unless the page cache has let go of it.
            let last = log.writer.position().last_lsn;
            assert!((3..=4).contains(&last), "seed {seed}: {last}");
            append(&mut log, [last + 1]).unwrap();
            disk.crash(seed);
            assert!(replay_all(&disk, 0).unwrap().0.into_iter().eq(1..=last + 1), "seed {seed}");
        }
    }

    #[test]
    fn a_bad_tail_is_reported_by_replay_and_saved_and_cut_off_by_open() {
        let disk = disk();
        open(&disk).unwrap().close().unwrap();
        let mut damaged = log_bytes(1..=6);
        damaged[3 * 512 + 100] ^= 1;
        disk.overwrite(PATH, &damaged);
        let (lsns, report) = replay_all(&disk, 0).unwrap();
        assert_eq!((lsns, report.last_lsn, report.stop_offset), (vec![1, 2, 3], 3, 3 * 512));
        assert_eq!((report.verdict, report.records_behind, report.durable_lsn), (Verdict::Damaged, 2, 5));
        assert_eq!(report.bytes_quarantined, 3 * 512);
        assert_eq!(disk.contents(PATH).unwrap(), damaged, "replay changes nothing");
        // Without anything valid behind it.
        disk.overwrite(PATH, &damaged[..4 * 512]);
        let (_, report) = replay_all(&disk, 0).unwrap();
        assert_eq!((report.verdict, report.records_behind, report.bytes_quarantined), (Verdict::Torn, 0, 512));
        disk.overwrite(PATH, &damaged);

        let mut log = open(&disk).unwrap();
        assert_eq!(disk.contents("/dir/quarantine/a.log-lsn-4-offset-1536").unwrap(), damaged[3 * 512..]);
        append(&mut log, [4]).unwrap();
        log.close().unwrap();
        let (lsns, report) = replay_all(&disk, 0).unwrap();
        assert_eq!((lsns, report.verdict, report.bytes_quarantined), (vec![1, 2, 3, 4], Verdict::Clean, 0));
    }

    #[test]
    fn replay_begins_where_it_is_told_to_and_refuses_a_gap() {
        let disk = disk();
        open(&disk).unwrap().close().unwrap();
        disk.overwrite(PATH, &log_bytes(5..=9));
        // 0 stands for the whole log, wherever it begins.
        for (after_lsn, expected) in [(0, 5..10), (4, 5..10), (5, 6..10), (8, 9..10), (9, 10..10), (20, 10..10)] {
            let (lsns, report) = replay_all(&disk, after_lsn).unwrap();
            assert_eq!(lsns, expected.collect::<Vec<_>>(), "after {after_lsn}");
            assert_eq!((report.records_replayed as usize, report.checkpoint_lsn), (lsns.len(), after_lsn));
        }
        for after_lsn in [1, 3] {
            assert_eq!(replay_all(&disk, after_lsn).unwrap_err().kind(), ErrorKind::Corrupt, "after {after_lsn}");
        }
        let mut visited = 0;
        let stop_at_second = |_: &Record<'_>| {
            visited += 1;
            visited < 2
        };
        let report = replay_on(&disk, Path::new(PATH), 5, stop_at_second).unwrap();
        assert_eq!((visited, report.records_replayed, report.last_lsn), (2, 2, 7));
    }

    #[test]
    fn a_log_has_one_owner_and_is_none_of_an_open_store() {
        let disk = disk();
        let log = open(&disk).unwrap();
        assert_eq!(open(&disk).err().map(|error| error.kind()), Some(ErrorKind::Locked));
        log.close().unwrap();
        open(&disk).unwrap().close().unwrap();
        let store = crate::Store::open_on(Arc::new(disk.clone()), "/dir", &crate::Options::default()).unwrap();
        assert_eq!(open(&disk).err().map(|error| error.kind()), Some(ErrorKind::Locked));
        store.close().unwrap();
        open(&disk).unwrap().close().unwrap();
    }
}
