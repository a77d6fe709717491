//! Stores that earlier versions wrote open for ever: `tests/golden/VERSION/NAME` is a store, or a log alone, and `NAME.txt`
//! what there is to be found in it. `tests/golden/write.rs` has written those of this version.

mod found;

use std::fs;
use std::path::{Path, PathBuf};

use kvwal::vfs::os::OsVfs;
use kvwal::wal::Log;
use kvwal::{Options, RecoveryMode, Store, Verdict};

const GOLDEN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden");

/// The directories in one, in order.
fn directories(of: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(of).unwrap_or_else(|error| panic!("{}: {error}", of.display()));
    let mut found: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).filter(|path| path.is_dir()).collect();
    found.sort();
    found
}

fn copy(from: &Path) -> tempfile::TempDir {
    let to = tempfile::tempdir().unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), to.path().join(entry.file_name())).unwrap();
    }
    to
}

fn open(dir: &Path, recovery: RecoveryMode) -> kvwal::Result<Store> {
    Store::open(dir, &Options { recovery, create: false, ..Options::default() })
}

/// Opens with what was found when it was written, takes a write, and is clean the next time. Strict mode refuses it if,
/// and only if, it is damaged.
fn check_store(dir: &Path, expected: &str) {
    let is_damaged = expected.starts_with("verdict Damaged");
    let strict = open(copy(dir).path(), RecoveryMode::Strict);
    assert_eq!(strict.is_err(), is_damaged, "{}: in strict mode", dir.display());

    let dir_copy = copy(dir);
    let store =
        open(dir_copy.path(), RecoveryMode::Prefix).unwrap_or_else(|error| panic!("{}: {error}", dir.display()));
    assert_eq!(found::in_store(&store), expected, "{}", dir.display());
    let last_lsn = store.stats().last_lsn;
    store.set(b"written by", b"a later version").unwrap();
    store.checkpoint().unwrap();
    store.close().unwrap();

    let store = open(dir_copy.path(), RecoveryMode::Strict).unwrap();
    let report = store.recovery_report();
    assert_eq!((report.verdict, report.last_lsn), (Verdict::Clean, last_lsn + 1), "{}: reopened", dir.display());
}

/// Holds the records that were found when it was written, and takes the next.
fn check_log(path: &Path, expected: &str) {
    assert_eq!(found::in_log(&OsVfs::default(), path), expected, "{}", path.display());
    let record = kvwal::format::Record {
        lsn: 0,
        durable_lsn: 0,
        op: kvwal::format::Op::Put,
        more: false,
        expires_at: 0,
        key: b"written by",
        value: b"a later version",
    };
    let last_lsn: u64 = expected.lines().find_map(|line| line.strip_prefix("last_lsn ")).unwrap().parse().unwrap();
    let mut log = Log::open(path).unwrap();
    assert_eq!(log.append(&record).unwrap().0, last_lsn + 1, "{}", path.display());
    log.close().unwrap();
}

#[test]
fn every_version_opens_what_earlier_ones_wrote() {
    for version in directories(Path::new(GOLDEN)) {
        let stores = directories(&version);
        assert!(!stores.is_empty(), "{} is empty", version.display());
        for dir in stores {
            let expected = fs::read_to_string(dir.with_extension("txt")).unwrap();
            if dir.join("alone.log").exists() {
                check_log(&copy(&dir).path().join("alone.log"), &expected);
            } else {
                check_store(&dir, &expected);
            }
        }
    }
}

#[test]
fn this_version_has_golden_files() {
    let dir = Path::new(GOLDEN).join(env!("CARGO_PKG_VERSION"));
    assert!(dir.is_dir(), "{} is missing: make golden, read what it wrote, and commit it", dir.display());
}
