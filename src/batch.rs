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
    /// Unix time in milliseconds, 0 for never.
    expires_at: u64,
}

/// What a batch does to a key.
pub(crate) struct BatchChange<'a> {
    pub key: &'a [u8],
    /// `None` deletes the key.
    pub value: Option<&'a [u8]>,
    /// Unix time in milliseconds, 0 for never.
    pub expires_at: u64,
}

impl Batch {
    /// An empty batch.
    pub fn new() -> Batch {
        Batch::default()
    }

    /// Adds "set `key` to `value`".
    pub fn set(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        self.push(key, Some(value), 0)
    }

    /// Adds "set `key` to `value` until a moment", in Unix milliseconds; 0 for ever. From that moment on, and so at once if it
    /// is over, the key counts as deleted.
    pub fn set_until(&mut self, key: &[u8], value: &[u8], expires_at: u64) -> Result<()> {
        self.push(key, Some(value), expires_at)
    }

    /// Adds "delete `key`"; a key that is not there is no error.
    pub fn del(&mut self, key: &[u8]) -> Result<()> {
        self.push(key, None, 0)
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

    /// What it does, in order.
    pub(crate) fn changes(&self) -> impl ExactSizeIterator<Item = BatchChange<'_>> {
        self.changes.iter().map(|span| BatchChange {
            key: &self.bytes[span.key.clone()],
            value: span.value.clone().map(|value| &self.bytes[value]),
            expires_at: span.expires_at,
        })
    }

    fn push(&mut self, key: &[u8], value: Option<&[u8]>, expires_at: u64) -> Result<()> {
        check_lengths(key, value.unwrap_or_default())?;
        let needed = key.len() + value.map_or(0, <[u8]>::len);
        self.bytes.try_reserve(needed).map_err(|_| Error::no_memory(needed))?;
        self.changes.try_reserve(1).map_err(|_| Error::no_memory(size_of::<Span>()))?;
        let key = self.copy(key);
        let value = value.map(|value| self.copy(value));
        self.changes.push(Span { key, value, expires_at });
        Ok(())
    }

    fn copy(&mut self, from: &[u8]) -> Range<usize> {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(from);
        start..self.bytes.len()
    }
}
