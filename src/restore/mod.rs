//! Restoring: a store as it was after some record, put together from a backup, an archive, and the store itself.
//!
//! # The algorithm
//!
//! 1. A time becomes an LSN ([`times`]). Nothing behind that LSN is restored.
//! 2. It begins with the checkpoint of the backup, or, where no backup is given, of the store. If there is none, or it is beyond,
//!    it begins with LSN 1.
//! 3. The records that follow come from the backup's own log, from the archive, and from the store's logs, whoever has the
//!    next one. A checkpoint of the store may move a log to the archive meanwhile, so they are asked in turn until none has more.
//!    Batches are copied as they are, each whole; one that the end would divide is left out.
//! 4. A gap is an error: there is no store as of a later record without an earlier one. So is damage before the end that is asked
//!    for; and where no end is named, whatever was durable and cannot be read, so that nobody takes a part for the whole.
//!
//! Where one of them leaves off and another goes on, the last record must be the same in both, if both have it, and a checkpoint
//! must hold what the last records before its end have made, if the archive has those ([`witness`]). Otherwise they belong to
//! different histories, and nothing is made of the two. What only meets, with nothing that both have, is believed to belong
//! together.
//!
//! The checkpoint is copied byte for byte, and so are the records, into a log of their own; both are read back from the disk
//! before the new store gets its name, in the order that [`Building`] has. Sources are only read, and may be in use.

mod witness;

use std::io::IoSlice;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use self::witness::Witness;
use crate::archive::{self, Range, times};
use crate::building::Building;
use crate::checkpoint;
use crate::checkpoint::layout::Header;
use crate::error::{Error, ErrorKind, Result};
use crate::format::{self, Lsn};
use crate::recovery;
use crate::tail::Next;
use crate::vfs::os::OsVfs;
use crate::vfs::stream::Stream;
use crate::vfs::{self, Access, File, Vfs};
use crate::wal::Follower;
use crate::wal::behind;
use crate::wal::cursor::open_if_there;
use crate::wal::pair::{LOG, NEXT};
use crate::wal::reader::{Bad, Reader, Records, Step};
use crate::wal::repair::{self, Source};
use crate::wal::scan;

/// So many bytes of records are written at once.
const PIECE: usize = 1 << 20;

/// Up to where a store is to be restored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Until {
    /// As far as the records go: to the end of the store's, not to where damage begins.
    #[default]
    End,
    /// Up to this record, included; if it belongs to a batch that goes on behind it, up to before the batch.
    Lsn(Lsn),
    /// Up to the last record that was durable at this Unix time in milliseconds, as far as the archive knows: see [`restore`].
    Time(u64),
}

/// What a store is to be restored from. There must be one of them.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// A backup, or any other copy of the store's directory.
    pub backup: Option<PathBuf>,
    /// What the store was opened with as [`archive_dir`](crate::Options::archive_dir).
    pub archive: Option<PathBuf>,
    /// The store itself, for the records that no checkpoint has retired yet; without a backup it is also what is begun with. It may
    /// be open, in any process, or damaged.
    pub store: Option<PathBuf>,
}

/// What was restored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Restored {
    /// LSN of the last record: the store is as of this one.
    pub last_lsn: Lsn,
    /// LSN of the checkpoint that it began with, 0 if it began with the first record.
    pub checkpoint_lsn: Lsn,
    /// Records behind the checkpoint.
    pub records: u64,
    /// For [`Until::Time`]: when the archive noted which record was the last durable one, in Unix milliseconds.
    pub noted_ms: Option<u64>,
}

/// Makes a store in `dest`, which must not exist or be empty, of what `sources` hold, as it was at some point of its history.
/// It is verified, and durable when the call returns; a call that fails removes what it made.
///
/// By a time: while a store is open with an archive, it is noted there, 20 times a second if there is something new, which record is
/// the last durable one; the last of these notes that is not later decides. So nothing is restored that was acknowledged after
/// that time, and what became durable 100 ms before it or earlier is, but for what was not noted any more: when the process was
/// killed, the last moment before that; when the power failed, the last second.
///
/// An error of the kind [`Invalid`](ErrorKind::Invalid) if the records do not go so far, or the checkpoints are all later; of the
/// kind [`Corrupt`](ErrorKind::Corrupt) if records are missing in between, or damaged.
pub fn restore(dest: impl AsRef<Path>, sources: &Sources, until: Until) -> Result<Restored> {
    restore_on(Arc::new(OsVfs::default()), dest.as_ref(), sources, until)
}

/// As [`restore`], on any file system.
pub fn restore_on(vfs: Arc<dyn Vfs>, dest: &Path, sources: &Sources, until: Until) -> Result<Restored> {
    let sources = sources.absolute()?;
    let (limit, noted_ms) = resolve(&*vfs, &sources, until)?;
    let (dest, base) = (absolute(dest)?, Base::find(&*vfs, &sources, limit)?);
    let made = match make(&vfs, &dest, &sources, &base, (until, limit))? {
        Some(made) => Some(made),
        None => make(&vfs, &dest, &sources, &Base::default(), (until, limit))?,
    };
    made.map(|made| Restored { noted_ms, ..made })
        .ok_or_else(|| Error::new(ErrorKind::Internal, "a bug in kvwal: what is not begun with is damaged"))
}

/// Makes the store; `None` if the checkpoint that it was to begin with is damaged, and an archive may make up for that.
fn make(
    vfs: &Arc<dyn Vfs>,
    dest: &Path,
    sources: &Sources,
    base: &Base,
    (until, limit): (Until, Lsn),
) -> Result<Option<Restored>> {
    let building = Building::begin(vfs, dest)?;
    let checkpoint_lsn = base.lsn();
    let mut log = NewLog::create(&building, checkpoint_lsn, limit)?;
    // Before the checkpoint, which is open, while a log may be retired at any moment.
    let behind_gap = gather(&**vfs, sources, &mut log)?;
    check_end(&**vfs, sources, base, &log, until, behind_gap)?;
    log.finish()?;
    if let Some(found) = &base.checkpoint {
        let archive = sources.archive.as_deref();
        let witness = archive.map(|archive| Witness::of(&**vfs, archive, &archive::list(&**vfs, archive)?, found.lsn));
        let witness = witness.transpose()?.unwrap_or_default();
        let created_at = match found.copy_to(&building, &witness) {
            Ok(header) => header.created_at,
            Err(error) if may_be_damaged(sources, &error) => return Ok(None),
            Err(error) => return Err(error),
        };
        archive.map_or(Ok(()), |archive| witness.agree(&found.path, archive, created_at))?;
    }
    building.complete(base.checkpoint.is_some())?;
    let (last_lsn, records) = (log.last_lsn, log.last_lsn - checkpoint_lsn);
    Ok(Some(Restored { last_lsn, checkpoint_lsn, records, noted_ms: None }))
}

fn absolute(path: &Path) -> Result<PathBuf> {
    std::path::absolute(path).map_err(|cause| Error::file("open", path, &cause))
}

impl Sources {
    fn absolute(&self) -> Result<Sources> {
        let absolute = |path: &Option<PathBuf>| path.as_deref().map(absolute).transpose();
        let (backup, archive, store) = (absolute(&self.backup)?, absolute(&self.archive)?, absolute(&self.store)?);
        match (&backup, &archive, &store) {
            (None, None, None) => Err(Error::new(ErrorKind::Invalid, "nothing is given to restore a store from")),
            _ => Ok(Sources { backup, archive, store }),
        }
    }

    /// The directories that are stores.
    fn stores(&self) -> impl Iterator<Item = &Path> {
        self.backup.iter().chain(&self.store).map(PathBuf::as_path)
    }
}

/// The last record that may be restored, and the time of the note that says so.
fn resolve(vfs: &dyn Vfs, sources: &Sources, until: Until) -> Result<(Lsn, Option<u64>)> {
    let time_ms = match until {
        Until::End => return Ok((Lsn::MAX, None)),
        Until::Lsn(lsn) => return Ok((lsn, None)),
        Until::Time(time_ms) => time_ms,
    };
    let Some(archive) = &sources.archive else {
        return Err(Error::new(ErrorKind::Invalid, "only an archive knows times, and none is given"));
    };
    match times::look_up(vfs, archive, time_ms)? {
        Some(noted) => Ok((noted.lsn, Some(noted.time_ms))),
        None => {
            let message = format!("{} notes nothing from so early", archive.display());
            Err(Error::new(ErrorKind::Invalid, message))
        }
    }
}

/// What it begins with.
#[derive(Default)]
struct Base {
    checkpoint: Option<Checkpoint>,
    /// There is one, but it is beyond what is wanted.
    too_late: Option<(PathBuf, Lsn)>,
}

struct Checkpoint {
    file: Arc<dyn File>,
    path: PathBuf,
    lsn: Lsn,
}

impl Base {
    fn find(vfs: &dyn Vfs, sources: &Sources, limit: Lsn) -> Result<Base> {
        sources.stores().try_for_each(|dir| recovery::check_exists(vfs, dir))?;
        let Some(path) = sources.stores().next().map(|dir| dir.join(checkpoint::NAME)) else {
            return Ok(Base::default());
        };
        let Some(file) = open_if_there(vfs, &path)? else { return Ok(Base::default()) };
        match checkpoint::reader::header(&*file, &path) {
            Ok(header) if header.lsn > limit => Ok(Base { checkpoint: None, too_late: Some((path, header.lsn)) }),
            Ok(header) => Ok(Base { checkpoint: Some(Checkpoint { file, path, lsn: header.lsn }), too_late: None }),
            Err(error) if may_be_damaged(sources, &error) => Ok(Base::default()),
            Err(error) => Err(error),
        }
    }

    fn lsn(&self) -> Lsn {
        self.checkpoint.as_ref().map_or(0, |found| found.lsn)
    }
}

/// Whether this is damage that an archive may make up for: a backup must be whole, a store need not.
fn may_be_damaged(sources: &Sources, error: &Error) -> bool {
    error.kind() == ErrorKind::Corrupt && sources.backup.is_none() && sources.archive.is_some()
}

impl Checkpoint {
    /// Copies it, and reads the copy back from the disk, for `witness` to see.
    fn copy_to(&self, building: &Building, witness: &Witness) -> Result<Header> {
        let (vfs, path) = (building.vfs(), building.checkpoint());
        let len = self.file.size().map_err(|cause| Error::file("stat", &self.path, &cause))?;
        let copy = vfs.open(&path, Access::Create).map_err(|cause| Error::file("create", &path, &cause))?;
        repair::copy_bytes(&*copy, &path, &Source { file: &*self.file, path: &self.path }, 0, len)?;
        copy.drop_cache();
        let mut stream = Stream::new(vfs, &path, copy);
        checkpoint::reader::read(&mut stream, &path, 1, witness).map_err(|error| match error.kind() {
            // It is the same byte there, unless the disk has damaged it by now.
            ErrorKind::Corrupt => Error::corrupt(format!("{} is damaged: {error}", self.path.display())),
            _ => error,
        })
    }
}

/// The log of the new store.
struct NewLog {
    file: Arc<dyn File>,
    path: PathBuf,
    /// What was not written yet, and where it belongs.
    bytes: Vec<u8>,
    at: u64,
    /// The last record that is in it, or that the checkpoint covers.
    last_lsn: Lsn,
    /// The first bytes of that one, unless the checkpoint covers it.
    last: Option<[u8; format::PREFIX_LEN]>,
    /// No record behind this one is wanted.
    limit: Lsn,
    /// The limit lies inside a batch, which was left out.
    is_divided: bool,
}

impl NewLog {
    fn create(building: &Building, last_lsn: Lsn, limit: Lsn) -> Result<NewLog> {
        let (file, path) = building.create_log()?;
        Ok(NewLog { file, path, bytes: Vec::new(), at: 0, last_lsn, last: None, limit, is_divided: false })
    }

    fn next(&self) -> Lsn {
        self.last_lsn + 1
    }

    fn is_full(&self) -> bool {
        self.is_divided || self.last_lsn >= self.limit
    }

    /// Appends a batch, whose first record is the next one, if it is wanted.
    fn push(&mut self, batch: &[u8]) -> Result<()> {
        let last_lsn = self.last_lsn + Records::of(batch).count() as Lsn;
        if last_lsn > self.limit {
            self.is_divided = true;
            return Ok(());
        }
        self.bytes.try_reserve(batch.len()).map_err(|_| Error::no_memory(batch.len()))?;
        self.bytes.extend_from_slice(batch);
        self.last = record_of(batch, last_lsn).and_then(|last| last.first_chunk().copied());
        self.last_lsn = last_lsn;
        if self.bytes.len() >= PIECE { self.flush() } else { Ok(()) }
    }

    /// An error unless `record` is the last one, if that is known. By the checksum, and what goes into it.
    fn check_last(&self, record: &[u8], path: &Path) -> Result<()> {
        match self.last.is_none_or(|last| record.starts_with(&last)) {
            true => Ok(()),
            false => Err(another_history(self.last_lsn, path)),
        }
    }

    fn flush(&mut self) -> Result<()> {
        vfs::write_all_at(&*self.file, &mut [IoSlice::new(&self.bytes)], self.at)
            .map_err(|cause| Error::file("write", &self.path, &cause))?;
        self.at += self.bytes.len() as u64;
        self.bytes.clear();
        Ok(())
    }

    /// Makes it durable, and reads it back from the disk.
    fn finish(&mut self) -> Result<()> {
        self.flush()?;
        self.file.sync_all().map_err(|cause| Error::file("fsync", &self.path, &cause))?;
        self.file.drop_cache();
        let mut reader = Reader::new(&*self.file, &self.path)?;
        let mut lsn = reader.first_lsn()?.unwrap_or(self.next());
        while let Step::Batch(records) = reader.next(lsn)? {
            lsn += records.count() as Lsn;
        }
        match (lsn - 1, reader.offset()) == (self.last_lsn, self.at) {
            true => Ok(()),
            false => {
                Err(Error::new(ErrorKind::Io, format!("{} reads otherwise than it was written", self.path.display())))
            }
        }
    }
}

/// Copies records from whoever has the next one, until nobody has, or enough are there. Returns the first one behind the gap before
/// which they end, if there is a gap.
fn gather(vfs: &dyn Vfs, sources: &Sources, log: &mut NewLog) -> Result<Option<Lsn>> {
    let mut is_stuck = false;
    loop {
        let before = log.last_lsn;
        if let Some(backup) = &sources.backup {
            follow(vfs, backup, 0, log)?;
        }
        if let Some(archive) = &sources.archive {
            read_archive(vfs, archive, log)?;
        }
        if let Some(store) = &sources.store {
            let noted = sources.archive.as_ref().map(|archive| times::last(vfs, archive)).transpose()?.flatten();
            follow(vfs, store, noted.map_or(0, |noted| noted.lsn), log)?;
        }
        if log.is_full() {
            return Ok(None);
        }
        let behind = first_behind(vfs, sources, log.next())?;
        let (has_more, was_stuck) = (log.last_lsn > before, is_stuck);
        is_stuck = behind.is_some() && !has_more;
        match behind {
            // The end of a store at work is where it was when it was looked at.
            None if !has_more || sources.store.is_some() => return Ok(None),
            // What has gone to the archive meanwhile would have been there.
            Some(_) if is_stuck && was_stuck => return Ok(behind),
            _ => {}
        }
    }
}

/// Copies what the logs of a store have that is proven to be durable: by the files themselves, or up to `noted` by an archive.
fn follow(vfs: &dyn Vfs, dir: &Path, noted: Lsn, log: &mut NewLog) -> Result<()> {
    if log.last.is_some()
        && let Next::Record(last) = Follower::open_on(vfs, dir, log.last_lsn)?.next(Some(Duration::ZERO))?
    {
        let mut bytes = Vec::new();
        format::encode(&last, &mut bytes)?;
        log.check_last(&bytes, dir)?;
    }
    let mut follower = Follower::open_on(vfs, dir, log.next())?;
    follower.prove(noted);
    // Not after writers who may be as fast.
    let end = follower.proven()?;
    let mut batch = Vec::new();
    while !log.is_full() && log.last_lsn < end {
        let Next::Record(record) = follower.next(Some(Duration::ZERO))? else { return Ok(()) };
        format::encode(&record, &mut batch)?;
        if !record.more {
            log.push(&batch)?;
            batch.clear();
        }
    }
    Ok(())
}

/// Copies what an archive has from the next record on, up to the first gap.
fn read_archive(vfs: &dyn Vfs, dir: &Path, log: &mut NewLog) -> Result<()> {
    let ranges = archive::list(vfs, dir)?;
    if let Some(range) = holding(&ranges, log.last_lsn).filter(|_| log.last.is_some()) {
        visit_archived(vfs, dir, range, |_, batch, path| match record_of(batch, log.last_lsn) {
            Some(record) => log.check_last(record, path).map(|()| false),
            None => Ok(true),
        })?;
    }
    while !log.is_full()
        && let Some(range) = holding(&ranges, log.next())
    {
        visit_archived(vfs, dir, range, |first, batch, path| {
            if first == log.next() {
                log.push(batch)?;
            } else if record_of(batch, log.next()).is_some() {
                return Err(another_history(log.last_lsn, path));
            }
            Ok(!log.is_full())
        })?;
    }
    Ok(())
}

/// The archived log that holds a record: the last of those that begin early enough, and of two that begin with the same record the
/// one that goes further.
fn holding(ranges: &[Range], lsn: Lsn) -> Option<Range> {
    ranges.iter().rfind(|range| range.first <= lsn && lsn <= range.last).copied()
}

/// Calls `visit` with the batches of an archived log, the first LSN of each, and the path, until it returns false. Records that the
/// log's name does not promise are left out.
fn visit_archived(
    vfs: &dyn Vfs,
    dir: &Path,
    range: Range,
    mut visit: impl FnMut(Lsn, &[u8], &Path) -> Result<bool>,
) -> Result<()> {
    let path = dir.join(range.name());
    let file = vfs.open(&path, Access::Read).map_err(|cause| Error::file("open", &path, &cause))?;
    let mut reader = Reader::new(&*file, &path)?;
    let mut lsn = range.first;
    while lsn <= range.last {
        let records = match reader.next(lsn)? {
            Step::Batch(records) => records,
            Step::Bad(bad) => return Err(Error::corrupt(bad.to_string())),
            Step::End | Step::Zeros => {
                return Err(Error::corrupt(format!("{} ends before the record {lsn}", path.display())));
            }
        };
        if !visit(lsn, records.bytes(), &path)? {
            return Ok(());
        }
        lsn += records.count() as Lsn;
    }
    Ok(())
}

/// The bytes of a batch from the record with this LSN on, if it is in there.
fn record_of(batch: &[u8], lsn: Lsn) -> Option<&[u8]> {
    let mut records = Records::of(batch);
    loop {
        let from_here = records.bytes();
        if records.next()?.lsn == lsn {
            return Some(from_here);
        }
    }
}

fn another_history(lsn: Lsn, path: &Path) -> Error {
    let message =
        format!("the record {lsn} in {} is not the one that is in the backup: it is another history", path.display());
    Error::corrupt(message)
}

/// An error if records are missing that were asked for.
fn check_end(
    vfs: &dyn Vfs,
    sources: &Sources,
    base: &Base,
    log: &NewLog,
    until: Until,
    behind_gap: Option<Lsn>,
) -> Result<()> {
    if log.is_full() {
        return Ok(());
    }
    if until == Until::End || behind_gap.is_some() {
        sources.stores().try_for_each(|dir| check_undamaged(vfs, dir, log))?;
    }
    if let Some(later) = behind_gap {
        let missing = format!("the records {} to {} are missing", log.next(), later - 1);
        return Err(match &base.too_late {
            Some((path, lsn)) => {
                let late = format!("{} is as of LSN {lsn}, later than {}", path.display(), log.limit);
                Error::new(ErrorKind::Invalid, format!("{late}, and without it {missing}"))
            }
            None => Error::corrupt(missing),
        });
    }
    let last_lsn = log.last_lsn;
    match until {
        Until::End if last_lsn > 0 || sources.stores().next().is_some() => Ok(()),
        Until::End => Err(Error::new(ErrorKind::Invalid, "there is not a single record to be restored")),
        Until::Lsn(_) | Until::Time(_) => {
            let message = format!("the records end with LSN {last_lsn}, before {}", log.limit);
            Err(Error::new(ErrorKind::Invalid, message))
        }
    }
}

/// An error if the logs of a store say that they went on, durably, behind the last record, but are damaged there.
fn check_undamaged(vfs: &dyn Vfs, dir: &Path, log: &NewLog) -> Result<()> {
    let damage = find_damage(vfs, dir, log.next())?.filter(|bad| bad.lsn >= log.next());
    match damage {
        // What was just being written has been, by now.
        Some(bad) if find_damage(vfs, dir, log.next())?.as_ref() == Some(&bad) => {
            let message = format!("{bad}; what comes before it can be restored, up to LSN {}", log.last_lsn);
            Err(Error::corrupt(message))
        }
        _ => Ok(()),
    }
}

/// The first bad record in the logs of a store, if another one proves that it was durable.
fn find_damage(vfs: &dyn Vfs, dir: &Path, expected: Lsn) -> Result<Option<Bad>> {
    let (mut first_bad, mut durable_lsn) = (None, 0);
    for (file, path) in logs(vfs, dir)? {
        let first = scan::first_lsn(&*file, &path)?.unwrap_or(expected);
        let scan = scan::scan(&*file, &path, first, |_| Ok(true))?;
        durable_lsn = durable_lsn.max(scan.durable_lsn);
        if let Some(bad) = scan.bad {
            durable_lsn = durable_lsn.max(behind::search(&*file, &path, &bad)?.durable_lsn);
            first_bad.get_or_insert(bad);
        }
    }
    Ok(first_bad.filter(|bad: &Bad| durable_lsn >= bad.lsn))
}

/// The logs of a store.
fn logs(vfs: &dyn Vfs, dir: &Path) -> Result<Vec<(Arc<dyn File>, PathBuf)>> {
    let mut logs = Vec::new();
    for path in [dir.join(LOG), dir.join(NEXT)] {
        if let Some(file) = open_if_there(vfs, &path)? {
            logs.push((file, path));
        }
    }
    Ok(logs)
}

/// The first record that there is behind the gap before which the records end, if there is a gap.
fn first_behind(vfs: &dyn Vfs, sources: &Sources, next: Lsn) -> Result<Option<Lsn>> {
    let mut behind = Vec::new();
    if let Some(archive) = &sources.archive {
        behind.extend(archive::list(vfs, archive)?.iter().map(|range| range.first).find(|&first| first > next));
    }
    for dir in sources.stores() {
        // What only a checkpoint covers is in no log any more.
        if let Next::Lagged(lsn) = Follower::open_on(vfs, dir, next)?.next(Some(Duration::ZERO))? {
            behind.push(lsn + 1);
        }
        for (file, path) in logs(vfs, dir)? {
            behind.extend(scan::first_lsn(&*file, &path)?.filter(|&first| first > next));
        }
    }
    Ok(behind.into_iter().min())
}
