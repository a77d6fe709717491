//! Slots that own [`Block`]s, in arrays that one thread at a time changes while others read without a lock.
//!
//! A [`Slot`] is one word: a block's address (48 bits) with a 16-bit tag in the rest, so that a table can rule out
//! nearly every wrong slot without touching the block. An [`ArrayCell`] is one word, too: an array's address with the
//! logarithm of its length. Both are changed by atomic exchange alone, so that ownership moves whole, whoever else is
//! at work; what is exchanged out is [`Unlinked`], and is freed by the [`Domain`](super::epoch::Domain) of its table
//! when nobody has a [`Pin`] any more from before. Readers look into slots and cells under such a pin.
//!
//! The exchanges release and the loads acquire, so that who finds a block finds its contents. Thread checkers do not
//! know that of atomics, and are told.

use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::fmt;
use std::marker::PhantomData;
use std::mem::ManuallyDrop;
use std::ops::Deref;
use std::ptr::{self, NonNull};
use std::slice;
use std::sync::atomic::{AtomicU64, Ordering};

use super::block::Block;
use super::epoch::{Pin, Unlinked};
use super::{prefetch, valgrind};

/// Bits of a word that are an address.
const ADDRESS: u64 = (1 << TOP_SHIFT) - 1;
const TOP_SHIFT: u32 = 48;

/// An address with 16 bits above it.
fn pack<T>(start: NonNull<T>, top: u16) -> u64 {
    let address = start.as_ptr().expose_provenance() as u64;
    assert!(address & !ADDRESS == 0, "user space ends below 2^48 unless a program asks for more");
    address | u64::from(top) << TOP_SHIFT
}

fn address<T>(word: u64) -> Option<NonNull<T>> {
    NonNull::new(ptr::with_exposed_provenance_mut((word & ADDRESS) as usize))
}

fn top(word: u64) -> u16 {
    (word >> TOP_SHIFT) as u16
}

/// Either empty or the owner of a [`Block`], with a tag beside it.
pub struct Slot {
    word: AtomicU64,
}

impl Slot {
    /// What is in the slot at this moment.
    #[inline]
    pub fn load<'p>(&self, _pin: &'p Pin<'_>) -> Content<'p> {
        Content { word: self.word.load(Ordering::Acquire), pin: PhantomData }
    }

    /// Puts a block in the place of what is there.
    pub fn replace(&self, block: Block, tag: u16) -> Option<Unlinked<Block>> {
        let start = ManuallyDrop::new(block).start();
        valgrind::happens_before(start.as_ptr().cast());
        unlinked(self.word.swap(pack(start, tag), Ordering::AcqRel))
    }

    /// Has the cache fetch the slot.
    #[inline]
    pub fn prefetch(&self) {
        prefetch::line((&raw const *self).addr());
    }

    /// Empties the slot.
    pub fn take(&self) -> Option<Unlinked<Block>> {
        unlinked(self.word.swap(0, Ordering::AcqRel))
    }

    /// Moves what is there to an empty slot. For a moment readers find it in neither.
    pub fn move_to(&self, empty: &Slot) {
        let before = empty.word.swap(self.word.swap(0, Ordering::AcqRel), Ordering::AcqRel);
        debug_assert_eq!(before, 0, "what was there would be lost");
    }
}

fn unlinked(word: u64) -> Option<Unlinked<Block>> {
    // SAFETY: the word was exchanged out of a slot, which owned the block.
    address(word).map(|start| Unlinked::new(unsafe { Block::from_start(start) }))
}

impl Drop for Slot {
    fn drop(&mut self) {
        if let Some(start) = address(*self.word.get_mut()) {
            // SAFETY: the slot owns the block, and as it is dropped nobody can read there any more.
            drop(unsafe { Block::from_start(start) });
        }
    }
}

/// What was found in a slot.
#[derive(Clone, Copy)]
pub struct Content<'p> {
    word: u64,
    pin: PhantomData<&'p Block>,
}

impl<'p> Content<'p> {
    /// Whether there was nothing.
    #[inline]
    pub fn is_empty(self) -> bool {
        self.word == 0
    }

    /// The tag of what was there.
    #[inline]
    pub fn tag(self) -> u16 {
        top(self.word)
    }

    /// Has the cache fetch the block's beginning.
    #[inline]
    pub fn prefetch(self) {
        let address = (self.word & ADDRESS) as usize;
        prefetch::line(address);
        prefetch::line(address + prefetch::LINE);
    }

    /// The block, if there was one.
    #[inline]
    pub fn block(self) -> Option<BlockRef<'p>> {
        let start: NonNull<u8> = address(self.word)?;
        valgrind::happens_after(start.as_ptr().cast());
        // SAFETY: a slot owned the block when the word was loaded, and since then a pin has kept it from being freed.
        let block = ManuallyDrop::new(unsafe { Block::from_start(start) });
        Some(BlockRef { block, pin: PhantomData })
    }
}

/// A [`Block`] that a pin keeps from being freed.
pub struct BlockRef<'p> {
    /// Never dropped here, and never handed out mutably.
    block: ManuallyDrop<Block>,
    pin: PhantomData<&'p Block>,
}

impl Deref for BlockRef<'_> {
    type Target = Block;

    #[inline]
    fn deref(&self) -> &Block {
        &self.block
    }
}

/// Either empty or the owner of a [`SlotArray`].
#[derive(Default)]
pub struct ArrayCell {
    word: AtomicU64,
}

impl ArrayCell {
    /// The slots of the array that is there at this moment.
    #[inline]
    pub fn load<'p>(&self, _pin: &'p Pin<'_>) -> &'p [Slot] {
        let word = self.word.load(Ordering::Acquire);
        let Some(start) = address::<Slot>(word) else { return &[] };
        valgrind::happens_after(start.as_ptr().cast());
        // SAFETY: a cell owned the array when the word was loaded, and since then a pin has kept it from being freed;
        // slots are only changed by atomic exchange.
        unsafe { slice::from_raw_parts(start.as_ptr(), 1 << top(word)) }
    }

    /// Puts an array in the place of what is there, and what was there in the place of what `older` has.
    pub fn push(&self, array: SlotArray, older: &ArrayCell) -> Option<Unlinked<SlotArray>> {
        let array = ManuallyDrop::new(array);
        valgrind::happens_before(array.start.as_ptr().cast());
        let before = self.word.swap(pack(array.start, array.len.trailing_zeros() as u16), Ordering::AcqRel);
        SlotArray::unlinked(older.word.swap(before, Ordering::AcqRel))
    }

    /// Empties the cell.
    pub fn take(&self) -> Option<Unlinked<SlotArray>> {
        SlotArray::unlinked(self.word.swap(0, Ordering::AcqRel))
    }
}

impl Drop for ArrayCell {
    fn drop(&mut self) {
        drop(SlotArray::from_word(*self.word.get_mut()));
    }
}

/// An array of slots, all empty at first, as many as a power of two. It is allocated zeroed, so that large ones cost
/// nothing until they are used.
pub struct SlotArray {
    start: NonNull<Slot>,
    len: usize,
}

// SAFETY: the array owns its slots, and slots may be sent as the blocks that they own may.
unsafe impl Send for SlotArray {}

impl SlotArray {
    /// An array of `len` empty slots; `None` when memory has run out.
    pub fn new(len: usize) -> Option<SlotArray> {
        assert!(len.is_power_of_two(), "an array cell has only the logarithm");
        let layout = Layout::array::<Slot>(len).ok()?;
        // SAFETY: the layout is not empty. A slot of zeros is an empty slot.
        let start = NonNull::new(unsafe { alloc_zeroed(layout) })?;
        Some(SlotArray { start: start.cast(), len })
    }

    /// What it takes, in bytes.
    pub fn bytes(&self) -> usize {
        self.len * size_of::<Slot>()
    }

    /// What a cell owned that had this word, and does not any more.
    fn from_word(word: u64) -> Option<SlotArray> {
        address(word).map(|start| SlotArray { start, len: 1 << top(word) })
    }

    fn unlinked(word: u64) -> Option<Unlinked<SlotArray>> {
        SlotArray::from_word(word).map(Unlinked::new)
    }
}

impl fmt::Debug for SlotArray {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SlotArray").field("len", &self.len).finish_non_exhaustive()
    }
}

impl Drop for SlotArray {
    fn drop(&mut self) {
        let layout = Layout::array::<Slot>(self.len).expect("it was allocated with this layout");
        // SAFETY: the slots are initialised and not used again; the memory was allocated in `new` with this layout.
        unsafe {
            ptr::drop_in_place(ptr::slice_from_raw_parts_mut(self.start.as_ptr(), self.len));
            dealloc(self.start.as_ptr().cast(), layout);
        }
    }
}

/// What a table leaves behind.
#[derive(Debug)]
pub enum Garbage {
    /// A key's earlier value.
    Block(#[expect(dead_code, reason = "kept to be dropped")] Block),
    /// What was outgrown.
    Array(#[expect(dead_code, reason = "kept to be dropped")] SlotArray),
}

impl From<Block> for Garbage {
    fn from(block: Block) -> Garbage {
        Garbage::Block(block)
    }
}

impl From<SlotArray> for Garbage {
    fn from(array: SlotArray) -> Garbage {
        Garbage::Array(array)
    }
}
