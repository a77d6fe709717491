//! The change feed: every durable record, in order, each once, whatever checkpoints do to the log.

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use crate::support::{Contents, DIR, contents, open};
use kvwal::format::{Lsn, Op, Record};
use kvwal::vfs::sim::SimDisk;
use kvwal::wal::Follower;
use kvwal::{Batch, ErrorKind, Next, Options, Size, Store, SyncMode, Tail};

const MODES: [SyncMode; 3] = [SyncMode::Always, SyncMode::Interval, SyncMode::None];
const AT_ONCE: Option<Duration> = Some(Duration::ZERO);
/// Longer than anything takes.
const LONG: Option<Duration> = Some(Duration::from_secs(60));

fn apply(contents: &mut Contents, record: &Record<'_>) {
    match record.op {
        Op::Delete => contents.remove(record.key),
        _ => contents.insert(record.key.to_vec(), record.value.to_vec()),
    };
}

/// LSNs of what a feed has now, up to its end, or the checkpoint where it lags.
fn read_all(mut next: impl FnMut() -> (Option<Lsn>, Option<Lsn>)) -> (Vec<Lsn>, Option<Lsn>) {
    let mut lsns = Vec::new();
    loop {
        match next() {
            (Some(lsn), _) => lsns.push(lsn),
            (None, lagged) => return (lsns, lagged),
        }
    }
}

fn step(next: Next<'_>) -> (Option<Lsn>, Option<Lsn>) {
    match next {
        Next::Record(record) => (Some(record.lsn), None),
        Next::Nothing => (None, None),
        Next::Lagged(lsn) => (None, Some(lsn)),
    }
}

fn drain(tail: &mut Tail) -> (Vec<Lsn>, Option<Lsn>) {
    read_all(|| step(tail.next(AT_ONCE).unwrap()))
}

fn follow(follower: &mut Follower) -> (Vec<Lsn>, Option<Lsn>) {
    read_all(|| step(follower.next(AT_ONCE).unwrap()))
}

fn lsns(range: std::ops::RangeInclusive<Lsn>) -> Vec<Lsn> {
    range.collect()
}

/// How far writers may be ahead of a feed, so that a test is not about how fast it reads.
const AHEAD: u64 = 2000;

/// Batches of three and single changes, until they are stopped, not too far ahead of what was `seen`.
fn write_until(stop: &AtomicBool, seen: &AtomicU64, store: &Store, writer: u8) {
    for round in 0..u32::MAX {
        while store.stats().last_lsn > seen.load(Ordering::Relaxed) + AHEAD && !stop.load(Ordering::Relaxed) {
            thread::sleep(Duration::from_millis(1));
        }
        if stop.load(Ordering::Relaxed) {
            return;
        }
        let mut batch = Batch::new();
        batch.set(&[writer, round as u8], &round.to_be_bytes()).unwrap();
        batch.set(&[writer], &vec![writer; round as usize % 900]).unwrap();
        batch.del(&[writer, round as u8 / 2]).unwrap();
        store.write(&batch).unwrap();
        store.set(&[writer, round as u8, 0], b"alone").unwrap();
    }
}

/// Follows `store` until `up_to` says how far, and checks each record; opens the feed anew now and then, and has no checkpoint
/// made (`gate`) until the new one has a log.
fn check_feed(store: &Store, seen: &AtomicU64, up_to: &AtomicU64, gate: &Mutex<()>) -> Contents {
    let mut contents = Contents::new();
    let (mut tail, mut last, mut in_batch, mut gated) = (store.tail(1).unwrap(), 0, false, None);
    while last < up_to.load(Ordering::Relaxed) {
        if last % 1000 == 999 && gated.is_none() {
            gated = Some(gate.lock().unwrap());
            // Otherwise it is in a log that was retired, which a new one would not find.
            if last >= store.stats().checkpoint_lsn {
                tail = store.tail(last + 1).unwrap();
            }
        }
        // Not the whole of a batch, if the next record were missing.
        let timeout = if in_batch { AT_ONCE } else { Some(Duration::from_millis(20)) };
        match tail.next(timeout).unwrap() {
            Next::Record(record) => {
                assert_eq!(record.lsn, last + 1, "each once, in order");
                assert!(record.lsn % 16 > 0 || record.lsn <= store.stats().durable_lsn);
                apply(&mut contents, &record);
                (last, in_batch, gated) = (record.lsn, record.more, None);
                seen.fetch_max(last, Ordering::Relaxed);
            }
            Next::Nothing => {
                assert!(!in_batch, "a part of a batch before {last}");
                store.sync().unwrap();
            }
            Next::Lagged(lsn) => panic!("lagged at {last}, behind {lsn}"),
        }
    }
    contents
}

/// Stops the writers also when a check fails.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn nothing_is_lost_or_repeated_while_threads_write_and_checkpoints_follow_each_other() {
    for sync in MODES {
        let dir = tempfile::tempdir().unwrap();
        let options = Options { sync, sync_interval_ms: 5, checkpoint_wal_bytes: Size::Never, ..Options::default() };
        let store = Store::open(dir.path().join("store"), &options).unwrap();
        let (stop, gate) = (AtomicBool::new(false), Mutex::new(()));
        let (seen, up_to) = (AtomicU64::new(0), AtomicU64::new(u64::MAX));
        let copy = thread::scope(|scope| {
            let stopping = Stop(&stop);
            let writers = (0..4).map(|writer| (&store, &stop, &seen, writer));
            let writers: Vec<_> = writers
                .map(|(store, stop, seen, writer)| scope.spawn(move || write_until(stop, seen, store, writer)))
                .collect();
            let feed = scope.spawn(|| check_feed(&store, &seen, &up_to, &gate));
            // As fast as the feed can follow: it has begun with the log that is going to be retired.
            let began = Instant::now();
            while store.stats().checkpoints < 20 || began.elapsed() < Duration::from_secs(1) {
                let gated = gate.lock().unwrap();
                if seen.load(Ordering::Relaxed) > store.stats().checkpoint_lsn {
                    store.checkpoint().unwrap();
                }
                drop(gated);
                if feed.is_finished() {
                    break;
                }
                thread::yield_now();
            }
            drop(stopping);
            writers.into_iter().for_each(|writer| writer.join().unwrap());
            store.sync().unwrap();
            up_to.store(store.stats().last_lsn, Ordering::Relaxed);
            feed.join().unwrap()
        });
        assert!(copy == contents(&store), "{sync:?}");
        store.close().unwrap();
    }
}

/// Some changes that take more than is read at once, so that a feed that has begun has not read all of them.
fn write_some(store: &Store, count: u64) {
    let value = vec![7; 100_000];
    (0..count).for_each(|key| store.set(&key.to_be_bytes(), &value).unwrap());
}

#[test]
fn checkpoints_at_every_step() {
    const LAST: u64 = 8;
    for first in 0..=LAST {
        for second in first..=LAST {
            for taken in 0..=first {
                let disk = SimDisk::new(1);
                let store = open(&disk).unwrap();
                let mut tail = store.tail(1).unwrap();
                write_some(&store, first);
                for lsn in 1..=taken {
                    assert_eq!(step(tail.next(AT_ONCE).unwrap()), (Some(lsn), None));
                }
                store.checkpoint().unwrap();
                write_some(&store, second - first);
                store.checkpoint().unwrap();
                write_some(&store, LAST - second);
                let context = format!("{taken} of {first}, {second}");
                let (rest, lagged) = drain(&mut tail);
                let end = taken + rest.len() as u64;
                assert_eq!(rest, lsns(taken + 1..=end), "{context}");
                match lagged {
                    // The log that it had is read to its end, though it has been retired.
                    Some(lsn) => {
                        assert!(
                            lsn == second && (end == first || taken == 0) && end < second,
                            "{context}: {lsn}, {end}"
                        );
                        assert_eq!(drain(&mut tail), (vec![], Some(lsn)), "{context}: and it stays so");
                        let mut again = store.tail(lsn + 1).unwrap();
                        assert_eq!(drain(&mut again), (lsns(second + 1..=LAST), None), "{context}");
                    }
                    None => assert_eq!(end, LAST, "{context}"),
                }
                store.close().unwrap();
            }
        }
    }
}

#[test]
fn a_feed_that_begins_in_the_middle_of_a_log_or_of_a_batch() {
    let disk = SimDisk::new(1);
    let store = open(&disk).unwrap();
    let mut batch = Batch::new();
    (0..5u8).for_each(|key| batch.set(&[key], b"value").unwrap());
    for _ in 0..4 {
        store.write(&batch).unwrap();
    }
    for from in 0..=21 {
        let mut tail = store.tail(from).unwrap();
        assert_eq!(drain(&mut tail), (lsns(from.max(1)..=20), None));
    }
    let error = store.tail(22).err().expect("it has no LSN 21");
    assert_eq!(error.kind(), ErrorKind::Invalid);
    store.close().unwrap();
}

#[test]
fn what_is_not_durable_is_not_delivered_and_what_was_survives_a_crash() {
    for sync in [SyncMode::Always, SyncMode::None] {
        for seed in 0..5 {
            let disk = SimDisk::new(seed);
            let options = Options { sync, checkpoint_wal_bytes: Size::Never, ..Options::default() };
            let store = Store::open_on(Arc::new(disk.clone()), DIR, &options).unwrap();
            let mut tail = store.tail(1).unwrap();
            let mut delivered = 0;
            for step in 1..=30u64 {
                store.set(&step.to_be_bytes(), &[1; 200]).unwrap();
                match step % 10 {
                    4 => store.sync().unwrap(),
                    7 => store.checkpoint().unwrap(),
                    _ => {}
                }
                // Where it was synced the feed comes a record later, and must stop before that.
                if step % 10 != 4 {
                    delivered += drain(&mut tail).0.len() as u64;
                    assert_eq!(delivered, store.stats().durable_lsn);
                    assert!(sync == SyncMode::Always || (step % 10 == 7) == (delivered == step));
                }
                let crashed = disk.fork();
                crashed.crash(seed);
                let reopened = Store::open_on(Arc::new(crashed), DIR, &options).unwrap();
                assert!(reopened.stats().last_lsn >= delivered, "{sync:?}, seed {seed}, step {step}");
            }
            store.close().unwrap();
        }
    }
}

#[test]
fn one_who_waits_is_woken_and_one_who_does_not_costs_nothing() {
    for sync in MODES {
        let dir = tempfile::tempdir().unwrap();
        let options = Options { sync, sync_interval_ms: 5, ..Options::default() };
        let store = Store::open(dir.path().join("store"), &options).unwrap();
        let mut tail = store.tail(1).unwrap();
        let began = Instant::now();
        assert_eq!(tail.next(Some(Duration::from_millis(30))).unwrap(), Next::Nothing);
        assert!(began.elapsed() >= Duration::from_millis(30), "it waits");
        thread::scope(|scope| {
            let feed = scope.spawn(|| (0..3).map(|_| step(tail.next(LONG).unwrap())).collect::<Vec<_>>());
            for key in 0..3u8 {
                thread::sleep(Duration::from_millis(20));
                store.set(&[key], b"").unwrap();
                if sync == SyncMode::None {
                    store.sync().unwrap();
                }
            }
            let seen = feed.join().unwrap();
            assert_eq!(seen, (1..=3).map(|lsn| (Some(lsn), None)).collect::<Vec<_>>());
        });
        assert!(began.elapsed() < LONG.unwrap() / 2, "{sync:?}: it was not woken");
        store.close().unwrap();
        assert_eq!(tail.next(LONG).unwrap_err().kind(), ErrorKind::Invalid, "the store is closed");
    }
}

/// How many files of this process have lost their names below `dir`.
fn retired_files(dir: &Path) -> usize {
    let links = fs::read_dir("/proc/self/fd").unwrap().filter_map(|fd| fs::read_link(fd.unwrap().path()).ok());
    links.filter(|link| link.starts_with(dir) && link.to_string_lossy().ends_with("(deleted)")).count()
}

#[test]
fn a_feed_that_waits_keeps_no_log_that_was_retired() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path().join("store"), &Options::default()).unwrap();
    let mut tail = store.tail(1).unwrap();
    store.set(b"key", b"value").unwrap();
    assert_eq!(drain(&mut tail).0, [1]);
    thread::scope(|scope| {
        let waiting = scope.spawn(|| step(tail.next(LONG).unwrap()));
        store.checkpoint().unwrap();
        let began = Instant::now();
        while retired_files(dir.path()) > 0 {
            assert!(began.elapsed() < Duration::from_secs(20), "it is kept");
            thread::sleep(Duration::from_millis(1));
        }
        store.set(b"key", b"more").unwrap();
        assert_eq!(waiting.join().unwrap(), (Some(2), None));
    });
    store.close().unwrap();
}

#[test]
fn a_follower_delivers_what_is_proven_and_the_rest_when_nobody_has_the_store_open() {
    let disk = SimDisk::new(1);
    let store = open(&disk).unwrap();
    let mut follower = Follower::open_on(&disk, Path::new(DIR), 1).unwrap();
    let set = |count: u8| (0..count).for_each(|key| store.set(&[key], &[key; 50]).unwrap());
    set(5);
    assert_eq!(follow(&mut follower), (lsns(1..=4), None), "each proves the one before it");
    set(1);
    assert_eq!(follow(&mut follower), (vec![5], None));
    store.checkpoint().unwrap();
    assert_eq!(follow(&mut follower), (vec![6], None), "the checkpoint proves it");
    set(3);
    store.checkpoint().unwrap();
    set(3);
    store.checkpoint().unwrap();
    set(2);
    assert_eq!(follow(&mut follower), (vec![], Some(12)), "it has kept no log");
    let mut follower = Follower::open_on(&disk, Path::new(DIR), 13).unwrap();
    assert_eq!(follow(&mut follower), (vec![13], None));
    store.close().unwrap();
    assert_eq!(follow(&mut follower), (vec![14], None), "nobody writes any more");
    assert_eq!(Follower::open_on(&disk, Path::new("/"), 1).err().unwrap().kind(), ErrorKind::Io);
}

#[test]
fn a_follower_sees_every_record_while_threads_write_and_checkpoints_follow_each_other() {
    for sync in MODES {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path().join("store");
        let options = Options { sync, sync_interval_ms: 5, checkpoint_wal_bytes: Size::Never, ..Options::default() };
        let store = Store::open(&dir, &options).unwrap();
        let (stop, seen) = (AtomicBool::new(false), AtomicU64::new(0));
        thread::scope(|scope| {
            let stopping = Stop(&stop);
            let writers = (0..3).map(|writer| (&store, &stop, &seen, writer));
            let writers: Vec<_> = writers
                .map(|(store, stop, seen, writer)| scope.spawn(move || write_until(stop, seen, store, writer)))
                .collect();
            let feed = scope.spawn(|| {
                let mut follower = Follower::open(&dir, 1).unwrap();
                let (mut copy, mut last) = (Contents::new(), 0);
                loop {
                    match follower.next(LONG).unwrap() {
                        Next::Record(record) if record.key == b"end" => return copy,
                        Next::Record(record) => {
                            assert_eq!(record.lsn, last + 1);
                            last = record.lsn;
                            apply(&mut copy, &record);
                            seen.fetch_max(last, Ordering::Relaxed);
                        }
                        other => panic!("{other:?} behind {last}"),
                    }
                }
            });
            for _ in 0..10 {
                let reached = store.stats().last_lsn + 50;
                let is_behind = || seen.load(Ordering::Relaxed) <= store.stats().checkpoint_lsn;
                while (is_behind() || store.stats().last_lsn < reached) && !feed.is_finished() {
                    thread::sleep(Duration::from_millis(1));
                    // In the mode that never does it by itself, nothing else proves anything.
                    store.sync().unwrap();
                    store.set(b"proof", b"").unwrap();
                }
                store.checkpoint().unwrap();
            }
            drop(stopping);
            writers.into_iter().for_each(|writer| writer.join().unwrap());
            let expected = contents(&store);
            // The second proves the first durable.
            for key in [b"end", b"..."] {
                store.set(key, b"").unwrap();
                store.sync().unwrap();
            }
            assert!(feed.join().unwrap() == expected, "{sync:?}");
        });
        store.close().unwrap();
    }
}
