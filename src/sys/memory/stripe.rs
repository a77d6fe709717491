//! The slabs of a stripe, by the size of their blocks.
//!
//! A list holds the slabs that have free blocks, and blocks are taken from the first. A full slab is in no list; when
//! one of its blocks is freed it goes to the front. So the slabs that are being filled stay the same few, however the
//! blocks that are freed are spread, and those that are not being filled become wholly free in time: that is what keeps
//! a store small whose values change their sizes.

use std::ptr::NonNull;

use super::Shared;
use super::class::CLASSES;
#[cfg(test)]
use super::class::{UNIT, block_size};
use super::slab::{Place, Slab};
use crate::sys::valgrind;

/// What the lock of a stripe guards.
pub struct Stripe {
    lists: [Option<NonNull<Slab>>; CLASSES],
    /// Blocks allocated less blocks freed under this lock. Of use only summed over all stripes, as slabs change theirs.
    pub live: isize,
}

// SAFETY: the slabs are reached under the lock of the stripe only.
unsafe impl Send for Stripe {}

impl Stripe {
    pub const fn new() -> Stripe {
        Stripe { lists: [None; CLASSES], live: 0 }
    }

    /// A block of a class for `size` bytes, if a slab here has one.
    pub fn pop(&mut self, class: usize, size: usize) -> Option<NonNull<u8>> {
        let first = self.lists[class]?;
        // SAFETY: a slab in the list exists; its state is guarded by the lock of the stripe, which is `self`.
        let block = unsafe {
            let state = first.as_ref().state();
            let block = state.pop(first);
            if state.is_full() {
                self.unlink(first);
                first.as_ref().state().place = Place::Full;
            }
            block
        };
        self.live += 1;
        valgrind::allocated(block.as_ptr(), size, 0);
        Some(block)
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
            let state = slab.state();
            state.push(block);
            match state.place {
                // Whoever moves it will list it.
                Place::Moving => {}
                Place::Listed if state.used == 0 => {
                    self.unlink(slab.into());
                    shared.give_back(NonNull::from(slab).cast(), slab.chunk(), 0);
                }
                Place::Full if state.used == 0 => {
                    shared.give_back(NonNull::from(slab).cast(), slab.chunk(), 0);
                }
                Place::Listed => {}
                Place::Full => self.list(slab.into()),
            }
        }
    }

    /// Puts a slab that is in no list, and not full, to the front of its list.
    ///
    /// # Safety
    /// The slab is of this stripe, and exists.
    pub unsafe fn list(&mut self, slab: NonNull<Slab>) {
        // SAFETY: this stripe guards the states of the slab and of those in its lists.
        unsafe {
            let state = slab.as_ref().state();
            let list = &mut self.lists[state.class()];
            (state.place, state.previous, state.next) = (Place::Listed, None, *list);
            if let Some(next) = list.replace(slab) {
                next.as_ref().state().previous = Some(slab);
            }
        }
    }

    /// Takes a slab out of its list.
    ///
    /// # Safety
    /// It is in one of this stripe's.
    unsafe fn unlink(&mut self, slab: NonNull<Slab>) {
        // SAFETY: this stripe guards the states of the slab and of those in its lists; all three are different slabs.
        unsafe {
            let (class, next, previous) = {
                let state = slab.as_ref().state();
                (state.class(), state.next, state.previous)
            };
            match previous {
                Some(previous) => previous.as_ref().state().next = next,
                None => self.lists[class] = next,
            }
            if let Some(next) = next {
                next.as_ref().state().previous = previous;
            }
        }
    }

    /// Takes the second slab of a list, if there is one, to give it to another stripe. The first is likely to be needed
    /// here again.
    pub fn take_second(&mut self, class: usize, new_stripe: usize) -> Option<NonNull<Slab>> {
        let first = self.lists[class]?;
        // SAFETY: slabs in the list exist, and this stripe guards their states. Afterwards the other stripe does.
        unsafe {
            let second = first.as_ref().state().next?;
            self.unlink(second);
            second.as_ref().state().place = Place::Moving;
            second.as_ref().set_stripe(new_stripe);
            Some(second)
        }
    }

    /// Panics unless the lists are what they should be. For tests.
    #[cfg(test)]
    pub fn check(&self, index: usize) {
        for (class, list) in self.lists.iter().enumerate() {
            let (mut at, mut before) = (*list, None);
            while let Some(slab) = at {
                // SAFETY: slabs in the list exist, and this stripe guards their states.
                let (state, stripe) = unsafe { (slab.as_ref().state(), slab.as_ref().stripe()) };
                assert_eq!((state.class(), state.place, stripe), (class, Place::Listed, index));
                assert_eq!(state.previous, before);
                assert!(!state.is_full() && state.used > 0 && state.used as usize * block_size(class) < UNIT);
                (before, at) = (at, state.next);
            }
        }
    }
}
