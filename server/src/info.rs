//! What `INFO` says.

use std::fmt::{Display, Write};

use kvwal::SyncMode;

use crate::command::is;
use crate::command::server::REDIS_VERSION;
use crate::protocol::Args;
use crate::server::{Saving, Server};

/// A section: its name, and what writes its lines.
type Section = (&'static str, fn(&Server, &mut Lines));

const SECTIONS: [Section; 7] = [
    ("Server", server),
    ("Clients", clients),
    ("Memory", memory),
    ("Persistence", persistence),
    ("Stats", stats),
    ("Latencystats", latencies),
    ("Keyspace", keyspace),
];

/// The sections that are asked for; all if none is.
pub fn text(server: &Server, asked: Args<'_>) -> String {
    let all = ["all", "default", "everything"];
    let is_asked =
        |name: &str| asked.is_empty() || asked.iter().any(|word| is(word, name) || all.iter().any(|all| is(word, all)));
    let mut lines = Lines(String::new());
    for (name, write) in SECTIONS.iter().filter(|(name, _)| is_asked(name)) {
        let gap = if lines.0.is_empty() { "" } else { "\r\n" };
        lines.0.push_str(&format!("{gap}# {name}\r\n"));
        write(server, &mut lines);
    }
    lines.0
}

struct Lines(String);

impl Lines {
    fn put(&mut self, name: &str, value: impl Display) {
        write!(self.0, "{name}:{value}\r\n").expect("a string takes everything");
    }
}

fn server(server: &Server, lines: &mut Lines) {
    let uptime = server.started.elapsed().as_secs();
    lines.put("redis_version", REDIS_VERSION);
    lines.put("redis_mode", "standalone");
    lines.put("kvwal_version", env!("CARGO_PKG_VERSION"));
    lines.put("process_id", std::process::id());
    lines.put("tcp_port", server.address.port());
    lines.put("uptime_in_seconds", uptime);
    lines.put("uptime_in_days", uptime / 86_400);
}

fn clients(server: &Server, lines: &mut Lines) {
    lines.put("connected_clients", server.clients);
    lines.put("maxclients", server.config.max_clients);
}

fn memory(server: &Server, lines: &mut Lines) {
    lines.put("buffer_memory_used", server.budget.used());
    lines.put("buffer_memory_limit", server.budget.limit());
}

fn persistence(server: &Server, lines: &mut Lines) {
    let (stats, report) = (server.store.stats(), server.store.recovery_report());
    let sync = match server.config.sync {
        SyncMode::Always => "always",
        SyncMode::Interval => "interval",
        SyncMode::None => "none",
    };
    lines.put("loading", 0);
    lines.put("sync_mode", sync);
    lines.put("last_lsn", stats.last_lsn);
    lines.put("durable_lsn", stats.durable_lsn);
    lines.put("checkpoint_lsn", stats.checkpoint_lsn);
    lines.put("wal_bytes", stats.wal_bytes);
    lines.put("checkpoints", stats.checkpoints);
    lines.put("checkpoints_failed", stats.checkpoints_failed);
    lines.put("commits", stats.commits);
    lines.put("syncs", stats.syncs);
    lines.put("rdb_bgsave_in_progress", u8::from(server.saving.is_running()));
    lines.put("rdb_last_save_time", server.last_save());
    lines.put("rdb_last_bgsave_status", if server.saving == Saving::Failed { "err" } else { "ok" });
    lines.put("recovery_verdict", report.verdict.word());
    lines.put("recovery_checkpoint_lsn", report.checkpoint_lsn);
    lines.put("recovery_last_lsn", report.last_lsn);
    lines.put("recovery_records_replayed", report.records_replayed);
    lines.put("recovery_bytes_quarantined", report.bytes_quarantined);
    lines.put("recovery_seconds", format_args!("{:.6}", report.elapsed.as_secs_f64()));
}

fn stats(server: &Server, lines: &mut Lines) {
    let counters = &server.counters;
    lines.put("total_connections_received", counters.connections);
    lines.put("total_commands_processed", counters.commands);
    lines.put("total_net_input_bytes", counters.received);
    lines.put("total_net_output_bytes", counters.sent);
    lines.put("rejected_connections", counters.rejected);
    lines.put("dropped_slow_readers", counters.dropped);
    lines.put("out_of_descriptors", counters.out_of_descriptors);
    lines.put("gets", counters.tally.gets);
    lines.put("sets", counters.tally.sets);
    lines.put("dels", counters.tally.dels);
    lines.put("total_error_replies", counters.tally.errors);
}

fn latencies(server: &Server, lines: &mut Lines) {
    for (name, times) in server.latencies.by_name() {
        let [p50, p95, p99] = [500, 950, 990].map(|per_mille| times.quantile(per_mille));
        let (count, max) = (times.count(), times.max());
        let name = format!("latency_percentiles_usec_{name}");
        lines.put(&name, format_args!("p50={p50},p95={p95},p99={p99},max={max},count={count}"));
    }
}

fn keyspace(server: &Server, lines: &mut Lines) {
    let stats = server.store.stats();
    if stats.keys > 0 {
        lines.put("db0", format_args!("keys={},value_bytes={}", stats.keys, stats.bytes));
    }
}
