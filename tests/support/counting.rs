//! The system's allocator, counted: how much memory there is in all, how much there was at most, and the largest piece
//! that anybody asked for. It does not see what the store maps from the kernel; [`mapped`] does.

// The one thing of its kind that tests need: an allocator can only be written so.
#![allow(unsafe_code)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// To be made the `#[global_allocator]`.
pub struct Counting;

static NOW: AtomicUsize = AtomicUsize::new(0);
static MOST: AtomicUsize = AtomicUsize::new(0);
static LARGEST: AtomicUsize = AtomicUsize::new(0);

/// What was allocated while something ran.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Allocated {
    /// At most, beyond what there was before.
    pub most: usize,
    /// In one piece.
    pub largest: usize,
}

/// Runs something, and says what was allocated meanwhile.
pub fn while_running<R>(run: impl FnOnce() -> R) -> (R, Allocated) {
    let before = NOW.load(Relaxed);
    MOST.store(before, Relaxed);
    LARGEST.store(0, Relaxed);
    let result = run();
    (result, Allocated { most: MOST.load(Relaxed) - before, largest: LARGEST.load(Relaxed) })
}

/// The most bytes that this process ever had mapped, from `/proc`.
pub fn mapped() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").expect("this is Linux");
    let line = status.lines().find_map(|line| line.strip_prefix("VmPeak:")).expect("it says so");
    line.trim().trim_end_matches(" kB").parse::<usize>().expect("a number") << 10
}

fn add(size: usize) {
    let now = NOW.fetch_add(size, Relaxed) + size;
    MOST.fetch_max(now, Relaxed);
    LARGEST.fetch_max(size, Relaxed);
}

// SAFETY: all of it is done by the system's allocator; the counters do not allocate.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        add(layout.size());
        // SAFETY: the caller keeps to the contract, which is the same.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        add(layout.size());
        // SAFETY: as above.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, start: *mut u8, layout: Layout) {
        NOW.fetch_sub(layout.size(), Relaxed);
        // SAFETY: as above.
        unsafe { System.dealloc(start, layout) }
    }

    unsafe fn realloc(&self, start: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        add(size);
        NOW.fetch_sub(layout.size(), Relaxed);
        // SAFETY: as above.
        unsafe { System.realloc(start, layout, size) }
    }
}
