//! What went wrong, in words.

use std::cell::RefCell;
use std::fmt::{self, Write};
use std::os::raw::{c_char, c_int, c_void};

use super::constants::*;
use crate::error::Error;

/// Room for the message of a thread's last failure. Longer ones are cut, at a character.
const MESSAGE_LEN: usize = 512;

/// A NUL-terminated text in a fixed buffer. Plain bytes on purpose: a thread-local with a destructor crashes the host
/// when the library is unloaded by `dlclose` while threads go on.
struct Message {
    text: [u8; MESSAGE_LEN],
    len: usize,
}

impl Write for Message {
    fn write_str(&mut self, s: &str) -> fmt::Result {
        let room = MESSAGE_LEN - 1 - self.len;
        let cut = s.floor_char_boundary(room);
        self.text[self.len..self.len + cut].copy_from_slice(&s.as_bytes()[..cut]);
        self.len += cut;
        self.text[self.len] = 0;
        if cut < s.len() { Err(fmt::Error) } else { Ok(()) }
    }
}

thread_local! {
    static LAST: RefCell<Message> = const { RefCell::new(Message { text: [0; MESSAGE_LEN], len: 0 }) };
}

/// Keeps the words of this thread's last failure.
pub(super) fn remember(call: &str, error: &Error) {
    LAST.with_borrow_mut(|last| {
        last.len = 0;
        // An error here only says that the text was cut.
        let _ = write!(last, "{call}: {error}");
    });
}

/// What a result code means, as static text; never NULL, also for a number that is no code. Does not block.
#[unsafe(no_mangle)]
pub extern "C" fn kv_strerror(code: c_int) -> *const c_char {
    let text = match code {
        KV_OK => c"success",
        KV_NOT_FOUND => c"key not found",
        KV_CONFLICT => c"condition not met, nothing changed",
        KV_LAGGED => c"the log does not reach back so far any more",
        KV_INVALID => c"invalid argument",
        KV_TOO_LARGE => c"key or value too large",
        KV_NO_MEMORY => c"out of memory",
        KV_IO => c"input/output error",
        KV_NO_SPACE => c"no space left for writing",
        KV_LOCKED => c"store is open elsewhere",
        KV_CORRUPT => c"files are damaged or not a store",
        KV_CRC_MISMATCH => c"checksum mismatch",
        KV_INCOMPLETE => c"record is incomplete",
        KV_FAILED => c"an earlier sync failed, the handle takes no more writes",
        KV_VERSION => c"made by a newer version of kvwal",
        KV_FORKED => c"handle belongs to the parent process",
        KV_BUFFER => c"buffer too small",
        KV_INTERNAL => c"internal error in kvwal",
        _ => c"unknown result code",
    };
    text.as_ptr()
}

/// This thread's last failure in words: the call, the file, the offset, the LSN, the errno, as far as they apply.
/// Never NULL; empty if no call has failed yet. A call that succeeds, or answers KV_NOT_FOUND, leaves it alone. The
/// text belongs to the library and is good until this thread's next kvwal call. Does not block.
#[unsafe(no_mangle)]
pub extern "C" fn kv_errmsg() -> *const c_char {
    LAST.with_borrow(|last| last.text.as_ptr().cast())
}

/// Frees a value that kv_get() returned. NULL is fine. Does not block.
///
/// # Safety
/// `p` is NULL or came from kv_get() and was not freed yet.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kv_free(p: *mut c_void) {
    // SAFETY: kv_get() allocates with malloc, and by the caller's promise `p` is such a block or NULL.
    unsafe { libc::free(p) }
}

/// The version of the library that is loaded, such as "0.1.0"; static text. Does not block.
#[unsafe(no_mangle)]
pub extern "C" fn kv_version() -> *const c_char {
    concat!(env!("CARGO_PKG_VERSION"), "\0").as_ptr().cast()
}
