/* Opening: from a checkpoint, from a log; how many threads it starts; how all that grows with the store. */
#include <fcntl.h>
#include <sys/resource.h>
#include <unistd.h>

#include "fail.h"
#include "kvwal_work.h"
#include "memory.h"
#include "result.h"

enum { DRAWN_KEYS = 1 << 20 };

static double cpu_seconds(void)
{
    struct rusage usage;

    getrusage(RUSAGE_SELF, &usage);
    return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
           (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

static kv_store *open_and_report(const struct bench *bench, const char *name, const char *file)
{
    uint64_t bytes = kvwal_file_bytes(bench, file);
    double cpu_before = cpu_seconds();
    uint64_t start = now_ns();
    kv_store *store = kvwal_open(bench, KV_SYNC_ALWAYS);
    double seconds = seconds_since(start);
    double busy = (cpu_seconds() - cpu_before) / seconds;
    uint64_t resident = memory_resident();
    uint64_t peak = memory_peak();
    kv_stats stats = {.struct_size = sizeof stats};

    kvwal_check(kv_stats_get(store, &stats), "kv_stats_get");
    if (stats.keys != bench->options->keys)
        FAIL("%llu keys after opening", (unsigned long long)stats.keys);
    result_begin(bench->options,
                 &(struct result){.name = name, .threads = 1, .ops = stats.keys, .seconds = seconds});
    result_number("mb_per_s", (double)bytes / seconds / 1e6);
    result_number("busy_cores", busy);
    result_number("resident_mib", (double)resident / (1 << 20));
    result_number("peak_above_mib", peak > resident ? (double)(peak - resident) / (1 << 20) : 0);
    result_end();
    return store;
}

static void load_and_checkpoint(const struct bench *bench)
{
    const struct options *options = bench->options;
    struct value_pool pool = value_pool_new(options->value_len, options->seed);
    kv_store *store = kvwal_open(bench, KV_SYNC_NONE);
    uint64_t start;

    kvwal_load(bench, store, &pool);
    start = now_ns();
    kvwal_check(kv_checkpoint(store), "kv_checkpoint");
    result_print(options, &(struct result){.name = "checkpoint",
                                           .threads = 1,
                                           .ops = options->keys,
                                           .seconds = seconds_since(start)});
    kvwal_close(store);
}

static void open_warm(const struct bench *bench)
{
    kvwal_close(open_and_report(bench, "warm", "checkpoint.dat"));
}

/* Makes the kernel forget the checkpoint; for all of it that takes root. */
static void drop_from_cache(const struct bench *bench)
{
    char path[4096];
    int fd;

    sync();
    snprintf(path, sizeof path, "%s/checkpoint.dat", bench_dir(bench, 0));
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED) != 0)
        FAIL_ERRNO(path);
    close(fd);
    fd = open("/proc/sys/vm/drop_caches", O_WRONLY | O_CLOEXEC);
    if (fd >= 0 && write(fd, "1", 1) != 1)
        FAIL_ERRNO("drop_caches");
    if (fd >= 0)
        close(fd);
}

static void open_cold(const struct bench *bench)
{
    drop_from_cache(bench);
    kvwal_close(open_and_report(bench, "cold", "checkpoint.dat"));
}

void reopen(const struct bench *bench)
{
    in_child(bench, load_and_checkpoint);
    in_child(bench, open_warm);
    in_child(bench, open_cold);
}

/*
 * The log ends in one set behind a sync: nearly all of it is proven to have been synced, as it is in a store that has
 * been at work for a while, and need not be written again.
 */
static void write_log(const struct bench *bench)
{
    const struct options *options = bench->options;
    struct value_pool pool = value_pool_new(options->value_len, options->seed);
    struct key *keys = keys_in_order(options->keys, options->seed);
    kv_store *store = kvwal_open(bench, KV_SYNC_INTERVAL);

    for (size_t i = 0; i < options->keys; i++) {
        if (i == options->keys - 1)
            kvwal_check(kv_sync(store), "kv_sync");
        kvwal_check(kv_set(store, keys[i].bytes, KEY_LEN, value_of(&pool, &keys[i]), options->value_len), "kv_set");
    }
    kvwal_close(store);
}

static void open_log(const struct bench *bench)
{
    kvwal_close(open_and_report(bench, "warm", "wal.log"));
}

void replay(const struct bench *bench)
{
    in_child(bench, write_log);
    in_child(bench, open_log);
}

static void open_and_set(const struct bench *bench)
{
    const struct options *options = bench->options;
    struct key *keys = keys_drawn(DRAWN_KEYS, options->keys, UNIFORM, options->seed, options->seed);
    struct kvwal_work work = {
        .options = options,
        .operation = SET,
        .keys = keys,
        .key_count = DRAWN_KEYS,
        .pool = value_pool_new(options->value_len, options->seed),
        .store = open_and_report(bench, "open", "checkpoint.dat"),
    };
    struct team_outcome *outcome = kvwal_measure(&work, 1, false);

    kvwal_report(options, "set-durable", 1, outcome);
    kvwal_close(work.store);
}

void scaling(const struct bench *bench)
{
    in_child(bench, load_and_checkpoint);
    in_child(bench, open_and_set);
}

static const struct {
    const char *name;
    int sync;
    uint64_t checkpoint_wal_bytes, preallocate;
} option_sets[] = {
    {"always", KV_SYNC_ALWAYS, 0, 0},
    {"interval", KV_SYNC_INTERVAL, 0, 0},
    {"none", KV_SYNC_NONE, 0, 0},
    {"always-no-checkpoints", KV_SYNC_ALWAYS, UINT64_MAX, 0},
    {"always-no-checkpoints-no-preallocation", KV_SYNC_ALWAYS, UINT64_MAX, UINT64_MAX},
    {"none-no-checkpoints-no-preallocation", KV_SYNC_NONE, UINT64_MAX, UINT64_MAX},
};

void threads_started(const struct bench *bench)
{
    for (unsigned i = 0; i < sizeof option_sets / sizeof option_sets[0]; i++) {
        kv_options options;
        kv_store *store;

        kv_options_init(&options);
        options.sync = option_sets[i].sync;
        options.checkpoint_wal_bytes = option_sets[i].checkpoint_wal_bytes;
        options.preallocate = option_sets[i].preallocate;
        kvwal_check(kv_open(bench_dir(bench, i), &options, &store), "kv_open");
        result_begin(bench->options, &(struct result){.name = option_sets[i].name});
        result_number("started", thread_count() - 1);
        result_end();
        kvwal_close(store);
    }
}
