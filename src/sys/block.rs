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

use std::fmt;
use std::mem::ManuallyDrop;
use std::ptr::NonNull;
use std::slice;

use super::memory::{self, Pool};
use crate::format::{MAX_KEY_LEN, MAX_VALUE_LEN};

/// The largest LSN that a block can hold: a million writes a second for nine years.
pub const MAX_LSN: u64 = (1 << 48) - 1;

const HEADER: usize = 12;
const EXPIRY: usize = 8;
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
    /// Copies key and value. `expires_at` of 0 means never. `None` when memory has run out. The block is freed by its
    /// drop, and may outlive the pool.
    pub fn new(pool: &Pool, key: &[u8], value: &[u8], expires_at: u64) -> Option<Block> {
        assert!(key.len() <= MAX_KEY_LEN && value.len() <= MAX_VALUE_LEN, "lengths are checked by the callers");
        let expiry = if expires_at == 0 { 0 } else { EXPIRY };
        let start = pool.allocate(HEADER + expiry + key.len() + value.len())?;
        let lengths = value.len() as u32 | if expires_at == 0 { 0 } else { EXPIRES };
        // SAFETY: the parts lie one behind the other and together are as long as what was allocated.
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

    /// Frees many blocks faster than one by one.
    pub fn free_all(blocks: impl IntoIterator<Item = Block>) {
        const AT_ONCE: usize = 64;
        let mut some = [(NonNull::dangling(), 0); AT_ONCE];
        let mut blocks = blocks.into_iter().peekable();
        while blocks.peek().is_some() {
            let mut len = 0;
            for (place, block) in some.iter_mut().zip(&mut blocks) {
                let block = ManuallyDrop::new(block);
                *place = (block.start, block.size());
                len += 1;
            }
            // SAFETY: they were allocated in `new` with these sizes, and are never dropped.
            unsafe { memory::free_many(&mut some[..len]) };
        }
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

    /// Whether this is its key. As `key() == key`, but without a call of memcmp where the key has 16 bytes.
    #[inline(always)]
    pub fn has_key(&self, key: &[u8]) -> bool {
        if self.key_len() != key.len() {
            return false;
        }
        match (self.key().first_chunk::<16>(), key.first_chunk::<16>()) {
            (Some(own), Some(given)) if key.len() == 16 => u128::from_ne_bytes(*own) == u128::from_ne_bytes(*given),
            _ => self.key() == key,
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
        // SAFETY: allocated in `new` with the same size.
        unsafe { memory::free(self.start, self.size()) }
    }
}

impl fmt::Debug for Block {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Block").field("lsn", &self.lsn()).field("key", &self.key()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_gives_back_what_it_was_made_of() {
        let pool = Pool::new();
        for (key, value, expires_at) in
            [(&b""[..], &b""[..], 0), (b"k", b"", 7), (b"", b"value", u64::MAX), (&[7; 65535], &[9; 100_000], 0)]
        {
            let mut block = Block::new(&pool, key, value, expires_at).unwrap();
            block.set_lsn(MAX_LSN);
            assert_eq!((block.key(), block.value()), (key, value));
            assert_eq!((block.expires_at(), block.lsn(), block.value_len()), (expires_at, MAX_LSN, value.len()));
        }
    }
}
