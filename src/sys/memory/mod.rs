//! The memory of a table: blocks of a few bytes to a few KiB, and arrays of slots.
//!
//! malloc would do, but for three things. It adds 8 to 24 bytes to each block, and there is one per key. It does not
//! give memory back when the sizes change that a store's values have. And it knows nothing of huge pages, which make
//! lookups in a large table up to twice as fast.
//!
//! # From the bottom up
//!
//! - [`map`]: 2 MiB at a time, aligned to 2 MiB, from the kernel.
//! - [`chunks`]: such a chunk is handed out in runs of 64 KiB units, and unmapped when it is wholly free again.
//! - [`helper`]: a thread of a large pool that maps chunks, and touches them, before they are needed.
//! - [`slab`]: a unit with blocks of one [`class`](mod@class) of size.
//! - [`stripe`]: a lock, and slabs of each class. A thread takes blocks from whichever stripe is free, beginning with
//!   one of its own; a block goes back to the stripe that its slab belongs to. Before a new slab is made, one with free
//!   blocks is taken over from another stripe, so that what one thread freed another can use.
//! - [`discard`]: everything freed at once.
//! - [`zeroed`]: memory for arrays: from malloc, from a run, or mapped for itself, as it is small, large or huge.
//!
//! Blocks above 8 KiB are malloc's, which maps large ones for themselves. Whoever frees a block tells its size, so it is
//! known where it belongs.
//!
//! # Invariants
//!
//! 1. A slab with a block in use is not given back, and a chunk with a unit in use is not unmapped. A slab without one
//!    is given back at once.
//! 2. The state of a slab is touched under the lock of the stripe that it names, or by who alone knows it.
//! 3. Locks are taken in this order: one stripe, then the chunks. The helper holds neither while it maps or touches.
//! 4. A [`Pool`] that is dropped while something of it is in use leaves all memory as it is, for ever: so blocks need
//!    not keep it alive, and are one pointer wide.

mod chunks;
mod class;
mod discard;
mod helper;
mod map;
mod slab;
mod stripe;
mod zeroed;

#[cfg(test)]
mod tests;

use std::alloc::{Layout, alloc, dealloc};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicUsize, Ordering};

use self::chunks::{Chunks, Run};
pub use self::discard::Discard;
use self::slab::Slab;
use self::stripe::Stripe;
pub use self::zeroed::Zeroed;
use super::sync::{Mutex, MutexGuard};
use super::thread::{self, Thread};
use super::valgrind;

/// How many stripes there are: few, for each has a slab of its own for each size in use.
const STRIPES: usize = 4;
/// On valgrind each block is followed by that many bytes that are nobody's, so that it sees who goes too far.
const REDZONE: usize = 16;
/// The largest block that is ours.
const MAX_SMALL: usize = class::LARGEST - REDZONE;
/// What malloc aligns to, and we, too.
const ALIGN: usize = 8;

/// The memory of one table.
pub struct Pool {
    /// From a box. Freed when the pool is dropped, unless something of it is in use.
    shared: NonNull<Shared>,
    helper: Mutex<Option<Thread>>,
}

// SAFETY: all that can be reached from here is behind locks, or never changes.
unsafe impl Send for Pool {}
// SAFETY: as above.
unsafe impl Sync for Pool {}

/// What slabs and arrays refer to.
pub struct Shared {
    stripes: [Mutex<Stripe>; STRIPES],
    chunks: Mutex<Chunks>,
    /// How many entries the table of chunks has.
    table_len: AtomicUsize,
    redzone: usize,
}

impl Default for Pool {
    fn default() -> Pool {
        Pool::new()
    }
}

impl Pool {
    /// An empty pool.
    pub fn new() -> Pool {
        let shared = Shared {
            stripes: std::array::from_fn(|_| Mutex::new(Stripe::new())),
            chunks: Mutex::new(Chunks::new()),
            table_len: AtomicUsize::new(1),
            redzone: if valgrind::is_running() { REDZONE } else { 0 },
        };
        Pool { shared: NonNull::from(Box::leak(Box::new(shared))), helper: Mutex::new(None) }
    }

    fn shared(&self) -> &Shared {
        // SAFETY: freed by the pool's drop only.
        unsafe { self.shared.as_ref() }
    }

    /// `size` bytes, at least 1, aligned to 8, of undefined content; `None` when memory has run out.
    pub fn allocate(&self, size: usize) -> Option<NonNull<u8>> {
        if size > MAX_SMALL {
            let layout = Layout::from_size_align(size, ALIGN).ok()?;
            // SAFETY: the layout is not empty.
            return NonNull::new(unsafe { alloc(layout) });
        }
        let shared = self.shared();
        let class = class::of_size(size + shared.redzone);
        let (mut stripe, index) = shared.lock_any();
        if let Some(block) = stripe.pop(class, size) {
            return Some(block);
        }
        drop(stripe);
        let slab = shared.take_over(class, index).or_else(|| self.new_slab(class, index))?;
        stripe = shared.lock(index);
        // SAFETY: the slab is of this stripe and in no list: it was taken over for it, or made. It is the one to take the
        // block from: others may have freed all of its blocks, and no slab in a list is wholly free.
        Some(unsafe {
            stripe.list(shared, slab);
            stripe.pop_from(slab, size)
        })
    }

    fn new_slab(&self, class: usize, stripe: usize) -> Option<NonNull<Slab>> {
        let run = self.take(0)?;
        // SAFETY: one unit, which is ours alone; `shared` lives as long as one is taken.
        Some(unsafe { Slab::init(run.start, self.shared, stripe as u32, run.chunk, class) })
    }

    /// Takes a run of units.
    fn take(&self, order: usize) -> Option<Run> {
        let mut chunks = self.shared().chunks.lock();
        let run = chunks.take(order);
        self.shared().note_table_len(&chunks);
        chunks.wake_helper_if_needed();
        if chunks.wants_helper() {
            drop(chunks);
            self.start_helper();
        }
        run
    }

    /// Bytes that are mapped: in use, free, or kept in reserve. Without what is malloc's.
    #[cfg(test)]
    pub fn mapped_bytes(&self) -> usize {
        self.shared().chunks.lock().mapped_bytes()
    }
}

/// Frees what [`Pool::allocate`] returned.
///
/// # Safety
/// `block` was allocated with this size, and nobody uses it any more.
pub unsafe fn free(block: NonNull<u8>, size: usize) {
    if size > MAX_SMALL {
        // SAFETY: `allocate` made it with this layout.
        unsafe { dealloc(block.as_ptr(), Layout::from_size_align_unchecked(size, ALIGN)) };
        return;
    }
    // SAFETY: the block is in use, so its slab exists, and what the slab belongs to. The stripe is locked.
    unsafe {
        let slab = Slab::of(block).as_ref();
        let shared = slab.shared().as_ref();
        shared.lock_stripe_of(slab).push(shared, block);
    }
}

/// Frees many blocks, with their sizes, and takes each lock once, or hardly more often.
///
/// # Safety
/// As for [`free`], for each block.
pub unsafe fn free_many(blocks: &mut [(NonNull<u8>, usize)]) {
    let mut left = blocks;
    while let Some(&mut (first, size)) = left.first_mut() {
        if size > MAX_SMALL {
            // SAFETY: the caller's word; it is not looked at again.
            unsafe { free(first, size) };
            left = &mut left[1..];
            continue;
        }
        // SAFETY: blocks not freed yet are in use, so their slabs exist, and what those belong to. The stripe is locked,
        // and only its blocks are freed; they are put behind the others, and not looked at again.
        let others = unsafe {
            let slab = Slab::of(first).as_ref();
            let shared = slab.shared();
            let mut stripe = shared.as_ref().lock_stripe_of(slab);
            let index = slab.stripe();
            let mut others = 0;
            for at in 0..left.len() {
                let (block, size) = left[at];
                let is_here = size <= MAX_SMALL && {
                    let slab = Slab::of(block).as_ref();
                    slab.shared() == shared && slab.stripe() == index
                };
                if is_here {
                    stripe.push(shared.as_ref(), block);
                } else {
                    left.swap(others, at);
                    others += 1;
                }
            }
            others
        };
        left = &mut left[..others];
    }
}

impl Shared {
    /// Locks a stripe: the thread's own, or another if that one is held.
    fn lock_any(&self) -> (MutexGuard<'_, Stripe>, usize) {
        let own = (thread::pointer().wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) as usize;
        for at in own..own + STRIPES {
            let at = at % STRIPES;
            if let Some(stripe) = self.stripes[at].try_lock() {
                return (stripe, at);
            }
        }
        (self.lock(own % STRIPES), own % STRIPES)
    }

    fn lock(&self, index: usize) -> MutexGuard<'_, Stripe> {
        // It is held for some 20 ns.
        self.stripes[index].lock_soon()
    }

    fn lock_stripe_of(&self, slab: &Slab) -> MutexGuard<'_, Stripe> {
        loop {
            let index = slab.stripe();
            let stripe = self.lock(index);
            if slab.stripe() == index {
                return stripe;
            }
        }
    }

    /// Takes a slab with free blocks over from another stripe.
    fn take_over(&self, class: usize, index: usize) -> Option<NonNull<Slab>> {
        (1..STRIPES).find_map(|distance| self.lock((index + distance) % STRIPES).take_second(class, index))
    }

    /// In which of so many parts of the table a chunk is, about.
    fn part_of(&self, chunk: u32, parts: usize) -> usize {
        (chunk as usize * parts / self.table_len.load(Ordering::Relaxed)).min(parts - 1)
    }

    fn note_table_len(&self, chunks: &Chunks) {
        let len = chunks.table_len().max(1);
        if self.table_len.load(Ordering::Relaxed) != len {
            // By a swap: helgrind takes a store beside a load for a race.
            self.table_len.swap(len, Ordering::Relaxed);
        }
    }

    fn give_back(&self, start: NonNull<u8>, chunk: u32, order: usize) {
        let mut chunks = self.chunks.lock();
        chunks.give_back(start, chunk, order);
        self.note_table_len(&chunks);
        chunks.wake_helper_if_needed();
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.stop_helper();
        let shared = self.shared();
        // Nobody can take anything any more: that needs the pool. So what is free now stays free.
        if !shared.chunks.lock().is_wholly_free() {
            return;
        }
        // Whoever freed the last block may still hold the lock of its stripe.
        shared.stripes.iter().for_each(|stripe| drop(stripe.lock()));
        // SAFETY: nothing is in use, and neither slabs nor arrays are left that refer to `shared`, which was a box; the
        // threads that gave the last ones back are done with its locks.
        unsafe {
            shared.chunks.lock().unmap_all();
            drop(Box::from_raw(self.shared.as_ptr()));
        }
    }
}
