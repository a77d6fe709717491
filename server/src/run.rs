//! From the settings to a server that has ended.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use kvwal::{ErrorKind, Store, Verdict};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use tracing::{info, warn};

use crate::auth::Password;
use crate::budget::Budget;
use crate::config::Config;
use crate::event_loop::EventLoop;
use crate::log::say;
use crate::server::{Counters, Latencies, Saving, Server};

/// Descriptors that are needed beside those of connections.
const OWN_DESCRIPTORS: u64 = 64;

/// Serves until it is told to stop; or says why not.
pub fn serve(config: Config) -> Result<(), String> {
    config.check()?;
    let read = |path: &std::path::PathBuf| {
        Password::read(path).map_err(|cause| format!("--password-file {}: {cause}", path.display()))
    };
    let password = config.password_file.as_ref().map(read).transpose()?;
    // First of all, so that every thread has them blocked, and they come to the event loop.
    let signals = take_signals().map_err(|cause| format!("signalfd: {cause}"))?;
    raise_descriptor_limit(config.max_clients);
    let store = open(&config)?;
    let server = Server {
        address: SocketAddr::new(config.bind, config.port),
        store: Arc::new(store),
        password,
        budget: Arc::new(Budget::new(config.buffer_bytes)),
        counters: Counters::default(),
        latencies: Latencies::default(),
        started: Instant::now(),
        clients: 0,
        saving: Saving::Idle,
        is_stopping: false,
        config,
    };
    let event_loop = EventLoop::new(server, signals).map_err(|cause| cause.to_string())?;
    announce(&event_loop);
    let store = event_loop.run().map_err(|cause| cause.to_string())?;
    let store = Arc::into_inner(store).ok_or("a bug in kv_server: somebody still uses the store")?;
    store.close().map_err(|error| format!("close: {error}"))?;
    info!("stopped");
    Ok(())
}

fn announce(event_loop: &EventLoop) {
    say(format_args!("listening on {}", event_loop.address()));
    if let Some(path) = event_loop.unix() {
        say(format_args!("listening on {}", path.display()));
    }
    if let Some(address) = event_loop.metrics_address() {
        say(format_args!("metrics at http://{address}/metrics"));
    }
}

fn take_signals() -> nix::Result<SignalFd> {
    let signals: SigSet = [Signal::SIGTERM, Signal::SIGINT].into_iter().collect();
    signals.thread_block()?;
    SignalFd::with_flags(&signals, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)
}

/// Makes room for all clients, as far as the system allows.
fn raise_descriptor_limit(max_clients: usize) {
    let wanted = max_clients as u64 + OWN_DESCRIPTORS;
    let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) else { return };
    if soft >= wanted {
        return;
    }
    let possible = wanted.min(hard);
    if setrlimit(Resource::RLIMIT_NOFILE, possible, hard).is_err() || possible < wanted {
        warn!(descriptors = possible, max_clients, "there are not enough file descriptors for all clients");
    }
}

fn open(config: &Config) -> Result<Store, String> {
    let dir = config.dir.display();
    let store = Store::open(&config.dir, &config.store_options()).map_err(|error| match error.kind() {
        ErrorKind::Corrupt => {
            format!("{error}\nNothing was changed. To start with what is intact, and keep the rest in {dir}/quarantine: --recover prefix")
        }
        _ => error.to_string(),
    })?;
    let (report, stats) = (store.recovery_report(), store.stats());
    info!(
        dir = %dir, keys = stats.keys, last_lsn = report.last_lsn, records = report.records_replayed,
        verdict = ?report.verdict, seconds = report.elapsed.as_secs_f64(), "opened"
    );
    if report.verdict != Verdict::Clean {
        let (reason, bytes) = (report.reason.as_deref().unwrap_or_default(), report.bytes_quarantined);
        warn!(verdict = ?report.verdict, reason, bytes, dir = %format_args!("{dir}/quarantine"), "cut off");
    }
    Ok(store)
}
