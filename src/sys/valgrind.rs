//! Telling valgrind's tools what they cannot see for themselves.
//!
//! A *client request* is a sequence of instructions that does nothing, which no compiler emits, and which valgrind knows
//! when it translates the code; a register points to a request code and five arguments. What is requested here:
//!
//! - memcheck is told of every block that our own allocator hands out and takes back, so that it sees overruns, uses
//!   after free and leaks inside our memory as it does inside malloc's;
//! - helgrind and drd are told of what is handed from thread to thread by an atomic, which they do not understand.
//!
//! Outside of valgrind each function here is a load and a branch not taken: a static remembers that there is none. The
//! codes and the sequences are those of `valgrind.h`, `memcheck.h`, `helgrind.h` and `drd.h`, part of its stable
//! interface. A tool ignores the requests that are for another tool.

use std::sync::atomic::{AtomicU8, Ordering};

const RUNNING_ON_VALGRIND: usize = 0x1001;
const MALLOCLIKE_BLOCK: usize = 0x1301;
const FREELIKE_BLOCK: usize = 0x1302;
/// `VALGRIND_MAKE_MEM_NOACCESS`, `_UNDEFINED` and `_DEFINED`.
const MEMCHECK_NOACCESS: usize = MEMCHECK;
const MEMCHECK_UNDEFINED: usize = MEMCHECK + 1;
const MEMCHECK_DEFINED: usize = MEMCHECK + 2;
/// `ANNOTATE_HAPPENS_BEFORE` and `_AFTER`: helgrind and drd have the same codes.
const HAPPENS_BEFORE: usize = HELGRIND + 256 + 33;
const HAPPENS_AFTER: usize = HELGRIND + 256 + 34;
/// The codes of a tool begin with two letters of its own.
const MEMCHECK: usize = (b'M' as usize) << 24 | (b'C' as usize) << 16;
const HELGRIND: usize = (b'H' as usize) << 24 | (b'G' as usize) << 16;

/// Whether the process runs on valgrind.
#[inline(always)]
pub fn is_running() -> bool {
    RUNNING.load(Ordering::Relaxed) != NO && ask()
}

/// What [`is_running`] remembers.
static RUNNING: AtomicU8 = AtomicU8::new(UNKNOWN);
const UNKNOWN: u8 = 0;
const NO: u8 = 1;
const YES: u8 = 2;

#[cold]
fn ask() -> bool {
    let is_running = request(RUNNING_ON_VALGRIND, [0; 5]) != 0;
    // By a swap: helgrind takes a store beside a load for a race.
    RUNNING.swap(if is_running { YES } else { NO }, Ordering::Relaxed);
    is_running
}

/// Everything that this thread has done so far happens before what another one does after its
/// [`happens_after`] with the same address. To be said before the atomic write that hands something over.
#[inline(always)]
pub fn happens_before(address: *const ()) {
    tell(HAPPENS_BEFORE, [address.addr(), 0, 0, 0, 0]);
}

/// The other end of [`happens_before`]: to be said after the atomic read that has seen what was handed over.
#[inline(always)]
pub fn happens_after(address: *const ()) {
    tell(HAPPENS_AFTER, [address.addr(), 0, 0, 0, 0]);
}

/// The `len` bytes at `address` are a block of the heap now, as if malloc had returned it: their content is undefined,
/// the `redzone` bytes before and behind it are nobody's.
pub fn allocated(address: *const u8, len: usize, redzone: usize) {
    tell(MALLOCLIKE_BLOCK, [address.addr(), len, redzone, 0, 0]);
}

/// As [`allocated`], for memory that holds zeros.
pub fn allocated_zeroed(address: *const u8, len: usize, redzone: usize) {
    tell(MALLOCLIKE_BLOCK, [address.addr(), len, redzone, 1, 0]);
}

/// The block at `address` is free again: whoever touches it makes a mistake.
pub fn freed(address: *const u8, redzone: usize) {
    tell(FREELIKE_BLOCK, [address.addr(), redzone, 0, 0, 0]);
}

/// From here on nobody may touch the `len` bytes at `address`.
pub fn forbid(address: *const u8, len: usize) {
    tell(MEMCHECK_NOACCESS, [address.addr(), len, 0, 0, 0]);
}

/// The `len` bytes at `address` may be written, and read when they have been.
pub fn allow_writes(address: *const u8, len: usize) {
    tell(MEMCHECK_UNDEFINED, [address.addr(), len, 0, 0, 0]);
}

/// The `len` bytes at `address` may be read and written.
pub fn allow(address: *const u8, len: usize) {
    tell(MEMCHECK_DEFINED, [address.addr(), len, 0, 0, 0]);
}

#[inline(always)]
fn tell(code: usize, arguments: [usize; 5]) {
    if is_running() {
        request(code, arguments);
    }
}

/// The answer to a request; 0 outside of valgrind, where this does nothing.
#[cold]
#[inline(never)]
fn request(code: usize, [a, b, c, d, e]: [usize; 5]) -> usize {
    let request = [code, a, b, c, d, e];
    let mut answer = 0;
    #[cfg(target_arch = "x86_64")]
    // SAFETY: the rotations add up to 128 bits, so every register keeps its value, but for the answer and the flags.
    // Valgrind only reads the request; what its tools note about memory is no part of the program's state.
    unsafe {
        std::arch::asm!(
            "rol rdi, 3",
            "rol rdi, 13",
            "rol rdi, 61",
            "rol rdi, 51",
            "xchg rbx, rbx",
            in("rax") &raw const request,
            inout("rdx") answer,
            options(nostack),
        );
    }
    #[cfg(target_arch = "aarch64")]
    // SAFETY: as above.
    unsafe {
        std::arch::asm!(
            "ror x12, x12, #3",
            "ror x12, x12, #13",
            "ror x12, x12, #51",
            "ror x12, x12, #61",
            "orr x10, x10, x10",
            inout("x3") answer,
            in("x4") &raw const request,
            options(nostack),
        );
    }
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    let _ = (request, &mut answer);
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The library's own tests run outside of valgrind, where nothing may come of a request.
    #[test]
    fn requests_are_answered_by_valgrind_only() {
        assert_eq!(request(RUNNING_ON_VALGRIND, [0; 5]) != 0, is_running());
        let block = [7u8; 64];
        allocated(block.as_ptr(), block.len(), 0);
        allow(block.as_ptr(), block.len());
        assert_eq!(block, [7; 64]);
        freed(block.as_ptr(), 0);
        allow(block.as_ptr(), block.len());
        happens_before((&raw const block).cast());
        happens_after((&raw const block).cast());
    }
}
