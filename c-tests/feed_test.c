/*
 * What is done with a store as a whole: looking at its files without opening it, copying it while it is written,
 * and following what is written.
 */
#include "support.h"

#include <pthread.h>
#include <sys/wait.h>

enum { RECORD = 33 + 6 + 100 };

static char *dir, *store_dir;

static void make_dirs(void)
{
    dir = make_temp_dir();
    store_dir = join_path(dir, "store");
}

static void remove_dirs(void)
{
    free(store_dir);
    remove_temp_dir(dir);
}

static kv_store *open_store(const char *path)
{
    kv_store *store;

    CHECK_OK(kv_open(path, NULL, &store));
    return store;
}

/* Sets key001, key002, … from first to last, each to 100 bytes of its number; each is one record of RECORD bytes. */
static void set_range(kv_store *store, int first, int last)
{
    char key[16], value[100];

    for (int n = first; n <= last; n++) {
        memset(value, n, sizeof value);
        CHECK_OK(kv_set(store, key, (size_t)sprintf(key, "key%03d", n), value, sizeof value));
    }
}

/* ---- kv_verify ---- */

static kv_verified verify(const char *path)
{
    kv_verified verified;

    memset(&verified, 0xff, sizeof verified);
    verified.struct_size = sizeof verified;
    CHECK_OK(kv_verify(path, &verified));
    return verified;
}

static void test_verify_counts(void)
{
    make_dirs();
    kv_store *store = open_store(store_dir);
    set_range(store, 1, 30);
    CHECK_OK(kv_checkpoint(store));
    set_range(store, 31, 50);
    CHECK_EQ(verify(store_dir).is_open, 1);
    CHECK_OK(kv_close(store));

    kv_verified found = verify(store_dir);
    CHECK_EQ(found.verdict, KV_TAIL_CLEAN);
    CHECK_EQ(found.refused, 0);
    CHECK_EQ(found.is_open, 0);
    CHECK_EQ(found.checkpoint_lsn, 30);
    CHECK_EQ(found.checkpoint_keys, 30);
    CHECK_EQ(found.first_lsn, 31);
    CHECK_EQ(found.last_lsn, 50);
    CHECK_EQ(found.records, 20);
    CHECK_EQ(found.record_bytes, 20 * RECORD);
    CHECK_EQ(found.log_size, 20 * RECORD);
    CHECK(found.next_size == UINT64_MAX);
    CHECK_EQ(found.keys, 50);
    CHECK_EQ(found.value_bytes, 5000);
    CHECK(found.bad_file[0] == '\0' && found.reason[0] == '\0');
    remove_dirs();
}

static void test_verify_names_what_is_bad(void)
{
    make_dirs();
    kv_store *store = open_store(store_dir);
    set_range(store, 1, 10);
    CHECK_OK(kv_close(store));
    char *log = join_path(store_dir, "wal.log");
    overwrite_file(log, 4 * RECORD + 50, "?", 1);

    struct bytes before = read_file(log);
    kv_verified found = verify(store_dir);
    struct bytes after = read_file(log);
    CHECK_BYTES(after.data, after.len, before.data, before.len);
    CHECK_EQ(quarantine_count(store_dir), 0);
    CHECK_EQ(found.verdict, KV_TAIL_DAMAGED);
    CHECK_EQ(strcmp(found.bad_file, "wal.log"), 0);
    CHECK_EQ(found.bad_offset, 4 * RECORD);
    CHECK_EQ(found.bad_lsn, 5);
    CHECK_EQ(found.records_behind, 5);
    CHECK_EQ(found.bytes_behind, 6 * RECORD);
    CHECK(strstr(found.reason, "checksum") != NULL);

    /* It is what an opening finds. */
    store = open_store(store_dir);
    kv_recovery recovery = recovery_report(store);
    CHECK_EQ(recovery.verdict, found.verdict);
    CHECK_EQ(recovery.last_lsn, found.last_lsn);
    CHECK_EQ(recovery.records_behind, found.records_behind);
    CHECK_EQ(recovery.bytes_quarantined, found.bytes_behind);
    CHECK_OK(kv_checkpoint(store));
    CHECK_OK(kv_close(store));

    CHECK_SYS(unlink(log) == 0);
    found = verify(store_dir);
    CHECK_EQ(found.refused, KV_CORRUPT);
    CHECK_EQ(found.verdict, KV_TAIL_DAMAGED);
    CHECK(strstr(found.reason, "no wal.log") != NULL);
    CHECK_CODE(kv_open(store_dir, NULL, &store), KV_CORRUPT);
    free_bytes(&before);
    free_bytes(&after);
    free(log);
    remove_dirs();
}

static void test_verify_arguments(void)
{
    kv_verified found = {.struct_size = sizeof found};
    size_t small[2] = {sizeof small, 7};

    make_dirs();
    CHECK_CODE(kv_verify(NULL, &found), KV_INVALID);
    CHECK_CODE(kv_verify(store_dir, NULL), KV_INVALID);
    CHECK_CODE(kv_verify(store_dir, &found), KV_IO);
    CHECK_CODE(kv_verify(dir, &found), KV_IO);
    CHECK(strstr(kv_errmsg(), "there is no store") != NULL);
    found.struct_size = 0;
    CHECK_CODE(kv_verify(store_dir, &found), KV_INVALID);
    /* A program that knows the first field only. */
    CHECK_OK(kv_close(open_store(store_dir)));
    CHECK_OK(kv_verify(store_dir, (kv_verified *)small));
    CHECK(small[0] == sizeof small && small[1] == 0);
    remove_dirs();
}

/* ---- kv_backup ---- */

static void check_range(kv_store *store, int first, int last)
{
    char key[16], value[100];
    void *found;
    size_t len;

    for (int n = first; n <= last; n++) {
        memset(value, n, sizeof value);
        CHECK_OK(kv_get(store, key, (size_t)sprintf(key, "key%03d", n), &found, &len));
        CHECK_BYTES(found, len, value, sizeof value);
        kv_free(found);
    }
}

static void test_backup_goes_on(void)
{
    make_dirs();
    char *copy = join_path(dir, "copy");
    kv_store *store = open_store(store_dir);
    set_range(store, 1, 20);
    CHECK_OK(kv_checkpoint(store));
    set_range(store, 21, 40);
    CHECK_OK(kv_backup(store, copy));
    set_range(store, 41, 60);

    kv_verified found = verify(copy);
    CHECK(found.verdict == KV_TAIL_CLEAN && found.refused == 0 && found.is_open == 0);
    CHECK_EQ(found.checkpoint_lsn, 40);
    CHECK_EQ(found.log_size, 0);
    kv_store *second = open_store(copy);
    check_range(second, 1, 40);
    CHECK_EQ(store_stats(second).keys, 40);
    set_range(second, 41, 41);
    CHECK_EQ(store_stats(second).last_lsn, 41);
    CHECK_OK(kv_close(second));
    check_range(store, 1, 60);
    CHECK_OK(kv_close(store));
    free(copy);
    remove_dirs();
}

static void test_backup_arguments(void)
{
    make_dirs();
    kv_store *store = open_store(store_dir);
    char *file = join_path(dir, "file"), *below = join_path(dir, "no/such"), *left = join_path(dir, "left");
    char *left_file = join_path(left, "checkpoint.dat");
    write_file(file, "x", 1);
    CHECK_CODE(kv_backup(NULL, left), KV_INVALID);
    CHECK_CODE(kv_backup(store, NULL), KV_INVALID);
    CHECK_CODE(kv_backup(store, store_dir), KV_INVALID);
    CHECK_CODE(kv_backup(store, file), KV_INVALID);
    CHECK_CODE(kv_backup(store, below), KV_IO);
    CHECK_SYS(mkdir(left, 0777) == 0);
    write_file(left_file, "x", 1);
    CHECK_CODE(kv_backup(store, left), KV_INVALID);
    CHECK(strstr(kv_errmsg(), "interrupted: remove it") != NULL);
    CHECK_EQ(file_size(left_file), 1);
    CHECK_SYS(unlink(left_file) == 0);
    CHECK_OK(kv_backup(store, left));
    CHECK_OK(kv_close(store));
    free(file);
    free(below);
    free(left_file);
    free(left);
    remove_dirs();
}

/* ---- kv_tail ---- */

enum { WRITERS = 3, ROUNDS = 40, TAILED = WRITERS * ROUNDS * 3 };

static kv_tail *open_tail(kv_store *store, uint64_t from)
{
    kv_tail *tail;

    CHECK_OK(kv_tail_open(store, from, &tail));
    return tail;
}

static void test_tail_delivers(void)
{
    wal_record record;

    make_dirs();
    kv_store *store = open_store(store_dir);
    kv_tail *tail = open_tail(store, 0);
    CHECK_CODE(kv_tail_next(tail, 0, &record), KV_NOT_FOUND);
    CHECK(record.lsn == 0 && record.key == NULL);
    CHECK_OK(kv_set(store, "a", 1, "one", 3));
    CHECK_OK(kv_set_ttl(store, "b", 1, "two", 3, 60000));
    CHECK_OK(kv_del(store, "a", 1));
    kv_batch *batch = kv_batch_new();
    CHECK_OK(kv_batch_set(batch, "c", 1, "", 0));
    CHECK_OK(kv_batch_set(batch, "d", 1, "four", 4));
    CHECK_OK(kv_write(store, batch));
    kv_batch_free(batch);

    static const struct {
        uint8_t op;
        const char *key, *value;
    } expected[] = {
        {WAL_OP_PUT, "a", "one"},
        {WAL_OP_PUT_EXPIRING, "b", "two"},
        {WAL_OP_DELETE, "a", ""},
        {WAL_OP_PUT | WAL_OP_BATCH, "c", ""},
        {WAL_OP_PUT, "d", "four"},
    };
    for (size_t i = 0; i < ARRAY_LEN(expected); i++) {
        CHECK_OK(kv_tail_next(tail, 0, &record));
        CHECK_EQ(record.lsn, i + 1);
        CHECK_EQ(record.op, expected[i].op);
        CHECK_BYTES(record.key, record.key_len, expected[i].key, strlen(expected[i].key));
        CHECK_BYTES(record.value, record.value_len, expected[i].value, strlen(expected[i].value));
        CHECK_EQ(record.expires_at != 0, i == 1);
    }
    CHECK_CODE(kv_tail_next(tail, 1, &record), KV_NOT_FOUND);
    CHECK_EQ(kv_tail_checkpoint_lsn(tail), 0);
    CHECK_OK(kv_tail_close(tail));
    CHECK_OK(kv_close(store));
    remove_dirs();
}

static void test_tail_lags(void)
{
    wal_record record;

    make_dirs();
    kv_store *store = open_store(store_dir);
    kv_tail *tail = open_tail(store, 1);
    set_range(store, 1, 5);
    CHECK_OK(kv_checkpoint(store));
    set_range(store, 6, 7);
    for (int i = 0; i < 2; i++) {
        CHECK_CODE(kv_tail_next(tail, UINT32_MAX, &record), KV_LAGGED);
        CHECK_EQ(kv_tail_checkpoint_lsn(tail), 5);
    }
    CHECK_OK(kv_tail_close(tail));
    tail = open_tail(store, 6);
    CHECK_OK(kv_tail_next(tail, 0, &record));
    CHECK_EQ(record.lsn, 6);
    /* The store may be closed first: what was fetched is still there, and nothing more comes. */
    CHECK_OK(kv_close(store));
    CHECK_OK(kv_tail_next(tail, 0, &record));
    CHECK_EQ(record.lsn, 7);
    CHECK_CODE(kv_tail_next(tail, UINT32_MAX, &record), KV_INVALID);
    CHECK(strstr(kv_errmsg(), "closed") != NULL);
    CHECK_OK(kv_tail_close(tail));
    remove_dirs();
}

static void test_tail_arguments(void)
{
    wal_record record;
    kv_tail *tail = (kv_tail *)dir;
    int status;

    make_dirs();
    kv_store *store = open_store(store_dir);
    CHECK_CODE(kv_tail_open(NULL, 1, &tail), KV_INVALID);
    CHECK(tail == NULL);
    CHECK_CODE(kv_tail_open(store, 1, NULL), KV_INVALID);
    CHECK_CODE(kv_tail_open(store, 2, &tail), KV_INVALID);
    CHECK_CODE(kv_tail_next(NULL, 0, &record), KV_INVALID);
    CHECK_EQ(kv_tail_checkpoint_lsn(NULL), 0);
    CHECK_OK(kv_tail_close(NULL));
    tail = open_tail(store, 1);
    CHECK_CODE(kv_tail_next(tail, 0, NULL), KV_INVALID);
    CHECK(strcmp(kv_strerror(KV_LAGGED), kv_strerror(12345)) != 0);
    fflush(stdout);
    pid_t child = fork();
    CHECK_SYS(child >= 0);
    if (child == 0) {
        CHECK_CODE(kv_tail_next(tail, UINT32_MAX, &record), KV_FORKED);
        CHECK_CODE(kv_tail_close(tail), KV_FORKED);
        execlp("true", "true", (char *)NULL);
    }
    CHECK_SYS(waitpid(child, &status, 0) == child);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    CHECK_OK(kv_tail_close(tail));
    CHECK_OK(kv_close(store));
    remove_dirs();
}

static void *write_rounds(void *store)
{
    for (int round = 0; round < ROUNDS; round++) {
        kv_batch *batch = kv_batch_new();
        CHECK_OK(kv_batch_set(batch, "first", 5, &round, sizeof round));
        CHECK_OK(kv_batch_set(batch, "second", 6, &round, sizeof round));
        CHECK_OK(kv_write(store, batch));
        kv_batch_free(batch);
        CHECK_OK(kv_set(store, "alone", 5, &round, sizeof round));
    }
    return NULL;
}

/* Reads all that the writers write, though the feed of the second half is another one. */
static void *read_all(void *store)
{
    kv_tail *tail = open_tail(store, 1);
    int in_batch = 0;

    for (uint64_t lsn = 1; lsn <= TAILED; lsn++) {
        wal_record record;
        if (lsn == TAILED / 2) {
            CHECK_OK(kv_tail_close(tail));
            tail = open_tail(store, lsn);
        }
        CHECK_OK(kv_tail_next(tail, in_batch ? 0 : UINT32_MAX, &record));
        CHECK_EQ(record.lsn, lsn);
        in_batch = (record.op & WAL_OP_BATCH) != 0;
        CHECK_EQ(record.key_len, in_batch ? 5 : ((const char *)record.key)[0] == 's' ? 6 : 5);
    }
    CHECK_OK(kv_tail_close(tail));
    return NULL;
}

static void test_tail_beside_writers(void)
{
    pthread_t writers[WRITERS], readers[2];
    size_t i;

    make_dirs();
    kv_store *store = open_store(store_dir);
    for (i = 0; i < ARRAY_LEN(readers); i++)
        CHECK(pthread_create(&readers[i], NULL, read_all, store) == 0);
    for (i = 0; i < WRITERS; i++)
        CHECK(pthread_create(&writers[i], NULL, write_rounds, store) == 0);
    for (i = 0; i < WRITERS; i++)
        CHECK(pthread_join(writers[i], NULL) == 0);
    for (i = 0; i < ARRAY_LEN(readers); i++)
        CHECK(pthread_join(readers[i], NULL) == 0);
    CHECK_EQ(store_stats(store).last_lsn, TAILED);
    CHECK_OK(kv_checkpoint(store));
    CHECK_OK(kv_close(store));
    remove_dirs();
}

struct outliving {
    kv_tail *tail;
    /* A byte comes when the store is closed. Nothing that a thread checker takes for an order. */
    int closed[2];
};

/* Waits until the store is closed, and closes the feed when that is done. */
static void *outlive_the_store(void *argument)
{
    struct outliving *outliving = argument;
    wal_record record;
    char byte;

    CHECK_CODE(kv_tail_next(outliving->tail, UINT32_MAX, &record), KV_INVALID);
    CHECK(strstr(kv_errmsg(), "closed") != NULL);
    CHECK_SYS(read(outliving->closed[0], &byte, 1) == 1);
    CHECK_OK(kv_tail_close(outliving->tail));
    return NULL;
}

static void test_store_closed_beside_feeds(void)
{
    enum { FEEDS = 3 };
    struct outliving outliving[FEEDS];
    pthread_t threads[FEEDS];
    size_t i;

    make_dirs();
    kv_store *store = open_store(store_dir);
    set_range(store, 1, 5);
    for (i = 0; i < FEEDS; i++) {
        outliving[i].tail = open_tail(store, 6);
        CHECK_SYS(pipe(outliving[i].closed) == 0);
        CHECK(pthread_create(&threads[i], NULL, outlive_the_store, &outliving[i]) == 0);
    }
    /* Some are in the wait by now, some perhaps not yet. */
    usleep(20000);
    CHECK_OK(kv_close(store));
    for (i = 0; i < FEEDS; i++)
        CHECK_SYS(write(outliving[i].closed[1], "", 1) == 1);
    for (i = 0; i < FEEDS; i++) {
        CHECK(pthread_join(threads[i], NULL) == 0);
        CHECK_SYS(close(outliving[i].closed[0]) == 0 && close(outliving[i].closed[1]) == 0);
    }
    remove_dirs();
}

int main(void)
{
    static const struct test tests[] = {
        {"verify counts what there is", test_verify_counts},
        {"verify names what is bad, and changes nothing", test_verify_names_what_is_bad},
        {"verify checks its arguments", test_verify_arguments},
        {"a backup is a store that goes on", test_backup_goes_on},
        {"a backup goes into an empty place only", test_backup_arguments},
        {"a feed has every record", test_tail_delivers},
        {"a feed that lags is told where to begin again", test_tail_lags},
        {"a feed checks its arguments, and whose it is", test_tail_arguments},
        {"feeds beside writers", test_tail_beside_writers},
        {"a store is closed while its feeds wait, and they free it", test_store_closed_beside_feeds},
    };

    run_tests(tests, ARRAY_LEN(tests));
    printf("%zu/%zu tests passed\n", ARRAY_LEN(tests), ARRAY_LEN(tests));
    return 0;
}
