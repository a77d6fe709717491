//! What there is to be found in a store or a log, as text.

use std::fmt::Write;
use std::path::Path;

use kvwal::vfs::Vfs;
use kvwal::{Report, Store, wal};

/// The promise about a store: the verdict, the LSNs, and every key with its value.
pub fn in_store(store: &Store) -> String {
    let mut found = summary(store.recovery_report());
    let scanned = store.scan(b"", |key, value| {
        writeln!(found, "\"{}\" = \"{}\"", key.escape_ascii(), value.escape_ascii()).expect("text grows");
        true
    });
    scanned.expect("a scan needs no disk");
    found
}

/// The same of a log alone: its records.
pub fn in_log(vfs: &dyn Vfs, path: &Path) -> String {
    let mut records = String::new();
    let report = wal::replay_on(vfs, path, 0, |record| {
        let (key, value) = (record.key.escape_ascii(), record.value.escape_ascii());
        let batch = if record.more { " and the next" } else { "" };
        let (lsn, op, expires_at) = (record.lsn, record.op, record.expires_at);
        writeln!(records, "{lsn} {op:?} \"{key}\" = \"{value}\" until {expires_at}{batch}").expect("text grows");
        true
    });
    summary(&report.expect("the log can be read")) + &records
}

fn summary(report: &Report) -> String {
    let Report { verdict, checkpoint_lsn, last_lsn, durable_lsn, .. } = report;
    format!("verdict {verdict:?}\ncheckpoint_lsn {checkpoint_lsn}\nlast_lsn {last_lsn}\ndurable_lsn {durable_lsn}\n")
}
