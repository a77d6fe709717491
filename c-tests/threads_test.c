/*
 * Eight threads on one handle: sets, gets, deletes, batches, scans and checkpoints at once, after which the counters
 * and the contents are exactly what the threads did. To be clean under memcheck, helgrind and drd.
 *
 *     threads_test [ITERATIONS]    per thread; 300 unless told, about 30 for helgrind and 8 for drd
 *
 * Four kinds of keys, each with a promise of its own:
 *   own/T/K   only thread T writes it, so T knows its value at every moment;
 *   locked/K  written by all, each write inside a lock of this test that also notes the value: one value at the end;
 *   hot/K     written by all without a lock: a reader never sees a thread's writes go backwards, and the last value is
 *             the last write of some thread;
 *   pair/A, pair/B  always written by one batch: a scan never sees them differ.
 *
 * Compiled with -DMISSING_LOCK, the test's own bookkeeping goes without its lock. That is the negative control: the
 * threads share data and nothing orders their first touch of it, so helgrind and drd must complain in every run. Its
 * figures may be wrong, so its exit status says nothing.
 */
#include <pthread.h>

#include "support.h"

enum { THREADS = 8, OWN_KEYS = 16, LOCKED_KEYS = 4, HOT_KEYS = 2, MAX_TEXT = 64 };

/* ---- What the threads share ---- */

struct totals {
    uint64_t gets;
    uint64_t sets;
    uint64_t dels;
};

struct bookkeeping {
    pthread_mutex_t lock;
    struct totals totals;
    char locked_values[LOCKED_KEYS][MAX_TEXT];
};

static void lock_bookkeeping(struct bookkeeping *book)
{
#ifdef MISSING_LOCK
    (void)book;
#else
    CHECK_EQ(pthread_mutex_lock(&book->lock), 0);
#endif
}

static void unlock_bookkeeping(struct bookkeeping *book)
{
#ifdef MISSING_LOCK
    (void)book;
#else
    CHECK_EQ(pthread_mutex_unlock(&book->lock), 0);
#endif
}

static void count(struct bookkeeping *book, uint64_t *total, uint64_t calls)
{
    lock_bookkeeping(book);
    *total += calls;
    unlock_bookkeeping(book);
}

/* ---- What each thread has for itself ---- */

enum { ABSENT = -1 };

struct worker {
    pthread_t thread;
    int number;
    int iterations;
    kv_store *store;
    struct bookkeeping *book;
    /* The iteration that last set each own key, or ABSENT. */
    int own[OWN_KEYS];
    /* The iteration that last set each hot key. */
    int hot[HOT_KEYS];
    /* The newest iteration of each thread that this thread has read from each hot key. */
    int hot_seen[HOT_KEYS][THREADS];
};

/* A value says who wrote it, and when. Values differ in length, so that replacing one changes the count of bytes. */
static void format_value(char *text, int thread, int iteration)
{
    snprintf(text, MAX_TEXT, "thread %d iteration %d%.*s", thread, iteration, iteration % 7, "......");
}

static void format_own_key(char *text, int thread, int key)
{
    snprintf(text, MAX_TEXT, "own/%d/%02d", thread, key);
}

/* ---- The calls, counted ---- */

static void set_text(struct worker *worker, const char *key, const char *value)
{
    count(worker->book, &worker->book->totals.sets, 1);
    CHECK_OK(kv_set(worker->store, key, strlen(key), value, strlen(value)));
}

static void delete_text(struct worker *worker, const char *key, int expected)
{
    count(worker->book, &worker->book->totals.dels, expected == KV_OK);
    CHECK_CODE(kv_del(worker->store, key, strlen(key)), expected);
}

/* The value of a key as a text, in `text`. Returns whether the key is there. */
static int get_text(kv_store *store, const char *key, char *text)
{
    size_t len;
    int code = kv_get_into(store, key, strlen(key), text, MAX_TEXT - 1, &len);

    if (code == KV_NOT_FOUND)
        return 0;
    CHECK_CODE(code, KV_OK);
    text[len] = '\0';
    return 1;
}

static int get_counted(struct worker *worker, const char *key, char *text)
{
    count(worker->book, &worker->book->totals.gets, 1);
    return get_text(worker->store, key, text);
}

static void check_text(const char *actual, const char *expected)
{
    CHECK_BYTES(actual, strlen(actual), expected, strlen(expected));
}

/* ---- own/: read your own writes ---- */

static void change_own_key(struct worker *worker, int iteration)
{
    int key = iteration % OWN_KEYS;
    char name[MAX_TEXT];
    char value[MAX_TEXT];

    format_own_key(name, worker->number, key);
    if (iteration % 3 == 2) {
        delete_text(worker, name, worker->own[key] == ABSENT ? KV_NOT_FOUND : KV_OK);
        worker->own[key] = ABSENT;
    } else {
        format_value(value, worker->number, iteration);
        set_text(worker, name, value);
        worker->own[key] = iteration;
    }
}

static void check_own_key(struct worker *worker, int key)
{
    char name[MAX_TEXT];
    char actual[MAX_TEXT];
    char expected[MAX_TEXT];

    format_own_key(name, worker->number, key);
    CHECK_EQ(get_counted(worker, name, actual), worker->own[key] != ABSENT);
    if (worker->own[key] != ABSENT) {
        format_value(expected, worker->number, worker->own[key]);
        check_text(actual, expected);
    }
}

/* ---- locked/: the order of the writes is known ---- */

static void set_locked_key(struct worker *worker, int iteration)
{
    int key = iteration % LOCKED_KEYS;
    char name[MAX_TEXT];
    char value[MAX_TEXT];

    snprintf(name, sizeof name, "locked/%d", key);
    format_value(value, worker->number, iteration);
    lock_bookkeeping(worker->book);
    worker->book->totals.sets++;
    memcpy(worker->book->locked_values[key], value, sizeof value);
    CHECK_OK(kv_set(worker->store, name, strlen(name), value, strlen(value)));
    unlock_bookkeeping(worker->book);
}

/* ---- hot/: everybody writes, everybody reads ---- */

static void set_hot_key(struct worker *worker, int iteration)
{
    int key = iteration % HOT_KEYS;
    char name[MAX_TEXT];
    char value[MAX_TEXT];

    snprintf(name, sizeof name, "hot/%d", key);
    format_value(value, worker->number, iteration);
    set_text(worker, name, value);
    worker->hot[key] = iteration;
}

/* Takes a value of format_value() apart, and checks that nothing of it is missing. */
static void parse_value(const char *text, int *thread, int *iteration)
{
    char whole[MAX_TEXT];

    CHECK_EQ(sscanf(text, "thread %d iteration %d", thread, iteration), 2);
    CHECK(*thread >= 0 && *thread < THREADS);
    format_value(whole, *thread, *iteration);
    check_text(text, whole);
}

static void check_hot_key(struct worker *worker, int key)
{
    char name[MAX_TEXT];
    char value[MAX_TEXT];
    int thread;
    int iteration;

    snprintf(name, sizeof name, "hot/%d", key);
    if (!get_counted(worker, name, value))
        return;
    parse_value(value, &thread, &iteration);
    CHECK(iteration >= worker->hot_seen[key][thread]);
    worker->hot_seen[key][thread] = iteration;
}

/* ---- pair/: all of a batch or none of it ---- */

static void write_pair(struct worker *worker, int iteration)
{
    kv_batch *batch = kv_batch_new();
    char value[MAX_TEXT];

    CHECK(batch != NULL);
    format_value(value, worker->number, iteration);
    CHECK_OK(kv_batch_set(batch, "pair/A", 6, value, strlen(value)));
    CHECK_OK(kv_batch_set(batch, "pair/B", 6, value, strlen(value)));
    count(worker->book, &worker->book->totals.sets, 2);
    CHECK_OK(kv_write(worker->store, batch));
    kv_batch_free(batch);
}

struct pair_scan {
    int keys;
    char first[MAX_TEXT];
};

static int see_half_of_pair(void *ctx, const void *key, size_t key_len, const void *value, size_t value_len)
{
    struct pair_scan *scan = ctx;

    CHECK_BYTES(key, key_len, scan->keys == 0 ? "pair/A" : "pair/B", 6);
    if (scan->keys == 0)
        snprintf(scan->first, sizeof scan->first, "%.*s", (int)value_len, (const char *)value);
    else
        CHECK_BYTES(value, value_len, scan->first, strlen(scan->first));
    scan->keys++;
    return 0;
}

static void check_pair(kv_store *store)
{
    struct pair_scan scan = {0, ""};

    CHECK_OK(kv_scan(store, "pair/", 5, see_half_of_pair, &scan));
    CHECK(scan.keys == 0 || scan.keys == 2);
}

/* ---- Scans ---- */

struct order_scan {
    size_t keys;
    size_t value_bytes;
    char previous[MAX_TEXT];
};

static int see_in_order(void *ctx, const void *key, size_t key_len, const void *value, size_t value_len)
{
    struct order_scan *scan = ctx;
    char name[MAX_TEXT];
    int thread;
    int iteration;

    CHECK(key_len < sizeof name);
    snprintf(name, sizeof name, "%.*s", (int)key_len, (const char *)key);
    CHECK(strcmp(scan->previous, name) < 0);
    memcpy(scan->previous, name, sizeof name);

    CHECK(value_len < sizeof name);
    snprintf(name, sizeof name, "%.*s", (int)value_len, (const char *)value);
    parse_value(name, &thread, &iteration);
    scan->keys++;
    scan->value_bytes += value_len;
    return 0;
}

static struct order_scan scan_in_order(kv_store *store, const char *prefix)
{
    struct order_scan scan = {0, 0, ""};

    CHECK_OK(kv_scan(store, prefix, strlen(prefix), see_in_order, &scan));
    return scan;
}

static size_t own_keys_present(const struct worker *worker)
{
    size_t present = 0;
    int key;

    for (key = 0; key < OWN_KEYS; key++)
        present += worker->own[key] != ABSENT;
    return present;
}

static void check_scan_of_own_keys(struct worker *worker)
{
    char prefix[MAX_TEXT];

    snprintf(prefix, sizeof prefix, "own/%d/", worker->number);
    CHECK_EQ(scan_in_order(worker->store, prefix).keys, own_keys_present(worker));
}

/* Seldom, and one kind at a time: a scan takes many locks, and the time that drd needs grows with their square. */
static void check_scans(struct worker *worker, int iteration)
{
    int turn = iteration + worker->number;

    if (turn % 39 == 0)
        check_scan_of_own_keys(worker);
    else if (turn % 39 == 13)
        scan_in_order(worker->store, "");
    else if (turn % 39 == 26)
        check_pair(worker->store);
}

/* Now one thread alone, now all at once. */
static void checkpoint_at_times(struct worker *worker, int iteration)
{
    if (iteration % 32 == 4 * worker->number || iteration % 32 == 7)
        CHECK_OK(kv_checkpoint(worker->store));
}

/* ---- The threads ---- */

static void *work(void *arg)
{
    struct worker *worker = arg;
    int i;

    for (i = 0; i < worker->iterations; i++) {
        change_own_key(worker, i);
        check_own_key(worker, i % OWN_KEYS);
        set_locked_key(worker, i);
        set_hot_key(worker, i);
        check_hot_key(worker, i % HOT_KEYS);
        if (i % 5 == 0)
            write_pair(worker, i);
        check_scans(worker, i);
        checkpoint_at_times(worker, i);
    }
    return NULL;
}

static void start_worker(struct worker *worker, int number, int iterations, kv_store *store, struct bookkeeping *book)
{
    int key;

    memset(worker, 0, sizeof *worker);
    worker->number = number;
    worker->iterations = iterations;
    worker->store = store;
    worker->book = book;
    for (key = 0; key < OWN_KEYS; key++)
        worker->own[key] = ABSENT;
    CHECK_EQ(pthread_create(&worker->thread, NULL, work, worker), 0);
}

static void run_workers(struct worker *workers, int iterations, kv_store *store, struct bookkeeping *book)
{
    int i;

    for (i = 0; i < THREADS; i++)
        start_worker(&workers[i], i, iterations, store, book);
    for (i = 0; i < THREADS; i++)
        CHECK_EQ(pthread_join(workers[i].thread, NULL), 0);
}

/* ---- Afterwards ---- */

static void check_counters(kv_store *store, const struct totals *totals)
{
    kv_stats stats = store_stats(store);

    CHECK_EQ(stats.gets, totals->gets);
    CHECK_EQ(stats.sets, totals->sets);
    CHECK_EQ(stats.dels, totals->dels);
    CHECK_EQ(stats.errors, 0);
    CHECK_EQ(stats.last_lsn, totals->sets + totals->dels);
}

static void check_own_contents(kv_store *store, const struct worker *worker)
{
    char name[MAX_TEXT];
    char actual[MAX_TEXT];
    char expected[MAX_TEXT];
    int key;

    for (key = 0; key < OWN_KEYS; key++) {
        format_own_key(name, worker->number, key);
        CHECK_EQ(get_text(store, name, actual), worker->own[key] != ABSENT);
        if (worker->own[key] != ABSENT) {
            format_value(expected, worker->number, worker->own[key]);
            check_text(actual, expected);
        }
    }
}

static void check_locked_contents(kv_store *store, const struct bookkeeping *book)
{
    char name[MAX_TEXT];
    char actual[MAX_TEXT];
    int key;

    for (key = 0; key < LOCKED_KEYS; key++) {
        snprintf(name, sizeof name, "locked/%d", key);
        CHECK(get_text(store, name, actual));
        check_text(actual, book->locked_values[key]);
    }
}

/* Each thread's writes keep their order, so the last write of all is the last write of its thread. */
static void check_hot_contents(kv_store *store, const struct worker *workers)
{
    char name[MAX_TEXT];
    char value[MAX_TEXT];
    int thread;
    int iteration;
    int key;

    for (key = 0; key < HOT_KEYS; key++) {
        snprintf(name, sizeof name, "hot/%d", key);
        CHECK(get_text(store, name, value));
        parse_value(value, &thread, &iteration);
        CHECK_EQ(iteration, workers[thread].hot[key]);
    }
}

static void check_sizes(kv_store *store, const struct worker *workers)
{
    kv_stats stats = store_stats(store);
    struct order_scan all = scan_in_order(store, "");
    size_t expected_keys = LOCKED_KEYS + HOT_KEYS + 2;
    int i;

    for (i = 0; i < THREADS; i++)
        expected_keys += own_keys_present(&workers[i]);
    CHECK_EQ(all.keys, expected_keys);
    CHECK_EQ(stats.keys, all.keys);
    CHECK_EQ(stats.bytes, all.value_bytes);
}

static void check_contents(kv_store *store, const struct worker *workers, const struct bookkeeping *book)
{
    int i;

    for (i = 0; i < THREADS; i++)
        check_own_contents(store, &workers[i]);
    check_locked_contents(store, book);
    check_hot_contents(store, workers);
    check_pair(store);
    check_sizes(store, workers);
}

/* ---- The tests: the same work in two ways of syncing ---- */

static int iterations = 300;

static void run_threads(const kv_options *options)
{
    char *dir = make_temp_dir();
    /* Not on the stack, where drd does not look for races. */
    struct bookkeeping *book = calloc(1, sizeof *book);
    struct worker workers[THREADS];
    kv_store *store;

    CHECK(book != NULL);
    CHECK_EQ(pthread_mutex_init(&book->lock, NULL), 0);
    CHECK_OK(kv_open(dir, options, &store));
    run_workers(workers, iterations, store, book);
    check_counters(store, &book->totals);
    check_contents(store, workers, book);
    CHECK_OK(kv_close(store));

    CHECK_OK(kv_open(dir, options, &store));
    check_contents(store, workers, book);
    CHECK_EQ(store_stats(store).last_lsn, book->totals.sets + book->totals.dels);
    CHECK_OK(kv_close(store));
    CHECK_EQ(pthread_mutex_destroy(&book->lock), 0);
    free(book);
    remove_temp_dir(dir);
}

static void test_every_write_synced(void)
{
    kv_options options;

    kv_options_init(&options);
    run_threads(&options);
}

/* The library's own threads, for the sync and for automatic checkpoints, are at work as well. */
static void test_background_threads(void)
{
    kv_options options;

    kv_options_init(&options);
    options.sync = KV_SYNC_INTERVAL;
    options.sync_interval_ms = 5;
    options.checkpoint_wal_bytes = 8192;
    run_threads(&options);
}

/* Enough for threads to help: with a checkpoint from 4 MiB on, with a log likewise, and with memory from 6 MiB on. */
enum { LARGE_KEYS = 900, LARGE_VALUE = 8000 };

static void check_large(kv_store *store)
{
    char *value = must_alloc(LARGE_VALUE);
    uint32_t key;
    size_t len;

    CHECK_EQ(store_stats(store).keys, LARGE_KEYS);
    for (key = 0; key < LARGE_KEYS; key++) {
        CHECK_OK(kv_get_into(store, &key, sizeof key, value, LARGE_VALUE, &len));
        CHECK_EQ(len, LARGE_VALUE);
        CHECK(value[0] == (char)key && value[LARGE_VALUE - 1] == (char)key);
    }
    free(value);
}

/* Replayed from the log, then written to a checkpoint, then loaded from that. */
static void test_helping_threads(void)
{
    char *dir = make_temp_dir(), *value = must_alloc(LARGE_VALUE);
    kv_options options;
    kv_store *store;
    uint32_t key;

    kv_options_init(&options);
    options.sync = KV_SYNC_NONE;
    options.checkpoint_wal_bytes = UINT64_MAX;
    CHECK_OK(kv_open(dir, &options, &store));
    for (key = 0; key < LARGE_KEYS; key++) {
        memset(value, (char)key, LARGE_VALUE);
        CHECK_OK(kv_set(store, &key, sizeof key, value, LARGE_VALUE));
    }
    CHECK_OK(kv_close(store));
    free(value);

    CHECK_OK(kv_open(dir, &options, &store));
    CHECK_EQ(recovery_report(store).records_replayed, LARGE_KEYS);
    check_large(store);
    CHECK_OK(kv_checkpoint(store));
    CHECK_OK(kv_close(store));

    CHECK_OK(kv_open(dir, &options, &store));
    CHECK_EQ(recovery_report(store).checkpoint_keys, LARGE_KEYS);
    check_large(store);
    CHECK_OK(kv_close(store));
    remove_temp_dir(dir);
}

static const struct test TESTS[] = {
    {"8 threads, every write synced", test_every_write_synced},
    {"8 threads, background sync and checkpoints", test_background_threads},
    {"threads that help with a large store", test_helping_threads},
};

int main(int argc, char **argv)
{
    if (argc > 1)
        iterations = atoi(argv[1]);
    if (argc > 2 || iterations < LOCKED_KEYS) {
        fprintf(stderr, "usage: threads_test [ITERATIONS], at least %d of them\n", LOCKED_KEYS);
        return 2;
    }
    run_tests(TESTS, ARRAY_LEN(TESTS));
    printf("%zu/%zu tests passed\n", ARRAY_LEN(TESTS), ARRAY_LEN(TESTS));
    return 0;
}
