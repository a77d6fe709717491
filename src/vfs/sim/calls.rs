//! Using a simulated disk as a file system.

use std::ffi::OsString;
use std::io::{self, IoSlice};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::fault::{Call, Direct};
use super::state::{DirData, FileChange, FileData, NameChange, Node, SECTOR};
use super::{Disk, SimDisk};
use crate::sys::sync::{Mutex, MutexGuard};
use crate::vfs::{Access, DIRECT_ALIGN, File, Vfs};

impl Vfs for SimDisk {
    fn open(&self, path: &Path, access: Access) -> io::Result<Arc<dyn File>> {
        let mut disk = self.begin(Call::Open)?;
        let (dir, name) = disk.dir_and_name(path)?;
        let file = match disk.dirs[dir].cached.get(name) {
            Some(Node::File(file)) => *file,
            Some(Node::Dir(_)) => return Err(io::Error::from_raw_os_error(libc::EISDIR)),
            None if access == Access::Create => {
                let file = disk.files.len();
                disk.files.push(FileData { made_as: name.to_owned(), ..FileData::default() });
                disk.dirs[dir].change(NameChange::Add(name.to_owned(), Node::File(file)));
                file
            }
            None => return Err(io::Error::from_raw_os_error(libc::ENOENT)),
        };
        Ok(Arc::new(SimFile::new(self, &disk, file, false)))
    }

    fn open_direct(&self, path: &Path) -> io::Result<Option<Arc<dyn File>>> {
        let disk = self.begin(Call::Open)?;
        let Node::File(file) = disk.find(path)? else {
            return Err(io::Error::from_raw_os_error(libc::EISDIR));
        };
        if disk.faults.direct == Direct::NotOffered {
            return Ok(None);
        }
        Ok(Some(Arc::new(SimFile::new(self, &disk, file, true))))
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        let mut disk = self.begin(Call::CreateDir)?;
        let (dir, name) = disk.dir_and_name(path)?;
        if disk.dirs[dir].cached.contains_key(name) {
            return Err(io::Error::from_raw_os_error(libc::EEXIST));
        }
        let new = disk.dirs.len();
        disk.dirs.push(DirData::default());
        disk.dirs[dir].change(NameChange::Add(name.to_owned(), Node::Dir(new)));
        Ok(())
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        let mut disk = self.begin(Call::Remove)?;
        let removed = disk.find_dir(path)?;
        if !disk.dirs[removed].cached.is_empty() {
            return Err(io::Error::from_raw_os_error(libc::ENOTEMPTY));
        }
        let (dir, name) = disk.dir_and_name(path)?;
        disk.dirs[dir].change(NameChange::Remove(name.to_owned()));
        Ok(())
    }

    fn enter(&self, dir: &Path) -> io::Result<Arc<dyn Vfs>> {
        self.begin(Call::Open)?.find_dir(dir)?;
        Ok(Arc::new(self.clone()))
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        match self.begin(Call::Exists)?.find(path) {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<OsString>> {
        let disk = self.begin(Call::Exists)?;
        let dir = disk.find_dir(dir)?;
        Ok(disk.dirs[dir].cached.keys().cloned().collect())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut disk = self.begin(Call::Rename)?;
        let node = disk.find(from)?;
        let ((from_dir, from_name), (to_dir, to_name)) = (disk.dir_and_name(from)?, disk.dir_and_name(to)?);
        if from_dir != to_dir {
            // Not atomic on every file system, so the store does not do it.
            return Err(io::Error::from_raw_os_error(libc::EXDEV));
        }
        disk.dirs[from_dir].change(NameChange::Rename(from_name.to_owned(), to_name.to_owned(), node));
        Ok(())
    }

    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut disk = self.begin(Call::Link)?;
        let node = disk.find(from)?;
        let (dir, name) = disk.dir_and_name(to)?;
        if disk.dirs[dir].cached.contains_key(name) {
            return Err(io::Error::from_raw_os_error(libc::EEXIST));
        }
        disk.dirs[dir].change(NameChange::Add(name.to_owned(), node));
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut disk = self.begin(Call::Remove)?;
        if let Node::Dir(_) = disk.find(path)? {
            return Err(io::Error::from_raw_os_error(libc::EISDIR));
        }
        let (dir, name) = disk.dir_and_name(path)?;
        disk.dirs[dir].change(NameChange::Remove(name.to_owned()));
        Ok(())
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let mut disk = self.lock();
        let error = disk.count(Call::SyncDir, None);
        let found = disk.find_dir(dir);
        let disk = &mut *disk;
        match (error, found) {
            (Some(errno), Ok(dir)) if errno != 0 => {
                if disk.faults.off_at.is_none() {
                    disk.dirs[dir].lose_some(&mut disk.random);
                }
                Err(io::Error::from_raw_os_error(errno))
            }
            (_, found) => {
                disk.dirs[found?].sync();
                Ok(())
            }
        }
    }

    fn now_ms(&self) -> u64 {
        SimDisk::now_ms(self)
    }

    fn hash_seed(&self) -> io::Result<[u64; 2]> {
        let mut disk = self.lock();
        Ok([disk.random.any(), disk.random.any()])
    }
}

struct SimFile {
    disk: SimDisk,
    file: usize,
    generation: u64,
    /// Opened past the page cache.
    is_direct: bool,
    has_lock: Mutex<bool>,
    /// How many failed syncs of the file it knows of.
    failed_syncs: AtomicU64,
}

impl SimFile {
    fn new(disk: &SimDisk, state: &Disk, file: usize, is_direct: bool) -> SimFile {
        let failed_syncs = AtomicU64::new(state.files[file].failed_syncs);
        let has_lock = Mutex::new(false);
        SimFile { disk: disk.clone(), file, generation: state.generation, is_direct, has_lock, failed_syncs }
    }

    fn begin(&self, call: Call) -> io::Result<MutexGuard<'_, Disk>> {
        let disk = self.disk.begin(call)?;
        self.check(&disk)?;
        Ok(disk)
    }

    fn check(&self, disk: &Disk) -> io::Result<()> {
        // A handle from before a crash.
        if disk.generation == self.generation { Ok(()) } else { Err(io::Error::from_raw_os_error(libc::EBADF)) }
    }

    /// Fails a read or write past the page cache that is not aligned, or that this disk cannot do.
    fn check_direct(
        &self,
        disk: &mut Disk,
        offset: u64,
        bufs: impl IntoIterator<Item = (usize, usize)>,
    ) -> io::Result<()> {
        if !self.is_direct {
            return Ok(());
        }
        let is_aligned = |at: usize| at.is_multiple_of(DIRECT_ALIGN);
        let aligned =
            is_aligned(offset as usize) && bufs.into_iter().all(|(at, len)| is_aligned(at) && is_aligned(len));
        let can = disk.faults.direct.works_now();
        if aligned && can { Ok(()) } else { Err(io::Error::from_raw_os_error(libc::EINVAL)) }
    }

    /// How much of `len` bytes a read or write moves that is to fail with this error.
    fn maybe_short(&self, error: Option<i32>, len: usize, disk: &mut Disk) -> io::Result<usize> {
        match error {
            None => Ok(len),
            Some(0) => {
                let short = disk.random.below(len.max(1)).max(1);
                Ok(if self.is_direct { short.next_multiple_of(SECTOR) } else { short }.min(len))
            }
            Some(errno) => Err(io::Error::from_raw_os_error(errno)),
        }
    }

    fn sync(&self) -> io::Result<()> {
        let mut disk = self.disk.lock();
        let error = disk.count(Call::Sync, None);
        self.check(&disk)?;
        let disk = &mut *disk;
        match error {
            Some(errno) if errno != 0 => {
                if disk.faults.off_at.is_none() {
                    disk.files[self.file].fail_sync(&mut disk.random);
                    self.failed_syncs.fetch_add(1, Ordering::Relaxed);
                }
                Err(io::Error::from_raw_os_error(errno))
            }
            _ => {
                let file = &mut disk.files[self.file];
                file.sync();
                match self.failed_syncs.swap(file.failed_syncs, Ordering::Relaxed) {
                    known if known == file.failed_syncs => Ok(()),
                    _ => Err(io::Error::from_raw_os_error(libc::EIO)),
                }
            }
        }
    }
}

impl File for SimFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut disk = self.disk.lock();
        let error = disk.count(Call::Read, None);
        self.check(&disk)?;
        self.check_direct(&mut disk, offset, [(buf.as_ptr().addr(), buf.len())])?;
        let len = self.maybe_short(error, buf.len(), &mut disk)?;
        if disk.files[self.file].failed_syncs > 0 && disk.random.below(8) == 0 {
            disk.files[self.file].evict();
        }
        let contents = &disk.files[self.file].cached;
        let start = usize::try_from(offset).unwrap_or(usize::MAX).min(contents.len());
        let end = (start + len).min(contents.len());
        buf[..end - start].copy_from_slice(&contents[start..end]);
        Ok(end - start)
    }

    fn write_at(&self, bufs: &[IoSlice<'_>], offset: u64) -> io::Result<usize> {
        let mut change =
            FileChange::Write { offset: offset as usize, bytes: bufs.iter().flat_map(|buf| buf.to_vec()).collect() };
        let mut disk = self.disk.lock();
        let error = disk.count(Call::Write, Some((self.file, &change)));
        self.check(&disk)?;
        self.check_direct(&mut disk, offset, bufs.iter().map(|buf| (buf.as_ptr().addr(), buf.len())))?;
        let len = bufs.iter().map(|buf| buf.len()).sum();
        let written = self.maybe_short(error, len, &mut disk)?;
        change.shorten(written);
        disk.files[self.file].change(change);
        Ok(written)
    }

    fn size(&self) -> io::Result<u64> {
        let disk = self.begin(Call::Size)?;
        Ok(disk.files[self.file].cached.len() as u64)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let change = FileChange::SetLen(len as usize);
        let mut disk = self.disk.lock();
        let error = disk.count(Call::SetLen, Some((self.file, &change)));
        self.check(&disk)?;
        if let Some(errno) = error.filter(|&errno| errno != 0) {
            return Err(io::Error::from_raw_os_error(errno));
        }
        disk.files[self.file].change(change);
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        self.sync()
    }

    fn sync_all(&self) -> io::Result<()> {
        self.sync()
    }

    fn try_lock(&self) -> io::Result<bool> {
        let mut disk = self.begin(Call::Lock)?;
        let file = &mut disk.files[self.file];
        let mut has_lock = self.has_lock.lock();
        if file.is_locked && !*has_lock {
            return Ok(false);
        }
        (file.is_locked, *has_lock) = (true, true);
        Ok(true)
    }

    fn unlock(&self) -> io::Result<()> {
        let mut disk = self.disk.lock();
        let mut has_lock = self.has_lock.lock();
        if *has_lock && self.check(&disk).is_ok() {
            disk.files[self.file].is_locked = false;
        }
        *has_lock = false;
        Ok(())
    }

    fn is_locked(&self) -> io::Result<Option<bool>> {
        Ok(Some(self.begin(Call::Lock)?.files[self.file].is_locked))
    }

    fn drop_cache(&self) {}

    fn is_cached(&self) -> bool {
        false
    }
}

impl Drop for SimFile {
    fn drop(&mut self) {
        let _ = self.unlock();
    }
}
