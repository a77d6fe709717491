//! Memory from the kernel, in multiples of 2 MiB that begin at a multiple of 2 MiB, so that each can be one huge page.

use std::io;
use std::ptr::{self, NonNull};

/// The size and the alignment of what is mapped.
pub const CHUNK: usize = 2 << 20;

/// `len` bytes of zeros, a multiple of [`CHUNK`]; `None` when there are none to be had.
pub fn map(len: usize) -> Option<NonNull<u8>> {
    debug_assert!(len > 0 && len.is_multiple_of(CHUNK));
    // Where the last mapping was aligned, and since Linux 6.7 always, the next one is, too.
    let start = map_anywhere(len)?;
    if start.addr().get().is_multiple_of(CHUNK) {
        return Some(start);
    }
    unmap(start, len);
    let longer = len.checked_add(CHUNK)?;
    let start = map_anywhere(longer)?;
    let before = start.align_offset(CHUNK);
    // SAFETY: `before` is less than CHUNK, and `longer` is that much more than `len`.
    let (aligned, behind) = unsafe { (start.add(before), start.add(before + len)) };
    if before > 0 {
        unmap(start, before);
    }
    if before < CHUNK {
        unmap(behind, CHUNK - before);
    }
    Some(aligned)
}

fn map_anywhere(len: usize) -> Option<NonNull<u8>> {
    let (access, kind) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
    // SAFETY: a new anonymous mapping touches no existing memory.
    let start = unsafe { libc::mmap(ptr::null_mut(), len, access, kind, -1, 0) };
    if start == libc::MAP_FAILED { None } else { NonNull::new(start.cast()) }
}

/// Gives memory back that [`map`] returned, and that nobody uses any more.
pub fn unmap(start: NonNull<u8>, len: usize) {
    // SAFETY: the callers own this memory, and do not use it again.
    let result = unsafe { libc::munmap(start.as_ptr().cast(), len) };
    debug_assert_eq!(result, 0, "{}", io::Error::last_os_error());
}

/// Asks for huge pages, of which the kernel may or may not have some.
pub fn ask_for_huge_pages(start: NonNull<u8>, len: usize) {
    // SAFETY: advice, that changes nothing about the content.
    unsafe { libc::madvise(start.as_ptr().cast(), len, libc::MADV_HUGEPAGE) };
}

/// Touches every page of new memory, so that nobody has to wait for it later. Not by `MADV_POPULATE_WRITE`, which
/// would hold the lock of the whole address space for that long; a page fault does not.
pub fn touch(start: NonNull<u8>, len: usize) {
    const SMALLEST_PAGE: usize = 4096;
    for at in (0..len).step_by(SMALLEST_PAGE) {
        // SAFETY: within memory that the caller has mapped and not handed out yet; it holds zeros. Volatile, so that
        // the write is done although it changes nothing.
        unsafe { start.add(at).write_volatile(0) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mappings_are_aligned_and_zero() {
        let maps: Vec<_> = [1, 3, 1, 2].map(|chunks| (map(chunks * CHUNK).unwrap(), chunks * CHUNK)).into();
        for (start, len) in maps {
            assert!(start.addr().get().is_multiple_of(CHUNK));
            ask_for_huge_pages(start, len);
            touch(start, len);
            // SAFETY: mapped above, and all zeros.
            assert!(unsafe { std::slice::from_raw_parts(start.as_ptr(), len) }.iter().all(|&byte| byte == 0));
            unmap(start, len);
        }
        assert!(map(usize::MAX & !(CHUNK - 1)).is_none());
    }
}
