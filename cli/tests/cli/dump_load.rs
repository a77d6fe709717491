//! `dump` and `load`.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;

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
    assert!(loaded.err.contains("before it, 1 entry is in the store"), "{loaded:?}");
    assert_eq!(place.run(&["scan", "s"]).done().text(), "a\t1\n");
    place.run(&["load", "s", "no such file"]).failed(66, "open no such file: No such file");
    fs::write(place.path("in.csv"), "id,name\n1,2\n").unwrap();
    place.run(&["load", "s", "in.csv"]).failed(65, "in.csv: line 1: the header names no column \"key\"");
    let long = format!("{{\"key\":\"{}\",\"value\":\"\"}}\n", "k".repeat(65_536));
    place.run_with(&["load", "s"], long.as_bytes()).failed(65, "key of 65536 bytes");
}

#[test]
fn what_an_operator_sets_by_hand_survives_a_dump() {
    let place = Place::new();
    let longest = "k".repeat(65_535);
    let key = OsStr::from_bytes(b"\xff\xfe key");
    let value = OsStr::from_bytes(b"\x80 value");
    for (key, value, until) in [
        (OsStr::new(""), OsStr::new("empty key"), None),
        (OsStr::new("empty value"), OsStr::new(""), None),
        (OsStr::new(""), OsStr::new(""), Some("--ttl=2h")),
        (OsStr::new("expiring"), OsStr::new("x"), Some("--ttl=2h")),
        (OsStr::new("for ever"), OsStr::new("x"), Some("--ttl=99999999999years")),
        (key, value, Some("--expires-at=10000000000123")),
        (OsStr::new(&longest), OsStr::new("x"), None),
    ] {
        let mut command = vec![OsStr::new("set"), OsStr::new("s"), key, value, OsStr::new("--create")];
        command.extend(until.map(OsStr::new));
        place.run(&command).done();
    }
    let dump = place.run(&["dump", "s"]).done();
    assert_eq!(dump.documents().len(), 6);
    let get = |store: &'static str, key| {
        let command = [OsStr::new("get"), OsStr::new(store), key, OsStr::new("--json")];
        place.run(&command).done().json()
    };
    for name in ["d.ndjson", "d.csv", "d.tsv"] {
        place.run(&["dump", "s", "-o", name]).done();
        let loaded = place.run(&["load", "copy", name, "--create", "--json"]).done().json();
        assert_eq!(loaded, serde_json::json!({ "loaded": 6, "expired": 0 }), "{name}");
        assert_eq!(place.run(&["dump", "copy"]).done().out, dump.out, "{name}");
        for key in [OsStr::new(""), OsStr::new("empty value"), OsStr::new("expiring"), OsStr::new(&longest), key] {
            assert_eq!(get("copy", key), get("s", key), "{name}: {key:?}");
        }
        fs::remove_dir_all(place.path("copy")).unwrap();
    }
    assert_eq!(
        get("s", key),
        serde_json::json!({ "key_base64": "//4ga2V5", "value_base64": "gCB2YWx1ZQ==", "expires_at": 10_000_000_000_123u64 })
    );
    assert_eq!(get("s", OsStr::new("for ever"))["expires_at"], u64::MAX);
}

#[test]
fn input_that_is_no_dump_is_told_where() {
    let place = Place::with_store(&[]);
    for (format, input, words) in [
        ("ndjson", &b"{\"key\":\"a\""[..], "standard input: line 1: EOF while parsing an object at column 10\n"),
        ("ndjson", b"{\"key\":\"a\",\"value\":\"\"}\n\xff\n", "standard input: line 2: expected value at column 1\n"),
        ("csv", b"", "standard input: line 1: the header names no column \"key\""),
        ("csv", b"key,value\n\"a,1", "found record with 1 fields"),
        ("tsv", b"key\tvalue\tbase64\na\t?\tvalue\n", "standard input: line 2: not Base64"),
    ] {
        let ran = place.run_with(&["load", "s", "--format", format], input).failed(65, words);
        assert!(ran.out.is_empty(), "{ran:?}");
    }
    // A byte order mark, and the line ends of another system.
    for (format, input) in [("ndjson", "{\"key\":\"a\",\"value\":\"1\"}"), ("csv", "key,value\r\na,1")] {
        let input = format!("\u{feff}{input}\r\n");
        place.run_with(&["load", "s", "--format", format], input.as_bytes()).done();
        assert_eq!(place.run(&["scan", "s"]).done().text(), "a\t1\n");
        place.run(&["del", "s", "a"]).done();
    }
}
