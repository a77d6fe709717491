/*
 * A child process in which several writers write to a store, and tell the parent by a pipe what was acknowledged, until
 * the parent makes an end of it.
 *
 * Each writer sends its number behind every operation, after the call has returned and before the next one begins, in
 * one write(2). So when the child is dead the parent knows what was acknowledged, but for one operation of each writer
 * that it may not have been told of, which check_recovered() finds. Or writers sync a few operations together, and send
 * the numbers of all of them behind that.
 */
#ifndef KVWAL_KERNEL_CRASH_H
#define KVWAL_KERNEL_CRASH_H

#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "model.h"

enum { CHILD_SECONDS = 60, MOST_TOGETHER = 4 };

/* What a child does when its store has failed. */
typedef void (*on_failure_fn)(kv_store *store, const struct writer *writers, unsigned count);

struct plan {
    const char *dir;
    kv_options options;
    unsigned writers;
    unsigned together; /* so many operations are followed by a kv_sync(); 0: each is durable by itself */
    on_failure_fn on_failure; /* NULL: it must not fail */
};

struct child {
    pid_t pid;
    int acknowledged; /* the pipe */
};

/* ---- In the child ---- */

struct writing {
    pthread_t thread;
    const struct plan *plan;
    kv_store *store;
    struct writer *writer;
    int acknowledged;
};

/* On a file system that is gone nothing can be rolled back either, so there is one result only. */
static inline int has_failed(const struct plan *plan, int code)
{
    if (code != KV_OK && (plan->on_failure == NULL || code != KV_FAILED))
        FAIL("an operation returned %d (%s): %s", code, kv_strerror(code), kv_errmsg());
    return code != KV_OK;
}

static inline void *write_until_failure(void *argument)
{
    struct writing *writing = argument;
    const struct plan *plan = writing->plan;
    struct writer *writer = writing->writer;
    unsigned most = plan->together > 0 ? plan->together : 1;
    uint8_t numbers[MOST_TOGETHER];
    unsigned i;

    memset(numbers, (int)writer->number, sizeof numbers);
    for (;;) {
        for (i = 0; i < most; i++) {
            if (has_failed(plan, do_operation(writing->store, writer, writer->done + 1)))
                return NULL;
            apply_operation(writer, writer->done + 1);
        }
        if (plan->together > 0 && has_failed(plan, kv_sync(writing->store)))
            return NULL;
        CHECK_SYS(write(writing->acknowledged, numbers, most) == (ssize_t)most);
    }
}

__attribute__((noreturn)) static inline void be_child(const struct plan *plan, struct writer *writers, int acknowledged)
{
    struct writing writings[MOST_WRITERS];
    kv_store *store;
    unsigned i;
    int code;

    /* Nothing is left behind of a test that fails. */
    CHECK_SYS(prctl(PR_SET_PDEATHSIG, SIGKILL) == 0);
    alarm(CHILD_SECONDS);
    code = kv_open(plan->dir, &plan->options, &store);
    if (code != KV_OK && plan->on_failure != NULL)
        _exit(EXIT_SUCCESS); /* it was too late */
    CHECK_OK(code);
    check_exactly(store, writers, plan->writers);
    for (i = 0; i < plan->writers; i++) {
        writings[i].plan = plan;
        writings[i].store = store;
        writings[i].writer = &writers[i];
        writings[i].acknowledged = acknowledged;
        CHECK_EQ(pthread_create(&writings[i].thread, NULL, write_until_failure, &writings[i]), 0);
    }
    for (i = 0; i < plan->writers; i++)
        CHECK_EQ(pthread_join(writings[i].thread, NULL), 0);
    plan->on_failure(store, writers, plan->writers);
    _exit(EXIT_SUCCESS);
}

/* ---- In the parent ---- */

static inline struct child start_child(const struct plan *plan, struct writer *writers)
{
    struct child child;
    int ends[2];

    CHECK_SYS(pipe2(ends, O_CLOEXEC) == 0);
    fflush(stdout);
    child.pid = fork();
    CHECK_SYS(child.pid >= 0);
    if (child.pid == 0) {
        close(ends[0]);
        be_child(plan, writers, ends[1]);
    }
    CHECK_SYS(close(ends[1]) == 0);
    child.acknowledged = ends[0];
    return child;
}

/* Acknowledgements that count are taken over into the model. Returns 0 at the end of the pipe. */
static inline int note_acknowledged(const struct child *child, struct writer *writers, int counts)
{
    uint8_t numbers[4096];
    ssize_t len = read(child->acknowledged, numbers, sizeof numbers);
    ssize_t at;

    CHECK_SYS(len >= 0);
    for (at = 0; at < len; at++) {
        struct writer *writer = &writers[numbers[at]];

        if (counts)
            apply_operation(writer, writer->done + 1);
        else
            writer->unsure++;
    }
    return len > 0;
}

/* Listens to the child for so long, or until it has ended. Then nothing is left in the pipe. */
static inline void listen_for(const struct child *child, double seconds, struct writer *writers)
{
    double until = seconds_now() + seconds;

    for (;;) {
        double now = seconds_now(), left = until > now ? until - now : 0;
        struct pollfd ready = {.fd = child->acknowledged, .events = POLLIN};
        struct timespec timeout = {.tv_sec = (time_t)left, .tv_nsec = (long)((left - (double)(time_t)left) * 1e9)};
        int count = ppoll(&ready, 1, &timeout, NULL);

        CHECK_SYS(count >= 0);
        if (count == 0 || !note_acknowledged(child, writers, 1) || left == 0)
            return;
    }
}

/* Hears the child out, and returns its exit status. */
static inline int end_of_child(const struct plan *plan, const struct child *child, struct writer *writers, int counts)
{
    unsigned i;
    int status;

    while (note_acknowledged(child, writers, counts)) {
    }
    CHECK_SYS(close(child->acknowledged) == 0);
    CHECK_SYS(waitpid(child->pid, &status, 0) == child->pid);
    /* What was under way, or not synced yet. */
    for (i = 0; i < plan->writers; i++)
        writers[i].unsure += plan->together > 0 ? plan->together : 1;
    return status;
}

/* ---- The files that make a store, as they are ---- */

static const char *const STORE_FILES[] = {"LOCK",     "wal.log",        "wal.next",
                                          "wal.tmp",  "checkpoint.dat", "checkpoint.tmp"};

/* Reads them; one that cannot be opened has no data. */
static inline void read_store(const char *dir, struct bytes files[ARRAY_LEN(STORE_FILES)])
{
    size_t i;

    for (i = 0; i < ARRAY_LEN(STORE_FILES); i++) {
        char *path = join_path(dir, STORE_FILES[i]);

        files[i] = access(path, R_OK) == 0 ? read_file(path) : (struct bytes){NULL, 0};
        free(path);
    }
}

/* Makes the directory and writes them into it, and frees them. */
static inline void write_store(const char *dir, struct bytes files[ARRAY_LEN(STORE_FILES)])
{
    size_t i;

    CHECK_SYS(mkdir(dir, 0777) == 0);
    for (i = 0; i < ARRAY_LEN(STORE_FILES); i++) {
        char *path = join_path(dir, STORE_FILES[i]);

        if (files[i].data != NULL)
            write_file(path, files[i].data, files[i].len);
        free_bytes(&files[i]);
        free(path);
    }
}

static inline uint64_t operations_of(const struct writer *writers, unsigned count)
{
    uint64_t operations = 0;
    unsigned i;

    for (i = 0; i < count; i++)
        operations += writers[i].done;
    return operations;
}

/* There is no store: then nothing can have been acknowledged, and the writers begin again. */
static inline void check_nothing_written(struct writer *writers, unsigned count)
{
    uint64_t operations = operations_of(writers, count);

    if (operations > 0)
        FAIL("LOST: %llu operations were acknowledged, and there is no store", (unsigned long long)operations);
    new_writers(writers, count);
}

#endif
