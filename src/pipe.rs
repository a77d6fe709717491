//! Handing work from one thread to another.
//!
//! A [`Pipe`] has no bound of its own. What passes through it is memory that goes round ([`go_round`]): full by one pipe,
//! empty again by another; so the number of pieces that were put into the round is the bound.

use std::collections::VecDeque;
use std::ffi::CStr;

use crate::error::{Error, ErrorKind, Result};
use crate::sys::helpers;
use crate::sys::sync::{Condvar, Mutex};

/// Runs `main`, which fills `pieces` and passes them on to up to `helpers` threads that `work` on them, in any order,
/// and give them back. If there is no such thread the work is done as they are passed on. When this returns, all of it
/// is done.
pub fn go_round<T: Send, R>(
    name: &CStr,
    helpers: usize,
    pieces: impl IntoIterator<Item = T>,
    work: &(dyn Fn(&mut T) + Sync),
    main: impl FnOnce(&Round<'_, T>) -> R,
) -> R {
    let (full, empty) = (Pipe::new([]), Pipe::new(pieces));
    let help = || {
        let _ends = empty.close_at_end();
        while let Some(mut piece) = full.pop() {
            work(&mut piece);
            empty.push(piece);
        }
    };
    helpers::with_helpers(name, helpers, &help, |helpers| {
        let _ends = full.close_at_end();
        main(&Round { work, full: &full, empty: &empty, is_helped: helpers > 0 })
    })
}

/// See [`go_round`].
pub struct Round<'r, T> {
    work: &'r dyn Fn(&mut T),
    full: &'r Pipe<T>,
    empty: &'r Pipe<T>,
    is_helped: bool,
}

impl<T> Round<'_, T> {
    /// A piece to be filled; waits until there is one.
    pub fn take(&self) -> Result<T> {
        self.empty.pop().ok_or_else(|| Error::new(ErrorKind::Internal, "a helping thread has ended"))
    }

    /// Passes a piece on.
    pub fn pass_on(&self, mut piece: T) {
        if self.is_helped {
            self.full.push(piece);
        } else {
            (self.work)(&mut piece);
            self.empty.push(piece);
        }
    }
}

/// A queue between threads.
struct Pipe<T> {
    state: Mutex<State<T>>,
    changed: Condvar,
}

struct State<T> {
    items: VecDeque<T>,
    is_closed: bool,
}

impl<T> Pipe<T> {
    /// A pipe that holds `items`.
    fn new(items: impl IntoIterator<Item = T>) -> Pipe<T> {
        let state = State { items: items.into_iter().collect(), is_closed: false };
        Pipe { state: Mutex::new(state), changed: Condvar::new() }
    }

    /// Puts something in; never waits.
    fn push(&self, item: T) {
        let mut state = self.state.lock();
        state.items.push_back(item);
        self.changed.notify_all(&state);
    }

    /// Takes what was put in first; waits for it. `None` when the pipe is closed and empty.
    fn pop(&self) -> Option<T> {
        let mut state = self.state.lock();
        loop {
            if let Some(item) = state.items.pop_front() {
                return Some(item);
            }
            if state.is_closed {
                return None;
            }
            state = self.changed.wait(state);
        }
    }

    /// Ends the waiting of everybody who finds the pipe empty.
    fn close(&self) {
        let mut state = self.state.lock();
        state.is_closed = true;
        self.changed.notify_all(&state);
    }

    /// Closes the pipe when dropped: also by an error or a panic.
    fn close_at_end(&self) -> CloseAtEnd<'_, T> {
        CloseAtEnd(self)
    }
}

/// See [`Pipe::close_at_end`].
struct CloseAtEnd<'p, T>(&'p Pipe<T>);

impl<T> Drop for CloseAtEnd<'_, T> {
    fn drop(&mut self) {
        self.0.close();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::panic::{AssertUnwindSafe, catch_unwind};

    #[test]
    fn every_piece_is_worked_on_each_time_it_is_passed_on() {
        for helpers in [0, 1, 3] {
            let done = Mutex::new(Vec::new());
            let work = |number: &mut u64| done.lock().push(*number);
            go_round(c"help", helpers, [0; 4], &work, |round| {
                for number in 0..1000 {
                    let mut piece = round.take().unwrap();
                    piece = piece / u64::MAX + number;
                    round.pass_on(piece);
                }
            });
            let mut done = done.lock();
            done.sort_unstable();
            assert!(done.iter().copied().eq(0..1000), "{helpers} helpers");
        }
    }

    #[test]
    fn a_panic_on_either_side_is_one_of_the_caller_and_nobody_waits_for_ever() {
        let panics = |run: &dyn Fn()| assert!(catch_unwind(AssertUnwindSafe(run)).is_err());
        panics(&|| go_round(c"help", 2, [0; 4], &|_| {}, |_| panic!("on purpose")));
        panics(&|| {
            go_round(c"help", 1, [0; 2], &|_| panic!("on purpose"), |round| {
                while let Ok(piece) = round.take() {
                    round.pass_on(piece);
                }
            })
        });
    }
}
