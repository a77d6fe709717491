//! The thread that maps chunks before they are needed, and unmaps those that are not needed any more.
//!
//! The first touch of a page can take long: the kernel must zero it, and the host of a virtual machine must find it, 15
//! µs for 4 KiB, some milliseconds for a huge page. No caller shall wait for that. So the helper keeps a few chunks
//! ready, more of them the faster they are used up, and lets go of most of them when nobody has needed one for a while.
//!
//! It is started when a pool has a few chunks, and nothing waits for it: without a ready chunk, or in the child of a
//! fork, which does not have the thread, chunks are mapped where they are needed. Only the drop of the pool waits for
//! its end; so a pool is not dropped in such a child.

use std::ptr::NonNull;
use std::sync::Arc;
use std::time::Duration;

use super::chunks::{Helper, Task};
use super::map::{self, CHUNK};
use super::{Pool, Shared};
use crate::sys::event::Bell;
use crate::sys::thread::Thread;

/// How long a reserve is kept that nobody needs.
const PATIENCE: Duration = Duration::from_millis(250);
/// What starting a thread takes of malloc, and more.
const NEEDED_MEMORY: usize = 4096;

impl Pool {
    /// Starts the helper, unless somebody else does.
    pub fn start_helper(&self) {
        let mut thread = self.helper.lock();
        if !self.shared().chunks.lock().wants_helper() {
            return;
        }
        let wake = prepare();
        {
            let mut chunks = self.shared().chunks.lock();
            chunks.helper = if wake.is_some() { Helper::Awake } else { Helper::Impossible };
            chunks.wake.clone_from(&wake);
        }
        let Some(wake) = wake else { return };
        let shared = SharedRef(self.shared);
        *thread = Thread::start(c"kvwal-memory", move || run(shared, &wake)).ok();
        if thread.is_none() {
            self.shared().chunks.lock().helper = Helper::Impossible;
        }
    }

    /// Stops the helper, and waits until it has ended. Afterwards none is started.
    pub fn stop_helper(&self) {
        {
            let mut chunks = self.shared().chunks.lock();
            chunks.stop = true;
            if let Some(wake) = &chunks.wake {
                wake.ring();
            }
        }
        if let Some(thread) = self.helper.lock().take() {
            thread.join();
        }
        self.shared().chunks.lock().helper = Helper::Impossible;
    }
}

/// What the helper needs, if there is enough of everything. Without memory there is no point in a helper, and starting
/// it would end the process.
fn prepare() -> Option<Arc<Bell>> {
    Vec::<u8>::new().try_reserve_exact(NEEDED_MEMORY).ok()?;
    Bell::new().ok().map(Arc::new)
}

struct SharedRef(NonNull<Shared>);

// SAFETY: what the pool shares is made to be used by several threads.
unsafe impl Send for SharedRef {}

fn run(shared: SharedRef, wake: &Bell) {
    // SAFETY: the pool waits for this thread before it lets go of what it shares.
    let shared = unsafe { shared.0.as_ref() };
    loop {
        let task = {
            let mut chunks = shared.chunks.lock();
            if chunks.stop {
                return;
            }
            chunks.next_task()
        };
        let not_needed = match task {
            Task::Map => match map::map(CHUNK) {
                Some(start) => shared.chunks.lock().add_bare(start),
                None => {
                    wake.wait(Some(PATIENCE));
                    None
                }
            },
            Task::Touch(start) => {
                map::ask_for_huge_pages(start, CHUNK);
                map::touch(start, CHUNK);
                shared.chunks.lock().add_ready(start)
            }
            Task::Unmap(start) => Some(start),
            Task::Sleep { but_not_for_ever } => {
                let woken = wake.wait(but_not_for_ever.then_some(PATIENCE));
                if woken { None } else { shared.chunks.lock().shrink_reserve() }
            }
        };
        if let Some(start) = not_needed {
            map::unmap(start, CHUNK);
        }
    }
}
