//! Hot backups: of one moment, whole or not there, and no harm to the store.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use crate::support::{Contents, contents, open, options};
use kvwal::format::Op;
use kvwal::vfs::Vfs;
use kvwal::vfs::sim::{Fault, SimDisk};
use kvwal::{Batch, ErrorKind, Options, Size, Store, SyncMode, Verdict, verify, wal};

const DEST: &str = "/copy";

fn open_copy(disk: &SimDisk) -> Store {
    Store::open_on(Arc::new(disk.clone()), DEST, &options()).unwrap()
}

/// A store with a checkpoint, and a log behind it.
fn filled(seed: u64) -> (SimDisk, Store) {
    let disk = SimDisk::new(seed);
    let store = open(&disk).unwrap();
    (0..20u8).for_each(|key| store.set(&[key], &[key; 300]).unwrap());
    store.checkpoint().unwrap();
    store.set(b"large", &[1; 70_000]).unwrap();
    store.set_ttl(b"later", b"gone", 1000).unwrap();
    store.set_ttl(b"soon", b"gone", 10).unwrap();
    disk.pass(20);
    (disk, store)
}

#[test]
fn values_and_expiries_are_kept_and_lsns_go_on() {
    let (disk, store) = filled(1);
    let lsn = store.backup(DEST).unwrap();
    store.set(b"after", b"").unwrap();
    assert_eq!(lsn, 23);
    let copy = open_copy(&disk);
    assert_eq!(copy.stats().keys, 22, "what has expired is left out");
    assert_eq!(copy.recovery_report().verdict, Verdict::Clean);
    let mut expected = contents(&store);
    expected.remove(&b"after"[..]);
    assert_eq!(contents(&copy), expected);
    disk.pass(1000);
    assert_eq!(copy.get(b"later").unwrap(), None);
    copy.set(b"new", b"").unwrap();
    assert_eq!(copy.stats().last_lsn, lsn + 1);
    copy.close().unwrap();
    assert_eq!(store.backup(DEST).unwrap_err().kind(), ErrorKind::Invalid, "there is a store already");
    assert_eq!(store.stats().errors, 0);
    store.close().unwrap();
}

/// What the records of a log up to `lsn` make of an empty store.
fn replayed(log: &Path, lsn: u64) -> Contents {
    let mut contents = Contents::new();
    let report = wal::replay(log, 0, |record| {
        if record.lsn <= lsn {
            match record.op {
                Op::Delete => contents.remove(record.key),
                _ => contents.insert(record.key.to_vec(), record.value.to_vec()),
            };
        }
        true
    });
    assert!(report.unwrap().last_lsn >= lsn);
    contents
}

#[test]
fn each_is_of_one_moment_while_writers_and_checkpoints_go_on() {
    for sync in [SyncMode::Always, SyncMode::Interval, SyncMode::None] {
        let dir = tempfile::tempdir().unwrap();
        // A checkpoint retires the log; by a second name it stays to be read.
        let (path, log) = (dir.path().join("store"), dir.path().join("log"));
        let options = Options { sync, checkpoint_wal_bytes: Size::Never, ..Options::default() };
        let store = Store::open(&path, &options).unwrap();
        std::fs::hard_link(path.join("wal.log"), &log).unwrap();
        let stop = AtomicBool::new(false);
        let lsns: Vec<u64> = thread::scope(|scope| {
            for writer in 0..4u8 {
                let (store, stop) = (&store, &stop);
                scope.spawn(move || {
                    for round in 0..u32::MAX {
                        if stop.load(Ordering::Relaxed) {
                            return;
                        }
                        let mut batch = Batch::new();
                        batch.set(&[writer, round as u8], &round.to_be_bytes()).unwrap();
                        batch.set(&[writer], &vec![writer; round as usize % 500]).unwrap();
                        batch.del(&[writer, round as u8 / 2]).unwrap();
                        store.write(&batch).unwrap();
                    }
                });
            }
            let backups = (0..5).map(|at| store.backup(dir.path().join(format!("copy{at}"))).unwrap());
            let lsns = backups.collect();
            let (checkpoint, backup) = thread::scope(|scope| {
                let checkpoint = scope.spawn(|| store.checkpoint());
                let backup = scope.spawn(|| store.backup(dir.path().join("beside")));
                (checkpoint.join().unwrap(), backup.join().unwrap())
            });
            checkpoint.unwrap();
            backup.unwrap();
            stop.store(true, Ordering::Relaxed);
            lsns
        });
        for (at, lsn) in lsns.into_iter().enumerate() {
            let copy = Store::open(dir.path().join(format!("copy{at}")), &Options::default()).unwrap();
            assert_eq!((copy.stats().last_lsn, lsn % 3), (lsn, 0), "{sync:?}: a batch is there or not");
            assert!(contents(&copy) == replayed(&log, lsn), "{sync:?}: not as of {lsn}");
        }
        assert_eq!(verify(dir.path().join("beside")).unwrap().report.verdict, Verdict::Clean);
        store.close().unwrap();
    }
}

#[test]
fn a_crash_leaves_no_store_or_all_of_it() {
    let (disk, store) = filled(2);
    disk.keep_moments(1024, 3);
    store.backup(DEST).unwrap();
    let mut moments = disk.take_moments();
    moments.push(disk.moment());
    let expected = contents(&store);
    let (mut none, mut left, mut whole) = (0, 0, 0);
    for moment in moments {
        for seed in 0..8 {
            let disk = moment.crashed(seed);
            let store = open(&disk).unwrap();
            assert_eq!(contents(&store), expected);
            let exists = |name: &str| disk.exists(&Path::new(DEST).join(name)).unwrap();
            if exists("wal.log") {
                whole += 1;
                let copy = open_copy(&disk);
                assert_eq!((contents(&copy), copy.stats().last_lsn), (expected.clone(), 23));
                continue;
            }
            match store.backup(DEST) {
                Ok(_) => none += 1,
                Err(error) => {
                    left += 1;
                    assert_eq!(error.kind(), ErrorKind::Invalid);
                    assert!(error.to_string().contains("interrupted: remove it"), "{error}");
                }
            }
        }
    }
    assert!(none > 0 && left > 0 && whole > 0, "{none} {left} {whole}");
}

#[test]
fn a_call_that_fails_leaves_nothing_and_does_not_harm_the_store() {
    let (disk, store) = filled(4);
    let before = disk.calls();
    store.backup(DEST).unwrap();
    let calls = disk.calls() - before;
    let name = |after| format!("/failed{after}");
    let mut failures = 0;
    for after in 0..calls {
        let fault = Fault { call: None, after, times: 1, errno: libc::ENOSPC, short_first: false };
        disk.fail(fault);
        let made = store.backup(name(after));
        if !disk.heal() {
            continue;
        }
        match made {
            // There was another way.
            Ok(lsn) => assert_eq!(lsn, 23 + failures),
            Err(error) => {
                // What cannot be read back is another failure.
                let expected = if error.to_string().contains("read back") { ErrorKind::Io } else { ErrorKind::NoSpace };
                assert_eq!(error.kind(), expected, "call {after}: {error}");
                assert!(!disk.exists(Path::new(&name(after))).unwrap(), "call {after} left something");
                store.set(b"more", &after.to_be_bytes()).unwrap();
                failures += 1;
            }
        }
    }
    assert!(failures > 10, "{failures}");
    store.checkpoint().unwrap();
    store.close().unwrap();
}
