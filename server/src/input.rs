//! Bytes that have come and are not done with.
//!
//! A connection with nothing unread has no buffer. For reading it borrows a chunk, of which the event loop keeps a few
//! ([`Chunks`]); what remains unread behind the last whole request is kept: a little of it in memory of just that length, more in
//! the chunk, which grows as a large request comes in.

use std::io::{self, Read};

use crate::budget::OWN_SHARE;

/// How much is read at once, and how much is read ahead of the commands that are carried out.
pub const CHUNK: usize = OWN_SHARE;
/// A rest up to this length is copied, so that the chunk can be used for other connections.
const SMALL: usize = CHUNK / 16;
/// How many chunks are kept.
const KEPT: usize = 16;

/// Chunks that no connection uses.
#[derive(Default)]
pub struct Chunks(Vec<Vec<u8>>);

impl Chunks {
    fn take(&mut self) -> Vec<u8> {
        self.0.pop().unwrap_or_else(|| vec![0; CHUNK])
    }

    fn give(&mut self, chunk: Vec<u8>) {
        if chunk.len() == CHUNK && self.0.len() < KEPT {
            self.0.push(chunk);
        }
    }
}

/// The unread bytes of a connection.
#[derive(Default)]
pub struct Input {
    /// All of it is initialised; what is unread lies from `start` to `end`.
    bytes: Vec<u8>,
    start: usize,
    end: usize,
}

impl Input {
    /// What is unread.
    pub fn unread(&self) -> &[u8] {
        &self.bytes[self.start..self.end]
    }

    /// Marks bytes at the front as read.
    pub fn consume(&mut self, count: usize) {
        self.start += count;
        debug_assert!(self.start <= self.end);
    }

    /// Bytes of memory that it takes.
    pub fn memory(&self) -> usize {
        self.bytes.len()
    }

    /// Whether the next read needs more memory than the connection's own share.
    pub fn is_beyond_share(&self) -> bool {
        self.unread().len() >= CHUNK - CHUNK / 4
    }

    /// Reads once. Returns how much came, and whether that is all that there is for now.
    pub fn read(&mut self, from: &mut impl Read, chunks: &mut Chunks) -> io::Result<(usize, bool)> {
        self.make_room(chunks);
        let room = &mut self.bytes[self.end..];
        let wanted = room.len();
        let count = from.read(room)?;
        self.end += count;
        Ok((count, count < wanted))
    }

    /// Makes room for a quarter of a chunk at least.
    fn make_room(&mut self, chunks: &mut Chunks) {
        let unread = self.end - self.start;
        if self.bytes.len() < CHUNK {
            // Nothing, or a small rest.
            let rest = std::mem::replace(&mut self.bytes, chunks.take());
            self.bytes[..unread].copy_from_slice(&rest[self.start..self.end]);
        } else if self.start > 0 {
            self.bytes.copy_within(self.start..self.end, 0);
        }
        (self.start, self.end) = (0, unread);
        if self.bytes.len() - unread < CHUNK / 4 {
            self.bytes.resize(self.bytes.len() * 2, 0);
        }
    }

    /// Gives back what is not needed until more comes.
    pub fn settle(&mut self, chunks: &mut Chunks) {
        let unread = self.end - self.start;
        let fitting = match (unread, self.bytes.len()) {
            (..=SMALL, len) if len > unread => self.unread().to_vec(),
            (..CHUNK, len) if len > CHUNK => {
                let mut chunk = chunks.take();
                chunk[..unread].copy_from_slice(self.unread());
                chunk
            }
            _ => return,
        };
        chunks.give(std::mem::replace(&mut self.bytes, fitting));
        (self.start, self.end) = (0, unread);
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        *self = Input::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_come_out_as_they_came_in_and_memory_is_given_back() {
        let sent: Vec<u8> = (0..1_000_000u32).map(|at| (at % 251) as u8).collect();
        let (mut from, mut input, mut chunks) = (&sent[..], Input::default(), Chunks::default());
        let (mut received, mut largest) = (Vec::new(), 0);
        for take in [1, 10, 100, 3, 50_000, 7, 0, 0, 0, 200_000, 1, usize::MAX].into_iter().cycle() {
            let (count, _) = input.read(&mut from, &mut chunks).unwrap();
            if count == 0 && input.unread().is_empty() {
                break;
            }
            largest = largest.max(input.memory());
            let take = take.min(input.unread().len());
            received.extend_from_slice(&input.unread()[..take]);
            input.consume(take);
            input.settle(&mut chunks);
        }
        input.settle(&mut chunks);
        assert!(received == sent);
        assert!(largest > CHUNK, "it grows when it must");
        assert_eq!(input.memory(), 0);
        assert!(!chunks.0.is_empty() && chunks.0.iter().all(|chunk| chunk.len() == CHUNK));
    }

    #[test]
    fn what_was_grown_for_a_large_request_shrinks_behind_it() {
        let (mut input, mut chunks) = (Input::default(), Chunks::default());
        let sent = vec![7; 10 * CHUNK];
        let mut from = &sent[..];
        while input.read(&mut from, &mut chunks).unwrap().0 > 0 {}
        assert_eq!(input.unread().len(), sent.len());
        input.consume(sent.len() - CHUNK / 2);
        input.settle(&mut chunks);
        assert_eq!((input.memory(), input.unread().len()), (CHUNK, CHUNK / 2));
    }

    #[test]
    fn a_small_rest_takes_little_memory() {
        let (mut input, mut chunks) = (Input::default(), Chunks::default());
        input.read(&mut &[7; 100][..], &mut chunks).unwrap();
        input.consume(60);
        input.settle(&mut chunks);
        assert_eq!((input.memory(), input.unread()), (40, &[7; 40][..]));
        input.read(&mut &[8; 5][..], &mut chunks).unwrap();
        assert_eq!(input.unread().len(), 45);
    }
}
