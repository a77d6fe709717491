//! The checkpoint loader: arbitrary bytes as `checkpoint.dat`, beside a log that begins with LSN 1 or goes on where the
//! checkpoint ends.
//!
//! Input: a byte for how much is put right, one that chooses the log, then the checkpoint.
#![no_main]

use kvwal::format::{self, Op, Record};
use kvwal_fuzz::counting::Counting;
use kvwal_fuzz::seal::{self, Level};
use kvwal_fuzz::support::opening::{Evidence, check_open, disk_with};
use kvwal_fuzz::support::reader::{Files, LAST_LSN};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// A log of the records `first` to `last`.
fn log(first: u64, last: u64) -> Vec<u8> {
    let mut log = Vec::new();
    for lsn in first..=last {
        let key = [lsn as u8];
        let record =
            Record { lsn, durable_lsn: lsn - 1, op: Op::Put, more: false, expires_at: 0, key: &key, value: b"v" };
        format::encode(&record, &mut log).expect("a small record");
    }
    log
}

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    let [level, choice, bytes @ ..] = input else { return };
    kvwal_fuzz::bounded(input, || {
        let mut checkpoint = bytes.to_vec();
        seal::checkpoint(&mut checkpoint, Level::of(*level));
        let lsn = checkpoint.get(16..24).map_or(0, |lsn| u64::from_be_bytes(lsn.try_into().expect("eight bytes")));
        let log = match choice % 3 {
            0 => log(1, lsn.min(20) + 2),
            1 if lsn < LAST_LSN - 2 => log(lsn + 1, lsn + 2),
            _ => Vec::new(),
        };
        let files = Files { log: Some(log), next: None, checkpoint: Some(checkpoint) };
        check_open(&disk_with(&files), &files, Evidence::Plain, &|| "checkpoint".to_owned());
    });
});
