//! The workloads, as bench/README.md describes them.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use crate::keys::{self, Distribution, KEY_LEN, Key, Random, ValuePool};
use crate::stores::{Config, Durability, Kind, Store};
use crate::team::{self, Outcome, Until, Worker};
use crate::{Cannot, Options, Result};

const BATCH: usize = 100;
const LOAD_BATCH: usize = 1000;
const CHECKED_KEYS: usize = 1000;
const KEYS_A_CALL: usize = 64;
const DRAWN_SETS: usize = 1 << 20;
const DRAWN_GETS: usize = 1 << 21;
const GET_SAMPLE: u64 = 64;
const RELAXED_SET_SAMPLE: u64 = 16;
const QUANTILES: [(&str, f64); 9] = [
    ("p50", 0.5),
    ("p75", 0.75),
    ("p90", 0.9),
    ("p95", 0.95),
    ("p99", 0.99),
    ("p995", 0.995),
    ("p999", 0.999),
    ("p9995", 0.9995),
    ("p9999", 0.9999),
];
/// Apart enough that no two threads begin with the same keys.
const MIXED_STRIDE: usize = DRAWN_SETS / 256;

pub fn run(options: &Options, kind: &Kind) -> Result<()> {
    let bench = Bench { options, kind, pool: ValuePool::new(options.value_len, options.seed) };
    match options.workload.as_str() {
        "set-durable" | "large-durable" => bench.write_durable(set_keys),
        "batch-durable" => bench.write_durable(set_batches),
        "set-relaxed" => bench.set_relaxed(),
        "get" => bench.read(&[Distribution::Uniform, Distribution::Zipf], get_keys),
        "get-many" if !kind.has_get_many => Err(Cannot(format!("{} looks up one key at a time", kind.name)).into()),
        "get-many" => bench.read(&[Distribution::Uniform], get_keys_together),
        "mixed-50" => bench.mixed(50),
        "mixed-95" => bench.mixed(95),
        "memory" => bench.memory(),
        other => Err(Cannot(format!("there is no workload {other} here")).into()),
    }
}

struct Bench<'a> {
    options: &'a Options,
    kind: &'a Kind,
    pool: ValuePool,
}

/// What a thread that reads or writes works with.
struct Task<'a> {
    store: &'a dyn Store,
    pool: &'a ValuePool,
    value_len: usize,
    /// In the order of their use.
    keys: &'a [Key],
}

fn set_keys(task: &Task, worker: &mut Worker) -> Result<()> {
    while worker.goes_on() {
        let key = &task.keys[worker.ops as usize % task.keys.len()];
        worker.timed(|| task.store.set(key, task.pool.value_of(key)))?;
        worker.ops += 1;
    }
    Ok(())
}

fn set_batches(task: &Task, worker: &mut Worker) -> Result<()> {
    let mut pairs = Vec::with_capacity(BATCH);
    while worker.goes_on() {
        let first = worker.ops as usize;
        worker.timed(|| {
            pairs.clear();
            pairs.extend((first..first + BATCH).map(|at| {
                let key = &task.keys[at % task.keys.len()];
                (key.as_slice(), task.pool.value_of(key))
            }));
            task.store.set_batch(&pairs)
        })?;
        worker.ops += BATCH as u64;
    }
    Ok(())
}

fn get_keys(task: &Task, worker: &mut Worker) -> Result<()> {
    let mut buf = vec![0; task.value_len];
    while worker.goes_on() {
        let key = &task.keys[worker.ops as usize % task.keys.len()];
        let found = worker.sampled(GET_SAMPLE, || task.store.get(key, &mut buf))?;
        must_be_found(found, task.value_len)?;
        worker.ops += 1;
    }
    Ok(())
}

fn get_keys_together(task: &Task, worker: &mut Worker) -> Result<()> {
    let mut bufs = vec![0; KEYS_A_CALL * task.value_len];
    let mut found = [None; KEYS_A_CALL];
    while worker.goes_on() {
        let first = worker.ops as usize;
        worker.timed(|| {
            let keys: [&[u8]; KEYS_A_CALL] =
                std::array::from_fn(|i| task.keys[(first + i) % task.keys.len()].as_slice());
            task.store.get_many(&keys, &mut bufs, &mut found)
        })?;
        found.iter().try_for_each(|&found| must_be_found(found, task.value_len))?;
        worker.ops += KEYS_A_CALL as u64;
    }
    Ok(())
}

fn must_be_found(found: Option<usize>, value_len: usize) -> Result<()> {
    if found == Some(value_len) { Ok(()) } else { Err("a key was not found, or not with its value".into()) }
}

impl Bench<'_> {
    fn open(&self, number: usize, durability: Durability) -> Result<Box<dyn Store>> {
        let dir: PathBuf = self.options.dir.join(number.to_string());
        fs::create_dir_all(&dir)?;
        (self.kind.open)(&Config { dir: &dir, durability, keys: self.options.keys })
    }

    fn task<'a>(&'a self, store: &'a dyn Store, keys: &'a [Key]) -> Task<'a> {
        Task { store, pool: &self.pool, value_len: self.options.value_len, keys }
    }

    fn until(&self) -> Until {
        match self.options.ops {
            Some(ops) => Until::Ops(ops),
            None => self.until_time(),
        }
    }

    fn until_time(&self) -> Until {
        Until::Time(Duration::from_secs_f64(self.options.seconds))
    }

    fn must_be_durable(&self) -> Result<()> {
        if self.kind.is_durable { Ok(()) } else { Err(Cannot(format!("{} is not durable", self.kind.name)).into()) }
    }

    fn write_durable(&self, work: fn(&Task, &mut Worker) -> Result<()>) -> Result<()> {
        self.must_be_durable()?;
        let Options { keys, seed, .. } = *self.options;
        let drawn = keys::drawn(DRAWN_SETS, keys, Distribution::Uniform, seed, seed);
        for (number, &threads) in self.options.threads.iter().enumerate() {
            let store = self.open(number, Durability::Durable)?;
            let part = drawn.len() / threads;
            let outcome = team::run(threads, self.until(), |worker| {
                let keys = &drawn[worker.number * part..][..part];
                work(&self.task(&*store, keys), worker)
            })?;
            self.print("-", threads, &outcome);
            store.close()?;
        }
        Ok(())
    }

    fn set_relaxed(&self) -> Result<()> {
        let keys = keys::in_order(self.options.keys, self.options.seed);
        for (number, &threads) in self.options.threads.iter().enumerate() {
            let store = self.open(number, Durability::Relaxed)?;
            let part = keys.len() / threads;
            let outcome = team::run(threads, Until::Done, |worker| {
                for key in &keys[worker.number * part..][..part] {
                    worker.sampled(RELAXED_SET_SAMPLE, || store.set(key, self.pool.value_of(key)))?;
                    worker.ops += 1;
                }
                Ok(())
            })?;
            self.print("-", threads, &outcome);
            store.close()?;
        }
        Ok(())
    }

    fn load(&self, store: &dyn Store) -> Result<()> {
        let keys = keys::in_order(self.options.keys, self.options.seed);
        for keys in keys.chunks(LOAD_BATCH) {
            let pairs: Vec<_> = keys.iter().map(|key| (key.as_slice(), self.pool.value_of(key))).collect();
            store.set_batch(&pairs)?;
        }
        let mut buf = vec![0; self.options.value_len];
        for i in 0..CHECKED_KEYS {
            let key = &keys[i * keys.len() / CHECKED_KEYS];
            must_be_found(store.get(key, &mut buf)?, buf.len())?;
            if buf != self.pool.value_of(key) {
                return Err("a key that was loaded has another value".into());
            }
        }
        store.checkpoint()
    }

    fn read(&self, distributions: &[Distribution], work: fn(&Task, &mut Worker) -> Result<()>) -> Result<()> {
        let Options { keys, seed, .. } = *self.options;
        let store = self.open(0, Durability::Relaxed)?;
        self.load(&*store)?;
        for &distribution in distributions {
            for &threads in &self.options.threads {
                let drawn: Vec<_> = (0..threads as u64)
                    .map(|thread| keys::drawn(DRAWN_GETS, keys, distribution, seed, seed.wrapping_add(thread)))
                    .collect();
                let outcome = team::run(threads, self.until_time(), |worker| {
                    work(&self.task(&*store, &drawn[worker.number]), worker)
                })?;
                let case = if distribution == Distribution::Uniform { "uniform" } else { "zipf" };
                self.print(case, threads, &outcome);
            }
        }
        store.close()
    }

    fn mixed(&self, percent_gets: u64) -> Result<()> {
        self.must_be_durable()?;
        let Options { keys, seed, .. } = *self.options;
        let drawn = keys::drawn(DRAWN_SETS, keys, Distribution::Uniform, seed, seed);
        for (number, &threads) in self.options.threads.iter().enumerate() {
            let store = self.open(number, Durability::Relaxed)?;
            self.load(&*store)?;
            store.close()?;
            let store = self.open(number, Durability::Durable)?;
            let outcome = team::run(threads, self.until(), |worker| {
                self.get_and_set(&self.task(&*store, &drawn), worker, percent_gets)
            })?;
            self.print("-", threads, &outcome);
            store.close()?;
        }
        Ok(())
    }

    fn get_and_set(&self, task: &Task, worker: &mut Worker, percent_gets: u64) -> Result<()> {
        let mut choice = Random::new(worker.number as u64);
        let mut buf = vec![0; task.value_len];
        while worker.goes_on() {
            let at = worker.number * MIXED_STRIDE + worker.ops as usize;
            let key = &task.keys[at % task.keys.len()];
            if choice.next() % 100 < percent_gets {
                must_be_found(task.store.get(key, &mut buf)?, buf.len())?;
            } else {
                worker.timed(|| task.store.set(key, task.pool.value_of(key)))?;
            }
            worker.ops += 1;
        }
        Ok(())
    }

    fn memory(&self) -> Result<()> {
        let before = resident_bytes()?;
        let store = self.open(0, Durability::Relaxed)?;
        self.load(&*store)?;
        let taken = resident_bytes()?.saturating_sub(before) as f64;
        let Options { keys, value_len, .. } = *self.options;
        let a_key = taken / keys as f64 - (KEY_LEN + value_len) as f64;
        let line = self.line("loaded", 1, keys as u64, 0.0);
        println!("{line} bytes_per_key={a_key:.3} resident_mib={:.3}", taken / f64::from(1 << 20));
        store.close()
    }

    fn line(&self, case: &str, threads: usize, ops: u64, seconds: f64) -> String {
        let Options { workload, keys, value_len, .. } = self.options;
        let rate = if seconds > 0.0 { ops as f64 / seconds } else { 0.0 };
        format!(
            "store={} workload={workload} case={case} threads={threads} keys={keys} value={value_len} ops={ops} \
             seconds={seconds:.6} ops_per_s={rate:.1}",
            self.kind.name
        )
    }

    fn print(&self, case: &str, threads: usize, outcome: &Outcome) {
        let Outcome { ops, seconds, latency } = outcome;
        let us = |ns: u64| ns as f64 / 1e3;
        let over = |ns: u64| latency.len() - latency.count_between(0, ns);
        let rate = *ops as f64 / seconds * (KEY_LEN + self.options.value_len) as f64 / 1e6;
        let quantiles: String = QUANTILES
            .iter()
            .map(|&(name, fraction)| format!(" {name}_us={:.3}", us(latency.value_at_quantile(fraction))))
            .collect();
        println!(
            "{} mb_per_s={rate:.3}{quantiles} max_us={:.3} over_100us={} over_1ms={}",
            self.line(case, threads, *ops, *seconds),
            us(latency.max()),
            over(100_000),
            over(1_000_000),
        );
    }
}

fn resident_bytes() -> Result<u64> {
    let rollup = fs::read_to_string("/proc/self/smaps_rollup")?;
    let line = rollup.lines().find_map(|line| line.strip_prefix("Rss:")).ok_or("smaps_rollup has no Rss")?;
    let kib: u64 = line.trim().trim_end_matches(" kB").parse()?;
    Ok(kib * 1024)
}
