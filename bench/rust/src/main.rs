//! kvbench for the stores that are written in Rust: the same command line, workloads and output (see bench/README.md).

mod keys;
mod stores;
mod team;
mod workloads;

use std::fmt;
use std::path::PathBuf;
use std::process::ExitCode;

use pico_args::Arguments;
use stores::{KINDS, Kind};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

const HELP: &str = "\
usage: kvbench-rust --store NAME --workload W --dir D [--threads N,...] [--keys K] [--value BYTES]
                    [--seconds S] [--ops N] [--seed X]
       kvbench-rust --list

Measures one workload for one store; a result is a line of key=value. --list names the stores. Workloads:
set-durable, batch-durable, large-durable, set-relaxed, get, get-many, mixed-50, mixed-95, memory
";

/// The store cannot do this: not a failure, but there is no result.
#[derive(Debug)]
struct Cannot(String);

impl fmt::Display for Cannot {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Cannot {}

struct Options {
    workload: String,
    dir: PathBuf,
    threads: Vec<usize>,
    keys: usize,
    value_len: usize,
    seconds: f64,
    ops: Option<u64>,
    seed: u64,
}

fn parse_threads(list: &str) -> Result<Vec<usize>> {
    let counts: Vec<usize> = list.split(',').map(str::parse).collect::<std::result::Result<_, _>>()?;
    if counts.contains(&0) { Err("0 threads".into()) } else { Ok(counts) }
}

fn parse(mut arguments: Arguments) -> Result<(String, Options)> {
    let store = arguments.value_from_str("--store")?;
    let workload: String = arguments.value_from_str("--workload")?;
    let (keys, value_len) = if workload == "large-durable" { (1000, 65536) } else { (1_000_000, 100) };
    let options = Options {
        workload,
        dir: arguments.value_from_str("--dir")?,
        threads: arguments.opt_value_from_fn("--threads", parse_threads)?.unwrap_or(vec![1]),
        keys: arguments.opt_value_from_str("--keys")?.unwrap_or(keys),
        value_len: arguments.opt_value_from_str("--value")?.unwrap_or(value_len),
        seconds: arguments.opt_value_from_str("--seconds")?.unwrap_or(3.0),
        ops: arguments.opt_value_from_str("--ops")?,
        seed: arguments.opt_value_from_str("--seed")?.unwrap_or(1),
    };
    match arguments.finish().first() {
        Some(unknown) => Err(format!("{} is unknown; see --help", unknown.display()).into()),
        None if options.keys == 0 || options.value_len == 0 => Err("neither keys nor values can be none".into()),
        None => Ok((store, options)),
    }
}

/// Which version was built in: cargo tells a crate about itself only, but the lock file knows.
fn version_of(name: &str) -> &'static str {
    const LOCK_FILE: &str = include_str!("../Cargo.lock");
    let mut lines = LOCK_FILE.lines().skip_while(|line| *line != format!("name = \"{name}\""));
    let version = lines.nth(1).and_then(|line| line.strip_prefix("version = "));
    version.map_or("-", |quoted| quoted.trim_matches('"'))
}

fn list() {
    for Kind { name, is_durable, configuration, .. } in KINDS {
        let durabilities = if *is_durable { "durable,relaxed" } else { "relaxed" };
        println!("{name}\t{}\t{durabilities}\t{configuration}", version_of(name));
    }
}

fn run() -> Result<()> {
    let mut arguments = Arguments::from_env();
    if arguments.contains("--help") {
        print!("{HELP}");
        return Ok(());
    }
    if arguments.contains("--list") {
        list();
        return Ok(());
    }
    let (store, options) = parse(arguments)?;
    let kind = KINDS.into_iter().find(|kind| kind.name == store);
    let kind = kind.ok_or_else(|| Cannot(format!("there is no store {store}; see --list")))?;
    workloads::run(&options, kind)
}

fn main() -> ExitCode {
    let Err(error) = run() else { return ExitCode::SUCCESS };
    eprintln!("kvbench-rust: {error}");
    if error.is::<Cannot>() { ExitCode::from(3) } else { ExitCode::FAILURE }
}
