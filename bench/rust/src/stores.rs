//! What the benchmark asks of a store, and the stores that there are.

mod fjall;
mod redb;
mod sled;

use std::path::Path;

use crate::Result;

/// How a store is opened.
#[derive(Clone, Copy, PartialEq)]
pub enum Durability {
    /// Every acknowledged write is on stable storage.
    Durable,
    /// It gets there a little later.
    Relaxed,
}

pub struct Config<'a> {
    pub dir: &'a Path,
    pub durability: Durability,
    /// How many there will be, for stores that want to know beforehand.
    pub keys: usize,
}

impl Config<'_> {
    /// Room for all that is stored, whatever a store adds to it.
    fn cache_bytes(&self) -> usize {
        (256 << 20) + self.keys * 512
    }
}

pub struct Kind {
    pub name: &'static str,
    pub is_durable: bool,
    /// Whether get_many() is more than get() in a loop.
    pub has_get_many: bool,
    /// In words, for the report: the mode and why, from the store's own documentation.
    pub configuration: &'static str,
    pub open: fn(&Config) -> Result<Box<dyn Store>>,
}

pub const KINDS: [&Kind; 3] = [&redb::KIND, &fjall::KIND, &sled::KIND];

/// A store that is open, for any number of threads.
pub trait Store: Sync {
    fn set(&self, key: &[u8], value: &[u8]) -> Result<()>;

    /// Atomic, and one sync if durable.
    fn set_batch(&self, pairs: &[(&[u8], &[u8])]) -> Result<()>;

    /// Copies the value into the buffer, as far as there is room, and returns its length.
    fn get(&self, key: &[u8], buf: &mut [u8]) -> Result<Option<usize>>;

    /// get() for each of the keys; the buffers lie one after the other.
    fn get_many(&self, keys: &[&[u8]], bufs: &mut [u8], found: &mut [Option<usize>]) -> Result<()> {
        let len = bufs.len() / keys.len();
        for ((key, buf), found) in keys.iter().zip(bufs.chunks_exact_mut(len)).zip(found) {
            *found = self.get(key, buf)?;
        }
        Ok(())
    }

    /// Finishes what loading has left to do in the background.
    fn checkpoint(&self) -> Result<()> {
        Ok(())
    }

    fn close(self: Box<Self>) -> Result<()>;
}

fn copy(value: &[u8], buf: &mut [u8]) -> usize {
    let len = value.len().min(buf.len());
    buf[..len].copy_from_slice(&value[..len]);
    value.len()
}
