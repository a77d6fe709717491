//! Random operations on a real store, against a map. `PROPTEST_CASES` sets how many; `make nightly` takes 10,000.

use std::collections::BTreeMap;

use kvwal::{Batch, Options, RecoveryMode, Size, Store, SyncMode, Verdict};
use proptest::prelude::*;
use proptest::test_runner::FileFailurePersistence;

type Model = BTreeMap<Vec<u8>, Vec<u8>>;

/// Long enough never to expire during a test.
const HOUR_MS: u64 = 3_600_000;

#[derive(Clone, Debug)]
enum Action {
    Set(Vec<u8>, Vec<u8>),
    SetTtl(Vec<u8>, Vec<u8>),
    Del(Vec<u8>),
    Write(Vec<(Vec<u8>, Option<Vec<u8>>)>),
    Get(Vec<u8>),
    Scan(Vec<u8>),
    Checkpoint,
    Sync,
    Reopen,
}

/// Few different keys, so that they meet; the empty one and binary ones among them.
fn key() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        prop::collection::vec(0u8..3, 0..4),
        prop::collection::vec(any::<u8>(), 0..40),
        (0u8..4).prop_map(|byte| vec![byte; 300]),
    ]
}

/// Mostly short, sometimes longer than a block of a checkpoint or a value that is written in place.
fn value() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        20 => prop::collection::vec(any::<u8>(), 0..200),
        2 => (any::<u8>(), 0usize..5000).prop_map(|(byte, len)| vec![byte; len]),
        1 => (any::<u8>(), 60_000usize..70_000).prop_map(|(byte, len)| vec![byte; len]),
        1 => (any::<u8>(), 1_000_000usize..1_200_000).prop_map(|(byte, len)| vec![byte; len]),
    ]
}

fn action() -> impl Strategy<Value = Action> {
    prop_oneof![
        20 => (key(), value()).prop_map(|(key, value)| Action::Set(key, value)),
        3 => (key(), value()).prop_map(|(key, value)| Action::SetTtl(key, value)),
        8 => key().prop_map(Action::Del),
        4 => prop::collection::vec((key(), prop::option::weighted(0.7, value())), 0..12).prop_map(Action::Write),
        8 => key().prop_map(Action::Get),
        2 => prop::collection::vec(0u8..3, 0..3).prop_map(Action::Scan),
        2 => Just(Action::Checkpoint),
        1 => Just(Action::Sync),
        2 => Just(Action::Reopen),
    ]
}

fn options() -> impl Strategy<Value = Options> {
    let sync = prop_oneof![Just(SyncMode::Always), Just(SyncMode::Interval), Just(SyncMode::None)];
    let preallocate = prop_oneof![Just(Size::Default), Just(Size::Bytes(100)), Just(Size::Never)];
    let checkpoint = prop_oneof![Just(Size::Default), Just(Size::Bytes(2000)), Just(Size::Never)];
    let recovery = prop_oneof![Just(RecoveryMode::Prefix), Just(RecoveryMode::Strict)];
    (sync, preallocate, checkpoint, recovery).prop_map(|(sync, preallocate, checkpoint_wal_bytes, recovery)| Options {
        sync,
        preallocate,
        checkpoint_wal_bytes,
        recovery,
        ..Options::default()
    })
}

fn scan(store: &Store, prefix: &[u8]) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut found = Vec::new();
    store
        .scan(prefix, |key, value| {
            found.push((key.to_vec(), value.to_vec()));
            true
        })
        .unwrap();
    found
}

fn expected(model: &Model, prefix: &[u8]) -> Vec<(Vec<u8>, Vec<u8>)> {
    let matching = model.iter().filter(|(key, _)| key.starts_with(prefix));
    matching.map(|(key, value)| (key.clone(), value.clone())).collect()
}

fn write(store: &Store, model: &mut Model, changes: &[(Vec<u8>, Option<Vec<u8>>)]) {
    let mut batch = Batch::new();
    for (key, value) in changes {
        match value {
            Some(value) => {
                batch.set(key, value).unwrap();
                model.insert(key.clone(), value.clone());
            }
            None => {
                batch.del(key).unwrap();
                model.remove(key);
            }
        }
    }
    store.write(&batch).unwrap();
}

/// The log of a closed store is exactly as long as its records.
fn check_log_length(dir: &std::path::Path) {
    for name in ["wal.log", "wal.next"] {
        let path = dir.join(name);
        if path.exists() {
            let report = kvwal::wal::replay(&path, 0, |_| true).unwrap();
            assert_eq!(report.verdict, Verdict::Clean, "{name}");
            assert_eq!(report.stop_offset, std::fs::metadata(&path).unwrap().len(), "{name}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        failure_persistence: Some(Box::new(FileFailurePersistence::Off)),
        ..ProptestConfig::default()
    })]

    #[test]
    fn a_store_is_a_map(options in options(), actions in prop::collection::vec(action(), 1..60)) {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path().join("store");
        let mut store = Store::open(&dir, &options).unwrap();
        let mut model = Model::new();
        for action in &actions {
            match action {
                Action::Set(key, value) => {
                    store.set(key, value).unwrap();
                    model.insert(key.clone(), value.clone());
                }
                Action::SetTtl(key, value) => {
                    store.set_ttl(key, value, HOUR_MS).unwrap();
                    model.insert(key.clone(), value.clone());
                }
                Action::Del(key) => prop_assert_eq!(store.del(key).unwrap(), model.remove(key).is_some()),
                Action::Write(changes) => write(&store, &mut model, changes),
                Action::Get(key) => prop_assert_eq!(store.get(key).unwrap(), model.get(key).cloned()),
                Action::Scan(prefix) => prop_assert_eq!(scan(&store, prefix), expected(&model, prefix)),
                Action::Checkpoint => {
                    store.checkpoint().unwrap();
                    store.check_invariants();
                }
                Action::Sync => {
                    store.sync().unwrap();
                    let stats = store.stats();
                    prop_assert_eq!(stats.durable_lsn, stats.last_lsn);
                }
                Action::Reopen => {
                    let last_lsn = store.stats().last_lsn;
                    store.close().unwrap();
                    check_log_length(&dir);
                    store = Store::open(&dir, &options).unwrap();
                    store.check_invariants();
                    let report = store.recovery_report();
                    prop_assert_eq!((report.verdict, report.last_lsn), (Verdict::Clean, last_lsn));
                    prop_assert!(!dir.join("quarantine").exists());
                }
            }
        }
        prop_assert_eq!(scan(&store, b""), expected(&model, b""));
        let stats = store.stats();
        prop_assert_eq!(stats.keys, model.len() as u64);
        prop_assert_eq!(stats.bytes, model.values().map(|value| value.len() as u64).sum::<u64>());
        store.check_invariants();
        store.close().unwrap();
    }
}
