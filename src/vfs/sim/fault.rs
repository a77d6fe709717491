//! Calls that fail.

/// What a call does, for those who want to make some of them fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    /// `Vfs::open`, `Vfs::open_direct` and `Vfs::enter`.
    Open,
    /// `Vfs::create_dir`.
    CreateDir,
    /// `Vfs::exists` and `Vfs::list`.
    Exists,
    /// `Vfs::rename`.
    Rename,
    /// `Vfs::link`.
    Link,
    /// `Vfs::remove` and `Vfs::remove_dir`.
    Remove,
    /// `Vfs::sync_dir`.
    SyncDir,
    /// `File::read_at`.
    Read,
    /// `File::write_at`.
    Write,
    /// `File::size`.
    Size,
    /// `File::set_len`.
    SetLen,
    /// `File::sync_data` and `File::sync_all`.
    Sync,
    /// `File::try_lock` and `File::is_locked`.
    Lock,
}

impl Call {
    /// All that a store makes, unless it has an archive.
    pub const ALL: [Call; 12] = [
        Call::Open,
        Call::CreateDir,
        Call::Exists,
        Call::Rename,
        Call::Remove,
        Call::SyncDir,
        Call::Read,
        Call::Write,
        Call::Size,
        Call::SetLen,
        Call::Sync,
        Call::Lock,
    ];
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
    /// With which error number. 0 makes a read or write short instead.
    pub errno: i32,
    /// Whether the first of them is a short read or write, before the errors begin.
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

impl Direct {
    /// Whether it works for this read or write.
    pub fn works_now(&mut self) -> bool {
        match self {
            Direct::Works => true,
            Direct::NotOffered | Direct::Refused | Direct::RefusedAfter(0) => false,
            Direct::RefusedAfter(left) => {
                *left -= 1;
                true
            }
        }
    }
}

/// Which calls of a disk fail.
#[derive(Clone, Default)]
pub struct Faults {
    pub calls: u64,
    pub off_at: Option<u64>,
    pub fault: Option<Fault>,
    /// Whether a fault struck since it was set.
    pub struck: bool,
    pub direct: Direct,
}

impl Faults {
    /// All calls succeed again.
    pub fn end(&mut self) {
        (self.off_at, self.fault) = (None, None);
    }

    /// Counts a call; the error that it is to fail with, 0 for a short count.
    pub fn count(&mut self, call: Call) -> Option<i32> {
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
}
