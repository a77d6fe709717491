//! Signals in the middle of the work.

use std::fs;
use std::io::Write;
use std::process::{Child, Stdio};
use std::thread;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::support::{KVWAL, Place, RESET, Ran, flip, names, ran, snapshot, start};

const ENDING: [Signal; 3] = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP];

/// `load` writes so many entries at once.
const BATCH: u64 = 10_000;

fn send(signal: Signal, child: &Child) {
    kill(Pid::from_raw(child.id() as i32), signal).unwrap();
}

/// What a shell says of a command that the signal has ended.
fn code(signal: Signal) -> i32 {
    128 + signal as i32
}

/// Runs a command until `is_in_the_middle`, and sends the signal. If all of it is done all the same, `undo` says so and takes
/// that back, and it runs again.
fn interrupt(
    place: &Place,
    command: &[&str],
    signal: Signal,
    is_in_the_middle: impl Fn() -> bool,
    undo: impl Fn() -> bool,
) -> Ran {
    for _ in 0..50 {
        let mut child = start(place.command("env").args([RESET, KVWAL]).args(command));
        while !is_in_the_middle() && child.try_wait().unwrap().is_none() {
            thread::sleep(Duration::from_millis(1));
        }
        send(signal, &child);
        let ran = ran(child);
        if !undo() {
            return ran.code(code(signal));
        }
    }
    panic!("it is always done before: {command:?}");
}

/// A store that takes a while to be copied.
fn place() -> Place {
    let place = Place::new();
    let store = place.open();
    for number in 0..8u8 {
        store.set(&[b'a' + number], &vec![number; 8 << 20]).unwrap();
    }
    store.close().unwrap();
    place
}

fn has(place: &Place, part: &str) -> bool {
    place.names().iter().any(|name| name.contains(part))
}

#[test]
fn a_dump_that_is_interrupted_leaves_the_file() {
    let place = place();
    let (file, old) = (place.path("d"), "the dump of yesterday");
    fs::write(&file, old).unwrap();
    for signal in ENDING {
        let undo = || {
            let is_done = fs::read(&file).unwrap() != old.as_bytes();
            fs::write(&file, old).unwrap();
            is_done
        };
        let ran = interrupt(&place, &["dump", "s", "-o", "d"], signal, || has(&place, ".tmp"), undo);
        assert_eq!(ran.err, format!("kvwal: dump: interrupted by {signal}\n  nothing was written to d\n"));
        assert_eq!(place.names(), ["d", "s"]);
    }
    place.run(&["verify", "s"]).done();
}

#[test]
fn a_backup_that_is_interrupted_is_none() {
    let place = place();
    is_none(&place, &["backup", "s", "saved"], "there is no backup in saved");
    place.run(&["verify", "s"]).done();
}

#[test]
fn a_store_whose_restoring_is_interrupted_is_none() {
    let place = place();
    place.run(&["checkpoint", "s"]).done();
    is_none(&place, &["restore", "s", "saved"], "there is no store in saved");
}

/// This command, interrupted, makes nothing in the directory `saved`, and says so.
fn is_none(place: &Place, command: &[&str], words: &str) {
    let saved = place.path("saved");
    for is_new in [true, false] {
        for signal in ENDING {
            if !is_new {
                fs::create_dir_all(&saved).unwrap();
            }
            let undo = || {
                let is_done = saved.join("wal.log").exists();
                if is_done {
                    fs::remove_dir_all(&saved).unwrap();
                }
                if is_done && !is_new {
                    fs::create_dir(&saved).unwrap();
                }
                is_done
            };
            let begun = || saved.join("checkpoint.tmp").exists();
            let ran = interrupt(place, command, signal, begun, undo);
            assert_eq!(ran.err, format!("kvwal: {}: interrupted by {signal}\n  {words}\n", command[0]));
            assert_eq!(saved.exists(), !is_new);
            assert!(is_new || names(&saved).is_empty());
        }
    }
}

#[test]
fn a_repair_that_is_interrupted_leaves_the_store() {
    let place = place();
    let log = place.path("s/wal.log");
    let store = place.open();
    store.set(b"z", b"1").unwrap();
    store.set(b"z", b"2").unwrap();
    store.close().unwrap();
    let record = 33 + 1 + 1;
    flip(&log, log.metadata().unwrap().len() as usize - record - 1);
    let before = fs::read(&log).unwrap();
    for signal in ENDING {
        let undo = || {
            let is_done = has(&place, ".before-repair");
            if is_done {
                fs::remove_dir_all(place.path("s")).unwrap();
                fs::rename(place.path("s.before-repair"), place.path("s")).unwrap();
            }
            is_done
        };
        let ran = interrupt(&place, &["repair", "s", "--apply"], signal, || has(&place, ".repairing"), undo);
        assert_eq!(ran.err, format!("kvwal: repair: interrupted by {signal}\n  the store is as it was\n"));
        assert_eq!(place.names(), ["s"]);
        assert!(fs::read(&log).unwrap() == before);
    }
    place.run(&["repair", "s", "--apply"]).done();
    assert_eq!(place.run(&["count", "s"]).done().text(), "8\n");
}

#[test]
fn a_bench_that_is_interrupted_leaves_the_machine_as_it_was() {
    let place = Place::new();
    for signal in ENDING {
        let ran = interrupt(&place, &["bench", "--time", "1h"], signal, || has(&place, "kvwal-bench-"), || false);
        assert_eq!(ran.err, format!("kvwal: bench: interrupted by {signal}\n  nothing is left of it\n"));
        assert!(place.names().is_empty());
    }
}

fn lines(numbers: std::ops::Range<u64>) -> String {
    numbers.map(|number| format!("{{\"key\":\"{number:05}\",\"value\":\"\"}}\n")).collect()
}

/// A `load` that has written one batch and is in the middle of the second: a pipe, and what it has read ahead, are shorter.
fn loading(place: &Place, script: &str) -> Child {
    let mut command = place.command("bash");
    let mut child = start(command.args(["-c", script]).env("KVWAL", KVWAL).stdin(Stdio::piped()));
    child.stdin.as_mut().unwrap().write_all(lines(0..2 * BATCH).as_bytes()).unwrap();
    child
}

#[test]
fn a_load_that_is_interrupted_says_what_is_in_the_store() {
    for signal in ENDING {
        let place = Place::new();
        let mut child = loading(&place, "exec env --default-signal $KVWAL load s --create");
        // Otherwise it would see the end of its input, and be done.
        let _input = child.stdin.take();
        send(signal, &child);
        let expected = format!(
            "kvwal: load: interrupted by {signal}\n  at least {BATCH} entries are in the store; loading again does no harm\n"
        );
        assert_eq!(ran(child).code(code(signal)).err, expected);
        place.run(&["verify", "s"]).done();
        assert_eq!(place.run(&["dump", "s"]).done().text(), lines(0..BATCH));
        place.run_with(&["load", "s"], lines(0..2 * BATCH).as_bytes()).done();
        assert_eq!(place.run(&["dump", "s"]).done().text(), lines(0..2 * BATCH));
    }
}

#[test]
fn a_signal_that_nohup_ignores_stays_ignored() {
    let place = Place::new();
    let mut child = loading(&place, "trap '' HUP; exec $KVWAL load s --create");
    send(Signal::SIGHUP, &child);
    child.stdin.as_mut().unwrap().write_all(lines(2 * BATCH..3 * BATCH).as_bytes()).unwrap();
    assert_eq!(ran(child).done().text(), "loaded          30000\nexpired before  0\n");
}

#[test]
fn a_tail_is_ended_by_a_signal() {
    let place = Place::with_store(&[("a", "1"), ("b", "2")]);
    let before = snapshot(&place.path("s"));
    for signal in ENDING {
        let mut command = place.command("bash");
        command.args(["-c", "exec env --default-signal $KVWAL tail s --follow > out"]).env("KVWAL", KVWAL);
        let child = start(&mut command);
        let out = place.path("out");
        while !fs::read_to_string(&out).is_ok_and(|text| text.ends_with("b = 2\n")) {
            thread::sleep(Duration::from_millis(1));
        }
        send(signal, &child);
        assert_eq!(ran(child).code(code(signal)).err, "");
        assert_eq!(fs::read_to_string(&out).unwrap().lines().count(), 2);
        fs::remove_file(out).unwrap();
    }
    assert_eq!(snapshot(&place.path("s")), before);
}
