#include "team.h"

#include "fail.h"

void sleep_for(double seconds)
{
    struct timespec time = {.tv_sec = (time_t)seconds, .tv_nsec = (long)((seconds - (double)(time_t)seconds) * 1e9)};

    while (nanosleep(&time, &time) != 0)
        ;
}

void team_start(struct worker *worker)
{
    pthread_barrier_wait(&worker->team->start);
    worker->start_ns = now_ns();
}

static void *worker_main(void *argument)
{
    struct worker *worker = argument;

    worker->work(worker);
    return NULL;
}

static void start_worker(struct worker *worker, struct team *team, const struct team_plan *plan, unsigned number)
{
    worker->team = team;
    worker->work = plan->work;
    worker->context = plan->context;
    worker->number = number;
    worker->limit = plan->limit == 0 ? UINT64_MAX : (plan->limit + plan->threads - 1) / plan->threads;
    if (pthread_create(&worker->thread, NULL, worker_main, worker) != 0)
        FAIL("cannot start a thread");
}

/* From the first that starts to the last that ends: a short work may be over before this thread runs again. */
static struct team_outcome *join_workers(struct worker *workers, unsigned threads)
{
    struct team_outcome *outcome = must(calloc(1, sizeof *outcome));
    uint64_t start_ns = UINT64_MAX, end_ns = 0;

    for (unsigned i = 0; i < threads; i++) {
        pthread_join(workers[i].thread, NULL);
        start_ns = workers[i].start_ns < start_ns ? workers[i].start_ns : start_ns;
        end_ns = workers[i].end_ns > end_ns ? workers[i].end_ns : end_ns;
        outcome->ops += workers[i].ops;
        histogram_merge(&outcome->latency, &workers[i].latency);
    }
    outcome->seconds = (double)(end_ns - start_ns) / 1e9;
    return outcome;
}

struct team_outcome *team_run(const struct team_plan *plan)
{
    struct team team = {.stop = false};
    struct worker *workers = must(calloc(plan->threads, sizeof *workers));
    struct team_outcome *outcome;

    pthread_barrier_init(&team.start, NULL, plan->threads + 1);
    for (unsigned i = 0; i < plan->threads; i++)
        start_worker(&workers[i], &team, plan, i);
    pthread_barrier_wait(&team.start);
    if (plan->limit == 0 && !plan->until_done) {
        sleep_for(plan->seconds);
        atomic_store(&team.stop, true);
    }
    outcome = join_workers(workers, plan->threads);
    pthread_barrier_destroy(&team.start);
    free(workers);
    return outcome;
}

static void *companion_main(void *argument)
{
    struct companion *companion = argument;

    companion->work(companion);
    return NULL;
}

void companion_start(struct companion *companion)
{
    if (pthread_create(&companion->thread, NULL, companion_main, companion) != 0)
        FAIL("cannot start a thread");
}

void companion_stop(struct companion *companion)
{
    atomic_store(&companion->stop, true);
    pthread_join(companion->thread, NULL);
}
