//! What can be said on the command line. Help, completions and man pages are made from these definitions.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clap::{ArgGroup, Args, Parser, Subcommand, ValueEnum, ValueHint};
use clap_complete::Shell;

use crate::bytes::Encoding;

/// The exit codes, for `--help` and the man page; `docs/cli.md` has the same table.
pub const EXIT_CODES: &str = "\
Exit codes:
    0  done; verify: clean
    1  get, del: a key is not there; verify, repair: a crash has torn the tail of the log;
       inspect: not all of the file is valid
    2  verify, repair: data that had been durable is damaged
    3  verify, repair: a store cannot be made of these files
    4  tail: the log does not go back so far
   64  the command line is wrong
   65  the data is wrong: damaged files, a bad line of input
   66  there is no such store or file; restore: no such record
   70  a bug in kvwal
   73  the output cannot be made: the disk is full, or something is there already
   74  an input or output error
   75  the store is open elsewhere
   77  permission denied
  141  whoever read the output has stopped reading";

/// Looks into, changes, checks, saves and repairs kvwal stores.
///
/// A STORE is the directory of a store. Commands that open it lock it, as every program does that has it open; verify,
/// inspect, tail and stat --offline only read, and work beside an open store.
#[derive(Parser)]
#[command(name = "kvwal", version, after_help = EXIT_CODES, max_term_width = 100, subcommand_required = true)]
pub struct Arguments {
    /// Print JSON: one document, or one on each line.
    #[arg(long, global = true)]
    pub json: bool,
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Subcommand)]
pub enum Command {
    /// Print the value of a key.
    Get(Get),
    /// Set a key.
    Set(Set),
    /// Delete keys.
    Del(Del),
    /// Print keys and values in the order of the keys.
    Scan(Scan),
    /// Count keys.
    Count(Count),
    /// Write all keys, with values and expiry, to a file or standard output.
    Dump(Dump),
    /// Set the keys of a dump, or of any CSV file.
    Load(Load),
    /// Print how much there is in a store.
    Stat(Stat),
    /// Check every record and block of a store, and change nothing.
    Verify(Verify),
    /// Print what was changed, record by record, and go on as it happens.
    Tail(Tail),
    /// Print the records of a log, or the blocks of a checkpoint.
    Inspect(Inspect),
    /// Make a damaged store usable again, as far as it is intact; the original is kept.
    Repair(Repair),
    /// Write a checkpoint, so that the log starts again.
    Checkpoint(Checkpoint),
    /// Copy a store, as of one moment, into a directory that becomes a store of its own.
    Backup(Backup),
    /// Make a store as it was after some record, or at some time.
    Restore(Restore),
    /// Measure what this machine's disk and memory do for a store.
    Bench(Bench),
    /// Print a script that completes this command in a shell.
    Completions(Completions),
    /// Write the man pages, one a subcommand.
    Man(Man),
}

/// How keys and values are written where text will not do.
#[derive(Args, Clone, Copy)]
pub struct Coding {
    /// Keys and values are written in hexadecimal.
    #[arg(long)]
    hex: bool,
    /// Keys and values are written in Base64.
    #[arg(long, conflicts_with = "hex")]
    base64: bool,
}

impl Coding {
    pub fn encoding(self) -> Encoding {
        match self {
            Coding { hex: true, .. } => Encoding::Hex,
            Coding { base64: true, .. } => Encoding::Base64,
            _ => Encoding::Plain,
        }
    }
}

#[derive(Args)]
pub struct Get {
    /// The directory of the store.
    #[arg(value_hint = ValueHint::DirPath)]
    pub store: PathBuf,
    /// The key; - takes it from standard input.
    pub key: OsString,
    /// Write exactly the value to a file, which is replaced only when all of it is there.
    #[arg(short, long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub output: Option<PathBuf>,
    /// Print no line end behind the value.
    #[arg(short = 'n', long)]
    pub no_newline: bool,
    #[command(flatten)]
    pub coding: Coding,
}

#[derive(Args)]
pub struct Set {
    /// The directory of the store.
    #[arg(value_hint = ValueHint::DirPath)]
    pub store: PathBuf,
    /// The key; - takes it from standard input.
    pub key: OsString,
    /// The value; - takes it from standard input.
    #[arg(required_unless_present = "file")]
    pub value: Option<OsString>,
    /// Take the value from a file.
    #[arg(long, conflicts_with = "value", value_hint = ValueHint::FilePath)]
    pub file: Option<PathBuf>,
    /// For how long, as in 1500ms, 30s, 2h, 7days.
    #[arg(long, value_parser = duration)]
    pub ttl: Option<Duration>,
    /// Until when, as in 2030-01-31T12:00:00Z, or in Unix milliseconds.
    #[arg(long, value_name = "TIME", value_parser = time, conflicts_with = "ttl")]
    pub expires_at: Option<u64>,
    /// Make the store if there is none.
    #[arg(long)]
    pub create: bool,
    #[command(flatten)]
    pub coding: Coding,
}

#[derive(Args)]
pub struct Del {
    /// The directory of the store.
    #[arg(value_hint = ValueHint::DirPath)]
    pub store: PathBuf,
    /// The keys; - takes one from standard input.
    #[arg(required = true, value_name = "KEY")]
    pub keys: Vec<OsString>,
    #[command(flatten)]
    pub coding: Coding,
}

#[derive(Args)]
pub struct Scan {
    /// The directory of the store.
    #[arg(value_hint = ValueHint::DirPath)]
    pub store: PathBuf,
    /// Only keys that begin so.
    pub prefix: Option<OsString>,
    /// Print keys only.
    #[arg(long)]
    pub keys: bool,
    /// Print so many at most.
    #[arg(long, value_name = "N")]
    pub limit: Option<u64>,
    #[command(flatten)]
    pub coding: Coding,
}

#[derive(Args)]
pub struct Count {
    /// The directory of the store.
    #[arg(value_hint = ValueHint::DirPath)]
    pub store: PathBuf,
    /// Only keys that begin so.
    pub prefix: Option<OsString>,
    #[command(flatten)]
    pub coding: Coding,
}

/// How a dump is written.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// A JSON object on each line.
    Ndjson,
    /// Comma-separated, with a header line.
    Csv,
    /// Tab-separated, with a header line.
    Tsv,
}

#[derive(Args)]
pub struct Dump {
    /// The directory of the store.
    #[arg(value_hint = ValueHint::DirPath)]
    pub store: PathBuf,
    /// Only keys that begin so.
    #[arg(long)]
    pub prefix: Option<OsString>,
    /// By default what the name of the file ends with, or ndjson.
    #[arg(long)]
    pub format: Option<Format>,
    /// Write to a file, which is replaced only when the whole dump is on the disk.
    #[arg(short, long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub output: Option<PathBuf>,
}

#[derive(Args)]
pub struct Load {
    /// The directory of the store.
    #[arg(value_hint = ValueHint::DirPath)]
    pub store: PathBuf,
    /// The dump; - or nothing: standard input.
    #[arg(value_hint = ValueHint::FilePath)]
    pub file: Option<PathBuf>,
    /// By default what the name of the file ends with, or ndjson.
    #[arg(long)]
    pub format: Option<Format>,
    /// Make the store if there is none.
    #[arg(long)]
    pub create: bool,
    /// The archive that keeps the log, if the store has one.
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub archive: Option<PathBuf>,
}

#[derive(Args)]
pub struct Stat {
    /// The directory of the store.
    #[arg(value_hint = ValueHint::DirPath)]
    pub store: PathBuf,
    /// Do not open the store: read its files only, also beside a process that has it open.
    #[arg(long)]
    pub offline: bool,
}

#[derive(Args)]
pub struct Verify {
    /// The directory of the store.
    #[arg(value_hint = ValueHint::DirPath)]
    pub store: PathBuf,
}

#[derive(Args)]
pub struct Repair {
    /// The directory of the store.
    #[arg(value_hint = ValueHint::DirPath)]
    pub store: PathBuf,
    /// Do it. Otherwise it is only said what would be done.
    #[arg(long)]
    pub apply: bool,
    /// Also drop every record behind this LSN.
    #[arg(long, value_name = "LSN")]
    pub until_lsn: Option<u64>,
}

#[derive(Args)]
pub struct Tail {
    /// The directory of the store.
    #[arg(value_hint = ValueHint::DirPath)]
    pub store: PathBuf,
    /// Begin with the record of this LSN.
    #[arg(long, value_name = "LSN", default_value_t = 1)]
    pub from: u64,
    /// Wait for more when there is nothing new.
    #[arg(short, long)]
    pub follow: bool,
}

#[derive(Args)]
pub struct Inspect {
    /// A log (wal.log, wal.next, a piece in quarantine, an archived log) or a checkpoint.
    #[arg(value_hint = ValueHint::FilePath)]
    pub file: PathBuf,
    /// Begin with the record of this LSN.
    #[arg(long, value_name = "LSN", default_value_t = 0, hide_default_value = true)]
    pub from: u64,
    /// Print every byte, each field with its name; long keys and values are shortened.
    #[arg(long, conflicts_with = "json")]
    pub hex: bool,
}

#[derive(Args)]
pub struct Checkpoint {
    /// The directory of the store.
    #[arg(value_hint = ValueHint::DirPath)]
    pub store: PathBuf,
    /// The archive that keeps the log, if the store has one.
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub archive: Option<PathBuf>,
}

#[derive(Args)]
pub struct Backup {
    /// The directory of the store.
    #[arg(value_hint = ValueHint::DirPath)]
    pub store: PathBuf,
    /// Where the backup goes: a directory that is empty or does not exist.
    #[arg(value_hint = ValueHint::DirPath)]
    pub dest: PathBuf,
}

#[derive(Args)]
#[command(allow_missing_positional = true)]
#[command(group(ArgGroup::new("sources").required(true).multiple(true).args(["backup", "archive", "store"])))]
pub struct Restore {
    /// What to begin with: a backup, or any other copy of the store.
    #[arg(value_hint = ValueHint::DirPath)]
    pub backup: Option<PathBuf>,
    /// Where the store goes: a directory that is empty or does not exist.
    #[arg(value_hint = ValueHint::DirPath)]
    pub dest: PathBuf,
    /// The archive, for the records behind the backup.
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub archive: Option<PathBuf>,
    /// The store itself, for the records that are not in the archive yet; also while a program has it open.
    #[arg(long, value_name = "STORE", value_hint = ValueHint::DirPath)]
    pub store: Option<PathBuf>,
    /// Up to the record of this LSN.
    #[arg(long, value_name = "LSN", value_parser = clap::value_parser!(u64).range(1..))]
    pub until_lsn: Option<u64>,
    /// What was acknowledged by then, to a tenth of a second, as in 2030-01-31T12:00:00Z, or in Unix milliseconds.
    #[arg(long, value_name = "TIME", value_parser = time, conflicts_with = "until_lsn", requires = "archive")]
    pub until_time: Option<u64>,
}

#[derive(Args)]
pub struct Bench {
    /// Where to measure: a new directory is made in there, and removed.
    #[arg(default_value = ".", value_hint = ValueHint::DirPath)]
    pub dir: PathBuf,
    /// How long all of it may take.
    #[arg(long, default_value = "10s", value_parser = duration)]
    pub time: Duration,
}

#[derive(Args)]
pub struct Completions {
    pub shell: Shell,
}

#[derive(Args)]
pub struct Man {
    /// Where the pages go; made if it is missing.
    #[arg(value_hint = ValueHint::DirPath)]
    pub dir: PathBuf,
}

fn duration(text: &str) -> Result<Duration, String> {
    let duration = humantime::parse_duration(text).map_err(|cause| cause.to_string())?;
    match duration.as_millis() {
        0 => Err("it is less than a millisecond".to_owned()),
        _ => Ok(duration),
    }
}

/// A moment in Unix milliseconds.
fn time(text: &str) -> Result<u64, String> {
    if let Ok(milliseconds) = text.parse() {
        return Ok(milliseconds);
    }
    let time: SystemTime = humantime::parse_rfc3339_weak(text).map_err(|cause| cause.to_string())?;
    let since = time.duration_since(UNIX_EPOCH).map_err(|_| "it is before 1970".to_owned())?;
    Ok(since.as_millis() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_definitions_do_not_contradict_each_other() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn a_time_is_a_date_or_a_number() {
        assert_eq!(time("1970-01-02T00:00:00.5Z"), Ok(86_400_500));
        assert_eq!(time("1970-01-02 00:00:00"), Ok(86_400_000));
        assert_eq!(time("86400500"), Ok(86_400_500));
        assert!(time("tomorrow").is_err() && time("-1").is_err());
    }

    #[test]
    fn a_duration_has_a_unit_and_a_length() {
        assert_eq!(duration("1500ms"), Ok(Duration::from_millis(1500)));
        assert_eq!(duration("7days"), Ok(Duration::from_secs(7 * 86_400)));
        assert!(duration("0s").is_err() && duration("15").is_err() && duration("1us").is_err());
    }
}
