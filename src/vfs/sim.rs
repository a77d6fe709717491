//! A disk in memory that loses power, tears writes and fails calls, all decided by a seed. For tests.
//!
//! # The model
//!
//! Every file has its contents as the page cache has them, its contents as the disk has them, and the list of changes
//! in between; so has every directory. Syncing moves the list to the disk. At a [crash](SimDisk::crash) what was not
//! synced is decided sector by sector: each 512-byte sector of a file, and the file's length, is as it was after some
//! prefix of the changes, each prefix chosen for itself; of the changes of a directory any subset has happened. A sync
//! that fails leaves the page cache as it was and calls it clean, while the disk got an arbitrary part: a later sync
//! succeeds and changes nothing. Only those who have the same file open by other descriptions fail once, too.
//!
//! Past the page cache a file is read and written as it is through it, as long as offsets, lengths and buffers are
//! aligned, and nothing of it is durable sooner; [`set_direct`](SimDisk::set_direct) makes a disk that cannot do it.
//!
//! [`fail`](SimDisk::fail) makes calls fail, and [`power_off_at`](SimDisk::power_off_at) makes the world end at one.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::io::{self, IoSlice};
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::{Access, DIRECT_ALIGN, File, Vfs};
use crate::sys::sync::{Mutex, MutexGuard};

const SECTOR: usize = 512;

/// A disk, shared by all who clone it.
#[derive(Clone)]
pub struct SimDisk {
    state: Arc<Mutex<Disk>>,
}

/// What a call does, for those who want to make some of them fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    /// `Vfs::open`, `Vfs::open_direct` and `Vfs::enter`.
    Open,
    /// `Vfs::create_dir`.
    CreateDir,
    /// `Vfs::exists`.
    Exists,
    /// `Vfs::rename`.
    Rename,
    /// `Vfs::remove` and `Vfs::remove_dir`.
    Remove,
    /// `Vfs::sync_dir`.
    SyncDir,
    /// `File::read_at`.
    Read,
    /// `File::write_at`.
    Write,
    /// `File::set_len`.
    SetLen,
    /// `File::sync_data` and `File::sync_all`.
    Sync,
}

/// How calls fail.
#[derive(Clone, Copy, Debug)]
pub struct Fault {
    /// Which calls; `None` for all.
    pub call: Option<Call>,
    /// The first of them to fail, counted from 0 when the fault is set.
    pub after: u64,
    /// How many of them fail.
    pub times: u64,
    /// With which error number. 0 makes a write short instead.
    pub errno: i32,
    /// Whether the first of them is a short write, before the errors begin.
    pub short_first: bool,
}

/// What a disk can do past the page cache.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Direct {
    /// All of it.
    #[default]
    Works,
    /// Files cannot be opened so.
    NotOffered,
    /// They can, but then every read and write fails with EINVAL.
    Refused,
    /// So many reads and writes succeed, and from then on they fail with EINVAL.
    RefusedAfter(u64),
}

struct Disk {
    random: Random,
    files: Vec<FileData>,
    dirs: Vec<DirData>,
    /// Of the handles that are good: a crash makes those before it useless.
    generation: u64,
    calls: u64,
    off_at: Option<u64>,
    fault: Option<Fault>,
    /// Whether a fault struck since it was set.
    struck: bool,
    direct: Direct,
    now_ms: u64,
}

#[derive(Clone, Default)]
struct FileData {
    cached: Vec<u8>,
    durable: Vec<u8>,
    pending: Vec<FileChange>,
    is_locked: bool,
    /// How many syncs have failed.
    failed_syncs: u64,
}

#[derive(Clone)]
enum FileChange {
    Write { offset: usize, bytes: Vec<u8> },
    SetLen(usize),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Node {
    File(usize),
    Dir(usize),
}

type Names = BTreeMap<OsString, Node>;

#[derive(Clone, Default)]
struct DirData {
    cached: Names,
    durable: Names,
    pending: Vec<NameChange>,
}

#[derive(Clone)]
enum NameChange {
    Add(OsString, Node),
    Remove(OsString),
    Rename(OsString, OsString, Node),
}

/// SplitMix64, after Steele, Lea and Flood (2014).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }
}

impl FileChange {
    fn apply(&self, contents: &mut Vec<u8>) {
        match self {
            FileChange::Write { offset, bytes } => {
                let end = offset + bytes.len();
                if contents.len() < end {
                    contents.resize(end, 0);
                }
                contents[*offset..end].copy_from_slice(bytes);
            }
            FileChange::SetLen(len) => contents.resize(*len, 0),
        }
    }
}

impl FileData {
    fn change(&mut self, change: FileChange) {
        change.apply(&mut self.cached);
        self.pending.push(change);
    }

    /// Writes what is pending, and only that: what an earlier sync failed to write counts as clean.
    fn sync(&mut self) {
        for change in self.pending.drain(..) {
            change.apply(&mut self.durable);
        }
    }

    /// What the disk holds when an arbitrary part of what is pending has reached it.
    fn torn(&self, random: &mut Random) -> Vec<u8> {
        let mut versions = vec![self.durable.clone()];
        for change in &self.pending {
            let mut next = versions.last().expect("there is a first").clone();
            change.apply(&mut next);
            versions.push(next);
        }
        let mut torn = vec![0; versions[random.below(versions.len())].len()];
        for (number, sector) in torn.chunks_mut(SECTOR).enumerate() {
            let version = &versions[random.below(versions.len())];
            let start = (number * SECTOR).min(version.len());
            let end = (start + sector.len()).min(version.len());
            sector[..end - start].copy_from_slice(&version[start..end]);
        }
        torn
    }

    fn fail_sync(&mut self, random: &mut Random) {
        self.durable = self.torn(random);
        self.pending.clear();
        self.failed_syncs += 1;
    }
}

impl NameChange {
    fn apply(&self, names: &mut Names) {
        match self {
            NameChange::Add(name, node) => {
                names.insert(name.clone(), *node);
            }
            NameChange::Remove(name) => {
                names.remove(name);
            }
            NameChange::Rename(from, to, node) => {
                names.remove(from);
                names.insert(to.clone(), *node);
            }
        }
    }
}

impl DirData {
    fn change(&mut self, change: NameChange) {
        change.apply(&mut self.cached);
        self.pending.push(change);
    }

    fn sync(&mut self) {
        for change in self.pending.drain(..) {
            change.apply(&mut self.durable);
        }
    }

    fn lose_some(&mut self, random: &mut Random) {
        for change in std::mem::take(&mut self.pending) {
            if random.below(2) == 0 {
                change.apply(&mut self.durable);
            }
        }
    }
}

impl SimDisk {
    /// An empty disk with a root directory.
    pub fn new(seed: u64) -> SimDisk {
        let disk = Disk {
            random: Random(seed),
            files: Vec::new(),
            dirs: vec![DirData::default()],
            generation: 0,
            calls: 0,
            off_at: None,
            fault: None,
            struck: false,
            direct: Direct::default(),
            now_ms: 1_800_000_000_000,
        };
        SimDisk { state: Arc::new(Mutex::new(disk)) }
    }

    /// Loses power and comes back: handles are void, and what was not synced has happened in part.
    pub fn crash(&self, seed: u64) {
        let mut disk = self.lock();
        let disk = &mut *disk;
        disk.random = Random(seed);
        disk.generation += 1;
        disk.off_at = None;
        disk.fault = None;
        for file in &mut disk.files {
            file.durable = file.torn(&mut disk.random);
            file.cached.clone_from(&file.durable);
            file.pending.clear();
            file.is_locked = false;
        }
        for dir in &mut disk.dirs {
            dir.lose_some(&mut disk.random);
            dir.cached.clone_from(&dir.durable);
        }
    }

    /// The process dies and the system goes on: handles are void, everything else is as it was.
    pub fn kill(&self) {
        let mut disk = self.lock();
        disk.generation += 1;
        disk.off_at = None;
        disk.fault = None;
        disk.files.iter_mut().for_each(|file| file.is_locked = false);
    }

    /// A disk of its own in the same state, with nobody using it.
    pub fn fork(&self) -> SimDisk {
        let disk = self.lock();
        let copy = Disk {
            random: Random(disk.random.0),
            files: disk.files.iter().map(|file| FileData { is_locked: false, ..file.clone() }).collect(),
            dirs: disk.dirs.clone(),
            generation: disk.generation,
            calls: 0,
            off_at: None,
            fault: None,
            struck: false,
            direct: disk.direct,
            now_ms: disk.now_ms,
        };
        SimDisk { state: Arc::new(Mutex::new(copy)) }
    }

    /// How many calls there were.
    pub fn calls(&self) -> u64 {
        self.lock().calls
    }

    /// From the call of this number on, counted from now, every call fails and does nothing.
    pub fn power_off_at(&self, call: u64) {
        let mut disk = self.lock();
        disk.off_at = Some(disk.calls + call);
    }

    /// Makes calls fail.
    pub fn fail(&self, fault: Fault) {
        let mut disk = self.lock();
        (disk.fault, disk.struck) = (Some(fault), false);
    }

    /// Ends the fault; true if it had struck.
    pub fn heal(&self) -> bool {
        let mut disk = self.lock();
        disk.fault = None;
        std::mem::take(&mut disk.struck)
    }

    /// Makes the disk one that can do more or less past the page cache.
    pub fn set_direct(&self, direct: Direct) {
        self.lock().direct = direct;
    }

    /// Moves the clock on.
    pub fn pass(&self, ms: u64) {
        self.lock().now_ms += ms;
    }

    /// The contents of a file as a reader sees them.
    pub fn contents(&self, path: impl AsRef<Path>) -> Option<Vec<u8>> {
        let disk = self.lock();
        match disk.find(path.as_ref()).ok()? {
            Node::File(file) => Some(disk.files[file].cached.clone()),
            Node::Dir(_) => None,
        }
    }

    /// Replaces the contents of a file, durably, as somebody who damages it would.
    pub fn overwrite(&self, path: impl AsRef<Path>, contents: &[u8]) {
        let mut disk = self.lock();
        let Ok(Node::File(file)) = disk.find(path.as_ref()) else {
            panic!("{} is no file", path.as_ref().display());
        };
        disk.files[file] = FileData { cached: contents.to_vec(), durable: contents.to_vec(), ..FileData::default() };
    }

    /// Paths and contents of all files, in order.
    pub fn all_files(&self) -> Vec<(PathBuf, Vec<u8>)> {
        let disk = self.lock();
        let mut found = Vec::new();
        let mut dirs = vec![(PathBuf::from("/"), 0)];
        while let Some((path, dir)) = dirs.pop() {
            for (name, node) in &disk.dirs[dir].cached {
                match node {
                    Node::File(file) => found.push((path.join(name), disk.files[*file].cached.clone())),
                    Node::Dir(dir) => dirs.push((path.join(name), *dir)),
                }
            }
        }
        found.sort();
        found
    }

    fn lock(&self) -> MutexGuard<'_, Disk> {
        self.state.lock()
    }

    /// Counts a call, and fails it if it is to fail.
    fn begin(&self, call: Call) -> io::Result<MutexGuard<'_, Disk>> {
        let mut disk = self.lock();
        match disk.count(call) {
            Some(0) | None => Ok(disk),
            Some(errno) => Err(io::Error::from_raw_os_error(errno)),
        }
    }
}

impl Disk {
    /// The error that a call is to fail with.
    fn count(&mut self, call: Call) -> Option<i32> {
        let number = self.calls;
        self.calls += 1;
        if self.off_at.is_some_and(|off_at| number >= off_at) {
            return Some(libc::EIO);
        }
        let fault = self.fault.as_mut().filter(|fault| fault.call.is_none_or(|which| which == call))?;
        if fault.after > 0 {
            fault.after -= 1;
            return None;
        }
        let errno = if std::mem::take(&mut fault.short_first) { 0 } else { fault.errno };
        self.struck = true;
        fault.times -= 1;
        if fault.times == 0 {
            self.fault = None;
        }
        Some(errno)
    }

    fn dir_and_name<'p>(&self, path: &'p Path) -> io::Result<(usize, &'p OsStr)> {
        let name = path.file_name().ok_or_else(|| io::Error::from_raw_os_error(libc::EINVAL))?;
        Ok((self.find_dir(path.parent().unwrap_or(Path::new("/")))?, name))
    }

    fn find(&self, path: &Path) -> io::Result<Node> {
        let mut node = Node::Dir(0);
        for component in path.components() {
            let Component::Normal(name) = component else { continue };
            let Node::Dir(dir) = node else {
                return Err(io::Error::from_raw_os_error(libc::ENOTDIR));
            };
            node = *self.dirs[dir].cached.get(name).ok_or_else(|| io::Error::from_raw_os_error(libc::ENOENT))?;
        }
        Ok(node)
    }

    fn find_dir(&self, path: &Path) -> io::Result<usize> {
        match self.find(path)? {
            Node::Dir(dir) => Ok(dir),
            Node::File(_) => Err(io::Error::from_raw_os_error(libc::ENOTDIR)),
        }
    }
}

impl Vfs for SimDisk {
    fn open(&self, path: &Path, access: Access) -> io::Result<Arc<dyn File>> {
        let mut disk = self.begin(Call::Open)?;
        let (dir, name) = disk.dir_and_name(path)?;
        let file = match disk.dirs[dir].cached.get(name) {
            Some(Node::File(file)) => *file,
            Some(Node::Dir(_)) => return Err(io::Error::from_raw_os_error(libc::EISDIR)),
            None if access == Access::Create => {
                let file = disk.files.len();
                disk.files.push(FileData::default());
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
        if disk.direct == Direct::NotOffered {
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
        let error = disk.count(Call::SyncDir);
        let found = disk.find_dir(dir);
        let disk = &mut *disk;
        match (error, found) {
            (Some(errno), Ok(dir)) if errno != 0 => {
                if disk.off_at.is_none() {
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
        self.lock().now_ms
    }

    fn hash_seed(&self) -> io::Result<[u64; 2]> {
        let mut disk = self.lock();
        Ok([disk.random.next(), disk.random.next()])
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
        let can = match &mut disk.direct {
            Direct::Works => true,
            Direct::NotOffered | Direct::Refused | Direct::RefusedAfter(0) => false,
            Direct::RefusedAfter(left) => {
                *left -= 1;
                true
            }
        };
        if aligned && can { Ok(()) } else { Err(io::Error::from_raw_os_error(libc::EINVAL)) }
    }

    fn sync(&self) -> io::Result<()> {
        let mut disk = self.disk.lock();
        let error = disk.count(Call::Sync);
        self.check(&disk)?;
        let disk = &mut *disk;
        match error {
            Some(errno) if errno != 0 => {
                if disk.off_at.is_none() {
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
        let mut disk = self.begin(Call::Read)?;
        self.check_direct(&mut disk, offset, [(buf.as_ptr().addr(), buf.len())])?;
        let contents = &disk.files[self.file].cached;
        let start = usize::try_from(offset).unwrap_or(usize::MAX).min(contents.len());
        let end = (start + buf.len()).min(contents.len());
        buf[..end - start].copy_from_slice(&contents[start..end]);
        Ok(end - start)
    }

    fn write_at(&self, bufs: &[IoSlice<'_>], offset: u64) -> io::Result<usize> {
        let mut disk = self.disk.lock();
        let error = disk.count(Call::Write);
        self.check(&disk)?;
        self.check_direct(&mut disk, offset, bufs.iter().map(|buf| (buf.as_ptr().addr(), buf.len())))?;
        let mut bytes: Vec<u8> = bufs.iter().flat_map(|buf| buf.iter().copied()).collect();
        match error {
            None => {}
            Some(0) => {
                let mut short = disk.random.below(bytes.len().max(1)).max(1);
                if self.is_direct {
                    short = short.next_multiple_of(SECTOR);
                }
                bytes.truncate(short);
            }
            Some(errno) => return Err(io::Error::from_raw_os_error(errno)),
        }
        let written = bytes.len();
        disk.files[self.file].change(FileChange::Write { offset: offset as usize, bytes });
        Ok(written)
    }

    fn size(&self) -> io::Result<u64> {
        let disk = self.disk.lock();
        self.check(&disk)?;
        Ok(disk.files[self.file].cached.len() as u64)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut disk = self.begin(Call::SetLen)?;
        disk.files[self.file].change(FileChange::SetLen(len as usize));
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        self.sync()
    }

    fn sync_all(&self) -> io::Result<()> {
        self.sync()
    }

    fn try_lock(&self) -> io::Result<bool> {
        let mut disk = self.disk.lock();
        self.check(&disk)?;
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
