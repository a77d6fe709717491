//! `backup`: a copy of a store that is a store of its own.
//!
//! The library makes it, from a snapshot of one moment, verified, and so that a crash leaves all of it or no store. A
//! program that has the store open makes its own backups, while it writes, by `kv_backup`.

use std::fs;
use std::path::Path;

use kvwal::{Error, ErrorKind};
use serde::Serialize;

use super::files::Files;
use crate::args;
use crate::failure::{Exit, Failure, Result};
use crate::interruption::HalfDone;
use crate::opening;
use crate::output::{self, Facts, Output};
use crate::progress;

/// What was made.
#[derive(Serialize)]
struct BackedUp {
    /// The backup holds the effect of the records up to this one.
    lsn: u64,
    keys: u64,
    #[serde(flatten)]
    files: Files,
}

impl Facts for BackedUp {
    fn lines(&self) -> Vec<(&'static str, String)> {
        let mut lines = vec![("backup as of LSN", self.lsn.to_string()), ("keys", self.keys.to_string())];
        lines.extend(self.files.lines());
        lines
    }
}

pub fn backup(args: &args::Backup, output: &mut Output) -> Result<Exit> {
    output::check_is_outside(&args.dest, &args.store)?;
    let store = opening::for_reading(&args.store)?;
    let keys = store.stats().keys;
    let progress = progress::spinner(format!("writing {}", args.dest.display()));
    let half_done = take_back(&args.dest, "backup");
    let lsn = store.backup(&args.dest).map_err(|error| match error.kind() {
        ErrorKind::Invalid => occupied(error),
        _ => error.into(),
    })?;
    drop((progress, half_done));
    opening::close(store)?;
    output.facts(&BackedUp { lsn, keys, files: Files::look_up(&args.dest) })?;
    Ok(Exit::Done)
}

/// The failure of making a store where there is something already.
pub fn occupied(error: Error) -> Failure {
    Failure::from(error).exit(Exit::NoOutput).hint("take another directory, or an empty one")
}

/// Whether a store can be made in a directory: it is new or empty.
pub fn is_free(dest: &Path) -> bool {
    !dest.exists() || fs::read_dir(dest).is_ok_and(|mut entries| entries.next().is_none())
}

/// What is in a directory that was new or empty, and has no log yet, is what the library has left there, of `what` was to be made.
pub fn take_back(dest: &Path, what: &'static str) -> HalfDone {
    let (is_new, is_free) = (!dest.exists(), is_free(dest));
    let dest = dest.to_owned();
    HalfDone::new(move || {
        if is_free && !dest.join("wal.log").exists() {
            // What cannot be removed is no store, and the next attempt there says what it is.
            let _ = output::remove_all(&dest);
            if !is_new {
                let _ = fs::create_dir(&dest);
            }
        }
        let is_made = is_free && dest.join("wal.log").exists();
        format!("there is {} {what} in {}", if is_made { "a" } else { "no" }, dest.display())
    })
}
