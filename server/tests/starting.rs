//! How the server starts, and when it does not.

mod support;

use std::path::Path;
use std::process::{Command, Output};

use kvwal::{Options, Sources, Store, Until};
use support::{Server, program, store_dir};

/// Runs a server that is to end by itself.
fn run(dir: &Path, args: &[&str]) -> Output {
    Command::new(program()).args(args).arg("--dir").arg(dir).output().unwrap()
}

fn refusal(dir: &Path, args: &[&str]) -> String {
    let output = run(dir, args);
    assert!(!output.status.success(), "{args:?} was accepted");
    assert!(output.stdout.is_empty());
    String::from_utf8(output.stderr).unwrap()
}

#[test]
fn it_does_not_let_the_network_in_without_a_password() {
    let (_dir, path) = store_dir();
    let reason = refusal(&path, &["0", "--bind", "0.0.0.0"]);
    assert!(reason.contains("--password-file") && reason.contains("--insecure"), "{reason}");
    assert!(!path.exists(), "nothing was made");
    Server::start(&path, &["--bind", "0.0.0.0", "--insecure"]).stop();
}

#[test]
fn a_password_file_must_hold_a_password() {
    let (dir, path) = store_dir();
    let file = dir.path().join("password");
    let args = ["0", "--password-file", file.to_str().unwrap()];
    assert!(refusal(&path, &args).contains("password"));
    std::fs::write(&file, "\n").unwrap();
    assert!(refusal(&path, &args).contains("empty"));
    assert!(!path.exists(), "nothing was made");
}

#[test]
fn a_place_that_is_taken_is_named() {
    let (dir, path) = store_dir();
    let server = Server::start(&path, &[]);
    let port = server.address.port().to_string();
    let other = dir.path().join("other");
    assert!(refusal(&other, &[&port]).contains(&format!("listen at 127.0.0.1:{port}")));
    let reason = refusal(&path, &["0"]);
    assert!(reason.contains(&server.pid().to_string()), "{reason}");
    server.stop();
}

#[test]
fn damage_is_refused_unless_it_is_accepted() {
    let (_dir, path) = store_dir();
    let server = Server::start(&path, &[]);
    let mut client = server.connect();
    for number in 0..10 {
        assert_eq!(client.ask(&format!("SET key:{number} value")), "OK");
    }
    server.stop();
    let log = path.join("wal.log");
    let mut bytes = std::fs::read(&log).unwrap();
    let record = bytes.len() / 10;
    bytes[record * 4 + 35] ^= 1;
    std::fs::write(&log, &bytes).unwrap();

    let reason = refusal(&path, &["0"]);
    for part in ["wal.log", "record 5", "the prefix up to LSN 4", "--recover prefix"] {
        assert!(reason.contains(part), "{part} is not in: {reason}");
    }
    assert_eq!(std::fs::read(&log).unwrap(), bytes, "nothing was changed");

    let server = Server::start(&path, &["--recover", "prefix"]);
    let mut client = server.connect();
    assert_eq!((client.ask("GET key:3").as_str(), client.ask("GET key:4").as_str()), ("VALUE value", "NOT_FOUND"));
    let mut resp = server.connect();
    assert!(resp.command("INFO persistence").contains("recovery_verdict:damaged"));
    assert!(server.stop().contains("Damaged"));
    assert!(path.join("quarantine").read_dir().unwrap().count() > 0);
}

#[test]
fn completions_for_a_shell() {
    let output = Command::new(program()).args(["--completions", "bash"]).output().unwrap();
    assert!(output.status.success());
    let script = String::from_utf8(output.stdout).unwrap();
    assert!(script.contains("--max-clients") && script.contains("complete -F"), "{script}");
}

#[test]
fn the_man_page() {
    let output = Command::new(program()).arg("--man").output().unwrap();
    assert!(output.status.success());
    let page = String::from_utf8(output.stdout).unwrap();
    assert!(page.contains(".TH kv_server") && page.contains("max\\-clients"), "{page}");
}

#[test]
fn an_archive_keeps_what_a_checkpoint_does_away_with() {
    let (dir, path) = store_dir();
    let archive = dir.path().join("archive");
    let server = Server::start(&path, &["--archive", archive.to_str().unwrap()]);
    let mut client = server.connect();
    assert_eq!(client.command("SET k one"), "+OK");
    assert_eq!(client.command("SAVE"), "+OK");
    assert_eq!(client.command("SET k two"), "+OK");
    assert!(client.command("INFO persistence").contains("checkpoints_failed:0"));
    // While it runs, the first of the two can be had back.
    let sources = Sources { archive: Some(archive.clone()), store: Some(path.clone()), backup: None };
    kvwal::restore(dir.path().join("restored"), &sources, Until::Lsn(1)).unwrap();
    let restored = Store::open(dir.path().join("restored"), &Options::default()).unwrap();
    assert_eq!(restored.get(b"k").unwrap().as_deref(), Some(&b"one"[..]));
    let other = dir.path().join("other");
    assert!(
        refusal(&other, &["0", "--archive", archive.to_str().unwrap()]).contains("is open in the process with PID")
    );
    server.stop();
}

#[test]
fn relaxed_modes_keep_what_was_written_when_it_is_stopped() {
    for mode in ["interval:50", "none"] {
        let (_dir, path) = store_dir();
        let server = Server::start(&path, &["--sync", mode]);
        let mut client = server.connect();
        assert_eq!(client.command("SET k v"), "+OK");
        assert_eq!(client.command("INCR n"), "1");
        server.stop();
        let server = Server::start(&path, &["--sync", mode]);
        assert_eq!(server.connect().command("MGET k n"), "[\"v\" \"1\"]");
        server.stop();
    }
}
