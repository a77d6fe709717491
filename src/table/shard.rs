//! A shard of the table, changed under a lock of its own and read without.
//!
//! # Growing without stopping the world
//!
//! When the array is three quarters full, one twice as large takes its place. The keys stay in the old array, and every
//! later change moves a few of them over, run by run: a run of keys lies between two empty slots, so that a search in
//! the old array never passes over what was moved. A key is in exactly one of the two arrays; new ones go to the new
//! array. An array that is nearly empty gives way to a smaller one in the same way.
//!
//! # Reading without the lock
//!
//! A reader pins the table's epoch, so that nothing that it comes to see is freed, and searches the arrays. What it
//! finds was there when it looked. It can miss a key only because keys are being moved, or because of a batch, whose
//! keys become visible together or not at all. So `version` is counted up before the first step of such a change and
//! after the last one: it is odd meanwhile. A reader that
//!
//! - begins while it is odd, or
//! - finds nothing and sees it changed
//!
//! looks again, under the lock. So a reader waits only for a writer of the same shard that is in the middle of moving
//! keys or of a batch. This is the sequence lock of Linux ("seqlock"), with an epoch for what it does not cover.
//!
//! That batches are seen whole: the versions of all shards of a batch are odd before the first of its keys is changed. A
//! reader that has seen one of them changed finds the others' shards odd, or changed, too.
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
use std::sync::atomic::{AtomicU64, Ordering};

use super::hash::Hasher;
use super::slots::Slots;
use crate::error::{Error, Result};
use crate::format::Lsn;
use crate::sys::block::Block;
use crate::sys::epoch::{Domain, Pin, Unlinked};
use crate::sys::memory::Pool;
use crate::sys::slot::{Arrays, BlockRef, Garbage, SlotArray};
use crate::sys::sync::{Mutex, MutexGuard};

/// Slots of the first array.
const FIRST_CAPACITY: usize = 8;
/// How many keys a change moves from the old array, at least, and how many slots it looks at, at most, before it stops
/// at the next empty one.
const MOVE_KEYS: usize = 8;
const MOVE_SLOTS: usize = 64;
/// How many slots a change looks at for keys that have expired.
const SWEEP_SLOTS: usize = 4;

/// What readers look at is in front, in one cache line.
#[derive(Default)]
#[repr(C, align(64))]
pub struct Shard {
    /// Odd while keys are being moved, or a batch is under way.
    version: AtomicU64,
    /// The older one is being emptied into the newest; it is not there when nothing grows.
    arrays: Arrays,
    state: Mutex<State>,
}

/// What only those look at who hold the lock.
#[derive(Default)]
struct State {
    /// Keys in the newest array and in the older one.
    used: usize,
    used_old: usize,
    /// The next slot of the older array to be emptied; the one before it is empty.
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
    block: Unlinked<Block>,
    /// The LSN that replaced it, or with whose record it was swept.
    replaced_at: Lsn,
}

impl OldVersion {
    fn is_seen_by(&self, snapshot: Lsn) -> bool {
        self.block.lsn() <= snapshot && snapshot < self.replaced_at
    }

    /// For when no snapshot sees it any more.
    pub fn into_block(self) -> Unlinked<Block> {
        self.block
    }
}

impl Shard {
    /// The block of a key.
    #[inline(always)]
    pub fn find<'p>(&self, pin: &'p Pin<'p>, hash: u64, key: &[u8]) -> Option<BlockRef<'p>> {
        let version = self.version.load(Ordering::Acquire);
        if version.is_multiple_of(2)
            && let Some((_, block)) = self.slots(pin).find(hash, key)
        {
            return Some(block);
        }
        self.find_again(pin, version, hash, key)
    }

    /// What is left to do if a key was not in the array, or readers are held.
    #[inline(never)]
    fn find_again<'p>(&self, pin: &'p Pin<'p>, version: u64, hash: u64, key: &[u8]) -> Option<BlockRef<'p>> {
        if version.is_multiple_of(2) {
            let found = self.old(pin).find(hash, key);
            if found.is_some() || self.version.load(Ordering::Acquire) == version {
                return found.map(|(_, block)| block);
            }
        }
        let _nobody_moves = self.state.lock();
        self.find_locked(pin, hash, key)
    }

    /// The block of a key; the caller holds the lock.
    fn find_locked<'p>(&self, pin: &'p Pin<'p>, hash: u64, key: &[u8]) -> Option<BlockRef<'p>> {
        let found = self.slots(pin).find(hash, key).or_else(|| self.old(pin).find(hash, key));
        found.map(|(_, block)| block)
    }

    #[inline]
    fn slots<'p>(&self, pin: &'p Pin<'p>) -> Slots<'p> {
        Slots::new(self.arrays.newest(pin), pin)
    }

    #[inline]
    fn old<'p>(&self, pin: &'p Pin<'p>) -> Slots<'p> {
        Slots::new(self.arrays.older(pin), pin)
    }

    /// Has the cache fetch what a search for a key begins with.
    pub fn prefetch_slot(&self, pin: &Pin<'_>, hash: u64) {
        self.slots(pin).prefetch_slot(hash);
    }

    /// Has the cache fetch what a search for a key most likely ends with.
    pub fn prefetch_block(&self, pin: &Pin<'_>, hash: u64) {
        self.slots(pin).prefetch_block(hash);
    }

    /// The arrays, when nobody uses the shard any more.
    pub fn into_arrays(self) -> impl Iterator<Item = SlotArray> {
        self.arrays.into_arrays()
    }

    /// Locks the shard, to change it or to walk through it.
    pub fn lock<'a>(&'a self, pin: &'a Pin<'a>, context: Context<'a>) -> Locked<'a> {
        Locked { shard: self, state: self.state.lock(), pin, context, is_unstable: false, garbage: Vec::new() }
    }
}

/// What a shard needs of its table.
#[derive(Clone, Copy)]
pub struct Context<'a> {
    pub pool: &'a Pool,
    pub hasher: &'a Hasher,
    pub domain: &'a Domain<Garbage>,
}

/// A shard whose lock is held.
pub struct Locked<'a> {
    shard: &'a Shard,
    state: MutexGuard<'a, State>,
    pin: &'a Pin<'a>,
    context: Context<'a>,
    /// Whether the version is odd.
    is_unstable: bool,
    /// What can be freed.
    garbage: Vec<Garbage>,
}

impl<'a> Locked<'a> {
    /// Makes readers wait until the lock is released.
    pub fn hold_readers(&mut self) {
        if !self.is_unstable {
            self.is_unstable = true;
            self.shard.version.fetch_add(1, Ordering::AcqRel);
        }
    }

    /// What nobody can see any more because of the changes so far. To be dropped when the lock is released.
    pub fn take_garbage(&mut self) -> Vec<Garbage> {
        std::mem::take(&mut self.garbage)
    }

    fn slots(&self) -> Slots<'a> {
        self.shard.slots(self.pin)
    }

    fn old(&self) -> Slots<'a> {
        self.shard.old(self.pin)
    }

    pub fn keys(&self) -> usize {
        self.state.used + self.state.used_old
    }

    pub fn value_bytes(&self) -> u64 {
        self.state.value_bytes
    }

    pub fn has_expiring(&self) -> bool {
        self.state.expiring > 0
    }

    /// Makes room for so many keys in all. If there is no memory for that, the shard grows as it is filled.
    pub fn reserve(&mut self, keys: usize) {
        // A little more than the mean, for not all shards have equally many.
        let capacity = (keys + keys / 16).checked_mul(4).map(|slots| (slots / 3 + 1).next_power_of_two());
        if let Some(capacity) = capacity.filter(|&capacity| capacity > self.slots().capacity())
            && let Some(larger) = SlotArray::new(self.context.pool, capacity.max(FIRST_CAPACITY))
        {
            self.move_all();
            self.replace_array(larger);
        }
    }

    /// Sets a key; says whether it was there. Fails only when memory has run out so far that not even the slots kept in
    /// reserve are left.
    pub fn put(&mut self, hash: u64, block: Block) -> Result<bool> {
        self.move_some();
        let lsn = block.lsn();
        let (bytes, expires) = (block.value_len() as u64, block.expires_at() != 0);
        let replaced = if let Some((at, _)) = self.slots().find(hash, block.key()) {
            self.slots().replace(at, block)
        } else if let Some((at, _)) = self.old().find(hash, block.key()) {
            self.old().replace(at, block)
        } else {
            self.make_room()?;
            self.slots().insert(hash, block);
            self.state.used += 1;
            None
        };
        self.state.value_bytes += bytes;
        self.state.expiring += usize::from(expires);
        let was_there = replaced.is_some();
        if let Some(block) = replaced {
            self.put_away(hash, block, lsn);
        }
        Ok(was_there)
    }

    /// Removes a key; says whether it was there.
    pub fn delete(&mut self, hash: u64, key: &[u8], lsn: Lsn) -> bool {
        self.move_some();
        let removed = match self.slots().find(hash, key) {
            Some((at, _)) => self.remove(at),
            None => self.old().find(hash, key).and_then(|(at, _)| self.remove_old(at)),
        };
        self.shrink_if_sparse();
        let was_there = removed.is_some();
        if let Some(block) = removed {
            self.put_away(hash, block, lsn);
        }
        was_there
    }

    fn remove(&mut self, at: usize) -> Option<Unlinked<Block>> {
        self.hold_readers();
        let removed = self.slots().remove(at, self.context.hasher);
        self.state.used -= usize::from(removed.is_some());
        removed
    }

    fn remove_old(&mut self, at: usize) -> Option<Unlinked<Block>> {
        self.hold_readers();
        let removed = self.old().remove(at, self.context.hasher);
        self.state.used_old -= usize::from(removed.is_some());
        removed
    }

    /// Looks at a few slots and drops what has expired. Called before the change of every record `lsn` while some key
    /// can expire, so that the whole shard is swept in time.
    pub fn sweep(&mut self, now: u64, lsn: Lsn) {
        for _ in 0..SWEEP_SLOTS.min(self.slots().capacity()) {
            self.state.sweep_at = (self.state.sweep_at + 1) & (self.slots().capacity() - 1);
            let expired = self.slots().get(self.state.sweep_at).is_some_and(|block| is_expired(&block, now));
            if expired && let Some(block) = self.remove(self.state.sweep_at) {
                self.put_away(self.context.hasher.hash(block.key()), block, lsn);
            }
        }
    }

    /// What is left to do for a block that was taken out of the arrays: it is kept if a snapshot sees it.
    fn put_away(&mut self, hash: u64, block: Unlinked<Block>, replaced_at: Lsn) {
        self.state.value_bytes -= block.value_len() as u64;
        self.state.expiring -= usize::from(block.expires_at() != 0);
        let version = OldVersion { block, replaced_at };
        if self.state.snapshots.iter().any(|&snapshot| version.is_seen_by(snapshot)) {
            self.state.retained.entry(hash).or_default().push(version);
        } else {
            let bytes = version.block.size();
            self.retire(version.block, bytes);
        }
    }

    fn retire<T: Into<Garbage>>(&mut self, unlinked: Unlinked<T>, bytes: usize) {
        self.garbage.append(&mut self.context.domain.retire(unlinked, bytes));
    }

    /// Makes sure that a key can be inserted.
    fn make_room(&mut self) -> Result<()> {
        let capacity = self.slots().capacity();
        if (self.keys() + 1) * 4 <= capacity * 3 {
            return Ok(());
        }
        match SlotArray::new(self.context.pool, (capacity * 2).max(FIRST_CAPACITY)) {
            Some(larger) => {
                self.move_all();
                self.replace_array(larger);
                Ok(())
            }
            // There is still the quarter that is usually left empty.
            None if self.keys() + 2 <= capacity => Ok(()),
            None => Err(Error::no_memory(capacity * 2 * size_of::<u64>())),
        }
    }

    fn shrink_if_sparse(&mut self) {
        let capacity = self.slots().capacity();
        if self.state.used_old == 0
            && capacity > FIRST_CAPACITY * 8
            && self.state.used * 8 < capacity
            && let Some(smaller) = SlotArray::new(self.context.pool, capacity / 4)
        {
            self.replace_array(smaller);
        }
    }

    /// Begins to move to another array; `old` must be without keys.
    fn replace_array(&mut self, array: SlotArray) {
        self.hold_readers();
        self.drop_old();
        let outgrown = self.shard.arrays.push(array);
        debug_assert!(outgrown.is_none(), "it was dropped");
        self.state.used_old = std::mem::take(&mut self.state.used);
        self.state.sweep_at = 0;
        match self.state.used_old {
            0 => self.drop_old(),
            _ => self.state.move_at = self.old().first_empty(),
        }
    }

    fn drop_old(&mut self) {
        if let Some(array) = self.shard.arrays.take_older() {
            let bytes = array.bytes();
            self.retire(array, bytes);
        }
    }

    fn move_some(&mut self) {
        if self.old().capacity() > 0 {
            self.move_until(|keys, slots| keys >= MOVE_KEYS || slots >= MOVE_SLOTS);
        }
    }

    fn move_all(&mut self) {
        if self.old().capacity() > 0 {
            self.move_until(|_, _| false);
        }
    }

    /// Empties slots of the old array until it has no keys, or until `enough(keys, slots)` holds at an empty slot.
    fn move_until(&mut self, enough: impl Fn(usize, usize) -> bool) {
        self.hold_readers();
        let (slots, old) = (self.slots(), self.old());
        let (mut keys, mut looked_at) = (0, 0);
        while self.state.used_old > 0 {
            let at = self.state.move_at;
            old.prefetch_ahead(at);
            match old.get(at) {
                Some(block) => {
                    slots.adopt(self.context.hasher.hash(block.key()), old, at);
                    self.state.used_old -= 1;
                    self.state.used += 1;
                    keys += 1;
                }
                None if enough(keys, looked_at) => return,
                None => {}
            }
            self.state.move_at = (at + 1) & (old.capacity() - 1);
            looked_at += 1;
        }
        self.drop_old();
    }

    pub fn add_snapshot(&mut self, lsn: Lsn) {
        self.state.snapshots.push(lsn);
    }

    /// Ends a snapshot; returns what nobody sees any more.
    pub fn remove_snapshot(&mut self, lsn: Lsn) -> Retained {
        let State { snapshots, retained, .. } = &mut *self.state;
        if let Some(at) = snapshots.iter().position(|&snapshot| snapshot == lsn) {
            snapshots.swap_remove(at);
        }
        if snapshots.is_empty() {
            return std::mem::take(retained);
        }
        let mut unseen = Retained::new();
        retained.retain(|&hash, versions| {
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
        if let Some(block) = self.shard.find_locked(self.pin, hash, key)
            && block.lsn() <= snapshot
        {
            return Some(found(&block));
        }
        let versions = self.state.retained.get(&hash)?;
        versions.iter().find(|old| old.is_seen_by(snapshot) && old.block.key() == key).map(|old| found(&old.block))
    }

    /// The hashes, from `from` on, that make up a stretch of about `slots` slots.
    pub fn stretch(&self, from: u64, slots: usize) -> RangeInclusive<u64> {
        self.slots().range_of_homes(from, slots)
    }

    /// Visits what a snapshot sees in a range of hashes. Whatever moves or grows between two calls, each key of the
    /// snapshot is in exactly one range.
    pub fn visit_at(&self, snapshot: Lsn, range: &RangeInclusive<u64>, mut visit: impl FnMut(&Block)) {
        for array in [self.slots(), self.old()] {
            array.visit_range(range, self.context.hasher, |_, block| {
                if block.lsn() <= snapshot {
                    visit(block);
                }
            });
        }
        for (_, versions) in self.state.retained.range(range.clone()) {
            versions.iter().filter(|old| old.is_seen_by(snapshot)).for_each(|old| visit(&old.block));
        }
    }

    /// Panics unless the shard is consistent. `belongs` says whether a hash belongs here.
    pub fn check_invariants(&self, belongs: impl Fn(u64) -> bool) {
        let hasher = self.context.hasher;
        let (mut bytes, mut expiring) = (0, 0);
        let mut count = |hash, block: &Block| {
            assert!(belongs(hash), "{:?} is in the wrong shard", block.key());
            bytes += block.value_len() as u64;
            expiring += usize::from(block.expires_at() != 0);
        };
        self.slots().check_invariants(self.state.used, hasher, &mut count);
        self.old().check_invariants(self.state.used_old, hasher, |hash, block| {
            assert!(self.slots().find(hash, block.key()).is_none(), "{:?} is in both arrays", block.key());
            count(hash, block);
        });
        assert_eq!((bytes, expiring), (self.state.value_bytes, self.state.expiring), "counters");
        assert!(self.shard.version.load(Ordering::Acquire).is_multiple_of(2), "readers are kept waiting");
        for (&hash, versions) in &self.state.retained {
            for old in versions {
                assert_eq!(hash, hasher.hash(old.block.key()), "retained under the wrong hash");
                let seen = self.state.snapshots.iter().any(|&snapshot| old.is_seen_by(snapshot));
                assert!(seen, "retained for nobody");
            }
        }
    }
}

impl Drop for Locked<'_> {
    fn drop(&mut self) {
        if self.is_unstable {
            self.shard.version.fetch_add(1, Ordering::AcqRel);
        }
    }
}

/// Whether a key is gone at a moment, given in Unix milliseconds.
pub fn is_expired(block: &Block, now: u64) -> bool {
    let expires_at = block.expires_at();
    expires_at != 0 && expires_at <= now
}
