//! Having the cache fetch memory before it is needed.

/// Bytes of a cache line.
pub const LINE: usize = 64;

/// Has the cache fetch the line at an address, which need not be valid. Does nothing where the compiler offers no
/// instruction for it.
#[inline]
pub fn line(address: usize) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a prefetch accesses no memory as far as the program can tell, and never faults.
    unsafe {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T0>(std::ptr::without_provenance(address));
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = address;
}
