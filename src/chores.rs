//! What the background threads of a store do, beside making checkpoints.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::engine::Engine;
use crate::options::SyncMode;
use crate::sys::clock::Instant;
use crate::sys::event::Bell;

/// How long a record may stay in memory before it is handed over to the system, in [`SyncMode::Interval`].
const HAND_OVER_EVERY: Duration = Duration::from_millis(3);
/// How often it is noted how far the log is durable, at most.
const NOTE_EVERY: Duration = Duration::from_millis(50);
/// How long a note may be in the page cache only.
const SYNC_EVERY: Duration = Duration::from_secs(1);

/// The chores of the log. Failures are latched, or made up for by the writers, who report them.
pub fn do_chores(engine: &Engine, bell: &Bell, stop: &AtomicBool) {
    match engine.options.sync {
        SyncMode::Interval => hand_over_and_sync(engine, bell, stop),
        SyncMode::Always | SyncMode::None => {
            while !stop.load(Ordering::Relaxed) {
                let _ = engine.logs.fill();
                bell.wait(None);
            }
        }
    }
}

/// In [`SyncMode::Interval`]: sleeps until there is something in the buffer, hands it over after a moment, or as soon as
/// the buffer is half full, and syncs at regular times.
fn hand_over_and_sync(engine: &Engine, bell: &Bell, stop: &AtomicBool) {
    let interval = Duration::from_millis(engine.options.sync_interval_ms.max(1));
    let mut unsynced_since = None;
    let mut is_rung = false;
    loop {
        if is_rung {
            bell.wait(Some(HAND_OVER_EVERY.min(interval)));
            let _ = engine.logs.hand_over();
            unsynced_since.get_or_insert_with(Instant::now);
        }
        if unsynced_since.is_some_and(|since: Instant| since.elapsed() >= interval) {
            // What could not be handed over is tried again, even if nobody writes any more.
            unsynced_since = engine.sync().is_err().then(Instant::now);
        }
        if stop.load(Ordering::Relaxed) {
            // Perhaps that was what the bell rang for when it was heard above.
            return;
        }
        is_rung = bell.wait(unsynced_since.map(|since| interval.saturating_sub(since.elapsed())));
    }
}

/// Notes for as long as the store is open when which record was the last durable one. What cannot be noted is tried again.
pub fn keep_time(engine: &Engine, bell: &Arc<Bell>) {
    let Some(archive) = &engine.archive else { return };
    let mut next = 0;
    let mut unsynced_since = None;
    while !engine.watchers.is_closed() {
        match engine.durable_or_ring(next, bell) {
            Some(durable_lsn) => {
                if archive.note(durable_lsn).is_ok() {
                    next = durable_lsn + 1;
                    unsynced_since.get_or_insert_with(Instant::now);
                }
                bell.wait(Some(NOTE_EVERY));
            }
            None => {
                bell.wait(unsynced_since.map(|since: Instant| SYNC_EVERY.saturating_sub(since.elapsed())));
                engine.watchers.remove(bell);
            }
        }
        if unsynced_since.is_some_and(|since: Instant| since.elapsed() >= SYNC_EVERY) {
            unsynced_since = archive.sync_notes().is_err().then(Instant::now);
        }
    }
}
