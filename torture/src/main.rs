//! Looks for a crash, a fault or a schedule that makes kvwal lose data, on a simulated disk.
//!
//! Everything follows from a seed: [`plan`] decides what is done, [`run`] does it and keeps the [`history`], [`explore`]
//! crashes it in many places, [`recovery`] recovers it, [`oracle`] judges what was recovered (with the [`logs`] as
//! evidence), and [`order`] what callers were told. [`exec`] is the difference between the two ways in which this program
//! is built: with one thread, or with as many as wanted under a schedule of the seed's.

mod exec;
mod explore;
mod history;
mod logs;
mod oracle;
mod order;
mod plan;
mod recovery;
mod run;
mod values;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use clap::{Parser, Subcommand};

use crate::explore::Tally;

/// Looks for a crash, a fault or a schedule that makes kvwal lose data, on a simulated disk.
#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Tries one seed after the other.
    Run {
        /// For how long.
        #[arg(long, default_value_t = 60)]
        seconds: u64,
        /// The first seed; one of today's by default.
        #[arg(long)]
        seed: Option<u64>,
        /// Stop after so many seeds.
        #[arg(long, default_value_t = u64::MAX)]
        seeds: u64,
    },
    /// Tries one seed again.
    Replay { seed: u64 },
}

fn main() -> ExitCode {
    match Arguments::parse().command {
        Command::Run { seconds, seed, seeds } => {
            let today = || SystemTime::now().duration_since(UNIX_EPOCH).map_or(1, |since| since.as_millis() as u64);
            try_seeds(seed.unwrap_or_else(today), seeds, Duration::from_secs(seconds))
        }
        Command::Replay { seed } => try_seeds(seed, 1, Duration::MAX),
    }
}

/// Tries seeds until the time is over, or one of them fails.
fn try_seeds(first: u64, seeds: u64, time: Duration) -> ExitCode {
    println!("torture: {}, from seed {first} on", if cfg!(kvwal_shuttle) { "many threads" } else { "one thread" });
    let began = Instant::now();
    let mut total = Tally::default();
    let mut tried = 0;
    while tried < seeds && began.elapsed() < time {
        let seed = first.wrapping_add(tried);
        match explore(seed) {
            Ok(tally) => total.add(&tally),
            Err(error) => {
                println!("seed {seed} (number {}): {error}", tried + 1);
                let threads = if cfg!(kvwal_shuttle) { " THREADS=many" } else { "" };
                println!("again: make torture-replay SEED={seed}{threads}");
                return ExitCode::FAILURE;
            }
        }
        tried += 1;
    }
    report(tried, &total, began.elapsed());
    ExitCode::SUCCESS
}

/// As [`explore::explore`]; a panic of the store is an error, too.
fn explore(seed: u64) -> Result<Tally, String> {
    let explored = catch_unwind(AssertUnwindSafe(|| explore::explore(seed)));
    explored.unwrap_or_else(|panic| {
        let message = panic.downcast_ref::<String>().cloned();
        Err(format!(
            "panic: {}",
            message.or(panic.downcast_ref().map(|text: &&str| (*text).to_owned())).unwrap_or_default()
        ))
    })
}

fn report(seeds: u64, total: &Tally, time: Duration) {
    println!("seeds                          {seeds:>12}");
    println!("runs                           {:>12}", total.runs);
    println!("runs with failing calls        {:>12}", total.faulty_runs);
    println!("writes                         {:>12}", total.writes);
    println!("crash states checked           {:>12}", total.states);
    println!("recoveries with failing calls  {:>12}", total.faulty_recoveries);
    println!("states a second                {:>12.0}", total.states as f64 / time.as_secs_f64());
    if let Some(used) = processor_time() {
        println!("states a second of processor   {:>12.0}", total.states as f64 / used.as_secs_f64());
    }
    println!("nothing was lost");
}

/// What this process has used so far; the first number of the file is in nanoseconds.
fn processor_time() -> Option<Duration> {
    let stat = std::fs::read_to_string("/proc/self/schedstat").ok()?;
    Some(Duration::from_nanos(stat.split_whitespace().next()?.parse().ok()?))
}
