//! The threads beside the event loop. They take commands from a queue, carry them out, and give the answers back; they parse
//! nothing and touch no socket.
//!
//! # One sync for all who are ready
//!
//! The committer takes all jobs that have been queued, and has the units of all of them committed with one call of the
//! library, so that they share a group commit. While that syncs, the next jobs gather. So however many clients write, there is one
//! sync for all that were ready together, and a client alone pays for one sync.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use kvwal::threads::{Condvar, Mutex, Thread};
use kvwal::{ErrorKind, Store};
use mio::Waker;

use crate::protocol::Refusal;
use crate::unit::{Job, Unit};

/// Something for a worker that walks.
pub enum Walk {
    /// Commands of a connection.
    Job(Job),
    /// A checkpoint that nobody waits for.
    Save,
}

/// Something that a worker has done.
pub enum Done {
    /// Commands of a connection, with their answers.
    Job(Job),
    /// A checkpoint that nobody waits for.
    Saved(kvwal::Result<()>),
    /// From now on nothing can be written any more.
    Failed(kvwal::Error),
}

/// The threads, and the ways to them and back.
pub struct Workers {
    writes: Arc<Queue<Job>>,
    walks: Arc<Queue<Walk>>,
    done: Arc<Completions>,
    threads: Vec<Thread>,
}

/// What the workers have done, for the event loop to fetch.
struct Completions {
    done: Mutex<Vec<Done>>,
    waker: Waker,
}

impl Completions {
    /// Gives the event loop what was done. It is woken only if it has not been already.
    fn give(&self, some: impl IntoIterator<Item = Done>) {
        let mut done = self.done.lock();
        let was_empty = done.is_empty();
        done.extend(some);
        let is_first = was_empty && !done.is_empty();
        drop(done);
        if is_first {
            self.waker.wake().expect("an eventfd takes a number");
        }
    }
}

impl Workers {
    /// Starts the committer, and `walkers` threads for commands that take long.
    pub fn start(store: &Arc<Store>, walkers: usize, waker: Waker) -> std::io::Result<Workers> {
        let done = Arc::new(Completions { done: Mutex::default(), waker });
        let mut workers = Workers { writes: Arc::default(), walks: Arc::default(), done, threads: Vec::new() };
        let (store_of_committer, jobs, done) =
            (Arc::clone(store), Arc::clone(&workers.writes), Arc::clone(&workers.done));
        workers.threads.push(Thread::start(c"kv-commit", move || commit(&store_of_committer, &jobs, &done))?);
        for _ in 0..walkers {
            let (store, walks, done) = (Arc::clone(store), Arc::clone(&workers.walks), Arc::clone(&workers.done));
            workers.threads.push(Thread::start(c"kv-walk", move || walk(&store, &walks, &done))?);
        }
        Ok(workers)
    }

    /// Gives the committer jobs; `jobs` is empty afterwards.
    pub fn commit(&self, jobs: &mut Vec<Job>) {
        self.writes.put(jobs);
    }

    /// Gives the other workers something; `walks` is empty afterwards.
    pub fn walk(&self, walks: &mut Vec<Walk>) {
        self.walks.put(walks);
    }

    /// Takes what has been done.
    pub fn take_done(&self, into: &mut Vec<Done>) {
        std::mem::swap(into, &mut self.done.done.lock());
    }

    /// Ends the threads, once they have done what they have begun.
    pub fn stop(self) -> bool {
        self.writes.close();
        self.walks.close();
        self.threads.into_iter().map(Thread::join).fold(true, |all, ended_well| all & ended_well)
    }
}

/// Commits what is queued, as one group, until the queue is closed.
fn commit(store: &Store, jobs: &Queue<Job>, done: &Completions) {
    let (mut units, mut counts) = (Vec::new(), Vec::new());
    let mut has_failed = false;
    while let Some(mut group) = jobs.take_all() {
        for job in &mut group {
            counts.push(job.units.len());
            units.append(&mut job.units);
        }
        let results = store.transact_all(&mut units);
        for (unit, result) in units.iter_mut().zip(results) {
            let Err(error) = result else { continue };
            if error.kind() == ErrorKind::Failed && !has_failed {
                has_failed = true;
                done.give([Done::Failed(error.clone())]);
            }
            unit.fail(error.into());
        }
        let mut committed = units.drain(..);
        for (job, count) in group.iter_mut().zip(counts.drain(..)) {
            job.units.extend(committed.by_ref().take(count));
        }
        drop(committed);
        done.give(group.into_iter().map(Done::Job));
    }
}

/// Does what takes long, until the queue is closed.
fn walk(store: &Store, walks: &Queue<Walk>, done: &Completions) {
    while let Some(walk) = walks.take_one() {
        let is_done = match walk {
            Walk::Save => Done::Saved(store.checkpoint()),
            Walk::Job(mut job) => {
                job.units.iter_mut().for_each(|unit| walk_unit(unit, store));
                Done::Job(job)
            }
        };
        done.give([is_done]);
    }
}

/// A bug that makes a command panic costs its client the answer, not everybody the worker.
fn walk_unit(unit: &mut Unit, store: &Store) {
    if catch_unwind(AssertUnwindSafe(|| unit.walk(store))).is_err() {
        unit.fail(Refusal::err("a bug in kv_server: the command panicked"));
    }
}

/// A queue that threads wait at.
struct Queue<T> {
    state: Mutex<State<T>>,
    filled: Condvar,
}

struct State<T> {
    items: VecDeque<T>,
    is_closed: bool,
}

impl<T> Default for Queue<T> {
    fn default() -> Queue<T> {
        let state = State { items: Default::default(), is_closed: false };
        Queue { state: Mutex::new(state), filled: Condvar::new() }
    }
}

impl<T> Queue<T> {
    fn put(&self, items: &mut Vec<T>) {
        if items.is_empty() {
            return;
        }
        let mut state = self.state.lock();
        state.items.extend(items.drain(..));
        self.filled.notify_all(&state);
    }

    /// Ends those who wait; what they have not begun is left undone.
    fn close(&self) {
        let mut state = self.state.lock();
        state.is_closed = true;
        state.items.clear();
        self.filled.notify_all(&state);
    }

    /// Waits for one; `None` when the queue is closed and empty.
    fn take_one(&self) -> Option<T> {
        let mut state = self.state.lock();
        loop {
            match state.items.pop_front() {
                None if !state.is_closed => state = self.filled.wait(state),
                item => return item,
            }
        }
    }

    /// Waits for some, and takes all; `None` when the queue is closed and empty.
    fn take_all(&self) -> Option<Vec<T>> {
        let mut state = self.state.lock();
        loop {
            if !state.items.is_empty() {
                return Some(state.items.drain(..).collect());
            }
            if state.is_closed {
                return None;
            }
            state = self.filled.wait(state);
        }
    }
}
