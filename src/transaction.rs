//! Work that reads keys and decides on changes, all of it at one place in the order of the log.
//!
//! # The algorithm
//!
//! The log is locked, so nothing is applied meanwhile, and the works of a group run one after the other, each on a
//! [`Transaction`]. What a key is to a work is, newest first: the work's own last change of it, the last change of it
//! earlier in the group ([`Earlier`]), what the table holds. So a work sees everything that comes before it in the log, and
//! nothing else can come between what it reads and what it writes: transactions, and all other writes, happen one at a time,
//! in the order of their records. Then the group is appended, and applied. If that fails, so do all of its works, whatever
//! they wrote, and nobody has seen any of it; if it does not, what a work has seen is as durable as the group is.
//!
//! A work whose result is an error, or that panics, leaves no changes. Those of another are one batch of the log.
//!
//! The LSNs of a group follow from where the log ends, so a change has its own before it is in the log.

use std::collections::{BTreeMap, BTreeSet};
use std::ptr;

use crate::error::Result;
use crate::format::{self, Lsn, Op};
use crate::sys::block::Block;
use crate::sys::loan::Signature;
use crate::table::{Change, Cursor, Table, is_expired};

/// What a key is set to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry<'a> {
    /// The value.
    pub value: &'a [u8],
    /// Unix time in milliseconds from which on the key is gone; 0 for never.
    pub expires_at: u64,
    /// LSN of the record that set it; never 0. It is another one whenever the key has been set again, if only to the same
    /// value. In a store that was opened again it may be the checkpoint's, which is no smaller.
    pub version: Lsn,
}

impl Entry<'_> {
    pub(crate) fn of(block: &Block, version: Lsn) -> Entry<'_> {
        Entry { value: block.value(), expires_at: block.expires_at(), version }
    }
}

/// What reads keys and decides on changes: see [`Store::transact_all`](crate::Store::transact_all).
///
/// It runs once, and not necessarily on the thread that asked for it: that one sleeps until the result is durable. While it
/// runs everybody who wants to write waits, so it should be quick, and wait for nobody. Calls that write to the same store,
/// sync it or make a checkpoint are refused ([`ErrorKind::Invalid`](crate::ErrorKind::Invalid)).
pub trait Work {
    /// Reads, and makes changes. After an error or a panic they are forgotten; those of others are not concerned.
    fn run(&mut self, transaction: &mut Transaction<'_>) -> Result<()>;
}

impl<F: FnMut(&mut Transaction<'_>) -> Result<()>> Work for F {
    fn run(&mut self, transaction: &mut Transaction<'_>) -> Result<()> {
        self(transaction)
    }
}

/// A caller's works, as the queue knows them: what runs the work of a number, and returns its changes.
pub enum Works {}

impl Signature for Works {
    type Argument<'a> = (usize, Transaction<'a>);
    type Output = Result<Vec<Change>>;
}

/// What is before a work in its group.
pub struct Earlier<'g> {
    /// By hash and LSN.
    changes: BTreeMap<(u64, Lsn), &'g Change>,
    /// Batches, each with its first LSN, that nobody has looked for yet.
    unsorted: Vec<(Lsn, &'g [Change])>,
    /// What the table holds.
    table_lsn: Lsn,
    next_lsn: Lsn,
    now_ms: u64,
}

impl<'g> Earlier<'g> {
    /// The beginning of a group, behind the record `last_lsn`.
    pub fn new(last_lsn: Lsn, now_ms: u64) -> Earlier<'g> {
        let (changes, unsorted) = (BTreeMap::new(), Vec::new());
        Earlier { changes, unsorted, table_lsn: last_lsn, next_lsn: last_lsn + 1, now_ms }
    }

    /// Adds the batch that comes next.
    pub fn push(&mut self, batch: &'g [Change]) {
        self.unsorted.push((self.next_lsn, batch));
        self.next_lsn += batch.len() as Lsn;
    }

    /// A transaction that comes next. What comes behind the last one of a group is never sorted.
    pub fn begin<'a>(&'a mut self, table: &'a Table) -> Transaction<'a> {
        for (first_lsn, batch) in self.unsorted.drain(..) {
            self.changes.extend((first_lsn..).zip(batch).map(|(lsn, change)| ((change.hash(), lsn), change)));
        }
        Transaction { table, earlier: self, changes: Vec::new(), by_hash: BTreeSet::new() }
    }

    fn newest(&self, hash: u64, key: &[u8]) -> Option<(Lsn, &Change)> {
        let of_hash = self.changes.range((hash, 0)..=(hash, Lsn::MAX)).rev();
        of_hash.map(|(&(_, lsn), &change)| (lsn, change)).find(|(_, change)| change.block().has_key(key))
    }
}

/// The store as one work sees it, and the changes that it makes.
pub struct Transaction<'a> {
    table: &'a Table,
    earlier: &'a Earlier<'a>,
    changes: Vec<Change>,
    /// Hashes and indices of the changes.
    by_hash: BTreeSet<(u64, usize)>,
}

impl Transaction<'_> {
    pub(crate) fn into_changes(self) -> Vec<Change> {
        self.changes
    }

    /// The system clock, in Unix milliseconds, as of the beginning. What expires does so by this.
    pub fn now_ms(&self) -> u64 {
        self.earlier.now_ms
    }

    /// Calls `found` with what `key` is set to, if it is there.
    pub fn get_with<R>(&self, key: &[u8], found: impl FnOnce(Entry<'_>) -> R) -> Result<Option<R>> {
        format::check_lengths(key, b"")?;
        if let Some((lsn, change)) = self.newest_change(key) {
            return Ok(self.is_there(change).then(|| found(Entry::of(change.block(), lsn))));
        }
        let living = |block: &Block| {
            let is_there = !is_expired(block, self.now_ms());
            is_there.then(|| found(Entry::of(block, block.lsn())))
        };
        Ok(self.table.peek(key, living).flatten())
    }

    /// The value of `key`.
    pub fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>> {
        self.get_with(key, |entry| entry.value.to_vec())
    }

    /// Sets `key` to `value`.
    pub fn set(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        self.push(Op::Put, key, value, 0)
    }

    /// Sets `key` to `value` until a moment, in Unix milliseconds; 0 for ever. If that is over the key is deleted.
    pub fn set_until(&mut self, key: &[u8], value: &[u8], expires_at: u64) -> Result<()> {
        format::check_lengths(key, value)?;
        match expires_at {
            0 => self.set(key, value),
            over if over <= self.now_ms() => self.del(key).map(drop),
            _ => self.push(Op::PutExpiring, key, value, expires_at),
        }
    }

    /// Deletes `key`; false, and no change, if it was not there.
    pub fn del(&mut self, key: &[u8]) -> Result<bool> {
        let was_there = self.get_with(key, |_| ())?.is_some();
        if was_there {
            self.push(Op::Delete, key, b"", 0)?;
        }
        Ok(was_there)
    }

    /// Calls `visit` with every key that is there, once, in no particular order. Goes through the whole store.
    pub fn keys(&self, mut visit: impl FnMut(&[u8])) -> Result<()> {
        let snapshot = self.table.snapshot(self.earlier.table_lsn);
        let (mut cursor, mut some) = (Cursor::default(), Vec::new());
        // Under the lock of a shard they are only copied, for `visit` may use the transaction.
        while snapshot.visit_some(&mut cursor, |block| {
            if !is_expired(block, self.now_ms()) && self.newest_change(block.key()).is_none() {
                some.push(block.key().to_vec());
            }
            Ok(())
        })? {
            some.drain(..).for_each(|key| visit(&key));
        }
        let earlier = self.earlier.changes.values().copied();
        for change in earlier.chain(&self.changes) {
            let newest = self.newest_change(change.block().key());
            if newest.is_some_and(|(_, newest)| ptr::eq(newest, change)) && self.is_there(change) {
                visit(change.block().key());
            }
        }
        Ok(())
    }

    /// Forgets the changes made so far.
    pub fn undo(&mut self) {
        self.changes.clear();
        self.by_hash.clear();
    }

    fn push(&mut self, op: Op, key: &[u8], value: &[u8], expires_at: u64) -> Result<()> {
        let change = self.table.new_change(op, key, value, expires_at)?;
        self.by_hash.insert((change.hash(), self.changes.len()));
        self.changes.push(change);
        Ok(())
    }

    /// The last change of a key that the table does not have yet, and its LSN.
    fn newest_change(&self, key: &[u8]) -> Option<(Lsn, &Change)> {
        if self.changes.is_empty() && self.earlier.changes.is_empty() {
            return None;
        }
        let hash = self.table.hash(key);
        let own = self.by_hash.range((hash, 0)..=(hash, usize::MAX)).rev();
        let mut own = own.map(|&(_, at)| (self.earlier.next_lsn + at as Lsn, &self.changes[at]));
        own.find(|(_, change)| change.block().has_key(key)).or_else(|| self.earlier.newest(hash, key))
    }

    /// Whether the key of a change is there after it.
    fn is_there(&self, change: &Change) -> bool {
        change.op() != Op::Delete && !is_expired(change.block(), self.now_ms())
    }
}
