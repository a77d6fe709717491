//! Keys one stretch after the other, with no state kept in between.

use std::collections::HashMap;
use std::time::Duration;

use kvwal::{Batch, Options, Store, SyncMode};

fn open(dir: &tempfile::TempDir) -> Store {
    Store::open(dir.path().join("store"), &Options { sync: SyncMode::None, ..Options::default() }).unwrap()
}

fn set_all(store: &Store, name: &str, count: usize) {
    let mut batch = Batch::new();
    for number in 0..count {
        batch.set(format!("{name}:{number}").as_bytes(), b"value").unwrap();
    }
    store.write(&batch).unwrap();
}

#[test]
fn a_key_that_stays_is_visited_once_whatever_comes_and_goes() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir);
    set_all(&store, "stays", 3000);
    set_all(&store, "goes", 3000);
    let (mut visits, mut cursor, mut calls) = (HashMap::<Vec<u8>, u32>::new(), 0, 0);
    loop {
        let mut visited = 0;
        cursor = store
            .keys_from(cursor, 10, |key| {
                *visits.entry(key.to_vec()).or_default() += 1;
                visited += 1;
            })
            .unwrap();
        calls += 1;
        assert!(visited >= 10 || cursor == 0, "only {visited} keys");
        // The table grows under way, several times.
        set_all(&store, &format!("comes:{calls}"), 100);
        for number in (calls * 10)..(calls * 10 + 10) {
            store.del(format!("goes:{number}").as_bytes()).unwrap();
        }
        if cursor == 0 {
            break;
        }
    }
    assert!(calls > 100, "{calls} calls for 6000 keys");
    for number in 0..3000 {
        assert_eq!(visits.get(format!("stays:{number}").as_bytes()), Some(&1), "stays:{number}");
    }
    assert!(visits.values().all(|count| *count == 1));
    store.close().unwrap();
}

#[test]
fn one_call_can_visit_all() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir);
    let count = |at_least| {
        let mut count = 0;
        (store.keys_from(0, at_least, |_| count += 1).unwrap(), count)
    };
    assert_eq!(count(usize::MAX), (0, 0));
    set_all(&store, "key", 1000);
    store.set_ttl(b"expired", b"value", 1).unwrap();
    std::thread::sleep(Duration::from_millis(5));
    assert_eq!(count(usize::MAX), (0, 1000));
    assert_eq!(count(0).1, 0);
    // Any number is a cursor.
    for cursor in [1, 255, 256, u64::MAX / 2, u64::MAX] {
        store.keys_from(cursor, 1, |_| ()).unwrap();
    }
    store.close().unwrap();
}
