//! Chunks of 2 MiB, each a huge page, handed out in runs of units.
//!
//! A chunk is 32 units of 64 KiB. What is handed out is a run of 1, 2, 4, ... 32 units, aligned to its own length, from
//! the first chunk in the table that has one; so what falls free late tends to be whole chunks at the end, and those go
//! back to the system. The first few chunks have small pages, of which a small store touches but a few.
//!
//! New chunks come ready from the [helper](super::helper), once there is one: mapped, with every page there. When it
//! cannot keep up there are bare ones, which it has mapped but not touched, with small pages, so that nobody waits for
//! the zeroing of a huge one; nor for the lock of the address space, which mapping takes, and the helper may hold.

use std::ptr::NonNull;
use std::sync::Arc;

use super::class::UNIT;
use super::map::{self, CHUNK};
use crate::sys::event::Bell;
use crate::sys::valgrind;

pub const UNITS: usize = CHUNK / UNIT;
/// Runs of 1 to 32 units.
pub const ORDERS: usize = UNITS.ilog2() as usize + 1;
/// How many chunks have small pages.
const SMALL_PAGES: usize = 4;
/// From how many chunks on the helper is worth having.
const HELP_FROM: usize = 3;
/// So many chunks are kept in reserve, at least and at most: 2 to 16 MiB.
const MIN_READY: usize = 1;
const MAX_READY: usize = 8;
/// So many more are only mapped, and cost no memory.
const BARE: usize = 8;

const ALL: u32 = u32::MAX;
const _: () = assert!(UNITS == u32::BITS as usize);
/// The units at which runs of an order may begin.
const ALIGNED: [u32; ORDERS] = [ALL, 0x5555_5555, 0x1111_1111, 0x0101_0101, 0x0001_0001, 1];

/// A run of units.
#[derive(Debug)]
pub struct Run {
    pub start: NonNull<u8>,
    /// Index of its chunk.
    pub chunk: u32,
    /// Whether it was never used, so that it holds zeros.
    pub is_zero: bool,
}

struct Chunk {
    /// `None` for an entry of the table that has no chunk.
    start: Option<NonNull<u8>>,
    /// A bit for each unit: whether it is free.
    free: u32,
    /// Whether it was never handed out.
    zero: u32,
}

/// Who maps new chunks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Helper {
    /// Nobody yet.
    None,
    /// A thread, which is awake.
    Awake,
    /// A thread, which is to be woken when there is something to do.
    Asleep,
    /// It could not be started.
    Impossible,
}

/// The chunks of a pool.
pub struct Chunks {
    table: Vec<Chunk>,
    /// Chunks in the table.
    mapped: usize,
    /// Those of them that are wholly free.
    spare: usize,
    /// For each order, the first chunk that may have a run.
    first: [usize; ORDERS],
    /// Chunks that the helper has made ready.
    ready: Vec<NonNull<u8>>,
    /// Chunks that the helper has mapped, of which no page is there yet.
    bare: Vec<NonNull<u8>>,
    /// How many chunks, ready or spare, there shall be.
    target: usize,
    /// Runs handed out by [`take_run`](Self::take_run), not those for slabs.
    pub runs: usize,
    pub helper: Helper,
    /// Wakes the helper.
    pub wake: Option<Arc<Bell>>,
    /// Tells the helper to end.
    pub stop: bool,
}

// SAFETY: the chunks are memory that belongs to this value alone.
unsafe impl Send for Chunks {}

/// What the helper is to do next.
pub enum Task {
    /// Map a chunk, and hand it to [`Chunks::add_bare`].
    Map,
    /// Touch this chunk, and hand it to [`Chunks::add_ready`].
    Touch(NonNull<u8>),
    /// Unmap this one, which is not in the table any more.
    Unmap(NonNull<u8>),
    /// Sleep until woken, or, if there is more than needs to be in reserve, until it may be given back.
    Sleep { but_not_for_ever: bool },
}

impl Chunks {
    pub const fn new() -> Chunks {
        Chunks {
            table: Vec::new(),
            mapped: 0,
            spare: 0,
            first: [0; ORDERS],
            ready: Vec::new(),
            bare: Vec::new(),
            target: MIN_READY,
            runs: 0,
            helper: Helper::None,
            wake: None,
            stop: false,
        }
    }

    /// Takes a run of `1 << order` units; `None` when memory has run out.
    pub fn take(&mut self, order: usize) -> Option<Run> {
        let in_table = (self.first[order]..self.table.len())
            .find_map(|at| find(self.table[at].free, order).map(|unit| (at, unit)));
        let (at, unit) = match in_table {
            Some(found) => found,
            None => (self.add()?, 0),
        };
        self.first[order] = at;
        let bits = mask(order) << unit;
        let chunk = &mut self.table[at];
        let start = chunk.start.expect("an entry without a chunk has no free units");
        self.spare -= usize::from(chunk.free == ALL);
        let is_zero = chunk.zero & bits == bits;
        chunk.free &= !bits;
        chunk.zero &= !bits;
        // SAFETY: within the chunk.
        Some(Run { start: unsafe { start.add(unit as usize * UNIT) }, chunk: at as u32, is_zero })
    }

    /// Takes a run back, of which nothing is used any more.
    pub fn give_back(&mut self, start: NonNull<u8>, at: u32, order: usize) {
        let at = at as usize;
        let chunk = &mut self.table[at];
        let unit = start.addr().get() % CHUNK / UNIT;
        let bits = mask(order) << unit;
        assert!(chunk.free & bits == 0, "a run is given back once");
        chunk.free |= bits;
        valgrind::forbid(start.as_ptr(), UNIT << order);
        self.first.iter_mut().for_each(|first| *first = at.min(*first));
        if chunk.free == ALL {
            self.spare += 1;
            if !self.has_helper() && self.spare > self.target {
                self.remove_spare().into_iter().for_each(|spare| map::unmap(spare, CHUNK));
            }
        }
    }

    /// Puts a new chunk into the table.
    fn add(&mut self) -> Option<usize> {
        let at = self.table.iter().position(|chunk| chunk.start.is_none()).unwrap_or(self.table.len());
        self.table.try_reserve(1).ok()?;
        let start = match self.ready.pop().or_else(|| self.bare.pop()) {
            Some(start) => start,
            None => {
                let start = map::map(CHUNK)?;
                if !self.has_helper() && self.mapped >= SMALL_PAGES {
                    map::ask_for_huge_pages(start, CHUNK);
                }
                start
            }
        };
        if self.has_helper() && self.ready.is_empty() {
            self.target = MAX_READY.min(self.target + 1);
        }
        valgrind::forbid(start.as_ptr(), CHUNK);
        let chunk = Chunk { start: Some(start), free: ALL, zero: ALL };
        match self.table.get_mut(at) {
            Some(entry) => *entry = chunk,
            None => self.table.push(chunk),
        }
        self.mapped += 1;
        self.spare += 1;
        Some(at)
    }

    /// Entries of the table, with and without a chunk.
    pub fn table_len(&self) -> usize {
        self.table.len()
    }

    /// Takes the last of the wholly free chunks out of the table.
    fn remove_spare(&mut self) -> Option<NonNull<u8>> {
        let chunk = self.table.iter_mut().rev().find(|chunk| chunk.free == ALL)?;
        (chunk.free, chunk.zero) = (0, 0);
        self.mapped -= 1;
        self.spare -= 1;
        let start = chunk.start.take();
        while self.table.last().is_some_and(|last| last.start.is_none()) {
            self.table.pop();
        }
        start
    }

    /// Whether it is time to start the helper.
    pub fn wants_helper(&self) -> bool {
        self.helper == Helper::None && self.mapped >= HELP_FROM
    }

    fn has_helper(&self) -> bool {
        matches!(self.helper, Helper::Awake | Helper::Asleep)
    }

    /// Wakes the helper if it is asleep and has something to do.
    pub fn wake_helper_if_needed(&mut self) {
        if self.helper == Helper::Asleep
            && !matches!(self.what_to_do(), Todo::Nothing)
            && let Some(wake) = &self.wake
        {
            self.helper = Helper::Awake;
            wake.ring();
        }
    }

    fn what_to_do(&self) -> Todo {
        match self.ready.len() + self.spare {
            reserve if reserve < self.target && !self.bare.is_empty() => Todo::Touch,
            _ if self.bare.len() < BARE => Todo::Map,
            // Some more before any is unmapped, lest one go to and fro.
            reserve if reserve > self.target + 2 => Todo::Unmap,
            _ => Todo::Nothing,
        }
    }

    /// For the helper: what is to be done now.
    pub fn next_task(&mut self) -> Task {
        self.helper = Helper::Awake;
        let task = match self.what_to_do() {
            Todo::Touch => self.bare.pop().map(Task::Touch),
            Todo::Map => Some(Task::Map),
            Todo::Unmap => self.take_reserve().map(Task::Unmap),
            Todo::Nothing => None,
        };
        task.unwrap_or_else(|| {
            self.helper = Helper::Asleep;
            Task::Sleep { but_not_for_ever: self.ready.len() + self.spare > MIN_READY }
        })
    }

    /// For the helper: nobody has woken it for a while. Returns a chunk to be unmapped.
    pub fn shrink_reserve(&mut self) -> Option<NonNull<u8>> {
        self.target = (self.target / 2).max(MIN_READY);
        if self.ready.len() + self.spare > self.target { self.take_reserve() } else { None }
    }

    fn take_reserve(&mut self) -> Option<NonNull<u8>> {
        self.remove_spare().or_else(|| self.ready.pop())
    }

    /// For the helper: a chunk is mapped. Returns it if it cannot be kept.
    pub fn add_bare(&mut self, start: NonNull<u8>) -> Option<NonNull<u8>> {
        add(&mut self.bare, start)
    }

    /// For the helper: every page of a chunk is there. Returns it if it cannot be kept.
    pub fn add_ready(&mut self, start: NonNull<u8>) -> Option<NonNull<u8>> {
        add(&mut self.ready, start)
    }

    /// Whether nothing that was taken is still out.
    pub fn is_wholly_free(&self) -> bool {
        self.mapped == self.spare
    }

    /// Bytes of all chunks that have pages.
    #[cfg(test)]
    pub fn mapped_bytes(&self) -> usize {
        (self.mapped + self.ready.len()) * CHUNK
    }

    /// Where the chunks of the table are.
    pub fn starts(&self) -> impl Iterator<Item = NonNull<u8>> {
        self.table.iter().filter_map(|chunk| chunk.start)
    }

    /// Units that are taken.
    #[cfg(test)]
    pub fn units_in_use(&self) -> usize {
        self.table.iter().filter(|chunk| chunk.start.is_some()).map(|chunk| chunk.free.count_zeros() as usize).sum()
    }

    /// Panics unless the counters are right. For tests.
    #[cfg(test)]
    pub fn check(&self) {
        let mapped = self.table.iter().filter(|chunk| chunk.start.is_some());
        assert_eq!(mapped.clone().count(), self.mapped);
        assert_eq!(mapped.filter(|chunk| chunk.free == ALL).count(), self.spare);
        for (order, &first) in self.first.iter().enumerate() {
            assert!(self.table.iter().take(first).all(|chunk| find(chunk.free, order).is_none()), "order {order}");
        }
        assert!(self.table.iter().all(|chunk| chunk.start.is_some() || chunk.free == 0));
        assert!(self.table.iter().all(|chunk| chunk.zero & !chunk.free == 0), "what is in use does not count as zero");
    }

    /// Unmaps everything.
    ///
    /// # Safety
    /// Nobody uses anything that was taken.
    pub unsafe fn unmap_all(&mut self) {
        for start in
            self.table.drain(..).filter_map(|chunk| chunk.start).chain(self.ready.drain(..)).chain(self.bare.drain(..))
        {
            map::unmap(start, CHUNK);
        }
        *self = Chunks::new();
    }
}

enum Todo {
    Touch,
    Map,
    Unmap,
    Nothing,
}

fn add(chunks: &mut Vec<NonNull<u8>>, start: NonNull<u8>) -> Option<NonNull<u8>> {
    if chunks.try_reserve(1).is_err() {
        return Some(start);
    }
    chunks.push(start);
    None
}

/// The units of a run that begins at unit 0.
pub fn mask(order: usize) -> u32 {
    ALL >> (UNITS - (1 << order))
}

/// The first unit of a run of free units.
pub fn find(mut free: u32, order: usize) -> Option<u32> {
    for shift in 0..order {
        free &= free >> (1 << shift);
    }
    free &= ALIGNED[order];
    (free != 0).then(|| free.trailing_zeros())
}
