//! The event loop: one thread that does all the socket I/O and all the parsing, and answers by itself whatever cannot
//! block.
//!
//! # A round
//!
//! Wait for events; note which connections have something to read or room to write; accept; take what the workers have done;
//! then give each of the connections that have something to do one [turn](crate::connection::Connection::turn). What the turns
//! have collected for the workers is handed over at the end of the round, all at once, so that clients that were ready together share
//! a group commit. A connection that has more to do gets another turn in the next round, after the others.
//!
//! The events are edge-triggered: a connection remembers what it is ready for until the system says "would block". The round
//! has a timeout only while some connection has a deadline, or accepting has to be tried again; an idle server sleeps.

mod listeners;
mod metrics;
pub mod stream;

use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mio::net::TcpListener;
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token, Waker};
use nix::errno::Errno;
use nix::sys::signalfd::SignalFd;
use slab::Slab;
use std::os::fd::AsRawFd;
use tracing::{debug, error, info, warn};

use crate::connection::{Connection, Hands, Next};
use crate::input::Chunks;
use crate::server::{Saving, Server};
use crate::turn::{Others, Session};
use crate::unit::Job;
use crate::workers::{Done, Walk, Workers};
use listeners::Listeners;
use metrics::Scraper;

const TCP: Token = Token(0);
const UNIX: Token = Token(1);
const METRICS: Token = Token(2);
const WAKER: Token = Token(3);
const SIGNALS: Token = Token(4);
/// The first token of a connection; those of scrapers have the highest bit.
const FIRST: usize = 8;
const SCRAPER: usize = 1 << (usize::BITS - 1);

/// Events that are taken at once.
const EVENTS: usize = 1024;
/// How exact deadlines are, and how soon accepting is tried again.
const TICK: Duration = Duration::from_millis(500);
/// When the server stops, how long it takes for what was read to be carried out and answered.
const STOP_WITHIN: Duration = Duration::from_millis(1500);
/// How many connections beyond the greatest number are kept until they have been told so.
const SURPLUS: usize = 32;
/// How many scrapers there can be.
const SCRAPERS: usize = 32;

/// The event loop.
pub struct EventLoop {
    poll: Poll,
    signals: SignalFd,
    listeners: Option<Listeners>,
    metrics: Option<TcpListener>,
    server: Server,
    workers: Workers,
    connections: Connections,
    scrapers: Slab<Scraper>,
    /// Connections that have something to do, each once.
    ready: Vec<usize>,
    chunks: Chunks,
    writes: Vec<Job>,
    walks: Vec<Walk>,
    /// For commands that are answered in a turn; empty between two.
    answered: Vec<usize>,
    next_id: u64,
    surplus: usize,
    /// Clients wait that could not be accepted for want of descriptors.
    must_accept: bool,
    /// Whether that has been logged.
    is_out_of_descriptors: bool,
    /// Whether a connection may have a deadline.
    has_deadlines: bool,
    /// When the server has to have stopped.
    stop_at: Option<Instant>,
}

/// The connections; the one whose turn it is has been taken out of its place.
#[derive(Default)]
struct Connections(Slab<Option<Box<Connection>>>);

impl Others for Connections {
    fn each(&self, visit: &mut dyn FnMut(&Session)) {
        self.0
            .iter()
            .filter_map(|(_, connection)| connection.as_ref())
            .for_each(|connection| visit(&connection.session));
    }
}

impl EventLoop {
    /// Listens, and starts the workers. `server.address` says where to listen, and then where it does.
    pub fn new(mut server: Server, signals: SignalFd) -> io::Result<EventLoop> {
        let poll = Poll::new()?;
        let registry = poll.registry();
        registry.register(&mut SourceFd(&signals.as_raw_fd()), SIGNALS, Interest::READABLE)?;
        let unix = server.config.unix.as_deref();
        let listeners = Listeners::open(server.address, unix, registry, [TCP, UNIX])?;
        server.address = listeners.address()?;
        let metrics = server.config.metrics.map(|port| listen_for_scrapers(port, &poll)).transpose()?;
        let workers = Workers::start(&server.store, server.config.threads, Waker::new(registry, WAKER)?)?;
        Ok(EventLoop {
            poll,
            signals,
            listeners: Some(listeners),
            metrics,
            server,
            workers,
            connections: Connections::default(),
            scrapers: Slab::new(),
            ready: Vec::new(),
            chunks: Chunks::default(),
            writes: Vec::new(),
            walks: Vec::new(),
            answered: Vec::new(),
            next_id: 1,
            surplus: 0,
            must_accept: false,
            is_out_of_descriptors: false,
            has_deadlines: false,
            stop_at: None,
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.server.address
    }

    /// The unix socket at which it listens, too.
    pub fn unix(&self) -> Option<&Path> {
        self.server.config.unix.as_deref()
    }

    /// Where metrics are served.
    pub fn metrics_address(&self) -> Option<SocketAddr> {
        self.metrics.as_ref().and_then(|listener| listener.local_addr().ok())
    }

    /// Serves until a signal or a client says stop; returns the store, which nobody else uses any more.
    pub fn run(mut self) -> io::Result<Arc<kvwal::Store>> {
        let mut events = Events::with_capacity(EVENTS);
        while !self.has_stopped() {
            match self.poll.poll(&mut events, self.timeout()) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                result => result?,
            }
            for event in &events {
                self.note(event);
            }
            self.fetch_done();
            self.give_turns();
            self.hand_over();
            self.look_at_the_time();
        }
        self.stop()
    }

    fn timeout(&self) -> Option<Duration> {
        if !self.ready.is_empty() {
            return Some(Duration::ZERO);
        }
        (self.has_deadlines || self.must_accept || self.stop_at.is_some() || !self.scrapers.is_empty()).then_some(TICK)
    }

    /// Notes an event, or does what it is about.
    fn note(&mut self, event: &mio::event::Event) {
        match event.token() {
            TCP | UNIX => self.accept(),
            METRICS => self.accept_scrapers(),
            WAKER => {}
            SIGNALS => self.take_signals(),
            Token(token) if token & SCRAPER != 0 => self.give_scraper_turn(token & !SCRAPER),
            Token(token) => {
                let place = token - FIRST;
                if let Some(Some(connection)) = self.connections.0.get_mut(place) {
                    connection.is_readable |= event.is_readable();
                    connection.is_closing |= event.is_read_closed() || event.is_error();
                    connection.is_writable |= event.is_writable();
                    self.make_ready(place);
                }
            }
        }
    }

    fn make_ready(&mut self, place: usize) {
        if let Some(Some(connection)) = self.connections.0.get_mut(place)
            && !connection.is_ready
        {
            connection.is_ready = true;
            self.ready.push(place);
        }
    }

    fn take_signals(&mut self) {
        while let Ok(Some(signal)) = self.signals.read_signal() {
            info!(signal = signal.ssi_signo, "stopping");
            self.server.is_stopping = true;
        }
    }

    /// Takes what the workers have done.
    fn fetch_done(&mut self) {
        let mut done = Vec::new();
        self.workers.take_done(&mut done);
        for done in done {
            match done {
                Done::Job(job) => self.finish(job),
                Done::Saved(Ok(())) => self.server.saving = Saving::Idle,
                Done::Saved(Err(error)) => {
                    warn!(%error, "the checkpoint that BGSAVE asked for failed");
                    self.server.saving = Saving::Failed;
                }
                Done::Failed(error) => error!(%error, "no more writes until the server is started again"),
            }
        }
    }

    fn finish(&mut self, job: Job) {
        let (place, id) = job.client;
        match self.connections.0.get_mut(place) {
            Some(Some(connection)) if connection.session.id == id => {
                connection.finish(job, &mut self.server);
                self.make_ready(place);
            }
            // The client has gone meanwhile. What it wanted is done all the same, and counts.
            _ => {
                for unit in job.units {
                    let (_, tally) = unit.into_answer();
                    self.server.counters.tally.add(&tally);
                }
            }
        }
    }

    /// Gives every connection that has something to do a turn.
    fn give_turns(&mut self) {
        let ready = std::mem::take(&mut self.ready);
        for &place in &ready {
            let Some(mut connection) = self.connections.0.get_mut(place).and_then(Option::take) else { continue };
            connection.is_ready = false;
            let mut hands = Hands {
                server: &mut self.server,
                others: &self.connections,
                chunks: &mut self.chunks,
                writes: &mut self.writes,
                walks: &mut self.walks,
                answered: &mut self.answered,
            };
            let next = connection.turn(place, &mut hands);
            self.put_back(place, connection, next);
        }
        if self.ready.is_empty() {
            // So that its memory is used again.
            self.ready = ready;
            self.ready.clear();
        }
    }

    fn put_back(&mut self, place: usize, connection: Box<Connection>, next: Next) {
        if next == Next::Close {
            return self.close(place, connection);
        }
        self.has_deadlines |= connection.deadline.is_some();
        self.connections.0[place] = Some(connection);
        if next == Next::Again {
            self.make_ready(place);
        }
    }

    /// Gives the workers what the connections have for them.
    fn hand_over(&mut self) {
        if self.server.saving == Saving::Requested {
            self.server.saving = Saving::Running;
            self.walks.push(Walk::Save);
        }
        self.workers.commit(&mut self.writes);
        self.workers.walk(&mut self.walks);
    }

    /// Accepts all clients that wait.
    fn accept(&mut self) {
        self.must_accept = false;
        while let Some(listeners) = &self.listeners {
            match listeners.accept() {
                Ok(None) => {
                    self.is_out_of_descriptors = false;
                    break;
                }
                Ok(Some((stream, address))) => self.admit(stream, address),
                Err(error) if is_out_of_descriptors(&error) => {
                    self.must_accept = true;
                    self.server.counters.out_of_descriptors += 1;
                    if !std::mem::replace(&mut self.is_out_of_descriptors, true) {
                        warn!(%error, "cannot accept connections until others end");
                    }
                    break;
                }
                // This one has gone already.
                Err(error) => debug!(%error, "accept"),
            }
        }
    }

    /// Takes a connection in.
    fn admit(&mut self, mut stream: stream::Stream, address: String) {
        let is_surplus = self.server.clients >= self.server.config.max_clients;
        if is_surplus {
            self.server.counters.rejected += 1;
            if self.surplus >= SURPLUS {
                // In whichever language: there is no time to find out. If it cannot be written, it is not to be.
                let _ = stream.write(b"-ERR max number of clients reached\r\n");
                return;
            }
        }
        stream.tune();
        let entry = self.connections.0.vacant_entry();
        let place = entry.key();
        let interests = Interest::READABLE | Interest::WRITABLE;
        if let Err(error) = self.poll.registry().register(&mut stream, Token(FIRST + place), interests) {
            warn!(%error, "cannot watch a connection");
            return;
        }
        debug!(id = self.next_id, %address, "connected");
        let session = Session::new(self.next_id, address, self.server.password.is_none());
        entry.insert(Some(Box::new(Connection::new(stream, session, is_surplus))));
        self.next_id += 1;
        self.server.counters.connections += 1;
        self.server.clients += usize::from(!is_surplus);
        self.surplus += usize::from(is_surplus);
        self.has_deadlines |= is_surplus;
    }

    fn close(&mut self, place: usize, mut connection: Box<Connection>) {
        debug!(id = connection.session.id, "disconnected");
        // Closing the socket ends the watch; a failure changes nothing.
        let _ = self.poll.registry().deregister(&mut connection.stream);
        self.connections.0.remove(place);
        match connection.is_client() {
            true => self.server.clients -= 1,
            false => self.surplus -= 1,
        }
        connection.close(&self.server);
        if self.must_accept {
            self.accept();
        }
    }

    /// Does what is due: gives clients up that have been waited for long enough, tries to accept again, begins to stop.
    fn look_at_the_time(&mut self) {
        if self.server.is_stopping && self.stop_at.is_none() {
            self.begin_to_stop();
        }
        if self.must_accept {
            self.accept();
        }
        if std::mem::take(&mut self.has_deadlines) {
            self.give_up_overdue();
        }
        let now = Instant::now();
        self.scrapers.retain(|_, scraper| scraper.deadline > now);
    }

    fn give_up_overdue(&mut self) {
        let mut overdue = Vec::new();
        for (place, connection) in &self.connections.0 {
            let Some(connection) = connection else { continue };
            self.has_deadlines |= connection.deadline.is_some();
            if connection.is_overdue() {
                overdue.push(place);
            }
        }
        for place in overdue {
            let Some(connection) = self.connections.0[place].take() else { continue };
            if connection.is_to_be_turned_away() {
                self.connections.0[place] = Some(connection);
                self.make_ready(place);
                continue;
            }
            if connection.is_stuck() {
                self.server.counters.dropped += 1;
                warn!(id = connection.session.id, address = %connection.session.address, "dropped: it does not read");
            }
            self.close(place, connection);
        }
    }

    fn accept_scrapers(&mut self) {
        while let Some((mut stream, _)) = self.metrics.as_ref().and_then(|listener| listener.accept().ok()) {
            if self.scrapers.len() >= SCRAPERS {
                continue;
            }
            let entry = self.scrapers.vacant_entry();
            let token = Token(SCRAPER | entry.key());
            if self.poll.registry().register(&mut stream, token, Interest::READABLE | Interest::WRITABLE).is_ok() {
                entry.insert(Scraper::new(stream));
            }
        }
    }

    fn give_scraper_turn(&mut self, place: usize) {
        if let Some(scraper) = self.scrapers.get_mut(place)
            && scraper.turn(&self.server)
        {
            self.scrapers.remove(place);
        }
    }

    /// Accepts nobody any more; every connection gets a turn, and is over when what was read is answered.
    fn begin_to_stop(&mut self) {
        self.listeners = None;
        self.metrics = None;
        self.must_accept = false;
        self.stop_at = Some(Instant::now() + STOP_WITHIN);
        let places: Vec<usize> = self.connections.0.iter().map(|(place, _)| place).collect();
        places.into_iter().for_each(|place| self.make_ready(place));
    }

    fn has_stopped(&self) -> bool {
        match self.stop_at {
            None => false,
            Some(deadline) => self.connections.0.is_empty() || deadline <= Instant::now(),
        }
    }

    fn stop(self) -> io::Result<Arc<kvwal::Store>> {
        let EventLoop { server, workers, connections, .. } = self;
        if !connections.0.is_empty() {
            warn!(connections = connections.0.len(), "cut off: their clients did not read their answers in time");
        }
        if !workers.stop() {
            return Err(io::Error::other("a bug in kv_server: a worker panicked"));
        }
        Ok(server.store)
    }
}

fn listen_for_scrapers(port: u16, poll: &Poll) -> io::Result<TcpListener> {
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    let listener = TcpListener::bind(address);
    let mut listener =
        listener.map_err(|cause| io::Error::new(cause.kind(), format!("listen at {address} for metrics: {cause}")))?;
    poll.registry().register(&mut listener, METRICS, Interest::READABLE)?;
    Ok(listener)
}

fn is_out_of_descriptors(error: &io::Error) -> bool {
    let errno = error.raw_os_error().map(Errno::from_raw);
    matches!(errno, Some(Errno::EMFILE | Errno::ENFILE | Errno::ENOBUFS | Errno::ENOMEM))
}
