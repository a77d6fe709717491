//! `restore`, and the archives that it restores from.

use std::fs;
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use kvwal::{Options, Size, Store};
use serde_json::json;

use crate::support::{Place, flip, names};

/// A store `s` with an archive `a`, whose checkpoint covers five keys, and two more behind that. A backup `b` of the first two.
fn place() -> Place {
    let place = Place::new();
    let store = open(&place, "s");
    for key in ["one", "two"] {
        store.set(key.as_bytes(), b"first").unwrap();
    }
    store.backup(place.path("b")).unwrap();
    for key in ["three", "four", "five"] {
        store.set(key.as_bytes(), b"second").unwrap();
    }
    store.checkpoint().unwrap();
    for key in ["six", "seven"] {
        store.set(key.as_bytes(), b"third").unwrap();
    }
    store.close().unwrap();
    place
}

fn open(place: &Place, name: &str) -> Store {
    let (archive_dir, checkpoint_wal_bytes) = (Some(place.path("a")), Size::Never);
    let options = Options { archive_dir, checkpoint_wal_bytes, ..Options::default() };
    Store::open(place.path(name), &options).unwrap()
}

/// The only log that the archive holds.
fn archived(place: &Place) -> PathBuf {
    let logs: Vec<_> = names(&place.path("a")).into_iter().filter(|name| name.starts_with("wal-")).collect();
    assert_eq!(logs.len(), 1, "{logs:?}");
    place.path("a").join(&logs[0])
}

#[test]
fn a_store_comes_back_as_of_any_record() {
    let place = place();
    for lsn in 1..=7 {
        for sources in [&["--archive", "a", "--store", "s"][..], &["b", "--archive", "a", "--store", "s"]] {
            let until = lsn.to_string();
            let (backup, rest) = sources.split_at(sources.len() - 4);
            let command = [&["restore"], backup, &["made"], rest, &["--until-lsn", &until, "--json"]].concat();
            if !backup.is_empty() && lsn < 2 {
                // The backup is later, and the archive goes back further.
                continue;
            }
            let made = place.run(&command).done().json();
            let from = if backup.is_empty() { made["checkpoint_lsn"].as_u64().unwrap() } else { 2 };
            assert_eq!((&made["lsn"], &made["records"]), (&json!(lsn), &json!(lsn - from)), "{made}");
            assert_eq!(place.run(&["count", "made"]).done().text(), format!("{lsn}\n"));
            place.run(&["verify", "made"]).done();
            fs::remove_dir_all(place.path("made")).unwrap();
        }
    }
    let text = place.run(&["restore", "b", "made", "--archive", "a"]).done();
    assert!(
        text.text().starts_with("restored as of LSN  5\ncheckpoint          LSN 2\nrecords behind it   3\n"),
        "{text:?}"
    );
    place.run(&["restore", "b", "alone"]).done();
    assert_eq!(place.run(&["scan", "alone"]).done().text(), "one\tfirst\ntwo\tfirst\n");
}

#[test]
fn a_store_comes_back_as_of_a_time_also_while_it_is_open() {
    let place = Place::new();
    let store = open(&place, "s");
    store.set(b"a", b"wanted").unwrap();
    thread::sleep(Duration::from_millis(300));
    let time = humantime::format_rfc3339_millis(std::time::SystemTime::now()).to_string();
    thread::sleep(Duration::from_millis(5));
    store.set(b"a", b"a mistake").unwrap();
    store.set(b"b", b"another").unwrap();
    let command = ["restore", "made", "--archive", "a", "--store", "s", "--until-time", &time];
    let ran = place.run(&command).done();
    assert!(
        ran.text().contains("restored as of LSN  1\n") && ran.text().contains("\ndurable at          20"),
        "{ran:?}"
    );
    assert_eq!(place.run(&["scan", "made"]).done().text(), "a\twanted\n");
    // As of now, although nobody has written since, and the store is open.
    thread::sleep(Duration::from_millis(300));
    let now = humantime::format_rfc3339_millis(std::time::SystemTime::now()).to_string();
    let command = ["restore", "now", "--archive", "a", "--store", "s", "--until-time", &now];
    place.run(&command).done();
    assert_eq!(place.run(&["count", "now"]).done().text(), "2\n");
    store.close().unwrap();
    place
        .run(&["restore", "early", "--archive", "a", "--until-time", "2001-01-01T00:00:00Z"])
        .failed(66, "a notes nothing from so early\n  early was not made");
    assert_eq!(place.names(), ["a", "made", "now", "s"]);
}

#[test]
fn what_is_not_there_is_named() {
    let place = place();
    let before = place.names();
    for (arguments, code, words) in [
        (
            &["--archive", "a", "--store", "s", "--until-lsn", "8"][..],
            66,
            "the records end with LSN 7, before 8\n  made was not",
        ),
        (&["--archive", "a", "--until-lsn", "6"], 66, "the records end with LSN 5, before 6"),
        (&["--archive", "nowhere"], 66, "open nowhere: No such file or directory"),
        (&["--archive", "s/wal.log"], 66, "open s/wal.log: Not a directory"),
        (&["--archive", "a", "--store", "nowhere"], 66, "open nowhere: No such file or directory"),
        (&["--archive", "a", "--store", "a"], 66, "there is no store in a"),
        (&[], 64, "required arguments were not provided"),
        (&["--archive", "a", "--until-lsn", "0"], 64, "0 is not in"),
        (&["--archive", "a", "--until-lsn", "1", "--until-time", "1"], 64, "cannot be used with"),
        (&["--until-time", "1"], 64, "--archive <DIR>"),
        (&["--archive", "a", "--until-time", "yesterday"], 64, "yesterday"),
    ] {
        place.run(&[&["restore", "made"], arguments].concat()).failed(code, words);
    }
    place
        .run(&["restore", "b", "made", "--until-lsn", "1"])
        .failed(66, "b/checkpoint.dat is as of LSN 2, later than 1");
    place.run(&["restore", "b", "no/such/parent"]).failed(66, "no/such/parent: No such file");
    for full in ["s", "b", "a"] {
        place.run(&["restore", "b", full]).failed(73, "take another directory, or an empty one");
    }
    for inside in ["s/made", "a/made"] {
        place.run(&["restore", inside, "--archive", "a", "--store", "s"]).failed(73, "would lie in the store itself");
    }
    assert_eq!(place.names(), before);
}

#[test]
fn a_gap_and_damage_are_named_and_leave_what_comes_before() {
    let place = place();
    let log = archived(&place);
    flip(&log, log.metadata().unwrap().len() as usize - 3);
    place
        .run(&["restore", "made", "--archive", "a", "--until-lsn", "5"])
        .failed(65, "record 5 at offset 169: checksum")
        .failed(65, "\n  --until-lsn restores what comes before");
    place.run(&["restore", "made", "--archive", "a", "--until-lsn", "4"]).done();
    assert_eq!(place.run(&["count", "made"]).done().text(), "4\n");
    fs::remove_file(log).unwrap();
    let gap = "the records 3 to 5 are missing";
    place.run(&["restore", "b", "other", "--archive", "a", "--store", "s"]).failed(65, gap);
    place.run(&["restore", "other", "--store", "s"]).done();
    assert_eq!(place.run(&["count", "other"]).done().text(), "7\n");
}

#[test]
fn a_full_disk_leaves_no_store() {
    let place = Place::with_store(&[("a", &"x".repeat(100_000))]);
    place.sh("ulimit -f 16; $KVWAL restore s made").failed(73, "File too large (os error 27)\n  make room");
    assert_eq!(place.names(), ["s"]);
    place.run(&["restore", "s", "made"]).done();
    place.run(&["verify", "made"]).done();
}

#[test]
fn the_tool_leaves_no_gap_in_an_archive() {
    let place = Place::new();
    place.run(&["set", "s", "a", "1", "--create"]).done();
    place.run(&["checkpoint", "s", "--archive", "a"]).done();
    let entry = "{\"key\":\"b\",\"value\":\"2\"}\n";
    place.run_with(&["load", "s", "--archive", "a"], entry.as_bytes()).done();
    place.run(&["del", "s", "a"]).done();
    place.run(&["checkpoint", "s", "--archive", "a"]).done();
    place.run(&["restore", "made", "--archive", "a", "--until-lsn", "2"]).done();
    assert_eq!(place.run(&["scan", "made"]).done().text(), "a\t1\nb\t2\n");
    // Another store does not get it, nor does this one in the state in which it was.
    place.run(&["set", "other", "a", "1", "--create"]).done();
    place
        .run(&["checkpoint", "other", "--archive", "a"])
        .failed(64, "keeps records up to LSN 3, but the store ends with 1");
    assert_eq!(place.run(&["count", "other"]).done().text(), "1\n");
}
