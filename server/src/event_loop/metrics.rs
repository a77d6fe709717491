//! Metrics over HTTP: as much of it as a scraper needs.

use std::io::{self, Read, Write};
use std::time::{Duration, Instant};

use mio::net::TcpStream;

use crate::metrics;
use crate::server::Server;

/// Longest request.
const MAX_REQUEST: usize = 8 << 10;
/// A scraper has so long from its coming to its going.
const PATIENCE: Duration = Duration::from_secs(10);

/// A connection of a scraper.
pub struct Scraper {
    /// Its socket.
    pub stream: TcpStream,
    /// When it is given up.
    pub deadline: Instant,
    request: Vec<u8>,
    answer: Vec<u8>,
    sent: usize,
}

impl Scraper {
    /// One that has just come.
    pub fn new(stream: TcpStream) -> Scraper {
        Scraper { stream, deadline: Instant::now() + PATIENCE, request: Vec::new(), answer: Vec::new(), sent: 0 }
    }

    /// Reads and writes what can be; true when it is done with, well or not.
    pub fn turn(&mut self, server: &Server) -> bool {
        match self.try_turn(server) {
            Ok(is_done) => is_done,
            Err(error) => error.kind() != io::ErrorKind::WouldBlock,
        }
    }

    fn try_turn(&mut self, server: &Server) -> io::Result<bool> {
        while self.answer.is_empty() {
            let mut bytes = [0; 1024];
            let count = self.stream.read(&mut bytes)?;
            self.request.extend_from_slice(&bytes[..count]);
            let is_whole = self.request.windows(4).any(|window| window == b"\r\n\r\n");
            if is_whole || self.request.len() > MAX_REQUEST {
                self.answer = answer(&self.request, is_whole, server);
            } else if count == 0 {
                return Ok(true);
            }
        }
        while self.sent < self.answer.len() {
            self.sent += self.stream.write(&self.answer[self.sent..])?;
        }
        Ok(true)
    }
}

fn answer(request: &[u8], is_whole: bool, server: &Server) -> Vec<u8> {
    let line = request.split(|byte| *byte == b'\r').next().unwrap_or_default();
    let mut words = line.split(|byte| *byte == b' ');
    let (status, body) = match (words.next(), words.next()) {
        _ if !is_whole => ("431 Request Header Fields Too Large", String::new()),
        (Some(b"GET"), Some(b"/metrics")) => ("200 OK", metrics::text(server)),
        (Some(b"GET"), Some(_)) => ("404 Not Found", "metrics are at /metrics\n".into()),
        _ => ("405 Method Not Allowed", String::new()),
    };
    let len = body.len();
    let kind = "text/plain; version=0.0.4; charset=utf-8";
    let head =
        format!("HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {len}\r\nConnection: close\r\n\r\n");
    (head + &body).into_bytes()
}
