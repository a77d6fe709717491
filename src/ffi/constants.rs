//! The numbers of the C interface. Result codes are never reused; limits come from the record format.

use std::os::raw::c_int;

/// The call did what it says.
pub const KV_OK: c_int = 0;
/// An answer, not an error: the key is not there (or has expired).
pub const KV_NOT_FOUND: c_int = 1;
/// An answer, not an error: the condition of a conditional write did not hold; nothing was changed.
pub const KV_CONFLICT: c_int = 2;
/// An answer, not an error: the next record of a feed is in no log any more; kv_tail_checkpoint_lsn() tells where to begin again.
pub const KV_LAGGED: c_int = 3;

/// An argument is wrong; nothing happened.
pub const KV_INVALID: c_int = -1;
/// The key or value is longer than KV_MAX_KEY_LEN or KV_MAX_VALUE_LEN; nothing happened.
pub const KV_TOO_LARGE: c_int = -2;
/// Out of memory; nothing happened.
pub const KV_NO_MEMORY: c_int = -3;
/// The operating system refused or failed a file operation; kv_errmsg() has the call, the file and the errno.
pub const KV_IO: c_int = -4;
/// The disk, the quota or the file-size limit is full. The file was rolled back; the same write succeeds once there is
/// room.
pub const KV_NO_SPACE: c_int = -5;
/// Another process (or another handle of this one) has the store open; kv_errmsg() names its PID.
pub const KV_LOCKED: c_int = -6;
/// The files are damaged, incomplete, or not a store; nothing was changed.
pub const KV_CORRUPT: c_int = -7;
/// The record's checksum does not match its bytes.
pub const KV_CRC_MISMATCH: c_int = -8;
/// The buffer ends before the record does.
pub const KV_INCOMPLETE: c_int = -9;
/// An fsync failed on this handle: this write and all later ones are refused, reads go on. Close and open again.
pub const KV_FAILED: c_int = -10;
/// Written by, or compiled for, a newer version of the library.
pub const KV_VERSION: c_int = -11;
/// The handle was opened before a fork() and belongs to the parent process.
pub const KV_FORKED: c_int = -12;
/// The caller's buffer is too small; the length needed was stored.
pub const KV_BUFFER: c_int = -13;
/// A bug in the library; the handle refuses writes from now on.
pub const KV_INTERNAL: c_int = -14;

/// Longest key, in bytes.
pub const KV_MAX_KEY_LEN: usize = 65535;
/// Longest value, in bytes (1 GiB).
pub const KV_MAX_VALUE_LEN: usize = 1073741824;

/// kv_options.sync: a write returns after its record is on stable storage. The default.
pub const KV_SYNC_ALWAYS: c_int = 0;
/// kv_options.sync: a write returns when it is in the log's memory. A background thread hands that over to the kernel every
/// few milliseconds, and syncs every sync_interval_ms. So the death of the process may take the writes of the last few
/// milliseconds, and a power cut those of the last sync_interval_ms, although they were acknowledged; what remains is
/// an exact prefix. kv_sync(), kv_checkpoint() and kv_close() leave nothing behind.
pub const KV_SYNC_INTERVAL: c_int = 1;
/// kv_options.sync: a write returns after the kernel has it; only kv_sync(), kv_checkpoint() and kv_close() sync.
/// The death of the process takes nothing.
pub const KV_SYNC_NONE: c_int = 2;

/// kv_options.recovery: open with the longest exact prefix, and report what was cut. The default.
pub const KV_RECOVER_PREFIX: c_int = 0;
/// kv_options.recovery: refuse with KV_CORRUPT, and change nothing, if acknowledged data was damaged.
pub const KV_RECOVER_STRICT: c_int = 1;

/// kv_recovery.verdict: the log ended where its last record ends; nothing was cut.
pub const KV_TAIL_CLEAN: c_int = 0;
/// kv_recovery.verdict: the log ended in writes that a crash had interrupted; none of them was known to be durable.
pub const KV_TAIL_TORN: c_int = 1;
/// kv_recovery.verdict: a valid record behind the bad one proves that durable data was damaged.
pub const KV_TAIL_DAMAGED: c_int = 2;

/// wal_record.op: set a key.
pub const WAL_OP_PUT: u8 = 1;
/// wal_record.op: delete a key; there is no value.
pub const WAL_OP_DELETE: u8 = 2;
/// wal_record.op: set a key until wal_record.expires_at.
pub const WAL_OP_PUT_EXPIRING: u8 = 3;
/// wal_record.op, added to one of the above: the next record belongs to the same atomic batch.
pub const WAL_OP_BATCH: u8 = 128;
