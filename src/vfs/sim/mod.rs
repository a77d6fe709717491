//! A disk in memory that loses power, tears writes and fails calls, all decided by a seed. For tests.
//!
//! # The model
//!
//! Every file has its contents as the page cache has them, its contents as the disk has them, and the list of changes
//! in between; so has every directory. Syncing moves the list to the disk. At a [crash](SimDisk::crash) what was not
//! synced is decided sector by sector: each 512-byte sector of a file, and the file's length, is as it was after some
//! prefix of the changes, each prefix chosen for itself; of the changes of a directory any subset has happened. A sync
//! that fails leaves the page cache as it was and calls it clean, while the disk got an arbitrary part: a later sync
//! succeeds and changes nothing, and any later read may find that the page cache has let go of it. Only those who have the same file open by other descriptions fail once, too.
//!
//! Past the page cache a file is read and written as it is through it, as long as offsets, lengths and buffers are
//! aligned, and nothing of it is durable sooner; [`set_direct`](SimDisk::set_direct) makes a disk that cannot do it.
//!
//! [`fail`](SimDisk::fail) makes calls fail, [`power_off_at`](SimDisk::power_off_at) makes the world end at one, and
//! [`keep_moments`](SimDisk::keep_moments) has one run give as many crashes as it makes calls.
//!
//! [`state`] is what a disk holds, [`calls`] how it is used, [`fault`] how that fails.

mod calls;
mod fault;
mod random;
mod state;

use std::ffi::OsStr;
use std::io;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

pub use self::fault::{Call, Direct, Fault};
pub use self::random::Random;

use self::fault::Faults;
use self::state::{DirData, FileChange, FileData, Node};
use crate::sys::sync::{Mutex, MutexGuard};

/// A disk, shared by all who clone it.
#[derive(Clone)]
pub struct SimDisk {
    state: Arc<Mutex<Disk>>,
}

/// A disk as it was at some moment: right before a call, if it was [kept](SimDisk::keep_moments).
pub struct Moment {
    /// How many calls there had been.
    pub calls: u64,
    disk: Disk,
    /// What the call was about to do to a file.
    under_way: Option<(usize, FileChange)>,
}

struct Disk {
    random: Random,
    files: Vec<FileData>,
    dirs: Vec<DirData>,
    /// Of the handles that are good: a crash makes those before it useless.
    generation: u64,
    faults: Faults,
    now_ms: u64,
    moments: Moments,
}

/// The moments that are to be kept, and those that were.
#[derive(Default)]
struct Moments {
    /// How many of 1024 calls.
    share: usize,
    random: Option<Random>,
    kept: Vec<Moment>,
}

impl SimDisk {
    /// An empty disk with a root directory.
    pub fn new(seed: u64) -> SimDisk {
        SimDisk::of(Disk {
            random: Random::new(seed),
            files: Vec::new(),
            dirs: vec![DirData::default()],
            generation: 0,
            faults: Faults::default(),
            now_ms: 1_800_000_000_000,
            moments: Moments::default(),
        })
    }

    fn of(disk: Disk) -> SimDisk {
        SimDisk { state: Arc::new(Mutex::new(disk)) }
    }

    /// Loses power and comes back: handles are void, and what was not synced has happened in part.
    pub fn crash(&self, seed: u64) {
        let mut disk = self.lock();
        let disk = &mut *disk;
        disk.random = Random::new(seed);
        disk.generation += 1;
        disk.faults.end();
        disk.files.iter_mut().for_each(|file| file.lose_power(&mut disk.random));
        disk.dirs.iter_mut().for_each(|dir| dir.lose_power(&mut disk.random));
    }

    /// The process dies and the system goes on: handles are void, everything else is as it was.
    pub fn kill(&self) {
        let mut disk = self.lock();
        disk.generation += 1;
        disk.faults.end();
        disk.files.iter_mut().for_each(|file| file.is_locked = false);
    }

    /// A disk of its own in the same state, with nobody using it.
    pub fn fork(&self) -> SimDisk {
        SimDisk::of(self.lock().fork())
    }

    /// How many calls there were.
    pub fn calls(&self) -> u64 {
        self.lock().faults.calls
    }

    /// From the call of this number on, counted from now, every call fails and does nothing.
    pub fn power_off_at(&self, call: u64) {
        let faults = &mut self.lock().faults;
        faults.off_at = Some(faults.calls + call);
    }

    /// Makes calls fail.
    pub fn fail(&self, fault: Fault) {
        let faults = &mut self.lock().faults;
        (faults.fault, faults.struck) = (Some(fault), false);
    }

    /// Ends the fault; true if it had struck.
    pub fn heal(&self) -> bool {
        let faults = &mut self.lock().faults;
        faults.fault = None;
        std::mem::take(&mut faults.struck)
    }

    /// Makes the disk one that can do more or less past the page cache.
    pub fn set_direct(&self, direct: Direct) {
        self.lock().faults.direct = direct;
    }

    /// From now on keeps the disk as it is right before a call, for `share` of 1024 calls that `seed` chooses.
    pub fn keep_moments(&self, share: usize, seed: u64) {
        self.lock().moments = Moments { share, random: Some(Random::new(seed)), kept: Vec::new() };
    }

    /// Keeps no more; returns what was kept.
    pub fn take_moments(&self) -> Vec<Moment> {
        std::mem::take(&mut self.lock().moments).kept
    }

    /// The disk as it is now.
    pub fn moment(&self) -> Moment {
        let disk = self.lock();
        Moment { calls: disk.faults.calls, disk: disk.fork(), under_way: None }
    }

    /// The system clock.
    pub fn now_ms(&self) -> u64 {
        self.lock().now_ms
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
        let file = &mut disk.files[file];
        let made_as = std::mem::take(&mut file.made_as);
        *file = FileData { cached: contents.to_vec(), durable: contents.to_vec(), made_as, ..FileData::default() };
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

    /// The contents of all files that were created by one of these names, also of those that have no name any more,
    /// unless that was [forgotten](Self::forget_nameless).
    pub fn made_as(&self, names: &[&str]) -> Vec<Vec<u8>> {
        self.lock().made_as(names)
    }

    /// Forgets what is in files that have no name any more, and cannot get one back by a crash.
    pub fn forget_nameless(&self) {
        self.lock().forget_nameless();
    }

    fn lock(&self) -> MutexGuard<'_, Disk> {
        self.state.lock()
    }

    /// Counts a call, and fails it if it is to fail.
    fn begin(&self, call: Call) -> io::Result<MutexGuard<'_, Disk>> {
        let mut disk = self.lock();
        match disk.count(call, None) {
            Some(0) | None => Ok(disk),
            Some(errno) => Err(io::Error::from_raw_os_error(errno)),
        }
    }
}

impl Moment {
    /// As [`SimDisk::made_as`].
    pub fn made_as(&self, names: &[&str]) -> Vec<Vec<u8>> {
        self.disk.made_as(names)
    }

    /// The disk if the power failed then, or, as often, in the middle of the call.
    pub fn crashed(&self, seed: u64) -> SimDisk {
        let mut disk = self.disk.fork();
        if seed.is_multiple_of(2)
            && let Some((file, change)) = &self.under_way
        {
            disk.files[*file].change(change.clone());
        }
        let disk = SimDisk::of(disk);
        disk.crash(seed);
        disk
    }

    /// The disk if the process died then. Of a write that was under way any first part may have been done.
    pub fn killed(&self, seed: u64) -> SimDisk {
        let mut disk = self.disk.fork();
        if let Some((file, change)) = &self.under_way {
            let mut change = change.clone();
            change.shorten(Random::new(seed).below(change.written() + 1));
            disk.files[*file].change(change);
        }
        let disk = SimDisk::of(disk);
        disk.kill();
        disk
    }
}

impl Disk {
    fn fork(&self) -> Disk {
        Disk {
            random: self.random.clone(),
            files: self.files.iter().map(|file| FileData { is_locked: false, ..file.clone() }).collect(),
            dirs: self.dirs.clone(),
            generation: self.generation,
            faults: Faults { direct: self.faults.direct, ..Faults::default() },
            now_ms: self.now_ms,
            moments: Moments::default(),
        }
    }

    /// Counts a call that changes a file in this way, if it does; the error that it is to fail with.
    fn count(&mut self, call: Call, under_way: Option<(usize, &FileChange)>) -> Option<i32> {
        let share = self.moments.share;
        if self.moments.random.as_mut().is_some_and(|random| random.below(1024) < share) {
            let under_way = under_way.map(|(file, change)| (file, change.clone()));
            let moment = Moment { calls: self.faults.calls, disk: self.fork(), under_way };
            self.moments.kept.push(moment);
        }
        self.faults.count(call)
    }

    fn made_as(&self, names: &[&str]) -> Vec<Vec<u8>> {
        let files = self.files.iter().filter(|file| names.iter().any(|name| file.made_as == OsStr::new(name)));
        files.map(|file| file.cached.clone()).collect()
    }

    fn forget_nameless(&mut self) {
        let mut is_named = vec![false; self.files.len()];
        for node in self.dirs.iter().flat_map(DirData::nodes) {
            if let Node::File(file) = node {
                is_named[file] = true;
            }
        }
        for (file, is_named) in self.files.iter_mut().zip(is_named) {
            if !is_named {
                *file = FileData::default();
            }
        }
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
