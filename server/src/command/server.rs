//! Commands on the server.

use kvwal::Store;

use super::{ANY, Handler, Outcome, RESP, Spec, Subcommand, is, list_subcommands, subcommand, syntax};
use crate::glob;
use crate::info;
use crate::keyspace::unix_ms;
use crate::protocol::{Answer, Args, Refusal};
use crate::turn::Turn;

/// The version of Redis whose commands these are, for clients that ask.
pub const REDIS_VERSION: &str = "7.0.15";

/// `TIME`
pub fn time(_: Args<'_>, answer: &mut Answer) -> Outcome {
    let ms = unix_ms();
    answer.array(2);
    answer.bulk((ms / 1000).to_string().as_bytes());
    answer.bulk((ms % 1000 * 1000).to_string().as_bytes());
    Ok(())
}

/// `SAVE`: a checkpoint. In a worker, as it waits for the disk.
pub fn save(store: &Store, _: Args<'_>, answer: &mut Answer) -> Outcome {
    store.checkpoint()?;
    answer.ok();
    Ok(())
}

/// `BGSAVE [SCHEDULE]`: a checkpoint that the client does not wait for.
pub fn bgsave(turn: &mut Turn<'_>, args: Args<'_>, answer: &mut Answer) -> Outcome {
    if args.get(1).is_some_and(|word| !is(word, "SCHEDULE")) {
        return Err(syntax());
    }
    if turn.server.saving.is_running() {
        return Err(Refusal::err("Background save already in progress"));
    }
    turn.server.saving.request();
    answer.simple("Background saving started");
    Ok(())
}

/// `LASTSAVE`: when the newest checkpoint was made, in Unix seconds.
pub fn lastsave(turn: &mut Turn<'_>, _: Args<'_>, answer: &mut Answer) -> Outcome {
    answer.integer(turn.server.last_save() as i64);
    Ok(())
}

/// `INFO [section …]`
pub fn info(turn: &mut Turn<'_>, args: Args<'_>, answer: &mut Answer) -> Outcome {
    answer.verbatim(&info::text(turn.server, args.from(1)));
    Ok(())
}

/// `SHUTDOWN [NOSAVE | SAVE | NOW | FORCE]`: as `SIGTERM`. There is no answer but the end of the connection.
pub fn shutdown(turn: &mut Turn<'_>, args: Args<'_>, _: &mut Answer) -> Outcome {
    let is_known = |word| ["NOSAVE", "SAVE", "NOW", "FORCE"].iter().any(|known| is(word, known));
    if !args.from(1).iter().all(is_known) {
        return Err(syntax());
    }
    turn.session.is_leaving = true;
    turn.server.is_stopping = true;
    Ok(())
}

/// The subcommands of `CONFIG`.
const CONFIG: [Subcommand; 2] = [("GET", 3, ANY), ("HELP", 2, 2)];

/// `CONFIG GET pattern …`. What can be set is set by the command line.
pub fn config(turn: &mut Turn<'_>, args: Args<'_>, answer: &mut Answer) -> Outcome {
    if subcommand("config", &CONFIG, args)? == "HELP" {
        list_subcommands(&CONFIG, answer);
        return Ok(());
    }
    let lower = |pattern: &[u8]| pattern.to_ascii_lowercase();
    let patterns: Vec<Vec<u8>> = args.from(2).iter().map(lower).collect();
    let asked = |name: &str| patterns.iter().any(|pattern| glob::matches(pattern, name.as_bytes()));
    let settings = turn.server.settings();
    let settings: Vec<_> = settings.iter().filter(|(name, _)| asked(name)).collect();
    answer.map(settings.len());
    for (name, value) in settings {
        answer.bulk(name.as_bytes());
        answer.bulk(value.as_bytes());
    }
    Ok(())
}

/// The subcommands of `COMMAND`.
const COMMAND: [Subcommand; 5] = [("COUNT", 2, 2), ("DOCS", 2, ANY), ("HELP", 2, 2), ("INFO", 2, ANY), ("LIST", 2, 2)];

/// `COMMAND [COUNT | DOCS name … | INFO name … | LIST]`
pub fn command(_: &mut Turn<'_>, args: Args<'_>, answer: &mut Answer) -> Outcome {
    let names: Vec<&[u8]> = args.from(2).iter().collect();
    let find = |name: &[u8]| RESP.iter().find(|spec| is(name, spec.name));
    let asked = if args.len() == 1 { "INFO" } else { subcommand("command", &COMMAND, args)? };
    match asked {
        "COUNT" => answer.integer(RESP.len() as i64),
        "DOCS" if names.is_empty() => document(RESP.iter().collect(), answer),
        "DOCS" => document(names.iter().filter_map(|name| find(name)).collect(), answer),
        "INFO" if names.is_empty() => describe_all(RESP.iter().map(Some), RESP.len(), answer),
        "INFO" => describe_all(names.iter().map(|name| find(name)), names.len(), answer),
        "LIST" => {
            answer.array(RESP.len());
            RESP.iter().for_each(|spec| answer.bulk(spec.name.as_bytes()));
        }
        _ => list_subcommands(&COMMAND, answer),
    }
    Ok(())
}

fn describe_all(specs: impl Iterator<Item = Option<&'static Spec>>, count: usize, answer: &mut Answer) {
    answer.array(count);
    specs.for_each(|spec| match spec {
        Some(spec) => describe(spec, answer),
        None => answer.null(),
    });
}

/// Name, arity, flags, positions of keys; and four lists that are empty here.
fn describe(spec: &Spec, answer: &mut Answer) {
    let flag = match spec.handler {
        Handler::Write(_) => "write",
        Handler::Read(_) | Handler::LongRead(_) => "readonly",
        Handler::Session(_) | Handler::Plain(_) | Handler::Walk(_) | Handler::Exec => "noscript",
    };
    let (first, last, step) = spec.keys.positions();
    answer.array(10);
    answer.bulk(spec.name.as_bytes());
    answer.integer(spec.arity());
    answer.set(1);
    answer.simple(flag);
    answer.integer(first as i64);
    answer.integer(last);
    answer.integer(step as i64);
    answer.set(0);
    (0..3).for_each(|_| answer.array(0));
}

fn document(specs: Vec<&'static Spec>, answer: &mut Answer) {
    answer.map(specs.len());
    for spec in specs {
        answer.bulk(spec.name.as_bytes());
        answer.map(2);
        answer.bulk(b"summary");
        answer.bulk(format!("{}: see docs/server.md of kvwal.", spec.name.to_ascii_uppercase()).as_bytes());
        answer.bulk(b"group");
        answer.bulk(if spec.keys == super::Keys::None { b"server" } else { b"string" });
    }
}
