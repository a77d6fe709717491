/*
 * The longest that a get waits beside durable writers, and a get or a set beside scans. There are never more busy
 * threads than two, and each figure has its neighbours: the same without the scan, and, both with and without it, a
 * thread that only reads the clock and one that only writes to a file. A pause that those see, too, is the machine's.
 */
#include <unistd.h>

#include "fail.h"
#include "kvwal_work.h"

enum { DRAWN_KEYS = 1 << 20, WRITERS = 8 };

static int count_key(void *context, const void *key, size_t key_len, const void *value, size_t value_len)
{
    uint64_t *count = context;

    (void)key, (void)key_len, (void)value, (void)value_len;
    ++*count;
    return 0;
}

static void scan_again_and_again(struct companion *companion)
{
    while (companion_goes_on(companion))
        kvwal_check(kv_scan(companion->context, NULL, 0, count_key, &companion->ops), "kv_scan");
}

static void set_durably(struct companion *companion)
{
    struct kvwal_work *work = companion->context;

    for (; companion_goes_on(companion); companion->ops++) {
        const struct key *key = &work->keys[companion->ops % work->key_count];

        kvwal_check(kv_set(work->store, key->bytes, KEY_LEN, value_of(&work->pool, key), work->options->value_len),
                    "kv_set");
    }
}

static void measure(struct kvwal_work *work, enum operation operation, const char *name)
{
    struct team_outcome *outcome;

    work->operation = operation;
    outcome = kvwal_measure(work, 1, false);
    kvwal_report(work->options, name, 1, outcome);
    free(outcome);
    kvwal_check(kv_sync(work->store), "kv_sync");
    if (fdatasync(work->fd) != 0)
        FAIL_ERRNO("fdatasync");
}

static void measure_beside_scan(struct kvwal_work *work, enum operation operation, const char *name)
{
    struct companion scan = {.work = scan_again_and_again, .context = work->store};

    companion_start(&scan);
    measure(work, operation, name);
    companion_stop(&scan);
    if (scan.ops == 0)
        FAIL("no scan ran beside %s", name);
}

static void measure_beside_writers(struct kvwal_work *work, enum operation operation, const char *name)
{
    struct companion writers[WRITERS] = {0};

    for (unsigned i = 0; i < WRITERS; i++) {
        writers[i].work = set_durably;
        writers[i].context = work;
        companion_start(&writers[i]);
    }
    measure(work, operation, name);
    for (unsigned i = 0; i < WRITERS; i++)
        companion_stop(&writers[i]);
}

static void report_scan(const struct kvwal_work *work)
{
    struct team_outcome scan = {0};
    uint64_t start = now_ns();

    kvwal_check(kv_scan(work->store, NULL, 0, count_key, &scan.ops), "kv_scan");
    scan.seconds = seconds_since(start);
    if (scan.ops != work->options->keys)
        FAIL("a scan saw %llu keys", (unsigned long long)scan.ops);
    kvwal_report(work->options, "scan", 1, &scan);
}

void pauses(const struct bench *bench)
{
    const struct options *options = bench->options;
    struct key *keys = keys_drawn(DRAWN_KEYS, options->keys, UNIFORM, options->seed, options->seed);
    struct kvwal_work work = {
        .options = options,
        .keys = keys,
        .key_count = DRAWN_KEYS,
        .pool = value_pool_new(options->value_len, options->seed),
        .store = kvwal_open(bench, KV_SYNC_NONE),
        .fd = kvwal_open_written(bench),
    };

    kvwal_load(bench, work.store, &work.pool);
    report_scan(&work);
    measure(&work, READ_CLOCK, "clock");
    measure_beside_scan(&work, READ_CLOCK, "clock-beside-scan");
    measure(&work, GET, "get");
    measure_beside_scan(&work, GET, "get-beside-scan");
    measure(&work, WRITE_FILE, "write");
    measure_beside_scan(&work, WRITE_FILE, "write-beside-scan");
    measure(&work, SET, "set");
    measure_beside_scan(&work, SET, "set-beside-scan");
    kvwal_close(work.store);
    work.store = kvwal_open(bench, KV_SYNC_ALWAYS);
    measure_beside_writers(&work, READ_CLOCK, "clock-beside-writers");
    measure_beside_writers(&work, GET, "get-beside-writers");
    kvwal_close(work.store);
    close(work.fd);
    free(keys);
    free(work.pool.bytes);
}
