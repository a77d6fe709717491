//! The commands of the text protocol: what a person types into netcat.
//!
//! One line a command, one line an answer; but `KEYS`, `LATENCY` and `HELP` answer with a line that says how many lines
//! follow.

use super::Handler::{LongRead, Plain, Read, Session, Write};
use super::Keys::{None as NoKeys, One};
use super::expiry::{self, Expiry};
use super::keys::Found;
use super::{ANY, Outcome, RESP_TABLE, Spec, is, numbered, server, session};
use crate::keyspace::{Reader, Writer};
use crate::protocol::{Answer, Args, Refusal};
use crate::turn::Turn;

/// The commands, by name.
pub static COMMANDS: &[Spec] = &numbered(TABLE, RESP_TABLE.len());
const TABLE: [Spec; 13] = [
    Spec::new("auth", (2, 2), NoKeys, Session(session::auth)),
    Spec::new("del", (2, 2), One, Write(del)),
    Spec::new("get", (2, 2), One, Read(get)),
    Spec::new("help", (1, 1), NoKeys, Plain(help)),
    Spec::new("host:", (1, ANY), NoKeys, Session(http)),
    Spec::new("keys", (1, 2), NoKeys, LongRead(keys)),
    Spec::new("latency", (1, 1), NoKeys, Session(latency)),
    Spec::new("ping", (1, 1), NoKeys, Plain(session::ping)),
    Spec::new("post", (1, ANY), NoKeys, Session(http)),
    Spec::new("quit", (1, 1), NoKeys, Session(session::quit)),
    Spec::new("set", (3, 5), One, Write(set)),
    Spec::new("shutdown", (1, 1), NoKeys, Session(server::shutdown)),
    Spec::new("stats", (1, 1), NoKeys, Session(stats)),
];

/// What `HELP` says.
const HELP: &[&str] = &[
    "SET key value [EX seconds]   OK, when it is on the disk",
    "GET key                      VALUE value, or NOT_FOUND",
    "DEL key                      DELETED, or NOT_FOUND",
    "KEYS [prefix]                KEYS n, then n lines with a key each",
    "STATS                        gets:N sets:N dels:N errors:N keys:N bytes:N",
    "LATENCY                      LATENCY n, then n lines: command, count, p50, p95, p99 and max in microseconds",
    "PING                         PONG",
    "AUTH password                OK; first of all, if the server has a password",
    "QUIT                         OK, and the connection ends",
    "SHUTDOWN                     the server ends",
    "HELP                         HELP n, then these n lines",
];

/// `SET key value [EX seconds]`
fn set(writer: &mut dyn Writer, args: Args<'_>, answer: &mut Answer) -> Outcome {
    let expiry = match (args.get(3), args.get(4)) {
        (None, _) => Expiry::Never,
        (Some(word), _) if !is(word, "EX") => return Err(Refusal::err("too many arguments")),
        (Some(_), None) => return Err(Refusal::err("missing arguments")),
        (Some(_), Some(seconds)) => Expiry::At(expiry::positive_time(seconds, 1000, writer.now_ms(), "set")?),
    };
    writer.set_until(&args[1], &args[2], expiry.resolve(0))?;
    answer.tally.sets += 1;
    answer.ok();
    Ok(())
}

/// `GET key`
fn get(reader: &dyn Reader, args: Args<'_>, answer: &mut Answer) -> Outcome {
    answer.tally.gets += 1;
    let mut fits = true;
    let is_there = reader.look_up(&args[1], &mut |entry| {
        fits = fits_line(entry.value);
        if fits {
            answer.word_and_bytes("VALUE", entry.value);
        }
    })?;
    match (is_there, fits) {
        (false, _) => answer.simple("NOT_FOUND"),
        (true, true) => {}
        (true, false) => return Err(Refusal::err("the value has a byte that a line cannot carry; RESP can")),
    }
    Ok(())
}

/// Whether a client of the text protocol can read these bytes as part of a line: anything but control characters. Spaces are
/// fine, for they are all of one word at the end of the line.
fn fits_line(bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| *byte >= b' ' && *byte != 0x7f)
}

/// `DEL key`
fn del(writer: &mut dyn Writer, args: Args<'_>, answer: &mut Answer) -> Outcome {
    let was_there = writer.del(&args[1])?;
    answer.tally.dels += u64::from(was_there);
    answer.simple(if was_there { "DELETED" } else { "NOT_FOUND" });
    Ok(())
}

/// `KEYS [prefix]`: a key that is not one printable word is shown with `\xNN` for the bytes that are not.
fn keys(reader: &dyn Reader, args: Args<'_>, answer: &mut Answer) -> Outcome {
    let prefix = args.get(1).unwrap_or_default();
    let mut found = Found::default();
    reader.keys(&mut |key| {
        if key.starts_with(prefix) {
            found.push(key);
        }
    })?;
    let mut keys: Vec<&[u8]> = found.iter().collect();
    keys.sort_unstable();
    answer.line(format_args!("KEYS {}", keys.len()));
    for key in keys {
        show_word(key, answer);
        answer.line(format_args!(""));
    }
    Ok(())
}

/// Shows a key as one printable word.
fn show_word(key: &[u8], answer: &mut Answer) {
    let is_printable = |byte: &u8| *byte > b' ' && *byte != 0x7f;
    for part in key.chunk_by(|one, next| is_printable(one) && is_printable(next)) {
        match part {
            [byte] if !is_printable(byte) => answer.put(format!("\\x{byte:02x}").as_bytes()),
            part => answer.put(part),
        }
    }
}

/// `STATS`
fn stats(turn: &mut Turn<'_>, _: Args<'_>, answer: &mut Answer) -> Outcome {
    let (tally, store) = (&turn.server.counters.tally, turn.server.store.stats());
    answer.line(format_args!(
        "gets:{} sets:{} dels:{} errors:{} keys:{} bytes:{}",
        tally.gets, tally.sets, tally.dels, tally.errors, store.keys, store.bytes
    ));
    Ok(())
}

/// `LATENCY`
fn latency(turn: &mut Turn<'_>, _: Args<'_>, answer: &mut Answer) -> Outcome {
    let latencies = turn.server.latencies.by_name();
    answer.line(format_args!("LATENCY {}", latencies.len()));
    for (name, times) in latencies {
        let [p50, p95, p99] = [500, 950, 990].map(|per_mille| times.quantile(per_mille));
        let (name, count, max) = (name.to_ascii_uppercase(), times.count(), times.max());
        answer.line(format_args!("{name} count:{count} p50:{p50} p95:{p95} p99:{p99} max:{max}"));
    }
    Ok(())
}

/// `HELP`
fn help(_: Args<'_>, answer: &mut Answer) -> Outcome {
    answer.line(format_args!("HELP {}", HELP.len()));
    HELP.iter().for_each(|line| answer.line(format_args!("{line}")));
    Ok(())
}

/// A browser, which a web page has sent here to have commands carried out that it put into the body of a request.
fn http(turn: &mut Turn<'_>, _: Args<'_>, _: &mut Answer) -> Outcome {
    turn.session.is_leaving = true;
    Err(Refusal::err("this is no web server"))
}
