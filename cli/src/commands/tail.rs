//! `tail`: what was changed in a store, from its log, also while another process writes to it.
//!
//! The library follows the log over checkpoints, and gives only what is durable. When nothing more is there, what was printed
//! is flushed, so that a pipe has it before the wait begins.

use std::time::Duration;

use kvwal::Next;
use kvwal::wal::Follower;

use super::inspect::{self, RecordDocument};
use crate::args;
use crate::failure::{Exit, Failure, Result};
use crate::opening;
use crate::output::Output;

pub fn tail(args: &args::Tail, output: &mut Output) -> Result<Exit> {
    opening::check_exists(&args.store)?;
    let mut feed = Follower::open(&args.store, args.from)?;
    let mut wait = Some(Duration::ZERO);
    loop {
        match feed.next(wait)? {
            Next::Record(record) => {
                wait = Some(Duration::ZERO);
                match output.json {
                    true => output.document(&RecordDocument::new(&record))?,
                    false => output.line(inspect::line(&record))?,
                }
            }
            Next::Nothing if !args.follow => return Ok(Exit::Done),
            Next::Nothing => {
                output.flush()?;
                wait = None;
            }
            Next::Lagged(checkpoint_lsn) => return Err(lagged(feed.next_lsn(), checkpoint_lsn)),
        }
    }
}

fn lagged(lsn: u64, checkpoint_lsn: u64) -> Failure {
    let message = format!("the record {lsn} is in no log any more: a checkpoint covers it");
    let next = checkpoint_lsn.saturating_add(1);
    Failure::new(Exit::Lagged, message).hint(format!("take a dump or backup, and then go on with --from {next}"))
}
