//! What is committed together: changes, or works that are still to decide on them.

use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::commit::{GROUP_BYTES, Request};
use crate::error::{Error, ErrorKind, Result};
use crate::format::{Lsn, Record};
use crate::sys::loan::Loan;
use crate::table::{Change, Table};
use crate::transaction::{Earlier, Transaction, Works};

/// How much log a work is taken to need before it is known: so a group has so many of them at most.
const LIKELY_BYTES: usize = 128;
/// How many works a caller submits at a time.
const WORKS_AT_ONCE: usize = GROUP_BYTES / LIKELY_BYTES;

/// What a caller submits.
pub enum Write {
    /// A change alone.
    One([Change; 1]),
    /// A batch.
    Many(Vec<Change>),
    /// Transactions of one caller, in order.
    Transactions(Transactions),
}

/// Transactions that are to run, and then what came of them.
pub struct Transactions {
    works: Loan<Works>,
    /// The number of the first of them.
    first: usize,
    outcomes: Vec<Outcome>,
    /// How many of them have run.
    ran: usize,
}

#[derive(Default)]
struct Outcome {
    /// A batch; none if there is an error.
    changes: Vec<Change>,
    error: Option<Error>,
}

impl Write {
    /// Batches that are to be in the log in this order; some may be empty.
    fn batches(&self) -> impl Iterator<Item = &[Change]> + Clone {
        let (batch, outcomes) = match self {
            Write::One(change) => (&change[..], &[][..]),
            Write::Many(changes) => (&changes[..], &[][..]),
            Write::Transactions(transactions) => (&[][..], &transactions.outcomes[..]),
        };
        std::iter::once(batch).chain(outcomes.iter().map(|outcome| &outcome.changes[..]))
    }

    /// The same batches, to be applied; none is empty.
    pub fn batches_mut(&mut self) -> impl Iterator<Item = &mut [Change]> {
        let (batch, outcomes) = match self {
            Write::One(change) => (&mut change[..], &mut [][..]),
            Write::Many(changes) => (&mut changes[..], &mut [][..]),
            Write::Transactions(transactions) => (&mut [][..], &mut transactions.outcomes[..]),
        };
        let batches = std::iter::once(batch).chain(outcomes.iter_mut().map(|outcome| &mut outcome.changes[..]));
        batches.filter(|batch| !batch.is_empty())
    }

    /// All changes.
    pub fn changes(&self) -> impl Iterator<Item = &Change> + Clone {
        self.batches().flatten()
    }

    /// As the log has it; the writer sets the LSNs.
    pub fn records(&self) -> impl Iterator<Item = Record<'_>> + Clone {
        self.batches().flat_map(records_of)
    }

    /// Whether there are works to be run first.
    pub fn has_works(&self) -> bool {
        matches!(self, Write::Transactions(_))
    }
}

impl Request for Write {
    fn log_bytes(&self) -> usize {
        match self {
            Write::Transactions(transactions) => transactions.outcomes.len() * LIKELY_BYTES,
            changes => changes.records().map(|record| record.encoded_len()).sum(),
        }
    }
}

fn records_of(batch: &[Change]) -> impl Iterator<Item = Record<'_>> + Clone {
    batch.iter().enumerate().map(|(at, change)| {
        let block = change.block();
        Record {
            lsn: 0,
            durable_lsn: 0,
            op: change.op(),
            more: at + 1 < batch.len(),
            expires_at: block.expires_at(),
            key: block.key(),
            value: block.value(),
        }
    })
}

/// Runs the works of a group in their order, behind the record `last_lsn`. The log is locked, and the table holds the effect
/// of that record.
pub fn run_works(group: &mut [Write], table: &Table, last_lsn: Lsn, now_ms: u64) {
    let mut earlier = Earlier::new(last_lsn, now_ms);
    let mut bytes = 0;
    for write in group {
        match write {
            Write::Transactions(transactions) => transactions.run(table, &mut earlier, &mut bytes),
            write => {
                let write = &*write;
                bytes += write.log_bytes();
                write.batches().for_each(|batch| earlier.push(batch));
            }
        }
    }
}

impl Transactions {
    /// The works of a caller from the one numbered `first` on: some of the `left` that there are.
    pub fn new(works: Loan<Works>, first: usize, left: usize) -> Transactions {
        let outcomes = std::iter::repeat_with(Outcome::default).take(left.min(WORKS_AT_ONCE)).collect();
        Transactions { works, first, outcomes, ran: 0 }
    }

    /// Runs the first work, and the others while the group, of which `bytes` bytes are known, is not too long.
    fn run<'g>(&'g mut self, table: &Table, earlier: &mut Earlier<'g>, bytes: &mut usize) {
        for (outcome, number) in self.outcomes.iter_mut().zip(self.first..) {
            if self.ran > 0 && *bytes > GROUP_BYTES {
                return;
            }
            self.ran += 1;
            *outcome = run_one(&self.works, number, earlier.begin(table));
            let changes = &outcome.changes[..];
            *bytes += records_of(changes).map(|record| record.encoded_len()).sum::<usize>();
            earlier.push(changes);
        }
    }

    /// What those that have run are told, once their group is committed.
    pub fn into_results(self) -> impl Iterator<Item = Result<()>> {
        self.outcomes.into_iter().take(self.ran).map(|outcome| outcome.error.map_or(Ok(()), Err))
    }
}

/// A panic ends one work, not the group: its leader has others to serve.
fn run_one(works: &Loan<Works>, number: usize, transaction: Transaction<'_>) -> Outcome {
    let ran = catch_unwind(AssertUnwindSafe(|| works.call((number, transaction))));
    let error = match ran {
        Ok(Some(Ok(changes))) => return Outcome { changes, error: None },
        Ok(Some(Err(error))) => error,
        Ok(None) => Error::new(ErrorKind::Internal, "a bug in kvwal: a transaction ran when its caller had gone"),
        Err(_) => Error::new(ErrorKind::Internal, "the work of a transaction panicked"),
    };
    Outcome { changes: Vec::new(), error: Some(error) }
}
