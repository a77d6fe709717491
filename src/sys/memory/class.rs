//! The sizes of blocks that slabs hold.
//!
//! Multiples of 8 up to 256 bytes, for most blocks are small and 8 bytes a key count; then eight sizes from each power
//! of two to the next; and above 2 KiB, where what is left over at a slab's end would count, the sizes of which exactly
//! 31, 30, ... 8 fill it. So no block is more than 7 bytes and an eighth longer than it must be.

/// The length of a slab, and its alignment.
pub const UNIT: usize = 64 << 10;
/// A slab begins with its header. One cache line: so a block of whole cache lines begins with one.
pub const SLAB_HEADER: usize = 64;
const ROOM: usize = UNIT - SLAB_HEADER;

const FINE: usize = 32;
const MIDDLE: usize = 24;
const COARSE: usize = 24;
const FINE_MAX: usize = 256;
const MIDDLE_MAX: usize = 2048;
/// How many of the smallest and the largest of the coarse sizes fill a slab.
const MOST: usize = 31;
const FEWEST: usize = 8;

/// How many sizes there are.
pub const CLASSES: usize = FINE + MIDDLE + COARSE;
/// The largest of them.
pub const LARGEST: usize = (ROOM / FEWEST) & !7;

const _: () = assert!(COARSE == MOST - FEWEST + 1 && ROOM / (MOST + 1) < MIDDLE_MAX && ROOM / MOST > MIDDLE_MAX);

/// The class with the smallest blocks that hold `size` bytes, from 1 to [`LARGEST`].
pub fn of_size(size: usize) -> usize {
    debug_assert!((1..=LARGEST).contains(&size));
    let last = size - 1;
    if size <= FINE_MAX {
        last / 8
    } else if size <= MIDDLE_MAX {
        let log = last.ilog2() as usize;
        FINE + (log - 8) * 8 + (last >> (log - 3)) % 8
    } else {
        FINE + MIDDLE + MOST - ROOM / size.next_multiple_of(8)
    }
}

/// The size of the blocks of a class.
pub const fn block_size(class: usize) -> usize {
    if class < FINE {
        (class + 1) * 8
    } else if class < FINE + MIDDLE {
        let (log, step) = ((class - FINE) / 8 + 8, (class - FINE) % 8);
        (8 + step + 1) << (log - 3)
    } else {
        (ROOM / (MOST - (class - FINE - MIDDLE))) & !7
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_size_has_the_smallest_class_that_holds_it() {
        for size in 1..=LARGEST {
            let class = of_size(size);
            let block = block_size(class);
            assert!(class < CLASSES && block >= size && block.is_multiple_of(8), "{size}: {block}");
            assert!(block - size < 8 || (block - size - 7) * 8 <= size, "{size}: {block}");
            assert!(class == 0 || block_size(class - 1) < size, "{size}: {block}");
        }
        assert_eq!(block_size(CLASSES - 1), LARGEST);
    }

    #[test]
    fn little_is_left_at_the_end_of_a_slab() {
        for block in (0..CLASSES).map(block_size) {
            assert!(ROOM % block <= ROOM / 24, "{block}: {}", ROOM % block);
        }
    }
}
