//! What a command of the connection or the server has at hand.

use std::time::Instant;

use kvwal::format::Lsn;

use crate::protocol::Protocol;
use crate::server::Server;
use crate::unit::Step;

/// The moment in which the event loop carries out a command of a connection.
pub struct Turn<'a> {
    /// Whoever sent the command.
    pub session: &'a mut Session,
    /// The server.
    pub server: &'a mut Server,
    /// The other connections.
    pub others: &'a dyn Others,
}

/// A way to look at all other connections.
pub trait Others {
    /// Calls `visit` with each of them.
    fn each(&self, visit: &mut dyn FnMut(&Session));
}

/// What the server remembers of a client, beyond its socket and its bytes.
#[derive(Debug)]
pub struct Session {
    /// Its number, never used again.
    pub id: u64,
    /// Where it comes from.
    pub address: String,
    /// When it came.
    pub since: Instant,
    /// When it sent something last.
    pub active: Instant,
    /// Its language.
    pub protocol: Protocol,
    /// Whether it may do everything: it has given the password, or there is none.
    pub is_trusted: bool,
    /// What it calls itself.
    pub name: String,
    /// What its library calls itself, and its version.
    pub library: [String; 2],
    /// Its last command.
    pub command: &'static str,
    /// What it has queued since `MULTI`.
    pub queue: Option<Queue>,
    /// The keys that it watches, and which record had set each.
    pub watched: Vec<(Vec<u8>, Lsn)>,
    /// Which of its commands get no answer.
    pub silence: Silence,
    /// Set when nothing more is to be read from it.
    pub is_leaving: bool,
}

/// Which commands of a client get no answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Silence {
    /// All get one.
    #[default]
    None,
    /// The one that asked for it, and the next.
    Next,
    /// This one.
    This,
    /// None gets one.
    All,
}

/// Commands since `MULTI`.
#[derive(Debug, Default)]
pub struct Queue {
    /// The commands.
    pub steps: Vec<Step>,
    /// Bytes of memory that they take.
    pub memory: usize,
    /// One was refused, so `EXEC` will be.
    pub is_spoiled: bool,
}

impl Queue {
    /// Adds a command.
    pub fn push(&mut self, step: Step) {
        self.memory += step.memory();
        self.steps.push(step);
    }
}

impl Session {
    /// A client that has just come.
    pub fn new(id: u64, address: String, is_trusted: bool) -> Session {
        let now = Instant::now();
        Session {
            id,
            address,
            since: now,
            active: now,
            protocol: Protocol::Text,
            is_trusted,
            name: String::new(),
            library: Default::default(),
            command: "",
            queue: None,
            watched: Vec::new(),
            silence: Silence::None,
            is_leaving: false,
        }
    }

    /// Bytes of memory that it takes beyond the usual.
    pub fn memory(&self) -> usize {
        let watched: usize = self.watched.iter().map(|(key, _)| key.len() + size_of::<(Vec<u8>, Lsn)>()).sum();
        self.queue.as_ref().map_or(0, |queue| queue.memory) + watched
    }

    /// Whether the command that was just carried out gets no answer.
    pub fn takes_silence(&mut self) -> bool {
        match self.silence {
            Silence::None => false,
            Silence::All => true,
            Silence::Next => {
                self.silence = Silence::This;
                true
            }
            Silence::This => {
                self.silence = Silence::None;
                true
            }
        }
    }

    /// Words for `CLIENT LIST`.
    pub fn describe(&self) -> String {
        format!(
            "id={} addr={} name={} age={} idle={} db=0 multi={} watch={} cmd={} resp={} lib-name={} lib-ver={}",
            self.id,
            self.address,
            self.name,
            self.since.elapsed().as_secs(),
            self.active.elapsed().as_secs(),
            self.queue.as_ref().map_or(-1, |queue| queue.steps.len() as i64),
            self.watched.len(),
            if self.command.is_empty() { "NULL" } else { self.command },
            if self.protocol == Protocol::Resp3 { 3 } else { 2 },
            self.library[0],
            self.library[1],
        )
    }
}
