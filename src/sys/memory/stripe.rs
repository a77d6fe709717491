//! The slabs of a stripe, by the size of their blocks.
//!
//! Lists hold the slabs that have free blocks. A full slab is in no list; when one of its blocks is freed it goes to the
//! front of one. A slab that is wholly free is given back.
//!
//! A store's values change their sizes, and then most slabs of a size should become wholly free, and their chunks with
//! them. They only do if what is still allocated of that size does not go into all of them. So there is a list for each
//! sixteenth of the pool, by the place of the chunk in the table, and blocks are taken from the first list that is not
//! empty: towards the end of the table everything falls free.

use std::ptr::NonNull;

use super::Shared;
use super::class::CLASSES;
#[cfg(test)]
use super::class::{UNIT, block_size};
use super::slab::{Place, Slab};
use crate::sys::valgrind;

/// How many parts of the pool have lists of their own.
const PARTS: usize = 16;

/// What the lock of a stripe guards.
pub struct Stripe {
    classes: [Lists; CLASSES],
    /// Blocks allocated less blocks freed under this lock. Of use only summed over all stripes, as slabs change theirs.
    pub live: isize,
}

/// The slabs of a class that have free blocks.
struct Lists {
    /// A bit for each list.
    not_empty: u16,
    first: [Option<NonNull<Slab>>; PARTS],
}

const _: () = assert!(PARTS == u16::BITS as usize);

impl Lists {
    /// The slab to take blocks from.
    fn best(&self) -> Option<NonNull<Slab>> {
        *self.first.get(self.not_empty.trailing_zeros() as usize)?
    }

    fn set_first(&mut self, part: usize, slab: Option<NonNull<Slab>>) {
        self.first[part] = slab;
        self.not_empty = self.not_empty & !(1 << part) | u16::from(slab.is_some()) << part;
    }
}

// SAFETY: the slabs are reached under the lock of the stripe only.
unsafe impl Send for Stripe {}

impl Stripe {
    pub const fn new() -> Stripe {
        Stripe { classes: [const { Lists { not_empty: 0, first: [None; PARTS] } }; CLASSES], live: 0 }
    }

    /// A block of a class for `size` bytes, if a slab here has one.
    pub fn pop(&mut self, class: usize, size: usize) -> Option<NonNull<u8>> {
        let best = self.classes[class].best()?;
        // SAFETY: a slab in a list exists, and is not full.
        Some(unsafe { self.pop_from(best, size) })
    }

    /// A block of this slab for `size` bytes.
    ///
    /// # Safety
    /// The slab is in a list of this stripe.
    pub unsafe fn pop_from(&mut self, slab: NonNull<Slab>, size: usize) -> NonNull<u8> {
        // SAFETY: a slab in a list exists; its state is guarded by the lock of the stripe, which is `self`.
        let block = unsafe {
            let state = slab.as_ref().state();
            let block = state.pop(slab);
            if state.is_full() {
                self.unlink(slab);
                slab.as_ref().state().place = Place::Full;
            }
            block
        };
        self.live += 1;
        valgrind::allocated(block.as_ptr(), size, 0);
        block
    }

    /// Takes a block back.
    ///
    /// # Safety
    /// The block came from [`pop`](Self::pop), and is not used any more; its slab is of this stripe, whose lock is held,
    /// and `shared` is what the slab belongs to.
    pub unsafe fn push(&mut self, shared: &Shared, block: NonNull<u8>) {
        valgrind::freed(block.as_ptr(), 0);
        self.live -= 1;
        // SAFETY: the block is one in use, by the caller's word; so its slab exists, and this stripe guards its state.
        unsafe {
            let slab = Slab::of(block);
            let state = slab.as_ref().state();
            state.push(block);
            match state.place {
                // Whoever moves it will list it.
                Place::Moving => {}
                place if state.used == 0 => {
                    let chunk = slab.as_ref().chunk();
                    if place == Place::Listed {
                        self.unlink(slab);
                    }
                    shared.give_back(slab.cast(), chunk, 0);
                }
                Place::Listed => {}
                Place::Full => self.list(shared, slab),
            }
        }
    }

    /// Puts a slab that is in no list, and not full, to the front of one.
    ///
    /// # Safety
    /// The slab is of this stripe, and exists.
    pub unsafe fn list(&mut self, shared: &Shared, slab: NonNull<Slab>) {
        // SAFETY: this stripe guards the states of the slab and of those in its lists.
        unsafe {
            let part = shared.part_of(slab.as_ref().chunk(), PARTS);
            let state = slab.as_ref().state();
            let lists = &mut self.classes[state.class()];
            let next = lists.first[part];
            (state.place, state.part, state.previous, state.next) = (Place::Listed, part as u8, None, next);
            if let Some(next) = next {
                next.as_ref().state().previous = Some(slab);
            }
            lists.set_first(part, Some(slab));
        }
    }

    /// Takes a slab out of its list.
    ///
    /// # Safety
    /// It is in one of this stripe's.
    unsafe fn unlink(&mut self, slab: NonNull<Slab>) {
        // SAFETY: this stripe guards the states of the slab and of those in its lists; all three are different slabs.
        unsafe {
            let (class, part, next, previous) = {
                let state = slab.as_ref().state();
                (state.class(), usize::from(state.part), state.next, state.previous)
            };
            match previous {
                Some(previous) => previous.as_ref().state().next = next,
                None => self.classes[class].set_first(part, next),
            }
            if let Some(next) = next {
                next.as_ref().state().previous = previous;
            }
        }
    }

    /// Takes a slab with free blocks out, to give it to another stripe: not the first of all, which is likely to be
    /// needed here again.
    pub fn take_second(&mut self, class: usize, new_stripe: usize) -> Option<NonNull<Slab>> {
        let lists = &self.classes[class];
        let first = lists.best()?;
        let other_part = lists.not_empty & (lists.not_empty - 1);
        // SAFETY: slabs in a list exist, and this stripe guards their states. Afterwards the other stripe does.
        unsafe {
            let second = match first.as_ref().state().next {
                Some(second) => second,
                None => (*lists.first.get(other_part.trailing_zeros() as usize)?)?,
            };
            self.unlink(second);
            second.as_ref().state().place = Place::Moving;
            second.as_ref().set_stripe(new_stripe);
            Some(second)
        }
    }

    /// Panics unless the lists are what they should be. For tests.
    #[cfg(test)]
    pub fn check(&self, index: usize) {
        for (class, part) in (0..CLASSES).flat_map(|class| (0..PARTS).map(move |part| (class, part))) {
            let lists = &self.classes[class];
            let (mut at, mut before) = (lists.first[part], None);
            assert_eq!(at.is_some(), lists.not_empty & 1 << part != 0);
            while let Some(slab) = at {
                // SAFETY: slabs in the list exist, and this stripe guards their states.
                let (state, stripe) = unsafe { (slab.as_ref().state(), slab.as_ref().stripe()) };
                assert_eq!((state.class(), usize::from(state.part), state.place), (class, part, Place::Listed));
                assert_eq!(stripe, index);
                assert_eq!(state.previous, before);
                assert!(!state.is_full() && state.used > 0 && state.used as usize * block_size(class) < UNIT);
                (before, at) = (at, state.next);
            }
        }
    }
}
