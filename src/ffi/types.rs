//! The structs that cross the C boundary.

use std::os::raw::{c_char, c_int, c_void};

use crate::batch::Batch;
use crate::store::Store;
use crate::wal::Log;

/// An open store. Any number of threads may use one handle at once; only kv_close() must be the last call.
pub struct kv_store {
    pub(super) store: Store,
}

/// Changes that kv_write() makes all at once or not at all. One thread at a time.
pub struct kv_batch {
    pub(super) batch: Batch,
}

/// A transaction, as kv_transact() passes it to the function that is to run. Good until that returns, for the thread that it
/// runs on.
pub struct kv_txn {
    _opaque: [u8; 0],
}

/// A log alone, without a store, opened by wal_open(). One thread at a time.
pub struct wal_writer {
    pub(super) log: Log,
}

/// How to open a store. Fill it with kv_options_init(), then change what you need; zero always means the default.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct kv_options {
    /// sizeof(kv_options) of the program, set by kv_options_init().
    pub struct_size: usize,
    /// KV_SYNC_ALWAYS, KV_SYNC_INTERVAL or KV_SYNC_NONE.
    pub sync: c_int,
    /// KV_RECOVER_PREFIX or KV_RECOVER_STRICT.
    pub recovery: c_int,
    /// Milliseconds between two syncs in KV_SYNC_INTERVAL. 0: 100.
    pub sync_interval_ms: u64,
    /// Start a checkpoint in the background when the log exceeds this many bytes. 0: 64 MiB, or the size of the newest
    /// checkpoint where that is more. UINT64_MAX: never.
    pub checkpoint_wal_bytes: u64,
    /// Keep up to this many zero-filled bytes ahead of the last record, which makes the sync of a small write cheaper.
    /// A background thread writes them. 0: 1 MiB, and none in the relaxed modes, which do not gain by it. UINT64_MAX: none.
    /// More than 64 MiB counts as 64 MiB, and below 64 KiB there is no thread: writers carry them.
    pub preallocate: u64,
    /// Non-zero: a store that does not exist is an error (KV_IO) instead of being created.
    pub no_create: c_int,
    /// A directory, made if it is missing, in which every log is kept that a checkpoint would do away with, so that kv_restore()
    /// can make the store as it was after any record, or at any time. NULL: none. The path is copied. One store at a time may use
    /// it (KV_LOCKED), and only as long as its records go on from those that are there (KV_INVALID). Whoever opens the store must
    /// name it, or there will be a gap. A checkpoint whose log cannot be kept fails, and is tried again; kv_stats counts that. The
    /// library deletes nothing there.
    pub archive_dir: *const c_char,
}

/// Counters and sizes of an open store, filled by kv_stats_get().
#[repr(C)]
#[derive(Clone, Copy)]
pub struct kv_stats {
    /// sizeof(kv_stats) of the program, set before the call.
    pub struct_size: usize,
    /// Keys looked up, by kv_get(), kv_get_into() and kv_get_many(), found or not.
    pub gets: u64,
    /// Keys set, by kv_set(), kv_set_ttl(), kv_write(), and transactions.
    pub sets: u64,
    /// Keys deleted that were there, by kv_del(), kv_write(), and transactions.
    pub dels: u64,
    /// Calls on this handle that ended in an error (a negative result).
    pub errors: u64,
    /// Keys in the store now; a key that has expired is counted until it is dropped.
    pub keys: u64,
    /// Bytes of the values in the store now.
    pub bytes: u64,
    /// LSN of the last record written.
    pub last_lsn: u64,
    /// Highest LSN known to be on stable storage.
    pub durable_lsn: u64,
    /// LSN of the newest checkpoint, 0 if there is none.
    pub checkpoint_lsn: u64,
    /// Bytes of records in wal.log and wal.next.
    pub wal_bytes: u64,
    /// Checkpoints completed since the store was opened.
    pub checkpoints: u64,
    /// Group commits: each is one write of the log.
    pub commits: u64,
    /// Syncs of the log (fdatasync).
    pub syncs: u64,
    /// Attempts to make a checkpoint that failed since the store was opened, those in the background included.
    pub checkpoints_failed: u64,
}

/// One key of kv_get_many(), with room for its value, and the answer.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct kv_lookup {
    /// The key; NULL is allowed where key_len is 0.
    pub key: *const c_void,
    /// Bytes at key.
    pub key_len: usize,
    /// Where the value is copied to; NULL is allowed where buf_len is 0.
    pub buf: *mut c_void,
    /// Bytes at buf.
    pub buf_len: usize,
    /// Set by the call: the value's length on KV_OK, the length needed on KV_BUFFER, otherwise 0.
    pub value_len: usize,
    /// Set by the call: KV_OK, KV_NOT_FOUND or KV_BUFFER.
    pub result: c_int,
}

/// What recovery found, filled by kv_recovery_report() and wal_replay().
#[repr(C)]
#[derive(Clone, Copy)]
pub struct kv_recovery {
    /// sizeof(kv_recovery) of the program, set before the call.
    pub struct_size: usize,
    /// KV_TAIL_CLEAN, KV_TAIL_TORN or KV_TAIL_DAMAGED.
    pub verdict: c_int,
    /// LSN of the checkpoint that was loaded, 0 if none. In wal_replay(): after_lsn.
    pub checkpoint_lsn: u64,
    /// LSN of the last record recovered; the store holds the effect of records 1 to this one.
    pub last_lsn: u64,
    /// Records of the log that were applied.
    pub records_replayed: u64,
    /// Where reading stopped: the offset behind the last good record, in the last log file read.
    pub stop_offset: u64,
    /// Bytes behind stop_offset that were copied to quarantine/ and cut off. In wal_replay(), which changes nothing:
    /// the bytes that would be.
    pub bytes_quarantined: u64,
    /// Valid records found behind the first bad one, not applied.
    pub records_behind: u64,
    /// Time that opening took.
    pub seconds: f64,
    /// Highest LSN that the files prove to have been synced.
    pub durable_lsn: u64,
    /// Keys loaded from the checkpoint.
    pub checkpoint_keys: u64,
    /// Keys dropped because they had expired.
    pub keys_expired: u64,
    /// Bytes rewritten and synced because nothing proved them durable.
    pub bytes_rewritten: u64,
}

/// One record of the log.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct wal_record {
    /// Log sequence number: 1, 2, 3, … without a gap.
    pub lsn: u64,
    /// The highest LSN whose fsync had returned when this record was written.
    pub durable_lsn: u64,
    /// Unix time in milliseconds, for WAL_OP_PUT_EXPIRING; otherwise 0 when read and ignored when written.
    pub expires_at: u64,
    /// The key; NULL is allowed where key_len is 0.
    pub key: *const c_void,
    /// Bytes at key.
    pub key_len: usize,
    /// The value; NULL is allowed where value_len is 0.
    pub value: *const c_void,
    /// Bytes at value; 0 for WAL_OP_DELETE.
    pub value_len: usize,
    /// WAL_OP_PUT, WAL_OP_DELETE or WAL_OP_PUT_EXPIRING, with or without WAL_OP_BATCH.
    pub op: u8,
}

/// Called by kv_scan() once a key. key and value are valid until it returns. Non-zero ends the scan.
pub type kv_scan_fn = Option<
    unsafe extern "C" fn(
        ctx: *mut c_void,
        key: *const c_void,
        key_len: usize,
        value: *const c_void,
        value_len: usize,
    ) -> c_int,
>;

/// Called by kv_transact(), once. 0 commits what it has changed; non-zero forgets that.
pub type kv_txn_fn = Option<unsafe extern "C" fn(ctx: *mut c_void, t: *mut kv_txn) -> c_int>;

/// Called by wal_replay() once a record. The record is valid until it returns. Non-zero ends the replay.
pub type wal_replay_fn = Option<unsafe extern "C" fn(ctx: *mut c_void, record: *const wal_record) -> c_int>;
