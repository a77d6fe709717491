//! A bell that a task can wait for with a timeout, as in [`sys::event`](crate::sys::event) otherwise.

use std::io;
use std::mem;
use std::time::Duration;

use super::sync::{Condvar, Mutex};
use super::thread;

/// Wakes the task that waits for it, once for any number of rings.
pub struct Bell {
    is_ringing: Mutex<bool>,
    rung: Condvar,
}

impl Bell {
    /// A bell that has not rung.
    pub fn new() -> io::Result<Bell> {
        Ok(Bell { is_ringing: Mutex::new(false), rung: Condvar::new() })
    }

    /// Rings, for a task that waits now or later.
    pub fn ring(&self) {
        let mut is_ringing = self.is_ringing.lock();
        *is_ringing = true;
        self.rung.notify_all(&is_ringing);
    }

    /// Waits until it rings; true if it rang. A timeout, however long, comes when the scheduler next chooses this task.
    pub fn wait(&self, timeout: Option<Duration>) -> bool {
        thread::yield_now();
        let mut is_ringing = self.is_ringing.lock();
        while timeout.is_none() && !*is_ringing {
            is_ringing = self.rung.wait(is_ringing);
        }
        mem::take(&mut *is_ringing)
    }
}
