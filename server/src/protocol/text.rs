//! Requests as lines of text: words between spaces or tabs, ended by `\n` or `\r\n`.

use super::{Limits, Parsed, Refusal, Span};

/// How far a line has been read.
#[derive(Debug, Default)]
pub struct Parser {
    /// Bytes from the front of the input that have no end of line in them.
    at: usize,
    /// The line is too long, that has been said, and the rest of it is passed over.
    is_skipping: bool,
    /// Why the line that is coming is not to be taken, whatever it says.
    refusal: Option<Refusal>,
}

impl Parser {
    /// Looks at the front of the input, which begins where the last line ended, or at what was left of one that is passed over.
    pub fn parse(&mut self, input: &[u8], spans: &mut Vec<Span>, limits: &Limits) -> Parsed {
        spans.clear();
        let end = memchr::memchr(b'\n', &input[self.at..]).map(|found| self.at + found + 1);
        self.at = if end.is_some() || self.is_skipping { 0 } else { input.len() };
        match end {
            Some(end) if self.is_skipping => {
                self.is_skipping = false;
                Parsed::Skipped(end)
            }
            Some(end) => {
                self.refusal = None;
                match split(&input[..end], spans, limits) {
                    Ok(()) => Parsed::Request(end),
                    Err(refusal) => Parsed::Refused(end, refusal),
                }
            }
            None if self.is_skipping && !input.is_empty() => Parsed::Skipped(input.len()),
            // The end of a line that is not too long may be `\r\n`, of which only the first has come.
            None if input.len() > limits.line + 1 || (self.refusal.is_some() && !input.is_empty()) => {
                (self.is_skipping, self.at) = (true, 0);
                Parsed::Refused(input.len(), self.refusal.take().unwrap_or_else(|| too_long(limits)))
            }
            None => Parsed::More,
        }
    }

    /// Has the line that is coming refused, unless its end has come.
    pub fn refuse(&mut self, refusal: Refusal) {
        self.refusal = Some(refusal);
    }
}

/// Notes the words of a line.
fn split(line: &[u8], spans: &mut Vec<Span>, limits: &Limits) -> Result<(), Refusal> {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    if line.len() > limits.line {
        return Err(too_long(limits));
    }
    let mut start = None;
    for (at, byte) in line.iter().enumerate() {
        match byte {
            b' ' | b'\t' => spans.extend(start.take().map(|start| Span::new(start, at))),
            0..b' ' | 0x7f => return Err(Refusal::err("control character in line")),
            _ => start = start.or(Some(at)),
        }
    }
    spans.extend(start.map(|start| Span::new(start, line.len())));
    match spans.len() {
        0 => Err(Refusal::err("empty line")),
        words if words > limits.args => Err(Refusal::err("too many arguments")),
        _ => Ok(()),
    }
}

fn too_long(limits: &Limits) -> Refusal {
    Refusal::err(format!("line too long: at most {} bytes are taken", limits.line))
}
