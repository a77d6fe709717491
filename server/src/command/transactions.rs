//! `MULTI`, what is queued behind it, and `WATCH`.
//!
//! `EXEC` makes one transaction of what was queued, which the committer carries out; so it is atomic, and all or nothing
//! across a crash. `WATCH` notes which record had set each key, and the transaction compares. (A key that was not there, then was,
//! and again is not, has not changed.)

use super::{Handler, Outcome, Spec};
use crate::budget::OWN_SHARE;
use crate::protocol::{Answer, Args, MAX_VALUE, Refusal};
use crate::turn::{Queue, Session, Turn};
use crate::unit::{Step, Task, version_of};

/// How much may be queued, in bytes.
const MAX_QUEUE: usize = MAX_VALUE + (1 << 20);
/// How many keys a client may watch.
const MAX_WATCHED: usize = 1024;

/// `MULTI`
pub fn multi(turn: &mut Turn<'_>, _: Args<'_>, answer: &mut Answer) -> Outcome {
    if turn.session.queue.is_some() {
        return Err(Refusal::err("MULTI calls can not be nested"));
    }
    turn.session.queue = Some(Queue::default());
    answer.ok();
    Ok(())
}

/// `DISCARD`
pub fn discard(turn: &mut Turn<'_>, _: Args<'_>, answer: &mut Answer) -> Outcome {
    if turn.session.queue.take().is_none() {
        return Err(Refusal::err("DISCARD without MULTI"));
    }
    turn.session.watched.clear();
    answer.ok();
    Ok(())
}

/// `WATCH key …`
pub fn watch(turn: &mut Turn<'_>, args: Args<'_>, answer: &mut Answer) -> Outcome {
    if turn.session.queue.is_some() {
        return Err(Refusal::err("WATCH inside MULTI is not allowed"));
    }
    let watched = &mut turn.session.watched;
    if watched.len() + args.len() - 1 > MAX_WATCHED {
        return Err(Refusal::err(format!("too many keys watched: at most {MAX_WATCHED} can be")));
    }
    for key in args.from(1).iter() {
        // What is watched already has been so since the first time.
        if !watched.iter().any(|(other, _)| other == key) {
            watched.push((key.to_vec(), version_of(&*turn.server.store, key)?));
        }
    }
    answer.ok();
    Ok(())
}

/// `UNWATCH`
pub fn unwatch(turn: &mut Turn<'_>, _: Args<'_>, answer: &mut Answer) -> Outcome {
    turn.session.watched.clear();
    answer.ok();
    Ok(())
}

/// Whether a command is queued rather than carried out.
pub fn queues(session: &Session, spec: &Spec) -> bool {
    session.queue.is_some() && !(matches!(spec.handler, Handler::Exec) || ENDS.contains(&spec.name))
}

/// Commands of the connection that are carried out at once, also behind `MULTI`.
const ENDS: [&str; 6] = ["discard", "multi", "quit", "reset", "shutdown", "watch"];

/// Queues a command behind `MULTI`.
pub fn queue(turn: &mut Turn<'_>, spec: &'static Spec, args: Args<'_>, answer: &mut Answer) -> Outcome {
    let is_short = turn.server.budget.is_spent();
    let queue = turn.session.queue.as_mut().expect("there has been a MULTI");
    let refused = match spec.handler {
        Handler::Session(_) | Handler::Walk(_) => Some("Command not allowed inside a transaction"),
        _ if queue.memory > if is_short { OWN_SHARE } else { MAX_QUEUE } => Some("transaction too long"),
        _ => None,
    };
    if let Some(refused) = refused {
        return Err(Refusal::err(refused));
    }
    queue.push(Step { spec, args: args.to_owned() });
    answer.simple("QUEUED");
    Ok(())
}

/// What `EXEC` has to do.
pub fn exec(session: &mut Session) -> Result<Task, Refusal> {
    let queue = session.queue.take().ok_or_else(|| Refusal::err("EXEC without MULTI"))?;
    let watched = std::mem::take(&mut session.watched);
    if queue.is_spoiled {
        return Err(Refusal::new("EXECABORT", "Transaction discarded because of previous errors."));
    }
    Ok(Task::Exec(queue.steps, watched))
}
