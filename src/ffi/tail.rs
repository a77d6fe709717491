//! `kv_tail_*`: the change feed of an open store.

use std::mem;
use std::os::raw::c_int;
use std::ptr;
use std::time::Duration;

use super::constants::*;
use super::store::with_store;
use super::types::{kv_store, wal_record};
use super::wal::to_c;
use super::{call, guarded, handle, handle_mut, output};
use crate::tail::{Next, Tail};

/// A change feed, opened by kv_tail_open(). One thread at a time; any number of feeds may follow one store.
pub struct kv_tail {
    tail: Tail,
    /// The checkpoint that the last answer named, 0 if it was another.
    checkpoint_lsn: u64,
}

/// Opens a feed of the durable records of the store s, from the record from_lsn on: 0 or 1 for the first that there ever was,
/// or the LSN behind the last one that was dealt with; at most the LSN that the next write will have. On KV_OK *out is the
/// feed, to be closed with kv_tail_close(); otherwise NULL. Does not block on the disk.
///
/// A feed reads the log's files beside those who write, and takes no part in a commit. It keeps no log from being retired, but
/// one that it is reading takes room on the disk until it has read it.
///
/// Returns KV_OK; KV_INVALID, also if from_lsn is beyond the next write's: it is another store's, or this one was restored to
/// an earlier moment; KV_IO; KV_NO_MEMORY; KV_FORKED.
///
/// # Safety
/// `s` is NULL or an open handle; `out` is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kv_tail_open(s: *mut kv_store, from_lsn: u64, out: *mut *mut kv_tail) -> c_int {
    // SAFETY: the promise of this function.
    let out = unsafe { output(out, ptr::null_mut(), "out") };
    with_store("kv_tail_open", s, |store| {
        let (out, tail) = (out?, store.tail(from_lsn)?);
        *out = Box::into_raw(Box::new(kv_tail { tail, checkpoint_lsn: 0 }));
        Ok(KV_OK)
    })
}

/// Waits up to timeout_ms milliseconds (0: not at all; UINT32_MAX: as long as it takes) for the next record, and stores it in
/// *out: durable ones only, in order, each once. key and value belong to the feed, and are good until the next call on it. The
/// records of a batch follow each other without a wait: all but the last have WAL_OP_BATCH in op. *out is zero unless the
/// result is KV_OK. Blocks on the disk.
///
/// Returns KV_OK; KV_NOT_FOUND if nothing came within the time; KV_LAGGED if the next record is in no log any more:
/// kv_tail_checkpoint_lsn() has the LSN C of a checkpoint that covers it, and that stays so. Then begin again with what the
/// store holds now, by kv_scan(), or with a backup, and a feed from C + 1. Records that this reflects already may come again;
/// they set or delete whole values, so in the end that makes no difference. KV_INVALID, also once the store is closed: kv_close()
/// may come while another thread waits here, and ends that. KV_IO; KV_CORRUPT; KV_NO_MEMORY; KV_FORKED.
///
/// # Safety
/// `t` is NULL or an open feed that nobody else uses; `out` is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kv_tail_next(t: *mut kv_tail, timeout_ms: u32, out: *mut wal_record) -> c_int {
    guarded("kv_tail_next", || {
        // SAFETY: the promises of this function are those of the helpers; a wal_record may be zeros.
        let (out, feed) = unsafe { (output(out, mem::zeroed::<wal_record>(), "out")?, handle_mut(t, "t")?) };
        feed.checkpoint_lsn = 0;
        let timeout = (timeout_ms != u32::MAX).then(|| Duration::from_millis(u64::from(timeout_ms)));
        match feed.tail.next(timeout)? {
            Next::Record(record) => {
                *out = to_c(&record);
                Ok(KV_OK)
            }
            Next::Nothing => Ok(KV_NOT_FOUND),
            Next::Lagged(lsn) => {
                feed.checkpoint_lsn = lsn;
                Ok(KV_LAGGED)
            }
        }
    })
}

/// The LSN of the checkpoint to begin again from, if the last kv_tail_next() on the feed returned KV_LAGGED; otherwise 0, as
/// for NULL. Does not block.
///
/// # Safety
/// `t` is NULL or an open feed that nobody else uses.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kv_tail_checkpoint_lsn(t: *const kv_tail) -> u64 {
    // SAFETY: the promise of this function.
    unsafe { handle(t, "t") }.map_or(0, |feed| feed.checkpoint_lsn)
}

/// Closes a feed; its last record is gone. NULL is fine. May come before or after the store's kv_close(): a store's memory is
/// freed when the last of its feeds is closed. Does not block on the disk. Returns KV_OK; KV_FORKED.
///
/// # Safety
/// `t` is NULL or an open feed, and not used again.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kv_tail_close(t: *mut kv_tail) -> c_int {
    call("kv_tail_close", || {
        if t.is_null() {
            return Ok(KV_OK);
        }
        // SAFETY: it came from Box::into_raw in kv_tail_open(), and this is its last use.
        let owned = unsafe { Box::from_raw(t) };
        match owned.tail.check_process() {
            Ok(()) => Ok(KV_OK),
            Err(error) => {
                // The store's memory is the parent's, and may be in the middle of a change.
                mem::forget(owned);
                Err(error)
            }
        }
    })
}
