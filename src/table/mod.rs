//! The hash table that serves reads: open addressing, in shards, with snapshots. It never does I/O.
//!
//! Each of the 256 shards has its own reader-writer lock, chosen by the low bits of a key's hash, so that reads of
//! different keys run in parallel and wait only for a change of the same shard. Keys are hashed with SipHash-1-3
//! under a random seed.
//!
//! Only one thread at a time changes the table: the leader of a group commit, or recovery. Readers and snapshots come
//! from any thread.
//!
//! # Memory
//!
//! A key costs a slot of 8 bytes, of which between 3/8 and 3/4 are full (so 11 to 21 bytes), and a block with a header
//! of 12 bytes (20 with an expiry) before key and value, plus what malloc adds (8 bytes and rounding up to 16). See
//! [`block`](crate::sys::block).

mod hash;
mod shard;
mod slots;
mod snapshot;

use std::sync::atomic::{AtomicU64, Ordering};

use crate::error::Result;
use crate::format::{Lsn, Op};
use crate::sys::block::Block;
use crate::sys::sync::{RwLock, WriteGuard};
use hash::SipHash;
use shard::Shard;
pub use shard::is_expired;
pub use snapshot::{Cursor, Snapshot};

/// How many shards there are.
const SHARDS: usize = 256;

/// The table.
pub struct Table {
    hasher: SipHash,
    shards: Box<[Part]>,
}

struct Part {
    shard: RwLock<Shard>,
    gets: AtomicU64,
}

/// A change to be applied: what a record says, in memory.
#[derive(Debug)]
pub struct Change {
    op: Op,
    hash: u64,
    /// The key and its new value; afterwards the block that was replaced, for the owner of the change to free.
    block: Option<Block>,
    /// Once applied: whether the key was there before.
    found: bool,
}

impl Change {
    /// What the change does.
    pub fn op(&self) -> Op {
        self.op
    }

    /// Whether the key was there before the change, once it is applied.
    pub fn found(&self) -> bool {
        self.found
    }

    /// Key and value of a change that has not been applied yet.
    pub fn block(&self) -> &Block {
        self.block.as_ref().expect("the change is not applied yet")
    }
}

/// How much is in the table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Keys.
    pub keys: u64,
    /// Bytes of their values.
    pub value_bytes: u64,
    /// Lookups so far.
    pub gets: u64,
}

impl Table {
    /// An empty table.
    pub fn new(seed: [u64; 2]) -> Table {
        let part = || Part { shard: RwLock::new(Shard::new()), gets: AtomicU64::new(0) };
        Table { hasher: SipHash::new(seed), shards: std::iter::repeat_with(part).take(SHARDS).collect() }
    }

    /// A change that sets or deletes the key of `block`.
    pub fn change(&self, op: Op, block: Block) -> Change {
        Change { op, hash: self.hasher.hash(block.key()), block: Some(block), found: false }
    }

    /// Looks a key up, and counts that: calls `found` with its block, under the shard's lock. Does not look at the
    /// expiry.
    pub fn get<R>(&self, key: &[u8], found: impl FnOnce(&Block) -> R) -> Option<R> {
        let hash = self.hasher.hash(key);
        let part = self.part(hash);
        part.gets.fetch_add(1, Ordering::Relaxed);
        part.shard.read().get(hash, key).map(|block| found(&block))
    }

    /// As [`get`](Self::get), for the store's own use: not counted.
    pub fn peek<R>(&self, key: &[u8], found: impl FnOnce(&Block) -> R) -> Option<R> {
        let hash = self.hasher.hash(key);
        self.part(hash).shard.read().get(hash, key).map(|block| found(&block))
    }

    /// Applies one change. Never called by two threads at once.
    pub fn apply(&self, change: &mut Change, lsn: Lsn, now: impl FnOnce() -> u64) -> Result<()> {
        let mut shard = self.part(change.hash).shard.write();
        if shard.has_expiring() {
            shard.sweep(now(), lsn, &self.hasher);
        }
        self.apply_locked(&mut shard, change, lsn)
    }

    /// Applies the changes of a batch, with LSNs from `first_lsn` on, so that no reader sees some of them and then,
    /// looking at another key, not the others: all their shards are locked, in order, before the first is changed.
    pub fn apply_batch(&self, changes: &mut [Change], first_lsn: Lsn, now: impl FnOnce() -> u64) -> Result<()> {
        let mut guards: Vec<Option<WriteGuard<'_, Shard>>> = (0..SHARDS).map(|_| None).collect();
        let mut involved = [false; SHARDS];
        changes.iter().for_each(|change| involved[index(change.hash)] = true);
        for (at, _) in involved.iter().enumerate().filter(|(_, involved)| **involved) {
            guards[at] = Some(self.shards[at].shard.write());
        }
        let expiring = guards.iter_mut().flatten().filter(|shard| shard.has_expiring());
        let mut expiring = expiring.peekable();
        if expiring.peek().is_some() {
            let now = now();
            expiring.for_each(|shard| shard.sweep(now, first_lsn, &self.hasher));
        }
        for (change, lsn) in changes.iter_mut().zip(first_lsn..) {
            let shard = guards[index(change.hash)].as_mut().expect("locked above");
            self.apply_locked(shard, change, lsn)?;
        }
        Ok(())
    }

    fn apply_locked(&self, shard: &mut Shard, change: &mut Change, lsn: Lsn) -> Result<()> {
        let mut block = change.block.take().expect("a change is applied once");
        let keys = shard.keys();
        if change.op == Op::Delete {
            (change.found, change.block) = shard.delete(change.hash, block.key(), lsn, &self.hasher);
        } else {
            block.set_lsn(lsn);
            change.block = shard.put(change.hash, block, &self.hasher)?;
            change.found = shard.keys() == keys;
        }
        Ok(())
    }

    /// Begins a snapshot of the table as it is now. The caller makes sure that nothing is applied meanwhile, and that
    /// `lsn` is the last that was.
    pub fn snapshot(&self, lsn: Lsn) -> Snapshot<'_> {
        Snapshot::new(self, lsn)
    }

    /// How much there is; each shard is looked at for itself.
    pub fn usage(&self) -> Usage {
        let mut usage = Usage::default();
        for part in &self.shards {
            let shard = part.shard.read();
            usage.keys += shard.keys() as u64;
            usage.value_bytes += shard.value_bytes();
            usage.gets += part.gets.load(Ordering::Relaxed);
        }
        usage
    }

    /// Panics unless no key is there twice, every key is where its hash says, no snapshot keeps what it does not see,
    /// and the counters are right. For tests.
    pub fn check_invariants(&self) {
        for (at, part) in self.shards.iter().enumerate() {
            part.shard.read().check_invariants(&self.hasher, |hash| index(hash) == at);
        }
    }

    fn part(&self, hash: u64) -> &Part {
        &self.shards[index(hash)]
    }
}

fn index(hash: u64) -> usize {
    hash as usize % SHARDS
}

#[cfg(test)]
mod tests;
