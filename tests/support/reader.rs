//! A second reader of a store's files, written from `docs/format.md`: everything in memory, one record after the other,
//! no regard for speed. It says what recovery has to make of any files, right or wrong, so that tests need not foresee
//! what a damage does.

// Each test program uses a part of this.
#![allow(dead_code)]

use std::collections::BTreeMap;

use kvwal::{RecoveryMode, Verdict};

/// The last LSN that a store can reach.
pub const LAST_LSN: u64 = (1 << 48) - 1;
const MAX_KEY: usize = 65_535;
const MAX_VALUE: usize = 1 << 30;
/// Bytes of a record with an empty key and an empty value.
pub const MIN_RECORD: usize = 33;

/// What the files of a store hold; `None` for a file that is not there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Files {
    pub log: Option<Vec<u8>>,
    pub next: Option<Vec<u8>>,
    pub checkpoint: Option<Vec<u8>>,
}

/// What recovery has to make of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reading {
    /// An error, and not a byte is changed.
    Refused,
    /// A store.
    Opened(Opened),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opened {
    pub contents: BTreeMap<Vec<u8>, Vec<u8>>,
    pub last_lsn: u64,
    pub checkpoint_lsn: u64,
    pub verdict: Verdict,
    /// Pieces of the files that must be in quarantine afterwards, but for zeros at their end.
    pub cut: Vec<Vec<u8>>,
}

/// One record of a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    pub len: usize,
    pub lsn: u64,
    pub durable_lsn: u64,
    pub more: bool,
    /// Of a PUT.
    pub value: Option<Vec<u8>>,
    pub expires_at: Option<u64>,
    pub key: Vec<u8>,
}

/// Why there is no record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoRecord {
    Invalid,
    /// The checksum is right, and the op unknown.
    Newer,
}

fn be(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0, |number, &byte| number << 8 | u64::from(byte))
}

/// The record at the beginning of `bytes`.
pub fn record(bytes: &[u8]) -> Result<Record, NoRecord> {
    let len = be(bytes.get(4..8).ok_or(NoRecord::Invalid)?) as usize;
    if !(MIN_RECORD..=MIN_RECORD + 8 + MAX_KEY + MAX_VALUE).contains(&len) || len > bytes.len() {
        return Err(NoRecord::Invalid);
    }
    let bytes = &bytes[..len];
    if be(&bytes[..4]) != u64::from(crc32fast::hash(&bytes[4..])) {
        return Err(NoRecord::Invalid);
    }
    let (op, more) = (bytes[24] & 0x7f, bytes[24] & 0x80 != 0);
    if !(1..=3).contains(&op) {
        return Err(NoRecord::Newer);
    }
    let mut rest = &bytes[25..];
    let mut take = |len: usize| {
        let (taken, left) = rest.split_at_checked(len).ok_or(NoRecord::Invalid)?;
        rest = left;
        Ok(taken)
    };
    let expires_at = if op == 3 { Some(be(take(8)?)) } else { None };
    let key_len = be(take(4)?) as usize;
    let key = take(key_len)?.to_vec();
    let value_len = be(take(4)?) as usize;
    let value = take(value_len)?.to_vec();
    if !rest.is_empty() || key_len > MAX_KEY || value_len > MAX_VALUE || (op == 2 && value_len > 0) {
        return Err(NoRecord::Invalid);
    }
    let (lsn, durable_lsn) = (be(&bytes[8..16]), be(&bytes[16..24]));
    Ok(Record { len, lsn, durable_lsn, more, value: (op != 2).then_some(value), expires_at, key })
}

/// A log, read as far as it is valid.
pub struct Log {
    pub records: Vec<Record>,
    /// Where the last whole batch ends.
    pub end: usize,
    pub last_lsn: u64,
    /// The LSN of the bad record that ends it, and where that begins.
    pub bad: Option<(u64, usize)>,
}

/// Reads a log whose first record should be `expected`; `None` if it is of a newer version.
pub fn log(bytes: &[u8], expected: u64) -> Option<Log> {
    let mut log = Log { records: Vec::new(), end: 0, last_lsn: expected - 1, bad: None };
    let (mut at, mut lsn, mut batch) = (0, expected, Vec::new());
    loop {
        match record(&bytes[at..]) {
            Err(NoRecord::Newer) => return None,
            Ok(record) if record.lsn == lsn && lsn <= LAST_LSN => {
                (at, lsn) = (at + record.len, lsn + 1);
                let more = record.more;
                batch.push(record);
                if !more {
                    (log.end, log.last_lsn) = (at, lsn - 1);
                    log.records.append(&mut batch);
                }
            }
            _ => {
                if at != log.end || !is_blank(&bytes[at..]) {
                    log.bad = Some((lsn, at));
                }
                return Some(log);
            }
        }
    }
}

/// The LSN of the first record, if that is one that a record can have.
pub fn first_lsn(bytes: &[u8]) -> Option<u64> {
    record(bytes).ok().map(|record| record.lsn).filter(|lsn| (1..=LAST_LSN).contains(lsn))
}

/// Whether a file is no log at all: nothing at its beginning looks like a record, there is none anywhere, and it is more
/// than what a write that ended before the op leaves in a file of zeros.
pub fn is_foreign(bytes: &[u8]) -> bool {
    first_lsn(bytes).is_none()
        && kvwal::format::is_foreign(bytes)
        && !is_blank(&bytes[24..])
        && (0..bytes.len()).all(|at| record(&bytes[at..]).is_err())
}

fn is_blank(bytes: &[u8]) -> bool {
    bytes.iter().all(|&byte| byte == 0)
}

/// What a whole checkpoint holds.
pub struct Checkpoint {
    pub lsn: u64,
    pub entries: Entries,
}

/// Why there is no checkpoint.
pub enum NoCheckpoint {
    /// With the LSN that its header still tells, or 0.
    Damaged(u64),
    Newer,
}

/// Reads a checkpoint: all of it, or nothing.
pub fn checkpoint(bytes: &[u8]) -> Result<Checkpoint, NoCheckpoint> {
    let Some((header, blocks)) = bytes.split_at_checked(64) else { return Err(NoCheckpoint::Damaged(0)) };
    if &header[..8] != b"KVWALCKP" || be(&header[60..]) != u64::from(crc32fast::hash(&header[..60])) {
        return Err(NoCheckpoint::Damaged(0));
    }
    if be(&header[8..12]) != 1 || be(&header[12..16]) != 0 {
        return Err(NoCheckpoint::Newer);
    }
    let (lsn, keys) = (be(&header[16..24]), be(&header[32..40]));
    let damaged = NoCheckpoint::Damaged(lsn);
    if be(&header[40..48]) != bytes.len() as u64 || lsn > LAST_LSN {
        return Err(damaged);
    }
    match entries_of(blocks, be(&header[56..60])) {
        Some(found) if found.len() as u64 == keys => Ok(Checkpoint { lsn, entries: found }),
        _ => Err(damaged),
    }
}

/// Values by key, with the time at which they expire.
type Entries = BTreeMap<Vec<u8>, (Vec<u8>, Option<u64>)>;

fn entries_of(mut blocks: &[u8], count: u64) -> Option<Entries> {
    let mut found = Entries::new();
    // Parts of a large entry, and how many bytes it is to have.
    let mut large: Option<(Vec<u8>, usize)> = None;
    for index in 0..count {
        let len = be(blocks.get(4..8)?) as usize;
        if !(16..=16 + (1 << 20)).contains(&len) {
            return None;
        }
        let (block, behind) = blocks.split_at_checked(len)?;
        blocks = behind;
        let (crc, found_index, kind) = (be(&block[..4]), be(&block[8..12]), be(&block[12..16]));
        if crc != u64::from(crc32fast::hash(&block[4..])) || found_index != index {
            return None;
        }
        let payload = &block[16..];
        let (parts, wanted) = match (kind, large.take()) {
            (1, None) => (payload.to_vec(), 0),
            (2, None) => (payload.to_vec(), entry_len(payload)?),
            (3, Some((parts, wanted))) => ([&parts, payload].concat(), wanted),
            _ => return None,
        };
        match parts.len() < wanted {
            true => large = Some((parts, wanted)),
            false => add_entries(&parts, &mut found)?,
        }
    }
    (large.is_none() && blocks.is_empty()).then_some(found)
}

/// The length that the entry at the beginning of `bytes` says that it has.
fn entry_len(bytes: &[u8]) -> Option<usize> {
    let head = bytes.get(..7)?;
    let expires = if head[0] == 1 { 8 } else { 0 };
    let (key_len, value_len) = (be(&head[1..3]) as usize, be(&head[3..7]) as usize);
    (head[0] <= 1 && value_len <= MAX_VALUE && 7 + expires + key_len <= bytes.len())
        .then_some(7 + expires + key_len + value_len)
}

fn add_entries(mut bytes: &[u8], found: &mut Entries) -> Option<()> {
    while !bytes.is_empty() {
        let (entry, behind) = bytes.split_at_checked(entry_len(bytes)?)?;
        let key_at = if entry[0] == 1 { 15 } else { 7 };
        let expires_at = (key_at > 7).then(|| be(&entry[7..15]));
        if expires_at == Some(0) {
            return None;
        }
        let (key, value) = entry[key_at..].split_at(be(&entry[1..3]) as usize);
        if found.insert(key.to_vec(), (value.to_vec(), expires_at)).is_some() {
            return None;
        }
        bytes = behind;
    }
    Some(())
}

/// Reads the files of a store at the time `now`.
pub fn read(files: &Files, mode: RecoveryMode, now: u64) -> Reading {
    read_or_refuse(files, mode, now).map_or(Reading::Refused, Reading::Opened)
}

fn read_or_refuse(files: &Files, mode: RecoveryMode, now: u64) -> Option<Opened> {
    if files.log.is_none() && (files.next.is_some() || files.checkpoint.is_some()) {
        let next = files.next.as_ref()?;
        // An empty wal.next alone is what is left of a store that nothing was ever written to; one with records is the log.
        return match first_lsn(next) {
            Some(_) => {
                let (log, checkpoint) = (files.next.clone(), files.checkpoint.clone());
                read_or_refuse(&Files { log, next: None, checkpoint }, mode, now)
            }
            None => {
                (files.checkpoint.is_none() && next.is_empty()).then(|| read_or_refuse(&Files::default(), mode, now))?
            }
        };
    }
    let Base { after, needed, mut entries, mut cut } = base(files, mode)?;
    let logs = logs(files, after)?;
    let valid = || logs.iter().filter(|log| log.part == Part::Valid);
    let gap = || logs.iter().find(|log| log.part == Part::Behind).map(|_| logs[0].log.last_lsn + 1);
    let bad_lsn = valid().find_map(|log| log.log.bad).map(|(lsn, _)| lsn).or_else(gap);
    let last_lsn = valid().next_back().map_or(0, |log| log.log.last_lsn);
    if last_lsn < needed || (bad_lsn.is_none() && last_lsn < after) {
        return None;
    }

    for record in valid().flat_map(|log| &log.log.records).filter(|record| record.lsn > after) {
        match &record.value {
            Some(value) => entries.insert(record.key.clone(), (value.clone(), record.expires_at)),
            None => entries.remove(&record.key),
        };
    }
    let lives = |expires_at: &Option<u64>| expires_at.is_none_or(|at| at > now);
    let living = entries.into_iter().filter(|(_, (_, expires_at))| lives(expires_at));
    let contents = living.map(|(key, (value, _))| (key, value)).collect();

    let mut verdict = Verdict::Clean;
    if let Some(bad_lsn) = bad_lsn {
        let durable_lsn = logs.iter().map(|log| log.durable_lsn(bad_lsn)).max().unwrap_or(0).max(after);
        verdict = if durable_lsn >= bad_lsn { Verdict::Damaged } else { Verdict::Torn };
        // If not even the checkpoint is reached, none of the logs can go on from it.
        cut.extend(logs.iter().map(|log| log.cut(last_lsn < after).to_vec()));
    }
    if verdict == Verdict::Damaged && mode == RecoveryMode::Strict {
        return None;
    }
    Some(Opened { contents, last_lsn: last_lsn.max(after), checkpoint_lsn: after, verdict, cut })
}

/// What the logs are applied to.
#[derive(Default)]
struct Base {
    /// The checkpoint's LSN.
    after: u64,
    /// The LSN that the logs must reach.
    needed: u64,
    entries: Entries,
    /// The checkpoint, if it is damaged.
    cut: Vec<Vec<u8>>,
}

/// Reads the checkpoint; `None` if the store cannot do without a bad one.
fn base(files: &Files, mode: RecoveryMode) -> Option<Base> {
    let begins_with_1 = files.log.as_deref().and_then(first_lsn) == Some(1);
    let Some(bytes) = &files.checkpoint else { return Some(Base::default()) };
    match checkpoint(bytes) {
        Ok(whole) => Some(Base { after: whole.lsn, entries: whole.entries, ..Base::default() }),
        Err(NoCheckpoint::Damaged(needed)) if begins_with_1 && mode == RecoveryMode::Prefix => {
            Some(Base { needed, cut: vec![bytes.clone()], ..Base::default() })
        }
        Err(_) => None,
    }
}

/// A log file, and what of it counts.
struct LogFile<'f> {
    bytes: &'f [u8],
    log: Log,
    part: Part,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    /// Its valid records.
    Valid,
    /// None, for the checkpoint covers them all.
    Superseded,
    /// None, for it lies behind the first bad record.
    Behind,
}

/// Reads `wal.log` and, unless that is blank, `wal.next`, over a checkpoint of the LSN `after`; `None` if they cannot be
/// the logs of one store.
fn logs(files: &Files, after: u64) -> Option<Vec<LogFile<'_>>> {
    let bytes = files.log.as_deref().unwrap_or_default();
    let first = first_lsn(bytes);
    if is_foreign(bytes) || first.is_some_and(|first| first > after + 1) {
        return None;
    }
    let first_log = log(bytes, first.unwrap_or(after + 1))?;
    let (last, is_bad, has_records) = (first_log.last_lsn, first_log.bad.is_some(), !first_log.records.is_empty());
    let mut logs = vec![LogFile { bytes, log: first_log, part: Part::Valid }];
    let Some(next) = files.next.as_deref().filter(|next| !is_blank(next)) else { return Some(logs) };
    if is_foreign(next) {
        return None;
    }
    let (mut expected, mut part) = (last + 1, Part::Valid);
    match first_lsn(next) {
        Some(lsn) if has_records && lsn <= last => return None,
        Some(lsn) if lsn <= after + 1 => (logs[0].part, expected) = (Part::Superseded, lsn),
        Some(_) if !has_records && !is_bad => return None,
        Some(lsn) if is_bad || lsn != last + 1 => part = Part::Behind,
        None if is_bad => part = Part::Behind,
        _ => {}
    }
    // Of what lies behind, nothing is read.
    let log = if part == Part::Behind { log(&[], expected)? } else { log(next, expected)? };
    logs.push(LogFile { bytes: next, log, part });
    Some(logs)
}

impl LogFile<'_> {
    /// The highest LSN of which this file says that it was durable, by its valid records, or by any record behind the
    /// first bad one, `bad_lsn`.
    fn durable_lsn(&self, bad_lsn: u64) -> u64 {
        let from = match self.part {
            Part::Valid => self.log.bad.map_or(self.log.end, |(_, at)| at),
            Part::Superseded => self.bytes.len(),
            Part::Behind => 0,
        };
        let behind = (from..self.bytes.len()).filter_map(|at| record(&self.bytes[at..]).ok());
        let evidence = behind.filter(|record| record.lsn >= bad_lsn).map(|record| record.durable_lsn);
        self.log.records.iter().map(|record| record.durable_lsn).chain(evidence).max().unwrap_or(0)
    }

    /// What has to be cut off; `all` of it, if it counts at all.
    fn cut(&self, all: bool) -> &[u8] {
        match self.part {
            Part::Superseded => &[],
            Part::Valid if !all => &self.bytes[self.log.end..],
            Part::Valid | Part::Behind => self.bytes,
        }
    }
}
