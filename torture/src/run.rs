//! Runs a plan on a simulated disk and records what was asked and answered.

use std::sync::Arc;

use kvwal::vfs::sim::SimDisk;
use kvwal::{Batch, Error, ErrorKind, Options, Store, SyncMode};

use crate::history::{Change, Contents, History, Outcome, Read, Recorder, Saw, Stamp, Sync, Write};
use crate::plan::{Act, Plan, Session};
use crate::{exec, logs, values};

/// Where the store lies.
pub const DIR: &str = "/store";

/// Opens the store.
pub fn open(disk: &SimDisk, options: &Options) -> Result<Store, Error> {
    Store::open_on(Arc::new(disk.clone()), DIR, options)
}

/// Everything in the store.
pub fn contents(store: &Store) -> Result<Contents, Error> {
    let mut contents = Contents::new();
    store.scan(b"", |key, value| {
        contents.insert(key.to_vec(), value.to_vec());
        true
    })?;
    Ok(contents)
}

/// Runs the sessions of a plan until one cannot be begun. The first call that changes something has the number
/// `first_call`.
pub fn run(disk: &SimDisk, plan: &Plan, first_call: u32) -> History {
    disk.set_direct(plan.direct);
    if let Some(fault) = plan.fault {
        disk.fail(fault);
    }
    let recorder = Arc::new(Recorder::default());
    for session in &plan.sessions {
        let may_fail = plan.fault.is_some();
        let client = Client { disk: disk.clone(), recorder: Arc::clone(&recorder), may_fail, first_call };
        if !client.session(session) {
            break;
        }
    }
    Arc::into_inner(recorder).expect("all writers have ended").into_history()
}

/// Whoever uses the store.
#[derive(Clone)]
struct Client {
    disk: SimDisk,
    recorder: Arc<Recorder>,
    /// Whether calls of the disk fail.
    may_fail: bool,
    first_call: u32,
}

impl Client {
    /// False if the store could not be opened.
    fn session(&self, session: &Session) -> bool {
        let store = match open(&self.disk, &session.options) {
            Ok(store) => Arc::new(store),
            Err(error) => {
                self.check_error("open", &error);
                return false;
            }
        };
        self.recorder.lock().failed_at = None;
        let tasks = session.writers.iter().cloned().enumerate().map(|(writer, acts)| {
            let worker = Worker { client: self.clone(), store: Arc::clone(&store), writer, mode: session.options.sync };
            let work: Box<dyn FnOnce() + Send> = Box::new(move || acts.iter().for_each(|act| worker.act(act)));
            work
        });
        exec::all_at_once(tasks.collect());
        store.check_invariants();
        let store = Arc::into_inner(store).expect("all writers have ended");
        if self.syncing("close", || store.close()) {
            self.check_log_lengths();
        }
        true
    }

    /// The logs of a closed store are as long as their records.
    fn check_log_lengths(&self) {
        for name in logs::NAMES {
            let log = logs::contents(&self.disk, name).unwrap_or_default();
            if logs::valid_len(&log) < log.len() {
                self.recorder.lock().complain(|| format!("the store is closed, and {name} goes on behind its records"));
            }
        }
    }

    fn stamp(&self) -> Stamp {
        let calls = self.disk.calls();
        self.recorder.lock().stamp(calls)
    }

    /// Makes a call after which everything is durable; false if it failed.
    fn syncing(&self, what: &str, call: impl FnOnce() -> Result<(), Error>) -> bool {
        let invoked = self.stamp();
        let result = call();
        let returned = self.stamp();
        match &result {
            Ok(()) => {
                self.check_not_failed(what, invoked);
                self.recorder.lock().syncs.push(Sync { invoked, returned });
            }
            Err(error) => self.check_error(what, error),
        }
        result.is_ok()
    }

    /// Whether an error is one that a disk which fails may lead to.
    fn check_error(&self, what: &str, error: &Error) {
        let is_documented = matches!(error.kind(), ErrorKind::Io | ErrorKind::NoSpace | ErrorKind::Failed);
        if !self.may_fail || !is_documented {
            let kind = error.kind();
            self.recorder.lock().complain(|| format!("{what} returned {kind:?}: {error}"));
        }
    }

    /// A call that succeeds although an earlier one said that none would any more.
    fn check_not_failed(&self, what: &str, invoked: Stamp) {
        let mut history = self.recorder.lock();
        if history.failed_at.is_some_and(|failed| failed < invoked) {
            history.complain(|| format!("{what} succeeded on a handle that had failed"));
        }
    }
}

/// One of the writers of a session.
struct Worker {
    client: Client,
    store: Arc<Store>,
    writer: usize,
    mode: SyncMode,
}

impl Worker {
    fn act(&self, act: &Act) {
        let store = &self.store;
        match act {
            Act::Set(key, len) => self.write(&[(*key, Some(*len))], false, None, |changes| {
                store.set(&changes[0].key, changes[0].value.as_deref().unwrap_or_default()).map(|()| true)
            }),
            Act::SetTtl(key, len, ttl) => self.write(&[(*key, Some(*len))], false, Some(*ttl), |changes| {
                store.set_ttl(&changes[0].key, changes[0].value.as_deref().unwrap_or_default(), *ttl).map(|()| true)
            }),
            Act::Del(key) => self.write(&[(*key, None)], false, None, |changes| store.del(&changes[0].key)),
            Act::Write(changes) => {
                self.write(changes, true, None, |changes| store.write(&batch(changes)?).map(|()| true))
            }
            Act::Get(key) => {
                let key = values::key(*key);
                self.read(|| store.get(&key).map(|value| Saw::Key(key.clone(), value)));
            }
            Act::Scan => {
                let before = self.client.disk.now_ms();
                self.read(|| contents(store).map(|all| Saw::All(all, (before, self.client.disk.now_ms()))));
            }
            Act::Checkpoint => {
                self.client.syncing("checkpoint", || store.checkpoint());
            }
            Act::Sync => {
                self.client.syncing("sync", || store.sync());
            }
            Act::Pass(ms) => self.client.disk.pass(*ms),
        }
    }

    fn write(
        &self,
        changes: &[(u8, Option<usize>)],
        is_batch: bool,
        ttl: Option<u64>,
        call: impl FnOnce(&[Change]) -> Result<bool, Error>,
    ) {
        let client = &self.client;
        let now = client.disk.now_ms();
        let invoked = client.stamp();
        let (number, changes) = {
            let mut history = client.recorder.lock();
            let number = history.writes.len();
            let id = client.first_call + number as u32;
            let change = |(index, &(key, len)): (usize, &(u8, Option<usize>))| Change {
                key: values::key(key),
                value: len.map(|len| values::value(id, index as u16, len)),
                expires: ttl.map(|ttl| (now + ttl, u64::MAX)),
            };
            let changes: Vec<Change> = changes.iter().enumerate().map(change).collect();
            history.writes.push(Write {
                writer: self.writer,
                mode: self.mode,
                changes: changes.clone(),
                is_batch,
                invoked,
                returned: None,
            });
            (number, changes)
        };
        let result = call(&changes);
        let returned = client.stamp();
        let outcome = match &result {
            Ok(true) => Outcome::Done,
            Ok(false) => Outcome::NotThere,
            Err(error) => Outcome::Error(error.kind()),
        };
        match &result {
            Ok(_) => client.check_not_failed("a write", invoked),
            Err(error) => client.check_error("a write", error),
        }
        let latest = client.disk.now_ms() + ttl.unwrap_or_default();
        let mut history = client.recorder.lock();
        if outcome == Outcome::Error(ErrorKind::Failed) {
            history.failed_at.get_or_insert(returned);
        }
        let write = &mut history.writes[number];
        write.returned = Some((returned, outcome));
        write.changes.iter_mut().filter_map(|change| change.expires.as_mut()).for_each(|expires| expires.1 = latest);
    }

    fn read(&self, call: impl FnOnce() -> Result<Saw, Error>) {
        let invoked = self.client.stamp();
        let result = call();
        let returned = self.client.stamp();
        let mut history = self.client.recorder.lock();
        match result {
            Ok(saw) => history.reads.push(Read { mode: self.mode, invoked, returned, saw }),
            Err(error) => history.complain(|| format!("a read failed: {error}")),
        }
    }
}

fn batch(changes: &[Change]) -> Result<Batch, Error> {
    let mut batch = Batch::new();
    for change in changes {
        match &change.value {
            Some(value) => batch.set(&change.key, value)?,
            None => batch.del(&change.key)?,
        }
    }
    Ok(batch)
}
