//! `backup`.

use std::fs;

use serde_json::json;

use crate::support::Place;

#[test]
fn a_backup_is_a_store_that_goes_on_from_there() {
    let place = Place::with_store(&[("a", "1"), ("b", "2")]);
    place.run(&["set", "s", "b", "3", "--expires-at", "10000000000123"]).done();
    let made = place.run(&["backup", "s", "saved", "--json"]).done().json();
    assert_eq!((&made["lsn"], &made["keys"], &made["wal_log_bytes"]), (&json!(3), &json!(2), &json!(0)));
    let dumped = place.run(&["dump", "saved"]).done().out;
    assert_eq!(dumped, place.run(&["dump", "s"]).done().out);
    assert!(String::from_utf8(dumped).unwrap().contains("10000000000123"));
    assert_eq!(place.run(&["set", "saved", "c", "4", "--json"]).done().json()["lsn"], 4);
    assert_eq!(place.run(&["scan", "s", "--keys"]).done().text(), "a\nb\n");
    place.run(&["verify", "saved"]).done();
}

#[test]
fn a_backup_never_takes_the_place_of_anything() {
    let place = Place::with_store(&[("a", "1")]);
    place.run(&["backup", "s", "s"]).failed(73, "take another directory");
    fs::create_dir(place.path("full")).unwrap();
    fs::write(place.path("full/file"), "content").unwrap();
    place.run(&["backup", "s", "full"]).failed(73, "kvwal: backup: ");
    assert_eq!(fs::read(place.path("full/file")).unwrap(), b"content");
    place.run(&["backup", "s", "full/file"]).failed(73, "kvwal: backup: ");
    place.run(&["backup", "s", "no/such/parent"]).failed(66, "no/such/parent: No such file");
    assert_eq!(place.names(), ["full", "s"]);
}
