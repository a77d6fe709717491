//! Mutex and condition variable: pthread's, behind safe types.
//!
//! Not `std::sync`, because the library is a guest in C programs whose authors run helgrind and drd: those understand
//! pthread's primitives, and report each futex of `std::sync` as a race. The pthread objects are boxed, as they must
//! not move. There is no poisoning: whoever can panic while holding a lock must leave what it guards consistent.

use std::cell::UnsafeCell;
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};
use std::ptr;

/// Makes a guard stay on its thread: pthread's locks are released by the thread that took them.
type NotSend = PhantomData<*const ()>;

/// Has a cache line for itself, so that those who take one lock do not slow down those who take its neighbour.
#[repr(align(64))]
struct OwnLine<T>(T);

/// A mutual-exclusion lock around a `T`.
pub struct Mutex<T> {
    raw: Box<OwnLine<UnsafeCell<libc::pthread_mutex_t>>>,
    value: UnsafeCell<T>,
}

// SAFETY: the value is only reached through a guard, which one thread holds at a time.
unsafe impl<T: Send> Send for Mutex<T> {}
// SAFETY: as above.
unsafe impl<T: Send> Sync for Mutex<T> {}

impl<T> Mutex<T> {
    /// A new, unlocked mutex.
    pub fn new(value: T) -> Mutex<T> {
        let raw = Box::new(OwnLine(UnsafeCell::new(libc::PTHREAD_MUTEX_INITIALIZER)));
        // Initialised by a call although it is already: drd only knows those.
        // SAFETY: `raw` is ours alone; NULL asks for the default attributes.
        let result = unsafe { libc::pthread_mutex_init(raw.0.get(), ptr::null()) };
        assert_eq!(result, 0, "pthread_mutex_init");
        Mutex { raw, value: UnsafeCell::new(value) }
    }

    /// Waits for the lock. Locking twice on one thread never returns.
    pub fn lock(&self) -> MutexGuard<'_, T> {
        // SAFETY: the mutex is initialised and stays where it is until drop.
        let result = unsafe { libc::pthread_mutex_lock(self.raw.0.get()) };
        assert_eq!(result, 0, "pthread_mutex_lock");
        MutexGuard { mutex: self, thread: PhantomData }
    }

    /// Takes the lock if nobody has it.
    pub fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
        // SAFETY: the mutex is initialised and stays where it is until drop.
        match unsafe { libc::pthread_mutex_trylock(self.raw.0.get()) } {
            0 => Some(MutexGuard { mutex: self, thread: PhantomData }),
            libc::EBUSY => None,
            error => unreachable!("pthread_mutex_trylock: {error}"),
        }
    }

    /// As [`lock`](Self::lock), for a lock that is never held for long: tries for some microseconds before it sleeps,
    /// for to be woken takes many.
    pub fn lock_soon(&self) -> MutexGuard<'_, T> {
        for _ in 0..SPINS {
            if let Some(guard) = self.try_lock() {
                return guard;
            }
            (0..PAUSES).for_each(|_| std::hint::spin_loop());
        }
        self.lock()
    }
}

/// How often a lock is tried before sleeping, and how long to pause in between.
const SPINS: usize = 200;
const PAUSES: usize = 4;

impl<T: Default> Default for Mutex<T> {
    fn default() -> Mutex<T> {
        Mutex::new(T::default())
    }
}

impl<T> Drop for Mutex<T> {
    fn drop(&mut self) {
        // SAFETY: nobody else has a reference, so it is not locked.
        unsafe { libc::pthread_mutex_destroy(self.raw.0.get()) };
    }
}

/// Holds a [`Mutex`]; released when dropped.
pub struct MutexGuard<'a, T> {
    mutex: &'a Mutex<T>,
    thread: NotSend,
}

impl<T> Deref for MutexGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: this guard holds the lock.
        unsafe { &*self.mutex.value.get() }
    }
}

impl<T> DerefMut for MutexGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: this guard holds the lock, and is borrowed mutably.
        unsafe { &mut *self.mutex.value.get() }
    }
}

impl<T> Drop for MutexGuard<'_, T> {
    fn drop(&mut self) {
        // SAFETY: this guard's thread holds the lock.
        unsafe { libc::pthread_mutex_unlock(self.mutex.raw.0.get()) };
    }
}

/// A condition variable. Every wait may end without a reason: check the condition in a loop.
pub struct Condvar {
    raw: Box<UnsafeCell<libc::pthread_cond_t>>,
}

// SAFETY: pthread condition variables are made to be used by several threads.
unsafe impl Send for Condvar {}
// SAFETY: as above.
unsafe impl Sync for Condvar {}

impl Default for Condvar {
    fn default() -> Condvar {
        Condvar::new()
    }
}

impl Condvar {
    /// A new condition variable.
    pub fn new() -> Condvar {
        let raw = Box::new(UnsafeCell::new(libc::PTHREAD_COND_INITIALIZER));
        // Initialised by a call although it is already: drd only knows those.
        // SAFETY: `raw` is ours alone; NULL asks for the default attributes.
        let result = unsafe { libc::pthread_cond_init(raw.get(), ptr::null()) };
        assert_eq!(result, 0, "pthread_cond_init");
        Condvar { raw }
    }

    /// Releases the mutex, waits to be woken, and takes it again.
    pub fn wait<'a, T>(&self, guard: MutexGuard<'a, T>) -> MutexGuard<'a, T> {
        // SAFETY: both objects are initialised, and this thread holds the mutex.
        let result = unsafe { libc::pthread_cond_wait(self.raw.get(), guard.mutex.raw.0.get()) };
        assert_eq!(result, 0, "pthread_cond_wait");
        guard
    }

    /// Wakes all waiting threads. Whoever wakes holds the mutex of those who wait: so no wake-up falls between their check
    /// and their sleep. (There is no way to wake one alone: in glibc 2.25 to 2.40 such a signal may get lost.)
    pub fn notify_all<T>(&self, _held: &MutexGuard<'_, T>) {
        // SAFETY: initialised.
        unsafe { libc::pthread_cond_broadcast(self.raw.get()) };
    }
}

impl Drop for Condvar {
    fn drop(&mut self) {
        // SAFETY: nobody else has a reference, so nobody waits.
        unsafe { libc::pthread_cond_destroy(self.raw.get()) };
    }
}
