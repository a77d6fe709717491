//! One owner at a time: the `LOCK` file of a store, and the process that a handle belongs to.

use std::io::{self, IoSlice};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::error::{Error, ErrorKind, Result};
use crate::sys::fork::Owner;
use crate::vfs::{self, Access, File, Vfs};

const NAME: &str = "LOCK";
/// Far more than a process ID and a line end.
const MAX_LEN: usize = 4096;

/// An exclusive lock on a store directory. The file stays when the lock is released: removing it would let two openers
/// lock two different files.
pub struct DirLock {
    file: Arc<dyn File>,
    path: PathBuf,
    /// What the file held before.
    before: Vec<u8>,
}

impl DirLock {
    /// Takes the lock and writes our process ID into the file, for the error of others who come.
    pub fn acquire(vfs: &dyn Vfs, dir: &Path) -> Result<DirLock> {
        let path = dir.join(NAME);
        let file = vfs.open(&path, Access::Create).map_err(|cause| Error::file("open", &path, &cause))?;
        if !file.try_lock().map_err(|cause| Error::file("lock", &path, &cause))? {
            return Err(locked(dir, &*file));
        }
        let before = content(&*file).map_err(|cause| Error::file("read", &path, &cause))?;
        let lock = DirLock { file, path, before };
        lock.write(format!("{}\n", std::process::id()).as_bytes())?;
        Ok(lock)
    }

    /// Releases the lock of a store that could not be opened, leaving the file as it was found.
    pub fn abandon(self) {
        // The failure to be reported is the one that made us give up.
        let _ = self.write(&self.before);
        let _ = self.file.unlock();
    }

    /// Releases the lock, also if forked children still have the file open.
    pub fn release(self) -> Result<()> {
        self.file.unlock().map_err(|cause| Error::file("unlock", &self.path, &cause))
    }

    fn write(&self, content: &[u8]) -> Result<()> {
        vfs::write_all_at(&*self.file, &mut [IoSlice::new(content)], 0)
            .and_then(|()| self.file.set_len(content.len() as u64))
            .map_err(|cause| Error::file("write", &self.path, &cause))
    }
}

/// An error if a store in `dir` is open.
pub fn check_unlocked(vfs: &dyn Vfs, dir: &Path) -> Result<()> {
    match vfs.open(&dir.join(NAME), Access::Read) {
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(cause) => Err(Error::file("open", &dir.join(NAME), &cause)),
        Ok(file) => check_file_unlocked(&*file, &dir.join(NAME)).map_err(|error| match error.kind() {
            ErrorKind::Locked => locked(dir, &*file),
            _ => error,
        }),
    }
}

/// An error if somebody has locked `file`.
pub fn check_file_unlocked(file: &dyn File, path: &Path) -> Result<()> {
    if !file.try_lock().map_err(|cause| Error::file("lock", path, &cause))? {
        return Err(Error::new(ErrorKind::Locked, format!("{} is open elsewhere", path.display())));
    }
    file.unlock().map_err(|cause| Error::file("unlock", path, &cause))
}

/// An error in a forked child of the process that opened the handle.
#[inline(always)]
pub fn check_process(owner: &Owner) -> Result<()> {
    if owner.is_current() { Ok(()) } else { Err(forked()) }
}

#[cold]
fn forked() -> Error {
    Error::new(ErrorKind::Forked, "the handle was opened before a fork and belongs to the parent process")
}

fn content(file: &dyn File) -> io::Result<Vec<u8>> {
    let mut content = vec![0; MAX_LEN];
    let len = vfs::read_full_at(file, &mut content, 0)?;
    content.truncate(len);
    Ok(content)
}

fn locked(dir: &Path, file: &dyn File) -> Error {
    let content = content(file).unwrap_or_default();
    let owner = String::from_utf8_lossy(&content);
    Error::new(ErrorKind::Locked, format!("{} is open in the process with PID {}", dir.display(), owner.trim()))
}
