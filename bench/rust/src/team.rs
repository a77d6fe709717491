//! Threads that work at once and are timed together.

use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use crate::Result;

/// When a team stops.
#[derive(Clone, Copy)]
pub enum Until {
    Time(Duration),
    /// Of all its threads together.
    Ops(u64),
    /// Its threads end by themselves.
    Done,
}

pub struct Worker<'a> {
    pub number: usize,
    pub ops: u64,
    latency: Histogram<u64>,
    limit: u64,
    stop: &'a AtomicBool,
}

impl Worker<'_> {
    pub fn goes_on(&self) -> bool {
        self.ops < self.limit && !self.stop.load(Ordering::Relaxed)
    }

    /// Does something and remembers how long it took.
    pub fn timed<T>(&mut self, work: impl FnOnce() -> T) -> T {
        let start = Instant::now();
        let result = work();
        self.latency.saturating_record(start.elapsed().as_nanos() as u64);
        result
    }

    /// As timed(), but of so many calls only one is timed, so that the clock is no part of what is measured.
    pub fn sampled<T>(&mut self, every: u64, work: impl FnOnce() -> T) -> T {
        if self.ops.is_multiple_of(every) { self.timed(work) } else { work() }
    }
}

pub struct Outcome {
    pub ops: u64,
    pub seconds: f64,
    /// In nanoseconds.
    pub latency: Histogram<u64>,
}

fn histogram() -> Result<Histogram<u64>> {
    const LONGEST: u64 = 600_000_000_000;
    Ok(Histogram::new_with_max(LONGEST, 3)?)
}

/// Runs so many threads to the end.
pub fn run(threads: usize, until: Until, work: impl Fn(&mut Worker) -> Result<()> + Sync) -> Result<Outcome> {
    let stop = AtomicBool::new(false);
    let start = Barrier::new(threads + 1);
    let limit = match until {
        Until::Ops(ops) => ops.div_ceil(threads as u64),
        Until::Time(_) | Until::Done => u64::MAX,
    };
    let one = |number| -> Result<_> {
        let mut worker = Worker { number, ops: 0, latency: histogram()?, limit, stop: &stop };
        start.wait();
        let began = Instant::now();
        let result = work(&mut worker);
        let end = Instant::now();
        result.map(|()| (worker.ops, worker.latency, began, end))
    };
    thread::scope(|scope| {
        let one = &one;
        let workers: Vec<_> = (0..threads).map(|number| scope.spawn(move || one(number))).collect();
        start.wait();
        if let Until::Time(time) = until {
            thread::sleep(time);
            stop.store(true, Ordering::Relaxed);
        }
        let mut outcome = Outcome { ops: 0, seconds: 0.0, latency: histogram()? };
        let (mut began, mut ended) = (None, None);
        for worker in workers {
            let (ops, latency, begin, end) = worker.join().map_err(|_| "a thread panicked")??;
            outcome.ops += ops;
            outcome.latency.add(latency)?;
            began = Some(began.map_or(begin, |first: Instant| first.min(begin)));
            ended = ended.max(Some(end));
        }
        // From the first that starts to the last that ends: a short work may be over before this thread runs again.
        outcome.seconds = ended.zip(began).map_or(0.0, |(end, begin): (Instant, Instant)| (end - begin).as_secs_f64());
        Ok(outcome)
    })
}
