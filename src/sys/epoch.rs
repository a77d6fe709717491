//! Reading without locks: what readers may still be looking at is freed only when they have left.
//!
//! # The algorithm
//!
//! Epoch-based reclamation, after K. Fraser, "Practical lock-freedom" (2004). A global epoch counts up. Each reading
//! thread has a record, in which it notes the epoch that it finds when it *pins* it, and 0 when it leaves. What is taken
//! out of sight is *retired* into the bag of the current epoch.
//!
//! - The epoch moves from `e` to `e + 1` only when no record holds another epoch than `e` or 0. So while a reader has
//!   pinned `e` the epoch is at most `e + 1`.
//! - Something retired in epoch `e` is freed at the step to `e + 2`. Between its going out of sight and that step the
//!   records were looked at twice, and whoever could have seen it had left, or would have stopped the second step.
//! - So two bags are enough, by parity: the one that is emptied at the step to `e + 1` is that of `e - 1`, whose place
//!   the new one takes.
//!
//! Readers never wait, and whoever retires never waits for them: a reader that takes its time only delays the freeing.
//!
//! # No barrier for readers
//!
//! A reader's note must be visible before it looks around: that takes a memory barrier between a store and a load,
//! which would keep the processor from starting on the next lookup while it waits for the memory of this one. Reads are
//! frequent and steps of the epoch rare, so the barrier is moved there: `membarrier(2)` makes every running thread of
//! the process execute one. Either the one that makes the step sees the note, or the reader sees everything that was
//! out of sight before the call. (M. Desnoyers et al., "User-level implementations of read-copy update", 2012.)
//!
//! Where the kernel does not offer that, and on valgrind, whose thread checkers understand exchanges but not stores,
//! readers write by exchange instead, with the barrier that comes with it.
//!
//! # Records
//!
//! A thread's record is found by its thread pointer, which no two running threads share, in a small hash table. Threads
//! do not sign off: a library that can be unloaded must leave no destructor behind. So a record stays with its pointer,
//! and when the thread has ended, it is that of the next thread which the system puts in the same place.

use std::marker::PhantomData;
use std::mem::ManuallyDrop;
use std::ops::Deref;
use std::sync::atomic::{AtomicU64, Ordering, compiler_fence, fence};

use super::sync::Mutex;
use super::{membarrier, thread, valgrind};

/// The epoch moves when the bags hold so many things, or so many bytes.
const RIPE_COUNT: usize = 1024;
const RIPE_BYTES: usize = 1 << 20;
/// How many records there are room for in the hash table, and at how many places in it one can be. Further ones are in a
/// list, which is slower.
const RECORDS: usize = 512;
const PLACES: usize = 8;

/// Something that was taken out of sight, but may still be read by those who saw it before. Only
/// [`Domain::retire`] gets it out; dropped otherwise, it is leaked.
pub struct Unlinked<T>(ManuallyDrop<T>);

impl<T> Unlinked<T> {
    /// The caller has taken `value` out of where readers find it.
    pub(super) fn new(value: T) -> Unlinked<T> {
        Unlinked(ManuallyDrop::new(value))
    }
}

impl<T> Deref for Unlinked<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

/// The readers of one data structure, and what is to be freed when they have left.
pub struct Domain<G> {
    /// Not 0, which in a record means none.
    epoch: AtomicU64,
    /// Whether `membarrier` makes up for the readers' missing barriers.
    is_asymmetric: bool,
    records: Box<[Record]>,
    #[expect(clippy::vec_box, reason = "readers refer to them")]
    more_records: Mutex<Vec<Box<Record>>>,
    limbo: Mutex<Limbo<G>>,
}

/// What a thread says of itself, in a cache line of its own.
#[derive(Default)]
#[repr(align(64))]
struct Record {
    /// The thread's pointer, 0 if the record is free.
    owner: AtomicU64,
    /// The epoch that it has pinned, or 0.
    epoch: AtomicU64,
    /// How often it has pinned it, one within the other, and above that, by [`LOOKUPS`], how many lookups it has made.
    depth: AtomicU64,
}

/// The place of the lookups in [`Record::depth`]. They wrap around after some 10^14.
const LOOKUPS: u32 = 16;
const DEPTH: u64 = (1 << LOOKUPS) - 1;

/// What was retired, by the parity of the epoch in which that was.
struct Limbo<G>([Bag<G>; 2]);

struct Bag<G> {
    garbage: Vec<G>,
    bytes: usize,
}

impl<G> Default for Bag<G> {
    fn default() -> Bag<G> {
        Bag { garbage: Vec::new(), bytes: 0 }
    }
}

impl<G> Limbo<G> {
    fn is_full(&self) -> bool {
        let [even, odd] = &self.0;
        even.garbage.len() + odd.garbage.len() >= RIPE_COUNT || even.bytes + odd.bytes >= RIPE_BYTES
    }

    fn bag(&mut self, epoch: u64) -> &mut Bag<G> {
        &mut self.0[(epoch % 2) as usize]
    }
}

impl<G> Default for Domain<G> {
    fn default() -> Domain<G> {
        Domain {
            epoch: AtomicU64::new(1),
            is_asymmetric: !valgrind::is_running() && membarrier::register(),
            records: std::iter::repeat_with(Record::default).take(RECORDS).collect(),
            more_records: Mutex::default(),
            limbo: Mutex::new(Limbo([Bag::default(), Bag::default()])),
        }
    }
}

impl<G> Domain<G> {
    /// Keeps what the thread comes to see from being freed until the pin is dropped. Counts `lookups`.
    #[inline(always)]
    pub fn pin(&self, lookups: u64) -> Pin<'_> {
        let record = self.record();
        let is_alone = self.is_asymmetric;
        if add(&record.depth, 1 + (lookups << LOOKUPS), is_alone) & DEPTH == 0 {
            let epoch = self.epoch.load(Ordering::Relaxed);
            if is_alone {
                record.epoch.store(epoch, Ordering::Relaxed);
                compiler_fence(Ordering::SeqCst);
            } else {
                record.epoch.swap(epoch, Ordering::SeqCst);
                fence(Ordering::SeqCst);
            }
        }
        Pin { record, is_alone, thread: PhantomData }
    }

    /// The calling thread's record.
    #[inline(always)]
    fn record(&self) -> &Record {
        let me = thread::pointer();
        let record = &self.records[place(me)];
        if record.owner.load(Ordering::Relaxed) == me { record } else { self.find_record(me) }
    }

    /// The record of `me` if it is not in the first place.
    #[cold]
    fn find_record(&self, me: u64) -> &Record {
        let places = (0..PLACES).map(|distance| &self.records[(place(me) + distance) % RECORDS]);
        for record in places {
            // Only `me` makes a record that of `me`. Once it has an owner it keeps it, so nobody passes by a free one.
            let owner = record.owner.load(Ordering::Relaxed);
            let is_mine = owner == me
                || owner == 0 && record.owner.compare_exchange(0, me, Ordering::Relaxed, Ordering::Relaxed).is_ok();
            if is_mine {
                return record;
            }
        }
        let mut records = self.more_records.lock();
        let mine = records.iter().position(|record| record.owner.load(Ordering::Relaxed) == me);
        let at = mine.unwrap_or_else(|| {
            records.push(Box::new(Record { owner: AtomicU64::new(me), ..Record::default() }));
            records.len() - 1
        });
        let record: *const Record = &*records[at];
        // SAFETY: boxed, and kept as long as the domain exists.
        unsafe { &*record }
    }

    /// What `of` says about each record.
    fn look_at_all(&self, of: impl FnMut(&Record)) {
        let more = self.more_records.lock();
        self.records.iter().chain(more.iter().map(|record| &**record)).for_each(of);
    }

    /// Takes charge of something unlinked, of about `bytes` bytes. Returns what can be freed by now, which is best done
    /// when no lock is held.
    pub fn retire<T: Into<G>>(&self, unlinked: Unlinked<T>, bytes: usize) -> Vec<G> {
        let mut limbo = self.limbo.lock();
        let epoch = self.epoch.load(Ordering::Relaxed);
        let bag = limbo.bag(epoch);
        bag.garbage.push(ManuallyDrop::into_inner(unlinked.0).into());
        bag.bytes += bytes;
        if !limbo.is_full() || !self.nobody_is_left_behind(epoch) {
            return Vec::new();
        }
        self.epoch.fetch_add(1, Ordering::SeqCst);
        std::mem::take(limbo.bag(epoch + 1)).garbage
    }

    /// Whether no reader has pinned an epoch before `epoch`, the present one.
    fn nobody_is_left_behind(&self, epoch: u64) -> bool {
        if self.is_asymmetric {
            membarrier::all_threads();
        } else {
            fence(Ordering::SeqCst);
        }
        let mut nobody = true;
        self.look_at_all(|record| {
            let pinned = record.epoch.load(Ordering::Acquire);
            valgrind::happens_after((&raw const record.epoch).cast());
            nobody &= pinned == 0 || pinned == epoch;
        });
        nobody
    }

    /// How many lookups there were.
    pub fn lookups(&self) -> u64 {
        let mut sum = 0;
        self.look_at_all(|record| sum += record.depth.load(Ordering::Relaxed) >> LOOKUPS);
        sum
    }
}

/// Where in the table the record of a thread is, or one of the next: the high bits of its pointer, the low ones being
/// those of all, multiplied by 2^64 divided by the golden ratio.
#[inline(always)]
fn place(thread: u64) -> usize {
    ((thread >> 6).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (u64::BITS - RECORDS.trailing_zeros())) as usize
}

/// Adds to a counter that no other thread changes; returns what it was. `is_alone` is false if others must be able to
/// tell that from a race.
#[inline(always)]
fn add(counter: &AtomicU64, by: u64, is_alone: bool) -> u64 {
    if !is_alone {
        return counter.fetch_add(by, Ordering::Relaxed);
    }
    let before = counter.load(Ordering::Relaxed);
    counter.store(before.wrapping_add(by), Ordering::Relaxed);
    before
}

/// While it exists nothing is freed that its thread can see.
pub struct Pin<'d> {
    record: &'d Record,
    is_alone: bool,
    /// The record is that of one thread.
    thread: PhantomData<*const ()>,
}

impl Drop for Pin<'_> {
    #[inline(always)]
    fn drop(&mut self) {
        if add(&self.record.depth, 1u64.wrapping_neg(), self.is_alone) & DEPTH > 1 {
            return;
        }
        if self.is_alone {
            self.record.epoch.store(0, Ordering::Release);
        } else {
            valgrind::happens_before((&raw const self.record.epoch).cast());
            self.record.epoch.swap(0, Ordering::SeqCst);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn retire_many(domain: &Domain<u32>, from: u32, count: u32) -> Vec<u32> {
        (from..from + count).flat_map(|n| domain.retire(Unlinked::new(n), 0)).collect()
    }

    #[test]
    fn garbage_is_freed_when_nobody_reads() {
        let domain = Domain::default();
        let freed = retire_many(&domain, 0, 5 * RIPE_COUNT as u32);
        assert!(freed.len() >= 3 * RIPE_COUNT);
        assert!(freed.is_sorted(), "in the order in which it was retired");
    }

    #[test]
    fn nothing_is_freed_that_a_reader_may_see() {
        for is_asymmetric in [true, false] {
            let domain = Domain { is_asymmetric: is_asymmetric && membarrier::register(), ..Domain::default() };
            let before = retire_many(&domain, 0, 10);
            let pin = domain.pin(1);
            let inner = domain.pin(1);
            let during = retire_many(&domain, 10, 10 * RIPE_COUNT as u32);
            // The outer one may go first.
            drop(pin);
            let nested = retire_many(&domain, 1_000_000, 10 * RIPE_COUNT as u32);
            assert!(before.is_empty() && during.iter().chain(&nested).all(|&n| n < 10), "freed under a reader");
            drop(inner);
            assert!(retire_many(&domain, 2_000_000, 4 * RIPE_COUNT as u32).len() > 20 * RIPE_COUNT);
            assert_eq!(domain.lookups(), 2);
        }
    }

    #[test]
    fn something_large_does_not_wait_for_company() {
        let domain = Domain::<u32>::default();
        assert_eq!(domain.retire(Unlinked::new(1u32), RIPE_BYTES), []);
        assert_eq!(domain.retire(Unlinked::new(2u32), 0), [1]);
    }

    #[test]
    fn every_thread_has_a_record_of_its_own() {
        let domain = Domain::<u32>::default();
        // More threads at a time than the table has places for one hash, and than it has records.
        std::thread::scope(|scope| {
            let all_are_there = std::sync::Barrier::new(RECORDS + 100);
            let (domain, all_are_there) = (&domain, &std::sync::Arc::new(all_are_there));
            for _ in 0..RECORDS + 100 {
                let all_are_there = std::sync::Arc::clone(all_are_there);
                let read = move || {
                    let pin = domain.pin(1);
                    all_are_there.wait();
                    assert_eq!(pin.record.depth.load(Ordering::Relaxed) & DEPTH, 1);
                    drop(pin);
                    all_are_there.wait();
                };
                std::thread::Builder::new().stack_size(64 << 10).spawn_scoped(scope, read).unwrap();
            }
        });
        assert_eq!(domain.lookups(), RECORDS as u64 + 100);
        let mut pinned = 0;
        domain.look_at_all(|record| pinned += record.epoch.load(Ordering::Relaxed));
        assert_eq!(pinned, 0);
    }

    #[test]
    fn records_of_ended_threads_are_used_again() {
        let domain = std::sync::Arc::new(Domain::<u32>::default());
        for _ in 0..200 {
            let domain = std::sync::Arc::clone(&domain);
            thread::Thread::start(c"reader", move || drop(domain.pin(1))).unwrap().join();
        }
        assert_eq!(domain.lookups(), 200);
        let mut used = 0;
        domain.look_at_all(|record| used += u32::from(record.owner.load(Ordering::Relaxed) != 0));
        assert!(used < 100, "{used} records for one thread at a time");
    }
}
