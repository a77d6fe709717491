//! A workload on a store, and the model that says what the store may hold after a crash.

// Each test program uses a part of this.
#![allow(dead_code)]

pub mod opening;
pub mod reader;
pub mod sample;

use std::collections::BTreeMap;
use std::sync::Arc;

use kvwal::format;
use kvwal::vfs::sim::SimDisk;
use kvwal::{Batch, Error, Options, Size, Store, Verdict};

/// Whether the sweeps are to leave nothing out, however long that takes: in `make nightly`.
pub fn is_thorough() -> bool {
    std::env::var_os("KVWAL_THOROUGH").is_some()
}

/// Where the store lies on a simulated disk.
pub const DIR: &str = "/store";

/// What a store holds.
pub type Contents = BTreeMap<Vec<u8>, Vec<u8>>;

/// A step of a workload.
#[derive(Clone, Debug)]
pub enum Step {
    /// Set a key to a value of some length; the bytes are those of the step's number.
    Set(u8, usize),
    Del(u8),
    Batch(Vec<(u8, Option<usize>)>),
    Checkpoint,
    Reopen,
}

/// The options of simulated stores: nothing in the background, so that a seed always gives the same run, and little
/// space allocated ahead, so that logs often leave it.
pub fn options() -> Options {
    Options { checkpoint_wal_bytes: Size::Never, preallocate: Size::Bytes(1000), ..Options::default() }
}

pub fn open(disk: &SimDisk) -> Result<Store, Error> {
    Store::open_on(Arc::new(disk.clone()), DIR, &options())
}

pub fn contents(store: &Store) -> Contents {
    let mut contents = Contents::new();
    let mut last: Option<Vec<u8>> = None;
    store
        .scan(b"", |key, value| {
            assert!(last.as_deref().is_none_or(|last| last < key), "keys come in byte order, each once");
            last = Some(key.to_vec());
            contents.insert(key.to_vec(), value.to_vec());
            true
        })
        .expect("a scan needs no disk");
    contents
}

/// What has been done to a store, and what it may hold.
pub struct Model {
    /// What it held after each change, with the LSN of that change.
    states: Vec<(u64, Contents)>,
    /// The last of them that was acknowledged.
    acknowledged: usize,
}

impl Default for Model {
    fn default() -> Model {
        Model { states: vec![(0, Contents::new())], acknowledged: 0 }
    }
}

impl Model {
    /// What the store holds if nothing was lost.
    pub fn newest(&self) -> &Contents {
        &self.states.last().expect("there is a first").1
    }

    /// Runs steps until one fails; says which error that was. The store is closed when it returns.
    pub fn run(&mut self, disk: &SimDisk, steps: &[Step]) -> Result<(), Error> {
        let mut store = open(disk)?;
        for (number, step) in steps.iter().enumerate() {
            match step {
                Step::Reopen => {
                    store.close()?;
                    store = open(disk)?;
                }
                Step::Checkpoint => store.checkpoint()?,
                change => self.change(&store, number, change)?,
            }
            store.check_invariants();
        }
        store.close()
    }

    /// Makes one change; on an error the model remembers that it may or may not have happened.
    pub fn change(&mut self, store: &Store, number: usize, step: &Step) -> Result<(), Error> {
        let (mut lsn, mut next) = self.states.last().expect("there is a first").clone();
        let value = |len: usize| vec![number as u8; len];
        let result = match step {
            Step::Set(key, len) => {
                lsn += 1;
                next.insert(vec![*key], value(*len));
                self.states.push((lsn, next));
                store.set(&[*key], &value(*len))
            }
            Step::Del(key) => {
                if next.remove(&vec![*key]).is_none() {
                    assert!(!store.del(&[*key]).expect("deleting what is not there needs no disk"));
                    return Ok(());
                }
                lsn += 1;
                self.states.push((lsn, next));
                store.del(&[*key]).map(|found| assert!(found))
            }
            Step::Batch(changes) => {
                let mut batch = Batch::new();
                for (key, len) in changes {
                    lsn += 1;
                    match len {
                        Some(len) => {
                            next.insert(vec![*key], value(*len));
                            batch.set(&[*key], &value(*len))?;
                        }
                        None => {
                            next.remove(&vec![*key]);
                            batch.del(&[*key])?;
                        }
                    }
                }
                self.states.push((lsn, next));
                store.write(&batch)
            }
            Step::Checkpoint | Step::Reopen => unreachable!("these change nothing"),
        };
        if result.is_ok() {
            self.acknowledged = self.states.len() - 1;
        }
        result
    }

    /// The last change failed, and certainly did not happen.
    pub fn forget_failed(&mut self) {
        self.states.truncate(self.acknowledged + 1);
    }

    /// Opens the store after a crash and checks it: an exact prefix, at least up to the last acknowledged change.
    /// Afterwards that prefix is the whole truth.
    pub fn check(&mut self, disk: &SimDisk, context: &str) -> Store {
        let store = open(disk).unwrap_or_else(|error| panic!("{context}: {error}"));
        store.check_invariants();
        let (found, report) = (contents(&store), store.recovery_report().clone());
        let at = self.states.iter().position(|(lsn, _)| *lsn == report.last_lsn);
        let at = at.unwrap_or_else(|| panic!("{context}: LSN {} ends no change: {report:?}", report.last_lsn));
        assert!(at >= self.acknowledged, "{context}: lost acknowledged changes: {report:?}");
        assert_eq!(found, self.states[at].1, "{context}: not the state as of LSN {}", report.last_lsn);
        assert_ne!(report.verdict, Verdict::Damaged, "{context}: nothing durable was damaged: {report:?}");
        self.states.truncate(at + 1);
        self.acknowledged = at;
        store
    }

    /// As [`check`](Self::check); then the store must take writes and keep them.
    pub fn check_and_go_on(&mut self, disk: &SimDisk, context: &str) {
        let store = self.check(disk, context);
        for number in 200..203 {
            self.change(&store, number, &Step::Set(number as u8, 30)).expect("the store takes writes");
        }
        assert_eq!(contents(&store), *self.newest(), "{context}");
        store.close().expect("the store closes");
        check_log_lengths(disk, context);
        let store = self.check(disk, context);
        assert_eq!(contents(&store), *self.newest(), "{context}: after closing and opening");
        store.close().expect("the store closes");
    }
}

/// The logs of a closed store are exactly as long as their records.
fn check_log_lengths(disk: &SimDisk, context: &str) {
    for name in ["wal.log", "wal.next"] {
        let Some(log) = disk.contents(format!("{DIR}/{name}")) else { continue };
        let mut at = 0;
        while at < log.len() {
            let record = format::decode(&log[at..]);
            at += record.unwrap_or_else(|error| panic!("{context}: {name} at {at}: {error}")).encoded_len();
        }
    }
}

impl Clone for Model {
    fn clone(&self) -> Model {
        Model { states: self.states.clone(), acknowledged: self.acknowledged }
    }
}

/// A short workload with everything in it.
pub fn workload() -> Vec<Step> {
    use Step::*;
    vec![
        Set(1, 10),
        Set(2, 600),
        Del(1),
        Batch(vec![(3, Some(5)), (4, Some(700)), (2, None)]),
        Set(5, 100),
        Checkpoint,
        Set(1, 0),
        Batch(vec![(5, None), (6, Some(1200)), (7, Some(1))]),
        Reopen,
        Set(8, 40),
        Set(1, 1500),
        Checkpoint,
        Del(8),
        Checkpoint,
        Reopen,
        Set(9, 300),
        Batch((10..30).map(|key| (key, Some(60))).collect()),
        Del(9),
        Checkpoint,
        Set(4, 2),
    ]
}
