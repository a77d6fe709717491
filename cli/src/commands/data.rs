//! `get`, `set`, `del`, `scan`, `count`: single keys, and a look at many.

use std::ffi::OsStr;
use std::fs;
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::time::{SystemTime, UNIX_EPOCH};

use kvwal::{Batch, Store};
use serde_json::json;

use super::records::EntryDocument;
use crate::args;
use crate::bytes::{self, Encoding};
use crate::failure::{Exit, Failure, Result};
use crate::opening::{self, IfMissing};
use crate::output::{KeyDocument, NewFile, Output};

/// How much of a key is said that is not there.
const MOST_OF_A_KEY: usize = 200;

pub fn get(args: &args::Get, output: &mut Output) -> Result<Exit> {
    let encoding = args.coding.encoding();
    let key = argument(&args.key, encoding)?;
    let store = opening::for_reading(&args.store)?;
    // A scan knows when a key expires, and a key is the first that it is a prefix of.
    let mut found = None;
    store.scan_expiring(&key, |first, value, expires_at| {
        if first == key {
            found = Some((value.to_vec(), expires_at));
        }
        false
    })?;
    opening::close(store)?;
    let Some((value, expires_at)) = found else {
        return not_found(&[&key], output);
    };
    if let Some(path) = &args.output {
        let mut file = NewFile::create(path, &args.store)?;
        file.write_all(&encoding.encode(&value)).map_err(|cause| Failure::io("write", path, &cause))?;
        file.finish()?;
    } else if output.json {
        output.document(&EntryDocument::new(&key, &value, expires_at))?;
    } else {
        output.bytes(&encoding.encode(&value))?;
        if !args.no_newline {
            output.bytes(b"\n")?;
        }
    }
    Ok(Exit::Done)
}

pub fn set(args: &args::Set, output: &mut Output) -> Result<Exit> {
    let encoding = args.coding.encoding();
    if args.key == "-" && args.value.as_deref() == Some(OsStr::new("-")) {
        return Err(Failure::new(Exit::Usage, "key and value cannot both come from standard input"));
    }
    let key = argument(&args.key, encoding)?;
    let value = match (&args.file, &args.value) {
        (Some(path), _) => {
            let content = fs::read(path).map_err(|cause| Failure::io("read", path, &cause))?;
            decode(&content, encoding)?
        }
        (None, Some(value)) => argument(value, encoding)?,
        (None, None) => unreachable!("clap asks for one of them"),
    };
    let in_a_while = args.ttl.map(|ttl| now_ms().saturating_add(u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX)));
    let mut batch = Batch::new();
    batch.set_until(&key, &value, in_a_while.or(args.expires_at).unwrap_or(0))?;
    let store = opening::for_writing(&args.store, IfMissing::with(args.create))?;
    store.write(&batch)?;
    let lsn = store.stats().last_lsn;
    opening::close(store)?;
    if output.json {
        output.document(&json!({ "lsn": lsn }))?;
    }
    Ok(Exit::Done)
}

pub fn del(args: &args::Del, output: &mut Output) -> Result<Exit> {
    let keys = args.keys.iter().map(|key| argument(key, args.coding.encoding())).collect::<Result<Vec<_>>>()?;
    let store = opening::for_writing(&args.store, IfMissing::Refuse)?;
    let mut missing = Vec::new();
    for key in &keys {
        if !store.del(key)? {
            missing.push(key.as_slice());
        }
    }
    opening::close(store)?;
    if output.json {
        output.document(&json!({ "deleted": keys.len() - missing.len(), "not_found": missing.len() }))?;
    }
    match missing.is_empty() {
        true => Ok(Exit::Done),
        false => not_found(&missing, output),
    }
}

pub fn scan(args: &args::Scan, output: &mut Output) -> Result<Exit> {
    let encoding = args.coding.encoding();
    let prefix = prefix(args.prefix.as_deref(), encoding)?;
    let store = opening::for_reading(&args.store)?;
    let mut left = args.limit.unwrap_or(u64::MAX);
    let mut printed = Ok(());
    if left > 0 {
        store.scan_expiring(&prefix, |key, value, expires_at| {
            printed = match (output.json, args.keys) {
                (true, true) => output.document(&KeyDocument::new(key)),
                (true, false) => output.document(&EntryDocument::new(key, value, expires_at)),
                (false, true) => output.line(encoding.encode_on_line(key)),
                (false, false) => {
                    output.line(format_args!("{}\t{}", encoding.encode_on_line(key), encoding.encode_on_line(value)))
                }
            };
            left -= 1;
            printed.is_ok() && left > 0
        })?;
    }
    opening::close(store)?;
    printed.map(|()| Exit::Done)
}

pub fn count(args: &args::Count, output: &mut Output) -> Result<Exit> {
    let prefix = prefix(args.prefix.as_deref(), args.coding.encoding())?;
    let store = opening::for_reading(&args.store)?;
    let count = count_keys(&store, &prefix)?;
    opening::close(store)?;
    match output.json {
        true => output.document(&json!({ "keys": count }))?,
        false => output.line(count)?,
    }
    Ok(Exit::Done)
}

/// Keys that are there; unlike the statistics, without those that have expired since the store was opened.
pub fn count_keys(store: &Store, prefix: &[u8]) -> Result<u64> {
    let mut count = 0;
    store.scan_expiring(prefix, |_, _, _| {
        count += 1;
        true
    })?;
    Ok(count)
}

/// The time by which keys expire.
pub fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}

/// Says which keys are not there. That is an answer, so JSON gets none beyond the exit code.
fn not_found(keys: &[&[u8]], output: &Output) -> Result<Exit> {
    if !output.json {
        let mut to = anstream::stderr().lock();
        for key in keys {
            // If standard error is closed, the exit code must do.
            let _ = writeln!(to, "not found: {}", bytes::excerpt(key, MOST_OF_A_KEY));
        }
    }
    Ok(Exit::No)
}

pub fn prefix(prefix: Option<&OsStr>, encoding: Encoding) -> Result<Vec<u8>> {
    prefix.map_or(Ok(Vec::new()), |prefix| decode(prefix.as_bytes(), encoding))
}

/// A key or value of the command line, or, for `-`, from standard input.
fn argument(text: &OsStr, encoding: Encoding) -> Result<Vec<u8>> {
    if text != "-" {
        return decode(text.as_bytes(), encoding);
    }
    let mut input = Vec::new();
    let read = io::stdin().lock().read_to_end(&mut input);
    read.map_err(|cause| Failure::new(Exit::Io, format!("read standard input: {cause}")))?;
    decode(&input, encoding)
}

fn decode(text: &[u8], encoding: Encoding) -> Result<Vec<u8>> {
    encoding.decode(text).map_err(|why| Failure::new(Exit::Usage, format!("a key or value is {why}")))
}
