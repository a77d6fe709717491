//! A key and its value in one block of memory, and arrays of slots that own such blocks.
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
//!
//! A [`Slot`] is a block's address (48 bits) with a 16-bit tag in the rest of the word, so that a table can rule out
//! nearly every wrong slot without touching the block.

use std::alloc::{Layout, alloc, alloc_zeroed, dealloc};
use std::fmt;
use std::marker::PhantomData;
use std::mem::ManuallyDrop;
use std::ops::{Deref, DerefMut};
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

    fn first_word(&self) -> u64 {
        // SAFETY: every block begins with this word.
        unsafe { self.start.cast::<u64>().read() }
    }

    fn lengths(&self) -> u32 {
        // SAFETY: every block has this word behind the first.
        unsafe { self.start.add(8).cast::<u32>().read() }
    }

    fn bytes(&self, from: usize, len: usize) -> &[u8] {
        // SAFETY: the callers stay within the lengths that the header gives.
        unsafe { slice::from_raw_parts(self.start.as_ptr().add(from), len) }
    }

    fn key_at(&self) -> usize {
        HEADER + if self.lengths() & EXPIRES == 0 { 0 } else { EXPIRY }
    }

    fn size(&self) -> usize {
        self.key_at() + self.key_len() + self.value_len()
    }

    fn key_len(&self) -> usize {
        (self.first_word() & 0xffff) as usize
    }

    /// Bytes of the value.
    pub fn value_len(&self) -> usize {
        (self.lengths() & !EXPIRES) as usize
    }

    /// The key.
    pub fn key(&self) -> &[u8] {
        self.bytes(self.key_at(), self.key_len())
    }

    /// The value.
    pub fn value(&self) -> &[u8] {
        self.bytes(self.key_at() + self.key_len(), self.value_len())
    }

    /// Unix time in milliseconds from which on the key is gone, 0 for never.
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

const ADDRESS: u64 = (1 << 48) - 1;

/// Either empty or the owner of a [`Block`], with a tag beside it.
pub struct Slot {
    word: u64,
}

impl Slot {
    /// A slot that owns `block`.
    pub fn new(block: Block, tag: u16) -> Slot {
        let block = ManuallyDrop::new(block);
        let address = block.start.as_ptr().expose_provenance() as u64;
        assert!(address & !ADDRESS == 0, "user space ends below 2^48 unless a program asks for more");
        Slot { word: address | u64::from(tag) << 48 }
    }

    /// Whether the slot owns nothing.
    pub fn is_empty(&self) -> bool {
        self.word == 0
    }

    /// The tag of a full slot.
    pub fn tag(&self) -> u16 {
        (self.word >> 48) as u16
    }

    /// The block, if the slot is full.
    pub fn block(&self) -> Option<BlockRef<'_>> {
        let block = ManuallyDrop::new(Block { start: address(self.word)? });
        Some(BlockRef { block, slot: PhantomData })
    }

    /// Empties the slot.
    pub fn take(&mut self) -> Option<Block> {
        let word = std::mem::take(&mut self.word);
        address(word).map(|start| Block { start })
    }
}

fn address(word: u64) -> Option<NonNull<u8>> {
    NonNull::new(std::ptr::with_exposed_provenance_mut((word & ADDRESS) as usize))
}

impl Drop for Slot {
    fn drop(&mut self) {
        drop(self.take());
    }
}

/// A [`Block`] borrowed from the [`Slot`] that owns it.
pub struct BlockRef<'a> {
    /// Never dropped here, and never handed out mutably.
    block: ManuallyDrop<Block>,
    slot: PhantomData<&'a Slot>,
}

impl Deref for BlockRef<'_> {
    type Target = Block;

    fn deref(&self) -> &Block {
        &self.block
    }
}

/// An array of slots, all empty at first. It is allocated zeroed, so that large ones cost nothing until they are used.
pub struct SlotArray {
    start: NonNull<Slot>,
    len: usize,
}

// SAFETY: the array owns its slots, and slots may be sent and shared as the blocks that they own may.
unsafe impl Send for SlotArray {}
// SAFETY: as above.
unsafe impl Sync for SlotArray {}

impl SlotArray {
    /// An array without slots and without memory.
    pub const fn empty() -> SlotArray {
        SlotArray { start: NonNull::dangling(), len: 0 }
    }

    /// An array of `len` empty slots; `None` when memory has run out.
    pub fn new(len: usize) -> Option<SlotArray> {
        if len == 0 {
            return Some(SlotArray::empty());
        }
        let layout = Layout::array::<Slot>(len).ok()?;
        // SAFETY: the layout is not empty. A slot of zeros is an empty slot.
        let start = NonNull::new(unsafe { alloc_zeroed(layout) })?;
        Some(SlotArray { start: start.cast(), len })
    }
}

impl Deref for SlotArray {
    type Target = [Slot];

    fn deref(&self) -> &[Slot] {
        // SAFETY: `start` points to `len` initialised slots, or dangles, aligned, when `len` is 0.
        unsafe { slice::from_raw_parts(self.start.as_ptr(), self.len) }
    }
}

impl DerefMut for SlotArray {
    fn deref_mut(&mut self) -> &mut [Slot] {
        // SAFETY: as in `deref`, and the array is borrowed mutably.
        unsafe { slice::from_raw_parts_mut(self.start.as_ptr(), self.len) }
    }
}

impl Drop for SlotArray {
    fn drop(&mut self) {
        if self.len == 0 {
            return;
        }
        let layout = Layout::array::<Slot>(self.len).expect("it was allocated with this layout");
        // SAFETY: the slots are initialised and not used again; the memory was allocated in `new` with this layout.
        unsafe {
            std::ptr::drop_in_place(&raw mut **self);
            dealloc(self.start.as_ptr().cast(), layout);
        }
    }
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

    #[test]
    fn a_slot_owns_its_block() {
        let mut slots = SlotArray::new(4).unwrap();
        assert!(slots.iter().all(|slot| slot.is_empty() && slot.block().is_none()));
        slots[1] = Slot::new(Block::new(b"one", b"1", 0).unwrap(), 0xbeef);
        slots[3] = Slot::new(Block::new(b"three", b"3", 0).unwrap(), 0);
        assert_eq!((slots[1].tag(), slots[1].block().unwrap().key()), (0xbeef, &b"one"[..]));
        let taken = slots[1].take().unwrap();
        assert!(slots[1].is_empty());
        drop(slots);
        assert_eq!(taken.value(), b"1");
    }
}
