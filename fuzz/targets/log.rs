//! The log reader: of arbitrary bytes it shows exactly the records that the second reader sees, and changes nothing; a log
//! that is opened for appending keeps those records and goes on behind them.
//!
//! Input: a byte for how much is put right, one for the LSN after which the replay begins, then the log.
#![no_main]

use std::path::Path;

use kvwal::format::{Op, Record};
use kvwal::vfs::sim::SimDisk;
use kvwal::wal::{Log, replay_on};
use kvwal::{ErrorKind, Report, Verdict};
use kvwal_fuzz::counting::Counting;
use kvwal_fuzz::seal::{self, Level};
use kvwal_fuzz::support::opening::put_file;
use kvwal_fuzz::support::reader;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const LOG: &str = "/wal.log";

type Seen = Vec<(u64, Vec<u8>, Option<Vec<u8>>)>;

fn replay(disk: &SimDisk, after: u64) -> (kvwal::Result<Report>, Seen) {
    let mut seen = Seen::new();
    let report = replay_on(disk, Path::new(LOG), after, |record| {
        seen.push((record.lsn, record.key.to_vec(), (record.op != Op::Delete).then(|| record.value.to_vec())));
        true
    });
    (report.map(|report| Report { elapsed: Default::default(), ..report }), seen)
}

fn check(level: Level, after: u64, bytes: &[u8]) {
    let mut bytes = bytes.to_vec();
    seal::log(&mut bytes, level);
    let disk = SimDisk::new(1);
    put_file(&disk, LOG, &bytes);
    let before = disk.all_files();
    let first_time = replay(&disk, after);
    assert_eq!(first_time, replay(&disk, after), "reading again gives the same");
    let (report, seen) = first_time;
    assert!(disk.all_files() == before, "a replay changes nothing");

    let first = reader::first_lsn(&bytes);
    let begins_late = after != 0 && first.is_some_and(|first| first > after + 1);
    let log = match reader::is_foreign(&bytes) || begins_late {
        true => None,
        false => reader::log(&bytes, first.unwrap_or(after + 1)),
    };
    let (Ok(report), Some(log)) = (&report, &log) else {
        let kind = report.as_ref().err().map(|error| error.kind());
        assert!(log.is_none() && matches!(kind, Some(ErrorKind::Corrupt | ErrorKind::Version)), "{report:?}");
        return;
    };
    let expected = log.records.iter().filter(|record| record.lsn > after);
    let expected: Seen = expected.map(|record| (record.lsn, record.key.clone(), record.value.clone())).collect();
    assert_eq!(seen, expected);
    assert_eq!((report.last_lsn, report.stop_offset as usize), (log.last_lsn, log.end));
    assert_eq!(report.verdict == Verdict::Clean, log.bad.is_none());
    check_appending(&disk, &bytes, first.unwrap_or(1));
}

fn check_appending(disk: &SimDisk, bytes: &[u8], first: u64) {
    let mut log = match Log::open_on(disk, Path::new(LOG)) {
        Ok(log) => log,
        Err(error) => {
            assert!(reader::log(bytes, first).is_none(), "{error}");
            assert_eq!(disk.contents(LOG).as_deref(), Some(bytes), "a failed open changes nothing");
            return;
        }
    };
    let valid = reader::log(bytes, first).expect("it was opened");
    assert_eq!(disk.contents(LOG).as_deref(), Some(&bytes[..valid.end]));
    if valid.last_lsn == reader::LAST_LSN {
        return;
    }
    let new = Record { lsn: 0, durable_lsn: 0, op: Op::Put, more: false, expires_at: 0, key: b"new", value: b"record" };
    assert_eq!(log.append(&new).expect("it takes records").0, valid.last_lsn + 1);
    log.close().expect("it closes");
    let (report, seen) = replay(disk, 0);
    assert_eq!(report.expect("it is a log").verdict, Verdict::Clean);
    assert_eq!(seen.len(), valid.records.len() + 1);
}

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    let [level, after, bytes @ ..] = input else { return };
    kvwal_fuzz::bounded(input, || check(Level::of(*level), u64::from(*after), bytes));
});
