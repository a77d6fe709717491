//! Directories that are made to stay.

use std::io;
use std::path::Path;

use crate::error::{Error, Result};
use crate::vfs::Vfs;

/// Makes the directory `dir`, durably; false if there is something of that name.
pub fn create(vfs: &dyn Vfs, dir: &Path) -> Result<bool> {
    match vfs.create_dir(dir) {
        Ok(()) => {}
        Err(cause) if cause.kind() == io::ErrorKind::AlreadyExists => return Ok(false),
        Err(cause) => return Err(Error::file("mkdir", dir, &cause)),
    }
    match sync_parent(vfs, dir) {
        Ok(()) => Ok(true),
        Err(cause) => {
            // So that the next attempt makes it anew: for a name that is there a second sync proves nothing.
            let _ = vfs.remove_dir(dir);
            Err(parent_error(dir, &cause))
        }
    }
}

/// Makes the name of a directory durable that was there already, for whoever made it may have been stopped before. If the
/// directory around it may not be read, that is left to who made it.
pub fn keep_name(vfs: &dyn Vfs, dir: &Path) -> Result<()> {
    match sync_parent(vfs, dir) {
        Err(cause) if cause.kind() == io::ErrorKind::PermissionDenied => Ok(()),
        result => result.map_err(|cause| parent_error(dir, &cause)),
    }
}

fn sync_parent(vfs: &dyn Vfs, dir: &Path) -> io::Result<()> {
    vfs.sync_dir(dir.parent().unwrap_or(Path::new("/")))
}

fn parent_error(dir: &Path, cause: &io::Error) -> Error {
    Error::file("fsync the parent directory of", dir, cause)
}

/// Makes the names in `dir` durable.
pub fn sync(vfs: &dyn Vfs, dir: &Path) -> Result<()> {
    vfs.sync_dir(dir).map_err(|cause| Error::file("fsync directory", dir, &cause))
}
