//! `tail`.

use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::{KVWAL, Place};

/// Long enough for the busiest machine.
const PATIENCE: Duration = Duration::from_secs(60);

#[test]
fn the_records_of_a_closed_store_are_printed() {
    let place = Place::with_store(&[("a", "1"), ("b", "2")]);
    place.run(&["del", "s", "a"]).done();
    let expected =
        "       1         0  PUT       a = 1\n       2         1  PUT       b = 2\n       3         2  DELETE    a\n";
    assert_eq!(place.run(&["tail", "s"]).done().text(), expected);
    let records = place.run(&["tail", "s", "--from", "3", "--json"]).done().documents();
    assert_eq!(records, [json!({ "lsn": 3, "durable_lsn": 2, "op": "delete", "more": false, "key": "a" })]);
    assert_eq!(place.run(&["tail", "s", "--from", "4"]).done().text(), "");
}

#[test]
fn what_a_checkpoint_has_taken_away_is_said() {
    let place = Place::with_store(&[("a", "1"), ("b", "2")]);
    place.run(&["checkpoint", "s"]).done();
    place.run(&["set", "s", "c", "3"]).done();
    let ran = place.run(&["tail", "s", "--follow"]).failed(4, "the record 1 is in no log any more");
    assert!(ran.err.contains("--from 3"), "{ran:?}");
    assert_eq!(place.run(&["tail", "s", "--from", "3", "--json"]).done().json()["key"], "c");
}

/// A tail that is killed in the end, and what it prints.
struct Following {
    child: Child,
    records: Receiver<Value>,
}

impl Following {
    fn start(place: &Place) -> Following {
        let mut command = place.command(KVWAL);
        command.args(["tail", "s", "--follow", "--json"]).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let (send, records) = mpsc::channel();
        thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                if send.send(serde_json::from_str(&line).unwrap()).is_err() {
                    break;
                }
            }
        });
        Following { child, records }
    }

    /// Takes the records from `next` to `last`, each of which has to come, once, in order.
    fn take(&self, next: &mut u64, last: u64) {
        while *next <= last {
            let record = self.records.recv_timeout(PATIENCE).unwrap_or_else(|error| panic!("record {next}: {error}"));
            assert_eq!((&record["lsn"], &record["value"]), (&json!(*next), &json!(next.to_string())));
            *next += 1;
        }
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_writer_is_followed_over_its_checkpoints() {
    let place = Place::with_store(&[]);
    let store = place.open();
    let following = Following::start(&place);
    let (mut next, mut last) = (1, 0);
    for _ in 0..10 {
        for _ in 0..50 {
            last += 1;
            store.set(b"key", last.to_string().as_bytes()).unwrap();
        }
        // The last one is proven durable by the next.
        following.take(&mut next, last - 1);
        thread::scope(|scope| {
            let checkpoint = scope.spawn(|| store.checkpoint());
            for _ in 0..20 {
                last += 1;
                store.set(b"key", last.to_string().as_bytes()).unwrap();
            }
            checkpoint.join().unwrap().unwrap();
        });
    }
    store.close().unwrap();
    following.take(&mut next, last);
}
