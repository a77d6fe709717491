/*
 * Every file call that the library makes fails once: calls_test DIR SECONDS SEED, with faults.c loaded before it.
 *
 * A fixed workload makes a store, writes to it, makes checkpoints, opens it again with a torn tail and with what an
 * interrupted checkpoint leaves, and closes it. It is repeated with its first, second, third... call of a kind
 * failing, with each error that such a call may have, until a run makes fewer calls than that. In each run the results
 * must be those that kvwal.h documents, reads must go on, and after an fsync that failed the handle must refuse to
 * write and not sync that file again. After each, what a failed fsync did not bring to the disk is lost, and without
 * further faults the store must hold everything acknowledged.
 *
 * Each kind of call with each kind of error, alone or with background threads, is a sweep. The basic ones are always
 * made, the others as far as SECONDS go, in random order, and again with other operations. `calls_test count DIR` does
 * a part of the workload without any faults, and prints how many calls of each kind were counted.
 */
#include "faults.h"
#include "model.h"

static const char *const KIND_NAMES[FAULT_KINDS] = {"open",   "read",  "write", "sync", "truncate", "rename",
                                                    "unlink", "mkdir", "lock",  "stat", "map"};

/* ---- A run of the workload ---- */

struct run {
    char *dir;
    kv_options options;
    struct fault fault;
    struct writer writer;
    int is_latched;  /* the handle has returned KV_FAILED */
    uint64_t errors; /* calls of the library that failed */
};

static struct {
    uint64_t sweeps, runs, injected, operations, refused;
} total;

static int is_about_space(int error)
{
    return error == ENOSPC || error == EDQUOT || error == EFBIG;
}

static const struct fault *current_fault;

/* At exit: a check that failed says where, this in which run. */
static void name_fault(int status, void *unused)
{
    const struct fault *fault = current_fault;

    (void)unused;
    if (status == EXIT_SUCCESS || fault == NULL)
        return;
    fprintf(stderr, "in the run with %s %llu: %s%s, short by %ld\n", KIND_NAMES[fault->kind],
            (unsigned long long)fault->n, fault->error != 0 ? strerror(fault->error) : "no error",
            fault->is_lasting ? " from then on" : "", fault->short_by);
}

/* Every result must be one that the fault explains; and after KV_FAILED there is no other until the next open. */
static void judge(struct run *run, const char *call, int code)
{
    const struct fault *fault = &run->fault;
    int is_explained = fault->error != 0 && fault->error != EINTR && fault->kind != FAULT_MAP;
    int explained = is_about_space(fault->error) ? KV_NO_SPACE : KV_IO;

    if (run->is_latched && code != KV_FAILED)
        FAIL("%s returned %d (%s) on a handle that has failed", call, code, kv_strerror(code));
    if (code == KV_FAILED && fault->kind == FAULT_SYNC && is_explained)
        run->is_latched = 1;
    else if (code != KV_OK && !(is_explained && code == explained))
        FAIL("%s returned %d (%s): %s", call, code, kv_strerror(code), kv_errmsg());
    run->errors += code != KV_OK;
}

static void operate(struct run *run, kv_store *store, int count)
{
    struct writer *writer = &run->writer;
    int i;

    for (i = 0; i < count; i++) {
        uint64_t number = writer->done + 1;
        int code = do_operation(store, writer, number);

        /* To delete what is not there needs no write, and no handle that can do it. */
        if (!changes_nothing(writer, number))
            judge(run, "an operation", code);
        total.operations++;
        if (code == KV_OK) {
            apply_operation(writer, number);
            continue;
        }
        total.refused++;
        check_lookups(store, writer);
        /* The first one that failed for good may be in the log; anything else is not. */
        if (code == KV_FAILED)
            writer->unsure = 1;
        else
            writer->done++;
    }
}

/* Opens the store; if that fails, once more, which must succeed if the fault was for once. NULL: it is for ever. */
static kv_store *open_in(struct run *run)
{
    kv_store *store;
    int code;

    run->is_latched = 0;
    code = kv_open(run->dir, &run->options, &store);
    judge(run, "kv_open", code);
    if (code == KV_OK)
        return store;
    CHECK(store == NULL);
    if (code == KV_FAILED)
        FAIL("kv_open returned KV_FAILED: %s", kv_errmsg());
    if (run->fault.is_lasting)
        return NULL;
    if (kv_open(run->dir, &run->options, &store) != KV_OK)
        FAIL("kv_open failed again: %s", kv_errmsg());
    return store;
}

static void work(struct run *run, int before, int after)
{
    kv_store *store = open_in(run);

    if (store == NULL)
        return;
    check_recovered(store, &run->writer, 1);
    operate(run, store, before);
    if (after > 0) {
        judge(run, "kv_checkpoint", kv_checkpoint(store));
        operate(run, store, after);
    }
    check_lookups(store, &run->writer);
    judge(run, "kv_close", kv_close(store));
}

/* ---- What crashes leave, made by hand ---- */

static void append_rubbish(const char *path, int flags, size_t len)
{
    static const uint8_t rubbish[100] = {0xA5, 1, 2, 3};
    int fd = open(path, O_WRONLY | O_APPEND | flags, 0666);

    CHECK_SYS(fd >= 0);
    CHECK_SYS(write(fd, rubbish, len) == (ssize_t)len);
    CHECK_SYS(close(fd) == 0);
}

/* Of the log that was written to last: the other one is durable. */
static void tear_tail(const char *dir)
{
    char *next = join_path(dir, "wal.next");
    char *log = join_path(dir, "wal.log");
    const char *last = path_exists(next) ? next : log;

    faults_pause(1);
    /* What begins with rubbish was never a log. */
    if (path_exists(last) && file_size(last) > 0)
        append_rubbish(last, 0, 100);
    faults_pause(0);
    free(next);
    free(log);
}

static void interrupt_checkpoint(const char *dir)
{
    char *next = join_path(dir, "wal.next");
    char *log = join_path(dir, "wal.log");
    char *unfinished = join_path(dir, "checkpoint.tmp");

    faults_pause(1);
    if (path_exists(log)) {
        append_rubbish(next, O_CREAT, 0);
        append_rubbish(unfinished, O_CREAT, 100);
    }
    faults_pause(0);
    free(next);
    free(log);
    free(unfinished);
}

/* ---- Runs ---- */

static void check_afterwards(struct run *run)
{
    kv_store *store;

    faults_arm(NULL);
    CHECK_OK(kv_open(run->dir, NULL, &store));
    check_recovered(store, &run->writer, 1);
    check_writable(store, &run->writer, 1);
    CHECK_OK(kv_checkpoint(store));
    check_writable(store, &run->writer, 1);
    CHECK_OK(kv_close(store));
    CHECK_OK(kv_open(run->dir, NULL, &store));
    check_exactly(store, &run->writer, 1);
    CHECK_OK(kv_close(store));
}

/*
 * Faults that nobody needs to be told of. Without room for zeros ahead, a write is repeated without them. What cannot
 * be removed is overwritten or removed later. Whether a file is cached, for which it is mapped and its length asked
 * for, only decides how it is read.
 */
static int may_stay_unseen(const struct fault *fault)
{
    return fault->error == EINTR || fault->error == 0 || fault->kind == FAULT_MAP || fault->kind == FAULT_UNLINK ||
           fault->kind == FAULT_STAT || fault->kind == FAULT_OPEN ||
           (fault->kind == FAULT_WRITE && is_about_space(fault->error));
}

/* Returns 0 if the fault was not reached. */
static int run_once(const char *parent, const kv_options *options, const struct fault *fault, uint64_t base,
                    int is_alone)
{
    struct run run = {.dir = join_path(parent, "store"), .options = *options, .fault = *fault};
    struct fault_report report;

    current_fault = fault;
    run.writer.done = base;
    faults_arm(fault);
    work(&run, 7, 4);
    tear_tail(run.dir);
    work(&run, 3, 2);
    interrupt_checkpoint(run.dir);
    work(&run, 2, 0);
    faults_read(&report);
    if (report.second_syncs > 0)
        FAIL("SECOND SYNC: what could not be synced was synced again, %llu times, without being closed",
             (unsigned long long)report.second_syncs);
    if (is_alone && report.injected > 0 && run.errors == 0 && !may_stay_unseen(fault))
        FAIL("SWALLOWED: the call failed, and every call of the library returned KV_OK");
    faults_pause(1);
    faults_lose(run.dir);
    check_afterwards(&run);
    if (path_exists(run.dir))
        remove_tree(run.dir);
    faults_pause(0);
    free(run.dir);
    total.runs++;
    total.injected += report.injected;
    return report.calls[fault->kind] >= fault->n;
}

/* ---- Sweeps ---- */

struct errors {
    enum fault_kind kind;
    int errors[6];
};

static const struct errors ERRORS[] = {
    {FAULT_OPEN, {EIO, EMFILE, ENOSPC, EDQUOT, EINTR}},
    {FAULT_READ, {EIO, EINTR}},
    {FAULT_WRITE, {EIO, ENOSPC, EDQUOT, EFBIG, EINTR}},
    {FAULT_SYNC, {EIO, ENOSPC, EDQUOT, EINTR}},
    {FAULT_TRUNCATE, {EIO, ENOSPC, EINTR}},
    {FAULT_RENAME, {EIO, ENOSPC, EDQUOT}},
    {FAULT_UNLINK, {EIO}},
    {FAULT_MKDIR, {EIO, ENOSPC, EDQUOT}},
    {FAULT_LOCK, {EIO, ENOLCK, EINTR}},
    {FAULT_STAT, {EIO}},
    {FAULT_MAP, {ENOMEM}},
};

/* In bytes; below 0: before the end of the write. */
static const long SHORT[] = {1, 7, 32, 511, 512, -1};

struct sweep {
    struct fault fault;
    int is_alone; /* no background thread: the n-th call is the same one in each run */
    int is_basic; /* never left out */
};

static struct {
    struct sweep list[160];
    size_t count;
} sweeps;

static void plan(struct fault fault, int is_alone)
{
    /* Each call fails with some error; is interrupted; and a write finds no room, or does one byte only. */
    int is_basic = is_alone && !fault.is_lasting &&
                   (fault.error == EIO || fault.error == EINTR || fault.kind == FAULT_MAP ||
                    (fault.kind == FAULT_WRITE && (fault.error == ENOSPC) != (fault.short_by == 1)));

    CHECK(sweeps.count < ARRAY_LEN(sweeps.list));
    sweeps.list[sweeps.count++] = (struct sweep){.fault = fault, .is_alone = is_alone, .is_basic = is_basic};
}

static void plan_errors(const struct errors *errors, int is_alone)
{
    size_t i;

    for (i = 0; i < ARRAY_LEN(errors->errors) && errors->errors[i] != 0; i++) {
        struct fault fault = {.kind = errors->kind, .error = errors->errors[i]};

        plan(fault, is_alone);
        fault.is_lasting = 1;
        /* A call that is interrupted for ever is repeated for ever. */
        if (fault.error != EINTR)
            plan(fault, is_alone);
    }
}

static void plan_short_writes(int is_alone)
{
    size_t i;

    for (i = 0; i < ARRAY_LEN(SHORT); i++) {
        struct fault fault = {.kind = FAULT_WRITE, .short_by = SHORT[i]};

        plan(fault, is_alone);
        fault.error = ENOSPC; /* as a disk fills up */
        fault.is_lasting = i % 2;
        plan(fault, is_alone);
        /* Every write, unless that would be a million of them. */
        fault.error = 0;
        fault.is_lasting = 1;
        if (SHORT[i] < 0 || SHORT[i] > 100)
            plan(fault, is_alone);
    }
}

static void plan_all(void)
{
    int is_alone;
    size_t i;

    for (is_alone = 0; is_alone < 2; is_alone++) {
        for (i = 0; i < ARRAY_LEN(ERRORS); i++)
            plan_errors(&ERRORS[i], is_alone);
        plan_short_writes(is_alone);
    }
}

/* In a random order, but the basic ones first. */
static void shuffle(uint64_t *random)
{
    size_t basic = 0;
    size_t i;

    for (i = sweeps.count; i > 1; i--) {
        size_t other = next_random(random) % i;
        struct sweep moved = sweeps.list[i - 1];

        sweeps.list[i - 1] = sweeps.list[other];
        sweeps.list[other] = moved;
    }
    for (i = 0; i < sweeps.count; i++) {
        if (sweeps.list[i].is_basic) {
            struct sweep moved = sweeps.list[i];

            sweeps.list[i] = sweeps.list[basic];
            sweeps.list[basic++] = moved;
        }
    }
}

/* The first, the second, the third... call fails, until there is none. */
static void sweep(const char *parent, const struct sweep *sweep, uint64_t base)
{
    struct fault fault = sweep->fault;
    kv_options options;

    kv_options_init(&options);
    /* Alone, or with threads that fill space ahead and make checkpoints. */
    options.checkpoint_wal_bytes = sweep->is_alone ? UINT64_MAX : 2048;
    options.preallocate = sweep->is_alone ? 4096 : 0;
    for (fault.n = 1; run_once(parent, &options, &fault, base, sweep->is_alone); fault.n++) {
    }
    total.sweeps++;
}

/* All sweeps, with operations of their own; the basic ones at least, the others while there is time. */
static void pass(const char *parent, uint64_t *random, double until)
{
    uint64_t base = next_random(random) % 1000000;
    size_t i;

    shuffle(random);
    for (i = 0; i < sweeps.count && (sweeps.list[i].is_basic || seconds_now() < until); i++)
        sweep(parent, &sweeps.list[i], base);
}

static void count_calls(const char *parent)
{
    struct run run = {.dir = join_path(parent, "store")};
    struct fault_report report;
    int kind;

    kv_options_init(&run.options);
    faults_arm(NULL);
    work(&run, 20, 20);
    work(&run, 5, 5);
    faults_read(&report);
    for (kind = 0; kind < FAULT_KINDS; kind++)
        printf("%s %llu\n", KIND_NAMES[kind], (unsigned long long)report.calls[kind]);
    free(run.dir);
}

int main(int argc, char **argv)
{
    int is_count = argc == 3 && strcmp(argv[1], "count") == 0;
    double until;
    uint64_t random;

    if (!is_count && argc != 4) {
        fprintf(stderr, "usage: calls_test DIR SECONDS SEED | calls_test count DIR\n");
        return 2;
    }
    if (faults_watch == NULL) {
        fprintf(stderr, "calls_test: faults.c is to be loaded before it, by LD_PRELOAD\n");
        return 2;
    }
    CHECK_EQ(on_exit(name_fault, NULL), 0);
    faults_watch(argv[is_count ? 2 : 1]);
    if (is_count) {
        count_calls(argv[2]);
        return EXIT_SUCCESS;
    }
    until = seconds_now() + atof(argv[2]);
    random = strtoull(argv[3], NULL, 10);
    plan_all();
    do {
        pass(argv[1], &random, until);
    } while (seconds_now() < until);
    printf("%llu sweeps of %zu, %llu runs, %llu faults, %llu operations, %llu of them refused\n",
           (unsigned long long)total.sweeps, sweeps.count, (unsigned long long)total.runs,
           (unsigned long long)total.injected, (unsigned long long)total.operations, (unsigned long long)total.refused);
    return EXIT_SUCCESS;
}
