//! Answers: what a command writes for its client, in the client's protocol.

use std::fmt;
use std::io::Write;

use super::Refusal;

/// The language of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// Lines.
    Text,
    /// The second version of the Redis protocol, in which clients begin.
    Resp2,
    /// The third, which a client asks for by `HELLO 3`.
    Resp3,
}

/// What commands have done, to be added to the counters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Values looked up, found or not.
    pub gets: u64,
    /// Keys set.
    pub sets: u64,
    /// Keys deleted that were there.
    pub dels: u64,
    /// Requests that were answered by an error.
    pub errors: u64,
}

impl Tally {
    /// Adds another.
    pub fn add(&mut self, other: &Tally) {
        self.gets += other.gets;
        self.sets += other.sets;
        self.dels += other.dels;
        self.errors += other.errors;
    }
}

/// Takes down answers, up to a limit: a longer one is given up, and whoever asked for it says so.
#[derive(Debug)]
pub struct Answer {
    bytes: Vec<u8>,
    protocol: Protocol,
    /// How long `bytes` may become.
    limit: usize,
    /// Whether something was left out because of that.
    is_too_long: bool,
    /// What the commands have done.
    pub tally: Tally,
}

/// Where an answer begins, and what had been done until then.
#[derive(Clone, Copy, Debug)]
pub struct Mark(usize, Tally);

impl Answer {
    /// Answers are added to `bytes`; `limit` bytes at most.
    pub fn new(bytes: Vec<u8>, protocol: Protocol, limit: usize) -> Answer {
        let limit = bytes.len().saturating_add(limit);
        Answer { bytes, protocol, limit, is_too_long: false, tally: Tally::default() }
    }

    /// What has been taken down.
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    /// How many bytes that is.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether it is none.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// The client's language.
    pub fn protocol(&self) -> Protocol {
        self.protocol
    }

    /// From here on in another language.
    pub fn set_protocol(&mut self, protocol: Protocol) {
        self.protocol = protocol;
    }

    /// From here on, `limit` bytes more at most.
    pub fn set_limit(&mut self, limit: usize) {
        self.limit = self.bytes.len().saturating_add(limit);
    }

    /// The place where all began that is not a [`mark`](Self::mark): of an answer that began with no bytes.
    pub fn beginning(&self) -> Mark {
        Mark(0, Tally::default())
    }

    /// Remembers this place, for [`back_to`](Self::back_to).
    pub fn mark(&self) -> Mark {
        Mark(self.bytes.len(), self.tally)
    }

    /// Forgets what came behind the mark.
    pub fn back_to(&mut self, mark: Mark) {
        self.bytes.truncate(mark.0);
        self.tally = mark.1;
        self.is_too_long = false;
    }

    /// Forgets the bytes behind the mark, but not what was done: for a client that wants no answer.
    pub fn silence(&mut self, mark: Mark) {
        self.bytes.truncate(mark.0);
    }

    /// Whether something was left out, because the answer would have become longer than the limit.
    pub fn is_too_long(&self) -> bool {
        self.is_too_long
    }

    /// Puts a refusal, which always has room, in the place of whatever came behind the mark.
    pub fn refuse(&mut self, mark: Mark, refusal: &Refusal) {
        self.back_to(mark);
        self.tally.errors += 1;
        self.error(refusal);
    }

    /// `-ERR reason` or `ERROR reason`.
    fn error(&mut self, Refusal { code, reason }: &Refusal) {
        match (self.protocol, *code) {
            (Protocol::Text, _) => self.bytes.extend_from_slice(b"ERROR "),
            _ => self.bytes.extend_from_slice(format!("-{code} ").as_bytes()),
        }
        // Whatever the reason quotes: an error is one line.
        let printable = |byte: u8| if byte < b' ' || byte == 0x7f { b'?' } else { byte };
        self.bytes.extend(reason.bytes().map(printable));
        self.end_line();
    }

    /// `+OK` or `OK`, and other words.
    pub fn simple(&mut self, word: &str) {
        if self.protocol != Protocol::Text {
            self.put(b"+");
        }
        self.put(word.as_bytes());
        self.end_line();
    }

    /// That all went well.
    pub fn ok(&mut self) {
        self.simple("OK");
    }

    /// An integer.
    pub fn integer(&mut self, number: i64) {
        self.header(b':', number);
    }

    /// Bytes.
    pub fn bulk(&mut self, bytes: &[u8]) {
        if self.has_room(bytes.len() + 32) {
            self.header(b'$', bytes.len());
            self.bytes.extend_from_slice(bytes);
            self.end_line();
        }
    }

    /// Bytes that are words for people, to be shown as they are.
    pub fn verbatim(&mut self, text: &str) {
        match self.protocol {
            Protocol::Resp3 => {
                self.header(b'=', text.len() + 4);
                self.put(b"txt:");
                self.put(text.as_bytes());
                self.end_line();
            }
            _ => self.bulk(text.as_bytes()),
        }
    }

    /// That there is nothing.
    pub fn null(&mut self) {
        match self.protocol {
            Protocol::Resp3 => self.put(b"_\r\n"),
            _ => self.put(b"$-1\r\n"),
        }
    }

    /// That there is no array.
    pub fn null_array(&mut self) {
        match self.protocol {
            Protocol::Resp3 => self.put(b"_\r\n"),
            _ => self.put(b"*-1\r\n"),
        }
    }

    /// The beginning of an array of `len`.
    pub fn array(&mut self, len: usize) {
        self.header(b'*', len);
    }

    /// The beginning of a set of `len`.
    pub fn set(&mut self, len: usize) {
        self.header(if self.protocol == Protocol::Resp3 { b'~' } else { b'*' }, len);
    }

    /// The beginning of a map of `pairs`: keys and values in turn.
    pub fn map(&mut self, pairs: usize) {
        match self.protocol {
            Protocol::Resp3 => self.header(b'%', pairs),
            _ => self.header(b'*', pairs * 2),
        }
    }

    /// A line of the text protocol, or of an answer that has several.
    pub fn line(&mut self, words: fmt::Arguments<'_>) {
        self.formatted(words);
        self.end_line();
    }

    /// A line of the text protocol: a word, a space, and bytes as they are.
    pub fn word_and_bytes(&mut self, word: &str, bytes: &[u8]) {
        if self.has_room(word.len() + bytes.len() + 2) {
            self.bytes.extend_from_slice(word.as_bytes());
            self.bytes.push(b' ');
            self.bytes.extend_from_slice(bytes);
            self.end_line();
        }
    }

    /// Bytes as they are.
    pub fn put(&mut self, bytes: &[u8]) {
        if self.has_room(bytes.len()) {
            self.bytes.extend_from_slice(bytes);
        }
    }

    fn header(&mut self, kind: u8, number: impl itoa::Integer) {
        if self.has_room(0) {
            self.bytes.push(kind);
            self.bytes.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
            self.end_line();
        }
    }

    fn formatted(&mut self, words: fmt::Arguments<'_>) {
        if self.has_room(0) {
            self.bytes.write_fmt(words).expect("memory takes everything");
        }
    }

    fn end_line(&mut self) {
        if self.is_too_long {
            return;
        }
        self.bytes.extend_from_slice(if self.protocol == Protocol::Text { b"\n" } else { b"\r\n" });
    }

    fn has_room(&mut self, len: usize) -> bool {
        self.is_too_long |= self.bytes.len().saturating_add(len) > self.limit;
        !self.is_too_long
    }
}
