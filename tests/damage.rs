//! Every bit flip, truncation, and blanked sector of a small log and a small checkpoint: an exact prefix with the right
//! verdict, or an error that changes nothing; and not one byte lost.

use std::path::PathBuf;
use std::sync::Arc;

use crate::support::{self, Contents, DIR, contents, options};
use kvwal::format::{self, Record};
use kvwal::vfs::sim::{Call, Fault, SimDisk};
use kvwal::{ErrorKind, Options, RecoveryMode, Size, Store, Verdict};

const LOG: &str = "/store/wal.log";
const CHECKPOINT: &str = "/store/checkpoint.dat";

type Files = Vec<(PathBuf, Vec<u8>)>;

/// A closed store: a checkpoint at LSN 4, then the log from 5 on, with a batch of the LSNs 8 to 10 in it.
struct Sample {
    disk: SimDisk,
    log: Vec<u8>,
    checkpoint: Vec<u8>,
    /// What the store held after each LSN from 4 on that ends a change.
    states: Vec<(u64, Contents)>,
}

impl Sample {
    fn new() -> Sample {
        let disk = SimDisk::new(1);
        let store = support::open(&disk).unwrap();
        for key in 0..4u8 {
            store.set(&[key], &[key; 20]).unwrap();
        }
        store.checkpoint().unwrap();
        let mut states = vec![(4, contents(&store))];
        let mut note = |store: &Store| states.push((store.stats().last_lsn, contents(store)));
        store.set(b"five", b"a value of some length").unwrap();
        note(&store);
        store.set(&[1], &[0; 700]).unwrap();
        note(&store);
        store.del(&[2]).unwrap();
        note(&store);
        let mut batch = kvwal::Batch::new();
        batch.set(b"eight", b"8").unwrap();
        batch.del(&[3]).unwrap();
        batch.set(b"ten", &[10; 600]).unwrap();
        store.write(&batch).unwrap();
        note(&store);
        store.set(b"eleven", b"11").unwrap();
        note(&store);
        store.set(b"twelve", b"12").unwrap();
        note(&store);
        store.close().unwrap();
        let (log, checkpoint) = (disk.contents(LOG).unwrap(), disk.contents(CHECKPOINT).unwrap());
        Sample { disk, log, checkpoint, states }
    }

    /// Offset and record, for each record of the log.
    fn records(&self) -> Vec<(usize, Record<'_>)> {
        let (mut records, mut at) = (Vec::new(), 0);
        while at < self.log.len() {
            let record = format::decode(&self.log[at..]).unwrap();
            records.push((at, record));
            at += record.encoded_len();
        }
        records
    }

    /// Opens a copy of the store with a file replaced. Whatever comes of it, no byte may be gone, and what is opened is
    /// an exact prefix.
    fn open_with(&self, path: &str, damaged: &[u8], mode: RecoveryMode, context: &str) -> Result<Opened, ErrorKind> {
        let disk = self.disk.fork();
        disk.overwrite(path, damaged);
        let before = disk.all_files();
        let options = Options { recovery: mode, ..options() };
        let store = match Store::open_on(Arc::new(disk.clone()), DIR, &options) {
            Err(error) => {
                assert_eq!(disk.all_files(), before, "{context}: a failed open changes nothing ({error})");
                return Err(error.kind());
            }
            Ok(store) => store,
        };
        store.check_invariants();
        let report = store.recovery_report().clone();
        let (_, state) = self
            .states
            .iter()
            .find(|(lsn, _)| *lsn == report.last_lsn)
            .unwrap_or_else(|| panic!("{context}: LSN {} ends no change", report.last_lsn));
        assert_eq!(contents(&store), *state, "{context}: not the state as of {}", report.last_lsn);
        store.set(b"new", b"write").expect("the store takes writes");
        store.close().unwrap();
        let again = support::open(&disk).unwrap_or_else(|error| panic!("{context}: reopening: {error}"));
        assert_eq!(again.recovery_report().verdict, Verdict::Clean, "{context}: repaired for good");
        assert_eq!(again.stats().last_lsn, report.last_lsn + 1, "{context}");
        Ok(Opened { report, files: disk.all_files() })
    }
}

struct Opened {
    report: kvwal::Report,
    files: Files,
}

impl Opened {
    fn quarantined(&self) -> Vec<&Vec<u8>> {
        let in_quarantine = |path: &PathBuf| path.starts_with("/store/quarantine");
        self.files.iter().filter(|(path, _)| in_quarantine(path)).map(|(_, bytes)| bytes).collect()
    }
}

/// Damages the log in one place and checks everything that can be said of the result.
fn check_damaged_log(sample: &Sample, damaged: &[u8], context: &str) {
    let records = sample.records();
    // The first record that is not what it was, and the beginning of its batch.
    let first_bad = records.iter().position(|(at, record)| {
        damaged.get(*at..at + record.encoded_len()) != Some(&sample.log[*at..at + record.encoded_len()])
    });
    let Some(first_bad) = first_bad else { return };
    let batch = (0..=first_bad).rev().find(|&at| at == 0 || !records[at - 1].1.more).unwrap();
    let (stop, bad_lsn) = (records[batch].0, records[first_bad].1.lsn);
    // Valid records that are still in their place behind it.
    let intact = |(at, record): &&(usize, Record<'_>)| {
        let end = at + record.encoded_len();
        damaged.get(*at..end) == Some(&sample.log[*at..end])
    };
    let behind: Vec<_> = records[first_bad + 1..].iter().filter(intact).collect();
    let proven = behind.iter().any(|(_, record)| record.durable_lsn >= bad_lsn);
    let blank = damaged[stop.min(damaged.len())..].iter().all(|&byte| byte == 0);

    for mode in [RecoveryMode::Prefix, RecoveryMode::Strict] {
        let result = sample.open_with(LOG, damaged, mode, context);
        if proven && mode == RecoveryMode::Strict {
            assert_eq!(result.err(), Some(ErrorKind::Corrupt), "{context}: damage is refused in strict mode");
            continue;
        }
        let opened = result.unwrap_or_else(|kind| panic!("{context}: {kind:?}"));
        let report = &opened.report;
        assert_eq!(report.last_lsn, records[batch].1.lsn - 1, "{context}");
        assert_eq!(report.stop_offset, stop as u64, "{context}");
        if blank {
            // Nothing tells such a tail from space that was allocated ahead.
            assert_eq!((report.verdict, report.bytes_quarantined), (Verdict::Clean, 0), "{context}");
            continue;
        }
        let expected = if proven { Verdict::Damaged } else { Verdict::Torn };
        assert_eq!(report.verdict, expected, "{context}: {report:?}");
        assert_eq!(report.records_behind, behind.len() as u64, "{context}: {report:?}");
        assert_eq!(report.bytes_quarantined, (damaged.len() - stop) as u64, "{context}");
        assert_eq!(opened.quarantined(), [&damaged[stop..]], "{context}: what was cut off is saved");
    }
}

#[test]
fn every_bit_flip_of_the_log() {
    let sample = Sample::new();
    for bit in 0..sample.log.len() * 8 {
        let mut damaged = sample.log.clone();
        damaged[bit / 8] ^= 1 << (bit % 8);
        check_damaged_log(&sample, &damaged, &format!("bit {bit}"));
    }
}

#[test]
fn every_truncation_of_the_log() {
    let sample = Sample::new();
    for len in 0..sample.log.len() {
        let end_of_record = sample.records().iter().any(|(at, _)| *at == len);
        if end_of_record {
            // A log that ends with a whole record looks complete; of a batch it does not.
            let inside_batch =
                sample.records().iter().any(|(at, record)| at + record.encoded_len() == len && record.more);
            let opened =
                sample.open_with(LOG, &sample.log[..len], RecoveryMode::Strict, &format!("{len} bytes")).unwrap();
            let expected = if inside_batch { Verdict::Torn } else { Verdict::Clean };
            assert_eq!(opened.report.verdict, expected, "{len} bytes");
            continue;
        }
        check_damaged_log(&sample, &sample.log[..len], &format!("{len} bytes"));
    }
}

#[test]
fn every_blanked_and_filled_sector_of_the_log() {
    let sample = Sample::new();
    for fill in [0, 0xff] {
        for start in 0..sample.log.len() {
            let mut damaged = sample.log.clone();
            let end = (start + 512).min(damaged.len());
            damaged[start..end].fill(fill);
            check_damaged_log(&sample, &damaged, &format!("{start}..{end} filled with {fill}"));
        }
    }
}

#[test]
fn what_was_cut_off_never_comes_back() {
    // Records of one length, so that a new one ends exactly where an old one behind the damage begins; and no zeros
    // ahead, which would cover those.
    let options = Options { preallocate: Size::Never, ..options() };
    let open = |disk: &SimDisk| Store::open_on(Arc::new(disk.clone()), DIR, &options).unwrap();
    for seed in 0..20 {
        let disk = SimDisk::new(seed);
        let store = open(&disk);
        for key in 0..20u8 {
            store.set(&[key], b"old").unwrap();
        }
        store.close().unwrap();
        let mut log = disk.contents(LOG).unwrap();
        log[14 * 37 + 36] ^= 1;
        disk.overwrite(LOG, &log);
        let store = open(&disk);
        assert_eq!((store.recovery_report().last_lsn, store.recovery_report().records_behind), (14, 5));
        store.set(&[14], b"new").unwrap();
        let before = contents(&store);
        match seed {
            0 => disk.kill(),
            seed => disk.crash(seed),
        }
        drop(store);
        let store = open(&disk);
        assert_eq!((store.recovery_report().last_lsn, contents(&store)), (15, before), "seed {seed}");
    }
}

/// A closed store of 20 records, a sector each, of which the 15th is damaged.
fn with_a_bad_record(seed: u64, options: &Options) -> SimDisk {
    let disk = SimDisk::new(seed);
    let store = Store::open_on(Arc::new(disk.clone()), DIR, options).unwrap();
    (0..20u8).for_each(|key| store.set(&[key], &[1; 478]).unwrap());
    store.close().unwrap();
    let mut log = disk.contents(LOG).unwrap();
    log[14 * 512 + 100] ^= 1;
    disk.overwrite(LOG, &log);
    disk
}

#[test]
fn what_was_cut_off_never_comes_back_although_a_sync_failed() {
    let options = Options { preallocate: Size::Never, ..options() };
    let open = |disk: &SimDisk| Store::open_on(Arc::new(disk.clone()), DIR, &options);
    // Each seed lets another part of what was not synced reach the disk.
    for seed in 0..10 {
        for after in 0.. {
            let disk = with_a_bad_record(seed, &options);
            disk.fail(Fault { call: Some(Call::Sync), after, times: 1, errno: libc::EIO, short_first: false });
            let opened = open(&disk);
            if !disk.heal() {
                assert!(after > 1, "there were syncs");
                break;
            }
            assert!(opened.is_err(), "sync {after} failed");
            disk.kill();
            let store = open(&disk).unwrap();
            store.set(&[14], &[2; 478]).unwrap();
            disk.crash(seed);
            drop(store);
            let store = open(&disk).unwrap();
            assert_eq!(store.stats().last_lsn, 15, "sync {after} failed, seed {seed}");
            assert_eq!(store.get(&[14]).unwrap().unwrap(), [2; 478]);
        }
    }
}

#[test]
fn a_crash_while_a_log_is_given_up_whole_leaves_a_store_that_opens() {
    // The first record of the first of two logs is damaged, so that nothing of either stays.
    for checkpointed in [false, true] {
        let (disk, states) = with_two_logs(checkpointed);
        let mut log = disk.contents(LOG).unwrap();
        log[40] ^= 1;
        disk.overwrite(LOG, &log);
        disk.keep_moments(1024, 1);
        drop(support::open(&disk).unwrap());
        let expected = &states[if checkpointed { 3 } else { 0 }].1;
        for (at, moment) in disk.take_moments().iter().enumerate() {
            let crashed = (0..5).map(|seed| moment.crashed(seed));
            for disk in crashed.chain([moment.killed(at as u64)]) {
                let store = support::open(&disk).unwrap_or_else(|error| panic!("call {at} of the recovery: {error}"));
                assert_eq!(contents(&store), *expected, "call {at} of the recovery");
            }
        }
    }
}

#[test]
fn what_was_cut_off_is_in_quarantine_although_a_recovery_failed() {
    // After a sync of a directory that failed, a later one proves nothing about the names that it has by then.
    let options = Options { preallocate: Size::Never, ..options() };
    let open = |disk: &SimDisk| Store::open_on(Arc::new(disk.clone()), DIR, &options);
    for seed in 0..10 {
        for after in 0.. {
            let disk = with_a_bad_record(seed, &options);
            let cut = disk.contents(LOG).unwrap()[14 * 512..].to_vec();
            disk.fail(Fault { call: None, after, times: 1, errno: libc::EIO, short_first: false });
            let opened = open(&disk);
            if !disk.heal() {
                assert!(after > 10, "there were calls");
                break;
            }
            drop(opened);
            disk.kill();
            drop(open(&disk).unwrap());
            disk.crash(seed);
            let files = disk.all_files();
            let is_saved = files.iter().any(|(path, bytes)| path.starts_with("/store/quarantine") && *bytes == cut);
            assert!(is_saved, "call {after} failed, seed {seed}");
        }
    }
}

#[test]
fn a_first_record_that_was_cut_short_in_zeros_is_no_foreign_file() {
    let record = |lsn| {
        let mut bytes = Vec::new();
        let record = Record {
            lsn,
            durable_lsn: lsn - 1,
            op: format::Op::Put,
            more: false,
            expires_at: 0,
            key: b"key",
            value: b"a value",
        };
        format::encode(&record, &mut bytes).unwrap();
        bytes
    };
    for (first, len) in [1, 0xff_0000_00ff].into_iter().flat_map(|lsn| (1..43).map(move |len| (lsn, len))) {
        let disk = SimDisk::new(7);
        support::open(&disk).unwrap().close().unwrap();
        let log = [&record(first)[..len], &[0; 5000]].concat();
        disk.overwrite(LOG, &log);
        let store = support::open(&disk).unwrap_or_else(|error| panic!("{len} bytes of LSN {first}: {error}"));
        let report = store.recovery_report();
        assert_eq!((report.verdict, report.last_lsn), (Verdict::Torn, 0), "{len} bytes of LSN {first}");
    }
}

#[test]
fn a_bad_first_record_of_a_log_that_begins_late() {
    let disk = SimDisk::new(6);
    let store = support::open(&disk).unwrap();
    let mut batch = kvwal::Batch::new();
    (0..6000u32).for_each(|key| batch.set(&key.to_be_bytes(), b"").unwrap());
    store.write(&batch).unwrap();
    store.checkpoint().unwrap();
    (0..20u8).for_each(|key| store.set(&[key], b"value").unwrap());
    store.close().unwrap();
    let mut log = disk.contents(LOG).unwrap();
    log[..40].fill(0xff);
    disk.overwrite(LOG, &log);
    let store = support::open(&disk).unwrap();
    let report = store.recovery_report();
    assert_eq!((report.verdict, report.last_lsn, report.records_behind), (Verdict::Damaged, 6000, 18));
}

#[test]
fn a_record_of_a_newer_version_is_refused_and_left_alone() {
    let sample = Sample::new();
    for (at, record) in sample.records() {
        let mut newer = sample.log.clone();
        let bytes = &mut newer[at..at + record.encoded_len()];
        bytes[24] = bytes[24] & 0x80 | 0x7f;
        let checksum = crc32fast::hash(&bytes[4..]);
        bytes[..4].copy_from_slice(&checksum.to_be_bytes());
        for mode in [RecoveryMode::Prefix, RecoveryMode::Strict] {
            let context = format!("record at {at}");
            assert_eq!(sample.open_with(LOG, &newer, mode, &context).err(), Some(ErrorKind::Version), "{context}");
        }
    }
}

#[test]
fn numbers_that_no_record_has() {
    for lsn in [0, 1 << 48, u64::MAX] {
        let record =
            Record { lsn, durable_lsn: 0, op: format::Op::Put, more: false, expires_at: 0, key: b"k", value: b"v" };
        let mut log = Vec::new();
        format::encode(&record, &mut log).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.log");
        std::fs::write(&path, &log).unwrap();
        let report = kvwal::wal::replay(&path, 0, |_| true).unwrap();
        assert_eq!((report.records_replayed, report.verdict), (0, Verdict::Torn), "LSN {lsn}");
    }
}

#[test]
fn swapped_doubled_and_missing_records() {
    let sample = Sample::new();
    let records = sample.records();
    let bytes = |at: usize| &sample.log[records[at].0..records[at].0 + records[at].1.encoded_len()];
    for first in 0..records.len() {
        for second in 0..records.len() {
            let mut order: Vec<usize> = (0..records.len()).collect();
            order.swap(first, second);
            let swapped: Vec<u8> = order.iter().flat_map(|&at| bytes(at)).copied().collect();
            if first != second {
                check_prefix(&sample, &swapped, &format!("{first} and {second} swapped"));
            }
        }
        let doubled: Vec<u8> =
            (0..records.len()).flat_map(|at| [bytes(at), if at == first { bytes(at) } else { &[] }].concat()).collect();
        check_prefix(&sample, &doubled, &format!("{first} doubled"));
        let missing: Vec<u8> = (0..records.len()).filter(|&at| at != first).flat_map(bytes).copied().collect();
        check_prefix(&sample, &missing, &format!("{first} missing"));
    }
}

/// Records that are valid in themselves but in a wrong place: a prefix or an error, and strict mode opens nothing that is
/// known to be damaged.
fn check_prefix(sample: &Sample, damaged: &[u8], context: &str) {
    match sample.open_with(LOG, damaged, RecoveryMode::Prefix, context) {
        Err(kind) => assert_eq!(kind, ErrorKind::Corrupt, "{context}"),
        Ok(opened) => {
            let strict = sample.open_with(LOG, damaged, RecoveryMode::Strict, context);
            assert_eq!(strict.is_err(), opened.report.verdict == Verdict::Damaged, "{context}");
        }
    }
}

#[test]
fn every_bit_flip_truncation_and_filled_sector_of_the_checkpoint() {
    let sample = Sample::new();
    let refused = |damaged: &[u8], context: &str| {
        for mode in [RecoveryMode::Prefix, RecoveryMode::Strict] {
            let result = sample.open_with(CHECKPOINT, damaged, mode, context);
            assert_eq!(result.err(), Some(ErrorKind::Corrupt), "{context}: the log begins behind it");
        }
    };
    for bit in 0..sample.checkpoint.len() * 8 {
        let mut damaged = sample.checkpoint.clone();
        damaged[bit / 8] ^= 1 << (bit % 8);
        refused(&damaged, &format!("bit {bit}"));
    }
    for len in 0..sample.checkpoint.len() {
        refused(&sample.checkpoint[..len], &format!("{len} bytes"));
    }
    for start in 0..sample.checkpoint.len() {
        for fill in [0, 0xff] {
            let mut damaged = sample.checkpoint.clone();
            let end = (start + 512).min(damaged.len());
            damaged[start..end].fill(fill);
            if damaged != sample.checkpoint {
                refused(&damaged, &format!("{start}..{end} filled with {fill}"));
            }
        }
    }
    refused(&[&sample.checkpoint[..], &[0]].concat(), "one byte more");
}

#[test]
fn a_damaged_checkpoint_gives_way_to_a_log_that_begins_with_1() {
    let sample = Sample::new();
    // What a crash right after the first checkpoint leaves: the whole log is still there.
    let disk = SimDisk::new(2);
    let store = support::open(&disk).unwrap();
    for key in 0..4u8 {
        store.set(&[key], &[key; 20]).unwrap();
    }
    store.close().unwrap();
    let log = disk.contents(LOG).unwrap();
    let mut damaged = sample.checkpoint.clone();
    damaged[100] ^= 1;

    let disk = sample.disk.fork();
    disk.overwrite(LOG, &log);
    disk.overwrite(CHECKPOINT, &damaged);
    let strict = Options { recovery: RecoveryMode::Strict, ..options() };
    let error = Store::open_on(Arc::new(disk.clone()), DIR, &strict).err().expect("strict refuses");
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    let store = support::open(&disk).unwrap();
    let report = store.recovery_report();
    assert_eq!((report.checkpoint_lsn, report.last_lsn, report.records_replayed), (0, 4, 4));
    assert_eq!(report.bytes_quarantined as usize, damaged.len());
    // The first three are proven by the records behind them.
    assert_eq!(report.bytes_rewritten as usize, log.len() / 4);
    assert_eq!(contents(&store), sample.states[0].1);
    store.close().unwrap();
    assert_eq!(disk.contents(CHECKPOINT), None);
    assert!(disk.all_files().iter().any(|(_, bytes)| *bytes == damaged), "it is kept in quarantine");

    // If the log did not reach as far as the checkpoint had, something is lost for good.
    let disk = sample.disk.fork();
    disk.overwrite(LOG, &log[..log.len() / 2]);
    disk.overwrite(CHECKPOINT, &damaged);
    assert_eq!(support::open(&disk).err().expect("refused").kind(), ErrorKind::Corrupt);
}

/// A closed store whose last checkpoint failed: records 1 to 6 in `wal.log`, 7 to 9 in `wal.next`.
fn with_two_logs(checkpointed: bool) -> (SimDisk, Vec<(u64, Contents)>) {
    let disk = SimDisk::new(4);
    let store = support::open(&disk).unwrap();
    let mut states = vec![(0, Contents::new())];
    let set = |states: &mut Vec<_>, number: u8| {
        store.set(&[number], &[number; 30]).unwrap();
        states.push((u64::from(number), contents(&store)));
    };
    (1..4).for_each(|number| set(&mut states, number));
    if checkpointed {
        store.checkpoint().unwrap();
    }
    (4..7).for_each(|number| set(&mut states, number));
    disk.fail(Fault { call: Some(Call::Rename), after: 0, times: 1, errno: libc::EIO, short_first: false });
    store.checkpoint().unwrap_err();
    assert!(disk.heal());
    (7..10).for_each(|number| set(&mut states, number));
    store.close().unwrap();
    (disk, states)
}

/// The same, and the next checkpoint was complete, only its logs could not be retired.
fn with_two_logs_and_a_checkpoint_of_both() -> (SimDisk, Vec<(u64, Contents)>) {
    let (disk, states) = with_two_logs(true);
    let store = support::open(&disk).unwrap();
    disk.fail(Fault { call: Some(Call::Rename), after: 1, times: 1, errno: libc::EIO, short_first: false });
    store.checkpoint().unwrap_err();
    assert!(disk.heal());
    store.close().unwrap();
    (disk, states)
}

const NEXT: &str = "/store/wal.next";

#[test]
fn a_checkpoint_finishes_what_an_interrupted_one_left() {
    let (disk, states) = with_two_logs(true);
    let next = disk.contents(NEXT);
    let store = support::open(&disk).unwrap();
    assert_eq!(contents(&store), states[9].1);
    store.checkpoint().unwrap();
    store.close().unwrap();
    assert_eq!((disk.contents(LOG), disk.contents(NEXT)), (next, None));
    let store = support::open(&disk).unwrap();
    assert_eq!((store.recovery_report().checkpoint_lsn, store.recovery_report().records_replayed), (9, 0));
}

#[test]
fn damage_in_the_first_of_two_logs() {
    for checkpointed in [false, true] {
        let (intact, states) = with_two_logs(checkpointed);
        let (log, next) = (intact.contents(LOG).unwrap(), intact.contents(NEXT).unwrap());
        let first_lsn = if checkpointed { 4 } else { 1 };
        for byte in 0..log.len() {
            let disk = intact.fork();
            let mut damaged = log.clone();
            damaged[byte] ^= 4;
            disk.overwrite(LOG, &damaged);
            let good = byte / 64;
            let strict = Options { recovery: RecoveryMode::Strict, ..options() };
            let refused = Store::open_on(Arc::new(disk.clone()), DIR, &strict);
            assert_eq!(refused.err().map(|error| error.kind()), Some(ErrorKind::Corrupt), "byte {byte}");

            let store = support::open(&disk).unwrap_or_else(|error| panic!("byte {byte}: {error}"));
            let report = store.recovery_report();
            assert_eq!(report.last_lsn, (first_lsn - 1 + good) as u64, "byte {byte}");
            assert_eq!(contents(&store), states[report.last_lsn as usize].1, "byte {byte}");
            assert_eq!(report.verdict, Verdict::Damaged, "byte {byte}");
            assert_eq!(report.records_behind as usize, log.len() / 64 - good - 1 + 3, "byte {byte}");
            let saved = log.len() - good * 64 + next.len();
            assert_eq!(report.bytes_quarantined as usize, saved, "byte {byte}");
            store.set(b"more", b"").unwrap();
            store.close().unwrap();
            assert_eq!(disk.contents(NEXT), None, "byte {byte}");
            let files = disk.all_files();
            assert!(files.iter().any(|(path, bytes)| path.starts_with("/store/quarantine") && *bytes == next));
            assert_eq!(support::open(&disk).unwrap().recovery_report().verdict, Verdict::Clean);
        }
    }
}

#[test]
fn many_records_lost_between_two_logs() {
    let disk = SimDisk::new(8);
    let store = support::open(&disk).unwrap();
    let mut batch = kvwal::Batch::new();
    (0..5000u32).for_each(|key| batch.set(&key.to_be_bytes(), b"").unwrap());
    store.set(b"first", b"").unwrap();
    store.write(&batch).unwrap();
    disk.fail(Fault { call: Some(Call::Rename), after: 0, times: 1, errno: libc::EIO, short_first: false });
    store.checkpoint().unwrap_err();
    assert!(disk.heal());
    (0..7u8).for_each(|key| store.set(&[key], b"").unwrap());
    store.close().unwrap();
    let log = disk.contents(LOG).unwrap();
    disk.overwrite(LOG, &log[..38]);
    let store = support::open(&disk).unwrap();
    let report = store.recovery_report();
    assert_eq!((report.verdict, report.last_lsn, report.records_behind), (Verdict::Damaged, 1, 7));
    assert!(report.reason.as_ref().unwrap().starts_with("/store/wal.log: record 2 at offset 38:"), "{report:?}");
}

#[test]
fn damage_in_the_second_of_two_logs() {
    let (intact, states) = with_two_logs(true);
    let next = intact.contents(NEXT).unwrap();
    for byte in 0..next.len() {
        let disk = intact.fork();
        let mut damaged = next.clone();
        damaged[byte] ^= 4;
        disk.overwrite(NEXT, &damaged);
        let store = support::open(&disk).unwrap_or_else(|error| panic!("byte {byte}: {error}"));
        let report = store.recovery_report();
        assert_eq!(report.last_lsn as usize, 6 + byte / 64, "byte {byte}");
        assert_eq!(contents(&store), states[report.last_lsn as usize].1, "byte {byte}");
        let expected = if byte / 64 < 2 { Verdict::Damaged } else { Verdict::Torn };
        assert_eq!(report.verdict, expected, "byte {byte}");
        assert_eq!(report.stop_offset as usize, byte / 64 * 64, "byte {byte}");
        assert!(report.reason.as_ref().unwrap().starts_with("/store/wal.next: record"), "{:?}", report.reason);
        store.checkpoint().unwrap();
        store.close().unwrap();
    }
}

#[test]
fn logs_doubled_swapped_or_missing() {
    let (intact, _) = with_two_logs(true);
    let (log, next) = (intact.contents(LOG).unwrap(), intact.contents(NEXT).unwrap());
    for (context, new_log, new_next) in
        [("log doubled", &log, &log), ("swapped", &next, &log), ("next doubled", &next, &next)]
    {
        let disk = intact.fork();
        disk.overwrite(LOG, new_log);
        disk.overwrite(NEXT, new_next);
        let before = disk.all_files();
        let error = support::open(&disk).err().unwrap_or_else(|| panic!("{context} was not noticed"));
        assert_eq!((error.kind(), disk.all_files()), (ErrorKind::Corrupt, before), "{context}");
    }
    for also_missing in [None, Some(CHECKPOINT), Some(NEXT)] {
        let disk = intact.fork();
        for path in [Some(LOG), also_missing].into_iter().flatten() {
            kvwal::vfs::Vfs::remove(&disk, path.as_ref()).unwrap();
        }
        let before = disk.all_files();
        let error = support::open(&disk).err().unwrap_or_else(|| panic!("the log and {also_missing:?} are missing"));
        assert_eq!((error.kind(), disk.all_files()), (ErrorKind::Corrupt, before), "log and {also_missing:?} missing");
    }
}

#[test]
fn a_second_log_alone_is_the_log_if_it_goes_on_from_the_checkpoint() {
    for checkpointed in [false, true] {
        let (intact, states) = with_two_logs(checkpointed);
        let log = intact.contents(LOG).unwrap();
        kvwal::vfs::Vfs::rename(&intact, LOG.as_ref(), NEXT.as_ref()).unwrap();
        kvwal::vfs::Vfs::sync_dir(&intact, DIR.as_ref()).unwrap();
        let first_record = log.len() / if checkpointed { 3 } else { 6 };
        for byte in (0..=log.len()).step_by(3) {
            let disk = intact.fork();
            let mut damaged = log.clone();
            if let Some(byte) = damaged.get_mut(byte) {
                *byte ^= 4;
            }
            disk.overwrite(NEXT, &damaged);
            disk.keep_moments(1024, 1);
            let before = disk.all_files();
            if byte < first_record {
                assert_eq!(
                    support::open(&disk).err().map(|error| error.kind()),
                    Some(ErrorKind::Corrupt),
                    "byte {byte}"
                );
                assert_eq!(disk.all_files(), before, "byte {byte}");
                continue;
            }
            let store = support::open(&disk).unwrap_or_else(|error| panic!("byte {byte}: {error}"));
            let whole_records = byte / first_record + if checkpointed { 3 } else { 0 };
            assert_eq!(contents(&store), states[whole_records].1, "byte {byte}");
            assert_eq!(disk.contents(NEXT), None);
            for (at, moment) in disk.take_moments().iter().enumerate() {
                let disk = moment.crashed(at as u64);
                let store = support::open(&disk).unwrap_or_else(|error| panic!("call {at} of that: {error}"));
                assert_eq!(contents(&store), states[whole_records].1, "byte {byte}, call {at} of the recovery");
            }
        }
    }
}

#[test]
fn a_damaged_log_that_the_checkpoint_covers_is_left_as_it_is_until_it_is_retired() {
    let (disk, states) = with_two_logs_and_a_checkpoint_of_both();
    let (log, next) = (disk.contents(LOG).unwrap(), disk.contents(NEXT).unwrap());
    for byte in 0..log.len() {
        let disk = disk.fork();
        let mut damaged = log.clone();
        damaged[byte] ^= 4;
        disk.overwrite(LOG, &damaged);
        let store = support::open(&disk).unwrap_or_else(|error| panic!("byte {byte}: {error}"));
        assert_eq!((store.recovery_report().verdict, contents(&store)), (Verdict::Clean, states[9].1.clone()));
        store.close().unwrap();
        assert_eq!((disk.contents(LOG), disk.contents(NEXT)), (Some(damaged), Some(next.clone())), "byte {byte}");
        let store = support::open(&disk).unwrap();
        store.checkpoint().unwrap();
        store.close().unwrap();
        assert_eq!(disk.contents(NEXT), None, "byte {byte}");
        assert_eq!(contents(&support::open(&disk).unwrap()), states[9].1, "byte {byte}");
    }
}

#[test]
fn a_second_log_behind_a_gap_or_behind_garbage_is_not_gone_on_from() {
    let (intact, states) = with_two_logs(true);
    let next = intact.contents(NEXT).unwrap();
    // The checkpoint ends at 3, the log is empty, and what follows begins with 7.
    let disk = intact.fork();
    disk.overwrite(LOG, b"");
    let before = disk.all_files();
    assert_eq!(support::open(&disk).err().map(|error| error.kind()), Some(ErrorKind::Corrupt));
    assert_eq!(disk.all_files(), before);
    // The log ends with 6 and something that is no record, so what follows is behind that.
    let disk = intact.fork();
    disk.overwrite(LOG, &[&intact.contents(LOG).unwrap()[..], b"garbage"].concat());
    let store = support::open(&disk).unwrap();
    let report = store.recovery_report();
    assert_eq!((report.verdict, report.last_lsn, report.records_behind), (Verdict::Damaged, 6, 2));
    assert_eq!(report.bytes_quarantined as usize, 7 + next.len());
    assert_eq!(contents(&store), states[6].1);
    assert_eq!(quarantined_names(&disk), ["wal.log-lsn-7-offset-192", "wal.next-lsn-7-offset-0"]);
}

fn quarantined_names(disk: &SimDisk) -> Vec<String> {
    let files = disk.all_files();
    let names = files.iter().filter_map(|(path, _)| path.strip_prefix("/store/quarantine").ok());
    names.map(|name| name.display().to_string()).collect()
}

#[test]
fn a_log_that_ends_before_the_checkpoint_does() {
    let (disk, states) = with_two_logs_and_a_checkpoint_of_both();
    // The checkpoint reaches 9, the log 6, and what was between them is gone.
    disk.overwrite(NEXT, b"");
    assert_eq!(support::open(&disk).err().map(|error| error.kind()), Some(ErrorKind::Corrupt));
    // If it also ends in what is no record, more may have been there. The checkpoint has all of it.
    let mut log = disk.contents(LOG).unwrap();
    log[64 + 40] ^= 1;
    disk.overwrite(LOG, &log);
    let store = support::open(&disk).unwrap();
    let report = store.recovery_report();
    assert_eq!((report.verdict, report.last_lsn, report.bytes_quarantined), (Verdict::Damaged, 9, 3 * 64));
    assert_eq!(contents(&store), states[9].1);
    assert_eq!(quarantined_names(&disk), ["wal.log-lsn-4-offset-0"]);
    store.set(b"more", b"").unwrap();
    store.close().unwrap();
    assert_eq!(support::open(&disk).unwrap().stats().last_lsn, 10);
}

#[test]
fn the_first_of_two_logs_may_be_empty() {
    let disk = SimDisk::new(4);
    let store = support::open(&disk).unwrap();
    let fail_checkpoint_at_rename = |after| {
        disk.fail(Fault { call: Some(Call::Rename), after, times: 1, errno: libc::EIO, short_first: false });
        store.checkpoint().unwrap_err();
        assert!(disk.heal());
    };
    let reopened = || {
        let store = support::open(&disk.fork()).unwrap();
        let report = store.recovery_report();
        (report.verdict, report.last_lsn, report.checkpoint_lsn)
    };
    fail_checkpoint_at_rename(0);
    store.set(b"key", b"value").unwrap();
    assert_eq!(disk.contents(LOG).unwrap(), b"");
    assert_eq!(reopened(), (Verdict::Clean, 1, 0));
    // Now the checkpoint is complete, and the logs are as they were.
    fail_checkpoint_at_rename(1);
    assert_eq!(reopened(), (Verdict::Clean, 1, 1));
}

#[test]
fn a_store_that_is_there_needs_not_be_created() {
    let disk = SimDisk::new(1);
    let existing = Options { create: false, ..options() };
    let open = || Store::open_on(Arc::new(disk.clone()), DIR, &existing);
    assert_eq!(open().err().map(|error| error.kind()), Some(ErrorKind::Io));
    support::open(&disk).unwrap().close().unwrap();
    open().expect("it is there").close().unwrap();
}

#[test]
fn files_that_do_not_belong_together() {
    let sample = Sample::new();
    let old_log = {
        let disk = SimDisk::new(3);
        let store = support::open(&disk).unwrap();
        store.set(b"other", b"store").unwrap();
        store.close().unwrap();
        disk.contents(LOG).unwrap()
    };
    let text = b"# Not a log, but a text that somebody put in its place.\n".repeat(20);
    let cases: [(&str, &str, &[u8]); 4] = [
        ("a log that ends before the checkpoint", LOG, &old_log),
        ("a text as log", LOG, &text),
        ("a text as checkpoint", CHECKPOINT, &text),
        ("an empty checkpoint", CHECKPOINT, b""),
    ];
    for (context, path, bytes) in cases {
        let result = sample.open_with(path, bytes, RecoveryMode::Prefix, context);
        assert_eq!(result.err(), Some(ErrorKind::Corrupt), "{context}");
    }
}
