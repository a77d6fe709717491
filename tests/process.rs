//! What the world around an open store may do to it.

use std::fs;
use std::os::unix::fs::symlink;

use kvwal::{ErrorKind, Options, Store};

#[test]
fn a_path_that_comes_to_mean_another_directory() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    fs::create_dir(path("first")).unwrap();
    fs::create_dir(path("second")).unwrap();
    symlink(path("first"), path("current")).unwrap();
    let first = Store::open(path("current"), &Options::default()).unwrap();
    first.set(b"which", b"first").unwrap();

    fs::remove_file(path("current")).unwrap();
    symlink(path("second"), path("current")).unwrap();
    let second = Store::open(path("current"), &Options::default()).unwrap();
    second.set(b"which", b"second").unwrap();
    first.checkpoint().unwrap();
    second.set(b"more", b"").unwrap();
    first.close().unwrap();
    second.close().unwrap();

    for (name, keys) in [("first", 1), ("second", 2)] {
        let store = Store::open(path(name), &Options::default()).unwrap();
        assert_eq!(store.get(b"which").unwrap().unwrap(), name.as_bytes());
        assert_eq!(store.stats().keys, keys);
    }
}

#[test]
fn a_directory_that_moves() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path().join("here"), &Options::default()).unwrap();
    store.set(b"key", b"value").unwrap();
    fs::rename(dir.path().join("here"), dir.path().join("there")).unwrap();
    store.checkpoint().unwrap();
    store.close().unwrap();
    let store = Store::open(dir.path().join("there"), &Options::default()).unwrap();
    assert_eq!((store.recovery_report().checkpoint_lsn, store.stats().keys), (1, 1));
}

#[test]
fn files_of_others_stay() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("thesis.tmp"), "years of work").unwrap();
    fs::write(dir.path().join("checkpoint.tmp"), "left by a crash").unwrap();
    Store::open(dir.path(), &Options::default()).unwrap().close().unwrap();
    assert_eq!(fs::read_to_string(dir.path().join("thesis.tmp")).unwrap(), "years of work");
    assert!(!dir.path().join("checkpoint.tmp").exists());
}

#[test]
fn a_store_and_a_log_alone_exclude_each_other() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), &Options::default()).unwrap();
    let log = dir.path().join("wal.log");
    assert_eq!(kvwal::wal::Log::open(&log).err().unwrap().kind(), ErrorKind::Locked);
    store.close().unwrap();
    let alone = kvwal::wal::Log::open(&log).unwrap();
    assert_eq!(Store::open(dir.path(), &Options::default()).err().unwrap().kind(), ErrorKind::Locked);
    alone.close().unwrap();
    Store::open(dir.path(), &Options::default()).unwrap();
}

#[test]
fn a_log_in_the_working_directory() {
    let dir = tempfile::tempdir().unwrap();
    // All other tests use absolute paths.
    std::env::set_current_dir(dir.path()).unwrap();
    fs::write("a.log", "ends in what is no record").unwrap();
    kvwal::wal::Log::open("a.log".as_ref()).unwrap().close().unwrap();
    assert_eq!(fs::read("a.log").unwrap(), b"");
    assert!(dir.path().join("quarantine/a.log-lsn-1-offset-0").exists());
}
