use sled::{Batch, Db, Mode};

use super::{Config, Kind, Store, copy};
use crate::Result;

pub const KIND: Kind = Kind {
    name: "sled",
    // Its flush is sync_file_range, which leaves the data in the disk's own cache.
    is_durable: false,
    has_get_many: false,
    configuration: "Relaxed: flush_every_ms 100, Mode::HighThroughput, cache larger than the data. No durable rows: its flush \
                    is sync_file_range, which no power cut respects.",
    open,
};

struct Sled(Db);

fn open(config: &Config) -> Result<Box<dyn Store>> {
    let db = sled::Config::new()
        .path(config.dir)
        .cache_capacity(config.cache_bytes() as u64)
        .mode(Mode::HighThroughput)
        .flush_every_ms(Some(100))
        .open()?;
    Ok(Box::new(Sled(db)))
}

impl Store for Sled {
    fn set(&self, key: &[u8], value: &[u8]) -> Result<()> {
        self.0.insert(key, value)?;
        Ok(())
    }

    fn set_batch(&self, pairs: &[(&[u8], &[u8])]) -> Result<()> {
        let mut batch = Batch::default();
        for &(key, value) in pairs {
            batch.insert(key, value);
        }
        Ok(self.0.apply_batch(batch)?)
    }

    fn get(&self, key: &[u8], buf: &mut [u8]) -> Result<Option<usize>> {
        Ok(self.0.get(key)?.map(|value| copy(&value, buf)))
    }

    fn close(self: Box<Self>) -> Result<()> {
        self.0.flush()?;
        Ok(())
    }
}
