//! A key and its value in one block of memory.
//!
//! A [`Block`] is one pointer wide. What it points to is packed, for there is one per key:
//!
//! | bytes | what |
//! |---|---|
//! | 8 | LSN (48 bits), key length (16 bits) |
//! | 4 | value length (31 bits), whether an expiry follows (1 bit) |
//! | 8 | expiry, in Unix milliseconds; only if there is one |
//! | k | key |
//! | v | value |

use std::alloc::{Layout, alloc, dealloc};
use std::fmt;
use std::ptr::NonNull;
use std::slice;

use crate::format::{MAX_KEY_LEN, MAX_VALUE_LEN};

/// The largest LSN that a block can hold: a million writes a second for nine years.
pub const MAX_LSN: u64 = (1 << 48) - 1;

const HEADER: usize = 12;
const EXPIRY: usize = 8;
const ALIGN: usize = 8;
const EXPIRES: u32 = 1 << 31;

const _: () = assert!(MAX_KEY_LEN <= u16::MAX as usize && MAX_VALUE_LEN < EXPIRES as usize);

/// A key, its value, its expiry and the LSN that set it.
pub struct Block {
    start: NonNull<u8>,
}

// SAFETY: a block owns its memory, which is changed only through `&mut`.
unsafe impl Send for Block {}
// SAFETY: as above.
unsafe impl Sync for Block {}

impl Block {
    /// Copies key and value. `expires_at` of 0 means never. `None` when memory has run out.
    pub fn new(key: &[u8], value: &[u8], expires_at: u64) -> Option<Block> {
        assert!(key.len() <= MAX_KEY_LEN && value.len() <= MAX_VALUE_LEN, "lengths are checked by the callers");
        let expiry = if expires_at == 0 { 0 } else { EXPIRY };
        let layout = layout(HEADER + expiry + key.len() + value.len());
        // SAFETY: the layout is not empty.
        let start = NonNull::new(unsafe { alloc(layout) })?;
        let lengths = value.len() as u32 | if expires_at == 0 { 0 } else { EXPIRES };
        // SAFETY: the parts lie one behind the other and together are as long as the layout.
        unsafe {
            let mut at = start.as_ptr();
            at.cast::<u64>().write(key.len() as u64);
            at.add(8).cast::<u32>().write(lengths);
            at = at.add(HEADER);
            at.copy_from_nonoverlapping(expires_at.to_ne_bytes().as_ptr(), expiry);
            at = at.add(expiry);
            at.copy_from_nonoverlapping(key.as_ptr(), key.len());
            at.add(key.len()).copy_from_nonoverlapping(value.as_ptr(), value.len());
        }
        Some(Block { start })
    }

    /// Where it is. Whoever keeps this and forgets the block can make it again.
    pub(super) fn start(&self) -> NonNull<u8> {
        self.start
    }

    /// # Safety
    /// `start` is that of a block that was forgotten. The two are one: only one of all that are made of it may be dropped,
    /// and while it is shared nobody may change it.
    pub(super) unsafe fn from_start(start: NonNull<u8>) -> Block {
        Block { start }
    }

    #[inline]
    fn first_word(&self) -> u64 {
        // SAFETY: every block begins with this word.
        unsafe { self.start.cast::<u64>().read() }
    }

    #[inline]
    fn lengths(&self) -> u32 {
        // SAFETY: every block has this word behind the first.
        unsafe { self.start.add(8).cast::<u32>().read() }
    }

    #[inline]
    fn bytes(&self, from: usize, len: usize) -> &[u8] {
        // SAFETY: the callers stay within the lengths that the header gives.
        unsafe { slice::from_raw_parts(self.start.as_ptr().add(from), len) }
    }

    #[inline]
    fn key_at(&self) -> usize {
        HEADER + if self.lengths() & EXPIRES == 0 { 0 } else { EXPIRY }
    }

    /// Bytes of all of it.
    pub fn size(&self) -> usize {
        self.key_at() + self.key_len() + self.value_len()
    }

    #[inline]
    fn key_len(&self) -> usize {
        (self.first_word() & 0xffff) as usize
    }

    /// Bytes of the value.
    #[inline]
    pub fn value_len(&self) -> usize {
        (self.lengths() & !EXPIRES) as usize
    }

    /// The key.
    #[inline]
    pub fn key(&self) -> &[u8] {
        self.bytes(self.key_at(), self.key_len())
    }

    /// Whether this is its key. As `key() == key`, but without the call of memcmp for the usual lengths.
    #[inline]
    pub fn has_key(&self, key: &[u8]) -> bool {
        let own = self.key();
        if own.len() != key.len() {
            return false;
        }
        match (own.first_chunk::<8>(), own.last_chunk::<8>(), key.first_chunk::<8>(), key.last_chunk::<8>()) {
            (Some(first), Some(last), Some(key_first), Some(key_last)) if key.len() <= 16 => {
                first == key_first && last == key_last
            }
            _ => own == key,
        }
    }

    /// The value.
    #[inline]
    pub fn value(&self) -> &[u8] {
        self.bytes(self.key_at() + self.key_len(), self.value_len())
    }

    /// Unix time in milliseconds from which on the key is gone, 0 for never.
    #[inline]
    pub fn expires_at(&self) -> u64 {
        if self.lengths() & EXPIRES == 0 {
            return 0;
        }
        // SAFETY: the flag says that the expiry is there.
        u64::from_ne_bytes(unsafe { self.start.add(HEADER).cast::<[u8; EXPIRY]>().read() })
    }

    /// The LSN of the record that set the key; 0 until [`set_lsn`](Self::set_lsn).
    pub fn lsn(&self) -> u64 {
        self.first_word() >> 16
    }

    /// Notes the LSN of the record that sets the key.
    pub fn set_lsn(&mut self, lsn: u64) {
        assert!(lsn <= MAX_LSN, "the writer hands out no larger LSN");
        let word = lsn << 16 | self.key_len() as u64;
        // SAFETY: every block begins with this word, and it is borrowed mutably.
        unsafe { self.start.cast::<u64>().write(word) }
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        // SAFETY: allocated in `new` with the same layout.
        unsafe { dealloc(self.start.as_ptr(), layout(self.size())) }
    }
}

impl fmt::Debug for Block {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Block").field("lsn", &self.lsn()).field("key", &self.key()).finish_non_exhaustive()
    }
}

fn layout(size: usize) -> Layout {
    Layout::from_size_align(size, ALIGN).expect("key and value are far below the address space")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_gives_back_what_it_was_made_of() {
        for (key, value, expires_at) in
            [(&b""[..], &b""[..], 0), (b"k", b"", 7), (b"", b"value", u64::MAX), (&[7; 65535], &[9; 100_000], 0)]
        {
            let mut block = Block::new(key, value, expires_at).unwrap();
            block.set_lsn(MAX_LSN);
            assert_eq!((block.key(), block.value()), (key, value));
            assert_eq!((block.expires_at(), block.lsn(), block.value_len()), (expires_at, MAX_LSN, value.len()));
        }
    }
}
