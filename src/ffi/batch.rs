//! `kv_batch_*`: changes that belong together.

use std::os::raw::{c_int, c_void};
use std::ptr;

use super::constants::*;
use super::types::kv_batch;
use super::{bytes, call, handle_mut};
use crate::batch::Batch;

/// A new, empty batch, to be freed with kv_batch_free(). Does not block.
#[unsafe(no_mangle)]
pub extern "C" fn kv_batch_new() -> *mut kv_batch {
    let mut out = ptr::null_mut();
    call("kv_batch_new", || {
        out = Box::into_raw(Box::new(kv_batch { batch: Batch::new() }));
        Ok(KV_OK)
    });
    out
}

/// Adds "set key to value". key and value are copied. Does not block.
///
/// Returns KV_OK; KV_INVALID; KV_TOO_LARGE; KV_NO_MEMORY. A failed call leaves the batch as it was.
///
/// # Safety
/// `b` is NULL or from kv_batch_new(); `key` and `value` are NULL or point to as many bytes as their lengths say.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kv_batch_set(
    b: *mut kv_batch,
    key: *const c_void,
    key_len: usize,
    value: *const c_void,
    value_len: usize,
) -> c_int {
    // SAFETY: the promises of this function are those of the helpers.
    call("kv_batch_set", || unsafe {
        let batch = &mut handle_mut(b, "b")?.batch;
        batch.set(bytes(key, key_len, "key")?, bytes(value, value_len, "value")?)?;
        Ok(KV_OK)
    })
}

/// Adds "delete key"; a key that is not there is no error when the batch is written. Does not block.
///
/// Returns KV_OK; KV_INVALID; KV_TOO_LARGE; KV_NO_MEMORY. A failed call leaves the batch as it was.
///
/// # Safety
/// As for kv_batch_set().
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kv_batch_del(b: *mut kv_batch, key: *const c_void, key_len: usize) -> c_int {
    // SAFETY: the promises of this function are those of the helpers.
    call("kv_batch_del", || unsafe {
        handle_mut(b, "b")?.batch.del(bytes(key, key_len, "key")?)?;
        Ok(KV_OK)
    })
}

/// Empties a batch, to be filled again. Does not block. Returns KV_OK or KV_INVALID.
///
/// # Safety
/// `b` is NULL or from kv_batch_new().
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kv_batch_clear(b: *mut kv_batch) -> c_int {
    // SAFETY: the promise of this function.
    call("kv_batch_clear", || unsafe {
        handle_mut(b, "b")?.batch.clear();
        Ok(KV_OK)
    })
}

/// Frees a batch. NULL is fine. Does not block.
///
/// # Safety
/// `b` is NULL or from kv_batch_new(), and not used again.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kv_batch_free(b: *mut kv_batch) {
    if !b.is_null() {
        // SAFETY: it came from Box::into_raw in kv_batch_new(), and this is its last use.
        drop(unsafe { Box::from_raw(b) });
    }
}
