//! What becomes of half-done work when a signal ends the tool.
//!
//! SIGINT, SIGTERM and SIGHUP are blocked on all threads, and one thread waits for them. When one comes, that thread takes back
//! what is half-done, the newest first, says what is left, and lets the signal do what it does by default: end the process, so
//! that the parent sees why. Meanwhile nobody gets beyond the first and the last step of such work, so it is taken back, or it is
//! done, and never both. A signal that was ignored when the tool started, as by `nohup`, stays ignored.
//!
//! SIGXFSZ is blocked, too: a write beyond the limit for files then fails, as on a full disk, instead of killing.

use std::fs;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;

use nix::sys::signal::{self, SigSet, Signal};

use crate::failure::{Exit, Failure};
use crate::progress;

const ENDING: [Signal; 3] = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP];

/// Takes something back, on another thread, and returns words about what is left.
pub type TakeBack = Box<dyn FnOnce() -> String + Send>;

static ALL: Mutex<Vec<(u64, TakeBack)>> = Mutex::new(Vec::new());

/// Work that is taken back if a signal ends the tool while this lives.
pub struct HalfDone(u64);

impl HalfDone {
    pub fn new(take_back: impl FnOnce() -> String + Send + 'static) -> HalfDone {
        HalfDone::among(&mut all(), Box::new(take_back))
    }

    /// Does the first step, behind which there is something to be taken back. A signal comes before it or after it.
    pub fn begin<T, E>(
        step: impl FnOnce() -> Result<T, E>,
        take_back: impl FnOnce(&T) -> TakeBack,
    ) -> Result<(T, HalfDone), E> {
        let mut all = all();
        let made = step()?;
        let half_done = HalfDone::among(&mut all, take_back(&made));
        Ok((made, half_done))
    }

    fn among(all: &mut Vec<(u64, TakeBack)>, take_back: TakeBack) -> HalfDone {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        all.push((number, take_back));
        HalfDone(number)
    }

    /// Does the last step, after which nothing is taken back. A signal comes before it or after it.
    pub fn finish<T>(self, step: impl FnOnce() -> T) -> T {
        let mut all = all();
        let done = step();
        all.retain(|(number, _)| *number != self.0);
        done
    }
}

impl Drop for HalfDone {
    fn drop(&mut self) {
        all().retain(|(number, _)| *number != self.0);
    }
}

fn all() -> MutexGuard<'static, Vec<(u64, TakeBack)>> {
    ALL.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Begins to wait for signals. To be called before there is a second thread.
pub fn watch(command: &'static str) {
    let ending: SigSet = ENDING.into_iter().filter(|&signal| !is_ignored(signal)).collect();
    let mut blocked = ending;
    blocked.add(Signal::SIGXFSZ);
    let wait = move || {
        if let Ok(signal) = ending.wait() {
            end(command, signal, ending)
        }
    };
    // Where that fails, signals do what they do to any program.
    if blocked.thread_block().is_ok() && thread::Builder::new().spawn(wait).is_err() {
        let _ = ending.thread_unblock();
    }
}

fn end(command: &str, signal: Signal, ending: SigSet) -> ! {
    let mut all = all();
    let words: Vec<_> = all.drain(..).rev().map(|(_, take_back)| take_back()).collect();
    if !words.is_empty() {
        progress::clear_line();
        Failure::new(Exit::Io, format!("interrupted by {signal}")).hint(words.join("; ")).report(command);
    }
    let _ = ending.thread_unblock();
    let _ = signal::raise(signal);
    // The first process of a container outlives it.
    std::process::exit(128 + signal as i32)
}

fn is_ignored(signal: Signal) -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let ignored = ignored.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0);
    ignored >> (signal as i32 - 1) & 1 == 1
}
