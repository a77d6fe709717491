//! Streaming a snapshot to a file.
//!
//! # How it goes at the speed of the disk
//!
//! The calling thread walks through the table, a few slots at a time, and copies the entries out from under the shard's
//! lock; what it copied becomes blocks, back to back in a `Piece` of memory, just as they will be in the file. Another
//! thread, which lives as long as this takes, writes one piece past the page cache while the next one is filled. Only
//! one write is under way at any time, so that a sync of the log waits for one piece at most.
//!
//! Pieces are written in multiples of [`DIRECT_ALIGN`], so the few bytes behind the last multiple move to the next
//! piece, and the last one is filled up with zeros, which are cut off again. The first page, with the header, is kept
//! back until everything else is written: a file without it was never finished.
//!
//! Memory stays bounded whatever the store holds: a few pieces, and what one visit to the table copies. Large values
//! are copied piece by piece, since the snapshot keeps them as they were.

use std::io;
use std::path::Path;

use super::layout::{
    self, BLOCK_HEADER_LEN, BLOCK_TARGET, BlockKind, EntryHead, HEADER_LEN, Header, LARGE_VALUE, MAX_HEAD, MAX_PAYLOAD,
};
use crate::error::{Error, ErrorKind, Result};
use crate::pipe::{self, Round};
use crate::sys::aligned::AlignedBuf;
use crate::sys::block::Block;
use crate::sys::sync::Mutex;
use crate::table::{Cursor, Snapshot, is_expired};
use crate::vfs::DIRECT_ALIGN;
use crate::vfs::stream::Stream;

/// A piece is written when it holds this much. One is under way at any time, so a sync of the log has to wait for as
/// much: larger pieces are faster, and hurt writers more.
const PIECE: usize = 256 << 10;
/// One that is filled, one that is written, and one in between.
const PIECES: usize = 3;
/// Room for what was carried over, for just less than a piece, and for the block that makes it one.
const PIECE_CAPACITY: usize = (DIRECT_ALIGN + PIECE + BLOCK_HEADER_LEN + MAX_PAYLOAD).next_multiple_of(DIRECT_ALIGN);

const _: () = assert!(HEADER_LEN < DIRECT_ALIGN && DIRECT_ALIGN < PIECE);

/// Writes a checkpoint of `snapshot` to the file of `stream`, which is cut to nothing first. Keys expired at `now` are
/// left out. The file is not synced. `is_helped` says whether it is worth a thread.
pub fn write(
    stream: &mut Stream,
    path: &Path,
    snapshot: Snapshot<'_>,
    wal_offset: u64,
    now: u64,
    is_helped: bool,
) -> Result<Header> {
    let error = |call: &str, cause: &io::Error| Error::file(call, path, cause);
    // An earlier attempt may have left something.
    stream.file().set_len(0).map_err(|cause| error("truncate", &cause))?;
    let mut piece = Piece::new()?;
    piece.len = HEADER_LEN;
    let first_page = AlignedBuf::new(DIRECT_ALIGN).ok_or_else(|| Error::no_memory(DIRECT_ALIGN))?;
    let others = (1..PIECES).map(|_| Piece::new()).collect::<Result<Vec<_>>>()?;
    let sink = Sink { state: Mutex::new(SinkState { stream, failed: None }) };
    let write = |piece: &mut Piece| sink.write(piece);
    let written = pipe::go_round(c"kvwal-ckpt-io", usize::from(is_helped), others, &write, |round| {
        let mut out = Output { round, piece, at: 0, first_page, blocks: 0 };
        let (lsn, keys) = write_entries(snapshot, now, &mut out)?;
        Ok(out.finish(Header { lsn, wal_offset, keys, created_at: now, ..Header::default() }))
    });
    if let Some(cause) = sink.failure() {
        return Err(error("write", &cause));
    }
    let (header, mut first_page) = written?;
    first_page[..HEADER_LEN].copy_from_slice(&header.encode());
    stream.write(&first_page, 0).map_err(|cause| error("write", &cause))?;
    stream.file().set_len(header.file_len).map_err(|cause| error("truncate", &cause))?;
    Ok(header)
}

/// Writes everything that the snapshot sees; returns its LSN, and how many keys that were.
fn write_entries(mut snapshot: Snapshot<'_>, now: u64, out: &mut Output<'_>) -> Result<(u64, u64)> {
    let mut cursor = Cursor::default();
    let mut copied = Copied::default();
    let mut keys = 0;
    while snapshot.visit_some(&mut cursor, |block| copied.copy(block, now))? {
        keys += std::mem::take(&mut copied.keys);
        if copied.entries.len() >= BLOCK_TARGET {
            copied.write_blocks(out)?;
        }
        for key in copied.large.drain(..) {
            keys += write_large(&snapshot, &key, out)?;
        }
        snapshot.release_passed(&cursor);
    }
    copied.write_blocks(out)?;
    Ok((snapshot.lsn(), keys))
}

/// What was copied out of the table and not written yet.
#[derive(Default)]
struct Copied {
    /// Whole entries, back to back.
    entries: Vec<u8>,
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
        let needed = MAX_HEAD + block.value_len();
        self.entries.try_reserve(needed).map_err(|_| Error::no_memory(needed))?;
        head(block).encode(&mut self.entries);
        self.entries.extend_from_slice(block.value());
        self.keys += 1;
        Ok(())
    }

    fn write_blocks(&mut self, out: &mut Output<'_>) -> Result<()> {
        let mut rest = &self.entries[..];
        while rest.len() > MAX_PAYLOAD {
            // Many long entries under one hold of a lock: a block takes as many as make it full.
            let mut len = 0;
            while len < BLOCK_TARGET {
                let (head, behind) = EntryHead::decode(&rest[len..])?;
                len = rest.len() - behind.len() + head.value_len;
            }
            let (entries, behind) = rest.split_at(len);
            out.block(BlockKind::Entries, entries)?;
            rest = behind;
        }
        if !rest.is_empty() {
            out.block(BlockKind::Entries, rest)?;
        }
        self.entries.clear();
        self.entries.shrink_to(MAX_PAYLOAD);
        Ok(())
    }
}

fn head(block: &Block) -> EntryHead<'_> {
    EntryHead { key: block.key(), value_len: block.value_len(), expires_at: block.expires_at() }
}

/// Writes one large entry, in blocks of its own. Returns how many entries that were.
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

/// A part of the file that is being filled or written.
struct Piece {
    buf: AlignedBuf,
    /// How much of it is filled.
    len: usize,
    /// What of it is to be written, and where in the file it belongs.
    write: std::ops::Range<usize>,
    offset: u64,
    /// It, or one before it, could not be written.
    failed: bool,
}

impl Piece {
    fn new() -> Result<Piece> {
        let buf = AlignedBuf::new(PIECE_CAPACITY).ok_or_else(|| Error::no_memory(PIECE_CAPACITY))?;
        Ok(Piece { buf, len: 0, write: 0..0, offset: 0, failed: false })
    }

    /// Destines the first `len` bytes for the place `at` in the file. The file's first page is kept back.
    fn place(&mut self, len: usize, at: u64, first_page: &mut AlignedBuf) {
        let kept = if at == 0 { DIRECT_ALIGN } else { 0 };
        first_page[..kept].copy_from_slice(&self.buf[..kept]);
        (self.write, self.offset) = (kept..len, at + kept as u64);
    }
}

/// Writes pieces to the file, one at a time. After the first failure no more.
struct Sink<'s> {
    state: Mutex<SinkState<'s>>,
}

struct SinkState<'s> {
    stream: &'s mut Stream,
    failed: Option<io::Error>,
}

impl Sink<'_> {
    fn write(&self, piece: &mut Piece) {
        let mut state = self.state.lock();
        if state.failed.is_none() {
            state.failed = state.stream.write(&piece.buf[piece.write.clone()], piece.offset).err();
        }
        piece.failed = state.failed.is_some();
    }

    /// Why writing failed, if it did.
    fn failure(self) -> Option<io::Error> {
        self.state.lock().failed.take()
    }
}

/// The file, as it is put together.
struct Output<'s> {
    round: &'s Round<'s, Piece>,
    /// What is being filled, and where in the file it begins.
    piece: Piece,
    at: u64,
    first_page: AlignedBuf,
    blocks: u32,
}

impl Output<'_> {
    fn len(&self) -> u64 {
        self.at + self.piece.len as u64
    }

    fn block(&mut self, kind: BlockKind, payload: &[u8]) -> Result<()> {
        debug_assert!(payload.len() <= MAX_PAYLOAD);
        let header = layout::block_header(self.blocks, kind, payload);
        for part in [&header[..], payload] {
            self.piece.buf[self.piece.len..][..part.len()].copy_from_slice(part);
            self.piece.len += part.len();
        }
        self.blocks += 1;
        if self.piece.len >= PIECE { self.pass_on() } else { Ok(()) }
    }

    /// Has the piece written, but for what is not aligned; that begins the next one.
    fn pass_on(&mut self) -> Result<()> {
        let whole = self.piece.len / DIRECT_ALIGN * DIRECT_ALIGN;
        let mut next = self.round.take()?;
        if next.failed {
            return Err(Error::new(ErrorKind::Io, "a piece could not be written"));
        }
        let carried = &self.piece.buf[whole..self.piece.len];
        next.buf[..carried.len()].copy_from_slice(carried);
        next.len = carried.len();
        let mut full = std::mem::replace(&mut self.piece, next);
        full.place(whole, self.at, &mut self.first_page);
        self.round.pass_on(full);
        self.at += whole as u64;
        Ok(())
    }

    /// Has the rest written; returns the header, to be written when all else is, and its page.
    fn finish(mut self, header: Header) -> (Header, AlignedBuf) {
        let header = Header { file_len: self.len(), blocks: self.blocks, ..header };
        let len = self.piece.len.next_multiple_of(DIRECT_ALIGN);
        self.piece.buf[self.piece.len..len].fill(0);
        self.piece.place(len, self.at, &mut self.first_page);
        self.round.pass_on(self.piece);
        (header, self.first_page)
    }
}
