//! What cannot be done: no store, somebody else's, no permission, a wrong command line.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::process::Command;

use crate::support::{KVWAL, Place, snapshot};

/// Commands that open the store `s`.
const OPENING: [&[&str]; 10] = [
    &["get", "s", "a"],
    &["set", "s", "a", "2"],
    &["del", "s", "a"],
    &["scan", "s"],
    &["count", "s"],
    &["dump", "s"],
    &["load", "s", "/dev/null"],
    &["stat", "s"],
    &["checkpoint", "s"],
    &["backup", "s", "/nowhere/at/all"],
];

/// Commands that only read its files.
const READING: [&[&str]; 4] = [&["verify", "s"], &["stat", "s", "--offline"], &["repair", "s"], &["tail", "s"]];

#[test]
fn a_store_that_is_missing_is_not_made() {
    let place = Place::new();
    for command in OPENING.iter().chain(&READING) {
        let ran = place.run(command).failed(66, "open s: No such file or directory");
        assert!(ran.err.starts_with(&format!("kvwal: {}: ", command[0])), "{ran:?}");
        assert!(ran.err.contains("\n  there is no such directory; set --create"), "{ran:?}");
    }
    fs::create_dir(place.path("s")).unwrap();
    for command in OPENING.iter().chain(&READING) {
        place.run(command).failed(66, "there is no store in s");
    }
    assert!(snapshot(&place.path("s")).is_empty());
    fs::write(place.path("file"), "").unwrap();
    place.run(&["get", "file", "a"]).failed(66, "file is not a directory");
    place.run(&["inspect", "s/wal.log"]).failed(66, "open s/wal.log: No such file");
    assert_eq!(place.names(), ["file", "s"]);
}

#[test]
fn a_store_that_is_open_is_its_owners() {
    let place = Place::with_store(&[("a", "1")]);
    let store = place.open();
    store.set(b"b", b"2").unwrap();
    let words = format!("s is open in the process with PID {}", std::process::id());
    for command in OPENING {
        let ran = place.run(command).failed(75, &words);
        assert!(ran.err.contains("kv_server") && ran.out.is_empty(), "{ran:?}");
    }
    for command in [&["repair", "s"][..], &["repair", "s", "--apply"]] {
        place.run(command).failed(75, &words);
    }
    let verified = place.run(&["verify", "s", "--json"]).done().json();
    assert_eq!((&verified["is_open"], &verified["keys"]), (&true.into(), &2.into()));
    let statistics = place.run(&["stat", "s", "--offline", "--json"]).done().json();
    assert_eq!((&statistics["is_open"], &statistics["last_lsn"]), (&true.into(), &2.into()));
    place.run(&["inspect", "s/wal.log"]).done();
    store.set(b"c", b"3").unwrap();
    store.close().unwrap();
    assert_eq!(place.run(&["count", "s"]).done().text(), "3\n");
    assert_eq!(place.names(), ["s"]);
}

/// The tool where a user can reach it who is not root, whom nothing is forbidden; `cp` makes the copy, for a file that this
/// process has open to write cannot be run.
fn copy_for_nobody(place: &Place) {
    fs::set_permissions(place.path(""), Permissions::from_mode(0o755)).unwrap();
    assert!(place.command("cp").args([KVWAL, "kvwal"]).status().unwrap().success());
}

fn as_nobody(place: &Place) -> Command {
    let mut command = place.command(place.path("kvwal"));
    if place.path("kvwal").metadata().unwrap().uid() == 0 {
        command.uid(65_534).gid(65_534);
    }
    command
}

#[test]
fn what_may_not_be_read_or_written_is_refused() {
    let place = Place::with_store(&[("a", "1")]);
    copy_for_nobody(&place);
    let run = |arguments: &[&str]| {
        let output = as_nobody(&place).args(arguments).output().unwrap();
        (output.status.code().unwrap(), String::from_utf8(output.stderr).unwrap())
    };
    let mode = |name: &str, mode| fs::set_permissions(place.path(name), Permissions::from_mode(mode)).unwrap();
    // It may be read, so looking works, and opening does not.
    for name in ["s/wal.log", "s/LOCK"] {
        mode(name, 0o444);
    }
    mode("s", 0o555);
    let before = snapshot(&place.path("s"));
    for command in OPENING {
        let (code, words) = run(command);
        assert!(code == 77 && words.contains("Permission denied"), "{command:?}: {code}, {words}");
    }
    assert_eq!(run(&["verify", "s"]), (0, String::new()));
    assert_eq!(run(&["stat", "s", "--offline"]), (0, String::new()));
    mode("s/wal.log", 0);
    let (code, words) = run(&["verify", "s"]);
    assert!(code == 77 && words.contains("s/wal.log: Permission denied"), "{code}, {words}");
    let (code, words) = run(&["inspect", "s/wal.log"]);
    assert!(code == 77 && words.contains("s/wal.log: Permission denied"), "{code}, {words}");
    mode("s", 0);
    for command in OPENING.iter().chain(&READING) {
        let (code, words) = run(command);
        assert!(code == 77 && words.contains("Permission denied"), "{command:?}: {code}, {words}");
    }
    mode("s", 0o755);
    mode("s/wal.log", 0o644);
    assert_eq!(snapshot(&place.path("s")), before);
}

#[test]
fn a_wrong_command_line_is_told_from_an_answer() {
    let place = Place::with_store(&[("a", "1")]);
    for command in [&["got", "s"][..], &["get", "s"], &["get", "s", "a", "--colour"], &[]] {
        place.run(command).failed(64, "Usage: kvwal");
    }
    place.run(&["set", "s", "a"]).failed(64, "<VALUE>");
    place.run(&["get", "s", "61", "--hex", "--base64"]).failed(64, "cannot be used with");
    let help = place.run(&["--help"]).done();
    assert!(help.text().contains("Exit codes:\n    0  done"), "{help:?}");
    assert_eq!(place.run(&["--version"]).done().text(), concat!("kvwal ", env!("CARGO_PKG_VERSION"), "\n"));
}
