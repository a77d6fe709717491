/* Checkpoints: how fast they are, what durable sets beside them notice, and how much memory they take. */
#include "fail.h"
#include "kvwal_work.h"
#include "memory.h"
#include "result.h"

enum { DRAWN_KEYS = 1 << 20, CHECKPOINTS = 3 };

static void report_bandwidth(const struct bench *bench, kv_store *store)
{
    uint64_t start = now_ns();
    double seconds;

    for (unsigned i = 0; i < CHECKPOINTS; i++)
        kvwal_check(kv_checkpoint(store), "kv_checkpoint");
    seconds = seconds_since(start) / CHECKPOINTS;
    result_begin(bench->options, &(struct result){
                                     .name = "stream", .threads = 1, .ops = bench->options->keys, .seconds = seconds});
    result_number("mb_per_s", (double)kvwal_file_bytes(bench, "checkpoint.dat") / seconds / 1e6);
    result_end();
}

static void checkpoint_again_and_again(struct companion *companion)
{
    for (; companion_goes_on(companion); companion->ops++)
        kvwal_check(kv_checkpoint(companion->context), "kv_checkpoint");
}

/* Returns the most that was resident meanwhile. */
static uint64_t measure_sets(struct kvwal_work *work, const char *name, uint64_t peak_without)
{
    unsigned threads = work->options->threads[0];
    struct team_outcome *outcome;
    uint64_t peak;

    memory_peak_reset();
    outcome = kvwal_measure(work, threads, false);
    peak = memory_peak();
    result_begin(work->options, &(struct result){.name = name,
                                                 .threads = threads,
                                                 .ops = outcome->ops,
                                                 .seconds = outcome->seconds,
                                                 .latency = &outcome->latency});
    result_number("peak_mib", (double)peak / (1 << 20));
    if (peak_without > 0)
        result_number("extra_mib", ((double)peak - (double)peak_without) / (1 << 20));
    result_end();
    free(outcome);
    return peak;
}

static void measure_beside(struct kvwal_work *work)
{
    struct companion checkpoints = {.work = checkpoint_again_and_again, .context = work->store};
    uint64_t peak_without = measure_sets(work, "set", 0);

    companion_start(&checkpoints);
    measure_sets(work, "set-beside", peak_without);
    companion_stop(&checkpoints);
    if (checkpoints.ops == 0)
        FAIL("no checkpoint ran beside the sets");
}

static void load_and_stream(const struct bench *bench)
{
    const struct options *options = bench->options;
    struct value_pool pool = value_pool_new(options->value_len, options->seed);
    kv_store *store = kvwal_open(bench, KV_SYNC_NONE);

    kvwal_load(bench, store, &pool);
    report_bandwidth(bench, store);
    kvwal_close(store);
}

static void set_beside(const struct bench *bench)
{
    const struct options *options = bench->options;
    struct key *keys = keys_drawn(DRAWN_KEYS, options->keys, UNIFORM, options->seed, options->seed);
    struct kvwal_work work = {
        .options = options,
        .operation = SET,
        .keys = keys,
        .key_count = DRAWN_KEYS,
        .pool = value_pool_new(options->value_len, options->seed),
        .store = kvwal_open(bench, KV_SYNC_ALWAYS),
    };

    measure_beside(&work);
    kvwal_close(work.store);
}

void checkpoint(const struct bench *bench)
{
    in_child(bench, load_and_stream);
    in_child(bench, set_beside);
}
