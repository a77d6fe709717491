//! A log on its own, without a store.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use super::repair::{self, Source};
use super::scan::{self, Scan};
use super::space::Space;
use super::writer::{Position, Writer};
use super::{Latch, behind};
use crate::error::{Error, ErrorKind, Result};
use crate::format::{self, Lsn, Record};
use crate::lock;
use crate::report::{Report, Verdict};
use crate::sys::fork::Owner;
use crate::vfs::os::OsVfs;
use crate::vfs::{Access, File, Vfs};

/// A log file, open for appending. At every moment it is exactly as long as its records.
pub struct Log {
    writer: Writer,
    file: Arc<dyn File>,
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
        if !file.try_lock().map_err(|cause| Error::file("lock", path, &cause))? {
            return Err(Error::new(ErrorKind::Locked, format!("{} is open elsewhere", path.display())));
        }
        // In this order: a store locks its directory first and then looks whether its logs are locked.
        lock::check_unlocked(vfs, dir)?;
        let first = scan::first_lsn(&*file, path)?.unwrap_or(1);
        let scan = scan::scan(&*file, path, first, |_| Ok(true))?;
        make_whole(vfs, dir, &Source { file: &*file, path }, &scan)?;
        let at = Position { end: scan.end, last_lsn: scan.last_lsn, durable_lsn: scan.last_lsn };
        let latch = Arc::new(Latch::default());
        let writer =
            Writer::new(Arc::clone(&file), path.to_owned(), at, Arc::new(Space::new(at.end, 0)), Arc::clone(&latch));
        let owner = Owner::current().map_err(|cause| Error::file("open", path, &cause))?;
        Ok(Log { writer, file, latch, owner })
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

/// Repairs the tail of a stand-alone log, and makes all of it, its name included, durable.
fn make_whole(vfs: &dyn Vfs, dir: &Path, source: &Source<'_>, scan: &Scan) -> Result<()> {
    if let Some(bad) = &scan.bad {
        let behind = behind::search(source.file, source.path, bad)?;
        let data_end = behind::data_end(source.file, source.path, scan.end, &behind)?;
        repair::quarantine(vfs, dir, source, scan.end, data_end, scan.last_lsn + 1)?;
    }
    // Also if there is nothing to cut: perhaps an earlier cut never reached the disk.
    repair::cut(source, scan.end)?;
    repair::prove(source, scan, scan.durable_lsn)?;
    source.file.sync_all().map_err(|cause| Error::file("fsync", source.path, &cause))?;
    repair::sync_dir(vfs, dir)
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
