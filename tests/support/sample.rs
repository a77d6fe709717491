//! Small stores with a bit of everything in them, to be damaged.

use std::sync::Arc;

use kvwal::vfs::sim::SimDisk;
use kvwal::{Batch, Store};

use super::DIR;
use super::reader::Files;

/// Makes the changes 1 to `last` in an empty store, and a checkpoint if that is wanted; returns log and checkpoint.
pub fn store_of(last: u64, checkpoint: bool) -> (Vec<u8>, Option<Vec<u8>>) {
    let disk = SimDisk::new(3);
    let store = Store::open_on(Arc::new(disk.clone()), DIR, &super::options()).unwrap();
    let batch = |changes: &[(&[u8], Option<&[u8]>)]| {
        let mut batch = Batch::new();
        for (key, value) in changes {
            match value {
                Some(value) => batch.set(key, value).unwrap(),
                None => batch.del(key).unwrap(),
            }
        }
        store.write(&batch).unwrap();
    };
    store.set(b"a", b"one").unwrap();
    store.set(b"b", b"two").unwrap();
    store.set_ttl(b"c", b"three", 3_600_000).unwrap();
    if last > 3 {
        assert!(store.del(b"a").unwrap());
        batch(&[(b"d", Some(b"five")), (b"b", None)]);
    }
    if last > 6 {
        store.set(b"", b"seven").unwrap();
        batch(&[(b"d", None), (b"e", Some(b""))]);
    }
    assert_eq!(store.stats().last_lsn, last);
    if checkpoint {
        store.checkpoint().unwrap();
    }
    store.close().unwrap();
    let file = |name| disk.contents(format!("{DIR}/{name}"));
    (file("wal.log").unwrap(), file("checkpoint.dat"))
}

/// What a crash can leave of the changes 1 to 9.
pub fn stores() -> [(&'static str, Files); 4] {
    let all = store_of(9, false).0;
    let (first_3, first_6) = (store_of(3, false).0.len(), store_of(6, false).0.len());
    let [after_3, after_6] = [3, 6].map(|last| store_of(last, true).1);
    let files = |log: &[u8], next: &[u8], checkpoint: &Option<Vec<u8>>| Files {
        log: Some(log.to_vec()),
        next: (!next.is_empty()).then(|| next.to_vec()),
        checkpoint: checkpoint.clone(),
    };
    let next = &all[first_6..];
    [
        ("the second checkpoint was not completed", files(&all[first_3..first_6], next, &after_3)),
        ("the first checkpoint was not completed", files(&all[..first_6], next, &None)),
        ("the log was not retired", files(&all[..first_6], next, &after_6)),
        ("the log still begins at 1", files(&all, &[], &after_3)),
    ]
}
