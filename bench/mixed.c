/* Workloads in which every thread reads and writes. */
#include "clock.h"
#include "fail.h"
#include "result.h"
#include "stores.h"
#include "team.h"
#include "workloads.h"

enum { DRAWN_KEYS = 1 << 20 };

struct mixed_context {
    const struct bench *bench;
    void *handle;
    const struct key *keys;
    const struct value_pool *pool;
    unsigned percent_gets;
};

static void get_one(const struct bench *bench, void *session, const struct key *key, char *buf)
{
    size_t len = bench->options->value_len;
    struct lookup lookup = {.key = key->bytes, .key_len = KEY_LEN, .buf = buf, .buf_len = len};

    if (bench->store->get(session, &lookup) != 0 || !lookup.found || lookup.value_len != len)
        FAIL("%s: a get failed", bench->store->name);
}

static void get_and_set(struct worker *worker)
{
    const struct mixed_context *context = worker->context;
    const struct bench *bench = context->bench;
    size_t len = bench->options->value_len;
    size_t at = (size_t)worker->number * (DRAWN_KEYS / MAX_THREADS);
    uint64_t choice = splitmix64(worker->number);
    void *session = session_begin(bench->store, context->handle);
    char *buf = must(malloc(len));

    team_start(worker);
    for (; team_goes_on(worker); worker->ops++) {
        const struct key *key = &context->keys[at++ % DRAWN_KEYS];
        uint64_t start;

        if (random_next(&choice) % 100 < context->percent_gets) {
            get_one(bench, session, key, buf);
            continue;
        }
        start = now_ns();
        if (bench->store->set(session, key->bytes, KEY_LEN, value_of(context->pool, key), len) != 0)
            FAIL("%s: a set failed", bench->store->name);
        histogram_add(&worker->latency, now_ns() - start);
    }
    team_finish(worker);
    session_end(bench->store, session);
    free(buf);
}

static void *open_loaded(const struct bench *bench, struct store_config *config, const struct value_pool *pool)
{
    void *handle;

    config->durability = RELAXED;
    handle = store_open(bench->store, config);
    load_store(bench, handle, pool);
    store_close(bench->store, handle);
    config->durability = DURABLE;
    return store_open(bench->store, config);
}

static void measure(const struct bench *bench, unsigned number, unsigned percent_gets, const struct value_pool *pool,
                    const struct key *keys)
{
    const struct options *options = bench->options;
    unsigned threads = options->threads[number];
    struct store_config config = {.dir = bench_dir(bench, number), .keys = options->keys, .threads = threads};
    struct mixed_context context = {
        .bench = bench,
        .handle = open_loaded(bench, &config, pool),
        .keys = keys,
        .pool = pool,
        .percent_gets = percent_gets,
    };
    struct team_outcome *outcome = team_run(&(struct team_plan){.threads = threads,
                                                                .seconds = options->seconds,
                                                                .limit = options->ops,
                                                                .work = get_and_set,
                                                                .context = &context});

    result_print(options, &(struct result){.threads = threads,
                                           .ops = outcome->ops,
                                           .seconds = outcome->seconds,
                                           .op_bytes = KEY_LEN + options->value_len,
                                           .latency = &outcome->latency});
    store_close(bench->store, context.handle);
    free(outcome);
}

static void measure_all(const struct bench *bench, unsigned percent_gets)
{
    const struct options *options = bench->options;
    struct value_pool pool = value_pool_new(options->value_len, options->seed);
    struct key *keys = keys_drawn(DRAWN_KEYS, options->keys, UNIFORM, options->seed, options->seed);

    if (!bench->store->is_durable || !bench->store->is_relaxed)
        CANNOT("%s is not both durable and relaxed", bench->store->name);
    for (unsigned i = 0; i < options->thread_counts; i++)
        measure(bench, i, percent_gets, &pool, keys);
    free(keys);
    free(pool.bytes);
}

void mixed_50(const struct bench *bench)
{
    measure_all(bench, 50);
}

void mixed_95(const struct bench *bench)
{
    measure_all(bench, 95);
}
