//! Checkpoints under every kind of schedule: one at a time, no request is forgotten, and nobody waits for ever.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex as StdMutex};

use super::*;
use crate::error::{Error, ErrorKind};
use crate::sys::event::Bell;
use crate::sys::scheduled::explore;
use crate::sys::thread::{Thread, yield_now};

/// A store that makes checkpoints of what is visible.
struct Maker {
    checkpoints: Checkpoints,
    visible: AtomicU64,
    /// Held while one is made.
    making: StdMutex<()>,
    attempts: AtomicU64,
    succeeded: AtomicU64,
    fails: fn(u64) -> bool,
}

impl Maker {
    /// What a caller does who wants all up to `lsn` to be in a checkpoint.
    fn checkpoint(&self, lsn: Lsn) -> Result<()> {
        self.checkpoints.ensure(lsn, || {
            let _alone = self.making.try_lock().expect("one checkpoint at a time");
            let newest = Newest { lsn: self.visible.load(Ordering::Relaxed), file_len: 0 };
            yield_now();
            if (self.fails)(self.attempts.fetch_add(1, Ordering::Relaxed)) {
                return Err(Error::new(ErrorKind::NoSpace, "on purpose"));
            }
            self.succeeded.fetch_add(1, Ordering::Relaxed);
            Ok(newest)
        })
    }
}

/// Callers and the background thread want checkpoints at the same time.
fn run(fails: fn(u64) -> bool) {
    let maker = Arc::new(Maker {
        checkpoints: Checkpoints::new(None, false),
        visible: AtomicU64::default(),
        making: StdMutex::default(),
        attempts: AtomicU64::default(),
        succeeded: AtomicU64::default(),
        fails,
    });
    let call = |_| {
        let maker = Arc::clone(&maker);
        let call = move || {
            let lsn = maker.visible.fetch_add(1, Ordering::Relaxed) + 1;
            // Who was refused tries again; the next attempt succeeds, be it of this caller or another.
            while maker.checkpoint(lsn).is_err() {}
            assert!(maker.checkpoints.newest().0.is_some_and(|newest| newest.lsn >= lsn));
        };
        Thread::start(c"caller", call).unwrap()
    };
    let served = Arc::new(Bell::new().unwrap());
    let background = {
        let (maker, served) = (Arc::clone(&maker), Arc::clone(&served));
        let serve = move || {
            while maker.checkpoints.wait_for_request() {
                _ = maker.checkpoint(maker.visible.load(Ordering::Relaxed));
                served.ring();
            }
        };
        Thread::start(c"background", serve).unwrap()
    };
    let callers: Vec<_> = (0..3).map(call).collect();
    maker.checkpoints.request();
    assert!(served.wait(None));
    assert!(callers.into_iter().all(Thread::join));
    maker.checkpoints.stop();
    assert!(background.join());
    assert_eq!(maker.checkpoints.newest().1, maker.succeeded.load(Ordering::Relaxed));
}

#[test]
fn whoever_wants_a_checkpoint_gets_one() {
    explore::at_random(1500, || run(|_| false));
}

#[test]
fn after_one_that_failed_another_is_made() {
    explore::at_random(1500, || run(|attempt| attempt % 2 == 0));
}
