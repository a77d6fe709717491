//! Calls that fail, once or for ever, on a simulated disk.

use crate::support::{self, DIR, Model, Step, contents, open, workload};
use kvwal::vfs::sim::{Call, Fault, SimDisk};
use kvwal::{Error, ErrorKind};

fn opened(seed: u64) -> (SimDisk, Model, kvwal::Store) {
    let disk = SimDisk::new(seed);
    let store = open(&disk).unwrap();
    let mut model = Model::default();
    for key in 0..5 {
        model.change(&store, usize::from(key), &Step::Set(key, 50)).unwrap();
    }
    (disk, model, store)
}

fn fail_next(disk: &SimDisk, call: Call, times: u64, errno: i32) {
    disk.fail(Fault { call: Some(call), after: 0, times, errno, short_first: false });
}

#[test]
fn a_failed_sync_is_final() {
    let (disk, mut model, store) = opened(1);
    fail_next(&disk, Call::Sync, 1, libc::EIO);
    let before = contents(&store);
    let failed = model.change(&store, 10, &Step::Set(1, 60)).unwrap_err();
    assert_eq!(failed.kind(), ErrorKind::Failed);
    assert_eq!(contents(&store), before, "what is not durable is not visible");
    let calls = disk.calls();
    for _ in 0..3 {
        assert_eq!(store.set(b"more", b"").unwrap_err().kind(), ErrorKind::Failed);
        assert_eq!(store.del(b"not there").unwrap_err().kind(), ErrorKind::Failed);
        assert_eq!(store.write(&kvwal::Batch::new()).unwrap_err().kind(), ErrorKind::Failed);
    }
    assert_eq!(store.checkpoint().unwrap_err().kind(), ErrorKind::Failed);
    assert_eq!(store.sync().unwrap_err().kind(), ErrorKind::Failed);
    assert_eq!(disk.calls(), calls, "a failed handle touches no file");
    assert_eq!(store.get(&[1]).unwrap().unwrap(), vec![1; 50], "reads go on");
    assert_eq!(store.close().unwrap_err().kind(), ErrorKind::Failed);
    disk.crash(3);
    model.check_and_go_on(&disk, "after a failed sync");
}

#[test]
fn a_tail_that_only_the_page_cache_holds_is_made_durable_before_anything_is_appended() {
    // After a failed sync the page cache is right and clean, and the disk is not. The next open reads the page cache;
    // what it acknowledges must survive a power cut all the same.
    for seed in 0..50 {
        let (disk, mut model, store) = opened(seed);
        fail_next(&disk, Call::Sync, 1, libc::EIO);
        model.change(&store, 10, &Step::Set(1, 600)).unwrap_err();
        drop(store);
        let store = model.check(&disk, "reopened after a failed sync");
        model.change(&store, 11, &Step::Set(2, 70)).unwrap();
        disk.crash(seed);
        drop(store);
        model.check_and_go_on(&disk, &format!("power cut after that, seed {seed}"));
    }
}

#[test]
fn a_full_disk_heals() {
    for errno in [libc::ENOSPC, libc::EDQUOT, libc::EFBIG] {
        let (disk, mut model, store) = opened(2);
        for step in [Step::Set(1, 5000), Step::Batch(vec![(1, Some(20)), (2, Some(3000))]), Step::Del(3)] {
            fail_next(&disk, Call::Write, 2, errno);
            let error = model.change(&store, 10, &step).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::NoSpace, "{error}");
            model.forget_failed();
            disk.heal();
            assert_eq!(contents(&store), *model.newest());
            model.change(&store, 11, &step).unwrap();
        }
        store.close().unwrap();
        model.check_and_go_on(&disk, "after a full disk");
    }
}

#[test]
fn what_a_full_disk_took_of_a_record_is_given_back() {
    let (disk, mut model, store) = opened(9);
    let log = format!("{DIR}/wal.log");
    let end = store.stats().wal_bytes as usize;
    // The part that fits is written, then comes the error; so it is with the zeros ahead, and without.
    for step in [Step::Set(1, 5000), Step::Set(1, 500)] {
        disk.fail(Fault { call: Some(Call::Write), after: 0, times: 4, errno: libc::ENOSPC, short_first: true });
        assert_eq!(model.change(&store, 10, &step).unwrap_err().kind(), ErrorKind::NoSpace);
        model.forget_failed();
        disk.heal();
        assert_eq!(disk.contents(&log).unwrap().len(), end);
    }
    store.close().unwrap();
    assert_eq!(disk.contents(&log).unwrap().len(), end);
    model.check_and_go_on(&disk, "after writes that were rolled back");
}

#[test]
fn no_room_for_the_zeros_ahead_is_room_enough_for_the_record() {
    let (disk, mut model, store) = opened(3);
    fail_next(&disk, Call::Write, 1, libc::ENOSPC);
    model.change(&store, 10, &Step::Set(1, 900)).unwrap();
    disk.crash(5);
    drop(store);
    model.check_and_go_on(&disk, "after ENOSPC for the zeros");
}

#[test]
fn only_for_want_of_room_for_zeros_is_a_write_tried_again() {
    for (len, errno, kind) in [
        (900, libc::EIO, ErrorKind::Io),
        // So long that it carries no zeros.
        (5000, libc::EIO, ErrorKind::Io),
        (5000, libc::ENOSPC, ErrorKind::NoSpace),
    ] {
        let (disk, mut model, store) = opened(11);
        fail_next(&disk, Call::Write, 1, errno);
        assert_eq!(model.change(&store, 10, &Step::Set(1, len)).unwrap_err().kind(), kind, "{len} bytes, {errno}");
        model.forget_failed();
        model.change(&store, 11, &Step::Set(2, 10)).unwrap();
        store.close().unwrap();
        model.check_and_go_on(&disk, "after a write that failed once");
    }
}

#[test]
fn a_write_that_cannot_be_rolled_back_is_final() {
    let (disk, mut model, store) = opened(4);
    disk.fail(Fault { call: None, after: 0, times: 4, errno: libc::EIO, short_first: false });
    assert_eq!(model.change(&store, 10, &Step::Set(1, 60)).unwrap_err().kind(), ErrorKind::Failed);
    disk.heal();
    assert_eq!(store.set(b"more", b"").unwrap_err().kind(), ErrorKind::Failed);
    drop(store);
    disk.crash(1);
    model.check_and_go_on(&disk, "after a write that could not be rolled back");
}

#[test]
fn short_and_interrupted_writes_are_finished() {
    for errno in [0, libc::EINTR] {
        let (disk, mut model, store) = opened(5);
        for number in 0..20 {
            fail_next(&disk, Call::Write, 1 + number as u64 % 3, errno);
            model.change(&store, number, &Step::Set(number as u8, 100 * number)).unwrap();
        }
        store.checkpoint().unwrap();
        store.close().unwrap();
        model.check_and_go_on(&disk, "after short writes");
    }
}

#[test]
fn a_read_error_is_not_the_end_of_the_log() {
    let (disk, model, store) = opened(6);
    store.checkpoint().unwrap();
    store.set(b"\xff", b"behind the checkpoint").unwrap();
    store.close().unwrap();
    let before = disk.all_files();
    let mut reads = 0;
    loop {
        disk.fail(Fault { call: Some(Call::Read), after: reads, times: 1, errno: libc::EIO, short_first: false });
        let opened = open(&disk);
        if !disk.heal() {
            opened.unwrap().close().unwrap();
            break;
        }
        // A read of LOCK is a read like any other.
        assert_eq!(opened.err().expect("a read failed").kind(), ErrorKind::Io);
        assert_eq!(disk.all_files(), before, "a failed open changes nothing");
        reads += 1;
    }
    assert!(reads >= 3, "checkpoint and log were read: {reads}");
    assert_eq!(open(&disk).unwrap().stats().keys, model.newest().len() as u64 + 1);
}

#[test]
fn a_checkpoint_without_room_changes_nothing() {
    let (disk, mut model, store) = opened(7);
    store.checkpoint().unwrap();
    model.change(&store, 10, &Step::Set(1, 5)).unwrap();
    let mut checkpoint = disk.contents(format!("{DIR}/checkpoint.dat"));
    for call in [Call::Open, Call::Write, Call::Sync, Call::Rename] {
        for after in 0..2 {
            disk.fail(Fault { call: Some(call), after, times: u64::MAX, errno: libc::ENOSPC, short_first: false });
            let result = store.checkpoint();
            if !disk.heal() {
                // Without a need for a new log there are fewer calls.
                result.unwrap();
                checkpoint = disk.contents(format!("{DIR}/checkpoint.dat"));
                continue;
            }
            assert_eq!(result.unwrap_err().kind(), ErrorKind::NoSpace, "{call:?} {after}");
            assert_eq!(disk.contents(format!("{DIR}/checkpoint.tmp")), None);
            if (call, after) == (Call::Rename, 1) {
                // The checkpoint itself was complete; only the log could not be retired.
                checkpoint = disk.contents(format!("{DIR}/checkpoint.dat"));
            }
            assert_eq!(disk.contents(format!("{DIR}/checkpoint.dat")), checkpoint);
            model.change(&store, 11, &Step::Set(2, 6)).unwrap();
            let mut logs = disk.all_files();
            logs.retain(|(path, _)| path.to_string_lossy().contains("wal."));
            assert!(logs.len() <= 2, "never more than two logs");
            let (disk, mut model) = (disk.fork(), model.clone());
            disk.crash(after);
            model.check_and_go_on(&disk, "power cut after a checkpoint without room");
        }
    }
    store.checkpoint().unwrap();
    store.close().unwrap();
    assert_eq!(disk.contents(format!("{DIR}/wal.next")), None, "the next checkpoint cleans up");
    model.check_and_go_on(&disk, "after checkpoints without room");
}

#[test]
fn a_log_that_could_not_be_retired_is_retired_by_the_next_checkpoint() {
    let (disk, mut model, store) = opened(10);
    // The first rename is that of the checkpoint, the second that of the log.
    disk.fail(Fault { call: Some(Call::Rename), after: 1, times: 1, errno: libc::EIO, short_first: false });
    assert_eq!(store.checkpoint().unwrap_err().kind(), ErrorKind::Io);
    assert!(disk.heal());
    for key in 0..5 {
        model.change(&store, 10 + key, &Step::Set(key as u8, 40)).unwrap();
    }
    disk.kill();
    drop(store);
    model.check_and_go_on(&disk, "with a checkpoint and two logs");
    for seed in 0..10 {
        let (disk, mut model) = (disk.fork(), model.clone());
        disk.crash(seed);
        model.check_and_go_on(&disk, "with a checkpoint and two logs, after a power cut");
    }
    let store = model.check(&disk, "with a checkpoint and two logs");
    store.checkpoint().unwrap();
    store.close().unwrap();
    assert_eq!(disk.contents(format!("{DIR}/wal.next")), None);
    model.check_and_go_on(&disk, "with one log again");
}

#[test]
fn a_failed_sync_of_the_directory_during_a_checkpoint_is_final() {
    for after in 0..3 {
        let (disk, mut model, store) = opened(8);
        disk.fail(Fault { call: Some(Call::SyncDir), after, times: 1, errno: libc::EIO, short_first: false });
        assert_eq!(store.checkpoint().unwrap_err().kind(), ErrorKind::Failed);
        assert_eq!(store.set(b"more", b"").unwrap_err().kind(), ErrorKind::Failed);
        assert_eq!(contents(&store), *model.newest(), "reads go on");
        drop(store);
        disk.crash(after);
        model.check_and_go_on(&disk, "after a failed sync of the directory");
    }
}

/// A write behind a checkpoint of which the last sync failed, then another checkpoint, in which the power fails.
fn goes_on_through_the_next_checkpoint(disk: &SimDisk, model: &mut Model, seed: u64) {
    let store = model.check(disk, "reopened");
    model.change(&store, 10, &Step::Set(1, 60)).unwrap();
    disk.keep_moments(1024, seed);
    store.checkpoint().unwrap();
    for (at, moment) in disk.take_moments().iter().enumerate() {
        for crash in 0..4 {
            model.clone().check(&moment.crashed(crash), &format!("call {at} of the next checkpoint, seed {seed}"));
        }
        model.clone().check(&moment.killed(seed), &format!("killed at call {at} of the next checkpoint, seed {seed}"));
    }
}

#[test]
fn a_log_whose_retiring_sync_failed_keeps_its_records_through_the_next_checkpoint() {
    for seed in 0..8 {
        let (disk, mut model, store) = opened(seed);
        disk.fail(Fault { call: Some(Call::SyncDir), after: 2, times: 1, errno: libc::EIO, short_first: false });
        assert_eq!(store.checkpoint().unwrap_err().kind(), ErrorKind::Failed);
        drop(store);
        disk.kill();
        goes_on_through_the_next_checkpoint(&disk, &mut model, seed);
    }
}

#[test]
fn a_log_that_was_killed_before_its_retiring_was_synced_keeps_its_records_through_the_next_checkpoint() {
    for seed in 0..8 {
        let (disk, mut model, store) = opened(seed);
        disk.keep_moments(1024, seed);
        store.checkpoint().unwrap();
        drop(store);
        let moments = disk.take_moments();
        let killed = moments.iter().map(|moment| moment.killed(seed)).find(|disk| {
            let has = |name: &str| disk.contents(format!("{DIR}/{name}")).is_some();
            has("checkpoint.dat") && !has("wal.next")
        });
        let disk = killed.expect("the log is retired last");
        fail_next(&disk, Call::SyncDir, 1, libc::EIO);
        assert_eq!(open(&disk).err().map(|error| error.kind()), Some(ErrorKind::Io));
        goes_on_through_the_next_checkpoint(&disk, &mut model, seed);
    }
}

#[test]
fn renewing_the_name_of_a_log_may_fail_at_any_call() {
    // A found log with a record is renamed there and back before the next checkpoint begins.
    for seed in 0..2 {
        for (call, after) in [(Call::Rename, 0), (Call::Rename, 1), (Call::SyncDir, 0), (Call::SyncDir, 1)] {
            let (disk, mut model, store) = opened(seed);
            store.close().unwrap();
            let store = model.check(&disk, "reopened");
            model.change(&store, 10, &Step::Set(1, 60)).unwrap();
            disk.fail(Fault { call: Some(call), after, times: 1, errno: libc::ENOSPC, short_first: false });
            // A renaming that failed may be tried again; a sync may not.
            let expected = if call == Call::Rename { ErrorKind::NoSpace } else { ErrorKind::Failed };
            assert_eq!(store.checkpoint().unwrap_err().kind(), expected, "{call:?} {after}");
            if call == Call::Rename {
                model.change(&store, 11, &Step::Set(2, 60)).unwrap();
                let (forked, model_then) = (disk.fork(), model.clone());
                store.checkpoint().unwrap();
                model.change(&store, 12, &Step::Set(3, 60)).unwrap();
                store.close().unwrap();
                model.check_and_go_on(&disk, "after another attempt");
                for seed in 0..4 {
                    let (disk, mut model) = (forked.fork(), model_then.clone());
                    disk.crash(seed);
                    goes_on_through_the_next_checkpoint(&disk, &mut model, seed);
                }
                continue;
            }
            drop(store);
            let killed = disk.fork();
            killed.kill();
            goes_on_through_the_next_checkpoint(&killed, &mut model.clone(), seed);
            disk.crash(seed);
            goes_on_through_the_next_checkpoint(&disk, &mut model, seed);
        }
    }
}

/// The kinds of error that a failing call may lead to.
fn is_documented(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Io | ErrorKind::NoSpace | ErrorKind::Failed)
}

#[test]
fn every_call_fails_once_and_for_ever() {
    for errno in [libc::EIO, libc::ENOSPC] {
        for times in [1, u64::MAX] {
            let mut after = 0;
            loop {
                let disk = SimDisk::new(after);
                disk.fail(Fault { call: None, after, times, errno, short_first: false });
                let mut model = Model::default();
                let result = model.run(&disk, &workload());
                if !disk.heal() {
                    result.expect("no call failed");
                    break;
                }
                if let Err(error) = result {
                    assert!(is_documented(&error), "call {after} fails with {errno}: {error}");
                }
                let context = format!("call {after} failed with {errno}, {times} times");
                model.clone().check_and_go_on(&disk.fork(), &context);
                disk.crash(after);
                model.check_and_go_on(&disk, &format!("{context}; then a power cut"));
                after += 1;
            }
        }
    }
}

#[test]
fn every_call_fails_once_then_the_store_goes_on_then_the_power_fails() {
    // After a failed sync, of a file or of a directory, a later sync of the same thing proves nothing. What is
    // acknowledged after reopening must not rest on one.
    // What of a failed sync reached the disk is decided by the seed of the disk.
    for disk_seed in 0..6 {
        let mut after = 0;
        loop {
            let disk = SimDisk::new(disk_seed);
            disk.fail(Fault { call: None, after, times: 1, errno: libc::EIO, short_first: false });
            let mut model = Model::default();
            let _ = model.run(&disk, &workload());
            if !disk.heal() {
                break;
            }
            disk.kill();
            model.check_and_go_on(&disk, &format!("call {after} failed"));
            for seed in 0..4 {
                let (disk, mut model) = (disk.fork(), model.clone());
                disk.crash(seed);
                let context = format!("call {after} failed, then a power cut, seeds {disk_seed} and {seed}");
                model.check_and_go_on(&disk, &context);
            }
            after += 1;
        }
    }
}

#[test]
fn a_full_disk_in_a_relaxed_mode_gives_nothing_back_later() {
    // A batch of two records is written whole, only the zeros behind it are not, and it is taken back. Then a write as
    // long as its first record is acknowledged. No crash may bring the second record back behind it.
    let relaxed =
        kvwal::Options { sync: kvwal::SyncMode::None, preallocate: kvwal::Size::Bytes(4096), ..support::options() };
    let open = |disk: &SimDisk| kvwal::Store::open_on(std::sync::Arc::new(disk.clone()), DIR, &relaxed).unwrap();
    // Each record fills a sector.
    let value = |byte| [byte; 512 - 34];
    for seed in 0..300 {
        let disk = SimDisk::new(seed);
        let store = open(&disk);
        let mut batch = kvwal::Batch::new();
        batch.set(&[1], &value(1)).unwrap();
        batch.set(&[2], &value(1)).unwrap();
        disk.fail(Fault { call: Some(Call::Write), after: 0, times: 3, errno: libc::ENOSPC, short_first: true });
        assert_eq!(store.write(&batch).unwrap_err().kind(), ErrorKind::NoSpace);
        disk.heal();
        store.set(&[100], &value(2)).unwrap();
        disk.crash(seed);
        drop(store);
        let found = contents(&open(&disk));
        assert!(found.keys().all(|key| *key == [100]), "seed {seed}: {:?}", found.keys());
    }
}

#[test]
fn huge_preallocation_is_cut_down() {
    for bytes in [1 << 60, u64::MAX - 1] {
        let disk = SimDisk::new(1);
        let options = kvwal::Options { preallocate: kvwal::Size::Bytes(bytes), ..support::options() };
        let store = kvwal::Store::open_on(std::sync::Arc::new(disk.clone()), DIR, &options).unwrap();
        store.set(b"key", b"value").unwrap();
        store.close().unwrap();
        assert_eq!(disk.contents(format!("{DIR}/wal.log")).unwrap().len(), 41);
    }
}
