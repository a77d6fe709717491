//! The C interface: check the arguments, call the Rust API, map the result.
//!
//! Every exported function runs inside [`call`], which stops panics, turns an [`Error`] into its code and keeps its
//! words for `kv_errmsg`. Pointers become slices and references in one place each, below. C integers come in as
//! integers and are validated; no Rust enum, `bool` or reference type is ever taken from C.
#![allow(unsafe_code)]
#![allow(non_camel_case_types)]

mod backup;
mod batch;
mod constants;
mod error;
mod restore;
mod store;
mod tail;
mod transaction;
mod types;
mod wal;

use std::os::raw::{c_int, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::{mem, ptr, slice};

use crate::error::{Error, ErrorKind, Result};
use crate::format::Op;
use crate::recovery::Report;
use constants::*;
use types::*;

const _: () = {
    use crate::format::{MAX_KEY_LEN, MAX_VALUE_LEN};
    use crate::report::Verdict;
    assert!(KV_MAX_KEY_LEN == MAX_KEY_LEN && KV_MAX_VALUE_LEN == MAX_VALUE_LEN);
    assert!(KV_TAIL_CLEAN == Verdict::Clean as c_int && KV_TAIL_TORN == Verdict::Torn as c_int);
    assert!(KV_TAIL_DAMAGED == Verdict::Damaged as c_int);
    assert!(KV_INVALID == ErrorKind::Invalid as c_int && KV_INTERNAL == ErrorKind::Internal as c_int);
    assert!(Op::Put.to_byte(false) == WAL_OP_PUT && Op::Delete.to_byte(false) == WAL_OP_DELETE);
    assert!(Op::PutExpiring.to_byte(true) == WAL_OP_PUT_EXPIRING | WAL_OP_BATCH);
};

/// Runs the body of an exported function: no panic gets past it, and an error leaves its words behind.
#[inline(always)]
fn call(name: &str, body: impl FnOnce() -> Result<c_int>) -> c_int {
    crate::sys::panic::silence();
    guarded(name, body)
}

/// As [`call`], for a handle's functions: whichever made the handle has silenced panics.
#[inline(always)]
fn guarded(name: &str, body: impl FnOnce() -> Result<c_int>) -> c_int {
    match catch_unwind(AssertUnwindSafe(body)) {
        Ok(Ok(code)) => code,
        Ok(Err(error)) => fail(name, &error),
        Err(_) => fail(name, &Error::new(ErrorKind::Internal, "a bug in kvwal: it panicked")),
    }
}

#[cold]
fn fail(name: &str, error: &Error) -> c_int {
    error::remember(name, error);
    error.kind() as c_int
}

fn invalid(what: impl Into<String>) -> Error {
    Error::new(ErrorKind::Invalid, what)
}

#[cold]
fn is_null(what: &str) -> Error {
    invalid(format!("{what} is NULL"))
}

/// The bytes of an argument. `(NULL, 0)` is empty, `(NULL, n)` an error.
///
/// # Safety
/// A non-null `ptr` points to `len` readable bytes that nobody changes during the call.
#[inline(always)]
unsafe fn bytes<'a>(ptr: *const c_void, len: usize, what: &str) -> Result<&'a [u8]> {
    if ptr.is_null() || len > isize::MAX as usize {
        return no_bytes(ptr, len, what);
    }
    // SAFETY: not null, and by the caller's promise `len` bytes are readable and stay unchanged.
    Ok(unsafe { slice::from_raw_parts(ptr.cast(), len) })
}

#[cold]
fn no_bytes<'a>(ptr: *const c_void, len: usize, what: &str) -> Result<&'a [u8]> {
    match (ptr.is_null(), len) {
        (true, 0) => Ok(&[]),
        (true, _) => Err(invalid(format!("{what} is NULL but its length is {len}"))),
        (false, _) => Err(Error::new(ErrorKind::TooLarge, format!("{what} of {len} bytes"))),
    }
}

/// Borrows what a handle points to.
///
/// # Safety
/// A non-null `ptr` came from the function that makes this kind of handle and was not freed.
#[inline]
unsafe fn handle<'a, T>(ptr: *const T, what: &str) -> Result<&'a T> {
    // SAFETY: the caller's promise.
    unsafe { ptr.as_ref() }.ok_or_else(|| is_null(what))
}

/// As [`handle`], for handles that one thread uses at a time.
///
/// # Safety
/// As for [`handle`], and nobody else uses the handle during the call.
unsafe fn handle_mut<'a, T>(ptr: *mut T, what: &str) -> Result<&'a mut T> {
    // SAFETY: the caller's promise.
    unsafe { ptr.as_mut() }.ok_or_else(|| is_null(what))
}

/// An output argument, set to `empty` as soon as it is known to be there.
///
/// # Safety
/// A non-null `ptr` points to a writable `T` that nobody else uses during the call; it may be uninitialised.
#[inline(always)]
unsafe fn output<'a, T>(ptr: *mut T, empty: T, what: &str) -> Result<&'a mut T> {
    if ptr.is_null() {
        return Err(is_null(what));
    }
    // SAFETY: not null, writable by the caller's promise, and initialised by this very write.
    unsafe {
        ptr.write(empty);
        Ok(&mut *ptr)
    }
}

/// Larger than any struct of ours will ever be: a `struct_size` beyond it was never set.
const LARGEST_STRUCT: usize = 4096;

/// Reads the `struct_size` that every struct of the interface begins with.
///
/// # Safety
/// A non-null `ptr` points to a readable `usize`.
unsafe fn struct_size<T>(ptr: *const T, what: &str) -> Result<usize> {
    if ptr.is_null() {
        return Err(invalid(format!("{what} is NULL")));
    }
    // SAFETY: not null, and every such struct begins with its `struct_size`.
    let size = unsafe { ptr.cast::<usize>().read_unaligned() };
    if !(mem::size_of::<usize>()..=LARGEST_STRUCT).contains(&size) {
        return Err(invalid(format!("{what}->struct_size is {size}; set it to sizeof(*{what})")));
    }
    Ok(size)
}

/// Copies a struct of the caller's into ours. What the caller's lacks is zero, the default. What ours lacks must be
/// zero in the caller's, or a field would be ignored that the caller relies on.
///
/// # Safety
/// A non-null `ptr` points to as many readable bytes as its `struct_size` says, and `T` may consist of zeros.
unsafe fn read_struct<T: Copy>(ptr: *const T, what: &str) -> Result<T> {
    // SAFETY: the caller's promise.
    let size = unsafe { struct_size(ptr, what)? };
    let shared = size.min(mem::size_of::<T>());
    // SAFETY: `size` bytes are readable; `T` may be zeros and `shared` bytes fit into it.
    unsafe {
        let extra = slice::from_raw_parts(ptr.cast::<u8>().add(shared), size - shared);
        if extra.iter().any(|&byte| byte != 0) {
            let message = format!("{what} uses a field that kvwal {} does not know", env!("CARGO_PKG_VERSION"));
            return Err(Error::new(ErrorKind::Version, message));
        }
        let mut copy = mem::zeroed::<T>();
        ptr::copy_nonoverlapping(ptr.cast::<u8>(), (&raw mut copy).cast(), shared);
        Ok(copy)
    }
}

/// Copies our struct into the caller's, as much of it as the caller's version has; `struct_size` stays.
///
/// # Safety
/// `ptr` points to `size` writable bytes, `size` being what [`struct_size`] returned for it.
unsafe fn write_struct<T: Copy>(ptr: *mut T, size: usize, value: &T) {
    let skip = mem::size_of::<usize>();
    let shared = size.min(mem::size_of::<T>());
    // SAFETY: `size` bytes are writable, `skip <= shared <= size`, and `value` has at least `shared` bytes.
    unsafe {
        let to = ptr.cast::<u8>();
        ptr::write_bytes(to.add(skip), 0, size - skip);
        ptr::copy_nonoverlapping((&raw const *value).cast::<u8>().add(skip), to.add(skip), shared - skip);
    }
}

fn recovery_struct(report: &Report) -> kv_recovery {
    kv_recovery {
        struct_size: mem::size_of::<kv_recovery>(),
        verdict: report.verdict as c_int,
        checkpoint_lsn: report.checkpoint_lsn,
        last_lsn: report.last_lsn,
        records_replayed: report.records_replayed,
        stop_offset: report.stop_offset,
        bytes_quarantined: report.bytes_quarantined,
        records_behind: report.records_behind,
        seconds: report.elapsed.as_secs_f64(),
        durable_lsn: report.durable_lsn,
        checkpoint_keys: report.checkpoint_keys,
        keys_expired: report.keys_expired,
        bytes_rewritten: report.bytes_rewritten,
    }
}
