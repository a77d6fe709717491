/*
 * What durable sets notice of a checkpoint, moment by moment: threads set all the time, while two checkpoints come and
 * go, with options->seconds of quiet before, between and behind them.
 *
 * Each call is kept with the time at which it began, and counted only when all is over, so that nothing but the clock
 * comes between two sets. It belongs to the interval in which it began, since there it met what held it up.
 */
#include <unistd.h>

#include "fail.h"
#include "kvwal_work.h"
#include "result.h"

enum { DRAWN_KEYS = 1 << 20, CHECKPOINTS = 2, FIRST_CALLS = 1 << 16, INTERVAL_NS = 50000000 };

struct call {
    uint64_t start_ns, latency_ns;
};

struct calls {
    struct call *at;
    size_t count, room;
};

struct span {
    uint64_t start_ns, end_ns;
};

struct timeline {
    const struct options *options;
    kv_store *store;
    const struct key *keys;
    struct value_pool pool;
    struct calls calls[MAX_THREADS]; /* of each thread */
    struct span whole, checkpoints[CHECKPOINTS];
    atomic_bool stop;
};

static void remember(struct calls *calls, struct call call)
{
    if (calls->count == calls->room) {
        calls->room = calls->room == 0 ? FIRST_CALLS : 2 * calls->room;
        calls->at = must(realloc(calls->at, calls->room * sizeof *calls->at));
    }
    calls->at[calls->count++] = call;
}

static void set_all_the_time(struct worker *worker)
{
    struct timeline *timeline = worker->context;
    size_t first = worker->number * (DRAWN_KEYS / MAX_THREADS), value_len = timeline->options->value_len;

    team_start(worker);
    for (; !atomic_load_explicit(&timeline->stop, memory_order_relaxed); worker->ops++) {
        const struct key *key = &timeline->keys[(first + worker->ops) % DRAWN_KEYS];
        uint64_t start = now_ns();

        kvwal_check(kv_set(timeline->store, key->bytes, KEY_LEN, value_of(&timeline->pool, key), value_len), "kv_set");
        remember(&timeline->calls[worker->number], (struct call){start, now_ns() - start});
    }
    team_finish(worker);
}

static void make_checkpoints(struct companion *companion)
{
    struct timeline *timeline = companion->context;

    for (unsigned i = 0; i < CHECKPOINTS; i++) {
        sleep_for(timeline->options->seconds);
        timeline->checkpoints[i].start_ns = now_ns();
        kvwal_check(kv_checkpoint(timeline->store), "kv_checkpoint");
        timeline->checkpoints[i].end_ns = now_ns();
    }
    sleep_for(timeline->options->seconds);
    atomic_store(&timeline->stop, true);
}

static double seconds_of(struct span span)
{
    return (double)(span.end_ns - span.start_ns) / 1e9;
}

static bool overlaps(struct call call, struct span span)
{
    return call.start_ns < span.end_ns && span.start_ns < call.start_ns + call.latency_ns;
}

static bool is_beside(const struct timeline *timeline, struct call call)
{
    for (unsigned i = 0; i < CHECKPOINTS; i++) {
        if (overlaps(call, timeline->checkpoints[i]))
            return true;
    }
    return false;
}

/* The calls that a checkpoint ran beside, and the others. Returns how many there were in all. */
static uint64_t report_sums(const struct timeline *timeline)
{
    struct histogram latency[2] = {0};
    double seconds[2] = {seconds_of(timeline->whole), 0};

    for (unsigned i = 0; i < CHECKPOINTS; i++) {
        seconds[0] -= seconds_of(timeline->checkpoints[i]);
        seconds[1] += seconds_of(timeline->checkpoints[i]);
    }
    for (unsigned i = 0; i < timeline->options->threads[0]; i++) {
        const struct calls *calls = &timeline->calls[i];

        for (size_t n = 0; n < calls->count; n++)
            histogram_add(&latency[is_beside(timeline, calls->at[n])], calls->at[n].latency_ns);
    }
    for (unsigned beside = 0; beside < 2; beside++)
        result_print(timeline->options, &(struct result){.name = beside ? "beside" : "quiet",
                                                         .threads = timeline->options->threads[0],
                                                         .ops = latency[beside].count,
                                                         .seconds = seconds[beside],
                                                         .latency = &latency[beside]});
    return latency[0].count + latency[1].count;
}

/* A result that belongs to a moment: at_s is when it began. */
static void report_moment(const struct timeline *timeline, const char *name, struct span span, uint64_t ops,
                          const struct histogram *latency)
{
    result_begin(timeline->options, &(struct result){.name = name,
                                                     .threads = timeline->options->threads[0],
                                                     .ops = ops,
                                                     .seconds = seconds_of(span),
                                                     .latency = latency});
    result_number("at_s", seconds_of((struct span){timeline->whole.start_ns, span.start_ns}));
    result_end();
}

/* Each thread's calls are in the order in which they began. */
static void report_intervals(const struct timeline *timeline, uint64_t count)
{
    size_t next[MAX_THREADS] = {0};
    struct span interval = {.end_ns = timeline->whole.start_ns};

    for (uint64_t counted = 0; counted < count;) {
        struct histogram latency = {0};

        interval = (struct span){interval.end_ns, interval.end_ns + INTERVAL_NS};
        for (unsigned i = 0; i < timeline->options->threads[0]; i++) {
            const struct calls *calls = &timeline->calls[i];

            for (; next[i] < calls->count && calls->at[next[i]].start_ns < interval.end_ns; next[i]++)
                histogram_add(&latency, calls->at[next[i]].latency_ns);
        }
        counted += latency.count;
        if (latency.count > 0)
            report_moment(timeline, "interval", interval, latency.count, &latency);
    }
}

static void load_and_checkpoint(const struct bench *bench)
{
    struct value_pool pool = value_pool_new(bench->options->value_len, bench->options->seed);
    kv_store *store = kvwal_open(bench, KV_SYNC_NONE);

    kvwal_load(bench, store, &pool);
    kvwal_check(kv_checkpoint(store), "kv_checkpoint");
    kvwal_close(store);
}

static void set_and_report(const struct bench *bench)
{
    static struct timeline timeline;
    const struct options *options = bench->options;
    struct companion checkpoints = {.work = make_checkpoints, .context = &timeline};
    struct team_outcome *outcome;
    uint64_t count;

    timeline.options = options;
    timeline.keys = keys_drawn(DRAWN_KEYS, options->keys, UNIFORM, options->seed, options->seed);
    timeline.pool = value_pool_new(options->value_len, options->seed);
    timeline.store = kvwal_open(bench, KV_SYNC_ALWAYS);
    sync(); /* what loading has left to be written is not to be seen here */
    timeline.whole.start_ns = now_ns();
    companion_start(&checkpoints);
    outcome = team_run(&(struct team_plan){
        .threads = options->threads[0], .until_done = true, .work = set_all_the_time, .context = &timeline});
    timeline.whole.end_ns = now_ns();
    companion_stop(&checkpoints);
    kvwal_close(timeline.store);

    count = report_sums(&timeline);
    if (count != outcome->ops)
        FAIL("%llu of %llu sets are in the timeline", (unsigned long long)count, (unsigned long long)outcome->ops);
    for (unsigned i = 0; i < CHECKPOINTS; i++)
        report_moment(&timeline, "checkpoint", timeline.checkpoints[i], options->keys, NULL);
    report_intervals(&timeline, count);
    free(outcome);
}

void timeline(const struct bench *bench)
{
    in_child(bench, load_and_checkpoint);
    in_child(bench, set_and_report);
}
