//! `inspect`: what is in a file, record by record, or byte by byte.
//!
//! Unlike recovery it goes on behind what is bad: at the next place where a record is valid. What it shows there is not what
//! a store would be made of, which `verify` says, but what an operator can still find.

mod checkpoint;
mod hex;
mod walk;

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;

use kvwal::format::{Op, Record};
use serde::Serialize;

use super::records::EntryDocument;
use crate::args;
use crate::bytes::{escape, excerpt};
use crate::failure::{Exit, Failure, Result};
use crate::output::{self, KeyDocument, Output};

pub use walk::{Piece, Walk};

/// More of a key or value does not help on a line.
const MOST_ON_LINE: usize = 60;

pub fn inspect(args: &args::Inspect, output: &mut Output) -> Result<Exit> {
    let file = File::open(&args.file).map_err(|cause| Failure::io("open", &args.file, &cause))?;
    let failed = |cause: io::Error| Failure::io("read", &args.file, &cause);
    if file.metadata().map_err(failed)?.is_dir() {
        let message = format!("{} is a directory", args.file.display());
        return Err(
            Failure::new(Exit::Missing, message).hint("for a file in it, as wal.log; for a store: kvwal verify STORE")
        );
    }
    let mut magic = Vec::new();
    (&file).take(checkpoint::MAGIC.len() as u64).read_to_end(&mut magic).map_err(failed)?;
    if magic == checkpoint::MAGIC {
        if args.from != 0 {
            return Err(Failure::new(Exit::Usage, "--from is for logs; a checkpoint has its records in no order"));
        }
        return checkpoint::inspect(&file, &args.file, args.hex, output);
    }
    let mut walk = Walk::new(&file, 0).map_err(failed)?;
    let mut shown = Shown { from: args.from, hex: args.hex, expected: None, is_good: true };
    shown.begin(output)?;
    while let Some(piece) = walk.next().map_err(failed)? {
        shown.piece(&piece, output)?;
    }
    Ok(if shown.is_good { Exit::Done } else { Exit::No })
}

/// A record as a document, with its place in the file.
#[derive(Serialize)]
struct PlacedDocument<'a> {
    offset: u64,
    length: usize,
    #[serde(flatten)]
    record: RecordDocument<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expected_lsn: Option<u64>,
}

/// A record as a document.
#[derive(Serialize)]
pub struct RecordDocument<'a> {
    lsn: u64,
    durable_lsn: u64,
    op: &'static str,
    /// The next record belongs to the same batch.
    more: bool,
    #[serde(flatten)]
    entry: Content<'a>,
}

impl<'a> RecordDocument<'a> {
    pub fn new(record: &Record<'a>) -> RecordDocument<'a> {
        let entry = match record.op {
            Op::Delete => Content::Deleted(KeyDocument::new(record.key)),
            _ => Content::Set(EntryDocument::new(record.key, record.value, record.expires_at)),
        };
        let &Record { lsn, durable_lsn, more, .. } = record;
        RecordDocument { lsn, durable_lsn, op: op_name(record.op), more, entry }
    }
}

#[derive(Serialize)]
#[serde(untagged)]
enum Content<'a> {
    Set(EntryDocument<'a>),
    Deleted(KeyDocument<'a>),
}

/// Something that is no record.
#[derive(Serialize)]
struct OtherDocument<'a> {
    offset: u64,
    length: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    bad: Option<&'a str>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    zeros: bool,
}

/// What was shown, and how the rest is to be.
struct Shown {
    from: u64,
    hex: bool,
    /// The LSN that should come next.
    expected: Option<u64>,
    is_good: bool,
}

impl Shown {
    fn begin(&self, output: &mut Output) -> Result<()> {
        match output.json || self.hex {
            true => Ok(()),
            false => output.line(format_args!("{:>10}  {:>8}  {:>8}  op", "offset", "lsn", "durable")),
        }
    }

    fn piece(&mut self, piece: &Piece, output: &mut Output) -> Result<()> {
        match piece {
            Piece::Record { offset, bytes } => {
                let record = kvwal::format::decode_checked(bytes).expect("the walk has verified it");
                let unexpected = self.expected.filter(|&lsn| lsn != record.lsn);
                self.expected = record.lsn.checked_add(1);
                self.is_good &= unexpected.is_none();
                match record.lsn >= self.from {
                    true => self.record(*offset, bytes, &record, unexpected, output),
                    false => Ok(()),
                }
            }
            Piece::Bad { offset, length, reason } => {
                self.is_good = false;
                self.other(*offset, *length, Some(reason), output)
            }
            Piece::Zeros { offset, length } => self.other(*offset, *length, None, output),
        }
    }

    fn record(
        &self,
        offset: u64,
        bytes: &[u8],
        record: &Record<'_>,
        expected_lsn: Option<u64>,
        output: &mut Output,
    ) -> Result<()> {
        if output.json {
            let (length, record) = (bytes.len(), RecordDocument::new(record));
            return output.document(&PlacedDocument { offset, length, record, expected_lsn });
        }
        if let Some(expected) = expected_lsn {
            output.line(format_args!("{:>10}  expected LSN {expected} here", ""))?;
        }
        match self.hex {
            true => hex::record(offset, bytes, record, output),
            false => output.line(format_args!("{offset:>10}  {}", line(record))),
        }
    }

    fn other(&self, offset: u64, length: u64, bad: Option<&str>, output: &mut Output) -> Result<()> {
        if output.json {
            return output.document(&OtherDocument { offset, length, bad, zeros: bad.is_none() });
        }
        match bad {
            Some(reason) => output.line(format_args!(
                "{offset:>10}  bad, {}: {}",
                output::count(length, "byte", "bytes"),
                escape(reason.as_bytes())
            )),
            None => output
                .line(format_args!("{offset:>10}  zeros up to the end, {}", output::count(length, "byte", "bytes"))),
        }
    }
}

fn op_name(op: Op) -> &'static str {
    match op {
        Op::Put => "put",
        Op::Delete => "delete",
        Op::PutExpiring => "put_expiring",
    }
}

/// A record as a line of text. The plus sign says that the next record belongs to the same batch.
pub fn line(record: &Record<'_>) -> String {
    let more = if record.more { "+" } else { "" };
    let key = excerpt(record.key, MOST_ON_LINE);
    let value = excerpt(record.value, MOST_ON_LINE);
    let (op, content) = match record.op {
        Op::Delete => ("DELETE", key),
        Op::Put => ("PUT", format!("{key} = {value}")),
        Op::PutExpiring => ("PUT", format!("{key} = {value}, until {}", output::time(record.expires_at))),
    };
    format!("{:>8}  {:>8}  {:<8}  {content}", record.lsn, record.durable_lsn, format!("{op}{more}"))
}

/// Reads at `offset` until `buffer` is full or the file ends; returns how much it read.
fn read_at(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut done = 0;
    while done < buffer.len() {
        match file.read_at(&mut buffer[done..], offset + done as u64) {
            Ok(0) => break,
            Ok(read) => done += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(done)
}
