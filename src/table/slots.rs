//! An open-addressing array with linear probing.
//!
//! A key's home is given by the top bits of its hash, so that the keys of a range of hashes lie side by side in an
//! array of any size; walks rely on that. A key lies at its home or behind it (cyclically), with no empty slot
//! between. Removing moves later keys back instead of leaving a mark, so that this stays true. At least one slot is
//! always empty, which ends every search.
//!
//! One thread at a time changes an array. Others may search it meanwhile: what they find was there at that moment, but
//! they can miss a key that is being moved, so that not finding one means something only if nothing moved
//! ([`Shard::find`](super::shard::Shard::find)).

use std::ops::RangeInclusive;

use super::hash::Hasher;
use crate::sys::block::Block;
use crate::sys::epoch::{Pin, Unlinked};
use crate::sys::slot::{BlockRef, Content, Slot};

/// How many slots ahead of a walk the blocks are fetched, so that waiting for one overlaps with waiting for the next.
const AHEAD: usize = 12;

/// An array, seen under a pin.
#[derive(Clone, Copy)]
pub struct Slots<'p> {
    array: &'p [Slot],
    pin: &'p Pin<'p>,
}

impl<'p> Slots<'p> {
    /// `array` is empty, or has as many slots as a power of two.
    #[inline]
    pub fn new(array: &'p [Slot], pin: &'p Pin<'p>) -> Slots<'p> {
        Slots { array, pin }
    }

    pub fn capacity(self) -> usize {
        self.array.len()
    }

    /// Hash bits below those that choose the home, so that they tell keys with the same home apart.
    #[inline]
    fn tag(hash: u64) -> u16 {
        (hash >> 8) as u16
    }

    #[inline]
    fn home(self, hash: u64) -> usize {
        (hash >> (u64::BITS - self.array.len().trailing_zeros())) as usize
    }

    #[inline]
    fn after(self, at: usize) -> usize {
        (at + 1) & (self.array.len() - 1)
    }

    /// How far `at` is behind `from`, cyclically.
    fn distance(self, from: usize, at: usize) -> usize {
        at.wrapping_sub(from) & (self.array.len() - 1)
    }

    #[inline]
    fn content(self, at: usize) -> Content<'p> {
        self.array[at].load(self.pin)
    }

    /// What is at `at`; `None` if the slot is empty.
    pub fn get(self, at: usize) -> Option<BlockRef<'p>> {
        self.content(at).block()
    }

    /// Where a key is, and its block.
    #[inline(always)]
    pub fn find(self, hash: u64, key: &[u8]) -> Option<(usize, BlockRef<'p>)> {
        if self.array.is_empty() {
            return None;
        }
        let tag = Slots::tag(hash);
        let mut at = self.home(hash);
        loop {
            let content = self.content(at);
            if content.is_empty() {
                return None;
            }
            if content.tag() == tag {
                // The value may begin in the line behind the key's.
                content.prefetch();
                if let Some(block) = content.block()
                    && block.has_key(key)
                {
                    return Some((at, block));
                }
            }
            at = self.after(at);
        }
    }

    /// Has the cache fetch the slots where a search begins.
    pub fn prefetch_slot(self, hash: u64) {
        if !self.array.is_empty() {
            self.array[self.home(hash)].prefetch();
        }
    }

    /// Has the cache fetch a block that a walk which has come to `at` needs soon.
    pub fn prefetch_ahead(self, at: usize) {
        self.content(at.wrapping_add(AHEAD) & (self.capacity() - 1)).prefetch();
    }

    /// Has the cache fetch the block that a search will most likely find, given that the slots are there already.
    pub fn prefetch_block(self, hash: u64) {
        if self.array.is_empty() {
            return;
        }
        let tag = Slots::tag(hash);
        let mut at = self.home(hash);
        loop {
            let content = self.content(at);
            if content.is_empty() {
                return;
            }
            if content.tag() == tag {
                return content.prefetch();
            }
            at = self.after(at);
        }
    }

    /// Adds a key that is not there, in an array with more than one empty slot.
    pub fn insert(self, hash: u64, block: Block) {
        let before = self.array[self.room(hash)].replace(block, Slots::tag(hash));
        debug_assert!(before.is_none(), "the slot was empty");
    }

    /// Moves a key from a slot of another array to this one.
    pub fn adopt(self, hash: u64, from: Slots<'_>, at: usize) {
        from.array[at].move_to(&self.array[self.room(hash)]);
    }

    /// The slot for a key that is not there.
    fn room(self, hash: u64) -> usize {
        let mut at = self.home(hash);
        while !self.content(at).is_empty() {
            at = self.after(at);
        }
        at
    }

    /// Puts a block with the same key in the place of the one at `at`.
    pub fn replace(self, at: usize, block: Block) -> Option<Unlinked<Block>> {
        self.array[at].replace(block, self.content(at).tag())
    }

    /// Takes the key at `at` out, and closes the gap.
    pub fn remove(self, at: usize, hash: &Hasher) -> Option<Unlinked<Block>> {
        let removed = self.array[at].take()?;
        let (mut gap, mut next) = (at, self.after(at));
        while let Some(block) = self.get(next) {
            let home = self.home(hash.hash(block.key()));
            if self.distance(home, next) >= self.distance(gap, next) {
                self.array[next].move_to(&self.array[gap]);
                gap = next;
            }
            next = self.after(next);
        }
        Some(removed)
    }

    /// The first empty slot.
    pub fn first_empty(self) -> usize {
        (0..self.capacity()).find(|&at| self.content(at).is_empty()).expect("a slot is always empty")
    }

    /// The hashes whose homes are the `homes` slots from that of `from` on.
    pub fn range_of_homes(self, from: u64, homes: usize) -> RangeInclusive<u64> {
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
    pub fn visit_range(self, range: &RangeInclusive<u64>, hash: &Hasher, mut visit: impl FnMut(u64, &Block)) {
        if self.array.is_empty() {
            return;
        }
        let (mut at, last_home) = (self.home(*range.start()), self.home(*range.end()));
        let homes = last_home - at;
        for visited in 0..self.capacity() {
            self.prefetch_ahead(at);
            match self.get(at) {
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

    /// Panics unless every key is where its hash says, and there are `used` of them.
    pub fn check_invariants(self, used: usize, hash: &Hasher, mut each: impl FnMut(u64, &Block)) {
        let mut found = 0;
        for at in 0..self.capacity() {
            let content = self.content(at);
            let Some(block) = content.block() else { continue };
            found += 1;
            let hash = hash.hash(block.key());
            assert_eq!(content.tag(), Slots::tag(hash), "tag of {:?}", block.key());
            let place = self.find(hash, block.key()).map(|(at, _)| at);
            assert_eq!(place, Some(at), "{:?} is there twice, or out of reach", block.key());
            each(hash, &block);
        }
        assert_eq!(found, used, "count of full slots");
        assert!(self.capacity() == 0 || used < self.capacity(), "a slot is always empty");
    }
}
