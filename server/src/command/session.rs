//! Commands on the connection.

use super::{Outcome, Subcommand, integer, is, list_subcommands, subcommand, syntax};
use crate::protocol::{Answer, Args, Protocol, Refusal};
use crate::turn::{Session, Silence, Turn};

/// `PING [message]`
pub fn ping(args: Args<'_>, answer: &mut Answer) -> Outcome {
    match args.get(1) {
        Some(message) => answer.bulk(message),
        None => answer.simple("PONG"),
    }
    Ok(())
}

/// `ECHO message`
pub fn echo(args: Args<'_>, answer: &mut Answer) -> Outcome {
    answer.bulk(&args[1]);
    Ok(())
}

/// `SELECT 0`: there is one database.
pub fn select(args: Args<'_>, answer: &mut Answer) -> Outcome {
    match integer(&args[1])? {
        0 => answer.ok(),
        _ => return Err(Refusal::err("DB index is out of range")),
    }
    Ok(())
}

/// `QUIT`
pub fn quit(turn: &mut Turn<'_>, _: Args<'_>, answer: &mut Answer) -> Outcome {
    turn.session.is_leaving = true;
    answer.ok();
    Ok(())
}

/// `AUTH [user] password`
pub fn auth(turn: &mut Turn<'_>, args: Args<'_>, answer: &mut Answer) -> Outcome {
    if args.len() == 2 && turn.server.password.is_none() {
        return Err(Refusal::err(
            "AUTH <password> called without any password configured for the default user. Are you sure your \
             configuration is correct?",
        ));
    }
    let user = if args.len() == 3 { &args[1] } else { USER };
    log_in(turn, user, &args[args.len() - 1])?;
    answer.ok();
    Ok(())
}

/// The only user.
const USER: &[u8] = b"default";

/// Without a password, any will do.
fn log_in(turn: &mut Turn<'_>, user: &[u8], password: &[u8]) -> Outcome {
    let is_right = turn.server.password.as_ref().is_none_or(|expected| expected.matches(password));
    if !is_right || user != USER {
        return Err(Refusal::new("WRONGPASS", "invalid username-password pair or user is disabled."));
    }
    turn.session.is_trusted = true;
    Ok(())
}

/// `HELLO [version [AUTH user password] [SETNAME name]]`
pub fn hello(turn: &mut Turn<'_>, args: Args<'_>, answer: &mut Answer) -> Outcome {
    let protocol = match args.get(1).map(crate::protocol::integer) {
        None => answer.protocol(),
        Some(Some(2)) => Protocol::Resp2,
        Some(Some(3)) => Protocol::Resp3,
        Some(Some(_)) => return Err(Refusal::new("NOPROTO", "unsupported protocol version")),
        Some(None) => return Err(Refusal::err("Protocol version is not an integer or out of range")),
    };
    let (mut name, mut at) = (None, 2);
    while let Some(word) = args.get(at) {
        match (word, args.get(at + 1), args.get(at + 2)) {
            (word, Some(user), Some(password)) if is(word, "AUTH") => {
                log_in(turn, user, password)?;
                at += 3;
            }
            (word, Some(wanted), _) if is(word, "SETNAME") => {
                name = Some(word_of(wanted, "Client names")?);
                at += 2;
            }
            (word, ..) => {
                let word = String::from_utf8_lossy(word);
                return Err(Refusal::err(format!("Syntax error in HELLO option '{word}'")));
            }
        }
    }
    if !turn.session.is_trusted {
        return Err(Refusal::new(
            "NOAUTH",
            "HELLO must be called with the client already authenticated, otherwise the HELLO <proto> AUTH <user> <pass> \
             option can be used to authenticate the client and select the RESP protocol version at the same time",
        ));
    }
    turn.session.name = name.unwrap_or_else(|| std::mem::take(&mut turn.session.name));
    turn.session.protocol = protocol;
    answer.set_protocol(protocol);
    introduce(turn.session, answer);
    Ok(())
}

/// What `HELLO` says of the server. The name is that of the software whose commands these are: clients look for it.
fn introduce(session: &Session, answer: &mut Answer) {
    answer.map(7);
    let texts = [("server", "redis"), ("version", super::server::REDIS_VERSION)];
    for (name, value) in texts {
        answer.bulk(name.as_bytes());
        answer.bulk(value.as_bytes());
    }
    answer.bulk(b"proto");
    answer.integer(if session.protocol == Protocol::Resp3 { 3 } else { 2 });
    answer.bulk(b"id");
    answer.integer(session.id as i64);
    for (name, value) in [("mode", "standalone"), ("role", "master")] {
        answer.bulk(name.as_bytes());
        answer.bulk(value.as_bytes());
    }
    answer.bulk(b"modules");
    answer.array(0);
}

/// `RESET`: as if the client had just come.
pub fn reset(turn: &mut Turn<'_>, _: Args<'_>, answer: &mut Answer) -> Outcome {
    let is_trusted = turn.server.password.is_none();
    let Session { id, since, .. } = *turn.session;
    let address = std::mem::take(&mut turn.session.address);
    *turn.session = Session { since, protocol: Protocol::Resp2, ..Session::new(id, address, is_trusted) };
    answer.set_protocol(Protocol::Resp2);
    answer.simple("RESET");
    Ok(())
}

/// The subcommands of `CLIENT`.
const CLIENT: [Subcommand; 10] = [
    ("GETNAME", 2, 2),
    ("HELP", 2, 2),
    ("ID", 2, 2),
    ("INFO", 2, 2),
    ("LIST", 2, 2),
    ("NO-EVICT", 3, 3),
    ("NO-TOUCH", 3, 3),
    ("REPLY", 3, 3),
    ("SETINFO", 4, 4),
    ("SETNAME", 3, 3),
];

/// `CLIENT subcommand …`
pub fn client(turn: &mut Turn<'_>, args: Args<'_>, answer: &mut Answer) -> Outcome {
    let session = &mut *turn.session;
    match subcommand("client", &CLIENT, args)? {
        "GETNAME" if session.name.is_empty() => answer.null(),
        "GETNAME" => answer.bulk(session.name.as_bytes()),
        "ID" => answer.integer(session.id as i64),
        "INFO" => answer.verbatim(&format!("{}\n", session.describe())),
        "LIST" => answer.verbatim(&list(turn)),
        "NO-EVICT" | "NO-TOUCH" if is(&args[2], "ON") || is(&args[2], "OFF") => answer.ok(),
        "NO-EVICT" | "NO-TOUCH" => return Err(syntax()),
        "REPLY" => reply(session, &args[2], answer)?,
        "SETINFO" => set_info(session, &args[2], &args[3], answer)?,
        "SETNAME" => {
            session.name = word_of(&args[2], "Client names")?;
            answer.ok();
        }
        _ => list_subcommands(&CLIENT, answer),
    }
    Ok(())
}

fn list(turn: &Turn<'_>) -> String {
    let mut lines = format!("{}\n", turn.session.describe());
    turn.others.each(&mut |session| {
        lines.push_str(&session.describe());
        lines.push('\n');
    });
    lines
}

fn set_info(session: &mut Session, which: &[u8], value: &[u8], answer: &mut Answer) -> Outcome {
    let at = match which {
        which if is(which, "LIB-NAME") => 0,
        which if is(which, "LIB-VER") => 1,
        which => {
            let which = String::from_utf8_lossy(which);
            return Err(Refusal::err(format!("Unrecognized option '{which}'")));
        }
    };
    session.library[at] = word_of(value, ["lib-name", "lib-ver"][at])?;
    answer.ok();
    Ok(())
}

fn reply(session: &mut Session, which: &[u8], answer: &mut Answer) -> Outcome {
    match which {
        which if is(which, "ON") => {
            session.silence = Silence::None;
            answer.ok();
        }
        which if is(which, "OFF") => session.silence = Silence::All,
        which if is(which, "SKIP") => session.silence = Silence::Next,
        _ => return Err(syntax()),
    }
    Ok(())
}

/// Longest name of a client or its library.
const LONGEST_WORD: usize = 1024;

/// A word that can be shown in a list of clients.
fn word_of(bytes: &[u8], what: &str) -> Result<String, Refusal> {
    if !bytes.iter().all(u8::is_ascii_graphic) {
        return Err(Refusal::err(format!("{what} cannot contain spaces, newlines or special characters.")));
    }
    match std::str::from_utf8(bytes) {
        Ok(word) if word.len() <= LONGEST_WORD => Ok(word.to_owned()),
        _ => Err(Refusal::err(format!("{what} cannot be longer than {LONGEST_WORD} bytes."))),
    }
}
