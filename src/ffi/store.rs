//! `kv_*`: a store.

use std::ffi::{CStr, OsStr};
use std::mem;
use std::os::raw::{c_char, c_int, c_void};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::ptr;
use std::slice;

use super::constants::*;
use super::types::*;
use super::{bytes, call, guarded, handle, invalid, output, read_struct, recovery_struct, struct_size, write_struct};
use crate::error::{Error, ErrorKind, Result};
use crate::format;
use crate::options::{Options, RecoveryMode, Size, SyncMode};
use crate::store::Store;

/// Fills in the defaults: every write synced, prefix recovery, a missing store is created. Does not block.
///
/// # Safety
/// `o` is NULL (nothing happens) or points to a kv_options.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kv_options_init(o: *mut kv_options) {
    if !o.is_null() {
        // SAFETY: not null, and writable by the caller's promise; all fields may be zero.
        unsafe {
            ptr::write_bytes(o, 0, 1);
            (*o).struct_size = mem::size_of::<kv_options>();
        }
    }
}

/// Opens the store in the directory dir, creating it (but not its parents) if it is missing; recovers it first.
/// options may be NULL for the defaults. On KV_OK *out is the handle, to be closed with kv_close(); otherwise NULL.
///
/// Blocks on the disk: reads the checkpoint and the log, and syncs what it cannot prove durable.
///
/// Returns KV_OK; KV_INVALID; KV_LOCKED if another process or handle has it open, or its archive; KV_CORRUPT if the
/// files are not a store, cannot be repaired, or (KV_RECOVER_STRICT) lost acknowledged data; KV_VERSION; KV_IO, also for
/// a dir that is no directory or may not be written; KV_NO_SPACE; KV_NO_MEMORY. Whatever fails, no acknowledged byte is
/// lost.
///
/// # Safety
/// `dir` is NULL or NUL-terminated; `options` is NULL or has a valid struct_size; `out` is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kv_open(dir: *const c_char, options: *const kv_options, out: *mut *mut kv_store) -> c_int {
    call("kv_open", || {
        // SAFETY: the promises of this function are those of the helpers.
        let (out, dir, options) =
            unsafe { (output(out, ptr::null_mut(), "out")?, c_path(dir, "dir")?, read_options(options)?) };
        let store = Store::open(dir, &options)?;
        *out = Box::into_raw(Box::new(kv_store { store }));
        Ok(KV_OK)
    })
}

/// Sets key to value, replacing an earlier value and its expiry. key and value are copied.
///
/// Blocks until the record is on stable storage (KV_SYNC_ALWAYS); calls of several threads share a sync. Visible to
/// readers only then.
///
/// Returns KV_OK; KV_INVALID; KV_TOO_LARGE; KV_NO_MEMORY; KV_NO_SPACE and KV_IO: not set, later writes may succeed;
/// KV_FAILED: see guarantee 5 above; KV_FORKED; KV_INTERNAL.
///
/// # Safety
/// `s` is NULL or an open handle; `key` and `value` are NULL or point to as many bytes as their lengths say.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kv_set(
    s: *mut kv_store,
    key: *const c_void,
    key_len: usize,
    value: *const c_void,
    value_len: usize,
) -> c_int {
    // SAFETY: the promises of this function are those of the helpers.
    with_store("kv_set", s, |store| unsafe {
        store.set(bytes(key, key_len, "key")?, bytes(value, value_len, "value")?)?;
        Ok(KV_OK)
    })
}

/// As kv_set(), but the key is gone ttl_ms milliseconds from now (system clock), also if the store is closed meanwhile.
/// A ttl_ms of 0 is KV_INVALID.
///
/// # Safety
/// As for kv_set().
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kv_set_ttl(
    s: *mut kv_store,
    key: *const c_void,
    key_len: usize,
    value: *const c_void,
    value_len: usize,
    ttl_ms: u64,
) -> c_int {
    // SAFETY: the promises of this function are those of the helpers.
    with_store("kv_set_ttl", s, |store| unsafe {
        store.set_ttl(bytes(key, key_len, "key")?, bytes(value, value_len, "value")?, ttl_ms)?;
        Ok(KV_OK)
    })
}

/// Looks key up. On KV_OK *value is a copy, to be freed with kv_free(), and *value_len its length; it is not NULL for
/// an empty value. Otherwise NULL and 0.
///
/// Never waits for the disk.
///
/// Returns KV_OK; KV_NOT_FOUND; KV_INVALID; KV_TOO_LARGE; KV_NO_MEMORY; KV_FORKED.
///
/// # Safety
/// As for kv_set(); `value` and `value_len` are NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kv_get(
    s: *mut kv_store,
    key: *const c_void,
    key_len: usize,
    value: *mut *mut c_void,
    value_len: *mut usize,
) -> c_int {
    // SAFETY: the promises of this function are those of the helper.
    let outputs = unsafe { (output(value, ptr::null_mut(), "value"), output(value_len, 0, "value_len")) };
    with_store("kv_get", s, |store| {
        let (value, value_len) = (outputs.0?, outputs.1?);
        // SAFETY: the promises of this function are those of the helper.
        let key = unsafe { bytes(key, key_len, "key")? };
        let mut copied = true;
        let found = store.look_up(key, |found| {
            *value = copy_to_malloc(found);
            *value_len = found.len();
            copied = !value.is_null();
        })?;
        match (found, copied) {
            (false, _) => Ok(KV_NOT_FOUND),
            (true, true) => Ok(KV_OK),
            (true, false) => {
                let len = mem::take(value_len);
                Err(Error::new(ErrorKind::NoMemory, format!("no memory for a value of {len} bytes")))
            }
        }
    })
}

/// As kv_get(), but copies the value into buf, and allocates nothing. *value_len is the value's length on KV_OK, and
/// the length needed on KV_BUFFER, when buf is left alone. buf may be NULL if buf_len is 0.
///
/// Never waits for the disk.
///
/// Returns KV_OK; KV_NOT_FOUND; KV_BUFFER; KV_INVALID; KV_TOO_LARGE; KV_FORKED.
///
/// # Safety
/// As for kv_set(); `buf` is NULL or points to `buf_len` writable bytes, `value_len` is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kv_get_into(
    s: *mut kv_store,
    key: *const c_void,
    key_len: usize,
    buf: *mut c_void,
    buf_len: usize,
    value_len: *mut usize,
) -> c_int {
    // SAFETY: the promises of this function are those of the helper.
    let value_len = unsafe { output(value_len, 0, "value_len") };
    with_store("kv_get_into", s, |store| {
        let value_len = value_len?;
        // SAFETY: the promises of this function are those of the helper.
        let key = unsafe { bytes(key, key_len, "key")? };
        // SAFETY: only looked at for being NULL.
        unsafe { bytes(buf, buf_len, "buf")? };
        let found = store.look_up(key, |found| {
            *value_len = found.len();
            if found.len() <= buf_len {
                // SAFETY: `found` is no longer than `buf`, which is writable; an empty `found` copies nothing.
                unsafe { ptr::copy_nonoverlapping(found.as_ptr(), buf.cast(), found.len()) };
            }
        })?;
        match *value_len <= buf_len {
            true => Ok(if found { KV_OK } else { KV_NOT_FOUND }),
            false => Err(too_small(*value_len, buf_len)),
        }
    })
}

/// Looks count keys up, each as kv_get_into() does; lookups[i].result is its answer. Several times as fast as one call a
/// key when the store is much larger than the processor's caches, for the waits for memory overlap: 30 keys or more a
/// call make the most of it. Each key is looked up for itself, while writers go on: the answers are not all as of one
/// moment (kv_scan() is). lookups may be NULL if count is 0.
///
/// Never waits for the disk.
///
/// Returns KV_OK if each key has its answer, whatever it is. On an error the first lookup that is wrong is named by
/// kv_errmsg(), none was done, and lookups is as it was: KV_INVALID; KV_TOO_LARGE; KV_FORKED.
///
/// # Safety
/// `s` is NULL or an open handle; `lookups` is NULL or points to `count` of them, with keys and buffers as for
/// kv_get_into(). No buffer overlaps another, or a key, or `lookups`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kv_get_many(s: *mut kv_store, lookups: *mut kv_lookup, count: usize) -> c_int {
    with_store("kv_get_many", s, |store| {
        if lookups.is_null() {
            let error = || invalid(format!("lookups is NULL but count is {count}"));
            return if count == 0 { Ok(KV_OK) } else { Err(error()) };
        }
        if count > isize::MAX as usize / size_of::<kv_lookup>() {
            return Err(Error::new(ErrorKind::TooLarge, format!("{count} lookups")));
        }
        // SAFETY: not null, and by the caller's promise `count` of them that nobody else uses.
        let lookups = unsafe { slice::from_raw_parts_mut(lookups, count) };
        for (at, lookup) in lookups.iter().enumerate() {
            check_lookup(lookup, at)?;
        }
        store.get_many(lookups, lookup_key, answer)?;
        Ok(KV_OK)
    })
}

/// Deletes key. Blocks as kv_set() does if the key was there; otherwise not at all.
///
/// Returns KV_OK; KV_NOT_FOUND if it was not there; and the errors of kv_set().
///
/// # Safety
/// As for kv_set().
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kv_del(s: *mut kv_store, key: *const c_void, key_len: usize) -> c_int {
    // SAFETY: the promises of this function are those of the helpers.
    with_store("kv_del", s, |store| unsafe {
        Ok(if store.del(bytes(key, key_len, "key")?)? { KV_OK } else { KV_NOT_FOUND })
    })
}

/// Makes the changes of a batch, in its order: all of them or, after any failure or crash, none; readers and scans,
/// too, see all or none. One record group, one sync. The batch stays as it is and may be written again. An empty one
/// is KV_OK.
///
/// Blocks as kv_set() does, and returns what kv_set() returns.
///
/// # Safety
/// `s` is NULL or an open handle; `b` is NULL or from kv_batch_new().
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kv_write(s: *mut kv_store, b: *const kv_batch) -> c_int {
    // SAFETY: the promises of this function are those of the helpers.
    with_store("kv_write", s, |store| unsafe {
        store.write(&handle(b, "b")?.batch)?;
        Ok(KV_OK)
    })
}

/// Calls fn with every key that begins with prefix, in byte order, each once, all as of the moment of the call: what is
/// written meanwhile is not seen. fn gets ctx, and may call any function on the same handle but kv_close(). When it
/// returns non-zero the scan ends, with KV_OK.
///
/// Never waits for the disk, and writers do not wait for it. Holds a copy of the matching keys, and the values that
/// writers replace meanwhile, in memory until it is done.
///
/// Returns KV_OK; KV_INVALID; KV_NO_MEMORY; KV_FORKED.
///
/// # Safety
/// As for kv_set(); `fn` is NULL or a function that returns normally.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kv_scan(
    s: *mut kv_store,
    prefix: *const c_void,
    prefix_len: usize,
    r#fn: kv_scan_fn,
    ctx: *mut c_void,
) -> c_int {
    with_store("kv_scan", s, |store| {
        let visit = r#fn.ok_or_else(|| invalid("fn is NULL"))?;
        // SAFETY: the promises of this function are those of the helper.
        let prefix = unsafe { bytes(prefix, prefix_len, "prefix")? };
        // SAFETY: the pointers are good for the lengths during the call, and `ctx` is passed on as it came.
        store.scan(prefix, |key, value| unsafe {
            visit(ctx, key.as_ptr().cast(), key.len(), value.as_ptr().cast(), value.len()) == 0
        })?;
        Ok(KV_OK)
    })
}

/// Makes every earlier write durable; there is nothing to do in KV_SYNC_ALWAYS. Blocks on the disk.
///
/// Returns KV_OK; KV_INVALID; KV_FAILED; KV_FORKED.
///
/// # Safety
/// `s` is NULL or an open handle.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kv_sync(s: *mut kv_store) -> c_int {
    with_store("kv_sync", s, |store| {
        store.sync()?;
        Ok(KV_OK)
    })
}

/// Writes a snapshot of the store and retires the log that it covers, so that the next open is quick. Returns when a
/// checkpoint covers everything acknowledged before the call, also if one was running already. Readers and writers go
/// on meanwhile. Blocks on the disk.
///
/// Returns KV_OK; KV_NO_SPACE and KV_IO: the old checkpoint and the log are as they were; KV_FAILED; KV_INVALID;
/// KV_NO_MEMORY; KV_FORKED.
///
/// # Safety
/// `s` is NULL or an open handle.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kv_checkpoint(s: *mut kv_store) -> c_int {
    with_store("kv_checkpoint", s, |store| {
        store.checkpoint()?;
        Ok(KV_OK)
    })
}

/// Fills *out, whose struct_size the caller has set. The counters are read one by one while other threads go on. Does
/// not block on the disk.
///
/// Returns KV_OK; KV_INVALID; KV_FORKED.
///
/// # Safety
/// `s` is NULL or an open handle; `out` is NULL or has a valid struct_size.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kv_stats_get(s: *mut kv_store, out: *mut kv_stats) -> c_int {
    with_store("kv_stats_get", s, |store| {
        // SAFETY: the promise of this function.
        let size = unsafe { struct_size(out, "out")? };
        let stats = store.stats();
        let value = kv_stats {
            struct_size: size,
            gets: stats.gets,
            sets: stats.sets,
            dels: stats.dels,
            errors: stats.errors,
            keys: stats.keys,
            bytes: stats.bytes,
            last_lsn: stats.last_lsn,
            durable_lsn: stats.durable_lsn,
            checkpoint_lsn: stats.checkpoint_lsn,
            wal_bytes: stats.wal_bytes,
            checkpoints: stats.checkpoints,
            commits: stats.commits,
            syncs: stats.syncs,
            checkpoints_failed: stats.checkpoints_failed,
        };
        // SAFETY: `size` is the struct_size just read from `out`.
        unsafe { write_struct(out, size, &value) };
        Ok(KV_OK)
    })
}

/// Fills *out, whose struct_size the caller has set, with what kv_open() found. Does not block.
///
/// Returns KV_OK; KV_INVALID; KV_FORKED.
///
/// # Safety
/// `s` is NULL or an open handle; `out` is NULL or has a valid struct_size.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kv_recovery_report(s: *mut kv_store, out: *mut kv_recovery) -> c_int {
    with_store("kv_recovery_report", s, |store| {
        // SAFETY: the promise of this function, and `size` is the struct_size just read from `out`.
        unsafe {
            let size = struct_size(out, "out")?;
            write_struct(out, size, &recovery_struct(store.recovery_report()));
        }
        Ok(KV_OK)
    })
}

/// Closes the store: waits for a running checkpoint, syncs in the relaxed modes, gives preallocated space back. NULL is
/// fine. The handle is gone whatever it returns; it must be the last call on it, with no other call still running.
/// Blocks on the disk.
///
/// Returns KV_OK; KV_FAILED if the handle had failed or the last sync does; KV_IO; KV_FORKED.
///
/// # Safety
/// `s` is NULL or an open handle that no other thread uses.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kv_close(s: *mut kv_store) -> c_int {
    call("kv_close", || {
        if s.is_null() {
            return Ok(KV_OK);
        }
        // SAFETY: the handle came from Box::into_raw in kv_open(), and this is its last use.
        let owned = unsafe { Box::from_raw(s) };
        owned.store.close()?;
        Ok(KV_OK)
    })
}

/// Runs a call on a store; its errors are counted there.
#[inline(always)]
pub(super) fn with_store(name: &str, s: *const kv_store, body: impl FnOnce(&Store) -> Result<c_int>) -> c_int {
    guarded(name, || {
        // SAFETY: every caller promises an open handle or NULL.
        let store = unsafe { &handle(s, "s")?.store };
        store.check_process()?;
        body(store).inspect_err(|_| store.count_error())
    })
}

/// # Safety
/// `ptr` is NULL or NUL-terminated.
pub(super) unsafe fn c_path<'a>(ptr: *const c_char, what: &str) -> Result<&'a Path> {
    if ptr.is_null() {
        return Err(invalid(format!("{what} is NULL")));
    }
    // SAFETY: not null, and NUL-terminated by the caller's promise.
    let text = unsafe { CStr::from_ptr(ptr) };
    if text.is_empty() {
        return Err(invalid(format!("{what} is empty")));
    }
    Ok(Path::new(OsStr::from_bytes(text.to_bytes())))
}

/// A path that need not be given.
///
/// # Safety
/// `ptr` is NULL or NUL-terminated.
pub(super) unsafe fn optional_path(ptr: *const c_char, what: &str) -> Result<Option<PathBuf>> {
    match ptr.is_null() {
        true => Ok(None),
        // SAFETY: the caller's promise.
        false => Ok(Some(unsafe { c_path(ptr, what)? }.to_owned())),
    }
}

/// # Safety
/// `ptr` is NULL or has a valid struct_size, and paths that are NULL or NUL-terminated.
unsafe fn read_options(ptr: *const kv_options) -> Result<Options> {
    let mut options = Options::default();
    if ptr.is_null() {
        return Ok(options);
    }
    // SAFETY: the caller's promise; a kv_options of zeros is valid.
    let given = unsafe { read_struct(ptr, "options")? };
    options.sync = match given.sync {
        KV_SYNC_ALWAYS => SyncMode::Always,
        KV_SYNC_INTERVAL => SyncMode::Interval,
        KV_SYNC_NONE => SyncMode::None,
        other => return Err(invalid(format!("options->sync is {other}"))),
    };
    options.recovery = match given.recovery {
        KV_RECOVER_PREFIX => RecoveryMode::Prefix,
        KV_RECOVER_STRICT => RecoveryMode::Strict,
        other => return Err(invalid(format!("options->recovery is {other}"))),
    };
    if given.sync_interval_ms != 0 {
        options.sync_interval_ms = given.sync_interval_ms;
    }
    options.checkpoint_wal_bytes = size(given.checkpoint_wal_bytes);
    options.preallocate = size(given.preallocate);
    options.create = given.no_create == 0;
    // SAFETY: the caller's promise.
    options.archive_dir = unsafe { optional_path(given.archive_dir, "options->archive_dir")? };
    Ok(options)
}

fn size(given: u64) -> Size {
    match given {
        0 => Size::Default,
        u64::MAX => Size::Never,
        bytes => Size::Bytes(bytes),
    }
}

fn check_lookup(lookup: &kv_lookup, at: usize) -> Result<()> {
    let check = || {
        // SAFETY: the promise of kv_get_many().
        format::check_lengths(unsafe { bytes(lookup.key, lookup.key_len, "key")? }, b"")?;
        match lookup.buf.is_null() && lookup.buf_len > 0 {
            true => Err(invalid(format!("buf is NULL but its length is {}", lookup.buf_len))),
            false => Ok(()),
        }
    };
    check().map_err(|error| Error::new(error.kind(), format!("lookups[{at}]: {error}")))
}

fn lookup_key(lookup: &kv_lookup) -> &[u8] {
    if lookup.key.is_null() {
        return &[];
    }
    // SAFETY: the promise of kv_get_many(), whose check it has passed.
    unsafe { slice::from_raw_parts(lookup.key.cast(), lookup.key_len) }
}

fn answer(lookup: &mut kv_lookup, found: Option<&[u8]>) {
    lookup.value_len = found.map_or(0, <[u8]>::len);
    lookup.result = match found {
        None => KV_NOT_FOUND,
        Some(value) if value.len() > lookup.buf_len => KV_BUFFER,
        Some(value) => {
            // SAFETY: `value` is no longer than `buf`, which is writable; an empty one copies nothing.
            unsafe { ptr::copy_nonoverlapping(value.as_ptr(), lookup.buf.cast(), value.len()) };
            KV_OK
        }
    };
}

#[cold]
fn too_small(needed: usize, given: usize) -> Error {
    Error::new(ErrorKind::Buffer, format!("{needed} bytes needed, {given} given"))
}

/// NULL when memory has run out.
fn copy_to_malloc(value: &[u8]) -> *mut c_void {
    // An empty value gets a block too, so that NULL only ever means "no value".
    // SAFETY: malloc may be called with any size.
    let copy = unsafe { libc::malloc(value.len().max(1)) };
    if !copy.is_null() {
        // SAFETY: the block is at least as long as `value` and new, so they cannot overlap.
        unsafe { ptr::copy_nonoverlapping(value.as_ptr(), copy.cast(), value.len()) };
    }
    copy
}
