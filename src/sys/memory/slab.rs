//! A slab: 64 KiB, aligned to 64 KiB, with a header and blocks of one size.
//!
//! Free blocks are chained through their first bytes. Those at the end that were never used are not in the chain:
//! `fresh` is where they begin, so that a new slab touches no memory before it is needed.
//!
//! Whoever frees a block finds its slab by the address. The slab says to which stripe it belongs at the moment, and
//! that stripe's lock guards its [`State`].

use std::cell::UnsafeCell;
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicU32, Ordering};

use super::Shared;
use super::class::{self, SLAB_HEADER, UNIT};
use crate::sys::valgrind;

/// The header, at the start of the slab.
#[repr(C, align(64))]
pub struct Slab {
    /// Whose it is. As long as a block lives, so does this.
    shared: NonNull<Shared>,
    /// Index of the stripe. Changed under the lock of the stripe that it names.
    stripe: AtomicU32,
    /// The chunk that it is part of.
    chunk: u32,
    state: UnsafeCell<State>,
}

const _: () = assert!(size_of::<Slab>() == SLAB_HEADER);

/// What the lock of the stripe guards.
pub struct State {
    free: *mut FreeBlock,
    /// Offset of the blocks that were never used.
    fresh: u32,
    pub used: u32,
    class: u8,
    pub place: Place,
    /// Which of the stripe's lists it is in.
    pub part: u8,
    /// The neighbours in a list of the stripe.
    pub next: Option<NonNull<Slab>>,
    pub previous: Option<NonNull<Slab>>,
}

/// Where a slab is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Place {
    /// In its stripe's list of those with free blocks.
    Listed,
    /// In no list, for it is full.
    Full,
    /// In the hands of a thread that is about to put it into the list of its stripe.
    Moving,
}

struct FreeBlock {
    next: *mut FreeBlock,
}

impl Slab {
    /// Makes a slab of 64 KiB that nobody uses.
    ///
    /// # Safety
    /// `start` is aligned to 64 KiB and the caller's alone; `shared` lives until the slab is given up.
    pub unsafe fn init(
        start: NonNull<u8>,
        shared: NonNull<Shared>,
        stripe: u32,
        chunk: u32,
        class: usize,
    ) -> NonNull<Slab> {
        valgrind::allow_writes(start.as_ptr(), SLAB_HEADER);
        let state = State {
            free: ptr::null_mut(),
            fresh: SLAB_HEADER as u32,
            used: 0,
            class: class as u8,
            place: Place::Moving,
            part: 0,
            next: None,
            previous: None,
        };
        let slab = start.cast::<Slab>();
        // SAFETY: the caller's memory, long enough and aligned.
        unsafe { slab.write(Slab { shared, stripe: AtomicU32::new(stripe), chunk, state: UnsafeCell::new(state) }) };
        slab
    }

    /// The slab that a block lies in. It exists as long as the block is in use.
    ///
    /// # Safety
    /// `block` came from [`State::pop`] and was not freed since.
    pub unsafe fn of(block: NonNull<u8>) -> NonNull<Slab> {
        let start = block.as_ptr().map_addr(|address| address & !(UNIT - 1)).cast::<Slab>();
        // SAFETY: blocks lie behind the header of their slab, within 64 KiB.
        unsafe { NonNull::new_unchecked(start) }
    }

    /// Whose the slab is.
    pub fn shared(&self) -> NonNull<Shared> {
        self.shared
    }

    /// The chunk that it is part of.
    pub fn chunk(&self) -> u32 {
        self.chunk
    }

    /// The stripe that the slab belongs to. Only those who hold its lock can rely on it.
    pub fn stripe(&self) -> usize {
        self.stripe.load(Ordering::Relaxed) as usize
    }

    /// Makes the slab belong to another stripe. Afterwards the other's lock guards its state.
    pub fn set_stripe(&self, stripe: usize) {
        // By a swap: helgrind takes a store beside a load for a race.
        self.stripe.swap(stripe as u32, Ordering::Relaxed);
    }

    /// What the lock of the slab's stripe guards.
    ///
    /// # Safety
    /// The caller holds that lock, or nobody else knows the slab yet; and there is no other such reference.
    #[allow(clippy::mut_from_ref)]
    pub unsafe fn state(&self) -> &mut State {
        // SAFETY: the caller sees to it that nobody else has the state.
        unsafe { &mut *self.state.get() }
    }
}

impl State {
    pub fn class(&self) -> usize {
        usize::from(self.class)
    }

    /// Whether no block is free.
    pub fn is_full(&self) -> bool {
        self.free.is_null() && self.fresh as usize + class::block_size(self.class()) > UNIT
    }

    /// A free block of the slab, which is not full. Its content is undefined.
    ///
    /// # Safety
    /// `slab` is the one with this state.
    pub unsafe fn pop(&mut self, slab: NonNull<Slab>) -> NonNull<u8> {
        self.used += 1;
        if let Some(block) = NonNull::new(self.free) {
            valgrind::allow(block.as_ptr().cast(), size_of::<FreeBlock>());
            // SAFETY: what is in the chain is free memory of this slab, and holds the next one's address.
            self.free = unsafe { block.read() }.next;
            return block.cast();
        }
        assert!(!self.is_full(), "the callers look before");
        let at = self.fresh as usize;
        self.fresh += class::block_size(self.class()) as u32;
        // SAFETY: checked above to be within the slab.
        unsafe { slab.cast::<u8>().add(at) }
    }

    /// Takes a block back.
    ///
    /// # Safety
    /// The block came from [`pop`](Self::pop) of this slab and is not used any more.
    pub unsafe fn push(&mut self, block: NonNull<u8>) {
        let free = block.cast::<FreeBlock>();
        valgrind::allow_writes(block.as_ptr(), size_of::<FreeBlock>());
        // SAFETY: a block is at least this long, aligned to 8 bytes, and nobody uses it.
        unsafe { free.write(FreeBlock { next: self.free }) };
        valgrind::forbid(block.as_ptr(), size_of::<FreeBlock>());
        self.free = free.as_ptr();
        self.used -= 1;
    }
}
