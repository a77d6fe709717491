//! `verify`, `inspect`, `repair`, `stat`, `checkpoint`: what is in the files, and what to do when they are damaged.

use std::fs;

use kvwal::{Batch, Store};
use serde_json::json;

use crate::support::{Place, flip, shorten, snapshot};

/// A store whose log has the records 1 to 6, of 37 bytes each; 4 and 5 are a batch.
fn place() -> Place {
    let place = Place::new();
    let store = place.open();
    for key in ["a", "b", "c"] {
        store.set(key.as_bytes(), b"123").unwrap();
    }
    batch(&store);
    store.set(b"f", b"123").unwrap();
    store.close().unwrap();
    assert_eq!(place.path("s/wal.log").metadata().unwrap().len(), 6 * 37);
    place
}

fn batch(store: &Store) {
    let mut batch = Batch::new();
    batch.set(b"d", b"123").unwrap();
    batch.set(b"e", b"123").unwrap();
    store.write(&batch).unwrap();
}

#[test]
fn a_clean_store_is_clean_and_not_touched() {
    let place = place();
    let before = snapshot(&place.path("s"));
    let verified = place.run(&["verify", "s"]).done();
    assert!(verified.text().starts_with("clean: every record and block is as it was written\nkeys"), "{verified:?}");
    let verified = place.run(&["verify", "s", "--json"]).done().json();
    for (name, value) in
        [("verdict", json!("clean")), ("keys", json!(6)), ("records", json!(6)), ("last_lsn", json!(6))]
    {
        assert_eq!(verified[name], value, "{name}");
    }
    assert_eq!((&verified["wal_log_bytes"], &verified["checkpoint_bytes"]), (&json!(222), &json!(null)));
    let offline = place.run(&["stat", "s", "--offline", "--json"]).done().json();
    assert_eq!(snapshot(&place.path("s")), before);
    let opened = place.run(&["stat", "s", "--json"]).done().json();
    for name in
        ["keys", "value_bytes", "last_lsn", "checkpoint_lsn", "wal_bytes", "wal_log_bytes", "verdict", "is_open"]
    {
        assert_eq!(opened[name], offline[name], "{name}");
    }
    assert!(opened["open_seconds"].as_f64().unwrap() > 0.0);
}

#[test]
fn a_torn_tail_is_no_damage() {
    let place = place();
    shorten(&place.path("s/wal.log"), 3);
    let verified = place.run(&["verify", "s", "--json"]).code(1).json();
    assert_eq!(verified["verdict"], "torn");
    let bad = &verified["first_bad"];
    assert_eq!((&bad["file"], &bad["offset"], &bad["lsn"]), (&json!("wal.log"), &json!(185), &json!(6)));
    assert_eq!((&verified["bytes_to_cut"], &verified["records_behind"]), (&json!(34), &json!(0)));
    assert!(place.run(&["verify", "s"]).code(1).text().starts_with("torn: "));
    // Opening repairs it.
    assert_eq!(place.run(&["count", "s"]).done().text(), "5\n");
    place.run(&["verify", "s"]).done();
}

#[test]
fn damage_is_found_and_nothing_is_opened_over_it() {
    let place = place();
    flip(&place.path("s/wal.log"), 37 + 30);
    let before = snapshot(&place.path("s"));
    let verified = place.run(&["verify", "s", "--json"]).code(2).json();
    let bad = &verified["first_bad"];
    assert_eq!((&bad["file"], &bad["offset"], &bad["lsn"]), (&json!("wal.log"), &json!(37), &json!(2)));
    assert!(bad["reason"].as_str().unwrap().contains("checksum"), "{bad}");
    assert_eq!((&verified["records_behind"], &verified["last_lsn"]), (&json!(4), &json!(1)));
    let text = place.run(&["verify", "s"]).code(2);
    assert!(text.text().contains("first bad           wal.log at offset 37, LSN 2: checksum"), "{text:?}");
    for command in
        [&["get", "s", "a"][..], &["set", "s", "a", "1"], &["dump", "s"], &["stat", "s"], &["checkpoint", "s"]]
    {
        place.run(command).failed(65, "kvwal repair STORE what can be kept");
    }
    let files = |mut files: Vec<_>| {
        files.retain(|(path, ..): &(std::path::PathBuf, Vec<u8>, _)| !path.ends_with("LOCK"));
        files
    };
    assert_eq!(files(snapshot(&place.path("s"))), files(before));
}

#[test]
fn files_that_are_no_store_are_refused() {
    let place = place();
    place.run(&["checkpoint", "s"]).done();
    fs::remove_file(place.path("s/wal.log")).unwrap();
    let verified = place.run(&["verify", "s"]).code(3);
    assert!(verified.text().starts_with("refused: ") && verified.text().contains("no wal.log"), "{verified:?}");
    assert_eq!(place.run(&["verify", "s", "--json"]).code(3).json()["verdict"], "refused");
    place.run(&["repair", "s"]).failed(3, "no wal.log");
    place.run(&["repair", "s", "--apply"]).failed(3, "restore a backup");
    place.run(&["stat", "s", "--offline"]).failed(65, "no wal.log");
    place.run(&["get", "s", "a"]).failed(65, "no wal.log");
    assert_eq!(place.names(), ["s"]);
}

#[test]
fn a_repair_says_first_what_it_will_do_and_keeps_the_original() {
    let place = place();
    flip(&place.path("s/wal.log"), 37 + 30);
    let before = snapshot(&place.path("s"));
    let planned = place.run(&["repair", "s", "--json"]).code(2).json();
    assert_eq!(snapshot(&place.path("s")), before);
    let expected = json!({
        "verdict": "damaged", "reason": planned["reason"], "applied": false, "checkpoint_lsn": 0, "kept_until_lsn": 1,
        "cut_bytes": 185, "records_behind": 4, "records_dropped": 0,
    });
    assert_eq!(planned, expected);
    assert!(place.run(&["repair", "s"]).code(2).text().contains("--apply does it"));

    let mut done = place.run(&["repair", "s/", "--apply", "--json"]).done().json();
    let original = done.as_object_mut().unwrap().remove("original").unwrap();
    assert!(original.as_str().unwrap().ends_with("/s.before-repair"), "{original}");
    assert_eq!(done["applied"].take(), true);
    assert!(
        expected.as_object().unwrap().iter().all(|(name, value)| name == "applied" || done[name] == *value),
        "{done}"
    );
    assert_eq!(place.names(), ["s", "s.before-repair"]);
    assert_eq!(fs::read(place.path("s.before-repair/wal.log")).unwrap(), before[1].1);
    assert_eq!(place.run(&["scan", "s"]).done().text(), "a\t123\n");
    place.run(&["verify", "s"]).done();
    // What was cut off is also where an opening would have put it.
    assert_eq!(fs::read(place.path("s/quarantine/wal.log-lsn-2-offset-37")).unwrap(), before[1].1[37..]);

    let again = place.run(&["repair", "s", "--apply"]).done();
    assert!(again.text().contains("there was nothing to repair"), "{again:?}");
    flip(&place.path("s/wal.log"), 10);
    place.run(&["repair", "s", "--apply"]).done();
    assert_eq!(place.names(), ["s", "s.before-repair", "s.before-repair.2"]);
    assert_eq!(place.run(&["count", "s"]).done().text(), "0\n");
}

#[test]
fn a_repair_can_go_back_to_a_record_but_not_into_a_batch() {
    for (until, keys, dropped) in [(9, 6, 0), (6, 6, 0), (5, 5, 1), (4, 3, 3), (3, 3, 3), (1, 1, 5), (0, 0, 6)] {
        let place = place();
        let until = until.to_string();
        let command = ["repair", "s", "--until-lsn", &until, "--json"];
        let planned = place.run(&command).done().json();
        assert_eq!(
            (&planned["kept_until_lsn"], &planned["records_dropped"]),
            (&json!(keys), &json!(dropped)),
            "{until}"
        );
        assert_eq!(planned["cut_bytes"], 37 * dropped);
        place.run(&[&command[..], &["--apply"]].concat()).done();
        assert_eq!(place.run(&["count", "s"]).done().text(), format!("{keys}\n"), "{until}");
        place.run(&["verify", "s"]).done();
        assert_eq!(place.names().len(), if dropped == 0 { 1 } else { 2 });
    }
}

#[test]
fn a_repair_does_not_go_back_behind_a_checkpoint() {
    let place = place();
    place.run(&["checkpoint", "s"]).done();
    place.run(&["set", "s", "g", "7"]).done();
    place.run(&["repair", "s", "--until-lsn", "5"]).failed(64, "holds the records up to 6");
    place.run(&["repair", "s", "--until-lsn", "6", "--apply"]).done();
    assert_eq!(place.run(&["count", "s"]).done().text(), "6\n");
    fs::create_dir(place.path("s.repairing")).unwrap();
    place.run(&["set", "s", "g", "7"]).done();
    place.run(&["repair", "s", "--until-lsn", "6", "--apply"]).failed(73, "remove it and try again");
    assert_eq!(place.run(&["count", "s"]).done().text(), "7\n");
}

#[test]
fn a_checkpoint_takes_the_place_of_the_log() {
    let place = place();
    let made = place.run(&["checkpoint", "s", "--json"]).done().json();
    assert_eq!((&made["checkpoint_lsn"], &made["keys"], &made["wal_log_bytes"]), (&json!(6), &json!(6), &json!(0)));
    let blocks = place.run(&["inspect", "s/checkpoint.dat", "--json"]).done().documents();
    assert_eq!((&blocks[0]["checkpoint_lsn"], &blocks[0]["keys"]), (&json!(6), &json!(6)));
    assert_eq!((&blocks[1]["kind"], &blocks[1]["entries"]), (&json!("entries"), &json!(6)));
    place.run(&["inspect", "s/checkpoint.dat", "--from", "1"]).failed(64, "--from is for logs");
    let hex = place.run(&["inspect", "s/checkpoint.dat", "--hex"]).done();
    let magic = "0000  4b 56 57 41 4c 43 4b 50  magic        KVWALCKP\n";
    assert!(hex.text().starts_with(magic) && hex.text().matches("  value        123\n").count() == 6, "{hex:?}");
    assert_eq!(place.run(&["scan", "s", "--keys"]).done().text(), "a\nb\nc\nd\ne\nf\n");

    flip(&place.path("s/checkpoint.dat"), 90);
    let bad = place.run(&["inspect", "s/checkpoint.dat", "--json"]).code(1).documents();
    assert_eq!(bad[1]["bad"], "the checksum is wrong");
    let refused = place.run(&["verify", "s", "--json"]).code(3).json();
    assert_eq!(
        (&refused["first_bad"]["file"], &refused["first_bad"]["offset"]),
        (&json!("checkpoint.dat"), &json!(64))
    );
}

#[test]
fn the_records_of_a_log_are_shown_a_line_each() {
    let place = place();
    place.run(&["del", "s", "a"]).done();
    place.run(&["set", "s", "x", "\u{1b}", "--expires-at", "10000000000123"]).done();
    let lines = place.run(&["inspect", "s/wal.log", "--from", "5"]).done();
    let expected = "    offset       lsn   durable  op\n\
         \x20      148         5         3  PUT       e = 123\n\
         \x20      185         6         5  PUT       f = 123\n\
         \x20      222         7         6  DELETE    a\n\
         \x20      256         8         7  PUT       x = \\x1b, until 2286-11-20T17:46:40.123Z\n";
    assert_eq!(lines.text(), expected);
    let records = place.run(&["inspect", "s/wal.log", "--json"]).done().documents();
    let fourth = json!({
        "offset": 111, "length": 37, "lsn": 4, "durable_lsn": 3, "op": "put", "more": true, "key": "d", "value": "123",
    });
    assert_eq!((records.len(), &records[3], &records[6]["key"]), (8, &fourth, &json!("a")));

    let log = place.path("s/wal.log");
    flip(&log, 37 + 30);
    let mut bytes = fs::read(&log).unwrap();
    bytes.extend([0; 1000]);
    fs::write(&log, bytes).unwrap();
    let shown = place.run(&["inspect", "s/wal.log"]).code(1);
    assert!(shown.text().contains("\n        37  bad, 37 bytes: checksum 0x"), "{shown:?}");
    assert!(shown.text().contains("\n        74         3         2  PUT"), "{shown:?}");
    assert!(shown.text().ends_with("zeros up to the end, 1000 bytes\n"), "{shown:?}");
    let pieces = place.run(&["inspect", "s/wal.log", "--json"]).code(1).documents();
    assert_eq!(
        (&pieces[1]["offset"], &pieces[1]["length"], &pieces[2]["expected_lsn"]),
        (&json!(37), &json!(37), &json!(2))
    );
    assert_eq!(pieces[8]["zeros"], true);
}

/// `docs/format.md` shows a record byte by byte. It is what the tool prints.
#[test]
fn the_bytes_of_a_record_are_named_as_in_the_document() {
    let place = Place::with_store(&[("foo", "bar")]);
    let document = include_str!("../../../docs/format.md");
    let dump = document.split("```").nth(1).expect("the page has a hex dump");
    assert_eq!(place.run(&["inspect", "s/wal.log", "--hex"]).done().text().trim(), dump.trim());
    place.run(&["set", "s", "k", &"v".repeat(100), "--ttl", "1h"]).done();
    let hex = place.run(&["inspect", "s/wal.log", "--hex", "--from", "2"]).done();
    for part in ["PUT with expiry", "expires_at   2", "value_len    100", "      … 36 bytes more"] {
        assert!(hex.text().contains(part), "{part}: {hex:?}");
    }
}
