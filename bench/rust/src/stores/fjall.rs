use fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode};

use super::{Config, Durability, Kind, Store, copy};
use crate::Result;

pub const KIND: Kind = Kind {
    name: "fjall",
    is_durable: true,
    has_get_many: false,
    configuration: "Durable: manual_journal_persist and persist(SyncData), which is fdatasync, after each write, by the thread \
                    that wrote; batches with durability SyncData. Relaxed: manual_journal_persist, no persist until close. \
                    Cache larger than the data, expect_point_read_hits, no compression; \
                    compacted before it is only read.",
    open,
};

struct Fjall {
    db: Database,
    keyspace: Keyspace,
    persist: Option<PersistMode>,
}

fn options() -> KeyspaceCreateOptions {
    KeyspaceCreateOptions::default().expect_point_read_hits(true).manual_journal_persist(true)
}

fn open(config: &Config) -> Result<Box<dyn Store>> {
    let db =
        Database::builder(config.dir).cache_size(config.cache_bytes() as u64).manual_journal_persist(true).open()?;
    let keyspace = db.keyspace("kv", options)?;
    let persist = match config.durability {
        Durability::Durable => Some(PersistMode::SyncData),
        Durability::Relaxed => None,
    };
    Ok(Box::new(Fjall { db, keyspace, persist }))
}

impl Store for Fjall {
    fn set(&self, key: &[u8], value: &[u8]) -> Result<()> {
        self.keyspace.insert(key, value)?;
        if let Some(mode) = self.persist {
            self.db.persist(mode)?;
        }
        Ok(())
    }

    fn set_batch(&self, pairs: &[(&[u8], &[u8])]) -> Result<()> {
        let mut batch = self.db.batch().durability(self.persist);
        for &(key, value) in pairs {
            batch.insert(&self.keyspace, key, value);
        }
        Ok(batch.commit()?)
    }

    fn get(&self, key: &[u8], buf: &mut [u8]) -> Result<Option<usize>> {
        Ok(self.keyspace.get(key)?.map(|value| copy(&value, buf)))
    }

    fn checkpoint(&self) -> Result<()> {
        self.keyspace.rotate_memtable_and_wait()?;
        Ok(self.keyspace.major_compact()?)
    }

    fn close(self: Box<Self>) -> Result<()> {
        Ok(self.db.persist(PersistMode::SyncAll)?)
    }
}
