//! Threads of our own: pthread's, behind a safe type.
//!
//! Not `std::thread`, for the same reason as in [`sync`](super::sync): when two of its threads end, helgrind reports
//! the lock that it keeps for their signal stacks. These have no signal stack, and block every signal, so that none of
//! the host's handlers ever runs on them.

use std::ffi::CStr;
use std::io;
use std::mem::MaybeUninit;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr;

use super::signal;

pub use std::thread::yield_now;

type Work = Box<dyn FnOnce() + Send>;

/// A running thread. To be joined, or, in a forked child that does not have it, to be forgotten.
pub struct Thread {
    id: libc::pthread_t,
}

impl Thread {
    /// Starts a thread. `name` has at most 15 bytes; tools like `top` show it.
    pub fn start(name: &CStr, work: impl FnOnce() + Send + 'static) -> io::Result<Thread> {
        let work: *mut Work = Box::into_raw(Box::new(Box::new(work)));
        let mut id = MaybeUninit::uninit();
        // SAFETY: `run` takes over `work`, if the thread starts.
        let result = signal::with_all_blocked(|| unsafe {
            libc::pthread_create(id.as_mut_ptr(), ptr::null(), run, work.cast())
        });
        if result != 0 {
            // SAFETY: no thread took it over.
            drop(unsafe { Box::from_raw(work) });
            return Err(io::Error::from_raw_os_error(result));
        }
        // SAFETY: pthread_create succeeded, so `id` is set; the thread is not joined yet. A name is only for show.
        unsafe {
            let id = id.assume_init();
            libc::pthread_setname_np(id, name.as_ptr());
            Ok(Thread { id })
        }
    }

    /// Waits for the thread to end; false if it panicked.
    pub fn join(self) -> bool {
        let mut ended_well = ptr::null_mut();
        // SAFETY: the thread was started by us, and is joined once, as `self` is consumed.
        let result = unsafe { libc::pthread_join(self.id, &mut ended_well) };
        result == 0 && !ended_well.is_null()
    }
}

/// The thread pointer: it tells the threads of a process that run at the same time from each other. Never 0.
#[inline(always)]
pub fn pointer() -> u64 {
    #[cfg(target_arch = "x86_64")]
    {
        let pointer: u64;
        // SAFETY: the ABI has it that the first word of a thread's own memory is its address.
        unsafe { std::arch::asm!("mov {}, fs:0", out(reg) pointer, options(pure, readonly, nostack, preserves_flags)) };
        pointer
    }
    #[cfg(not(target_arch = "x86_64"))]
    {
        // SAFETY: always succeeds.
        unsafe { libc::pthread_self() as u64 }
    }
}

/// How many threads can run at once: the processors that this process may use.
pub fn cores() -> usize {
    // SAFETY: a set is plain bits, and the call fills it.
    let count = unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        match libc::sched_getaffinity(0, size_of::<libc::cpu_set_t>(), &raw mut set) {
            0 => libc::CPU_COUNT(&set),
            _ => 1,
        }
    };
    usize::try_from(count).unwrap_or(1).max(1)
}

/// Returns something other than NULL if the work ended without a panic.
extern "C" fn run(work: *mut libc::c_void) -> *mut libc::c_void {
    // SAFETY: `start` made it of such a box and gave it to us.
    let work = unsafe { Box::from_raw(work.cast::<Work>()) };
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(()) => ptr::dangling_mut::<u8>().cast(),
        Err(_) => ptr::null_mut(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    #[test]
    fn join_tells_a_panic_from_a_good_end() {
        let (sender, receiver) = mpsc::channel();
        let thread = Thread::start(c"good", move || sender.send(7).unwrap()).unwrap();
        assert!(thread.join());
        assert_eq!(receiver.recv().unwrap(), 7);
        assert!(!Thread::start(c"bad", || panic!("on purpose")).unwrap().join());
    }
}
