//! `load`: sets the keys of a dump, many with one sync.
//!
//! Entries are gathered into batches, each of them written whole or not at all, in the order of the input. So when it ends
//! early, by a bad line, a full disk or a signal, the store holds the beginning of the input, and how much of it is said; loading
//! the whole input again comes to the same as if nothing had happened.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use indicatif::ProgressBar;
use kvwal::{Batch, Store};
use serde::Serialize;

use super::data::now_ms;
use super::records::{self, EntryReader};
use crate::args;
use crate::failure::{Exit, Failure, Result};
use crate::interruption::HalfDone;
use crate::opening::{self, IfMissing};
use crate::output::{self, Facts, Output};
use crate::progress;

/// A batch is written when it has so many entries, or keys and values of so many bytes.
const ENTRIES: usize = 10_000;
const BYTES: usize = 4 << 20;

/// What was loaded.
#[derive(Default, Serialize)]
struct Loaded {
    /// Entries that were set.
    loaded: u64,
    /// Entries left out, for they had expired before.
    expired: u64,
}

impl Facts for Loaded {
    fn lines(&self) -> Vec<(&'static str, String)> {
        vec![("loaded", self.loaded.to_string()), ("expired before", self.expired.to_string())]
    }
}

pub fn load(args: &args::Load, output: &mut Output) -> Result<Exit> {
    let path = args.file.as_deref().filter(|path| *path != Path::new("-"));
    let format = records::format(args.format, path);
    let (from, bar) = open_input(path)?;
    let mut reader = EntryReader::new(format, from).map_err(|failure| within_input(failure, path))?;
    let store = opening::for_loading(&args.store, IfMissing::with(args.create), args.archive.as_deref())?;
    let mut loaded = Loaded::default();
    let stored = Arc::new(AtomicU64::new(0));
    let half_done = HalfDone::new({
        let stored = Arc::clone(&stored);
        move || format!("at least {}", in_the_store(stored.load(Ordering::Relaxed)))
    });
    let result = load_all(&store, &mut reader, &mut loaded, &stored);
    drop(bar);
    result.map_err(|failure| {
        let before = in_the_store(loaded.loaded);
        within_input(failure, path).hint(format!("before it, {before}"))
    })?;
    opening::close(store)?;
    drop(half_done);
    output.facts(&loaded)?;
    Ok(Exit::Done)
}

fn in_the_store(stored: u64) -> String {
    let are = output::count(stored, "entry is", "entries are");
    format!("{are} in the store; loading again does no harm")
}

/// The input, and a bar that goes along with it.
fn open_input(path: Option<&Path>) -> Result<(Box<dyn BufRead>, ProgressBar)> {
    let (from, bar): (Box<dyn Read>, _) = match path {
        None => (Box::new(io::stdin().lock()), progress::spinner("loading")),
        Some(path) => {
            let file = File::open(path).map_err(|cause| Failure::io("open", path, &cause))?;
            let metadata = file.metadata().map_err(|cause| Failure::io("stat", path, &cause))?;
            if metadata.is_dir() {
                let message = format!("{} is a directory, and not a dump", path.display());
                return Err(Failure::new(Exit::Missing, message).hint("to copy a store: kvwal backup STORE DEST"));
            }
            (Box::new(file), progress::bytes("loading", metadata.len()))
        }
    };
    Ok((Box::new(BufReader::with_capacity(64 << 10, bar.wrap_read(from))), bar))
}

fn within_input(failure: Failure, path: Option<&Path>) -> Failure {
    match path {
        Some(path) => failure.within(path.display()),
        None => failure.within("standard input"),
    }
}

/// Sets all entries; `stored` tells other threads how many of them there are by now.
fn load_all(
    store: &Store,
    reader: &mut EntryReader<impl BufRead>,
    loaded: &mut Loaded,
    stored: &AtomicU64,
) -> Result<()> {
    let (mut batch, mut bytes) = (Batch::new(), 0);
    let now = now_ms();
    loop {
        let next = reader.next();
        let is_last = !matches!(next, Ok(Some(_)));
        if is_last || batch.len() >= ENTRIES || bytes >= BYTES {
            store.write(&batch)?;
            loaded.loaded += batch.len() as u64;
            stored.store(loaded.loaded, Ordering::Relaxed);
            batch.clear();
            bytes = 0;
        }
        let Some(entry) = next? else { return Ok(()) };
        if entry.expires_at != 0 && entry.expires_at <= now {
            loaded.expired += 1;
            continue;
        }
        bytes += entry.key.len() + entry.value.len();
        batch.set_until(&entry.key, &entry.value, entry.expires_at)?;
    }
}
