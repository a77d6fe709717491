//! A connection's socket, of either kind.

use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::fd::AsFd;

use mio::event::Source;
use mio::net::{TcpStream, UnixStream};
use mio::{Interest, Registry, Token};
use nix::sys::socket::{setsockopt, sockopt};

/// Seconds of silence after which the system asks whether the other side still exists, how often it asks, and how many times:
/// so a client that vanished without a word is noticed after about ten minutes.
const KEEP_ALIVE_AFTER: u32 = 300;
const KEEP_ALIVE_EVERY: u32 = 75;
const KEEP_ALIVE_TRIES: u32 = 4;

/// A socket.
pub enum Stream {
    /// From the network.
    Tcp(TcpStream),
    /// From this machine.
    Unix(UnixStream),
}

impl Stream {
    /// Has answers sent at once, and a client that vanished noticed. What the system will not do is done without.
    pub fn tune(&self) {
        let Stream::Tcp(stream) = self else { return };
        let _ = stream.set_nodelay(true);
        let fd = stream.as_fd();
        let _ = setsockopt(&fd, sockopt::KeepAlive, &true);
        let _ = setsockopt(&fd, sockopt::TcpKeepIdle, &KEEP_ALIVE_AFTER);
        let _ = setsockopt(&fd, sockopt::TcpKeepInterval, &KEEP_ALIVE_EVERY);
        let _ = setsockopt(&fd, sockopt::TcpKeepCount, &KEEP_ALIVE_TRIES);
    }

    /// Says that nothing more will be sent.
    pub fn end(&self) {
        let _ = match self {
            Stream::Tcp(stream) => stream.shutdown(Shutdown::Write),
            Stream::Unix(stream) => stream.shutdown(Shutdown::Write),
        };
    }
}

impl Read for Stream {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match self {
            Stream::Tcp(stream) => stream.read(into),
            Stream::Unix(stream) => stream.read(into),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Stream::Tcp(stream) => stream.write(bytes),
            Stream::Unix(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Source for Stream {
    fn register(&mut self, registry: &Registry, token: Token, interests: Interest) -> io::Result<()> {
        match self {
            Stream::Tcp(stream) => stream.register(registry, token, interests),
            Stream::Unix(stream) => stream.register(registry, token, interests),
        }
    }

    fn reregister(&mut self, registry: &Registry, token: Token, interests: Interest) -> io::Result<()> {
        match self {
            Stream::Tcp(stream) => stream.reregister(registry, token, interests),
            Stream::Unix(stream) => stream.reregister(registry, token, interests),
        }
    }

    fn deregister(&mut self, registry: &Registry) -> io::Result<()> {
        match self {
            Stream::Tcp(stream) => stream.deregister(registry),
            Stream::Unix(stream) => stream.deregister(registry),
        }
    }
}
