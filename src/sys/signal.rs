//! Signals that belong to the host program.

use std::io;
use std::mem::MaybeUninit;
use std::ptr;

type SigSet = libc::sigset_t;

/// Keeps SIGXFSZ, which a write beyond RLIMIT_FSIZE raises, from killing the host: blocked on this thread while the
/// value lives, so that the write just fails with EFBIG. No handler is installed.
pub struct NoFileSizeSignal {
    before: SigSet,
}

impl NoFileSizeSignal {
    /// Runs a system call that may raise the signal, which is blocked meanwhile, and taken back if it was raised.
    pub fn during<R>(call: impl FnOnce() -> io::Result<R>) -> io::Result<R> {
        let _blocked = NoFileSizeSignal { before: block(&only(libc::SIGXFSZ)) };
        call().inspect_err(|error| {
            if error.raw_os_error() == Some(libc::EFBIG) {
                discard(libc::SIGXFSZ);
            }
        })
    }
}

/// Takes back a blocked signal that is pending, so that it is not delivered when it is unblocked.
fn discard(signal: libc::c_int) {
    let now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: both arguments are initialised; no information about the signal is asked for.
    unsafe { libc::sigtimedwait(&only(signal), ptr::null_mut(), &now) };
}

impl Drop for NoFileSizeSignal {
    fn drop(&mut self) {
        restore(&self.before);
    }
}

/// Runs `f`, which spawns threads: they start with every signal blocked, so that none of the host's handlers ever
/// runs on a thread of ours.
#[cfg_attr(kvwal_shuttle, expect(dead_code, reason = "tasks have no signals"))]
pub fn with_all_blocked<R>(f: impl FnOnce() -> R) -> R {
    let mut all = MaybeUninit::<SigSet>::uninit();
    // SAFETY: sigfillset initialises the set.
    let all = unsafe {
        libc::sigfillset(all.as_mut_ptr());
        all.assume_init()
    };
    let before = block(&all);
    let result = f();
    restore(&before);
    result
}

fn only(signal: libc::c_int) -> SigSet {
    let mut set = MaybeUninit::uninit();
    // SAFETY: sigemptyset initialises the set, sigaddset adds a valid signal to it.
    unsafe {
        libc::sigemptyset(set.as_mut_ptr());
        libc::sigaddset(set.as_mut_ptr(), signal);
        set.assume_init()
    }
}

fn block(set: &SigSet) -> SigSet {
    let mut before = MaybeUninit::uninit();
    // SAFETY: `set` is initialised; the call fills `before`, as it can only fail for an invalid first argument.
    unsafe {
        libc::pthread_sigmask(libc::SIG_BLOCK, set, before.as_mut_ptr());
        before.assume_init()
    }
}

fn restore(before: &SigSet) {
    // SAFETY: `before` is a mask that the kernel gave us.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, before, ptr::null_mut()) };
}
