//! The bytes of a log record: pure encoding and decoding. `docs/format.md` describes them for other readers.
//!
//! | offset | bytes | field (integers big-endian) |
//! |---|---|---|
//! | 0 | 4 | CRC-32 (IEEE) over everything behind it |
//! | 4 | 4 | length of the whole record |
//! | 8 | 8 | LSN |
//! | 16 | 8 | durable LSN: the highest whose sync had returned when this record was written |
//! | 24 | 1 | op; bit 0x80: the next record belongs to the same batch |
//! | 25 | 8 | expiry in Unix milliseconds, only for op 3; shifts what follows |
//! | 25 | 4 | key length |
//! | 29 | k | key |
//! | 29+k | 4 | value length |
//! | 33+k | v | value |

use crate::error::{Error, ErrorKind, Result};

/// A log sequence number. The first record is 1; 0 stands for "none yet".
pub type Lsn = u64;

/// Longest key, in bytes.
pub const MAX_KEY_LEN: usize = 65_535;
/// Longest value, in bytes.
pub const MAX_VALUE_LEN: usize = 1 << 30;

/// Bytes of a record without key, value and expiry.
pub const MIN_RECORD_LEN: usize = 33;
const EXPIRY_LEN: usize = 8;
/// Bytes of the longest record.
pub const MAX_RECORD_LEN: usize = MIN_RECORD_LEN + EXPIRY_LEN + MAX_KEY_LEN + MAX_VALUE_LEN;
/// CRC and length: what must be read before anything else is known of a record.
pub const PREFIX_LEN: usize = 8;

/// Where the op lies, behind the LSNs: a record that was cut short before it cannot be told from anything else.
pub const OP_AT: usize = 24;

const CRC_LEN: usize = 4;
const BATCH: u8 = 0x80;

const _: () = assert!(MAX_RECORD_LEN <= u32::MAX as usize);

/// What a record does to its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    /// Sets it.
    Put,
    /// Deletes it.
    Delete,
    /// Sets it until a point in time.
    PutExpiring,
}

impl Op {
    /// The op of a byte, and whether the batch bit is set; `None` if there is no such op.
    pub fn from_byte(byte: u8) -> Option<(Op, bool)> {
        let op = match byte & !BATCH {
            1 => Op::Put,
            2 => Op::Delete,
            3 => Op::PutExpiring,
            _ => return None,
        };
        Some((op, byte & BATCH != 0))
    }

    /// The byte of an op; `more` sets the batch bit.
    pub const fn to_byte(self, more: bool) -> u8 {
        let op = match self {
            Op::Put => 1,
            Op::Delete => 2,
            Op::PutExpiring => 3,
        };
        if more { op | BATCH } else { op }
    }

    fn expiry_len(self) -> usize {
        if self == Op::PutExpiring { EXPIRY_LEN } else { 0 }
    }
}

/// One record of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    /// Its number.
    pub lsn: Lsn,
    /// The highest LSN whose sync had returned when it was written.
    pub durable_lsn: Lsn,
    /// What it does.
    pub op: Op,
    /// Whether the next record belongs to the same batch.
    pub more: bool,
    /// Unix time in milliseconds, for [`Op::PutExpiring`]; otherwise 0.
    pub expires_at: u64,
    /// The key.
    pub key: &'a [u8],
    /// The value; empty for [`Op::Delete`].
    pub value: &'a [u8],
}

impl Record<'_> {
    /// Bytes that the record takes in the log.
    pub fn encoded_len(&self) -> usize {
        MIN_RECORD_LEN + self.op.expiry_len() + self.key.len() + self.value.len()
    }
}

/// Checks the limits that hold for every key and value.
#[inline(always)]
pub fn check_lengths(key: &[u8], value: &[u8]) -> Result<()> {
    match key.len() <= MAX_KEY_LEN && value.len() <= MAX_VALUE_LEN {
        true => Ok(()),
        false => too_large(key, value),
    }
}

#[cold]
fn too_large(key: &[u8], value: &[u8]) -> Result<()> {
    let check = |what, len, max| match len <= max {
        true => Ok(()),
        false => Err(Error::new(ErrorKind::TooLarge, format!("{what} of {len} bytes, at most {max} are allowed"))),
    };
    check("key", key.len(), MAX_KEY_LEN)?;
    check("value", value.len(), MAX_VALUE_LEN)
}

/// Checks that a record can be encoded.
pub fn check(record: &Record<'_>) -> Result<()> {
    if record.op == Op::Delete && !record.value.is_empty() {
        return Err(Error::new(ErrorKind::Invalid, "a DELETE record has no value"));
    }
    check_lengths(record.key, record.value)
}

/// Appends the encoded record to `out`.
pub fn encode(record: &Record<'_>, out: &mut Vec<u8>) -> Result<()> {
    check(record)?;
    let len = record.encoded_len();
    out.try_reserve(len).map_err(|_| Error::no_memory(len))?;
    encode_head(record, out);
    out.extend_from_slice(record.value);
    Ok(())
}

/// Appends the record up to its value, which is to follow, to `out`. For records whose lengths have been checked.
pub fn encode_head(record: &Record<'_>, out: &mut Vec<u8>) {
    let start = out.len();
    out.extend_from_slice(&[0; CRC_LEN]);
    out.extend_from_slice(&(record.encoded_len() as u32).to_be_bytes());
    out.extend_from_slice(&record.lsn.to_be_bytes());
    out.extend_from_slice(&record.durable_lsn.to_be_bytes());
    out.push(record.op.to_byte(record.more));
    if record.op == Op::PutExpiring {
        out.extend_from_slice(&record.expires_at.to_be_bytes());
    }
    out.extend_from_slice(&(record.key.len() as u32).to_be_bytes());
    out.extend_from_slice(record.key);
    out.extend_from_slice(&(record.value.len() as u32).to_be_bytes());
    let mut crc = crc32fast::Hasher::new();
    crc.update(&out[start + CRC_LEN..]);
    crc.update(record.value);
    out[start..start + CRC_LEN].copy_from_slice(&crc.finalize().to_be_bytes());
}

/// Decodes the record at the beginning of `bytes`, which may go on behind it.
///
/// [`ErrorKind::Incomplete`]: `bytes` end before it does. [`ErrorKind::CrcMismatch`]. [`ErrorKind::Corrupt`]: no record
/// is as long, or its fields contradict each other. [`ErrorKind::Version`]: checksum right, op unknown.
pub fn decode(bytes: &[u8]) -> Result<Record<'_>> {
    let len = record_len(bytes)?;
    let bytes = bytes.get(..len).ok_or_else(|| incomplete(bytes.len(), len))?;
    let (stored, computed) = (read_u32(bytes, 0), crc32fast::hash(&bytes[CRC_LEN..]));
    if stored != computed {
        let message = format!("checksum {stored:#010x} in the record, {computed:#010x} over its bytes");
        return Err(Error::new(ErrorKind::CrcMismatch, message));
    }
    decode_checked(bytes)
}

/// The length that the record at the beginning of `bytes` claims, if a record can be as long.
pub fn record_len(bytes: &[u8]) -> Result<usize> {
    if bytes.len() < PREFIX_LEN {
        return Err(incomplete(bytes.len(), PREFIX_LEN));
    }
    let len = read_u32(bytes, CRC_LEN) as usize;
    if (MIN_RECORD_LEN..=MAX_RECORD_LEN).contains(&len) {
        Ok(len)
    } else {
        Err(Error::corrupt(format!("no record has a length of {len}")))
    }
}

/// Decodes exactly one record, whose checksum is known to be right.
pub fn decode_checked(bytes: &[u8]) -> Result<Record<'_>> {
    let (op, more) = Op::from_byte(bytes[OP_AT])
        .ok_or_else(|| Error::new(ErrorKind::Version, format!("unknown op {}", bytes[OP_AT])))?;
    let fields = Fields::find(bytes, op).filter(|fields| fields.end() == bytes.len());
    let Some(Fields { key_at, key_len, value_at, value_len }) = fields else {
        return Err(Error::corrupt("the lengths in the record contradict each other"));
    };
    if key_len > MAX_KEY_LEN || value_len > MAX_VALUE_LEN || (op == Op::Delete && value_len != 0) {
        return Err(Error::corrupt(format!("no such record has a key of {key_len} and a value of {value_len} bytes")));
    }
    Ok(Record {
        lsn: read_u64(bytes, 8),
        durable_lsn: read_u64(bytes, 16),
        op,
        more,
        expires_at: if op == Op::PutExpiring { read_u64(bytes, OP_AT + 1) } else { 0 },
        key: &bytes[key_at..key_at + key_len],
        value: &bytes[value_at..value_at + value_len],
    })
}

/// Where key and value lie in a record.
struct Fields {
    key_at: usize,
    key_len: usize,
    value_at: usize,
    value_len: usize,
}

impl Fields {
    /// `None` if `bytes` end before the length of the value.
    fn find(bytes: &[u8], op: Op) -> Option<Fields> {
        let key_len_at = OP_AT + 1 + op.expiry_len();
        let key_at = key_len_at + 4;
        let key_len = be_u32(bytes, key_len_at)? as usize;
        let value_at = key_at.checked_add(key_len)?.checked_add(4)?;
        let value_len = be_u32(bytes, value_at - 4)? as usize;
        Some(Fields { key_at, key_len, value_at, value_len })
    }

    fn end(&self) -> usize {
        self.value_at.saturating_add(self.value_len)
    }
}

/// Whether `bytes`, read at some offset of a damaged log, could begin a record: cheap to answer, and wrong for nearly
/// everything that is none. Gives its length, LSN and durable LSN. `bytes` may end inside the record.
pub fn peek(bytes: &[u8]) -> Option<Peek> {
    if bytes.len() < MIN_RECORD_LEN {
        return None;
    }
    let (op, _) = Op::from_byte(bytes[OP_AT])?;
    let len = record_len(bytes).ok()?;
    let key_len = be_u32(bytes, OP_AT + 1 + op.expiry_len())? as usize;
    let rest = len.checked_sub(MIN_RECORD_LEN + op.expiry_len() + key_len)?;
    let fields = Fields::find(bytes, op);
    let consistent = key_len <= MAX_KEY_LEN && rest <= MAX_VALUE_LEN && fields.is_none_or(|found| found.end() == len);
    consistent.then(|| Peek { len, lsn: read_u64(bytes, 8), durable_lsn: read_u64(bytes, 16) })
}

/// What [`peek`] sees.
#[derive(Clone, Copy, Debug)]
pub struct Peek {
    /// The record's length.
    pub len: usize,
    /// Its LSN.
    pub lsn: Lsn,
    /// Its durable LSN.
    pub durable_lsn: Lsn,
}

/// Whether `header` — the beginning of a log — is nothing that this crate ever wrote: neither its LSN nor its op can be
/// right. A torn sector is blank, and one damaged field leaves the other.
pub fn is_foreign(header: &[u8]) -> bool {
    header.len() >= MIN_RECORD_LEN
        && header[..MIN_RECORD_LEN].iter().any(|&byte| byte != 0)
        && !(1..=u64::from(u32::MAX)).contains(&read_u64(header, 8))
        && Op::from_byte(header[OP_AT]).is_none()
}

fn incomplete(have: usize, need: usize) -> Error {
    Error::new(ErrorKind::Incomplete, format!("{have} bytes of a record of {need}"))
}

fn be_u32(bytes: &[u8], at: usize) -> Option<u32> {
    let field = bytes.get(at..at.checked_add(4)?)?;
    Some(u32::from_be_bytes(field.try_into().ok()?))
}

/// The big-endian integer at `at`, which the caller knows to be inside `bytes`.
pub fn read_u32(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

/// As [`read_u32`], of eight bytes.
pub fn read_u64(bytes: &[u8], at: usize) -> u64 {
    u64::from_be_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn record<'a>(op: Op, key: &'a [u8], value: &'a [u8]) -> Record<'a> {
        let expires_at = if op == Op::PutExpiring { 1_800_000_000_000 } else { 0 };
        Record { lsn: 7, durable_lsn: 6, op, more: false, expires_at, key, value }
    }

    fn encoded(record: &Record<'_>) -> Vec<u8> {
        let mut out = Vec::new();
        encode(record, &mut out).unwrap();
        out
    }

    #[test]
    fn bytes_are_those_of_the_document() {
        // A PUT of "k" = "vv", LSN 7, durable LSN 6, worked out by hand.
        let bytes = encoded(&record(Op::Put, b"k", b"vv"));
        let body = [
            &36u32.to_be_bytes()[..],
            &7u64.to_be_bytes(),
            &6u64.to_be_bytes(),
            &[1],
            &1u32.to_be_bytes(),
            b"k",
            &2u32.to_be_bytes(),
            b"vv",
        ]
        .concat();
        assert_eq!(bytes[4..], body);
        assert_eq!(bytes[..4], crc32fast::hash(&body).to_be_bytes());
    }

    #[test]
    fn every_bit_flip_is_found() {
        for op in [Op::Put, Op::Delete, Op::PutExpiring] {
            let value: &[u8] = if op == Op::Delete { b"" } else { b"value" };
            let good = encoded(&record(op, b"key", value));
            for bit in 0..good.len() * 8 {
                let mut bad = good.clone();
                bad[bit / 8] ^= 1 << (bit % 8);
                let kind = decode(&bad).unwrap_err().kind();
                let length_bit = (32..64).contains(&bit);
                assert!(kind == ErrorKind::CrcMismatch || length_bit, "bit {bit}: {kind:?}");
            }
        }
    }

    #[test]
    fn every_truncation_is_incomplete() {
        let good = encoded(&record(Op::PutExpiring, b"key", b"value"));
        for len in 0..good.len() {
            assert_eq!(decode(&good[..len]).unwrap_err().kind(), ErrorKind::Incomplete, "{len} bytes");
        }
    }

    #[test]
    fn bad_length_and_blank_header_are_corrupt() {
        for len in [0, MIN_RECORD_LEN as u32 - 1, MAX_RECORD_LEN as u32 + 1, u32::MAX] {
            let mut bytes = encoded(&record(Op::Put, b"key", b"value"));
            bytes[4..8].copy_from_slice(&len.to_be_bytes());
            assert_eq!(decode(&bytes).unwrap_err().kind(), ErrorKind::Corrupt, "length {len}");
        }
        assert_eq!(decode(&[0; 64]).unwrap_err().kind(), ErrorKind::Corrupt);
    }

    fn reseal(bytes: &mut [u8]) {
        let crc = crc32fast::hash(&bytes[4..]);
        bytes[..4].copy_from_slice(&crc.to_be_bytes());
    }

    #[test]
    fn unknown_op_under_a_right_checksum_is_a_newer_version() {
        let mut bytes = encoded(&record(Op::Put, b"key", b"value"));
        bytes[OP_AT] = 4;
        reseal(&mut bytes);
        assert_eq!(decode(&bytes).unwrap_err().kind(), ErrorKind::Version);
    }

    #[test]
    fn lengths_that_contradict_each_other_are_corrupt() {
        for (at, value) in [(25, 2u32), (25, 4), (25, u32::MAX), (32, 4), (32, u32::MAX)] {
            let mut bytes = encoded(&record(Op::Put, b"key", b"value"));
            bytes[at..at + 4].copy_from_slice(&value.to_be_bytes());
            reseal(&mut bytes);
            assert_eq!(decode(&bytes).unwrap_err().kind(), ErrorKind::Corrupt, "{value} at {at}");
            assert!(peek(&bytes).is_none(), "{value} at {at}");
        }
    }

    #[test]
    fn too_large_and_contradictory_records_are_not_encoded() {
        let mut out = Vec::new();
        let too_large = |key: &[u8], value: &[u8], out: &mut Vec<u8>| {
            let error = encode(&record(Op::Put, key, value), out).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::TooLarge);
            error.to_string()
        };
        // Zeros of which nobody reads one take no memory.
        let (long_key, long_value) = (vec![0; 65_536], vec![0; (1 << 30) + 1]);
        assert!(too_large(&long_key, b"", &mut out).starts_with("key of 65536 bytes"));
        assert!(too_large(b"key", &long_value, &mut out).starts_with("value of 1073741825 bytes"));
        assert_eq!(encode(&record(Op::Delete, b"k", b"v"), &mut out).unwrap_err().kind(), ErrorKind::Invalid);
        assert!(out.is_empty());
        check_lengths(&long_key[1..], &long_value[1..]).unwrap();
    }

    /// The first bytes of a record with these lengths, and zeros.
    fn head(op: Op, len: u32, key_len: u32) -> [u8; 64] {
        let mut bytes = [0; 64];
        bytes[4..8].copy_from_slice(&len.to_be_bytes());
        bytes[OP_AT] = op.to_byte(false);
        let key_len_at = OP_AT + 1 + op.expiry_len();
        bytes[key_len_at..key_len_at + 4].copy_from_slice(&key_len.to_be_bytes());
        bytes
    }

    #[test]
    fn the_longest_key_and_value_are_read_and_longer_ones_are_corrupt() {
        let read = |op: Op, key_len: u32, value_len: u32| {
            let len = 33 + key_len + value_len;
            let mut bytes = vec![0; len as usize];
            bytes[..29].copy_from_slice(&head(op, len, key_len)[..29]);
            let value_len_at = 29 + key_len as usize;
            bytes[value_len_at..value_len_at + 4].copy_from_slice(&value_len.to_be_bytes());
            let looks_right = peek(&bytes).is_some();
            (decode_checked(&bytes).err().map(|error| error.kind()), looks_right)
        };
        assert_eq!(read(Op::Put, 65_535, 1), (None, true));
        assert_eq!(read(Op::Put, 65_536, 1), (Some(ErrorKind::Corrupt), false));
        assert_eq!(read(Op::Put, 1, 1 << 30), (None, true));
        assert_eq!(read(Op::Put, 1, (1 << 30) + 1), (Some(ErrorKind::Corrupt), false));
        // Its lengths agree with each other, so a search may skip it as a whole.
        assert_eq!(read(Op::Delete, 1, 1), (Some(ErrorKind::Corrupt), true));
        assert_eq!(MAX_RECORD_LEN, 33 + 8 + 65_535 + (1 << 30));
    }

    #[test]
    fn of_a_record_that_goes_on_the_lengths_at_its_beginning_must_agree() {
        let seen = |op: Op, len: usize, key_len: usize| peek(&head(op, len as u32, key_len as u32)).is_some();
        // The key alone is longer than what is there.
        assert!(seen(Op::Put, 33 + 1000, 1000) && !seen(Op::Put, 33 + 999, 1000));
        assert!(seen(Op::PutExpiring, 41 + 1000, 1000) && !seen(Op::PutExpiring, 41 + 999, 1000));
        assert!(seen(Op::Put, 33 + 65_535, 65_535) && !seen(Op::Put, 33 + 65_536, 65_536));
        // The value would be too long.
        assert!(seen(Op::Put, 33 + 100 + MAX_VALUE_LEN, 100) && !seen(Op::Put, 34 + 100 + MAX_VALUE_LEN, 100));
        assert!(seen(Op::PutExpiring, MAX_RECORD_LEN, 65_535) && !seen(Op::PutExpiring, MAX_RECORD_LEN, 65_534));
    }

    #[test]
    fn the_shortest_record_and_the_shortest_beginning_are_enough() {
        let shortest = encoded(&record(Op::Delete, b"", b""));
        assert_eq!(shortest.len(), 33);
        assert_eq!(peek(&shortest).map(|seen| seen.len), Some(33));
        assert_eq!(record_len(&shortest[..8]).unwrap(), 33);
    }

    #[test]
    fn text_is_foreign_and_damaged_records_are_not() {
        assert!(is_foreign(b"# a configuration file that somebody put in the place of the log\n"));
        assert!(is_foreign(&[b"\x7fELF\x02\x01\x01", &[0; 9][..], b"\x03\0>\0\x01\0\0\0", &[64; 40]].concat()));
        let mut bytes = vec![0; 64];
        assert!(!is_foreign(&bytes));
        bytes = encoded(&record(Op::Put, b"key", b"value"));
        for at in 0..bytes.len() {
            let mut bad = bytes.clone();
            bad[at] ^= 0xff;
            assert!(!is_foreign(&bad), "byte {at}");
        }
    }

    proptest! {
        #[test]
        fn round_trip(
            lsn: u64, durable_lsn: u64, op in 1u8..=3, more: bool, expires_at: u64,
            key in prop::collection::vec(any::<u8>(), 0..300), value in prop::collection::vec(any::<u8>(), 0..3000),
            behind in prop::collection::vec(any::<u8>(), 0..50),
        ) {
            let (op, _) = Op::from_byte(op).unwrap();
            let value = if op == Op::Delete { &[][..] } else { &value };
            let expires_at = if op == Op::PutExpiring { expires_at } else { 0 };
            let record = Record { lsn, durable_lsn, op, more, expires_at, key: &key, value };
            let mut bytes = encoded(&record);
            prop_assert_eq!(bytes.len(), record.encoded_len());
            bytes.extend(behind);
            prop_assert_eq!(decode(&bytes).unwrap(), record);
            let seen = peek(&bytes).unwrap();
            prop_assert_eq!((seen.len, seen.lsn, seen.durable_lsn), (record.encoded_len(), lsn, durable_lsn));
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = decode(&bytes);
            let _ = peek(&bytes);
            let _ = is_foreign(&bytes);
        }
    }
}
