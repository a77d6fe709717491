//! Opening a store for a command.
//!
//! Whoever only wants to look at a key does not expect that anything is cut off for it. So all commands open strictly: a
//! torn tail, which any opening may repair, is repaired; damage is refused, and left to `kvwal repair`.

use std::io;
use std::path::Path;

use kvwal::{Options, RecoveryMode, Size, Store};

use crate::failure::{Exit, Failure, Result};
use crate::progress;

/// The files of which a store has at least one.
const FILES: [&str; 3] = ["wal.log", "wal.next", "checkpoint.dat"];

/// What to do where there is no store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IfMissing {
    Create,
    /// Say that `--create` would.
    Offer,
    Refuse,
}

impl IfMissing {
    /// For a command that takes `--create`.
    pub fn with(create: bool) -> IfMissing {
        if create { IfMissing::Create } else { IfMissing::Offer }
    }
}

/// Opens a store to read from it.
pub fn for_reading(dir: &Path) -> Result<Store> {
    open(dir, IfMissing::Refuse, quiet())
}

/// Opens a store for a few changes.
pub fn for_writing(dir: &Path, if_missing: IfMissing) -> Result<Store> {
    open(dir, if_missing, quiet())
}

/// Opens a store for a checkpoint.
pub fn for_checkpoint(dir: &Path, archive: Option<&Path>) -> Result<Store> {
    open(dir, IfMissing::Refuse, Options { archive_dir: archive.map(Path::to_owned), ..quiet() })
}

/// Opens a store for many changes.
pub fn for_loading(dir: &Path, if_missing: IfMissing, archive: Option<&Path>) -> Result<Store> {
    let (preallocate, checkpoint_wal_bytes) = (Size::Default, Size::Default);
    open(
        dir,
        if_missing,
        Options { preallocate, checkpoint_wal_bytes, archive_dir: archive.map(Path::to_owned), ..quiet() },
    )
}

/// Nothing is written ahead, for what little there is to write, and no checkpoint does away with a log that an archive may want.
fn quiet() -> Options {
    Options {
        recovery: RecoveryMode::Strict,
        preallocate: Size::Never,
        checkpoint_wal_bytes: Size::Never,
        ..Options::default()
    }
}

fn open(dir: &Path, if_missing: IfMissing, options: Options) -> Result<Store> {
    let create = if_missing == IfMissing::Create;
    match missing(dir)? {
        Some(failure) if if_missing == IfMissing::Offer => return Err(failure.hint("--create makes one")),
        Some(failure) if !create => return Err(failure),
        _ => {}
    }
    let _progress = progress::spinner(format!("opening {}", dir.display()));
    let opened = Store::open(dir, &Options { create, ..options }).map_err(Failure::from);
    opened.map_err(|failure| match failure.exit {
        Exit::Missing if create => failure.hint("--create makes one directory, and not those above it"),
        Exit::NoPermission if !create => failure
            .hint("opening a store takes permission to write; verify, inspect, tail and stat --offline only read"),
        _ => failure,
    })
}

/// An error if there is no store in `dir`.
pub fn check_exists(dir: &Path) -> Result<()> {
    missing(dir)?.map_or(Ok(()), Err)
}

/// That there is no store in `dir`, if there is none but one could be made.
fn missing(dir: &Path) -> Result<Option<Failure>> {
    // So that no permission is told from no file.
    let metadata = match dir.metadata() {
        Ok(metadata) => metadata,
        Err(cause) => {
            let failure = Failure::io("open", dir, &cause);
            return if cause.kind() == io::ErrorKind::NotFound { Ok(Some(failure)) } else { Err(failure) };
        }
    };
    if !metadata.is_dir() {
        let message = format!("{} is not a directory, and so not a store", dir.display());
        return Err(Failure::new(Exit::Missing, message).hint("for a file: kvwal inspect FILE"));
    }
    for file in FILES {
        let path = dir.join(file);
        if path.try_exists().map_err(|cause| Failure::io("look up", &path, &cause))? {
            return Ok(None);
        }
    }
    let message = format!("there is no store in {}", dir.display());
    Ok(Some(Failure::new(Exit::Missing, message).hint("a store has a wal.log or a checkpoint.dat")))
}

/// Closes a store, and says whether that went well.
pub fn close(store: Store) -> Result<()> {
    Ok(store.close()?)
}
