//! The file-system seam: every call on a file or directory, and the two other things that come from outside (the clock
//! and the hash seed), go through [`Vfs`] and [`File`]. [`os`] is the real one; `sim` is a disk that crashes.
//!
//! A method is one system call, with its failures and short counts; the loops that make whole reads and writes of them
//! are the functions below, so that they are tested against a disk that misbehaves, too.
//!
//! # What is assumed of a disk
//!
//! - A write is in the page cache when it returns. It reaches the disk in units of 512-byte sectors, each whole or not
//!   at all, in any order, at any time until a sync returns; so does a change of a file's length.
//! - When [`File::sync_data`] or [`File::sync_all`] returns success, what was written to the file before is on the
//!   disk, the length included. When it fails, nothing is known, and a later sync proves nothing.
//! - Creating, renaming and removing a name reach the disk whole or not at all, in any order, until
//!   [`Vfs::sync_dir`] of that directory returns. A rename never leaves the target name without a file.

pub mod os;
#[cfg(any(test, feature = "sim"))]
pub mod sim;

use std::io::{self, IoSlice};
use std::path::Path;
use std::sync::Arc;

/// How to open a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// An existing file, for reading.
    Read,
    /// An existing file, for reading and writing.
    Write,
    /// For reading and writing, created if it does not exist. Never truncated.
    Create,
}

/// An open file. Closed when dropped.
pub trait File: Send + Sync {
    /// Reads at `offset` as much as there is, up to the length of `buf`; 0 at the end of the file.
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize>;
    /// Writes `bufs`, one behind the other, at `offset`; perhaps only a part of them.
    fn write_at(&self, bufs: &[IoSlice<'_>], offset: u64) -> io::Result<usize>;
    /// The file's length in bytes.
    fn size(&self) -> io::Result<u64>;
    /// Cuts the file off, or extends it with zeros.
    fn set_len(&self, len: u64) -> io::Result<()>;
    /// Makes the contents and the length durable.
    fn sync_data(&self) -> io::Result<()>;
    /// Makes the contents, the length and all other metadata durable.
    fn sync_all(&self) -> io::Result<()>;
    /// Takes an exclusive lock that lasts as long as the file is open; false if somebody else has it.
    fn try_lock(&self) -> io::Result<bool>;
    /// Lets go of the lock, in forked children that share it, too.
    fn unlock(&self) -> io::Result<()>;
    /// Forgets what the page cache holds of the file, as far as possible, so that later reads come from the disk.
    fn drop_cache(&self);
}

/// A file system, a clock, and a source of randomness.
pub trait Vfs: Send + Sync {
    /// Opens a file.
    fn open(&self, path: &Path, access: Access) -> io::Result<Arc<dyn File>>;
    /// Makes a directory; an error if there is something of that name.
    fn create_dir(&self, path: &Path) -> io::Result<()>;
    /// Removes an empty directory.
    fn remove_dir(&self, path: &Path) -> io::Result<()>;
    /// The same file system, in which `dir` and the paths below it mean the directory that has this name now, whatever
    /// becomes of the name. An error if it is no directory.
    fn enter(&self, dir: &Path) -> io::Result<Arc<dyn Vfs>>;
    /// Whether there is something of that name.
    fn exists(&self, path: &Path) -> io::Result<bool>;
    /// Gives a file a new name in place of whatever had it.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Removes a file.
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Makes the names in a directory durable.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;
    /// The system clock, in Unix milliseconds.
    fn now_ms(&self) -> u64;
    /// An unpredictable seed for the hash table.
    fn hash_seed(&self) -> io::Result<[u64; 2]>;
}

/// Most buffers that the system takes in one call (Linux's IOV_MAX).
const MAX_BUFS: usize = 1024;

/// Writes all of `bufs` at `offset`: goes on after short writes, and again after EINTR.
pub fn write_all_at(file: &dyn File, mut bufs: &mut [IoSlice<'_>], mut offset: u64) -> io::Result<()> {
    IoSlice::advance_slices(&mut bufs, 0);
    while !bufs.is_empty() {
        match file.write_at(&bufs[..bufs.len().min(MAX_BUFS)], offset) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => {
                offset += written as u64;
                IoSlice::advance_slices(&mut bufs, written);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Reads at `offset` until `buf` is full or the file ends; returns how much it read.
pub fn read_full_at(file: &dyn File, buf: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut done = 0;
    while done < buf.len() {
        match file.read_at(&mut buf[done..], offset + done as u64) {
            Ok(0) => break,
            Ok(read) => done += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(done)
}
