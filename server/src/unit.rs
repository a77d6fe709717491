//! Commands on their way through a worker, and their answers on the way back.
//!
//! The event loop makes a [`Job`] of the commands of one connection that may be carried out together, and gives it to a
//! worker, which gives it back with the answers. A [`Unit`] of a job is what is carried out at once: a command, or all
//! commands between `MULTI` and `EXEC`. Units that write are transactions of the library, each for itself, whose answers count only
//! once they are committed.

use std::sync::Arc;
use std::time::Instant;

use kvwal::format::Lsn;
use kvwal::{Result, Store, Transaction, Work};

use crate::budget::{self, Budget};
use crate::command::{Handler, Outcome, Spec};
use crate::keyspace::Reader;
use crate::protocol::answer::Tally;
use crate::protocol::{Answer, OwnedArgs, Protocol, Refusal};

/// Commands of one connection that are carried out together, in order.
pub struct Job {
    /// Which connection: its place and its number.
    pub client: (usize, u64),
    /// The commands.
    pub units: Vec<Unit>,
    /// When they had come.
    pub arrived: Instant,
}

/// A command with its arguments.
#[derive(Debug)]
pub struct Step {
    /// Which command.
    pub spec: &'static Spec,
    /// Its arguments.
    pub args: OwnedArgs,
}

/// What is carried out at once.
pub struct Unit {
    task: Task,
    protocol: Protocol,
    is_silent: bool,
    budget: Arc<Budget>,
    /// Bytes of the budget that the task uses.
    reserved: usize,
    answer: Vec<u8>,
    tally: Tally,
}

/// What is to be done.
pub enum Task {
    /// A command.
    One(Step),
    /// Nothing but to say why not, when it is the turn of that.
    Refused(Refusal),
    /// All commands since `MULTI`, unless one of these keys has been set by another record than the one of this LSN (0: is there).
    Exec(Vec<Step>, Vec<(Vec<u8>, Lsn)>),
}

impl Task {
    /// Bytes of memory that it takes.
    fn memory(&self) -> usize {
        match self {
            Task::One(step) => step.memory(),
            Task::Refused(_) => 0,
            Task::Exec(steps, watched) => {
                let watched: usize = watched.iter().map(|(key, _)| key.len()).sum();
                steps.iter().map(Step::memory).sum::<usize>() + watched
            }
        }
    }
}

/// Most answers of commands that write are no longer. Room for that much comes with the unit, so that it is allocated and freed by
/// the same thread, which is several times as quick.
const MOSTLY: usize = 32;

impl Unit {
    /// To be answered in a protocol, or not at all.
    pub fn new(task: Task, protocol: Protocol, is_silent: bool, budget: &Arc<Budget>) -> Unit {
        let (budget, reserved) = (Arc::clone(budget), task.memory());
        budget.change(0, reserved);
        let answer = Vec::with_capacity(MOSTLY);
        Unit { task, protocol, is_silent, budget, reserved, answer, tally: Tally::default() }
    }

    /// The commands in it.
    pub fn specs(&self) -> impl Iterator<Item = &'static Spec> {
        let steps = match &self.task {
            Task::One(step) => std::slice::from_ref(step),
            Task::Exec(steps, _) => steps,
            Task::Refused(_) => &[],
        };
        steps.iter().map(|step| step.spec)
    }

    /// Carries it out as far as that takes no transaction.
    pub fn walk(&mut self, store: &Store) {
        let mut answer = self.begin_answer();
        let outcome = match &self.task {
            Task::One(Step { spec, args }) => match spec.handler {
                Handler::Walk(run) => run(store, args.args(), &mut answer),
                Handler::Read(run) | Handler::LongRead(run) => run(store, args.args(), &mut answer),
                _ => unreachable!("only commands that read go to a worker that walks"),
            },
            Task::Refused(refusal) => Err(refusal.clone()),
            Task::Exec(..) => unreachable!("a transaction goes to the committer"),
        };
        self.end_answer(answer, outcome);
    }

    /// Puts a refusal in the place of the answer.
    pub fn fail(&mut self, refusal: Refusal) {
        let answer = self.begin_answer();
        self.end_answer(answer, Err(refusal));
    }

    /// The answer, and what was done. What it has used of the budget is given back.
    pub fn into_answer(self) -> (Vec<u8>, Tally) {
        self.budget.change(self.reserved + self.answer.len(), 0);
        (self.answer, self.tally)
    }

    fn begin_answer(&mut self) -> Answer {
        self.budget.change(self.answer.len(), 0);
        let mut bytes = std::mem::take(&mut self.answer);
        bytes.clear();
        Answer::new(bytes, self.protocol, self.budget.answer_limit())
    }

    /// Takes the answer down. Says whether it is what the command has written.
    fn end_answer(&mut self, mut answer: Answer, outcome: Outcome) -> bool {
        let outcome = if answer.is_too_long() { Err(budget::answer_too_long()) } else { outcome };
        if let Err(refusal) = &outcome {
            answer.refuse(answer.beginning(), refusal);
        }
        if self.is_silent {
            answer.silence(answer.beginning());
        }
        self.tally = answer.tally;
        self.answer = answer.into_bytes();
        self.budget.change(0, self.answer.len());
        outcome.is_ok()
    }
}

impl Work for Unit {
    fn run(&mut self, transaction: &mut Transaction<'_>) -> Result<()> {
        let mut answer = self.begin_answer();
        let outcome = match &self.task {
            Task::One(step) => step.run(transaction, &mut answer),
            Task::Refused(refusal) => Err(refusal.clone()),
            Task::Exec(steps, watched) => exec(steps, watched, transaction, &mut answer),
        };
        // A command that is refused, or whose answer cannot be given, has not been carried out.
        if !self.end_answer(answer, outcome) {
            transaction.undo();
        }
        Ok(())
    }
}

impl Step {
    /// Bytes of memory that it takes.
    pub fn memory(&self) -> usize {
        self.args.memory() + size_of::<Step>()
    }

    fn run(&self, transaction: &mut Transaction<'_>, answer: &mut Answer) -> Outcome {
        let args = self.args.args();
        match self.spec.handler {
            Handler::Plain(run) => run(args, answer),
            Handler::Read(run) | Handler::LongRead(run) => run(transaction, args, answer),
            Handler::Write(run) => run(transaction, args, answer),
            Handler::Session(_) | Handler::Walk(_) | Handler::Exec => unreachable!("never queued"),
        }
    }
}

/// Carries out what was queued since `MULTI`. As with Redis, a command that is refused does not keep the others from being
/// carried out.
fn exec(steps: &[Step], watched: &[(Vec<u8>, Lsn)], transaction: &mut Transaction<'_>, answer: &mut Answer) -> Outcome {
    for (key, version) in watched {
        if version_of(transaction, key)? != *version {
            answer.null_array();
            return Ok(());
        }
    }
    answer.array(steps.len());
    for step in steps {
        let mark = answer.mark();
        if let Err(refusal) = step.run(transaction, answer) {
            answer.refuse(mark, &refusal);
        }
    }
    Ok(())
}

/// The LSN of the record that set a key, 0 if it is not there.
pub fn version_of(reader: &dyn Reader, key: &[u8]) -> Result<Lsn> {
    let mut version = 0;
    reader.look_up(key, &mut |entry| version = entry.version)?;
    Ok(version)
}
