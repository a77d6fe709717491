//! The queue with a committer that notes what it is given.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Barrier, Mutex as StdMutex};
use std::thread;

use super::*;

#[derive(Debug, PartialEq)]
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

/// Notes groups; can be told to be slow, to fail, and to panic.
#[derive(Default)]
struct Recorder {
    groups: StdMutex<Vec<Vec<(usize, usize, usize)>>>,
    slow: bool,
    fail: AtomicBool,
    /// How many groups to commit before a panic.
    panic_after: Option<usize>,
    committing: AtomicU64,
}

impl Committer<Write> for Recorder {
    fn commit(&self, group: &mut [Write]) -> Result<()> {
        assert_eq!(self.committing.fetch_add(1, Ordering::SeqCst), 0, "one leader at a time");
        if self.slow {
            thread::sleep(Duration::from_millis(1));
        }
        let is_bad = self.panic_after == Some(self.groups.lock().unwrap().len());
        if is_bad {
            self.committing.fetch_sub(1, Ordering::SeqCst);
            panic!("on purpose");
        }
        let noted = group.iter().map(|write| (write.writer, write.number, write.bytes)).collect();
        self.groups.lock().unwrap().push(noted);
        self.committing.fetch_sub(1, Ordering::SeqCst);
        match self.fail.load(Ordering::SeqCst) {
            true => Err(Error::new(ErrorKind::NoSpace, "on purpose")),
            false => Ok(()),
        }
    }
}

fn write(writer: usize, number: usize, bytes: usize) -> Write {
    Write { writer, number, bytes }
}

/// Writers that submit `count` requests of `bytes` each, one after the other; returns what was committed.
fn run(writers: usize, count: usize, bytes: usize) -> Vec<Vec<(usize, usize, usize)>> {
    let (queue, recorder) = (CommitQueue::new(), Recorder { slow: true, ..Recorder::default() });
    let start = Barrier::new(writers);
    thread::scope(|scope| {
        for writer in 0..writers {
            let (queue, recorder, start) = (&queue, &recorder, &start);
            scope.spawn(move || {
                start.wait();
                for number in 0..count {
                    let back = queue.submit(write(writer, number, bytes), recorder).unwrap();
                    assert_eq!(back, write(writer, number, bytes), "everybody gets its own request back");
                }
            });
        }
    });
    let state = queue.state.lock();
    assert!(state.entries.is_empty(), "nothing stays in the queue");
    drop(state);
    recorder.groups.into_inner().unwrap()
}

#[test]
fn a_caller_alone_commits_each_request_for_itself() {
    assert_eq!(run(1, 20, 100).len(), 20);
}

#[test]
fn callers_together_share_groups_and_keep_their_order() {
    let groups = run(8, 100, 100);
    let all: Vec<_> = groups.iter().flatten().collect();
    assert_eq!(all.len(), 800);
    for writer in 0..8 {
        let numbers: Vec<_> = all.iter().filter(|write| write.0 == writer).map(|write| write.1).collect();
        assert_eq!(numbers, (0..100).collect::<Vec<_>>(), "the order of writer {writer}");
    }
    assert!(groups.len() <= 800 / 3, "{} groups for 800 requests of 8 callers", groups.len());
}

#[test]
fn a_group_ends_where_it_would_become_too_long() {
    for (bytes, most) in [(GROUP_BYTES / 2, 2), (GROUP_BYTES / 2 + 1, 1), (GROUP_BYTES * 3, 1)] {
        let groups = run(6, 10, bytes);
        assert_eq!(groups.iter().map(Vec::len).sum::<usize>(), 60);
        assert_eq!(groups.iter().map(Vec::len).max(), Some(most), "requests of {bytes} bytes");
    }
}

#[test]
fn a_failure_reaches_everybody_in_the_group_and_nobody_after() {
    let (queue, recorder) = (CommitQueue::new(), Recorder { slow: true, ..Recorder::default() });
    recorder.fail.store(true, Ordering::SeqCst);
    thread::scope(|scope| {
        for writer in 0..8 {
            let (queue, recorder) = (&queue, &recorder);
            scope.spawn(move || {
                let error = queue.submit(write(writer, 0, 10), recorder).unwrap_err();
                assert_eq!(error.kind(), ErrorKind::NoSpace);
            });
        }
    });
    recorder.fail.store(false, Ordering::SeqCst);
    queue.submit(write(0, 1, 10), &recorder).unwrap();
}

#[test]
fn a_leader_that_panics_wakes_everybody_with_an_error() {
    // The first group is that of whoever came first, the later ones have gathered meanwhile.
    for committed in 0..3 {
        let recorder = Recorder { slow: true, panic_after: Some(committed), ..Recorder::default() };
        let queue = CommitQueue::new();
        let (panicked, failed) = (AtomicU64::new(0), AtomicU64::new(0));
        thread::scope(|scope| {
            for writer in 0..8 {
                let (queue, recorder, panicked, failed) = (&queue, &recorder, &panicked, &failed);
                scope.spawn(move || {
                    loop {
                        let submitted = std::panic::AssertUnwindSafe(|| queue.submit(write(writer, 0, 10), recorder));
                        match std::panic::catch_unwind(submitted) {
                            Ok(Ok(_)) => continue,
                            Ok(Err(error)) => assert_eq!(error.kind(), ErrorKind::Failed),
                            // The leader itself.
                            Err(_) => drop(panicked.fetch_add(1, Ordering::SeqCst)),
                        }
                        failed.fetch_add(1, Ordering::SeqCst);
                        break;
                    }
                });
            }
        });
        assert_eq!((panicked.into_inner(), failed.into_inner()), (1, 8), "nobody waits for ever, or leads after that");
        assert_eq!(recorder.groups.lock().unwrap().len(), committed, "nothing is committed after that");
        assert_eq!(queue.submit(write(0, 1, 10), &recorder).unwrap_err().kind(), ErrorKind::Failed, "nor later");
    }
}
