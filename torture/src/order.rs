//! Whether what concurrent callers of a run were told has an order that explains it.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use kvwal_torture::linear::{self, Event, Op};

use crate::history::{History, Outcome, Read, Saw, Write};
use crate::oracle::Base;

/// An error unless the history is linearizable, key by key. Keys of which something may expire are left out, for the clock
/// is no caller.
pub fn check(base: &Base, history: &History) -> Result<(), String> {
    linear::check(&Events::new(base, history).list, &[]).map_err(|violation| violation.to_string())
}

/// The calls on each key, with keys and values as numbers.
struct Events {
    keys: BTreeMap<Vec<u8>, u64>,
    values: HashMap<Vec<u8>, u64>,
    list: Vec<Event>,
}

impl Events {
    fn new(base: &Base, history: &History) -> Events {
        let keys = lasting_keys(base, history);
        let mut events = Events { keys: keys.into_iter().zip(0..).collect(), values: HashMap::new(), list: Vec::new() };
        for (key, entry) in &base.entries {
            let value = events.value(&entry.value);
            events.push(key, (0, Some(1)), Op::Set(value));
        }
        history.writes.iter().for_each(|write| events.write(write));
        history.reads.iter().for_each(|read| events.read(read));
        events
    }

    fn write(&mut self, write: &Write) {
        let (ret, found) = match write.returned {
            Some((stamp, Outcome::Done)) => (Some(moment(stamp.seq)), Some(true)),
            Some((stamp, Outcome::NotThere)) => (Some(moment(stamp.seq)), Some(false)),
            Some((_, outcome)) if outcome.is_refusal() => return,
            // It may have happened, or may happen yet, when the store is opened again.
            _ => (None, None),
        };
        // Of a batch the last change of a key counts, and deletes in it say nothing.
        let last: BTreeMap<_, _> = write.changes.iter().map(|change| (&change.key, &change.value)).collect();
        for (key, value) in last {
            let op = match value {
                Some(value) => Op::Set(self.value(value)),
                None => Op::Del { found: found.filter(|_| !write.is_batch) },
            };
            self.push(key, (moment(write.invoked.seq), ret), op);
        }
    }

    fn read(&mut self, read: &Read) {
        let during = (moment(read.invoked.seq), Some(moment(read.returned.seq)));
        match &read.saw {
            Saw::Key(key, value) => {
                let value = value.as_ref().map(|value| self.value(value));
                self.push(key, during, Op::Get(value));
            }
            Saw::All(all, _) => {
                for key in self.keys.keys().cloned().collect::<Vec<_>>() {
                    let value = all.get(&key).map(|value| self.value(value));
                    self.push(&key, during, Op::Get(value));
                }
            }
        }
    }

    fn push(&mut self, key: &[u8], (call, ret): (u64, Option<u64>), op: Op) {
        if let Some(&key) = self.keys.get(key) {
            self.list.push(Event { key, call, ret, op });
        }
    }

    /// A number for a value; equal values have the same.
    fn value(&mut self, value: &[u8]) -> u64 {
        let next = self.values.len() as u64;
        *self.values.entry(value.to_vec()).or_insert(next)
    }
}

/// Stamps begin behind what sets the store up.
fn moment(seq: u64) -> u64 {
    seq + 1
}

/// The keys of which nothing expires.
fn lasting_keys(base: &Base, history: &History) -> BTreeSet<Vec<u8>> {
    let changes = || history.writes.iter().flat_map(|write| &write.changes);
    let mut keys: BTreeSet<Vec<u8>> = base.entries.keys().chain(changes().map(|change| &change.key)).cloned().collect();
    keys.retain(|key| {
        base.entries.get(key).is_none_or(|entry| entry.expires_at == 0)
            && changes().all(|change| change.key != *key || change.expires.is_none())
    });
    keys
}
