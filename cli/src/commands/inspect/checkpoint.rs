//! The header and the blocks of a checkpoint.

use std::fs::File;
use std::io;
use std::path::Path;

use kvwal::checkpoint_layout::{self as layout, BLOCK_HEADER_LEN, BlockKind, EntryHead, HEADER_LEN, Header};
use serde::Serialize;

use super::hex::Fields;
use super::read_at;
use crate::failure::{Exit, Failure, Result};
use crate::output::{self, Output};

pub const MAGIC: &[u8] = b"KVWALCKP";

#[derive(Serialize)]
struct HeaderDocument {
    checkpoint_lsn: u64,
    wal_offset: u64,
    keys: u64,
    file_bytes: u64,
    created_at: u64,
    blocks: u32,
}

#[derive(Serialize)]
struct BlockDocument<'a> {
    offset: u64,
    length: u64,
    index: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    kind: Option<&'static str>,
    /// Entries that begin in it.
    #[serde(skip_serializing_if = "Option::is_none")]
    entries: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    bad: Option<&'a str>,
}

/// A block as it was read.
struct Block {
    offset: u64,
    index: u32,
    header: [u8; BLOCK_HEADER_LEN],
    payload: Vec<u8>,
    /// Its kind, or why it is bad.
    kind: std::result::Result<BlockKind, String>,
}

pub fn inspect(file: &File, path: &Path, hex: bool, output: &mut Output) -> Result<Exit> {
    let failed = |cause: io::Error| Failure::io("read", path, &cause);
    let len = file.metadata().map_err(failed)?.len();
    let mut bytes = [0; HEADER_LEN];
    if read_at(file, &mut bytes, 0).map_err(failed)? < HEADER_LEN {
        return Err(Failure::new(
            Exit::BadData,
            format!("{} has only {}", path.display(), output::count(len, "byte", "bytes")),
        ));
    }
    let header = Header::decode(&bytes).map_err(|error| Failure::from(error).within(path.display()))?;
    show_header(&header, &bytes, hex, output)?;
    let mut is_good = header.file_len == len;
    let (mut offset, mut index) = (HEADER_LEN as u64, 0);
    while offset < len {
        let block = read_block(file, offset, index, len).map_err(failed)?;
        is_good &= block.kind.is_ok();
        show_block(&block, hex, output)?;
        offset += (BLOCK_HEADER_LEN + block.payload.len()) as u64;
        index += 1;
    }
    is_good &= index == header.blocks;
    if !output.json && !is_good {
        output.line(format_args!(
            "the file has {len} bytes in {}, not all as they were written",
            output::count(index.into(), "block", "blocks")
        ))?;
    }
    Ok(if is_good { Exit::Done } else { Exit::No })
}

/// Reads a block. Where its length cannot be right, nobody knows where the next one begins, and all of the rest is its payload,
/// as much of it as a block could have.
fn read_block(file: &File, offset: u64, index: u32, len: u64) -> io::Result<Block> {
    let mut header = [0; BLOCK_HEADER_LEN];
    let left = len - offset;
    let got = read_at(file, &mut header, offset)? as u64;
    let payload_left = left - got.min(left);
    let announced = layout::payload_len(&header).filter(|&payload| payload as u64 <= payload_left);
    let payload_len = announced.unwrap_or(payload_left.min(layout::MAX_PAYLOAD as u64) as usize);
    let mut payload = vec![0; payload_len];
    read_at(file, &mut payload, offset + got)?;
    let kind = match announced {
        None => Err("its length cannot be right".to_owned()),
        Some(_) => layout::check_block(&header, index, &payload).map_err(|error| error.to_string()),
    };
    Ok(Block { offset, index, header, payload, kind })
}

fn show_header(header: &Header, bytes: &[u8; HEADER_LEN], hex: bool, output: &mut Output) -> Result<()> {
    if output.json {
        let &Header { lsn, wal_offset, keys, file_len, created_at, blocks } = header;
        let file_bytes = file_len;
        return output.document(&HeaderDocument {
            checkpoint_lsn: lsn,
            wal_offset,
            keys,
            file_bytes,
            created_at,
            blocks,
        });
    }
    if !hex {
        return output.line(format_args!(
            "checkpoint of LSN {}, made {}: {} in {}, {}",
            header.lsn,
            output::time(header.created_at),
            output::count(header.keys, "key", "keys"),
            output::count(header.blocks.into(), "block", "blocks"),
            output::size(header.file_len)
        ));
    }
    let mut fields = Fields::new(output, 0);
    fields.content("magic", &bytes[..8])?;
    for (name, from, to) in [
        ("version", 8, 12),
        ("flags", 12, 16),
        ("lsn", 16, 24),
        ("wal_offset", 24, 32),
        ("keys", 32, 40),
        ("file_len", 40, 48),
    ] {
        fields.number(name, &bytes[from..to])?;
    }
    fields.time("created_at", &header.created_at.to_be_bytes())?;
    fields.number("blocks", &bytes[56..60])?;
    fields.field("crc", &bytes[60..], "")?;
    output.line("")
}

fn show_block(block: &Block, hex: bool, output: &mut Output) -> Result<()> {
    let &Block { offset, index, .. } = block;
    let length = (BLOCK_HEADER_LEN + block.payload.len()) as u64;
    let (kind, bad) = match &block.kind {
        Ok(BlockKind::Entries) => (Some("entries"), None),
        Ok(BlockKind::LargeFirst) => (Some("large_first"), None),
        Ok(BlockKind::LargeMore) => (Some("large_more"), None),
        Err(why) => (None, Some(why.as_str())),
    };
    let entries = block.kind.as_ref().ok().map(|&kind| count_entries(kind, &block.payload));
    if output.json {
        return output.document(&BlockDocument { offset, length, index, kind, entries, bad });
    }
    if hex {
        return show_bytes(block, bad, output);
    }
    match bad {
        Some(why) => output.line(format_args!("{offset:>10}  block {index}, {length} bytes: bad: {why}")),
        None => {
            let begin = output::count(entries.unwrap_or_default(), "entry begins", "entries begin");
            let kind = kind.unwrap_or_default();
            output.line(format_args!("{offset:>10}  block {index}, {length} bytes: {kind}, {begin}"))
        }
    }
}

fn count_entries(kind: BlockKind, payload: &[u8]) -> u64 {
    match kind {
        BlockKind::LargeFirst => 1,
        BlockKind::LargeMore => 0,
        BlockKind::Entries => {
            let (mut left, mut count) = (payload, 0);
            while let Some((_, _, behind)) = split_entry(left) {
                (left, count) = (behind, count + 1);
            }
            count
        }
    }
}

/// The first of several entries, its value, and what is behind it.
fn split_entry(bytes: &[u8]) -> Option<(EntryHead<'_>, &[u8], &[u8])> {
    let (head, behind) = EntryHead::decode(bytes).ok()?;
    let (value, behind) = behind.split_at_checked(head.value_len)?;
    Some((head, value, behind))
}

fn show_bytes(block: &Block, bad: Option<&str>, output: &mut Output) -> Result<()> {
    let mut fields = Fields::new(output, block.offset);
    fields.field("crc", &block.header[..4], bad.unwrap_or_default())?;
    fields.number("length", &block.header[4..8])?;
    fields.number("index", &block.header[8..12])?;
    fields.number("kind", &block.header[12..])?;
    let mut left = &block.payload[..];
    while block.kind == Ok(BlockKind::Entries)
        && let Some((head, value, behind)) = split_entry(left)
    {
        show_head(&head, left, &mut fields)?;
        fields.content("value", value)?;
        left = behind;
    }
    if block.kind == Ok(BlockKind::LargeFirst)
        && let Ok((head, value)) = EntryHead::decode(left)
    {
        show_head(&head, left, &mut fields)?;
        left = value;
    }
    fields.field(if bad.is_none() { "value" } else { "payload" }, left, "")?;
    output.line("")
}

fn show_head(head: &EntryHead<'_>, bytes: &[u8], fields: &mut Fields<'_>) -> Result<()> {
    fields.number("flags", &bytes[..1])?;
    fields.number("key_len", &bytes[1..3])?;
    fields.number("value_len", &bytes[3..7])?;
    if head.expires_at != 0 {
        fields.time("expires_at", &head.expires_at.to_be_bytes())?;
    }
    fields.content("key", head.key)
}
