//! Tasks in the place of threads, as in [`sys::thread`](crate::sys::thread) otherwise.

use std::ffi::CStr;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};

pub use shuttle::thread::yield_now;

/// A running task. To be joined.
pub struct Thread(shuttle::thread::JoinHandle<bool>);

impl Thread {
    /// Starts a task.
    pub fn start(_name: &CStr, work: impl FnOnce() + Send + 'static) -> io::Result<Thread> {
        Ok(Thread(shuttle::thread::spawn(move || catch_unwind(AssertUnwindSafe(work)).is_ok())))
    }

    /// Waits for the task to end; false if it panicked.
    pub fn join(self) -> bool {
        self.0.join().unwrap_or(false)
    }
}

/// What tells the tasks of a run from each other. Never 0, and, as an address would be, a multiple of 64.
pub fn pointer() -> u64 {
    let task = shuttle::current::get_current_task().expect("a task is running");
    (usize::from(task) as u64 + 1) * 64
}

/// How many tasks are worth having, on whatever machine.
pub fn cores() -> usize {
    2
}
