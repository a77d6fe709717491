//! Readers without a lock beside a writer that moves keys under their eyes.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use super::*;

/// A value that tells when it is mixed up with another: the key, the LSN, and a length that follows from both.
fn value(key: u64, lsn: Lsn) -> Vec<u8> {
    let mut value = [key.to_be_bytes(), lsn.to_be_bytes()].concat();
    value.resize(16 + (key ^ lsn) as usize % 300, lsn as u8);
    value
}

/// The LSN that a value was made with, after a look at every byte of it.
fn check(key: u64, found: &[u8]) -> Lsn {
    let lsn = Lsn::from_be_bytes(found[8..16].try_into().unwrap());
    assert_eq!(found, value(key, lsn), "key {key}");
    lsn
}

/// Ends the readers, also when the writer panics.
struct Done<'a>(&'a AtomicBool);

impl Drop for Done<'_> {
    fn drop(&mut self) {
        self.0.swap(true, Ordering::Relaxed);
    }
}

/// Runs `read` on a few threads for as long as `write` takes.
fn beside(read: impl Fn() + Sync, write: impl FnOnce()) {
    let is_done = AtomicBool::new(false);
    thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                while !is_done.load(Ordering::Relaxed) {
                    read();
                }
            });
        }
        let _done = Done(&is_done);
        write();
    });
}

#[test]
fn a_key_that_stays_is_always_found_while_others_come_and_go() {
    const STAY: u64 = 1000;
    let table = Table::new([21, 22]);
    for key in 0..STAY {
        put(&table, &key.to_be_bytes(), &value(key, key + 1), key + 1);
    }
    let (reads, floor) = (AtomicU64::new(0), AtomicU64::new(0));
    let read = || {
        for key in 0..STAY {
            let floor = floor.load(Ordering::SeqCst);
            let lsn = table.get(&key.to_be_bytes(), |block| check(key, block.value())).expect("it is never deleted");
            assert!(lsn >= if key == 0 { floor } else { 1 }, "an older value came back");
        }
        reads.fetch_add(STAY, Ordering::Relaxed);
    };
    beside(read, || {
        let mut lsn = STAY;
        // The shards grow, shrink, and move keys back into gaps all the time.
        for round in 0..6 {
            let range = STAY..STAY + 5000 + round * 100;
            for key in range.clone() {
                lsn += 2;
                put(&table, &key.to_be_bytes(), &value(key, lsn - 1), lsn - 1);
                put(&table, &0u64.to_be_bytes(), &value(0, lsn), lsn);
                floor.swap(lsn, Ordering::SeqCst);
            }
            for key in range {
                lsn += 1;
                assert!(delete(&table, &key.to_be_bytes(), lsn));
            }
        }
    });
    assert!(reads.load(Ordering::Relaxed) > STAY);
    assert_eq!(table.usage().gets, reads.load(Ordering::Relaxed));
    table.check_invariants();
}

#[test]
fn a_batch_is_seen_whole() {
    const KEYS: u64 = 16;
    let table = Table::new([23, 24]);
    let write = |lsn: Lsn| {
        let block = |key: u64| Block::new(table.pool(), &key.to_be_bytes(), &value(key, lsn), 0).unwrap();
        let mut changes: Vec<_> = (0..KEYS).map(|key| table.change(Op::Put, block(key))).collect();
        table.apply_batch(&mut changes, lsn * KEYS, || 0).unwrap();
    };
    write(1);
    let seen = AtomicU64::new(0);
    let read = || {
        // In whatever order the keys are looked at, none is older than the one before.
        let mut newest = 0;
        for key in (0..KEYS).chain((0..KEYS).rev()) {
            let lsn = table.get(&key.to_be_bytes(), |block| check(key, block.value())).unwrap();
            assert!(lsn >= newest, "key {key} is of batch {lsn}, the one before of {newest}");
            newest = lsn;
        }
        seen.fetch_max(newest, Ordering::Relaxed);
    };
    beside(read, || (2..30_000).for_each(write));
    assert!(seen.load(Ordering::Relaxed) > 2);
}

#[test]
fn many_lookups_at_once_find_what_each_would() {
    let table = Table::new([25, 26]);
    for key in 0..1000u64 {
        put(&table, &key.to_be_bytes(), &value(key, key + 1), key + 1);
    }
    for count in [0, 1, 31, 32, 33, 100, 1500] {
        let mut lookups: Vec<_> = (0..count as u64).map(|at| ((at * 7 % 1500).to_be_bytes(), None)).collect();
        table.get_many(
            &mut lookups,
            |(key, _)| key,
            |(_, found), block| *found = Some(block.map(|block| block.value().to_vec())),
        );
        for (key, found) in lookups {
            assert_eq!(found, Some(get(&table, &key)));
        }
    }
}
