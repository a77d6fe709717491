//! The log without a store, on a simulated disk: power cuts and kills at every call, in its recovery too, and calls that
//! fail.

use std::path::Path;

use kvwal::format::{self, Op, Record};
use kvwal::vfs::sim::{Call, Fault, SimDisk};
use kvwal::wal::{Log, replay_on};
use kvwal::{ErrorKind, Verdict};

const PATH: &str = "/a.log";
const COUNT: u64 = 12;

fn value(lsn: u64) -> Vec<u8> {
    vec![lsn as u8; [0, 30, 600, 5, 2000][lsn as usize % 5]]
}

fn open(disk: &SimDisk) -> kvwal::Result<Log> {
    Log::open_on(disk, Path::new(PATH))
}

fn append(log: &mut Log, lsn: u64) -> kvwal::Result<()> {
    let (key, value) = (lsn.to_be_bytes(), value(lsn));
    let record = Record { lsn: 0, durable_lsn: 0, op: Op::Put, more: false, expires_at: 0, key: &key, value: &value };
    let (appended, durable) = log.append(&record)?;
    assert!(appended == lsn && durable < lsn);
    Ok(())
}

/// Appends records until a call fails; returns how many were acknowledged. At every moment the log is as long as they are.
fn run(disk: &SimDisk) -> u64 {
    let Ok(mut log) = open(disk) else { return 0 };
    for lsn in 1..=COUNT {
        if append(&mut log, lsn).is_err() {
            return lsn - 1;
        }
        assert_eq!(disk.contents(PATH).unwrap().len() as u64, len_of(lsn));
    }
    log.close().unwrap();
    COUNT
}

fn len_of(records: u64) -> u64 {
    (1..=records).map(|lsn| (format::MIN_RECORD_LEN + 8 + value(lsn).len()) as u64).sum()
}

/// The log holds the records 1 to n, for an n from what was acknowledged to one more, and takes the next.
fn check(disk: &SimDisk, acknowledged: u64, context: &str) {
    let mut log = open(disk).unwrap_or_else(|error| panic!("{context}: {error}"));
    let mut n = 0u64;
    let report = replay_on(disk, Path::new(PATH), 0, |record| {
        n += 1;
        assert_eq!((record.lsn, record.key, record.value), (n, &n.to_be_bytes()[..], &value(n)[..]), "{context}");
        true
    });
    let report = report.unwrap_or_else(|error| panic!("{context}: {error}"));
    assert_eq!((report.verdict, report.last_lsn), (Verdict::Clean, n), "{context}: it was made whole");
    assert!((acknowledged..=(acknowledged + 1).min(COUNT)).contains(&n), "{context}: {n} of {acknowledged} or more");
    append(&mut log, n + 1).unwrap_or_else(|error| panic!("{context}: {error}"));
    log.close().unwrap();
    assert_eq!(disk.contents(PATH).unwrap().len() as u64, len_of(n + 1), "{context}");
}

#[test]
fn a_power_cut_or_kill_at_every_call_leaves_a_prefix() {
    let disk = SimDisk::new(1);
    disk.keep_moments(1024, 1);
    run(&disk);
    let moments = disk.take_moments();
    assert!(moments.len() > 30, "there are many calls: {}", moments.len());
    for (call, moment) in moments.iter().enumerate() {
        // Each append is a write and a sync.
        let disk = SimDisk::new(1);
        disk.power_off_at(moment.calls);
        let acknowledged = run(&disk);
        for seed in 0..20 {
            check(&moment.crashed(seed), acknowledged, &format!("power cut before call {call}, seed {seed}"));
            check(&moment.killed(seed), acknowledged, &format!("killed in call {call}, seed {seed}"));
        }
    }
}

#[test]
fn a_power_cut_in_the_recovery_from_one_leaves_a_prefix() {
    let disk = SimDisk::new(2);
    disk.keep_moments(300, 2);
    run(&disk);
    let mut states = 0;
    for (number, moment) in disk.take_moments().iter().enumerate() {
        for seed in 0..4 {
            let crashed = if seed % 2 == 0 { moment.crashed(seed) } else { moment.killed(seed) };
            let mut acknowledged = 0;
            let whole = replay_on(&crashed.fork(), Path::new(PATH), 0, |record| {
                acknowledged = record.lsn;
                true
            });
            if whole.is_err() {
                // The log has no name yet.
                continue;
            }
            crashed.keep_moments(1024, seed);
            let opened = open(&crashed).unwrap();
            for within in crashed.take_moments() {
                let context = format!("moment {number}, seed {seed}, then at call {}", within.calls);
                // What was there when the recovery began may be only in the page cache, so a power cut may take it.
                let least = if seed % 2 == 0 { acknowledged } else { 0 };
                let again = within.crashed(seed);
                let mut log = open(&again).unwrap_or_else(|error| panic!("{context}: {error}"));
                let found = replay_on(&again, Path::new(PATH), 0, |_| true).unwrap().last_lsn;
                assert!((least..=acknowledged).contains(&found), "{context}: {found} of {acknowledged}");
                append(&mut log, found + 1).unwrap();
                states += 1;
            }
            drop(opened);
        }
    }
    assert!(states > 200, "many states were tried: {states}");
}

#[test]
fn every_call_fails_once_and_for_ever() {
    for errno in [libc::EIO, libc::ENOSPC] {
        for times in [1, u64::MAX] {
            for after in 0.. {
                let disk = SimDisk::new(after);
                disk.fail(Fault { call: None, after, times, errno, short_first: after % 2 == 0 });
                let acknowledged = run(&disk);
                if !disk.heal() {
                    break;
                }
                let context = format!("call {after} failed with {errno}, {times} times");
                disk.kill();
                check(&disk.fork(), acknowledged, &context);
                disk.crash(after);
                check(&disk, acknowledged, &format!("{context}; then a power cut"));
            }
        }
    }
}

#[test]
fn a_failed_sync_is_final() {
    let disk = SimDisk::new(3);
    let mut log = open(&disk).unwrap();
    append(&mut log, 1).unwrap();
    disk.fail(Fault { call: Some(Call::Sync), after: 0, times: 1, errno: libc::EIO, short_first: false });
    assert_eq!(append(&mut log, 2).unwrap_err().kind(), ErrorKind::Failed);
    let calls = disk.calls();
    assert_eq!(append(&mut log, 2).unwrap_err().kind(), ErrorKind::Failed);
    assert_eq!(disk.calls(), calls, "a failed handle touches no file");
    assert_eq!(log.close().unwrap_err().kind(), ErrorKind::Failed);
}

#[test]
fn a_full_disk_heals() {
    let disk = SimDisk::new(4);
    let mut log = open(&disk).unwrap();
    append(&mut log, 1).unwrap();
    disk.fail(Fault { call: Some(Call::Write), after: 0, times: 3, errno: libc::ENOSPC, short_first: true });
    assert_eq!(append(&mut log, 2).unwrap_err().kind(), ErrorKind::NoSpace);
    disk.heal();
    assert_eq!(disk.contents(PATH).unwrap().len() as u64, len_of(1));
    append(&mut log, 2).unwrap();
    log.close().unwrap();
    check(&disk, 2, "after a full disk");
}

#[test]
fn a_log_whose_name_could_not_be_made_durable_gets_another() {
    // The page cache has the name, and the disk may not; a second sync of the directory proves nothing.
    for seed in 0..8 {
        let disk = SimDisk::new(seed);
        disk.fail(Fault { call: Some(Call::SyncDir), after: 0, times: 1, errno: libc::EIO, short_first: false });
        assert_eq!(open(&disk).err().map(|error| error.kind()), Some(ErrorKind::Io));
        disk.kill();
        append(&mut open(&disk).unwrap(), 1).unwrap();
        disk.crash(seed);
        assert_eq!(disk.contents(PATH).map(|log| log.len() as u64), Some(len_of(1)), "seed {seed}");
    }
}
