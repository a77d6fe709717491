//! The commands: one table for each protocol, and what carries a command out.
//!
//! A command is a row of its table ([`Spec`]): a name, how many arguments, which of them are keys, and a [`Handler`]. What
//! kind of handler it is says on which thread it runs:
//!
//! - `Session` commands concern the connection or the server. The event loop runs them.
//! - `Read` commands look a few keys up. The event loop runs them, too, since reads never wait for the disk; those that turn out to
//!   be long it hands to a worker.
//! - `Walk` commands may take long, or wait for the disk. Workers run them.
//! - `Write` commands change keys. The committer runs each inside a transaction.
//!
//! A handler reads its arguments, whose count and whose keys' lengths have been checked, and writes its answer, or returns the
//! refusal that is the answer. **It refuses before it writes a key**: so that a command is either carried out or not, also
//! within `MULTI`, where the commands around it are carried out all the same.

pub mod expiry;
pub mod keys;
pub mod server;
pub mod session;
pub mod strings;
pub mod text;
pub mod transactions;

use kvwal::Store;

use crate::keyspace::{Reader, Writer};
use crate::protocol::{Answer, Args, MAX_KEY, Protocol, Refusal};
use crate::turn::Turn;

/// How a command ends: with its answer written, or with a refusal for an answer.
pub type Outcome = Result<(), Refusal>;

/// A command.
#[derive(Debug)]
pub struct Spec {
    /// Its name, in lower case.
    pub name: &'static str,
    /// The least number of arguments, its name included.
    pub least: usize,
    /// The greatest.
    pub most: usize,
    /// Which arguments are keys.
    pub keys: Keys,
    /// What carries it out.
    pub handler: Handler,
    /// Its place among all commands of both protocols.
    pub id: usize,
}

/// Numbers the commands of a table.
const fn numbered<const COUNT: usize>(mut table: [Spec; COUNT], first: usize) -> [Spec; COUNT] {
    let mut at = 0;
    while at < COUNT {
        table[at].id = first + at;
        at += 1;
    }
    table
}

/// What carries a command out, and where it may run.
#[derive(Clone, Copy, Debug)]
pub enum Handler {
    /// In the event loop, with the connection at hand.
    Session(fn(&mut Turn<'_>, Args<'_>, &mut Answer) -> Outcome),
    /// In the event loop, or in a transaction of `MULTI`; needs nothing but its arguments.
    Plain(fn(Args<'_>, &mut Answer) -> Outcome),
    /// Wherever keys can be read.
    Read(fn(&dyn Reader, Args<'_>, &mut Answer) -> Outcome),
    /// The same, but it may take long: never in the event loop.
    LongRead(fn(&dyn Reader, Args<'_>, &mut Answer) -> Outcome),
    /// In a worker.
    Walk(fn(&Store, Args<'_>, &mut Answer) -> Outcome),
    /// In a transaction.
    Write(fn(&mut dyn Writer, Args<'_>, &mut Answer) -> Outcome),
    /// `EXEC`: all that was queued since `MULTI`, in one transaction.
    Exec,
}

/// Which arguments of a command are keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keys {
    /// None.
    None,
    /// The first.
    One,
    /// All.
    All,
    /// Every other one: keys and values in turn.
    Pairs,
}

impl Keys {
    /// The first key, the last (-1: the last argument), and the step from one to the next, as `COMMAND` has it.
    pub fn positions(self) -> (usize, i64, usize) {
        match self {
            Keys::None => (0, 0, 0),
            Keys::One => (1, 1, 1),
            Keys::All => (1, -1, 1),
            Keys::Pairs => (1, -1, 2),
        }
    }

    fn of<'a>(self, args: Args<'a>) -> impl Iterator<Item = &'a [u8]> {
        let (first, last, step) = self.positions();
        let count = match last {
            0 => 0,
            1 => 1,
            _ => usize::MAX,
        };
        args.every(first, step.max(1)).take(count)
    }
}

impl Spec {
    const fn new(name: &'static str, (least, most): (usize, usize), keys: Keys, handler: Handler) -> Spec {
        Spec { name, least, most, keys, handler, id: 0 }
    }

    /// Checks the count of arguments and the lengths of keys.
    pub fn check(&self, args: Args<'_>, protocol: Protocol) -> Outcome {
        if !(self.least..=self.most).contains(&args.len()) {
            return Err(match protocol {
                Protocol::Text if args.len() < self.least => Refusal::err("missing arguments"),
                Protocol::Text => Refusal::err("too many arguments"),
                _ => wrong_count(self.name),
            });
        }
        match self.keys.of(args).find(|key| key.len() > MAX_KEY) {
            Some(key) => Err(Refusal::err(format!("key too long: {} bytes, at most {MAX_KEY} are taken", key.len()))),
            None => Ok(()),
        }
    }

    /// Whether it goes to the committer.
    pub fn writes(&self) -> bool {
        matches!(self.handler, Handler::Write(_) | Handler::Exec)
    }

    /// Whether a client may use it before it has given the password.
    pub fn is_for_strangers(&self) -> bool {
        ["auth", "hello", "quit", "reset", "host:", "post"].contains(&self.name)
    }

    /// Redis's way to say how many arguments there may be: negative if that is the least.
    pub fn arity(&self) -> i64 {
        let least = self.least as i64;
        if self.least == self.most { least } else { -least }
    }
}

/// All commands of both protocols.
pub fn all() -> impl Iterator<Item = &'static Spec> {
    RESP.iter().chain(text::COMMANDS)
}

/// The refusal of a wrong count of arguments.
pub fn wrong_count(name: &str) -> Refusal {
    Refusal::err(format!("wrong number of arguments for '{name}' command"))
}

/// Redis's refusal of words that make no sense together.
pub fn syntax() -> Refusal {
    Refusal::err("syntax error")
}

/// An integer argument.
pub fn integer(arg: &[u8]) -> Result<i64, Refusal> {
    crate::protocol::integer(arg).ok_or_else(|| Refusal::err("value is not an integer or out of range"))
}

/// Finds the command that the first argument names.
pub fn find(args: Args<'_>, protocol: Protocol) -> Result<&'static Spec, Refusal> {
    let table = if protocol == Protocol::Text { text::COMMANDS } else { RESP };
    let name = &args[0];
    let mut lower = [0; LONGEST_NAME];
    let found = lower.get_mut(..name.len()).and_then(|lower| {
        lower.copy_from_slice(name);
        lower.make_ascii_lowercase();
        table.binary_search_by(|spec| spec.name.as_bytes().cmp(lower)).ok()
    });
    found.map(|at| &table[at]).ok_or_else(|| unknown(args, protocol))
}

/// Longest name of a command.
const LONGEST_NAME: usize = 16;
/// How much of an unknown command is quoted.
const QUOTED: usize = 128;

fn unknown(args: Args<'_>, protocol: Protocol) -> Refusal {
    if protocol == Protocol::Text {
        return Refusal::err("unknown command");
    }
    let quote = |arg: &[u8], most: usize| String::from_utf8_lossy(&arg[..arg.len().min(most)]).into_owned();
    let mut reason = format!("unknown command '{}', with args beginning with: ", quote(&args[0], QUOTED));
    let begin = reason.len();
    for arg in args.from(1).iter() {
        let Some(room) = QUOTED.checked_sub(reason.len() - begin).filter(|room| *room > 0) else { break };
        reason.push_str(&format!("'{}' ", quote(arg, room)));
    }
    Refusal::err(reason)
}

/// Whether an argument is this word, in capitals or not.
pub fn is(arg: &[u8], word: &str) -> bool {
    arg.eq_ignore_ascii_case(word.as_bytes())
}

/// A command's subcommand: its name, and how many arguments there are at least and at most, those two words included.
type Subcommand = (&'static str, usize, usize);

/// Finds the subcommand that the second argument names, and checks the count of arguments.
fn subcommand(command: &str, known: &[Subcommand], args: Args<'_>) -> Result<&'static str, Refusal> {
    let word = &args[1];
    match known.iter().find(|(name, ..)| is(word, name)) {
        Some((name, least, most)) if (*least..=*most).contains(&args.len()) => Ok(name),
        Some((name, ..)) => Err(wrong_count(&format!("{command}|{}", name.to_ascii_lowercase()))),
        None => {
            let word = String::from_utf8_lossy(&word[..word.len().min(QUOTED)]);
            let command = command.to_ascii_uppercase();
            Err(Refusal::err(format!("unknown subcommand '{word}'. Try {command} HELP.")))
        }
    }
}

/// Answers with the names of the subcommands.
fn list_subcommands(known: &[Subcommand], answer: &mut Answer) {
    answer.array(known.len());
    known.iter().for_each(|(name, ..)| answer.simple(name));
}

/// No greatest number of arguments.
const ANY: usize = usize::MAX;

use Handler::{Exec, LongRead, Plain, Read, Session, Walk, Write};
use Keys::{All, None as NoKeys, One, Pairs};

/// The commands of RESP, by name.
pub static RESP: &[Spec] = &numbered(RESP_TABLE, 0);
const RESP_TABLE: [Spec; 58] = [
    Spec::new("append", (3, 3), One, Write(strings::append)),
    Spec::new("auth", (2, 3), NoKeys, Session(session::auth)),
    Spec::new("bgsave", (1, 2), NoKeys, Session(server::bgsave)),
    Spec::new("client", (2, ANY), NoKeys, Session(session::client)),
    Spec::new("command", (1, ANY), NoKeys, Session(server::command)),
    Spec::new("config", (2, ANY), NoKeys, Session(server::config)),
    Spec::new("dbsize", (1, 1), NoKeys, Read(keys::dbsize)),
    Spec::new("decr", (2, 2), One, Write(strings::decr)),
    Spec::new("decrby", (3, 3), One, Write(strings::decrby)),
    Spec::new("del", (2, ANY), All, Write(keys::del)),
    Spec::new("discard", (1, 1), NoKeys, Session(transactions::discard)),
    Spec::new("echo", (2, 2), NoKeys, Plain(session::echo)),
    Spec::new("exec", (1, 1), NoKeys, Exec),
    Spec::new("exists", (2, ANY), All, Read(keys::exists)),
    Spec::new("expire", (3, ANY), One, Write(expiry::expire)),
    Spec::new("expireat", (3, ANY), One, Write(expiry::expireat)),
    Spec::new("expiretime", (2, 2), One, Read(expiry::expiretime)),
    Spec::new("flushall", (1, 2), NoKeys, Write(keys::flush)),
    Spec::new("flushdb", (1, 2), NoKeys, Write(keys::flush)),
    Spec::new("get", (2, 2), One, Read(strings::get)),
    Spec::new("getdel", (2, 2), One, Write(strings::getdel)),
    Spec::new("getex", (2, ANY), One, Write(strings::getex)),
    Spec::new("getset", (3, 3), One, Write(strings::getset)),
    Spec::new("hello", (1, ANY), NoKeys, Session(session::hello)),
    Spec::new("incr", (2, 2), One, Write(strings::incr)),
    Spec::new("incrby", (3, 3), One, Write(strings::incrby)),
    Spec::new("info", (1, ANY), NoKeys, Session(server::info)),
    Spec::new("keys", (2, 2), NoKeys, LongRead(keys::keys)),
    Spec::new("lastsave", (1, 1), NoKeys, Session(server::lastsave)),
    Spec::new("mget", (2, ANY), All, Read(strings::mget)),
    Spec::new("mset", (3, ANY), Pairs, Write(strings::mset)),
    Spec::new("msetnx", (3, ANY), Pairs, Write(strings::msetnx)),
    Spec::new("multi", (1, 1), NoKeys, Session(transactions::multi)),
    Spec::new("persist", (2, 2), One, Write(expiry::persist)),
    Spec::new("pexpire", (3, ANY), One, Write(expiry::pexpire)),
    Spec::new("pexpireat", (3, ANY), One, Write(expiry::pexpireat)),
    Spec::new("pexpiretime", (2, 2), One, Read(expiry::pexpiretime)),
    Spec::new("ping", (1, 2), NoKeys, Plain(session::ping)),
    Spec::new("psetex", (4, 4), One, Write(strings::psetex)),
    Spec::new("pttl", (2, 2), One, Read(expiry::pttl)),
    Spec::new("quit", (1, ANY), NoKeys, Session(session::quit)),
    Spec::new("randomkey", (1, 1), NoKeys, Walk(keys::randomkey)),
    Spec::new("reset", (1, 1), NoKeys, Session(session::reset)),
    Spec::new("save", (1, 1), NoKeys, Walk(server::save)),
    Spec::new("scan", (2, ANY), NoKeys, Walk(keys::scan)),
    Spec::new("select", (2, 2), NoKeys, Plain(session::select)),
    Spec::new("set", (3, ANY), One, Write(strings::set)),
    Spec::new("setex", (4, 4), One, Write(strings::setex)),
    Spec::new("setnx", (3, 3), One, Write(strings::setnx)),
    Spec::new("shutdown", (1, ANY), NoKeys, Session(server::shutdown)),
    Spec::new("strlen", (2, 2), One, Read(strings::strlen)),
    Spec::new("time", (1, 1), NoKeys, Plain(server::time)),
    Spec::new("touch", (2, ANY), All, Read(keys::exists)),
    Spec::new("ttl", (2, 2), One, Read(expiry::ttl)),
    Spec::new("type", (2, 2), One, Read(keys::kind)),
    Spec::new("unlink", (2, ANY), All, Write(keys::del)),
    Spec::new("unwatch", (1, 1), NoKeys, Session(transactions::unwatch)),
    Spec::new("watch", (2, ANY), All, Session(transactions::watch)),
];

#[cfg(test)]
mod tests;
