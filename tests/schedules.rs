//! A whole store on a simulated disk, its threads scheduled by a seed: see `src/sys/scheduled`. Only when built with
//! `--cfg kvwal_shuttle`: `make schedules`.
#![cfg(kvwal_shuttle)]

mod support;

use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use kvwal::vfs::sim::SimDisk;
use kvwal::{Options, Size, Store};
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

#[test]
fn three_writers_and_a_checkpoint() {
    let times = std::env::var("KVWAL_SCHEDULES").map_or(1, |times| times.parse().expect("KVWAL_SCHEDULES is a number"));
    with_schedules(1, 200 * times, || _ = write_and_look_again(&SimDisk::new(1)));
}
