//! Lengths that a file says it has are not believed before they are checked: whatever stands there, with a right checksum
//! or a wrong one, opening a store takes no more memory than files of that size need.

#[path = "support/counting.rs"]
mod counting;
mod support;

use std::path::PathBuf;

use counting::{Allocated, Counting};
use kvwal::vfs::sim::SimDisk;
use support::reader;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const LOG: &str = "/store/wal.log";
const CHECKPOINT: &str = "/store/checkpoint.dat";

/// The buffers that an opening has use for, however small the files are.
const BUFFERS: usize = 6 << 20;
/// Where the first block of a checkpoint begins.
const BLOCKS_AT: usize = 64;

/// A closed store with a checkpoint of small values and one large one, and a log behind it.
fn sample() -> SimDisk {
    let disk = SimDisk::new(1);
    let store = support::open(&disk).unwrap();
    (0..50u8).for_each(|key| store.set(&[key], &[key; 100]).unwrap());
    store.set(b"large", &[7; 100_000]).unwrap();
    store.checkpoint().unwrap();
    (50..60u8).for_each(|key| store.set(&[key], &[key; 1000]).unwrap());
    store.set(b"large", &[8; 100_000]).unwrap();
    (60..70u8).for_each(|key| store.set(&[key], &[key; 10]).unwrap());
    store.close().unwrap();
    disk
}

/// A field that says how long something is, or how many there are of it.
struct Length {
    at: usize,
    bytes: usize,
    /// Where the CRC stands that covers it, and the first byte that this covers.
    crc_at: usize,
    covers: usize,
    /// How far it covers, if that does not depend on the field.
    to: Option<usize>,
}

/// The lengths in a log: of records, keys and values.
fn lengths_of_log(log: &[u8]) -> Vec<Length> {
    let (mut lengths, mut at) = (Vec::new(), 0);
    while at < log.len() {
        let record = reader::record(&log[at..]).unwrap();
        let field = |offset: usize, to| Length { at: at + offset, bytes: 4, crc_at: at, covers: at + 4, to };
        let end = Some(at + record.len);
        lengths.extend([field(4, None), field(25, end), field(29 + record.key.len(), end)]);
        at += record.len;
    }
    lengths
}

/// The lengths in a checkpoint: of the file, blocks, keys and values, and the numbers of keys and blocks.
fn lengths_of_checkpoint(checkpoint: &[u8]) -> Vec<Length> {
    let header = |at, bytes| Length { at, bytes, crc_at: 60, covers: 0, to: Some(60) };
    let mut lengths = vec![header(32, 8), header(40, 8), header(56, 4)];
    let mut at = BLOCKS_AT;
    while at < checkpoint.len() {
        let number = |at: usize| u32::from_be_bytes(checkpoint[at..at + 4].try_into().unwrap()) as usize;
        let end = at + number(at + 4);
        let field = |offset: usize, bytes, to| Length { at: at + offset, bytes, crc_at: at, covers: at + 4, to };
        // Of its entries the first will do.
        lengths.extend([field(4, 4, None), field(17, 2, Some(end)), field(19, 4, Some(end))]);
        at = end;
    }
    lengths
}

/// The file with another number in a field, and its checksum made right if that is wanted.
fn with_number(file: &[u8], length: &Length, number: u64, right_crc: bool) -> Vec<u8> {
    let mut damaged = file.to_vec();
    damaged[length.at..length.at + length.bytes].copy_from_slice(&number.to_be_bytes()[8 - length.bytes..]);
    if right_crc {
        let claimed = length.crc_at.saturating_add(number as usize);
        let to = length.to.unwrap_or(claimed).clamp(length.covers, damaged.len());
        let crc = crc32fast::hash(&damaged[length.covers..to]);
        damaged[length.crc_at..length.crc_at + 4].copy_from_slice(&crc.to_be_bytes());
    }
    damaged
}

fn files_len(files: &[(PathBuf, Vec<u8>)]) -> usize {
    files.iter().map(|(_, bytes)| bytes.len()).sum()
}

/// What opening allocates, and whether it succeeded.
fn open(disk: &SimDisk) -> (bool, Allocated) {
    let disk = disk.fork();
    counting::while_running(|| support::open(&disk).is_ok())
}

// All in one test, so that nothing else allocates meanwhile.
#[test]
fn no_length_is_believed_before_it_is_checked() {
    let disk = sample();
    let limit = files_len(&disk.all_files()) * 4 + BUFFERS;
    let (_, control) = counting::while_running(|| drop(std::hint::black_box(vec![1u8; limit + 1])));
    assert_eq!((control.largest, control.most), (limit + 1, limit + 1), "the allocator counts");
    let (opened, intact) = open(&disk);
    assert!(opened && intact.most <= limit, "{intact:?} for an intact store");
    let mapped_before = counting::mapped();

    let (mut refused, mut recovered) = (0, 0);
    for (path, lengths) in [(LOG, lengths_of_log as fn(&[u8]) -> Vec<Length>), (CHECKPOINT, lengths_of_checkpoint)] {
        let file = disk.contents(path).unwrap();
        for length in lengths(&file) {
            let left = (file.len() - length.at) as u64;
            let numbers = [0, 1, left - 1, left, left + 1, 65_535, 1 << 20, 1 << 30, (1 << 30) + 65_576, 1 << 31];
            let largest = [u64::from(u32::MAX) - 8, u64::from(u32::MAX), 1 << 40, i64::MAX as u64, u64::MAX];
            for number in numbers.into_iter().chain(largest) {
                for right_crc in [false, true] {
                    let fork = disk.fork();
                    fork.overwrite(path, &with_number(&file, &length, number, right_crc));
                    let (opened, allocated) = open(&fork);
                    let context = format!("{number} at {} of {path}, checksum right: {right_crc}", length.at);
                    assert!(allocated.most <= limit, "{context}: {allocated:?}, not {limit}");
                    assert!(allocated.largest <= file.len() + (4 << 20), "{context}: {allocated:?}");
                    *(if opened { &mut recovered } else { &mut refused }) += 1;
                }
            }
        }
    }
    assert!(refused > 200 && recovered > 1000, "{refused} refused, {recovered} recovered");
    // What the table maps by itself comes in pieces of 2 MiB.
    let mapped = counting::mapped() - mapped_before;
    assert!(mapped <= 8 << 20, "{mapped} bytes more were mapped than for an intact store");
}
