//! Looking at a store without opening it.
//!
//! # The algorithm
//!
//! A look reads every record and every block, as [`recovery`] does before it repairs anything, and stops there
//! ([`recovery::look`]). So what it finds is what an opening would find: not by a second set of rules, but by the same code.
//! Nothing is opened for writing, no lock is taken and no file made, so a directory that may only be read will do, and the
//! owner of a store is not disturbed.
//!
//! The owner of an open store may be in the middle of a write, or of a checkpoint, in which files change their names. So what
//! is found wrong is believed only when another look finds the same in the same place; until then it is looked at again. What
//! is never found wrong in the same place twice is a write that goes on. A file that was there a moment ago, and could not be
//! opened then, has only got another name, however often that is so.

use std::path::Path;
use std::time::{Duration, Instant};

use crate::checkpoint;
use crate::error::{Error, ErrorKind, Result};
use crate::format::Lsn;
use crate::lock;
use crate::recovery::{self, Findings, LogsSum};
use crate::report::{Report, Verdict};
use crate::vfs::os::OsVfs;
use crate::vfs::{Access, Vfs};
use crate::wal::pair::{LOG, NEXT};
use crate::wal::reader::Bad;
use crate::wal::scan;

/// How often a store is looked at that is different each time.
const MOST_LOOKS: usize = 50;
/// How long a write that is under way is given to end.
const BETWEEN_LOOKS: Duration = Duration::from_millis(20);

/// What a store's files hold.
#[derive(Clone, Debug, PartialEq)]
pub struct Verified {
    /// What [`Store::recovery_report`](crate::Store::recovery_report) would say if the store were opened now. Nothing was
    /// changed, so `bytes_quarantined` is what opening would cut off, and `bytes_rewritten` is 0.
    ///
    /// `elapsed` is how long the reading took. An opening does the same reading first, so this is a measured estimate of how
    /// long it takes, on this machine and with as much of the files in the page cache; syncing what nothing proves durable
    /// comes on top.
    pub report: Report,
    /// Why the store cannot be opened at all, if so. Then the verdict is [`Verdict::Damaged`], `records`, `first_lsn`,
    /// `last_lsn` and `durable_lsn` are those of the logs alone, and the other numbers are 0.
    ///
    /// With [`RecoveryMode::Strict`](crate::RecoveryMode::Strict) a store is also refused if the verdict is
    /// [`Verdict::Damaged`], or the checkpoint is [`bad`](Self::bad).
    pub refused: Option<Error>,
    /// Somebody has the store open, as far as the system tells, or was seen to be writing.
    pub is_open: bool,
    /// The first thing that is wrong. If it is in the checkpoint, it has no LSN.
    pub bad: Option<Bad>,
    /// LSN of the first record in the logs, 0 if there is none.
    pub first_lsn: Lsn,
    /// Valid records in the logs, also those that the checkpoint covers.
    pub records: u64,
    /// Their bytes.
    pub record_bytes: u64,
    /// Keys that the store would have when opened.
    pub keys: u64,
    /// Bytes of their values.
    pub value_bytes: u64,
    /// How long the files are.
    pub files: FileSizes,
}

/// The length of each file of a store; `None` if there is no such file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FileSizes {
    /// Of `wal.log`.
    pub log: Option<u64>,
    /// Of `wal.next`.
    pub next: Option<u64>,
    /// Of `checkpoint.dat`.
    pub checkpoint: Option<u64>,
}

/// Reads everything that the store in `dir` consists of, and changes nothing: see [`Verified`]. Takes as much memory as
/// opening the store does. An error if there is no store, or its files cannot be read.
pub fn verify(dir: impl AsRef<Path>) -> Result<Verified> {
    verify_on(&OsVfs::default(), dir.as_ref())
}

/// As [`verify`], on any file system.
pub fn verify_on(vfs: &dyn Vfs, dir: &Path) -> Result<Verified> {
    let vfs = &*vfs.enter(dir).map_err(|cause| Error::file("open directory", dir, &cause))?;
    recovery::check_exists(vfs, dir)?;
    let mut was_wrong = None;
    for looks in 1.. {
        let mut look = Look::at(vfs, dir)?;
        let is_certain = look.complaint().is_none() || look.complaint() == was_wrong;
        if is_certain && !look.missed_a_file() {
            return look.conclude(vfs, dir);
        }
        if looks == MOST_LOOKS {
            look.forgive();
            return look.conclude(vfs, dir);
        }
        was_wrong = look.complaint();
        if look.is_open {
            std::thread::sleep(BETWEEN_LOOKS);
        }
    }
    unreachable!("it ends with the last look")
}

/// One look, and what it found.
struct Look {
    is_open: bool,
    found: Result<Findings>,
    elapsed: Duration,
}

impl Look {
    fn at(vfs: &dyn Vfs, dir: &Path) -> Result<Look> {
        let is_open = lock::is_held(vfs, dir, &[LOG, NEXT])? == Some(true);
        let started = Instant::now();
        let found = recovery::look(vfs, dir);
        Ok(Look { is_open, found, elapsed: started.elapsed() })
    }

    /// Whether a file went away between being looked up and being opened.
    fn missed_a_file(&self) -> bool {
        self.found.as_ref().is_err_and(|error| error.os_error() == Some(libc::ENOENT))
    }

    /// What is wrong, in words that say where.
    fn complaint(&self) -> Option<String> {
        match &self.found {
            Ok(found) => found.bad.as_ref().map(Bad::to_string),
            Err(error) => Some(error.to_string()),
        }
    }

    /// The store is different each time. What was found bad was found good by the next look: it is still being written.
    fn forgive(&mut self) {
        self.is_open = true;
        if let Ok(Findings { report, bad, .. }) = &mut self.found {
            *bad = None;
            (report.verdict, report.reason) = (Verdict::Clean, None);
            (report.records_behind, report.bytes_quarantined) = (0, 0);
        }
    }

    fn conclude(self, vfs: &dyn Vfs, dir: &Path) -> Result<Verified> {
        let refused = match &self.found {
            Err(error) if matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::Version) => Some(error.clone()),
            _ => None,
        };
        let Findings { mut report, bad, logs, keys, value_bytes } = match &refused {
            Some(error) => survey(vfs, dir, error)?,
            None => self.found?,
        };
        report.elapsed = self.elapsed;
        let LogsSum { first_lsn, records, bytes: record_bytes } = logs;
        let files = FileSizes {
            log: size(vfs, &dir.join(LOG))?,
            next: size(vfs, &dir.join(NEXT))?,
            checkpoint: size(vfs, &dir.join(checkpoint::NAME))?,
        };
        let is_open = self.is_open;
        Ok(Verified { report, refused, is_open, bad, first_lsn, records, record_bytes, keys, value_bytes, files })
    }
}

/// What can be said of files that are no store together: each log, read by itself.
fn survey(vfs: &dyn Vfs, dir: &Path, error: &Error) -> Result<Findings> {
    let mut report = Report { verdict: Verdict::Damaged, reason: Some(error.to_string()), ..Report::default() };
    let mut logs = LogsSum::default();
    // Only a checkpoint's damage has an offset.
    let mut bad = error.offset().map(|_| recovery::bad_checkpoint_of(dir, error));
    for path in [dir.join(LOG), dir.join(NEXT)] {
        if size(vfs, &path)?.is_none() {
            continue;
        }
        let file = vfs.open(&path, Access::Read).map_err(|cause| Error::file("open", &path, &cause))?;
        let read = scan::first_lsn(&*file, &path)
            .and_then(|first| scan::scan(&*file, &path, first.unwrap_or(1), |_| Ok(true)));
        match read {
            Ok(scan) => {
                logs.add(&scan);
                if scan.records > 0 {
                    report.last_lsn = report.last_lsn.max(scan.last_lsn);
                    report.durable_lsn = report.durable_lsn.max(scan.durable_lsn);
                }
                bad = bad.or(scan.bad);
            }
            // It is no log, or a newer version's.
            Err(error) if matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::Version) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(Findings { report, bad, logs, keys: 0, value_bytes: 0 })
}

/// The length of a file, if it is there.
fn size(vfs: &dyn Vfs, path: &Path) -> Result<Option<u64>> {
    let size = match vfs.open(path, Access::Read) {
        Err(cause) if cause.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        opened => opened.and_then(|file| file.size()),
    };
    size.map(Some).map_err(|cause| Error::file("stat", path, &cause))
}
