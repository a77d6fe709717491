//! Answers that have not been sent.

use std::io::{self, Write};

use crate::budget::OWN_SHARE;

/// With this much unsent, a connection's commands are not carried out any further.
pub const PAUSE_ABOVE: usize = OWN_SHARE;

/// The unsent bytes of a connection.
#[derive(Default)]
pub struct Output {
    bytes: Vec<u8>,
    sent: usize,
}

impl Output {
    /// How much is unsent.
    pub fn len(&self) -> usize {
        self.bytes.len() - self.sent
    }

    /// Whether all is sent.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether so much is unsent that no more should be added.
    pub fn is_full(&self) -> bool {
        self.len() >= PAUSE_ABOVE
    }

    /// Bytes of memory that it takes.
    pub fn memory(&self) -> usize {
        self.bytes.capacity()
    }

    /// Takes the buffer, for answers to be added to it; to be given back.
    pub fn take(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.bytes)
    }

    /// Gives the buffer back.
    pub fn give_back(&mut self, bytes: Vec<u8>) {
        self.bytes = bytes;
    }

    /// Adds an answer.
    pub fn push(&mut self, answer: Vec<u8>) {
        match self.bytes.is_empty() {
            true => self.bytes = answer,
            false => self.bytes.extend_from_slice(&answer),
        }
    }

    /// Writes once, as much as `to` takes. Memory is given back when all is sent, but for a little.
    pub fn write(&mut self, to: &mut impl Write) -> io::Result<usize> {
        let count = to.write(&self.bytes[self.sent..])?;
        self.sent += count;
        if self.is_empty() {
            self.sent = 0;
            self.bytes.clear();
            if self.bytes.capacity() > KEPT {
                self.bytes = Vec::new();
            }
        }
        Ok(count)
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        *self = Output::default();
    }
}

/// What a connection keeps for its next answers.
const KEPT: usize = 4096;
