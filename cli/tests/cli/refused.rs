//! What cannot be done: no store, somebody else's, no permission, a wrong command line.

use std::ffi::OsStr;
use std::fs::{self, Permissions};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::process::Command;

use crate::support::{File, KVWAL, Place, Ran, flip, ran, shorten, snapshot, start};

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
const READING: [&[&str]; 7] = [
    &["verify", "s"],
    &["stat", "s", "--offline"],
    &["repair", "s"],
    &["repair", "s", "--apply"],
    &["tail", "s"],
    &["restore", "s", "r"],
    FOLLOW,
];

const FOLLOW: &[&str] = &["tail", "s", "--follow"];

/// Commands that are for no store. What goes wrong with them is in `output.rs` and `generated.rs`.
const FOR_NO_STORE: [&str; 4] = ["bench", "completions", "help", "man"];

/// These commands, on another store.
fn on<'a>(store: &'a OsStr, commands: &[&'a [&'a str]]) -> Vec<Vec<&'a OsStr>> {
    let on = |command: &&'a [&'a str]| {
        let mut command: Vec<_> = command.iter().map(OsStr::new).collect();
        command[1] = store;
        command
    };
    commands.iter().map(on).collect()
}

/// It fails so as text and, with `--json`, in no other way: nothing is on standard output that a program could take for
/// an answer.
#[track_caller]
fn refused(place: &Place, command: &[impl AsRef<OsStr>], code: i32, words: &str) -> Ran {
    let ran = place.run(command).failed(code, words);
    assert!(ran.err.starts_with(&format!("kvwal: {}: ", command[0].as_ref().display())), "{ran:?}");
    let mut with_json: Vec<_> = command.iter().map(AsRef::as_ref).collect();
    with_json.push(OsStr::new("--json"));
    let json = place.run(&with_json).code(code);
    assert_eq!((&json.err, &json.out[..]), (&ran.err, &b""[..]), "{ran:?}");
    ran
}

#[test]
fn every_command_is_in_these_tables() {
    let help = Place::new().run(&["--help"]).done();
    let commands = help.text().split("Commands:\n").nth(1).unwrap().split("\n\n").next().unwrap();
    let known = |name: &&str| OPENING.iter().chain(&READING).any(|command| command[0] == *name);
    for name in commands.lines().filter_map(|line| line.split_whitespace().next()).filter(|name| !known(name)) {
        assert!(name == "inspect" || FOR_NO_STORE.contains(&name), "{name}");
    }
}

#[test]
fn a_store_that_is_missing_is_not_made() {
    let place = Place::new();
    let all = || OPENING.iter().chain(&READING);
    for command in all() {
        let ran = refused(&place, command, 66, "open s: No such file or directory");
        // What would make a store is said to nobody who wants to look at one.
        assert_eq!(ran.err.contains("\n  --create makes one\n"), ["set", "load"].contains(&command[0]), "{ran:?}");
        assert_eq!(ran.err.contains("--create"), ["set", "load"].contains(&command[0]), "{ran:?}");
    }
    fs::create_dir(place.path("s")).unwrap();
    for command in all() {
        let ran = refused(&place, command, 66, "there is no store in s\n  ");
        assert_eq!(ran.err.contains("--create"), ["set", "load"].contains(&command[0]), "{ran:?}");
    }
    assert!(snapshot(&place.path("s")).is_empty());
    refused(&place, &["inspect", "s/wal.log"], 66, "open s/wal.log: No such file");
    refused(&place, &["inspect", "s"], 66, "s is a directory\n  for a file in it, as wal.log");
    assert_eq!(place.names(), ["s"]);
}

#[test]
fn what_is_no_directory_is_no_store() {
    let place = Place::new();
    fs::write(place.path("file"), "").unwrap();
    for command in [&OPENING[..], &READING].concat() {
        for (store, words) in [
            (OsStr::new("file"), "file is not a directory, and so not a store\n  for a file: kvwal inspect"),
            (OsStr::new("file/s"), "open file/s: Not a directory"),
            (OsStr::from_bytes(b"not\xffUTF-8"), "open not\u{fffd}UTF-8: No such file or directory"),
        ] {
            refused(&place, &on(store, &[command])[0], 66, words);
        }
    }
    for command in [&["set", "file", "a", "1", "--create"][..], &["load", "file", "/dev/null", "--create"]] {
        refused(&place, command, 66, "file is not a directory");
    }
    refused(&place, &["set", "no/s", "a", "1", "--create"], 66, "makes one directory, and not those above it");
    assert_eq!(place.names(), ["file"]);
}

#[test]
fn a_path_is_any_bytes() {
    let place = Place::new();
    let store = OsStr::from_bytes(b"not\xffUTF-8");
    let set = on(store, &[&["set", "s", "a", "1", "--create"]]);
    place.run(&set[0]).done();
    for command in on(store, &[&OPENING[..8], &READING[..5]].concat()) {
        place.run(&command).done();
    }
    let file = store.as_bytes();
    flip(&place.path("").join(OsStr::from_bytes(&[file, b"/wal.log"].concat())), 10);
    let repaired = on(store, &[&["repair", "s", "--apply", "--json"]]);
    assert!(place.run(&repaired[0]).done().json()["original"].as_str().unwrap().ends_with("UTF-8.before-repair"));
}

#[test]
fn damage_is_nothing_to_go_on_with() {
    let place = Place::with_store(&[("a", "1"), ("b", "2"), ("c", "3")]);
    flip(&place.path("s/wal.log"), 35 + 30);
    let before = snapshot(&place.path("s"));
    for command in OPENING {
        refused(&place, command, 65, "record 2 at offset 35: checksum");
    }
    refused(&place, &["restore", "s", "r"], 65, "record 2 at offset 35: checksum");
    for (command, code, words) in [
        (&["verify", "s"][..], 2, "damaged: "),
        (&["stat", "s", "--offline"], 0, "the log             damaged\n"),
        (&["repair", "s"], 2, "kept                        record 1, "),
        (&["tail", "s"], 0, "a = 1\n"),
        (&["inspect", "s/wal.log"], 1, "        35  bad, 35 bytes: checksum"),
    ] {
        let ran = place.run(command).code(code);
        assert!(ran.text().contains(words) && ran.err.is_empty(), "{ran:?}");
    }
    let of_data = |files: Vec<File>| files.into_iter().filter(|(path, ..)| !path.ends_with("LOCK")).collect::<Vec<_>>();
    assert_eq!(of_data(snapshot(&place.path("s"))), of_data(before));
}

#[test]
fn files_that_make_no_store_are_refused() {
    let place = Place::with_store(&[("a", "1")]);
    place.run(&["checkpoint", "s"]).done();
    flip(&place.path("s/checkpoint.dat"), 85);
    let words = "checkpoint.dat: block 0 at offset 64: the checksum is wrong";
    for command in OPENING.iter().chain(&[&["stat", "s", "--offline"][..]]) {
        refused(&place, command, 65, words);
    }
    for command in [&["repair", "s"][..], &["repair", "s", "--apply"]] {
        refused(&place, command, 3, words);
    }
    assert!(place.run(&["verify", "s"]).code(3).text().contains(words));
    refused(&place, &["restore", "s", "r"], 65, "s/checkpoint.dat is damaged: ");
    refused(&place, &["tail", "s"], 4, "the record 1 is in no log any more");
    assert!(place.run(&["inspect", "s/checkpoint.dat"]).code(1).text().contains("the checksum is wrong"));
    flip(&place.path("s/checkpoint.dat"), 20);
    refused(&place, &["inspect", "s/checkpoint.dat"], 65, "the checksum of its header is wrong");
    shorten(&place.path("s/checkpoint.dat"), 50);
    refused(&place, &["inspect", "s/checkpoint.dat"], 65, "s/checkpoint.dat has only ");
    assert_eq!(place.names(), ["s"]);
}

#[test]
fn a_store_that_is_open_is_its_owners() {
    let place = Place::with_store(&[("a", "1")]);
    let store = place.open();
    store.set(b"b", b"2").unwrap();
    let words = format!("s is open in the process with PID {}", std::process::id());
    for command in OPENING {
        let ran = refused(&place, command, 75, &words);
        assert!(ran.err.contains("kv_server"), "{ran:?}");
    }
    for command in [&["repair", "s"][..], &["repair", "s", "--apply"]] {
        refused(&place, command, 75, &words);
    }
    assert_eq!(place.run(&["tail", "s"]).done().text().lines().count(), 1);
    let verified = place.run(&["verify", "s", "--json"]).done().json();
    assert_eq!((&verified["is_open"], &verified["keys"]), (&true.into(), &2.into()));
    let statistics = place.run(&["stat", "s", "--offline", "--json"]).done().json();
    assert_eq!((&statistics["is_open"], &statistics["last_lsn"]), (&true.into(), &2.into()));
    assert!(place.run(&["inspect", "s/wal.log"]).done().text().contains("b = 2\n"));
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

fn set_mode(place: &Place, name: &str, mode: u32) {
    fs::set_permissions(place.path(name), Permissions::from_mode(mode)).unwrap();
}

#[test]
fn what_may_not_be_read_or_written_is_refused() {
    let place = Place::with_store(&[("a", "1")]);
    copy_for_nobody(&place);
    let run = |arguments: &[&str]| ran(start(as_nobody(&place).args(arguments)));
    let mode = |name: &str, mode| set_mode(&place, name, mode);
    // It may be read, so looking works, and opening does not.
    for name in ["s/wal.log", "s/LOCK"] {
        mode(name, 0o444);
    }
    mode("s", 0o555);
    let before = snapshot(&place.path("s"));
    for command in OPENING {
        run(command)
            .failed(77, "Permission denied (os error 13)\n  opening a store takes permission to write; verify, ");
    }
    for command in [&["verify", "s"][..], &["stat", "s", "--offline"], &["repair", "s"], &["tail", "s"]] {
        run(command).done();
    }
    run(&["inspect", "s/wal.log"]).done();
    mode("s/wal.log", 0);
    for command in [&["verify", "s"][..], &["stat", "s", "--offline"], &["repair", "s"], &["tail", "s"]] {
        run(command).failed(77, "s/wal.log: Permission denied");
    }
    run(&["inspect", "s/wal.log"]).failed(77, "open s/wal.log: Permission denied");
    mode("s", 0);
    for command in OPENING.iter().chain(&READING) {
        let ran = run(command).failed(77, "Permission denied");
        assert!(ran.out.is_empty(), "{ran:?}");
    }
    mode("s", 0o755);
    mode("s/wal.log", 0o644);
    assert_eq!(snapshot(&place.path("s")), before);
}

#[test]
fn what_may_not_be_made_is_refused() {
    let place = Place::with_store(&[("a", "1")]);
    copy_for_nobody(&place);
    fs::write(place.path("secret"), "").unwrap();
    if place.path("s").metadata().unwrap().uid() == 0 {
        for name in ["s", "s/LOCK", "s/wal.log"] {
            chown(place.path(name), Some(65_534), Some(65_534)).unwrap();
        }
    }
    let names = place.names();
    set_mode(&place, "secret", 0);
    set_mode(&place, "", 0o555);
    for (command, words) in [
        (&["dump", "s", "-o", "d"][..], "create a file beside d: "),
        (&["get", "s", "a", "-o", "d"], "create a file beside d: "),
        (&["backup", "s", "saved"], "/saved: "),
        (&["restore", "s", "made"], "/made: "),
        (&["repair", "s", "--until-lsn", "0", "--apply"], "/s.repairing: "),
        (&["set", "new", "a", "1", "--create"], "/new: "),
        (&["load", "new", "/dev/null", "--create"], "/new: "),
        (&["bench"], "make a directory in .: "),
        (&["man", "m"], "make the directory m: "),
        (&["load", "s", "secret"], "open secret: "),
        (&["set", "s", "a", "--file", "secret"], "read secret: "),
        (&["inspect", "secret"], "open secret: "),
    ] {
        let ran = ran(start(as_nobody(&place).args(command)));
        ran.failed(77, &format!("{words}Permission denied"));
    }
    set_mode(&place, "", 0o755);
    assert_eq!(place.names(), names);
    assert_eq!(place.run(&["scan", "s"]).done().text(), "a\t1\n");
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
