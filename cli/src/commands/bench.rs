//! `bench`: quick figures for this machine, beside what its disk does at best.
//!
//! What a store does is of little meaning without knowing what the disk does: so first of all the bare system calls are
//! measured, a write of the same length and `fdatasync`, into blocks that were written before, as the store does it.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use indicatif::ProgressBar;
use kvwal::{Batch, Options, Size, Store};
use serde::Serialize;

use crate::args;
use crate::failure::{Exit, Failure, Result};
use crate::interruption::{HalfDone, TakeBack};
use crate::output::{self, Output};
use crate::progress;

const KEYS: u64 = 100_000;
const VALUE: [u8; 100] = [b'v'; 100];
/// What a record of such a key and value takes in the log.
const RECORD: usize = 33 + 16 + VALUE.len();
const THREADS: [usize; 4] = [1, 2, 8, 64];
/// How many steps the time is divided among.
const STEPS: u32 = 2 + THREADS.len() as u32 + 1;

#[derive(Serialize)]
struct Figures {
    raw_fdatasync_per_second: f64,
    sets: Vec<Figure>,
    gets: Vec<Figure>,
}

#[derive(Serialize)]
struct Figure {
    threads: usize,
    per_second: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    ratio_to_raw: Option<f64>,
}

pub fn bench(args: &args::Bench, output: &mut Output) -> Result<Exit> {
    // Whose own words would name a directory that nobody has heard of.
    args.dir.read_dir().map_err(|cause| Failure::io("make a directory in", &args.dir, &cause))?;
    let make = || tempfile::Builder::new().prefix("kvwal-bench-").tempdir_in(&args.dir);
    let (dir, half_done) = HalfDone::begin(make, |dir| take_back(dir.path()))
        .map_err(|cause| Failure::io("make a directory in", &args.dir, &cause))?;
    let figures = measure(dir.path(), args.time / STEPS)?;
    match output.json {
        true => output.document(&figures)?,
        false => print(&figures, output)?,
    }
    half_done.finish(|| dir.close()).map_err(|cause| Failure::io("remove a directory in", &args.dir, &cause))?;
    Ok(Exit::Done)
}

fn take_back(dir: &Path) -> TakeBack {
    let dir = dir.to_owned();
    Box::new(move || match output::remove_all(&dir) {
        Ok(()) => "nothing is left of it".to_owned(),
        Err(cause) => format!("remove {}: {cause}", dir.display()),
    })
}

fn measure(dir: &Path, step: Duration) -> Result<Figures> {
    let bar = progress::bar("measuring", u64::from(STEPS));
    let path = dir.join("raw");
    let raw = raw_syncs(&path, step).map_err(|cause| Failure::io("measure", &path, &cause))?;
    bar.inc(1);
    let options = Options { checkpoint_wal_bytes: Size::Never, ..Options::default() };
    let store = Store::open(dir.join("store"), &options)?;
    fill(&store)?;
    let sets = each(&THREADS, step, &bar, |number| store.set(&key(number), &VALUE))?;
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let threads = if cores > 1 { vec![1, cores] } else { vec![1] };
    let gets = each(&threads, step, &bar, |number| store.get_with(&key(number), |_| ()).map(drop))?;
    store.close()?;
    let ratio = |figure: Figure| Figure { ratio_to_raw: Some(figure.per_second / raw), ..figure };
    Ok(Figures { raw_fdatasync_per_second: raw, sets: sets.into_iter().map(ratio).collect(), gets })
}

fn raw_syncs(path: &Path, step: Duration) -> io::Result<f64> {
    const AHEAD: u64 = 1 << 20;
    let file = File::create_new(path)?;
    file.write_all_at(&vec![0; AHEAD as usize], 0)?;
    file.sync_all()?;
    let (started, mut count) = (Instant::now(), 0);
    while started.elapsed() < step {
        file.write_all_at(&[1; RECORD], count * RECORD as u64 % (AHEAD - RECORD as u64))?;
        file.sync_data()?;
        count += 1;
    }
    Ok(count as f64 / started.elapsed().as_secs_f64())
}

fn fill(store: &Store) -> Result<()> {
    let mut batch = Batch::new();
    for number in 0..KEYS {
        batch.set(&key(number), &VALUE)?;
    }
    Ok(store.write(&batch)?)
}

fn key(number: u64) -> [u8; 16] {
    let mut key = *b"key-000000000000";
    key[8..].copy_from_slice(&number.to_be_bytes());
    key
}

fn each(
    threads: &[usize],
    step: Duration,
    bar: &ProgressBar,
    call: impl Fn(u64) -> kvwal::Result<()> + Sync,
) -> Result<Vec<Figure>> {
    let mut figures = Vec::new();
    for &threads in threads {
        let per_second = rate(threads, step, &call)?;
        figures.push(Figure { threads, per_second, ratio_to_raw: None });
        bar.inc(1);
    }
    Ok(figures)
}

/// How often a second threads can call something together.
fn rate(threads: usize, step: Duration, call: &(impl Fn(u64) -> kvwal::Result<()> + Sync)) -> Result<f64> {
    let (stop, total) = (AtomicBool::new(false), AtomicU64::new(0));
    let started = Instant::now();
    let work = |thread: u64| {
        let (mut count, mut random) = (0, thread + 1);
        while !stop.load(Ordering::Relaxed) {
            // Numerical Recipes' generator: enough to meet all keys in no order.
            random = u64::wrapping_add(u64::wrapping_mul(random, 6_364_136_223_846_793_005), 1_442_695_040_888_963_407);
            call((random >> 33) % KEYS)?;
            count += 1;
        }
        total.fetch_add(count, Ordering::Relaxed);
        Ok(())
    };
    let work = &work;
    let results: Vec<kvwal::Result<()>> = thread::scope(|scope| {
        let threads: Vec<_> = (0..threads as u64).map(|thread| scope.spawn(move || work(thread))).collect();
        thread::sleep(step);
        stop.store(true, Ordering::Relaxed);
        threads.into_iter().map(|thread| thread.join().expect("it does not panic")).collect()
    });
    results.into_iter().collect::<kvwal::Result<()>>()?;
    Ok(total.into_inner() as f64 / started.elapsed().as_secs_f64())
}

fn print(figures: &Figures, output: &mut Output) -> Result<()> {
    let row = |name: &str, threads: usize, per_second: f64, ratio: Option<f64>| {
        let ratio = ratio.map(|ratio| format!("{ratio:.2} x")).unwrap_or_default();
        format!("{name:<20} {threads:>7} {per_second:>14.0} {ratio:>10}").trim_end().to_owned()
    };
    output.line(format_args!("{:<20} {:>7} {:>14} {:>10}", "", "threads", "a second", "to raw"))?;
    output.line(row("raw fdatasync", 1, figures.raw_fdatasync_per_second, Some(1.0)))?;
    for set in &figures.sets {
        output.line(row("durable set", set.threads, set.per_second, set.ratio_to_raw))?;
    }
    for get in &figures.gets {
        output.line(row("get", get.threads, get.per_second, None))?;
    }
    Ok(())
}
