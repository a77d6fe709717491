#include "team.h"

#include "fail.h"

static void sleep_for(double seconds)
{
    struct timespec time = {.tv_sec = (time_t)seconds, .tv_nsec = (long)((seconds - (double)(time_t)seconds) * 1e9)};

    while (nanosleep(&time, &time) != 0)
        ;
}

void team_start(struct worker *worker)
{
    pthread_barrier_wait(&worker->team->start);
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

static struct team_outcome *join_workers(struct worker *workers, unsigned threads, uint64_t start_ns)
{
    struct team_outcome *outcome = must(calloc(1, sizeof *outcome));

    for (unsigned i = 0; i < threads; i++) {
        double seconds;

        pthread_join(workers[i].thread, NULL);
        seconds = (double)(workers[i].end_ns - start_ns) / 1e9;
        if (seconds > outcome->seconds)
            outcome->seconds = seconds;
        outcome->ops += workers[i].ops;
        histogram_merge(&outcome->latency, &workers[i].latency);
    }
    return outcome;
}

struct team_outcome *team_run(const struct team_plan *plan)
{
    struct team team = {.stop = false};
    struct worker *workers = must(calloc(plan->threads, sizeof *workers));
    struct team_outcome *outcome;
    uint64_t start_ns;

    pthread_barrier_init(&team.start, NULL, plan->threads + 1);
    for (unsigned i = 0; i < plan->threads; i++)
        start_worker(&workers[i], &team, plan, i);
    pthread_barrier_wait(&team.start);
    start_ns = now_ns();
    if (plan->limit == 0 && !plan->until_done) {
        sleep_for(plan->seconds);
        atomic_store(&team.stop, true);
    }
    outcome = join_workers(workers, plan->threads, start_ns);
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
