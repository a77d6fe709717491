//! Lending a function to other threads, with all that it borrows, for the time of a call.
//!
//! Whoever waits in a queue is represented there by something that outlives no borrow that the compiler could check: the
//! queue lives as long as the store. So what is passed on is a [`Loan`], a pointer that can be taken back. The owner does
//! that before [`lend`] returns, however it returns, and under the lock under which the function is called: nobody calls
//! it after that, and while somebody does the owner waits.

use std::mem;
use std::ptr::NonNull;
use std::sync::Arc;

use super::sync::Mutex;

/// What a function takes, which may borrow for the time of the call, and what it gives.
pub trait Signature: 'static {
    /// Its argument.
    type Argument<'a>;
    /// Its result.
    type Output;
}

/// A function of this signature that may borrow for `'f`.
pub type Function<'f, S> = dyn FnMut(<S as Signature>::Argument<'_>) -> <S as Signature>::Output + Send + 'f;

/// A function that its owner may have taken back.
pub struct Loan<S: Signature>(Arc<Mutex<Option<Lent<S>>>>);

struct Lent<S: Signature>(NonNull<Function<'static, S>>);

// SAFETY: what it points to is a function that is `Send`, and one thread at a time has it, the one with the lock.
unsafe impl<S: Signature> Send for Lent<S> {}

impl<S: Signature> Clone for Loan<S> {
    fn clone(&self) -> Loan<S> {
        Loan(Arc::clone(&self.0))
    }
}

impl<S: Signature> Loan<S> {
    /// Calls the function, on this thread; `None` if its owner has taken it back.
    pub fn call(&self, argument: S::Argument<'_>) -> Option<S::Output> {
        let mut lent = self.0.lock();
        let Lent(function) = lent.as_mut()?;
        // SAFETY: it is still lent, so its owner is in `lend` and cannot return before this lock is released.
        let function = unsafe { function.as_mut() };
        Some(function(argument))
    }
}

/// Lends `function` while `during` runs.
pub fn lend<S: Signature, R>(function: &mut Function<'_, S>, during: impl FnOnce(&Loan<S>) -> R) -> R {
    // SAFETY: the two differ in a lifetime only. What has this pointer is emptied before the borrow ends, by `Recall`.
    let function =
        unsafe { mem::transmute::<NonNull<Function<'_, S>>, NonNull<Function<'static, S>>>(function.into()) };
    let loan = Loan(Arc::new(Mutex::new(Some(Lent(function)))));
    let recall = Recall(&loan);
    during(recall.0)
}

/// Takes the function back when it is dropped, also by a panic.
struct Recall<'l, S: Signature>(&'l Loan<S>);

impl<S: Signature> Drop for Recall<'_, S> {
    fn drop(&mut self) {
        *self.0.0.lock() = None;
    }
}

#[cfg(all(test, not(kvwal_shuttle)))]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::thread;
    use std::time::Duration;

    use super::*;

    struct Sum;

    impl Signature for Sum {
        type Argument<'a> = &'a [u32];
        type Output = u32;
    }

    #[test]
    fn another_thread_calls_what_borrows_from_this_one() {
        let mut calls = Vec::new();
        let mut function = |numbers: &[u32]| {
            calls.push(numbers.len());
            numbers.iter().sum()
        };
        let sums = lend::<Sum, _>(&mut function, |loan| {
            let other = loan.clone();
            thread::spawn(move || [other.call(&[1, 2, 3]), other.call(&[])]).join().unwrap()
        });
        assert_eq!((sums, calls), ([Some(6), Some(0)], vec![3, 0]));
    }

    #[test]
    fn what_was_taken_back_is_not_called() {
        let mut kept = None;
        lend::<Sum, _>(&mut |_: &[u32]| 1, |loan| kept = Some(loan.clone()));
        assert_eq!(kept.unwrap().call(&[]), None);
        let mut kept = None;
        let panicked = catch_unwind(AssertUnwindSafe(|| {
            lend::<Sum, _>(&mut |_: &[u32]| 1, |loan| {
                kept = Some(loan.clone());
                panic!("on purpose");
            })
        }));
        assert!(panicked.is_err());
        assert_eq!(kept.unwrap().call(&[]), None, "nor after a panic");
    }

    #[test]
    fn the_owner_waits_for_a_call_that_is_under_way() {
        let (began, ended) = (AtomicBool::new(false), AtomicBool::new(false));
        let mut function = |_: &[u32]| {
            began.store(true, Ordering::SeqCst);
            thread::sleep(Duration::from_millis(30));
            ended.store(true, Ordering::SeqCst);
            1
        };
        let caller = lend::<Sum, _>(&mut function, |loan| {
            let other = loan.clone();
            let caller = thread::spawn(move || other.call(&[]));
            while !began.load(Ordering::SeqCst) {
                thread::yield_now();
            }
            caller
        });
        assert!(ended.load(Ordering::SeqCst));
        assert_eq!(caller.join().unwrap(), Some(1));
    }

    #[test]
    fn a_function_that_panicked_can_be_called_again() {
        let mut calls = 0;
        let mut function = |_: &[u32]| {
            calls += 1;
            assert!(calls > 1, "on purpose");
            calls
        };
        let second = lend::<Sum, _>(&mut function, |loan| {
            assert!(catch_unwind(AssertUnwindSafe(|| loan.call(&[]))).is_err());
            loan.call(&[])
        });
        assert_eq!(second, Some(2));
    }
}
