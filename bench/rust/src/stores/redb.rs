use redb::{Builder, Database, ReadableDatabase, TableDefinition};

use super::{Config, Durability, Kind, Store, copy};
use crate::Result;

const TABLE: TableDefinition<&[u8], &[u8]> = TableDefinition::new("kv");

pub const KIND: Kind = Kind {
    name: "redb",
    is_durable: true,
    has_get_many: true,
    configuration: "One write transaction a set, cache larger than the data. Durable: Durability::Immediate, one-phase \
                    commit. Relaxed: Durability::None, and one commit with Immediate at the end. A read transaction a get, or \
                    for all of many gets.",
    open,
};

struct Redb {
    db: Database,
    durability: redb::Durability,
}

fn open(config: &Config) -> Result<Box<dyn Store>> {
    let durability = match config.durability {
        Durability::Durable => redb::Durability::Immediate,
        Durability::Relaxed => redb::Durability::None,
    };
    let db = Builder::new().set_cache_size(config.cache_bytes()).create(config.dir.join("kv.redb"))?;
    let transaction = db.begin_write()?;
    transaction.open_table(TABLE)?;
    transaction.commit()?;
    Ok(Box::new(Redb { db, durability }))
}

impl Store for Redb {
    fn set(&self, key: &[u8], value: &[u8]) -> Result<()> {
        self.set_batch(&[(key, value)])
    }

    fn set_batch(&self, pairs: &[(&[u8], &[u8])]) -> Result<()> {
        let mut transaction = self.db.begin_write()?;
        transaction.set_durability(self.durability)?;
        {
            let mut table = transaction.open_table(TABLE)?;
            for (key, value) in pairs {
                table.insert(key, value)?;
            }
        }
        Ok(transaction.commit()?)
    }

    fn get(&self, key: &[u8], buf: &mut [u8]) -> Result<Option<usize>> {
        let table = self.db.begin_read()?.open_table(TABLE)?;
        Ok(table.get(key)?.map(|value| copy(value.value(), buf)))
    }

    fn get_many(&self, keys: &[&[u8]], bufs: &mut [u8], found: &mut [Option<usize>]) -> Result<()> {
        let table = self.db.begin_read()?.open_table(TABLE)?;
        let len = bufs.len() / keys.len();
        for ((key, buf), found) in keys.iter().zip(bufs.chunks_exact_mut(len)).zip(found) {
            *found = table.get(key)?.map(|value| copy(value.value(), buf));
        }
        Ok(())
    }

    fn close(self: Box<Self>) -> Result<()> {
        // What was committed with Durability::None becomes durable with the next commit that is.
        Ok(self.db.begin_write()?.commit()?)
    }
}
