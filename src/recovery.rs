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
//!    not matter how `wal.log` ends, or whether it is damaged: the crash came before it could be retired.) A `wal.next`
//!    without a `wal.log` is the log itself, if it goes on from the checkpoint: the crash came while its name was made anew
//!    ([`LogPair::prepare`](crate::wal::pair::LogPair::prepare)). It gets its name back before anything else is changed.
//! 3. Reading stops at the first record that is not valid; the rest is searched for evidence, and the verdict found.
//!
//! Files that cannot be those of one store (a log that begins behind a gap, or does not reach the checkpoint; a
//! checkpoint without a log) are an error. So is, in strict mode, the verdict "damaged".
//!
//! Then the files are repaired ([`repair`]), each step durable before the next, so that a crash in between leaves what
//! can be examined again with the same result:
//!
//! 4. Applied records that nothing proves durable are made so: written again, in their place, and synced. If the page
//!    cache has let go of one meanwhile, everything is examined again.
//! 5. What was not applied is saved in `quarantine/`.
//! 6. The logs are cut to what was applied, `wal.log` first. If nothing of it stays an empty one takes its place, last: an archive
//!    may have the old one under another name.
//! 7. Leftovers are removed, durably. A `wal.log` that the checkpoint covers stays until the next checkpoint retires it.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use crate::checkpoint;
use crate::checkpoint::layout::{Header, MIN_ENTRY_LEN};
use crate::checkpoint::reader::{Entry, Visitor};
use crate::directory;
use crate::error::{Error, ErrorKind, Result};
use crate::format::{Lsn, Op, Record};
use crate::lock;
use crate::options::{Options, RecoveryMode};
use crate::pipe;
pub use crate::report::{Report, Verdict};
use crate::sys::block::{Block, MAX_LSN};
use crate::sys::sync::Mutex;
use crate::sys::thread;
use crate::table::{Change, Cursor, Table, is_expired};
use crate::vfs::stream::Stream;
use crate::vfs::{Access, File, Vfs};
use crate::wal::behind::{self, Behind};
use crate::wal::pair::{LOG, NEXT, OpenLog};
use crate::wal::reader::{self, Bad};
use crate::wal::repair::{self, Source};
use crate::wal::scan::{self, Scan};
use crate::wal::writer::Position;

/// How many threads load a checkpoint, at most.
const MOST_HELPERS: usize = 8;
/// How many entries or records are put into the table together: so many that several belong to each shard.
const BATCH: usize = 8192;
/// Or as many as have values of that many bytes.
const BATCH_BYTES: usize = 4 << 20;
/// One that is filled, one that is applied, and one in between.
const BATCHES: usize = 3;
/// An empty log, until it takes the place of one of which nothing counts. Left by a crash, it is used by the next opening.
const UNFINISHED_LOG: &str = "wal.tmp";
/// Each time the page cache may have let go of another page that the disk never got.
const MOST_EXAMINATIONS: usize = 100;

/// What the files are read for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Purpose {
    /// To be repaired and appended to.
    Open,
    /// To be looked at: nothing is opened for writing, and nobody else is kept out.
    Look,
}

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
    /// There was no store before.
    pub is_new: bool,
}

/// Recovers the store in `dir`, or makes a new one. The caller has locked the directory.
pub fn recover(vfs: &dyn Vfs, dir: &Path, options: &Options) -> Result<Recovered> {
    let started = Instant::now();
    let names = Names::look_up(vfs, dir)?;
    let is_new = names.is_new(vfs, dir, Purpose::Open)?;
    if is_new {
        create_log(vfs, dir, names.log)?;
    }
    for _ in 0..MOST_EXAMINATIONS {
        let found = examine(vfs, dir, options.recovery, Purpose::Open)?;
        if let Some(mut recovered) = repair(vfs, dir, found)? {
            recovered.report.elapsed = started.elapsed();
            recovered.is_new = is_new;
            return Ok(recovered);
        }
    }
    Err(Error::new(ErrorKind::Io, format!("the logs in {} are different each time they are read", dir.display())))
}

/// Whether there is a store in `dir`, which exists.
pub fn exists(vfs: &dyn Vfs, dir: &Path) -> Result<bool> {
    Ok(Names::look_up(vfs, dir)?.any())
}

/// An error if there is no store in `dir`.
pub fn check_exists(vfs: &dyn Vfs, dir: &Path) -> Result<()> {
    match exists(vfs, dir)? {
        true => Ok(()),
        false => Err(Error::new(ErrorKind::Io, format!("there is no store in {}", dir.display()))),
    }
}

/// Which files a store directory has.
struct Names {
    log: bool,
    next: bool,
    checkpoint: bool,
    /// What an interrupted checkpoint left.
    unfinished: bool,
}

impl Names {
    fn look_up(vfs: &dyn Vfs, dir: &Path) -> Result<Names> {
        let exists = |name| {
            let path = dir.join(name);
            vfs.exists(&path).map_err(|cause| Error::file("look up", &path, &cause))
        };
        Ok(Names {
            log: exists(LOG)?,
            next: exists(NEXT)?,
            checkpoint: exists(checkpoint::NAME)?,
            unfinished: exists(checkpoint::UNFINISHED)?,
        })
    }

    fn any(&self) -> bool {
        self.log || self.next || self.checkpoint
    }

    /// Whether nothing was ever stored here: there are no files, or a single log that is empty. That may be `wal.next`, where
    /// removing it did not reach the disk, and making `wal.log` anew did not either.
    fn is_new(&self, vfs: &dyn Vfs, dir: &Path, purpose: Purpose) -> Result<bool> {
        let only = match (self.log, self.next, self.checkpoint) {
            (false, false, false) => return Ok(true),
            (true, false, false) => LOG,
            (false, true, false) => NEXT,
            _ => return Ok(false),
        };
        let path = dir.join(only);
        let file = open_log(vfs, &path, purpose)?;
        Ok(file.size().map_err(|cause| Error::file("stat", &path, &cause))? == 0)
    }
}

/// Makes the log of a new store. If there is one already, empty, it gives way: making its name durable may have failed,
/// and for a name that is there a second attempt proves nothing.
fn create_log(vfs: &dyn Vfs, dir: &Path, replace: bool) -> Result<()> {
    let path = dir.join(LOG);
    if replace {
        remove(vfs, &path)?;
    }
    let file = vfs.open(&path, Access::Create).map_err(|cause| Error::file("create", &path, &cause))?;
    // Its name becomes durable in the recovery that follows.
    file.sync_all().map_err(|cause| Error::file("fsync", &path, &cause))
}

/// What a store's files hold, and how they are to be repaired.
struct Found {
    table: Table,
    report: Report,
    checkpoint: Option<Header>,
    /// Why the checkpoint is damaged, if it is; the log makes up for it.
    bad_checkpoint: Option<Error>,
    log: LogFile,
    next: Option<LogFile>,
    outcome: Outcome,
    /// There is an unfinished checkpoint to be removed.
    unfinished: bool,
}

struct LogFile {
    file: Arc<dyn File>,
    path: PathBuf,
    scan: Scan,
    /// What becomes of it.
    fate: Fate,
    /// What is in it behind the first bad record, if that was looked for.
    behind: Behind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// Its valid records are part of the store.
    Keep,
    /// The checkpoint covers all that it may hold, and `wal.next` goes on from there. The next checkpoint retires it:
    /// only that one can know that its own name is durable.
    Superseded,
    /// It lies behind the first bad record, or holds nothing that the store goes on from.
    Discard,
    /// A `wal.next` without anything in it, which is made anew when it is needed.
    Blank,
}

/// How reading ended.
struct Outcome {
    last_lsn: Lsn,
    /// The highest LSN that anything says was durable, records behind the bad one included.
    durable_lsn: Lsn,
    /// The highest LSN that the checkpoint and the valid records prove durable.
    proven_lsn: Lsn,
    bad: Option<Bad>,
}

impl LogFile {
    /// How much of the file stays when it is repaired.
    fn kept_len(&self) -> u64 {
        match self.fate {
            Fate::Discard | Fate::Blank => 0,
            // Damaged, but needless: it is left as it is until it is retired.
            Fate::Superseded if self.scan.bad.is_some() => self.scan.file_len,
            Fate::Keep | Fate::Superseded => self.scan.end,
        }
    }

    fn source(&self) -> Source<'_> {
        Source { file: &*self.file, path: &self.path }
    }
}

/// Reads everything, changes nothing.
fn examine(vfs: &dyn Vfs, dir: &Path, mode: RecoveryMode, purpose: Purpose) -> Result<Found> {
    let names = Names::look_up(vfs, dir)?;
    if !names.log && !names.next {
        return Err(Error::corrupt(format!("{}: there is {} but no {LOG}", dir.display(), checkpoint::NAME)));
    }
    // In this order, for whoever looks at an open store: should a checkpoint be completed in between, the second log is also the
    // first, which is noticed, and not missing.
    let next_file = (names.log && names.next).then(|| open_log(vfs, &dir.join(NEXT), purpose)).transpose()?;
    let log_path = dir.join(if names.log { LOG } else { NEXT });
    let log_file = open_log(vfs, &log_path, purpose)?;
    let log_first = scan::first_lsn(&*log_file, &log_path)?;
    if !names.log && log_first.is_none() {
        let message = format!("{}: there is no {LOG}, and {NEXT} does not begin with a record", dir.display());
        return Err(Error::corrupt(message));
    }

    let mut replay = Replay::new(vfs, purpose)?;
    let mut bad_checkpoint = None;
    let mut checkpoint = None;
    if names.checkpoint {
        match replay.load(vfs, &dir.join(checkpoint::NAME)) {
            Ok(header) => checkpoint = Some(header),
            Err(error) if error.kind() == ErrorKind::Corrupt && log_first == Some(1) => {
                if mode == RecoveryMode::Strict {
                    return Err(error);
                }
                replay = Replay::new(vfs, purpose)?;
                replay.needed_lsn = claimed_lsn(vfs, &dir.join(checkpoint::NAME))?;
                replay.report.reason = Some(error.to_string());
                bad_checkpoint = Some(error);
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
    let mut log =
        LogFile { file: log_file, path: log_path, scan: log_scan, fate: Fate::Keep, behind: Behind::default() };
    let mut next = next_file.map(|file| examine_next(file, dir, &mut log, &mut replay)).transpose()?;
    let outcome = conclude(&mut log, next.as_mut(), &mut replay)?;
    replay.check_mode(mode, &outcome)?;
    let Replay { table, report, .. } = replay;
    let unfinished = names.unfinished;
    Ok(Found { table, report, checkpoint, bad_checkpoint, log, next, outcome, unfinished })
}

/// Reads `wal.next` as far as it continues what was read before, and decides about `wal.log`.
fn examine_next(file: Arc<dyn File>, dir: &Path, log: &mut LogFile, replay: &mut Replay) -> Result<LogFile> {
    let path = dir.join(NEXT);
    let first = scan::first_lsn(&*file, &path)?;
    let after = replay.report.checkpoint_lsn;
    let (mut fate, mut expected) = (Fate::Keep, log.scan.last_lsn + 1);
    let refuse = |why: String| Err(Error::corrupt(format!("{} begins with LSN {why}", path.display())));
    let is_empty = log.scan.records == 0 && log.scan.bad.is_none();
    let continues = log.scan.bad.is_none() && first == Some(log.scan.last_lsn + 1);
    match first {
        Some(first) if log.scan.records > 0 && first <= log.scan.last_lsn => {
            return refuse(format!("{first}, but {LOG} already ends with {}", log.scan.last_lsn));
        }
        Some(first) if is_empty && first > after + 1 => {
            return refuse(format!("{first}, but {LOG} is empty and the checkpoint ends at {after}"));
        }
        Some(first) if first <= after + 1 => {
            log.fate = Fate::Superseded;
            expected = first;
        }
        Some(_) if !continues => fate = Fate::Discard,
        Some(_) => {}
        None if reader::data_end(&*file, &path, 0, u64::MAX)? == 0 => fate = Fate::Blank,
        None if log.scan.bad.is_some() => fate = Fate::Discard,
        None => {}
    }
    let scan = match fate {
        Fate::Discard | Fate::Blank => Scan::of_nothing(&*file, &path, expected)?,
        _ => replay.scan(&*file, &path, expected)?,
    };
    Ok(LogFile { file, path, scan, fate, behind: Behind::default() })
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
    let proven_lsn = after.max(log.scan.durable_lsn).max(next.as_ref().map_or(0, |next| next.scan.durable_lsn));
    let mut durable_lsn = proven_lsn;
    if let Some(bad) = &bad {
        search_behind(log, bad)?;
        let mut records = log.behind.records;
        durable_lsn = durable_lsn.max(log.behind.durable_lsn);
        if let Some(next) = &mut next {
            search_behind(next, bad)?;
            records += next.behind.records;
            durable_lsn = durable_lsn.max(next.behind.durable_lsn);
        }
        let is_damaged = durable_lsn >= bad.lsn;
        replay.report.verdict = if is_damaged { Verdict::Damaged } else { Verdict::Torn };
        replay.report.records_behind = records;
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
    Ok(Outcome { last_lsn, durable_lsn, proven_lsn, bad })
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

/// Searches a log for valid records behind the first bad one.
fn search_behind(log: &mut LogFile, bad: &Bad) -> Result<()> {
    let from = match (log.fate, &log.scan.bad) {
        (Fate::Keep, Some(bad)) => bad,
        // All of it is behind.
        (Fate::Discard, _) => &Bad { offset: 0, ..bad.clone() },
        (Fate::Keep, None) | (Fate::Superseded | Fate::Blank, _) => return Ok(()),
    };
    log.behind = behind::search(&*log.file, &log.path, from)?;
    Ok(())
}

/// Building the table.
struct Replay {
    table: Table,
    report: Report,
    now: u64,
    /// The log must reach this LSN: a damaged checkpoint did, as far as its header can still be read.
    needed_lsn: Lsn,
    purpose: Purpose,
}

impl Replay {
    fn new(vfs: &dyn Vfs, purpose: Purpose) -> Result<Replay> {
        let seed = vfs.hash_seed().map_err(|cause| Error::io("getrandom", &cause))?;
        Ok(Replay { table: Table::new(seed), report: Report::default(), now: vfs.now_ms(), needed_lsn: 0, purpose })
    }

    fn load(&mut self, vfs: &dyn Vfs, path: &Path) -> Result<Header> {
        let file = vfs.open(path, Access::Read).map_err(|cause| Error::file("open", path, &cause))?;
        let header = checkpoint::reader::header(&*file, path)?;
        let lsn = header.lsn;
        if lsn > MAX_LSN {
            return Err(Error::corrupt(format!("{}: LSN {lsn} is beyond the last", path.display())));
        }
        // No file holds more keys than it has room for, whatever its header says.
        self.table.reserve(header.keys.min(header.file_len / MIN_ENTRY_LEN as u64));
        let helpers = match header.file_len > checkpoint::WORTH_A_THREAD {
            true => thread::cores().min(MOST_HELPERS),
            false => 0,
        };
        // What is in memory already is read from there. The way past the cache is one for writing, too.
        let mut stream = match self.purpose == Purpose::Look || file.is_cached() {
            true => Stream::cached(file),
            false => Stream::new(vfs, path, file),
        };
        let loading = Loading { table: &self.table, lsn, now: self.now, expired: AtomicU64::new(0) };
        checkpoint::reader::read(&mut stream, path, helpers, &loading)?;
        let expired = loading.expired.into_inner();
        if self.table.usage().keys != header.keys {
            return Err(Error::corrupt(format!("{}: a key is there twice", path.display())));
        }
        if expired > 0 {
            self.report.keys_expired += expired;
            self.drop_expired(lsn)?;
        }
        self.report.checkpoint_lsn = lsn;
        self.report.checkpoint_keys = header.keys;
        Ok(header)
    }

    /// Removes the keys of a checkpoint that have expired since it was made. They were loaded like all others, so that a
    /// key that is there twice would have been noticed.
    fn drop_expired(&mut self, lsn: Lsn) -> Result<()> {
        let mut snapshot = self.table.snapshot(lsn);
        let mut cursor = Cursor::default();
        let mut expired: Vec<Block> = Vec::new();
        let now = self.now;
        while snapshot.visit_some(&mut cursor, |block| {
            if is_expired(block, now) {
                let key = new_block(&self.table, block.key(), b"", 0)?;
                expired.push(key);
            }
            Ok(())
        })? {
            for key in expired.drain(..) {
                self.table.apply(&mut self.table.change(Op::Delete, key), lsn, || now)?;
            }
            snapshot.release_passed(&cursor);
        }
        Ok(())
    }

    /// Reads a log and applies what is not in the checkpoint. While this thread reads, another applies what was read.
    fn scan(&mut self, file: &dyn File, path: &Path, expected: Lsn) -> Result<Scan> {
        let len = file.size().map_err(|cause| Error::file("stat", path, &cause))?;
        let helpers = usize::from(len > checkpoint::WORTH_A_THREAD && thread::cores() > 1);
        let Replay { table, report, now, .. } = self;
        let failed = Mutex::new(None);
        let apply = |batch: &mut Batch| {
            if let Err(error) = table.load(&mut batch.changes) {
                failed.lock().get_or_insert(error);
            }
            batch.clear();
        };
        let batches = (0..BATCHES).map(|_| Batch::default());
        let scan = pipe::go_round(c"kvwal-replay", helpers, batches, &apply, |round| {
            let mut batch = round.take()?;
            let after = report.checkpoint_lsn;
            let mut forecast = Forecast::new(len);
            let scan = scan::scan(file, path, expected, |record| {
                if record.lsn > after {
                    batch.push(record.lsn, change(table, record, *now, report)?);
                }
                if forecast.is_due(record.encoded_len()) {
                    table.reserve(forecast.keys(table.usage().keys));
                }
                if batch.is_full() {
                    round.pass_on(std::mem::replace(&mut batch, round.take()?));
                    if failed.lock().is_some() {
                        return Ok(false);
                    }
                }
                Ok(true)
            });
            round.pass_on(batch);
            scan
        });
        match failed.lock().take() {
            Some(error) => Err(error),
            None => scan,
        }
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

/// Foretells how many keys there will be when a log has been read, so that the table need not grow step by step.
struct Forecast {
    len: u64,
    /// What was read, in bytes and records, and at how many bytes the next forecast is due.
    bytes: u64,
    records: u64,
    due: u64,
    /// At the last forecast.
    records_then: u64,
    keys_then: u64,
}

impl Forecast {
    /// For a log of `len` bytes: forecasts at 1/64, 1/16, and 1/4 of it.
    fn new(len: u64) -> Forecast {
        Forecast { len, bytes: 0, records: 0, due: (len / 64).max(1 << 20), records_then: 0, keys_then: 0 }
    }

    /// Notes a record; whether it is time for a forecast.
    fn is_due(&mut self, record_len: usize) -> bool {
        self.bytes += record_len as u64;
        self.records += 1;
        self.bytes >= self.due && self.bytes < self.len
    }

    /// How many keys to expect when there are `keys` now; never more than four times as many. If so far a part p of the
    /// records had a new key, then they choose among about -n / ln p keys, where n is how many were read.
    fn keys(&mut self, keys: u64) -> u64 {
        let left = self.records as f64 * (self.len.saturating_sub(self.bytes) as f64 / self.bytes as f64);
        let new = keys.saturating_sub(self.keys_then) as f64 / (self.records - self.records_then).max(1) as f64;
        let chosen_from = (self.records + self.records_then) as f64 / 2.0 / -new.clamp(1e-9, 1.0 - 1e-9).ln();
        (self.keys_then, self.records_then) = (keys, self.records);
        self.due = self.bytes.saturating_mul(4);
        let expected = (keys as f64 + left * new).min(chosen_from);
        (expected as u64).clamp(keys, keys.saturating_mul(4))
    }
}

/// Changes that are applied together.
#[derive(Default)]
struct Batch {
    changes: Vec<(Lsn, Change)>,
    bytes: usize,
}

impl Batch {
    fn push(&mut self, lsn: Lsn, change: Change) {
        self.bytes += change.block().value().len();
        self.changes.push((lsn, change));
    }

    fn is_full(&self) -> bool {
        self.changes.len() >= BATCH || self.bytes >= BATCH_BYTES
    }

    fn clear(&mut self) {
        self.changes.clear();
        self.bytes = 0;
    }
}

/// What a record does to the table.
fn change(table: &Table, record: &Record<'_>, now: u64, report: &mut Report) -> Result<Change> {
    if record.lsn > MAX_LSN {
        return Err(Error::corrupt(format!("LSN {} is beyond the last", record.lsn)));
    }
    report.records_replayed += 1;
    let is_expired = record.op == Op::PutExpiring && record.expires_at <= now;
    report.keys_expired += u64::from(is_expired);
    if is_expired || record.op == Op::Delete {
        // What has expired takes the place of an earlier value all the same.
        return Ok(table.change(Op::Delete, new_block(table, record.key, b"", 0)?));
    }
    Ok(table.change(Op::Put, new_block(table, record.key, record.value, record.expires_at)?))
}

/// Puts the entries of a checkpoint into the table.
struct Loading<'t> {
    table: &'t Table,
    lsn: Lsn,
    now: u64,
    expired: AtomicU64,
}

impl Visitor for Loading<'_> {
    type Batch = Vec<(Lsn, Change)>;

    fn entry(&self, batch: &mut Self::Batch, entry: Entry<'_>) -> Result<()> {
        let block = new_block(self.table, entry.key, entry.value, entry.expires_at)?;
        if is_expired(&block, self.now) {
            self.expired.fetch_add(1, Ordering::Relaxed);
        }
        batch.push((self.lsn, self.table.change(Op::Put, block)));
        if batch.len() >= BATCH { self.end(batch) } else { Ok(()) }
    }

    fn end(&self, batch: &mut Self::Batch) -> Result<()> {
        self.table.load(batch)
    }
}

fn new_block(table: &Table, key: &[u8], value: &[u8], expires_at: u64) -> Result<Block> {
    Block::new(table.pool(), key, value, expires_at).ok_or_else(|| Error::no_memory(key.len() + value.len()))
}

/// The LSN that a damaged checkpoint had, if its header can still be read.
fn claimed_lsn(vfs: &dyn Vfs, path: &Path) -> Result<Lsn> {
    let file = vfs.open(path, Access::Read).map_err(|cause| Error::file("open", path, &cause))?;
    checkpoint::reader::claimed_lsn(&*file, path)
}

fn open_log(vfs: &dyn Vfs, path: &Path, purpose: Purpose) -> Result<Arc<dyn File>> {
    let access = if purpose == Purpose::Open { Access::Write } else { Access::Read };
    let file = vfs.open(path, access).map_err(|cause| Error::file("open", path, &cause))?;
    if purpose == Purpose::Open {
        // Somebody may be appending to it on its own.
        lock::check_file_unlocked(&*file, path)?;
    }
    Ok(file)
}

/// Changes the files so that they are what was recovered. `None` if they do not hold that any more; then nothing was cut.
fn repair(vfs: &dyn Vfs, dir: &Path, found: Found) -> Result<Option<Recovered>> {
    let Found { table, mut report, checkpoint, bad_checkpoint, mut log, next, outcome, unfinished } = found;
    let log_path = dir.join(LOG);
    if log.path != log_path {
        vfs.rename(&log.path, &log_path).map_err(|cause| Error::file("rename", &log.path, &cause))?;
        log.path = log_path;
    }
    // What was read may have names that only the page cache knows; what follows relies on them.
    directory::sync(vfs, dir)?;
    for file in [Some(&log), next.as_ref()].into_iter().flatten().filter(|file| file.fate == Fate::Keep) {
        match repair::prove(&file.source(), &file.scan, outcome.proven_lsn)? {
            Some(rewritten) => report.bytes_rewritten += rewritten,
            None => return Ok(None),
        }
    }
    if bad_checkpoint.is_some() {
        report.bytes_quarantined += quarantine_checkpoint(vfs, dir)?;
    }
    if outcome.bad.is_some() {
        for file in [Some(&log), next.as_ref()].into_iter().flatten() {
            report.bytes_quarantined += save(vfs, dir, file)?;
        }
    }
    // `wal.log` before `wal.next`, whose records behind a gap are the evidence of damage until the gap is gone. But a
    // `wal.next` with records behind an empty `wal.log` is what no store is opened with, so a crash must not leave that.
    let mut files = [Some(&log), next.as_ref()];
    if log.kept_len() == 0 {
        files.reverse();
    }
    let mut empty_log = None;
    for file in files.into_iter().flatten() {
        if file.fate == Fate::Discard && file.path == log.path {
            empty_log = Some(replace_log(vfs, dir)?);
        } else {
            // Also if there is nothing to cut: perhaps an earlier cut never reached the disk.
            repair::cut(&file.source(), file.kept_len())?;
        }
    }
    let next = match next {
        Some(next) if matches!(next.fate, Fate::Discard | Fate::Blank) => {
            remove(vfs, &next.path)?;
            None
        }
        next => next,
    };
    if unfinished {
        remove(vfs, &dir.join(checkpoint::UNFINISHED))?;
    }
    directory::sync(vfs, dir)?;
    log.file = empty_log.unwrap_or(log.file);

    let open = |log: LogFile, last_lsn| {
        let at = Position { end: log.kept_len(), last_lsn, durable_lsn: outcome.last_lsn };
        (log.file, at)
    };
    // A log that another goes on from ends with a record of its own.
    let log_ends_with = if next.is_some() { log.scan.last_lsn } else { outcome.last_lsn };
    let (log, next) = (open(log, log_ends_with), next.map(|next| open(next, outcome.last_lsn)));
    Ok(Some(Recovered { table, log, next, checkpoint, report, is_new: false }))
}

/// Puts an empty log in the place of one of which nothing counts. That one is not cut: an archive may have it, too, under another
/// name, and what it is to keep of it comes before the damage.
fn replace_log(vfs: &dyn Vfs, dir: &Path) -> Result<Arc<dyn File>> {
    let (unfinished, path) = (dir.join(UNFINISHED_LOG), dir.join(LOG));
    let file = vfs.open(&unfinished, Access::Create).map_err(|cause| Error::file("create", &unfinished, &cause))?;
    file.sync_all().map_err(|cause| Error::file("fsync", &unfinished, &cause))?;
    vfs.rename(&unfinished, &path).map_err(|cause| Error::file("rename", &unfinished, &cause))?;
    Ok(file)
}

/// What is going to be cut off a log, of which something does not count: from where to where, and which record should have
/// begun there.
fn cut_off(log: &LogFile) -> Result<Option<(u64, u64, Lsn)>> {
    let (from, lsn) = match (log.fate, &log.scan.bad) {
        (Fate::Keep, Some(_)) => (log.scan.end, log.scan.last_lsn + 1),
        (Fate::Discard, _) => (0, log.scan.last_lsn + 1 - log.scan.records),
        (Fate::Keep, None) | (Fate::Superseded | Fate::Blank, _) => return Ok(None),
    };
    let to = behind::data_end(&*log.file, &log.path, from, &log.behind)?;
    Ok((to > from).then_some((from, to, lsn)))
}

/// Saves what is going to be cut off a log; returns how many bytes that were.
fn save(vfs: &dyn Vfs, dir: &Path, log: &LogFile) -> Result<u64> {
    let Some((from, to, lsn)) = cut_off(log)? else { return Ok(0) };
    repair::quarantine(vfs, dir, &log.source(), from, to, lsn)?;
    Ok(to - from)
}

/// What opening would find.
pub struct Findings {
    /// What it would report, but for the time and for what it would write again.
    pub report: Report,
    /// The first thing that is wrong, if anything is.
    pub bad: Option<Bad>,
    /// What the logs hold.
    pub logs: LogsSum,
    /// Keys that the store would have.
    pub keys: u64,
    /// Bytes of their values.
    pub value_bytes: u64,
}

/// The valid records of one log or two, taken together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogsSum {
    /// LSN of the first, 0 if there is none.
    pub first_lsn: Lsn,
    /// How many there are.
    pub records: u64,
    /// Their bytes.
    pub bytes: u64,
}

impl LogsSum {
    /// Takes in the next log.
    pub fn add(&mut self, scan: &Scan) {
        if self.first_lsn == 0 && scan.records > 0 {
            self.first_lsn = scan.last_lsn + 1 - scan.records;
        }
        self.records += scan.records;
        self.bytes += scan.end;
    }
}

/// Reads everything as opening does and changes nothing: nothing is opened for writing, and nobody is kept from opening the
/// store meanwhile. What opening would refuse is the error that it would return. If somebody has the store open, what is
/// read may be in the middle of changing.
pub fn look(vfs: &dyn Vfs, dir: &Path) -> Result<Findings> {
    let names = Names::look_up(vfs, dir)?;
    if names.is_new(vfs, dir, Purpose::Look)? {
        let (report, logs) = (Report::default(), LogsSum::default());
        return Ok(Findings { report, bad: None, logs, keys: 0, value_bytes: 0 });
    }
    let Found { table, mut report, bad_checkpoint, log, next, outcome, .. } =
        examine(vfs, dir, RecoveryMode::Prefix, Purpose::Look)?;
    let mut logs = LogsSum::default();
    for file in [Some(&log), next.as_ref()].into_iter().flatten() {
        logs.add(&file.scan);
        if outcome.bad.is_some() {
            report.bytes_quarantined += cut_off(file)?.map_or(0, |(from, to, _)| to - from);
        }
    }
    let bad_checkpoint = bad_checkpoint.as_ref().map(|error| bad_checkpoint_of(dir, error));
    if bad_checkpoint.is_some() {
        let path = dir.join(checkpoint::NAME);
        let file = vfs.open(&path, Access::Read).map_err(|cause| Error::file("open", &path, &cause))?;
        report.bytes_quarantined += file.size().map_err(|cause| Error::file("stat", &path, &cause))?;
    }
    let usage = table.usage();
    let (keys, value_bytes) = (usage.keys, usage.value_bytes);
    Ok(Findings { report, bad: outcome.bad.or(bad_checkpoint), logs, keys, value_bytes })
}

/// What is wrong with a checkpoint, given the error that reading it gave. Its records have no numbers any more.
pub fn bad_checkpoint_of(dir: &Path, error: &Error) -> Bad {
    let offset = error.offset().unwrap_or(0);
    Bad { path: dir.join(checkpoint::NAME), lsn: 0, offset, reason: error.to_string() }
}

fn remove(vfs: &dyn Vfs, path: &Path) -> Result<()> {
    vfs.remove(path).map_err(|cause| Error::file("remove", path, &cause))
}

fn quarantine_checkpoint(vfs: &dyn Vfs, dir: &Path) -> Result<u64> {
    let path = dir.join(checkpoint::NAME);
    let file = vfs.open(&path, Access::Write).map_err(|cause| Error::file("open", &path, &cause))?;
    let len = file.size().map_err(|cause| Error::file("stat", &path, &cause))?;
    repair::quarantine(vfs, dir, &Source { file: &*file, path: &path }, 0, len, 0)?;
    remove(vfs, &path)?;
    directory::sync(vfs, dir)?;
    Ok(len)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Store;
    use crate::vfs::sim::SimDisk;

    #[test]
    fn what_has_expired_is_gone_and_counted_and_hides_what_it_replaced() {
        for checkpointed in [false, true] {
            let disk = SimDisk::new(1);
            let open = || Store::open_on(Arc::new(disk.clone()), "/store", &Options::default()).unwrap();
            let store = open();
            store.set(b"first", b"old").unwrap();
            store.set_ttl(b"first", b"new", 10).unwrap();
            store.set_ttl(b"second", b"value", 11).unwrap();
            if checkpointed {
                store.checkpoint().unwrap();
            }
            store.close().unwrap();
            for (ms, expired) in [(9, 0), (1, 1), (1, 2)] {
                disk.pass(ms);
                let store = open();
                let report = store.recovery_report();
                assert_eq!((report.keys_expired, store.stats().keys), (expired, 2 - expired));
                assert_eq!(report.records_replayed, if checkpointed { 0 } else { 3 });
                let first = store.get(b"first").unwrap();
                assert_eq!(first.as_deref(), (expired == 0).then_some(&b"new"[..]));
                store.close().unwrap();
            }
        }
    }

    /// The forecasts for a log of `records` records of 100 bytes, when `keys(n)` are in the first n.
    fn forecasts(records: u64, keys: impl Fn(u64) -> u64) -> Vec<u64> {
        let mut forecast = Forecast::new(records * 100);
        let mut made = Vec::new();
        for at in 1..=records {
            if forecast.is_due(100) {
                made.push(forecast.keys(keys(at)));
            }
        }
        made
    }

    #[test]
    fn a_forecast_is_right_for_new_keys_and_careful_with_old_ones() {
        let all_new = forecasts(8_000_000, |records| records);
        assert_eq!(all_new.len(), 3);
        assert!((7_900_000..=8_000_000).contains(&all_new[2]), "{all_new:?}");
        let few = forecasts(8_000_000, |_| 1000);
        assert!(few[0] <= 4000 && few[2] <= 1100, "{few:?}");
        // A million keys, each record one of them at random.
        let random = forecasts(8_000_000, |records| (1e6 * (1.0 - (-(records as f64) / 1e6).exp())) as u64);
        assert!(random.iter().all(|&keys| keys < 1_200_000) && random[2] > 800_000, "{random:?}");
        assert!(forecasts(10_000, |records| records).is_empty());
    }
}
