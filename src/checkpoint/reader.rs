//! Reading a checkpoint: all of it or an error.

use std::path::Path;

use super::layout::{self, BLOCK_HEADER_LEN, BlockKind, EntryHead, HEADER_LEN, Header};
use crate::error::{Error, ErrorKind, Result};
use crate::format::Lsn;
use crate::vfs::File;
use crate::wal::reader;

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

/// Calls `visit` with every entry. An error if a single bit is not as it was written; what was visited by then is not
/// to be used.
pub fn read(file: &dyn File, path: &Path, mut visit: impl FnMut(Entry<'_>) -> Result<()>) -> Result<Header> {
    let header = header(file, path)?;
    let mut blocks = Blocks { file, path, header: &header, at: HEADER_LEN as u64, index: 0, payload: Vec::new() };
    let mut keys = 0;
    while blocks.index < header.blocks {
        keys += blocks.visit_next(&mut visit)?;
    }
    if blocks.at != header.file_len || keys != header.keys {
        let found =
            format!("{keys} keys in {} bytes, its header says {} in {}", blocks.at, header.keys, header.file_len);
        return Err(in_file(path, &Error::corrupt(found)));
    }
    Ok(header)
}

struct Blocks<'f> {
    file: &'f dyn File,
    path: &'f Path,
    header: &'f Header,
    /// Where the next block begins, and its number.
    at: u64,
    index: u32,
    /// Of the block read last, or of a large entry as far as it was read.
    payload: Vec<u8>,
}

impl Blocks<'_> {
    /// Visits the entries of the next block, or the large entry that begins there; returns how many.
    fn visit_next(&mut self, visit: &mut impl FnMut(Entry<'_>) -> Result<()>) -> Result<u64> {
        let place = format!("{}: block {} at offset {}", self.path.display(), self.index, self.at);
        self.payload.clear();
        let visited = match self.read_block() {
            Ok(BlockKind::Entries) => visit_entries(&self.payload, visit),
            Ok(BlockKind::LargeFirst) => self.read_large().and_then(|()| visit_entries(&self.payload, visit)),
            Ok(BlockKind::LargeMore) => Err(Error::corrupt("it continues no large entry")),
            Err(error) => Err(error),
        };
        visited.map_err(|error| match error.kind() {
            ErrorKind::Corrupt => Error::corrupt(format!("{place}: {error}")),
            _ => error,
        })
    }

    /// Appends the payload of the next block.
    fn read_block(&mut self) -> Result<BlockKind> {
        if self.index == self.header.blocks {
            return Err(Error::corrupt("the block is missing"));
        }
        let mut head = [0; BLOCK_HEADER_LEN];
        self.read_exact(&mut head, self.at)?;
        let left = (self.header.file_len - self.at).saturating_sub(BLOCK_HEADER_LEN as u64);
        let len = layout::payload_len(&head)
            .filter(|&len| len as u64 <= left)
            .ok_or_else(|| Error::corrupt("its length is wrong"))?;
        let start = self.payload.len();
        self.payload.try_reserve(len).map_err(|_| Error::no_memory(len))?;
        self.payload.resize(start + len, 0);
        let mut payload = std::mem::take(&mut self.payload);
        let read = self.read_exact(&mut payload[start..], self.at + BLOCK_HEADER_LEN as u64);
        self.payload = payload;
        read?;
        let kind = layout::check_block(&head, self.index, &self.payload[start..])?;
        self.at += (BLOCK_HEADER_LEN + len) as u64;
        self.index += 1;
        Ok(kind)
    }

    /// Appends the blocks that continue the large entry whose first part was read, up to its end.
    fn read_large(&mut self) -> Result<()> {
        let (head, first_part) = EntryHead::decode(&self.payload)?;
        let entry_len = self.payload.len() - first_part.len() + head.value_len;
        if (entry_len - self.payload.len().min(entry_len)) as u64 > self.header.file_len - self.at {
            return Err(Error::corrupt("the large entry is longer than the file"));
        }
        while self.payload.len() < entry_len {
            if self.read_block()? != BlockKind::LargeMore {
                return Err(Error::corrupt("a part of the large entry is missing"));
            }
        }
        Ok(())
    }

    fn read_exact(&self, buf: &mut [u8], at: u64) -> Result<()> {
        match reader::read(self.file, self.path, buf, at)? {
            got if got == buf.len() => Ok(()),
            _ => Err(Error::corrupt("the file ends inside it")),
        }
    }
}

fn visit_entries(mut payload: &[u8], visit: &mut impl FnMut(Entry<'_>) -> Result<()>) -> Result<u64> {
    let mut entries = 0;
    while !payload.is_empty() {
        let (head, rest) = EntryHead::decode(payload)?;
        let cut_off = || Error::corrupt("a value is cut off");
        let (value, rest) = rest.split_at_checked(head.value_len).ok_or_else(cut_off)?;
        visit(Entry { key: head.key, value, expires_at: head.expires_at })?;
        payload = rest;
        entries += 1;
    }
    Ok(entries)
}

fn in_file(path: &Path, error: &Error) -> Error {
    Error::new(error.kind(), format!("{}: {error}", path.display()))
}
