/* Workloads that only write. */
#include "clock.h"
#include "fail.h"
#include "result.h"
#include "stores.h"
#include "team.h"
#include "workloads.h"

enum { DRAWN_KEYS = 1 << 20, BATCH = 100, RELAXED_SAMPLE = 16 };

struct set_context {
    const struct bench *bench;
    void *handle;
    const struct key *keys; /* in the order of their use, each thread with a part of its own */
    size_t keys_per_thread;
    const struct value_pool *pool;
};

static void set_key(const struct set_context *context, void *session, const struct key *key)
{
    const struct bench *bench = context->bench;

    if (bench->store->set(session, key->bytes, KEY_LEN, value_of(context->pool, key), bench->options->value_len) != 0)
        FAIL("%s: a set failed", bench->store->name);
}

static void set_keys_durable(struct worker *worker)
{
    const struct set_context *context = worker->context;
    const struct key *keys = context->keys + worker->number * context->keys_per_thread;
    void *session = session_begin(context->bench->store, context->handle);

    team_start(worker);
    while (team_goes_on(worker)) {
        uint64_t start = now_ns();

        set_key(context, session, &keys[worker->ops % context->keys_per_thread]);
        histogram_add(&worker->latency, now_ns() - start);
        worker->ops++;
    }
    team_finish(worker);
    session_end(context->bench->store, session);
}

static void set_batches(struct worker *worker)
{
    const struct set_context *context = worker->context;
    const struct bench *bench = context->bench;
    const struct key *keys = context->keys + worker->number * context->keys_per_thread;
    void *session = session_begin(bench->store, context->handle);
    struct pair pairs[BATCH];

    team_start(worker);
    while (team_goes_on(worker)) {
        uint64_t start = now_ns();

        for (size_t i = 0; i < BATCH; i++) {
            const struct key *key = &keys[(worker->ops + i) % context->keys_per_thread];

            pairs[i] = (struct pair){key->bytes, KEY_LEN, value_of(context->pool, key), bench->options->value_len};
        }
        if (bench->store->set_batch(session, pairs, BATCH) != 0)
            FAIL("%s: a batch failed", bench->store->name);
        histogram_add(&worker->latency, now_ns() - start);
        worker->ops += BATCH;
    }
    team_finish(worker);
    session_end(bench->store, session);
}

/* Every RELAXED_SAMPLE-th is timed, so that the clock is no part of what is measured. */
static void set_new_keys(struct worker *worker)
{
    const struct set_context *context = worker->context;
    const struct key *keys = context->keys + worker->number * context->keys_per_thread;
    void *session = session_begin(context->bench->store, context->handle);

    team_start(worker);
    for (size_t i = 0; i < context->keys_per_thread; i++) {
        uint64_t start = i % RELAXED_SAMPLE == 0 ? now_ns() : 0;

        set_key(context, session, &keys[i]);
        if (start != 0)
            histogram_add(&worker->latency, now_ns() - start);
    }
    worker->ops = context->keys_per_thread;
    team_finish(worker);
    session_end(context->bench->store, session);
}

static void measure(const struct set_context *template, unsigned number, enum durability durability,
                    const struct team_plan *plan)
{
    const struct options *options = template->bench->options;
    const struct store *store = template->bench->store;
    struct store_config config = {
        .dir = bench_dir(template->bench, number),
        .durability = durability,
        .keys = options->keys,
        .threads = plan->threads,
    };
    struct set_context context = *template;
    struct team_plan with_context = *plan;
    struct team_outcome *outcome;

    context.handle = store_open(store, &config);
    with_context.context = &context;
    outcome = team_run(&with_context);
    result_print(options, &(struct result){.threads = plan->threads,
                                           .ops = outcome->ops,
                                           .seconds = outcome->seconds,
                                           .op_bytes = KEY_LEN + options->value_len,
                                           .latency = &outcome->latency});
    store_close(store, context.handle);
    free(outcome);
}

static void measure_durable(const struct bench *bench, void (*work)(struct worker *))
{
    const struct options *options = bench->options;
    struct value_pool pool = value_pool_new(options->value_len, options->seed);
    struct key *keys = keys_drawn(DRAWN_KEYS, options->keys, UNIFORM, options->seed, options->seed);

    if (!bench->store->is_durable)
        CANNOT("%s is not durable", bench->store->name);
    for (unsigned i = 0; i < options->thread_counts; i++) {
        unsigned threads = options->threads[i];
        struct set_context context = {
            .bench = bench, .keys = keys, .keys_per_thread = DRAWN_KEYS / threads, .pool = &pool};

        if (threads > 1 && bench->store->is_single_threaded)
            CANNOT("%s is for one thread", bench->store->name);
        measure(&context, i, DURABLE,
                &(struct team_plan){
                    .threads = threads, .seconds = options->seconds, .limit = options->ops, .work = work});
    }
    free(keys);
    free(pool.bytes);
}

void set_durable(const struct bench *bench)
{
    measure_durable(bench, set_keys_durable);
}

void batch_durable(const struct bench *bench)
{
    if (bench->store->set_batch == NULL)
        CANNOT("%s has no batches", bench->store->name);
    measure_durable(bench, set_batches);
}

void set_relaxed(const struct bench *bench)
{
    const struct options *options = bench->options;
    struct value_pool pool = value_pool_new(options->value_len, options->seed);
    struct key *keys = keys_in_order(options->keys, options->seed);

    if (!bench->store->is_relaxed)
        CANNOT("%s has no relaxed mode", bench->store->name);
    for (unsigned i = 0; i < options->thread_counts; i++) {
        unsigned threads = options->threads[i];
        struct set_context context = {
            .bench = bench, .keys = keys, .keys_per_thread = options->keys / threads, .pool = &pool};

        measure(&context, i, RELAXED,
                &(struct team_plan){.threads = threads, .until_done = true, .work = set_new_keys});
    }
    free(keys);
    free(pool.bytes);
}
