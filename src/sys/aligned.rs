//! Memory that begins at a page, as reading and writing past the page cache wants it.

use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;
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
    /// A buffer of `len` bytes; `None` when memory has run out.
    pub fn new(len: usize) -> Option<AlignedBuf> {
        if len == 0 {
            return Some(AlignedBuf { start: NonNull::<Page>::dangling().cast(), len });
        }
        // SAFETY: the layout is not empty.
        let start = NonNull::new(unsafe { alloc_zeroed(layout(len)?) })?;
        Some(AlignedBuf { start, len })
    }
}

/// For its alignment.
#[repr(align(4096))]
struct Page;

const _: () = assert!(align_of::<Page>() == ALIGN && ALIGN.is_multiple_of(crate::vfs::DIRECT_ALIGN));

fn layout(len: usize) -> Option<Layout> {
    Layout::from_size_align(len, ALIGN).ok()
}

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
            let layout = layout(self.len).expect("it was allocated with this layout");
            // SAFETY: allocated in `new` with this layout, and not used again.
            unsafe { dealloc(self.start.as_ptr(), layout) };
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
