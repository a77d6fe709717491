//! A client's connection: bytes in, commands in their order, bytes out.
//!
//! # Order and backpressure
//!
//! Commands are carried out one after the other. Those that the event loop can carry out by itself are, when it is their turn. Those
//! that need a worker make a *run*, the longest stretch of commands of one kind (those that write, or those that walk), which
//! becomes one job. Until that is done nothing else of the connection is carried out; so answers come in the order of the commands,
//! and a client sees what it has written.
//!
//! Nothing is read beyond a chunk ahead of what is carried out, and nothing is carried out while more than
//! [`PAUSE_ABOVE`](crate::output::PAUSE_ABOVE) bytes of answers are unsent. So a client that does not read its answers is soon not read
//! from either, costs a bounded amount of memory, and delays nobody; if nothing of its answers has gone for a while
//! the connection is given up.

use std::io;
use std::time::{Duration, Instant};

use crate::budget;
use crate::command::{self, Handler, Spec, transactions};
use crate::event_loop::stream::Stream;
use crate::input::{CHUNK, Chunks, Input};
use crate::output::Output;
use crate::protocol::{Answer, Args, Parsed, Parser, Protocol, Refusal, Span};
use crate::server::Server;
use crate::turn::{Others, Session, Turn};
use crate::unit::{Job, Step, Task, Unit};
use crate::workers::Walk;

/// A run ends after so many commands, or so many bytes.
const RUN_UNITS: usize = 1024;
const RUN_BYTES: usize = 1 << 20;
/// Commands that read so many keys or more go to a worker.
const MANY_ARGS: usize = 64;
/// How long the rest of what a client sends is passed over after the last answer. To close at once could take the answer back.
const LINGER: Duration = Duration::from_secs(1);

/// A connection.
pub struct Connection {
    /// Its socket.
    pub stream: Stream,
    /// What is remembered of its client.
    pub session: Session,
    /// Whether there may be something to read.
    pub is_readable: bool,
    /// Whether something may be written.
    pub is_writable: bool,
    /// Whether the client has said that it will send no more, perhaps behind bytes that have not been read.
    pub is_closing: bool,
    /// Whether it waits for its turn already.
    pub is_ready: bool,
    /// When to give up, if nothing happens before.
    pub deadline: Option<Instant>,
    parser: Parser,
    spans: Vec<Span>,
    input: Input,
    output: Output,
    /// When the newest input came.
    arrived: Instant,
    /// A worker has commands of it.
    is_busy: bool,
    /// All of the input has been looked at, and holds no whole request any more.
    needs_more: bool,
    /// The client has sent its last byte.
    has_ended: bool,
    /// There are too many connections: this one is only told so.
    is_surplus: bool,
    /// All answers are sent, and what still comes is passed over.
    is_lingering: bool,
    /// Bytes of the budget that it uses.
    accounted: usize,
}

/// What a connection has at hand when it is its turn.
pub struct Hands<'a> {
    /// The server.
    pub server: &'a mut Server,
    /// The other connections.
    pub others: &'a dyn Others,
    /// Buffers for reading.
    pub chunks: &'a mut Chunks,
    /// Jobs for the committer.
    pub writes: &'a mut Vec<Job>,
    /// Jobs for the other workers.
    pub walks: &'a mut Vec<Walk>,
    /// Commands that were answered in this turn, for the measuring.
    pub answered: &'a mut Vec<usize>,
}

/// How a turn ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Wait for an event.
    Wait,
    /// Another turn, after the others had theirs.
    Again,
    /// The connection is over.
    Close,
}

/// Commands of one kind that go to a worker together.
#[derive(Default)]
struct Run {
    units: Vec<Unit>,
    writes: bool,
    bytes: usize,
}

/// Where a command is carried out.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Here,
    Queue,
    Worker { writes: bool },
}

impl Connection {
    /// A connection that has just been accepted. A surplus one is told so, and no more.
    pub fn new(stream: Stream, session: Session, is_surplus: bool) -> Connection {
        Connection {
            stream,
            session,
            is_readable: true,
            is_writable: true,
            is_closing: false,
            is_ready: false,
            deadline: is_surplus.then(|| Instant::now() + LINGER),
            parser: Parser::Undecided,
            spans: Vec::new(),
            input: Input::default(),
            output: Output::default(),
            arrived: Instant::now(),
            is_busy: false,
            needs_more: true,
            has_ended: false,
            is_surplus,
            is_lingering: false,
            accounted: 0,
        }
    }

    /// Whether it counts as a client.
    pub fn is_client(&self) -> bool {
        !self.is_surplus
    }

    /// Reads, carries out, writes: once, so that nobody waits for long.
    pub fn turn(&mut self, place: usize, hands: &mut Hands<'_>) -> Next {
        let next = self.try_turn(place, hands).unwrap_or(Next::Close);
        self.input.settle(hands.chunks);
        self.account(hands.server);
        next
    }

    fn try_turn(&mut self, place: usize, hands: &mut Hands<'_>) -> io::Result<Next> {
        if self.needs_more && self.input.is_beyond_share() && hands.server.budget.is_spent() {
            self.parser.refuse(budget::no_memory_for_request());
        } else if self.wants_input(hands.server) {
            self.receive(hands)?;
        }
        if self.is_surplus {
            self.turn_away();
        } else {
            self.execute(place, hands);
        }
        self.send(hands.server)?;
        self.measure(hands);
        Ok(self.next(hands.server))
    }

    fn wants_input(&self, server: &Server) -> bool {
        let has_room = self.needs_more || self.is_lingering || self.input.unread().len() < CHUNK / 2;
        self.is_readable && has_room && !self.has_ended && !server.is_stopping
    }

    fn receive(&mut self, hands: &mut Hands<'_>) -> io::Result<()> {
        match self.input.read(&mut self.stream, hands.chunks) {
            Ok((0, _)) => self.has_ended = true,
            Ok((count, is_all)) => {
                // Nobody has looked at these bytes, and perhaps nobody will for a while.
                self.needs_more = false;
                // Behind the last byte there may be the end, of which nobody would tell again.
                self.is_readable = !is_all || self.is_closing;
                self.arrived = Instant::now();
                self.session.active = self.arrived;
                hands.server.counters.received += count as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.is_readable = false,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
        if self.is_lingering {
            self.input.clear();
        }
        Ok(())
    }

    /// Tells a surplus client, in its language as soon as that is known, that there is no room.
    fn turn_away(&mut self) {
        if self.session.is_leaving || (self.input.unread().is_empty() && !self.is_overdue()) {
            return;
        }
        if self.input.unread().first() == Some(&b'*') {
            self.session.protocol = Protocol::Resp2;
        }
        self.refuse(Refusal::err("max number of clients reached"), None);
        self.leave();
    }

    /// Carries commands out, as far as they have come and it is their turn.
    fn execute(&mut self, place: usize, hands: &mut Hands<'_>) {
        let mut run = Run::default();
        while !self.is_busy && !self.session.is_leaving && !self.output.is_full() && !run.is_full() {
            let limits = hands.server.budget.limits(self.session.is_trusted);
            let parsed = self.parser.parse(self.input.unread(), &mut self.spans, &limits);
            if self.session.protocol == Protocol::Text && self.parser.is_resp() {
                self.session.protocol = Protocol::Resp2;
            }
            self.needs_more = parsed == Parsed::More;
            match parsed {
                Parsed::More => break,
                Parsed::Skipped(len) => self.input.consume(len),
                Parsed::Refused(len, refusal) => {
                    self.refuse_in(&mut run, refusal, hands);
                    self.input.consume(len);
                }
                Parsed::Broken(refusal) => {
                    self.refuse_in(&mut run, refusal, hands);
                    self.leave();
                }
                Parsed::Request(len) => {
                    if !self.request(&mut run, hands) {
                        break;
                    }
                    self.input.consume(len);
                }
            }
        }
        self.dispatch(run, place, hands);
        self.end_of_input(hands);
    }

    /// Carries out the command that has been parsed, or adds it to the run; false if it has to wait for what is in that.
    fn request(&mut self, run: &mut Run, hands: &mut Hands<'_>) -> bool {
        let args = Args::new(self.input.unread(), &self.spans);
        let located = locate(&self.session, args);
        let place = located.as_ref().map_or(Place::Here, |(_, place)| *place);
        if !run.takes(place) {
            return false;
        }
        hands.server.counters.commands += 1;
        match located {
            Err(refusal) => self.refuse_in(run, refusal, hands),
            Ok((spec, Place::Worker { .. })) => self.add(run, spec, hands),
            Ok((spec, place)) => {
                self.session.command = spec.name;
                if self.run_here(spec, place, hands) {
                    hands.answered.push(spec.id);
                } else {
                    run.writes = false;
                    self.add(run, spec, hands);
                }
            }
        }
        true
    }

    /// Carries a command out in the event loop; false if that would take too long, and nothing has been done.
    fn run_here(&mut self, spec: &'static Spec, place: Place, hands: &mut Hands<'_>) -> bool {
        let Connection { session, output, input, spans, .. } = self;
        let args = Args::new(input.unread(), spans);
        let limit = match spec.handler {
            Handler::Read(_) => budget::OWN_SHARE,
            _ => hands.server.budget.answer_limit(),
        };
        let mut answer = Answer::new(output.take(), session.protocol, limit);
        let mark = answer.mark();
        let turn = &mut Turn { session, server: hands.server, others: hands.others };
        let outcome = match (spec.handler, place) {
            (_, Place::Queue) => transactions::queue(turn, spec, args, &mut answer),
            (Handler::Session(run), _) => run(turn, args, &mut answer),
            (Handler::Plain(run), _) => run(args, &mut answer),
            (Handler::Read(run), _) => run(&*turn.server.store, args, &mut answer),
            _ => unreachable!("a worker carries these out"),
        };
        let (outcome, is_long_read) = match (answer.is_too_long(), spec.handler) {
            (true, Handler::Read(_)) => (Ok(()), true),
            (true, _) => (Err(budget::answer_too_long()), false),
            (false, _) => (outcome, false),
        };
        if is_long_read {
            answer.back_to(mark);
        } else {
            if let Err(refusal) = outcome {
                // What is carried out behind MULTI may fail without spoiling what is queued.
                session.queue.iter_mut().for_each(|queue| queue.is_spoiled |= place == Place::Queue);
                answer.refuse(mark, &refusal);
            }
            if session.takes_silence() {
                answer.silence(mark);
            }
        }
        hands.server.counters.tally.add(&answer.tally);
        output.give_back(answer.into_bytes());
        !is_long_read
    }

    /// Adds a command to the run.
    fn add(&mut self, run: &mut Run, spec: &'static Spec, hands: &mut Hands<'_>) {
        self.session.command = spec.name;
        let task = match spec.handler {
            Handler::Exec => match transactions::exec(&mut self.session) {
                Ok(task) => task,
                Err(refusal) => return self.refuse_in(run, refusal, hands),
            },
            _ => {
                let args = Args::new(self.input.unread(), &self.spans).to_owned();
                run.bytes += args.memory();
                Task::One(Step { spec, args })
            }
        };
        run.writes = spec.writes();
        run.units.push(Unit::new(task, self.session.protocol, self.session.takes_silence(), &hands.server.budget));
    }

    /// Answers with a refusal, when it is its turn.
    fn refuse_in(&mut self, run: &mut Run, refusal: Refusal, hands: &mut Hands<'_>) {
        if let Some(queue) = &mut self.session.queue {
            queue.is_spoiled = true;
        }
        if run.units.is_empty() {
            self.refuse(refusal, Some(hands.server));
        } else {
            let task = Task::Refused(refusal);
            run.units.push(Unit::new(task, self.session.protocol, self.session.takes_silence(), &hands.server.budget));
        }
    }

    fn refuse(&mut self, refusal: Refusal, server: Option<&mut Server>) {
        let mut answer = Answer::new(self.output.take(), self.session.protocol, 0);
        let mark = answer.mark();
        answer.refuse(mark, &refusal);
        if self.session.takes_silence() {
            answer.silence(mark);
        }
        if let Some(server) = server {
            server.counters.tally.add(&answer.tally);
        }
        self.output.give_back(answer.into_bytes());
    }

    /// Has a run made a job.
    fn dispatch(&mut self, run: Run, place: usize, hands: &mut Hands<'_>) {
        if run.units.is_empty() {
            return;
        }
        self.is_busy = true;
        let job = Job { client: (place, self.session.id), units: run.units, arrived: self.arrived };
        match run.writes {
            true => hands.writes.push(job),
            false => hands.walks.push(Walk::Job(job)),
        }
    }

    /// Takes the answers of a job.
    pub fn finish(&mut self, job: Job, server: &mut Server) {
        self.is_busy = false;
        let micros = micros_since(job.arrived);
        for unit in job.units {
            unit.specs().for_each(|spec| server.latencies.record(spec.id, micros));
            let (answer, tally) = unit.into_answer();
            server.counters.tally.add(&tally);
            self.output.push(answer);
        }
        self.account(server);
    }

    /// A line that the end of the stream has cut off is no command: it may be the beginning of another.
    fn end_of_input(&mut self, hands: &mut Hands<'_>) {
        let is_cut_off = self.has_ended && self.needs_more && !self.is_busy && !self.session.is_leaving;
        if is_cut_off && self.session.protocol == Protocol::Text && !self.input.unread().is_empty() {
            self.refuse(Refusal::err("line without an end"), Some(hands.server));
            self.input.clear();
        }
    }

    /// Reads no more commands.
    fn leave(&mut self) {
        self.session.is_leaving = true;
        self.input.clear();
    }

    fn send(&mut self, server: &mut Server) -> io::Result<()> {
        if self.output.is_empty() || !self.is_writable {
            return Ok(());
        }
        match self.output.write(&mut self.stream) {
            Ok(count) => {
                server.counters.sent += count as u64;
                self.is_writable = self.output.is_empty();
                self.deadline = (!self.is_writable).then(|| Instant::now() + server.config.patience);
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.is_writable = false;
                self.deadline.get_or_insert(Instant::now() + server.config.patience);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// Notes how long the commands have taken that were answered in this turn.
    fn measure(&mut self, hands: &mut Hands<'_>) {
        if !hands.answered.is_empty() {
            let micros = micros_since(self.arrived);
            hands.answered.drain(..).for_each(|id| hands.server.latencies.record(id, micros));
        }
    }

    fn next(&mut self, server: &Server) -> Next {
        let is_answered = !self.is_busy && self.output.is_empty();
        if self.is_lingering || (is_answered && self.needs_more && (self.has_ended || server.is_stopping)) {
            return if self.has_ended || server.is_stopping { Next::Close } else { self.again_if(self.is_readable) };
        }
        if is_answered && self.session.is_leaving {
            self.stream.end();
            self.is_lingering = true;
            self.deadline = Some(Instant::now() + LINGER);
            return if server.is_stopping { Next::Close } else { self.again_if(self.is_readable) };
        }
        let has_requests = !self.is_busy && !self.needs_more && !self.output.is_full() && !self.session.is_leaving;
        let can_send = !self.output.is_empty() && self.is_writable;
        self.again_if(has_requests || can_send || self.wants_input(server))
    }

    fn again_if(&self, has_more_to_do: bool) -> Next {
        if has_more_to_do { Next::Again } else { Next::Wait }
    }

    /// Whether it has waited for its client for too long.
    pub fn is_overdue(&self) -> bool {
        self.deadline.is_some_and(|deadline| deadline <= Instant::now())
    }

    /// Whether a client that does not read is what it waits for.
    pub fn is_stuck(&self) -> bool {
        !self.output.is_empty()
    }

    /// Whether all that is missing is that it be told that there is no room.
    pub fn is_to_be_turned_away(&self) -> bool {
        self.is_surplus && !self.session.is_leaving
    }

    /// Notes how much of the budget it uses.
    fn account(&mut self, server: &Server) {
        let beyond = |memory: usize| memory.saturating_sub(budget::OWN_SHARE);
        let memory = beyond(self.input.memory()) + beyond(self.output.memory()) + self.session.memory();
        server.budget.change(self.accounted, memory);
        self.accounted = memory;
    }

    /// Gives its share of the budget back.
    pub fn close(self, server: &Server) {
        server.budget.change(self.accounted, 0);
    }
}

impl Run {
    fn is_full(&self) -> bool {
        self.units.len() >= RUN_UNITS || self.bytes >= RUN_BYTES
    }

    /// Whether a command at this place can be carried out now, with what is in the run before it.
    fn takes(&self, place: Place) -> bool {
        match place {
            Place::Worker { writes } => self.units.is_empty() || self.writes == writes,
            Place::Here | Place::Queue => self.units.is_empty(),
        }
    }
}

/// Finds out which command this is and where it is carried out; or why it is not.
fn locate(session: &Session, args: Args<'_>) -> Result<(&'static Spec, Place), Refusal> {
    let spec = command::find(args, session.protocol)?;
    spec.check(args, session.protocol)?;
    if !session.is_trusted && !spec.is_for_strangers() {
        return Err(match session.protocol {
            Protocol::Text => Refusal::err("authentication required: AUTH password"),
            _ => Refusal::new("NOAUTH", "Authentication required."),
        });
    }
    let place = match spec.handler {
        _ if transactions::queues(session, spec) => Place::Queue,
        Handler::Session(_) | Handler::Plain(_) => Place::Here,
        Handler::Read(_) if args.len() <= MANY_ARGS => Place::Here,
        Handler::Read(_) | Handler::LongRead(_) | Handler::Walk(_) => Place::Worker { writes: false },
        Handler::Write(_) | Handler::Exec => Place::Worker { writes: true },
    };
    Ok((spec, place))
}

fn micros_since(moment: Instant) -> u64 {
    u64::try_from(moment.elapsed().as_micros()).unwrap_or(u64::MAX)
}
