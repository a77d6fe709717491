//! Metrics in the text format of Prometheus.

use std::fmt::{Display, Write};

use crate::latency::Histogram;
use crate::server::Server;

/// The quantiles that are shown: in thousandths, and as their labels.
const QUANTILES: [(u64, &str); 3] = [(500, "0.5"), (950, "0.95"), (990, "0.99")];

/// All metrics.
pub fn text(server: &Server) -> String {
    let mut text = String::new();
    let (counters, store, report) = (&server.counters, server.store.stats(), server.store.recovery_report());
    let tally = &counters.tally;
    let mut counter = |name: &str, help: &str, value: u64| one(&mut text, name, "counter", help, value);
    counter("gets_total", "Values looked up.", tally.gets);
    counter("sets_total", "Keys set.", tally.sets);
    counter("dels_total", "Keys deleted that were there.", tally.dels);
    counter("errors_total", "Requests answered by an error.", tally.errors);
    counter("commands_total", "Commands carried out.", counters.commands);
    counter("connections_total", "Connections accepted.", counters.connections);
    counter("connections_rejected_total", "Connections beyond the greatest number.", counters.rejected);
    counter("connections_dropped_total", "Connections of clients that did not read.", counters.dropped);
    counter("out_of_descriptors_total", "Times when none could be accepted.", counters.out_of_descriptors);
    counter("received_bytes_total", "Bytes received.", counters.received);
    counter("sent_bytes_total", "Bytes sent.", counters.sent);
    counter("commits_total", "Group commits.", store.commits);
    counter("syncs_total", "Syncs of the log.", store.syncs);
    counter("checkpoints_total", "Checkpoints completed.", store.checkpoints);
    counter("checkpoints_failed_total", "Attempts at a checkpoint that failed.", store.checkpoints_failed);
    let mut gauge = |name: &str, help: &str, value: u64| one(&mut text, name, "gauge", help, value);
    gauge("connections", "Connections now.", server.clients as u64);
    gauge("buffer_bytes", "Bytes of shared memory in buffers.", server.budget.used() as u64);
    gauge("keys", "Keys in the store.", store.keys);
    gauge("value_bytes", "Bytes of the values in the store.", store.bytes);
    gauge("last_lsn", "LSN of the last record.", store.last_lsn);
    gauge("durable_lsn", "Highest LSN on stable storage.", store.durable_lsn);
    gauge("checkpoint_lsn", "LSN of the newest checkpoint.", store.checkpoint_lsn);
    gauge("wal_bytes", "Bytes of records in the log.", store.wal_bytes);
    gauge("recovery_verdict", "Of the last recovery: 0 clean, 1 torn, 2 damaged.", report.verdict as u64);
    gauge("uptime_seconds", "Since the server began.", server.started.elapsed().as_secs());
    latencies(&mut text, &server.latencies.by_name());
    text
}

fn one(text: &mut String, name: &str, kind: &str, help: &str, value: u64) {
    head(text, name, kind, help);
    sample(text, name, "", value);
}

fn head(text: &mut String, name: &str, kind: &str, help: &str) {
    write!(text, "# HELP kvwal_{name} {help}\n# TYPE kvwal_{name} {kind}\n").expect("a string takes everything");
}

fn sample(text: &mut String, name: &str, labels: &str, value: impl Display) {
    writeln!(text, "kvwal_{name}{labels} {value}").expect("a string takes everything");
}

fn latencies(text: &mut String, commands: &[(&str, Histogram)]) {
    let name = "command_seconds";
    head(text, name, "summary", "From the arrival of a command to its answer.");
    for (command, times) in commands {
        for (per_mille, quantile) in QUANTILES {
            let labels = format!("{{command=\"{command}\",quantile=\"{quantile}\"}}");
            sample(text, name, &labels, seconds(times.quantile(per_mille)));
        }
        let labels = format!("{{command=\"{command}\"}}");
        sample(text, "command_seconds_sum", &labels, seconds(times.sum()));
        sample(text, "command_seconds_count", &labels, times.count());
    }
    head(text, "command_seconds_max", "gauge", "The longest.");
    for (command, times) in commands {
        sample(text, "command_seconds_max", &format!("{{command=\"{command}\"}}"), seconds(times.max()));
    }
}

fn seconds(micros: u64) -> f64 {
    micros as f64 / 1e6
}
