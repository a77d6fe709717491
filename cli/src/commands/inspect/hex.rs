//! Bytes with the names of their fields, as in `docs/format.md`.

use kvwal::format::{Op, Record};

use crate::bytes::excerpt;
use crate::failure::Result;
use crate::output::{self, Output};

const A_LINE: usize = 8;
/// More of a field is left out.
const MOST: usize = 64;

/// Prints fields one behind the other.
pub struct Fields<'o> {
    output: &'o mut Output,
    offset: u64,
}

impl<'o> Fields<'o> {
    pub fn new(output: &'o mut Output, offset: u64) -> Fields<'o> {
        Fields { output, offset }
    }

    /// Prints a field; `meaning` stands behind its name.
    pub fn field(&mut self, name: &str, bytes: &[u8], meaning: &str) -> Result<()> {
        let shown = &bytes[..bytes.len().min(MOST)];
        for (number, line) in shown.chunks(A_LINE).enumerate() {
            let (name, meaning) = if number == 0 { (name, meaning) } else { ("", "") };
            let hex: Vec<_> = line.iter().map(|byte| format!("{byte:02x}")).collect();
            let at = self.offset + (number * A_LINE) as u64;
            let text = format!("{at:04x}  {:<23}  {name:<11}  {meaning}", hex.join(" "));
            self.output.line(text.trim_end())?;
        }
        if shown.len() < bytes.len() {
            self.output.line(format_args!("      … {} bytes more", bytes.len() - shown.len()))?;
        }
        self.offset += bytes.len() as u64;
        Ok(())
    }

    /// Prints a big-endian integer.
    pub fn number(&mut self, name: &str, bytes: &[u8]) -> Result<()> {
        let number = bytes.iter().fold(0u64, |number, &byte| number << 8 | u64::from(byte));
        self.field(name, bytes, &number.to_string())
    }

    /// Prints a moment.
    pub fn time(&mut self, name: &str, bytes: &[u8; 8]) -> Result<()> {
        self.field(name, bytes, &output::time(u64::from_be_bytes(*bytes)))
    }

    /// Prints a key or value.
    pub fn content(&mut self, name: &str, bytes: &[u8]) -> Result<()> {
        self.field(name, bytes, &excerpt(bytes, MOST))
    }
}

/// Prints a record, and an empty line behind it.
pub fn record(offset: u64, bytes: &[u8], record: &Record<'_>, output: &mut Output) -> Result<()> {
    let mut fields = Fields::new(output, offset);
    fields.field("crc", &bytes[..4], "")?;
    fields.number("length", &bytes[4..8])?;
    fields.number("lsn", &bytes[8..16])?;
    fields.number("durable_lsn", &bytes[16..24])?;
    let op = if record.op == Op::Delete { "DELETE" } else { "PUT" };
    let expiring = if record.op == Op::PutExpiring { " with expiry" } else { "" };
    let more = if record.more { ", the batch goes on" } else { "" };
    fields.field("op", &bytes[24..25], &format!("{op}{expiring}{more}"))?;
    let mut at = 25;
    if record.op == Op::PutExpiring {
        fields.time("expires_at", &record.expires_at.to_be_bytes())?;
        at += 8;
    }
    fields.number("key_len", &bytes[at..at + 4])?;
    fields.content("key", record.key)?;
    at += 4 + record.key.len();
    fields.number("value_len", &bytes[at..at + 4])?;
    fields.content("value", record.value)?;
    output.line("")
}
