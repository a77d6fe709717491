//! The queue under every kind of schedule: whoever waits is woken, nothing changes places, and everybody gets the answer
//! to its own request, also when a leader fails or panics.

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::{Arc, Mutex as StdMutex};

use super::*;
use crate::sys::scheduled::explore;
use crate::sys::thread::Thread;

/// A request: whose, and the how manieth.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Write {
    writer: usize,
    number: usize,
    bytes: usize,
}

impl Request for Write {
    fn log_bytes(&self) -> usize {
        self.bytes
    }
}

/// What happens to a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Succeeds,
    Fails,
    Panics,
}

/// Notes the groups, each with its fate. Its locks are no places for another task to go on, so that there are fewer
/// schedules.
struct Recorder {
    groups: StdMutex<Vec<(Vec<Write>, Fate)>>,
    /// Held while a group is committed.
    committing: StdMutex<()>,
    fate: fn(usize) -> Fate,
}

impl Committer<Write> for Recorder {
    fn commit(&self, group: &mut [Write]) -> Result<()> {
        let _alone = self.committing.try_lock().expect("one leader at a time");
        let fate = {
            let mut groups = self.groups.lock().unwrap();
            let fate = (self.fate)(groups.len());
            groups.push((group.to_vec(), fate));
            fate
        };
        thread::yield_now();
        match fate {
            Fate::Succeeds => Ok(()),
            Fate::Fails => Err(Error::new(ErrorKind::NoSpace, "on purpose")),
            // Without the panic hook, which would print the schedule.
            Fate::Panics => resume_unwind(Box::new("on purpose")),
        }
    }
}

/// What a writer was told: `None` if it was the leader that panicked.
type Answer = Option<Result<Write>>;

/// Has so many writers submit so many requests each, one after the other, and checks what they are told.
fn run(writers: usize, each: usize, bytes: fn(usize) -> usize, fate: fn(usize) -> Fate) {
    let queue = Arc::new(CommitQueue::new());
    let recorder = Arc::new(Recorder { groups: StdMutex::default(), committing: StdMutex::default(), fate });
    let answers = Arc::new(StdMutex::new(Vec::new()));
    let start = |writer| {
        let (queue, recorder, answers) = (Arc::clone(&queue), Arc::clone(&recorder), Arc::clone(&answers));
        let work = move || {
            for number in 0..each {
                let write = Write { writer, number, bytes: bytes(writer) };
                let submit = AssertUnwindSafe(|| queue.submit(write, &*recorder));
                let answer: Answer = catch_unwind(submit).ok();
                answers.lock().unwrap().push((write, answer));
            }
        };
        Thread::start(c"writer", work).unwrap()
    };
    let writers: Vec<_> = (0..writers).map(start).collect();
    assert!(writers.into_iter().all(Thread::join), "a writer panicked");
    check(&queue, &recorder.groups.lock().unwrap(), &answers.lock().unwrap());
}

fn check(queue: &CommitQueue<Write>, groups: &[(Vec<Write>, Fate)], answers: &[(Write, Answer)]) {
    for (group, _) in groups {
        let bytes: usize = group.iter().map(|write| write.bytes).sum();
        assert!(!group.is_empty() && (bytes <= GROUP_BYTES || group.len() == 1), "{group:?} is too long");
    }
    let mut committed = groups.iter().flat_map(|(group, _)| group);
    let mut last = [None; 8];
    assert!(committed.all(|write| last[write.writer].replace(write.number) < Some(write.number)), "{groups:?}");

    let mut panics = 0;
    for (write, answer) in answers {
        let fates: Vec<_> = groups.iter().filter(|(group, _)| group.contains(write)).map(|(_, fate)| *fate).collect();
        match (&fates[..], answer) {
            ([Fate::Succeeds], Some(Ok(back))) => assert_eq!(back, write, "its own request"),
            ([Fate::Fails], Some(Err(error))) => assert_eq!(error.kind(), ErrorKind::NoSpace),
            // In the group whose leader panicked, or not taken by any leader.
            ([Fate::Panics] | [], Some(Err(error))) => assert_eq!(error.kind(), ErrorKind::Failed),
            ([Fate::Panics], None) => panics += 1,
            _ => panic!("{write:?} was in groups that were to {fates:?}, and told {answer:?}"),
        }
    }
    let has_panicked = groups.iter().any(|(_, fate)| *fate == Fate::Panics);
    assert_eq!(panics, usize::from(has_panicked), "the leader's panic goes on in its own thread");
    let lost = answers.iter().any(|(write, _)| !groups.iter().any(|(group, _)| group.contains(write)));
    assert!(has_panicked || !lost, "only a panic ends the queue");
    let state = queue.state.lock();
    assert!(!state.has_leader && state.closed.is_some() == has_panicked);
    // A leader that panicked did not take its request back; nor will anybody else put one in.
    assert!(state.entries.is_empty() || has_panicked, "nothing stays in the queue");
}

const SMALL: fn(usize) -> usize = |_| 100;
const ALL_SUCCEED: fn(usize) -> Fate = |_| Fate::Succeeds;

#[test]
fn everybody_is_woken_in_order_with_its_own_request() {
    explore::at_random(1500, || run(3, 3, SMALL, ALL_SUCCEED));
    explore::at_random(500, || run(6, 2, SMALL, ALL_SUCCEED));
}

#[test]
fn the_cap_splits_groups_and_keeps_the_order() {
    // Two of the first fit, a third does not; the last makes a group of its own.
    explore::at_random(1500, || {
        run(4, 2, |writer| [GROUP_BYTES / 2, GROUP_BYTES / 2, 1, GROUP_BYTES * 2][writer], ALL_SUCCEED)
    });
}

#[test]
fn a_group_that_fails_does_so_for_those_in_it_alone() {
    let every_other = |group| if group % 2 == 1 { Fate::Fails } else { Fate::Succeeds };
    explore::at_random(1500, move || run(4, 2, SMALL, every_other));
}

#[test]
fn a_leader_that_panics_leaves_nobody_waiting() {
    explore::at_random(1000, || run(4, 2, SMALL, |group| if group == 0 { Fate::Panics } else { Fate::Succeeds }));
    explore::at_random(1000, || run(3, 3, SMALL, |group| if group == 2 { Fate::Panics } else { Fate::Succeeds }));
}

#[test]
fn two_writers_in_every_order() {
    for fate in [ALL_SUCCEED, |_| Fate::Fails, |_| Fate::Panics] {
        explore::in_every_order(move || run(2, 1, SMALL, fate));
    }
}

/// The tests above see groups of every size that there can be.
#[test]
fn schedules_make_small_groups_and_large_ones() {
    let sizes = Arc::new(StdMutex::new(BTreeSet::new()));
    let note = Arc::clone(&sizes);
    explore::at_random(200, move || {
        let queue = Arc::new(CommitQueue::new());
        let recorder =
            Arc::new(Recorder { groups: StdMutex::default(), committing: StdMutex::default(), fate: ALL_SUCCEED });
        let start = |writer| {
            let (queue, recorder) = (Arc::clone(&queue), Arc::clone(&recorder));
            let work = move || _ = queue.submit(Write { writer, number: 0, bytes: 1 }, &*recorder);
            Thread::start(c"writer", work).unwrap()
        };
        (0..4).map(start).collect::<Vec<_>>().into_iter().for_each(|writer| _ = writer.join());
        note.lock().unwrap().extend(recorder.groups.lock().unwrap().iter().map(|(group, _)| group.len()));
    });
    assert_eq!(*sizes.lock().unwrap(), BTreeSet::from([1, 2, 3]));
}
