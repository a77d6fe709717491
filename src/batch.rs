//! Changes that are made all at once or not at all.

use std::ops::Range;

use crate::error::{Error, Result};
use crate::format::check_lengths;

/// A list of changes for [`Store::write`](crate::Store::write), in order.
#[derive(Debug, Default)]
pub struct Batch {
    /// Keys and values, back to back.
    bytes: Vec<u8>,
    changes: Vec<Span>,
}

#[derive(Debug)]
struct Span {
    key: Range<usize>,
    /// `None` deletes the key.
    value: Option<Range<usize>>,
}

impl Batch {
    /// An empty batch.
    pub fn new() -> Batch {
        Batch::default()
    }

    /// Adds "set `key` to `value`".
    pub fn set(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        self.push(key, Some(value))
    }

    /// Adds "delete `key`"; a key that is not there is no error.
    pub fn del(&mut self, key: &[u8]) -> Result<()> {
        self.push(key, None)
    }

    /// Forgets all changes.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.changes.clear();
    }

    /// How many changes there are.
    pub fn len(&self) -> usize {
        self.changes.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    /// Keys, with their new values or `None` to delete them, in order.
    pub(crate) fn changes(&self) -> impl ExactSizeIterator<Item = (&[u8], Option<&[u8]>)> {
        self.changes
            .iter()
            .map(|span| (&self.bytes[span.key.clone()], span.value.clone().map(|value| &self.bytes[value])))
    }

    fn push(&mut self, key: &[u8], value: Option<&[u8]>) -> Result<()> {
        check_lengths(key, value.unwrap_or_default())?;
        let needed = key.len() + value.map_or(0, <[u8]>::len);
        self.bytes.try_reserve(needed).map_err(|_| Error::no_memory(needed))?;
        self.changes.try_reserve(1).map_err(|_| Error::no_memory(size_of::<Span>()))?;
        let key = self.copy(key);
        let value = value.map(|value| self.copy(value));
        self.changes.push(Span { key, value });
        Ok(())
    }

    fn copy(&mut self, from: &[u8]) -> Range<usize> {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(from);
        start..self.bytes.len()
    }
}
