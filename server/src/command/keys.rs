//! Commands on keys, whatever they hold.

use std::hash::{BuildHasher, RandomState};

use kvwal::Store;

use super::{Outcome, integer, is, syntax};
use crate::glob;
use crate::keyspace::{Reader, Writer};
use crate::protocol::{Answer, Args, Refusal};

/// `DEL key …`, `UNLINK key …`
pub fn del(writer: &mut dyn Writer, args: Args<'_>, answer: &mut Answer) -> Outcome {
    let mut deleted = 0;
    for key in args.from(1).iter() {
        deleted += u64::from(writer.del(key)?);
    }
    answer.tally.dels += deleted;
    answer.integer(deleted as i64);
    Ok(())
}

/// `EXISTS key …`, `TOUCH key …`: a key that is named twice counts twice.
pub fn exists(reader: &dyn Reader, args: Args<'_>, answer: &mut Answer) -> Outcome {
    let mut found = 0;
    for key in args.from(1).iter() {
        found += i64::from(reader.look_up(key, &mut |_| ())?);
    }
    answer.integer(found);
    Ok(())
}

/// `TYPE key`
pub fn kind(reader: &dyn Reader, args: Args<'_>, answer: &mut Answer) -> Outcome {
    let is_there = reader.look_up(&args[1], &mut |_| ())?;
    answer.simple(if is_there { "string" } else { "none" });
    Ok(())
}

/// `DBSIZE`
pub fn dbsize(reader: &dyn Reader, _: Args<'_>, answer: &mut Answer) -> Outcome {
    answer.integer(reader.count()? as i64);
    Ok(())
}

/// `KEYS pattern`
pub fn keys(reader: &dyn Reader, args: Args<'_>, answer: &mut Answer) -> Outcome {
    let mut found = Found::default();
    reader.keys(&mut |key| {
        if glob::matches(&args[1], key) {
            found.push(key);
        }
    })?;
    found.answer(answer);
    Ok(())
}

/// Keys that have been found, as they will be in the answer, which begins with their number.
#[derive(Default)]
pub struct Found {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl Found {
    /// Adds a key.
    pub fn push(&mut self, key: &[u8]) {
        self.bytes.extend_from_slice(key);
        self.ends.push(self.bytes.len());
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &[u8]> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        starts.zip(&self.ends).map(|(start, &end)| &self.bytes[start..end])
    }

    fn answer(&self, answer: &mut Answer) {
        answer.array(self.len());
        self.iter().for_each(|key| answer.bulk(key));
    }
}

/// How many keys `SCAN` visits unless it is told otherwise, and how many at most in one call.
const SCAN_COUNT: i64 = 10;
const MAX_SCAN_COUNT: i64 = 1_000_000;

/// `SCAN cursor [MATCH pattern] [COUNT number] [TYPE type]`
pub fn scan(store: &Store, args: Args<'_>, answer: &mut Answer) -> Outcome {
    let cursor = std::str::from_utf8(&args[1]).ok().and_then(|digits| digits.parse().ok());
    let cursor: u64 = cursor.ok_or_else(|| Refusal::err("invalid cursor"))?;
    let (mut pattern, mut count, mut is_string) = (None, SCAN_COUNT, true);
    let mut words = args.from(2).iter();
    while let Some(word) = words.next() {
        let value = words.next().ok_or_else(syntax)?;
        match word {
            word if is(word, "MATCH") => pattern = Some(value),
            word if is(word, "TYPE") => is_string = is(value, "string"),
            word if is(word, "COUNT") => count = integer(value)?,
            _ => return Err(syntax()),
        }
    }
    if count < 1 {
        return Err(syntax());
    }
    let mut found = Found::default();
    let next = store.keys_from(cursor, count.min(MAX_SCAN_COUNT) as usize, |key| {
        if is_string && pattern.is_none_or(|pattern| glob::matches(pattern, key)) {
            found.push(key);
        }
    })?;
    answer.array(2);
    answer.bulk(itoa::Buffer::new().format(next).as_bytes());
    found.answer(answer);
    Ok(())
}

/// `RANDOMKEY`: the first key from a place at random.
pub fn randomkey(store: &Store, _: Args<'_>, answer: &mut Answer) -> Outcome {
    let mut key = None;
    for start in [RandomState::new().hash_one(0), 0] {
        store.keys_from(start, 1, |visited| {
            key.get_or_insert_with(|| visited.to_vec());
        })?;
        if key.is_some() {
            break;
        }
    }
    match key {
        Some(key) => answer.bulk(&key),
        None => answer.null(),
    }
    Ok(())
}

/// `FLUSHDB [ASYNC | SYNC]`, `FLUSHALL`: one transaction that deletes every key.
pub fn flush(writer: &mut dyn Writer, args: Args<'_>, answer: &mut Answer) -> Outcome {
    if args.get(1).is_some_and(|word| !is(word, "ASYNC") && !is(word, "SYNC")) {
        return Err(syntax());
    }
    let mut found = Found::default();
    writer.keys(&mut |key| found.push(key))?;
    for key in found.iter() {
        answer.tally.dels += u64::from(writer.del(key)?);
    }
    answer.ok();
    Ok(())
}
