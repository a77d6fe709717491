//! A part of the table behind one lock.
//!
//! # Growing without stopping the world
//!
//! When the array is three quarters full, one twice as large takes its place. The keys stay in the old array, and every
//! later change moves a few of them over, run by run: a run of keys lies between two empty slots, so that a search in
//! the old array never passes over what was moved. A key is in exactly one of the two arrays; new ones go to the new
//! array. An array that is nearly empty gives way to a smaller one in the same way.
//!
//! # Snapshots
//!
//! A snapshot is an LSN in `snapshots`: whoever holds it sees the table as it was when the record of that LSN had been
//! applied, and no later one. Every block knows the LSN that set it. A block that is replaced or removed is kept in
//! `retained` while there is a snapshot that can see it; everything else about a snapshot follows:
//!
//! - in the arrays, a snapshot sees the blocks whose LSN is not above its own;
//! - in `retained`, those of them that were replaced by a record above it.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use super::hash::SipHash;
use super::slots::Slots;
use crate::error::{Error, Result};
use crate::format::Lsn;
use crate::sys::block::{Block, BlockRef, Slot};

/// Slots of the first array.
const FIRST_CAPACITY: usize = 8;
/// How many keys a change moves from the old array, at least, and how many slots it looks at, at most, before it stops
/// at the next empty one.
const MOVE_KEYS: usize = 8;
const MOVE_SLOTS: usize = 64;
/// How many slots a change looks at for keys that have expired.
const SWEEP_SLOTS: usize = 4;

pub struct Shard {
    slots: Slots,
    /// Being emptied into `slots`; without keys when nothing grows.
    old: Slots,
    /// The next slot of `old` to be emptied; the one before it is empty.
    move_at: usize,
    /// The next slot to be looked at for an expired key.
    sweep_at: usize,
    /// Keys with an expiry.
    expiring: usize,
    value_bytes: u64,
    snapshots: Vec<Lsn>,
    /// By hash.
    retained: Retained,
}

/// Blocks that are in the table no more, but in a snapshot.
pub type Retained = BTreeMap<u64, Vec<OldVersion>>;

pub struct OldVersion {
    block: Block,
    /// The LSN that replaced it, or with whose record it was swept.
    replaced_at: Lsn,
}

impl OldVersion {
    fn is_seen_by(&self, snapshot: Lsn) -> bool {
        self.block.lsn() <= snapshot && snapshot < self.replaced_at
    }
}

impl Shard {
    pub const fn new() -> Shard {
        Shard {
            slots: Slots::none(),
            old: Slots::none(),
            move_at: 0,
            sweep_at: 0,
            expiring: 0,
            value_bytes: 0,
            snapshots: Vec::new(),
            retained: BTreeMap::new(),
        }
    }

    pub fn keys(&self) -> usize {
        self.slots.used() + self.old.used()
    }

    pub fn value_bytes(&self) -> u64 {
        self.value_bytes
    }

    pub fn has_expiring(&self) -> bool {
        self.expiring > 0
    }

    pub fn get(&self, hash: u64, key: &[u8]) -> Option<BlockRef<'_>> {
        if let Some(at) = self.slots.find(hash, key) {
            return self.slots.get(at);
        }
        self.old.find(hash, key).and_then(|at| self.old.get(at))
    }

    /// Sets a key; returns the block that it had, unless a snapshot still sees it. Fails only when memory has run out
    /// so far that not even the slots kept in reserve are left.
    pub fn put(&mut self, hash: u64, block: Block, hasher: &SipHash) -> Result<Option<Block>> {
        self.move_some(hasher);
        let lsn = block.lsn();
        let (bytes, expires) = (block.value_len() as u64, block.expires_at() != 0);
        let replaced = if let Some(at) = self.slots.find(hash, block.key()) {
            self.slots.replace(at, block)
        } else if let Some(at) = self.old.find(hash, block.key()) {
            self.old.replace(at, block)
        } else {
            self.make_room(hasher)?;
            self.slots.insert(hash, block);
            None
        };
        self.value_bytes += bytes;
        self.expiring += usize::from(expires);
        Ok(replaced.and_then(|block| self.retire(hash, block, lsn)))
    }

    /// Removes a key. The first value is whether it was there, the second its block, unless a snapshot still sees it.
    pub fn delete(&mut self, hash: u64, key: &[u8], lsn: Lsn, hasher: &SipHash) -> (bool, Option<Block>) {
        self.move_some(hasher);
        let removed = match self.slots.find(hash, key) {
            Some(at) => self.slots.remove(at, hasher),
            None => self.old.find(hash, key).and_then(|at| self.old.remove(at, hasher)),
        };
        self.shrink_if_sparse();
        match removed {
            None => (false, None),
            Some(block) => (true, self.retire(hash, block, lsn)),
        }
    }

    /// Looks at a few slots and drops what has expired. Called before the change of every record `lsn` while some key
    /// can expire, so that the whole shard is swept in time.
    pub fn sweep(&mut self, now: u64, lsn: Lsn, hasher: &SipHash) {
        for _ in 0..SWEEP_SLOTS.min(self.slots.capacity()) {
            self.sweep_at = (self.sweep_at + 1) & (self.slots.capacity() - 1);
            let expired = self.slots.get(self.sweep_at).is_some_and(|block| is_expired(&block, now));
            if expired && let Some(block) = self.slots.remove(self.sweep_at, hasher) {
                let hash = hasher.hash(block.key());
                drop(self.retire(hash, block, lsn));
            }
        }
    }

    /// What is left to do for a block that was taken out of the arrays: it is kept if a snapshot sees it.
    fn retire(&mut self, hash: u64, block: Block, replaced_at: Lsn) -> Option<Block> {
        self.value_bytes -= block.value_len() as u64;
        self.expiring -= usize::from(block.expires_at() != 0);
        let version = OldVersion { block, replaced_at };
        if self.snapshots.iter().any(|&snapshot| version.is_seen_by(snapshot)) {
            self.retained.entry(hash).or_default().push(version);
            return None;
        }
        Some(version.block)
    }

    /// Makes sure that a key can be inserted.
    fn make_room(&mut self, hasher: &SipHash) -> Result<()> {
        let capacity = self.slots.capacity();
        if (self.slots.used() + self.old.used() + 1) * 4 <= capacity * 3 {
            return Ok(());
        }
        match Slots::new((capacity * 2).max(FIRST_CAPACITY)) {
            Some(larger) => {
                self.move_all(hasher);
                self.replace_array(larger);
                Ok(())
            }
            // There is still the quarter that is usually left empty.
            None if self.keys() + 2 <= capacity => Ok(()),
            None => Err(Error::no_memory(capacity * 2 * size_of::<Slot>())),
        }
    }

    fn shrink_if_sparse(&mut self) {
        let capacity = self.slots.capacity();
        if self.old.used() == 0
            && capacity > FIRST_CAPACITY * 8
            && self.slots.used() * 8 < capacity
            && let Some(smaller) = Slots::new(capacity / 4)
        {
            self.replace_array(smaller);
        }
    }

    /// Begins to move to another array; `old` must be without keys.
    fn replace_array(&mut self, array: Slots) {
        self.old = std::mem::replace(&mut self.slots, array);
        self.move_at = if self.old.used() == 0 { 0 } else { self.old.first_empty() };
        self.sweep_at = 0;
    }

    fn move_some(&mut self, hasher: &SipHash) {
        if self.old.capacity() > 0 {
            self.move_until(hasher, |keys, slots| keys >= MOVE_KEYS || slots >= MOVE_SLOTS);
        }
    }

    fn move_all(&mut self, hasher: &SipHash) {
        self.move_until(hasher, |_, _| false);
    }

    /// Empties slots of the old array until it has no keys, or until `enough(keys, slots)` holds at an empty slot.
    fn move_until(&mut self, hasher: &SipHash, enough: impl Fn(usize, usize) -> bool) {
        let (mut keys, mut slots) = (0, 0);
        while self.old.used() > 0 {
            match self.old.take_leaving_gap(self.move_at) {
                Some(block) => {
                    self.slots.insert(hasher.hash(block.key()), block);
                    keys += 1;
                }
                None if enough(keys, slots) => return,
                None => {}
            }
            slots += 1;
            self.move_at = (self.move_at + 1) & (self.old.capacity() - 1);
        }
        self.old = Slots::none();
    }

    /// Begins a snapshot; every record up to `lsn` has been applied, and no later one.
    pub fn add_snapshot(&mut self, lsn: Lsn) {
        self.snapshots.push(lsn);
    }

    /// Ends a snapshot; returns what nobody sees any more, to be dropped when the lock is released.
    pub fn remove_snapshot(&mut self, lsn: Lsn) -> Retained {
        if let Some(at) = self.snapshots.iter().position(|&snapshot| snapshot == lsn) {
            self.snapshots.swap_remove(at);
        }
        if self.snapshots.is_empty() {
            return std::mem::take(&mut self.retained);
        }
        let snapshots = &self.snapshots;
        let mut unseen = Retained::new();
        self.retained.retain(|&hash, versions| {
            let gone: Vec<_> =
                versions.extract_if(.., |old| !snapshots.iter().any(|&snapshot| old.is_seen_by(snapshot))).collect();
            if !gone.is_empty() {
                unseen.insert(hash, gone);
            }
            !versions.is_empty()
        });
        unseen
    }

    /// Looks a key up as a snapshot sees it.
    pub fn get_at<R>(&self, snapshot: Lsn, hash: u64, key: &[u8], found: impl FnOnce(&Block) -> R) -> Option<R> {
        if let Some(block) = self.get(hash, key)
            && block.lsn() <= snapshot
        {
            return Some(found(&block));
        }
        let versions = self.retained.get(&hash)?;
        versions.iter().find(|old| old.is_seen_by(snapshot) && old.block.key() == key).map(|old| found(&old.block))
    }

    /// The hashes, from `from` on, that make up a stretch of about `slots` slots.
    pub fn stretch(&self, from: u64, slots: usize) -> RangeInclusive<u64> {
        self.slots.range_of_homes(from, slots)
    }

    /// Visits what a snapshot sees in a range of hashes. Whatever moves or grows between two calls, each key of the
    /// snapshot is in exactly one range.
    pub fn visit_at(
        &self,
        snapshot: Lsn,
        range: &RangeInclusive<u64>,
        hasher: &SipHash,
        mut visit: impl FnMut(&Block),
    ) {
        for array in [&self.slots, &self.old] {
            array.visit_range(range, hasher, |_, block| {
                if block.lsn() <= snapshot {
                    visit(block);
                }
            });
        }
        for (_, versions) in self.retained.range(range.clone()) {
            versions.iter().filter(|old| old.is_seen_by(snapshot)).for_each(|old| visit(&old.block));
        }
    }

    /// Panics unless the shard is consistent. `belongs` says whether a hash belongs here.
    pub fn check_invariants(&self, hasher: &SipHash, belongs: impl Fn(u64) -> bool) {
        let (mut bytes, mut expiring) = (0, 0);
        let mut count = |hash, block: &Block| {
            assert!(belongs(hash), "{:?} is in the wrong shard", block.key());
            bytes += block.value_len() as u64;
            expiring += usize::from(block.expires_at() != 0);
        };
        self.slots.check_invariants(hasher, &mut count);
        self.old.check_invariants(hasher, |hash, block| {
            assert!(self.slots.find(hash, block.key()).is_none(), "{:?} is in both arrays", block.key());
            count(hash, block);
        });
        assert_eq!((bytes, expiring), (self.value_bytes, self.expiring), "counters");
        for (&hash, versions) in &self.retained {
            for old in versions {
                assert_eq!(hash, hasher.hash(old.block.key()), "retained under the wrong hash");
                assert!(self.snapshots.iter().any(|&snapshot| old.is_seen_by(snapshot)), "retained for nobody");
            }
        }
    }
}

/// Whether a key is gone at a moment, given in Unix milliseconds.
pub fn is_expired(block: &Block, now: u64) -> bool {
    let expires_at = block.expires_at();
    expires_at != 0 && expires_at <= now
}
