//! A server of one's own, and clients for it.
#![allow(dead_code)]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// Longer than anything takes.
pub const LONG: Duration = Duration::from_secs(30);

/// The program.
pub fn program() -> &'static str {
    env!("CARGO_BIN_EXE_kv_server")
}

/// A running server, killed when dropped.
pub struct Server {
    child: Child,
    pub address: SocketAddr,
    pub metrics: Option<SocketAddr>,
    log: thread::JoinHandle<String>,
}

impl Server {
    /// Starts one in `dir`.
    pub fn start(dir: &Path, args: &[&str]) -> Server {
        let mut command = Command::new(program());
        command.args(["0", "--dir"]).arg(dir).args(args);
        Server::spawn(command)
    }

    /// Starts one with so many descriptors.
    pub fn start_with_descriptors(dir: &Path, descriptors: u32, args: &[&str]) -> Server {
        let mut command = Command::new("sh");
        command.args(["-c", &format!("ulimit -n {descriptors}; exec \"$@\""), "sh", program(), "0", "--dir"]);
        command.arg(dir).args(args);
        Server::spawn(command)
    }

    fn spawn(mut command: Command) -> Server {
        let mut child = command.stderr(Stdio::piped()).stdin(Stdio::null()).spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap());
        let (mut said, mut address, mut metrics) = (String::new(), None, None);
        let wants_metrics = command.get_args().any(|arg| arg == "--metrics");
        while address.is_none() || (wants_metrics && metrics.is_none()) {
            let begin = said.len();
            assert!(lines.read_line(&mut said).unwrap() > 0, "the server ended: {said}");
            let line = said[begin..].trim();
            if let Some(found) = line.strip_prefix("listening on ") {
                address = address.or(found.parse().ok());
            }
            if let Some(url) = line.strip_prefix("metrics at http://") {
                metrics = Some(url.trim_end_matches("/metrics").parse().unwrap());
            }
        }
        let log = thread::spawn(move || {
            lines.read_to_string(&mut said).unwrap();
            said
        });
        Server { child, address: address.unwrap(), metrics, log }
    }

    pub fn connect(&self) -> Client {
        Client::new(TcpStream::connect(self.address).unwrap())
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal.
    pub fn signal(&self, name: &str) {
        let sent = Command::new("kill").args(["-s", name, &self.pid().to_string()]).status().unwrap();
        assert!(sent.success());
    }

    /// Waits for the end; how it ended, and what was logged.
    pub fn wait(mut self) -> (ExitStatus, String) {
        let status = self.child.wait().unwrap();
        let log = std::mem::replace(&mut self.log, thread::spawn(String::new));
        (status, log.join().unwrap())
    }

    /// Stops it as an operator does, which must go well.
    pub fn stop(self) -> String {
        self.signal("TERM");
        let began = Instant::now();
        let (status, log) = self.wait();
        assert!(status.success(), "{status}: {log}");
        assert!(began.elapsed() < Duration::from_secs(5), "stopping took {:?}", began.elapsed());
        log
    }

    /// Bytes of memory that it takes.
    pub fn resident(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A directory for a store.
pub fn store_dir() -> (TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store");
    (dir, path)
}

/// A client of either protocol.
pub struct Client<S: Read + Write = TcpStream> {
    pub stream: BufReader<S>,
}

impl Client {
    fn new(stream: TcpStream) -> Client {
        stream.set_read_timeout(Some(LONG)).unwrap();
        stream.set_write_timeout(Some(LONG)).unwrap();
        stream.set_nodelay(true).unwrap();
        Client { stream: BufReader::new(stream) }
    }

    pub fn socket(&self) -> &TcpStream {
        self.stream.get_ref()
    }
}

impl<S: Read + Write> Client<S> {
    pub fn over(stream: S) -> Client<S> {
        Client { stream: BufReader::new(stream) }
    }

    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.get_mut().write_all(bytes.as_ref()).unwrap();
    }

    /// A line without its end; `None` at the end of the stream.
    pub fn line(&mut self) -> Option<String> {
        let mut line = Vec::new();
        self.stream.read_until(b'\n', &mut line).unwrap();
        let line = line.strip_suffix(b"\n")?;
        Some(String::from_utf8_lossy(line.strip_suffix(b"\r").unwrap_or(line)).into_owned())
    }

    /// Sends a line of the text protocol; returns the answer.
    pub fn ask(&mut self, line: &str) -> String {
        self.send(format!("{line}\n"));
        self.line().unwrap()
    }

    /// Sends words as a RESP array.
    pub fn send_command(&mut self, words: &[&[u8]]) {
        self.send(array(words));
    }

    /// Sends words between spaces as a RESP array; `_` is the empty one. Returns the answer as one line: see [`reply`](Self::reply).
    pub fn command(&mut self, words: &str) -> String {
        let words: Vec<&[u8]> =
            words.split(' ').map(|word| if word == "_" { &b""[..] } else { word.as_bytes() }).collect();
        self.send_command(&words);
        self.reply()
    }

    /// Reads a RESP answer: errors and simple strings with their sign, integers as they are, bulk strings in quotes, `nil`,
    /// arrays in `[]`, sets in `<>`, maps in `{}`.
    pub fn reply(&mut self) -> String {
        let line = self.line().expect("an answer, not the end");
        let (kind, rest) = line.split_at(1);
        match kind {
            "+" | "-" => line,
            ":" => rest.to_owned(),
            "_" => "nil".into(),
            "$" | "=" => match rest.parse::<usize>() {
                Ok(len) => format!("{:?}", String::from_utf8_lossy(&self.exactly(len))),
                Err(_) => "nil".into(),
            },
            "*" | "~" | "%" => match rest.parse::<usize>() {
                Ok(len) => self.aggregate(kind, len),
                Err(_) => "nil".into(),
            },
            _ => panic!("no RESP: {line:?}"),
        }
    }

    fn aggregate(&mut self, kind: &str, len: usize) -> String {
        match kind {
            "%" => {
                let pairs: Vec<String> = (0..len).map(|_| format!("{}: {}", self.reply(), self.reply())).collect();
                format!("{{{}}}", pairs.join(", "))
            }
            _ => {
                let items: Vec<String> = (0..len).map(|_| self.reply()).collect();
                let items = items.join(" ");
                if kind == "~" { format!("<{items}>") } else { format!("[{items}]") }
            }
        }
    }

    fn exactly(&mut self, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len + 2];
        self.stream.read_exact(&mut bytes).unwrap();
        assert!(bytes.ends_with(b"\r\n"));
        bytes.truncate(len);
        bytes
    }

    /// Everything to the end of the stream.
    pub fn rest(&mut self) -> String {
        let mut rest = Vec::new();
        self.stream.read_to_end(&mut rest).unwrap();
        String::from_utf8_lossy(&rest).into_owned()
    }
}

/// A RESP array of bulk strings.
pub fn array(words: &[&[u8]]) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", words.len()).into_bytes();
    for word in words {
        bytes.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
        bytes.extend_from_slice(word);
        bytes.extend_from_slice(b"\r\n");
    }
    bytes
}

/// Waits until something is so.
pub fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < LONG, "{what}");
        thread::sleep(Duration::from_millis(10));
    }
}
