//! The formats of a dump, each an entry a line or row, so that both directions need memory for one entry only.
//!
//! Keys and values are any bytes, and what was dumped is what is loaded. So in NDJSON what is not UTF-8 stands in Base64 under
//! another name (`key_base64`), and CSV and TSV have a column `base64` that names the fields of a row that are. `expires_at`
//! is in Unix milliseconds, and missing or empty for a key that does not expire.

use std::io::{self, BufRead, Read, Write};
use std::path::Path;

use csv::{ByteRecord, ReaderBuilder, WriterBuilder};
use kvwal::format::{MAX_KEY_LEN, MAX_VALUE_LEN};
use serde::{Deserialize, Serialize};

use crate::args::Format;
use crate::bytes::from_base64;
use crate::failure::{Exit, Failure, Result};
use crate::output::{text_or_base64, write_json};

/// No line of a dump is longer: `\u0000` takes six bytes.
const MAX_LINE: u64 = 6 * (MAX_KEY_LEN + MAX_VALUE_LEN) as u64 + 1000;

const COLUMNS: [&str; 4] = ["key", "value", "expires_at", "base64"];

/// An entry as a JSON document.
#[derive(Serialize)]
pub struct EntryDocument<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key_base64: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    value_base64: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at: Option<u64>,
}

impl<'a> EntryDocument<'a> {
    /// `expires_at` is 0 for never.
    pub fn new(key: &'a [u8], value: &'a [u8], expires_at: u64) -> EntryDocument<'a> {
        let ((key, key_base64), (value, value_base64)) = (text_or_base64(key), text_or_base64(value));
        EntryDocument { key, key_base64, value, value_base64, expires_at: (expires_at != 0).then_some(expires_at) }
    }
}

/// The same, as it is read. A name that is not known is an error: it may be a misspelt `expires_at`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct EntryFields {
    key: Option<String>,
    key_base64: Option<String>,
    value: Option<String>,
    value_base64: Option<String>,
    expires_at: Option<u64>,
}

/// A key with its value; `expires_at` is 0 for never.
#[derive(Debug, Default, PartialEq)]
pub struct Entry {
    pub key: Vec<u8>,
    pub value: Vec<u8>,
    pub expires_at: u64,
}

/// The format that was asked for, or that the name of the file tells.
pub fn format(asked: Option<Format>, path: Option<&Path>) -> Format {
    let by_name = || match path?.extension()?.to_str()? {
        "csv" => Some(Format::Csv),
        "tsv" => Some(Format::Tsv),
        _ => None,
    };
    asked.or_else(by_name).unwrap_or(Format::Ndjson)
}

fn delimiter(format: Format) -> u8 {
    if format == Format::Tsv { b'\t' } else { b',' }
}

/// Writes entries.
pub enum EntryWriter<W: Write> {
    Ndjson(W),
    Rows(Box<csv::Writer<W>>),
}

impl<W: Write> EntryWriter<W> {
    pub fn new(format: Format, to: W) -> io::Result<EntryWriter<W>> {
        if format == Format::Ndjson {
            return Ok(EntryWriter::Ndjson(to));
        }
        let mut rows = WriterBuilder::new().delimiter(delimiter(format)).from_writer(to);
        rows.write_record(COLUMNS).map_err(cause)?;
        Ok(EntryWriter::Rows(Box::new(rows)))
    }

    pub fn write(&mut self, key: &[u8], value: &[u8], expires_at: u64) -> io::Result<()> {
        let entry = EntryDocument::new(key, value, expires_at);
        let rows = match self {
            EntryWriter::Ndjson(to) => return write_json(to, &entry),
            EntryWriter::Rows(rows) => rows,
        };
        let expires_at = entry.expires_at.map(|time| time.to_string()).unwrap_or_default();
        let encoded = match (&entry.key_base64, &entry.value_base64) {
            (None, None) => "",
            (Some(_), None) => "key",
            (None, Some(_)) => "value",
            (Some(_), Some(_)) => "key value",
        };
        let key = entry.key.or(entry.key_base64.as_deref()).unwrap_or_default();
        let value = entry.value.or(entry.value_base64.as_deref()).unwrap_or_default();
        rows.write_record([key, value, &expires_at, encoded]).map_err(cause)
    }

    pub fn into_inner(self) -> io::Result<W> {
        match self {
            EntryWriter::Ndjson(to) => Ok(to),
            EntryWriter::Rows(mut rows) => {
                rows.flush()?;
                rows.into_inner().map_err(|error| io::Error::from(error.error().kind()))
            }
        }
    }
}

/// Reads entries.
pub enum EntryReader<R> {
    Ndjson { from: R, line: Vec<u8>, number: u64 },
    Rows { rows: Box<csv::Reader<R>>, columns: Columns, row: ByteRecord },
}

/// Where the columns are; others there may be are not looked at.
pub struct Columns {
    key: usize,
    value: usize,
    expires_at: Option<usize>,
    base64: Option<usize>,
}

impl<R: BufRead> EntryReader<R> {
    pub fn new(format: Format, from: R) -> Result<EntryReader<R>> {
        if format == Format::Ndjson {
            return Ok(EntryReader::Ndjson { from, line: Vec::new(), number: 0 });
        }
        let mut rows = ReaderBuilder::new().delimiter(delimiter(format)).from_reader(from);
        let columns = Columns::find(rows.byte_headers().map_err(bad_row)?)?;
        Ok(EntryReader::Rows { rows: Box::new(rows), columns, row: ByteRecord::new() })
    }

    /// The next entry, if there is one.
    pub fn next(&mut self) -> Result<Option<Entry>> {
        match self {
            EntryReader::Ndjson { from, line, number } => read_line(from, line, number),
            EntryReader::Rows { rows, columns, row } => {
                if !rows.read_byte_record(row).map_err(bad_row)? {
                    return Ok(None);
                }
                let line = row.position().map_or(0, |position| position.line());
                columns.entry(row).map(Some).map_err(|why| bad_line(line, why))
            }
        }
    }
}

fn read_line(from: &mut impl BufRead, line: &mut Vec<u8>, number: &mut u64) -> Result<Option<Entry>> {
    loop {
        line.clear();
        *number += 1;
        let read = from.take(MAX_LINE).read_until(b'\n', line);
        match read.map_err(|cause| Failure::new(Exit::Io, format!("line {number}: {cause}")))? {
            0 => return Ok(None),
            got if got as u64 == MAX_LINE => return Err(bad_line(*number, "it is longer than any entry")),
            _ if line.trim_ascii().is_empty() => {}
            // Some editors begin a file with a byte order mark.
            _ => {
                return parse(line.strip_prefix("\u{feff}".as_bytes()).unwrap_or(line))
                    .map(Some)
                    .map_err(|why| bad_line(*number, why));
            }
        }
    }
}

fn parse(line: &[u8]) -> std::result::Result<Entry, String> {
    let fields: EntryFields = serde_json::from_slice(line).map_err(|cause| {
        // Its line is always the first; which one of the input it is, we say.
        cause.to_string().replace(" at line 1 column ", " at column ")
    })?;
    let bytes = |name: &str, text: Option<String>, base64: Option<String>| match (text, base64) {
        (Some(text), None) => Ok(text.into_bytes()),
        (None, Some(base64)) => from_base64(base64).map_err(|why| format!("{name}_base64 is {why}")),
        (None, None) => Err(format!("there is no {name} and no {name}_base64")),
        (Some(_), Some(_)) => Err(format!("there is a {name} and a {name}_base64")),
    };
    Ok(Entry {
        key: bytes("key", fields.key, fields.key_base64)?,
        value: bytes("value", fields.value, fields.value_base64)?,
        expires_at: fields.expires_at.unwrap_or(0),
    })
}

impl Columns {
    fn find(header: &ByteRecord) -> Result<Columns> {
        let find = |name: &str| header.iter().position(|column| column == name.as_bytes());
        let missing = |name| {
            let message = format!("line 1: the header names no column {name:?}");
            Failure::new(Exit::BadData, message).hint("the first line is to name the columns: key,value")
        };
        Ok(Columns {
            key: find("key").ok_or_else(|| missing("key"))?,
            value: find("value").ok_or_else(|| missing("value"))?,
            expires_at: find("expires_at"),
            base64: find("base64"),
        })
    }

    fn entry(&self, row: &ByteRecord) -> std::result::Result<Entry, String> {
        let column = |at: Option<usize>| at.map_or(&b""[..], |at| &row[at]);
        let (mut key_is_encoded, mut value_is_encoded) = (false, false);
        for name in column(self.base64).split(|&byte| byte == b' ').filter(|name| !name.is_empty()) {
            match name {
                b"key" => key_is_encoded = true,
                b"value" => value_is_encoded = true,
                _ => return Err("the column base64 may name key and value only".to_owned()),
            }
        }
        let bytes = |at, is_encoded| match is_encoded {
            true => from_base64(column(Some(at))),
            false => Ok(column(Some(at)).to_vec()),
        };
        let expires_at = match column(self.expires_at) {
            b"" => 0,
            time => std::str::from_utf8(time).ok().and_then(|time| time.parse().ok()).ok_or("expires_at is no time")?,
        };
        Ok(Entry { key: bytes(self.key, key_is_encoded)?, value: bytes(self.value, value_is_encoded)?, expires_at })
    }
}

fn bad_line(number: u64, why: impl std::fmt::Display) -> Failure {
    Failure::new(Exit::BadData, format!("line {number}: {why}"))
}

/// Why a row could not be written. The csv crate's own conversion would hide what kind of error it is.
fn cause(error: csv::Error) -> io::Error {
    match error.into_kind() {
        csv::ErrorKind::Io(cause) => cause,
        kind => io::Error::other(format!("{kind:?}")),
    }
}

/// The words of the csv crate say in which line.
fn bad_row(error: csv::Error) -> Failure {
    let exit = if error.is_io_error() { Exit::Io } else { Exit::BadData };
    Failure::new(exit, error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const FORMATS: [Format; 3] = [Format::Ndjson, Format::Csv, Format::Tsv];

    fn bytes() -> impl Strategy<Value = Vec<u8>> {
        let awkward = prop::sample::select(b"\",\t\r\n\\ \0a\xff".to_vec());
        prop_oneof![prop::collection::vec(any::<u8>(), 0..20), prop::collection::vec(awkward, 0..6)]
    }

    fn read(format: Format, text: &[u8]) -> Result<Vec<Entry>> {
        let mut reader = EntryReader::new(format, text)?;
        let mut entries = Vec::new();
        while let Some(entry) = reader.next()? {
            entries.push(entry);
        }
        Ok(entries)
    }

    proptest! {
        #[test]
        fn what_was_written_is_read(entries in prop::collection::vec((bytes(), bytes(), any::<u64>()), 0..8)) {
            for format in FORMATS {
                let mut writer = EntryWriter::new(format, Vec::new()).unwrap();
                for (key, value, expires_at) in &entries {
                    writer.write(key, value, *expires_at).unwrap();
                }
                let text = writer.into_inner().unwrap();
                prop_assert!(std::str::from_utf8(&text).is_ok());
                let expected: Vec<_> = entries
                    .iter()
                    .cloned()
                    .map(|(key, value, expires_at)| Entry { key, value, expires_at })
                    .collect();
                prop_assert_eq!(read(format, &text).unwrap(), expected);
            }
        }

        #[test]
        fn arbitrary_input_never_panics(text in prop::collection::vec(any::<u8>(), 0..200)) {
            for format in FORMATS {
                let _ = read(format, &text);
            }
        }
    }

    #[test]
    fn a_bad_line_is_named() {
        for (format, text, words) in [
            (Format::Ndjson, "{\"key\":\"a\",\"value\":\"b\"}\n{\"key\":\"a\"}\n", "line 2: there is no value"),
            (Format::Ndjson, "\n\nx\n", "line 3: expected value"),
            (Format::Ndjson, "{\"key\":\"a\",\"value\":\"b\",\"expire_at\":1}", "line 1: unknown field `expire_at`"),
            (Format::Ndjson, "{\"key\":\"a\",\"key_base64\":\"\",\"value\":\"\"}", "there is a key and a key_base64"),
            (Format::Ndjson, "{\"key\":\"a\",\"value_base64\":\"?\"}", "value_base64 is not Base64"),
            (Format::Csv, "key,valve\n", "no column \"value\""),
            (Format::Csv, "key,value\na\n", "line: 2"),
            (Format::Csv, "value,key,expires_at\n1,2,soon\n", "line 2: expires_at is no time"),
            (Format::Tsv, "key\tvalue\tbase64\na\tb\tvalue all\n", "line 2: the column base64"),
        ] {
            let failure = read(format, text.as_bytes()).unwrap_err();
            assert_eq!(failure.exit, Exit::BadData, "{text}");
            assert!(format!("{failure:?}").contains(&words.replace('"', "\\\"")), "{failure:?}");
        }
    }

    #[test]
    fn the_columns_of_any_table_will_do() {
        let expected = Entry { key: b"k".to_vec(), value: b"v".to_vec(), expires_at: 0 };
        assert_eq!(read(Format::Csv, b"id,value,key\n1,v,k\n").unwrap(), [expected]);
    }

    #[test]
    fn the_name_of_a_file_tells_its_format() {
        assert_eq!(format(None, Some(Path::new("a.tsv"))), Format::Tsv);
        assert_eq!(format(None, Some(Path::new("a.json"))), Format::Ndjson);
        assert_eq!(format(Some(Format::Csv), Some(Path::new("a.tsv"))), Format::Csv);
    }
}
