//! What the event loop and its commands share: the store, the counters, the settings.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Instant, UNIX_EPOCH};

use kvwal::{Store, SyncMode};

use crate::auth::Password;
use crate::budget::Budget;
use crate::command::{self, Spec};
use crate::config::Config;
use crate::latency::Histogram;
use crate::protocol::MAX_VALUE;
use crate::protocol::answer::Tally;

/// The state of the server. It belongs to the event loop: no other thread sees it, so nothing in it needs a lock.
pub struct Server {
    /// How it was started.
    pub config: Config,
    /// Where it listens, beside a unix socket.
    pub address: SocketAddr,
    /// The store.
    pub store: Arc<Store>,
    /// The password, if there is one.
    pub password: Option<Password>,
    /// The memory that connections share.
    pub budget: Arc<Budget>,
    /// Counters.
    pub counters: Counters,
    /// How long commands have taken.
    pub latencies: Latencies,
    /// When it began.
    pub started: Instant,
    /// Connections now.
    pub clients: usize,
    /// `BGSAVE`.
    pub saving: Saving,
    /// Set when it is to end.
    pub is_stopping: bool,
}

/// What has happened since the server began.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counters {
    /// Of keys and errors.
    pub tally: Tally,
    /// Commands carried out.
    pub commands: u64,
    /// Connections accepted.
    pub connections: u64,
    /// Connections refused, as there were too many.
    pub rejected: u64,
    /// Connections given up, as their clients did not read their answers.
    pub dropped: u64,
    /// Times when no connection could be accepted for want of file descriptors.
    pub out_of_descriptors: u64,
    /// Bytes received.
    pub received: u64,
    /// Bytes sent.
    pub sent: u64,
}

/// A checkpoint in the background that a client has asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Saving {
    /// None, and the last one went well.
    #[default]
    Idle,
    /// None, and the last one failed.
    Failed,
    /// To be given to a worker.
    Requested,
    /// A worker is at it.
    Running,
}

impl Saving {
    /// Whether one is under way.
    pub fn is_running(self) -> bool {
        matches!(self, Saving::Requested | Saving::Running)
    }

    /// Asks for one.
    pub fn request(&mut self) {
        *self = Saving::Requested;
    }
}

impl Server {
    /// Of the newest checkpoint, in Unix seconds; 0 if there is none.
    pub fn last_save(&self) -> u64 {
        let file = self.config.dir.join("checkpoint.dat");
        let written = std::fs::metadata(file).and_then(|file| file.modified()).ok();
        let since = written.and_then(|written| written.duration_since(UNIX_EPOCH).ok());
        since.unwrap_or_default().as_secs()
    }

    /// What `CONFIG GET` can be asked for, in the names and the words of Redis.
    pub fn settings(&self) -> Vec<(&'static str, String)> {
        let sync = match self.config.sync {
            SyncMode::Always => "always",
            SyncMode::Interval => "everysec",
            SyncMode::None => "no",
        };
        let bind = self.address.ip().to_string();
        let unix = self.config.unix.as_ref().map_or(String::new(), |path: &PathBuf| path.display().to_string());
        vec![
            ("appendfsync", sync.into()),
            ("appendonly", "yes".into()),
            ("bind", bind),
            ("databases", "1".into()),
            ("dir", self.config.dir.display().to_string()),
            ("maxclients", self.config.max_clients.to_string()),
            ("maxmemory", "0".into()),
            ("maxmemory-policy", "noeviction".into()),
            ("port", self.address.port().to_string()),
            ("proto-max-bulk-len", MAX_VALUE.to_string()),
            ("save", String::new()),
            ("timeout", "0".into()),
            ("unixsocket", unix),
        ]
    }
}

/// How long each command has taken, from the arrival of its bytes to the moment its answer was given to the system.
#[derive(Default)]
pub struct Latencies {
    by_id: Vec<Option<Box<Histogram>>>,
}

impl Latencies {
    /// Counts a command.
    pub fn record(&mut self, id: usize, micros: u64) {
        if self.by_id.len() <= id {
            self.by_id.resize_with(id + 1, || None);
        }
        self.by_id[id].get_or_insert_default().record(micros, 1);
    }

    /// The commands that have been carried out, by name, whatever their protocol.
    pub fn by_name(&self) -> Vec<(&'static str, Histogram)> {
        let mut merged: Vec<(&'static str, Histogram)> = Vec::new();
        let measured = |(spec, times): (&'static Spec, &Option<Box<Histogram>>)| Some((spec.name, times.clone()?));
        for (name, times) in command::all().zip(&self.by_id).filter_map(measured) {
            match merged.iter_mut().find(|(other, _)| *other == name) {
                Some((_, all)) => all.add(&times),
                None => merged.push((name, *times)),
            }
        }
        merged.sort_unstable_by_key(|(name, _)| *name);
        merged
    }
}
