/* Workloads that only read. */
#include "clock.h"
#include "fail.h"
#include "result.h"
#include "stores.h"
#include "team.h"
#include "workloads.h"

enum { MOST_DRAWS = 1 << 21, SAMPLE = 64, KEYS_A_CALL = 64 };

struct get_context {
    const struct bench *bench;
    void *handle;
    struct key *keys[MAX_THREADS]; /* in the order of their use, again and again */
    size_t draws;
};

static void check(const struct bench *bench, int status, const struct lookup *lookup)
{
    if (status != 0 || !lookup->found || lookup->value_len != bench->options->value_len)
        FAIL("%s: a get failed", bench->store->name);
}

static void get_keys(struct worker *worker)
{
    const struct get_context *context = worker->context;
    const struct bench *bench = context->bench;
    const struct key *keys = context->keys[worker->number];
    size_t value_len = bench->options->value_len;
    void *session = session_begin(bench->store, context->handle);
    struct lookup lookup = {.key_len = KEY_LEN, .buf = must(malloc(value_len)), .buf_len = value_len};

    team_start(worker);
    for (size_t at = 0; team_goes_on(worker); worker->ops++) {
        bool timed = worker->ops % SAMPLE == 0;
        uint64_t start = timed ? now_ns() : 0;

        lookup.key = keys[at].bytes;
        at = at + 1 < context->draws ? at + 1 : 0;
        check(bench, bench->store->get(session, &lookup), &lookup);
        if (timed)
            histogram_add(&worker->latency, now_ns() - start);
    }
    team_finish(worker);
    session_end(bench->store, session);
    free(lookup.buf);
}

static void get_keys_together(struct worker *worker)
{
    const struct get_context *context = worker->context;
    const struct bench *bench = context->bench;
    const struct key *keys = context->keys[worker->number];
    size_t value_len = bench->options->value_len;
    void *session = session_begin(bench->store, context->handle);
    char *bufs = must(malloc(KEYS_A_CALL * value_len));
    struct lookup lookups[KEYS_A_CALL];

    team_start(worker);
    for (size_t at = 0; team_goes_on(worker); worker->ops += KEYS_A_CALL) {
        uint64_t start = now_ns();
        int status;

        for (size_t i = 0; i < KEYS_A_CALL; i++)
            lookups[i] = (struct lookup){.key = keys[at + i].bytes,
                                         .key_len = KEY_LEN,
                                         .buf = bufs + i * value_len,
                                         .buf_len = value_len};
        status = bench->store->get_many(session, lookups, KEYS_A_CALL);
        for (size_t i = 0; i < KEYS_A_CALL; i++)
            check(bench, status, &lookups[i]);
        at = at + 2 * KEYS_A_CALL <= context->draws ? at + KEYS_A_CALL : 0;
        histogram_add(&worker->latency, now_ns() - start);
    }
    team_finish(worker);
    session_end(bench->store, session);
    free(bufs);
}

static void measure(struct get_context *context, enum distribution distribution, unsigned threads,
                    void (*work)(struct worker *))
{
    const struct options *options = context->bench->options;
    struct team_plan plan = {.threads = threads, .seconds = options->seconds, .work = work, .context = context};
    struct team_outcome *outcome;

    for (unsigned i = 0; i < threads; i++)
        context->keys[i] = keys_drawn(context->draws, options->keys, distribution, options->seed, options->seed + i);
    outcome = team_run(&plan);
    result_print(options, &(struct result){.name = distribution == UNIFORM ? "uniform" : "zipf",
                                           .threads = threads,
                                           .ops = outcome->ops,
                                           .seconds = outcome->seconds,
                                           .op_bytes = KEY_LEN + options->value_len,
                                           .latency = &outcome->latency});
    free(outcome);
    for (unsigned i = 0; i < threads; i++)
        free(context->keys[i]);
}

static size_t draws_of(size_t keys)
{
    if (keys < KEYS_A_CALL)
        return KEYS_A_CALL;
    return keys < MOST_DRAWS ? keys : MOST_DRAWS;
}

static unsigned most_threads(const struct options *options)
{
    unsigned most = 0;

    for (size_t i = 0; i < options->thread_counts; i++)
        most = options->threads[i] > most ? options->threads[i] : most;
    return most;
}

static void load_and_measure(const struct bench *bench, const enum distribution *distributions, size_t count,
                             void (*work)(struct worker *))
{
    const struct options *options = bench->options;
    struct value_pool pool = value_pool_new(options->value_len, options->seed);
    struct get_context context = {.bench = bench, .draws = draws_of(options->keys)};
    struct store_config config = {
        .dir = bench_dir(bench, 0), .durability = RELAXED, .keys = options->keys, .threads = most_threads(options)};

    if (!bench->store->is_relaxed && !bench->store->is_in_memory)
        CANNOT("%s cannot be loaded", bench->store->name);
    context.handle = store_open(bench->store, &config);
    load_store(bench, context.handle, &pool);
    for (size_t d = 0; d < count; d++) {
        for (size_t i = 0; i < options->thread_counts; i++)
            measure(&context, distributions[d], options->threads[i], work);
    }
    store_close(bench->store, context.handle);
    free(pool.bytes);
}

void get(const struct bench *bench)
{
    static const enum distribution both[] = {UNIFORM, ZIPF};

    load_and_measure(bench, both, 2, get_keys);
}

void get_many(const struct bench *bench)
{
    static const enum distribution uniform[] = {UNIFORM};

    if (bench->store->get_many == NULL)
        CANNOT("%s looks up one key at a time", bench->store->name);
    load_and_measure(bench, uniform, 1, get_keys_together);
}
