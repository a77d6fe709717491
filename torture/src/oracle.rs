//! What a store may hold after a crash, and whether that is what it holds.
//!
//! # How it is known
//!
//! Which of several writers came first only the log knows. So the order is taken from the records that the run left in
//! its log files, those included that were retired since; each of them must be of a call that was made, and the order
//! must be possible: who returned before another began has the lower LSN. Given the order, everything else is exact. The
//! recovered store says how far it came, the LSN n; then
//!
//! - n is at least that of everything that was there when the run began, and of everything acknowledged as durable since;
//! - what it holds is what it held then and the records up to n, in their order, byte by byte;
//! - record n does not lie inside a batch;
//! - no call that was refused has a record up to n;
//! - nobody has read a value of a record above n, nor was one said to be durable;
//! - the verdict is not that something was damaged;
//! - what was cut off a log is in quarantine.

use std::collections::BTreeMap;
use std::sync::Arc;

use kvwal::format::{Lsn, Op};
use kvwal::{SyncMode, Verdict};

use crate::history::{Contents, History, Outcome, Read, Saw, Write};
use crate::logs::{Logged, Logs};
use crate::values;

/// What a store held at some LSN.
#[derive(Clone, Debug, Default)]
pub struct Base {
    pub lsn: Lsn,
    pub entries: BTreeMap<Vec<u8>, Entry>,
    /// How many calls were made that changed something.
    pub calls: u32,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub value: Vec<u8>,
    /// Unix time in milliseconds, 0 for never.
    pub expires_at: u64,
}

/// How a run ended. What the system has survives a kill, and not a power cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum End {
    Kill,
    PowerCut,
}

/// A run up to the moment at which it ended.
#[derive(Clone)]
pub struct Evidence {
    /// What there was when it began.
    pub base: Arc<Base>,
    pub history: Arc<History>,
    /// How many calls of the disk had begun.
    pub calls: u64,
    /// The records written until then.
    pub logs: Arc<Logs>,
    pub end: End,
    /// Whether calls of the disk failed.
    pub may_fail: bool,
}

/// What was recovered.
#[derive(Debug)]
pub struct Recovered<'a> {
    pub last_lsn: Lsn,
    pub verdict: Verdict,
    pub contents: &'a Contents,
    /// The records in its logs.
    pub logs: &'a Logs,
    pub now_ms: u64,
}

/// Checks what was recovered; returns what there is now.
pub fn check(evidence: &Evidence, recovered: &Recovered<'_>) -> Result<Base, String> {
    let n = recovered.last_lsn;
    if recovered.verdict == Verdict::Damaged {
        return Err("the verdict is DAMAGED, but nothing durable was".into());
    }
    if n < evidence.base.lsn {
        return Err(format!("LSN {} had been recovered before, now it is {n}", evidence.base.lsn));
    }
    let records = records(evidence, recovered)?;
    if records.values().next_back().is_some_and(|last| last.more) {
        return Err(format!("record {n}, the last one, is not the last of its batch"));
    }
    let base = fold(&evidence.base, &records, n, evidence.history.writes.len() as u32);
    compare(&base.at(recovered.now_ms), recovered.contents)?;

    let lsns = Matched::new(evidence, &records)?;
    lsns.check_order()?;
    lsns.check_acknowledged(n)?;
    check_reads(evidence, &records)?;
    check_claims(evidence, n)?;
    Ok(base)
}

/// The records behind the base that count, without a gap.
fn records(evidence: &Evidence, recovered: &Recovered<'_>) -> Result<BTreeMap<Lsn, Logged>, String> {
    let mut records = BTreeMap::new();
    for lsn in evidence.base.lsn + 1..=recovered.last_lsn {
        // What the recovered log has counts first: a write that was under way is in no other.
        let record = recovered.logs.0.get(&lsn).or_else(|| evidence.logs.0.get(&lsn));
        let record = record.ok_or_else(|| format!("record {lsn} was recovered, but nobody has written it"))?;
        records.insert(lsn, record.clone());
    }
    Ok(records)
}

/// What the records make of the base.
fn fold(base: &Base, records: &BTreeMap<Lsn, Logged>, lsn: Lsn, calls: u32) -> Base {
    let mut base = Base { lsn, entries: base.entries.clone(), calls: base.calls + calls };
    records.values().for_each(|record| base.apply(record));
    base
}

impl Base {
    fn apply(&mut self, record: &Logged) {
        match record.op {
            Op::Delete => {
                self.entries.remove(&record.key);
            }
            Op::Put | Op::PutExpiring => {
                let entry = Entry { value: record.value.clone(), expires_at: record.expires_at };
                self.entries.insert(record.key.clone(), entry);
            }
        }
    }

    /// What of it there is at a time.
    pub fn at(&self, now_ms: u64) -> Contents {
        let lives = |entry: &&Entry| entry.expires_at == 0 || entry.expires_at > now_ms;
        let living = self.entries.iter().filter(|(_, entry)| lives(entry));
        living.map(|(key, entry)| (key.clone(), entry.value.clone())).collect()
    }
}

/// An error that names the first key in which two stores differ.
pub fn compare(expected: &Contents, found: &Contents) -> Result<(), String> {
    let keys = expected.keys().chain(found.keys());
    match keys.into_iter().find(|key| expected.get(*key) != found.get(*key)) {
        None => Ok(()),
        Some(key) => Err(format!(
            "key {} should be {}, but is {}",
            key.escape_ascii(),
            describe(expected.get(key)),
            describe(found.get(key))
        )),
    }
}

fn describe(value: Option<&Vec<u8>>) -> String {
    match value {
        None => "absent".into(),
        Some(value) => format!("{} bytes, {}", value.len(), value[..value.len().min(12)].escape_ascii()),
    }
}

/// The calls, each with the LSN of its last record.
struct Matched<'a> {
    evidence: &'a Evidence,
    lsns: Vec<Option<Lsn>>,
}

impl<'a> Matched<'a> {
    /// Finds for each record the call that made it.
    fn new(evidence: &'a Evidence, records: &BTreeMap<Lsn, Logged>) -> Result<Matched<'a>, String> {
        let mut matched = Matched { evidence, lsns: vec![None; evidence.history.writes.len()] };
        let mut group: Vec<&Logged> = Vec::new();
        for (lsn, record) in records {
            group.push(record);
            if !record.more {
                let call = matched.find(&group);
                let call = call.ok_or_else(|| format!("record {lsn} is of no call that was made: {group:?}"))?;
                matched.lsns[call] = Some(*lsn);
                group.clear();
            }
        }
        Ok(matched)
    }

    /// A call that wrote this. Among equals the one that must have, and then the one that was over first.
    fn find(&self, group: &[&Logged]) -> Option<usize> {
        let writes = self.evidence.history.writes.iter().enumerate();
        writes
            .filter(|(call, write)| {
                self.lsns[*call].is_none() && write.invoked.calls <= self.evidence.calls && is_of(group, write)
            })
            .min_by_key(|(_, write)| {
                let returned = self.returned(write);
                let rank = match returned {
                    Some((_, Outcome::Done)) => 0,
                    None => 1,
                    Some((_, outcome)) => 2 + u8::from(outcome.is_refusal()),
                };
                (rank, returned.map_or(u64::MAX, |(stamp, _)| stamp))
            })
            .map(|(call, _)| call)
    }

    /// When and how a call ended, if it had by the end of the run.
    fn returned(&self, write: &Write) -> Option<(u64, Outcome)> {
        let (stamp, outcome) = write.returned?;
        (stamp.calls <= self.evidence.calls).then_some((stamp.seq, outcome))
    }

    /// Whoever returned before another began comes first.
    fn check_order(&self) -> Result<(), String> {
        let writes = &self.evidence.history.writes;
        let mut in_order: Vec<(Lsn, &Write)> =
            self.lsns.iter().zip(writes).filter_map(|(lsn, write)| Some(((*lsn)?, write))).collect();
        in_order.sort_by_key(|(lsn, _)| *lsn);
        let mut latest_begin = 0;
        for (lsn, write) in in_order {
            if self.returned(write).is_some_and(|(returned, _)| returned < latest_begin) {
                return Err(format!("record {lsn} is behind one of a call that began after its own had returned"));
            }
            latest_begin = latest_begin.max(write.invoked.seq);
        }
        Ok(())
    }

    fn check_acknowledged(&self, n: Lsn) -> Result<(), String> {
        for (lsn, write) in self.lsns.iter().zip(&self.evidence.history.writes) {
            match (lsn, self.returned(write)) {
                (None, Some((returned, Outcome::Done))) if self.evidence.is_durable(write.mode, returned) => {
                    return Err(format!("lost: {} was acknowledged, but is not among the {n} recovered", name(write)));
                }
                (Some(lsn), Some((_, outcome))) if outcome.is_refusal() => {
                    return Err(format!("{} was refused ({outcome:?}), but is record {lsn}", name(write)));
                }
                _ => {}
            }
        }
        Ok(())
    }
}

impl Evidence {
    /// Whether what was acknowledged at some stamp, in a mode, survives the end of the run.
    fn is_durable(&self, mode: SyncMode, acknowledged: u64) -> bool {
        let survives_alone = match mode {
            SyncMode::Always => true,
            // After a failed sync the page cache may let go of what it has.
            SyncMode::None => self.end == End::Kill && !self.may_fail,
            SyncMode::Interval => false,
        };
        let mut syncs = self.history.syncs.iter().filter(|sync| sync.returned.calls <= self.calls);
        survives_alone || syncs.any(|sync| sync.invoked.seq > acknowledged)
    }
}

fn is_of(group: &[&Logged], write: &Write) -> bool {
    group.len() == write.changes.len()
        && group.iter().zip(&write.changes).all(|(record, change)| {
            let value = change.value.as_deref();
            let expires = change.expires.unwrap_or((0, 0));
            let op = match (value, change.expires) {
                (None, _) => Op::Delete,
                (Some(_), None) => Op::Put,
                (Some(_), Some(_)) => Op::PutExpiring,
            };
            (record.op, &record.key) == (op, &change.key)
                && record.value == value.unwrap_or_default()
                && (expires.0..=expires.1).contains(&record.expires_at)
        })
}

fn name(write: &Write) -> String {
    let keys: Vec<String> = write.changes.iter().map(|change| change.key.escape_ascii().to_string()).collect();
    format!("a write of writer {} to {}", write.writer, keys.join(", "))
}

/// Nobody has seen what the crash took back.
fn check_reads(evidence: &Evidence, records: &BTreeMap<Lsn, Logged>) -> Result<(), String> {
    let is_known = |key: &[u8], value: &[u8]| {
        !values::is_named(value)
            || evidence.base.entries.get(key).is_some_and(|entry| entry.value == value)
            || records.values().any(|record| record.key == key && record.value == value)
    };
    let survives =
        |read: &&Read| read.returned.calls <= evidence.calls && evidence.is_durable(read.mode, read.returned.seq);
    for read in evidence.history.reads.iter().filter(survives) {
        let unknown = match &read.saw {
            Saw::Key(key, Some(value)) => (!is_known(key, value)).then_some(key),
            Saw::Key(_, None) => None,
            Saw::All(all, _) => all.iter().find(|(key, value)| !is_known(key, value)).map(|(key, _)| key),
        };
        if let Some(key) = unknown {
            return Err(format!("a value of key {} was read, and is lost", key.escape_ascii()));
        }
    }
    Ok(())
}

/// No record says that something is durable which was lost.
fn check_claims(evidence: &Evidence, n: Lsn) -> Result<(), String> {
    let claim = evidence.logs.0.iter().find(|(_, record)| record.durable_lsn > n);
    match claim {
        Some((lsn, record)) => {
            Err(format!("record {lsn} says that LSN {} is durable, but only {n} were", record.durable_lsn))
        }
        None => Ok(()),
    }
}

/// Every scan shows the store as it was at one moment of the run, which `logs` are the whole records of.
pub fn check_scans(base: &Base, history: &History, logs: &Logs) -> Result<(), String> {
    let mut scans: Vec<(&Contents, u64)> = Vec::new();
    for read in &history.reads {
        // What only the store's memory had, no log has ever had, perhaps.
        let is_logged =
            read.mode != SyncMode::Interval || history.syncs.iter().any(|sync| sync.invoked.seq > read.returned.seq);
        if let Saw::All(all, (before, after)) = &read.saw
            && before == after
            && is_logged
        {
            scans.push((all, *before));
        }
    }
    let mut state = base.clone();
    scans.retain(|(all, now)| state.at(*now) != **all);
    for (_, record) in logs.0.range(base.lsn + 1..) {
        if scans.is_empty() {
            break;
        }
        state.apply(record);
        if !record.more {
            scans.retain(|(all, now)| state.at(*now) != **all);
        }
    }
    match scans.first() {
        Some(_) => Err("a scan shows the store as it was at no moment".into()),
        None => Ok(()),
    }
}
