//! Commands on when keys expire.

use super::strings::{expires_at, held};
use super::{Outcome, integer, is, syntax};
use crate::keyspace::{Reader, Writer};
use crate::protocol::{Answer, Args, Refusal};

/// When a key is to expire.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Expiry {
    /// Never.
    #[default]
    Never,
    /// As before.
    Keep,
    /// At this time, in Unix milliseconds.
    At(u64),
}

impl Expiry {
    /// Reads one of `EX seconds`, `PX ms`, `EXAT seconds` and `PXAT ms`.
    pub fn parse<'a>(
        word: &[u8],
        words: &mut impl Iterator<Item = &'a [u8]>,
        now: u64,
        command: &str,
    ) -> Result<Expiry, Refusal> {
        let (unit, since) = match word {
            word if is(word, "EX") => (1000, now),
            word if is(word, "PX") => (1, now),
            word if is(word, "EXAT") => (1000, 0),
            word if is(word, "PXAT") => (1, 0),
            _ => return Err(syntax()),
        };
        let time = words.next().ok_or_else(syntax)?;
        positive_time(time, unit, since, command).map(Expiry::At)
    }

    /// The time for a key that expired at `before` until now; 0 is never.
    pub fn resolve(self, before: u64) -> u64 {
        match self {
            Expiry::Never => 0,
            Expiry::Keep => before,
            Expiry::At(time) => time,
        }
    }
}

/// A time of so many units, which must be more than 0, after `since`.
pub fn positive_time(arg: &[u8], unit: i64, since: u64, command: &str) -> Result<u64, Refusal> {
    match integer(arg)? {
        1.. => time(arg, unit, since, command),
        _ => Err(invalid(command)),
    }
}

/// A time of so many units after `since`. What lies before 1970 has passed, as the first millisecond has.
fn time(arg: &[u8], unit: i64, since: u64, command: &str) -> Result<u64, Refusal> {
    let since = i64::try_from(since).unwrap_or(i64::MAX);
    let time = integer(arg)?.checked_mul(unit).and_then(|ms| ms.checked_add(since)).ok_or_else(|| invalid(command))?;
    Ok(u64::try_from(time).unwrap_or(0).max(1))
}

fn invalid(command: &str) -> Refusal {
    Refusal::err(format!("invalid expire time in '{command}' command"))
}

/// `EXPIRE key seconds [NX | XX | GT | LT]`
pub fn expire(writer: &mut dyn Writer, args: Args<'_>, answer: &mut Answer) -> Outcome {
    let now = writer.now_ms();
    expire_at(writer, args, (1000, now), "expire", answer)
}

/// `PEXPIRE key ms [NX | XX | GT | LT]`
pub fn pexpire(writer: &mut dyn Writer, args: Args<'_>, answer: &mut Answer) -> Outcome {
    let now = writer.now_ms();
    expire_at(writer, args, (1, now), "pexpire", answer)
}

/// `EXPIREAT key seconds [NX | XX | GT | LT]`
pub fn expireat(writer: &mut dyn Writer, args: Args<'_>, answer: &mut Answer) -> Outcome {
    expire_at(writer, args, (1000, 0), "expireat", answer)
}

/// `PEXPIREAT key ms [NX | XX | GT | LT]`
pub fn pexpireat(writer: &mut dyn Writer, args: Args<'_>, answer: &mut Answer) -> Outcome {
    expire_at(writer, args, (1, 0), "pexpireat", answer)
}

fn expire_at(
    writer: &mut dyn Writer,
    args: Args<'_>,
    (unit, since): (i64, u64),
    command: &str,
    answer: &mut Answer,
) -> Outcome {
    let time = time(&args[2], unit, since, command)?;
    let conditions = Conditions::parse(args.from(3))?;
    let held = held(writer, &args[1])?.filter(|held| conditions.allow(held.expires_at, time));
    if let Some(held) = &held {
        writer.set_until(&args[1], &held.value, time)?;
    }
    answer.integer(i64::from(held.is_some()));
    Ok(())
}

/// What the time until now must be for a new one to be set.
#[derive(Clone, Copy, Debug, Default)]
struct Conditions {
    is_never: bool,
    is_some: bool,
    is_before: bool,
    is_after: bool,
}

impl Conditions {
    fn parse(words: Args<'_>) -> Result<Conditions, Refusal> {
        let mut conditions = Conditions::default();
        for word in words.iter() {
            let condition = match word {
                word if is(word, "NX") => &mut conditions.is_never,
                word if is(word, "XX") => &mut conditions.is_some,
                word if is(word, "GT") => &mut conditions.is_before,
                word if is(word, "LT") => &mut conditions.is_after,
                word => return Err(Refusal::err(format!("Unsupported option {}", String::from_utf8_lossy(word)))),
            };
            *condition = true;
        }
        match conditions {
            Conditions { is_never: true, is_some, is_before, is_after } if is_some || is_before || is_after => {
                Err(Refusal::err("NX and XX, GT or LT options at the same time are not compatible"))
            }
            Conditions { is_before: true, is_after: true, .. } => {
                Err(Refusal::err("GT and LT options at the same time are not compatible"))
            }
            _ => Ok(conditions),
        }
    }

    /// Whether the old time allows the new one; 0 is never, and so later than any other.
    fn allow(self, old: u64, new: u64) -> bool {
        let allows = |asked: bool, is_so: bool| !asked || is_so;
        allows(self.is_never, old == 0)
            && allows(self.is_some, old != 0)
            && allows(self.is_before, old != 0 && old < new)
            && allows(self.is_after, old == 0 || old > new)
    }
}

/// `PERSIST key`
pub fn persist(writer: &mut dyn Writer, args: Args<'_>, answer: &mut Answer) -> Outcome {
    let held = held(writer, &args[1])?.filter(|held| held.expires_at != 0);
    if let Some(held) = &held {
        writer.set_until(&args[1], &held.value, 0)?;
    }
    answer.integer(i64::from(held.is_some()));
    Ok(())
}

/// `TTL key`: seconds, rounded as Redis does.
pub fn ttl(reader: &dyn Reader, args: Args<'_>, answer: &mut Answer) -> Outcome {
    let now = reader.now_ms();
    answer_time(reader, args, answer, |expires_at| (expires_at.saturating_sub(now) + 500) / 1000)
}

/// `PTTL key`
pub fn pttl(reader: &dyn Reader, args: Args<'_>, answer: &mut Answer) -> Outcome {
    let now = reader.now_ms();
    answer_time(reader, args, answer, |expires_at| expires_at.saturating_sub(now))
}

/// `EXPIRETIME key`
pub fn expiretime(reader: &dyn Reader, args: Args<'_>, answer: &mut Answer) -> Outcome {
    answer_time(reader, args, answer, |expires_at| (expires_at + 500) / 1000)
}

/// `PEXPIRETIME key`
pub fn pexpiretime(reader: &dyn Reader, args: Args<'_>, answer: &mut Answer) -> Outcome {
    answer_time(reader, args, answer, |expires_at| expires_at)
}

/// -2 if the key is not there, -1 if it never expires.
fn answer_time(reader: &dyn Reader, args: Args<'_>, answer: &mut Answer, time: impl FnOnce(u64) -> u64) -> Outcome {
    answer.integer(match expires_at(reader, &args[1])? {
        None => -2,
        Some(0) => -1,
        Some(expires_at) => i64::try_from(time(expires_at)).unwrap_or(i64::MAX),
    });
    Ok(())
}
