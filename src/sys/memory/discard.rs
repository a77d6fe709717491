//! Freeing all that a pool has handed out, without going through millions of blocks.
//!
//! Whoever closes a store owns its arrays of slots, and those own the blocks. It is enough to look at the addresses in
//! the slots: if as many of them lie in the pool's chunks as there are blocks in use, and there are as many arrays, then
//! nobody else has any, and the chunks can be unmapped. If not, all is freed one by one, and what others have stays.

use std::ptr::NonNull;
use std::sync::Arc;

use super::Pool;
use super::chunks::Chunks;
use super::map::CHUNK;

/// Frees everything that a pool has handed out at once.
pub struct Discard<'p> {
    /// Borrowed mutably, so that nothing can be taken meanwhile.
    pub pool: &'p mut Pool,
    starts: Starts,
}

impl<'p> Discard<'p> {
    /// `None` if others have the pool, too, or memory has run out: then blocks and arrays are to be freed one by one.
    pub fn begin(pool: &'p mut Arc<Pool>) -> Option<Discard<'p>> {
        let pool = Arc::get_mut(pool)?;
        pool.stop_helper();
        let starts = Starts::new(&pool.shared().chunks.lock())?;
        Some(Discard { pool, starts })
    }

    /// Whether an address lies in the pool's chunks. What is malloc's does not.
    pub fn contains(&self, address: NonNull<u8>) -> bool {
        self.starts.contains(address)
    }

    /// Whether there are no blocks in use but these many, and no arrays.
    pub fn is_all(&self, blocks: usize, arrays: usize) -> bool {
        let shared = self.pool.shared();
        // Blocks may be freed meanwhile, but none can be allocated. So the sum is not less than what is in use
        // afterwards.
        let live: isize = shared.stripes.iter().map(|stripe| stripe.lock().live).sum();
        live == blocks as isize && shared.chunks.lock().runs == arrays
    }

    /// Unmaps everything.
    ///
    /// # Safety
    /// The caller owns all blocks and arrays of the pool, see [`is_all`](Self::is_all), and does not use them again.
    pub unsafe fn finish(self) {
        // SAFETY: the caller's word. Afterwards the pool is wholly free, so its drop frees the rest.
        unsafe { self.pool.shared().chunks.lock().unmap_all() };
    }
}

/// The chunks of a pool as a set: open addressing, 0 for nothing, at least half empty.
struct Starts {
    places: Vec<usize>,
}

impl Starts {
    /// `None` when memory has run out.
    fn new(chunks: &Chunks) -> Option<Starts> {
        let mut places = Vec::new();
        let len = (chunks.starts().count() * 2 + 1).next_power_of_two();
        places.try_reserve_exact(len).ok()?;
        places.resize(len, 0);
        let mut starts = Starts { places };
        for start in chunks.starts() {
            let at = starts.find(start);
            starts.places[at] = start.addr().get() / CHUNK;
        }
        Some(starts)
    }

    /// Whether an address lies in one of the chunks.
    fn contains(&self, address: NonNull<u8>) -> bool {
        self.places[self.find(address)] != 0
    }

    /// The place of the chunk that an address lies in, or the empty one where it would be.
    fn find(&self, address: NonNull<u8>) -> usize {
        let chunk = address.addr().get() / CHUNK;
        let mask = self.places.len() - 1;
        let mut at = ((chunk as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) as usize & mask;
        while self.places[at] != 0 && self.places[at] != chunk {
            at = (at + 1) & mask;
        }
        at
    }
}
