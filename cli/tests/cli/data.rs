//! `get`, `set`, `del`, `scan`, `count`.

use std::fs;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::support::Place;

#[test]
fn a_key_is_set_got_and_deleted() {
    let place = Place::new();
    let set = place.run(&["set", "s", "name", "Ada", "--create"]).done();
    assert_eq!(set.text(), "");
    assert_eq!(place.run(&["get", "s", "name"]).done().text(), "Ada\n");
    assert_eq!(place.run(&["get", "s", "name", "-n"]).done().text(), "Ada");
    place.run(&["set", "s", "name", "Grace"]).done();
    assert_eq!(place.run(&["get", "s", "name"]).done().text(), "Grace\n");
    place.run(&["del", "s", "name"]).done();
    place.run(&["get", "s", "name"]).failed(1, "not found: name");
    place.run(&["set", "s", "a", ""]).done();
    place.run(&["del", "s", "a", "b", "c"]).failed(1, "not found: b\nnot found: c\n");
    assert_eq!(place.run(&["count", "s"]).done().text(), "0\n");
}

#[test]
fn keys_come_in_order_and_by_prefix() {
    let place = Place::with_store(&[("b/2", "2"), ("a", "1"), ("b/1", "x\ty\n"), ("c", "3")]);
    assert_eq!(place.run(&["scan", "s"]).done().text(), "a\t1\nb/1\tx\\ty\\n\nb/2\t2\nc\t3\n");
    assert_eq!(place.run(&["scan", "s", "b/", "--keys"]).done().text(), "b/1\nb/2\n");
    assert_eq!(place.run(&["scan", "s", "--limit", "1"]).done().text(), "a\t1\n");
    assert_eq!(place.run(&["scan", "s", "--limit", "0"]).done().text(), "");
    assert_eq!(place.run(&["scan", "s", "622f32", "--hex"]).done().text(), "622f32\t32\n");
    assert_eq!(place.run(&["count", "s"]).done().text(), "4\n");
    assert_eq!(place.run(&["count", "s", "b/"]).done().text(), "2\n");
    assert_eq!(place.run(&["count", "s", "b/", "--json"]).done().json()["keys"], 2);
    let keys = place.run(&["scan", "s", "b", "--keys", "--json"]).done().documents();
    assert_eq!(keys, [serde_json::json!({ "key": "b/1" }), serde_json::json!({ "key": "b/2" })]);
}

#[test]
fn keys_and_values_are_any_bytes_from_anywhere() {
    let place = Place::new();
    place.run(&["set", "s", "00ff", "0a", "--hex", "--create"]).done();
    assert_eq!(place.run(&["get", "s", "AP8=", "--base64"]).done().text(), "Cg==\n");
    assert_eq!(place.run_with(&["get", "s", "-", "-n"], b"\x00\xff").done().text(), "\n");
    let document = place.run(&["get", "s", "00ff", "--hex", "--json"]).done().json();
    assert_eq!(document, serde_json::json!({ "key_base64": "AP8=", "value": "\n" }));
    let value: Vec<u8> = (0..=255).cycle().take(100_000).collect();
    place.run_with(&["set", "s", "big", "-"], &value).done();
    assert_eq!(place.run(&["get", "s", "big", "-n"]).done().out, value);
    fs::write(place.path("in"), &value[..1000]).unwrap();
    place.run(&["set", "s", "file", "--file", "in"]).done();
    place.run(&["get", "s", "file", "-o", "out"]).done();
    assert_eq!(fs::read(place.path("out")).unwrap(), value[..1000]);
    place.run(&["get", "s", "no such key", "-o", "out"]).code(1);
    assert_eq!(fs::read(place.path("out")).unwrap(), value[..1000]);
    assert_eq!(place.names(), ["in", "out", "s"]);
    place.run(&["set", "s", "0g", "00", "--hex"]).failed(64, "not hexadecimal");
    place.run(&["set", "s", "-", "-"]).failed(64, "cannot both");
    assert_eq!(place.run(&["count", "s"]).done().text(), "3\n");
}

#[test]
fn a_key_can_expire() {
    let place = Place::new();
    let before = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as u64;
    place.run(&["set", "s", "a", "1", "--ttl", "2h", "--create"]).done();
    let expires_at = place.run(&["get", "s", "a", "--json"]).done().json()["expires_at"].as_u64().unwrap();
    assert!((before + 7_200_000..before + 7_260_000).contains(&expires_at));
    place.run(&["set", "s", "a", "1", "--expires-at", "2286-11-20T17:46:40.123Z"]).done();
    assert_eq!(place.run(&["get", "s", "a", "--json"]).done().json()["expires_at"], 10_000_000_000_123u64);
    place.run(&["set", "s", "a", "1", "--expires-at", "1000"]).done();
    place.run(&["get", "s", "a"]).code(1);
    assert_eq!(place.run(&["count", "s"]).done().text(), "0\n");
    place.run(&["set", "s", "a", "1", "--ttl", "soon"]).failed(64, "soon");
}

#[test]
fn answers_are_documents() {
    let place = Place::with_store(&[("a", "1")]);
    assert_eq!(place.run(&["set", "s", "b", "2", "--json"]).done().json()["lsn"], 2);
    let deleted = place.run(&["--json", "del", "s", "a", "x"]).code(1);
    assert_eq!((deleted.json(), deleted.err.as_str()), (serde_json::json!({ "deleted": 1, "not_found": 1 }), ""));
}

#[test]
fn a_key_has_a_longest_length() {
    let place = Place::with_store(&[]);
    let (longest, longer) = ("k".repeat(65_535), "k".repeat(65_536));
    place.run(&["set", "s", &longest, "1"]).done();
    assert_eq!(place.run(&["get", "s", &longest]).done().text(), "1\n");
    for command in [&["set", "s", &longer, "1"][..], &["del", "s", &longer]] {
        let ran = place.run(command).failed(65, "key of 65536 bytes, at most 65535 are allowed\n");
        // The store is not what is wrong.
        assert_eq!(ran.err.lines().count(), 1, "{ran:?}");
    }
    let ran = place.run(&["get", "s", &longer]).failed(1, "not found: kkk");
    assert!(ran.err.ends_with("k… 65336 bytes more\n"), "{ran:?}");
    place.run(&["del", "s", &longest]).done();
    assert_eq!(place.run(&["count", "s", "--json"]).done().json()["keys"], 0);
}

#[test]
fn an_empty_key_and_an_empty_value_are_as_good_as_others() {
    let place = Place::with_store(&[]);
    place.run(&["set", "s", "", ""]).done();
    place.run(&["set", "s", "a", "1"]).done();
    assert_eq!(place.run(&["get", "s", ""]).done().text(), "\n");
    assert_eq!(place.run(&["get", "s", "", "--json"]).done().json(), serde_json::json!({ "key": "", "value": "" }));
    assert_eq!(place.run(&["scan", "s"]).done().text(), "\t\na\t1\n");
    assert_eq!(place.run(&["count", "s", ""]).done().text(), "2\n");
    place.run(&["del", "s", ""]).done();
    place.run(&["get", "s", ""]).failed(1, "not found: \n");
    place.run(&["set", "s", "a", "--file", "no such file"]).failed(66, "read no such file: No such file");
    assert_eq!(place.run(&["scan", "s"]).done().text(), "a\t1\n");
}
