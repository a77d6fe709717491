//! `KV_SYNC_INTERVAL` on a simulated disk: records wait in memory, and still every crash leaves an exact prefix, with
//! everything in it that was there when a sync returned.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::support::{DIR, contents};
use kvwal::format;
use kvwal::vfs::sim::{Call, Direct, Fault, SimDisk};
use kvwal::{ErrorKind, Options, Size, Store, SyncMode};

fn options(interval_ms: u64) -> Options {
    let (sync, checkpoint_wal_bytes) = (SyncMode::Interval, Size::Never);
    Options { sync, sync_interval_ms: interval_ms, checkpoint_wal_bytes, ..Options::default() }
}

fn open(disk: &SimDisk, interval_ms: u64) -> Result<Store, kvwal::Error> {
    Store::open_on(Arc::new(disk.clone()), DIR, &options(interval_ms))
}

/// Sets keys 0, 1, 2, … in order until a call fails, with syncs and checkpoints in between. Returns how many were set,
/// and how many of them when the last sync or checkpoint that succeeded began.
fn run(disk: &SimDisk, steps: u32, value_len: usize, interval_ms: u64) -> (u32, u32) {
    let Ok(store) = open(disk, interval_ms) else { return (0, 0) };
    let mut synced = 0;
    for number in 0..steps {
        if store.set(&number.to_be_bytes(), &vec![number as u8; value_len]).is_err() {
            // It may have got into the log all the same.
            return (number + 1, synced);
        }
        let result = match number % 10 {
            4 => store.sync(),
            9 if number % 20 == 19 => store.checkpoint(),
            _ => continue,
        };
        if result.is_ok() {
            synced = number + 1;
        }
    }
    if store.close().is_ok() {
        synced = steps;
    }
    (steps, synced)
}

/// The store holds the keys 0 to n-1, for an n between the two.
fn check_prefix(disk: &SimDisk, (set, synced): (u32, u32), value_len: usize, context: &str) {
    let store = open(disk, 1000).unwrap_or_else(|error| panic!("{context}: {error}"));
    assert_ne!(store.recovery_report().verdict, kvwal::Verdict::Damaged, "{context}");
    let found = contents(&store);
    let n = found.len() as u32;
    assert!(found.keys().eq((0..n).map(u32::to_be_bytes).map(Vec::from).collect::<Vec<_>>().iter()), "{context}");
    assert!(found.iter().all(|(key, value)| *value == vec![key[3]; value_len]), "{context}");
    assert!((synced..=set).contains(&n), "{context}: {n} keys, {set} were set, {synced} synced");
    store.set(&n.to_be_bytes(), &vec![n as u8; value_len]).unwrap();
    store.close().unwrap();
    assert_eq!(open(disk, 1000).unwrap().stats().keys, u64::from(n) + 1, "{context}: after going on");
}

#[test]
fn a_kill_or_power_cut_at_any_call_leaves_a_prefix() {
    for call in 0..70 {
        for (interval_ms, value_len) in [(1, 300), (1000, 300)] {
            let disk = SimDisk::new(call);
            disk.power_off_at(call);
            let written = run(&disk, 50, value_len, interval_ms);
            let context = format!("call {call}, values of {value_len}, every {interval_ms} ms");
            let killed = disk.fork();
            killed.kill();
            check_prefix(&killed, written, value_len, &format!("{context}: killed"));
            for seed in 0..2 {
                let disk = disk.fork();
                disk.crash(seed);
                check_prefix(&disk, written, value_len, &format!("{context}: power cut, seed {seed}"));
            }
        }
    }
}

#[test]
fn any_call_may_fail() {
    for (call, errno) in [(Call::Write, libc::ENOSPC), (Call::Write, libc::EIO), (Call::Sync, libc::EIO)] {
        for after in 0..12 {
            for times in [1, 5, u64::MAX] {
                let disk = SimDisk::new(after);
                disk.fail(Fault { call: Some(call), after, times, errno, short_first: after % 2 == 0 });
                let written = run(&disk, 50, 3000, 1);
                disk.heal();
                disk.crash(after);
                check_prefix(&disk, written, 3000, &format!("{call:?} {after} failed with {errno}, {times} times"));
            }
        }
    }
}

#[test]
fn a_full_disk_heals_and_nothing_acknowledged_is_dropped() {
    for direct in [Direct::Works, Direct::NotOffered, Direct::Refused, Direct::RefusedAfter(3)] {
        let disk = SimDisk::new(7);
        disk.set_direct(direct);
        let store = open(&disk, 60_000).unwrap();
        let mut set = Vec::new();
        let mut refused = 0;
        for number in 0..400u32 {
            if number == 150 {
                disk.fail(Fault {
                    call: Some(Call::Write),
                    after: 0,
                    times: u64::MAX,
                    errno: libc::ENOSPC,
                    short_first: true,
                });
            }
            if number == 300 {
                disk.heal();
            }
            match store.set(&number.to_be_bytes(), &[number as u8; 30_000]) {
                Ok(()) => set.push(number.to_be_bytes().to_vec()),
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::NoSpace);
                    refused += 1;
                }
            }
        }
        assert!(refused > 10, "the disk was full: {refused}");
        assert!(contents(&store).keys().eq(set.iter()));
        store.sync().unwrap();
        disk.crash(1);
        drop(store);
        assert!(contents(&open(&disk, 1000).unwrap()).keys().eq(set.iter()), "{direct:?}");
    }
}

#[test]
fn long_groups_go_past_the_buffer() {
    let disk = SimDisk::new(3);
    let store = open(&disk, 60_000).unwrap();
    for number in 0..20u32 {
        let len = if number % 3 == 0 { 3 << 20 } else { 70_000 };
        store.set(&number.to_be_bytes(), &vec![number as u8; len]).unwrap();
    }
    // The buffer has 2 MiB, and up to a page of them is what is in the file already. A record is 37 bytes longer than these.
    for (number, len) in (20u32..).zip([(2 << 20) - 4096, (2 << 20) - 4095, 2 << 20, (2 << 20) + 1]) {
        store.set(&number.to_be_bytes(), &vec![number as u8; len - 37]).unwrap();
    }
    let before = contents(&store);
    store.sync().unwrap();
    disk.crash(1);
    drop(store);
    assert_eq!(contents(&open(&disk, 1000).unwrap()), before);
}

#[test]
fn a_short_write_past_the_page_cache_is_finished_through_it() {
    // It may end anywhere, also in the zeros that fill up the last block.
    for seed in 0..200 {
        let disk = SimDisk::new(seed);
        let store = open(&disk, 60_000).unwrap();
        store.set(b"key", &[7; 140_000]).unwrap();
        disk.fail(Fault { call: Some(Call::Write), after: 0, times: 1, errno: 0, short_first: false });
        store.sync().unwrap();
        store.close().unwrap();
        assert_eq!(disk.contents(format!("{DIR}/wal.log")).unwrap().len(), 140_036, "seed {seed}");
        assert_eq!(open(&disk, 1000).unwrap().get(b"key").unwrap().unwrap(), [7; 140_000], "seed {seed}");
    }
}

#[test]
fn a_disk_that_fails_past_the_page_cache_is_not_taken_for_one_that_cannot_do_that() {
    let disk = SimDisk::new(1);
    let store = open(&disk, 60_000).unwrap();
    store.set(b"key", &[7; 140_000]).unwrap();
    disk.fail(Fault { call: Some(Call::Write), after: 0, times: 1, errno: libc::EIO, short_first: false });
    assert_eq!(store.sync().unwrap_err().kind(), ErrorKind::Io);
    store.sync().unwrap();
    disk.crash(1);
    drop(store);
    assert_eq!(open(&disk, 1000).unwrap().get(b"key").unwrap().unwrap(), [7; 140_000]);
}

#[test]
fn many_writers_leave_each_its_own_order() {
    let disk = SimDisk::new(5);
    let store = open(&disk, 2).unwrap();
    std::thread::scope(|scope| {
        for writer in 0..4u8 {
            let store = &store;
            scope.spawn(move || {
                for number in 0..500u32 {
                    let key = [&[writer][..], &number.to_be_bytes()].concat();
                    store.set(&key, &[writer; 2000]).unwrap();
                }
            });
        }
    });
    disk.crash(9);
    drop(store);
    let found = contents(&open(&disk, 1000).unwrap());
    for writer in 0..4u8 {
        let numbers: Vec<_> = found.keys().filter(|key| key[0] == writer).map(|key| key[1..].to_vec()).collect();
        assert!(numbers.iter().zip(0u32..).all(|(found, number)| *found == number.to_be_bytes()), "a prefix for each");
    }
}

#[test]
fn a_single_write_reaches_the_system_and_the_disk_by_itself() {
    let reaches = |interval_ms: u64, end: fn(&SimDisk)| {
        let disk = SimDisk::new(4);
        let store = open(&disk, interval_ms).unwrap();
        store.set(b"key", b"value").unwrap();
        let began = Instant::now();
        let is_there = || {
            let disk = disk.fork();
            end(&disk);
            open(&disk, 1000).unwrap().stats().keys == 1
        };
        while !is_there() {
            assert!(began.elapsed() < Duration::from_secs(10), "it stays in memory, at {interval_ms} ms");
            std::thread::sleep(Duration::from_millis(1));
        }
    };
    reaches(60_000, SimDisk::kill);
    reaches(1, |disk| disk.crash(1));
}

#[test]
fn a_sync_is_noted_in_the_records_behind_it_and_not_repeated() {
    for sync in [SyncMode::Interval, SyncMode::None] {
        let disk = SimDisk::new(4);
        let options = Options { sync, ..options(60_000) };
        let store = Store::open_on(Arc::new(disk.clone()), DIR, &options).unwrap();
        for number in 0..5u8 {
            store.set(&[number], b"value").unwrap();
            if number == 2 {
                store.sync().unwrap();
                let after_one = store.stats();
                assert_eq!((after_one.last_lsn, after_one.durable_lsn), (3, 3), "{sync:?}");
                store.sync().unwrap();
                assert_eq!(store.stats().syncs, after_one.syncs, "{sync:?}");
            }
        }
        store.close().unwrap();
        let log = disk.contents(format!("{DIR}/wal.log")).unwrap();
        let durable: Vec<_> = log.chunks(39).map(|record| format::decode(record).unwrap().durable_lsn).collect();
        assert_eq!(durable, [0, 0, 0, 3, 3], "{sync:?}");
    }
}

#[test]
fn closing_ends_the_thread_whatever_it_is_doing() {
    // It sleeps a millisecond before it hands over, and less than one before it syncs: so closing falls into each step.
    let sleep = |micros| std::thread::sleep(Duration::from_micros(micros));
    for round in 0..400 {
        let store = open(&SimDisk::new(round), 1).unwrap();
        store.set(b"key", b"value").unwrap();
        sleep(1000 + round % 20 * 50);
        store.set(b"key", b"value").unwrap();
        sleep(round / 20 * 50);
        store.close().unwrap();
    }
}

/// What the system took of a record before the disk was full is cut off when the store gives up, so that the log ends with a
/// record, and opening it needs no room.
#[test]
fn a_store_that_is_closed_on_a_full_disk_leaves_whole_records() {
    for direct in [Direct::Works, Direct::NotOffered] {
        let disk = SimDisk::new(3);
        disk.set_direct(direct);
        let store = open(&disk, 60_000).unwrap();
        for number in 0..3u32 {
            store.set(&number.to_be_bytes(), &[1; 20_000]).unwrap();
        }
        store.sync().unwrap();
        for number in 3..6u32 {
            store.set(&number.to_be_bytes(), &[2; 20_000]).unwrap();
        }
        // A part fits, then nothing.
        disk.fail(Fault { call: Some(Call::Write), after: 0, times: u64::MAX, errno: libc::ENOSPC, short_first: true });
        assert_eq!(store.close().unwrap_err().kind(), ErrorKind::NoSpace);
        let log = disk.contents(format!("{DIR}/wal.log")).unwrap();
        let mut rest = &log[..];
        while let Ok(record) = format::decode(rest) {
            rest = &rest[record.encoded_len()..];
        }
        assert!(rest.is_empty(), "{direct:?}: {} bytes behind the last record", rest.len());
        // So there is nothing to be saved, for which there would be no room.
        disk.heal();
        let store = open(&disk, 60_000).unwrap();
        let report = store.recovery_report();
        assert_eq!((report.verdict, report.bytes_quarantined), (kvwal::Verdict::Clean, 0));
        assert!(contents(&store).len() >= 3);
        store.close().unwrap();
    }
}
