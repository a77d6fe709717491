//! Silence for panics, which must not print into the host's stderr.

use std::panic;
use std::sync::atomic::{AtomicBool, Ordering};

/// From the first call on, a panic in a C program's copy of this library prints nothing: the message of the call that
/// it ended says so instead. The hook captures nothing, so that it holds no heap block at exit.
///
/// Only the C interface calls this. A Rust program keeps its own hook.
pub fn silence() {
    static SILENT: AtomicBool = AtomicBool::new(false);
    // Atomics only by plain load and read-modify-write: helgrind takes a store beside a load for a race.
    if !SILENT.load(Ordering::Relaxed) && !SILENT.swap(true, Ordering::Relaxed) {
        panic::set_hook(Box::new(|_| {}));
    }
}
