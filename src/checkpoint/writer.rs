//! Streaming a snapshot to a file.
//!
//! Memory stays bounded whatever the store holds: small entries are copied out of the table a few slots at a time,
//! large values piece by piece, and everything is written as soon as it fills a block.

use std::io::{self, IoSlice};
use std::path::Path;

use super::layout::{self, BLOCK_TARGET, BlockKind, EntryHead, HEADER_LEN, Header, LARGE_VALUE, MAX_HEAD, MAX_PAYLOAD};
use crate::error::{Error, Result};
use crate::sys::block::Block;
use crate::table::{Cursor, Snapshot, is_expired};
use crate::vfs::{self, File};

/// Writes a checkpoint of `snapshot` to `file`, which is cut to nothing first. Keys expired at `now` are left out. The
/// file is not synced.
pub fn write(file: &dyn File, path: &Path, mut snapshot: Snapshot<'_>, wal_offset: u64, now: u64) -> Result<Header> {
    let mut out = Output::new(file, path)?;
    let mut keys = 0;
    let mut cursor = Cursor::default();
    let mut batch = Copied::default();
    while snapshot.visit_some(&mut cursor, |block| batch.copy(block, now))? {
        keys += std::mem::take(&mut batch.keys);
        batch.write_full_blocks(&mut out)?;
        for key in batch.large.drain(..) {
            keys += write_large(&snapshot, &key, &mut out)?;
        }
        snapshot.release_passed(&cursor);
    }
    batch.write_all_blocks(&mut out)?;
    let lsn = snapshot.lsn();
    drop(snapshot);
    out.finish(Header { lsn, wal_offset, keys, created_at: now, ..Header::default() })
}

/// What was copied out of the table and not written yet.
#[derive(Default)]
struct Copied {
    /// Payloads of whole entries; all but the last are full.
    payloads: Vec<Vec<u8>>,
    keys: u64,
    /// Keys whose values are large.
    large: Vec<Vec<u8>>,
}

impl Copied {
    /// Copies an entry. Runs under a lock of the table.
    fn copy(&mut self, block: &Block, now: u64) -> Result<()> {
        if is_expired(block, now) {
            return Ok(());
        }
        if block.value_len() >= LARGE_VALUE {
            self.large.push(block.key().to_vec());
            return Ok(());
        }
        if self.payloads.last().is_none_or(|last| last.len() >= BLOCK_TARGET) {
            self.payloads.push(Vec::new());
        }
        let payload = self.payloads.last_mut().expect("pushed above");
        let needed = MAX_HEAD + block.value_len();
        payload.try_reserve(needed).map_err(|_| Error::no_memory(needed))?;
        head(block).encode(payload);
        payload.extend_from_slice(block.value());
        self.keys += 1;
        Ok(())
    }

    fn write_full_blocks(&mut self, out: &mut Output<'_>) -> Result<()> {
        let full = self.payloads.iter().take_while(|payload| payload.len() >= BLOCK_TARGET).count();
        self.payloads.drain(..full).try_for_each(|payload| out.block(BlockKind::Entries, &payload))
    }

    fn write_all_blocks(&mut self, out: &mut Output<'_>) -> Result<()> {
        self.payloads.drain(..).try_for_each(|payload| out.block(BlockKind::Entries, &payload))
    }
}

fn head(block: &Block) -> EntryHead<'_> {
    EntryHead { key: block.key(), value_len: block.value_len(), expires_at: block.expires_at() }
}

/// Writes one large entry, in blocks of its own. The snapshot keeps its value as it was, so it can be copied piece by
/// piece. Returns how many entries that were.
fn write_large(snapshot: &Snapshot<'_>, key: &[u8], out: &mut Output<'_>) -> Result<u64> {
    let mut payload = Vec::new();
    payload.try_reserve_exact(MAX_PAYLOAD).map_err(|_| Error::no_memory(MAX_PAYLOAD))?;
    let (mut done, mut kind) = (0, BlockKind::LargeFirst);
    loop {
        let left = snapshot.get(key, |block| {
            if done == 0 {
                head(block).encode(&mut payload);
            }
            let piece = (block.value_len() - done).min(MAX_PAYLOAD - payload.len());
            payload.extend_from_slice(&block.value()[done..done + piece]);
            done += piece;
            block.value_len() - done
        });
        let left = left.expect("a snapshot keeps what it sees");
        out.block(kind, &payload)?;
        if left == 0 {
            return Ok(1);
        }
        payload.clear();
        kind = BlockKind::LargeMore;
    }
}

struct Output<'f> {
    file: &'f dyn File,
    path: &'f Path,
    len: u64,
    blocks: u32,
}

impl<'f> Output<'f> {
    fn new(file: &'f dyn File, path: &'f Path) -> Result<Output<'f>> {
        let out = Output { file, path, len: HEADER_LEN as u64, blocks: 0 };
        // An earlier attempt may have left something.
        file.set_len(0).map_err(|cause| out.error("truncate", &cause))?;
        Ok(out)
    }

    fn block(&mut self, kind: BlockKind, payload: &[u8]) -> Result<()> {
        debug_assert!(payload.len() <= MAX_PAYLOAD);
        let header = layout::block_header(self.blocks, kind, payload);
        self.write(&mut [IoSlice::new(&header), IoSlice::new(payload)], self.len)?;
        self.len += (header.len() + payload.len()) as u64;
        self.blocks += 1;
        Ok(())
    }

    /// Writes the header, last, so that a file without it was never finished.
    fn finish(self, header: Header) -> Result<Header> {
        let header = Header { file_len: self.len, blocks: self.blocks, ..header };
        self.write(&mut [IoSlice::new(&header.encode())], 0)?;
        Ok(header)
    }

    fn write(&self, bufs: &mut [IoSlice<'_>], offset: u64) -> Result<()> {
        vfs::write_all_at(self.file, bufs, offset).map_err(|cause| self.error("write", &cause))
    }

    fn error(&self, call: &str, cause: &io::Error) -> Error {
        Error::file(call, self.path, cause)
    }
}
