//! Slots that own [`Block`]s, in arrays that one thread at a time changes while others read without a lock.
//!
//! A [`Slot`] is one word: a block's address (48 bits) with a 16-bit tag in the rest, so that a table can rule out
//! nearly every wrong slot without touching the block. It is changed by atomic exchange alone, so that ownership moves
//! whole, whoever else is at work. [`Arrays`] shows readers an address with the logarithm of a length in a word, too.
//! What is taken out of either is [`Unlinked`], and is freed by the [`Domain`](super::epoch::Domain) of its table when
//! nobody has a [`Pin`] any more from before. Readers look into slots and arrays under such a pin.
//!
//! The exchanges release and the loads acquire, so that who finds a block finds its contents. Thread checkers do not
//! know that of atomics, and are told.

use std::fmt;
use std::marker::PhantomData;
use std::mem::ManuallyDrop;
use std::ops::Deref;
use std::ptr::{self, NonNull};
use std::slice;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::block::Block;
use super::epoch::{Pin, Unlinked};
use super::memory::{Discard, Pool, Zeroed};
use super::sync::Mutex;
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
#[derive(Default)]
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

/// The array in use and an older one that is being emptied, either of which may be missing.
#[repr(C)]
pub struct Arrays {
    /// What readers look at: address and length of each.
    newest: AtomicU64,
    older: AtomicU64,
    owned: Mutex<Owned>,
}

#[derive(Default)]
struct Owned {
    newest: Option<SlotArray>,
    older: Option<SlotArray>,
}

impl Default for Arrays {
    fn default() -> Arrays {
        Arrays { newest: AtomicU64::new(0), older: AtomicU64::new(0), owned: Mutex::default() }
    }
}

impl Arrays {
    /// The slots of the newest array at this moment.
    #[inline(always)]
    pub fn newest<'p>(&self, _pin: &'p Pin<'_>) -> &'p [Slot] {
        // SAFETY: an array that was in `owned` had this address and length; what leaves it is unlinked.
        unsafe { slots(self.newest.load(Ordering::Acquire)) }
    }

    /// The slots of the older array at this moment.
    #[inline]
    pub fn older<'p>(&self, _pin: &'p Pin<'_>) -> &'p [Slot] {
        // SAFETY: as above.
        unsafe { slots(self.older.load(Ordering::Acquire)) }
    }

    /// Adds an array; the one that was the newest becomes the older one, and that one goes.
    pub fn push(&self, array: SlotArray) -> Option<Unlinked<SlotArray>> {
        let mut owned = self.owned.lock();
        valgrind::happens_before(array.start().as_ptr().cast());
        let word = pack(array.start(), array.len.trailing_zeros() as u16);
        self.older.swap(self.newest.swap(word, Ordering::AcqRel), Ordering::AcqRel);
        let outgrown = owned.newest.replace(array);
        std::mem::replace(&mut owned.older, outgrown).map(Unlinked::new)
    }

    /// Lets the older array go.
    pub fn take_older(&self) -> Option<Unlinked<SlotArray>> {
        let mut owned = self.owned.lock();
        self.older.swap(0, Ordering::AcqRel);
        owned.older.take().map(Unlinked::new)
    }

    /// The arrays, when nobody reads any more.
    pub fn into_arrays(self) -> impl Iterator<Item = SlotArray> {
        let Owned { newest, older } = std::mem::take(&mut *self.owned.lock());
        newest.into_iter().chain(older)
    }
}

/// # Safety
/// The word is 0, or was made of an array that is not freed during `'p`.
#[inline(always)]
unsafe fn slots<'p>(word: u64) -> &'p [Slot] {
    let Some(start) = address::<Slot>(word) else { return &[] };
    valgrind::happens_after(start.as_ptr().cast());
    // SAFETY: the array is there; slots are only changed by atomic exchange.
    unsafe { slice::from_raw_parts(start.as_ptr(), 1 << top(word)) }
}

/// An array of slots, all empty at first, as many as a power of two. Large ones cost little until they are used.
pub struct SlotArray {
    /// Holds `len` slots.
    memory: ManuallyDrop<Zeroed>,
    len: usize,
}

// SAFETY: the array owns its slots, and slots may be sent as the blocks that they own may.
unsafe impl Send for SlotArray {}

impl SlotArray {
    /// An array of `len` empty slots; `None` when memory has run out. It may outlive the pool.
    pub fn new(pool: &Pool, len: usize) -> Option<SlotArray> {
        assert!(len.is_power_of_two(), "an array cell has only the logarithm");
        // A slot of zeros is an empty slot.
        let memory = Zeroed::new(pool, len.checked_mul(size_of::<Slot>())?)?;
        Some(SlotArray { memory: ManuallyDrop::new(memory), len })
    }

    /// What it takes, in bytes.
    pub fn bytes(&self) -> usize {
        self.len * size_of::<Slot>()
    }

    fn start(&self) -> NonNull<Slot> {
        self.memory.start().cast()
    }

    /// The slots, when nobody reads.
    pub(super) fn slots_mut(&mut self) -> &mut [Slot] {
        // SAFETY: `start` points to `len` initialised slots, and the array is borrowed mutably.
        unsafe { slice::from_raw_parts_mut(self.start().as_ptr(), self.len) }
    }

    /// Drops arrays with their blocks. If those are all that the pool has handed out, and nobody else has the pool, its
    /// memory is freed as a whole, without looking at the blocks.
    pub fn drop_all(mut arrays: Vec<SlotArray>, pool: &mut Arc<Pool>) {
        let Some(discard) = Discard::begin(pool) else { return };
        let mut ours = 0;
        for slot in arrays.iter_mut().flat_map(SlotArray::slots_mut) {
            match address(*slot.word.get_mut()) {
                Some(block) if discard.contains(block) => ours += 1,
                _ => drop(std::mem::take(slot)),
            }
        }
        let runs = arrays.iter().filter(|array| array.memory.is_of(&discard)).count();
        if !discard.is_all(ours, runs) {
            return;
        }
        for mut array in arrays {
            if valgrind::is_running() {
                let blocks = array.slots_mut().iter_mut().filter_map(|slot| address(*slot.word.get_mut()));
                blocks.for_each(|block: NonNull<u8>| valgrind::freed(block.as_ptr(), 0));
            }
            // Not the slots: their blocks are freed below.
            let mut array = ManuallyDrop::new(array);
            // SAFETY: the array is never dropped, nor looked at again.
            unsafe { ManuallyDrop::take(&mut array.memory) }.leave_to(&discard);
        }
        // SAFETY: `arrays` had all blocks and all runs of the pool that were in use, and nobody could take more: each of
        // its slots owns another block, so as many as are in use are all of them. They are forgotten now.
        unsafe { discard.finish() };
    }
}

impl fmt::Debug for SlotArray {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SlotArray").field("len", &self.len).finish_non_exhaustive()
    }
}

impl Drop for SlotArray {
    fn drop(&mut self) {
        // SAFETY: the slots are initialised, and neither they nor the memory are used again.
        unsafe {
            ptr::drop_in_place(self.slots_mut());
            ManuallyDrop::drop(&mut self.memory);
        }
    }
}

/// What a table leaves behind.
#[derive(Debug)]
pub enum Garbage {
    /// A key's earlier value.
    Block(Block),
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

impl Garbage {
    /// Frees a lot of it, faster than one by one.
    pub fn free_all(garbage: Vec<Garbage>) {
        Block::free_all(garbage.into_iter().filter_map(|item| match item {
            Garbage::Block(block) => Some(block),
            Garbage::Array(_) => None,
        }));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::epoch::Domain;

    fn block(pool: &Pool, key: &[u8]) -> Block {
        Block::new(pool, key, b"value", 0).unwrap()
    }

    #[test]
    fn a_slot_owns_its_block() {
        let (pool, domain) = (Pool::new(), Domain::<Garbage>::default());
        let pin = domain.pin(0);
        let arrays = Arrays::default();
        assert!(arrays.newest(&pin).is_empty() && arrays.push(SlotArray::new(&pool, 4).unwrap()).is_none());
        let slots = arrays.newest(&pin);
        assert!(slots.iter().all(|slot| slot.load(&pin).is_empty()));
        assert!(slots[1].replace(block(&pool, b"one"), 0xbeef).is_none());
        slots[1].move_to(&slots[3]);
        let content = slots[3].load(&pin);
        assert_eq!((content.tag(), content.block().unwrap().key()), (0xbeef, &b"one"[..]));
        let replaced = slots[3].replace(block(&pool, b"three"), 0).unwrap();
        assert_eq!((replaced.key(), content.block().unwrap().key()), (&b"one"[..], &b"one"[..]));
        assert!(domain.retire(replaced, 0).is_empty());
    }

    #[test]
    fn an_array_that_is_pushed_away_can_be_seen_as_the_older_one() {
        let (pool, domain) = (Pool::new(), Domain::<Garbage>::default());
        let pin = domain.pin(0);
        let arrays = Arrays::default();
        for (len, gone) in [(4, None), (8, None), (16, Some(4 * size_of::<Slot>()))] {
            let outgrown = arrays.push(SlotArray::new(&pool, len).unwrap());
            assert_eq!(outgrown.as_ref().map(|array| array.bytes()), gone);
            outgrown.into_iter().for_each(|array| drop(domain.retire(array, 0)));
        }
        assert_eq!((arrays.newest(&pin).len(), arrays.older(&pin).len()), (16, 8));
        drop(domain.retire(arrays.take_older().unwrap(), 0));
        assert!(arrays.older(&pin).is_empty() && arrays.take_older().is_none());
    }
}
