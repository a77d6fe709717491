//! Colours and progress: on a terminal, and nowhere else. That they are not in pipes, every other test sees.

use std::fs::File;
use std::io::{Read, Write};
use std::process::{Command, Stdio};

use nix::pty::{Winsize, openpty};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::support::{KVWAL, Place, RESET};

/// The end of a terminal that a person sees.
struct Terminal {
    screen: File,
    seen: String,
}

impl Terminal {
    /// Gives the command a terminal as its standard output and error.
    fn of(command: &mut Command) -> Terminal {
        let size = Winsize { ws_row: 24, ws_col: 80, ws_xpixel: 0, ws_ypixel: 0 };
        let ends = openpty(&size, None).unwrap();
        command.env("TERM", "xterm").stdout(ends.slave.try_clone().unwrap()).stderr(ends.slave);
        Terminal { screen: ends.master.into(), seen: String::new() }
    }

    /// Reads until these words have appeared.
    #[track_caller]
    fn wait_for(&mut self, words: &str) {
        while !self.seen.contains(words) {
            assert!(self.read(), "{words:?}: {:?}", self.seen);
        }
    }

    /// All that appears until nobody has the terminal open.
    fn all(mut self) -> String {
        while self.read() {}
        self.seen
    }

    fn read(&mut self) -> bool {
        let mut bytes = [0; 4096];
        // The last one who closes it makes reading fail.
        let got = self.screen.read(&mut bytes).unwrap_or(0);
        self.seen.push_str(&String::from_utf8_lossy(&bytes[..got]));
        got > 0
    }
}

/// All that a command prints on a terminal.
fn seen(mut command: Command) -> String {
    let terminal = Terminal::of(&mut command);
    let mut child = command.spawn().unwrap();
    // It holds the other end, too.
    drop(command);
    child.wait().unwrap();
    terminal.all()
}

#[test]
fn a_terminal_has_colours_unless_they_are_not_wanted() {
    let place = Place::with_store(&[("a", "1")]);
    for (arguments, coloured, plain) in [
        (&["get", "no", "a"][..], "\x1b[31mkvwal:\x1b[0m get: open no: ", "kvwal: get: open no: "),
        (&["verify", "s"], "\x1b[32mclean: every record and block is as it was written\x1b[0m", "clean: every "),
    ] {
        let command = |no_color: Option<&str>| {
            let mut command = place.command(KVWAL);
            command.args(arguments).envs(no_color.map(|value| ("NO_COLOR", value)));
            command
        };
        assert!(seen(command(None)).contains(coloured), "{:?}", seen(command(None)));
        let seen = seen(command(Some("1")));
        assert!(seen.contains(plain) && !seen.contains("\x1b[3"), "{seen:?}");
    }
}

#[test]
fn long_work_shows_on_a_terminal_that_it_goes_on() {
    for is_interrupted in [false, true] {
        let place = Place::new();
        let mut command = place.command("env");
        command.args([RESET, KVWAL, "load", "s", "--create"]).stdin(Stdio::piped());
        let mut terminal = Terminal::of(&mut command);
        let mut child = command.spawn().unwrap();
        drop(command);
        let mut input = child.stdin.take().unwrap();
        // More than a pipe holds: when it is written, the tool is at work.
        input.write_all(&b"{\"key\":\"a\",\"value\":\"1\"}\n".repeat(10_000)).unwrap();
        terminal.wait_for(" loading ");
        if is_interrupted {
            kill(Pid::from_raw(child.id() as i32), Signal::SIGINT).unwrap();
            terminal.wait_for("loading again does no harm");
        }
        drop(input);
        child.wait().unwrap();
        let seen = terminal.all();
        // What comes next does not stand behind what was there.
        let next = if is_interrupted { "\x1b[1m\x1b[31mkvwal:" } else { "loaded          10000\r\n" };
        let before = seen.split(next).next().unwrap();
        assert!(before.len() < seen.len() && (before.ends_with("\x1b[2K") || before.ends_with("\r\x1b[K")), "{seen:?}");
    }
}
