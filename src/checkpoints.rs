//! Who makes a checkpoint, and when.

use crate::error::Result;
use crate::format::Lsn;
use crate::sys::sync::{Condvar, Mutex};

/// The newest checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Newest {
    /// Its LSN.
    pub lsn: Lsn,
    /// The length of its file.
    pub file_len: u64,
}

/// Makes checkpoints come one at a time, whoever wants them.
pub struct Checkpoints {
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    is_running: bool,
    is_requested: bool,
    is_stopped: bool,
    newest: Option<Newest>,
    /// The last attempt failed, perhaps half-way: there may be a log that is still to be retired.
    is_unfinished: bool,
    completed: u64,
    failed: u64,
}

impl Checkpoints {
    /// `newest` is the one that recovery loaded; `is_unfinished` says that it found one that was interrupted.
    pub fn new(newest: Option<Newest>, is_unfinished: bool) -> Checkpoints {
        let (is_running, is_requested, is_stopped) = (false, false, false);
        let state = State { is_running, is_requested, is_stopped, newest, is_unfinished, completed: 0, failed: 0 };
        Checkpoints { state: Mutex::new(state), changed: Condvar::new() }
    }

    /// Returns when there is a checkpoint that covers `lsn`: waits for one that is running, and unless that turns out
    /// to be enough, has `make` make one.
    pub fn ensure(&self, lsn: Lsn, make: impl FnOnce() -> Result<Newest>) -> Result<()> {
        let mut state = self.state.lock();
        while state.is_running {
            state = self.changed.wait(state);
        }
        if !state.is_unfinished && state.newest.is_some_and(|newest| newest.lsn >= lsn) {
            return Ok(());
        }
        (state.is_running, state.is_unfinished) = (true, true);
        drop(state);
        let _running = Running(self);
        let newest = make().inspect_err(|_| self.state.lock().failed += 1)?;
        let mut state = self.state.lock();
        (state.newest, state.is_unfinished) = (Some(newest), false);
        state.completed += 1;
        Ok(())
    }

    /// The newest checkpoint, and how many were completed.
    pub fn newest(&self) -> (Option<Newest>, u64) {
        let state = self.state.lock();
        (state.newest, state.completed)
    }

    /// How many attempts failed.
    pub fn failures(&self) -> u64 {
        self.state.lock().failed
    }

    /// Wakes the thread that makes checkpoints in the background.
    pub fn request(&self) {
        let mut state = self.state.lock();
        state.is_requested = true;
        self.changed.notify_all(&state);
    }

    /// Ends that thread.
    pub fn stop(&self) {
        let mut state = self.state.lock();
        state.is_stopped = true;
        self.changed.notify_all(&state);
    }

    /// Waits until a checkpoint is requested; false if it is time to end.
    pub fn wait_for_request(&self) -> bool {
        let mut state = self.state.lock();
        while !state.is_requested && !state.is_stopped {
            state = self.changed.wait(state);
        }
        state.is_requested = false;
        !state.is_stopped
    }
}

/// Whoever makes a checkpoint stops doing so, also by an error or a panic.
struct Running<'a>(&'a Checkpoints);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        let mut state = self.0.state.lock();
        state.is_running = false;
        self.0.changed.notify_all(&state);
    }
}

#[cfg(all(test, kvwal_shuttle))]
mod schedules;
