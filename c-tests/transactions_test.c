/*
 * Transactions, set if absent, compare and set: what they see, what they write, what they return; then eight threads that
 * move money between accounts and count what they do. To be clean under memcheck, helgrind and drd.
 *
 *     transactions_test [ITERATIONS]    per thread; 300 unless told, about 30 for helgrind and 8 for drd
 */
#include <pthread.h>

#include "support.h"

enum { THREADS = 8, ACCOUNTS = 4, START = 1000 };

static int iterations = 300;

/* ---- A store of its own for each test ---- */

struct fixture {
    char *dir;
    kv_store *store;
};

static struct fixture open_fixture(int sync)
{
    struct fixture f = {make_temp_dir(), NULL};
    kv_options options;

    kv_options_init(&options);
    options.sync = sync;
    CHECK_OK(kv_open(f.dir, &options, &f.store));
    return f;
}

static void close_fixture(struct fixture *f)
{
    CHECK_OK(kv_close(f->store));
    remove_temp_dir(f->dir);
}

static void check_value(kv_store *store, const char *key, const char *expected)
{
    void *value;
    size_t len;

    CHECK_OK(kv_get(store, key, strlen(key), &value, &len));
    CHECK_BYTES(value, len, expected, strlen(expected));
    kv_free(value);
}

static void check_absent(kv_store *store, const char *key)
{
    void *value;
    size_t len;

    CHECK_CODE(kv_get(store, key, strlen(key), &value, &len), KV_NOT_FOUND);
}

static int set_text(kv_txn *t, const char *key, const char *value)
{
    return kv_txn_set(t, key, strlen(key), value, strlen(value));
}

static void check_seen(kv_txn *t, const char *key, const char *expected)
{
    const void *value;
    size_t len;

    CHECK_OK(kv_txn_get(t, key, strlen(key), &value, &len));
    CHECK(value != NULL);
    CHECK_BYTES(value, len, expected, strlen(expected));
}

static void check_not_seen(kv_txn *t, const char *key)
{
    const void *value = t;
    size_t len = 1;

    CHECK_CODE(kv_txn_get(t, key, strlen(key), &value, &len), KV_NOT_FOUND);
    CHECK(value == NULL && len == 0);
}

/* ---- What a transaction sees and writes ---- */

static int change_and_look(void *ctx, kv_txn *t)
{
    const void *first;
    size_t len;

    (*(int *)ctx)++;
    check_seen(t, "there", "before");
    CHECK_OK(kv_txn_get(t, "there", 5, &first, &len));
    check_not_seen(t, "none");
    CHECK_OK(set_text(t, "there", "after"));
    CHECK_OK(set_text(t, "new", ""));
    CHECK_OK(kv_txn_set_ttl(t, "short", 5, "soon gone", 9, 60000));
    check_seen(t, "there", "after");
    check_seen(t, "new", "");
    check_seen(t, "short", "soon gone");
    CHECK_OK(kv_txn_del(t, "gone", 4));
    CHECK_CODE(kv_txn_del(t, "gone", 4), KV_NOT_FOUND);
    check_not_seen(t, "gone");
    /* What was found stays, although the key has been set since. */
    CHECK_BYTES(first, len, "before", 6);
    return 0;
}

static void test_sees_its_own_changes(void)
{
    static const int MODES[] = {KV_SYNC_ALWAYS, KV_SYNC_INTERVAL, KV_SYNC_NONE};
    size_t mode;

    for (mode = 0; mode < ARRAY_LEN(MODES); mode++) {
        struct fixture f = open_fixture(MODES[mode]);
        int runs = 0;
        kv_stats stats;

        CHECK_OK(kv_set(f.store, "there", 5, "before", 6));
        CHECK_OK(kv_set(f.store, "gone", 4, "1", 1));
        CHECK_OK(kv_transact(f.store, change_and_look, &runs));
        CHECK_EQ(runs, 1);
        check_value(f.store, "there", "after");
        check_value(f.store, "new", "");
        check_value(f.store, "short", "soon gone");
        check_absent(f.store, "gone");
        stats = store_stats(f.store);
        CHECK_EQ(stats.last_lsn, 6);
        CHECK_EQ(stats.commits, 3);
        CHECK_EQ(stats.sets, 5);
        CHECK_EQ(stats.dels, 1);
        close_fixture(&f);
    }
}

static int change_and_refuse(void *ctx, kv_txn *t)
{
    CHECK_OK(set_text(t, "there", "changed"));
    CHECK_OK(set_text(t, "new", "1"));
    return *(int *)ctx;
}

static void test_non_zero_writes_nothing(void)
{
    struct fixture f = open_fixture(KV_SYNC_ALWAYS);
    int results[] = {1, -1, KV_NO_SPACE};
    size_t at;

    CHECK_OK(kv_set(f.store, "there", 5, "before", 6));
    for (at = 0; at < ARRAY_LEN(results); at++) {
        CHECK_CODE(kv_transact(f.store, change_and_refuse, &results[at]), KV_CONFLICT);
        check_value(f.store, "there", "before");
        check_absent(f.store, "new");
    }
    CHECK_EQ(store_stats(f.store).syncs, 1);
    CHECK_EQ(store_stats(f.store).errors, 0);
    close_fixture(&f);
}

static int misuse(void *ctx, kv_txn *t)
{
    static char key[KV_MAX_KEY_LEN + 1];
    const void *value = t;
    size_t len = 1;
    kv_store *store = ctx;
    kv_batch *batch = kv_batch_new();

    CHECK_CODE(kv_txn_get(NULL, "k", 1, &value, &len), KV_INVALID);
    CHECK(value == NULL && len == 0);
    CHECK_CODE(kv_txn_get(t, NULL, 1, &value, &len), KV_INVALID);
    CHECK_CODE(kv_txn_get(t, "k", 1, NULL, &len), KV_INVALID);
    CHECK_CODE(kv_txn_get(t, "k", 1, &value, NULL), KV_INVALID);
    CHECK_CODE(kv_txn_get(t, key, sizeof key, &value, &len), KV_TOO_LARGE);
    CHECK_CODE(kv_txn_set(NULL, "k", 1, "v", 1), KV_INVALID);
    CHECK_CODE(kv_txn_set(t, "k", 1, NULL, 1), KV_INVALID);
    CHECK_CODE(kv_txn_set(t, key, sizeof key, "v", 1), KV_TOO_LARGE);
    CHECK_CODE(kv_txn_set(t, "k", 1, "v", (size_t)KV_MAX_VALUE_LEN + 1), KV_TOO_LARGE);
    CHECK_CODE(kv_txn_set_ttl(NULL, "k", 1, "v", 1, 1), KV_INVALID);
    CHECK_CODE(kv_txn_set_ttl(t, "k", 1, "v", 1, 0), KV_INVALID);
    CHECK_CODE(kv_txn_del(NULL, "k", 1), KV_INVALID);
    CHECK_CODE(kv_txn_del(t, key, sizeof key), KV_TOO_LARGE);
    /* The store itself is not to be written to in here. */
    CHECK_CODE(kv_set(store, "k", 1, "v", 1), KV_INVALID);
    CHECK(strstr(kv_errmsg(), "transaction") != NULL);
    CHECK_OK(kv_batch_set(batch, "k", 1, "v", 1));
    CHECK_CODE(kv_write(store, batch), KV_INVALID);
    CHECK_CODE(kv_del(store, "there", 5), KV_INVALID);
    CHECK_CODE(kv_set_if_absent(store, "k", 1, "v", 1), KV_INVALID);
    CHECK_CODE(kv_transact(store, misuse, store), KV_INVALID);
    CHECK_CODE(kv_sync(store), KV_INVALID);
    CHECK_CODE(kv_checkpoint(store), KV_INVALID);
    kv_batch_free(batch);
    check_value(store, "there", "before");
    return 0;
}

static void test_misuse(void)
{
    struct fixture f = open_fixture(KV_SYNC_ALWAYS);

    CHECK_OK(kv_set(f.store, "there", 5, "before", 6));
    CHECK_CODE(kv_transact(NULL, misuse, f.store), KV_INVALID);
    CHECK_CODE(kv_transact(f.store, NULL, NULL), KV_INVALID);
    CHECK_OK(kv_transact(f.store, misuse, f.store));
    CHECK_EQ(store_stats(f.store).keys, 1);
    CHECK_OK(kv_set(f.store, "k", 1, "v", 1));
    close_fixture(&f);
}

/* ---- Conditional writes ---- */

static void test_set_if_absent(void)
{
    struct fixture f = open_fixture(KV_SYNC_ALWAYS);
    static char key[KV_MAX_KEY_LEN + 1];

    CHECK_OK(kv_set_if_absent(f.store, "key", 3, "1", 1));
    CHECK_CODE(kv_set_if_absent(f.store, "key", 3, "2", 1), KV_CONFLICT);
    check_value(f.store, "key", "1");
    CHECK_EQ(store_stats(f.store).syncs, 1);
    CHECK_OK(kv_del(f.store, "key", 3));
    CHECK_OK(kv_set_if_absent(f.store, "key", 3, NULL, 0));
    check_value(f.store, "key", "");
    CHECK_CODE(kv_set_if_absent(NULL, "key", 3, "1", 1), KV_INVALID);
    CHECK_CODE(kv_set_if_absent(f.store, NULL, 3, "1", 1), KV_INVALID);
    CHECK_CODE(kv_set_if_absent(f.store, "key", 3, NULL, 1), KV_INVALID);
    CHECK_CODE(kv_set_if_absent(f.store, key, sizeof key, "1", 1), KV_TOO_LARGE);
    close_fixture(&f);
}

static void test_compare_and_set(void)
{
    struct fixture f = open_fixture(KV_SYNC_ALWAYS);
    static char key[KV_MAX_KEY_LEN + 1];

    CHECK_CODE(kv_compare_and_set(f.store, "key", 3, NULL, 0, "1", 1), KV_NOT_FOUND);
    check_absent(f.store, "key");
    CHECK_OK(kv_set_ttl(f.store, "key", 3, "1", 1, 60000));
    CHECK_CODE(kv_compare_and_set(f.store, "key", 3, "2", 1, "3", 1), KV_CONFLICT);
    CHECK_CODE(kv_compare_and_set(f.store, "key", 3, "12", 2, "3", 1), KV_CONFLICT);
    CHECK_CODE(kv_compare_and_set(f.store, "key", 3, NULL, 0, "3", 1), KV_CONFLICT);
    check_value(f.store, "key", "1");
    CHECK_OK(kv_compare_and_set(f.store, "key", 3, "1", 1, NULL, 0));
    check_value(f.store, "key", "");
    CHECK_OK(kv_compare_and_set(f.store, "key", 3, NULL, 0, "longer", 6));
    check_value(f.store, "key", "longer");
    CHECK_CODE(kv_compare_and_set(NULL, "key", 3, "1", 1, "2", 1), KV_INVALID);
    CHECK_CODE(kv_compare_and_set(f.store, NULL, 3, "1", 1, "2", 1), KV_INVALID);
    CHECK_CODE(kv_compare_and_set(f.store, "key", 3, NULL, 1, "2", 1), KV_INVALID);
    CHECK_CODE(kv_compare_and_set(f.store, "key", 3, "1", 1, NULL, 2), KV_INVALID);
    CHECK_CODE(kv_compare_and_set(f.store, key, sizeof key, "1", 1, "2", 1), KV_TOO_LARGE);
    close_fixture(&f);
}

/* ---- Threads ---- */

struct worker {
    pthread_t thread;
    int number;
    kv_store *store;
    /* Written by the transaction's function, on whatever thread that runs. */
    int64_t last_count;
    /* How often this thread won the race for a key. */
    int won;
};

static int64_t read_number(kv_txn *t, const char *key)
{
    const void *value;
    size_t len;
    int64_t number = 0;

    if (kv_txn_get(t, key, strlen(key), &value, &len) == KV_OK) {
        CHECK_EQ(len, sizeof number);
        memcpy(&number, value, sizeof number);
    }
    return number;
}

static void write_number(kv_txn *t, const char *key, int64_t number)
{
    CHECK_OK(kv_txn_set(t, key, strlen(key), &number, sizeof number));
}

static int count_up(void *ctx, kv_txn *t)
{
    struct worker *worker = ctx;

    worker->last_count = read_number(t, "count") + 1;
    write_number(t, "count", worker->last_count);
    return 0;
}

/* From one account to the next, unless it has not enough. */
static int move_money(void *ctx, kv_txn *t)
{
    struct worker *worker = ctx;
    char from[16], to[16];
    int64_t has, amount = worker->last_count % 500;

    snprintf(from, sizeof from, "account %d", worker->number % ACCOUNTS);
    snprintf(to, sizeof to, "account %d", (worker->number + 1) % ACCOUNTS);
    has = read_number(t, from);
    if (has < amount)
        return 1;
    write_number(t, from, has - amount);
    write_number(t, to, read_number(t, to) + amount);
    return 0;
}

static int check_sum(void *ctx, kv_txn *t)
{
    char account[16];
    int64_t sum = 0;
    int at;

    (void)ctx;
    for (at = 0; at < ACCOUNTS; at++) {
        snprintf(account, sizeof account, "account %d", at);
        sum += read_number(t, account);
    }
    CHECK_EQ(sum, ACCOUNTS * START);
    return 0;
}

static void *work(void *argument)
{
    struct worker *worker = argument;
    int i;

    for (i = 0; i < iterations; i++) {
        int64_t before = worker->last_count;
        char key[32];
        int code;

        CHECK_OK(kv_transact(worker->store, count_up, worker));
        CHECK(worker->last_count > before);
        code = kv_transact(worker->store, move_money, worker);
        CHECK(code == KV_OK || code == KV_CONFLICT);
        CHECK_OK(kv_transact(worker->store, check_sum, NULL));
        CHECK_OK(kv_set(worker->store, "plain", 5, &i, sizeof i));
        snprintf(key, sizeof key, "race %d", i);
        code = kv_set_if_absent(worker->store, key, strlen(key), &i, sizeof i);
        CHECK(code == KV_OK || code == KV_CONFLICT);
        worker->won += code == KV_OK;
        if (i % 50 == 49 && worker->number == 0)
            CHECK_OK(kv_checkpoint(worker->store));
    }
    return NULL;
}

static int open_accounts(void *ctx, kv_txn *t)
{
    char account[16];
    int at;

    (void)ctx;
    for (at = 0; at < ACCOUNTS; at++) {
        snprintf(account, sizeof account, "account %d", at);
        write_number(t, account, START);
    }
    return 0;
}

static void run_threads(int sync)
{
    struct fixture f = open_fixture(sync);
    struct worker workers[THREADS];
    int64_t count;
    size_t len;
    int at, won = 0;

    memset(workers, 0, sizeof workers);
    CHECK_OK(kv_transact(f.store, open_accounts, NULL));
    for (at = 0; at < THREADS; at++) {
        workers[at].number = at;
        workers[at].store = f.store;
        CHECK_EQ(pthread_create(&workers[at].thread, NULL, work, &workers[at]), 0);
    }
    for (at = 0; at < THREADS; at++) {
        CHECK_EQ(pthread_join(workers[at].thread, NULL), 0);
        won += workers[at].won;
    }
    CHECK_OK(kv_get_into(f.store, "count", 5, &count, sizeof count, &len));
    CHECK_EQ(count, (int64_t)THREADS * iterations);
    CHECK_EQ(won, iterations);
    CHECK_OK(kv_transact(f.store, check_sum, NULL));
    CHECK_OK(kv_close(f.store));
    CHECK_OK(kv_open(f.dir, NULL, &f.store));
    CHECK_OK(kv_transact(f.store, check_sum, NULL));
    close_fixture(&f);
}

static void test_threads_synced(void)
{
    run_threads(KV_SYNC_ALWAYS);
}

static void test_threads_interval(void)
{
    run_threads(KV_SYNC_INTERVAL);
}

static void test_threads_not_synced(void)
{
    run_threads(KV_SYNC_NONE);
}

static const struct test TESTS[] = {
    {"a transaction sees its own changes", test_sees_its_own_changes},
    {"non-zero writes nothing", test_non_zero_writes_nothing},
    {"wrong arguments, and the store inside", test_misuse},
    {"kv_set_if_absent", test_set_if_absent},
    {"kv_compare_and_set", test_compare_and_set},
    {"8 threads, every write synced", test_threads_synced},
    {"8 threads, background sync", test_threads_interval},
    {"8 threads, no sync", test_threads_not_synced},
};

int main(int argc, char **argv)
{
    if (argc > 1)
        iterations = atoi(argv[1]);
    if (argc > 2 || iterations < 1) {
        fprintf(stderr, "usage: transactions_test [ITERATIONS]\n");
        return 2;
    }
    run_tests(TESTS, ARRAY_LEN(TESTS));
    printf("%zu/%zu tests passed\n", ARRAY_LEN(TESTS), ARRAY_LEN(TESTS));
    return 0;
}
