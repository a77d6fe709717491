//! The table against a model map, with snapshots begun, walked and dropped on the way.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

mod readers;

type Model = BTreeMap<Vec<u8>, Vec<u8>>;

fn put(table: &Table, key: &[u8], value: &[u8], lsn: Lsn) -> bool {
    let mut change = table.change(Op::Put, Block::new(table.pool(), key, value, 0).unwrap());
    table.apply(&mut change, lsn, || 0).unwrap();
    change.found()
}

fn delete(table: &Table, key: &[u8], lsn: Lsn) -> bool {
    let mut change = table.change(Op::Delete, Block::new(table.pool(), key, b"", 0).unwrap());
    table.apply(&mut change, lsn, || 0).unwrap();
    change.found()
}

fn get(table: &Table, key: &[u8]) -> Option<Vec<u8>> {
    table.peek(key, |block| block.value().to_vec())
}

fn walk(snapshot: &Snapshot<'_>) -> Model {
    let mut seen = Model::new();
    let mut cursor = Cursor::default();
    let insert = |seen: &mut Model, block: &Block| {
        let twice = seen.insert(block.key().to_vec(), block.value().to_vec());
        assert!(twice.is_none(), "{:?} visited twice", block.key());
        Ok(())
    };
    while snapshot.visit_some(&mut cursor, |block| insert(&mut seen, block)).unwrap() {}
    seen
}

#[test]
fn set_get_overwrite_delete() {
    let table = Table::new([1, 2]);
    assert!(!put(&table, b"a", b"1", 1));
    assert!(put(&table, b"a", b"two", 2));
    assert_eq!(get(&table, b"a").unwrap(), b"two");
    assert_eq!(table.usage(), Usage { keys: 1, value_bytes: 3, gets: 0 });
    assert!(delete(&table, b"a", 3));
    assert!(!delete(&table, b"a", 4));
    assert_eq!(get(&table, b"a"), None);
    assert_eq!(table.usage(), Usage::default());
    table.check_invariants();
}

#[test]
fn grows_and_shrinks_with_every_key_in_its_place() {
    const KEYS: u64 = 200_000;
    let table = Table::new([3, 4]);
    for n in 0..KEYS {
        put(&table, &n.to_be_bytes(), &n.to_le_bytes(), n + 1);
        if n.is_power_of_two() {
            table.check_invariants();
        }
    }
    table.check_invariants();
    for n in 0..KEYS {
        assert_eq!(get(&table, &n.to_be_bytes()).unwrap(), n.to_le_bytes());
    }
    for n in (0..KEYS).filter(|n| n % 100 != 0) {
        assert!(delete(&table, &n.to_be_bytes(), KEYS + n + 1));
    }
    table.check_invariants();
    assert_eq!(table.usage().keys, KEYS / 100);
    assert_eq!(get(&table, &500u64.to_be_bytes()).unwrap(), 500u64.to_le_bytes());
}

#[test]
fn a_snapshot_walk_sees_one_moment_while_everything_changes() {
    const KEYS: u64 = 20_000;
    let table = Table::new([5, 6]);
    let mut lsn = 0;
    let mut next = || {
        lsn += 1;
        lsn
    };
    let mut model = Model::new();
    for n in 0..KEYS {
        put(&table, &n.to_be_bytes(), b"before", next());
        model.insert(n.to_be_bytes().to_vec(), b"before".to_vec());
    }
    let mut snapshot = table.snapshot(KEYS);
    lsn = KEYS;
    let (mut cursor, mut seen, mut n) = (Cursor::default(), Model::new(), 0u64);
    loop {
        // Overwrites, deletions and so many new keys that every shard grows below the walk.
        for _ in 0..40 {
            n += 1;
            lsn += 3;
            put(&table, &(n % KEYS).to_be_bytes(), b"after", lsn - 2);
            delete(&table, &(n * 7 % KEYS).to_be_bytes(), lsn - 1);
            put(&table, &(KEYS + n).to_be_bytes(), b"new", lsn);
        }
        let more = snapshot.visit_some(&mut cursor, |block| {
            assert!(seen.insert(block.key().to_vec(), block.value().to_vec()).is_none());
            Ok(())
        });
        if !more.unwrap() {
            break;
        }
        snapshot.release_passed(&cursor);
    }
    assert!(n > KEYS / 2, "the table changed a lot meanwhile: {n}");
    assert_eq!(seen, model);
    table.check_invariants();
    drop(snapshot);
    table.check_invariants();
}

#[test]
fn expired_keys_are_swept_by_later_changes() {
    let table = Table::new([7, 8]);
    for n in 0..10_000u64 {
        let mut change = table.change(Op::PutExpiring, Block::new(table.pool(), &n.to_be_bytes(), b"v", 1000).unwrap());
        table.apply(&mut change, n + 1, || 999).unwrap();
    }
    assert_eq!(table.usage().keys, 10_000);
    for n in 0..40_000u64 {
        let mut change =
            table.change(Op::Put, Block::new(table.pool(), &(n % 10_000 + 20_000).to_be_bytes(), b"v", 0).unwrap());
        table.apply(&mut change, 20_000 + n, || 1000).unwrap();
    }
    table.check_invariants();
    assert_eq!(table.usage().keys, 10_000, "what had expired is gone");
}

#[test]
fn a_swept_key_is_seen_by_earlier_snapshots_only() {
    let table = Table::new([11, 12]);
    let mut expiring = table.change(Op::PutExpiring, Block::new(table.pool(), b"key", b"old", 1000).unwrap());
    table.apply(&mut expiring, 1, || 0).unwrap();
    let before = table.snapshot(1);
    // Deletions of what is not there sweep the shard.
    let mut lsn: Lsn = 1;
    while table.usage().keys > 0 {
        lsn += 1;
        let mut change = table.change(Op::Delete, Block::new(table.pool(), &lsn.to_be_bytes(), b"", 0).unwrap());
        table.apply(&mut change, lsn, || 1000).unwrap();
    }
    put(&table, b"key", b"new", lsn + 1);
    let after = table.snapshot(lsn + 1);
    assert_eq!(walk(&before), Model::from([(b"key".to_vec(), b"old".to_vec())]));
    assert_eq!(walk(&after), Model::from([(b"key".to_vec(), b"new".to_vec())]));
    drop((before, after));
    table.check_invariants();
}

#[test]
fn keys_with_the_same_home_are_told_apart() {
    let table = Table::new([9, 10]);
    // Keys of one shard whose homes in a small array coincide.
    let same_place = |key: &u64| {
        let hash = table.hasher.hash(&key.to_be_bytes());
        index(hash) == 0 && hash >> 60 == 0
    };
    let keys: Vec<u64> = (0..).filter(same_place).take(200).collect();
    for (lsn, key) in (1..).zip(&keys) {
        put(&table, &key.to_be_bytes(), &key.to_le_bytes(), lsn);
    }
    table.check_invariants();
    for key in keys.iter().step_by(2) {
        assert!(delete(&table, &key.to_be_bytes(), 1000));
        table.check_invariants();
    }
    for (n, key) in keys.iter().enumerate() {
        assert_eq!(get(&table, &key.to_be_bytes()).is_some(), n % 2 == 1);
    }
}

#[derive(Clone, Debug)]
enum Action {
    Put(u8, u16),
    Delete(u8),
    Batch(Vec<(u8, Option<u16>)>),
    Begin,
    End(usize),
}

fn actions() -> impl Strategy<Value = Vec<Action>> {
    let action = prop_oneof![
        8 => (any::<u8>(), 0u16..300).prop_map(|(key, len)| Action::Put(key, len)),
        4 => any::<u8>().prop_map(Action::Delete),
        1 => prop::collection::vec((any::<u8>(), prop::option::of(0u16..300)), 1..20).prop_map(Action::Batch),
        1 => Just(Action::Begin),
        1 => (0usize..4).prop_map(Action::End),
    ];
    prop::collection::vec(action, 1..300)
}

proptest! {
    #[test]
    fn agrees_with_a_model(seed: [u64; 2], actions in actions()) {
        let table = Table::new(seed);
        let mut model = Model::new();
        let mut lsn = 0;
        let mut snapshots: Vec<(Snapshot<'_>, Model)> = Vec::new();
        let value = |lsn: Lsn, len: u16| vec![lsn as u8; usize::from(len)];
        for action in actions {
            match action {
                Action::Put(key, len) => {
                    lsn += 1;
                    let value = value(lsn, len);
                    let found = put(&table, &[key], &value, lsn);
                    prop_assert_eq!(model.insert(vec![key], value).is_some(), found);
                }
                Action::Delete(key) => {
                    lsn += 1;
                    prop_assert_eq!(delete(&table, &[key], lsn), model.remove(&vec![key]).is_some());
                }
                Action::Batch(batch) => {
                    let mut changes = Vec::new();
                    for (offset, (key, len)) in (1..).zip(&batch) {
                        let value = len.map(|len| value(lsn + offset, len));
                        let op = if value.is_some() { Op::Put } else { Op::Delete };
                        let block = Block::new(table.pool(), &[*key], value.as_deref().unwrap_or_default(), 0).unwrap();
                        changes.push(table.change(op, block));
                        match value {
                            Some(value) => model.insert(vec![*key], value),
                            None => model.remove(&vec![*key]),
                        };
                    }
                    table.apply_batch(&mut changes, lsn + 1, || 0).unwrap();
                    lsn += batch.len() as Lsn;
                }
                Action::Begin => snapshots.push((table.snapshot(lsn), model.clone())),
                Action::End(at) if at < snapshots.len() => {
                    let (snapshot, then) = snapshots.swap_remove(at);
                    prop_assert_eq!(walk(&snapshot), then);
                }
                Action::End(_) => {}
            }
        }
        table.check_invariants();
        for (snapshot, then) in &snapshots {
            prop_assert_eq!(&walk(snapshot), then);
            for key in 0..=u8::MAX {
                let seen = snapshot.get(&[key], |block| block.value().to_vec());
                prop_assert_eq!(seen.as_ref(), then.get(&vec![key]));
            }
        }
        drop(snapshots);
        table.check_invariants();
        prop_assert_eq!(table.usage().keys, model.len() as u64);
        for (key, value) in &model {
            prop_assert_eq!(&get(&table, key).unwrap(), value);
        }
    }
}

#[test]
fn loading_from_several_threads_gives_what_applying_one_by_one_gives() {
    use crate::pipe::go_round;
    for reserved in [0, 1000, 30_000] {
        let table = Table::new([3, 4]);
        table.reserve(reserved);
        let mut model = BTreeMap::new();
        let load = |changes: &mut Vec<_>| {
            table.load(changes).unwrap();
            assert!(changes.is_empty());
        };
        go_round(c"load", 2, [Vec::new(), Vec::new(), Vec::new()], &load, |round| {
            // The keys of a group are in no other: of each, a value, another, and for some its end.
            for group in 0..10u32 {
                let mut changes = round.take().unwrap();
                // Also while there are keys, and others load.
                table.reserve(reserved * u64::from(group) / 5);
                for (at, lsn) in (0..6000u32).zip(1..) {
                    let key = (group * 2000 + at % 2000).to_be_bytes();
                    let is_delete = at >= 4000 && at.is_multiple_of(3);
                    let value = if is_delete { vec![] } else { at.to_be_bytes().to_vec() };
                    let op = if is_delete { Op::Delete } else { Op::Put };
                    changes.push((lsn, table.change(op, Block::new(table.pool(), &key, &value, 0).unwrap())));
                    if is_delete {
                        model.remove(&key)
                    } else {
                        model.insert(key, value)
                    };
                }
                round.pass_on(changes);
            }
        });
        table.check_invariants();
        assert_eq!(table.usage().keys, model.len() as u64);
        for (key, value) in &model {
            assert_eq!(&get(&table, key).unwrap(), value);
        }
    }
}
