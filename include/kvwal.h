/*
 * kvwal: a durable key-value store to link into a C program.
 *
 * This file is generated from src/ffi/ by cbindgen; do not edit it. `make header` makes it anew.
 *
 * A store is a directory. Every change goes to a checksummed write-ahead log and is synced before it is acknowledged;
 * reads are served from memory; a checkpoint is a snapshot that lets the log start again.
 *
 * The promise
 *   1. Acknowledged means durable: with KV_SYNC_ALWAYS, the default, a call that changed something returns KV_OK only
 *      after its record is on stable storage, and readers see it only then.
 *   2. After any crash the store holds an exact prefix of what was written, at least up to the last acknowledged write;
 *      a batch is there as a whole or not at all.
 *   3. Recovery stops at the first bad record. What lies behind it is copied to quarantine/ before it is cut off, and
 *      kv_recovery_report() tells a torn tail from damaged data.
 *   4. Nothing is appended behind a tail that is not known to be on the disk.
 *   5. A failed fsync is final: that write and all later ones return KV_FAILED, reads go on, only a new open recovers.
 *      The write whose fsync failed may or may not be there then.
 *   6. A full disk heals: KV_NO_SPACE leaves everything as it was, and later writes go on once there is room.
 *
 * The rules
 *   - Functions return KV_OK (0), an answer (positive) or an error (negative). kv_strerror() explains the code,
 *     kv_errmsg() this thread's last failure.
 *   - Keys and values are bytes with a length; they may contain NULs and may be empty. (NULL, 0) is empty.
 *   - What a call receives it copies; what kv_get() returns is yours to kv_free().
 *   - Outputs are set to NULL and 0 first, so that they are never left uninitialised.
 *   - Calls on one kv_store may run on any number of threads. A kv_batch or a wal_writer serves one thread at a time.
 *     The function of a kv_transact() may run on another thread than its caller's, which waits.
 *   - Structs that begin with struct_size grow only at the end; set struct_size to sizeof the struct.
 *   - The library never prints, exits, or installs a signal handler.
 *
 * Example
 *
 *     #include <kvwal.h>
 *     #include <stdio.h>
 *     #include <string.h>
 *
 *     int main(void)
 *     {
 *         kv_store *store;
 *         void *value;
 *         size_t len;
 *
 *         if (kv_open("example-store", NULL, &store) != KV_OK ||
 *             kv_set(store, "name", 4, "Ada", 3) != KV_OK) {    // on the disk when it returns
 *             fprintf(stderr, "%s\n", kv_errmsg());
 *             return 1;
 *         }
 *         if (kv_get(store, "name", 4, &value, &len) == KV_OK) {
 *             printf("%.*s\n", (int)len, (char *)value);
 *             kv_free(value);
 *         }
 *         return kv_close(store) == KV_OK ? 0 : 1;
 *     }
 */


#ifndef KVWAL_H
#define KVWAL_H

#include <stddef.h>
#include <stdint.h>

#define KVWAL_VERSION_STRING "0.1.0"
#define KVWAL_VERSION_MAJOR 0
#define KVWAL_VERSION_MINOR 1
#define KVWAL_VERSION_PATCH 0

/* The call did what it says. */
#define KV_OK 0

/* An answer, not an error: the key is not there (or has expired). */
#define KV_NOT_FOUND 1

/* An answer, not an error: the condition of a conditional write did not hold; nothing was changed. */
#define KV_CONFLICT 2

/*
 * An answer, not an error: the next record of a feed is in no log any more; kv_tail_checkpoint_lsn() tells where to begin again.
 */
#define KV_LAGGED 3

/* An argument is wrong; nothing happened. */
#define KV_INVALID (-1)

/* The key or value is longer than KV_MAX_KEY_LEN or KV_MAX_VALUE_LEN; nothing happened. */
#define KV_TOO_LARGE (-2)

/* Out of memory; nothing happened. */
#define KV_NO_MEMORY (-3)

/* The operating system refused or failed a file operation; kv_errmsg() has the call, the file and the errno. */
#define KV_IO (-4)

/*
 * The disk, the quota or the file-size limit is full. The file was rolled back; the same write succeeds once there is
 * room.
 */
#define KV_NO_SPACE (-5)

/* Another process (or another handle of this one) has the store open; kv_errmsg() names its PID. */
#define KV_LOCKED (-6)

/* The files are damaged, incomplete, or not a store; nothing was changed. */
#define KV_CORRUPT (-7)

/* The record's checksum does not match its bytes. */
#define KV_CRC_MISMATCH (-8)

/* The buffer ends before the record does. */
#define KV_INCOMPLETE (-9)

/* An fsync failed on this handle: this write and all later ones are refused, reads go on. Close and open again. */
#define KV_FAILED (-10)

/* Written by, or compiled for, a newer version of the library. */
#define KV_VERSION (-11)

/* The handle was opened before a fork() and belongs to the parent process. */
#define KV_FORKED (-12)

/* The caller's buffer is too small; the length needed was stored. */
#define KV_BUFFER (-13)

/* A bug in the library; the handle refuses writes from now on. */
#define KV_INTERNAL (-14)

/* Longest key, in bytes. */
#define KV_MAX_KEY_LEN 65535

/* Longest value, in bytes (1 GiB). */
#define KV_MAX_VALUE_LEN 1073741824

/* kv_options.sync: a write returns after its record is on stable storage. The default. */
#define KV_SYNC_ALWAYS 0

/*
 * kv_options.sync: a write returns when it is in the log's memory. A background thread hands that over to the kernel every
 * few milliseconds, and syncs every sync_interval_ms. So the death of the process may take the writes of the last few
 * milliseconds, and a power cut those of the last sync_interval_ms, although they were acknowledged; what remains is
 * an exact prefix. kv_sync(), kv_checkpoint() and kv_close() leave nothing behind.
 */
#define KV_SYNC_INTERVAL 1

/*
 * kv_options.sync: a write returns after the kernel has it; only kv_sync(), kv_checkpoint() and kv_close() sync.
 * The death of the process takes nothing.
 */
#define KV_SYNC_NONE 2

/* kv_options.recovery: open with the longest exact prefix, and report what was cut. The default. */
#define KV_RECOVER_PREFIX 0

/* kv_options.recovery: refuse with KV_CORRUPT, and change nothing, if acknowledged data was damaged. */
#define KV_RECOVER_STRICT 1

/* kv_recovery.verdict: the log ended where its last record ends; nothing was cut. */
#define KV_TAIL_CLEAN 0

/* kv_recovery.verdict: the log ended in writes that a crash had interrupted; none of them was known to be durable. */
#define KV_TAIL_TORN 1

/* kv_recovery.verdict: a valid record behind the bad one proves that durable data was damaged. */
#define KV_TAIL_DAMAGED 2

/* wal_record.op: set a key. */
#define WAL_OP_PUT 1

/* wal_record.op: delete a key; there is no value. */
#define WAL_OP_DELETE 2

/* wal_record.op: set a key until wal_record.expires_at. */
#define WAL_OP_PUT_EXPIRING 3

/* wal_record.op, added to one of the above: the next record belongs to the same atomic batch. */
#define WAL_OP_BATCH 128

/* Changes that kv_write() makes all at once or not at all. One thread at a time. */
typedef struct kv_batch kv_batch;

/* An open store. Any number of threads may use one handle at once; only kv_close() must be the last call. */
typedef struct kv_store kv_store;

/* A change feed, opened by kv_tail_open(). One thread at a time; any number of feeds may follow one store. */
typedef struct kv_tail kv_tail;

/*
 * A transaction, as kv_transact() passes it to the function that is to run. Good until that returns, for the thread that it
 * runs on.
 */
typedef struct kv_txn kv_txn;

/* A log alone, without a store, opened by wal_open(). One thread at a time. */
typedef struct wal_writer wal_writer;

/* How to open a store. Fill it with kv_options_init(), then change what you need; zero always means the default. */
typedef struct kv_options {
    /* sizeof(kv_options) of the program, set by kv_options_init(). */
    size_t struct_size;
    /* KV_SYNC_ALWAYS, KV_SYNC_INTERVAL or KV_SYNC_NONE. */
    int sync;
    /* KV_RECOVER_PREFIX or KV_RECOVER_STRICT. */
    int recovery;
    /* Milliseconds between two syncs in KV_SYNC_INTERVAL. 0: 100. */
    uint64_t sync_interval_ms;
    /*
     * Start a checkpoint in the background when the log exceeds this many bytes. 0: 64 MiB, or the size of the newest
     * checkpoint where that is more. UINT64_MAX: never.
     */
    uint64_t checkpoint_wal_bytes;
    /*
     * Keep up to this many zero-filled bytes ahead of the last record, which makes the sync of a small write cheaper.
     * A background thread writes them. 0: 1 MiB, and none in the relaxed modes, which do not gain by it. UINT64_MAX: none.
     * More than 64 MiB counts as 64 MiB, and below 64 KiB there is no thread: writers carry them.
     */
    uint64_t preallocate;
    /* Non-zero: a store that does not exist is an error (KV_IO) instead of being created. */
    int no_create;
    /*
     * A directory, made if it is missing, in which every log is kept that a checkpoint would do away with, so that kv_restore()
     * can make the store as it was after any record, or at any time. NULL: none. The path is copied. One store at a time may use
     * it (KV_LOCKED), and only as long as its records go on from those that are there (KV_INVALID). Whoever opens the store must
     * name it, or there will be a gap. A checkpoint whose log cannot be kept fails, and is tried again; kv_stats counts that. The
     * library deletes nothing there.
     */
    const char *archive_dir;
} kv_options;

/* One key of kv_get_many(), with room for its value, and the answer. */
typedef struct kv_lookup {
    /* The key; NULL is allowed where key_len is 0. */
    const void *key;
    /* Bytes at key. */
    size_t key_len;
    /* Where the value is copied to; NULL is allowed where buf_len is 0. */
    void *buf;
    /* Bytes at buf. */
    size_t buf_len;
    /* Set by the call: the value's length on KV_OK, the length needed on KV_BUFFER, otherwise 0. */
    size_t value_len;
    /* Set by the call: KV_OK, KV_NOT_FOUND or KV_BUFFER. */
    int result;
} kv_lookup;

/* Called by kv_scan() once a key. key and value are valid until it returns. Non-zero ends the scan. */
typedef int (*kv_scan_fn)(void *ctx, const void *key, size_t key_len, const void *value, size_t value_len);

/* Counters and sizes of an open store, filled by kv_stats_get(). */
typedef struct kv_stats {
    /* sizeof(kv_stats) of the program, set before the call. */
    size_t struct_size;
    /* Keys looked up, by kv_get(), kv_get_into() and kv_get_many(), found or not. */
    uint64_t gets;
    /* Keys set, by kv_set(), kv_set_ttl(), kv_write(), and transactions. */
    uint64_t sets;
    /* Keys deleted that were there, by kv_del(), kv_write(), and transactions. */
    uint64_t dels;
    /* Calls on this handle that ended in an error (a negative result). */
    uint64_t errors;
    /* Keys in the store now; a key that has expired is counted until it is dropped. */
    uint64_t keys;
    /* Bytes of the values in the store now. */
    uint64_t bytes;
    /* LSN of the last record written. */
    uint64_t last_lsn;
    /* Highest LSN known to be on stable storage. */
    uint64_t durable_lsn;
    /* LSN of the newest checkpoint, 0 if there is none. */
    uint64_t checkpoint_lsn;
    /* Bytes of records in wal.log and wal.next. */
    uint64_t wal_bytes;
    /* Checkpoints completed since the store was opened. */
    uint64_t checkpoints;
    /* Group commits: each is one write of the log. */
    uint64_t commits;
    /* Syncs of the log (fdatasync). */
    uint64_t syncs;
    /* Attempts to make a checkpoint that failed since the store was opened, those in the background included. */
    uint64_t checkpoints_failed;
} kv_stats;

/* What recovery found, filled by kv_recovery_report() and wal_replay(). */
typedef struct kv_recovery {
    /* sizeof(kv_recovery) of the program, set before the call. */
    size_t struct_size;
    /* KV_TAIL_CLEAN, KV_TAIL_TORN or KV_TAIL_DAMAGED. */
    int verdict;
    /* LSN of the checkpoint that was loaded, 0 if none. In wal_replay(): after_lsn. */
    uint64_t checkpoint_lsn;
    /* LSN of the last record recovered; the store holds the effect of records 1 to this one. */
    uint64_t last_lsn;
    /* Records of the log that were applied. */
    uint64_t records_replayed;
    /* Where reading stopped: the offset behind the last good record, in the last log file read. */
    uint64_t stop_offset;
    /*
     * Bytes behind stop_offset that were copied to quarantine/ and cut off. In wal_replay(), which changes nothing:
     * the bytes that would be.
     */
    uint64_t bytes_quarantined;
    /* Valid records found behind the first bad one, not applied. */
    uint64_t records_behind;
    /* Time that opening took. */
    double seconds;
    /* Highest LSN that the files prove to have been synced. */
    uint64_t durable_lsn;
    /* Keys loaded from the checkpoint. */
    uint64_t checkpoint_keys;
    /* Keys dropped because they had expired. */
    uint64_t keys_expired;
    /* Bytes rewritten and synced because nothing proved them durable. */
    uint64_t bytes_rewritten;
} kv_recovery;

/* Called by kv_transact(), once. 0 commits what it has changed; non-zero forgets that. */
typedef int (*kv_txn_fn)(void *ctx, struct kv_txn *t);

/* What a store's files hold, filled by kv_verify(). */
typedef struct kv_verified {
    /* sizeof(kv_verified) of the program, set before the call. */
    size_t struct_size;
    /*
     * KV_TAIL_CLEAN, KV_TAIL_TORN or KV_TAIL_DAMAGED, as kv_recovery_report() would say if the store were opened now.
     */
    int verdict;
    /*
     * 0, or what kv_open() would return instead of opening the store: KV_CORRUPT or KV_VERSION. Then verdict is
     * KV_TAIL_DAMAGED, first_lsn, last_lsn, durable_lsn, records and record_bytes are those of the logs by themselves, and
     * the other numbers are 0. With KV_RECOVER_STRICT kv_open() also refuses if verdict is KV_TAIL_DAMAGED or bad_file is
     * the checkpoint.
     */
    int refused;
    /* Non-zero: a process has the store open, as far as the system tells (/proc/locks), or was seen to be writing. */
    int is_open;
    /* LSN of the checkpoint, 0 if there is none, or none that counts. */
    uint64_t checkpoint_lsn;
    /* Keys in it. */
    uint64_t checkpoint_keys;
    /* LSN of the first record in the logs, 0 if there is none. */
    uint64_t first_lsn;
    /* LSN of the last record that the store would have. */
    uint64_t last_lsn;
    /* Highest LSN that the files prove to have been synced. */
    uint64_t durable_lsn;
    /* Valid records in the logs, also those that the checkpoint covers. */
    uint64_t records;
    /* Their bytes. */
    uint64_t record_bytes;
    /* Keys that the store would have when opened. */
    uint64_t keys;
    /* Bytes of their values. */
    uint64_t value_bytes;
    /* Length of wal.log in bytes; UINT64_MAX if there is no such file. */
    uint64_t log_size;
    /* As log_size, of wal.next. */
    uint64_t next_size;
    /* As log_size, of checkpoint.dat. */
    uint64_t checkpoint_size;
    /* Valid records behind the first bad one. */
    uint64_t records_behind;
    /* Bytes that opening would copy to quarantine/ and cut off. */
    uint64_t bytes_behind;
    /* Where the first bad record or checkpoint block begins in bad_file. */
    uint64_t bad_offset;
    /* The LSN that the bad record should have; 0 if it is a checkpoint block that is bad. */
    uint64_t bad_lsn;
    /*
     * Seconds that the reading took. kv_open() reads the same first, so this is a measured estimate of how long that takes
     * on this machine, with as much of the files in the page cache; syncing what nothing proves durable comes on top.
     */
    double open_seconds;
    /* The first file that is bad: "wal.log", "wal.next" or "checkpoint.dat"; empty if none is. */
    char bad_file[16];
    /* What is wrong, in words; empty if nothing is. Cut off where it is longer. */
    char reason[512];
} kv_verified;

/*
 * What kv_restore() is to make a store of, and up to where. Set all of it to zero, then struct_size, then what you need.
 */
typedef struct kv_restore_options {
    /* sizeof(kv_restore_options) of the program, set before the call. */
    size_t struct_size;
    /* A backup, or any other copy of the store's directory, to begin with. NULL: none. */
    const char *backup_dir;
    /* The archive: what the store was opened with as kv_options.archive_dir. NULL: none. */
    const char *archive_dir;
    /*
     * The store itself, for the records that no checkpoint has retired yet; without a backup it is also what is begun with. It
     * may be open, in any process, or damaged: up to the damage it can be restored, if until_lsn or until_ms says so. NULL: none.
     */
    const char *store_dir;
    /* Restore up to this record, included; a batch that goes on behind it is left out whole. 0: no such limit. */
    uint64_t until_lsn;
    /* Restore what was durable at this time, in Unix milliseconds, as far as the archive knows. 0: no such limit. */
    uint64_t until_ms;
} kv_restore_options;

/* What was restored, filled by kv_restore(). */
typedef struct kv_restored {
    /* sizeof(kv_restored) of the program, set before the call. */
    size_t struct_size;
    /* LSN of the last record: the store is as of this one. */
    uint64_t last_lsn;
    /* LSN of the checkpoint that it began with, 0 if it began with the first record. */
    uint64_t checkpoint_lsn;
    /* Records behind the checkpoint. */
    uint64_t records;
    /* With until_ms: when the archive noted that the last record was durable, in Unix milliseconds; otherwise 0. */
    uint64_t noted_ms;
} kv_restored;

/* One record of the log. */
typedef struct wal_record {
    /* Log sequence number: 1, 2, 3, … without a gap. */
    uint64_t lsn;
    /* The highest LSN whose fsync had returned when this record was written. */
    uint64_t durable_lsn;
    /* Unix time in milliseconds, for WAL_OP_PUT_EXPIRING; otherwise 0 when read and ignored when written. */
    uint64_t expires_at;
    /* The key; NULL is allowed where key_len is 0. */
    const void *key;
    /* Bytes at key. */
    size_t key_len;
    /* The value; NULL is allowed where value_len is 0. */
    const void *value;
    /* Bytes at value; 0 for WAL_OP_DELETE. */
    size_t value_len;
    /* WAL_OP_PUT, WAL_OP_DELETE or WAL_OP_PUT_EXPIRING, with or without WAL_OP_BATCH. */
    uint8_t op;
} wal_record;

/* Called by wal_replay() once a record. The record is valid until it returns. Non-zero ends the replay. */
typedef int (*wal_replay_fn)(void *ctx, const struct wal_record *record);

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

/* What a result code means, as static text; never NULL, also for a number that is no code. Does not block. */
const char *kv_strerror(int code);

/*
 * This thread's last failure in words: the call, the file, the offset, the LSN, the errno, as far as they apply.
 * Never NULL; empty if no call has failed yet. A call that succeeds, or answers KV_NOT_FOUND, leaves it alone. The
 * text belongs to the library and is good until this thread's next kvwal call. Does not block.
 */
const char *kv_errmsg(void);

/* Frees a value that kv_get() returned. NULL is fine. Does not block. */
void kv_free(void *p);

/* The version of the library that is loaded, such as "0.1.0"; static text. Does not block. */
const char *kv_version(void);

/* Fills in the defaults: every write synced, prefix recovery, a missing store is created. Does not block. */
void kv_options_init(struct kv_options *o);

/*
 * Opens the store in the directory dir, creating it (but not its parents) if it is missing; recovers it first.
 * options may be NULL for the defaults. On KV_OK *out is the handle, to be closed with kv_close(); otherwise NULL.
 *
 * Blocks on the disk: reads the checkpoint and the log, and syncs what it cannot prove durable.
 *
 * Returns KV_OK; KV_INVALID; KV_LOCKED if another process or handle has it open, or its archive; KV_CORRUPT if the
 * files are not a store, cannot be repaired, or (KV_RECOVER_STRICT) lost acknowledged data; KV_VERSION; KV_IO, also for
 * a dir that is no directory or may not be written; KV_NO_SPACE; KV_NO_MEMORY. Whatever fails, no acknowledged byte is
 * lost.
 */
int kv_open(const char *dir, const struct kv_options *options, struct kv_store **out);

/*
 * Sets key to value, replacing an earlier value and its expiry. key and value are copied.
 *
 * Blocks until the record is on stable storage (KV_SYNC_ALWAYS); calls of several threads share a sync. Visible to
 * readers only then.
 *
 * Returns KV_OK; KV_INVALID; KV_TOO_LARGE; KV_NO_MEMORY; KV_NO_SPACE and KV_IO: not set, later writes may succeed;
 * KV_FAILED: see guarantee 5 above; KV_FORKED; KV_INTERNAL.
 */
int kv_set(struct kv_store *s, const void *key, size_t key_len, const void *value, size_t value_len);

/*
 * As kv_set(), but the key is gone ttl_ms milliseconds from now (system clock), also if the store is closed meanwhile.
 * A ttl_ms of 0 is KV_INVALID.
 */
int kv_set_ttl(struct kv_store *s,
               const void *key,
               size_t key_len,
               const void *value,
               size_t value_len,
               uint64_t ttl_ms);

/*
 * Looks key up. On KV_OK *value is a copy, to be freed with kv_free(), and *value_len its length; it is not NULL for
 * an empty value. Otherwise NULL and 0.
 *
 * Never waits for the disk.
 *
 * Returns KV_OK; KV_NOT_FOUND; KV_INVALID; KV_TOO_LARGE; KV_NO_MEMORY; KV_FORKED.
 */
int kv_get(struct kv_store *s, const void *key, size_t key_len, void **value, size_t *value_len);

/*
 * As kv_get(), but copies the value into buf, and allocates nothing. *value_len is the value's length on KV_OK, and
 * the length needed on KV_BUFFER, when buf is left alone. buf may be NULL if buf_len is 0.
 *
 * Never waits for the disk.
 *
 * Returns KV_OK; KV_NOT_FOUND; KV_BUFFER; KV_INVALID; KV_TOO_LARGE; KV_FORKED.
 */
int kv_get_into(struct kv_store *s, const void *key, size_t key_len, void *buf, size_t buf_len, size_t *value_len);

/*
 * Looks count keys up, each as kv_get_into() does; lookups[i].result is its answer. Several times as fast as one call a
 * key when the store is much larger than the processor's caches, for the waits for memory overlap: 30 keys or more a
 * call make the most of it. Each key is looked up for itself, while writers go on: the answers are not all as of one
 * moment (kv_scan() is). lookups may be NULL if count is 0.
 *
 * Never waits for the disk.
 *
 * Returns KV_OK if each key has its answer, whatever it is. On an error the first lookup that is wrong is named by
 * kv_errmsg(), none was done, and lookups is as it was: KV_INVALID; KV_TOO_LARGE; KV_FORKED.
 */
int kv_get_many(struct kv_store *s, struct kv_lookup *lookups, size_t count);

/*
 * Deletes key. Blocks as kv_set() does if the key was there; otherwise not at all.
 *
 * Returns KV_OK; KV_NOT_FOUND if it was not there; and the errors of kv_set().
 */
int kv_del(struct kv_store *s, const void *key, size_t key_len);

/*
 * Makes the changes of a batch, in its order: all of them or, after any failure or crash, none; readers and scans,
 * too, see all or none. One record group, one sync. The batch stays as it is and may be written again. An empty one
 * is KV_OK.
 *
 * Blocks as kv_set() does, and returns what kv_set() returns.
 */
int kv_write(struct kv_store *s, const struct kv_batch *b);

/*
 * Calls fn with every key that begins with prefix, in byte order, each once, all as of the moment of the call: what is
 * written meanwhile is not seen. fn gets ctx, and may call any function on the same handle but kv_close(). When it
 * returns non-zero the scan ends, with KV_OK.
 *
 * Never waits for the disk, and writers do not wait for it. Holds a copy of the matching keys, and the values that
 * writers replace meanwhile, in memory until it is done.
 *
 * Returns KV_OK; KV_INVALID; KV_NO_MEMORY; KV_FORKED.
 */
int kv_scan(struct kv_store *s, const void *prefix, size_t prefix_len, kv_scan_fn fn, void *ctx);

/*
 * Makes every earlier write durable; there is nothing to do in KV_SYNC_ALWAYS. Blocks on the disk.
 *
 * Returns KV_OK; KV_INVALID; KV_FAILED; KV_FORKED.
 */
int kv_sync(struct kv_store *s);

/*
 * Writes a snapshot of the store and retires the log that it covers, so that the next open is quick. Returns when a
 * checkpoint covers everything acknowledged before the call, also if one was running already. Readers and writers go
 * on meanwhile. Blocks on the disk.
 *
 * Returns KV_OK; KV_NO_SPACE and KV_IO: the old checkpoint and the log are as they were; KV_FAILED; KV_INVALID;
 * KV_NO_MEMORY; KV_FORKED.
 */
int kv_checkpoint(struct kv_store *s);

/*
 * Fills *out, whose struct_size the caller has set. The counters are read one by one while other threads go on. Does
 * not block on the disk.
 *
 * Returns KV_OK; KV_INVALID; KV_FORKED.
 */
int kv_stats_get(struct kv_store *s, struct kv_stats *out);

/*
 * Fills *out, whose struct_size the caller has set, with what kv_open() found. Does not block.
 *
 * Returns KV_OK; KV_INVALID; KV_FORKED.
 */
int kv_recovery_report(struct kv_store *s, struct kv_recovery *out);

/*
 * Closes the store: waits for a running checkpoint, syncs in the relaxed modes, gives preallocated space back. NULL is
 * fine. The handle is gone whatever it returns; it must be the last call on it, with no other call still running.
 * Blocks on the disk.
 *
 * Returns KV_OK; KV_FAILED if the handle had failed or the last sync does; KV_IO; KV_FORKED.
 */
int kv_close(struct kv_store *s);

/* A new, empty batch, to be freed with kv_batch_free(). Does not block. */
struct kv_batch *kv_batch_new(void);

/*
 * Adds "set key to value". key and value are copied. Does not block.
 *
 * Returns KV_OK; KV_INVALID; KV_TOO_LARGE; KV_NO_MEMORY. A failed call leaves the batch as it was.
 */
int kv_batch_set(struct kv_batch *b, const void *key, size_t key_len, const void *value, size_t value_len);

/*
 * Adds "delete key"; a key that is not there is no error when the batch is written. Does not block.
 *
 * Returns KV_OK; KV_INVALID; KV_TOO_LARGE; KV_NO_MEMORY. A failed call leaves the batch as it was.
 */
int kv_batch_del(struct kv_batch *b, const void *key, size_t key_len);

/* Empties a batch, to be filled again. Does not block. Returns KV_OK or KV_INVALID. */
int kv_batch_clear(struct kv_batch *b);

/* Frees a batch. NULL is fine. Does not block. */
void kv_batch_free(struct kv_batch *b);

/*
 * Runs fn, which reads keys with kv_txn_get() and changes them with kv_txn_set(), kv_txn_set_ttl() and kv_txn_del(), all
 * of it at one moment: nobody else writes between what it reads and what it writes, and its changes are made all at once,
 * as by kv_write(). When fn returns 0 they are committed; otherwise nothing is written.
 *
 * fn gets ctx, and runs once: on this thread, or on another one that is inside a call on the same handle at that moment,
 * while this one waits. Until it returns every writer waits, so it should be quick, and wait for nobody. It must return
 * (no longjmp, no exception), and use the store by kv_txn_* alone: a call that writes, syncs, makes a checkpoint or begins
 * a transaction on the same handle is KV_INVALID, kv_close() is not allowed, and one that reads sees none of its changes.
 *
 * Blocks as kv_set() does, also if only others have written: what fn has seen is on stable storage when this returns.
 * Transactions and other writes of several threads share a sync; if nobody writes there is none.
 *
 * Returns KV_OK; KV_CONFLICT if fn returned non-zero; and the errors of kv_set(), after which nothing was changed (but see
 * KV_FAILED).
 */
int kv_transact(struct kv_store *s,
                kv_txn_fn fn,
                void *ctx);

/*
 * Looks key up: what the transaction has changed itself, else what is there. On KV_OK *value points to the value, which is
 * *value_len bytes long and good until the transaction's function returns; it is not NULL for an empty value, and not to
 * be freed. Otherwise NULL and 0. Never waits for the disk.
 *
 * Returns KV_OK; KV_NOT_FOUND; KV_INVALID; KV_TOO_LARGE.
 */
int kv_txn_get(struct kv_txn *t,
               const void *key,
               size_t key_len,
               const void **value,
               size_t *value_len);

/*
 * Sets key to value. key and value are copied. Does not block.
 *
 * Returns KV_OK; KV_INVALID; KV_TOO_LARGE; KV_NO_MEMORY. A failed call changes nothing; whether the rest is committed is
 * up to the function.
 */
int kv_txn_set(struct kv_txn *t, const void *key, size_t key_len, const void *value, size_t value_len);

/*
 * As kv_txn_set(), but the key is gone ttl_ms milliseconds after the transaction began (system clock). A ttl_ms of 0 is
 * KV_INVALID.
 */
int kv_txn_set_ttl(struct kv_txn *t,
                   const void *key,
                   size_t key_len,
                   const void *value,
                   size_t value_len,
                   uint64_t ttl_ms);

/*
 * Deletes key. Does not block.
 *
 * Returns KV_OK; KV_NOT_FOUND if it was not there; KV_INVALID; KV_TOO_LARGE; KV_NO_MEMORY.
 */
int kv_txn_del(struct kv_txn *t, const void *key, size_t key_len);

/*
 * Sets key to value if it is not there. key and value are copied.
 *
 * Blocks as kv_transact() does.
 *
 * Returns KV_OK; KV_CONFLICT if it is there, and then it stays as it is; and the errors of kv_set().
 */
int kv_set_if_absent(struct kv_store *s, const void *key, size_t key_len, const void *value, size_t value_len);

/*
 * Sets key to value if its value is expected, byte for byte; an expiry is dropped. All three are copied.
 *
 * Blocks as kv_transact() does.
 *
 * Returns KV_OK; KV_NOT_FOUND if the key is not there, KV_CONFLICT if its value is another one, and then nothing is
 * changed; and the errors of kv_set().
 */
int kv_compare_and_set(struct kv_store *s,
                       const void *key,
                       size_t key_len,
                       const void *expected,
                       size_t expected_len,
                       const void *value,
                       size_t value_len);

/*
 * Reads every record and every checkpoint block of the store in dir, and fills *out, whose struct_size the caller has set,
 * with what kv_open() would find. Changes nothing: opens no file for writing, makes none, takes no lock, and does with a
 * directory that may only be read. Beside a store that is open it takes into account that a write or a checkpoint may be
 * under way: what looks wrong only once does not count.
 *
 * Blocks on the disk, and takes as much time and memory as opening the store does, twice the time if something is wrong.
 *
 * Returns KV_OK, whatever it found: out->verdict and out->refused tell; KV_INVALID; KV_IO, also if there is no store in dir;
 * KV_NO_MEMORY.
 */
int kv_verify(const char *dir,
              struct kv_verified *out);

/*
 * Makes a backup of the open store s: a store of its own in dest_dir, which must not exist or be empty, that holds what s
 * holds at one moment of the call, with its expiries. It is verified and durable when the call returns; opened with kv_open()
 * it goes on with the LSN after that moment's. Readers, writers and checkpoints go on meanwhile. A crash leaves no store in
 * dest_dir, or all of it. A call that fails removes what it made, and s is as it was.
 *
 * Blocks on the disk. Holds the values that writers replace meanwhile in memory until it is done.
 *
 * Returns KV_OK; KV_INVALID, also if dest_dir holds something: kv_errmsg() tells if that is what an interrupted backup left,
 * to be removed; KV_NO_SPACE; KV_IO; KV_NO_MEMORY; KV_FORKED.
 */
int kv_backup(struct kv_store *s,
              const char *dest_dir);

/*
 * Makes a store in dest_dir, which must not exist or be empty, as it was after some record or at some time: out of a checkpoint,
 * the logs in an archive, and those of the store. All are only read, and may be in use. What was made is verified, and durable
 * when the call returns; a crash leaves no store in dest_dir, or all of it; a call that fails removes what it made. out may be
 * NULL; its struct_size the caller has set.
 *
 * By a time: while a store is open with an archive, it is noted there, 20 times a second if there is something new, which record
 * is the last durable one; the last of these notes that is not later decides. So nothing comes back that was acknowledged after
 * that time, and what became durable 100 ms before it or earlier does, but for what was not noted any more: when the process was
 * killed, the last moment before that; when the power failed, the last second. (In the relaxed modes, what is acknowledged
 * becomes durable later.) The time is the system clock's; if that was set back so that a time came twice, and that makes a
 * difference, it is KV_INVALID.
 *
 * Blocks on the disk: reads the checkpoint and all records behind it, and writes them.
 *
 * Returns KV_OK; KV_INVALID, also if dest_dir holds something, if the records do not go so far or the backup is later than what
 * is asked for; KV_CORRUPT if records are missing in between, are damaged, or belong to another history; KV_VERSION; KV_IO, also
 * if a directory is not there; KV_LOCKED if somebody else makes a store in dest_dir; KV_NO_SPACE; KV_NO_MEMORY.
 */
int kv_restore(const char *dest_dir,
               const struct kv_restore_options *options,
               struct kv_restored *out);

/*
 * Encodes *r as it stands, LSNs included, into buf, and stores the length in *written. If buf is too small, or NULL
 * with a buf_len of 0, returns KV_BUFFER with the length needed in *written. Does not block.
 *
 * Returns KV_OK; KV_BUFFER; KV_INVALID; KV_TOO_LARGE; KV_NO_MEMORY.
 */
int wal_record_encode(const struct wal_record *r, void *buf, size_t buf_len, size_t *written);

/*
 * Decodes the record at the beginning of buf. On KV_OK *r is filled, with key and value pointing into buf, and
 * *consumed is the record's length; otherwise *r is zero and *consumed 0. Does not block.
 *
 * Returns KV_OK; KV_INCOMPLETE if buf ends before the record does; KV_CRC_MISMATCH; KV_CORRUPT if no record has such a
 * length, or its fields contradict each other; KV_VERSION if the checksum is right but the op unknown; KV_INVALID.
 */
int wal_record_decode(const void *buf, size_t len, struct wal_record *r, size_t *consumed);

/*
 * Opens the log file path, creating it if it is missing, to append to it. A damaged tail is copied to quarantine/ in
 * the same directory, and cut off. On KV_OK *out is the handle, to be closed with wal_close(); otherwise NULL.
 * Blocks on the disk.
 *
 * Returns KV_OK; KV_INVALID; KV_LOCKED; KV_CORRUPT; KV_VERSION; KV_IO; KV_NO_SPACE; KV_NO_MEMORY.
 */
int wal_open(const char *path, struct wal_writer **out);

/*
 * Appends *r: gives it the next LSN, encodes, writes and syncs it. Uses op, key, value and, for WAL_OP_PUT_EXPIRING,
 * expires_at; sets lsn and durable_lsn on KV_OK. A batch counts only when its last record, the one without
 * WAL_OP_BATCH, is there, too: until then the next open would cut it off. Blocks on the disk.
 *
 * Returns KV_OK; KV_INVALID; KV_TOO_LARGE; KV_NO_MEMORY; KV_NO_SPACE and KV_IO: not appended, later calls may succeed;
 * KV_FAILED: a sync failed, and this writer takes no more records; KV_FORKED.
 */
int wal_append(struct wal_writer *w, struct wal_record *r);

/*
 * Closes a log. NULL is fine. The handle is gone whatever it returns. Returns KV_OK; KV_FAILED if a sync had failed;
 * KV_FORKED.
 */
int wal_close(struct wal_writer *w);

/*
 * Calls fn with ctx and each record of the log file path whose LSN is above after_lsn, in order, up to the first bad
 * one; a batch only when it is whole. When fn returns non-zero the replay ends, with KV_OK. out may be NULL; otherwise
 * the caller has set its struct_size, and it says what was found. Changes nothing, and needs no lock. Blocks on the
 * disk.
 *
 * Returns KV_OK, also when the tail is torn or damaged: out->verdict tells; KV_INVALID; KV_CORRUPT if the log begins
 * above after_lsn + 1 (with an after_lsn of 0 it may begin anywhere), or the file is no log; KV_VERSION; KV_IO;
 * KV_NO_MEMORY.
 */
int wal_replay(const char *path, uint64_t after_lsn, wal_replay_fn fn, void *ctx, struct kv_recovery *out);

/*
 * Opens a feed of the durable records of the store s, from the record from_lsn on: 0 or 1 for the first that there ever was,
 * or the LSN behind the last one that was dealt with; at most the LSN that the next write will have. On KV_OK *out is the
 * feed, to be closed with kv_tail_close(); otherwise NULL. Does not block on the disk.
 *
 * A feed reads the log's files beside those who write, and takes no part in a commit. It keeps no log from being retired, but
 * one that it is reading takes room on the disk until it has read it.
 *
 * Returns KV_OK; KV_INVALID, also if from_lsn is beyond the next write's: it is another store's, or this one was restored to
 * an earlier moment; KV_IO; KV_NO_MEMORY; KV_FORKED.
 */
int kv_tail_open(struct kv_store *s,
                 uint64_t from_lsn,
                 struct kv_tail **out);

/*
 * Waits up to timeout_ms milliseconds (0: not at all; UINT32_MAX: as long as it takes) for the next record, and stores it in
 * *out: durable ones only, in order, each once. key and value belong to the feed, and are good until the next call on it. The
 * records of a batch follow each other without a wait: all but the last have WAL_OP_BATCH in op. *out is zero unless the
 * result is KV_OK. Blocks on the disk.
 *
 * Returns KV_OK; KV_NOT_FOUND if nothing came within the time; KV_LAGGED if the next record is in no log any more:
 * kv_tail_checkpoint_lsn() has the LSN C of a checkpoint that covers it, and that stays so. Then begin again with what the
 * store holds now, by kv_scan(), or with a backup, and a feed from C + 1. Records that this reflects already may come again;
 * they set or delete whole values, so in the end that makes no difference. KV_INVALID, also once the store is closed: kv_close()
 * may come while another thread waits here, and ends that. KV_IO; KV_CORRUPT; KV_NO_MEMORY; KV_FORKED.
 */
int kv_tail_next(struct kv_tail *t,
                 uint32_t timeout_ms,
                 struct wal_record *out);

/*
 * The LSN of the checkpoint to begin again from, if the last kv_tail_next() on the feed returned KV_LAGGED; otherwise 0, as
 * for NULL. Does not block.
 */
uint64_t kv_tail_checkpoint_lsn(const struct kv_tail *t);

/*
 * Closes a feed; its last record is gone. NULL is fine. May come before or after the store's kv_close(): a store's memory is
 * freed when the last of its feeds is closed. Does not block on the disk. Returns KV_OK; KV_FORKED.
 */
int kv_tail_close(struct kv_tail *t);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* KVWAL_H */
