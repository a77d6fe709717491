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
//! - Past the page cache ([`Vfs::open_direct`]) the same holds: such a write is on its way to the disk sooner, but only a
//!   sync brings it there for certain, past the disk's own cache and together with the file's length.
//! - Creating, renaming and removing a name reach the disk whole or not at all, in any order, until
//!   [`Vfs::sync_dir`] of that directory returns. A rename never leaves the target name without a file.

pub mod os;
#[cfg(any(test, feature = "sim"))]
pub mod sim;
pub mod stream;

use std::ffi::OsString;
use std::io::{self, IoSlice};
use std::path::Path;
use std::sync::Arc;

/// Of a file that was opened past the page cache: every offset, every length and the address of every buffer is a multiple
/// of this. Most disks want less, hardly any more.
pub const DIRECT_ALIGN: usize = 4096;

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
    /// Whether somebody has the lock, found out without taking it. `None` if the system does not tell.
    fn is_locked(&self) -> io::Result<Option<bool>>;
    /// Forgets what the page cache holds of the file, as far as possible, so that later reads come from the disk.
    fn drop_cache(&self);
    /// Whether the page cache seems to hold the file, so that reading from there is faster than past it.
    fn is_cached(&self) -> bool;
}

/// A file system, a clock, and a source of randomness.
pub trait Vfs: Send + Sync {
    /// Opens a file.
    fn open(&self, path: &Path, access: Access) -> io::Result<Arc<dyn File>>;
    /// Opens an existing file for reading and writing past the page cache, where the file system offers that. Then reads
    /// and writes must keep to [`DIRECT_ALIGN`], except that a read may meet the end of the file anywhere. Some file
    /// systems only notice at the first read or write that they cannot do it, which then fails with EINVAL; so does
    /// going on at an odd offset after a short write. Whoever uses this has the file open by [`open`](Self::open), too,
    /// and goes on there ([`refuses_direct`]): the two may be mixed as long as they are not used at the same time.
    fn open_direct(&self, path: &Path) -> io::Result<Option<Arc<dyn File>>>;
    /// Makes a directory; an error if there is something of that name.
    fn create_dir(&self, path: &Path) -> io::Result<()>;
    /// Removes an empty directory.
    fn remove_dir(&self, path: &Path) -> io::Result<()>;
    /// The same file system, in which `dir` and the paths below it mean the directory that has this name now, whatever
    /// becomes of the name. An error if it is no directory.
    fn enter(&self, dir: &Path) -> io::Result<Arc<dyn Vfs>>;
    /// Whether there is something of that name.
    fn exists(&self, path: &Path) -> io::Result<bool>;
    /// The names in a directory, in any order.
    fn list(&self, dir: &Path) -> io::Result<Vec<OsString>>;
    /// Gives a file a new name in place of whatever had it.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Gives a file another name, in any directory; an error if there is something of that name, or where a file system has no
    /// such thing.
    fn link(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Removes a file.
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Makes the names in a directory durable.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;
    /// The system clock, in Unix milliseconds.
    fn now_ms(&self) -> u64;
    /// An unpredictable seed for the hash table.
    fn hash_seed(&self) -> io::Result<[u64; 2]>;
}

/// Whether an error of a read or write past the page cache says that it cannot be done there, rather than that the disk
/// failed.
pub fn refuses_direct(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EINVAL | libc::EOPNOTSUPP))
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

/// `len` zeros, in slices to be written; a small page of them, again and again, so that they take no room in the library.
pub fn zeros<'a>(len: u64) -> impl Iterator<Item = &'a [u8]> {
    static PAGE: [u8; 4096] = [0; 4096];
    let (whole, rest) = (len / PAGE.len() as u64, len % PAGE.len() as u64);
    std::iter::repeat_n(&PAGE[..], whole as usize).chain(std::iter::once(&PAGE[..rest as usize]))
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::aligned::AlignedBuf;
    use crate::vfs::sim::{Direct, SimDisk};

    fn page(byte: u8) -> AlignedBuf {
        let mut page = AlignedBuf::new(DIRECT_ALIGN).unwrap();
        page.fill(byte);
        page
    }

    fn direct_and_cached_agree(vfs: &dyn Vfs, path: &Path) {
        assert_eq!(vfs.open_direct(path).err().unwrap().kind(), io::ErrorKind::NotFound);
        let cached = vfs.open(path, Access::Create).unwrap();
        let Some(direct) = vfs.open_direct(path).unwrap() else { return };
        cached.write_at(&[IoSlice::new(&[1; 5000])], 0).unwrap();
        match direct.write_at(&[IoSlice::new(&page(2))], 4096) {
            Ok(written) => assert_eq!(written, 4096),
            Err(error) => return assert!(refuses_direct(&error), "{error}"),
        }
        cached.set_len(4100).unwrap();
        let mut read = page(9);
        assert_eq!(direct.read_at(&mut read, 0).unwrap(), 4096);
        assert!(read.iter().all(|&byte| byte == 1));
        assert_eq!(direct.read_at(&mut read, 4096).unwrap(), 4);
        assert_eq!(read[..4], [2; 4]);
        let mut read = [0; 100];
        assert_eq!(cached.read_at(&mut read, 4090).unwrap(), 10);
        assert_eq!(read[..10], [1, 1, 1, 1, 1, 1, 2, 2, 2, 2]);
    }

    #[test]
    fn direct_and_cached_reads_and_writes_agree() {
        let dir = tempfile::tempdir().unwrap();
        direct_and_cached_agree(&os::OsVfs::default(), &dir.path().join("file"));
        direct_and_cached_agree(&SimDisk::new(1), Path::new("/file"));
    }

    #[test]
    fn the_simulated_disk_insists_on_alignment() {
        let disk = SimDisk::new(1);
        let path = Path::new("/file");
        drop(disk.open(path, Access::Create).unwrap());
        let direct = disk.open_direct(path).unwrap().unwrap();
        let (even, mut read) = (page(1), page(0));
        let refused = |result: io::Result<usize>| assert!(refuses_direct(&result.unwrap_err()));
        refused(direct.write_at(&[IoSlice::new(&even)], 512));
        refused(direct.write_at(&[IoSlice::new(&even[..4095])], 0));
        refused(direct.write_at(&[IoSlice::new(&even[1..])], 0));
        refused(direct.read_at(&mut read[..512], 0));
        refused(direct.read_at(&mut read, 1));
        direct.write_at(&[IoSlice::new(&even), IoSlice::new(&even)], 4096).unwrap();
        // Not durable, only on its way.
        assert_eq!(disk.contents(path).unwrap().len(), 3 * 4096);
        assert!((0..100).any(|seed| {
            let fork = disk.fork();
            fork.crash(seed);
            fork.contents(path).is_none_or(|contents| contents.len() < 3 * 4096)
        }));
        disk.set_direct(Direct::RefusedAfter(1));
        direct.write_at(&[IoSlice::new(&even)], 0).unwrap();
        refused(direct.write_at(&[IoSlice::new(&even)], 0));
        refused(direct.read_at(&mut read, 0));
        disk.set_direct(Direct::NotOffered);
        assert!(disk.open_direct(path).unwrap().is_none());
    }
}
