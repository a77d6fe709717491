//! A bell that a thread can wait for with a timeout.
//!
//! Not a condition variable: glibc's timed wait signals its own variable when a timeout and a wake-up meet, which
//! helgrind reports as a signal without the lock.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::ptr;
use std::time::Duration;

/// Wakes the thread that waits for it, once for any number of rings.
pub struct Bell {
    fd: OwnedFd,
}

impl Bell {
    /// A bell that has not rung.
    pub fn new() -> io::Result<Bell> {
        // SAFETY: the call takes no pointers.
        let fd = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the descriptor is new, and ours.
        Ok(Bell { fd: unsafe { OwnedFd::from_raw_fd(fd) } })
    }

    /// Rings, for a thread that waits now or later.
    pub fn ring(&self) {
        // SAFETY: the descriptor is open, and the pointer is to 8 bytes. It only fails when the counter is full, and then
        // the bell rings already.
        unsafe { libc::write(self.fd.as_raw_fd(), ptr::from_ref(&1u64).cast(), size_of::<u64>()) };
    }

    /// Waits until it rings, or for `timeout`; true if it rang. Interrupted counts as a timeout that came early.
    pub fn wait(&self, timeout: Option<Duration>) -> bool {
        let mut poll = libc::pollfd { fd: self.fd.as_raw_fd(), events: libc::POLLIN, revents: 0 };
        // Rounded up: a timeout that comes early is waited for again, without sleeping.
        let millis = |timeout: Duration| i32::try_from(timeout.as_micros().div_ceil(1000)).unwrap_or(i32::MAX);
        let millis = timeout.map_or(-1, millis);
        // SAFETY: one descriptor, open as long as `self` lives.
        let rang = unsafe { libc::poll(&mut poll, 1, millis) == 1 };
        if rang {
            let mut rings = 0u64;
            // SAFETY: the descriptor is open, and the pointer is to 8 bytes.
            unsafe { libc::read(self.fd.as_raw_fd(), ptr::from_mut(&mut rings).cast(), size_of::<u64>()) };
        }
        rang
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bell_rings_once() {
        let bell = Bell::new().unwrap();
        let moment = Some(Duration::from_millis(1));
        assert!(!bell.wait(moment));
        bell.ring();
        bell.ring();
        assert!(bell.wait(None));
        assert!(!bell.wait(moment));
    }
}
