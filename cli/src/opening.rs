//! Opening a store for a command.
//!
//! Whoever only wants to look at a key does not expect that anything is cut off for it. So all commands open strictly: a
//! torn tail, which any opening may repair, is repaired; damage is refused, and left to `kvwal repair`.

use std::path::Path;

use kvwal::{Options, RecoveryMode, Size, Store};

use crate::failure::{Exit, Failure, Result};
use crate::progress;

/// The files of which a store has at least one.
const FILES: [&str; 3] = ["wal.log", "wal.next", "checkpoint.dat"];

/// Opens a store to read from it.
pub fn for_reading(dir: &Path) -> Result<Store> {
    open(dir, Options { create: false, checkpoint_wal_bytes: Size::Never, ..quiet() })
}

/// Opens a store for a few changes.
pub fn for_writing(dir: &Path, create: bool) -> Result<Store> {
    open(dir, Options { create, ..quiet() })
}

/// Opens a store for many changes.
pub fn for_loading(dir: &Path, create: bool) -> Result<Store> {
    open(dir, Options { preallocate: Size::Default, create, ..quiet() })
}

/// Nothing is written ahead, for what little there is to write.
fn quiet() -> Options {
    Options { recovery: RecoveryMode::Strict, preallocate: Size::Never, ..Options::default() }
}

fn open(dir: &Path, options: Options) -> Result<Store> {
    if !options.create {
        check_exists(dir)?;
    }
    let _progress = progress::spinner(format!("opening {}", dir.display()));
    Ok(Store::open(dir, &options)?)
}

/// An error if there is no store in `dir`.
pub fn check_exists(dir: &Path) -> Result<()> {
    // So that no permission is told from no file.
    let metadata = dir.metadata().map_err(|cause| Failure::io("open", dir, &cause));
    let metadata = metadata.map_err(|failure| match failure.exit {
        Exit::Missing => failure.hint("there is no such directory; set --create and load --create make a store"),
        _ => failure,
    })?;
    if !metadata.is_dir() {
        let message = format!("{} is not a directory, and so not a store", dir.display());
        return Err(Failure::new(Exit::Missing, message).hint("for a file: kvwal inspect FILE"));
    }
    for file in FILES {
        let path = dir.join(file);
        if path.try_exists().map_err(|cause| Failure::io("look up", &path, &cause))? {
            return Ok(());
        }
    }
    let message = format!("there is no store in {}", dir.display());
    Err(Failure::new(Exit::Missing, message).hint("a store has a wal.log; set --create and load --create make one"))
}

/// Closes a store, and says whether that went well.
pub fn close(store: Store) -> Result<()> {
    Ok(store.close()?)
}
