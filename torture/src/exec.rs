//! Who runs when. Usually one thread does everything; built with `--cfg kvwal_shuttle` there are as many as wanted, and a
//! seed decides which of them goes on, so that the same seed gives the same run.

/// Work for a thread.
pub type Task = Box<dyn FnOnce() + Send>;

#[cfg(not(kvwal_shuttle))]
mod one_thread {
    use super::Task;

    /// Runs `work` under the schedule of a seed.
    pub fn scheduled<R: Send + 'static>(_seed: u64, work: impl FnOnce() -> R + Send + 'static) -> R {
        work()
    }

    /// Runs all tasks and returns when they have ended.
    pub fn all_at_once(tasks: Vec<Task>) {
        tasks.into_iter().for_each(|task| task());
    }
}

#[cfg(kvwal_shuttle)]
mod shuttled {
    use std::sync::{Arc, Mutex};

    use shuttle::scheduler::RandomScheduler;
    use shuttle::{Config, MaxSteps, Runner};

    use super::Task;

    /// Enough for recovery, and the exploring that calls it.
    const STACK: usize = 1 << 20;

    /// Runs `work` under the schedule of a seed. What it makes of the library's must not outlive it.
    pub fn scheduled<R: Send + 'static>(seed: u64, work: impl FnOnce() -> R + Send + 'static) -> R {
        let mut config = Config::new();
        (config.stack_size, config.max_steps) = (STACK, MaxSteps::None);
        let (work, result) = (Mutex::new(Some(work)), Arc::new(Mutex::new(None)));
        let to = Arc::clone(&result);
        Runner::new(RandomScheduler::new_from_seed(seed, 1), config).run(move || {
            let work = work.lock().expect("not poisoned").take().expect("it is run once");
            let made = work();
            *to.lock().expect("not poisoned") = Some(made);
        });
        let made = result.lock().expect("not poisoned").take();
        made.expect("it was run")
    }

    /// Runs all tasks and returns when they have ended.
    pub fn all_at_once(tasks: Vec<Task>) {
        let threads: Vec<_> = tasks.into_iter().map(shuttle::thread::spawn).collect();
        threads.into_iter().for_each(|thread| thread.join().expect("a writer panicked"));
    }
}

#[cfg(not(kvwal_shuttle))]
pub use one_thread::{all_at_once, scheduled};
#[cfg(kvwal_shuttle)]
pub use shuttled::{all_at_once, scheduled};
