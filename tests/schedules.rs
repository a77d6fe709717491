//! A whole store on a simulated disk, its threads scheduled by a seed: see `src/sys/scheduled`. Only when built with
//! `--cfg kvwal_shuttle`: `make schedules`.
#![cfg(kvwal_shuttle)]

mod support;

use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use kvwal::vfs::sim::SimDisk;
use kvwal::{Error, ErrorKind, Options, Size, Store, SyncMode, Transaction};
use shuttle::scheduler::RandomScheduler;
use shuttle::{Config, Runner, thread};
use support::{DIR, contents};

/// Runs `run` with so many schedules, the same ones for the same seed.
fn with_schedules(seed: u64, count: usize, run: impl Fn() + Send + Sync + 'static) {
    let mut config = Config::new();
    config.stack_size = 1 << 20;
    Runner::new(RandomScheduler::new_from_seed(seed, count), config).run(run);
}

const WRITERS: u32 = 3;
const WRITES: u32 = 4;

/// At which step of the schedule, after how many calls of the disk, a writer had done what.
type Trace = Vec<(usize, u64, u32, u32)>;
/// That, and what is on the disk then.
type Run = (Trace, Vec<(PathBuf, Vec<u8>)>);

/// Opens a store, writes from three threads with a checkpoint beside them, closes it, opens it again, and looks.
fn write_and_look_again(disk: &SimDisk) -> Trace {
    // Zeros are written ahead by the log's thread, and the second writes start a checkpoint in the background.
    let options =
        Options { preallocate: Size::Bytes(64 << 10), checkpoint_wal_bytes: Size::Bytes(250), ..Options::default() };
    let store = Arc::new(Store::open_on(Arc::new(disk.clone()), DIR, &options).unwrap());
    let trace = Arc::new(Mutex::new(Trace::new()));
    let write = |writer| {
        let (store, trace, disk) = (Arc::clone(&store), Arc::clone(&trace), disk.clone());
        thread::spawn(move || {
            for number in 0..WRITES {
                let key = [writer as u8, number as u8];
                store.set(&key, &[number as u8; 20]).unwrap();
                assert_eq!(store.get(&key).unwrap().as_deref(), Some(&[number as u8; 20][..]));
                let calls = disk.calls();
                trace.lock().unwrap().push((shuttle::current::context_switches(), calls, writer, number));
            }
        })
    };
    let writers: Vec<_> = (0..WRITERS).map(write).collect();
    store.checkpoint().unwrap();
    writers.into_iter().for_each(|writer| writer.join().unwrap());
    Arc::into_inner(store).unwrap().close().unwrap();

    let store = Store::open_on(Arc::new(disk.clone()), DIR, &options).unwrap();
    store.check_invariants();
    let found = contents(&store);
    let all = (0..WRITERS).flat_map(|writer| (0..WRITES).map(move |number| vec![writer as u8, number as u8]));
    assert!(found.keys().cloned().eq(all) && found.iter().all(|(key, value)| *value == [key[1]; 20]));
    Arc::into_inner(trace).unwrap().into_inner().unwrap()
}

/// What happened in each of so many runs.
fn traces(seed: u64, count: usize) -> Vec<Run> {
    let traces = Arc::new(Mutex::new(Vec::new()));
    let note = Arc::clone(&traces);
    with_schedules(seed, count, move || {
        let disk = SimDisk::new(seed);
        let trace = write_and_look_again(&disk);
        note.lock().unwrap().push((trace, disk.all_files()));
    });
    std::mem::take(&mut *traces.lock().unwrap())
}

#[test]
fn a_seed_decides_everything_that_threads_do_to_each_other() {
    let mut runs = traces(7, 20);
    assert_eq!(runs, traces(7, 20), "the same seed");
    runs.sort();
    runs.dedup();
    assert_eq!(runs.len(), 20, "each run has a schedule of its own");
}

fn times() -> usize {
    std::env::var("KVWAL_SCHEDULES").map_or(1, |times| times.parse().expect("KVWAL_SCHEDULES is a number"))
}

#[test]
fn three_writers_and_a_checkpoint() {
    with_schedules(1, 200 * times(), || _ = write_and_look_again(&SimDisk::new(1)));
}

fn number(bytes: &[u8]) -> u32 {
    u32::from_be_bytes(bytes.try_into().unwrap())
}

/// Writers that count in transactions, of which each sees the one before it, also in its group; and in between set a key
/// that the others read beside the counter.
fn count_together(mode: SyncMode) {
    let disk = SimDisk::new(1);
    let options = Options { sync: mode, checkpoint_wal_bytes: Size::Bytes(250), ..Options::default() };
    let store = Arc::new(Store::open_on(Arc::new(disk.clone()), DIR, &options).unwrap());
    let seen = Arc::new(Mutex::new(Vec::new()));
    let write = |writer: u32| {
        let (store, seen) = (Arc::clone(&store), Arc::clone(&seen));
        thread::spawn(move || {
            for turn in 0..WRITES {
                let before = store.transact(|transaction| {
                    let before = transaction.get_with(b"counter", |entry| number(entry.value))?.unwrap_or(0);
                    transaction.set(b"counter", &(before + 1).to_be_bytes())?;
                    if let Some(own) = transaction.get(&writer.to_be_bytes())? {
                        assert_eq!(number(&own), turn - 1, "what it has set itself");
                    }
                    Ok(before)
                });
                let before = before.unwrap();
                assert!(store.get(b"counter").unwrap().is_some_and(|now| number(&now) > before));
                seen.lock().unwrap().push(before);
                store.set(&writer.to_be_bytes(), &turn.to_be_bytes()).unwrap();
            }
        })
    };
    let writers: Vec<_> = (0..WRITERS).map(write).collect();
    writers.into_iter().for_each(|writer| writer.join().unwrap());
    let mut seen = std::mem::take(&mut *seen.lock().unwrap());
    seen.sort_unstable();
    assert!(seen.into_iter().eq(0..WRITERS * WRITES), "no two have seen the same");
    store.check_invariants();
    Arc::into_inner(store).unwrap().close().unwrap();
    let store = Store::open_on(Arc::new(disk), DIR, &options).unwrap();
    assert_eq!(number(&store.get(b"counter").unwrap().unwrap()), WRITERS * WRITES);
}

#[test]
fn transactions_beside_plain_writes() {
    for mode in [SyncMode::Always, SyncMode::Interval, SyncMode::None] {
        with_schedules(1, 150 * times(), move || count_together(mode));
    }
}

/// Groups in which works of several callers, plain writes and an error meet: each work is told its own result.
#[test]
fn a_work_that_fails_among_others() {
    with_schedules(2, 200 * times(), || {
        let store = Arc::new(Store::open_on(Arc::new(SimDisk::new(1)), DIR, &support::options()).unwrap());
        let write = |writer: u8| {
            let store = Arc::clone(&store);
            thread::spawn(move || {
                let mut works: Vec<_> = (0..3)
                    .map(|work| {
                        move |transaction: &mut Transaction<'_>| {
                            transaction.set(&[writer, work], b"")?;
                            match work {
                                1 => Err(Error::new(ErrorKind::Invalid, format!("{writer}"))),
                                _ => transaction.set(b"last", &[writer]),
                            }
                        }
                    })
                    .collect();
                let results =
                    store.transact_all(&mut works).into_iter().map(|result| result.map_err(|e| e.to_string()));
                assert_eq!(results.collect::<Vec<_>>(), [Ok(()), Err(writer.to_string()), Ok(())]);
            })
        };
        let writers: Vec<_> = (0..3).map(write).collect();
        store.set(b"plain", b"").unwrap();
        writers.into_iter().for_each(|writer| writer.join().unwrap());
        let keys = contents(&store).into_keys().collect::<Vec<_>>();
        let expected: [&[u8]; 8] = [&[0, 0], &[0, 2], &[1, 0], &[1, 2], &[2, 0], &[2, 2], b"last", b"plain"];
        assert_eq!(keys, expected);
    });
}
