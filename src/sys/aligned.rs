//! Memory that begins at a page, as reading and writing past the page cache wants it.

use std::ops::{Deref, DerefMut};
use std::ptr::{self, NonNull};
use std::slice;

/// The alignment of the memory: a page, and what [`DIRECT_ALIGN`](crate::vfs::DIRECT_ALIGN) asks for.
pub const ALIGN: usize = 4096;

/// A buffer of a fixed length, at first zeros.
pub struct AlignedBuf {
    start: NonNull<u8>,
    len: usize,
}

// SAFETY: the buffer owns its memory, which is changed only through `&mut`.
unsafe impl Send for AlignedBuf {}
// SAFETY: as above.
unsafe impl Sync for AlignedBuf {}

impl AlignedBuf {
    /// A buffer of `len` bytes; `None` when memory has run out. It costs nothing until it is used, and when it is dropped
    /// its memory is the system's again at once.
    pub fn new(len: usize) -> Option<AlignedBuf> {
        if len == 0 {
            return Some(AlignedBuf { start: NonNull::<Page>::dangling().cast(), len });
        }
        let (access, kind) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
        // SAFETY: a new mapping, of no file, at an address that the kernel chooses. It is filled with zeros.
        let start = unsafe { libc::mmap(ptr::null_mut(), len, access, kind, -1, 0) };
        if start == libc::MAP_FAILED {
            return None;
        }
        Some(AlignedBuf { start: NonNull::new(start.cast())?, len })
    }
}

/// For its alignment, which no page of memory falls short of.
#[repr(align(4096))]
struct Page;

const _: () = assert!(align_of::<Page>() == ALIGN && ALIGN.is_multiple_of(crate::vfs::DIRECT_ALIGN));

impl Deref for AlignedBuf {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: `start` points to `len` initialised bytes, or dangles when that is 0.
        unsafe { slice::from_raw_parts(self.start.as_ptr(), self.len) }
    }
}

impl DerefMut for AlignedBuf {
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `deref`, and the buffer is borrowed mutably.
        unsafe { slice::from_raw_parts_mut(self.start.as_ptr(), self.len) }
    }
}

impl Drop for AlignedBuf {
    fn drop(&mut self) {
        if self.len > 0 {
            // SAFETY: mapped in `new` with this length, and not used again.
            unsafe { libc::munmap(self.start.as_ptr().cast(), self.len) };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_begin_at_a_page() {
        for len in [0, 1, 4096, 1 << 20] {
            let mut buf = AlignedBuf::new(len).unwrap();
            assert_eq!((buf.len(), buf.as_ptr().addr() % ALIGN), (len, 0));
            assert!(buf.iter().all(|&byte| byte == 0));
            buf.fill(7);
            assert!(buf.iter().all(|&byte| byte == 7));
        }
        assert!(AlignedBuf::new(usize::MAX).is_none());
    }
}
