//! Opening a store whose files may hold anything, and comparing what comes of it with what the second reader says.

use std::io::IoSlice;
use std::path::Path;
use std::sync::Arc;

use kvwal::vfs::sim::SimDisk;
use kvwal::vfs::{self, Access, Vfs};
use kvwal::{Error, ErrorKind, Options, RecoveryMode, Report, Size, Store, Verdict, Verified};

use super::reader::{self, Files, Opened, Reading};

const DIR: &str = "/store";
const LOCK: &str = "/store/LOCK";
const LOG: &str = "/store/wal.log";
const NEXT: &str = "/store/wal.next";
const CHECKPOINT: &str = "/store/checkpoint.dat";

/// How sure the second reader is of the verdict. It takes every valid record behind a bad one for evidence, while
/// recovery has to be careful with what lies inside values.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Evidence {
    /// No value holds what looks like a record.
    Plain,
    /// Values may hold anything.
    Doubtful,
}

/// Makes a file, durably.
pub fn put_file(disk: &SimDisk, path: &str, contents: &[u8]) {
    let file = disk.open(Path::new(path), Access::Create).expect("the directory is there");
    file.set_len(0).expect("a disk without faults");
    vfs::write_all_at(&*file, &mut [IoSlice::new(contents)], 0).expect("a disk without faults");
    file.sync_all().expect("a disk without faults");
}

/// A disk with a store directory that has these files.
pub fn disk_with(files: &Files) -> SimDisk {
    let disk = SimDisk::new(1);
    disk.create_dir(Path::new(DIR)).expect("it is empty");
    for (path, contents) in [(LOG, &files.log), (NEXT, &files.next), (CHECKPOINT, &files.checkpoint)] {
        if let Some(contents) = contents {
            put_file(&disk, path, contents);
        }
    }
    disk
}

/// Opens a copy of the store in both recovery modes, and checks everything that can be said of that: the second reader's
/// contents and verdict, or an error that changes nothing; what was cut off is in quarantine; the store takes writes, and
/// is clean when it is opened again. `context` says what is being tried.
pub fn check_open(disk: &SimDisk, files: &Files, evidence: Evidence, context: &dyn Fn() -> String) {
    for mode in [RecoveryMode::Prefix, RecoveryMode::Strict] {
        let disk = disk.fork();
        if disk.contents(LOCK).is_none() {
            // The one file that even an opening that fails makes.
            put_file(&disk, LOCK, b"");
        }
        let before = disk.all_files();
        let expected = reader::read(files, mode, disk.now_ms());
        // It looks as the lenient mode does.
        let verified = (mode == RecoveryMode::Prefix).then(|| kvwal::verify_on(&disk, Path::new(DIR)));
        assert!(disk.all_files() == before, "{}: looking changed something", context());
        match (Store::open_on(Arc::new(disk.clone()), DIR, &options(mode)), expected) {
            (Err(error), Reading::Refused) => {
                let kind = error.kind();
                assert!(matches!(kind, ErrorKind::Corrupt | ErrorKind::Version), "{}: {kind:?}: {error}", context());
                assert!(disk.all_files() == before, "{}: a failed open changes nothing ({error})", context());
                if let Some(verified) = verified {
                    let verified = verified.unwrap_or_else(|error| panic!("{}: verify: {error}", context()));
                    assert_eq!(verified.refused, Some(error), "{}: verified", context());
                }
            }
            (Err(error), expected) => panic!("{}: {error}, instead of {expected:?}", context()),
            (Ok(store), Reading::Opened(expected)) => {
                check_opened(&store, &expected, evidence, context);
                // Whatever strict mode opens, it repairs as the other does.
                if let Some(verified) = verified {
                    check_verified(&verified, &store, context);
                    check_going_on(store, &disk, &expected, context);
                }
            }
            (Ok(store), Reading::Refused) => {
                // Perhaps recovery saw no proof of damage where the second reader sees one.
                let lenient = reader::read(files, RecoveryMode::Prefix, disk.now_ms());
                match lenient {
                    Reading::Opened(expected) if evidence == Evidence::Doubtful => {
                        let verdict = store.recovery_report().verdict;
                        assert_eq!(verdict, Verdict::Torn, "{}: strict mode opened it", context());
                        check_opened(&store, &expected, evidence, context);
                    }
                    _ => panic!("{}: opened as {:?}", context(), store.recovery_report()),
                }
            }
        }
    }
}

fn check_opened(store: &Store, expected: &Opened, evidence: Evidence, context: &dyn Fn() -> String) {
    store.check_invariants();
    let report = store.recovery_report().clone();
    assert_eq!(super::contents(store), expected.contents, "{}: {report:?}", context());
    assert_eq!(
        (report.last_lsn, report.checkpoint_lsn),
        (expected.last_lsn, expected.checkpoint_lsn),
        "{}: {report:?}",
        context()
    );
    let doubted = evidence == Evidence::Doubtful && report.verdict == Verdict::Torn;
    if report.verdict != expected.verdict && !(doubted && expected.verdict == Verdict::Damaged) {
        panic!("{}: {:?} is expected, not {report:?}", context(), expected.verdict);
    }
}

/// Who looked at the store before it was opened saw what the opening found.
fn check_verified(verified: &Result<Verified, Error>, store: &Store, context: &dyn Fn() -> String) {
    let opened = store.recovery_report();
    let verified = match verified {
        Ok(verified) => verified,
        // Nothing but a directory without a store is no error to those who open it.
        Err(error) => return assert_eq!(opened.last_lsn, 0, "{}: verify: {error}", context()),
    };
    let report = Report { elapsed: opened.elapsed, bytes_rewritten: opened.bytes_rewritten, ..verified.report.clone() };
    assert_eq!(&report, opened, "{}: verified", context());
    let stats = store.stats();
    assert_eq!((verified.keys, verified.value_bytes), (stats.keys, stats.bytes), "{}: verified", context());
    assert_eq!((&verified.refused, verified.is_open), (&None, false), "{}: verified", context());
    assert_eq!(verified.bad.is_some(), opened.reason.is_some(), "{}: {:?}", context(), verified.bad);
}

/// The store takes a write, closes, and is clean when it is opened again.
fn check_going_on(store: Store, disk: &SimDisk, expected: &Opened, context: &dyn Fn() -> String) {
    if expected.last_lsn < reader::LAST_LSN {
        store.set(b"new", b"write").unwrap_or_else(|error| panic!("{}: a write: {error}", context()));
    }
    let (contents, last_lsn) = (super::contents(&store), store.stats().last_lsn);
    store.close().unwrap_or_else(|error| panic!("{}: closing: {error}", context()));
    check_quarantine(disk, &expected.cut, context);
    let again = Store::open_on(Arc::new(disk.clone()), DIR, &options(RecoveryMode::Strict))
        .unwrap_or_else(|error| panic!("{}: reopening: {error}", context()));
    let found = (again.recovery_report().verdict, again.stats().last_lsn, super::contents(&again));
    assert_eq!(found, (Verdict::Clean, last_lsn, contents), "{}: reopened", context());
    again.close().unwrap_or_else(|error| panic!("{}: closing again: {error}", context()));
}

/// What was cut off is there, but for zeros at its end.
fn check_quarantine(disk: &SimDisk, cut: &[Vec<u8>], context: &dyn Fn() -> String) {
    let without_zeros = |bytes: &[u8]| {
        let end = bytes.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1);
        bytes[..end].to_vec()
    };
    let files = disk.all_files();
    let saved: Vec<_> = files.iter().filter(|(path, _)| path.starts_with("/store/quarantine")).collect();
    for piece in cut.iter().map(|piece| without_zeros(piece)).filter(|piece| !piece.is_empty()) {
        let is_there = saved.iter().any(|(_, bytes)| without_zeros(bytes) == piece);
        assert!(is_there, "{}: {} bytes were cut off and not saved", context(), piece.len());
    }
}

/// Nothing in the background, and little space allocated ahead.
fn options(recovery: RecoveryMode) -> Options {
    Options { checkpoint_wal_bytes: Size::Never, preallocate: Size::Bytes(1000), recovery, ..Options::default() }
}
