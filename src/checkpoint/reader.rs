//! Reading a checkpoint: all of it or an error.
//!
//! # How it goes at the speed of the disk, or of all processors
//!
//! The calling thread reads the file in large pieces, and finds out from the lengths in the block headers where blocks
//! begin. It believes nothing else: each piece, with the blocks that are whole in it, goes to one of the helping
//! threads, which verifies them and visits their entries. What is left of a block at the end of a piece moves to the
//! next one. An entry too large for a block is put together, block by block, by the calling thread.
//!
//! Whatever is found to be wrong, the error that is returned is that of the first bad block in the file, as if they had
//! been read one by one. Memory stays bounded: a few pieces, and one large entry.

use std::path::Path;

use super::layout::{self, BLOCK_HEADER_LEN, BlockKind, EntryHead, HEADER_LEN, Header, MAX_PAYLOAD};
use crate::error::{Error, ErrorKind, Result};
use crate::format::Lsn;
use crate::pipe;
use crate::sys::aligned::AlignedBuf;
use crate::sys::sync::Mutex;
use crate::vfs::stream::Stream;
use crate::vfs::{DIRECT_ALIGN, File};
use crate::wal::reader;

/// How much is read at once, and how much while writers are waiting for the disk, too.
const PIECE: usize = 1 << 20;
const PIECE_BESIDE_WRITERS: usize = 256 << 10;
/// The longest block, and so more than what is left of one at the end of a piece.
const CARRIED: usize = (BLOCK_HEADER_LEN + MAX_PAYLOAD).next_multiple_of(DIRECT_ALIGN);

/// One key of a checkpoint.
#[derive(Clone, Copy, Debug)]
pub struct Entry<'a> {
    /// The key.
    pub key: &'a [u8],
    /// Its value.
    pub value: &'a [u8],
    /// Unix time in milliseconds, 0 for never.
    pub expires_at: u64,
}

/// Reads the header of what may not be a whole checkpoint. The outer result is about reading, the inner about what was
/// read.
fn bare_header(file: &dyn File, path: &Path) -> Result<Result<Header>> {
    let mut bytes = [0; HEADER_LEN];
    Ok(match reader::read(file, path, &mut bytes, 0)? {
        HEADER_LEN => Header::decode(&bytes),
        got => Err(Error::corrupt(format!("it has only {got} bytes"))),
    })
}

/// The LSN that a damaged checkpoint says it has, if its header is intact, otherwise 0.
pub fn claimed_lsn(file: &dyn File, path: &Path) -> Result<Lsn> {
    Ok(bare_header(file, path)?.map_or(0, |header| header.lsn))
}

/// Reads and checks the header.
pub fn header(file: &dyn File, path: &Path) -> Result<Header> {
    let header = bare_header(file, path)?.map_err(|error| in_file(path, &error))?;
    let len = file.size().map_err(|cause| Error::file("stat", path, &cause))?;
    if len != header.file_len {
        let message = format!("it has {len} bytes, its header says {}", header.file_len);
        return Err(in_file(path, &Error::corrupt(message)));
    }
    Ok(header)
}

/// Who is shown the entries, by several threads at once.
pub trait Visitor: Sync {
    /// What one thread gathers before it ends a batch.
    type Batch: Default;
    /// Takes an entry.
    fn entry(&self, batch: &mut Self::Batch, entry: Entry<'_>) -> Result<()>;
    /// Takes what was gathered; the entries it came from are gone.
    fn end(&self, batch: &mut Self::Batch) -> Result<()>;
}

/// For reading a checkpoint only to see that it is whole.
pub(super) struct Verify;

impl Visitor for Verify {
    type Batch = ();

    fn entry(&self, _: &mut (), _: Entry<'_>) -> Result<()> {
        Ok(())
    }

    fn end(&self, _: &mut ()) -> Result<()> {
        Ok(())
    }
}

/// Shows every entry to `visitor`. An error if a single bit is not as it was written; what was visited by then is not
/// to be used. Up to `helpers` threads help.
pub fn read(stream: &mut Stream, path: &Path, helpers: usize, visitor: &impl Visitor) -> Result<Header> {
    read_in_pieces(stream, path, helpers, PIECE, visitor)
}

/// Reads a checkpoint only to see that it is whole, beside the writers of an open store.
pub fn verify(stream: &mut Stream, path: &Path, helpers: usize) -> Result<Header> {
    read_in_pieces(stream, path, helpers, PIECE_BESIDE_WRITERS, &Verify)
}

/// As [`read`], with pieces of another length, a multiple of [`DIRECT_ALIGN`].
pub(super) fn read_in_pieces(
    stream: &mut Stream,
    path: &Path,
    helpers: usize,
    piece_len: usize,
    visitor: &impl Visitor,
) -> Result<Header> {
    let header = header(stream.file(), path)?;
    let crew = Crew { path, visitor, found: Mutex::default() };
    // One for each, one that waits for them, one that is being read.
    let pieces = (0..if helpers > 0 { helpers + 2 } else { 2 }).map(|_| Piece::new(piece_len));
    let pieces = pieces.collect::<Result<Vec<_>>>()?;
    let visit = |piece: &mut Piece| crew.visit(piece);
    let end = pipe::go_round(c"kvwal-load", helpers, pieces, &visit, |round| {
        let mut blocks = Blocks { header: &header, crew: &crew, at: 0, index: 0, at_in_piece: CARRIED, large: None };
        let mut at = 0;
        let mut piece = round.take()?;
        loop {
            let got = match stream.read(&mut piece.buf[CARRIED..], at) {
                Ok(got) => (got as u64).min(header.file_len - at) as usize,
                Err(cause) => {
                    let what = format!("read {} at offset {at}", path.display());
                    crew.fail(blocks.index, Error::io(what, &cause));
                    break;
                }
            };
            piece.end = CARRIED + got;
            at += got as u64;
            let is_last = got < piece_len || at == header.file_len;
            let goes_on = blocks.find_in(&mut piece, is_last) && !is_last && !crew.has_failed();
            if !goes_on {
                round.pass_on(piece);
                break;
            }
            let mut next = round.take()?;
            next.carry(&piece, blocks.at_in_piece);
            round.pass_on(std::mem::replace(&mut piece, next));
        }
        Ok(blocks.at)
    });
    let Found { keys, error } = std::mem::take(&mut *crew.found.lock());
    if let Some((_, error)) = error {
        return Err(error);
    }
    let end = end?;
    if end != header.file_len || keys != header.keys {
        let found = format!("{keys} keys in {end} bytes, its header says {} in {}", header.keys, header.file_len);
        return Err(in_file(path, &Error::corrupt(found)));
    }
    Ok(header)
}

/// A part of the file.
struct Piece {
    /// Room for what is carried over, and then what is read at once.
    buf: AlignedBuf,
    /// What is carried over begins here.
    start: usize,
    /// What was read ends here.
    end: usize,
    /// Runs of blocks of whole entries.
    runs: Vec<Run>,
}

#[derive(Clone, Copy)]
struct Run {
    /// Where in the piece it begins and ends.
    start: usize,
    end: usize,
    /// Where in the file it begins, and with which block.
    at: u64,
    index: u32,
}

impl Piece {
    fn new(len: usize) -> Result<Piece> {
        let buf = AlignedBuf::new(CARRIED + len).ok_or_else(|| Error::no_memory(CARRIED + len))?;
        Ok(Piece { buf, start: CARRIED, end: CARRIED, runs: Vec::new() })
    }

    /// Begins with what is left in `before` from `from` on.
    fn carry(&mut self, before: &Piece, from: usize) {
        let left = &before.buf[from..before.end];
        self.start = CARRIED - left.len();
        self.end = CARRIED;
        self.buf[self.start..CARRIED].copy_from_slice(left);
        self.runs.clear();
    }
}

/// Finds the blocks in the pieces, one behind the other.
struct Blocks<'c, V> {
    header: &'c Header,
    crew: &'c Crew<'c, V>,
    /// Where the next block begins in the file, and its number.
    at: u64,
    index: u32,
    /// Where it begins in the piece.
    at_in_piece: usize,
    large: Option<Large>,
}

/// A large entry, as far as it was read.
struct Large {
    payload: Vec<u8>,
    /// The length that it is to have.
    len: usize,
    /// Where its first block begins, and which that is.
    at: u64,
    index: u32,
}

impl<V: Visitor> Blocks<'_, V> {
    /// Finds the blocks that are whole in `piece`. Those of whole entries are noted there as runs; parts of a large
    /// entry are dealt with at once. Nothing follows on the `last` piece. False if there is nothing left to be found.
    fn find_in(&mut self, piece: &mut Piece, is_last: bool) -> bool {
        if self.at == 0 {
            (self.at, piece.start) = (HEADER_LEN as u64, (piece.start + HEADER_LEN).min(piece.end));
        }
        self.at_in_piece = piece.start;
        while self.index < self.header.blocks {
            match self.next(piece, is_last) {
                Ok(true) => {}
                Ok(false) => return true,
                Err(error) => {
                    let (index, at) =
                        self.large.as_ref().map_or((self.index, self.at), |large| (large.index, large.at));
                    self.crew.fail_at(index, at, error);
                    return false;
                }
            }
        }
        if let Some(large) = &self.large {
            self.crew.fail_at(large.index, large.at, Error::corrupt("the block is missing"));
        }
        false
    }

    /// Deals with the next block; false if it is not whole in this piece.
    fn next(&mut self, piece: &mut Piece, is_last: bool) -> Result<bool> {
        let rest = &piece.buf[self.at_in_piece..piece.end];
        let cut_off = || if is_last { Err(Error::corrupt("the file ends inside it")) } else { Ok(false) };
        let Some((head, behind)) = rest.split_first_chunk::<BLOCK_HEADER_LEN>() else { return cut_off() };
        let left = (self.header.file_len - self.at).saturating_sub(BLOCK_HEADER_LEN as u64);
        let len = layout::payload_len(head)
            .filter(|&len| len as u64 <= left)
            .ok_or_else(|| Error::corrupt("its length is wrong"))?;
        let Some(payload) = behind.get(..len) else { return cut_off() };
        let block_len = BLOCK_HEADER_LEN + len;
        if self.large.is_some() || layout::is_part_of_large(head) {
            self.large_block(head, payload, block_len)?;
        } else {
            let start = self.at_in_piece;
            match piece.runs.last_mut() {
                Some(run) if run.end == start => run.end += block_len,
                _ => piece.runs.push(Run { start, end: start + block_len, at: self.at, index: self.index }),
            }
            self.pass(block_len);
        }
        Ok(true)
    }

    fn pass(&mut self, block_len: usize) {
        self.at += block_len as u64;
        self.at_in_piece += block_len;
        self.index += 1;
    }

    /// Puts a large entry together.
    fn large_block(&mut self, head: &[u8; BLOCK_HEADER_LEN], payload: &[u8], block_len: usize) -> Result<()> {
        let kind = layout::check_block(head, self.index, payload)?;
        let mut large = match (self.large.take(), kind) {
            (None, BlockKind::LargeFirst) => {
                let (entry, first_part) = EntryHead::decode(payload)?;
                let len = payload.len() - first_part.len() + entry.value_len;
                let more = len.saturating_sub(payload.len()) as u64;
                if more > self.header.file_len - self.at - block_len as u64 {
                    return Err(Error::corrupt("the large entry is longer than the file"));
                }
                Large { payload: Vec::new(), len, at: self.at, index: self.index }
            }
            (Some(large), BlockKind::LargeMore) => large,
            (Some(large), _) => {
                self.large = Some(large);
                return Err(Error::corrupt("a part of the large entry is missing"));
            }
            (None, _) => return Err(Error::corrupt("it continues no large entry")),
        };
        let appended = large.payload.try_reserve(payload.len()).map_err(|_| Error::no_memory(payload.len()));
        large.payload.extend_from_slice(if appended.is_ok() { payload } else { &[] });
        self.pass(block_len);
        if large.payload.len() >= large.len && appended.is_ok() {
            self.crew.visit_large(&large);
        } else {
            self.large = Some(large);
        }
        appended
    }
}

/// The threads that verify blocks and show their entries.
struct Crew<'c, V> {
    path: &'c Path,
    visitor: &'c V,
    found: Mutex<Found>,
}

#[derive(Default)]
struct Found {
    keys: u64,
    /// The first bad block, as far as is known.
    error: Option<(u32, Error)>,
}

impl<V: Visitor> Crew<'_, V> {
    fn visit(&self, piece: &Piece) {
        let mut batch = V::Batch::default();
        let mut keys = 0;
        for run in &piece.runs {
            let (mut at, mut index) = (run.at, run.index);
            let mut blocks = &piece.buf[run.start..run.end];
            while !blocks.is_empty() {
                match self.visit_block(blocks, index, &mut batch) {
                    Ok((visited, behind)) => {
                        keys += visited;
                        at += (blocks.len() - behind.len()) as u64;
                        blocks = behind;
                    }
                    Err(error) => return self.fail_at(index, at, error),
                }
                index += 1;
            }
        }
        if let (Some(run), Err(error)) = (piece.runs.first(), self.visitor.end(&mut batch)) {
            return self.fail_at(run.index, run.at, error);
        }
        self.found.lock().keys += keys;
    }

    /// Visits the first block in `blocks`; returns how many entries it has, and what is behind it.
    fn visit_block<'b>(&self, blocks: &'b [u8], index: u32, batch: &mut V::Batch) -> Result<(u64, &'b [u8])> {
        let whole = "whoever made the run has seen that the block is whole";
        let (head, rest) = blocks.split_first_chunk::<BLOCK_HEADER_LEN>().expect(whole);
        let (payload, behind) = rest.split_at(layout::payload_len(head).expect(whole));
        match layout::check_block(head, index, payload)? {
            BlockKind::Entries => Ok((self.visit_entries(payload, batch)?, behind)),
            _ => unreachable!("not in a run"),
        }
    }

    fn visit_large(&self, large: &Large) {
        let mut batch = V::Batch::default();
        let visited = self.visit_entries(&large.payload, &mut batch);
        match visited.and_then(|keys| self.visitor.end(&mut batch).map(|()| keys)) {
            Ok(keys) => self.found.lock().keys += keys,
            Err(error) => self.fail_at(large.index, large.at, error),
        }
    }

    fn visit_entries(&self, mut payload: &[u8], batch: &mut V::Batch) -> Result<u64> {
        let mut entries = 0;
        while !payload.is_empty() {
            let (head, rest) = EntryHead::decode(payload)?;
            let cut_off = || Error::corrupt("a value is cut off");
            let (value, rest) = rest.split_at_checked(head.value_len).ok_or_else(cut_off)?;
            self.visitor.entry(batch, Entry { key: head.key, value, expires_at: head.expires_at })?;
            payload = rest;
            entries += 1;
        }
        Ok(entries)
    }

    fn fail_at(&self, index: u32, at: u64, error: Error) {
        let place = |error| {
            Error::corrupt(format!("{}: block {index} at offset {at}: {error}", self.path.display())).at_offset(at)
        };
        self.fail(index, if error.kind() == ErrorKind::Corrupt { place(error) } else { error });
    }

    fn fail(&self, index: u32, error: Error) {
        let mut found = self.found.lock();
        if found.error.as_ref().is_none_or(|&(first, _)| index < first) {
            found.error = Some((index, error));
        }
    }

    fn has_failed(&self) -> bool {
        self.found.lock().error.is_some()
    }
}

fn in_file(path: &Path, error: &Error) -> Error {
    Error::new(error.kind(), format!("{}: {error}", path.display())).at_offset(0)
}
