//! The bytes of a checkpoint file: header and block headers, as pure encoding and decoding. `docs/format.md` describes
//! them for other readers.

use crate::error::{Error, ErrorKind, Result};
use crate::format::{Lsn, read_u32, read_u64};

const MAGIC: &[u8; 8] = b"KVWALCKP";
const VERSION: u32 = 1;

/// Bytes of the file header.
pub const HEADER_LEN: usize = 64;
const HEADER_CRC_AT: usize = 60;
/// Bytes of a block header.
pub const BLOCK_HEADER_LEN: usize = 16;
/// Bytes of an entry without expiry, key and value.
pub const MIN_ENTRY_LEN: usize = 7;
const ENTRY_EXPIRES: u8 = 1;

/// A block is closed when its payload has this many bytes.
pub const BLOCK_TARGET: usize = 256 << 10;
/// The longest payload of a block.
pub const MAX_PAYLOAD: usize = 1 << 20;
/// Values from this length on are large: their entries have blocks of their own.
pub const LARGE_VALUE: usize = 64 << 10;

/// The longest entry but for its value.
pub const MAX_HEAD: usize = MIN_ENTRY_LEN + 8 + crate::format::MAX_KEY_LEN;

// An entry that is not large fits into a block that was just short of being closed.
const _: () = assert!(BLOCK_TARGET + MAX_HEAD + LARGE_VALUE <= MAX_PAYLOAD);

/// What the file says of itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Header {
    /// The last record whose effect is in the checkpoint.
    pub lsn: Lsn,
    /// Where the first record that is not in it lies in the log, as a hint.
    pub wal_offset: u64,
    /// Entries.
    pub keys: u64,
    /// The file's length.
    pub file_len: u64,
    /// When it was made, in Unix milliseconds.
    pub created_at: u64,
    /// Blocks.
    pub blocks: u32,
}

impl Header {
    /// The header's bytes.
    pub fn encode(&self) -> [u8; HEADER_LEN] {
        let mut bytes = [0; HEADER_LEN];
        bytes[0..8].copy_from_slice(MAGIC);
        bytes[8..12].copy_from_slice(&VERSION.to_be_bytes());
        bytes[16..24].copy_from_slice(&self.lsn.to_be_bytes());
        bytes[24..32].copy_from_slice(&self.wal_offset.to_be_bytes());
        bytes[32..40].copy_from_slice(&self.keys.to_be_bytes());
        bytes[40..48].copy_from_slice(&self.file_len.to_be_bytes());
        bytes[48..56].copy_from_slice(&self.created_at.to_be_bytes());
        bytes[56..60].copy_from_slice(&self.blocks.to_be_bytes());
        let crc = crc32fast::hash(&bytes[..HEADER_CRC_AT]);
        bytes[HEADER_CRC_AT..].copy_from_slice(&crc.to_be_bytes());
        bytes
    }

    /// Reads a header. The first 12 bytes and the checksum have their place in every version.
    pub fn decode(bytes: &[u8; HEADER_LEN]) -> Result<Header> {
        if bytes[..8] != *MAGIC {
            return Err(Error::corrupt("it is not a checkpoint of kvwal"));
        }
        if read_u32(bytes, HEADER_CRC_AT) != crc32fast::hash(&bytes[..HEADER_CRC_AT]) {
            return Err(Error::corrupt("the checksum of its header is wrong"));
        }
        let (version, flags) = (read_u32(bytes, 8), read_u32(bytes, 12));
        if version != VERSION || flags != 0 {
            let message = format!("it has format version {version}, flags {flags}; this is version {VERSION}");
            return Err(Error::new(ErrorKind::Version, message));
        }
        Ok(Header {
            lsn: read_u64(bytes, 16),
            wal_offset: read_u64(bytes, 24),
            keys: read_u64(bytes, 32),
            file_len: read_u64(bytes, 40),
            created_at: read_u64(bytes, 48),
            blocks: read_u32(bytes, 56),
        })
    }
}

/// What a block holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BlockKind {
    /// Whole entries.
    Entries = 1,
    /// The first part of one large entry.
    LargeFirst = 2,
    /// Further parts of it, in the blocks right behind.
    LargeMore = 3,
}

/// The header of a block with this payload.
pub fn block_header(index: u32, kind: BlockKind, payload: &[u8]) -> [u8; BLOCK_HEADER_LEN] {
    let mut bytes = [0; BLOCK_HEADER_LEN];
    bytes[4..8].copy_from_slice(&((BLOCK_HEADER_LEN + payload.len()) as u32).to_be_bytes());
    bytes[8..12].copy_from_slice(&index.to_be_bytes());
    bytes[12..16].copy_from_slice(&(kind as u32).to_be_bytes());
    let crc = block_crc(&bytes, payload);
    bytes[..4].copy_from_slice(&crc.to_be_bytes());
    bytes
}

/// Length of the payload that a block header announces, if a block can be as long.
pub fn payload_len(header: &[u8; BLOCK_HEADER_LEN]) -> Option<usize> {
    let payload = (read_u32(header, 4) as usize).checked_sub(BLOCK_HEADER_LEN)?;
    (payload <= MAX_PAYLOAD).then_some(payload)
}

/// Whether a block header, right or wrong, says that the block belongs to a large entry.
pub fn is_part_of_large(header: &[u8; BLOCK_HEADER_LEN]) -> bool {
    [BlockKind::LargeFirst as u32, BlockKind::LargeMore as u32].contains(&read_u32(header, 12))
}

/// The kind of a block whose checksum is right and whose place is `index`.
pub fn check_block(header: &[u8; BLOCK_HEADER_LEN], index: u32, payload: &[u8]) -> Result<BlockKind> {
    if read_u32(header, 0) != block_crc(header, payload) {
        return Err(Error::corrupt("the checksum is wrong"));
    }
    if read_u32(header, 8) != index {
        return Err(Error::corrupt(format!("it is block {} in another's place", read_u32(header, 8))));
    }
    match read_u32(header, 12) {
        1 => Ok(BlockKind::Entries),
        2 => Ok(BlockKind::LargeFirst),
        3 => Ok(BlockKind::LargeMore),
        kind => Err(Error::corrupt(format!("there is no block of kind {kind}"))),
    }
}

fn block_crc(header: &[u8; BLOCK_HEADER_LEN], payload: &[u8]) -> u32 {
    let mut crc = crc32fast::Hasher::new();
    crc.update(&header[4..]);
    crc.update(payload);
    crc.finalize()
}

/// An entry without its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EntryHead<'a> {
    /// The key.
    pub key: &'a [u8],
    /// Bytes of the value.
    pub value_len: usize,
    /// Unix time in milliseconds, 0 for never.
    pub expires_at: u64,
}

impl<'a> EntryHead<'a> {
    /// Appends everything before the value to `out`.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.push(if self.expires_at == 0 { 0 } else { ENTRY_EXPIRES });
        out.extend_from_slice(&(self.key.len() as u16).to_be_bytes());
        out.extend_from_slice(&(self.value_len as u32).to_be_bytes());
        if self.expires_at != 0 {
            out.extend_from_slice(&self.expires_at.to_be_bytes());
        }
        out.extend_from_slice(self.key);
    }

    /// Reads an entry's head; returns it with what follows.
    pub fn decode(bytes: &'a [u8]) -> Result<(EntryHead<'a>, &'a [u8])> {
        let too_short = || Error::corrupt("an entry is cut off");
        let (head, mut rest) = bytes.split_at_checked(MIN_ENTRY_LEN).ok_or_else(too_short)?;
        let key_len = usize::from(u16::from_be_bytes([head[1], head[2]]));
        let value_len = read_u32(head, 3) as usize;
        let mut expires_at = 0;
        if head[0] & ENTRY_EXPIRES != 0 {
            let (expiry, behind) = rest.split_at_checked(8).ok_or_else(too_short)?;
            expires_at = read_u64(expiry, 0);
            rest = behind;
            // It would pass for a key that never expires.
            if expires_at == 0 {
                return Err(Error::corrupt("an entry expires at the time 0"));
            }
        }
        let (key, rest) = rest.split_at_checked(key_len).ok_or_else(too_short)?;
        if head[0] & !ENTRY_EXPIRES != 0 || value_len > crate::format::MAX_VALUE_LEN {
            return Err(Error::corrupt(format!("an entry has flags {} and a value of {value_len} bytes", head[0])));
        }
        Ok((EntryHead { key, value_len, expires_at }, rest))
    }
}
