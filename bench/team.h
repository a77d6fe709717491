/*
 * Threads that work at once and are timed together.
 *
 * A worker prepares itself, calls team_start(), which returns to all at the same moment, works as long as
 * team_goes_on() says so, counting what it does in ops and latency, calls team_finish(), and cleans up.
 */
#ifndef BENCH_TEAM_H
#define BENCH_TEAM_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "clock.h"
#include "histogram.h"

struct team {
    pthread_barrier_t start;
    atomic_bool stop;
};

struct worker {
    pthread_t thread;
    struct team *team;
    void (*work)(struct worker *worker);
    void *context;
    unsigned number;
    uint64_t limit; /* operations; UINT64_MAX: none */
    uint64_t ops;
    uint64_t start_ns, end_ns;
    struct histogram latency;
};

struct team_plan {
    unsigned threads;
    double seconds;  /* how long, if there is no limit */
    uint64_t limit;  /* operations of all together; 0: none */
    bool until_done; /* they end by themselves */
    void (*work)(struct worker *worker);
    void *context;
};

struct team_outcome {
    uint64_t ops;
    double seconds;
    struct histogram latency;
};

/* Runs them to the end. */
struct team_outcome *team_run(const struct team_plan *plan); /* to be freed */

void team_start(struct worker *worker);

static inline void team_finish(struct worker *worker)
{
    worker->end_ns = now_ns();
}

static inline bool team_goes_on(const struct worker *worker)
{
    return worker->ops < worker->limit && !atomic_load_explicit(&worker->team->stop, memory_order_relaxed);
}

/* Something that runs on one thread beside a measurement until it is told to stop. */
struct companion {
    pthread_t thread;
    atomic_bool stop;
    void (*work)(struct companion *companion);
    void *context;
    uint64_t ops;
};

void companion_start(struct companion *companion);
void companion_stop(struct companion *companion);

static inline bool companion_goes_on(const struct companion *companion)
{
    return !atomic_load_explicit(&companion->stop, memory_order_relaxed);
}

void sleep_for(double seconds);

#endif
