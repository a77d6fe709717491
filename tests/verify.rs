//! Looking at a store on a real disk: nothing changes there, whoever else is at work.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use kvwal::{ErrorKind, Options, Size, Store, SyncMode, Verdict, verify};

/// Names, contents and times of everything in a directory, but for when it was last read.
fn state(dir: &Path) -> Vec<(String, Vec<u8>, i64, i64, u64)> {
    let mut state: Vec<_> = fs::read_dir(dir)
        .unwrap()
        .map(|entry| {
            let (entry, name) = (entry.as_ref().unwrap(), entry.as_ref().unwrap().file_name());
            let metadata = entry.metadata().unwrap();
            let contents = if metadata.is_file() { fs::read(entry.path()).unwrap() } else { Vec::new() };
            let times = (metadata.mtime() * 1_000_000_000 + metadata.mtime_nsec(), metadata.ctime_nsec());
            (name.into_string().unwrap(), contents, times.0, times.1, metadata.ino())
        })
        .collect();
    let own = fs::metadata(dir).unwrap();
    state.push((".".into(), Vec::new(), own.mtime() * 1_000_000_000 + own.mtime_nsec(), own.ctime_nsec(), own.ino()));
    state.sort();
    state
}

/// A closed store with a checkpoint of 50 keys and 30 records behind it.
fn filled(dir: &Path) {
    let store = Store::open(dir, &Options::default()).unwrap();
    (0..50u8).for_each(|key| store.set(&[key], &[key; 100]).unwrap());
    store.checkpoint().unwrap();
    (50..80u8).for_each(|key| store.set(&[key], &[key; 100]).unwrap());
    store.close().unwrap();
}

#[test]
fn a_closed_store_is_counted_and_left_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path().join("store");
    filled(&dir);
    let before = state(&dir);
    let verified = verify(&dir).unwrap();
    assert!(state(&dir) == before, "looking changed something");
    let report = &verified.report;
    assert_eq!((report.verdict, report.checkpoint_lsn, report.checkpoint_keys), (Verdict::Clean, 50, 50));
    assert_eq!((verified.first_lsn, report.last_lsn, verified.records), (51, 80, 30));
    assert_eq!((verified.keys, verified.value_bytes, verified.record_bytes), (80, 8000, 30 * 134));
    assert_eq!((verified.refused, verified.bad, verified.is_open), (None, None, false));
    let len = |name: &str| Some(fs::metadata(dir.join(name)).unwrap().len());
    assert_eq!(verified.files.log, len("wal.log"));
    assert_eq!((verified.files.next, verified.files.checkpoint), (None, len("checkpoint.dat")));
}

#[test]
fn damage_is_named_by_file_and_offset() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path().join("store");
    filled(&dir);
    let flip = |name: &str, at: usize| {
        let mut bytes = fs::read(dir.join(name)).unwrap();
        bytes[at] ^= 1;
        fs::write(dir.join(name), bytes).unwrap();
    };
    flip("wal.log", 5 * 134 + 60);
    let before = state(&dir);
    let verified = verify(&dir).unwrap();
    assert!(state(&dir) == before, "looking changed something");
    let bad = verified.bad.unwrap();
    assert_eq!((bad.path, bad.offset, bad.lsn), (dir.join("wal.log"), 5 * 134, 56));
    let report = verified.report;
    assert_eq!((report.verdict, report.last_lsn, report.records_behind), (Verdict::Damaged, 55, 24));
    assert_eq!(report.bytes_quarantined, 25 * 134);
    flip("checkpoint.dat", 100);
    let verified = verify(&dir).unwrap();
    let bad = verified.bad.unwrap();
    assert_eq!((bad.path, bad.offset), (dir.join("checkpoint.dat"), 64), "the block, not the byte");
    assert_eq!(verified.refused.unwrap().kind(), ErrorKind::Corrupt);
    assert_eq!((verified.first_lsn, verified.records, verified.report.last_lsn), (51, 5, 55));
    assert_eq!(verify(dir.join("nowhere")).unwrap_err().kind(), ErrorKind::Io);
    fs::create_dir(dir.join("empty")).unwrap();
    assert_eq!(verify(dir.join("empty")).unwrap_err().kind(), ErrorKind::Io);
    assert!(fs::read_dir(dir.join("empty")).unwrap().next().is_none(), "nothing is made");
}

#[test]
fn an_open_store_is_found_clean_while_it_is_written_and_makes_checkpoints() {
    for sync in [SyncMode::Always, SyncMode::Interval, SyncMode::None] {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path().join("store");
        let options = Options { sync, checkpoint_wal_bytes: Size::Bytes(200_000), ..Options::default() };
        let store = Store::open(&dir, &options).unwrap();
        let stop = AtomicBool::new(false);
        let looks = thread::scope(|scope| {
            for writer in 0..3u8 {
                let (store, stop) = (&store, &stop);
                scope.spawn(move || {
                    for round in 0..u32::MAX {
                        if stop.load(Ordering::Relaxed) {
                            return;
                        }
                        store.set(&[writer, round as u8], &[7; 300]).unwrap();
                    }
                });
            }
            let mut looks = Vec::new();
            while looks.len() < 15 || (store.stats().checkpoints < 3 && looks.len() < 1000) {
                looks.push((store.stats().checkpoint_lsn, verify(&dir)));
            }
            stop.store(true, Ordering::Relaxed);
            looks
        });
        let mut last = 0;
        for (checkpoint_lsn, verified) in looks {
            let verified = verified.unwrap();
            assert!(verified.is_open, "{sync:?}");
            assert_eq!((verified.report.verdict, &verified.bad, &verified.refused), (Verdict::Clean, &None, &None));
            let (report, at_least) = (&verified.report, (checkpoint_lsn, last));
            assert!(
                report.checkpoint_lsn >= checkpoint_lsn && report.last_lsn >= last,
                "{sync:?} {at_least:?} {report:?}"
            );
            last = verified.report.last_lsn;
        }
        store.close().unwrap();
        assert!(!verify(&dir).unwrap().is_open);
    }
}
