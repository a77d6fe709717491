//! The table as it was at one moment.

use super::{SHARDS, Table};
use crate::error::Result;
use crate::format::Lsn;
use crate::sys::block::Block;

/// How many slots are visited under one hold of a shard's lock; writers of the shard wait that long.
const SLOTS_PER_HOLD: usize = 128;

/// The table as it was when the record of an LSN had been applied, and no later one. Writers go on; what they replace
/// is kept until the snapshot is dropped, or has [passed](Snapshot::release_passed).
pub struct Snapshot<'t> {
    table: &'t Table,
    lsn: Lsn,
    /// The first shard that still keeps old versions for this snapshot.
    first_held: usize,
}

/// How far a walk has come.
#[derive(Clone, Copy, Debug, Default)]
pub struct Cursor {
    shard: usize,
    /// The first hash of the shard not visited yet.
    hash: u64,
}

/// How many low bits of a hash choose the shard.
const SHARD_BITS: u32 = SHARDS.trailing_zeros();

impl Cursor {
    /// A cursor as one number: 0 is the beginning, and also the end.
    ///
    /// All hashes of a shard end in its number, so the bits above that are enough to say which of them comes next.
    pub fn to_number(self) -> u64 {
        if self.shard >= SHARDS {
            return 0;
        }
        let shard = self.shard as u64;
        let behind = u64::from(self.hash % SHARDS as u64 > shard);
        match (self.hash >> SHARD_BITS) + behind {
            // There is no hash left in this shard.
            next if next >> (64 - SHARD_BITS) != 0 => Cursor { shard: self.shard + 1, hash: 0 }.to_number(),
            next => shard << (64 - SHARD_BITS) | next,
        }
    }

    /// The cursor that a number stands for; every number is one.
    pub fn from_number(number: u64) -> Cursor {
        let shard = number >> (64 - SHARD_BITS);
        Cursor { shard: shard as usize, hash: number << SHARD_BITS | shard }
    }
}

impl<'t> Snapshot<'t> {
    pub(super) fn new(table: &'t Table, lsn: Lsn) -> Snapshot<'t> {
        let pin = table.domain.pin(0);
        table.shards.iter().for_each(|shard| table.lock(shard, &pin).add_snapshot(lsn));
        Snapshot { table, lsn, first_held: 0 }
    }

    /// The last LSN in it.
    pub fn lsn(&self) -> Lsn {
        self.lsn
    }

    /// Visits the next few blocks, under a lock that makes writers wait: so `visit` only copies what it needs. False
    /// when there are none left. Each block of the snapshot is visited once, in no particular order; after an error of
    /// `visit`, which is returned, none is.
    pub fn visit_some(&self, cursor: &mut Cursor, mut visit: impl FnMut(&Block) -> Result<()>) -> Result<bool> {
        let Some(shard) = self.table.shards.get(cursor.shard) else {
            return Ok(false);
        };
        let pin = self.table.domain.pin(0);
        let shard = self.table.lock(shard, &pin);
        let range = match shard.keys() {
            0 => cursor.hash..=u64::MAX,
            _ => shard.stretch(cursor.hash, SLOTS_PER_HOLD),
        };
        let mut visited = Ok(());
        shard.visit_at(self.lsn, &range, |block| {
            if visited.is_ok() {
                visited = visit(block);
            }
        });
        visited?;
        match range.end().checked_add(1) {
            Some(next) => cursor.hash = next,
            None => *cursor = Cursor { shard: cursor.shard + 1, hash: 0 },
        }
        Ok(true)
    }

    /// Calls `found` with the block that a key had at the moment of the snapshot.
    pub fn get<R>(&self, key: &[u8], found: impl FnOnce(&Block) -> R) -> Option<R> {
        let hash = self.table.hasher.hash(key);
        let shard = self.table.shard(hash);
        let pin = self.table.domain.pin(0);
        if let Some(block) = shard.find(&pin, hash, key)
            && block.lsn() <= self.lsn
        {
            return Some(found(&block));
        }
        self.table.lock(shard, &pin).get_at(self.lsn, hash, key, found)
    }

    /// Gives up the shards that a walk has left behind, so that they keep no old versions for it any more.
    pub fn release_passed(&mut self, cursor: &Cursor) {
        while self.first_held < cursor.shard.min(SHARDS) {
            let pin = self.table.domain.pin(0);
            // The lock is released at the end of the statement, before the old versions are freed.
            let unseen = self.table.lock(&self.table.shards[self.first_held], &pin).remove_snapshot(self.lsn);
            drop(pin);
            for version in unseen.into_values().flatten() {
                let block = version.into_block();
                let bytes = block.size();
                drop(self.table.domain.retire(block, bytes));
            }
            self.first_held += 1;
        }
    }
}

impl Drop for Snapshot<'_> {
    fn drop(&mut self) {
        self.release_passed(&Cursor { shard: SHARDS, hash: 0 });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_survives_being_a_number() {
        let beginning = Cursor::default();
        assert_eq!(beginning.to_number(), 0);
        assert_eq!(Cursor { shard: SHARDS, hash: 0 }.to_number(), 0);
        // Whatever the cursor, the hash at which it goes on is the first one of its shard from there.
        for shard in [0, 1, 7, 254, 255] {
            for hash in [0, 1, 6, 7, 8, 255, 256, 0x1234_5678_9abc_def0, u64::MAX - 300, u64::MAX - 255] {
                let cursor = Cursor { shard, hash };
                let back = Cursor::from_number(cursor.to_number());
                assert_eq!(back.shard, shard);
                assert_eq!(back.hash % SHARDS as u64, shard as u64);
                assert!(back.hash >= hash && back.hash - hash < SHARDS as u64, "{cursor:?} came back as {back:?}");
            }
        }
        // Beyond the last hash of a shard there is the next shard, or the end.
        assert_eq!(Cursor { shard: 3, hash: u64::MAX }.to_number(), Cursor { shard: 4, hash: 0 }.to_number());
        assert_eq!(Cursor::from_number(u64::MAX).to_number(), u64::MAX);
    }
}
