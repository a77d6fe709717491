//! Running something with many schedules.

use std::sync::Arc;

use shuttle::scheduler::{DfsScheduler, PctScheduler, RandomScheduler, Scheduler};
use shuttle::{Config, Runner};

/// The schedules of a test are the same each time, so that what failed fails again.
const SEED: u64 = 1;
/// How many changes of task that nobody expects are tried for, in one schedule: most mistakes need no more.
const DEPTH: usize = 3;
/// Nobody waits for so many schedules.
const TOO_MANY: usize = 100_000;

/// Runs `run` with `count` schedules chosen at random, and with as many that keep a task running except for a few
/// changes at random places. `KVWAL_SCHEDULES=n` makes them n times as many.
pub fn at_random(count: usize, run: impl Fn() + Send + Sync + 'static) {
    let times = std::env::var("KVWAL_SCHEDULES").map_or(1, |times| times.parse().expect("KVWAL_SCHEDULES is a number"));
    let run = Arc::new(run);
    run_all(RandomScheduler::new_from_seed(SEED, count * times), &run);
    run_all(PctScheduler::new_from_seed(SEED, DEPTH, count * times), &run);
}

/// Runs `run`, which must be small, with every schedule that there is.
pub fn in_every_order(run: impl Fn() + Send + Sync + 'static) {
    let count = run_all(DfsScheduler::new(Some(TOO_MANY), false), &Arc::new(run));
    assert!((2..TOO_MANY).contains(&count), "{count} schedules");
}

fn run_all(scheduler: impl Scheduler + 'static, run: &Arc<impl Fn() + Send + Sync + 'static>) -> usize {
    let run = Arc::clone(run);
    Runner::new(scheduler, Config::new()).run(move || run())
}
