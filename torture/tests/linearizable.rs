//! Callers of a store note what they were told, and the checker looks for an order that explains it: with real threads
//! on a real disk, and with power cuts on a simulated one. Built with `--cfg kvwal_shuttle`, the power cuts come in
//! schedules that a seed decides.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use kvwal::vfs::sim::{Random, SimDisk};
use kvwal::{Options, Size, Store};
use kvwal_torture::linear::{self, Event, Op};

#[cfg(kvwal_shuttle)]
use shuttle::thread;
#[cfg(not(kvwal_shuttle))]
use std::thread;

const KEYS: u64 = 4;

/// Where moments come from.
#[derive(Clone, Default)]
struct Clock(Arc<AtomicU64>);

impl Clock {
    fn tick(&self) -> u64 {
        self.0.fetch_add(1, Ordering::SeqCst) + 1
    }
}

fn number(value: Vec<u8>) -> u64 {
    u64::from_be_bytes(value.try_into().expect("values have 8 bytes"))
}

/// Reads a key, and sets it, in one transaction; returns what was there.
fn swap(store: &Store, key: &[u8], value: &[u8]) -> kvwal::Result<Option<u64>> {
    store.transact(|transaction| {
        let before = transaction.get(key)?;
        transaction.set(key, value)?;
        Ok(before.map(number))
    })
}

/// Reads a key, and notes it.
fn read(store: &Store, clock: &Clock, key: u64) -> Event {
    let call = clock.tick();
    let value = store.get(&key.to_be_bytes()).expect("a read needs no disk");
    let op = Op::Get(value.map(number));
    Event { key, call, ret: Some(clock.tick()), op }
}

/// Sets, deletes and reads keys at random, in transactions and without, until a call fails.
fn work(store: &Store, clock: &Clock, seed: u64, count: usize) -> Vec<Event> {
    let (mut random, mut events) = (Random::new(seed), Vec::new());
    let mut failed = false;
    while events.len() < count && !failed {
        let key = random.any() % KEYS;
        let choice = random.below(10);
        if choice >= 6 {
            events.push(read(store, clock, key));
            continue;
        }
        let call = clock.tick();
        let bytes = key.to_be_bytes();
        let (op, result) = match choice {
            // No two values are the same.
            0 | 1 => (Op::Set(call), store.set(&bytes, &call.to_be_bytes()).map(|()| Op::Set(call))),
            2 | 3 => {
                let new = call;
                let swapped = swap(store, &bytes, &call.to_be_bytes()).map(|seen| Op::Swap { new, seen: Some(seen) });
                (Op::Swap { new, seen: None }, swapped)
            }
            _ => (Op::Del { found: None }, store.del(&bytes).map(|found| Op::Del { found: Some(found) })),
        };
        failed = result.is_err();
        let ret = (!failed).then(|| clock.tick());
        events.push(Event { key, call, ret, op: result.unwrap_or(op) });
    }
    events
}

/// Has so many threads work, with checkpoints beside them.
fn work_together(store: Store, clock: &Clock, random: &mut Random, threads: usize, count: usize) -> Vec<Event> {
    let store = Arc::new(store);
    let start = |_| {
        let (store, clock, seed) = (Arc::clone(&store), clock.clone(), random.any());
        thread::spawn(move || work(&store, &clock, seed, count))
    };
    let workers: Vec<_> = (0..threads).map(start).collect();
    let _ = store.checkpoint();
    let events = workers.into_iter().flat_map(|worker| worker.join().expect("no worker panics")).collect();
    let _ = Arc::into_inner(store).expect("the workers have ended").close();
    events
}

fn assert_linearizable(events: &[Event], crashes: &[u64], context: &str) {
    linear::check(events, crashes).unwrap_or_else(|violation| panic!("{context}: {violation}"));
}

/// As often as `rounds` says, threads work on a simulated disk until the power is cut; then what was recovered is read.
/// Returns what was told, and when the power was cut.
fn power_cuts(seed: u64, threads: usize, rounds: u64) -> (Vec<Event>, Vec<u64>) {
    let (disk, clock, mut random) = (SimDisk::new(seed), Clock::default(), Random::new(seed));
    let (mut events, mut crashes) = (Vec::new(), Vec::new());
    // Zeros are written ahead, and checkpoints made, in the background.
    let (preallocate, checkpoint_wal_bytes) = (Size::Bytes(64 << 10), Size::Bytes(800));
    let options = Options { preallocate, checkpoint_wal_bytes, ..Options::default() };
    let open = || Store::open_on(Arc::new(disk.clone()), "/store", &options);
    for _ in 0..rounds {
        disk.power_off_at(random.any() % 150);
        // Perhaps the power was off before it was open.
        if let Ok(store) = open() {
            events.extend(work_together(store, &clock, &mut random, threads, 30));
        }
        crashes.push(clock.tick());
        disk.crash(random.any());
        let store = open().expect("whatever a power cut leaves can be opened");
        events.extend((0..KEYS).map(|key| read(&store, &clock, key)));
        store.close().expect("the disk works");
    }
    (events, crashes)
}

fn check_power_cuts(seed: u64, threads: usize, rounds: u64) {
    let (events, crashes) = power_cuts(seed, threads, rounds);
    assert_linearizable(&events, &crashes, &format!("seed {seed}"));
}

#[cfg(not(kvwal_shuttle))]
#[test]
fn threads_on_a_real_disk() {
    use kvwal::SyncMode::{Always, None};
    for (mode, threads, count) in [(Always, 4, 400), (Always, 8, 200), (None, 6, 4000)] {
        let dir = tempfile::tempdir().expect("a directory");
        let options = Options { sync: mode, checkpoint_wal_bytes: Size::Bytes(8 << 10), ..Options::default() };
        let (clock, context) = (Clock::default(), format!("{threads} threads, {mode:?}"));
        let store = Store::open(dir.path().join("store"), &options).expect("a new store");
        let mut events = work_together(store, &clock, &mut Random::new(1), threads, count);
        assert!(events.len() == threads * count && events.iter().all(|event| event.ret.is_some()), "{context}");
        let store = Store::open(dir.path().join("store"), &options).expect("the store again");
        events.extend((0..KEYS).map(|key| read(&store, &clock, key)));
        assert_linearizable(&events, &[], &context);
    }
}

#[cfg(not(kvwal_shuttle))]
#[test]
fn threads_and_power_cuts() {
    for seed in 0..100 {
        check_power_cuts(seed, 4 + seed as usize % 5, 3);
    }
}

/// A check that cannot fail is none.
#[cfg(not(kvwal_shuttle))]
#[test]
fn what_was_recovered_is_compared_with_what_was_told() {
    let mut noticed = 0;
    for seed in 0..20 {
        let (mut events, crashes) = power_cuts(seed, 4, 1);
        let recovered = events.len() - KEYS as usize;
        let (before, after) = events.split_at_mut(recovered);
        for event in after {
            // As if nothing that was set or deleted had been recovered.
            let is_set = |op| matches!(op, Op::Set(_) | Op::Swap { .. });
            let was_set = before.iter().any(|earlier| earlier.key == event.key && is_set(earlier.op));
            event.op = Op::Get(if was_set { None } else { Some(1) });
        }
        noticed += usize::from(linear::check(&events, &crashes).is_err());
    }
    assert!(noticed >= 10, "{noticed} of 20");
}

#[cfg(kvwal_shuttle)]
#[test]
fn schedules_and_power_cuts() {
    let mut config = shuttle::Config::new();
    config.stack_size = 1 << 20;
    let seeds = AtomicU64::new(0);
    let times = std::env::var("KVWAL_SCHEDULES").map_or(1, |times| times.parse().expect("KVWAL_SCHEDULES is a number"));
    let scheduler = shuttle::scheduler::RandomScheduler::new_from_seed(1, 200 * times);
    shuttle::Runner::new(scheduler, config).run(move || check_power_cuts(seeds.fetch_add(1, Ordering::Relaxed), 3, 2));
}
