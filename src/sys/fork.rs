//! Telling a forked child from the process that opened the handle.
//!
//! A page is mapped with `MADV_WIPEONFORK` (Linux 4.14): the kernel gives a child a page of zeros in its place. So the
//! check is one load, needs no handler and cannot be got around by a bare `clone`. Where the kernel does not know the
//! advice, `getpid` is compared.

use std::io;
use std::ptr::{self, NonNull};

/// Enough for one mark on any page size; the kernel maps a whole page.
const LEN: usize = 4096;

/// Made by the process that owns a handle; false in its forked children.
pub struct Owner {
    mark: NonNull<u8>,
    pid: u32,
    wiped_on_fork: bool,
}

// SAFETY: the mark is written once, before the value can be shared, and only read afterwards.
unsafe impl Send for Owner {}
// SAFETY: as above.
unsafe impl Sync for Owner {}

impl Owner {
    /// Marks the calling process as the owner.
    pub fn current() -> io::Result<Owner> {
        let (access, kind) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
        // SAFETY: a new anonymous mapping touches no existing memory.
        let page = unsafe { libc::mmap(ptr::null_mut(), LEN, access, kind, -1, 0) };
        if page == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let mark = NonNull::new(page.cast::<u8>()).ok_or_else(|| io::Error::from_raw_os_error(libc::ENOMEM))?;
        // SAFETY: the page was mapped above, readable and writable, and is ours alone.
        let wiped_on_fork = unsafe {
            mark.write(1);
            libc::madvise(page, LEN, libc::MADV_WIPEONFORK) == 0
        };
        Ok(Owner { mark, pid: std::process::id(), wiped_on_fork })
    }

    /// Whether the calling process is the one that made this.
    pub fn is_current(&self) -> bool {
        match self.wiped_on_fork {
            // SAFETY: the page stays mapped until drop. Volatile, for the kernel changes it behind our back.
            true => unsafe { self.mark.as_ptr().read_volatile() == 1 },
            false => std::process::id() == self.pid,
        }
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        // SAFETY: mapped in `current` with this length; nothing refers to it any more.
        unsafe { libc::munmap(self.mark.as_ptr().cast(), LEN) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_forked_child_is_not_the_owner() {
        for wiped_on_fork in [true, false] {
            let mut owner = Owner::current().unwrap();
            owner.wiped_on_fork &= wiped_on_fork;
            assert!(owner.is_current());
            // SAFETY: the child only reads its own memory and leaves with _exit.
            let status = unsafe {
                let child = libc::fork();
                if child == 0 {
                    libc::_exit(i32::from(owner.is_current()));
                }
                let mut status = 0;
                assert_eq!(libc::waitpid(child, &mut status, 0), child);
                status
            };
            assert!(libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 0, "the child took itself for the owner");
        }
    }
}
