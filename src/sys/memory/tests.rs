//! The pool against a model: what it hands out does not overlap, keeps its content, is aligned, and comes back whole.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;

use proptest::prelude::*;

use super::chunks::{ORDERS, UNITS, find, mask};
use super::class::{CLASSES, UNIT};
use super::*;
use crate::sys::block::Block;
use crate::sys::epoch::Domain;
use crate::sys::slot::{Garbage, SlotArray};

/// A block with a content that tells whose it is.
struct Filled {
    block: NonNull<u8>,
    size: usize,
    seed: u8,
}

// SAFETY: the block belongs to the value alone.
unsafe impl Send for Filled {}

impl Filled {
    fn new(pool: &Pool, size: usize, seed: u8) -> Filled {
        let block = pool.allocate(size).unwrap();
        assert!(block.addr().get().is_multiple_of(ALIGN));
        // SAFETY: the block is so long, and ours.
        unsafe { block.write_bytes(seed, size) };
        Filled { block, size, seed }
    }

    fn check(&self) {
        // SAFETY: the block is so long, ours, and written.
        let content = unsafe { std::slice::from_raw_parts(self.block.as_ptr(), self.size) };
        assert!(content.iter().all(|&byte| byte == self.seed), "somebody wrote into a block of {}", self.size);
    }

    fn free(self) {
        self.check();
        // SAFETY: allocated with this size, and not used again.
        unsafe { free(self.block, self.size) };
    }

    fn free_all(all: Vec<Filled>) {
        let mut blocks: Vec<_> = all
            .iter()
            .map(|filled| {
                filled.check();
                (filled.block, filled.size)
            })
            .collect();
        // SAFETY: allocated with these sizes, and not used again.
        unsafe { free_many(&mut blocks) };
    }
}

fn check(pool: &Pool) {
    pool.shared().stripes.iter().enumerate().for_each(|(index, stripe)| stripe.lock().check(index));
    pool.shared().chunks.lock().check();
}

fn assert_wholly_free(pool: &Pool) {
    check(pool);
    let live: isize = pool.shared().stripes.iter().map(|stripe| stripe.lock().live).sum();
    assert_eq!(live, 0);
    let chunks = pool.shared().chunks.lock();
    assert!(chunks.is_wholly_free() && chunks.runs == 0);
}

#[derive(Clone, Debug)]
enum Action {
    Allocate(usize),
    Array(usize),
    Free(usize),
    FreeArray(usize),
    FreeMany(usize),
}

fn size() -> impl Strategy<Value = usize> {
    prop_oneof![4 => 1usize..300, 2 => 1usize..9000, 1 => 8100usize..8200, 1 => 1usize..100_000]
}

fn actions() -> impl Strategy<Value = Vec<Action>> {
    let action = prop_oneof![
        8 => size().prop_map(Action::Allocate),
        1 => prop_oneof![1usize..200_000, 1usize..5_000_000].prop_map(Action::Array),
        5 => any::<usize>().prop_map(Action::Free),
        1 => any::<usize>().prop_map(Action::FreeArray),
        1 => (0usize..40).prop_map(Action::FreeMany),
    ];
    prop::collection::vec(action, 1..400)
}

fn insert(taken: &mut BTreeMap<usize, usize>, start: NonNull<u8>, len: usize) {
    let start = start.addr().get();
    if let Some((&before, &len)) = taken.range(..=start).next_back() {
        assert!(before + len <= start, "overlaps what is before");
    }
    if let Some((&next, _)) = taken.range(start..).next() {
        assert!(start + len <= next, "overlaps what is behind");
    }
    taken.insert(start, len);
}

fn check_array(array: &Zeroed, expected: u8) {
    // SAFETY: the memory is so long, initialised, and ours.
    let content = unsafe { std::slice::from_raw_parts(array.start().as_ptr(), array.len()) };
    assert!(content.iter().step_by(61).all(|&byte| byte == expected));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn agrees_with_a_model(actions in actions()) {
        let pool = Pool::new();
        let mut taken = BTreeMap::new();
        let mut blocks: Vec<Filled> = Vec::new();
        let mut arrays: Vec<Zeroed> = Vec::new();
        for (seed, action) in (0..).map(|n: u32| n as u8 | 1).zip(actions) {
            match action {
                Action::Allocate(size) => {
                    let block = Filled::new(&pool, size, seed);
                    insert(&mut taken, block.block, size);
                    blocks.push(block);
                }
                Action::Array(len) => {
                    let array = Zeroed::new(&pool, len).unwrap();
                    assert!(array.start().addr().get().is_multiple_of(64) && array.len() == len);
                    insert(&mut taken, array.start(), len);
                    check_array(&array, 0);
                    // SAFETY: the memory is so long, and ours.
                    unsafe { array.start().write_bytes(0xaa, len) };
                    arrays.push(array);
                }
                Action::Free(at) if !blocks.is_empty() => {
                    let block = blocks.swap_remove(at % blocks.len());
                    taken.remove(&block.block.addr().get());
                    block.free();
                }
                Action::FreeArray(at) if !arrays.is_empty() => {
                    let array = arrays.swap_remove(at % arrays.len());
                    taken.remove(&array.start().addr().get());
                    check_array(&array, 0xaa);
                }
                Action::FreeMany(count) => {
                    let some = blocks.split_off(blocks.len().saturating_sub(count));
                    some.iter().for_each(|block| _ = taken.remove(&block.block.addr().get()));
                    Filled::free_all(some);
                }
                Action::Free(_) | Action::FreeArray(_) => {}
            }
        }
        check(&pool);
        arrays.iter().for_each(|array| check_array(array, 0xaa));
        drop(arrays);
        blocks.into_iter().for_each(Filled::free);
        assert_wholly_free(&pool);
    }
}

#[test]
fn threads_free_what_others_allocated() {
    const THREADS: usize = 4;
    const ROUNDS: usize = 40_000;
    let pool = Pool::new();
    let (senders, receivers): (Vec<_>, Vec<_>) = (0..THREADS).map(|_| mpsc::channel::<Filled>()).unzip();
    std::thread::scope(|scope| {
        let mut threads = Vec::new();
        for (index, receiver) in receivers.into_iter().enumerate() {
            let to = senders[(index + 1) % THREADS].clone();
            let pool = &pool;
            threads.push(scope.spawn(move || {
                let mut random = index as u64 + 1;
                let mut kept = Vec::new();
                for round in 0..ROUNDS {
                    random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                    let size = 1 + (random >> 33) as usize % [40, 200, 3000][round % 3];
                    let block = Filled::new(pool, size, (random >> 56) as u8);
                    if random & 1 << 40 == 0 {
                        kept.push(block);
                    } else if to.send(block).is_err() {
                        unreachable!("the receiver waits for everything");
                    }
                    if kept.len() > 500 {
                        Filled::free_all(kept.split_off(kept.len() / 3));
                    }
                    receiver.try_iter().take(2).for_each(Filled::free);
                }
                drop(to);
                kept.into_iter().for_each(Filled::free);
                receiver
            }));
        }
        drop(senders);
        let receivers: Vec<_> = threads.into_iter().map(|thread| thread.join().unwrap()).collect();
        receivers.into_iter().for_each(|receiver| receiver.into_iter().for_each(Filled::free));
    });
    assert_wholly_free(&pool);
}

#[test]
fn what_other_threads_freed_is_used_again() {
    const BLOCKS: usize = 50_000;
    let pool = Pool::new();
    let mut blocks: Vec<Filled> = (0..BLOCKS).map(|_| Filled::new(&pool, 100, 1)).collect();
    // Every other block, so that no slab is wholly free.
    let mut kept = Vec::new();
    while let Some(block) = blocks.pop() {
        kept.push(block);
        blocks.pop().unwrap().free();
    }
    let units = || pool.shared().chunks.lock().units_in_use();
    let before = units();
    std::thread::scope(|scope| {
        // So many that each stripe is some thread's own.
        for _ in 0..16 {
            scope.spawn(|| {
                let more: Vec<Filled> = (0..BLOCKS / 50).map(|_| Filled::new(&pool, 100, 2)).collect();
                check(&pool);
                assert_eq!(units(), before);
                more.into_iter().for_each(Filled::free);
            });
        }
    });
    assert_eq!(units(), before);
    kept.into_iter().for_each(Filled::free);
    assert_wholly_free(&pool);
}

#[test]
fn memory_is_given_back_when_sizes_change() {
    const BLOCKS: usize = 60_000;
    let pool = Pool::new();
    let mut random = 1u64;
    let mut next = |below: usize| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (random >> 33) as usize % below
    };
    let mut blocks: Vec<Filled> = (0..BLOCKS).map(|_| Filled::new(&pool, 128, 1)).collect();
    for round in 0..6u8 {
        for at in (0..BLOCKS).map(|at| at * 7919 % BLOCKS) {
            let size = if round % 2 == 0 { 78 + next(101) } else { 60 + 20 * usize::from(round) };
            std::mem::replace(&mut blocks[at], Filled::new(&pool, size, round)).free();
        }
    }
    check(&pool);
    let live: usize = blocks.iter().map(|block| block.size.next_multiple_of(8)).sum();
    pool.stop_helper();
    let (mapped, used) = (pool.mapped_bytes(), pool.shared().chunks.lock().units_in_use() * UNIT);
    assert!(used < live * 5 / 4, "{used} bytes of slabs for {live}, {mapped} mapped");
    blocks.into_iter().for_each(Filled::free);
    assert_wholly_free(&pool);
}

#[test]
fn a_large_pool_gives_chunks_back() {
    let pool = Pool::new();
    let blocks: Vec<Filled> = (0..400_000).map(|_| Filled::new(&pool, 120, 1)).collect();
    assert!(pool.mapped_bytes() > 48_000_000);
    blocks.into_iter().for_each(Filled::free);
    assert_wholly_free(&pool);
    // The helper takes its time.
    let mut patience = 200;
    while pool.mapped_bytes() > 2 * map::CHUNK {
        patience -= 1;
        assert!(patience > 0, "{} bytes stay mapped", pool.mapped_bytes());
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
}

#[test]
fn a_block_outlives_its_pool() {
    let pool = Pool::new();
    let blocks: Vec<Filled> = (0..1000).map(|n| Filled::new(&pool, 50, n as u8)).collect();
    let array = Zeroed::new(&pool, UNIT).unwrap();
    drop(pool);
    // The memory is never given back; so there is nothing to see but that it is still there.
    check_array(&array, 0);
    blocks.into_iter().for_each(Filled::free);
}

#[test]
fn one_who_cannot_start_a_thread_maps_chunks_himself() {
    let pool = Pool::new();
    pool.stop_helper();
    let blocks: Vec<Filled> = (0..100_000).map(|_| Filled::new(&pool, 120, 1)).collect();
    blocks.into_iter().for_each(Filled::free);
    assert_wholly_free(&pool);
    assert!(pool.mapped_bytes() <= 2 * map::CHUNK, "{} bytes stay mapped", pool.mapped_bytes());
}

/// Ends a thread that looks at the flag, also when the one that runs the test panics.
struct Done<'a>(&'a AtomicBool);

impl Drop for Done<'_> {
    fn drop(&mut self) {
        self.0.swap(true, Ordering::Relaxed);
    }
}

#[test]
fn threads_come_and_go_while_the_helper_runs() {
    let pool = Pool::new();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                let array = Zeroed::new(&pool, 400_000).unwrap();
                check_array(&array, 0);
                // SAFETY: the memory is so long, and ours.
                unsafe { array.start().write_bytes(1, array.len()) };
            }
        });
        let _done = Done(&done);
        for _ in 0..3 {
            let blocks: Vec<Filled> = (0..CLASSES * 500).map(|n| Filled::new(&pool, 1 + n * 7 % 700, 3)).collect();
            check(&pool);
            blocks.into_iter().for_each(Filled::free);
        }
    });
    assert_wholly_free(&pool);
}

fn array_of(pool: &Pool, from: &Pool, blocks: usize) -> SlotArray {
    let mut array = SlotArray::new(pool, (blocks * 2).next_power_of_two()).unwrap();
    for (slot, n) in array.slots_mut().iter_mut().step_by(2).take(blocks).zip(0u64..) {
        slot.replace(Block::new(from, &n.to_be_bytes(), &[7; 100], 0).unwrap(), n as u16);
    }
    array
}

#[test]
fn arrays_that_own_everything_are_dropped_at_once() {
    let mut pool = Arc::new(Pool::new());
    // Small, large and huge arrays, and blocks that are malloc's.
    let mut arrays: Vec<_> = [10, 20_000, 200_000].map(|blocks| array_of(&pool, &pool, blocks)).into();
    arrays[0].slots_mut()[1].replace(Block::new(&pool, b"large", &[1; 20_000], 0).unwrap(), 0);
    SlotArray::drop_all(arrays, &mut pool);
    assert_eq!(pool.mapped_bytes(), 0);
}

#[test]
fn what_others_own_outlives_the_arrays() {
    // A block, or an array.
    for others_have_a_block in [true, false] {
        let mut pool = Arc::new(Pool::new());
        let other_pool = Pool::new();
        let arrays = vec![array_of(&pool, &pool, 20_000), array_of(&pool, &other_pool, 20_000)];
        let block = others_have_a_block.then(|| Block::new(&pool, b"key", b"value", 0).unwrap());
        let array_pool = if others_have_a_block { &other_pool } else { &pool };
        let mut array = array_of(array_pool, &other_pool, 20_000);
        SlotArray::drop_all(arrays, &mut pool);
        assert!(block.is_none_or(|block| (block.key(), block.value()) == (b"key", b"value")));
        let domain = Domain::<Garbage>::default();
        assert_eq!(array.slots_mut()[0].load(&domain.pin(0)).block().unwrap().value(), [7; 100]);
        drop(array);
        assert_wholly_free(&pool);
        assert_wholly_free(&other_pool);
    }
}

#[test]
fn arrays_of_a_pool_that_others_have_are_dropped_one_by_one() {
    let mut pool = Arc::new(Pool::new());
    let other = Arc::clone(&pool);
    SlotArray::drop_all(vec![array_of(&pool, &pool, 20_000)], &mut pool);
    assert_wholly_free(&other);
}

#[test]
fn every_run_of_free_units_is_found() {
    for order in 0..ORDERS {
        for unit in (0..UNITS).step_by(1 << order) {
            let run = mask(order) << unit;
            assert_eq!(find(run, order), Some(unit as u32));
            // Without its first unit or its last, or with its neighbours but not itself, it is none.
            assert_eq!(find(run & (run - 1), order), None);
            assert_eq!(find(!run, ORDERS - 1), None);
        }
    }
}

#[test]
fn slabs_change_stripes_while_their_blocks_are_freed() {
    // Of the largest blocks a slab has eight, so that slabs are taken over all the time.
    const SIZE: usize = MAX_SMALL;
    let pool = Pool::new();
    let shared: Vec<Mutex<Option<Filled>>> = (0..64).map(|_| Mutex::new(None)).collect();
    std::thread::scope(|scope| {
        for thread in 1..=4u64 {
            let (pool, shared) = (&pool, &shared);
            scope.spawn(move || {
                let mut random = thread;
                for round in 0..20_000u64 {
                    random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                    let new = (random >> 60 < 10).then(|| Filled::new(pool, SIZE, round as u8));
                    let old = std::mem::replace(&mut *shared[(random >> 33) as usize % shared.len()].lock(), new);
                    old.into_iter().for_each(Filled::free);
                }
            });
        }
    });
    check(&pool);
    shared.iter().for_each(|place| place.lock().take().into_iter().for_each(Filled::free));
    assert_wholly_free(&pool);
}
