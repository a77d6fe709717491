//! Group commit: many callers, one write, one sync.
//!
//! # The algorithm
//!
//! A caller puts its request at the end of the queue. If nobody leads, it becomes the leader: it takes the requests at
//! the head of the queue as one group, releases the lock, has the group committed (written, synced, applied in order),
//! takes the lock again, hands everybody's request back, and stops leading. Everybody else sleeps until then. While a
//! group is being synced the next one gathers, and when the leader is done it wakes one of those who wait in it to lead
//! it. This is the scheme of LevelDB's `DBImpl::Write`, in which the writer at the head of the queue acts for those
//! behind it.
//!
//! - **Order.** Requests are committed in the order of the queue, by one leader at a time. So the log, the table and
//!   the acknowledgements of one thread have the same order.
//! - **The cap.** A group ends before the request that would make it longer than [`GROUP_BYTES`], so that a small write
//!   does not wait for megabytes that came after it. A request that is longer alone makes a group of its own.
//! - **Gathering.** Writers that were in the last group are likely to come back at once. When there were several, the
//!   leader gives them a moment ([`GATHER_STEP`] after the last arrival, [`GATHER_TOTAL`] in all) before it takes the
//!   group: a sync costs much more than that. A caller alone never waits.
//! - **Failure.** If the group fails, each of its requests gets the error. If the leader panics, the same happens on
//!   the way out ([`Leading`]), and the queue stays closed, for nobody knows how far it had come.
//!
//! Two condition variables, for groups of even and odd number, keep the end of one group from waking the next. The first
//! request of a group waits at another, alone, so that it can be called to lead by a broadcast: a signal may get lost in
//! glibc 2.25 to 2.40 (its bug 25847), and then nobody would lead.

use std::collections::VecDeque;
use std::time::Duration;

use crate::error::{Error, ErrorKind, Result};
use crate::sys::clock::Instant;
use crate::sys::sync::{Condvar, Mutex, MutexGuard};
use crate::sys::thread;

/// Longest group, in bytes, unless a single request is longer.
pub const GROUP_BYTES: usize = 1 << 20;
/// How long a leader waits for another writer of the last group to come back.
const GATHER_STEP: Duration = Duration::from_micros(30);
/// How long a leader waits for writers of the last group altogether.
const GATHER_TOTAL: Duration = Duration::from_micros(150);

/// Something to be committed.
pub trait Request {
    /// Bytes that it takes in the log, as far as that is known.
    fn log_bytes(&self) -> usize;
}

/// Who commits a group.
pub trait Committer<R> {
    /// Makes the requests durable and then visible, in order. On an error none of them is visible.
    fn commit(&self, group: &mut [R]) -> Result<()>;
}

/// The queue of those who want to write.
pub struct CommitQueue<R> {
    state: Mutex<State<R>>,
    /// For the waiting requests of groups of even and odd number.
    done: [Condvar; 2],
    /// For the first request of such a group.
    lead: [Condvar; 2],
}

struct State<R> {
    /// The requests that their callers have not taken back yet, in order.
    entries: VecDeque<Entry<R>>,
    /// The number of the first of them.
    first: u64,
    /// The number of the first request that no leader has taken yet.
    untaken: u64,
    has_leader: bool,
    /// The number of the group that new requests belong to.
    gathering: u64,
    /// How many requests the last group had.
    last_group: usize,
    /// Set for good when a leader panicked.
    closed: Option<Error>,
}

enum Entry<R> {
    /// Waiting in the group of this number.
    Waiting(u64, R),
    /// In the hands of the leader.
    Taken(u64),
    Done(R, Result<()>),
    /// Its leader panicked.
    Lost,
    /// Its caller has it back.
    Returned,
}

impl<R: Request> Default for CommitQueue<R> {
    fn default() -> CommitQueue<R> {
        CommitQueue::new()
    }
}

impl<R: Request> CommitQueue<R> {
    /// An empty queue.
    pub fn new() -> CommitQueue<R> {
        let state = State {
            entries: VecDeque::new(),
            first: 0,
            untaken: 0,
            has_leader: false,
            gathering: 0,
            last_group: 0,
            closed: None,
        };
        CommitQueue { state: Mutex::new(state), done: Default::default(), lead: Default::default() }
    }

    /// Has a request committed, together with those of other threads, and gives it back.
    pub fn submit(&self, request: R, committer: &impl Committer<R>) -> Result<R> {
        let mut state = self.state.lock();
        if let Some(error) = &state.closed {
            return Err(error.clone());
        }
        let number = state.push(request)?;
        loop {
            let (has_leader, is_first) = (state.has_leader, number == state.untaken);
            match *state.entry(number) {
                Entry::Done(..) | Entry::Lost => return state.take_back(number),
                Entry::Waiting(..) if !has_leader => state = self.lead(state, committer),
                Entry::Waiting(group, _) if is_first => state = self.lead[parity(group)].wait(state),
                Entry::Waiting(group, _) | Entry::Taken(group) => state = self.done[parity(group)].wait(state),
                Entry::Returned => unreachable!("only this caller takes its request back"),
            }
        }
    }

    /// Commits the next group.
    fn lead<'q>(
        &'q self,
        mut state: MutexGuard<'q, State<R>>,
        committer: &impl Committer<R>,
    ) -> MutexGuard<'q, State<R>> {
        state.has_leader = true;
        state = self.gather(state);
        let (first, mut group) = state.take_group();
        drop(state);

        let leading = Leading { queue: self, first, len: group.len() };
        let result = committer.commit(&mut group);
        std::mem::forget(leading);

        let mut state = self.state.lock();
        state.last_group = group.len();
        for (number, request) in (first..).zip(group) {
            *state.entry(number) = Entry::Done(request, result.clone());
        }
        self.stop_leading(&mut state);
        state
    }

    /// Waits for the writers of the last group to come back.
    fn gather<'q>(&'q self, mut state: MutexGuard<'q, State<R>>) -> MutexGuard<'q, State<R>> {
        if state.last_group <= 1 || state.waiting() >= state.last_group {
            return state;
        }
        let began = Instant::now();
        let mut arrived = (state.waiting(), began);
        loop {
            drop(state);
            thread::yield_now();
            state = self.state.lock();
            let now = Instant::now();
            if state.waiting() > arrived.0 {
                arrived = (state.waiting(), now);
            }
            let enough = state.waiting() >= state.last_group;
            if enough || now - arrived.1 >= GATHER_STEP || now - began >= GATHER_TOTAL {
                return state;
            }
        }
    }

    /// Wakes those whose group is done, and one of the next group to lead it.
    fn stop_leading(&self, state: &mut MutexGuard<'_, State<R>>) {
        state.has_leader = false;
        // The next group is the one that has been gathering since.
        let (finished, next) = (parity(state.gathering - 1), parity(state.gathering));
        if state.waiting() > 0 {
            self.lead[next].notify_all(state);
        }
        self.lead[finished].notify_all(state);
        self.done[finished].notify_all(state);
    }
}

/// Exists while a leader commits. Dropped only if it panics: then everybody in its group, and everybody after, gets an
/// error instead of waiting for ever.
struct Leading<'q, R: Request> {
    queue: &'q CommitQueue<R>,
    first: u64,
    len: usize,
}

impl<R: Request> Drop for Leading<'_, R> {
    fn drop(&mut self) {
        let mut state = self.queue.state.lock();
        for number in self.first..state.first + state.entries.len() as u64 {
            *state.entry(number) = Entry::Lost;
        }
        debug_assert!(state.first + state.entries.len() as u64 >= self.first + self.len as u64);
        state.untaken = state.first + state.entries.len() as u64;
        state.closed = Some(panicked());
        state.has_leader = false;
        self.queue.done.iter().chain(&self.queue.lead).for_each(|waiting| waiting.notify_all(&state));
    }
}

fn panicked() -> Error {
    Error::new(ErrorKind::Failed, "no more writes on this handle: a bug in kvwal stopped an earlier one half-way")
}

fn parity(group: u64) -> usize {
    (group % 2) as usize
}

impl<R: Request> State<R> {
    fn push(&mut self, request: R) -> Result<u64> {
        self.entries.try_reserve(1).map_err(|_| Error::no_memory(size_of::<Entry<R>>()))?;
        self.entries.push_back(Entry::Waiting(self.gathering, request));
        Ok(self.first + self.entries.len() as u64 - 1)
    }

    fn entry(&mut self, number: u64) -> &mut Entry<R> {
        &mut self.entries[(number - self.first) as usize]
    }

    /// How many requests no leader has taken yet.
    fn waiting(&self) -> usize {
        (self.first + self.entries.len() as u64 - self.untaken) as usize
    }

    /// Takes the next group out of the queue; returns the number of its first request. What the cap leaves behind
    /// belongs to the group after it.
    fn take_group(&mut self) -> (u64, Vec<R>) {
        let first = self.untaken;
        let taken = (first - self.first) as usize;
        let (mut group, mut bytes, mut full) = (Vec::with_capacity(self.waiting()), 0, false);
        self.gathering += 1;
        for entry in self.entries.iter_mut().skip(taken) {
            let Entry::Waiting(number, request) = entry else {
                unreachable!("what no leader has taken is waiting");
            };
            bytes += request.log_bytes();
            full |= bytes > GROUP_BYTES && !group.is_empty();
            if full {
                *number = self.gathering;
            } else if let number = *number
                && let Entry::Waiting(_, request) = std::mem::replace(entry, Entry::Taken(number))
            {
                group.push(request);
            }
        }
        self.untaken = first + group.len() as u64;
        (first, group)
    }

    /// Gives a request that is done back to its caller.
    fn take_back(&mut self, number: u64) -> Result<R> {
        let entry = std::mem::replace(self.entry(number), Entry::Returned);
        while let Some(Entry::Returned) = self.entries.front() {
            self.entries.pop_front();
            self.first += 1;
        }
        match entry {
            Entry::Done(request, result) => result.map(|()| request),
            _ => Err(panicked()),
        }
    }
}

#[cfg(all(test, kvwal_shuttle))]
mod schedules;
#[cfg(test)]
mod tests;
