//! `wal_*`: records, and the log alone.

use std::mem;
use std::os::raw::{c_char, c_int, c_void};
use std::ptr;

use super::constants::*;
use super::store::c_path;
use super::types::*;
use super::{bytes, call, handle_mut, invalid, output, recovery_struct, struct_size, write_struct};
use crate::error::{Error, ErrorKind, Result};
use crate::format::{self, Op, Record};
use crate::report::Report;
use crate::wal::{self, Log};

/// Encodes *r as it stands, LSNs included, into buf, and stores the length in *written. If buf is too small, or NULL
/// with a buf_len of 0, returns KV_BUFFER with the length needed in *written. Does not block.
///
/// Returns KV_OK; KV_BUFFER; KV_INVALID; KV_TOO_LARGE; KV_NO_MEMORY.
///
/// # Safety
/// `r` is NULL or points to a record whose key and value are as long as it says; `buf` is NULL or has `buf_len`
/// writable bytes; `written` is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wal_record_encode(
    r: *const wal_record,
    buf: *mut c_void,
    buf_len: usize,
    written: *mut usize,
) -> c_int {
    call("wal_record_encode", || {
        // SAFETY: the promises of this function are those of the helpers.
        let (written, record) = unsafe { (output(written, 0, "written")?, read_record(r)?) };
        if buf.is_null() && buf_len > 0 {
            return Err(invalid(format!("buf is NULL but its length is {buf_len}")));
        }
        format::check(&record)?;
        *written = record.encoded_len();
        if *written > buf_len {
            return Err(Error::new(ErrorKind::Buffer, format!("the record has {written} bytes, the buffer {buf_len}")));
        }
        let mut encoded = Vec::new();
        format::encode(&record, &mut encoded)?;
        // SAFETY: `buf` has room for `buf_len` bytes, and a record is never empty, so it is not NULL here.
        unsafe { ptr::copy_nonoverlapping(encoded.as_ptr(), buf.cast(), encoded.len()) };
        Ok(KV_OK)
    })
}

/// Decodes the record at the beginning of buf. On KV_OK *r is filled, with key and value pointing into buf, and
/// *consumed is the record's length; otherwise *r is zero and *consumed 0. Does not block.
///
/// Returns KV_OK; KV_INCOMPLETE if buf ends before the record does; KV_CRC_MISMATCH; KV_CORRUPT if no record has such a
/// length, or its fields contradict each other; KV_VERSION if the checksum is right but the op unknown; KV_INVALID.
///
/// # Safety
/// `buf` is NULL or has `len` readable bytes; `r` and `consumed` are NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wal_record_decode(
    buf: *const c_void,
    len: usize,
    r: *mut wal_record,
    consumed: *mut usize,
) -> c_int {
    call("wal_record_decode", || {
        // SAFETY: the promises of this function are those of the helpers.
        let (r, consumed, bytes) = unsafe {
            let r = output(r, mem::zeroed::<wal_record>(), "r");
            let consumed = output(consumed, 0, "consumed");
            (r?, consumed?, bytes(buf, len, "buf")?)
        };
        let record = format::decode(bytes)?;
        *consumed = record.encoded_len();
        *r = to_c(&record);
        Ok(KV_OK)
    })
}

/// Opens the log file path, creating it if it is missing, to append to it. A damaged tail is copied to quarantine/ in
/// the same directory, and cut off. On KV_OK *out is the handle, to be closed with wal_close(); otherwise NULL.
/// Blocks on the disk.
///
/// Returns KV_OK; KV_INVALID; KV_LOCKED; KV_CORRUPT; KV_VERSION; KV_IO; KV_NO_SPACE; KV_NO_MEMORY.
///
/// # Safety
/// `path` is NULL or NUL-terminated; `out` is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wal_open(path: *const c_char, out: *mut *mut wal_writer) -> c_int {
    call("wal_open", || {
        // SAFETY: the promises of this function are those of the helpers.
        let (out, path) = unsafe { (output(out, ptr::null_mut(), "out")?, c_path(path, "path")?) };
        let log = Log::open(path)?;
        *out = Box::into_raw(Box::new(wal_writer { log }));
        Ok(KV_OK)
    })
}

/// Appends *r: gives it the next LSN, encodes, writes and syncs it. Uses op, key, value and, for WAL_OP_PUT_EXPIRING,
/// expires_at; sets lsn and durable_lsn on KV_OK. A batch counts only when its last record, the one without
/// WAL_OP_BATCH, is there, too: until then the next open would cut it off. Blocks on the disk.
///
/// Returns KV_OK; KV_INVALID; KV_TOO_LARGE; KV_NO_MEMORY; KV_NO_SPACE and KV_IO: not appended, later calls may succeed;
/// KV_FAILED: a sync failed, and this writer takes no more records; KV_FORKED.
///
/// # Safety
/// `w` is NULL or from wal_open(); `r` is NULL or points to a record whose key and value are as long as it says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wal_append(w: *mut wal_writer, r: *mut wal_record) -> c_int {
    call("wal_append", || {
        // SAFETY: the promises of this function are those of the helpers.
        let (log, record) = unsafe { (&mut handle_mut(w, "w")?.log, read_record(r)?) };
        let (lsn, durable_lsn) = log.append(&record)?;
        // SAFETY: read_record() found `r` not null, and the caller lets us write to it.
        unsafe {
            (*r).lsn = lsn;
            (*r).durable_lsn = durable_lsn;
        }
        Ok(KV_OK)
    })
}

/// Closes a log. NULL is fine. The handle is gone whatever it returns. Returns KV_OK; KV_FAILED if a sync had failed;
/// KV_FORKED.
///
/// # Safety
/// `w` is NULL or from wal_open(), and not used again.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wal_close(w: *mut wal_writer) -> c_int {
    call("wal_close", || {
        if w.is_null() {
            return Ok(KV_OK);
        }
        // SAFETY: it came from Box::into_raw in wal_open(), and this is its last use.
        let owned = unsafe { Box::from_raw(w) };
        owned.log.close()?;
        Ok(KV_OK)
    })
}

/// Calls fn with ctx and each record of the log file path whose LSN is above after_lsn, in order, up to the first bad
/// one; a batch only when it is whole. When fn returns non-zero the replay ends, with KV_OK. out may be NULL; otherwise
/// the caller has set its struct_size, and it says what was found. Changes nothing, and needs no lock. Blocks on the
/// disk.
///
/// Returns KV_OK, also when the tail is torn or damaged: out->verdict tells; KV_INVALID; KV_CORRUPT if the log begins
/// above after_lsn + 1 (with an after_lsn of 0 it may begin anywhere), or the file is no log; KV_VERSION; KV_IO;
/// KV_NO_MEMORY.
///
/// # Safety
/// `path` is NULL or NUL-terminated; `fn` is NULL or a function that returns normally; `out` is NULL or has a valid
/// struct_size.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wal_replay(
    path: *const c_char,
    after_lsn: u64,
    r#fn: wal_replay_fn,
    ctx: *mut c_void,
    out: *mut kv_recovery,
) -> c_int {
    call("wal_replay", || {
        let visit = r#fn.ok_or_else(|| invalid("fn is NULL"))?;
        // SAFETY: the promises of this function are those of the helpers.
        let path = unsafe { c_path(path, "path")? };
        let out_size = match out.is_null() {
            true => None,
            // SAFETY: not null, and valid by the promise of this function.
            false => Some(unsafe { struct_size(out, "out")? }),
        };
        if let Some(size) = out_size {
            // SAFETY: `size` is the struct_size just read from `out`.
            unsafe { write_struct(out, size, &recovery_struct(&Report::default())) };
        }
        // SAFETY: the record and what it points to are good during the call; `ctx` is passed on as it came.
        let report = wal::replay(path, after_lsn, |record| unsafe { visit(ctx, &to_c(record)) == 0 })?;
        if let Some(size) = out_size {
            // SAFETY: `size` is the struct_size just read from `out`.
            unsafe { write_struct(out, size, &recovery_struct(&report)) };
        }
        Ok(KV_OK)
    })
}

/// # Safety
/// `r` is NULL or points to a record whose key and value are as long as it says.
unsafe fn read_record<'a>(r: *const wal_record) -> Result<Record<'a>> {
    // SAFETY: the caller's promise.
    let raw = unsafe { r.as_ref() }.ok_or_else(|| invalid("r is NULL"))?;
    let (op, more) = Op::from_byte(raw.op).ok_or_else(|| invalid(format!("r->op is {}", raw.op)))?;
    // SAFETY: the caller's promise.
    let (key, value) = unsafe { (bytes(raw.key, raw.key_len, "key")?, bytes(raw.value, raw.value_len, "value")?) };
    let expires_at = if op == Op::PutExpiring { raw.expires_at } else { 0 };
    Ok(Record { lsn: raw.lsn, durable_lsn: raw.durable_lsn, op, more, expires_at, key, value })
}

pub(super) fn to_c(record: &Record<'_>) -> wal_record {
    wal_record {
        lsn: record.lsn,
        durable_lsn: record.durable_lsn,
        expires_at: record.expires_at,
        key: record.key.as_ptr().cast(),
        key_len: record.key.len(),
        value: record.value.as_ptr().cast(),
        value_len: record.value.len(),
        op: record.op.to_byte(record.more),
    }
}
