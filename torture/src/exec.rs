//! Who runs when. Usually one thread does everything; built with `--cfg kvwal_shuttle` there are as many as wanted, and a
//! seed decides which of them goes on, so that the same seed gives the same run.

/// Work for a thread.
pub type Task = Box<dyn FnOnce() + Send>;

#[cfg(not(kvwal_shuttle))]
mod one_thread {
    use super::Task;

    /// Runs `work` under the schedule of a seed.
    pub fn scheduled<R: Send + 'static>(_seed: u64, work: impl Fn() -> R + Send + Sync + 'static) -> R {
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

    /// Runs `work` under the schedule of a seed.
    pub fn scheduled<R: Send + 'static>(seed: u64, work: impl Fn() -> R + Send + Sync + 'static) -> R {
        let mut config = Config::new();
        (config.stack_size, config.max_steps) = (STACK, MaxSteps::None);
        let result = Arc::new(Mutex::new(None));
        let to = Arc::clone(&result);
        let scheduler = RandomScheduler::new_from_seed(seed, 1);
        Runner::new(scheduler, config).run(move || *to.lock().expect("not poisoned") = Some(work()));
        let result = result.lock().expect("not poisoned").take();
        result.expect("the work was run")
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
