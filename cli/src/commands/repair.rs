//! `repair`: a damaged store made usable again, as far as it is intact.
//!
//! # The algorithm
//!
//! Without `--apply` nothing is changed: [`kvwal::verify`] says what an opening would keep and cut. With it:
//!
//! 1. The store is locked, so that nobody opens it meanwhile.
//! 2. Its files are copied into a directory beside it, `STORE.repairing`. With `--until-lsn` the logs of the copy are cut.
//! 3. The copy is opened, which repairs it as any opening would, closed, and verified.
//! 4. The original is renamed to `STORE.before-repair`, the copy to `STORE`, and the directory of both is synced.
//!
//! So the original is never written to. A crash before step 4 leaves it in its place, and one between the two renames under its
//! new name, with the repaired copy beside it. A signal before step 4 takes the copy back, and a later one waits for its end.

use std::fs::{self, File, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, chown};
use std::path::{Path, PathBuf};

use kvwal::{Options, RecoveryMode, Report, Size, Store, Verified};
use serde::Serialize;

use super::files::{self, Health};
use super::inspect::{Piece, Walk};
use crate::args;
use crate::failure::{Exit, Failure, Result};
use crate::interruption::{HalfDone, TakeBack};
use crate::opening;
use crate::output::{self, Facts, Output};
use crate::progress;

const LOGS: [&str; 2] = ["wal.log", "wal.next"];
const CHECKPOINT: &str = "checkpoint.dat";

/// What was done, or would be.
#[derive(Serialize)]
struct Repair {
    verdict: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    applied: bool,
    checkpoint_lsn: u64,
    /// The store holds the effect of the records up to this one.
    kept_until_lsn: u64,
    /// Of bad and unreachable records, and of those behind `--until-lsn`.
    cut_bytes: u64,
    /// Valid records that are given up because they lie behind a bad one.
    records_behind: u64,
    /// Valid records that are given up because that was asked for.
    records_dropped: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    original: Option<String>,
}

impl Facts for Repair {
    fn lines(&self) -> Vec<(&'static str, String)> {
        let mut lines = vec![("the store is", self.verdict.to_owned())];
        lines.extend(self.reason.clone().map(|reason| ("why", reason)));
        lines.push(match self.kept_until_lsn {
            0 => ("kept", "nothing".to_owned()),
            1 => ("kept", format!("record 1, checkpoint at {}", self.checkpoint_lsn)),
            last => ("kept", format!("records 1 to {last}, checkpoint at {}", self.checkpoint_lsn)),
        });
        lines.push(("cut off", output::size(self.cut_bytes)));
        lines.push(("valid, but behind bad ones", records(self.records_behind)));
        lines.push(("dropped as asked for", records(self.records_dropped)));
        match (&self.original, self.applied) {
            (Some(original), _) => lines.push(("the original is", original.clone())),
            (None, true) => lines.push(("done", "nothing: there was nothing to repair".to_owned())),
            (None, false) => lines.push(("done", "nothing yet: --apply does it, and keeps the original".to_owned())),
        }
        lines
    }
}

fn records(number: u64) -> String {
    output::count(number, "record", "records")
}

pub fn repair(args: &args::Repair, output: &mut Output) -> Result<Exit> {
    let verified = files::look_at(&args.store)?;
    if verified.is_open {
        return Err(files::locked(&args.store));
    }
    if let Some(error) = &verified.refused {
        let failure = Failure::new(Exit::Refused, error.to_string());
        return Err(
            failure.hint("no prefix of it is a store; restore a backup, or look for what is left: kvwal inspect")
        );
    }
    let cut = args.until_lsn.map(|lsn| Cut::plan(&args.store, &verified, lsn)).transpose()?.unwrap_or_default();
    let mut repair = plan(&verified, &cut);
    let is_needed = Health::of(&verified) != Health::Clean || cut.records > 0;
    if args.apply {
        repair.applied = true;
        if is_needed {
            let original = apply(&args.store, &cut, repair.kept_until_lsn)?;
            repair.original = Some(original.display().to_string());
        }
    }
    output.facts(&repair)?;
    Ok(if args.apply { Exit::Done } else { Health::of(&verified).exit() })
}

fn plan(verified: &Verified, cut: &Cut) -> Repair {
    let Report { checkpoint_lsn, last_lsn, bytes_quarantined, records_behind, reason, .. } = &verified.report;
    Repair {
        verdict: Health::of(verified).name(),
        reason: reason.clone(),
        applied: false,
        checkpoint_lsn: *checkpoint_lsn,
        kept_until_lsn: cut.last_lsn.unwrap_or(*last_lsn),
        cut_bytes: bytes_quarantined + cut.bytes,
        records_behind: *records_behind,
        records_dropped: cut.records,
        original: None,
    }
}

/// What `--until-lsn` takes away.
#[derive(Default)]
struct Cut {
    /// How long each log stays that is to be cut.
    keep: Vec<(&'static str, u64)>,
    /// The last record that stays.
    last_lsn: Option<u64>,
    records: u64,
    bytes: u64,
}

impl Cut {
    /// Finds the places where the logs are to be cut so that `until` is the last record, or, if that is in the middle of a
    /// batch, the last one before the batch.
    fn plan(dir: &Path, verified: &Verified, until: u64) -> Result<Cut> {
        let Report { checkpoint_lsn, last_lsn, .. } = verified.report;
        if until >= last_lsn {
            return Ok(Cut::default());
        }
        if until < checkpoint_lsn {
            let message =
                format!("the checkpoint holds the records up to {checkpoint_lsn}, and cannot be taken back to {until}");
            return Err(Failure::new(Exit::Usage, message).hint("an older state needs a backup and an archive of logs"));
        }
        let mut cut = Cut { last_lsn: Some(checkpoint_lsn), ..Cut::default() };
        for name in LOGS {
            let path = dir.join(name);
            if path.try_exists().map_err(|cause| Failure::io("look up", &path, &cause))? {
                cut.log(name, &path, until, last_lsn).map_err(|cause| Failure::io("read", &path, &cause))?;
            }
        }
        Ok(cut)
    }

    /// Notes where a log is to be cut. What is behind its first bad record is none of ours: opening the copy cuts that.
    fn log(&mut self, name: &'static str, path: &Path, until: u64, last_lsn: u64) -> io::Result<()> {
        let file = File::open(path)?;
        let mut walk = Walk::new(&file, 0)?;
        let (mut keep, mut end, mut is_cut) = (0, 0, false);
        // Of a batch whose end has not been seen yet.
        let mut of_batch = 0;
        while let Some(Piece::Record { offset, bytes }) = walk.next()? {
            let record = kvwal::format::decode_checked(&bytes).expect("the walk has verified it");
            if record.lsn > last_lsn {
                break;
            }
            end = offset + bytes.len() as u64;
            is_cut |= record.lsn > until;
            of_batch += 1;
            if !is_cut && !record.more {
                (keep, of_batch) = (end, 0);
                self.last_lsn = self.last_lsn.max(Some(record.lsn));
            }
        }
        if is_cut {
            self.keep.push((name, keep));
            self.records += of_batch;
            self.bytes += end - keep;
        }
        Ok(())
    }
}

/// Does it; returns where the original is now.
fn apply(dir: &Path, cut: &Cut, last_lsn: u64) -> Result<PathBuf> {
    // Without a slash at its end, and where it really is.
    let dir = &fs::canonicalize(dir).map_err(|cause| Failure::io("find", dir, &cause))?;
    let _lock = lock(dir)?;
    let copy = beside(dir, ".repairing");
    let ((), half_done) = HalfDone::begin(|| fs::create_dir(&copy), |()| take_back(&copy)).map_err(|cause| {
        Failure::io("make the directory", &copy, &cause).hint("if an earlier repair left it, remove it and try again")
    })?;
    let made = make_copy(dir, &copy, cut, last_lsn);
    if made.is_err() {
        // The failure to be reported is the one that made us give up.
        let _ = fs::remove_dir_all(&copy);
    }
    made?;
    half_done.finish(|| exchange(dir, &copy))
}

fn take_back(copy: &Path) -> TakeBack {
    let copy = copy.to_owned();
    Box::new(move || match output::remove_all(&copy) {
        Ok(()) => "the store is as it was".to_owned(),
        Err(cause) => format!("the store is as it was; remove {}: {cause}", copy.display()),
    })
}

/// Locks the store, as opening it would.
fn lock(dir: &Path) -> Result<File> {
    let path = dir.join("LOCK");
    let open = File::options().read(true).write(true).create(true).truncate(false).open(&path);
    let mut file = open.map_err(|cause| Failure::io("open", &path, &cause))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Err(files::locked(dir)),
        Err(TryLockError::Error(cause)) => return Err(Failure::io("lock", &path, &cause)),
    }
    // For the error of others who come.
    let pid = format!("{}\n", std::process::id());
    let written = file.set_len(0).and_then(|()| file.write_all(pid.as_bytes()));
    written.map_err(|cause| Failure::io("write", &path, &cause))?;
    Ok(file)
}

fn make_copy(dir: &Path, copy: &Path, cut: &Cut, last_lsn: u64) -> Result<()> {
    for name in LOGS.into_iter().chain([CHECKPOINT]) {
        let (from, to) = (dir.join(name), copy.join(name));
        if from.try_exists().map_err(|cause| Failure::io("look up", &from, &cause))? {
            copy_file(&from, &to)?;
        }
    }
    for (name, len) in &cut.keep {
        let path = copy.join(name);
        let cut = File::options().write(true).open(&path).and_then(|file| file.set_len(*len));
        cut.map_err(|cause| Failure::io("cut", &path, &cause))?;
    }
    let options = Options {
        create: false,
        recovery: RecoveryMode::Prefix,
        checkpoint_wal_bytes: Size::Never,
        preallocate: Size::Never,
        ..Options::default()
    };
    opening::close(Store::open(copy, &options)?)?;
    let repaired = kvwal::verify(copy)?;
    if Health::of(&repaired) == Health::Damaged || repaired.report.last_lsn != last_lsn {
        let message = format!("the copy reaches LSN {}, and not {last_lsn}", repaired.report.last_lsn);
        return Err(Failure::new(Exit::Bug, message).hint("the store was not changed; please report this"));
    }
    give_to_owner_of(dir, copy)?;
    output::sync_dir(copy)
}

fn copy_file(from: &Path, to: &Path) -> Result<()> {
    let len = fs::metadata(from).map_err(|cause| Failure::io("stat", from, &cause))?.len();
    let bar = progress::bytes("copying", len);
    let failed = |cause: io::Error| Failure::io("copy", from, &cause);
    let mut source = bar.wrap_read(File::open(from).map_err(failed)?);
    let mut target = File::create_new(to).map_err(failed)?;
    io::copy(&mut source, &mut target).map_err(failed)?;
    target.sync_all().map_err(failed)
}

/// Gives the copy, all of it, the owner and permissions of the original.
fn give_to_owner_of(dir: &Path, copy: &Path) -> Result<()> {
    let give = |from: &Path, to: &Path| -> io::Result<()> {
        let metadata = fs::metadata(from)?;
        let now = fs::metadata(to)?;
        if (now.uid(), now.gid()) != (metadata.uid(), metadata.gid()) {
            chown(to, Some(metadata.uid()), Some(metadata.gid()))?;
        }
        fs::set_permissions(to, metadata.permissions())
    };
    let entries = fs::read_dir(copy).map_err(|cause| Failure::io("read", copy, &cause))?;
    for entry in entries {
        let path = entry.map_err(|cause| Failure::io("read", copy, &cause))?.path();
        let original = dir.join(path.file_name().unwrap_or_default());
        if original.exists() {
            give(&original, &path).map_err(|cause| Failure::io("set the owner of", &path, &cause))?;
        }
    }
    give(dir, copy).map_err(|cause| Failure::io("set the owner of", copy, &cause))
}

/// Puts the copy into the place of the original.
fn exchange(dir: &Path, copy: &Path) -> Result<PathBuf> {
    let original = free_name(dir)?;
    let failed =
        |cause: io::Error| Failure::io("rename", dir, &cause).hint(format!("the repaired store is {}", copy.display()));
    fs::rename(dir, &original).map_err(failed)?;
    if let Err(cause) = fs::rename(copy, dir) {
        // The failure to be reported is the one that made us give up.
        let _ = fs::rename(&original, dir);
        return Err(failed(cause));
    }
    output::sync_dir(output::parent(dir))?;
    Ok(original)
}

/// A name for the original that nothing has.
fn free_name(dir: &Path) -> Result<PathBuf> {
    let first = beside(dir, ".before-repair");
    let further = (2u32..).map(|number| beside(dir, &format!(".before-repair.{number}")));
    for path in std::iter::once(first).chain(further) {
        if !path.try_exists().map_err(|cause| Failure::io("look up", &path, &cause))? {
            return Ok(path);
        }
    }
    unreachable!("there are more names than files")
}

fn beside(dir: &Path, suffix: &str) -> PathBuf {
    let mut name = dir.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}
