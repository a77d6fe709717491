//! The keys as commands see them, whether they run on the store as it is or inside a transaction: each command is written once.

use std::time::{SystemTime, UNIX_EPOCH};

use kvwal::{Entry, Result, Store, Transaction};

/// Where commands read.
pub trait Reader {
    /// Unix milliseconds.
    fn now_ms(&self) -> u64;

    /// Calls `found` with what a key holds; whether it is there.
    fn look_up(&self, key: &[u8], found: &mut dyn FnMut(&Entry<'_>)) -> Result<bool>;

    /// Calls `visit` with every key, in no order, as of one moment.
    fn keys(&self, visit: &mut dyn FnMut(&[u8])) -> Result<()>;

    /// How many keys there are.
    fn count(&self) -> Result<u64> {
        let mut count = 0;
        self.keys(&mut |_| count += 1)?;
        Ok(count)
    }
}

/// Where commands write.
pub trait Writer: Reader {
    /// Sets a key until a time in Unix milliseconds; 0 is for ever. A time that has passed deletes the key.
    fn set_until(&mut self, key: &[u8], value: &[u8], expires_at: u64) -> Result<()>;

    /// Deletes a key; whether it was there.
    fn del(&mut self, key: &[u8]) -> Result<bool>;
}

/// A read through the store sees what is durable, and never waits for the disk.
impl Reader for Store {
    fn now_ms(&self) -> u64 {
        unix_ms()
    }

    fn look_up(&self, key: &[u8], found: &mut dyn FnMut(&Entry<'_>)) -> Result<bool> {
        self.entry_with(key, |entry| found(&entry)).map(|found| found.is_some())
    }

    fn keys(&self, visit: &mut dyn FnMut(&[u8])) -> Result<()> {
        self.keys_from(0, usize::MAX, visit).map(drop)
    }

    fn count(&self) -> Result<u64> {
        Ok(self.stats().keys)
    }
}

impl Reader for Transaction<'_> {
    fn now_ms(&self) -> u64 {
        Transaction::now_ms(self)
    }

    fn look_up(&self, key: &[u8], found: &mut dyn FnMut(&Entry<'_>)) -> Result<bool> {
        self.get_with(key, |entry| found(&entry)).map(|found| found.is_some())
    }

    fn keys(&self, visit: &mut dyn FnMut(&[u8])) -> Result<()> {
        Transaction::keys(self, visit)
    }
}

impl Writer for Transaction<'_> {
    fn set_until(&mut self, key: &[u8], value: &[u8], expires_at: u64) -> Result<()> {
        Transaction::set_until(self, key, value, expires_at)
    }

    fn del(&mut self, key: &[u8]) -> Result<bool> {
        Transaction::del(self, key)
    }
}

/// The time, in Unix milliseconds.
pub fn unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
