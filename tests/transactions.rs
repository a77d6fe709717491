//! Transactions on a simulated disk: what they see, what others see of them, and what failures and crashes leave.

use std::collections::BTreeSet;
use std::panic::resume_unwind;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::Duration;

use crate::support::{self, Contents, DIR, contents, open};
use kvwal::vfs::sim::{Call, Fault, SimDisk};
use kvwal::{Batch, Error, ErrorKind, Options, Result, Size, Store, SyncMode, Transaction, Work};

type AnyWork<'w> = Box<dyn FnMut(&mut Transaction<'_>) -> Result<()> + Send + 'w>;

const MODES: [SyncMode; 3] = [SyncMode::Always, SyncMode::Interval, SyncMode::None];

fn open_as(disk: &SimDisk, sync: SyncMode) -> Store {
    Store::open_on(Arc::new(disk.clone()), DIR, &Options { sync, ..support::options() }).unwrap()
}

/// A store on a new disk, in each of the modes.
fn in_each_mode(run: impl Fn(&SimDisk, &Store)) {
    for mode in MODES {
        let disk = SimDisk::new(1);
        let store = open_as(&disk, mode);
        run(&disk, &store);
        store.check_invariants();
        let before = contents(&store);
        store.close().unwrap();
        assert_eq!(contents(&open(&disk).unwrap()), before, "{mode:?}: after closing and opening");
    }
}

fn fail(disk: &SimDisk, call: Call, times: u64, errno: i32) {
    disk.fail(Fault { call: Some(call), after: 0, times, errno, short_first: false });
}

fn conflict() -> Error {
    Error::new(ErrorKind::Invalid, "on purpose")
}

fn number(bytes: Option<Vec<u8>>) -> u64 {
    bytes.map_or(0, |bytes| u64::from_be_bytes(bytes.try_into().unwrap()))
}

fn increment(transaction: &mut Transaction<'_>) -> Result<()> {
    let count = number(transaction.get(b"counter")?);
    transaction.set(b"counter", &(count + 1).to_be_bytes())
}

#[test]
fn a_transaction_sees_what_it_has_changed_itself() {
    in_each_mode(|_, store| {
        store.set(b"old", b"1").unwrap();
        let before = store.stats();
        let answer = store.transact(|transaction| {
            assert_eq!(transaction.get(b"old")?.unwrap(), b"1");
            transaction.set(b"old", b"2")?;
            transaction.set(b"new", b"3")?;
            transaction.set(b"new", b"4")?;
            assert_eq!(transaction.get(b"old")?.unwrap(), b"2");
            assert_eq!(transaction.get(b"new")?.unwrap(), b"4");
            assert!(transaction.del(b"old")? && !transaction.del(b"old")? && !transaction.del(b"never")?);
            assert_eq!(transaction.get(b"old")?, None);
            let version = |key| transaction.get_with(key, |entry| entry.version);
            assert_eq!(version(b"new")?, Some(before.last_lsn + 3), "what the record will have");
            Ok("done")
        });
        assert_eq!(answer.unwrap(), "done");
        assert_eq!(contents(store), Contents::from([(b"new".to_vec(), b"4".to_vec())]));
        let stats = store.stats();
        assert_eq!((stats.last_lsn, stats.sets, stats.dels), (before.last_lsn + 4, before.sets + 3, 1));
        let entry = store.entry_with(b"new", |entry| (entry.value.to_vec(), entry.expires_at, entry.version)).unwrap();
        assert_eq!(entry, Some((b"4".to_vec(), 0, before.last_lsn + 3)));
        assert_eq!(store.entry_with(b"old", |_| ()).unwrap(), None);
    });
}

#[test]
fn works_of_a_caller_follow_each_other_and_share_a_commit() {
    in_each_mode(|_, store| {
        store.set(b"first", b"").unwrap();
        let before = store.stats();
        let mut works: Vec<_> = (0..500u64)
            .map(|mine| {
                move |transaction: &mut Transaction<'_>| {
                    assert_eq!(number(transaction.get(b"counter")?), mine, "in order, and each sees the one before");
                    increment(transaction)?;
                    let version = transaction.get_with(b"counter", |entry| entry.version)?;
                    assert_eq!(version, Some(mine + 2), "each has one record");
                    Ok(())
                }
            })
            .collect();
        assert!(store.transact_all(&mut works).into_iter().all(|result| result.is_ok()));
        let stats = store.stats();
        assert_eq!((stats.commits - before.commits, stats.last_lsn - before.last_lsn), (1, 500));
        let is_synced = stats.durable_lsn == stats.last_lsn;
        assert_eq!(stats.syncs - before.syncs, u64::from(is_synced), "{stats:?}");
        assert_eq!(number(store.get(b"counter").unwrap()), 500);
        assert_eq!(store.entry_with(b"counter", |entry| entry.version).unwrap(), Some(501));
    });
}

#[test]
fn more_works_or_longer_ones_than_a_group_may_have_make_several() {
    struct Long(u64, usize);
    impl Work for Long {
        fn run(&mut self, transaction: &mut Transaction<'_>) -> Result<()> {
            assert_eq!(number(transaction.get(b"counter")?), self.0);
            transaction.set(b"long", &vec![1; self.1])?;
            increment(transaction)
        }
    }
    for (works, bytes, commits) in [(20_000, 1, 3), (10, 300 << 10, 3), (4, 2 << 20, 4), (0, 0, 0)] {
        in_each_mode(|_, store| {
            let mut works: Vec<_> = (0..works).map(|number| Long(number, bytes)).collect();
            let results = store.transact_all(&mut works);
            assert!(results.len() == works.len() && results.iter().all(|result| result.is_ok()));
            assert_eq!(store.stats().commits, commits, "{} works of {bytes} bytes", works.len());
        });
    }
}

#[test]
fn an_error_or_a_panic_ends_one_work_alone() {
    in_each_mode(|_, store| {
        store.set(b"kept", b"1").unwrap();
        let mut works: Vec<_> = (0..6)
            .map(|number| {
                move |transaction: &mut Transaction<'_>| {
                    increment(transaction)?;
                    transaction.set(&[number], b"mine")?;
                    match number {
                        1 => Err(conflict()),
                        // Without the panic hook, which would print it.
                        3 => resume_unwind(Box::new("on purpose")),
                        4 => {
                            transaction.undo();
                            assert_eq!(transaction.get(&[number])?, None);
                            transaction.del(b"kept").map(|found| assert!(found))
                        }
                        _ => Ok(()),
                    }
                }
            })
            .collect();
        let results = store.transact_all(&mut works);
        let kinds: Vec<_> = results.into_iter().map(|result| result.map_err(|error| error.kind()).err()).collect();
        assert_eq!(kinds, [None, Some(ErrorKind::Invalid), None, Some(ErrorKind::Internal), None, None]);
        assert_eq!(contents(store).into_keys().collect::<Vec<_>>(), [&[0][..], &[2], &[5], b"counter"]);
        assert_eq!(number(store.get(b"counter").unwrap()), 3);
        assert_eq!(store.stats().last_lsn, 1 + 3 * 2 + 1);
        store.set(b"and the handle", b"goes on").unwrap();
    });
}

#[test]
fn who_writes_nothing_costs_nothing() {
    in_each_mode(|disk, store| {
        store.set(b"key", b"value").unwrap();
        store.sync().unwrap();
        let (before, calls) = (store.stats(), disk.calls());
        assert_eq!(store.transact(|transaction| transaction.get(b"key")).unwrap().unwrap(), b"value");
        assert!(!store.set_if_absent(b"key", b"other").unwrap());
        assert!(!store.transact(|transaction| transaction.del(b"none")).unwrap());
        let failed = store.transact(|transaction| transaction.set(b"key", b"").and(Err::<(), _>(conflict())));
        assert_eq!(failed.unwrap_err(), conflict());
        assert_eq!((store.stats(), disk.calls()), (before, calls));
    });
}

#[test]
fn set_if_absent_and_compare_and_set() {
    in_each_mode(|_, store| {
        assert!(store.set_if_absent(b"key", b"1").unwrap() && !store.set_if_absent(b"key", b"2").unwrap());
        assert!(!store.compare_and_set(b"key", Some(b"2"), Some(b"3")).unwrap());
        assert!(!store.compare_and_set(b"key", None, Some(b"3")).unwrap());
        assert_eq!(store.get(b"key").unwrap().unwrap(), b"1");
        assert!(store.compare_and_set(b"key", Some(b"1"), Some(b"")).unwrap());
        assert!(!store.compare_and_set(b"none", Some(b""), None).unwrap(), "to be empty is not to be absent");
        assert!(!store.compare_and_set(b"none", Some(b""), Some(b"1")).unwrap());
        assert!(store.compare_and_set(b"none", None, None).unwrap());
        assert_eq!(store.stats().keys, 1);
        assert!(store.compare_and_set(b"key", Some(b""), None).unwrap());
        assert_eq!(store.get(b"key").unwrap(), None);
        let too_long = vec![0; kvwal::format::MAX_KEY_LEN + 1];
        for result in [store.set_if_absent(&too_long, b""), store.compare_and_set(&too_long, Some(b"1"), None)] {
            assert_eq!(result.unwrap_err().kind(), ErrorKind::TooLarge);
        }
        let kind = |result: Result<()>| result.unwrap_err().kind();
        assert_eq!(kind(store.transact(|transaction| transaction.set(&too_long, b""))), ErrorKind::TooLarge);
        assert_eq!(kind(store.transact(|transaction| transaction.get(&too_long).map(drop))), ErrorKind::TooLarge);
        assert_eq!(kind(store.transact(|transaction| transaction.set_until(&too_long, b"", 1))), ErrorKind::TooLarge);
        assert_eq!(kind(store.entry_with(&too_long, |_| ()).map(drop)), ErrorKind::TooLarge);
    });
}

#[test]
fn what_has_expired_is_not_there() {
    in_each_mode(|disk, store| {
        let now = disk.now_ms();
        store.set_ttl(b"short", b"1", 1000).unwrap();
        store
            .transact(|transaction| {
                assert_eq!(transaction.now_ms(), now);
                assert_eq!(transaction.get_with(b"short", |entry| entry.expires_at)?, Some(now + 1000));
                transaction.set_until(b"long", b"2", now + 2000)?;
                transaction.set_until(b"ever", b"3", 0)?;
                transaction.set_until(b"over", b"4", now)?;
                assert_eq!(transaction.get_with(b"long", |entry| entry.expires_at)?, Some(now + 2000));
                assert_eq!(transaction.get(b"over")?, None);
                Ok(())
            })
            .unwrap();
        assert_eq!(store.stats().last_lsn, 3, "deleting what is not there writes nothing");
        assert_eq!(store.entry_with(b"long", |entry| entry.expires_at).unwrap(), Some(now + 2000));
        disk.pass(1000);
        let gone = |transaction: &mut Transaction<'_>| {
            assert!(!transaction.del(b"short")?);
            transaction.get(b"short")
        };
        assert_eq!(store.transact(gone).unwrap(), None);
        assert_eq!(store.entry_with(b"short", |_| ()).unwrap(), None);
        assert!(store.set_if_absent(b"short", b"again").unwrap());
        // With a time that is over what is there is deleted.
        store.transact(|transaction| transaction.set_until(b"long", b"5", now + 1000)).unwrap();
        assert_eq!(contents(store).into_keys().collect::<Vec<_>>(), [&b"ever"[..], b"short"]);
    });
}

#[test]
fn keys_are_those_of_the_moment() {
    in_each_mode(|disk, store| {
        (0..200u32).for_each(|key| store.set(&key.to_be_bytes(), b"1").unwrap());
        store.set_ttl(b"gone", b"", 10).unwrap();
        disk.pass(10);
        let seen = std::sync::Mutex::new(Vec::new());
        let keys_of = |transaction: &mut Transaction<'_>| {
            let (mut keys, mut count) = (BTreeSet::new(), 0);
            transaction.keys(|key| {
                assert!(transaction.get(key).unwrap().is_some(), "the transaction can be used meanwhile");
                keys.insert(key.to_vec());
                count += 1;
            })?;
            assert_eq!(keys.len(), count, "each once");
            seen.lock().unwrap().push(keys);
            Ok(())
        };
        let change = |transaction: &mut Transaction<'_>| {
            transaction.set(b"new", b"1")?;
            transaction.set(b"new", b"2")?;
            transaction.set(&7u32.to_be_bytes(), b"2")?;
            transaction.del(&8u32.to_be_bytes()).map(drop)
        };
        let flush = |transaction: &mut Transaction<'_>| {
            let mut all = Vec::new();
            transaction.keys(|key| all.push(key.to_vec()))?;
            all.iter().try_for_each(|key| transaction.del(key).map(|found| assert!(found)))
        };
        let mut works: [AnyWork<'_>; 5] = [
            Box::new(change),
            // The changes of an earlier work, and then its own.
            Box::new(keys_of),
            Box::new(|transaction| transaction.set(b"own", b"").and(keys_of(transaction))),
            Box::new(|transaction| flush(transaction).and(keys_of(transaction))),
            Box::new(keys_of),
        ];
        store.transact_all(&mut works).into_iter().for_each(Result::unwrap);
        let mut expected: BTreeSet<Vec<u8>> = (0..200u32).map(|key| key.to_be_bytes().to_vec()).collect();
        expected.insert(b"new".to_vec());
        expected.remove(&8u32.to_be_bytes()[..]);
        let with_own = expected.iter().cloned().chain([b"own".to_vec()]).collect();
        drop(works);
        assert_eq!(seen.into_inner().unwrap(), [expected, with_own, BTreeSet::new(), BTreeSet::new()]);
        assert_eq!(contents(store), Contents::new());
    });
}

/// Has so many threads increment a counter, so often each, with plain writes in between.
fn count_together(store: &Store, threads: u64, each: u64) {
    let start = Barrier::new(threads as usize);
    thread::scope(|scope| {
        for thread in 0..threads {
            let start = &start;
            scope.spawn(move || {
                start.wait();
                for turn in 0..each {
                    store.transact(increment).unwrap();
                    if turn % 4 == 0 {
                        store.set(&[thread as u8], &turn.to_be_bytes()).unwrap();
                    }
                }
            });
        }
    });
}

#[test]
fn increments_by_many_threads_are_all_counted() {
    for mode in MODES {
        let disk = SimDisk::new(1);
        let store = open_as(&disk, mode);
        thread::scope(|scope| {
            let counting = scope.spawn(|| count_together(&store, 8, 300));
            while !counting.is_finished() {
                store.checkpoint().unwrap();
                thread::sleep(Duration::from_millis(1));
            }
        });
        assert_eq!(number(store.get(b"counter").unwrap()), 2400, "{mode:?}");
        store.check_invariants();
        store.close().unwrap();
        assert_eq!(number(open(&disk).unwrap().get(b"counter").unwrap()), 2400, "{mode:?}: after opening again");
    }
}

/// A sync takes its time here, as on a disk; so the others gather.
#[test]
fn callers_share_syncs() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path().join("store"), &Options::default()).unwrap();
    count_together(&store, 16, 50);
    let stats = store.stats();
    assert_eq!((number(store.get(b"counter").unwrap()), stats.commits), (800, stats.syncs));
    assert!(stats.commits * 3 < 16 * 50, "{} commits for 800 increments and 208 sets by 16 threads", stats.commits);
}

/// A work that makes the others wait until they are in its group, or the next: the first caller is alone.
#[test]
fn a_write_earlier_in_the_group_is_seen() {
    let disk = SimDisk::new(1);
    let store = open(&disk).unwrap();
    let begun = Barrier::new(2);
    let seen = AtomicU64::new(0);
    let mut batch = Batch::new();
    batch.set(b"other", b"1").unwrap();
    batch.del(b"first").unwrap();
    thread::scope(|scope| {
        let leader = scope.spawn(|| {
            store.transact(|transaction| {
                begun.wait();
                // Until the others wait for the next group, in the order of their numbers.
                thread::sleep(Duration::from_millis(300));
                transaction.set(b"first", b"")
            })
        });
        begun.wait();
        let pause = || thread::sleep(Duration::from_millis(50));
        pause();
        let plain = scope.spawn(|| store.set(b"key", b"from the group"));
        pause();
        let many = scope.spawn(|| store.write(&batch));
        pause();
        let reader = scope.spawn(|| {
            store.transact(|transaction| {
                // Nobody else sees it yet.
                let is_hidden = store.get(b"key").unwrap().is_none() && store.get(b"first").unwrap().is_some();
                let is_seen = transaction.get(b"key")?.as_deref() == Some(b"from the group")
                    && transaction.get(b"other")?.is_some()
                    && transaction.get(b"first")?.is_none();
                seen.fetch_add(u64::from(is_seen && is_hidden), Ordering::SeqCst);
                Ok(())
            })
        });
        leader.join().unwrap().unwrap();
        plain.join().unwrap().unwrap();
        many.join().unwrap().unwrap();
        reader.join().unwrap().unwrap();
    });
    assert_eq!((seen.into_inner(), store.stats().commits), (1, 2));
}

/// What is in a group whose append fails: plain writes, works that write, fail, or only read.
fn group_that_fails(store: &Store) -> Vec<Option<ErrorKind>> {
    let read =
        |transaction: &mut Transaction<'_>| transaction.get(b"key").map(|value| assert_eq!(value.unwrap(), b"2"));
    let mut works: [AnyWork<'_>; 3] = [
        Box::new(|transaction| transaction.set(b"key", b"2").and(transaction.set(b"new", b"3"))),
        Box::new(read),
        Box::new(|transaction| read(transaction).and(Err(conflict()))),
    ];
    store.transact_all(&mut works).into_iter().map(|result| result.err().map(|error| error.kind())).collect()
}

#[test]
fn a_failed_sync_fails_the_whole_group_and_is_final() {
    let disk = SimDisk::new(1);
    let store = open(&disk).unwrap();
    store.set(b"key", b"1").unwrap();
    let before = contents(&store);
    fail(&disk, Call::Sync, 1, libc::EIO);
    // Also those that have read what is not durable.
    assert_eq!(group_that_fails(&store), [Some(ErrorKind::Failed); 3]);
    assert_eq!(contents(&store), before);
    let calls = disk.calls();
    assert_eq!(store.transact(increment).unwrap_err().kind(), ErrorKind::Failed);
    let ran = AtomicU64::new(0);
    let only_reads = store.transact(|transaction| {
        ran.fetch_add(1, Ordering::SeqCst);
        transaction.get(b"key")
    });
    assert_eq!((only_reads.unwrap_err().kind(), ran.into_inner(), disk.calls()), (ErrorKind::Failed, 0, calls));
    assert_eq!(store.entry_with(b"key", |entry| entry.value.to_vec()).unwrap().unwrap(), b"1", "reads go on");
}

#[test]
fn a_full_disk_rolls_the_group_back_and_heals() {
    for mode in [SyncMode::Always, SyncMode::None] {
        let disk = SimDisk::new(1);
        let store = open_as(&disk, mode);
        store.set(b"key", b"1").unwrap();
        let (before, lsn) = (contents(&store), store.stats().last_lsn);
        fail(&disk, Call::Write, 2, libc::ENOSPC);
        assert_eq!(group_that_fails(&store), [Some(ErrorKind::NoSpace); 3], "{mode:?}");
        disk.heal();
        assert_eq!((contents(&store), store.stats().last_lsn), (before, lsn));
        assert_eq!(group_that_fails(&store), [None, None, Some(ErrorKind::Invalid)]);
        assert_eq!(store.entry_with(b"new", |entry| entry.version).unwrap(), Some(lsn + 2));
        store.close().unwrap();
        assert_eq!(contents(&open(&disk).unwrap()).len(), 2);
    }
}

#[test]
fn what_comes_after_a_group_that_failed_is_not_run() {
    let disk = SimDisk::new(1);
    let store = open(&disk).unwrap();
    let mut ran = [false; 4];
    let mut works: Vec<_> = ran
        .iter_mut()
        .map(|ran| {
            move |transaction: &mut Transaction<'_>| {
                *ran = true;
                transaction.set(b"key", &[0; 2 << 20])
            }
        })
        .collect();
    disk.fail(Fault { call: Some(Call::Sync), after: 1, times: 1, errno: libc::EIO, short_first: false });
    let results: Vec<_> = store.transact_all(&mut works).into_iter().map(|result| result.is_ok()).collect();
    assert_eq!((results, ran), (vec![true, false, false, false], [true, true, false, false]));
}

/// Two keys that every work sets to the same number, one more than before; and one of the first caller's own.
fn pairs(store: &Store, groups: u64) -> (u64, u64) {
    let mut acknowledged = 0;
    for group in 0..groups {
        let mut works: Vec<_> = (1..=3)
            .map(|work| {
                move |transaction: &mut Transaction<'_>| {
                    let count = group * 3 + work;
                    assert_eq!(number(transaction.get(b"left")?), count - 1);
                    transaction.set(b"left", &count.to_be_bytes())?;
                    transaction.set(b"padding", &vec![count as u8; 400 * work as usize])?;
                    transaction.set(b"right", &count.to_be_bytes())
                }
            })
            .collect();
        if store.transact_all(&mut works).into_iter().any(|result| result.is_err()) {
            return (acknowledged, group * 3 + 3);
        }
        acknowledged = group * 3 + 3;
        if group == 3 && store.checkpoint().is_err() {
            return (acknowledged, acknowledged);
        }
    }
    (acknowledged, acknowledged)
}

#[test]
fn a_crash_at_any_call_leaves_each_transaction_whole_or_not_at_all() {
    let mut states = 0;
    for call in 0.. {
        assert!(call < 1000, "the workload never comes to its end");
        let disk = SimDisk::new(call);
        disk.power_off_at(call);
        let Ok(store) = open(&disk) else { continue };
        let (acknowledged, issued) = pairs(&store, 8);
        let is_over = store.close().is_ok() && acknowledged == 8 * 3;
        for seed in 0..10 {
            let disk = disk.fork();
            if seed == 0 {
                disk.kill()
            } else {
                disk.crash(seed)
            }
            let store = open(&disk).unwrap();
            let read = |key: &[u8]| number(store.get(key).unwrap());
            let (left, right) = (read(b"left"), read(b"right"));
            assert_eq!(left, right, "call {call}, seed {seed}");
            assert!((acknowledged..=issued).contains(&left), "{left} of {acknowledged} to {issued}, call {call}");
            let padding = store.get(b"padding").unwrap().unwrap_or_default();
            assert!(padding.iter().all(|&byte| u64::from(byte) == left));
            states += u64::from(left > 0);
        }
        if is_over {
            break;
        }
    }
    assert!(states > 200, "{states}");
}

#[test]
fn an_unlucky_call_fails_works_and_loses_none_that_was_acknowledged() {
    for after in 0.. {
        let disk = SimDisk::new(after);
        disk.fail(Fault { call: None, after, times: 2, errno: libc::ENOSPC, short_first: true });
        let Ok(store) = open(&disk) else {
            assert!(disk.heal());
            continue;
        };
        let (acknowledged, issued) = pairs(&store, 8);
        assert_eq!(number(store.get(b"left").unwrap()), acknowledged, "what failed is not visible");
        let has_struck = disk.heal();
        drop(store);
        disk.crash(after);
        let store = open(&disk).unwrap();
        let (left, right) = (number(store.get(b"left").unwrap()), number(store.get(b"right").unwrap()));
        assert!(left == right && (acknowledged..=issued).contains(&left), "{left}, {right}; call {after}");
        if !has_struck {
            break;
        }
    }
}

#[test]
fn a_work_cannot_write_to_its_store_but_by_its_transaction() {
    in_each_mode(|disk, store| {
        store.set(b"key", b"1").unwrap();
        let other = Store::open_on(Arc::new(disk.clone()), "/other", &support::options()).unwrap();
        let inside = store.transact(|transaction| {
            let results = [
                store.set(b"key", b"2"),
                store.del(b"key").map(drop),
                store.transact(increment),
                store.sync(),
                store.checkpoint(),
            ];
            assert!(results.into_iter().all(|result| result.unwrap_err().kind() == ErrorKind::Invalid));
            assert_eq!(store.get(b"key")?.unwrap(), b"1", "reads are no danger");
            other.set(b"key", b"of another store")?;
            transaction.set(b"key", b"3")
        });
        inside.unwrap();
        assert_eq!(store.get(b"key").unwrap().unwrap(), b"3");
        store.set(b"key", b"4").unwrap();
    });
}

#[test]
fn long_transactions_in_a_relaxed_mode() {
    // Longer than the buffer of the interval mode, or than what is left of it, while others write.
    for mode in [SyncMode::Interval, SyncMode::None] {
        let disk = SimDisk::new(1);
        let store = open_as(&disk, mode);
        thread::scope(|scope| {
            scope.spawn(|| (0..2000u32).for_each(|key| store.set(&key.to_be_bytes(), &[1; 2000]).unwrap()));
            for len in [1 << 20, (2 << 20) - 40, 2 << 20, 5 << 20, 100, 3 << 20] {
                let last = store.transact(|transaction| {
                    let count = number(transaction.get(b"counter")?);
                    transaction.set(b"long", &vec![count as u8; len])?;
                    transaction.set(b"counter", &(count + 1).to_be_bytes())?;
                    Ok(count as u8)
                });
                let last = last.unwrap();
                assert!(store.get(b"long").unwrap().unwrap() == vec![last; len], "{mode:?}, {len} bytes");
            }
        });
        store.sync().unwrap();
        let before = contents(&store);
        disk.crash(1);
        drop(store);
        assert!(contents(&open(&disk).unwrap()) == before && before.len() == 2002, "{mode:?}");
    }
}

#[test]
fn a_full_disk_in_the_interval_mode_is_told_and_heals() {
    let disk = SimDisk::new(1);
    let options =
        Options { sync: SyncMode::Interval, sync_interval_ms: 1000, preallocate: Size::Never, ..support::options() };
    let store = Store::open_on(Arc::new(disk.clone()), DIR, &options).unwrap();
    fail(&disk, Call::Write, u64::MAX, libc::ENOSPC);
    let mut acknowledged = 0;
    let error = loop {
        match store.transact(increment) {
            Ok(()) => acknowledged += 1,
            Err(error) => break error,
        }
        thread::sleep(Duration::from_millis(1));
    };
    assert_eq!(error.kind(), ErrorKind::NoSpace);
    assert_eq!(number(store.get(b"counter").unwrap()), acknowledged);
    disk.heal();
    store.transact(increment).unwrap();
    store.close().unwrap();
    assert_eq!(number(open(&disk).unwrap().get(b"counter").unwrap()), acknowledged + 1);
}
