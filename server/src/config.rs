//! How a server is started.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use kvwal::{Options, RecoveryMode, SyncMode};

/// The settings of a server.
#[derive(Clone, Debug)]
pub struct Config {
    /// The port; 0 takes a free one.
    pub port: u16,
    /// The address to listen at.
    pub bind: IpAddr,
    /// Where the store is.
    pub dir: PathBuf,
    /// Where retired logs are kept.
    pub archive: Option<PathBuf>,
    /// A unix socket to listen at, too.
    pub unix: Option<PathBuf>,
    /// Threads for commands that take long.
    pub threads: usize,
    /// Connections at most.
    pub max_clients: usize,
    /// When writes are made durable.
    pub sync: SyncMode,
    /// Milliseconds between two syncs in [`SyncMode::Interval`].
    pub sync_interval_ms: u64,
    /// What to do about damage.
    pub recovery: RecoveryMode,
    /// The file with the password.
    pub password_file: Option<PathBuf>,
    /// Whether to listen elsewhere than on this machine without a password.
    pub insecure: bool,
    /// The port for metrics on the loopback address.
    pub metrics: Option<u16>,
    /// Bytes that the buffers of all connections may take together beyond a small share of each.
    pub buffer_bytes: usize,
    /// How long a client may leave its answers unread.
    pub patience: Duration,
}

impl Config {
    /// How the library is to open the store.
    pub fn store_options(&self) -> Options {
        let (sync, sync_interval_ms, recovery) = (self.sync, self.sync_interval_ms, self.recovery);
        Options { sync, sync_interval_ms, recovery, archive_dir: self.archive.clone(), ..Options::default() }
    }

    /// An objection to settings that would let anybody on the network in.
    pub fn check(&self) -> Result<(), String> {
        if self.bind.is_loopback() || self.password_file.is_some() || self.insecure {
            return Ok(());
        }
        Err(format!(
            "--bind {} lets anybody who can reach this machine read and change the store: give a --password-file, or say \
             --insecure if that is meant",
            self.bind
        ))
    }
}
