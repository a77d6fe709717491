/* How much memory a store takes: what this process has resident more than before it was opened. */
#include "fail.h"
#include "memory.h"
#include "result.h"
#include "stores.h"
#include "workloads.h"

enum { ROUNDS = 10, SMALLEST = 50, LARGEST = 150 };

struct footprint {
    const struct bench *bench;
    void *handle, *session;
    struct key *keys;
    struct value_pool pool;
    uint64_t before; /* resident, without the store */
    uint64_t loaded; /* what the store took once it was loaded */
};

static uint64_t taken(const struct footprint *footprint)
{
    uint64_t now = memory_resident();

    return now > footprint->before ? now - footprint->before : 0;
}

static void report(const struct footprint *footprint, const char *name)
{
    const struct options *options = footprint->bench->options;
    uint64_t bytes = taken(footprint);
    double a_key = (double)bytes / (double)options->keys;

    result_begin(options, &(struct result){.name = name, .threads = 1, .ops = options->keys});
    result_number("bytes_per_key", a_key - (double)(KEY_LEN + options->value_len));
    result_number("resident_mib", (double)bytes / (1 << 20));
    result_number("ratio", (double)bytes / (double)footprint->loaded);
    result_end();
}

static struct footprint load(const struct bench *bench)
{
    const struct options *options = bench->options;
    struct footprint footprint = {.bench = bench};
    struct store_config config = {
        .dir = bench_dir(bench, 0), .durability = RELAXED, .keys = options->keys, .threads = 1};

    if (!bench->store->is_relaxed && !bench->store->is_in_memory)
        CANNOT("%s cannot be loaded", bench->store->name);
    footprint.keys = keys_in_order(options->keys, options->seed);
    footprint.pool = value_pool_new(LARGEST > options->value_len ? LARGEST : options->value_len, options->seed);
    footprint.before = memory_resident();
    footprint.handle = store_open(bench->store, &config);
    footprint.session = session_begin(bench->store, footprint.handle);
    load_keys(bench, footprint.session, footprint.keys, options->keys, &footprint.pool, options->value_len);
    if (bench->store->checkpoint != NULL && bench->store->checkpoint(footprint.handle) != 0)
        FAIL("%s: checkpoint failed", bench->store->name);
    footprint.loaded = taken(&footprint);
    report(&footprint, "loaded");
    return footprint;
}

static void finish(struct footprint *footprint)
{
    session_end(footprint->bench->store, footprint->session);
    store_close(footprint->bench->store, footprint->handle);
    free(footprint->keys);
    free(footprint->pool.bytes);
}

void memory(const struct bench *bench)
{
    struct footprint footprint = load(bench);

    finish(&footprint);
}

static size_t random_size(unsigned round, uint64_t *state)
{
    (void)round;
    return SMALLEST + random_next(state) % (LARGEST - SMALLEST + 1);
}

/* The last round has the size that the keys were loaded with, so that what they need is the same. */
static size_t size_of_round(unsigned round, uint64_t *state)
{
    static const size_t sizes[ROUNDS] = {60, 140, 80, 120, 50, 150, 70, 130, 90, 100};

    (void)state;
    return sizes[round];
}

static void overwrite(const struct bench *bench, const char *name, size_t (*size)(unsigned round, uint64_t *state))
{
    const struct store *store = bench->store;
    struct footprint footprint = load(bench);
    uint64_t state = bench->options->seed;

    for (unsigned round = 0; round < ROUNDS; round++) {
        for (size_t i = 0; i < bench->options->keys; i++) {
            const struct key *key = &footprint.keys[i];

            if (store->set(footprint.session, key->bytes, KEY_LEN, value_of(&footprint.pool, key), size(round, &state)))
                FAIL("%s: a set failed", store->name);
        }
    }
    if (store->checkpoint != NULL && store->checkpoint(footprint.handle) != 0)
        FAIL("%s: checkpoint failed", store->name);
    report(&footprint, name);
    finish(&footprint);
}

void memory_random(const struct bench *bench)
{
    overwrite(bench, "random-sizes", random_size);
}

void memory_fixed(const struct bench *bench)
{
    overwrite(bench, "one-size-a-round", size_of_round);
}
