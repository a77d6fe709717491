//! `kv_transact` and `kv_txn_*`: changes that depend on what is there.

use std::os::raw::{c_int, c_void};
use std::ptr;

use super::constants::*;
use super::store::with_store;
use super::types::{kv_store, kv_txn, kv_txn_fn};
use super::{bytes, guarded, handle, handle_mut, invalid, output};
use crate::error::Result;
use crate::format;
use crate::transaction::Transaction;

/// What C passes on to a function that may run on another thread.
struct Passed(*mut c_void);

// SAFETY: kv_transact() says on which thread its function runs, and that its caller waits meanwhile.
unsafe impl Send for Passed {}

impl Passed {
    fn get(self) -> *mut c_void {
        self.0
    }
}

/// Runs fn, which reads keys with kv_txn_get() and changes them with kv_txn_set(), kv_txn_set_ttl() and kv_txn_del(), all
/// of it at one moment: nobody else writes between what it reads and what it writes, and its changes are made all at once,
/// as by kv_write(). When fn returns 0 they are committed; otherwise nothing is written.
///
/// fn gets ctx, and runs once: on this thread, or on another one that is inside a call on the same handle at that moment,
/// while this one waits. Until it returns every writer waits, so it should be quick, and wait for nobody. It must return
/// (no longjmp, no exception), and use the store by kv_txn_* alone: a call that writes, syncs, makes a checkpoint or begins
/// a transaction on the same handle is KV_INVALID, kv_close() is not allowed, and one that reads sees none of its changes.
///
/// Blocks as kv_set() does, also if only others have written: what fn has seen is on stable storage when this returns.
/// Transactions and other writes of several threads share a sync; if nobody writes there is none.
///
/// Returns KV_OK; KV_CONFLICT if fn returned non-zero; and the errors of kv_set(), after which nothing was changed (but see
/// KV_FAILED).
///
/// # Safety
/// `s` is NULL or an open handle; `fn` is NULL or a function that returns normally and may use `ctx` on any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kv_transact(s: *mut kv_store, r#fn: kv_txn_fn, ctx: *mut c_void) -> c_int {
    with_store("kv_transact", s, |store| {
        let work = r#fn.ok_or_else(|| invalid("fn is NULL"))?;
        let ctx = Passed(ctx);
        store.transact(move |transaction| {
            let handle = ptr::from_mut(transaction).cast::<kv_txn>();
            // SAFETY: the handle is good until the function returns, and `ctx` is passed on as it came.
            if unsafe { work(ctx.get(), handle) } == 0 {
                return Ok(KV_OK);
            }
            transaction.undo();
            Ok(KV_CONFLICT)
        })
    })
}

/// Looks key up: what the transaction has changed itself, else what is there. On KV_OK *value points to the value, which is
/// *value_len bytes long and good until the transaction's function returns; it is not NULL for an empty value, and not to
/// be freed. Otherwise NULL and 0. Never waits for the disk.
///
/// Returns KV_OK; KV_NOT_FOUND; KV_INVALID; KV_TOO_LARGE.
///
/// # Safety
/// `t` is NULL or what kv_transact() has passed to the function that calls this; `key` is NULL or points to `key_len` bytes;
/// `value` and `value_len` are NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kv_txn_get(
    t: *mut kv_txn,
    key: *const c_void,
    key_len: usize,
    value: *mut *const c_void,
    value_len: *mut usize,
) -> c_int {
    guarded("kv_txn_get", || {
        // SAFETY: the promises of this function are those of the helpers.
        let outputs = unsafe { (output(value, ptr::null(), "value"), output(value_len, 0, "value_len")) };
        let (value, value_len) = (outputs.0?, outputs.1?);
        // SAFETY: as above.
        let (transaction, key) = unsafe { (handle(t.cast::<Transaction<'_>>(), "t")?, bytes(key, key_len, "key")?) };
        // What is found stays where it is: nothing is applied to the table while a work runs, and a change that the
        // transaction replaces is kept, too.
        let found = transaction.get_with(key, |entry| {
            *value = entry.value.as_ptr().cast();
            *value_len = entry.value.len();
        })?;
        Ok(if found.is_some() { KV_OK } else { KV_NOT_FOUND })
    })
}

/// Sets key to value. key and value are copied. Does not block.
///
/// Returns KV_OK; KV_INVALID; KV_TOO_LARGE; KV_NO_MEMORY. A failed call changes nothing; whether the rest is committed is
/// up to the function.
///
/// # Safety
/// As for kv_txn_get(); `value` is NULL or points to `value_len` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kv_txn_set(
    t: *mut kv_txn,
    key: *const c_void,
    key_len: usize,
    value: *const c_void,
    value_len: usize,
) -> c_int {
    // SAFETY: the promises of this function are those of the helpers.
    with_transaction("kv_txn_set", t, |transaction| unsafe {
        transaction.set(bytes(key, key_len, "key")?, bytes(value, value_len, "value")?)?;
        Ok(KV_OK)
    })
}

/// As kv_txn_set(), but the key is gone ttl_ms milliseconds after the transaction began (system clock). A ttl_ms of 0 is
/// KV_INVALID.
///
/// # Safety
/// As for kv_txn_set().
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kv_txn_set_ttl(
    t: *mut kv_txn,
    key: *const c_void,
    key_len: usize,
    value: *const c_void,
    value_len: usize,
    ttl_ms: u64,
) -> c_int {
    // SAFETY: the promises of this function are those of the helpers.
    with_transaction("kv_txn_set_ttl", t, |transaction| unsafe {
        let (key, value) = (bytes(key, key_len, "key")?, bytes(value, value_len, "value")?);
        if ttl_ms == 0 {
            return Err(invalid("a time to live of 0"));
        }
        transaction.set_until(key, value, transaction.now_ms().saturating_add(ttl_ms))?;
        Ok(KV_OK)
    })
}

/// Deletes key. Does not block.
///
/// Returns KV_OK; KV_NOT_FOUND if it was not there; KV_INVALID; KV_TOO_LARGE; KV_NO_MEMORY.
///
/// # Safety
/// As for kv_txn_get().
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kv_txn_del(t: *mut kv_txn, key: *const c_void, key_len: usize) -> c_int {
    // SAFETY: the promises of this function are those of the helpers.
    with_transaction("kv_txn_del", t, |transaction| unsafe {
        Ok(if transaction.del(bytes(key, key_len, "key")?)? { KV_OK } else { KV_NOT_FOUND })
    })
}

/// Sets key to value if it is not there. key and value are copied.
///
/// Blocks as kv_transact() does.
///
/// Returns KV_OK; KV_CONFLICT if it is there, and then it stays as it is; and the errors of kv_set().
///
/// # Safety
/// As for kv_set().
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kv_set_if_absent(
    s: *mut kv_store,
    key: *const c_void,
    key_len: usize,
    value: *const c_void,
    value_len: usize,
) -> c_int {
    // SAFETY: the promises of this function are those of the helpers.
    with_store("kv_set_if_absent", s, |store| unsafe {
        let is_set = store.set_if_absent(bytes(key, key_len, "key")?, bytes(value, value_len, "value")?)?;
        Ok(if is_set { KV_OK } else { KV_CONFLICT })
    })
}

/// Sets key to value if its value is expected, byte for byte; an expiry is dropped. All three are copied.
///
/// Blocks as kv_transact() does.
///
/// Returns KV_OK; KV_NOT_FOUND if the key is not there, KV_CONFLICT if its value is another one, and then nothing is
/// changed; and the errors of kv_set().
///
/// # Safety
/// As for kv_set(); `expected` is NULL or points to `expected_len` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kv_compare_and_set(
    s: *mut kv_store,
    key: *const c_void,
    key_len: usize,
    expected: *const c_void,
    expected_len: usize,
    value: *const c_void,
    value_len: usize,
) -> c_int {
    // SAFETY: the promises of this function are those of the helpers.
    with_store("kv_compare_and_set", s, |store| unsafe {
        let (key, value) = (bytes(key, key_len, "key")?, bytes(value, value_len, "value")?);
        let expected = bytes(expected, expected_len, "expected")?;
        format::check_lengths(key, value)?;
        store.transact(|transaction| match transaction.get_with(key, |entry| entry.value == expected)? {
            None => Ok(KV_NOT_FOUND),
            Some(false) => Ok(KV_CONFLICT),
            Some(true) => transaction.set(key, value).map(|()| KV_OK),
        })
    })
}

/// Runs a call on a transaction.
fn with_transaction(name: &str, t: *mut kv_txn, body: impl FnOnce(&mut Transaction<'_>) -> Result<c_int>) -> c_int {
    guarded(name, || {
        // SAFETY: every caller promises what kv_transact() has passed to the function that is running, or NULL.
        body(unsafe { handle_mut(t.cast::<Transaction<'_>>(), "t")? })
    })
}
