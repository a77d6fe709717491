//! What a command ends with: an exit code, and if it failed, words about what, why, and what to do next.

use std::fmt::Display;
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use anstyle::{AnsiColor, Style};
use kvwal::{Error, ErrorKind};

/// The exit codes; [`EXIT_CODES`](crate::args::EXIT_CODES) explains them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    Done = 0,
    /// Not there; torn.
    No = 1,
    Damaged = 2,
    Refused = 3,
    Lagged = 4,
    Usage = 64,
    BadData = 65,
    Missing = 66,
    Bug = 70,
    NoOutput = 73,
    Io = 74,
    Locked = 75,
    NoPermission = 77,
    PipeClosed = 141,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(exit as u8)
    }
}

/// The result of a part of a command.
pub type Result<T> = std::result::Result<T, Failure>;

/// Why a command could not do what it was asked to do.
#[derive(Debug)]
pub struct Failure {
    pub exit: Exit,
    message: String,
    hint: Option<String>,
}

impl Failure {
    pub fn new(exit: Exit, message: impl Into<String>) -> Failure {
        Failure { exit, message: message.into(), hint: None }
    }

    /// Says what to do next.
    pub fn hint(mut self, hint: impl Into<String>) -> Failure {
        self.hint = Some(hint.into());
        self
    }

    /// Ends with another code.
    pub fn exit(mut self, exit: Exit) -> Failure {
        self.exit = exit;
        self
    }

    /// Puts more about where it happened before the words.
    pub fn within(mut self, place: impl Display) -> Failure {
        self.message = format!("{place}: {}", self.message);
        self
    }

    /// A failed system call on `path`.
    pub fn io(doing: &str, path: &Path, cause: &io::Error) -> Failure {
        let failure = Failure::new(exit_of(cause), format!("{doing} {}: {cause}", path.display()));
        if is_full(cause) { failure.hint(MAKE_ROOM) } else { failure }
    }

    /// Standard output that could not be written.
    pub fn print(cause: &io::Error) -> Failure {
        Failure::new(exit_of(cause), format!("write standard output: {cause}"))
    }

    /// Tells the user, unless it is only that nobody reads any more.
    pub fn report(&self, command: &str) {
        if self.exit == Exit::PipeClosed {
            return;
        }
        let red = Style::new().bold().fg_color(Some(AnsiColor::Red.into()));
        let mut to = anstream::stderr().lock();
        // If standard error is closed, the exit code must do.
        let _ = writeln!(to, "{red}kvwal:{red:#} {command}: {}", self.message);
        if let Some(hint) = &self.hint {
            let _ = writeln!(to, "  {hint}");
        }
    }
}

const MAKE_ROOM: &str = "make room, and do it again";

fn is_full(cause: &io::Error) -> bool {
    matches!(cause.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge)
}

fn exit_of(cause: &io::Error) -> Exit {
    match cause.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => Exit::Missing,
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => Exit::NoPermission,
        _ if is_full(cause) => Exit::NoOutput,
        io::ErrorKind::AlreadyExists | io::ErrorKind::DirectoryNotEmpty => Exit::NoOutput,
        io::ErrorKind::BrokenPipe => Exit::PipeClosed,
        _ => Exit::Io,
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        let exit = match error.kind() {
            ErrorKind::Invalid => Exit::Usage,
            ErrorKind::Corrupt | ErrorKind::CrcMismatch | ErrorKind::Incomplete => Exit::BadData,
            ErrorKind::Version | ErrorKind::TooLarge => Exit::BadData,
            ErrorKind::NoSpace => Exit::NoOutput,
            ErrorKind::Locked => Exit::Locked,
            ErrorKind::Internal => Exit::Bug,
            _ => error.os_error().map_or(Exit::Io, |errno| exit_of(&io::Error::from_raw_os_error(errno))),
        };
        let failure = Failure::new(exit, error.to_string());
        match exit {
            Exit::Locked => failure.hint(
                "ask that process: kv_server, or whatever has the store open. \
                 Beside it work: verify, inspect, stat --offline, tail",
            ),
            _ if matches!(error.kind(), ErrorKind::TooLarge | ErrorKind::Version) => failure,
            Exit::BadData => failure.hint("kvwal verify STORE says what is wrong, kvwal repair STORE what can be kept"),
            Exit::NoOutput => failure.hint(MAKE_ROOM),
            Exit::Bug => failure.hint("please report this"),
            _ => failure,
        }
    }
}
