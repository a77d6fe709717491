//! An open-addressing array with linear probing.
//!
//! A key's home is given by the top bits of its hash, so that the keys of a range of hashes lie side by side in an
//! array of any size; walks rely on that. A key lies at its home or behind it (cyclically), with no empty slot
//! between. Removing moves later keys back instead of leaving a mark, so that this stays true. At least one slot is
//! always empty, which ends every search.

use std::ops::RangeInclusive;

use super::hash::SipHash;
use crate::sys::block::{Block, BlockRef, Slot, SlotArray};

pub struct Slots {
    array: SlotArray,
    used: usize,
}

impl Slots {
    /// No slots at all.
    pub const fn none() -> Slots {
        Slots { array: SlotArray::empty(), used: 0 }
    }

    /// `capacity` empty slots, a power of two and at least 2; `None` when memory has run out.
    pub fn new(capacity: usize) -> Option<Slots> {
        debug_assert!(capacity.is_power_of_two() && capacity >= 2);
        Some(Slots { array: SlotArray::new(capacity)?, used: 0 })
    }

    pub fn capacity(&self) -> usize {
        self.array.len()
    }

    pub fn used(&self) -> usize {
        self.used
    }

    /// Hash bits below those that choose the home, so that they tell keys with the same home apart.
    fn tag(hash: u64) -> u16 {
        (hash >> 8) as u16
    }

    fn home(&self, hash: u64) -> usize {
        (hash >> (u64::BITS - self.array.len().trailing_zeros())) as usize
    }

    fn after(&self, at: usize) -> usize {
        (at + 1) & (self.array.len() - 1)
    }

    /// How far `at` is behind `from`, cyclically.
    fn distance(&self, from: usize, at: usize) -> usize {
        at.wrapping_sub(from) & (self.array.len() - 1)
    }

    /// Where a key is.
    pub fn find(&self, hash: u64, key: &[u8]) -> Option<usize> {
        if self.used == 0 {
            return None;
        }
        let tag = Slots::tag(hash);
        let mut at = self.home(hash);
        while let Some(block) = self.array[at].block() {
            if self.array[at].tag() == tag && block.key() == key {
                return Some(at);
            }
            at = self.after(at);
        }
        None
    }

    /// What is at `at`; `None` if the slot is empty.
    pub fn get(&self, at: usize) -> Option<BlockRef<'_>> {
        self.array[at].block()
    }

    /// Adds a key that is not there. There must be an empty slot beside the one that it takes.
    pub fn insert(&mut self, hash: u64, block: Block) {
        assert!(self.used + 1 < self.capacity(), "the shard keeps a slot empty");
        let mut at = self.home(hash);
        while !self.array[at].is_empty() {
            at = self.after(at);
        }
        self.array[at] = Slot::new(block, Slots::tag(hash));
        self.used += 1;
    }

    /// Puts a block with the same key in the place of the one at `at`.
    pub fn replace(&mut self, at: usize, block: Block) -> Option<Block> {
        let tag = self.array[at].tag();
        let replaced = self.array[at].take();
        self.array[at] = Slot::new(block, tag);
        replaced
    }

    /// Takes the key at `at` out, and closes the gap.
    pub fn remove(&mut self, at: usize, hash: &SipHash) -> Option<Block> {
        let removed = self.take_leaving_gap(at)?;
        let (mut gap, mut next) = (at, self.after(at));
        while let Some(block) = self.array[next].block() {
            let home = self.home(hash.hash(block.key()));
            if self.distance(home, next) >= self.distance(gap, next) {
                self.array.swap(gap, next);
                gap = next;
            }
            next = self.after(next);
        }
        Some(removed)
    }

    /// Takes the key at `at` out and leaves the slot empty: only for one that no later key was pushed behind.
    pub fn take_leaving_gap(&mut self, at: usize) -> Option<Block> {
        let taken = self.array[at].take();
        self.used -= usize::from(taken.is_some());
        taken
    }

    /// The first empty slot.
    pub fn first_empty(&self) -> usize {
        self.array.iter().position(Slot::is_empty).expect("a slot is always empty")
    }

    /// The hashes whose homes are the `homes` slots from that of `from` on.
    pub fn range_of_homes(&self, from: u64, homes: usize) -> RangeInclusive<u64> {
        if homes >= self.capacity() {
            return from..=u64::MAX;
        }
        let first_behind = (self.home(from) + homes) as u64;
        if first_behind >= self.capacity() as u64 {
            return from..=u64::MAX;
        }
        let shift = u64::BITS - self.capacity().trailing_zeros();
        from..=(first_behind << shift) - 1
    }

    /// Visits the keys whose hashes are in a range.
    pub fn visit_range(&self, range: &RangeInclusive<u64>, hash: &SipHash, mut visit: impl FnMut(u64, &Block)) {
        if self.used == 0 {
            return;
        }
        let (mut at, last_home) = (self.home(*range.start()), self.home(*range.end()));
        let homes = last_home - at;
        for visited in 0..self.capacity() {
            match self.array[at].block() {
                Some(block) => {
                    let hash = hash.hash(block.key());
                    if range.contains(&hash) {
                        visit(hash, &block);
                    }
                }
                // Behind the last home, an empty slot ends the run of keys that were pushed on.
                None if visited > homes => break,
                None => {}
            }
            at = self.after(at);
        }
    }

    /// Panics unless every key is where its hash says, and the count is right.
    pub fn check_invariants(&self, hash: &SipHash, mut each: impl FnMut(u64, &Block)) {
        let mut used = 0;
        for (at, slot) in self.array.iter().enumerate() {
            let Some(block) = slot.block() else { continue };
            used += 1;
            let hash = hash.hash(block.key());
            assert_eq!(slot.tag(), Slots::tag(hash), "tag of {:?}", block.key());
            assert_eq!(self.find(hash, block.key()), Some(at), "{:?} is there twice, or out of reach", block.key());
            each(hash, &block);
        }
        assert_eq!(used, self.used, "count of full slots");
        assert!(self.capacity() == 0 || used < self.capacity(), "a slot is always empty");
    }
}
