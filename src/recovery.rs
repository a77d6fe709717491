//! Opening a store: from whatever a crash left to a table and a log that may be appended to.
//!
//! # The algorithm
//!
//! First everything is read, and nothing is changed ([`examine`]):
//!
//! 1. The checkpoint, if there is one, is loaded. If it is damaged, the log may do without it when it still begins with
//!    LSN 1.
//! 2. `wal.log` is read from its beginning; LSNs decide what is applied: those above the checkpoint's. Then `wal.next`,
//!    if it is there and goes on where `wal.log` ends. (If the checkpoint covers everything before `wal.next`, it does
//!    not matter how `wal.log` ends, or whether it is damaged: the crash came before it could be retired.)
//! 3. Reading stops at the first record that is not valid; the rest is searched for evidence, and the verdict found.
//!
//! Files that cannot be those of one store (a log that begins behind a gap, or does not reach the checkpoint; a
//! checkpoint without a log) are an error. So is, in strict mode, the verdict "damaged".
//!
//! Then the files are repaired ([`repair`]), each step durable before the next, so that a crash in between leaves what
//! can be examined again with the same result:
//!
//! 4. What was not applied is saved in `quarantine/`.
//! 5. The logs are cut to what was applied.
//! 6. Applied records that nothing proves durable are made so: written again, in their place, and synced.
//! 7. Leftovers are removed, and a `wal.next` that is the only log needed takes its name, durably.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use crate::checkpoint::{self, layout::Header};
use crate::error::{Error, ErrorKind, Result};
use crate::format::{Lsn, Op, Record};
use crate::lock;
use crate::options::{Options, RecoveryMode};
pub use crate::report::{Report, Verdict};
use crate::sys::block::{Block, MAX_LSN};
use crate::table::Table;
use crate::vfs::{Access, File, Vfs};
use crate::wal::behind::{self, Behind};
use crate::wal::pair::{LOG, NEXT, OpenLog};
use crate::wal::reader::Bad;
use crate::wal::repair::{self, Source};
use crate::wal::scan::{self, Scan};
use crate::wal::writer::Position;

/// A recovered store.
pub struct Recovered {
    /// Its contents.
    pub table: Table,
    /// The log.
    pub log: OpenLog,
    /// The second log of a checkpoint that was not completed.
    pub next: Option<OpenLog>,
    /// The newest checkpoint.
    pub checkpoint: Option<Header>,
    /// What was found and done.
    pub report: Report,
}

/// Recovers the store in `dir`, or makes a new one. The caller has locked the directory.
pub fn recover(vfs: &dyn Vfs, dir: &Path, options: &Options) -> Result<Recovered> {
    let started = Instant::now();
    let mut names = Names::list(vfs, dir)?;
    if !names.any() {
        create_log(vfs, dir)?;
        names.log = true;
    }
    let found = examine(vfs, dir, &names, options.recovery)?;
    let mut recovered = repair(vfs, dir, found)?;
    recovered.report.elapsed = started.elapsed();
    Ok(recovered)
}

/// Whether there is a store in `dir`, which exists.
pub fn exists(vfs: &dyn Vfs, dir: &Path) -> Result<bool> {
    Ok(Names::list(vfs, dir)?.any())
}

/// Which files a store directory has.
#[derive(Default)]
struct Names {
    log: bool,
    next: bool,
    checkpoint: bool,
    /// What an interrupted checkpoint left.
    leftovers: Vec<PathBuf>,
}

impl Names {
    fn list(vfs: &dyn Vfs, dir: &Path) -> Result<Names> {
        let mut names = Names::default();
        for name in vfs.list(dir).map_err(|cause| error("list", dir, &cause))? {
            match name.to_str() {
                Some(LOG) => names.log = true,
                Some(NEXT) => names.next = true,
                Some(checkpoint::NAME) => names.checkpoint = true,
                Some(name) if name.ends_with(".tmp") => names.leftovers.push(dir.join(name)),
                _ => {}
            }
        }
        Ok(names)
    }

    fn any(&self) -> bool {
        self.log || self.next || self.checkpoint
    }
}

fn create_log(vfs: &dyn Vfs, dir: &Path) -> Result<()> {
    let path = dir.join(LOG);
    let file = vfs.open(&path, Access::Create).map_err(|cause| error("create", &path, &cause))?;
    // Its name becomes durable in the recovery that follows.
    file.sync_all().map_err(|cause| error("fsync", &path, &cause))
}

/// What a store's files hold, and how they are to be repaired.
struct Found {
    table: Table,
    report: Report,
    checkpoint: Option<Header>,
    /// The checkpoint is damaged, and the log makes up for it.
    checkpoint_is_bad: bool,
    log: LogFile,
    next: Option<LogFile>,
    outcome: Outcome,
    leftovers: Vec<PathBuf>,
}

struct LogFile {
    file: Arc<dyn File>,
    path: PathBuf,
    scan: Scan,
    /// What becomes of it.
    fate: Fate,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// Its valid records are part of the store.
    Keep,
    /// The checkpoint covers all that it may hold, and `wal.next` goes on from there.
    Superseded,
    /// It lies behind the first bad record, or holds nothing that the store goes on from.
    Discard,
}

/// How reading ended.
struct Outcome {
    last_lsn: Lsn,
    /// The highest LSN that any record, or the checkpoint, proves durable.
    durable_lsn: Lsn,
    bad: Option<Bad>,
}

impl LogFile {
    fn source(&self) -> Source<'_> {
        Source { file: &*self.file, path: &self.path }
    }
}

/// Reads everything, changes nothing.
fn examine(vfs: &dyn Vfs, dir: &Path, names: &Names, mode: RecoveryMode) -> Result<Found> {
    if !names.log {
        let others = if names.checkpoint { checkpoint::NAME } else { NEXT };
        return Err(Error::corrupt(format!("{}: there is {others} but no {LOG}", dir.display())));
    }
    let log_path = dir.join(LOG);
    let log_file = open_log(vfs, &log_path)?;
    let log_first = scan::first_lsn(&*log_file, &log_path)?;

    let mut replay = Replay::new(vfs)?;
    let mut checkpoint_is_bad = false;
    let mut checkpoint = None;
    if names.checkpoint {
        match replay.load(vfs, &dir.join(checkpoint::NAME)) {
            Ok(header) => checkpoint = Some(header),
            Err(error) if error.kind() == ErrorKind::Corrupt && log_first == Some(1) => {
                if mode == RecoveryMode::Strict {
                    return Err(error);
                }
                checkpoint_is_bad = true;
                replay = Replay::new(vfs)?;
                replay.needed_lsn = claimed_lsn(vfs, &dir.join(checkpoint::NAME));
                replay.report.reason = Some(error.to_string());
            }
            Err(error) => return Err(error),
        }
    }

    let after = replay.report.checkpoint_lsn;
    if let Some(first) = log_first
        && first > after + 1
    {
        let message = format!("{} begins with LSN {first}, but the checkpoint ends at {after}", log_path.display());
        return Err(Error::corrupt(message));
    }
    let log_scan = replay.scan(&*log_file, &log_path, log_first.unwrap_or(after + 1))?;
    let mut log = LogFile { file: log_file, path: log_path, scan: log_scan, fate: Fate::Keep };
    let mut next = match names.next {
        true => Some(examine_next(vfs, dir, &mut log, &mut replay)?),
        false => None,
    };
    let outcome = conclude(&mut log, next.as_mut(), &mut replay)?;
    replay.check_mode(mode, &outcome)?;
    let Replay { table, report, .. } = replay;
    let leftovers = names.leftovers.clone();
    Ok(Found { table, report, checkpoint, checkpoint_is_bad, log, next, outcome, leftovers })
}

/// Reads `wal.next` as far as it continues what was read before, and decides about `wal.log`.
fn examine_next(vfs: &dyn Vfs, dir: &Path, log: &mut LogFile, replay: &mut Replay) -> Result<LogFile> {
    let path = dir.join(NEXT);
    let file = open_log(vfs, &path)?;
    let first = scan::first_lsn(&*file, &path)?;
    let after = replay.report.checkpoint_lsn;
    let (mut fate, mut expected) = (Fate::Keep, log.scan.last_lsn + 1);
    if let Some(first) = first {
        if first <= log.scan.last_lsn {
            let message = format!(
                "{} begins with LSN {first}, but {LOG} already ends with {}",
                path.display(),
                log.scan.last_lsn
            );
            return Err(Error::corrupt(message));
        }
        if log.scan.records == 0 && log.scan.bad.is_none() && first > after + 1 {
            let message = format!(
                "{} begins with LSN {first}, but {LOG} is empty and the checkpoint ends at {after}",
                path.display()
            );
            return Err(Error::corrupt(message));
        }
        let continues = log.scan.bad.is_none() && first == log.scan.last_lsn + 1;
        if first <= after + 1 && (!continues || log.scan.last_lsn <= after) {
            log.fate = Fate::Superseded;
            expected = first;
        } else if !continues {
            fate = Fate::Discard;
        }
    } else if log.scan.bad.is_some() {
        fate = Fate::Discard;
    } else if log.scan.last_lsn == after {
        log.fate = Fate::Superseded;
    }
    let scan = match fate {
        Fate::Discard => Scan::of_nothing(&*file, &path, expected)?,
        _ => replay.scan(&*file, &path, expected)?,
    };
    Ok(LogFile { file, path, scan, fate })
}

/// Finds out where the valid log ends, what is behind it, and the verdict.
fn conclude(log: &mut LogFile, mut next: Option<&mut LogFile>, replay: &mut Replay) -> Result<Outcome> {
    let after = replay.report.checkpoint_lsn;
    let bad = first_bad(log, next.as_deref());
    let last = match next.as_deref() {
        Some(next) if next.fate == Fate::Keep => next,
        _ => &*log,
    };
    let last_lsn = last.scan.last_lsn;
    replay.report.stop_offset = last.scan.end;
    if last_lsn < replay.needed_lsn.max(after) && bad.is_none() {
        let message = format!(
            "{} ends with LSN {last_lsn}, but the checkpoint reaches {}",
            last.path.display(),
            replay.needed_lsn.max(after)
        );
        return Err(Error::corrupt(message));
    }
    if last_lsn < replay.needed_lsn {
        return Err(Error::corrupt("the checkpoint is damaged, and so is the log that could make up for it"));
    }
    let mut durable_lsn = after.max(log.scan.durable_lsn);
    let mut behind = Behind::default();
    if let Some(bad) = &bad {
        behind = evidence(log, next.as_deref(), bad)?;
        durable_lsn = durable_lsn.max(behind.durable_lsn);
    }
    if let Some(next) = next.as_deref() {
        durable_lsn = durable_lsn.max(next.scan.durable_lsn);
    }
    if let Some(bad) = &bad {
        let is_damaged = durable_lsn >= bad.lsn;
        replay.report.verdict = if is_damaged { Verdict::Damaged } else { Verdict::Torn };
        replay.report.records_behind = behind.records;
        replay.report.reason = Some(bad.to_string());
    }
    if last_lsn < after {
        // The damage lies in records that the checkpoint covers. A log that goes on behind a gap is none, so what there
        // is gives way to an empty one.
        log.fate = Fate::Discard;
        if let Some(next) = &mut next {
            next.fate = Fate::Discard;
        }
    }
    let last_lsn = last_lsn.max(after);
    replay.report.last_lsn = last_lsn;
    replay.report.durable_lsn = durable_lsn;
    Ok(Outcome { last_lsn, durable_lsn, bad })
}

/// The first bad record of the two logs, taken as one.
fn first_bad(log: &LogFile, next: Option<&LogFile>) -> Option<Bad> {
    let in_log = match log.fate {
        Fate::Superseded => None,
        _ => log.scan.bad.clone(),
    };
    in_log.or_else(|| {
        let next = next?;
        match next.fate {
            Fate::Discard => Some(Bad {
                path: log.path.clone(),
                lsn: log.scan.last_lsn + 1,
                offset: log.scan.end,
                reason: format!("{LOG} ends before it, and {NEXT} begins behind it"),
            }),
            _ => next.scan.bad.clone(),
        }
    })
}

/// Searches for valid records behind the first bad one, in both logs.
fn evidence(log: &LogFile, next: Option<&LogFile>, bad: &Bad) -> Result<Behind> {
    let mut found = Behind::default();
    if log.fate != Fate::Superseded && log.scan.bad.is_some() {
        found = behind::search(&*log.file, &log.path, bad.offset, bad.lsn)?;
    }
    if let Some(next) = next {
        let more = match &next.scan.bad {
            _ if next.fate == Fate::Discard => count(next)?,
            Some(bad) => behind::search(&*next.file, &next.path, bad.offset, bad.lsn)?,
            None => Behind::default(),
        };
        found.records += more.records;
        found.durable_lsn = found.durable_lsn.max(more.durable_lsn);
    }
    Ok(found)
}

/// The valid records of a log that is discarded as a whole.
fn count(log: &LogFile) -> Result<Behind> {
    let Some(first) = scan::first_lsn(&*log.file, &log.path)? else {
        return Ok(Behind::default());
    };
    let scan = scan::scan(&*log.file, &log.path, first, |_| Ok(true))?;
    Ok(Behind { records: scan.records, durable_lsn: scan.durable_lsn, end: scan.end })
}

/// Building the table.
struct Replay {
    table: Table,
    report: Report,
    now: u64,
    /// The log must reach this LSN: a damaged checkpoint did, as far as its header can still be read.
    needed_lsn: Lsn,
}

impl Replay {
    fn new(vfs: &dyn Vfs) -> Result<Replay> {
        let seed = vfs.hash_seed().map_err(|cause| Error::io("getrandom", &cause))?;
        Ok(Replay { table: Table::new(seed), report: Report::default(), now: vfs.now_ms(), needed_lsn: 0 })
    }

    fn load(&mut self, vfs: &dyn Vfs, path: &Path) -> Result<Header> {
        let file = vfs.open(path, Access::Read).map_err(|cause| error("open", path, &cause))?;
        let lsn = checkpoint::reader::header(&*file, path)?.lsn;
        if lsn > MAX_LSN {
            return Err(Error::corrupt(format!("{}: LSN {lsn} is beyond the last", path.display())));
        }
        let header =
            checkpoint::reader::read(&*file, path, |entry| self.put(entry.key, entry.value, entry.expires_at, lsn))?;
        self.report.checkpoint_lsn = lsn;
        self.report.checkpoint_keys = header.keys;
        Ok(header)
    }

    /// Reads a log and applies what is not in the checkpoint.
    fn scan(&mut self, file: &dyn File, path: &Path, expected: Lsn) -> Result<Scan> {
        let after = self.report.checkpoint_lsn;
        scan::scan(file, path, expected, |record| {
            if record.lsn > after {
                self.apply(record)?;
            }
            Ok(true)
        })
    }

    fn apply(&mut self, record: &Record<'_>) -> Result<()> {
        if record.lsn > MAX_LSN {
            return Err(Error::corrupt(format!("LSN {} is beyond the last", record.lsn)));
        }
        self.report.records_replayed += 1;
        match record.op {
            Op::Delete => self.delete(record.key, record.lsn),
            Op::Put | Op::PutExpiring => self.put(record.key, record.value, record.expires_at, record.lsn),
        }
    }

    fn put(&mut self, key: &[u8], value: &[u8], expires_at: u64, lsn: Lsn) -> Result<()> {
        if expires_at != 0 && expires_at <= self.now {
            // It takes the place of an earlier value all the same.
            self.report.keys_expired += 1;
            return self.delete(key, lsn);
        }
        let block = Block::new(key, value, expires_at).ok_or_else(|| Error::no_memory(key.len() + value.len()))?;
        self.table.apply(&mut self.table.change(Op::Put, block), lsn, || self.now)
    }

    fn delete(&mut self, key: &[u8], lsn: Lsn) -> Result<()> {
        let block = Block::new(key, b"", 0).ok_or_else(|| Error::no_memory(key.len()))?;
        self.table.apply(&mut self.table.change(Op::Delete, block), lsn, || self.now)
    }

    fn check_mode(&self, mode: RecoveryMode, outcome: &Outcome) -> Result<()> {
        match &outcome.bad {
            Some(bad) if mode == RecoveryMode::Strict && self.report.verdict == Verdict::Damaged => {
                Err(Error::corrupt(format!(
                    "acknowledged data is damaged: {bad}. LSN {} had been durable; the prefix up to LSN {} is intact",
                    outcome.durable_lsn, outcome.last_lsn
                )))
            }
            _ => Ok(()),
        }
    }
}

/// The LSN that a damaged checkpoint had, if that can still be read.
fn claimed_lsn(vfs: &dyn Vfs, path: &Path) -> Lsn {
    let header = vfs.open(path, Access::Read).ok().and_then(|file| checkpoint::reader::header(&*file, path).ok());
    header.map_or(0, |header| header.lsn)
}

fn open_log(vfs: &dyn Vfs, path: &Path) -> Result<Arc<dyn File>> {
    let file = vfs.open(path, Access::Write).map_err(|cause| error("open", path, &cause))?;
    // Somebody may be appending to it on its own.
    lock::check_file_unlocked(&*file, path)?;
    Ok(file)
}

/// Changes the files so that they are what was recovered.
fn repair(vfs: &dyn Vfs, dir: &Path, found: Found) -> Result<Recovered> {
    let Found { table, mut report, checkpoint, checkpoint_is_bad, log, next, outcome, leftovers } = found;
    // What was read may have names that only the page cache knows; what follows relies on them.
    repair::sync_dir(vfs, dir)?;
    if checkpoint_is_bad {
        report.bytes_quarantined += quarantine_checkpoint(vfs, dir)?;
    }
    if let Some(bad) = &outcome.bad {
        for file in [Some(&log), next.as_ref()].into_iter().flatten() {
            report.bytes_quarantined += save(vfs, dir, file, bad)?;
        }
    }
    let next = match next {
        Some(next) if next.fate == Fate::Discard => {
            vfs.remove(&next.path).map_err(|cause| error("remove", &next.path, &cause))?;
            repair::sync_dir(vfs, dir)?;
            None
        }
        next => next,
    };
    let kept = |log: &LogFile| log.fate == Fate::Keep;
    let log_end = if kept(&log) { log.scan.end } else { 0 };
    if log.fate != Fate::Superseded && log.scan.file_len > log_end {
        repair::cut(&log.source(), log_end)?;
    }
    if let Some(next) = &next
        && next.scan.file_len > next.scan.end
    {
        repair::cut(&next.source(), next.scan.end)?;
    }
    for kept in [Some(&log), next.as_ref()].into_iter().flatten().filter(|log| kept(log)) {
        report.bytes_rewritten += repair::prove(&kept.source(), &kept.scan, outcome.durable_lsn)?;
    }
    remove_leftovers(vfs, &leftovers)?;

    let at = |end| Position { end, last_lsn: outcome.last_lsn, durable_lsn: outcome.last_lsn };
    let (log, next) = match next {
        Some(next) if log.fate == Fate::Superseded => {
            vfs.rename(&next.path, &log.path).map_err(|cause| error("rename", &next.path, &cause))?;
            repair::sync_dir(vfs, dir)?;
            ((next.file, at(next.scan.end)), None)
        }
        Some(next) => ((log.file, at(log_end)), Some((next.file, at(next.scan.end)))),
        None => ((log.file, at(log_end)), None),
    };
    Ok(Recovered { table, log, next, checkpoint, report })
}

/// Saves what is going to be cut off a log; returns how many bytes that were.
fn save(vfs: &dyn Vfs, dir: &Path, log: &LogFile, bad: &Bad) -> Result<u64> {
    let whole = Bad { offset: 0, ..bad.clone() };
    let (from, bad) = match (log.fate, &log.scan.bad) {
        (Fate::Superseded, _) | (Fate::Keep, None) => return Ok(0),
        (Fate::Keep, Some(bad)) => (log.scan.end, bad),
        (Fate::Discard, _) => (0, &whole),
    };
    let to = behind::data_end(&*log.file, &log.path, from, bad)?;
    if to > from {
        let lsn = if from == log.scan.end { log.scan.last_lsn + 1 } else { bad.lsn };
        repair::quarantine(vfs, dir, &log.source(), from, to, lsn)?;
    }
    Ok(to - from)
}

fn quarantine_checkpoint(vfs: &dyn Vfs, dir: &Path) -> Result<u64> {
    let path = dir.join(checkpoint::NAME);
    let file = vfs.open(&path, Access::Write).map_err(|cause| error("open", &path, &cause))?;
    let len = file.size().map_err(|cause| error("stat", &path, &cause))?;
    repair::quarantine(vfs, dir, &Source { file: &*file, path: &path }, 0, len, 0)?;
    vfs.remove(&path).map_err(|cause| error("remove", &path, &cause))?;
    repair::sync_dir(vfs, dir)?;
    Ok(len)
}

fn remove_leftovers(vfs: &dyn Vfs, leftovers: &[PathBuf]) -> Result<()> {
    leftovers.iter().try_for_each(|path| match vfs.remove(path) {
        // Whatever it is, it is not ours.
        Err(cause) if cause.kind() == io::ErrorKind::IsADirectory => Ok(()),
        result => result.map_err(|cause| error("remove", path, &cause)),
    })
}

fn error(call: &str, path: &Path, cause: &io::Error) -> Error {
    Error::io(format_args!("{call} {}", path.display()), cause)
}
