//! What can go wrong, as a kind for programs and as words for people.

use std::fmt;
use std::io;
use std::path::Path;

/// The result of a call of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// What kind of failure an [`Error`] is. The numbers are the result codes of the C interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
#[repr(i32)]
pub enum ErrorKind {
    /// An argument is wrong; nothing happened.
    Invalid = -1,
    /// A key or value is too long; nothing happened.
    TooLarge = -2,
    /// Out of memory; nothing happened.
    NoMemory = -3,
    /// The operating system refused or failed a file operation.
    Io = -4,
    /// Disk, quota or file-size limit are full; the file was rolled back.
    NoSpace = -5,
    /// The store is open elsewhere.
    Locked = -6,
    /// The files are damaged, incomplete, or not a store.
    Corrupt = -7,
    /// A record's checksum does not match its bytes.
    CrcMismatch = -8,
    /// The bytes end before the record does.
    Incomplete = -9,
    /// A sync failed on this handle; it takes no more writes.
    Failed = -10,
    /// Written by, or compiled for, a newer version.
    Version = -11,
    /// The handle belongs to the parent process.
    Forked = -12,
    /// The caller's buffer is too small.
    Buffer = -13,
    /// A bug in this crate, or in the work of a transaction: it panicked.
    Internal = -14,
}

/// A failure: its kind, and what failed, where, and why, in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error(Box<Failure>);

/// Boxed, for errors are rare, and every result has room for one.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Failure {
    kind: ErrorKind,
    message: String,
    errno: Option<i32>,
    /// Where in a checkpoint the damage is.
    offset: Option<u64>,
}

impl Error {
    /// A failure of `kind`, described by `message`.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Error {
        Error(Box::new(Failure { kind, message: message.into(), errno: None, offset: None }))
    }

    /// The failure of a system call; `doing` says which, on what file, and where in it.
    pub fn io(doing: impl fmt::Display, cause: &io::Error) -> Error {
        let kind = match cause.raw_os_error() {
            Some(libc::ENOSPC | libc::EDQUOT | libc::EFBIG) => ErrorKind::NoSpace,
            Some(libc::ENOMEM) => ErrorKind::NoMemory,
            _ => ErrorKind::Io,
        };
        let mut error = Error::new(kind, format!("{doing}: {cause}"));
        error.0.errno = cause.raw_os_error();
        error
    }

    /// The failure of a system call on a file or directory.
    pub(crate) fn file(call: &str, path: &Path, cause: &io::Error) -> Error {
        Error::io(format_args!("{call} {}", path.display()), cause)
    }

    /// A file that is not what it should be.
    pub(crate) fn corrupt(message: impl Into<String>) -> Error {
        Error::new(ErrorKind::Corrupt, message)
    }

    /// The same, with the place of the damage in a checkpoint.
    pub(crate) fn at_offset(mut self, offset: u64) -> Error {
        self.0.offset = Some(offset);
        self
    }

    /// Where in a checkpoint the damage is, if that is what went wrong.
    pub(crate) fn offset(&self) -> Option<u64> {
        self.0.offset
    }

    /// No memory for `bytes` bytes.
    pub(crate) fn no_memory(bytes: usize) -> Error {
        Error::new(ErrorKind::NoMemory, format!("no memory for {bytes} bytes"))
    }

    /// The kind of failure.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// What the system call that failed left in `errno`, if it was one.
    pub fn os_error(&self) -> Option<i32> {
        self.0.errno
    }

    /// The same failure under another kind.
    pub(crate) fn with_kind(&self, kind: ErrorKind) -> Error {
        Error(Box::new(Failure { kind, ..(*self.0).clone() }))
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)
    }
}

impl std::error::Error for Error {}
