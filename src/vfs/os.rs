//! The real file system. The only place of the library where files are touched.
#![allow(unsafe_code)]

use std::ffi::OsString;
use std::fs::{self, OpenOptions};
use std::io::{self, IoSlice};
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use super::{Access, File, Vfs};
use crate::sys::signal::NoFileSizeSignal;

/// Files as the operating system has them.
#[derive(Clone, Copy, Debug, Default)]
pub struct OsVfs;

struct OsFile(fs::File);

impl Vfs for OsVfs {
    fn open(&self, path: &Path, access: Access) -> io::Result<Arc<dyn File>> {
        let write = access != Access::Read;
        let create = access == Access::Create;
        // Never truncate: what is in a log is only ever cut off by recovery, after it was saved.
        let file = OpenOptions::new().read(true).write(write).create(create).truncate(false).open(path)?;
        Ok(Arc::new(OsFile(file)))
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        fs::create_dir(path)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<OsString>> {
        fs::read_dir(dir)?.map(|entry| Ok(entry?.file_name())).collect()
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        fs::File::open(dir)?.sync_all()
    }

    fn now_ms(&self) -> u64 {
        // A clock before 1970 is as wrong as one that stands at 1970.
        SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |elapsed| elapsed.as_millis() as u64)
    }

    fn hash_seed(&self) -> io::Result<[u64; 2]> {
        let mut seed = [0u64; 2];
        // SAFETY: `seed` is writable for as many bytes as are asked for.
        let got = unsafe { libc::getrandom(seed.as_mut_ptr().cast(), size_of_val(&seed), 0) };
        if got == size_of_val(&seed) as isize { Ok(seed) } else { Err(io::Error::last_os_error()) }
    }
}

impl File for OsFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.0.read_at(buf, offset)
    }

    fn write_at(&self, bufs: &[IoSlice<'_>], offset: u64) -> io::Result<usize> {
        NoFileSizeSignal::during(|| match bufs {
            [buf] => self.0.write_at(buf, offset),
            bufs => pwritev(&self.0, bufs, offset),
        })
    }

    fn size(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        NoFileSizeSignal::during(|| self.0.set_len(len))
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn sync_all(&self) -> io::Result<()> {
        self.0.sync_all()
    }

    fn try_lock(&self) -> io::Result<bool> {
        // SAFETY: the descriptor is open as long as `self` lives.
        if unsafe { libc::flock(self.0.as_raw_fd(), libc::LOCK_EX | libc::LOCK_NB) } == 0 {
            return Ok(true);
        }
        match io::Error::last_os_error() {
            error if error.kind() == io::ErrorKind::WouldBlock => Ok(false),
            error => Err(error),
        }
    }

    fn unlock(&self) -> io::Result<()> {
        // SAFETY: the descriptor is open as long as `self` lives.
        match unsafe { libc::flock(self.0.as_raw_fd(), libc::LOCK_UN) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    }

    fn drop_cache(&self) {
        // SAFETY: the descriptor is open; the call only gives advice.
        unsafe { libc::posix_fadvise(self.0.as_raw_fd(), 0, 0, libc::POSIX_FADV_DONTNEED) };
    }
}

fn pwritev(file: &fs::File, bufs: &[IoSlice<'_>], offset: u64) -> io::Result<usize> {
    let offset = libc::off_t::try_from(offset).map_err(|_| io::Error::from_raw_os_error(libc::EFBIG))?;
    // SAFETY: IoSlice has the layout of iovec, and all buffers outlive the call.
    let written = unsafe { libc::pwritev(file.as_raw_fd(), bufs.as_ptr().cast(), bufs.len() as libc::c_int, offset) };
    if written < 0 { Err(io::Error::last_os_error()) } else { Ok(written as usize) }
}
