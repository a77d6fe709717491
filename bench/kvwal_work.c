#include "kvwal_work.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fail.h"
#include "result.h"

enum { RECORD_OVERHEAD = 33, MAX_WRITTEN = 4096 };

void kvwal_check(int code, const char *what)
{
    if (code != KV_OK)
        FAIL("%s: %s: %s", what, kv_strerror(code), kv_errmsg());
}

kv_store *kvwal_open(const struct bench *bench, int sync)
{
    kv_options options;
    kv_store *store;

    kv_options_init(&options);
    options.sync = sync;
    options.checkpoint_wal_bytes = UINT64_MAX;
    kvwal_check(kv_open(bench_dir(bench, 0), &options, &store), "kv_open");
    return store;
}

int kvwal_open_written(const struct bench *bench)
{
    char path[4096];
    int fd;

    snprintf(path, sizeof path, "%s/written", bench->options->dir);
    fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0)
        FAIL_ERRNO(path);
    return fd;
}

void kvwal_close(kv_store *store)
{
    kvwal_check(kv_close(store), "kv_close");
}

void kvwal_load(const struct bench *bench, kv_store *store, const struct value_pool *pool)
{
    const struct options *options = bench->options;
    struct key *keys = keys_in_order(options->keys, options->seed);

    load_keys(bench, store, keys, options->keys, pool, options->value_len);
    check_keys(bench, store, keys, options->keys, pool, options->value_len);
    kvwal_check(kv_sync(store), "kv_sync");
    free(keys);
}

static void write_file(const struct kvwal_work *work, uint64_t number)
{
    static const char bytes[MAX_WRITTEN];
    size_t len = RECORD_OVERHEAD + KEY_LEN + work->options->value_len;

    if (len > sizeof bytes || pwrite(work->fd, bytes, len, (off_t)(number * len)) != (ssize_t)len)
        FAIL_ERRNO("pwrite");
}

static void do_one(const struct kvwal_work *work, uint64_t number, void *buf)
{
    size_t len = work->options->value_len;
    const struct key *key = &work->keys[number % work->key_count];
    size_t got;

    switch (work->operation) {
    case READ_CLOCK:
        break;
    case WRITE_FILE:
        write_file(work, number);
        break;
    case GET:
        kvwal_check(kv_get_into(work->store, key->bytes, KEY_LEN, buf, len, &got), "kv_get_into");
        break;
    case SET:
        kvwal_check(kv_set(work->store, key->bytes, KEY_LEN, value_of(&work->pool, key), len), "kv_set");
        break;
    }
}

static void work_timed(struct worker *worker)
{
    const struct kvwal_work *work = worker->context;
    void *buf = must(malloc(work->options->value_len));
    uint64_t before, after;

    team_start(worker);
    for (before = now_ns(); team_goes_on(worker); before = after, worker->ops++) {
        do_one(work, worker->ops, buf);
        after = now_ns();
        histogram_add(&worker->latency, after - before);
    }
    team_finish(worker);
    free(buf);
}

struct team_outcome *kvwal_measure(struct kvwal_work *work, unsigned threads, bool each_key_once)
{
    return team_run(&(struct team_plan){.threads = threads,
                                        .seconds = work->options->seconds,
                                        .limit = each_key_once ? work->key_count * threads : 0,
                                        .work = work_timed,
                                        .context = work});
}

void kvwal_report(const struct options *options, const char *name, unsigned threads,
                  const struct team_outcome *outcome)
{
    result_print(options, &(struct result){.name = name,
                                           .threads = threads,
                                           .ops = outcome->ops,
                                           .seconds = outcome->seconds,
                                           .latency = &outcome->latency});
}

void in_child(const struct bench *bench, void (*part)(const struct bench *bench))
{
    int status;
    pid_t child = fork();

    if (child < 0)
        FAIL_ERRNO("fork");
    if (child == 0) {
        part(bench);
        fflush(stdout);
        _exit(EXIT_SUCCESS);
    }
    if (waitpid(child, &status, 0) != child || !WIFEXITED(status) || WEXITSTATUS(status) != EXIT_SUCCESS)
        FAIL("a part of %s failed", bench->options->workload);
}

uint64_t kvwal_file_bytes(const struct bench *bench, const char *name)
{
    char path[4096];
    struct stat status;

    snprintf(path, sizeof path, "%s/%s", bench_dir(bench, 0), name);
    if (stat(path, &status) != 0)
        FAIL_ERRNO(path);
    return (uint64_t)status.st_size;
}
