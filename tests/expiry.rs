//! Keys that expire at a moment that the caller says, and a scan that tells it again.

use kvwal::{Batch, Options, Store};

/// The year 2286.
const FAR: u64 = 10_000_000_000_123;

fn scanned(store: &Store) -> Vec<(Vec<u8>, u64)> {
    let mut found = Vec::new();
    store
        .scan_expiring(b"", |key, _, expires_at| {
            found.push((key.to_vec(), expires_at));
            true
        })
        .unwrap();
    found
}

#[test]
fn the_moment_is_kept_to_the_millisecond_by_log_and_checkpoint() {
    let dir = tempfile::tempdir().unwrap();
    let open = || Store::open(dir.path(), &Options::default()).unwrap();
    let store = open();
    let mut batch = Batch::new();
    batch.set_until(b"for ever", b"1", 0).unwrap();
    batch.set_until(b"long", b"2", FAR).unwrap();
    batch.set_until(b"over", b"3", 1).unwrap();
    store.write(&batch).unwrap();
    let expected = [(b"for ever".to_vec(), 0), (b"long".to_vec(), FAR)];
    assert_eq!(scanned(&store), expected);
    assert_eq!(store.get(b"over").unwrap(), None);
    store.close().unwrap();

    let store = open();
    assert_eq!(scanned(&store), expected);
    store.checkpoint().unwrap();
    store.close().unwrap();
    assert_eq!(scanned(&open()), expected);
}
