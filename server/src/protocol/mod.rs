//! What goes over a connection: requests in, answers out. Pure functions of bytes; nothing here does I/O.
//!
//! A connection speaks one of two protocols, which its first byte decides: `*` begins an array of RESP, anything else a
//! line of text. The parsers ([`text`], [`resp`]) look at the bytes that have come so far and say what to do with those at
//! the front ([`Parsed`]); they keep their place in between, so that a large request that comes in small pieces is not
//! read again and again. Answers are written through [`Answer`].
//!
//! What a client sends never costs more memory than the [`Limits`]. A request beyond them is *refused*: it gets an error, its
//! bytes are dropped as they come, and the stream goes on behind it.

pub mod answer;
pub mod args;
pub mod resp;
pub mod text;

use std::borrow::Cow;

pub use answer::{Answer, Protocol};
pub use args::{Args, OwnedArgs, Span};

/// What a request may be at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of a line of text, without its end.
    pub line: usize,
    /// Arguments of a request, the command's name included.
    pub args: usize,
    /// Bytes of one argument.
    pub arg: usize,
    /// Bytes of a whole request.
    pub request: usize,
}

impl Limits {
    /// For a client that may do everything.
    pub const FULL: Limits = Limits { line: 1 << 20, args: 1 << 20, arg: MAX_VALUE, request: MAX_VALUE + (1 << 20) };
    /// For a client that has not given the password yet.
    pub const BEFORE_AUTH: Limits = Limits { line: 4 << 10, args: 10, arg: 16 << 10, request: 64 << 10 };
}

/// Longest value that the server takes. (The library takes up to 1 GiB.)
pub const MAX_VALUE: usize = 64 << 20;
/// Longest key.
pub const MAX_KEY: usize = kvwal::format::MAX_KEY_LEN;

/// What the bytes at the front of the input are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Parsed {
    /// Not a whole request yet.
    More,
    /// This many bytes are done with, and nothing is to be answered.
    Skipped(usize),
    /// A request of this many bytes; its arguments have been noted.
    Request(usize),
    /// This many bytes are, or begin, a request that is refused. The stream goes on.
    Refused(usize, Refusal),
    /// Nobody can know where the next request begins.
    Broken(Refusal),
}

/// Why a request is not carried out: what the client is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The first word of a RESP error: what kind it is. `ERR` mostly.
    pub code: &'static str,
    /// The rest of it.
    pub reason: Cow<'static, str>,
}

impl Refusal {
    /// The usual kind.
    pub fn err(reason: impl Into<Cow<'static, str>>) -> Refusal {
        Refusal { code: "ERR", reason: reason.into() }
    }

    /// One of another kind.
    pub fn new(code: &'static str, reason: impl Into<Cow<'static, str>>) -> Refusal {
        Refusal { code, reason: reason.into() }
    }
}

impl From<kvwal::Error> for Refusal {
    fn from(error: kvwal::Error) -> Refusal {
        Refusal::err(error.to_string())
    }
}

/// A parser for a connection: which one, its first byte decides.
#[derive(Debug)]
pub enum Parser {
    /// Nothing has come yet.
    Undecided,
    /// Lines.
    Text(text::Parser),
    /// Arrays of bulk strings.
    Resp(resp::Parser),
}

impl Parser {
    /// Looks at the front of the input. Arguments of a request are noted in `spans`, as places in `input`.
    pub fn parse(&mut self, input: &[u8], spans: &mut Vec<Span>, limits: &Limits) -> Parsed {
        match self {
            Parser::Undecided => match input.first() {
                None => Parsed::More,
                Some(first) => {
                    *self = match first {
                        b'*' => Parser::Resp(resp::Parser::default()),
                        _ => Parser::Text(text::Parser::default()),
                    };
                    self.parse(input, spans, limits)
                }
            },
            Parser::Text(parser) => parser.parse(input, spans, limits),
            Parser::Resp(parser) => parser.parse(input, spans, limits),
        }
    }

    /// Has the rest of a request that has begun to come refused.
    pub fn refuse(&mut self, refusal: Refusal) {
        match self {
            Parser::Undecided => {}
            Parser::Text(parser) => parser.refuse(refusal),
            Parser::Resp(parser) => parser.refuse(refusal),
        }
    }

    /// Whether the connection speaks RESP.
    pub fn is_resp(&self) -> bool {
        matches!(self, Parser::Resp(_))
    }
}

/// A decimal integer as Redis takes it: no sign but `-`, no leading zeros, no spaces.
pub fn integer(digits: &[u8]) -> Option<i64> {
    let (is_negative, magnitude) = match digits {
        [b'-', rest @ ..] => (true, rest),
        rest => (false, rest),
    };
    match magnitude {
        [b'0'] if !is_negative => return Some(0),
        [b'1'..=b'9', ..] if magnitude.len() <= 19 => {}
        _ => return None,
    }
    magnitude
        .iter()
        .try_fold(0i64, |sum, digit| {
            let digit = i64::from(digit.checked_sub(b'0').filter(|digit| *digit <= 9)?);
            // Downwards, for there is one negative number more.
            sum.checked_mul(10)?.checked_sub(digit)
        })
        .and_then(|negative| if is_negative { Some(negative) } else { negative.checked_neg() })
}

#[cfg(test)]
mod tests;
