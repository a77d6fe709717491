//! Output that cannot be written: standard output on a full disk, nobody who reads it, and files that find no room.

use std::fs::{self, File};
use std::io;

use kvwal::Batch;

use crate::support::{Place, flip};

/// Every command that prints something, on a store with the keys `a`, `b` and `big`.
const PRINTING: [&[&str]; 23] = [
    &["get", "s", "big"],
    &["set", "s", "c", "1", "--json"],
    &["del", "s", "b", "--json"],
    &["scan", "s"],
    &["count", "s"],
    &["dump", "s"],
    &["dump", "s", "--format", "csv"],
    &["load", "s", "/dev/null"],
    &["stat", "s"],
    &["stat", "s", "--offline"],
    &["verify", "s"],
    &["tail", "s"],
    &["tail", "s", "--follow"],
    &["inspect", "s/wal.log"],
    &["repair", "s"],
    &["repair", "s", "--apply"],
    &["backup", "s", "saved"],
    &["restore", "s", "made"],
    &["bench", "--time", "7ms"],
    &["completions", "bash"],
    &["get", "--help"],
    &["--version"],
    // The last, for it takes the records away that others print.
    &["checkpoint", "s"],
];

/// More than a disk has room for.
const BIG: usize = 100_000;

fn place() -> Place {
    Place::with_store(&[("a", "1"), ("b", "2"), ("big", &"x".repeat(BIG))])
}

#[test]
fn a_full_disk_behind_standard_output_is_said() {
    let place = place();
    for command in PRINTING {
        let full = File::options().write(true).open("/dev/full").unwrap();
        let ran = place.run_into(command, full).failed(73, "write standard output: No space left on device");
        assert_eq!(ran.err.lines().count(), 1, "{ran:?}");
    }
    place.run(&["verify", "s"]).done();
    assert_eq!(place.names(), ["made", "s", "saved"]);
}

#[test]
fn nobody_who_reads_hears_no_complaint() {
    let place = place();
    for command in PRINTING {
        let (reader, writer) = io::pipe().unwrap();
        drop(reader);
        let ran = place.run_into(command, writer).code(141);
        assert_eq!(ran.err, "", "{command:?}");
    }
    place.run(&["verify", "s"]).done();
    assert_eq!(place.names(), ["made", "s", "saved"]);
}

#[test]
fn whoever_stops_reading_a_dump_hears_no_complaint() {
    let place = Place::new();
    let store = place.open();
    let mut batch = Batch::new();
    for number in 0..5000u32 {
        batch.set(&number.to_be_bytes(), &[7; 200]).unwrap();
    }
    store.write(&batch).unwrap();
    store.close().unwrap();
    for command in ["dump s", "scan s", "tail s", "inspect s/wal.log", "inspect s/wal.log --hex"] {
        let ran = place.sh(&format!("$KVWAL {command} | head -1 > first; exit ${{PIPESTATUS[0]}}"));
        assert_eq!((ran.code, ran.err.as_str()), (141, ""), "{command}");
        assert!(!fs::read(place.path("first")).unwrap().is_empty());
    }
    place.run(&["verify", "s"]).done();
}

/// No file may be longer than 16 KiB. What the command was to make is not there, the store is as it was, and as soon as there
/// is room the same command does what it should.
#[test]
fn a_full_disk_leaves_nothing_half_done() {
    let line = format!("{{\"key\":\"new\",\"value\":\"{}\"}}\n", "y".repeat(BIG));
    for (command, words) in [
        ("set s new --file in", "write "),
        ("load s in.ndjson", "load: in.ndjson: write "),
        ("checkpoint s", "/s/checkpoint.tmp: "),
        ("dump s -o d", "write d: "),
        ("get s big -o d", "write d: "),
        ("backup s saved", "/saved/checkpoint.tmp: "),
        ("bench --time 7ms", "/raw: "),
    ] {
        let place = place();
        // So that opening it has nothing big to write.
        place.run(&["checkpoint", "s"]).done();
        place.run(&["set", "s", "a", "2"]).done();
        fs::write(place.path("in"), "y".repeat(BIG)).unwrap();
        fs::write(place.path("in.ndjson"), &line).unwrap();
        fs::write(place.path("d"), "the dump of yesterday").unwrap();
        let names = place.names();
        let ran = place.sh(&format!("ulimit -f 16; $KVWAL {command}")).failed(73, "File too large (os error 27)\n  ");
        let hint = if command.starts_with("load") { "before it, 0 entries are in the store" } else { "make room" };
        assert!(ran.err.contains(words) && ran.err.contains(hint) && ran.out.is_empty(), "{ran:?}");
        assert_eq!(place.names(), names, "{command}");
        assert_eq!(fs::read_to_string(place.path("d")).unwrap(), "the dump of yesterday");
        assert_eq!(place.run(&["scan", "s", "--keys"]).done().text(), "a\nb\nbig\n");
        place.run(&["verify", "s"]).done();

        place.sh(&format!("$KVWAL {command}")).done();
        assert_eq!(place.run(&["get", "s", "new"]).code == 0, command.contains(" in"), "{command}");
        place.run(&["verify", "s"]).done();
    }
}

#[test]
fn a_repair_that_finds_no_room_leaves_the_store() {
    let place = place();
    place.run(&["set", "s", "c", "1"]).done();
    flip(&place.path("s/wal.log"), 35 + 20);
    place
        .sh("ulimit -f 16; $KVWAL repair s --apply")
        .failed(73, "/s/wal.log: File too large (os error 27)\n  make room");
    assert_eq!(place.names(), ["s"]);
    place.run(&["verify", "s"]).code(2);
    place.run(&["repair", "s", "--apply"]).done();
    assert_eq!(place.run(&["scan", "s"]).done().text(), "a\t1\n");
}

#[test]
fn a_full_disk_while_loading_keeps_what_was_acknowledged_and_loading_again_is_enough() {
    let place = Place::with_store(&[("a", "1")]);
    let line = |key: &str| format!("{{\"key\":\"{key}\",\"value\":\"{}\"}}\n", "v".repeat(5_000_000));
    fs::write(place.path("in"), line("b") + &line("c")).unwrap();
    let ran = place.sh("ulimit -f 8000; $KVWAL load s in").failed(73, "File too large");
    assert!(ran.err.contains("\n  before it, 1 entry is in the store"), "{ran:?}");
    assert_eq!(place.run(&["scan", "s", "--keys"]).done().text(), "a\nb\n");
    place.run(&["verify", "s"]).done();
    place.run(&["load", "s", "in"]).done();
    assert_eq!(place.run(&["scan", "s", "--keys"]).done().text(), "a\nb\nc\n");
}

#[test]
fn a_file_goes_where_a_file_can_be() {
    let place = place();
    fs::create_dir(place.path("dir")).unwrap();
    for command in [&["dump", "s", "-o"][..], &["get", "s", "a", "-o"]] {
        for (to, code, words) in [
            ("/dev/full", 73, "write /dev/full: No space left on device"),
            ("dir", 73, "dir is a directory"),
            ("s/wal.log", 73, "would lie in the store itself"),
            ("./s/dump", 73, "would lie in the store itself"),
            ("no/such/file", 66, "create a file beside no/such/file: No such file or directory (os error 2)\n"),
            ("/dev/null/file", 66, "create a file beside /dev/null/file: Not a directory (os error 20)\n"),
        ] {
            place.run(&[command, &[to]].concat()).failed(code, words);
        }
        place.run(&[command, &["/dev/null"]].concat()).done();
    }
    place.run(&["backup", "s", "s/saved"]).failed(73, "s/saved would lie in the store itself");
    place.run(&["load", "s", "dir"]).failed(66, "dir is a directory, and not a dump\n  to copy a store: kvwal backup");
    place.run(&["man", "/dev/null"]).failed(73, "make the directory /dev/null: File exists");
    place.run(&["man", "/dev/null/m"]).failed(66, "make the directory /dev/null/m: Not a directory");
    place.run(&["bench", "/dev/null"]).failed(66, "make a directory in /dev/null: Not a directory (os error 20)\n");
    assert_eq!(place.names(), ["dir", "s"]);
}
