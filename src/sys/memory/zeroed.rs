//! Memory for arrays: it holds zeros.
//!
//! Below 64 KiB from malloc, up to 2 MiB a run of units, and above that mapped for itself, with huge pages.

use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::ptr::NonNull;

use super::class::UNIT;
use super::map::{self, CHUNK};
use super::{Discard, Pool, Shared};
use crate::sys::valgrind;

/// Aligned to a cache line.
const ALIGN: usize = 64;

/// Some bytes, all zero at first.
#[derive(Debug)]
pub struct Zeroed {
    start: NonNull<u8>,
    len: usize,
    source: Source,
}

#[derive(Debug)]
enum Source {
    Nothing,
    Heap,
    Run { shared: NonNull<Shared>, chunk: u32 },
    Map,
}

// SAFETY: the memory belongs to the value alone, and what the pool shares is made to be used by several threads.
unsafe impl Send for Zeroed {}
// SAFETY: as above; through a shared reference nothing is changed.
unsafe impl Sync for Zeroed {}

impl Zeroed {
    /// No memory.
    pub const fn empty() -> Zeroed {
        Zeroed { start: NonNull::<u64>::dangling().cast(), len: 0, source: Source::Nothing }
    }

    /// `len` bytes, aligned to 64; `None` when memory has run out.
    pub fn new(pool: &Pool, len: usize) -> Option<Zeroed> {
        if len == 0 {
            return Some(Zeroed::empty());
        }
        if len < UNIT {
            let layout = Layout::from_size_align(len, ALIGN).ok()?;
            // SAFETY: the layout is not empty.
            let start = NonNull::new(unsafe { alloc_zeroed(layout) })?;
            return Some(Zeroed { start, len, source: Source::Heap });
        }
        let (start, source) = if len <= CHUNK {
            let run = pool.take(order(len))?;
            pool.shared().chunks.lock().runs += 1;
            if !run.is_zero {
                valgrind::allow_writes(run.start.as_ptr(), len);
                // SAFETY: the run is at least so long, and nobody uses it.
                unsafe { run.start.write_bytes(0, len) };
            }
            (run.start, Source::Run { shared: pool.shared, chunk: run.chunk })
        } else {
            let mapped = mapped_len(len)?;
            let start = map::map(mapped)?;
            map::ask_for_huge_pages(start, mapped);
            (start, Source::Map)
        };
        valgrind::allocated_zeroed(start.as_ptr(), len, 0);
        Some(Zeroed { start, len, source })
    }

    /// Where it begins. Dangling, but aligned, if it is empty.
    pub fn start(&self) -> NonNull<u8> {
        self.start
    }

    /// How many bytes there are.
    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether it is in the chunks of a pool.
    pub fn is_of(&self, discard: &Discard<'_>) -> bool {
        matches!(self.source, Source::Run { shared, .. } if shared == discard.pool.shared)
    }

    /// Lets go of memory that is freed together with its pool.
    pub fn leave_to(mut self, discard: &Discard<'_>) {
        if self.is_of(discard) {
            valgrind::freed(self.start.as_ptr(), 0);
            self.source = Source::Nothing;
        }
    }
}

/// The run that holds `len` bytes.
fn order(len: usize) -> usize {
    len.div_ceil(UNIT).next_power_of_two().ilog2() as usize
}

fn mapped_len(len: usize) -> Option<usize> {
    len.checked_next_multiple_of(CHUNK)
}

impl Drop for Zeroed {
    fn drop(&mut self) {
        let (start, len) = (self.start, self.len);
        match self.source {
            Source::Nothing => {}
            // SAFETY: allocated in `new` with this layout, and not used any more.
            Source::Heap => unsafe { dealloc(start.as_ptr(), Layout::from_size_align_unchecked(len, ALIGN)) },
            Source::Run { shared, chunk } => {
                valgrind::freed(start.as_ptr(), 0);
                // SAFETY: what the pool shares stays as long as a run is out.
                let shared = unsafe { shared.as_ref() };
                let mut chunks = shared.chunks.lock();
                chunks.runs -= 1;
                chunks.give_back(start, chunk, order(len));
                chunks.wake_helper_if_needed();
            }
            Source::Map => {
                valgrind::freed(start.as_ptr(), 0);
                map::unmap(start, mapped_len(len).expect("it was mapped"));
            }
        }
    }
}
