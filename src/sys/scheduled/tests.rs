//! What the library relies on, of tasks in the place of threads.

use std::collections::BTreeSet;
use std::panic::resume_unwind;
use std::sync::{Arc, Mutex as StdMutex};
use std::time::Duration;

use super::clock::Instant;
use super::event::Bell;
use super::sync::Mutex;
use super::thread::{Thread, pointer, yield_now};

/// What a run notes comes in another order in some other run.
fn outcomes<T: Ord + Send + 'static>(runs: usize, run: impl Fn() -> T + Send + Sync + 'static) -> BTreeSet<T> {
    let seen = Arc::new(StdMutex::new(BTreeSet::new()));
    let note = Arc::clone(&seen);
    shuttle::check_random(move || _ = note.lock().unwrap().insert(run()), runs);
    std::mem::take(&mut *seen.lock().unwrap())
}

#[test]
fn join_tells_a_panic_from_a_good_end() {
    let ended_well = outcomes(10, || {
        let bad = Thread::start(c"bad", || resume_unwind(Box::new("on purpose"))).unwrap();
        (Thread::start(c"good", || {}).unwrap().join(), bad.join())
    });
    assert_eq!(ended_well, BTreeSet::from([(true, false)]));
}

#[test]
fn every_task_has_a_pointer_of_its_own() {
    shuttle::check_random(
        || {
            let pointers = Arc::new(Mutex::new(BTreeSet::from([pointer()])));
            let note = |pointers: Arc<Mutex<BTreeSet<u64>>>| {
                let mine = pointer();
                assert!(pointers.lock().insert(mine));
                yield_now();
                assert_eq!(pointer(), mine);
            };
            let start = |_| {
                let pointers = Arc::clone(&pointers);
                Thread::start(c"task", move || note(pointers)).unwrap()
            };
            let tasks: Vec<_> = (0..3).map(start).collect();
            assert!(tasks.into_iter().all(Thread::join) && !pointers.lock().contains(&0));
        },
        10,
    );
}

#[test]
fn a_bell_rings_once_and_a_timeout_may_be_sooner() {
    let heard = outcomes(100, || {
        let bell = Arc::new(Bell::new().unwrap());
        let ringer = Arc::clone(&bell);
        let ringer = Thread::start(c"ringer", move || ringer.ring()).unwrap();
        let in_time = bell.wait(Some(Duration::from_secs(3600)));
        if !in_time {
            assert!(bell.wait(None));
        }
        ringer.join();
        (in_time, bell.wait(Some(Duration::ZERO)))
    });
    assert_eq!(heard, BTreeSet::from([(false, false), (true, false)]));
}

#[test]
fn time_passes_with_the_schedule_alone() {
    let passed = outcomes(10, || {
        let before = Instant::now();
        std::thread::sleep(Duration::from_millis(1));
        assert_eq!(before.elapsed(), Duration::ZERO);
        yield_now();
        before.elapsed()
    });
    assert_eq!(passed.len(), 1);
    assert!(passed.iter().all(|&passed| passed > Duration::ZERO));
}
