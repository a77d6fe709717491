//! Who waits for a record to become durable.
//!
//! Writers pay nothing for it while nobody waits: they compare the LSN that became durable with the least one that is waited
//! for, which is beyond all others then. Both sides do so under the lock that guards how far the log is durable, so that no
//! wake-up falls between a look and the sleep behind it. One call wakes each who waits, once, and takes it off the list.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::format::Lsn;
use crate::sys::event::Bell;
use crate::sys::sync::Mutex;

/// The list of those who wait.
pub struct Watchers {
    /// The least LSN in it.
    least: AtomicU64,
    waiting: Mutex<Vec<(Lsn, Arc<Bell>)>>,
    is_closed: AtomicBool,
}

impl Watchers {
    /// An empty list.
    pub fn new() -> Watchers {
        let (least, waiting) = (AtomicU64::new(Lsn::MAX), Mutex::new(Vec::new()));
        Watchers { least, waiting, is_closed: AtomicBool::new(false) }
    }

    /// Has `bell` rung when the record `lsn` is durable, or earlier. The caller holds what guards how far the log is.
    pub fn add(&self, lsn: Lsn, bell: &Arc<Bell>) {
        let mut waiting = self.waiting.lock();
        waiting.push((lsn, Arc::clone(bell)));
        self.least.fetch_min(lsn, Ordering::Relaxed);
    }

    /// Takes `bell` off the list.
    pub fn remove(&self, bell: &Arc<Bell>) {
        self.waiting.lock().retain(|(_, waiting)| !Arc::ptr_eq(waiting, bell));
    }

    /// The log is durable up to `lsn`. The caller holds what guards that.
    #[inline(always)]
    pub fn durable(&self, lsn: Lsn) {
        if lsn >= self.least.load(Ordering::Relaxed) {
            self.ring(lsn);
        }
    }

    /// Wakes all, to see for themselves.
    pub fn wake_all(&self) {
        self.ring(Lsn::MAX);
    }

    /// Nothing becomes durable any more.
    pub fn close(&self) {
        self.is_closed.swap(true, Ordering::Relaxed);
        self.wake_all();
    }

    /// Whether that was said.
    pub fn is_closed(&self) -> bool {
        self.is_closed.load(Ordering::Relaxed)
    }

    #[cold]
    fn ring(&self, lsn: Lsn) {
        let mut waiting = self.waiting.lock();
        waiting.retain(|(wanted, bell)| {
            if *wanted <= lsn {
                bell.ring();
            }
            *wanted > lsn
        });
        let least = waiting.iter().map(|(wanted, _)| *wanted).min();
        self.least.swap(least.unwrap_or(Lsn::MAX), Ordering::Relaxed);
    }
}
