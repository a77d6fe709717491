//! What clients may do to the server, and what they cannot.

mod support;

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use support::{Client, LONG, Server, array, eventually, store_dir};

#[test]
fn answers_come_in_the_order_of_the_commands() {
    let (_dir, path) = store_dir();
    let server = Server::start(&path, &[]);
    let mut client = server.connect();
    // Commands of every kind, one behind the other: those that write, read, walk, and those of the connection.
    let (mut sent, mut expected) = (Vec::new(), Vec::new());
    for number in 0..3000 {
        let value = number.to_string();
        let (words, answer): (Vec<&[u8]>, String) = match number % 7 {
            0 => (vec![b"SET", b"k", value.as_bytes()], "+OK".into()),
            1 => (vec![b"GET", b"k"], format!("\"{}\"", number - 1)),
            2 => (vec![b"INCR", b"n"], (number / 7 + 1).to_string()),
            3 => (vec![b"KEYS", b"k"], "[\"k\"]".into()),
            4 => (vec![b"NOSUCH"], "-ERR unknown command 'NOSUCH', with args beginning with: ".into()),
            5 => (vec![b"ECHO", value.as_bytes()], format!("\"{value}\"")),
            _ => (
                vec![b"GETSET", b"g", value.as_bytes()],
                if number < 7 { "nil".into() } else { format!("\"{}\"", number - 7) },
            ),
        };
        sent.extend_from_slice(&array(&words));
        expected.push(answer);
    }
    let mut writing = client.socket().try_clone().unwrap();
    let writer = thread::spawn(move || writing.write_all(&sent).unwrap());
    for answer in expected {
        assert_eq!(client.reply(), answer);
    }
    writer.join().unwrap();
    server.stop();
}

#[test]
fn a_client_that_sends_single_bytes_is_served() {
    let (_dir, path) = store_dir();
    let server = Server::start(&path, &[]);
    for (bytes, answer) in [(&b"SET k v\r\nGET k\n"[..], "OK\nVALUE v\n"), (&array(&[b"GET", b"k"]), "$1\r\nv\r\n")] {
        let mut client = server.connect();
        for byte in bytes {
            client.send([*byte]);
            thread::sleep(Duration::from_millis(2));
        }
        client.socket().shutdown(Shutdown::Write).unwrap();
        assert_eq!(client.rest(), answer);
    }
    server.stop();
}

#[test]
fn what_was_sent_before_the_end_is_answered() {
    let (_dir, path) = store_dir();
    let server = Server::start(&path, &[]);
    for (bytes, answer) in [
        ("SET k v\nGET k\n", "OK\nVALUE v\n"),
        ("GET k\nSET k w", "VALUE v\nERROR line without an end\n"),
        ("", ""),
        ("*1\r\n$4\r\nPING\r\n*2\r\n$3\r\nGE", "+PONG\r\n"),
        ("*1\r\n$4\r\nPING\r\n*x\r\n", "+PONG\r\n-ERR Protocol error: invalid multibulk length\r\n"),
    ] {
        let mut client = server.connect();
        client.send(bytes);
        client.socket().shutdown(Shutdown::Write).unwrap();
        assert_eq!(client.rest(), answer, "{bytes:?}");
    }
    assert_eq!(server.connect().ask("GET k"), "VALUE v");
    server.stop();
}

#[test]
fn a_protocol_error_is_told_before_the_end() {
    let (_dir, path) = store_dir();
    let server = Server::start(&path, &[]);
    let mut client = server.connect();
    // More than the server reads at once, so that there is something unread when it closes.
    client.send([b"*1\r\n$x\r\n".to_vec(), vec![b'x'; 1 << 20]].concat());
    assert_eq!(client.rest(), "-ERR Protocol error: invalid bulk length\r\n");
    server.stop();
}

#[test]
fn large_values_go_both_ways_and_larger_ones_are_refused() {
    let (_dir, path) = store_dir();
    let server = Server::start(&path, &[]);
    let mut client = server.connect();
    let value: Vec<u8> = (0..5_000_000u32).map(|at| (at % 251) as u8).collect();
    client.send_command(&[b"SET", b"large", &value]);
    assert_eq!(client.reply(), "+OK");
    assert_eq!(client.command("STRLEN large"), "5000000");
    client.send_command(&[b"GET", b"large"]);
    assert_eq!(client.line().unwrap(), "$5000000");
    let mut back = vec![0; 5_000_002];
    client.stream.read_exact(&mut back).unwrap();
    assert!(back.starts_with(&value));
    // Beyond the limit: refused without being kept, and the stream goes on.
    let before = server.resident();
    let mut writing = client.socket().try_clone().unwrap();
    let writer = thread::spawn(move || {
        let len = 300 << 20;
        writing.write_all(format!("*3\r\n$3\r\nSET\r\n$1\r\nk\r\n${len}\r\n").as_bytes()).unwrap();
        let piece = vec![b'x'; 1 << 20];
        (0..300).for_each(|_| writing.write_all(&piece).unwrap());
        writing.write_all(b"\r\n*1\r\n$4\r\nPING\r\n").unwrap();
    });
    assert_eq!(client.reply(), "-ERR argument too long: 314572800 bytes, at most 67108864 are taken");
    assert_eq!(client.reply(), "+PONG");
    writer.join().unwrap();
    assert!(server.resident() < before + (32 << 20), "what is refused is not kept");
    server.stop();
}

#[test]
fn memory_for_buffers_is_bounded() {
    let (_dir, path) = store_dir();
    let server = Server::start(&path, &["--buffers", "8"]);
    let mut client = server.connect();
    client.send_command(&[b"SET", b"large", &vec![b'x'; 1 << 20]]);
    assert_eq!(client.reply(), "+OK");
    // Each begins a request of 16 MiB, and does not end it.
    let before = server.resident();
    let mut half: Vec<Client> = (0..20).map(|_| server.connect()).collect();
    for other in &mut half {
        other.socket().set_write_timeout(Some(Duration::from_secs(5))).unwrap();
        other.send("*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$16777216\r\n");
        other.send(vec![b'y'; 8 << 20]);
    }
    eventually("the memory is bounded", || server.resident() < before + (48 << 20));
    // Who was refused is told so at the end of its request; who was not has its value set.
    let mut refused = 0;
    for other in &mut half {
        other.send([vec![b'y'; 8 << 20], b"\r\n".to_vec()].concat());
        match other.reply().as_str() {
            "+OK" => {}
            answer => {
                assert!(
                    answer.starts_with("-ERR no memory for a request") || answer.starts_with("-ERR argument too long"),
                    "{answer}"
                );
                refused += 1;
            }
        }
    }
    assert!(refused > 0);
    // Small requests were served all the time, and large ones are again.
    assert_eq!(client.command("STRLEN large"), "1048576");
    drop(half);
    client.send_command(&[b"GET", b"large"]);
    assert_eq!(client.reply().len(), (1 << 20) + 2);
    server.stop();
}

#[test]
fn an_answer_that_would_be_too_long_is_an_error_and_nothing_is_done() {
    let (_dir, path) = store_dir();
    let server = Server::start(&path, &["--buffers", "4"]);
    let mut client = server.connect();
    for key in [b"one", b"two"] {
        client.send_command(&[b"SET", key, &vec![b'x'; 3 << 20]]);
        assert_eq!(client.reply(), "+OK");
    }
    assert!(client.command("MGET one two").starts_with("-ERR answer too long"));
    for command in ["MULTI", "SET three x", "GET one", "GET two"] {
        client.command(command);
    }
    assert!(client.command("EXEC").starts_with("-ERR answer too long"));
    assert_eq!(client.command("EXISTS one two three"), "2");
    assert_eq!(client.command("GET one").len(), (3 << 20) + 2);
    // Answers of the event loop itself, while others use all the memory.
    let name = "n".repeat(1000);
    let mut named: Vec<Client> = (0..80).map(|_| server.connect()).collect();
    named.iter_mut().for_each(|one| assert_eq!(one.command(&format!("CLIENT SETNAME {name}")), "+OK"));
    assert!(client.command("CLIENT LIST").len() > 80_000);
    for command in ["MULTI", "PING"] {
        named[0].command(command);
    }
    for _ in 0..2 {
        named[0].send_command(&[b"SET", b"k", &vec![b'y'; 2 << 20]]);
        assert_eq!(named[0].reply(), "+QUEUED");
    }
    assert!(client.command("CLIENT LIST").starts_with("-ERR answer too long"));
    assert_eq!(client.command("PING"), "+PONG");
    server.stop();
}

#[test]
fn a_client_that_does_not_read_delays_nobody_and_is_dropped() {
    let (_dir, path) = store_dir();
    let server = Server::start(&path, &["--patience", "1"]);
    let mut client = server.connect();
    client.send_command(&[b"SET", b"value", &vec![b'v'; 100_000]]);
    assert_eq!(client.reply(), "+OK");
    let before = server.resident();
    let mut slow = server.connect();
    slow.socket().set_write_timeout(Some(Duration::from_secs(2))).unwrap();
    // A gigabyte of answers.
    let asks = array(&[b"GET", b"value"]).repeat(10_000);
    let _ = slow.stream.get_mut().write_all(&asks);
    let began = Instant::now();
    for _ in 0..100 {
        assert_eq!(client.command("SET other 1"), "+OK");
        assert_eq!(client.command("STRLEN value"), "100000");
    }
    assert!(began.elapsed() < Duration::from_secs(5), "others waited {:?}", began.elapsed());
    assert!(server.resident() < before + (32 << 20), "its answers are not kept");
    eventually("it is dropped", || client.command("INFO stats").contains("dropped_slow_readers:1"));
    assert_eq!(client.command("CLIENT LIST").matches("id=").count(), 1);
    assert!(server.stop().contains("it does not read"));
}

#[test]
fn a_client_that_reads_late_gets_all_of_its_answers() {
    let (_dir, path) = store_dir();
    let server = Server::start(&path, &[]);
    let mut client = server.connect();
    client.send_command(&[b"SET", b"value", &vec![b'v'; 10_000]]);
    assert_eq!(client.reply(), "+OK");
    let mut writing = client.socket().try_clone().unwrap();
    let writer = thread::spawn(move || writing.write_all(&array(&[b"GET", b"value"]).repeat(5000)).unwrap());
    thread::sleep(Duration::from_millis(300));
    for number in 0..5000 {
        assert_eq!(client.reply().len(), 10_002, "answer {number}");
    }
    writer.join().unwrap();
    server.stop();
}

#[test]
fn what_comes_while_a_large_answer_is_unsent_is_answered_behind_it() {
    let (_dir, path) = store_dir();
    let server = Server::start(&path, &[]);
    let value = vec![b'v'; 8 << 20];
    let mut client = server.connect();
    client.send_command(&[b"SET", b"large", &value]);
    assert_eq!(client.reply(), "+OK");
    for ends in [false, true] {
        let mut client = server.connect();
        client.send_command(&[b"GET", b"large"]);
        thread::sleep(Duration::from_millis(200));
        client.send_command(&[b"PING"]);
        if ends {
            client.socket().shutdown(Shutdown::Write).unwrap();
        }
        thread::sleep(Duration::from_millis(200));
        assert_eq!(client.reply().len(), value.len() + 2);
        assert_eq!(client.reply(), "+PONG");
    }
    // Whoever goes on sending is not read from without end.
    let before = server.resident();
    let mut sending = server.connect();
    sending.socket().set_write_timeout(Some(Duration::from_millis(500))).unwrap();
    sending.send_command(&[b"GET", b"large"]);
    let _ = sending.stream.get_mut().write_all(&array(&[b"PING"]).repeat(5_000_000));
    assert!(server.resident() < before + (16 << 20), "{} bytes more", server.resident() - before);
    server.stop();
}

#[test]
fn a_thousand_idle_clients_cost_little() {
    let (_dir, path) = store_dir();
    let server = Server::start(&path, &[]);
    let mut client = server.connect();
    client.command("SET k v");
    let before = server.resident();
    let mut idle: Vec<Client> = (0..1000).map(|_| server.connect()).collect();
    for one in &mut idle {
        assert_eq!(one.command("GET k"), "\"v\"");
    }
    assert!(client.command("INFO clients").contains("connected_clients:1001"));
    assert!(server.resident() < before + (16 << 20), "{} bytes more", server.resident() - before);
    idle[500].send("half a li");
    assert_eq!(client.command("GET k"), "\"v\"");
    drop(idle);
    eventually("they are gone", || client.command("INFO clients").contains("connected_clients:1\\r"));
    server.stop();
}

#[test]
fn no_more_clients_than_there_may_be() {
    let (_dir, path) = store_dir();
    let server = Server::start(&path, &["--max-clients", "2"]);
    let (mut one, mut two) = (server.connect(), server.connect());
    assert_eq!((one.ask("PING").as_str(), two.command("PING").as_str()), ("PONG", "+PONG"));
    let mut text = server.connect();
    assert_eq!(text.ask("PING"), "ERROR max number of clients reached");
    assert_eq!(text.rest(), "");
    let mut resp = server.connect();
    assert_eq!(resp.command("PING"), "-ERR max number of clients reached");
    assert_eq!(resp.rest(), "");
    // Who says nothing is told so after a while.
    assert_eq!(server.connect().rest(), "ERROR max number of clients reached\n");
    // A place that is given up is free.
    drop(one);
    eventually("there is room again", || {
        let mut three = server.connect();
        three.send("PING\n");
        three.line().as_deref() == Some("PONG")
    });
    assert!(two.command("INFO").contains("rejected_connections:"));
    server.stop();
}

#[test]
fn it_accepts_again_when_there_are_descriptors() {
    let (_dir, path) = store_dir();
    let server = Server::start_with_descriptors(&path, 40, &[]);
    let mut first = server.connect();
    assert_eq!(first.ask("PING"), "PONG");
    let mut many: Vec<Client> = (0..60).map(|_| server.connect()).collect();
    many.iter_mut().for_each(|client| client.send("PING\n"));
    eventually("it runs out of descriptors", || {
        let mut served = 0;
        for client in &many {
            client.socket().set_read_timeout(Some(Duration::from_millis(1))).unwrap();
            served += usize::from(client.socket().peek(&mut [0]).is_ok());
        }
        (10..60).contains(&served)
    });
    // It does not spin meanwhile, and serves whom it has.
    let cpu = cpu_time(server.pid());
    thread::sleep(Duration::from_millis(500));
    assert!(cpu_time(server.pid()) < cpu + 10, "it spins");
    assert_eq!(first.ask("SET k v"), "OK");
    // All are served when those before them have gone.
    for mut client in many {
        client.socket().set_read_timeout(Some(LONG)).unwrap();
        assert_eq!(client.line().as_deref(), Some("PONG"));
    }
    let log = server.stop();
    assert!((1..=2).contains(&log.matches("cannot accept").count()), "{log}");
}

/// Clock ticks that a process has used.
fn cpu_time(pid: u32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}

#[test]
fn a_signal_under_load_ends_it_soon_and_what_was_acknowledged_is_there() {
    for signal in ["TERM", "INT"] {
        let (_dir, path) = store_dir();
        let server = Server::start(&path, &[]);
        let (acknowledged, stopping) = (AtomicU64::new(0), AtomicBool::new(false));
        let address = server.address;
        let mut not_reading = server.connect();
        not_reading.socket().set_write_timeout(Some(Duration::from_millis(500))).unwrap();
        let _ = not_reading.stream.get_mut().write_all(&array(&[b"ECHO", &[b'x'; 10_000]]).repeat(2000));
        thread::scope(|scope| {
            for number in 0..8 {
                let (acknowledged, stopping) = (&acknowledged, &stopping);
                scope.spawn(move || {
                    let mut client = Client::over(TcpStream::connect(address).unwrap());
                    for at in 0.. {
                        let line = format!("SET {number}:{at} v\n").repeat(1);
                        if client.stream.get_mut().write_all(line.as_bytes()).is_err()
                            || client_line(&mut client) != "OK"
                        {
                            break;
                        }
                        acknowledged.fetch_add(1, Ordering::Relaxed);
                    }
                    assert!(stopping.load(Ordering::Relaxed), "a client was cut off before the signal");
                });
            }
            thread::sleep(Duration::from_millis(500));
            stopping.store(true, Ordering::Relaxed);
            let began = Instant::now();
            server.signal(signal);
            let (status, log) = server.wait();
            assert!(status.success(), "{status}: {log}");
            assert!(began.elapsed() < Duration::from_secs(2), "stopping took {:?}", began.elapsed());
        });
        let acknowledged = acknowledged.into_inner();
        let server = Server::start(&path, &[]);
        let keys: u64 = server.connect().command("DBSIZE").parse().unwrap();
        assert!(acknowledged > 0 && keys >= acknowledged && keys <= acknowledged + 8, "{keys} of {acknowledged}");
        server.stop();
    }
}

/// A line, empty if the server has cut the connection.
fn client_line(client: &mut Client) -> String {
    let mut line = String::new();
    let _ = std::io::BufRead::read_line(&mut client.stream, &mut line);
    line.trim_end().to_owned()
}

#[test]
fn what_was_read_before_the_signal_is_answered() {
    let (_dir, path) = store_dir();
    let server = Server::start(&path, &[]);
    let mut client = server.connect();
    client.send("SET k v\nGET k\n".repeat(100));
    assert_eq!(client.line().unwrap(), "OK");
    server.signal("TERM");
    let rest = client.rest();
    assert_eq!(rest.lines().count(), 199, "{rest}");
    let (status, _) = server.wait();
    assert!(status.success());
}

#[test]
fn a_client_can_stop_it() {
    for ask in [&b"SHUTDOWN\n"[..], &array(&[b"SHUTDOWN", b"NOSAVE"])] {
        let (_dir, path) = store_dir();
        let server = Server::start(&path, &[]);
        let mut client = server.connect();
        client.send(ask);
        assert_eq!(client.rest(), "");
        let (status, log) = server.wait();
        assert!(status.success(), "{log}");
    }
}

#[test]
fn what_is_acknowledged_survives_the_kill() {
    let (_dir, path) = store_dir();
    let server = Server::start(&path, &[]);
    let mut client = server.connect();
    assert_eq!(client.command("MSET a 1 b 2"), "+OK");
    assert_eq!(client.command("SET c 3 EX 1000"), "+OK");
    assert_eq!(client.command("DEL b"), "1");
    server.signal("KILL");
    drop(server.wait());
    let server = Server::start(&path, &[]);
    let mut client = server.connect();
    assert_eq!(client.command("MGET a b c"), "[\"1\" nil \"3\"]");
    let left: u64 = client.command("TTL c").parse().unwrap();
    assert!((980..=1000).contains(&left), "{left}");
    server.stop();
}

#[test]
fn many_writers_share_syncs() {
    let (_dir, path) = store_dir();
    let server = Server::start(&path, &[]);
    thread::scope(|scope| {
        for number in 0..20 {
            let mut client = server.connect();
            scope.spawn(move || {
                for at in 0..50 {
                    assert_eq!(client.command(&format!("SET {number}:{at} v")), "+OK");
                }
            });
        }
    });
    let mut client = server.connect();
    assert_eq!(client.ask_stat("sets"), 1000);
    let syncs = client.ask_stat("syncs");
    assert!(syncs < 500, "{syncs} syncs for 1000 sets of 20 clients");
    // And what one client sends at once is one group, too.
    client.send(array(&[b"INCR", b"n"]).repeat(500));
    (1..=500).for_each(|number| assert_eq!(client.reply(), number.to_string()));
    assert!(client.ask_stat("syncs") <= syncs + 10);
    server.stop();
}

/// A number of `INFO`.
trait Ask {
    fn ask_stat(&mut self, name: &str) -> u64;
}

impl Ask for Client {
    fn ask_stat(&mut self, name: &str) -> u64 {
        let info = self.command("INFO");
        let line = info.split("\\r\\n").find_map(|line| line.strip_prefix(&format!("{name}:"))).unwrap();
        line.parse().unwrap()
    }
}

#[test]
fn a_password_is_asked_for() {
    let (dir, path) = store_dir();
    let file = dir.path().join("password");
    std::fs::write(&file, "secret\n").unwrap();
    let server = Server::start(&path, &["--password-file", file.to_str().unwrap()]);
    let mut client = server.connect();
    for (command, answer) in [
        ("PING", "-NOAUTH Authentication required."),
        ("GET a", "-NOAUTH Authentication required."),
        ("SHUTDOWN", "-NOAUTH Authentication required."),
        ("AUTH wrong", "-WRONGPASS invalid username-password pair or user is disabled."),
        ("AUTH somebody secret", "-WRONGPASS invalid username-password pair or user is disabled."),
        ("HELLO 3 AUTH default wrong", "-WRONGPASS invalid username-password pair or user is disabled."),
        ("SET a 1", "-NOAUTH Authentication required."),
        ("AUTH secret", "+OK"),
        ("SET a 1", "+OK"),
        ("RESET", "+RESET"),
        ("GET a", "-NOAUTH Authentication required."),
        ("AUTH default secret", "+OK"),
        ("GET a", "\"1\""),
    ] {
        assert_eq!(client.command(command), answer, "{command}");
    }
    assert!(server.connect().command("HELLO 3").starts_with("-NOAUTH HELLO must be called"));
    assert!(server.connect().command("HELLO 3 AUTH default secret").starts_with("{\"server\""));
    let mut text = server.connect();
    assert_eq!(text.ask("GET a"), "ERROR authentication required: AUTH password");
    assert_eq!(text.ask("AUTH wrong"), "ERROR invalid username-password pair or user is disabled.");
    assert_eq!(text.ask("AUTH secret"), "OK");
    assert_eq!(text.ask("GET a"), "VALUE 1");
    // A stranger may not send much.
    let mut stranger = server.connect();
    stranger.send_command(&[b"SET", b"a", &[b'x'; 100_000]]);
    assert_eq!(stranger.reply(), "-ERR argument too long: 100000 bytes, at most 16384 are taken");
    server.stop();
}

#[test]
fn a_web_page_cannot_send_commands() {
    let (_dir, path) = store_dir();
    let server = Server::start(&path, &[]);
    for head in ["POST / HTTP/1.1", "PUT / HTTP/1.1\r\nHost: localhost"] {
        let mut client = server.connect();
        client.send(format!("{head}\r\nContent-Length: 9\r\n\r\nSET k v\r\n"));
        assert!(client.rest().ends_with("ERROR this is no web server\n"));
    }
    assert_eq!(server.connect().ask("GET k"), "NOT_FOUND");
    server.stop();
}

#[test]
fn a_unix_socket() {
    let (dir, path) = store_dir();
    let socket = dir.path().join("socket");
    let args = ["--unix", socket.to_str().unwrap()];
    let server = Server::start(&path, &args);
    let mut client = Client::over(UnixStream::connect(&socket).unwrap());
    assert_eq!(client.ask("SET k v"), "OK");
    assert_eq!(server.connect().ask("GET k"), "VALUE v");
    drop(client);
    server.stop();
    assert!(!socket.exists(), "its name is removed");
    // A name that a killed server has left is taken over.
    let server = Server::start(&path, &args);
    server.signal("KILL");
    drop(server.wait());
    assert!(socket.exists());
    let server = Server::start(&path, &args);
    assert_eq!(Client::over(UnixStream::connect(&socket).unwrap()).ask("GET k"), "VALUE v");
    server.stop();
}

#[test]
fn metrics() {
    let (_dir, path) = store_dir();
    let server = Server::start(&path, &["--metrics", "0"]);
    let mut client = server.connect();
    client.command("SET k value");
    client.command("GET k");
    client.command("NOSUCH");
    let scrape = |request: &str| {
        let mut stream = TcpStream::connect(server.metrics.unwrap()).unwrap();
        stream.set_read_timeout(Some(LONG)).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    };
    let answer = scrape("GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n");
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n") && head.contains(&format!("Content-Length: {}\r\n", body.len())));
    for line in [
        "# TYPE kvwal_sets_total counter",
        "kvwal_sets_total 1",
        "kvwal_gets_total 1",
        "kvwal_errors_total 1",
        "kvwal_connections 1",
        "kvwal_keys 1",
        "kvwal_value_bytes 5",
        "kvwal_durable_lsn 1",
        "kvwal_recovery_verdict 0",
        "kvwal_command_seconds_count{command=\"set\"} 1",
    ] {
        assert!(body.lines().any(|found| found == line), "{line} is not in {body}");
    }
    for line in body.lines().filter(|line| !line.starts_with('#')) {
        let (name, value) = line.rsplit_once(' ').unwrap();
        assert!(name.starts_with("kvwal_") && value.parse::<f64>().is_ok(), "{line}");
    }
    assert!(scrape("GET / HTTP/1.1\r\n\r\n").starts_with("HTTP/1.1 404 "));
    assert!(scrape("POST /metrics HTTP/1.1\r\n\r\n").starts_with("HTTP/1.1 405 "));
    server.stop();
}
