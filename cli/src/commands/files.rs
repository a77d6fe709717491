//! `stat`, `verify`, `checkpoint`: a store as a whole.

use std::fs;
use std::path::Path;

use anstyle::{AnsiColor, Style};
use kvwal::{Stats, Verdict, Verified};
use serde::Serialize;

use super::data;
use crate::args;
use crate::failure::{Exit, Failure, Result};
use crate::opening;
use crate::output::{self, Facts, Output};
use crate::progress;

/// How much there is in a store.
#[derive(Serialize)]
struct Statistics {
    /// Whether somebody else has it open.
    is_open: bool,
    verdict: &'static str,
    keys: u64,
    value_bytes: u64,
    checkpoint_lsn: u64,
    last_lsn: u64,
    durable_lsn: u64,
    /// Of all records in the logs.
    wal_bytes: u64,
    #[serde(flatten)]
    files: Files,
    /// What an opening takes: measured, by doing it, or by doing all of it that reads.
    open_seconds: f64,
}

/// The lengths of a store's files.
#[derive(Serialize)]
pub struct Files {
    #[serde(rename = "wal_log_bytes")]
    log: Option<u64>,
    #[serde(rename = "wal_next_bytes")]
    next: Option<u64>,
    #[serde(rename = "checkpoint_bytes")]
    checkpoint: Option<u64>,
}

impl Files {
    fn of(verified: &Verified) -> Files {
        let kvwal::FileSizes { log, next, checkpoint } = verified.files;
        Files { log, next, checkpoint }
    }

    pub fn look_up(dir: &Path) -> Files {
        let len = |name| fs::metadata(dir.join(name)).ok().map(|metadata| metadata.len());
        Files { log: len("wal.log"), next: len("wal.next"), checkpoint: len("checkpoint.dat") }
    }

    pub fn lines(&self) -> Vec<(&'static str, String)> {
        let files = [("wal.log", self.log), ("wal.next", self.next), ("checkpoint.dat", self.checkpoint)];
        files.into_iter().filter_map(|(name, len)| Some((name, output::size(len?)))).collect()
    }
}

impl Facts for Statistics {
    fn lines(&self) -> Vec<(&'static str, String)> {
        let mut lines = vec![
            ("keys", self.keys.to_string()),
            ("values", output::size(self.value_bytes)),
            ("last LSN", self.last_lsn.to_string()),
            ("durable LSN", self.durable_lsn.to_string()),
            ("checkpoint LSN", self.checkpoint_lsn.to_string()),
            ("records in the log", output::size(self.wal_bytes)),
        ];
        lines.extend(self.files.lines());
        lines.push(("opening takes", format!("{:.3} s", self.open_seconds)));
        lines.push(("the log", self.verdict.to_owned()));
        lines.push(("open elsewhere", if self.is_open { "yes" } else { "no" }.to_owned()));
        lines
    }
}

pub fn stat(args: &args::Stat, output: &mut Output) -> Result<Exit> {
    let statistics = if args.offline { stat_offline(&args.store)? } else { stat_opened(&args.store)? };
    output.facts(&statistics)?;
    Ok(Exit::Done)
}

fn stat_offline(dir: &Path) -> Result<Statistics> {
    let verified = look_at(dir)?;
    if let Some(error) = verified.refused {
        return Err(error.into());
    }
    Ok(Statistics {
        is_open: verified.is_open,
        verdict: verified.report.verdict.word(),
        keys: verified.keys,
        value_bytes: verified.value_bytes,
        checkpoint_lsn: verified.report.checkpoint_lsn,
        last_lsn: verified.report.last_lsn,
        durable_lsn: verified.report.durable_lsn,
        wal_bytes: verified.record_bytes,
        files: Files::of(&verified),
        open_seconds: verified.report.elapsed.as_secs_f64(),
    })
}

fn stat_opened(dir: &Path) -> Result<Statistics> {
    let store = opening::for_reading(dir)?;
    let keys = data::count_keys(&store, b"")?;
    let Stats { bytes, checkpoint_lsn, last_lsn, durable_lsn, wal_bytes, .. } = store.stats();
    let report = store.recovery_report().clone();
    opening::close(store)?;
    Ok(Statistics {
        is_open: false,
        verdict: report.verdict.word(),
        keys,
        value_bytes: bytes,
        checkpoint_lsn,
        last_lsn,
        durable_lsn,
        wal_bytes,
        files: Files::look_up(dir),
        open_seconds: report.elapsed.as_secs_f64(),
    })
}

/// Reads all of a store, and changes nothing.
pub fn look_at(dir: &Path) -> Result<Verified> {
    opening::check_exists(dir)?;
    let _progress = progress::spinner(format!("reading {}", dir.display()));
    Ok(kvwal::verify(dir)?)
}

/// What is wrong with a store, as a verdict on all of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Health {
    Clean,
    Torn,
    Damaged,
    Refused,
}

impl Health {
    pub fn of(verified: &Verified) -> Health {
        match verified.report.verdict {
            _ if verified.refused.is_some() => Health::Refused,
            Verdict::Damaged => Health::Damaged,
            Verdict::Torn => Health::Torn,
            // Of a damaged checkpoint nothing is lost where the log goes back to the beginning; still it is damage.
            Verdict::Clean if verified.bad.is_some() => Health::Damaged,
            Verdict::Clean => Health::Clean,
        }
    }

    pub fn exit(self) -> Exit {
        match self {
            Health::Clean => Exit::Done,
            Health::Torn => Exit::No,
            Health::Damaged => Exit::Damaged,
            Health::Refused => Exit::Refused,
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Health::Clean => "clean",
            Health::Torn => "torn",
            Health::Damaged => "damaged",
            Health::Refused => "refused",
        }
    }

    fn explained(self) -> &'static str {
        match self {
            Health::Clean => "clean: every record and block is as it was written",
            Health::Torn => "torn: a crash interrupted the last writes; nothing that was acknowledged is lost",
            Health::Damaged => "damaged: data that had been durable is not as it was written",
            Health::Refused => "refused: a store cannot be made of these files",
        }
    }

    fn colour(self) -> Style {
        let colour = match self {
            Health::Clean => AnsiColor::Green,
            Health::Torn => AnsiColor::Yellow,
            Health::Damaged | Health::Refused => AnsiColor::Red,
        };
        Style::new().bold().fg_color(Some(colour.into()))
    }
}

/// What `verify` found.
#[derive(Serialize)]
struct Findings {
    verdict: &'static str,
    #[serde(skip)]
    health: Health,
    is_open: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    first_bad: Option<FirstBad>,
    /// Valid ones behind the first bad one.
    records_behind: u64,
    /// What opening the store would cut off, and keep in quarantine.
    bytes_to_cut: u64,
    checkpoint_lsn: u64,
    checkpoint_keys: u64,
    first_lsn: u64,
    last_lsn: u64,
    durable_lsn: u64,
    records: u64,
    record_bytes: u64,
    keys: u64,
    value_bytes: u64,
    #[serde(flatten)]
    files: Files,
    open_seconds: f64,
}

#[derive(Serialize)]
struct FirstBad {
    file: String,
    offset: u64,
    /// 0 in a checkpoint.
    lsn: u64,
    reason: String,
}

impl Findings {
    fn of(verified: &Verified) -> Findings {
        let (report, health) = (&verified.report, Health::of(verified));
        let refused = verified.refused.as_ref().map(ToString::to_string);
        Findings {
            verdict: health.name(),
            health,
            is_open: verified.is_open,
            reason: refused.or_else(|| report.reason.clone()),
            first_bad: verified.bad.as_ref().map(|bad| FirstBad {
                file: bad.path.file_name().unwrap_or_default().to_string_lossy().into_owned(),
                offset: bad.offset,
                lsn: bad.lsn,
                reason: bad.reason.clone(),
            }),
            records_behind: report.records_behind,
            bytes_to_cut: report.bytes_quarantined,
            checkpoint_lsn: report.checkpoint_lsn,
            checkpoint_keys: report.checkpoint_keys,
            first_lsn: verified.first_lsn,
            last_lsn: report.last_lsn,
            durable_lsn: report.durable_lsn,
            records: verified.records,
            record_bytes: verified.record_bytes,
            keys: verified.keys,
            value_bytes: verified.value_bytes,
            files: Files::of(verified),
            open_seconds: report.elapsed.as_secs_f64(),
        }
    }
}

impl Facts for Findings {
    fn lines(&self) -> Vec<(&'static str, String)> {
        let mut lines = Vec::new();
        if let Some(bad) = &self.first_bad {
            let lsn = if bad.lsn == 0 { String::new() } else { format!(", LSN {}", bad.lsn) };
            lines.push(("first bad", format!("{} at offset {}{lsn}: {}", bad.file, bad.offset, bad.reason)));
            lines.push(("records behind it", self.records_behind.to_string()));
            lines.push(("opening would cut", output::size(self.bytes_to_cut)));
        } else if let Some(reason) = &self.reason {
            lines.push(("why", reason.clone()));
        }
        lines.extend([
            ("keys", self.keys.to_string()),
            ("values", output::size(self.value_bytes)),
            (
                "checkpoint",
                format!("LSN {}, {}", self.checkpoint_lsn, output::count(self.checkpoint_keys, "key", "keys")),
            ),
            ("records in the log", format!("{}, LSN {} to {}", self.records, self.first_lsn, self.last_lsn)),
            ("durable LSN", self.durable_lsn.to_string()),
        ]);
        lines.extend(self.files.lines());
        lines.push(("opening takes", format!("{:.3} s, as long as this reading did", self.open_seconds)));
        lines.push(("open elsewhere", if self.is_open { "yes" } else { "no" }.to_owned()));
        lines
    }
}

pub fn verify(args: &args::Verify, output: &mut Output) -> Result<Exit> {
    let findings = Findings::of(&look_at(&args.store)?);
    let health = findings.health;
    if !output.json {
        output.coloured_line(health.colour(), health.explained())?;
    }
    output.facts(&findings)?;
    Ok(health.exit())
}

/// What a checkpoint made of a store.
#[derive(Serialize)]
struct Checkpointed {
    checkpoint_lsn: u64,
    keys: u64,
    #[serde(flatten)]
    files: Files,
}

impl Facts for Checkpointed {
    fn lines(&self) -> Vec<(&'static str, String)> {
        let mut lines = vec![("checkpoint LSN", self.checkpoint_lsn.to_string()), ("keys", self.keys.to_string())];
        lines.extend(self.files.lines());
        lines
    }
}

pub fn checkpoint(args: &args::Checkpoint, output: &mut Output) -> Result<Exit> {
    let store = opening::for_checkpoint(&args.store, args.archive.as_deref())?;
    let progress = progress::spinner(format!("writing a checkpoint of {}", args.store.display()));
    store.checkpoint()?;
    drop(progress);
    let Stats { checkpoint_lsn, keys, .. } = store.stats();
    opening::close(store)?;
    output.facts(&Checkpointed { checkpoint_lsn, keys, files: Files::look_up(&args.store) })?;
    Ok(Exit::Done)
}

/// The failure of a command that needs a store for itself.
pub fn locked(dir: &Path) -> Failure {
    let owner = fs::read_to_string(dir.join("LOCK")).unwrap_or_default();
    let message = format!("{} is open in the process with PID {}", dir.display(), owner.trim());
    Failure::new(Exit::Locked, message).hint("end that process first; kvwal verify works beside it")
}
