//! The hash table that serves reads: open addressing, in shards, with snapshots. It never does I/O.
//!
//! Each of the 256 shards, chosen by the low bits of a key's hash, is changed under a lock of its own. Lookups take no
//! lock ([`shard`] says how they get by without), so reads scale with the threads, and wait for no writer but one that
//! is moving keys of the same shard, or applying a batch. Keys are hashed under a random seed ([`hash`]).
//!
//! In an open store only one thread at a time changes the table, the leader of a group commit. Readers and snapshots come
//! from any thread. Recovery fills it from several, each with keys of its own ([`Table::load`]).
//!
//! # Memory
//!
//! A key costs a slot of 8 bytes, of which between 3/8 and 3/4 are full (so 11 to 21 bytes), and a block with a header
//! of 12 bytes (20 with an expiry) before key and value, rounded up to a multiple of 8 or, if it is large, by at most an
//! eighth. See [`block`](crate::sys::block) and [`memory`](crate::sys::memory). What is replaced is freed a little
//! later, when no reader can be looking at it any more ([`epoch`](crate::sys::epoch)).

mod hash;
mod shard;
mod slots;
mod snapshot;

use std::mem;
use std::sync::Arc;

use crate::error::{Error, Result};
use crate::format::{Lsn, Op, check_lengths};
use crate::sys::block::Block;
use crate::sys::epoch::{Domain, Pin};
use crate::sys::memory::Pool;
use crate::sys::slot::{Garbage, SlotArray};
use hash::Hasher;
pub use shard::is_expired;
use shard::{Context, Locked, Shard};
pub use snapshot::{Cursor, Snapshot};

/// How many shards there are.
const SHARDS: usize = 256;
/// How many lookups are overlapped.
const LOOKUPS_AT_ONCE: usize = 32;

/// The table.
pub struct Table {
    pool: Arc<Pool>,
    hasher: Hasher,
    shards: Box<[Shard]>,
    domain: Domain<Garbage>,
}

/// A change to be applied: what a record says, in memory.
#[derive(Debug)]
pub struct Change {
    op: Op,
    hash: u64,
    /// The key and its new value, until they are in the table.
    block: Option<Block>,
    /// Once applied: whether the key was there before.
    found: bool,
    /// Once applied: what nobody can see any more, for the owner of the change to free.
    garbage: Vec<Garbage>,
}

impl Change {
    /// What the change does.
    pub fn op(&self) -> Op {
        self.op
    }

    /// The hash of the key.
    pub fn hash(&self) -> u64 {
        self.hash
    }

    /// Whether the key was there before the change, once it is applied.
    pub fn found(&self) -> bool {
        self.found
    }

    /// Key and value of a change that has not been applied yet.
    pub fn block(&self) -> &Block {
        self.block.as_ref().expect("the change is not applied yet")
    }

    fn apply(&mut self, shard: &mut Locked<'_>, lsn: Lsn) -> Result<()> {
        if self.op == Op::Delete {
            self.found = shard.delete(self.hash, self.block().key(), lsn);
        } else {
            let mut block = self.block.take().expect("a change is applied once");
            block.set_lsn(lsn);
            self.found = shard.put(self.hash, block)?;
        }
        self.garbage = shard.take_garbage();
        Ok(())
    }
}

impl Drop for Change {
    fn drop(&mut self) {
        Garbage::free_all(mem::take(&mut self.garbage));
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
        let shards = std::iter::repeat_with(Shard::default).take(SHARDS).collect();
        Table { pool: Arc::new(Pool::new()), hasher: Hasher::new(seed), shards, domain: Domain::default() }
    }

    /// The memory for its blocks.
    pub fn pool(&self) -> &Pool {
        &self.pool
    }

    /// The hash of a key.
    pub fn hash(&self, key: &[u8]) -> u64 {
        self.hasher.hash(key)
    }

    /// A change that sets a key, or deletes it; key and value are copied.
    pub fn new_change(&self, op: Op, key: &[u8], value: &[u8], expires_at: u64) -> Result<Change> {
        check_lengths(key, value)?;
        let block =
            Block::new(&self.pool, key, value, expires_at).ok_or_else(|| Error::no_memory(key.len() + value.len()))?;
        Ok(self.change(op, block))
    }

    /// A change that sets or deletes the key of `block`.
    pub fn change(&self, op: Op, block: Block) -> Change {
        let hash = self.hasher.hash(block.key());
        Change { op, hash, block: Some(block), found: false, garbage: Vec::new() }
    }

    /// Has the cache fetch what applying these changes needs: a wait for memory each, which overlap.
    pub fn prefetch<'c>(&self, changes: impl Iterator<Item = &'c Change> + Clone) {
        let pin = self.domain.pin(0);
        changes.clone().for_each(|change| self.shard(change.hash).prefetch_slot(&pin, change.hash));
        changes.for_each(|change| self.shard(change.hash).prefetch_block(&pin, change.hash));
    }

    /// Looks a key up, and counts that: calls `found` with its block, which stays what it is meanwhile; that keeps
    /// memory from being freed, but no writer waiting. Does not look at the expiry.
    #[inline(always)]
    pub fn get<R>(&self, key: &[u8], found: impl FnOnce(&Block) -> R) -> Option<R> {
        let pin = self.domain.pin(1);
        let hash = self.hasher.hash(key);
        self.shard(hash).find(&pin, hash, key).map(|block| found(&block))
    }

    /// As [`get`](Self::get), for the store's own use: not counted.
    pub fn peek<R>(&self, key: &[u8], found: impl FnOnce(&Block) -> R) -> Option<R> {
        let pin = self.domain.pin(0);
        let hash = self.hasher.hash(key);
        self.shard(hash).find(&pin, hash, key).map(|block| found(&block))
    }

    /// Looks many keys up, each as [`get`](Self::get) does, and calls `found` for each of them in order. The cache fetches
    /// what several lookups need at the same time, which takes little longer than for one of them.
    pub fn get_many<T>(
        &self,
        lookups: &mut [T],
        key: impl Fn(&T) -> &[u8],
        mut found: impl FnMut(&mut T, Option<&Block>),
    ) {
        let mut hashes = [0; LOOKUPS_AT_ONCE];
        for lookups in lookups.chunks_mut(LOOKUPS_AT_ONCE) {
            let pin = self.domain.pin(lookups.len() as u64);
            for (lookup, hash) in lookups.iter().zip(&mut hashes) {
                *hash = self.hasher.hash(key(lookup));
                self.shard(*hash).prefetch_slot(&pin, *hash);
            }
            for &hash in &hashes[..lookups.len()] {
                self.shard(hash).prefetch_block(&pin, hash);
            }
            for (lookup, &hash) in lookups.iter_mut().zip(&hashes) {
                let block = self.shard(hash).find(&pin, hash, key(lookup));
                found(lookup, block.as_deref());
            }
        }
    }

    /// Applies one change.
    pub fn apply(&self, change: &mut Change, lsn: Lsn, now: impl FnOnce() -> u64) -> Result<()> {
        let pin = self.domain.pin(0);
        let mut shard = self.lock(self.shard(change.hash), &pin);
        if shard.has_expiring() {
            shard.sweep(now(), lsn);
        }
        change.apply(&mut shard, lsn)
    }

    /// Applies the changes of a batch, with LSNs from `first_lsn` on, so that no reader sees some of them and then,
    /// looking at another key, not the others: all their shards are locked, in order, and their readers held, before the
    /// first is changed.
    pub fn apply_batch(&self, changes: &mut [Change], first_lsn: Lsn, now: impl FnOnce() -> u64) -> Result<()> {
        let pin = self.domain.pin(0);
        let mut involved = [false; SHARDS];
        changes.iter().for_each(|change| involved[index(change.hash)] = true);
        let lock = |(shard, &involved)| if involved { Some(self.lock(shard, &pin)) } else { None };
        let mut locked: Vec<Option<Locked<'_>>> = self.shards.iter().zip(&involved).map(lock).collect();
        locked.iter_mut().flatten().for_each(Locked::hold_readers);
        let mut expiring = locked.iter_mut().flatten().filter(|shard| shard.has_expiring()).peekable();
        if expiring.peek().is_some() {
            let now = now();
            expiring.for_each(|shard| shard.sweep(now, first_lsn));
        }
        for (change, lsn) in changes.iter_mut().zip(first_lsn..) {
            change.apply(locked[index(change.hash)].as_mut().expect("locked above"), lsn)?;
        }
        Ok(())
    }

    /// Makes room for so many keys in all, as far as there is memory, so that the shards need not grow one by one. Those of
    /// a table with fewer keys than shards need not.
    pub fn reserve(&self, keys: u64) {
        let each = usize::try_from(keys / SHARDS as u64).unwrap_or(usize::MAX);
        if each == 0 {
            return;
        }
        let pin = self.domain.pin(0);
        self.shards.iter().for_each(|shard| self.lock(shard, &pin).reserve(each));
    }

    /// Applies changes with the LSNs that come with them, and empties `changes`. Several threads at once may do this,
    /// while nobody does anything else, as long as the changes of one key all come from one thread. They are applied
    /// shard by shard, those of a shard in the order in which they are given. Nothing is swept.
    pub fn load(&self, changes: &mut Vec<(Lsn, Change)>) -> Result<()> {
        let mut ends = [0; SHARDS];
        changes.iter().for_each(|(_, change)| ends[index(change.hash)] += 1);
        let mut end = 0;
        ends.iter_mut().for_each(|count| (*count, end) = (end, end + *count));
        let mut order = Vec::new();
        order.try_reserve_exact(changes.len()).map_err(|_| Error::no_memory(changes.len() * size_of::<u32>()))?;
        order.resize(changes.len(), 0u32);
        for (at, (_, change)) in changes.iter().enumerate() {
            let end = &mut ends[index(change.hash)];
            order[*end] = at as u32;
            *end += 1;
        }
        let mut start = 0;
        for (shard, &end) in self.shards.iter().zip(&ends) {
            let group = &order[start..end];
            start = end;
            if group.is_empty() {
                continue;
            }
            let pin = self.domain.pin(0);
            group.iter().for_each(|&at| shard.prefetch_slot(&pin, changes[at as usize].1.hash));
            let mut shard = self.lock(shard, &pin);
            for &at in group {
                let (lsn, change) = &mut changes[at as usize];
                change.apply(&mut shard, *lsn)?;
            }
        }
        changes.clear();
        Ok(())
    }

    /// Begins a snapshot of the table as it is now. The caller makes sure that nothing is applied meanwhile, and that
    /// `lsn` is the last that was.
    pub fn snapshot(&self, lsn: Lsn) -> Snapshot<'_> {
        Snapshot::new(self, lsn)
    }

    /// How much there is; each shard is looked at for itself.
    pub fn usage(&self) -> Usage {
        let pin = self.domain.pin(0);
        let mut usage = Usage { gets: self.domain.lookups(), ..Usage::default() };
        for shard in &self.shards {
            let shard = self.lock(shard, &pin);
            usage.keys += shard.keys() as u64;
            usage.value_bytes += shard.value_bytes();
        }
        usage
    }

    /// Panics unless no key is there twice, every key is where its hash says, no snapshot keeps what it does not see,
    /// and the counters are right. For tests.
    pub fn check_invariants(&self) {
        let pin = self.domain.pin(0);
        for (at, shard) in self.shards.iter().enumerate() {
            self.lock(shard, &pin).check_invariants(|hash| index(hash) == at);
        }
    }

    fn lock<'a>(&'a self, shard: &'a Shard, pin: &'a Pin<'a>) -> Locked<'a> {
        shard.lock(pin, Context { pool: &self.pool, hasher: &self.hasher, domain: &self.domain })
    }

    #[inline]
    fn shard(&self, hash: u64) -> &Shard {
        &self.shards[index(hash)]
    }
}

impl Drop for Table {
    /// Frees all blocks at once.
    fn drop(&mut self) {
        drop(mem::take(&mut self.domain));
        let mut arrays = Vec::new();
        if arrays.try_reserve_exact(2 * SHARDS).is_err() {
            return;
        }
        arrays.extend(mem::take(&mut self.shards).into_iter().flat_map(Shard::into_arrays));
        SlotArray::drop_all(arrays, &mut self.pool);
    }
}

fn index(hash: u64) -> usize {
    hash as usize % SHARDS
}

#[cfg(test)]
mod tests;
