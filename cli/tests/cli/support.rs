//! Running the tool in a directory of its own.

use std::ffi::OsStr;
use std::fs;
use std::io::Write;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use kvwal::{Options, Size, Store};
use serde_json::Value;

pub const KVWAL: &str = env!("CARGO_BIN_EXE_kvwal");

/// For `env`, before the tool: where the tests run in the background, a shell may have them ignore SIGINT.
pub const RESET: &str = "--default-signal";

/// A directory that is removed in the end.
pub struct Place(tempfile::TempDir);

/// What a run of the tool came to.
#[derive(Debug)]
pub struct Ran {
    pub code: i32,
    pub out: Vec<u8>,
    pub err: String,
}

impl Place {
    pub fn new() -> Place {
        Place(tempfile::tempdir().unwrap())
    }

    /// With a store `s` in it that holds these keys and values.
    pub fn with_store(entries: &[(&str, &str)]) -> Place {
        let place = Place::new();
        let store = place.open();
        for (key, value) in entries {
            store.set(key.as_bytes(), value.as_bytes()).unwrap();
        }
        store.close().unwrap();
        place
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub fn open(&self) -> Store {
        self.open_as("s")
    }

    pub fn open_as(&self, name: &str) -> Store {
        let options = Options { checkpoint_wal_bytes: Size::Never, ..Options::default() };
        Store::open(self.path(name), &options).unwrap()
    }

    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        command.current_dir(self.0.path()).env_remove("NO_COLOR").stdin(Stdio::null());
        command
    }

    pub fn run(&self, arguments: &[impl AsRef<OsStr>]) -> Ran {
        ran(start(self.command(KVWAL).args(arguments)))
    }

    /// Runs it with standard output going there.
    pub fn run_into(&self, arguments: &[&str], output: impl Into<Stdio>) -> Ran {
        ran(self.command(KVWAL).args(arguments).stdout(output).stderr(Stdio::piped()).spawn().unwrap())
    }

    pub fn run_with(&self, arguments: &[&str], input: &[u8]) -> Ran {
        let mut command = self.command(KVWAL);
        let mut child = start(command.args(arguments).stdin(Stdio::piped()));
        // It may end without reading all of it.
        let _ = child.stdin.take().unwrap().write_all(input);
        ran(child)
    }

    /// Runs a script in which `$KVWAL` is the tool.
    pub fn sh(&self, script: &str) -> Ran {
        ran(start(self.command("bash").args(["-c", script]).env("KVWAL", KVWAL)))
    }

    /// The names in the directory.
    pub fn names(&self) -> Vec<String> {
        names(self.0.path())
    }
}

impl Ran {
    /// It did what was asked for, and complained of nothing.
    #[track_caller]
    pub fn done(self) -> Ran {
        assert!(self.code == 0 && self.err.is_empty(), "{self:?}");
        self
    }

    /// It ended with this code.
    #[track_caller]
    pub fn code(self, code: i32) -> Ran {
        assert_eq!(self.code, code, "{self:?}");
        self
    }

    /// It ended with this code, and these words are in what it complains of.
    #[track_caller]
    pub fn failed(self, code: i32, words: &str) -> Ran {
        assert!(self.code == code && self.err.contains(words), "{code}, {words:?}: {self:?}");
        self
    }

    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.out).expect("it is text")
    }

    /// The document that it printed.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.out).unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }

    /// The documents that it printed, one a line.
    pub fn documents(&self) -> Vec<Value> {
        self.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

/// Starts it, with its output going to us.
pub fn start(command: &mut Command) -> Child {
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

/// Waits for its end. What a signal has ended gets the code that a shell gives it.
pub fn ran(child: Child) -> Ran {
    let output = child.wait_with_output().unwrap();
    let code = output.status.code().or(output.status.signal().map(|signal| 128 + signal)).unwrap();
    Ran { code, out: output.stdout, err: String::from_utf8(output.stderr).unwrap() }
}

pub fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// A file, its content, and the time of its last change.
pub type File = (PathBuf, Vec<u8>, std::time::SystemTime);

/// Every file below a directory.
pub fn snapshot(dir: &Path) -> Vec<File> {
    let mut files = Vec::new();
    for name in names(dir) {
        let path = dir.join(name);
        match path.is_dir() {
            true => files.extend(snapshot(&path)),
            false => {
                let changed = path.metadata().unwrap().modified().unwrap();
                files.push((path.clone(), fs::read(&path).unwrap(), changed));
            }
        }
    }
    files
}

/// Changes a byte of a file.
pub fn flip(path: &Path, at: usize) {
    let mut bytes = fs::read(path).unwrap();
    bytes[at] ^= 0x55;
    fs::write(path, bytes).unwrap();
}

/// Cuts bytes off the end of a file.
pub fn shorten(path: &Path, by: usize) {
    let mut bytes = fs::read(path).unwrap();
    bytes.truncate(bytes.len() - by);
    fs::write(path, bytes).unwrap();
}
