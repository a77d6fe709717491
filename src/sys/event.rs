//! An event that a thread can wait for with a timeout.
//!
//! Not a condition variable: glibc's timed wait signals its own variable when a timeout and a wake-up meet, which
//! helgrind reports as a signal without the lock.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::ptr;
use std::time::Duration;

/// Happens, and stays until it is cleared.
pub struct Event {
    fd: OwnedFd,
}

impl Event {
    /// An event that has not happened.
    pub fn new() -> io::Result<Event> {
        // SAFETY: the call takes no pointers.
        let fd = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the descriptor is new, and ours.
        Ok(Event { fd: unsafe { OwnedFd::from_raw_fd(fd) } })
    }

    /// Makes it happen.
    pub fn set(&self) {
        // SAFETY: the descriptor is open, and the pointer is to 8 bytes. It cannot fail: the counter is far from full.
        unsafe { libc::write(self.fd.as_raw_fd(), ptr::from_ref(&1u64).cast(), size_of::<u64>()) };
    }

    /// Makes one that has happened not have happened. For the only thread that waits.
    pub fn clear(&self) {
        let mut times = 0u64;
        // SAFETY: the descriptor is open, and the pointer is to 8 bytes. As it has happened, this does not wait.
        unsafe { libc::read(self.fd.as_raw_fd(), (&raw mut times).cast(), size_of::<u64>()) };
    }

    /// Waits until it happens, but not for longer than `timeout`; true if it has happened.
    pub fn wait(&self, timeout: Duration) -> bool {
        let mut poll = libc::pollfd { fd: self.fd.as_raw_fd(), events: libc::POLLIN, revents: 0 };
        let millis = i32::try_from(timeout.as_millis()).unwrap_or(i32::MAX);
        // SAFETY: one descriptor, open as long as `self` lives. Interrupted counts as a timeout that came early.
        unsafe { libc::poll(&mut poll, 1, millis) == 1 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_stays_until_it_is_cleared() {
        let event = Event::new().unwrap();
        assert!(!event.wait(Duration::from_millis(1)));
        event.set();
        event.set();
        assert!(event.wait(Duration::from_secs(100)));
        assert!(event.wait(Duration::from_secs(100)));
        event.clear();
        assert!(!event.wait(Duration::from_millis(1)));
    }
}
