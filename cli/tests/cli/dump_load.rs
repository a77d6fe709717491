//! `dump` and `load`.

use std::collections::BTreeMap;
use std::fs;

use kvwal::{Batch, Store};
use proptest::prelude::*;

use crate::support::Place;

type Entries = Vec<(Vec<u8>, Vec<u8>, u64)>;

fn entries(store: &Store) -> Entries {
    let mut entries = Vec::new();
    let note = |key: &[u8], value: &[u8], expires_at| {
        entries.push((key.to_vec(), value.to_vec(), expires_at));
        true
    };
    store.scan_expiring(b"", note).unwrap();
    entries
}

fn bytes() -> impl Strategy<Value = Vec<u8>> {
    let awkward = prop::sample::select(b"\",\t\r\n\\ \0a\xff".to_vec());
    prop_oneof![prop::collection::vec(any::<u8>(), 0..50), prop::collection::vec(awkward, 0..6)]
}

fn expiry() -> impl Strategy<Value = u64> {
    prop_oneof![Just(0), 10_000_000_000_000..20_000_000_000_000u64, Just(u64::MAX)]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 16, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_dumped_and_loaded_is_the_same(all in prop::collection::vec((bytes(), bytes(), expiry()), 0..30)) {
        let place = Place::new();
        let store = place.open();
        let mut batch = Batch::new();
        for (key, value, expires_at) in &all {
            batch.set_until(key, value, *expires_at).unwrap();
        }
        store.write(&batch).unwrap();
        store.close().unwrap();
        let last: BTreeMap<_, _> =
            all.into_iter().map(|(key, value, expires_at)| (key, (value, expires_at))).collect();
        let expected: Entries = last.into_iter().map(|(key, (value, expires_at))| (key, value, expires_at)).collect();
        for format in ["ndjson", "csv", "tsv"] {
            let script = format!(
                "set -o pipefail; $KVWAL dump s --format {format} | $KVWAL load {format} --create --format {format}"
            );
            place.sh(&script).done();
            prop_assert_eq!(&entries(&place.open_as(format)), &expected);
        }
    }
}

#[test]
fn a_dump_is_a_file_by_its_name() {
    let place = Place::with_store(&[("a", "1,2"), ("b/1", "\"x\""), ("b/2", "é")]);
    for (name, content) in [
        ("d.csv", "key,value,expires_at,base64\na,\"1,2\",,\nb/1,\"\"\"x\"\"\",,\nb/2,é,,\n"),
        ("d.tsv", "key\tvalue\texpires_at\tbase64\na\t1,2\t\t\nb/1\t\"\"\"x\"\"\"\t\t\nb/2\té\t\t\n"),
        (
            "d",
            "{\"key\":\"a\",\"value\":\"1,2\"}\n{\"key\":\"b/1\",\"value\":\"\\\"x\\\"\"}\n{\"key\":\"b/2\",\"value\":\"é\"}\n",
        ),
    ] {
        place.run(&["dump", "s", "-o", name]).done();
        assert_eq!(fs::read_to_string(place.path(name)).unwrap(), content);
        let store = format!("{name}.store");
        let loaded = place.run(&["load", &store, name, "--create"]).done();
        assert!(loaded.text().starts_with("loaded          3\n"), "{loaded:?}");
        assert_eq!(place.run(&["count", &store]).done().text(), "3\n");
    }
    assert_eq!(place.run(&["dump", "s", "--prefix", "b/2"]).done().text(), "{\"key\":\"b/2\",\"value\":\"é\"}\n");
}

#[test]
fn many_entries_are_loaded_in_batches_and_expired_ones_left_out() {
    let place = Place::new();
    let lines: String =
        (0..25_000).map(|number| format!("{{\"key\":\"{number:05}\",\"value\":\"{number}\"}}\n")).collect();
    let input = format!("{lines}\n{{\"key\":\"over\",\"value\":\"\",\"expires_at\":1}}\n");
    let loaded = place.run_with(&["load", "s", "--create", "--json"], input.as_bytes()).done().json();
    assert_eq!(loaded, serde_json::json!({ "loaded": 25_000, "expired": 1 }));
    assert_eq!(place.run(&["count", "s"]).done().text(), "25000\n");
    assert_eq!(place.run(&["get", "s", "24999"]).done().text(), "24999\n");
    assert_eq!(place.run(&["dump", "s"]).done().text(), lines);
}

#[test]
fn a_bad_line_is_named_and_what_is_before_it_stays() {
    let place = Place::new();
    fs::write(place.path("in"), "{\"key\":\"a\",\"value\":\"1\"}\n{\"key\":\"b\",\"valu\":\"2\"}\n").unwrap();
    let loaded =
        place.run(&["load", "s", "in", "--create"]).failed(65, "kvwal: load: in: line 2: unknown field `valu`");
    assert!(loaded.err.contains("the 1 entries before it are in the store"), "{loaded:?}");
    assert_eq!(place.run(&["scan", "s"]).done().text(), "a\t1\n");
    place.run(&["load", "s", "no such file"]).failed(66, "open no such file: No such file");
    fs::write(place.path("in.csv"), "id,name\n1,2\n").unwrap();
    place.run(&["load", "s", "in.csv"]).failed(65, "in.csv: line 1: the header names no column \"key\"");
    let long = format!("{{\"key\":\"{}\",\"value\":\"\"}}\n", "k".repeat(65_536));
    place.run_with(&["load", "s"], long.as_bytes()).failed(65, "key of 65536 bytes");
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
    for command in ["dump s", "scan s", "inspect s/wal.log", "inspect s/wal.log --hex"] {
        let ran = place.sh(&format!("$KVWAL {command} | head -1 > first; exit ${{PIPESTATUS[0]}}"));
        assert_eq!((ran.code, ran.err.as_str()), (141, ""), "{command}");
        assert!(!fs::read(place.path("first")).unwrap().is_empty());
    }
    place.run(&["verify", "s"]).done();
}

#[test]
fn a_full_disk_leaves_no_half_a_dump() {
    let place = Place::with_store(&[("a", &"x".repeat(100_000)), ("b", "1")]);
    // So that opening it has nothing to write.
    place.run(&["checkpoint", "s"]).done();
    fs::write(place.path("d"), "the dump of yesterday").unwrap();
    // The limit is 16 KiB; by default its signal would kill.
    let ran =
        place.sh("trap '' XFSZ; ulimit -f 16; $KVWAL dump s -o d").failed(73, "kvwal: dump: write d: File too large");
    assert!(ran.out.is_empty());
    assert_eq!(fs::read_to_string(place.path("d")).unwrap(), "the dump of yesterday");
    assert_eq!(place.names(), ["d", "s"]);
    for command in ["dump s", "scan s", "get s b", "count s", "verify s", "stat s --json", "completions bash"] {
        place.sh(&format!("$KVWAL {command} > /dev/full")).failed(73, "write standard output: No space left on device");
    }
    place.run(&["dump", "s", "-o", "/dev/full"]).failed(73, "write /dev/full: No space left on device");
    for own in ["s/wal.log", "./s/dump"] {
        place.run(&["dump", "s", "-o", own]).failed(73, "would lie in the store itself");
    }
    place.run(&["dump", "s", "-o", "no/such/directory"]).failed(66, "create a file beside no/such/directory");
}

#[test]
fn a_full_disk_while_loading_keeps_what_was_acknowledged() {
    let place = Place::with_store(&[("a", "1")]);
    let line = |key: &str, len| format!("{{\"key\":\"{key}\",\"value\":\"{}\"}}\n", "v".repeat(len));
    fs::write(place.path("in"), line("b", 5_000_000) + &line("c", 5_000_000)).unwrap();
    let ran = place.sh("ulimit -f 8000; $KVWAL load s in").failed(73, "File too large");
    assert!(ran.err.contains("the 1 entries before it are in the store"), "{ran:?}");
    assert_eq!(place.run(&["scan", "s", "--keys"]).done().text(), "a\nb\n");
    place.run(&["verify", "s"]).done();
}
