//! `restore`: a store as it was after some record, or at some time. The library puts it together; what is done here is to say
//! what with, and what came of it.

use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

use kvwal::{Error, ErrorKind, Restored, Sources, Until};
use serde::Serialize;

use super::backup;
use super::files::Files;
use crate::args;
use crate::failure::{Exit, Failure, Result};
use crate::opening;
use crate::output::{self, Facts, Output};
use crate::progress;

/// What was made.
#[derive(Serialize)]
struct Made {
    /// The store is as of this record.
    lsn: u64,
    checkpoint_lsn: u64,
    /// Behind the checkpoint.
    records: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    noted_ms: Option<u64>,
    #[serde(flatten)]
    files: Files,
}

impl Facts for Made {
    fn lines(&self) -> Vec<(&'static str, String)> {
        let mut lines = vec![
            ("restored as of LSN", self.lsn.to_string()),
            ("checkpoint", format!("LSN {}", self.checkpoint_lsn)),
            ("records behind it", self.records.to_string()),
        ];
        lines.extend(self.noted_ms.map(|ms| ("durable at", date(ms))));
        lines.extend(self.files.lines());
        lines
    }
}

fn date(ms: u64) -> String {
    humantime::format_rfc3339_millis(UNIX_EPOCH + Duration::from_millis(ms)).to_string()
}

pub fn restore(args: &args::Restore, output: &mut Output) -> Result<Exit> {
    let args::Restore { backup, dest, archive, store, .. } = args;
    for source in backup.iter().chain(store) {
        opening::check_exists(source)?;
        output::check_is_outside(dest, source)?;
    }
    if let Some(archive) = archive {
        archive.read_dir().map_err(|cause| Failure::io("open", archive, &cause))?;
        output::check_is_outside(dest, archive)?;
    }
    let until = match (args.until_lsn, args.until_time) {
        (Some(lsn), _) => Until::Lsn(lsn),
        (None, Some(ms)) => Until::Time(ms),
        (None, None) => Until::End,
    };
    let sources = Sources { backup: backup.clone(), archive: archive.clone(), store: store.clone() };
    let progress = progress::spinner(format!("restoring {}", dest.display()));
    let half_done = backup::take_back(dest, "store");
    let is_free = backup::is_free(dest);
    let restored = kvwal::restore(dest, &sources, until).map_err(|error| refused(error, is_free, dest))?;
    drop((progress, half_done));
    let Restored { last_lsn: lsn, checkpoint_lsn, records, noted_ms } = restored;
    output.facts(&Made { lsn, checkpoint_lsn, records, noted_ms, files: Files::look_up(dest) })?;
    Ok(Exit::Done)
}

fn refused(error: Error, is_free: bool, dest: &Path) -> Failure {
    match error.kind() {
        ErrorKind::Invalid if !is_free => backup::occupied(error),
        ErrorKind::Invalid => Failure::from(error).exit(Exit::Missing).hint(format!("{} was not made", dest.display())),
        ErrorKind::Corrupt => {
            Failure::from(error).hint("--until-lsn restores what comes before; a later backup, what comes behind")
        }
        _ => error.into(),
    }
}
