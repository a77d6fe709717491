//! Bringing arbitrary bytes into order, as far as a level says.
//!
//! A checksum is a wall for a fuzzer: behind it nothing is ever reached by chance. So the first byte of an input says how
//! much of what it means to be is put right before it is used.

use crate::support::reader::MIN_RECORD;

const HEADER: usize = 64;
const BLOCK_HEADER: usize = 16;

/// How much is put right.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Nothing.
    Raw,
    /// Checksums.
    Checksums,
    /// Also what counts: LSNs, the indexes of blocks, and the lengths and numbers in a checkpoint's header.
    Counts,
}

impl Level {
    /// The level that a byte of an input stands for.
    pub fn of(byte: u8) -> Level {
        match byte % 3 {
            0 => Level::Raw,
            1 => Level::Checksums,
            _ => Level::Counts,
        }
    }
}

fn be_u32(bytes: &[u8], at: usize) -> usize {
    u32::from_be_bytes(bytes[at..at + 4].try_into().expect("four bytes")) as usize
}

fn put_u32(bytes: &mut [u8], at: usize, number: u32) {
    bytes[at..at + 4].copy_from_slice(&number.to_be_bytes());
}

/// Seals the records of a log, one behind the other, until one has an impossible length.
pub fn log(bytes: &mut [u8], level: Level) {
    if level == Level::Raw {
        return;
    }
    let (mut at, mut last_lsn) = (0, None::<[u8; 8]>);
    while at + MIN_RECORD <= bytes.len() {
        let len = be_u32(bytes, at + 4);
        if !(MIN_RECORD..=bytes.len() - at).contains(&len) {
            return;
        }
        if level == Level::Counts
            && let Some(last) = last_lsn
        {
            let next = u64::from_be_bytes(last).wrapping_add(1);
            bytes[at + 8..at + 16].copy_from_slice(&next.to_be_bytes());
        }
        last_lsn = bytes[at + 8..at + 16].try_into().ok();
        let crc = crc32fast::hash(&bytes[at + 4..at + len]);
        put_u32(bytes, at, crc);
        at += len;
    }
}

/// Seals the header and the blocks of a checkpoint, one behind the other, until one has an impossible length.
pub fn checkpoint(bytes: &mut [u8], level: Level) {
    if level == Level::Raw || bytes.len() < HEADER {
        return;
    }
    let (mut at, mut index) = (HEADER, 0);
    while at + BLOCK_HEADER <= bytes.len() {
        let len = be_u32(bytes, at + 4);
        if !(BLOCK_HEADER..=bytes.len() - at).contains(&len) {
            break;
        }
        if level == Level::Counts {
            put_u32(bytes, at + 8, index);
        }
        let crc = crc32fast::hash(&bytes[at + 4..at + len]);
        put_u32(bytes, at, crc);
        (at, index) = (at + len, index + 1);
    }
    if level == Level::Counts {
        let file_len = bytes.len() as u64;
        bytes[40..48].copy_from_slice(&file_len.to_be_bytes());
        put_u32(bytes, 56, index);
    }
    let crc = crc32fast::hash(&bytes[..60]);
    put_u32(bytes, 60, crc);
}
