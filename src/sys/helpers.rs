//! Threads that help with a piece of work and are gone when it is done.

use std::ffi::CStr;

use super::thread::Thread;

/// Runs `main` on this thread while up to `count` others run `help`, and returns when all have ended. `main` is told
/// how many there are: fewer, perhaps none, if the system gives no more. It must see to it that they end, also when it
/// panics. A panic of a helper becomes one of the caller.
pub fn with_helpers<R>(name: &CStr, count: usize, help: &(dyn Fn() + Sync), main: impl FnOnce(usize) -> R) -> R {
    // SAFETY: only the lifetime is changed. The threads that get the reference are joined before this function returns
    // or unwinds, since `helpers` is dropped by then.
    let help: &'static (dyn Fn() + Sync) = unsafe { std::mem::transmute(help) };
    let mut helpers = Helpers(Vec::with_capacity(count));
    while helpers.0.len() < count
        && let Ok(thread) = Thread::start(name, help)
    {
        helpers.0.push(thread);
    }
    let result = main(helpers.0.len());
    assert!(helpers.join(), "a helping thread panicked");
    result
}

struct Helpers(Vec<Thread>);

impl Helpers {
    fn join(&mut self) -> bool {
        let mut well = true;
        for thread in self.0.drain(..) {
            well &= thread.join();
        }
        well
    }
}

impl Drop for Helpers {
    fn drop(&mut self) {
        self.join();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::thread::cores;
    use std::panic::{AssertUnwindSafe, catch_unwind};

    #[test]
    fn helpers_borrow_and_have_ended_when_it_returns() {
        use std::sync::atomic::{AtomicUsize, Ordering};
        assert!((1..=4096).contains(&cores()));
        let ended = AtomicUsize::new(0);
        let help = || {
            std::thread::sleep(std::time::Duration::from_millis(20));
            ended.fetch_add(1, Ordering::Relaxed);
        };
        assert_eq!(with_helpers(c"help", 3, &help, |count| count), 3);
        assert_eq!(ended.load(Ordering::Relaxed), 3);
        let main_panics = || with_helpers(c"help", 2, &help, |_| panic!("on purpose"));
        assert!(catch_unwind(AssertUnwindSafe(main_panics)).is_err());
        assert_eq!(ended.load(Ordering::Relaxed), 5);
        let helper_panics = || with_helpers(c"help", 1, &|| panic!("on purpose"), |_| ());
        assert!(catch_unwind(AssertUnwindSafe(helper_panics)).is_err());
    }
}
