//! Requests in RESP: an array of bulk strings, `*2\r\n$3\r\nGET\r\n$3\r\nfoo\r\n`.
//!
//! Every length is announced. So a request that is too long can be passed over, with an error, and the stream goes on; only a
//! header that is no header breaks it.

use std::mem;

use super::{Limits, Parsed, Refusal, Span};

/// Longest header: a sign, and the digits of a length that nobody can mean.
const MAX_HEADER: usize = 32;
/// A request cannot have more arguments, nor an argument more bytes, even if all of it is passed over.
const MAX_ARGS: i64 = i32::MAX as i64;
const MAX_ARG: i64 = 1 << 40;

/// How far a request has been read.
#[derive(Debug, Default)]
pub struct Parser {
    /// Bytes from the front of the input that are done with.
    at: usize,
    /// Arguments that are still to come, once the array's header has been read.
    missing: Option<usize>,
    /// Bytes of the argument whose header has been read.
    arg: Option<usize>,
    /// Set when the request is passed over.
    refusal: Option<Refusal>,
}

impl Parser {
    /// Looks at the front of the input, which begins where the last request ended, or at what was left of one that is
    /// passed over.
    pub fn parse(&mut self, input: &[u8], spans: &mut Vec<Span>, limits: &Limits) -> Parsed {
        if self.at == 0 && self.missing.is_none() {
            spans.clear();
        }
        match self.advance(input, spans, limits) {
            Ok(true) => self.finish(),
            Ok(false) if self.refusal.is_some() && self.at > 0 => Parsed::Skipped(mem::take(&mut self.at)),
            Ok(false) => Parsed::More,
            Err(refusal) => Parsed::Broken(refusal),
        }
    }

    /// Has the rest of a request that has begun to come refused.
    pub fn refuse(&mut self, refusal: Refusal) {
        if self.missing.is_some() {
            self.refusal.get_or_insert(refusal);
        }
    }

    /// The whole request is there.
    fn finish(&mut self) -> Parsed {
        let Parser { at, missing, refusal, .. } = mem::take(self);
        match refusal {
            Some(refusal) => Parsed::Refused(at, refusal),
            // An array of nothing asks for nothing, and gets no answer, as with Redis.
            None if missing.is_none() => Parsed::Skipped(at),
            None => Parsed::Request(at),
        }
    }

    /// Reads on as far as the input goes; whether the request ends there.
    fn advance(&mut self, input: &[u8], spans: &mut Vec<Span>, limits: &Limits) -> Result<bool, Refusal> {
        if self.missing.is_none() && !self.begin(input, limits)? {
            return Ok(false);
        }
        while let Some(missing @ 1..) = self.missing {
            let Some(len) = self.arg_len(input, limits)? else { return Ok(false) };
            if self.refusal.is_some() {
                if !self.pass_over(input, len)? {
                    return Ok(false);
                }
            } else {
                let (start, end) = (self.at, self.at + len);
                if input.len() < end + 2 {
                    return Ok(false);
                }
                check_end(&input[end..end + 2])?;
                spans.push(Span::new(start, end));
                self.at = end + 2;
            }
            (self.arg, self.missing) = (None, Some(missing - 1));
        }
        Ok(true)
    }

    /// Reads the header of the array.
    fn begin(&mut self, input: &[u8], limits: &Limits) -> Result<bool, Refusal> {
        let Some((count, at)) = header(input, 0, b'*', "invalid multibulk length")? else { return Ok(false) };
        if count > MAX_ARGS {
            return Err(broken("invalid multibulk length"));
        }
        self.at = at;
        self.missing = usize::try_from(count).ok().filter(|count| *count > 0);
        if self.missing > Some(limits.args) {
            self.refuse(Refusal::err(format!("too many arguments: at most {} are taken", limits.args)));
        }
        Ok(true)
    }

    /// The length of the next argument.
    fn arg_len(&mut self, input: &[u8], limits: &Limits) -> Result<Option<usize>, Refusal> {
        if let Some(len) = self.arg {
            return Ok(Some(len));
        }
        let Some((len, at)) = header(input, self.at, b'$', "invalid bulk length")? else { return Ok(None) };
        let len = usize::try_from(len).ok().filter(|_| len <= MAX_ARG).ok_or_else(|| broken("invalid bulk length"))?;
        self.at = at;
        self.arg = Some(len);
        if len > limits.arg {
            self.refuse(Refusal::err(format!("argument too long: {len} bytes, at most {} are taken", limits.arg)));
        } else if at + len > limits.request {
            self.refuse(Refusal::err(format!("request too long: at most {} bytes are taken", limits.request)));
        }
        Ok(Some(len))
    }

    /// Passes over what has come of an argument of which `len` bytes were missing.
    fn pass_over(&mut self, input: &[u8], len: usize) -> Result<bool, Refusal> {
        let come = len.min(input.len() - self.at);
        self.at += come;
        self.arg = Some(len - come);
        match input.get(self.at..self.at + 2) {
            Some(end) if come == len => {
                check_end(end)?;
                self.at += 2;
                Ok(true)
            }
            _ => Ok(false),
        }
    }
}

/// Reads `KIND number \r\n` at `from`: the number, and where the header ends; `None` if it has not all come.
fn header(input: &[u8], from: usize, kind: u8, complaint: &'static str) -> Result<Option<(i64, usize)>, Refusal> {
    let input = &input[from..];
    match input.first() {
        None => return Ok(None),
        Some(&first) if first == kind => {}
        Some(first) => {
            let (kind, first) = (char::from(kind), first.escape_ascii());
            return Err(broken(format!("expected '{kind}', got '{first}'")));
        }
    }
    let window = &input[..input.len().min(MAX_HEADER)];
    match memchr::memchr(b'\r', window) {
        None if window.len() < MAX_HEADER => Ok(None),
        Some(at) if at + 1 == input.len() => Ok(None),
        Some(at) if input[at + 1] == b'\n' => {
            let number = super::integer(&input[1..at]).ok_or_else(|| broken(complaint))?;
            Ok(Some((number, from + at + 2)))
        }
        _ => Err(broken(complaint)),
    }
}

fn check_end(end: &[u8]) -> Result<(), Refusal> {
    if end == b"\r\n" { Ok(()) } else { Err(broken("expected CRLF behind an argument")) }
}

fn broken(complaint: impl std::fmt::Display) -> Refusal {
    Refusal::err(format!("Protocol error: {complaint}"))
}
