//! A recovery, and what is asked of it.

use std::sync::Arc;

use kvwal::vfs::sim::{Fault, Moment, Random, SimDisk};
use kvwal::{ErrorKind, Options, Size, Store};

use crate::history::Contents;
use crate::logs::{self, Logs};
use crate::oracle::{self, Base, Evidence, Recovered};
use crate::{plan, run, values};

/// What the logs held before anything was recovered.
pub type Before = [Vec<u8>; 2];

/// What the logs hold now. A second log alone will be the first.
pub fn before(disk: &SimDisk) -> Before {
    let [log, next] = logs::NAMES.map(|name| logs::contents(disk, name));
    match (log, next) {
        (None, Some(next)) => [next, Vec::new()],
        (log, next) => [log.unwrap_or_default(), next.unwrap_or_default()],
    }
}

/// Recovers what a crash left and checks it: what it holds, that what was cut off since `before`, if that is certain, is in
/// quarantine, and that it can be written to. Returns what there is now, and the disk.
pub fn check(
    disk: &SimDisk,
    evidence: &Evidence,
    before: Option<&Before>,
    random: &mut Random,
) -> Result<(Arc<Base>, Arc<Moment>), String> {
    let store = run::open(disk, &plan::options(random)).map_err(|error| format!("the store does not open: {error}"))?;
    store.check_invariants();
    let report = store.recovery_report().clone();
    let contents = run::contents(&store).map_err(|error| format!("scan: {error}"))?;
    let recovered = Recovered {
        last_lsn: report.last_lsn,
        verdict: report.verdict,
        contents: &contents,
        logs: &Logs::now(disk),
        now_ms: disk.now_ms(),
    };
    let base = oracle::check(evidence, &recovered).map_err(|error| format!("{error}\n{report:?}"))?;
    before.map_or(Ok(()), |before| check_quarantine(disk, before))?;
    check_lookups(&store, &base.at(disk.now_ms()))?;
    if random.below(2) == 0 {
        drop(store);
        go_on(&disk.fork(), &base, random)?;
    } else {
        // Not closed, so that what recovery left is what the next run finds.
        disk.kill();
        drop(store);
    }
    disk.forget_nameless();
    Ok((Arc::new(base), Arc::new(disk.moment())))
}

/// Lookups find what the scan found.
fn check_lookups(store: &Store, expected: &Contents) -> Result<(), String> {
    for key in (0..plan::KEYS).map(values::key) {
        let found = store.get(&key).map_err(|error| format!("get: {error}"))?;
        if found.as_ref() != expected.get(&key) {
            return Err(format!("a lookup of key {} finds something else than a scan", key.escape_ascii()));
        }
    }
    Ok(())
}

/// Recovers with a call that fails. Returns whether it did, and the disk.
pub fn fail(disk: &SimDisk, fault: Fault, random: &mut Random) -> Result<(bool, Moment), String> {
    disk.fail(fault);
    let opened = run::open(disk, &plan::options(random));
    let struck = disk.heal();
    // If it opened all the same, it is killed before it can do anything.
    disk.kill();
    match opened.as_ref().map_err(kvwal::Error::kind) {
        Ok(_) | Err(ErrorKind::Io | ErrorKind::NoSpace | ErrorKind::Failed) => Ok((struck, disk.moment())),
        Err(kind) => Err(format!("with {fault:?}, opening fails with {kind:?}")),
    }
}

/// The store takes writes, and has them when it is opened again.
fn go_on(disk: &SimDisk, base: &Base, random: &mut Random) -> Result<(), String> {
    let options = Options { checkpoint_wal_bytes: Size::Never, ..plan::options(random) };
    let mut expected = base.at(disk.now_ms());
    let again = |error: kvwal::Error| format!("after the recovery: {error}");
    let store = run::open(disk, &options).map_err(again)?;
    for key in [&b"after"[..], b"the crash"] {
        store.set(key, b"a value").map_err(again)?;
        expected.insert(key.to_vec(), b"a value".to_vec());
    }
    store.close().map_err(again)?;
    let store = run::open(disk, &options).map_err(again)?;
    let report = store.recovery_report();
    if (report.verdict, report.last_lsn) != (kvwal::Verdict::Clean, base.lsn + 2) {
        return Err(format!("after the recovery, two writes and a close: {report:?}"));
    }
    oracle::compare(&expected, &run::contents(&store).map_err(again)?)
}

/// What was cut off a log is in quarantine.
fn check_quarantine(disk: &SimDisk, before: &Before) -> Result<(), String> {
    for (name, before) in logs::NAMES.iter().zip(before) {
        let after = logs::contents(disk, name).unwrap_or_default();
        if after.starts_with(before) {
            continue;
        }
        let cut = &before[logs::valid_len(&after).min(before.len())..];
        if cut.iter().all(|&byte| byte == 0) {
            continue;
        }
        let quarantine = format!("{}/quarantine", run::DIR);
        let is_saved = disk.all_files().iter().any(|(path, saved)| {
            let rest = cut.strip_prefix(&saved[..]);
            path.starts_with(&quarantine) && rest.is_some_and(|rest| rest.iter().all(|&byte| byte == 0))
        });
        if !is_saved {
            return Err(format!("{} bytes were cut off {name}, and are not in quarantine", cut.len()));
        }
    }
    Ok(())
}
