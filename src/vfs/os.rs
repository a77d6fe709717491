//! The real file system. The only place of the library where files are touched.
#![allow(unsafe_code)]

use std::ffi::{CStr, CString, OsString};
use std::fs;
use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::ptr;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use super::{Access, File, Vfs, refuses_direct};
use crate::sys::signal::NoFileSizeSignal;

/// Files as the operating system has them.
#[derive(Clone, Debug, Default)]
pub struct OsVfs {
    /// A directory that was entered, by the path that it had then.
    entered: Option<(PathBuf, Arc<OwnedFd>)>,
}

struct OsFile(fs::File);

/// A path as the `*at` system calls take it.
struct At {
    dir: RawFd,
    path: CString,
}

impl OsVfs {
    /// Paths below the directory that was entered go by its descriptor, so that it does not matter what its name means
    /// by now. It is open as long as `self` lives.
    fn at(&self, path: &Path) -> io::Result<At> {
        let (dir, path) = match &self.entered {
            Some((root, fd)) if path == root => (fd.as_raw_fd(), Path::new(".")),
            Some((root, fd)) => match path.strip_prefix(root) {
                Ok(below) => (fd.as_raw_fd(), below),
                Err(_) => (libc::AT_FDCWD, path),
            },
            None => (libc::AT_FDCWD, path),
        };
        let path = CString::new(path.as_os_str().as_bytes()).map_err(|_| io::Error::from_raw_os_error(libc::EINVAL))?;
        Ok(At { dir, path })
    }

    fn open_at(&self, path: &Path, flags: libc::c_int) -> io::Result<fs::File> {
        let at = self.at(path)?;
        let fd = retry(|| {
            // SAFETY: the path is NUL-terminated, and the directory open.
            unsafe { libc::openat(at.dir, at.path.as_ptr(), flags | libc::O_CLOEXEC, 0o666) }
        })?;
        // SAFETY: the descriptor is new, and ours.
        Ok(unsafe { fs::File::from_raw_fd(fd) })
    }
}

/// Repeats a system call until it is not interrupted; a negative result is an error.
fn retry(mut call: impl FnMut() -> libc::c_int) -> io::Result<libc::c_int> {
    loop {
        match call() {
            result if result >= 0 => return Ok(result),
            _ => match io::Error::last_os_error() {
                error if error.kind() == io::ErrorKind::Interrupted => {}
                error => return Err(error),
            },
        }
    }
}

impl Vfs for OsVfs {
    fn open(&self, path: &Path, access: Access) -> io::Result<Arc<dyn File>> {
        // Never O_TRUNC: what is in a log is only ever cut off by recovery, after it was saved.
        let flags = match access {
            Access::Read => libc::O_RDONLY,
            Access::Write => libc::O_RDWR,
            Access::Create => libc::O_RDWR | libc::O_CREAT,
        };
        Ok(Arc::new(OsFile(self.open_at(path, flags)?)))
    }

    fn open_direct(&self, path: &Path) -> io::Result<Option<Arc<dyn File>>> {
        match self.open_at(path, libc::O_RDWR | libc::O_DIRECT) {
            Ok(file) => Ok(Some(Arc::new(OsFile(file)))),
            Err(error) if refuses_direct(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        let at = self.at(path)?;
        // SAFETY: the path is NUL-terminated, and the directory open.
        retry(|| unsafe { libc::mkdirat(at.dir, at.path.as_ptr(), 0o777) }).map(drop)
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        let at = self.at(path)?;
        // SAFETY: the path is NUL-terminated, and the directory open.
        retry(|| unsafe { libc::unlinkat(at.dir, at.path.as_ptr(), libc::AT_REMOVEDIR) }).map(drop)
    }

    fn enter(&self, dir: &Path) -> io::Result<Arc<dyn Vfs>> {
        let fd = OwnedFd::from(self.open_at(dir, libc::O_RDONLY | libc::O_DIRECTORY)?);
        Ok(Arc::new(OsVfs { entered: Some((dir.to_owned(), Arc::new(fd))) }))
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        let at = self.at(path)?;
        let mut found = MaybeUninit::uninit();
        // SAFETY: the path is NUL-terminated, the directory open, and `found` has room for what the call may write.
        match retry(|| unsafe { libc::fstatat(at.dir, at.path.as_ptr(), found.as_mut_ptr(), 0) }) {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<OsString>> {
        let mut list = DirStream::new(self.open_at(dir, libc::O_RDONLY | libc::O_DIRECTORY)?)?;
        let mut names = Vec::new();
        while let Some(name) = list.next()? {
            if name != "." && name != ".." {
                names.push(name);
            }
        }
        Ok(names)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let (from, to) = (self.at(from)?, self.at(to)?);
        // SAFETY: the paths are NUL-terminated, and the directories open.
        retry(|| unsafe { libc::renameat(from.dir, from.path.as_ptr(), to.dir, to.path.as_ptr()) }).map(drop)
    }

    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        let (from, to) = (self.at(from)?, self.at(to)?);
        // SAFETY: the paths are NUL-terminated, and the directories open.
        retry(|| unsafe { libc::linkat(from.dir, from.path.as_ptr(), to.dir, to.path.as_ptr(), 0) }).map(drop)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let at = self.at(path)?;
        // SAFETY: the path is NUL-terminated, and the directory open.
        retry(|| unsafe { libc::unlinkat(at.dir, at.path.as_ptr(), 0) }).map(drop)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        match &self.entered {
            // The descriptor is there already: this must not fail for want of one.
            // SAFETY: the descriptor is open as long as `self` lives.
            Some((root, fd)) if dir == root => retry(|| unsafe { libc::fsync(fd.as_raw_fd()) }).map(drop),
            _ => self.open_at(dir, libc::O_RDONLY | libc::O_DIRECTORY)?.sync_all(),
        }
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
        match retry(|| unsafe { libc::flock(self.0.as_raw_fd(), libc::LOCK_EX | libc::LOCK_NB) }) {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn unlock(&self) -> io::Result<()> {
        // SAFETY: the descriptor is open as long as `self` lives.
        retry(|| unsafe { libc::flock(self.0.as_raw_fd(), libc::LOCK_UN) }).map(drop)
    }

    fn is_locked(&self) -> io::Result<Option<bool>> {
        let inode = self.0.metadata()?.ino();
        let read = |path: &str| fs::read_to_string(path).ok();
        let seen = read(&format!("/proc/self/fdinfo/{}", self.0.as_raw_fd())).and_then(|fdinfo| {
            let device = device_of(&fdinfo, &read("/proc/self/mountinfo")?)?;
            // The kernel makes the list piece by piece: a lock may slip through while others come and go.
            for _ in 0..LISTINGS {
                if has_flock(&read("/proc/locks")?, device, inode) {
                    return Some(true);
                }
            }
            Some(false)
        });
        Ok(seen)
    }

    fn drop_cache(&self) {
        // SAFETY: the descriptor is open; the call only gives advice.
        unsafe { libc::posix_fadvise(self.0.as_raw_fd(), 0, 0, libc::POSIX_FADV_DONTNEED) };
    }

    fn is_cached(&self) -> bool {
        let Some(len) = self.size().ok().and_then(|len| usize::try_from(len).ok()).filter(|&len| len > 0) else {
            return true;
        };
        // SAFETY: a new mapping at an address that the kernel chooses; nothing is read through it.
        let start =
            unsafe { libc::mmap(ptr::null_mut(), len, libc::PROT_READ, libc::MAP_SHARED, self.0.as_raw_fd(), 0) };
        if start == libc::MAP_FAILED {
            return true;
        }
        let probes = (0..PROBES).map(|probe| (len - 1) / PROBES * probe / PAGE * PAGE);
        let cached = probes.filter(|&at| {
            let mut is_cached = 0u8;
            // SAFETY: the page lies in the mapping, and there is room for the byte that tells about it.
            unsafe { libc::mincore(start.byte_add(at), 1, &raw mut is_cached) == 0 && is_cached & 1 != 0 }
        });
        let cached = cached.count();
        // SAFETY: it is the mapping from above.
        unsafe { libc::munmap(start, len) };
        cached * 8 >= PROBES * 7
    }
}

/// An open directory that is being listed.
struct DirStream(ptr::NonNull<libc::DIR>);

impl DirStream {
    fn new(dir: fs::File) -> io::Result<DirStream> {
        // SAFETY: the descriptor is open.
        let stream = ptr::NonNull::new(unsafe { libc::fdopendir(dir.as_raw_fd()) });
        let stream = stream.ok_or_else(io::Error::last_os_error)?;
        // Closed with the stream from now on.
        _ = dir.into_raw_fd();
        Ok(DirStream(stream))
    }

    fn next(&mut self) -> io::Result<Option<OsString>> {
        // SAFETY: the stream is open, and used by one thread at a time; errno is this thread's. The entry is good until the
        // next call, and its name NUL-terminated.
        unsafe {
            *libc::__errno_location() = 0;
            let entry = libc::readdir64(self.0.as_ptr());
            if entry.is_null() {
                let error = io::Error::last_os_error();
                return if error.raw_os_error() == Some(0) { Ok(None) } else { Err(error) };
            }
            let name = CStr::from_ptr((*entry).d_name.as_ptr());
            Ok(Some(OsString::from_vec(name.to_bytes().to_vec())))
        }
    }
}

impl Drop for DirStream {
    fn drop(&mut self) {
        // SAFETY: it is open, and this is its last use.
        unsafe { libc::closedir(self.0.as_ptr()) };
    }
}

/// The device of the file system that an open file lies on, by what the kernel says of the file and of all mounts. The one in
/// the file's own status is not always the one by which locks go: parts of a btrfs have devices of their own.
fn device_of(fdinfo: &str, mounts: &str) -> Option<(u32, u32)> {
    let mount = fdinfo.lines().find_map(|line| line.strip_prefix("mnt_id:"))?.trim();
    let (_, device) = mounts.lines().find_map(|line| {
        let mut fields = line.split(' ');
        Some((fields.next().filter(|&id| id == mount)?, fields.nth(1)?))
    })?;
    let (major, minor) = device.split_once(':')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

/// How often a lock has to be missing in the kernel's list before it is believed not to be there.
const LISTINGS: usize = 5;

/// Whether there is an exclusive flock on a file, in a list as /proc/locks has it: number, kind, ADVISORY, WRITE, process,
/// file as major:minor:inode, the first two in hexadecimal.
fn has_flock(locks: &str, (major, minor): (u32, u32), inode: u64) -> bool {
    let file = format!("{major:02x}:{minor:02x}:{inode}");
    locks.lines().any(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        matches!(fields[..], [_, "FLOCK", _, "WRITE", _, locked, ..] if locked == file)
    })
}

/// How many pages of a file are looked at to see whether it is cached.
const PROBES: usize = 64;
/// A multiple of the size of a page, whatever the system.
const PAGE: usize = 64 << 10;

fn pwritev(file: &fs::File, bufs: &[IoSlice<'_>], offset: u64) -> io::Result<usize> {
    let offset = libc::off_t::try_from(offset).map_err(|_| io::Error::from_raw_os_error(libc::EFBIG))?;
    // SAFETY: IoSlice has the layout of iovec, and all buffers outlive the call.
    let written = unsafe { libc::pwritev(file.as_raw_fd(), bufs.as_ptr().cast(), bufs.len() as libc::c_int, offset) };
    if written < 0 { Err(io::Error::last_os_error()) } else { Ok(written as usize) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_is_seen_by_its_file_and_without_taking_it() {
        let fdinfo = "pos:\t0\nflags:\t02100000\nmnt_id:\t31\nino:\t77\n";
        let mounts = "30 1 254:0 / / rw - ext4 /dev/vda rw\n31 30 0:46 /sub /data rw - btrfs /dev/vdb rw\n";
        assert_eq!(device_of(fdinfo, mounts), Some((0, 46)));
        assert_eq!(device_of("pos:\t0\n", mounts), None);
        let locks = "1: FLOCK  ADVISORY  WRITE 2557 00:2e:77 0 EOF\n1: -> FLOCK  ADVISORY  WRITE 3 00:2e:78 0 EOF\n\
                     2: POSIX  ADVISORY  WRITE 9 00:2e:79 0 EOF\n3: FLOCK  ADVISORY  READ 9 00:2e:80 0 EOF\n";
        let locked = (76..=81).filter(|&inode| has_flock(locks, (0, 46), inode)).collect::<Vec<_>>();
        assert_eq!(locked, [77], "others wait, are of another kind, or share it");
        assert!(!has_flock(locks, (1, 46), 77));
        let dir = tempfile::tempdir().unwrap();
        let (vfs, path) = (OsVfs::default(), dir.path().join("LOCK"));
        let (owner, other) = (vfs.open(&path, Access::Create).unwrap(), vfs.open(&path, Access::Read).unwrap());
        assert_eq!(other.is_locked().unwrap(), Some(false));
        assert!(owner.try_lock().unwrap());
        assert_eq!(other.is_locked().unwrap(), Some(true));
        owner.unlock().unwrap();
        assert_eq!(other.is_locked().unwrap(), Some(false));
        assert!(owner.try_lock().unwrap(), "looking has not locked it");
    }
}
