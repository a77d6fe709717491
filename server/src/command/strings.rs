//! Commands on values.

use super::expiry::{self, Expiry};
use super::{Outcome, integer, is, syntax, wrong_count};
use crate::keyspace::{Reader, Writer};
use crate::protocol::{Answer, Args, MAX_VALUE, Refusal};

/// A value, and when it expires.
pub struct Held {
    /// The value.
    pub value: Vec<u8>,
    /// Unix milliseconds, 0 for never.
    pub expires_at: u64,
}

/// A copy of what a key holds.
pub fn held(reader: &dyn Reader, key: &[u8]) -> Result<Option<Held>, Refusal> {
    let mut held = None;
    reader.look_up(key, &mut |entry| {
        held = Some(Held { value: entry.value.to_vec(), expires_at: entry.expires_at });
    })?;
    Ok(held)
}

/// When a key expires, if it is there: 0 for never.
pub fn expires_at(reader: &dyn Reader, key: &[u8]) -> Result<Option<u64>, Refusal> {
    let mut expires_at = None;
    reader.look_up(key, &mut |entry| expires_at = Some(entry.expires_at))?;
    Ok(expires_at)
}

/// Answers with the value of a key.
fn answer_value(reader: &dyn Reader, key: &[u8], answer: &mut Answer) -> Outcome {
    answer.tally.gets += 1;
    if !reader.look_up(key, &mut |entry| answer.bulk(entry.value))? {
        answer.null();
    }
    Ok(())
}

/// `GET key`
pub fn get(reader: &dyn Reader, args: Args<'_>, answer: &mut Answer) -> Outcome {
    answer_value(reader, &args[1], answer)
}

/// `MGET key …`
pub fn mget(reader: &dyn Reader, args: Args<'_>, answer: &mut Answer) -> Outcome {
    answer.array(args.len() - 1);
    args.from(1).iter().try_for_each(|key| answer_value(reader, key, answer))
}

/// `STRLEN key`
pub fn strlen(reader: &dyn Reader, args: Args<'_>, answer: &mut Answer) -> Outcome {
    let mut len = 0;
    reader.look_up(&args[1], &mut |entry| len = entry.value.len())?;
    answer.integer(len as i64);
    Ok(())
}

/// What `SET` is asked for beyond setting.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct SetOptions {
    /// Only if the key is there, or only if it is not.
    must_exist: Option<bool>,
    /// Answer with the old value.
    wants_old: bool,
    expiry: Expiry,
}

impl SetOptions {
    fn parse(args: Args<'_>, now: u64) -> Result<SetOptions, Refusal> {
        let mut options = SetOptions::default();
        let mut words = args.iter();
        while let Some(word) = words.next() {
            if is(word, "NX") || is(word, "XX") {
                let must_exist = is(word, "XX");
                if options.must_exist.replace(must_exist).is_some_and(|before| before != must_exist) {
                    return Err(syntax());
                }
            } else if is(word, "GET") {
                options.wants_old = true;
            } else if options.expiry != Expiry::Never {
                return Err(syntax());
            } else if is(word, "KEEPTTL") {
                options.expiry = Expiry::Keep;
            } else {
                options.expiry = Expiry::parse(word, &mut words, now, "set")?;
            }
        }
        Ok(options)
    }
}

/// `SET key value [NX | XX] [GET] [EX seconds | PX ms | EXAT seconds | PXAT ms | KEEPTTL]`
pub fn set(writer: &mut dyn Writer, args: Args<'_>, answer: &mut Answer) -> Outcome {
    let (key, value) = (&args[1], &args[2]);
    let options = SetOptions::parse(args.from(3), writer.now_ms())?;
    // Most sets need not know what was there.
    let is_plain = options.must_exist.is_none() && !options.wants_old && options.expiry != Expiry::Keep;
    let old = if is_plain { None } else { expires_at(writer, key)? };
    let will_set = options.must_exist.is_none_or(|must_exist| must_exist == old.is_some());
    if options.wants_old {
        answer_value(writer, key, answer)?;
    }
    if will_set {
        writer.set_until(key, value, options.expiry.resolve(old.unwrap_or(0)))?;
        answer.tally.sets += 1;
    }
    match (options.wants_old, will_set) {
        (true, _) => {}
        (false, true) => answer.ok(),
        (false, false) => answer.null(),
    }
    Ok(())
}

/// `SETEX key seconds value`
pub fn setex(writer: &mut dyn Writer, args: Args<'_>, answer: &mut Answer) -> Outcome {
    set_for(writer, args, 1000, "setex", answer)
}

/// `PSETEX key ms value`
pub fn psetex(writer: &mut dyn Writer, args: Args<'_>, answer: &mut Answer) -> Outcome {
    set_for(writer, args, 1, "psetex", answer)
}

fn set_for(writer: &mut dyn Writer, args: Args<'_>, unit: i64, command: &str, answer: &mut Answer) -> Outcome {
    let expires_at = expiry::positive_time(&args[2], unit, writer.now_ms(), command)?;
    writer.set_until(&args[1], &args[3], expires_at)?;
    answer.tally.sets += 1;
    answer.ok();
    Ok(())
}

/// `SETNX key value`
pub fn setnx(writer: &mut dyn Writer, args: Args<'_>, answer: &mut Answer) -> Outcome {
    let is_there = expires_at(writer, &args[1])?.is_some();
    if !is_there {
        writer.set_until(&args[1], &args[2], 0)?;
        answer.tally.sets += 1;
    }
    answer.integer(i64::from(!is_there));
    Ok(())
}

/// `GETSET key value`
pub fn getset(writer: &mut dyn Writer, args: Args<'_>, answer: &mut Answer) -> Outcome {
    answer_value(writer, &args[1], answer)?;
    writer.set_until(&args[1], &args[2], 0)?;
    answer.tally.sets += 1;
    Ok(())
}

/// `GETDEL key`
pub fn getdel(writer: &mut dyn Writer, args: Args<'_>, answer: &mut Answer) -> Outcome {
    answer_value(writer, &args[1], answer)?;
    answer.tally.dels += u64::from(writer.del(&args[1])?);
    Ok(())
}

/// `GETEX key [EX seconds | PX ms | EXAT seconds | PXAT ms | PERSIST]`
pub fn getex(writer: &mut dyn Writer, args: Args<'_>, answer: &mut Answer) -> Outcome {
    let mut words = args.from(2).iter();
    let expiry = match words.next() {
        None => Expiry::Keep,
        Some(word) if is(word, "PERSIST") => Expiry::Never,
        Some(word) => Expiry::parse(word, &mut words, writer.now_ms(), "getex")?,
    };
    if words.next().is_some() {
        return Err(syntax());
    }
    answer_value(writer, &args[1], answer)?;
    match held(writer, &args[1])? {
        Some(held) if expiry.resolve(held.expires_at) != held.expires_at => {
            writer.set_until(&args[1], &held.value, expiry.resolve(held.expires_at))?;
        }
        _ => {}
    }
    Ok(())
}

/// `MSET key value …`
pub fn mset(writer: &mut dyn Writer, args: Args<'_>, answer: &mut Answer) -> Outcome {
    check_pairs(args, "mset")?;
    set_all(writer, args, answer)?;
    answer.ok();
    Ok(())
}

/// `MSETNX key value …`
pub fn msetnx(writer: &mut dyn Writer, args: Args<'_>, answer: &mut Answer) -> Outcome {
    check_pairs(args, "msetnx")?;
    let mut is_any_there = false;
    for key in args.every(1, 2) {
        is_any_there |= expires_at(writer, key)?.is_some();
    }
    if !is_any_there {
        set_all(writer, args, answer)?;
    }
    answer.integer(i64::from(!is_any_there));
    Ok(())
}

/// Every key has a value.
fn check_pairs(args: Args<'_>, command: &str) -> Outcome {
    if args.len().is_multiple_of(2) { Err(wrong_count(command)) } else { Ok(()) }
}

fn set_all(writer: &mut dyn Writer, args: Args<'_>, answer: &mut Answer) -> Outcome {
    for (key, value) in args.every(1, 2).zip(args.every(2, 2)) {
        writer.set_until(key, value, 0)?;
        answer.tally.sets += 1;
    }
    Ok(())
}

/// `APPEND key value`
pub fn append(writer: &mut dyn Writer, args: Args<'_>, answer: &mut Answer) -> Outcome {
    let mut held = held(writer, &args[1])?.unwrap_or(Held { value: Vec::new(), expires_at: 0 });
    if held.value.len() + args[2].len() > MAX_VALUE {
        return Err(Refusal::err("string exceeds maximum allowed size (proto-max-bulk-len)"));
    }
    held.value.extend_from_slice(&args[2]);
    writer.set_until(&args[1], &held.value, held.expires_at)?;
    answer.tally.sets += 1;
    answer.integer(held.value.len() as i64);
    Ok(())
}

/// `INCR key`
pub fn incr(writer: &mut dyn Writer, args: Args<'_>, answer: &mut Answer) -> Outcome {
    add(writer, &args[1], 1, answer)
}

/// `DECR key`
pub fn decr(writer: &mut dyn Writer, args: Args<'_>, answer: &mut Answer) -> Outcome {
    add(writer, &args[1], -1, answer)
}

/// `INCRBY key number`
pub fn incrby(writer: &mut dyn Writer, args: Args<'_>, answer: &mut Answer) -> Outcome {
    add(writer, &args[1], integer(&args[2])?, answer)
}

/// `DECRBY key number`
pub fn decrby(writer: &mut dyn Writer, args: Args<'_>, answer: &mut Answer) -> Outcome {
    let by = integer(&args[2])?.checked_neg().ok_or_else(|| Refusal::err("decrement would overflow"))?;
    add(writer, &args[1], by, answer)
}

fn add(writer: &mut dyn Writer, key: &[u8], by: i64, answer: &mut Answer) -> Outcome {
    let mut before = Ok((0, 0));
    writer.look_up(key, &mut |entry| before = integer(entry.value).map(|number| (number, entry.expires_at)))?;
    let (number, expires_at) = before?;
    let sum = number.checked_add(by).ok_or_else(|| Refusal::err("increment or decrement would overflow"))?;
    writer.set_until(key, itoa::Buffer::new().format(sum).as_bytes(), expires_at)?;
    answer.tally.sets += 1;
    answer.integer(sum);
    Ok(())
}
