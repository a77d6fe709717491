//! How much memory the buffers of all connections may take together.
//!
//! Each connection has a small share that is always its own: a chunk of input, and an answer of [`OWN_SHARE`]. What goes beyond is
//! taken from one budget, which all share. While that is spent, requests and answers that need more than the small share
//! are refused; so neither many clients nor large values make the server outgrow its machine.

use std::sync::atomic::{AtomicUsize, Ordering};

use crate::protocol::{Limits, Refusal};

/// What a connection may use whatever the others do, in each direction.
pub const OWN_SHARE: usize = 64 << 10;
/// Longest answer to one request.
pub const MAX_ANSWER: usize = 256 << 20;

/// The memory that connections share.
#[derive(Debug)]
pub struct Budget {
    limit: usize,
    used: AtomicUsize,
}

impl Budget {
    /// A budget of so many bytes.
    pub fn new(limit: usize) -> Budget {
        Budget { limit, used: AtomicUsize::new(0) }
    }

    /// Notes that a connection, or an answer on its way to one, uses `now` bytes and no longer `before`.
    pub fn change(&self, before: usize, now: usize) {
        if now > before {
            self.used.fetch_add(now - before, Ordering::Relaxed);
        } else if now < before {
            self.used.fetch_sub(before - now, Ordering::Relaxed);
        }
    }

    /// Bytes in use.
    pub fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    /// Bytes in all.
    pub fn limit(&self) -> usize {
        self.limit
    }

    /// Whether it is spent.
    pub fn is_spent(&self) -> bool {
        self.used() >= self.limit
    }

    /// How long the next answer may be.
    pub fn answer_limit(&self) -> usize {
        self.limit.saturating_sub(self.used()).clamp(OWN_SHARE, MAX_ANSWER)
    }

    /// What the next request may be.
    pub fn limits(&self, is_trusted: bool) -> Limits {
        match (is_trusted, self.is_spent()) {
            (false, _) => Limits::BEFORE_AUTH,
            (true, false) => Limits::FULL,
            (true, true) => Limits { line: OWN_SHARE, args: 1 << 12, arg: OWN_SHARE, request: OWN_SHARE },
        }
    }
}

/// The refusal of a request that there is no memory for.
pub fn no_memory_for_request() -> Refusal {
    Refusal::err("no memory for a request of this size now: other clients use it")
}

/// The refusal of an answer that is longer than may be.
pub fn answer_too_long() -> Refusal {
    Refusal::err(format!(
        "answer too long: at most {MAX_ANSWER} bytes are given, and less while other clients use memory"
    ))
}
