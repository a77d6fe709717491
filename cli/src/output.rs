//! Where the answer of a command goes: standard output, or a file that is there whole or not at all.

use std::fmt::Display;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use anstream::{AutoStream, ColorChoice};
use anstyle::Style;
use serde::Serialize;
use tempfile::TempPath;

use crate::bytes;
use crate::failure::{Exit, Failure, Result};
use crate::interruption::{HalfDone, TakeBack};

const BUFFER: usize = 64 << 10;

/// Standard output, and whether JSON is wanted there.
pub struct Output {
    pub json: bool,
    /// Whether colours are wanted: on a terminal, and not if `NO_COLOR` is set.
    has_colours: bool,
    to: BufWriter<io::StdoutLock<'static>>,
}

impl Output {
    pub fn new(json: bool) -> Output {
        let has_colours = AutoStream::choice(&io::stdout()) != ColorChoice::Never;
        Output { json, has_colours, to: BufWriter::with_capacity(BUFFER, io::stdout().lock()) }
    }

    /// Prints a line.
    pub fn line(&mut self, line: impl Display) -> Result<()> {
        writeln!(self.to, "{line}").map_err(failed)
    }

    /// Prints a line in a colour, where colours are wanted.
    pub fn coloured_line(&mut self, style: Style, line: &str) -> Result<()> {
        match self.has_colours {
            true => self.line(format_args!("{style}{line}{style:#}")),
            false => self.line(line),
        }
    }

    /// Prints bytes as they are.
    pub fn bytes(&mut self, bytes: &[u8]) -> Result<()> {
        self.to.write_all(bytes).map_err(failed)
    }

    /// Prints a document on a line.
    pub fn document(&mut self, document: &impl Serialize) -> Result<()> {
        write_json(&mut self.to, document).map_err(failed)
    }

    /// Prints what there is to say as a document or as text.
    pub fn facts(&mut self, facts: &(impl Serialize + Facts)) -> Result<()> {
        if self.json {
            return self.document(facts);
        }
        let lines = facts.lines();
        let width = lines.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
        lines.iter().try_for_each(|(name, value)| self.line(format_args!("{name:width$}  {value}")))
    }

    /// Makes sure that what was printed has arrived.
    pub fn flush(&mut self) -> Result<()> {
        self.to.flush().map_err(failed)
    }
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.to.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

/// What can be told in lines of a name and a value.
pub trait Facts {
    fn lines(&self) -> Vec<(&'static str, String)>;
}

/// Writes a document and a line end.
pub fn write_json(to: &mut impl Write, document: &impl Serialize) -> io::Result<()> {
    serde_json::to_writer(&mut *to, document)?;
    to.write_all(b"\n")
}

/// What was printed could not be written.
pub fn failed(cause: io::Error) -> Failure {
    Failure::print(&cause)
}

/// A file that is being written. It has its name only when all of it is on the disk; before, and if that fails or a signal
/// ends the tool, the name stays what it was.
pub enum NewFile {
    /// Will take the name.
    Replacement { file: BufWriter<File>, unfinished: TempPath, path: PathBuf, half_done: HalfDone },
    /// A device or a pipe, which cannot be replaced.
    Special { file: BufWriter<File>, path: PathBuf },
}

impl NewFile {
    /// A file for what was in `store`, none of whose own files it may take the place of.
    pub fn create(path: &Path, store: &Path) -> Result<NewFile> {
        check_is_outside(path, store)?;
        if path.is_dir() {
            return Err(Failure::new(Exit::NoOutput, format!("{} is a directory", path.display())));
        }
        if path.metadata().is_ok_and(|metadata| !metadata.is_file()) {
            let file = File::options().write(true).open(path).map_err(|cause| Failure::io("open", path, &cause))?;
            return Ok(NewFile::Special { file: BufWriter::with_capacity(BUFFER, file), path: path.to_owned() });
        }
        let mut name = path.file_name().unwrap_or_default().to_owned();
        name.push(".");
        let mut builder = tempfile::Builder::new();
        let builder = builder.prefix(&name).suffix(".tmp");
        let create = || builder.make_in(parent(path), |path| File::create_new(path));
        let (file, half_done) = HalfDone::begin(create, |file| take_back(file.path(), path))
            .map_err(|cause| Failure::io("create a file beside", path, &cause))?;
        let ((file, unfinished), path) = (file.into_parts(), path.to_owned());
        Ok(NewFile::Replacement { file: BufWriter::with_capacity(BUFFER, file), unfinished, path, half_done })
    }

    /// Gives the file its name, durably.
    pub fn finish(self) -> Result<()> {
        match self {
            NewFile::Special { mut file, path } => file.flush().map_err(|cause| Failure::io("write", &path, &cause)),
            NewFile::Replacement { file, unfinished, path, half_done } => {
                let failed = |cause: &io::Error| Failure::io("write", &path, cause);
                let file = file.into_inner().map_err(|cause| failed(cause.error()))?;
                file.sync_all().map_err(|cause| failed(&cause))?;
                half_done.finish(|| unfinished.persist(&path)).map_err(|cause| failed(&cause.error))?;
                sync_dir(parent(&path))
            }
        }
    }

    pub fn path(&self) -> &Path {
        match self {
            NewFile::Replacement { path, .. } | NewFile::Special { path, .. } => path,
        }
    }
}

impl Write for NewFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            NewFile::Replacement { file, .. } => file.write(bytes),
            NewFile::Special { file, .. } => file.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            NewFile::Replacement { file, .. } => file.flush(),
            NewFile::Special { file, .. } => file.flush(),
        }
    }
}

fn take_back(unfinished: &Path, path: &Path) -> TakeBack {
    let (unfinished, path) = (unfinished.to_owned(), path.to_owned());
    Box::new(move || {
        let nothing = format!("nothing was written to {}", path.display());
        match fs::remove_file(&unfinished) {
            Err(cause) if cause.kind() != io::ErrorKind::NotFound => {
                format!("{nothing}; remove {}: {cause}", unfinished.display())
            }
            _ => nothing,
        }
    })
}

/// An error if `path` would be one of the store's own files.
pub fn check_is_outside(path: &Path, store: &Path) -> Result<()> {
    let (within, store) = (parent(path).canonicalize(), store.canonicalize());
    match within.is_ok_and(|within| store.is_ok_and(|store| within.starts_with(store))) {
        true => Err(Failure::new(Exit::NoOutput, format!("{} would lie in the store itself", path.display()))),
        false => Ok(()),
    }
}

/// The directory that a path is in.
pub fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    }
}

/// Removes a directory in which another thread may just be making files.
pub fn remove_all(dir: &Path) -> io::Result<()> {
    const TRIES: u32 = 10;
    let is_gone = || fs::remove_dir_all(dir).is_ok() || !dir.exists();
    if (0..TRIES).any(|_| is_gone()) { Ok(()) } else { fs::remove_dir_all(dir) }
}

/// Makes the names in a directory durable.
pub fn sync_dir(dir: &Path) -> Result<()> {
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(|cause| Failure::io("fsync", dir, &cause))
}

/// A key or value in a document: as text if it is text, otherwise in Base64 under another name.
#[derive(Serialize)]
pub struct KeyDocument<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key_base64: Option<String>,
}

impl<'a> KeyDocument<'a> {
    pub fn new(key: &'a [u8]) -> KeyDocument<'a> {
        let (key, key_base64) = text_or_base64(key);
        KeyDocument { key, key_base64 }
    }
}

/// Bytes as text, or if they are none, in Base64.
pub fn text_or_base64(bytes: &[u8]) -> (Option<&str>, Option<String>) {
    match std::str::from_utf8(bytes) {
        Ok(text) => (Some(text), None),
        Err(_) => (None, Some(bytes::to_base64(bytes))),
    }
}

/// A number of things for people.
pub fn count(number: u64, one: &str, many: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { many })
}

/// A number of bytes for people.
pub fn size(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    let (mut number, mut unit) = (bytes as f64 / 1024.0, 0);
    if bytes < 1024 {
        return count(bytes, "byte", "bytes");
    }
    while number >= 1024.0 && unit + 1 < UNITS.len() {
        (number, unit) = (number / 1024.0, unit + 1);
    }
    format!("{bytes} bytes ({number:.1} {})", UNITS[unit])
}

/// A moment for people.
pub fn time(unix_ms: u64) -> String {
    const LAST: u64 = 253_402_300_799_999;
    match unix_ms <= LAST {
        true => humantime::format_rfc3339_millis(std::time::UNIX_EPOCH + std::time::Duration::from_millis(unix_ms))
            .to_string(),
        false => format!("{unix_ms} ms after 1970"),
    }
}
