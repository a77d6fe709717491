/*
 * The C interface, function by function: what each call promises, each result code that a program can provoke, and
 * the arguments that programs get wrong.
 *
 * Not here: KV_FAILED takes a failing fsync and KV_INTERNAL a bug; no call answers KV_CONFLICT yet. What damage does to
 * a log is in wal_crash_test.c and wal_full_test.c, what many threads do in threads_test.c.
 *
 * Tests that change limits or the user run in a child process. Children free what they have, so that valgrind can be
 * asked to find no block left in any process.
 */
#include <grp.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>

#include "support.h"

enum { KIB = 1024, MIB = 1024 * 1024 };

#define HOUR_MS 3600000u

/* ---- Stores ---- */

static kv_store *open_with(const char *dir, const kv_options *options)
{
    kv_store *store;

    CHECK_OK(kv_open(dir, options, &store));
    CHECK(store != NULL);
    return store;
}

static kv_store *open_store(const char *dir)
{
    return open_with(dir, NULL);
}

static void close_store(kv_store *store)
{
    CHECK_OK(kv_close(store));
}

/* A store in a temporary directory of its own. */
struct fixture {
    char *dir;
    kv_store *store;
};

static struct fixture new_fixture_with(const kv_options *options)
{
    struct fixture f;

    f.dir = make_temp_dir();
    f.store = open_with(f.dir, options);
    return f;
}

static struct fixture new_fixture(void)
{
    return new_fixture_with(NULL);
}

static void reopen(struct fixture *f)
{
    close_store(f->store);
    f->store = open_store(f->dir);
}

static void drop_fixture(struct fixture *f)
{
    close_store(f->store);
    remove_temp_dir(f->dir);
}

static kv_options default_options(void)
{
    kv_options options;

    kv_options_init(&options);
    return options;
}

/* ---- Keys and values that are texts ---- */

static void set(kv_store *store, const char *key, const char *value)
{
    CHECK_OK(kv_set(store, key, strlen(key), value, strlen(value)));
}

static void set_ttl(kv_store *store, const char *key, const char *value, uint64_t ttl_ms)
{
    CHECK_OK(kv_set_ttl(store, key, strlen(key), value, strlen(value), ttl_ms));
}

static void del(kv_store *store, const char *key)
{
    CHECK_OK(kv_del(store, key, strlen(key)));
}

static void check_value(kv_store *store, const void *key, size_t key_len, const void *expected, size_t expected_len)
{
    void *value;
    size_t len;

    CHECK_OK(kv_get(store, key, key_len, &value, &len));
    CHECK(value != NULL);
    CHECK_BYTES(value, len, expected, expected_len);
    kv_free(value);
}

static void check_text(kv_store *store, const char *key, const char *expected)
{
    check_value(store, key, strlen(key), expected, strlen(expected));
}

static void check_missing(kv_store *store, const char *key)
{
    void *value = &value;
    size_t len = 1;

    CHECK_CODE(kv_get(store, key, strlen(key), &value, &len), KV_NOT_FOUND);
    CHECK(value == NULL);
    CHECK_EQ(len, 0);
}

/* Sets the keys "PREFIX/N", with "N" as their values. */
static void set_numbers(kv_store *store, const char *prefix, int first, int last)
{
    char key[64];
    char value[16];
    int i;

    for (i = first; i <= last; i++) {
        snprintf(key, sizeof key, "%s/%d", prefix, i);
        snprintf(value, sizeof value, "%d", i);
        set(store, key, value);
    }
}

static void check_numbers(kv_store *store, const char *prefix, int first, int last)
{
    char key[64];
    char value[16];
    int i;

    for (i = first; i <= last; i++) {
        snprintf(key, sizeof key, "%s/%d", prefix, i);
        snprintf(value, sizeof value, "%d", i);
        check_text(store, key, value);
    }
}

static size_t record_len(const char *key, const char *value)
{
    return 33 + strlen(key) + strlen(value);
}

/* ---- Scans, as one text: "key=value;key=value;" ---- */

static void append_text(struct bytes *text, const void *data, size_t len, const char *end)
{
    append_bytes(text, data, len);
    append_bytes(text, end, strlen(end));
}

static int collect(void *ctx, const void *key, size_t key_len, const void *value, size_t value_len)
{
    struct bytes *seen = ctx;

    append_text(seen, key, key_len, "=");
    append_text(seen, value, value_len, ";");
    return 0;
}

static void check_scan_of(kv_store *store, const void *prefix, size_t prefix_len, const void *expected, size_t len)
{
    struct bytes seen = {NULL, 0};

    CHECK_OK(kv_scan(store, prefix, prefix_len, collect, &seen));
    CHECK_BYTES(seen.data, seen.len, expected, len);
    free_bytes(&seen);
}

static void check_scan(kv_store *store, const char *prefix, const char *expected)
{
    check_scan_of(store, prefix, strlen(prefix), expected, strlen(expected));
}

/* ---- Failures ---- */

static void check_errmsg_has(const char *part)
{
    if (strstr(kv_errmsg(), part) == NULL)
        FAIL("kv_errmsg() does not name \"%s\": \"%s\"", part, kv_errmsg());
}

static void check_errmsg_has_number(long number)
{
    char digits[32];

    snprintf(digits, sizeof digits, "%ld", number);
    check_errmsg_has(digits);
}

static void check_open_fails(const char *dir, const kv_options *options, int code)
{
    kv_store *store = (kv_store *)&code;

    CHECK_CODE(kv_open(dir, options, &store), code);
    CHECK(store == NULL);
    check_errmsg_has("kv_open");
}

/*
 * A checksum of the names and contents of what a directory holds, which tells whether anything has changed. LOCK is
 * left out: taking the lock may write to it.
 */
static uint32_t dir_checksum(const char *dir)
{
    struct bytes all = {NULL, 0};
    struct dirent **entries;
    int count = scandir(dir, &entries, not_dot, alphasort);
    uint32_t checksum;
    int i;

    CHECK_SYS(count >= 0);
    for (i = 0; i < count; i++) {
        char *path = join_path(dir, entries[i]->d_name);
        if (strcmp(entries[i]->d_name, "LOCK") != 0) {
            append_text(&all, entries[i]->d_name, strlen(entries[i]->d_name), "\n");
            if (entries[i]->d_type == DT_REG)
                append_file(&all, path);
        }
        free(path);
        free(entries[i]);
    }
    free(entries);
    checksum = crc32_of(all.data, all.len);
    free_bytes(&all);
    return checksum;
}

static void check_open_changes_nothing(const char *dir, int code)
{
    uint32_t before = dir_checksum(dir);

    check_open_fails(dir, NULL, code);
    check_errmsg_has(dir);
    CHECK_EQ(dir_checksum(dir), before);
}

/* ---- Time ---- */

static void sleep_ms(long ms)
{
    struct timespec left = {ms / 1000, ms % 1000 * 1000000};

    while (nanosleep(&left, &left) != 0)
        CHECK_SYS(errno == EINTR);
}

/* Waits for what the library does in the background. */
static void wait_until(int (*done)(const struct fixture *), const struct fixture *f)
{
    int tries;

    for (tries = 0; tries < 1000; tries++) {
        if (done(f))
            return;
        sleep_ms(10);
    }
    FAIL("it did not happen within 10 seconds");
}

/* ---- Child processes ---- */

enum { CHILD_SECONDS = 120 };

/*
 * Runs body(ctx) in a child process, which must not be killed, nor hang, nor fail a check. Nothing waits to be printed
 * when it is forked, so exit() does not print it twice.
 */
static void run_in_child(void (*body)(void *), void *ctx)
{
    pid_t child = fork();
    int status;

    CHECK_SYS(child >= 0);
    if (child == 0) {
        alarm(CHILD_SECONDS);
        body(ctx);
        exit(EXIT_SUCCESS);
    }
    CHECK_SYS(waitpid(child, &status, 0) == child);
    if (WIFSIGNALED(status))
        FAIL("the child process was killed by signal %d", WTERMSIG(status));
    CHECK_EQ(WEXITSTATUS(status), EXIT_SUCCESS);
}

/*
 * Ends a child that has a copy of its parent's open handles. Not even kv_close() frees that memory, as a thread of the
 * parent may have been changing it. Another program in its place is gone without a word of valgrind about it.
 */
static void leave_to_parent(void)
{
    execlp("true", "true", (char *)NULL);
    FAIL("cannot execute true: %s", strerror(errno));
}

static void set_soft_limit(int resource, rlim_t value)
{
    struct rlimit limit;

    CHECK_SYS(getrlimit(resource, &limit) == 0);
    limit.rlim_cur = value < limit.rlim_max ? value : limit.rlim_max;
    CHECK_SYS(setrlimit(resource, &limit) == 0);
}

/* ---- Codes and words ---- */

static const int CODES[] = {
    KV_OK,         KV_NOT_FOUND,  KV_CONFLICT, KV_INVALID, KV_TOO_LARGE, KV_NO_MEMORY,
    KV_IO,         KV_NO_SPACE,   KV_LOCKED,   KV_CORRUPT, KV_CRC_MISMATCH,
    KV_INCOMPLETE, KV_FAILED,     KV_VERSION,  KV_FORKED,  KV_BUFFER,    KV_INTERNAL,
};

static void test_errmsg(void)
{
    void *value;
    size_t len;
    struct fixture f;

    /* This is the first test, so no call has failed yet. */
    CHECK_EQ(strlen(kv_errmsg()), 0);
    CHECK_CODE(kv_set(NULL, "k", 1, "v", 1), KV_INVALID);
    check_errmsg_has("kv_set");

    f = new_fixture();
    CHECK_CODE(kv_get(f.store, "k", 1, &value, &len), KV_NOT_FOUND);
    CHECK_OK(kv_set(f.store, "k", 1, "v", 1));
    check_errmsg_has("kv_set");

    CHECK_CODE(kv_del(NULL, "k", 1), KV_INVALID);
    check_errmsg_has("kv_del");
    drop_fixture(&f);
}

static void *check_no_errmsg_yet(void *ctx)
{
    (void)ctx;
    CHECK_EQ(strlen(kv_errmsg()), 0);
    CHECK_CODE(kv_sync(NULL), KV_INVALID);
    check_errmsg_has("kv_sync");
    return NULL;
}

static void test_errmsg_is_per_thread(void)
{
    pthread_t thread;

    CHECK_CODE(kv_checkpoint(NULL), KV_INVALID);
    CHECK_EQ(pthread_create(&thread, NULL, check_no_errmsg_yet, NULL), 0);
    CHECK_EQ(pthread_join(thread, NULL), 0);
    check_errmsg_has("kv_checkpoint");
}

static void test_strerror(void)
{
    static const int unknown[] = {3, 4, 100, -15, -16, -1000, INT_MAX, INT_MIN};
    size_t i;
    size_t j;

    for (i = 0; i < ARRAY_LEN(CODES); i++) {
        CHECK(strlen(kv_strerror(CODES[i])) > 0);
        CHECK(kv_strerror(CODES[i]) == kv_strerror(CODES[i]));
        for (j = 0; j < i; j++)
            CHECK(strcmp(kv_strerror(CODES[i]), kv_strerror(CODES[j])) != 0);
    }
    for (i = 0; i < ARRAY_LEN(unknown); i++) {
        CHECK(kv_strerror(unknown[i]) != NULL);
        for (j = 0; j < ARRAY_LEN(CODES); j++)
            CHECK(strcmp(kv_strerror(unknown[i]), kv_strerror(CODES[j])) != 0);
    }
}

static void test_numbers_of_the_interface(void)
{
    size_t i;

    /* Numbers are never reused, so they never change either. */
    CHECK_EQ(KV_OK, 0);
    CHECK_EQ(KV_NOT_FOUND, 1);
    CHECK_EQ(KV_CONFLICT, 2);
    for (i = 3; i < ARRAY_LEN(CODES); i++)
        CHECK_EQ(CODES[i], 2 - (int)i);
    CHECK_EQ(KV_MAX_KEY_LEN, 65535);
    CHECK_EQ(KV_MAX_VALUE_LEN, 1 << 30);
}

static void test_version(void)
{
    char macros[64];

    snprintf(macros, sizeof macros, "%d.%d.%d", KVWAL_VERSION_MAJOR, KVWAL_VERSION_MINOR, KVWAL_VERSION_PATCH);
    CHECK_EQ(strcmp(macros, KVWAL_VERSION_STRING), 0);
    CHECK_EQ(strcmp(kv_version(), KVWAL_VERSION_STRING), 0);
}

/* ---- Arguments that are NULL ---- */

static void test_null_is_fine_to_free(void)
{
    CHECK_OK(kv_close(NULL));
    CHECK_OK(wal_close(NULL));
    kv_free(NULL);
    kv_batch_free(NULL);
}

static int never_called(void *ctx, const void *key, size_t key_len, const void *value, size_t value_len)
{
    (void)ctx;
    (void)key;
    (void)key_len;
    (void)value;
    (void)value_len;
    FAIL("the callback was called");
}

static void test_null_handles(void)
{
    kv_stats stats = {.struct_size = sizeof stats};
    kv_recovery recovery = new_recovery();
    wal_record record = {.op = WAL_OP_PUT};
    kv_batch *batch = kv_batch_new();

    CHECK(batch != NULL);
    CHECK_CODE(kv_set(NULL, "k", 1, "v", 1), KV_INVALID);
    CHECK_CODE(kv_set_ttl(NULL, "k", 1, "v", 1, 1000), KV_INVALID);
    CHECK_CODE(kv_del(NULL, "k", 1), KV_INVALID);
    CHECK_CODE(kv_write(NULL, batch), KV_INVALID);
    CHECK_CODE(kv_scan(NULL, NULL, 0, never_called, NULL), KV_INVALID);
    CHECK_CODE(kv_sync(NULL), KV_INVALID);
    CHECK_CODE(kv_checkpoint(NULL), KV_INVALID);
    CHECK_CODE(kv_stats_get(NULL, &stats), KV_INVALID);
    CHECK_CODE(kv_recovery_report(NULL, &recovery), KV_INVALID);
    CHECK_CODE(kv_batch_set(NULL, "k", 1, "v", 1), KV_INVALID);
    CHECK_CODE(kv_batch_del(NULL, "k", 1), KV_INVALID);
    CHECK_CODE(kv_batch_clear(NULL), KV_INVALID);
    CHECK_CODE(wal_append(NULL, &record), KV_INVALID);
    kv_batch_free(batch);
}

static void test_null_arguments(void)
{
    struct fixture f = new_fixture();
    kv_batch *batch = kv_batch_new();
    uint8_t buf[8];
    size_t len;

    CHECK_CODE(kv_set(f.store, NULL, 1, "v", 1), KV_INVALID);
    CHECK_CODE(kv_set(f.store, "k", 1, NULL, 1), KV_INVALID);
    CHECK_CODE(kv_set_ttl(f.store, NULL, 1, "v", 1, 1000), KV_INVALID);
    CHECK_CODE(kv_set_ttl(f.store, "k", 1, NULL, 1, 1000), KV_INVALID);
    CHECK_CODE(kv_del(f.store, NULL, 1), KV_INVALID);
    CHECK_CODE(kv_get_into(f.store, "k", 1, NULL, 1, &len), KV_INVALID);
    CHECK_CODE(kv_get_into(f.store, "k", 1, buf, sizeof buf, NULL), KV_INVALID);
    CHECK_CODE(kv_write(f.store, NULL), KV_INVALID);
    CHECK_CODE(kv_scan(f.store, NULL, 1, never_called, NULL), KV_INVALID);
    CHECK_CODE(kv_scan(f.store, NULL, 0, NULL, NULL), KV_INVALID);
    CHECK_CODE(kv_stats_get(f.store, NULL), KV_INVALID);
    CHECK_CODE(kv_recovery_report(f.store, NULL), KV_INVALID);
    CHECK_CODE(kv_batch_set(batch, NULL, 1, "v", 1), KV_INVALID);
    CHECK_CODE(kv_batch_set(batch, "k", 1, NULL, 1), KV_INVALID);
    CHECK_CODE(kv_batch_del(batch, NULL, 1), KV_INVALID);
    CHECK_OK(kv_write(f.store, batch));

    CHECK_EQ(store_stats(f.store).last_lsn, 0);
    CHECK_EQ(store_stats(f.store).keys, 0);
    kv_batch_free(batch);
    drop_fixture(&f);
}

static void test_null_arguments_of_open(void)
{
    char *dir = make_temp_dir();
    char *missing = join_path(dir, "missing");

    check_open_fails(NULL, NULL, KV_INVALID);
    check_open_fails("", NULL, KV_INVALID);
    CHECK_CODE(kv_open(missing, NULL, NULL), KV_INVALID);
    CHECK(!path_exists(missing));
    free(missing);
    remove_temp_dir(dir);
}

/* ---- Outputs ---- */

static void check_get_empties(kv_store *store, const void *key, size_t key_len, int code)
{
    char buf[4] = "old";
    void *value = buf;
    size_t len = 1;

    CHECK_CODE(kv_get(store, key, key_len, &value, &len), code);
    CHECK(value == NULL);
    CHECK_EQ(len, 0);
    len = 1;
    CHECK_CODE(kv_get_into(store, key, key_len, buf, sizeof buf, &len), code);
    CHECK_EQ(len, 0);
    CHECK_BYTES(buf, sizeof buf, "old", 4);
}

static void test_outputs_are_emptied(void)
{
    struct fixture f = new_fixture();
    char *long_key = calloc(KV_MAX_KEY_LEN + 1, 1);
    void *value = &value;
    size_t len = 1;

    set(f.store, "k", "v");
    check_get_empties(f.store, "missing", 7, KV_NOT_FOUND);
    check_get_empties(f.store, NULL, 1, KV_INVALID);
    check_get_empties(f.store, long_key, KV_MAX_KEY_LEN + 1, KV_TOO_LARGE);
    check_get_empties(NULL, "k", 1, KV_INVALID);

    CHECK_CODE(kv_get(f.store, "k", 1, &value, NULL), KV_INVALID);
    CHECK(value == NULL);
    CHECK_CODE(kv_get(f.store, "k", 1, NULL, &len), KV_INVALID);
    CHECK_EQ(len, 0);
    free(long_key);
    drop_fixture(&f);
}

static void test_get_into(void)
{
    struct fixture f = new_fixture();
    char buf[9] = "________";
    size_t len = 99;

    set(f.store, "k", "value");
    CHECK_CODE(kv_get_into(f.store, "k", 1, NULL, 0, &len), KV_BUFFER);
    CHECK_EQ(len, 5);
    check_errmsg_has("kv_get_into");
    len = 99;
    CHECK_CODE(kv_get_into(f.store, "k", 1, buf, 4, &len), KV_BUFFER);
    CHECK_EQ(len, 5);
    CHECK_BYTES(buf, 8, "________", 8);

    CHECK_OK(kv_get_into(f.store, "k", 1, buf, 5, &len));
    CHECK_EQ(len, 5);
    CHECK_BYTES(buf, 8, "value___", 8);
    CHECK_OK(kv_get_into(f.store, "k", 1, buf, 8, &len));
    CHECK_EQ(len, 5);
    CHECK_BYTES(buf, 8, "value___", 8);

    set(f.store, "empty", "");
    len = 99;
    CHECK_OK(kv_get_into(f.store, "empty", 5, NULL, 0, &len));
    CHECK_EQ(len, 0);
    drop_fixture(&f);
}

/* ---- Keys and values ---- */

static void test_set_overwrite_delete(void)
{
    struct fixture f = new_fixture();

    check_missing(f.store, "k");
    set(f.store, "k", "first");
    check_text(f.store, "k", "first");
    set(f.store, "k", "the second, longer one");
    check_text(f.store, "k", "the second, longer one");
    del(f.store, "k");
    check_missing(f.store, "k");
    CHECK_CODE(kv_del(f.store, "k", 1), KV_NOT_FOUND);
    set(f.store, "k", "third");
    reopen(&f);
    check_text(f.store, "k", "third");
    drop_fixture(&f);
}

static void test_arguments_and_results_are_copies(void)
{
    struct fixture f = new_fixture();
    char key[] = "key";
    char text[] = "value";
    void *value;
    size_t len;

    CHECK_OK(kv_set(f.store, key, 3, text, 5));
    memset(key, 'x', 3);
    memset(text, 'x', 5);
    CHECK_OK(kv_get(f.store, "key", 3, &value, &len));
    CHECK_BYTES(value, len, "value", 5);
    memset(value, 'y', len);
    check_text(f.store, "key", "value");
    set(f.store, "key", "other");
    CHECK_BYTES(value, len, "yyyyy", 5);
    kv_free(value);
    drop_fixture(&f);
}

static void test_empty_keys_and_values(void)
{
    struct fixture f = new_fixture();

    CHECK_OK(kv_set(f.store, NULL, 0, "value of the empty key", 22));
    CHECK_OK(kv_set(f.store, "k", 1, NULL, 0));
    CHECK_OK(kv_set(f.store, "l", 1, "", 0));
    reopen(&f);
    check_value(f.store, NULL, 0, "value of the empty key", 22);
    check_value(f.store, "", 0, "value of the empty key", 22);
    check_text(f.store, "k", "");
    check_text(f.store, "l", "");
    check_scan(f.store, "", "=value of the empty key;k=;l=;");
    CHECK_OK(kv_del(f.store, "", 0));
    CHECK_CODE(kv_del(f.store, NULL, 0), KV_NOT_FOUND);
    drop_fixture(&f);
}

static void test_binary_keys(void)
{
    struct fixture f = new_fixture();
    uint8_t byte;
    int i;

    CHECK_OK(kv_set(f.store, "a\0b", 3, "1\0", 2));
    CHECK_OK(kv_set(f.store, "a\0c", 3, "2\0\0", 3));
    CHECK_OK(kv_set(f.store, "a\0", 2, "\0", 1));
    for (i = 0; i < 256; i++) {
        byte = (uint8_t)i;
        CHECK_OK(kv_set(f.store, &byte, 1, &byte, 1));
    }
    reopen(&f);
    check_value(f.store, "a\0b", 3, "1\0", 2);
    check_value(f.store, "a\0c", 3, "2\0\0", 3);
    check_value(f.store, "a\0", 2, "\0", 1);
    for (i = 0; i < 256; i++) {
        byte = (uint8_t)i;
        check_value(f.store, &byte, 1, &byte, 1);
    }
    CHECK_EQ(store_stats(f.store).keys, 259);
    drop_fixture(&f);
}

static void test_key_limit(void)
{
    struct fixture f = new_fixture();
    kv_batch *batch = kv_batch_new();
    char *key = must_alloc(KV_MAX_KEY_LEN + 1);
    size_t len = KV_MAX_KEY_LEN + 1;

    memset(key, 'k', len);
    CHECK_CODE(kv_set(f.store, key, len, "v", 1), KV_TOO_LARGE);
    check_errmsg_has("kv_set");
    CHECK_CODE(kv_set_ttl(f.store, key, len, "v", 1, HOUR_MS), KV_TOO_LARGE);
    CHECK_CODE(kv_del(f.store, key, len), KV_TOO_LARGE);
    CHECK_CODE(kv_batch_set(batch, key, len, "v", 1), KV_TOO_LARGE);
    CHECK_CODE(kv_batch_del(batch, key, len), KV_TOO_LARGE);
    CHECK_OK(kv_write(f.store, batch));
    CHECK_EQ(store_stats(f.store).last_lsn, 0);

    CHECK_OK(kv_set(f.store, key, KV_MAX_KEY_LEN, "v", 1));
    CHECK_OK(kv_scan(f.store, key, len, never_called, NULL));
    reopen(&f);
    check_value(f.store, key, KV_MAX_KEY_LEN, "v", 1);
    CHECK_OK(kv_del(f.store, key, KV_MAX_KEY_LEN));
    free(key);
    kv_batch_free(batch);
    drop_fixture(&f);
}

/* The value cannot be read, so that a call that looks at it before it looks at the length is killed. */
static void check_value_too_large(struct fixture *f, const void *value, size_t len)
{
    kv_batch *batch = kv_batch_new();

    CHECK_CODE(kv_set(f->store, "k", 1, value, len), KV_TOO_LARGE);
    check_errmsg_has("kv_set");
    CHECK_CODE(kv_set_ttl(f->store, "k", 1, value, len, HOUR_MS), KV_TOO_LARGE);
    CHECK_CODE(kv_batch_set(batch, "k", 1, value, len), KV_TOO_LARGE);
    CHECK_OK(kv_write(f->store, batch));
    check_missing(f->store, "k");
    CHECK_EQ(store_stats(f->store).last_lsn, 0);
    kv_batch_free(batch);
}

static void *map_unreadable(size_t len)
{
    void *map = mmap(NULL, len, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

    CHECK_SYS(map != MAP_FAILED);
    return map;
}

static void test_value_limit(void)
{
    struct fixture f = new_fixture();
    size_t len = (size_t)KV_MAX_VALUE_LEN + 1;
    void *unreadable = map_unreadable(len);

    check_value_too_large(&f, unreadable, len);
    check_value_too_large(&f, unreadable, SIZE_MAX);
    CHECK_SYS(munmap(unreadable, len) == 0);
    drop_fixture(&f);
}

/* Bytes that repeat nowhere near, so that a block in the wrong place shows. */
static uint8_t *pattern(size_t len)
{
    uint8_t *bytes = must_alloc(len);
    uint64_t state = 0x9E3779B97F4A7C15u;
    size_t at;

    for (at = 0; at < len; at++) {
        if (at % 8 == 0) {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
        }
        bytes[at] = (uint8_t)(state >> at % 8 * 8);
    }
    return bytes;
}

/* As check_value(), by memcmp(), which is quicker for large values under valgrind. */
static void check_large_value(kv_store *store, const char *key, const uint8_t *expected, size_t expected_len)
{
    void *value;
    size_t len;

    CHECK_OK(kv_get(store, key, strlen(key), &value, &len));
    CHECK_EQ(len, expected_len);
    CHECK(memcmp(value, expected, len) == 0);
    kv_free(value);
}

static void check_value_len(size_t len)
{
    struct fixture f = new_fixture();
    uint8_t *value = pattern(len);

    CHECK_OK(kv_set(f.store, "large", 5, value, len));
    check_large_value(f.store, "large", value, len);
    CHECK_EQ(store_stats(f.store).bytes, len);
    reopen(&f);
    check_large_value(f.store, "large", value, len);
    CHECK_OK(kv_checkpoint(f.store));
    reopen(&f);
    CHECK_EQ(recovery_report(f.store).records_replayed, 0);
    check_large_value(f.store, "large", value, len);
    free(value);
    drop_fixture(&f);
}

static void test_value_lengths(void)
{
    check_value_len(0);
    check_value_len(1);
    check_value_len(1 * MIB);
    check_value_len(64 * MIB);
}

/* ---- Options, and structs of other versions ---- */

static void test_options_init(void)
{
    kv_options options;

    memset(&options, 0xA5, sizeof options);
    kv_options_init(&options);
    CHECK_EQ(options.struct_size, sizeof options);
    CHECK_EQ(options.sync, KV_SYNC_ALWAYS);
    CHECK_EQ(options.recovery, KV_RECOVER_PREFIX);
    CHECK_EQ(options.sync_interval_ms, 0);
    CHECK_EQ(options.checkpoint_wal_bytes, 0);
    CHECK_EQ(options.preallocate, 0);
    CHECK_EQ(options.no_create, 0);
}

static void test_invalid_options(void)
{
    char *dir = make_temp_dir();
    char *missing = join_path(dir, "store");
    static const int bad_sync[] = {-1, KV_SYNC_NONE + 1, INT_MAX, INT_MIN};
    static const int bad_recovery[] = {-1, KV_RECOVER_STRICT + 1, INT_MAX, INT_MIN};
    kv_options options;
    size_t i;

    for (i = 0; i < ARRAY_LEN(bad_sync); i++) {
        options = default_options();
        options.sync = bad_sync[i];
        check_open_fails(missing, &options, KV_INVALID);
    }
    for (i = 0; i < ARRAY_LEN(bad_recovery); i++) {
        options = default_options();
        options.recovery = bad_recovery[i];
        check_open_fails(missing, &options, KV_INVALID);
    }
    CHECK(!path_exists(missing));
    free(missing);
    remove_temp_dir(dir);
}

/* The kv_options of a later version of the header. */
struct later_options {
    kv_options now;
    uint64_t later;
};

static void test_struct_size_of_options(void)
{
    struct fixture f = new_fixture();
    struct later_options options;

    close_store(f.store);
    memset(&options, 0, sizeof options);
    options.now.struct_size = 0;
    check_open_fails(f.dir, &options.now, KV_INVALID);
    options.now.struct_size = sizeof(size_t) - 1;
    check_open_fails(f.dir, &options.now, KV_INVALID);
    options.now.struct_size = SIZE_MAX;
    check_open_fails(f.dir, &options.now, KV_INVALID);

    /* From a header whose struct ended here. What would make this one invalid lies behind its end. */
    options.now.struct_size = offsetof(kv_options, recovery);
    options.now.recovery = -1;
    f.store = open_with(f.dir, &options.now);
    close_store(f.store);
    options.now.recovery = KV_RECOVER_PREFIX;

    options.now.struct_size = sizeof options;
    f.store = open_with(f.dir, &options.now);
    close_store(f.store);
    options.later = 1;
    check_open_fails(f.dir, &options.now, KV_VERSION);
    remove_temp_dir(f.dir);
}

static void test_struct_size_of_outputs(void)
{
    struct fixture f = new_fixture();
    kv_stats stats;
    kv_recovery recovery;

    set(f.store, "k", "v");
    memset(&stats, 0xA5, sizeof stats);
    memset(&recovery, 0xA5, sizeof recovery);
    stats.struct_size = 0;
    CHECK_CODE(kv_stats_get(f.store, &stats), KV_INVALID);
    recovery.struct_size = 0;
    CHECK_CODE(kv_recovery_report(f.store, &recovery), KV_INVALID);

    /* Structs of an earlier version: what lies behind their end is not ours to write. */
    stats.struct_size = offsetof(kv_stats, dels);
    CHECK_OK(kv_stats_get(f.store, &stats));
    CHECK_EQ(stats.struct_size, offsetof(kv_stats, dels));
    CHECK_EQ(stats.sets, 1);
    CHECK_EQ(stats.dels, 0xA5A5A5A5A5A5A5A5u);
    recovery.struct_size = offsetof(kv_recovery, last_lsn);
    CHECK_OK(kv_recovery_report(f.store, &recovery));
    CHECK_EQ(recovery.verdict, KV_TAIL_CLEAN);
    CHECK_EQ(recovery.checkpoint_lsn, 0);
    CHECK_EQ(recovery.last_lsn, 0xA5A5A5A5A5A5A5A5u);
    drop_fixture(&f);
}

static void test_struct_size_of_later_outputs(void)
{
    struct fixture f = new_fixture();
    struct {
        kv_stats now;
        uint64_t later;
    } stats;

    set(f.store, "k", "v");
    memset(&stats, 0, sizeof stats);
    stats.now.struct_size = sizeof stats;
    CHECK_OK(kv_stats_get(f.store, &stats.now));
    CHECK_EQ(stats.now.struct_size, sizeof stats);
    CHECK_EQ(stats.now.sets, 1);
    CHECK_EQ(stats.now.syncs, store_stats(f.store).syncs);
    CHECK_EQ(stats.later, 0);
    drop_fixture(&f);
}

static void test_no_create(void)
{
    char *dir = make_temp_dir();
    char *missing = join_path(dir, "store");
    kv_options options = default_options();

    options.no_create = 1;
    check_open_fails(missing, &options, KV_IO);
    check_errmsg_has(missing);
    CHECK(!path_exists(missing));
    /* A directory without a store is none either, and is no place to leave files. */
    check_open_fails(dir, &options, KV_IO);
    CHECK_SYS(rmdir(dir) == 0);
    CHECK_SYS(mkdir(dir, 0700) == 0);

    close_store(open_store(missing));
    close_store(open_with(missing, &options));
    free(missing);
    remove_temp_dir(dir);
}

/* ---- The lock ---- */

static void check_locked_by(const char *dir, pid_t owner)
{
    check_open_fails(dir, NULL, KV_LOCKED);
    check_errmsg_has(dir);
    check_errmsg_has_number(owner);
}

static void check_locked_by_parent(void *ctx)
{
    struct fixture *f = ctx;

    check_locked_by(f->dir, getppid());
    leave_to_parent();
}

static void open_and_close(void *ctx)
{
    struct fixture *f = ctx;

    close_store(open_store(f->dir));
    free(f->dir);
}

static void test_second_opener(void)
{
    struct fixture f = new_fixture();
    char *lock_path = join_path(f.dir, "LOCK");
    struct bytes lock = read_file(lock_path);

    free(lock_path);
    append_bytes(&lock, "", 1);
    CHECK_EQ(strtol((char *)lock.data, NULL, 10), getpid());
    free_bytes(&lock);

    check_locked_by(f.dir, getpid());
    run_in_child(check_locked_by_parent, &f);
    check_locked_by(f.dir, getpid());
    set(f.store, "k", "v");

    close_store(f.store);
    run_in_child(open_and_close, &f);
    f.store = open_store(f.dir);
    check_text(f.store, "k", "v");
    drop_fixture(&f);
}

/* ---- After a fork ---- */

struct forked {
    struct fixture store;
    char *log_dir;
    wal_writer *log;
};

static void check_forked_store(kv_store *store)
{
    kv_stats stats = {.struct_size = sizeof stats};
    kv_recovery recovery = new_recovery();
    kv_batch *batch = kv_batch_new();

    CHECK_OK(kv_batch_set(batch, "k", 1, "child", 5));
    CHECK_CODE(kv_set(store, "k", 1, "child", 5), KV_FORKED);
    check_errmsg_has("kv_set");
    CHECK_CODE(kv_set_ttl(store, "k", 1, "child", 5, HOUR_MS), KV_FORKED);
    check_get_empties(store, "k", 1, KV_FORKED);
    CHECK_CODE(kv_del(store, "k", 1), KV_FORKED);
    CHECK_CODE(kv_write(store, batch), KV_FORKED);
    CHECK_CODE(kv_scan(store, NULL, 0, never_called, NULL), KV_FORKED);
    CHECK_CODE(kv_sync(store), KV_FORKED);
    CHECK_CODE(kv_checkpoint(store), KV_FORKED);
    CHECK_CODE(kv_stats_get(store, &stats), KV_FORKED);
    CHECK_CODE(kv_recovery_report(store, &recovery), KV_FORKED);
    CHECK_CODE(kv_close(store), KV_FORKED);
    kv_batch_free(batch);
}

static void use_handles_of_parent(void *ctx)
{
    struct forked *forked = ctx;
    wal_record record = {.op = WAL_OP_PUT, .key = "k", .key_len = 1};

    check_forked_store(forked->store.store);
    CHECK_CODE(wal_append(forked->log, &record), KV_FORKED);
    CHECK_CODE(wal_close(forked->log), KV_FORKED);
    leave_to_parent();
}

static void append_record(wal_writer *log, const char *key, const char *value, uint64_t lsn)
{
    wal_record record = {.op = WAL_OP_PUT};

    record.key = key;
    record.key_len = strlen(key);
    record.value = value;
    record.value_len = strlen(value);
    CHECK_OK(wal_append(log, &record));
    CHECK_EQ(record.lsn, lsn);
    CHECK(record.durable_lsn < lsn);
}

static wal_writer *open_log(const char *dir)
{
    char *path = join_path(dir, "a.log");
    wal_writer *log;

    CHECK_OK(wal_open(path, &log));
    CHECK(log != NULL);
    free(path);
    return log;
}

static void check_fork(int sync)
{
    kv_options options = default_options();
    struct forked forked;
    uint32_t store_before;
    uint32_t log_before;

    options.sync = sync;
    /* What the parent's own thread writes in the background is not to be taken for the child's. */
    options.preallocate = UINT64_MAX;
    forked.store = new_fixture_with(&options);
    forked.log_dir = make_temp_dir();
    forked.log = open_log(forked.log_dir);
    set(forked.store.store, "k", "parent");
    append_record(forked.log, "k", "parent", 1);
    CHECK_OK(kv_sync(forked.store.store));
    store_before = dir_checksum(forked.store.dir);
    log_before = dir_checksum(forked.log_dir);

    run_in_child(use_handles_of_parent, &forked);
    CHECK_EQ(dir_checksum(forked.store.dir), store_before);
    CHECK_EQ(dir_checksum(forked.log_dir), log_before);
    /* The child's kv_close() has not given the lock away. */
    check_locked_by(forked.store.dir, getpid());
    check_text(forked.store.store, "k", "parent");
    set(forked.store.store, "l", "parent");
    append_record(forked.log, "l", "parent", 2);
    CHECK_OK(wal_close(forked.log));
    remove_temp_dir(forked.log_dir);
    reopen(&forked.store);
    check_text(forked.store.store, "l", "parent");
    drop_fixture(&forked.store);
}

static void test_forked_child(void)
{
    check_fork(KV_SYNC_ALWAYS);
    check_fork(KV_SYNC_INTERVAL);
}

/* ---- Directories that are none, and those that may not be used ---- */

static void test_dir_is_a_file(void)
{
    char *dir = make_temp_dir();
    char *file = join_path(dir, "file");
    char *inside = join_path(file, "store");

    write_file(file, "text", 4);
    check_open_fails(file, NULL, KV_IO);
    check_errmsg_has(file);
    check_open_fails(inside, NULL, KV_IO);
    check_errmsg_has(inside);
    CHECK_EQ(file_size(file), 4);
    free(inside);
    free(file);
    remove_temp_dir(dir);
}

static void test_parent_is_missing(void)
{
    char *dir = make_temp_dir();
    char *parent = join_path(dir, "parent");
    char *store = join_path(parent, "store");

    check_open_fails(store, NULL, KV_IO);
    check_errmsg_has(store);
    CHECK(!path_exists(parent));
    free(store);
    free(parent);
    remove_temp_dir(dir);
}

/* Permissions do not bind root, so root becomes somebody else first. Returns whether the process is bound by them. */
static int become_unprivileged(void)
{
    enum { NOBODY = 65534 };

    if (geteuid() != 0)
        return 1;
    return setgroups(0, NULL) == 0 && setgid(NOBODY) == 0 && setuid(NOBODY) == 0;
}

static void open_without_permission(void *ctx)
{
    char *dir = ctx;
    char *missing = join_path(dir, "missing");

    if (become_unprivileged()) {
        check_open_fails(dir, NULL, KV_IO);
        check_errmsg_has(dir);
        check_open_fails(missing, NULL, KV_IO);
        check_errmsg_has(missing);
    } else {
        printf("(SKIPPED: root cannot become nobody here) ");
        fflush(stdout);
    }
    free(missing);
    free(dir);
}

static void set_permissions(const char *dir, mode_t of_dir, mode_t of_files)
{
    static const char *const names[] = {"LOCK", "wal.log"};
    size_t i;

    for (i = 0; i < ARRAY_LEN(names); i++) {
        char *path = join_path(dir, names[i]);
        CHECK_SYS(chmod(path, of_files) == 0);
        free(path);
    }
    CHECK_SYS(chmod(dir, of_dir) == 0);
}

static void test_no_permission(void)
{
    struct fixture f = new_fixture();
    uint32_t before;

    set(f.store, "k", "v");
    close_store(f.store);
    before = dir_checksum(f.dir);
    set_permissions(f.dir, 0555, 0444);
    run_in_child(open_without_permission, f.dir);
    CHECK_EQ(dir_checksum(f.dir), before);
    set_permissions(f.dir, 0755, 0644);
    f.store = open_store(f.dir);
    check_text(f.store, "k", "v");
    drop_fixture(&f);
}

/* ---- Files that are not ours, too new, missing or doubled ---- */

/* Some KB of text. Its first bytes decide what a careless reader takes it for. */
static struct bytes foreign_text(const char *beginning)
{
    struct bytes text = {NULL, 0};
    int line;

    append_bytes(&text, beginning, strlen(beginning));
    for (line = 0; line < 100; line++)
        append_text(&text, "A line of a file that somebody else has written.", 48, "\n");
    return text;
}

static void put_foreign_file(const char *dir, const char *name, const char *beginning)
{
    char *path = join_path(dir, name);
    struct bytes text = foreign_text(beginning);

    write_file(path, text.data, text.len);
    free_bytes(&text);
    free(path);
}

static const char *const FOREIGN_BEGINNINGS[] = {
    "Everything that you need to know:\n",
    /* Where a record has its length, this has a number that a length could be. */
    "This is not a log.\n",
    "#include <stdio.h>\n",
};

static void test_foreign_log(void)
{
    size_t i;

    for (i = 0; i < ARRAY_LEN(FOREIGN_BEGINNINGS); i++) {
        char *dir = make_temp_dir();
        put_foreign_file(dir, "wal.log", FOREIGN_BEGINNINGS[i]);
        check_open_changes_nothing(dir, KV_CORRUPT);
        check_errmsg_has("wal.log");
        remove_temp_dir(dir);
    }
}

/* A store with records 1 to 3 in its checkpoint and 4 to 6 in its log, closed. */
static char *checkpointed_store(void)
{
    struct fixture f = new_fixture();

    set_numbers(f.store, "n", 1, 3);
    CHECK_OK(kv_checkpoint(f.store));
    set_numbers(f.store, "n", 4, 6);
    close_store(f.store);
    return f.dir;
}

static void check_checkpointed_store(const char *dir)
{
    kv_store *store = open_store(dir);
    kv_recovery report = recovery_report(store);

    CHECK_EQ(report.checkpoint_lsn, 3);
    CHECK_EQ(report.checkpoint_keys, 3);
    CHECK_EQ(report.records_replayed, 3);
    CHECK_EQ(report.last_lsn, 6);
    check_numbers(store, "n", 1, 6);
    close_store(store);
}

static void test_foreign_checkpoint(void)
{
    size_t i;

    for (i = 0; i < ARRAY_LEN(FOREIGN_BEGINNINGS); i++) {
        char *dir = checkpointed_store();
        put_foreign_file(dir, "checkpoint.dat", FOREIGN_BEGINNINGS[i]);
        check_open_changes_nothing(dir, KV_CORRUPT);
        check_errmsg_has("checkpoint.dat");
        remove_temp_dir(dir);
    }
}

static void remove_file(const char *dir, const char *name)
{
    char *path = join_path(dir, name);

    CHECK_SYS(unlink(path) == 0);
    free(path);
}

static struct bytes read_file_in(const char *dir, const char *name)
{
    char *path = join_path(dir, name);
    struct bytes contents = read_file(path);

    free(path);
    return contents;
}

static void write_file_in(const char *dir, const char *name, const struct bytes *contents)
{
    char *path = join_path(dir, name);

    write_file(path, contents->data, contents->len);
    free(path);
}

static int has_file(const char *dir, const char *name)
{
    char *path = join_path(dir, name);
    int found = path_exists(path);

    free(path);
    return found;
}

static size_t file_size_in(const char *dir, const char *name)
{
    char *path = join_path(dir, name);
    size_t size = file_size(path);

    free(path);
    return size;
}

static void test_log_is_a_directory(void)
{
    char *dir = make_temp_dir();
    char *log = join_path(dir, "wal.log");
    uint32_t before;
    kv_store *store;
    int code;

    CHECK_SYS(mkdir(log, 0755) == 0);
    before = dir_checksum(dir);
    code = kv_open(dir, NULL, &store);
    CHECK(code == KV_IO || code == KV_CORRUPT);
    CHECK(store == NULL);
    check_errmsg_has("wal.log");
    CHECK_EQ(dir_checksum(dir), before);
    free(log);
    remove_temp_dir(dir);
}

static void put_be32(uint8_t *at, uint32_t number)
{
    at[0] = (uint8_t)(number >> 24);
    at[1] = (uint8_t)(number >> 16);
    at[2] = (uint8_t)(number >> 8);
    at[3] = (uint8_t)number;
}

static void test_newer_checkpoint(void)
{
    enum { VERSION_AT = 8, HEADER_CRC_AT = 60 };
    char *dir = checkpointed_store();
    struct bytes checkpoint = read_file_in(dir, "checkpoint.dat");
    struct bytes newer = read_file_in(dir, "checkpoint.dat");

    CHECK(newer.len > HEADER_CRC_AT + 4);
    put_be32(newer.data + VERSION_AT, get_be32(newer.data + VERSION_AT) + 1);
    put_be32(newer.data + HEADER_CRC_AT, crc32_of(newer.data, HEADER_CRC_AT));
    write_file_in(dir, "checkpoint.dat", &newer);
    check_open_changes_nothing(dir, KV_VERSION);
    check_errmsg_has("checkpoint.dat");

    write_file_in(dir, "checkpoint.dat", &checkpoint);
    check_checkpointed_store(dir);
    free_bytes(&newer);
    free_bytes(&checkpoint);
    remove_temp_dir(dir);
}

/* A record whose checksum is right, with an op that this version does not know. */
static struct bytes newer_record(uint64_t lsn)
{
    enum { OP_AT = 24, NEWER_OP = 9 };
    wal_record record = {.lsn = lsn, .key = "k", .key_len = 1, .op = WAL_OP_PUT};
    struct bytes encoded = {must_alloc(64), 0};

    CHECK_OK(wal_record_encode(&record, encoded.data, 64, &encoded.len));
    encoded.data[OP_AT] = NEWER_OP;
    put_be32(encoded.data, crc32_of(encoded.data + 4, encoded.len - 4));
    return encoded;
}

static void test_newer_log(void)
{
    char *dir = make_temp_dir();
    struct bytes log = newer_record(1);

    write_file_in(dir, "wal.log", &log);
    check_open_changes_nothing(dir, KV_VERSION);
    check_errmsg_has("wal.log");
    free_bytes(&log);
    remove_temp_dir(dir);
}

static void test_checkpoint_without_log(void)
{
    char *dir = checkpointed_store();

    check_checkpointed_store(dir);
    remove_file(dir, "wal.log");
    check_open_changes_nothing(dir, KV_CORRUPT);
    remove_temp_dir(dir);
}

static void test_log_without_checkpoint(void)
{
    char *dir = checkpointed_store();

    remove_file(dir, "checkpoint.dat");
    check_open_changes_nothing(dir, KV_CORRUPT);
    remove_temp_dir(dir);
}

static void test_checkpoint_too_old_for_log(void)
{
    char *dir = checkpointed_store();
    struct bytes old_checkpoint = read_file_in(dir, "checkpoint.dat");
    kv_store *store = open_store(dir);

    CHECK_OK(kv_checkpoint(store));
    set(store, "later", "7");
    close_store(store);
    write_file_in(dir, "checkpoint.dat", &old_checkpoint);
    check_open_changes_nothing(dir, KV_CORRUPT);
    free_bytes(&old_checkpoint);
    remove_temp_dir(dir);
}

/* ---- Expiry ---- */

enum { SHORT_TTL_MS = 50, UNTIL_EXPIRED_MS = 80 };

static void test_ttl(void)
{
    struct fixture f = new_fixture();
    char buf[8];
    size_t len;

    CHECK_CODE(kv_set_ttl(f.store, "k", 1, "v", 1, 0), KV_INVALID);
    check_missing(f.store, "k");
    set_ttl(f.store, "long", "stays", HOUR_MS);
    set_ttl(f.store, "for ever", "stays", UINT64_MAX);
    set_ttl(f.store, "short", "goes", SHORT_TTL_MS);
    sleep_ms(UNTIL_EXPIRED_MS);

    check_missing(f.store, "short");
    CHECK_CODE(kv_get_into(f.store, "short", 5, buf, sizeof buf, &len), KV_NOT_FOUND);
    CHECK_CODE(kv_del(f.store, "short", 5), KV_NOT_FOUND);
    check_scan(f.store, "", "for ever=stays;long=stays;");
    reopen(&f);
    check_scan(f.store, "", "for ever=stays;long=stays;");
    CHECK_OK(kv_checkpoint(f.store));
    reopen(&f);
    check_scan(f.store, "", "for ever=stays;long=stays;");
    drop_fixture(&f);
}

static void test_ttl_while_closed(void)
{
    struct fixture f = new_fixture();

    set(f.store, "plain", "stays");
    set_ttl(f.store, "in the checkpoint", "goes", SHORT_TTL_MS);
    CHECK_OK(kv_checkpoint(f.store));
    set_ttl(f.store, "in the log", "goes", SHORT_TTL_MS);
    close_store(f.store);
    sleep_ms(UNTIL_EXPIRED_MS);

    f.store = open_store(f.dir);
    check_missing(f.store, "in the checkpoint");
    check_missing(f.store, "in the log");
    check_scan(f.store, "", "plain=stays;");
    drop_fixture(&f);
}

static void test_ttl_replaced(void)
{
    struct fixture f = new_fixture();

    set_ttl(f.store, "set again", "old", SHORT_TTL_MS);
    set(f.store, "set again", "new");
    set_ttl(f.store, "longer", "old", SHORT_TTL_MS);
    set_ttl(f.store, "longer", "new", HOUR_MS);
    set(f.store, "shorter", "old");
    set_ttl(f.store, "shorter", "new", SHORT_TTL_MS);
    sleep_ms(UNTIL_EXPIRED_MS);

    check_scan(f.store, "", "longer=new;set again=new;");
    reopen(&f);
    check_scan(f.store, "", "longer=new;set again=new;");
    set(f.store, "shorter", "back");
    check_text(f.store, "shorter", "back");
    drop_fixture(&f);
}

/* ---- Batches ---- */

static void batch_set(kv_batch *batch, const char *key, const char *value)
{
    CHECK_OK(kv_batch_set(batch, key, strlen(key), value, strlen(value)));
}

static void batch_del(kv_batch *batch, const char *key)
{
    CHECK_OK(kv_batch_del(batch, key, strlen(key)));
}

static kv_batch *new_batch(void)
{
    kv_batch *batch = kv_batch_new();

    CHECK(batch != NULL);
    return batch;
}

static void test_batch(void)
{
    struct fixture f = new_fixture();
    kv_batch *batch = new_batch();
    char key[] = "copied";

    set(f.store, "old", "goes");
    batch_set(batch, key, key);
    memset(key, 'x', strlen(key));
    batch_set(batch, "new", "1");
    batch_del(batch, "old");
    batch_del(batch, "missing");
    CHECK_OK(kv_batch_set(batch, NULL, 0, NULL, 0));
    check_scan(f.store, "", "old=goes;");
    CHECK_OK(kv_write(f.store, batch));
    check_scan(f.store, "", "=;copied=copied;new=1;");
    kv_batch_free(batch);
    reopen(&f);
    check_scan(f.store, "", "=;copied=copied;new=1;");
    drop_fixture(&f);
}

static void test_batch_order(void)
{
    struct fixture f = new_fixture();
    kv_batch *batch = new_batch();

    batch_set(batch, "set del set", "first");
    batch_del(batch, "set del set");
    batch_set(batch, "set del set", "last");
    batch_set(batch, "set del", "goes");
    batch_del(batch, "set del");
    batch_set(batch, "set set", "first");
    batch_set(batch, "set set", "last");
    CHECK_OK(kv_write(f.store, batch));
    check_scan(f.store, "", "set del set=last;set set=last;");
    CHECK_EQ(store_stats(f.store).keys, 2);
    CHECK_EQ(store_stats(f.store).bytes, 8);
    kv_batch_free(batch);
    reopen(&f);
    check_scan(f.store, "", "set del set=last;set set=last;");
    drop_fixture(&f);
}

static void test_batch_written_again(void)
{
    struct fixture f = new_fixture();
    kv_batch *batch = new_batch();

    CHECK_OK(kv_write(f.store, batch));
    CHECK_EQ(store_stats(f.store).last_lsn, 0);
    batch_set(batch, "k", "batch");
    batch_set(batch, "l", "batch");
    CHECK_OK(kv_write(f.store, batch));
    set(f.store, "k", "other");
    CHECK_OK(kv_write(f.store, batch));
    check_scan(f.store, "", "k=batch;l=batch;");
    CHECK_EQ(store_stats(f.store).last_lsn, 5);

    CHECK_OK(kv_batch_clear(batch));
    CHECK_OK(kv_write(f.store, batch));
    CHECK_EQ(store_stats(f.store).last_lsn, 5);
    batch_del(batch, "l");
    CHECK_OK(kv_write(f.store, batch));
    check_scan(f.store, "", "k=batch;");
    kv_batch_free(batch);
    reopen(&f);
    check_scan(f.store, "", "k=batch;");
    drop_fixture(&f);
}

static int collect_ops(void *ctx, const wal_record *record)
{
    append_bytes(ctx, &record->op, 1);
    return 0;
}

static struct bytes ops_of_log(const char *dir)
{
    char *path = join_path(dir, "wal.log");
    struct bytes ops = {NULL, 0};

    CHECK_OK(wal_replay(path, 0, collect_ops, &ops, NULL));
    free(path);
    return ops;
}

static void test_batch_on_disk(void)
{
    static const uint8_t expected[] = {WAL_OP_PUT, WAL_OP_PUT | WAL_OP_BATCH, WAL_OP_DELETE | WAL_OP_BATCH, WAL_OP_PUT,
                                       WAL_OP_DELETE};
    struct fixture f = new_fixture();
    kv_batch *batch = new_batch();
    struct bytes ops;

    set(f.store, "alone", "1");
    batch_set(batch, "first", "2");
    batch_del(batch, "alone");
    batch_set(batch, "last", "4");
    CHECK_OK(kv_write(f.store, batch));
    del(f.store, "last");
    kv_batch_free(batch);
    close_store(f.store);

    ops = ops_of_log(f.dir);
    CHECK_BYTES(ops.data, ops.len, expected, sizeof expected);
    free_bytes(&ops);
    remove_temp_dir(f.dir);
}

/* ---- Scans ---- */

static void test_scan_order_and_prefix(void)
{
    static const char all[] = "a=1;a\0=2;aa=3;ab=4;b=5;\x7f=6;\x80=7;\xff=8;\xff\xff=9;";
    struct fixture f = new_fixture();

    check_scan(f.store, "", "");
    set(f.store, "b", "5");
    set(f.store, "a", "1");
    CHECK_OK(kv_set(f.store, "a\0", 2, "2", 1));
    set(f.store, "ab", "4");
    set(f.store, "aa", "3");
    set(f.store, "\x7f", "6");
    set(f.store, "\x80", "7");
    set(f.store, "\xff", "8");
    set(f.store, "\xff\xff", "9");

    check_scan_of(f.store, NULL, 0, all, sizeof all - 1);
    check_scan_of(f.store, "a", 1, all, sizeof "a=1;a0=2;aa=3;ab=4;" - 1);
    check_scan_of(f.store, "a\0", 2, "a\0=2;", 5);
    check_scan(f.store, "ab", "ab=4;");
    check_scan(f.store, "\xff", "\xff=8;\xff\xff=9;");
    check_scan(f.store, "abc", "");
    check_scan(f.store, "c", "");
    drop_fixture(&f);
}

static int count_to_three(void *ctx, const void *key, size_t key_len, const void *value, size_t value_len)
{
    int *calls = ctx;

    (void)key;
    (void)key_len;
    (void)value;
    (void)value_len;
    return ++*calls == 3 ? -7 : 0;
}

static void test_scan_stops_early(void)
{
    struct fixture f = new_fixture();
    int calls = 0;

    set_numbers(f.store, "n", 1, 9);
    CHECK_OK(kv_scan(f.store, NULL, 0, count_to_three, &calls));
    CHECK_EQ(calls, 3);
    drop_fixture(&f);
}

struct busy_scan {
    kv_store *store;
    struct bytes seen;
};

static void change_everything(kv_store *store)
{
    kv_batch *batch = new_batch();

    set(store, "n/0", "before all");
    set(store, "n/9", "behind all");
    set(store, "n/1", "changed");
    set(store, "n/3", "changed");
    (void)kv_del(store, "n/4", 3);
    batch_set(batch, "n/5", "batch");
    CHECK_OK(kv_write(store, batch));
    kv_batch_free(batch);
    CHECK_OK(kv_checkpoint(store));
    CHECK_OK(kv_sync(store));
}

static const char AFTER_THE_CHANGE[] = "n/0=before all;n/1=changed;n/2=2;n/3=changed;n/5=batch;n/9=behind all;";

static int change_everything_during_scan(void *ctx, const void *key, size_t key_len, const void *value,
                                         size_t value_len)
{
    struct busy_scan *scan = ctx;

    change_everything(scan->store);
    check_text(scan->store, "n/3", "changed");
    check_missing(scan->store, "n/4");
    check_scan(scan->store, "n/", AFTER_THE_CHANGE);
    CHECK_EQ(store_stats(scan->store).keys, 6);
    CHECK_EQ(recovery_report(scan->store).last_lsn, 0);
    /* Only now, so that the key and value that the scan gave us are seen to have stayed as they were. */
    return collect(&scan->seen, key, key_len, value, value_len);
}

static void test_scan_callback_uses_the_store(void)
{
    struct fixture f = new_fixture();
    struct busy_scan scan = {f.store, {NULL, 0}};

    set_numbers(f.store, "n", 1, 5);
    CHECK_OK(kv_scan(f.store, "n/", 2, change_everything_during_scan, &scan));
    CHECK_BYTES(scan.seen.data, scan.seen.len, "n/1=1;n/2=2;n/3=3;n/4=4;n/5=5;", 30);
    free_bytes(&scan.seen);
    reopen(&f);
    check_scan(f.store, "", AFTER_THE_CHANGE);
    drop_fixture(&f);
}

/* ---- Ways of syncing ---- */

static void check_kept_by_close(int sync)
{
    kv_options options = default_options();
    struct fixture f;
    kv_stats stats;

    options.sync = sync;
    f = new_fixture_with(&options);
    set_numbers(f.store, "n", 1, 20);
    CHECK_OK(kv_sync(f.store));
    stats = store_stats(f.store);
    CHECK_EQ(stats.last_lsn, 20);
    CHECK_EQ(stats.durable_lsn, 20);

    set_numbers(f.store, "n", 21, 40);
    reopen(&f);
    CHECK_EQ(recovery_report(f.store).verdict, KV_TAIL_CLEAN);
    CHECK_EQ(recovery_report(f.store).last_lsn, 40);
    check_numbers(f.store, "n", 1, 40);
    drop_fixture(&f);
}

static void test_every_way_of_syncing(void)
{
    check_kept_by_close(KV_SYNC_ALWAYS);
    check_kept_by_close(KV_SYNC_INTERVAL);
    check_kept_by_close(KV_SYNC_NONE);
}

static int all_is_durable(const struct fixture *f)
{
    kv_stats stats = store_stats(f->store);

    return stats.durable_lsn == stats.last_lsn;
}

static void test_interval_syncs_by_itself(void)
{
    kv_options options = default_options();
    struct fixture f;

    options.sync = KV_SYNC_INTERVAL;
    options.sync_interval_ms = 5;
    f = new_fixture_with(&options);
    set_numbers(f.store, "n", 1, 20);
    wait_until(all_is_durable, &f);
    drop_fixture(&f);
}

static void test_none_syncs_only_when_told(void)
{
    kv_options options = default_options();
    struct fixture f;
    uint64_t syncs;

    options.sync = KV_SYNC_NONE;
    f = new_fixture_with(&options);
    syncs = store_stats(f.store).syncs;
    set_numbers(f.store, "n", 1, 20);
    CHECK_EQ(store_stats(f.store).syncs, syncs);
    CHECK_EQ(store_stats(f.store).durable_lsn, 0);
    CHECK_OK(kv_sync(f.store));
    CHECK_EQ(store_stats(f.store).syncs, syncs + 1);
    CHECK_EQ(store_stats(f.store).durable_lsn, 20);
    drop_fixture(&f);
}

/* ---- Counters and reports ---- */

static void test_stats_of_a_fresh_store(void)
{
    struct fixture f = new_fixture();
    kv_stats stats = store_stats(f.store);

    CHECK_EQ(stats.gets, 0);
    CHECK_EQ(stats.sets, 0);
    CHECK_EQ(stats.dels, 0);
    CHECK_EQ(stats.errors, 0);
    CHECK_EQ(stats.keys, 0);
    CHECK_EQ(stats.bytes, 0);
    CHECK_EQ(stats.last_lsn, 0);
    CHECK_EQ(stats.durable_lsn, 0);
    CHECK_EQ(stats.checkpoint_lsn, 0);
    CHECK_EQ(stats.wal_bytes, 0);
    CHECK_EQ(stats.checkpoints, 0);
    drop_fixture(&f);
}

static void check_contents(kv_store *store, uint64_t keys, uint64_t bytes)
{
    kv_stats stats = store_stats(store);

    CHECK_EQ(stats.keys, keys);
    CHECK_EQ(stats.bytes, bytes);
}

static void test_stats_of_writes(void)
{
    struct fixture f = new_fixture();
    kv_batch *batch = new_batch();
    kv_stats before = store_stats(f.store);
    kv_stats stats;

    set(f.store, "a", "one");
    set(f.store, "b", "two");
    check_contents(f.store, 2, 6);
    set(f.store, "a", "three!");
    check_contents(f.store, 2, 9);
    set_ttl(f.store, "t", "1234", HOUR_MS);
    del(f.store, "b");
    CHECK_CODE(kv_del(f.store, "b", 1), KV_NOT_FOUND);
    check_contents(f.store, 2, 10);
    batch_set(batch, "c", "3");
    batch_set(batch, "d", "44");
    batch_del(batch, "a");
    CHECK_OK(kv_write(f.store, batch));
    check_contents(f.store, 3, 7);

    stats = store_stats(f.store);
    CHECK_EQ(stats.sets, 6);
    CHECK_EQ(stats.dels, 2);
    CHECK_EQ(stats.gets, 0);
    CHECK_EQ(stats.errors, 0);
    CHECK_EQ(stats.last_lsn, 8);
    CHECK_EQ(stats.durable_lsn, 8);
    /* A caller alone costs one write and one sync a call; those that change nothing cost none. */
    CHECK_EQ(stats.commits - before.commits, 6);
    CHECK_EQ(stats.syncs - before.syncs, 6);
    kv_batch_free(batch);
    drop_fixture(&f);
}

static void test_stats_of_reads_and_errors(void)
{
    struct fixture f = new_fixture();
    kv_stats stats = {.struct_size = 0};
    size_t len;

    set(f.store, "k", "value");
    check_text(f.store, "k", "value");
    check_missing(f.store, "l");
    CHECK_CODE(kv_get_into(f.store, "l", 1, NULL, 0, &len), KV_NOT_FOUND);
    CHECK_EQ(store_stats(f.store).gets, 3);
    CHECK_EQ(store_stats(f.store).errors, 0);

    CHECK_CODE(kv_get_into(f.store, "k", 1, NULL, 0, &len), KV_BUFFER);
    CHECK_CODE(kv_set(f.store, NULL, 1, "v", 1), KV_INVALID);
    CHECK_CODE(kv_set_ttl(f.store, "k", 1, "v", 1, 0), KV_INVALID);
    CHECK_CODE(kv_del(f.store, NULL, 1), KV_INVALID);
    CHECK_CODE(kv_write(f.store, NULL), KV_INVALID);
    CHECK_CODE(kv_scan(f.store, NULL, 0, NULL, NULL), KV_INVALID);
    CHECK_CODE(kv_stats_get(f.store, &stats), KV_INVALID);
    stats = store_stats(f.store);
    CHECK_EQ(stats.gets, 4);
    CHECK_EQ(stats.errors, 7);
    CHECK_EQ(stats.sets, 1);
    CHECK_EQ(stats.dels, 0);
    drop_fixture(&f);
}

static void test_stats_of_checkpoints_and_reopening(void)
{
    struct fixture f = new_fixture();
    kv_stats stats;

    set(f.store, "a", "1");
    set(f.store, "b", "22");
    CHECK_EQ(store_stats(f.store).wal_bytes, record_len("a", "1") + record_len("b", "22"));
    CHECK_OK(kv_checkpoint(f.store));
    stats = store_stats(f.store);
    CHECK_EQ(stats.checkpoints, 1);
    CHECK_EQ(stats.checkpoint_lsn, 2);
    CHECK_EQ(stats.wal_bytes, 0);
    set(f.store, "c", "333");
    CHECK_EQ(store_stats(f.store).wal_bytes, record_len("c", "333"));

    reopen(&f);
    stats = store_stats(f.store);
    CHECK_EQ(stats.sets, 0);
    CHECK_EQ(stats.checkpoints, 0);
    CHECK_EQ(stats.checkpoint_lsn, 2);
    CHECK_EQ(stats.last_lsn, 3);
    CHECK_EQ(stats.durable_lsn, 3);
    CHECK_EQ(stats.wal_bytes, record_len("c", "333"));
    check_contents(f.store, 3, 6);
    drop_fixture(&f);
}

static void check_nothing_cut(kv_recovery report)
{
    CHECK_EQ(report.verdict, KV_TAIL_CLEAN);
    CHECK_EQ(report.bytes_quarantined, 0);
    CHECK_EQ(report.records_behind, 0);
    CHECK(report.seconds >= 0 && report.seconds < 60);
}

static void test_recovery_report(void)
{
    struct fixture f = new_fixture();
    kv_recovery report = recovery_report(f.store);

    check_nothing_cut(report);
    CHECK_EQ(report.checkpoint_lsn, 0);
    CHECK_EQ(report.checkpoint_keys, 0);
    CHECK_EQ(report.last_lsn, 0);
    CHECK_EQ(report.records_replayed, 0);
    CHECK_EQ(report.stop_offset, 0);
    CHECK_EQ(report.durable_lsn, 0);
    CHECK_EQ(report.keys_expired, 0);
    CHECK_EQ(report.bytes_rewritten, 0);

    set_numbers(f.store, "n", 1, 5);
    reopen(&f);
    report = recovery_report(f.store);
    check_nothing_cut(report);
    CHECK_EQ(report.checkpoint_lsn, 0);
    CHECK_EQ(report.last_lsn, 5);
    CHECK_EQ(report.records_replayed, 5);
    CHECK_EQ(report.stop_offset, 5 * record_len("n/1", "1"));
    CHECK(report.durable_lsn <= 5);

    CHECK_OK(kv_checkpoint(f.store));
    reopen(&f);
    report = recovery_report(f.store);
    check_nothing_cut(report);
    CHECK_EQ(report.checkpoint_lsn, 5);
    CHECK_EQ(report.checkpoint_keys, 5);
    CHECK_EQ(report.last_lsn, 5);
    CHECK_EQ(report.records_replayed, 0);
    CHECK_EQ(report.stop_offset, 0);
    drop_fixture(&f);
}

static void test_recovery_report_counts_expired_keys(void)
{
    struct fixture f = new_fixture();

    set(f.store, "stays", "1");
    set_ttl(f.store, "goes", "2", SHORT_TTL_MS);
    close_store(f.store);
    sleep_ms(UNTIL_EXPIRED_MS);
    f.store = open_store(f.dir);
    CHECK_EQ(recovery_report(f.store).keys_expired, 1);
    check_contents(f.store, 1, 1);
    drop_fixture(&f);
}

/* ---- Checkpoints ---- */

static void test_checkpoint(void)
{
    struct fixture f = new_fixture();

    CHECK_OK(kv_checkpoint(f.store));
    set_numbers(f.store, "n", 1, 50);
    CHECK_OK(kv_checkpoint(f.store));
    CHECK(has_file(f.dir, "checkpoint.dat"));
    CHECK(!has_file(f.dir, "checkpoint.tmp"));
    CHECK(!has_file(f.dir, "wal.next"));
    CHECK_OK(kv_checkpoint(f.store));
    set_numbers(f.store, "m", 1, 5);
    reopen(&f);
    CHECK_EQ(recovery_report(f.store).checkpoint_keys, 50);
    CHECK_EQ(recovery_report(f.store).records_replayed, 5);
    check_numbers(f.store, "n", 1, 50);
    check_numbers(f.store, "m", 1, 5);
    drop_fixture(&f);
}

static int log_has_shrunk(const struct fixture *f)
{
    return has_file(f->dir, "checkpoint.dat") && !has_file(f->dir, "wal.next") &&
           file_size_in(f->dir, "wal.log") < 64 * KIB && store_stats(f->store).checkpoints > 0;
}

static void set_100_kib(kv_store *store)
{
    static const char kib[KIB];
    char key[16];
    int i;

    for (i = 0; i < 100; i++) {
        snprintf(key, sizeof key, "%d", i);
        CHECK_OK(kv_set(store, key, strlen(key), kib, sizeof kib));
    }
}

static void test_automatic_checkpoint(void)
{
    kv_options options = default_options();
    struct fixture f;

    options.checkpoint_wal_bytes = 64 * KIB;
    options.preallocate = UINT64_MAX;
    f = new_fixture_with(&options);
    set_100_kib(f.store);
    wait_until(log_has_shrunk, &f);
    reopen(&f);
    check_contents(f.store, 100, 100 * KIB);
    CHECK(recovery_report(f.store).checkpoint_lsn > 0);
    drop_fixture(&f);
}

static void test_automatic_checkpoint_switched_off(void)
{
    kv_options options = default_options();
    struct fixture f;

    options.checkpoint_wal_bytes = UINT64_MAX;
    f = new_fixture_with(&options);
    set_100_kib(f.store);
    CHECK_EQ(store_stats(f.store).checkpoints, 0);
    CHECK_OK(kv_checkpoint(f.store));
    CHECK_EQ(store_stats(f.store).checkpoints, 1);
    drop_fixture(&f);
}

/* ---- The size of the log ---- */

/* One record of each kind; returns the sum of their lengths. */
static size_t write_one_of_each(kv_store *store)
{
    kv_batch *batch = new_batch();

    set(store, "key", "value");
    set(store, "", "");
    set_ttl(store, "t", "value", HOUR_MS);
    del(store, "key");
    CHECK_CODE(kv_del(store, "key", 3), KV_NOT_FOUND);
    batch_set(batch, "b1", "in a batch");
    batch_del(batch, "t");
    CHECK_OK(kv_write(store, batch));
    kv_batch_free(batch);
    return record_len("key", "value") + record_len("", "") + record_len("t", "value") + 8 + record_len("key", "") +
           record_len("b1", "in a batch") + record_len("t", "");
}

static void check_zeros_ahead(const char *dir, size_t records_len, size_t most)
{
    struct bytes log = read_file_in(dir, "wal.log");
    size_t at;

    CHECK(log.len >= records_len);
    CHECK(log.len <= records_len + most);
    for (at = records_len; at < log.len; at++)
        CHECK_EQ(log.data[at], 0);
    free_bytes(&log);
}

static void check_log_size(uint64_t preallocate, size_t most_ahead)
{
    kv_options options = default_options();
    struct fixture f;
    size_t records_len;

    options.preallocate = preallocate;
    f = new_fixture_with(&options);
    records_len = write_one_of_each(f.store);
    CHECK_EQ(store_stats(f.store).wal_bytes, records_len);
    check_zeros_ahead(f.dir, records_len, most_ahead);
    close_store(f.store);
    CHECK_EQ(file_size_in(f.dir, "wal.log"), records_len);
    remove_temp_dir(f.dir);
}

static void test_log_is_the_sum_of_its_records(void)
{
    check_log_size(UINT64_MAX, 0);
    check_log_size(8 * KIB, 8 * KIB);
    check_log_size(0, 1024 * KIB);
}

/* ---- Limits of the process ---- */

/* Longer than a record that is made to fail, shorter than what a test writes in all. */
enum { FILE_LIMIT = 256 * KIB, FILLER_LEN = 4 * KIB };

static int try_filler(kv_store *store, int number)
{
    static const char filler[FILLER_LEN];
    char key[16];

    snprintf(key, sizeof key, "%d", number);
    return kv_set(store, key, strlen(key), filler, sizeof filler);
}

static int fill_until_no_space(kv_store *store)
{
    int number;

    for (number = 0; number < 2 * FILE_LIMIT / FILLER_LEN; number++) {
        int code = try_filler(store, number);
        if (code == KV_NO_SPACE)
            return number;
        CHECK_CODE(code, KV_OK);
    }
    FAIL("twice as much as the limit allows was written");
}

static void check_fillers(kv_store *store, int count)
{
    check_contents(store, (uint64_t)count, (uint64_t)count * FILLER_LEN);
}

static void check_batch_has_no_space(kv_store *store, int count)
{
    static const char filler[FILLER_LEN];
    kv_batch *batch = new_batch();

    batch_set(batch, "small", "it alone would fit");
    CHECK_OK(kv_batch_set(batch, "large", 5, filler, sizeof filler));
    CHECK_CODE(kv_write(store, batch), KV_NO_SPACE);
    check_errmsg_has("kv_write");
    check_errmsg_has("wal.log");
    check_missing(store, "small");
    check_missing(store, "large");
    check_fillers(store, count);
    kv_batch_free(batch);
}

/* What the library does about SIGXFSZ must not show in the program. */
static void check_signal_untouched(void)
{
    struct sigaction action;
    sigset_t set;

    CHECK_SYS(sigaction(SIGXFSZ, NULL, &action) == 0);
    CHECK(action.sa_handler == SIG_DFL);
    CHECK_SYS(sigpending(&set) == 0);
    CHECK(!sigismember(&set, SIGXFSZ));
    CHECK_EQ(pthread_sigmask(SIG_BLOCK, NULL, &set), 0);
    CHECK(!sigismember(&set, SIGXFSZ));
}

static void fill_up_and_go_on(void *ctx)
{
    struct fixture f = new_fixture();
    int count;

    (void)ctx;
    set_soft_limit(RLIMIT_FSIZE, FILE_LIMIT);
    count = fill_until_no_space(f.store);
    CHECK(count > 0);
    check_signal_untouched();
    check_batch_has_no_space(f.store, count);
    CHECK_CODE(try_filler(f.store, count), KV_NO_SPACE);
    CHECK_EQ(store_stats(f.store).errors, 3);

    set_soft_limit(RLIMIT_FSIZE, RLIM_INFINITY);
    CHECK_OK(try_filler(f.store, count));
    check_fillers(f.store, count + 1);
    reopen(&f);
    check_nothing_cut(recovery_report(f.store));
    CHECK_EQ(store_stats(f.store).last_lsn, count + 1);
    check_fillers(f.store, count + 1);
    drop_fixture(&f);
}

static void test_file_size_limit(void)
{
    run_in_child(fill_up_and_go_on, NULL);
}

static void checkpoint_without_space(void *ctx)
{
    struct fixture f = new_fixture();
    struct bytes before;
    struct bytes after;

    (void)ctx;
    set_numbers(f.store, "n", 1, 3);
    CHECK_OK(kv_checkpoint(f.store));
    set_100_kib(f.store);
    before = read_file_in(f.dir, "checkpoint.dat");
    set_soft_limit(RLIMIT_FSIZE, 16 * KIB);
    CHECK_CODE(kv_checkpoint(f.store), KV_NO_SPACE);
    check_errmsg_has("kv_checkpoint");
    check_signal_untouched();
    after = read_file_in(f.dir, "checkpoint.dat");
    CHECK_BYTES(after.data, after.len, before.data, before.len);
    check_numbers(f.store, "n", 1, 3);
    CHECK_EQ(store_stats(f.store).checkpoint_lsn, 3);

    set_soft_limit(RLIMIT_FSIZE, RLIM_INFINITY);
    set(f.store, "later", "1");
    reopen(&f);
    check_contents(f.store, 104, 100 * KIB + 4);
    CHECK_OK(kv_checkpoint(f.store));
    CHECK_EQ(store_stats(f.store).checkpoint_lsn, 104);
    free_bytes(&before);
    free_bytes(&after);
    drop_fixture(&f);
}

static void test_file_size_limit_of_checkpoints(void)
{
    run_in_child(checkpoint_without_space, NULL);
}

static void open_without_space(void *ctx)
{
    char *dir = make_temp_dir();
    kv_store *store;
    int code;

    (void)ctx;
    set_soft_limit(RLIMIT_FSIZE, 0);
    code = kv_open(dir, NULL, &store);
    /* Before any check, whose message could not be written to a file either. */
    set_soft_limit(RLIMIT_FSIZE, RLIM_INFINITY);
    CHECK_EQ(code, KV_NO_SPACE);
    CHECK(store == NULL);
    check_signal_untouched();
    close_store(open_store(dir));
    remove_temp_dir(dir);
}

static void test_file_size_limit_of_open(void)
{
    run_in_child(open_without_space, NULL);
}

static void append_without_space(void *ctx)
{
    char *dir = make_temp_dir();
    wal_writer *log = open_log(dir);
    uint8_t *value = pattern(FILLER_LEN);
    wal_record record = {.op = WAL_OP_PUT, .value = value, .value_len = FILLER_LEN};

    (void)ctx;
    append_record(log, "before", "1", 1);
    set_soft_limit(RLIMIT_FSIZE, FILLER_LEN);
    CHECK_CODE(wal_append(log, &record), KV_NO_SPACE);
    check_errmsg_has("wal_append");
    check_signal_untouched();
    CHECK_EQ(file_size_in(dir, "a.log"), record_len("before", "1"));
    set_soft_limit(RLIMIT_FSIZE, RLIM_INFINITY);
    CHECK_OK(wal_append(log, &record));
    CHECK_EQ(record.lsn, 2);
    CHECK_OK(wal_close(log));
    CHECK_EQ(file_size_in(dir, "a.log"), record_len("before", "1") + record_len("", "") + FILLER_LEN);
    free(value);
    remove_temp_dir(dir);
}

static void test_file_size_limit_of_logs(void)
{
    run_in_child(append_without_space, NULL);
}

static void open_without_descriptors(void *ctx)
{
    char *dir = make_temp_dir();
    int lowest_free = dup(STDERR_FILENO);
    struct rlimit before;

    (void)ctx;
    CHECK_SYS(lowest_free >= 0);
    CHECK_SYS(close(lowest_free) == 0);
    CHECK_SYS(getrlimit(RLIMIT_NOFILE, &before) == 0);
    set_soft_limit(RLIMIT_NOFILE, (rlim_t)lowest_free);
    check_open_fails(dir, NULL, KV_IO);
    check_errmsg_has(dir);
    CHECK_SYS(setrlimit(RLIMIT_NOFILE, &before) == 0);
    close_store(open_store(dir));
    remove_temp_dir(dir);
}

/* Too few descriptors for a checkpoint is no failed fsync: nothing is lost, nothing is latched. */
static void checkpoint_without_descriptors(void *ctx)
{
    struct fixture f = new_fixture();
    int lowest_free = dup(STDERR_FILENO);
    struct rlimit before;
    int descriptors;

    (void)ctx;
    CHECK_SYS(lowest_free >= 0);
    CHECK_SYS(close(lowest_free) == 0);
    CHECK_SYS(getrlimit(RLIMIT_NOFILE, &before) == 0);
    for (descriptors = 0; descriptors < 2; descriptors++) {
        set(f.store, "k", "v");
        set_soft_limit(RLIMIT_NOFILE, (rlim_t)(lowest_free + descriptors));
        CHECK_CODE(kv_checkpoint(f.store), KV_IO);
        set(f.store, "k", "v2");
        CHECK_SYS(setrlimit(RLIMIT_NOFILE, &before) == 0);
        CHECK_OK(kv_checkpoint(f.store));
    }
    check_text(f.store, "k", "v2");
    drop_fixture(&f);
}

static void test_no_descriptors(void)
{
    run_in_child(open_without_descriptors, NULL);
    run_in_child(checkpoint_without_descriptors, NULL);
}

static rlim_t address_space_used(void)
{
    FILE *file = fopen("/proc/self/statm", "r");
    unsigned long pages;

    CHECK_SYS(file != NULL);
    CHECK_EQ(fscanf(file, "%lu", &pages), 1);
    CHECK_SYS(fclose(file) == 0);
    return (rlim_t)pages * (rlim_t)sysconf(_SC_PAGESIZE);
}

/* Nothing but the library's own allocations may fail, so there are no checks while memory is short. */
static void run_short_of_memory(void *ctx)
{
    struct fixture f = new_fixture();
    size_t stored_len = 96 * MIB; /* more than malloc ever keeps for later */
    size_t large_len = 128 * MIB;
    void *large = mmap(NULL, large_len, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    void *value = &value;
    size_t len = 1;
    kv_batch *batch = new_batch();
    int codes[3];

    (void)ctx;
    CHECK_SYS(large != MAP_FAILED);
    CHECK_OK(kv_set(f.store, "stored", 6, large, stored_len));
    set_soft_limit(RLIMIT_AS, address_space_used() + 4 * MIB);
    codes[0] = kv_get(f.store, "stored", 6, &value, &len);
    codes[1] = kv_set(f.store, "large", 5, large, large_len);
    codes[2] = kv_batch_set(batch, "large", 5, large, large_len);
    set_soft_limit(RLIMIT_AS, RLIM_INFINITY);

    CHECK_EQ(codes[0], KV_NO_MEMORY);
    CHECK(value == NULL);
    CHECK_EQ(len, 0);
    CHECK_EQ(codes[1], KV_NO_MEMORY);
    CHECK_EQ(codes[2], KV_NO_MEMORY);
    CHECK_OK(kv_write(f.store, batch));
    check_contents(f.store, 1, stored_len);
    CHECK_EQ(store_stats(f.store).last_lsn, 1);
    CHECK_OK(kv_set(f.store, "large", 5, large, large_len));
    check_contents(f.store, 2, stored_len + large_len);
    kv_batch_free(batch);
    CHECK_SYS(munmap(large, large_len) == 0);
    drop_fixture(&f);
}

static int runs_under_valgrind(void)
{
    const char *preload = getenv("LD_PRELOAD");

    return preload != NULL && strstr(preload, "vgpreload") != NULL;
}

static void test_no_memory(void)
{
    if (runs_under_valgrind())
        printf("(SKIPPED: the limit would be valgrind's own) ");
    else
        run_in_child(run_short_of_memory, NULL);
}

/* ---- Records ---- */

static size_t encode(const wal_record *record, uint8_t *buf, size_t buf_len)
{
    size_t written = 0;

    CHECK_OK(wal_record_encode(record, buf, buf_len, &written));
    CHECK(written > 0 && written <= buf_len);
    return written;
}

static void test_record_encode(void)
{
    wal_record record = {.lsn = 2, .op = WAL_OP_PUT, .key = "k", .key_len = 1, .value = "v", .value_len = 1};
    uint8_t buf[64];
    size_t written = 99;

    memset(buf, 0xA5, sizeof buf);
    CHECK_CODE(wal_record_encode(&record, NULL, 0, &written), KV_BUFFER);
    CHECK_EQ(written, 35);
    written = 99;
    CHECK_CODE(wal_record_encode(&record, buf, 34, &written), KV_BUFFER);
    CHECK_EQ(written, 35);
    CHECK_EQ(encode(&record, buf, 35), 35);
    CHECK_EQ(buf[35], 0xA5);
    CHECK_EQ(encode(&record, buf, sizeof buf), 35);

    record.op = WAL_OP_PUT_EXPIRING | WAL_OP_BATCH;
    record.key = NULL;
    record.key_len = 0;
    record.value = NULL;
    record.value_len = 0;
    CHECK_EQ(encode(&record, buf, sizeof buf), 41);
}

static void check_not_encoded(const wal_record *record, int code)
{
    uint8_t buf[64];
    size_t written = 99;

    CHECK_CODE(wal_record_encode(record, buf, sizeof buf, &written), code);
    CHECK_EQ(written, 0);
    check_errmsg_has("wal_record_encode");
}

static void test_record_encode_refuses(void)
{
    wal_record good = {.lsn = 1, .op = WAL_OP_PUT, .key = "k", .key_len = 1, .value = "v", .value_len = 1};
    static const uint8_t bad_ops[] = {0, 4, 127, WAL_OP_BATCH, WAL_OP_BATCH | 4, 255};
    wal_record bad;
    uint8_t buf[64];
    size_t i;

    check_not_encoded(NULL, KV_INVALID);
    CHECK_CODE(wal_record_encode(&good, buf, sizeof buf, NULL), KV_INVALID);
    CHECK_CODE(wal_record_encode(&good, NULL, sizeof buf, &i), KV_INVALID);
    for (i = 0; i < ARRAY_LEN(bad_ops); i++) {
        bad = good;
        bad.op = bad_ops[i];
        check_not_encoded(&bad, KV_INVALID);
    }
    bad = good;
    bad.op = WAL_OP_DELETE;
    check_not_encoded(&bad, KV_INVALID);
    bad = good;
    bad.key = NULL;
    check_not_encoded(&bad, KV_INVALID);
    bad = good;
    bad.value = NULL;
    check_not_encoded(&bad, KV_INVALID);
}

static void test_record_limits(void)
{
    size_t len = (size_t)KV_MAX_VALUE_LEN + 1;
    void *unreadable = map_unreadable(len);
    wal_record record = {.lsn = 1, .op = WAL_OP_PUT, .key = unreadable, .key_len = KV_MAX_KEY_LEN + 1};
    char *dir = make_temp_dir();
    wal_writer *log = open_log(dir);

    check_not_encoded(&record, KV_TOO_LARGE);
    CHECK_CODE(wal_append(log, &record), KV_TOO_LARGE);
    record.key_len = 0;
    record.value = unreadable;
    record.value_len = len;
    check_not_encoded(&record, KV_TOO_LARGE);
    CHECK_CODE(wal_append(log, &record), KV_TOO_LARGE);
    CHECK_OK(wal_close(log));
    CHECK_EQ(file_size_in(dir, "a.log"), 0);
    CHECK_SYS(munmap(unreadable, len) == 0);
    remove_temp_dir(dir);
}

static void test_record_decode(void)
{
    wal_record record = {.lsn = 7, .durable_lsn = 6, .expires_at = 5, .op = WAL_OP_PUT_EXPIRING | WAL_OP_BATCH,
                         .key = "k\0", .key_len = 2, .value = "\0v", .value_len = 2};
    wal_record same;
    uint8_t buf[64];
    size_t len = encode(&record, buf, sizeof buf);
    size_t consumed;

    memset(buf + len, 0xA5, sizeof buf - len);
    CHECK_OK(wal_record_decode(buf, sizeof buf, &same, &consumed));
    CHECK_EQ(consumed, len);
    CHECK_EQ(same.lsn, 7);
    CHECK_EQ(same.durable_lsn, 6);
    CHECK_EQ(same.expires_at, 5);
    CHECK_EQ(same.op, WAL_OP_PUT_EXPIRING | WAL_OP_BATCH);
    CHECK_BYTES(same.key, same.key_len, "k\0", 2);
    CHECK_BYTES(same.value, same.value_len, "\0v", 2);
    CHECK((const uint8_t *)same.key > buf && (const uint8_t *)same.value < buf + len);
}

static void check_not_decoded(const void *buf, size_t len, int code)
{
    wal_record record;
    size_t consumed = 99;

    memset(&record, 0xA5, sizeof record);
    CHECK_CODE(wal_record_decode(buf, len, &record, &consumed), code);
    CHECK_EQ(consumed, 0);
    CHECK_EQ(record.lsn, 0);
    CHECK(record.key == NULL && record.value == NULL);
    CHECK_EQ(record.key_len, 0);
    CHECK_EQ(record.value_len, 0);
    CHECK_EQ(record.op, 0);
    check_errmsg_has("wal_record_decode");
}

/* With the checksum made right, so that only the fields are wrong. */
static void check_field_refused(const uint8_t *good, size_t len, size_t offset, uint32_t number)
{
    uint8_t bad[64];

    memcpy(bad, good, len);
    put_be32(bad + offset, number);
    put_be32(bad, crc32_of(bad + 4, len - 4));
    check_not_decoded(bad, len, KV_CORRUPT);
}

static void test_record_decode_refuses(void)
{
    enum { LENGTH_AT = 4, KEY_LEN_AT = 25, VALUE_LEN_AT = 30 };
    wal_record record = {.lsn = 1, .op = WAL_OP_PUT, .key = "k", .key_len = 1, .value = "v", .value_len = 1};
    static const uint8_t zeros[64];
    uint8_t buf[64];
    size_t len = encode(&record, buf, sizeof buf);
    struct bytes newer = newer_record(1);
    size_t i;

    for (i = 0; i < len; i++)
        check_not_decoded(buf, i, KV_INCOMPLETE);
    check_not_decoded(NULL, 0, KV_INCOMPLETE);
    check_not_decoded(NULL, 1, KV_INVALID);
    check_not_decoded(zeros, sizeof zeros, KV_CORRUPT);
    check_not_decoded(newer.data, newer.len, KV_VERSION);
    check_field_refused(buf, len, LENGTH_AT, 32);
    check_field_refused(buf, len, LENGTH_AT, UINT32_MAX);
    check_field_refused(buf, len, KEY_LEN_AT, 0);
    check_field_refused(buf, len, KEY_LEN_AT, UINT32_MAX);
    check_field_refused(buf, len, VALUE_LEN_AT, 0);
    check_field_refused(buf, len, VALUE_LEN_AT, UINT32_MAX);
    buf[len - 1] ^= 1;
    check_not_decoded(buf, len, KV_CRC_MISMATCH);
    free_bytes(&newer);
}

static void test_record_decode_null_outputs(void)
{
    wal_record record = {.lsn = 1, .op = WAL_OP_PUT};
    uint8_t buf[64];
    size_t len = encode(&record, buf, sizeof buf);
    size_t consumed = 99;

    CHECK_CODE(wal_record_decode(buf, len, NULL, &consumed), KV_INVALID);
    CHECK_EQ(consumed, 0);
    CHECK_CODE(wal_record_decode(buf, len, &record, NULL), KV_INVALID);
    CHECK_EQ(record.op, 0);
}

/* ---- The log alone ---- */

static void check_log_open_fails(const char *path, int code)
{
    wal_writer *log = (wal_writer *)&code;

    CHECK_CODE(wal_open(path, &log), code);
    CHECK(log == NULL);
    check_errmsg_has("wal_open");
}

static void test_log_open_refuses(void)
{
    char *dir = make_temp_dir();
    char *path = join_path(dir, "a.log");
    char *inside = join_path(path, "b.log");
    wal_writer *log = open_log(dir);

    check_log_open_fails(path, KV_LOCKED);
    check_errmsg_has(path);
    CHECK_OK(wal_close(log));
    check_log_open_fails(NULL, KV_INVALID);
    check_log_open_fails("", KV_INVALID);
    CHECK_CODE(wal_open(path, NULL), KV_INVALID);
    check_log_open_fails(inside, KV_IO);
    check_errmsg_has(inside);
    check_log_open_fails(dir, KV_IO);
    check_errmsg_has(dir);

    put_foreign_file(dir, "a.log", FOREIGN_BEGINNINGS[0]);
    check_log_open_fails(path, KV_CORRUPT);
    check_errmsg_has(path);
    free(inside);
    free(path);
    remove_temp_dir(dir);
}

static void test_log_append(void)
{
    char *dir = make_temp_dir();
    wal_writer *log = open_log(dir);
    wal_record bad = {.op = WAL_OP_DELETE, .value = "v", .value_len = 1};

    append_record(log, "first", "1", 1);
    CHECK_CODE(wal_append(log, NULL), KV_INVALID);
    CHECK_CODE(wal_append(log, &bad), KV_INVALID);
    bad.op = 0;
    CHECK_CODE(wal_append(log, &bad), KV_INVALID);
    bad.op = WAL_OP_PUT;
    bad.value = NULL;
    CHECK_CODE(wal_append(log, &bad), KV_INVALID);
    append_record(log, "second", "22", 2);
    CHECK_EQ(file_size_in(dir, "a.log"), record_len("first", "1") + record_len("second", "22"));
    CHECK_OK(wal_close(log));

    log = open_log(dir);
    append_record(log, "third", "333", 3);
    CHECK_OK(wal_close(log));
    CHECK_EQ(quarantine_count(dir), 0);
    remove_temp_dir(dir);
}

struct replay {
    uint64_t first;
    uint64_t last;
    uint64_t stop_at;
};

static int see_record(void *ctx, const wal_record *record)
{
    struct replay *replay = ctx;

    if (replay->first == 0)
        replay->first = record->lsn;
    else
        CHECK_EQ(record->lsn, replay->last + 1);
    replay->last = record->lsn;
    return record->lsn == replay->stop_at;
}

static void check_replay(const char *path, uint64_t after_lsn, uint64_t stop_at, uint64_t first, uint64_t last)
{
    struct replay replay = {0, 0, stop_at};
    kv_recovery report = new_recovery();

    CHECK_OK(wal_replay(path, after_lsn, see_record, &replay, &report));
    CHECK_EQ(replay.first, first);
    CHECK_EQ(replay.last, last);
    CHECK_EQ(report.verdict, KV_TAIL_CLEAN);
    CHECK_EQ(report.checkpoint_lsn, after_lsn);
}

/* Records first to last, encoded into the file `path`. */
static void write_log(const char *path, uint64_t first, uint64_t last)
{
    struct bytes log = {NULL, 0};
    wal_record record = {.op = WAL_OP_PUT};
    uint8_t buf[64];

    for (record.lsn = first; record.lsn <= last; record.lsn++) {
        record.durable_lsn = record.lsn - 1;
        append_bytes(&log, buf, encode(&record, buf, sizeof buf));
    }
    write_file(path, log.data, log.len);
    free_bytes(&log);
}

static void test_log_replay(void)
{
    char *dir = make_temp_dir();
    char *path = join_path(dir, "a.log");
    uint32_t before;

    write_log(path, 1, 9);
    before = dir_checksum(dir);
    check_replay(path, 0, 0, 1, 9);
    check_replay(path, 4, 0, 5, 9);
    check_replay(path, 9, 0, 0, 0);
    check_replay(path, 0, 3, 1, 3);
    CHECK_OK(wal_replay(path, 0, see_record, &(struct replay){0, 0, 0}, NULL));

    /* A log that goes on after a checkpoint. */
    write_log(path, 5, 9);
    check_replay(path, 0, 0, 5, 9);
    check_replay(path, 4, 0, 5, 9);
    check_replay(path, 6, 0, 7, 9);
    write_log(path, 1, 9);
    CHECK_EQ(dir_checksum(dir), before);
    free(path);
    remove_temp_dir(dir);
}

static int never_replayed(void *ctx, const wal_record *record)
{
    (void)ctx;
    (void)record;
    FAIL("the callback was called");
}

static void check_not_replayed(const char *path, uint64_t after_lsn, int code)
{
    CHECK_CODE(wal_replay(path, after_lsn, never_replayed, NULL, NULL), code);
    check_errmsg_has("wal_replay");
}

static void test_log_replay_refuses(void)
{
    char *dir = make_temp_dir();
    char *path = join_path(dir, "a.log");
    struct bytes newer = newer_record(1);
    kv_recovery report = new_recovery();

    check_not_replayed(NULL, 0, KV_INVALID);
    check_not_replayed(path, 0, KV_IO);
    check_errmsg_has(path);
    check_not_replayed(dir, 0, KV_IO);
    CHECK(!path_exists(path));

    write_log(path, 5, 9);
    check_not_replayed(path, 3, KV_CORRUPT);
    check_errmsg_has(path);
    CHECK_CODE(wal_replay(path, 0, NULL, NULL, NULL), KV_INVALID);
    report.struct_size = 0;
    CHECK_CODE(wal_replay(path, 0, never_replayed, NULL, &report), KV_INVALID);
    put_foreign_file(dir, "a.log", FOREIGN_BEGINNINGS[0]);
    check_not_replayed(path, 0, KV_CORRUPT);
    write_file(path, newer.data, newer.len);
    check_not_replayed(path, 0, KV_VERSION);
    free_bytes(&newer);
    free(path);
    remove_temp_dir(dir);
}

/* ---- */

static const struct test TESTS[] = {
    {"kv_errmsg: nothing, then the last failure", test_errmsg},
    {"kv_errmsg: each thread has its own", test_errmsg_is_per_thread},
    {"kv_strerror", test_strerror},
    {"numbers of the interface", test_numbers_of_the_interface},
    {"kv_version", test_version},
    {"NULL may be closed and freed", test_null_is_fine_to_free},
    {"NULL handles", test_null_handles},
    {"NULL arguments", test_null_arguments},
    {"NULL arguments of kv_open", test_null_arguments_of_open},
    {"outputs are NULL and 0 after a failure", test_outputs_are_emptied},
    {"kv_get_into", test_get_into},
    {"set, overwrite, delete", test_set_overwrite_delete},
    {"arguments and results are copies", test_arguments_and_results_are_copies},
    {"empty keys and values", test_empty_keys_and_values},
    {"binary keys and values", test_binary_keys},
    {"keys: 65,535 bytes, not one more", test_key_limit},
    {"values: not one byte above 1 GiB", test_value_limit},
    {"values of 0 B, 1 B, 1 MiB, 64 MiB", test_value_lengths},
    {"kv_options_init", test_options_init},
    {"options out of range", test_invalid_options},
    {"struct_size of options", test_struct_size_of_options},
    {"struct_size of outputs", test_struct_size_of_outputs},
    {"struct_size of a later version's outputs", test_struct_size_of_later_outputs},
    {"no_create", test_no_create},
    {"second opener", test_second_opener},
    {"forked child", test_forked_child},
    {"directory is a file", test_dir_is_a_file},
    {"parent directory is missing", test_parent_is_missing},
    {"no permission", test_no_permission},
    {"foreign file as wal.log", test_foreign_log},
    {"foreign file as checkpoint.dat", test_foreign_checkpoint},
    {"directory as wal.log", test_log_is_a_directory},
    {"newer version of checkpoint.dat", test_newer_checkpoint},
    {"newer version of wal.log", test_newer_log},
    {"checkpoint without its log", test_checkpoint_without_log},
    {"log without its checkpoint", test_log_without_checkpoint},
    {"gap between checkpoint and log", test_checkpoint_too_old_for_log},
    {"expiry", test_ttl},
    {"expiry while closed", test_ttl_while_closed},
    {"expiry replaced", test_ttl_replaced},
    {"batch", test_batch},
    {"batch: order within", test_batch_order},
    {"batch: empty, written again, cleared", test_batch_written_again},
    {"batch: ops on disk", test_batch_on_disk},
    {"scan: order and prefix", test_scan_order_and_prefix},
    {"scan: stopped early", test_scan_stops_early},
    {"scan: callback uses the store", test_scan_callback_uses_the_store},
    {"every way of syncing", test_every_way_of_syncing},
    {"KV_SYNC_INTERVAL syncs by itself", test_interval_syncs_by_itself},
    {"KV_SYNC_NONE syncs only when told", test_none_syncs_only_when_told},
    {"stats of a fresh store", test_stats_of_a_fresh_store},
    {"stats of writes", test_stats_of_writes},
    {"stats of reads and errors", test_stats_of_reads_and_errors},
    {"stats of checkpoints and reopening", test_stats_of_checkpoints_and_reopening},
    {"recovery report", test_recovery_report},
    {"recovery report counts expired keys", test_recovery_report_counts_expired_keys},
    {"checkpoint", test_checkpoint},
    {"automatic checkpoint", test_automatic_checkpoint},
    {"automatic checkpoint switched off", test_automatic_checkpoint_switched_off},
    {"a log is the sum of its records", test_log_is_the_sum_of_its_records},
    {"file-size limit: writes", test_file_size_limit},
    {"file-size limit: checkpoint", test_file_size_limit_of_checkpoints},
    {"file-size limit: open", test_file_size_limit_of_open},
    {"file-size limit: the log alone", test_file_size_limit_of_logs},
    {"no file descriptors", test_no_descriptors},
    {"no memory", test_no_memory},
    {"wal_record_encode", test_record_encode},
    {"wal_record_encode refuses", test_record_encode_refuses},
    {"records have the limits of keys and values", test_record_limits},
    {"wal_record_decode", test_record_decode},
    {"wal_record_decode refuses", test_record_decode_refuses},
    {"wal_record_decode: NULL outputs", test_record_decode_null_outputs},
    {"wal_open refuses", test_log_open_refuses},
    {"wal_append", test_log_append},
    {"wal_replay", test_log_replay},
    {"wal_replay refuses", test_log_replay_refuses},
};

int main(void)
{
    run_tests(TESTS, ARRAY_LEN(TESTS));
    printf("%zu/%zu tests passed\n", ARRAY_LEN(TESTS), ARRAY_LEN(TESTS));
    return 0;
}
