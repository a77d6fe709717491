//! The sockets at which the server listens.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use mio::net::{TcpListener, UnixListener};
use mio::{Interest, Registry, Token};

use super::stream::Stream;

/// Where clients come from. They are closed when this is dropped, and the name of the unix socket is removed.
pub struct Listeners {
    tcp: TcpListener,
    unix: Option<Named>,
}

/// A unix socket that has a name in the file system.
struct Named {
    listener: UnixListener,
    path: PathBuf,
}

impl Drop for Named {
    fn drop(&mut self) {
        // If it cannot be removed, the next server finds that nobody listens there.
        let _ = std::fs::remove_file(&self.path);
    }
}

impl Listeners {
    /// Listens.
    pub fn open(
        address: SocketAddr,
        unix: Option<&Path>,
        registry: &Registry,
        tokens: [Token; 2],
    ) -> io::Result<Listeners> {
        let mut tcp = TcpListener::bind(address).map_err(|cause| at(&address, &cause))?;
        registry.register(&mut tcp, tokens[0], Interest::READABLE)?;
        let unix = match unix {
            None => None,
            Some(path) => {
                let mut listener = bind_unix(path).map_err(|cause| at(&path.display(), &cause))?;
                registry.register(&mut listener, tokens[1], Interest::READABLE)?;
                Some(Named { listener, path: path.to_owned() })
            }
        };
        Ok(Listeners { tcp, unix })
    }

    /// The address of the TCP socket.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.tcp.local_addr()
    }

    /// The next client that waits, and where it comes from; `None` if there is none.
    pub fn accept(&self) -> io::Result<Option<(Stream, String)>> {
        match self.tcp.accept() {
            Ok((stream, address)) => return Ok(Some((Stream::Tcp(stream), address.to_string()))),
            Err(error) if is_none(&error) => {}
            Err(error) => return Err(error),
        }
        let Some(unix) = &self.unix else { return Ok(None) };
        match unix.listener.accept() {
            Ok((stream, _)) => Ok(Some((Stream::Unix(stream), format!("{}:0", unix.path.display())))),
            Err(error) if is_none(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

fn is_none(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::WouldBlock
}

/// Binds the socket; in the place of one that a server has left behind that is no more.
fn bind_unix(path: &Path) -> io::Result<UnixListener> {
    match UnixListener::bind(path) {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => match std::os::unix::net::UnixStream::connect(path) {
            Err(cause) if cause.kind() == io::ErrorKind::ConnectionRefused => {
                std::fs::remove_file(path)?;
                UnixListener::bind(path)
            }
            _ => Err(error),
        },
        result => result,
    }
}

fn at(place: &dyn std::fmt::Display, cause: &io::Error) -> io::Error {
    io::Error::new(cause.kind(), format!("listen at {place}: {cause}"))
}
