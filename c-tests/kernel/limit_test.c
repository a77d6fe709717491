/*
 * The file-size limit, with SIGXFSZ as it is by default, which ends the process: limit_test DIR SECONDS SEED
 *
 * api_test.c has the results of single calls at the limit. Here each record meets the limit at every one of its bytes,
 * so that the kernel writes a part of it; and several writers at once run against it, each of whose threads must
 * be spared.
 */
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include "model.h"

enum { WRITERS = 4, RECORDS = 12 };

static struct {
    uint64_t refused, sets;
} total;

static void limit_file_size(rlim_t bytes)
{
    struct rlimit limit;

    CHECK_SYS(getrlimit(RLIMIT_FSIZE, &limit) == 0);
    limit.rlim_cur = bytes < limit.rlim_max ? bytes : limit.rlim_max;
    CHECK_SYS(setrlimit(RLIMIT_FSIZE, &limit) == 0);
}

static void new_store(const char *dir, uint64_t preallocate, kv_options *options, kv_store **store)
{
    kv_options_init(options);
    options->checkpoint_wal_bytes = UINT64_MAX;
    options->preallocate = preallocate;
    CHECK_OK(kv_open(dir, options, store));
}

/* ---- The signal ends whoever does not do something about it ---- */

static void check_limit_kills(const char *parent)
{
    char *path = join_path(parent, "limited");
    pid_t child = fork();
    int status;

    CHECK_SYS(child >= 0);
    if (child == 0) {
        int fd = open(path, O_WRONLY | O_CREAT, 0666);

        limit_file_size(0);
        _exit(write(fd, "", 1) == 1 ? 0 : 1);
    }
    CHECK_SYS(waitpid(child, &status, 0) == child);
    CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGXFSZ);
    CHECK_SYS(unlink(path) == 0);
    free(path);
}

/* ---- Every byte of a record ---- */

/* Tries the writer's next operation with room for 0, 1, 2... bytes of it, until it fits. Without zeros ahead, the log
 * is as long as its records. */
static void try_each_byte(kv_store *store, const char *log, struct writer *writer)
{
    size_t end = file_size(log);
    size_t room = 0;
    int code;

    do {
        limit_file_size(end + room);
        code = do_operation(store, writer, writer->done + 1);
        limit_file_size(RLIM_INFINITY);
        if (code != KV_OK) {
            CHECK_EQ(code, KV_NO_SPACE);
            CHECK_EQ(file_size(log), end);
            total.refused++;
        }
        /* A long record is not tried at each byte, but at those where its pages and sectors end, and beside them. */
        room += room < 600 || room % 512 >= 511 || room % 512 < 2 ? 1 : 509;
    } while (code != KV_OK);
    apply_operation(writer, writer->done + 1);
}

static void check_each_byte(const char *parent, uint64_t from)
{
    char *dir = join_path(parent, "store");
    char *log = join_path(dir, "wal.log");
    struct writer writer;
    kv_options options;
    kv_store *store;
    int i;

    new_writers(&writer, 1);
    writer.done = from;
    new_store(dir, UINT64_MAX, &options, &store);
    for (i = 0; i < RECORDS; i++)
        try_each_byte(store, log, &writer);
    check_exactly(store, &writer, 1);
    CHECK_OK(kv_close(store));
    CHECK_OK(kv_open(dir, &options, &store));
    CHECK_EQ(recovery_report(store).verdict, KV_TAIL_CLEAN);
    check_recovered(store, &writer, 1);
    CHECK_OK(kv_close(store));
    remove_tree(dir);
    free(log);
    free(dir);
}

/* ---- Many writers ---- */

static void check_writers(const char *parent, uint64_t *random)
{
    char *dir = join_path(parent, "store");
    struct writer writers[WRITERS];
    kv_options options;
    kv_store *store;
    int i;

    new_writers(writers, WRITERS);
    new_store(dir, next_random(random) % 2 == 0 ? 0 : UINT64_MAX, &options, &store);
    for (i = 0; i < 4; i++) {
        limit_file_size((rlim_t)(i + 1) * (100000 + next_random(random) % 200000));
        write_until_full(store, writers, WRITERS);
        check_exactly(store, writers, WRITERS);
        limit_file_size(RLIM_INFINITY);
        check_writable(store, writers, WRITERS);
    }
    total.refused += store_stats(store).errors;
    total.sets += store_stats(store).sets;
    CHECK_OK(kv_close(store));
    CHECK_OK(kv_open(dir, &options, &store));
    CHECK_EQ(recovery_report(store).verdict, KV_TAIL_CLEAN);
    check_exactly(store, writers, WRITERS);
    CHECK_OK(kv_close(store));
    remove_tree(dir);
    free(dir);
}

int main(int argc, char **argv)
{
    uint64_t random;
    double until;

    if (argc != 4) {
        fprintf(stderr, "usage: limit_test DIR SECONDS SEED\n");
        return 2;
    }
    until = seconds_now() + atof(argv[2]);
    random = strtoull(argv[3], NULL, 10);
    CHECK(signal(SIGXFSZ, SIG_DFL) != SIG_ERR);
    check_limit_kills(argv[1]);
    do {
        check_each_byte(argv[1], next_random(&random) % 1000000);
        check_writers(argv[1], &random);
    } while (seconds_now() < until);
    printf("%llu writes beyond the limit refused, %llu keys set by writers between them\n",
           (unsigned long long)total.refused, (unsigned long long)total.sets);
    return EXIT_SUCCESS;
}
