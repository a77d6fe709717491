//! A new store, put together in a directory of its own: by a backup, or by restoring one.
//!
//! # The order in which it appears
//!
//! 1. The directory is new or empty; its name is made durable. It is locked, as a store is, until all of this is done.
//! 2. `checkpoint.tmp`, if there is to be a checkpoint, and `wal.tmp` are written and synced.
//! 3. `checkpoint.tmp` is renamed to `checkpoint.dat`, and the directory is synced.
//! 4. `wal.tmp` is renamed to `wal.log`, and the directory is synced.
//!
//! Without a log there is no store, and a checkpoint alone is one that no opening accepts. So whenever the power fails, there
//! is no store in the directory, or all of it. What an attempt leaves that was interrupted has one of these three names, or
//! is the `LOCK`, and there is no log beside it; the next attempt says so. An attempt that fails removes what it made.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::checkpoint;
use crate::directory;
use crate::error::{Error, ErrorKind, Result};
use crate::lock::{self, DirLock};
use crate::vfs::{Access, File, Vfs};
use crate::wal::pair::LOG;

/// The log, until it is complete.
const UNFINISHED_LOG: &str = "wal.tmp";

/// A directory that becomes a store.
pub struct Building {
    /// For the directory's own name.
    outer: Arc<dyn Vfs>,
    /// For what is in it.
    vfs: Arc<dyn Vfs>,
    dir: PathBuf,
    /// Kept until the store is complete, so that nobody else makes one there. Without it nothing is ours to be removed.
    lock: Option<DirLock>,
    /// The directory was made here.
    is_made: bool,
}

impl Building {
    /// Begins in `dir`, an absolute path, which must not exist or be empty.
    pub fn begin(vfs: &Arc<dyn Vfs>, dir: &Path) -> Result<Building> {
        let is_made = directory::create(&**vfs, dir)?;
        let entered = vfs.enter(dir).map_err(|cause| {
            if is_made {
                let _ = vfs.remove_dir(dir);
            }
            let error = Error::file("open directory", dir, &cause);
            if cause.kind() == io::ErrorKind::NotADirectory { error.with_kind(ErrorKind::Invalid) } else { error }
        })?;
        let mut building = Building { outer: Arc::clone(vfs), vfs: entered, dir: dir.to_owned(), lock: None, is_made };
        building.lock().inspect_err(|error| {
            // Unless it is somebody else's by now.
            if is_made && !matches!(error.kind(), ErrorKind::Locked | ErrorKind::Invalid) {
                let _ = building.vfs.remove(&dir.join(lock::NAME));
                let _ = vfs.remove_dir(dir);
            }
        })?;
        Ok(building)
    }

    /// Makes sure that nobody else makes a store there. Nothing is ours to be removed before that is known.
    fn lock(&mut self) -> Result<()> {
        check_free(&*self.vfs, &self.dir, &[])?;
        if !self.is_made {
            directory::keep_name(&*self.outer, &self.dir)?;
        }
        let lock = DirLock::acquire(&*self.vfs, &self.dir)?;
        // Somebody else may have begun in between, and be done by now.
        match check_free(&*self.vfs, &self.dir, &[lock::NAME]) {
            Ok(()) => self.lock = Some(lock),
            Err(error) => {
                lock.abandon();
                return Err(error);
            }
        }
        Ok(())
    }

    /// The file system to write it by.
    pub fn vfs(&self) -> &dyn Vfs {
        &*self.vfs
    }

    /// Where the checkpoint is to be written, and synced.
    pub fn checkpoint(&self) -> PathBuf {
        self.dir.join(checkpoint::UNFINISHED)
    }

    /// Makes the log, which is empty; whatever is written to it is to be synced.
    pub fn create_log(&self) -> Result<(Arc<dyn File>, PathBuf)> {
        let path = self.dir.join(UNFINISHED_LOG);
        let file = self.vfs.open(&path, Access::Create).map_err(|cause| Error::file("create", &path, &cause))?;
        file.sync_all().map_err(|cause| Error::file("fsync", &path, &cause))?;
        Ok((file, path))
    }

    /// Makes it a store, durably. `with_checkpoint` says whether one was written.
    pub fn complete(mut self, with_checkpoint: bool) -> Result<()> {
        if with_checkpoint {
            self.name(checkpoint::UNFINISHED, checkpoint::NAME)?;
        }
        self.name(UNFINISHED_LOG, LOG)?;
        self.lock.take().map_or(Ok(()), |lock| lock.release())
    }

    fn name(&self, from: &str, to: &str) -> Result<()> {
        let from = self.dir.join(from);
        self.vfs.rename(&from, &self.dir.join(to)).map_err(|cause| Error::file("rename", &from, &cause))?;
        directory::sync(&*self.vfs, &self.dir)
    }
}

impl Drop for Building {
    fn drop(&mut self) {
        if self.lock.is_none() {
            return;
        }
        // The log first: without it there is no store. What cannot be removed is recognised by the next attempt.
        for name in [LOG, UNFINISHED_LOG, checkpoint::NAME, checkpoint::UNFINISHED, lock::NAME] {
            let _ = self.vfs.remove(&self.dir.join(name));
        }
        if self.is_made {
            let _ = self.outer.remove_dir(&self.dir);
        }
    }
}

/// An error if there is more in a directory than these names.
fn check_free(vfs: &dyn Vfs, dir: &Path, but_for: &[&str]) -> Result<()> {
    let names = vfs.list(dir).map_err(|cause| Error::file("list", dir, &cause))?;
    let all_are = |known: &[&str]| names.iter().all(|name| known.iter().any(|known| name == known));
    if all_are(but_for) {
        return Ok(());
    }
    let is_left = all_are(&[UNFINISHED_LOG, checkpoint::NAME, checkpoint::UNFINISHED, lock::NAME]);
    if is_left {
        lock::check_unlocked(vfs, dir)?;
    }
    let what = match is_left {
        true => "what a backup or a restore left there that was interrupted: remove it, and try again",
        false => "files already: a backup or a restore needs a directory that is new or empty",
    };
    Err(Error::new(ErrorKind::Invalid, format!("{} holds {what}", dir.display())))
}
