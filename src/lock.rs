//! One owner at a time: the `LOCK` file of a store, and the process that a handle belongs to.

use std::io::{self, IoSlice};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::error::{Error, ErrorKind, Result};
use crate::sys::fork::Owner;
use crate::vfs::{self, Access, File, Vfs};

/// The file that is locked.
pub const NAME: &str = "LOCK";
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
    pub fn release(&self) -> Result<()> {
        self.file.unlock().map_err(|cause| Error::file("unlock", &self.path, &cause))
    }

    /// Whether the file that was locked is where it was, as far as its being locked tells.
    pub fn is_in_place(&self, vfs: &dyn Vfs) -> Result<bool> {
        match vfs.open(&self.path, Access::Read) {
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => Ok(false),
            opened => opened.and_then(|file| file.is_locked()).map(|is_locked| is_locked != Some(false)),
        }
        .map_err(|cause| Error::file("look at the lock of", &self.path, &cause))
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

/// Whether somebody has locked the store in `dir`, or one of `files` in it; `None` if the system does not tell. Takes no lock,
/// so nobody who opens the store meanwhile is refused. The price is that a process is not seen that has the store open in
/// another PID namespace, for the kernel does not list its locks in ours.
pub fn is_held(vfs: &dyn Vfs, dir: &Path, files: &[&str]) -> Result<Option<bool>> {
    let mut is_known = true;
    for name in [&[NAME], files].concat() {
        let path = dir.join(name);
        let locked = match vfs.open(&path, Access::Read) {
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => continue,
            opened => opened.and_then(|file| file.is_locked()),
        };
        match locked.map_err(|cause| Error::file("look at the lock of", &path, &cause))? {
            Some(true) => return Ok(Some(true)),
            Some(false) => {}
            None => is_known = false,
        }
    }
    Ok(is_known.then_some(false))
}

/// Locks `file` for as long as it is open; an error if somebody else has.
pub fn lock_file(file: &dyn File, path: &Path) -> Result<()> {
    match file.try_lock().map_err(|cause| Error::file("lock", path, &cause))? {
        true => Ok(()),
        false => Err(Error::new(ErrorKind::Locked, format!("{} is open elsewhere", path.display()))),
    }
}

/// An error if somebody has locked `file`.
pub fn check_file_unlocked(file: &dyn File, path: &Path) -> Result<()> {
    lock_file(file, path)?;
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vfs::sim::{Call, Fault, SimDisk};

    const DIR: &str = "/store";

    fn disk() -> SimDisk {
        let disk = SimDisk::new(1);
        disk.create_dir(Path::new(DIR)).unwrap();
        disk
    }

    fn acquire(disk: &SimDisk) -> Result<DirLock> {
        DirLock::acquire(disk, Path::new(DIR))
    }

    fn check(disk: &SimDisk) -> Result<()> {
        check_unlocked(disk, Path::new(DIR))
    }

    /// It is locked, and the message names the owner.
    fn assert_locked<T>(result: Result<T>) {
        let error = result.err().expect("somebody has it");
        assert_eq!(error.kind(), ErrorKind::Locked);
        assert!(error.to_string().ends_with(&format!("PID {}", std::process::id())), "{error}");
    }

    #[test]
    fn a_lock_has_one_owner_whom_the_others_are_told() {
        let disk = disk();
        check(&disk).unwrap();
        let lock = acquire(&disk).unwrap();
        assert_locked(acquire(&disk));
        assert_locked(check(&disk));
        let own = format!("{}\n", std::process::id()).into_bytes();
        assert_eq!(disk.contents("/store/LOCK").unwrap(), own);
        // A forked child has the file open, too, so closing it would not be enough.
        let file = Arc::clone(&lock.file);
        lock.release().unwrap();
        check(&disk).unwrap();
        acquire(&disk).unwrap().release().unwrap();
        assert_eq!(disk.contents("/store/LOCK").unwrap(), own);
        drop(file);
    }

    #[test]
    fn a_lock_that_is_abandoned_leaves_the_file_as_it_was() {
        for before in [&b""[..], b"1\n", b"an owner of long ago with a very long number\n"] {
            let disk = disk();
            drop(disk.open(Path::new("/store/LOCK"), Access::Create).unwrap());
            disk.overwrite("/store/LOCK", before);
            let lock = acquire(&disk).unwrap();
            assert_eq!(disk.contents("/store/LOCK").unwrap(), format!("{}\n", std::process::id()).into_bytes());
            lock.abandon();
            assert_eq!(disk.contents("/store/LOCK").unwrap(), before);
            acquire(&disk).unwrap();
        }
    }

    #[test]
    fn a_lock_file_that_cannot_be_opened_may_be_locked() {
        let disk = disk();
        disk.fail(Fault { call: Some(Call::Open), after: 0, times: 1, errno: libc::EACCES, short_first: false });
        assert_eq!(check(&disk).unwrap_err().kind(), ErrorKind::Io);
    }

    #[test]
    fn a_locked_file_is_told_from_one_that_is_not() {
        let (disk, path) = (disk(), Path::new("/store/wal.log"));
        let (owner, other) = (disk.open(path, Access::Create).unwrap(), disk.open(path, Access::Write).unwrap());
        check_file_unlocked(&*other, path).unwrap();
        assert!(owner.try_lock().unwrap(), "looking has not locked it");
        assert_eq!(check_file_unlocked(&*other, path).unwrap_err().kind(), ErrorKind::Locked);
    }
}
