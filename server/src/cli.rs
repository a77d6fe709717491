//! The command line.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, ValueEnum};
use clap_complete::Shell;
use kvwal::{RecoveryMode, SyncMode};

use crate::config::Config;

// The defaults are words and not values: of values clap keeps copies that are never freed.

/// The kvwal store over TCP: lines for netcat, RESP for Redis clients. OK means durable.
#[derive(Debug, Parser)]
#[command(name = "kv_server", version, about, override_usage = "kv_server [OPTIONS] <PORT>")]
pub struct Cli {
    /// Port to listen at; 0 takes a free one, and says which
    #[arg(required_unless_present_any = ["completions", "man"])]
    port: Option<u16>,
    /// Directory of the store; created if missing
    #[arg(long, default_value = "kv-data")]
    dir: PathBuf,
    /// Directory that keeps each log that a checkpoint retires, for kvwal restore; created if missing
    #[arg(long, value_name = "DIR")]
    archive: Option<PathBuf>,
    /// Address to listen at; other than loopback only with --password-file or --insecure
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1")]
    bind: IpAddr,
    /// Unix socket to listen at, too
    #[arg(long, value_name = "PATH")]
    unix: Option<PathBuf>,
    /// Threads for commands that take long (KEYS, SCAN, SAVE, large answers)
    #[arg(long, value_name = "N", default_value = "2", value_parser = clap::value_parser!(u16).range(1..=256))]
    threads: u16,
    /// Connections at most
    #[arg(long, value_name = "N", default_value = "10000", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    max_clients: u32,
    /// When writes are made durable: always (before they are answered), interval:MS, or none (when the system likes)
    #[arg(long, value_name = "MODE", default_value = "always", value_parser = parse_sync)]
    sync: Sync,
    /// What to do when acknowledged data is damaged: refuse to start, or keep the intact prefix
    #[arg(long, value_enum, default_value = "strict")]
    recover: Recover,
    /// File with the password in its first line
    #[arg(long, value_name = "PATH")]
    password_file: Option<PathBuf>,
    /// Listen elsewhere than on loopback without a password
    #[arg(long)]
    insecure: bool,
    /// Port on loopback that serves metrics over HTTP, for Prometheus; 0 takes a free one
    #[arg(long, value_name = "PORT")]
    metrics: Option<u16>,
    /// Megabytes that the buffers of all connections may take together
    #[arg(long, value_name = "MIB", default_value = "512", value_parser = clap::value_parser!(u32).range(1..))]
    buffers: u32,
    /// Seconds that a client may leave its answers unread before it is dropped
    #[arg(long, value_name = "SECONDS", default_value = "30", value_parser = clap::value_parser!(u32).range(1..))]
    patience: u32,
    /// What to log to stderr
    #[arg(long, value_enum, default_value = "info")]
    log: Level,
    /// Print a completion script for a shell, and do nothing else
    #[arg(long, value_name = "SHELL", value_enum)]
    completions: Option<Shell>,
    /// Print the man page, and do nothing else
    #[arg(long)]
    man: bool,
}

/// Which events are logged: these and more urgent ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Level {
    /// Nothing but where the server listens.
    Off,
    /// What went wrong.
    Error,
    /// What may go wrong.
    Warn,
    /// What the server does.
    Info,
    /// What clients do, too.
    Debug,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Recover {
    /// Refuse to start.
    Strict,
    /// Keep the longest intact prefix.
    Prefix,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Sync {
    mode: SyncMode,
    interval_ms: u64,
}

fn parse_sync(text: &str) -> Result<Sync, String> {
    let every = text.strip_prefix("interval:").map(str::parse::<u64>);
    match (text, every) {
        ("always", _) => Ok(Sync { mode: SyncMode::Always, interval_ms: 0 }),
        ("none", _) => Ok(Sync { mode: SyncMode::None, interval_ms: 0 }),
        (_, Some(Ok(interval_ms @ 1..))) => Ok(Sync { mode: SyncMode::Interval, interval_ms }),
        _ => Err("expected always, none, or interval:MS with a number of milliseconds".into()),
    }
}

/// What the command line asks for.
pub enum Request {
    /// A server.
    Serve(Config, Level),
    /// A completion script.
    Completions(Shell),
    /// The man page.
    Man,
}

impl Cli {
    /// What is asked for.
    pub fn request(self) -> Request {
        let port = match (self.port, self.completions) {
            (_, Some(shell)) => return Request::Completions(shell),
            (Some(port), None) if !self.man => port,
            _ => return Request::Man,
        };
        let config = Config {
            port,
            bind: self.bind,
            dir: self.dir,
            archive: self.archive,
            unix: self.unix,
            threads: self.threads.into(),
            max_clients: self.max_clients as usize,
            sync: self.sync.mode,
            sync_interval_ms: self.sync.interval_ms,
            recovery: match self.recover {
                Recover::Strict => RecoveryMode::Strict,
                Recover::Prefix => RecoveryMode::Prefix,
            },
            password_file: self.password_file,
            insecure: self.insecure,
            metrics: self.metrics,
            buffer_bytes: (self.buffers as usize).saturating_mul(1 << 20),
            patience: Duration::from_secs(self.patience.into()),
        };
        Request::Serve(config, self.log)
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    fn config(args: &[&str]) -> Result<Config, clap::Error> {
        match Cli::try_parse_from([&["kv_server"], args].concat())?.request() {
            Request::Serve(config, _) => Ok(config),
            Request::Completions(_) | Request::Man => unreachable!("a server was asked for"),
        }
    }

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_port_is_enough() {
        let config = config(&["9099"]).unwrap();
        assert_eq!((config.port, config.bind.is_loopback(), config.dir), (9099, true, "kv-data".into()));
        assert_eq!((config.sync, config.recovery), (SyncMode::Always, RecoveryMode::Strict));
    }

    #[test]
    fn sync_modes_are_words() {
        for (word, mode, interval_ms) in
            [("always", SyncMode::Always, 0), ("none", SyncMode::None, 0), ("interval:250", SyncMode::Interval, 250)]
        {
            let config = config(&["1", "--sync", word]).unwrap();
            assert_eq!((config.sync, config.sync_interval_ms), (mode, interval_ms));
        }
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for args in [
            &[][..],
            &["port"],
            &["65536"],
            &["-1"],
            &["1", "2"],
            &["1", "--sync", "sometimes"],
            &["1", "--sync", "interval:0"],
            &["1", "--sync", "interval:x"],
            &["1", "--bind", "here"],
            &["1", "--threads", "0"],
            &["1", "--max-clients", "0"],
            &["1", "--recover", "maybe"],
            &["1", "--what"],
        ] {
            assert!(config(args).is_err(), "{args:?}");
        }
    }

    #[test]
    fn without_a_password_only_this_machine_is_let_in() {
        let check = |args: &[&str]| config(&[&["1"], args].concat()).unwrap().check();
        for fine in [
            &[][..],
            &["--bind", "127.0.0.2"],
            &["--bind", "::1"],
            &["--bind", "0.0.0.0", "--insecure"],
            &["--bind", "0.0.0.0", "--password-file", "p"],
        ] {
            assert_eq!(check(fine), Ok(()), "{fine:?}");
        }
        for open in [&["--bind", "0.0.0.0"][..], &["--bind", "::"], &["--bind", "192.0.2.1"]] {
            assert!(check(open).unwrap_err().contains("--insecure"), "{open:?}");
        }
    }
}
