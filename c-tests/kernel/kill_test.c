/*
 * SIGKILL at a random moment: kill_test DIR SECONDS SEED [interval]
 *
 * A child with several writers is killed while it writes, makes checkpoints, or opens the store; then the store must
 * hold what it had acknowledged. Half of the time a copy of the directory is examined instead, so that the next child
 * recovers the store itself, and may be killed while it does.
 *
 * With "interval" the store is in the mode KV_SYNC_INTERVAL, whose promise is weaker: then the test must fail.
 */
#include "crash.h"

enum {
    ROUNDS_A_STORE = 20, /* after that a new one, whose making can be interrupted, too */
    LONGEST_MICROSECONDS = 40000
};

static struct {
    uint64_t kills, unborn, operations, copies, checkpoints;
} total;

/* What is in quarantine/ is not looked at by an open. */
static void copy_store(const char *from, const char *to)
{
    struct bytes files[ARRAY_LEN(STORE_FILES)];

    read_store(from, files);
    write_store(to, files);
}

static void examine(const char *dir, const struct plan *plan, struct writer *writers, int is_copy)
{
    kv_store *store;

    CHECK_OK(kv_open(dir, &plan->options, &store));
    check_recovered(store, writers, plan->writers);
    total.checkpoints += store_stats(store).checkpoint_lsn > 0;
    if (!is_copy)
        check_writable(store, writers, plan->writers);
    CHECK_OK(kv_close(store));
}

static void examine_copy(const char *copy, const struct plan *plan, struct writer *writers)
{
    copy_store(plan->dir, copy);
    examine(copy, plan, writers, 1);
    remove_tree(copy);
    total.copies++;
}

static void play_round(const struct plan *plan, const char *copy, double moment, int is_for_copy,
                       struct writer *writers)
{
    struct child child = start_child(plan, writers);
    int status;

    listen_for(&child, moment, writers);
    CHECK_SYS(kill(child.pid, SIGKILL) == 0);
    status = end_of_child(plan, &child, writers, 1);
    if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGKILL)
        FAIL("the child was not killed, but ended with status %d", status);
    total.kills++;
    if (path_exists(plan->dir) && is_for_copy) {
        examine_copy(copy, plan, writers);
    } else if (path_exists(plan->dir)) {
        examine(plan->dir, plan, writers, 0);
    } else {
        check_nothing_written(writers, plan->writers);
        total.unborn++;
    }
}

/* KV_SYNC_NONE gives no less than KV_SYNC_ALWAYS when it is the process that dies. */
static struct plan make_plan(const char *dir, int is_interval, uint64_t choice)
{
    struct plan plan = {.dir = dir, .writers = 1 + (unsigned)(choice % 6)};

    kv_options_init(&plan.options);
    plan.options.sync = is_interval ? KV_SYNC_INTERVAL : choice / 8 % 4 == 0 ? KV_SYNC_NONE : KV_SYNC_ALWAYS;
    plan.options.checkpoint_wal_bytes = 4096u << choice / 32 % 6;
    plan.options.preallocate = choice / 256 % 2 == 0 ? 0 : UINT64_MAX;
    return plan;
}

/* A new store, some rounds, and away with it. */
static void play_store(const char *parent, int is_interval, uint64_t *random, double until)
{
    char *dir = join_path(parent, "store");
    char *copy = join_path(parent, "copy");
    struct plan plan = make_plan(dir, is_interval, next_random(random));
    struct writer writers[MOST_WRITERS];
    int round = 0;

    new_writers(writers, plan.writers);
    do {
        double moment = (double)(next_random(random) % LONGEST_MICROSECONDS) / 1e6;

        /* Often while it is opened, or made. */
        if (round == 0 || next_random(random) % 4 == 0)
            moment /= 20;
        play_round(&plan, copy, moment, next_random(random) % 2 == 0, writers);
    } while (++round < ROUNDS_A_STORE && seconds_now() < until);
    total.operations += operations_of(writers, plan.writers);
    if (path_exists(dir))
        remove_tree(dir);
    free(dir);
    free(copy);
}

int main(int argc, char **argv)
{
    int is_interval = argc == 5 && strcmp(argv[4], "interval") == 0;
    uint64_t random;
    double until;

    if (argc != 4 && !is_interval) {
        fprintf(stderr, "usage: kill_test DIR SECONDS SEED [interval]\n");
        return 2;
    }
    until = seconds_now() + atof(argv[2]);
    random = strtoull(argv[3], NULL, 10);
    while (seconds_now() < until || total.checkpoints == 0)
        play_store(argv[1], is_interval, &random, until);
    printf("%llu kills, %llu of them before there was a store, %llu operations acknowledged, %llu copies examined, "
           "%llu recoveries from a checkpoint\n",
           (unsigned long long)total.kills, (unsigned long long)total.unborn, (unsigned long long)total.operations,
           (unsigned long long)total.copies, (unsigned long long)total.checkpoints);
    return EXIT_SUCCESS;
}
