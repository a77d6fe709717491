//! Mutex and condition variable, as in [`sys::sync`](crate::sys::sync) otherwise. A task that waits for what never comes
//! is reported as a deadlock.

use std::ops::{Deref, DerefMut};
use std::sync::{PoisonError, TryLockError};

use shuttle::sync;

/// A mutual-exclusion lock around a `T`.
pub struct Mutex<T>(sync::Mutex<T>);

impl<T> Mutex<T> {
    /// A new, unlocked mutex.
    pub fn new(value: T) -> Mutex<T> {
        Mutex(sync::Mutex::new(value))
    }

    /// Waits for the lock.
    pub fn lock(&self) -> MutexGuard<'_, T> {
        MutexGuard(self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Takes the lock if nobody has it.
    pub fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
        match self.0.try_lock() {
            Ok(guard) => Some(MutexGuard(guard)),
            Err(TryLockError::Poisoned(error)) => Some(MutexGuard(error.into_inner())),
            Err(TryLockError::WouldBlock) => None,
        }
    }

    /// As [`lock`](Self::lock): to try for a while makes no difference here.
    pub fn lock_soon(&self) -> MutexGuard<'_, T> {
        self.lock()
    }
}

impl<T: Default> Default for Mutex<T> {
    fn default() -> Mutex<T> {
        Mutex::new(T::default())
    }
}

/// Holds a [`Mutex`]; released when dropped.
pub struct MutexGuard<'a, T>(sync::MutexGuard<'a, T>);

impl<T> Deref for MutexGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T> DerefMut for MutexGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.0
    }
}

/// A condition variable.
#[derive(Default)]
pub struct Condvar(sync::Condvar);

impl Condvar {
    /// A new condition variable.
    pub fn new() -> Condvar {
        Condvar::default()
    }

    /// Releases the mutex, waits to be woken, and takes it again.
    pub fn wait<'a, T>(&self, guard: MutexGuard<'a, T>) -> MutexGuard<'a, T> {
        MutexGuard(self.0.wait(guard.0).unwrap_or_else(PoisonError::into_inner))
    }

    /// Wakes all waiting tasks.
    pub fn notify_all<T>(&self, _held: &MutexGuard<'_, T>) {
        self.0.notify_all();
    }
}
