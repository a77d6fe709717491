//! The log, on stderr: a line an event, `time level message key=value …`.
//!
//! Only the event loop's thread logs. Events are those of `tracing`, which hands them on to `log` as long as no subscriber is
//! there: the logger is a static, so it needs no memory of its own that could still be there at the end, and no lock that a checker
//! of threads would not understand.

use std::fmt;
use std::io::Write;
use std::time::{SystemTime, UNIX_EPOCH};

use log::{LevelFilter, Log, Metadata, Record};

use crate::cli::Level;

struct Stderr;

static STDERR: Stderr = Stderr;

/// From here on events of this level, and more urgent ones, are logged.
pub fn start(level: Level) {
    let filter = match level {
        Level::Off => return,
        Level::Error => LevelFilter::Error,
        Level::Warn => LevelFilter::Warn,
        Level::Info => LevelFilter::Info,
        Level::Debug => LevelFilter::Debug,
    };
    if log::set_logger(&STDERR).is_ok() {
        log::set_max_level(filter);
    }
}

/// Says something on stderr whatever the level, with one call, so that lines of several processes do not mix. It does not
/// matter if nobody can hear it.
pub fn say(words: fmt::Arguments<'_>) {
    let _ = std::io::stderr().write_all(format!("{words}\n").as_bytes());
}

impl Log for Stderr {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target().starts_with(env!("CARGO_CRATE_NAME"))
    }

    fn log(&self, record: &Record<'_>) {
        if self.enabled(record.metadata()) {
            let time = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            let (seconds, millis, level) = (time.as_secs(), time.subsec_millis(), record.level());
            say(format_args!("{seconds}.{millis:03} {level:5} {}", record.args()));
        }
    }

    fn flush(&self) {}
}
