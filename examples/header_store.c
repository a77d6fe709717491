/*
 * header_store: puts every file below a directory into a kvwal store, is killed half-way, and loses nothing.
 *
 *     header_store [--store DIR] [--keep] [SOURCE_DIR]        SOURCE_DIR is /usr/include unless you name another
 *
 * The program runs as two processes. The child opens the store, and four threads store the files: the path is the key,
 * the bytes are the value. Each time kv_set() has returned KV_OK, and only then, the thread reports the file to the
 * parent through a pipe: from now on it counts as acknowledged. When half of the files are, the parent kills the child
 * with SIGKILL, which no process can catch. Then the parent
 *   1. opens the store, which recovers it, and prints the recovery report;
 *   2. checks that every acknowledged file is there, with the bytes that were acknowledged;
 *   3. stores the rest, makes a checkpoint and closes the store;
 *   4. opens it once more and compares every value with the file on the disk.
 * The exit status is 0 only if nothing was lost and nothing differs.
 *
 * To read it, begin with main(), at the end, and go upwards: the four steps come before it, their tools before them.
 * For the calls alone, without a crash, see the example at the top of <kvwal.h>.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* asprintf */
#endif
#include <kvwal.h>

#include <errno.h>
#include <fcntl.h>
#include <fts.h>
#include <inttypes.h>
#include <linux/magic.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { WRITERS = 4, BAR_WIDTH = 40 };

/* ---- What the program knows about the files -------------------------------------------------------------------- */

enum file_state {
    WAITING, /* not acknowledged yet */
    STORED,  /* kv_set() returned KV_OK: from now on it must be there */
    SKIPPED, /* could not be read; a line on stderr said why */
    LOST,    /* was acknowledged, and is not there */
    DIFFERS  /* was acknowledged, and something else is there */
};

/*
 * len and fingerprint describe the bytes that were stored. With them a value can be checked even if somebody changes
 * the file on the disk while we run.
 */
struct file {
    char *path;
    enum file_state state;
    uint64_t len;
    uint64_t fingerprint;
};

struct file_list {
    struct file *files;
    size_t count;
};

/*
 * What a writer tells the main thread when it is done with a file. It is smaller than PIPE_BUF, so that the kernel
 * never mixes the reports of two writers, nor passes on half of one when the process is killed.
 */
struct report {
    uint32_t file; /* its place in the list */
    uint32_t stored;
    uint64_t len;
    uint64_t fingerprint;
};

/* What the two passes of writing did. */
struct pass {
    size_t stored;
    double seconds;
};

struct figures {
    struct pass before_kill;
    struct pass after_kill;
    double recovery_seconds;
    double reopen_seconds;
    uint64_t unexplained_keys; /* in the recovered store, though nobody stored them */
};

/* ---- Small helpers --------------------------------------------------------------------------------------------- */

static void note(const char *format, ...) __attribute__((format(printf, 1, 2)));
static void die(const char *format, ...) __attribute__((format(printf, 1, 2), noreturn));

static bool progress_is_redrawn(void)
{
    return isatty(STDERR_FILENO) == 1;
}

static void print_line(const char *prefix, const char *format, va_list args)
{
    char line[8192];

    vsnprintf(line, sizeof line, format, args);
    /* On a terminal a progress bar may stand in the line: wipe it. One call, so that threads do not mix lines. */
    fprintf(stderr, "%s%s%s\n", progress_is_redrawn() ? "\r\033[K" : "", prefix, line);
}

/* Something that the user should know, but that is no failure. */
static void note(const char *format, ...)
{
    va_list args;

    va_start(args, format);
    print_line("note: ", format, args);
    va_end(args);
}

static void die(const char *format, ...)
{
    va_list args;

    va_start(args, format);
    print_line("header_store: ", format, args);
    va_end(args);
    exit(EXIT_FAILURE);
}

static double now_seconds(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static double per_second(const struct pass *pass)
{
    return pass->seconds > 0 ? (double)pass->stored / pass->seconds : 0;
}

static void *allocate(size_t size)
{
    void *memory = malloc(size > 0 ? size : 1);

    if (memory == NULL)
        die("out of memory");
    return memory;
}

/* FNV-1a with 64 bits: a few lines, and good enough to notice a wrong byte. */
static uint64_t fingerprint_of(const void *data, size_t len)
{
    const unsigned char *bytes = data;
    uint64_t hash = UINT64_C(0xcbf29ce484222325);

    for (size_t i = 0; i < len; i++)
        hash = (hash ^ bytes[i]) * UINT64_C(0x100000001b3);
    return hash;
}

/* ---- Progress: a bar on a terminal, elsewhere a line each 10 % ------------------------------------------------- */

struct progress {
    const char *what;
    size_t done;
    size_t total;
    size_t shown; /* the step drawn last */
};

static void draw_progress(const struct progress *progress)
{
    size_t percent = progress->done * 100 / progress->total;
    int filled = (int)(percent * BAR_WIDTH / 100);

    if (progress_is_redrawn())
        fprintf(stderr, "\r%-10s [%.*s%*s] %3zu %%  %zu/%zu files", progress->what, filled,
                "########################################", BAR_WIDTH - filled, "", percent, progress->done,
                progress->total);
    else
        fprintf(stderr, "%-10s %3zu %%  %zu/%zu files\n", progress->what, percent, progress->done, progress->total);
}

static void advance(struct progress *progress)
{
    size_t steps = progress_is_redrawn() ? 100 : 10;
    size_t step;

    progress->done++;
    step = progress->done * steps / progress->total;
    if (step != progress->shown) {
        progress->shown = step;
        draw_progress(progress);
    }
}

static void end_progress(const struct progress *progress)
{
    if (progress_is_redrawn() && progress->shown > 0)
        fputc('\n', stderr);
}

/* ---- Listing and reading files --------------------------------------------------------------------------------- */

static int by_name(const FTSENT **a, const FTSENT **b)
{
    return strcmp((*a)->fts_name, (*b)->fts_name);
}

static void add_file(struct file_list *list, const char *path)
{
    /* Doubles the array each time its length is a power of two. */
    if ((list->count & (list->count - 1)) == 0) {
        size_t room = list->count > 0 ? 2 * list->count : 1;

        list->files = realloc(list->files, room * sizeof *list->files);
        if (list->files == NULL)
            die("out of memory");
    }
    list->files[list->count] = (struct file){.path = strdup(path), .state = WAITING};
    if (list->files[list->count].path == NULL)
        die("out of memory");
    list->count++;
}

/* Regular files only: a symbolic link would store the same bytes twice, and could lead out of the directory. */
static struct file_list list_files(char *directory)
{
    char *roots[] = {directory, NULL};
    struct file_list list = {0};
    FTS *tree = fts_open(roots, FTS_PHYSICAL | FTS_COMFOLLOW | FTS_NOCHDIR, by_name);
    FTSENT *entry;

    if (tree == NULL)
        die("%s: %s", directory, strerror(errno));
    while ((entry = fts_read(tree)) != NULL) {
        if (entry->fts_info == FTS_DNR || entry->fts_info == FTS_ERR || entry->fts_info == FTS_NS)
            note("%s: skipped: %s", entry->fts_path, strerror(entry->fts_errno));
        else if (entry->fts_info != FTS_F)
            continue;
        else if (entry->fts_statp->st_size > KV_MAX_VALUE_LEN)
            note("%s: skipped: larger than a value may be", entry->fts_path);
        else
            add_file(&list, entry->fts_path);
    }
    fts_close(tree);
    return list;
}

static void free_list(struct file_list *list)
{
    for (size_t i = 0; i < list->count; i++)
        free(list->files[i].path);
    free(list->files);
}

static size_t count_in_state(const struct file_list *list, enum file_state state)
{
    size_t count = 0;

    for (size_t i = 0; i < list->count; i++)
        count += list->files[i].state == state;
    return count;
}

struct bytes {
    unsigned char *data;
    size_t len;
};

/* Reads until `out` is full or the file ends: a file that shrinks meanwhile is no error. */
static bool read_all(int fd, struct bytes *out, size_t room)
{
    while (out->len < room) {
        ssize_t got = read(fd, out->data + out->len, room - out->len);

        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return false;
        if (got == 0)
            break;
        out->len += (size_t)got;
    }
    return true;
}

static bool read_open_file(int fd, struct bytes *out)
{
    struct stat status;

    if (fstat(fd, &status) != 0)
        return false;
    if (status.st_size > KV_MAX_VALUE_LEN) {
        errno = EFBIG;
        return false;
    }
    *out = (struct bytes){.data = allocate((size_t)status.st_size)};
    if (read_all(fd, out, (size_t)status.st_size))
        return true;
    free(out->data);
    return false;
}

/* On success out->data is to be freed; on failure errno says why. */
static bool read_file(const char *path, struct bytes *out)
{
    int fd = open(path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    bool ok;
    int reason;

    if (fd < 0)
        return false;
    ok = read_open_file(fd, out);
    reason = errno;
    close(fd);
    errno = reason;
    return ok;
}

/* ---- Writing: threads that store files and report each one ----------------------------------------------------- */

struct writing {
    kv_store *store;
    const struct file_list *list;
    size_t *todo; /* places in the list */
    size_t todo_count;
    int report_fd;
    pthread_t threads[WRITERS];
    atomic_size_t next; /* the next place in todo that nobody has taken */
    atomic_int running; /* writers that are not done */
    atomic_bool failed; /* a write was refused: everybody stops */
};

static void list_what_waits(struct writing *writing)
{
    writing->todo = allocate(writing->list->count * sizeof *writing->todo);
    for (size_t i = 0; i < writing->list->count; i++)
        if (writing->list->files[i].state == WAITING)
            writing->todo[writing->todo_count++] = i;
}

static void send_report(int fd, const struct report *report)
{
    if (write(fd, report, sizeof *report) != (ssize_t)sizeof *report)
        die("cannot report a file: %s", strerror(errno));
}

/* False if the store refuses the write. A file that cannot be read is reported as skipped. */
static bool store_file(const struct writing *writing, size_t place)
{
    const char *path = writing->list->files[place].path;
    struct report report = {.file = (uint32_t)place};
    struct bytes content;
    int rc;

    if (!read_file(path, &content)) {
        note("%s: skipped: %s", path, strerror(errno));
        send_report(writing->report_fd, &report);
        return true;
    }
    rc = kv_set(writing->store, path, strlen(path), content.data, content.len);
    if (rc == KV_OK) {
        /* Only now: a report is a promise that the file survives whatever comes. */
        report.stored = 1;
        report.len = content.len;
        report.fingerprint = fingerprint_of(content.data, content.len);
        send_report(writing->report_fd, &report);
    } else {
        note("%s: %s: %s", path, kv_strerror(rc), kv_errmsg());
    }
    free(content.data);
    return rc == KV_OK;
}

static void *run_writer(void *argument)
{
    struct writing *writing = argument;

    while (!atomic_load(&writing->failed)) {
        size_t next = atomic_fetch_add(&writing->next, 1);

        if (next >= writing->todo_count)
            break;
        if (!store_file(writing, writing->todo[next]))
            atomic_store(&writing->failed, true);
    }
    /* The last one out closes the pipe: that ends the reader's loop. */
    if (atomic_fetch_sub(&writing->running, 1) == 1)
        close(writing->report_fd);
    return NULL;
}

static void start_writers(struct writing *writing)
{
    list_what_waits(writing);
    atomic_store(&writing->running, WRITERS);
    for (int i = 0; i < WRITERS; i++)
        if (pthread_create(&writing->threads[i], NULL, run_writer, writing) != 0)
            die("cannot start a thread");
}

/* True if every file was stored or skipped. */
static bool join_writers(struct writing *writing)
{
    for (int i = 0; i < WRITERS; i++)
        pthread_join(writing->threads[i], NULL);
    free(writing->todo);
    return !atomic_load(&writing->failed);
}

/* Notes down the files that are reported, until there are at_most of them or the writers close their end. */
static size_t collect_reports(FILE *reports, struct file_list *list, size_t at_most, struct progress *progress)
{
    struct report report;
    size_t stored = 0;

    while (at_most > 0 && fread(&report, sizeof report, 1, reports) == 1) {
        struct file *file = &list->files[report.file];

        file->state = report.stored ? STORED : SKIPPED;
        file->len = report.len;
        file->fingerprint = report.fingerprint;
        stored += report.stored;
        at_most--;
        advance(progress);
    }
    return stored;
}

static void open_pipe(FILE **reports, int *report_fd)
{
    int ends[2];

    if (pipe(ends) != 0 || (*reports = fdopen(ends[0], "r")) == NULL)
        die("cannot open a pipe: %s", strerror(errno));
    *report_fd = ends[1];
}

/* ---- The store ------------------------------------------------------------------------------------------------- */

static kv_store *open_store(const char *directory)
{
    kv_store *store;

    if (kv_open(directory, NULL, &store) != KV_OK)
        die("kv_open: %s", kv_errmsg());
    return store;
}

static kv_recovery recovery_report(kv_store *store)
{
    kv_recovery report = {.struct_size = sizeof report};

    if (kv_recovery_report(store, &report) != KV_OK)
        die("kv_recovery_report: %s", kv_errmsg());
    return report;
}

static uint64_t keys_in(kv_store *store)
{
    kv_stats stats = {.struct_size = sizeof stats};

    if (kv_stats_get(store, &stats) != KV_OK)
        die("kv_stats_get: %s", kv_errmsg());
    return stats.keys;
}

/*
 * Gets a stored file and compares it with what was acknowledged; a file that fails is named and leaves the state
 * STORED. On success the value is to be given to kv_free().
 */
static bool get_acknowledged(kv_store *store, struct file *file, void **value)
{
    size_t len;
    int rc = kv_get(store, file->path, strlen(file->path), value, &len);

    if (rc == KV_NOT_FOUND) {
        note("%s: LOST", file->path);
        file->state = LOST;
        return false;
    }
    if (rc != KV_OK)
        die("kv_get: %s", kv_errmsg());
    if (len == file->len && fingerprint_of(*value, len) == file->fingerprint)
        return true;
    note("%s: DIFFERS from what was acknowledged", file->path);
    file->state = DIFFERS;
    kv_free(*value);
    return false;
}

/* ---- Step 1: store files until the kill ------------------------------------------------------------------------ */

/* The child's whole life. It never closes the store: should it run out of files first, it waits to be killed. */
static _Noreturn void write_until_killed(const char *directory, const struct file_list *list, int report_fd)
{
    struct writing writing = {.list = list, .report_fd = report_fd};

    prctl(PR_SET_PDEATHSIG, SIGKILL); /* an interrupted parent does not leave us behind */
    writing.store = open_store(directory);
    start_writers(&writing);
    if (!join_writers(&writing))
        die("the store refused a write");
    for (;;)
        pause();
}

static void kill_writer(pid_t child)
{
    int status;

    kill(child, SIGKILL);
    if (waitpid(child, &status, 0) != child || !WIFSIGNALED(status) || WTERMSIG(status) != SIGKILL)
        die("the writing process ended by itself, before it was killed");
}

static struct pass write_and_kill(const char *directory, struct file_list *list)
{
    struct progress progress = {.what = "storing", .total = list->count};
    size_t half = (list->count + 1) / 2;
    struct pass pass = {0};
    double start = now_seconds();
    FILE *reports;
    int report_fd;
    pid_t child;

    open_pipe(&reports, &report_fd);
    child = fork();
    if (child < 0)
        die("cannot fork: %s", strerror(errno));
    if (child == 0)
        write_until_killed(directory, list, report_fd);
    close(report_fd);
    pass.stored = collect_reports(reports, list, half, &progress);
    kill_writer(child);
    pass.seconds = now_seconds() - start;
    /* What is left in the pipe was acknowledged before the kill, too. */
    pass.stored += collect_reports(reports, list, SIZE_MAX, &progress);
    end_progress(&progress);
    fclose(reports);
    if (list->count - count_in_state(list, WAITING) < half)
        die("the writing process gave up before half of the files were stored");
    printf("killed the writing process with SIGKILL after %zu acknowledged files\n", pass.stored);
    return pass;
}

/* ---- Step 2: recover, and look for every acknowledged file ----------------------------------------------------- */

static const char *verdict_in_words(int verdict)
{
    switch (verdict) {
    case KV_TAIL_CLEAN:
        return "clean: the log ends where its last record ends, nothing was cut";
    case KV_TAIL_TORN:
        return "torn: the kill interrupted writes that had not been acknowledged";
    case KV_TAIL_DAMAGED:
        return "DAMAGED: acknowledged data was damaged";
    default:
        return "unknown";
    }
}

static void print_recovery(const kv_recovery *report)
{
    printf("\nRecovery\n");
    printf("  the tail of the log        %s\n", verdict_in_words(report->verdict));
    printf("  from the checkpoint        %" PRIu64 " keys, as of record %" PRIu64 "\n", report->checkpoint_keys,
           report->checkpoint_lsn);
    printf("  from the log               %" PRIu64 " records replayed, up to record %" PRIu64 "\n",
           report->records_replayed, report->last_lsn);
    printf("  cut, kept in quarantine/   %" PRIu64 " bytes behind offset %" PRIu64 "\n", report->bytes_quarantined,
           report->stop_offset);
    printf("  rewritten and synced       %" PRIu64 " bytes that nothing proved to be on the disk\n",
           report->bytes_rewritten);
    printf("  time                       %.3f s\n\n", report->seconds);
}

/*
 * A writer that was killed between its write and its report leaves a file that is there but not acknowledged. That is
 * allowed, one file a writer; whatever is there beyond that, nobody stored.
 */
static uint64_t count_unexplained_keys(kv_store *store, size_t acknowledged)
{
    uint64_t keys = keys_in(store);

    if (keys > acknowledged + WRITERS)
        return keys - acknowledged - WRITERS;
    if (keys > acknowledged)
        printf("%" PRIu64 " more were on the disk already, but not yet acknowledged\n", keys - acknowledged);
    return 0;
}

static void check_acknowledged(kv_store *store, struct file_list *list)
{
    size_t acknowledged = count_in_state(list, STORED);
    void *value;

    for (size_t i = 0; i < list->count; i++)
        if (list->files[i].state == STORED && get_acknowledged(store, &list->files[i], &value))
            kv_free(value);
    printf("%zu of %zu acknowledged files are there, with the right bytes\n", count_in_state(list, STORED),
           acknowledged);
}

/* ---- Step 3: store the rest ------------------------------------------------------------------------------------ */

static struct pass write_the_rest(kv_store *store, struct file_list *list)
{
    struct writing writing = {.store = store, .list = list};
    struct progress progress = {.what = "finishing"};
    struct pass pass = {0};
    double start = now_seconds();
    FILE *reports;

    open_pipe(&reports, &writing.report_fd);
    start_writers(&writing);
    progress.total = writing.todo_count;
    pass.stored = collect_reports(reports, list, SIZE_MAX, &progress);
    pass.seconds = now_seconds() - start;
    end_progress(&progress);
    fclose(reports);
    if (!join_writers(&writing))
        die("the store refused a write");
    return pass;
}

static void checkpoint_and_close(kv_store *store)
{
    double start = now_seconds();

    if (kv_checkpoint(store) != KV_OK)
        die("kv_checkpoint: %s", kv_errmsg());
    printf("checkpoint written in %.3f s\n", now_seconds() - start);
    if (kv_close(store) != KV_OK)
        die("kv_close: %s", kv_errmsg());
}

/* ---- Step 4: compare every value with its file ----------------------------------------------------------------- */

/* The value is what was acknowledged; if the disk has something else by now, then the file changed, not the store. */
static void compare_with_disk(const struct file *file, const void *value)
{
    struct bytes content;

    if (!read_file(file->path, &content)) {
        note("%s: stored, but cannot be read any more: %s", file->path, strerror(errno));
        return;
    }
    if (content.len != file->len || memcmp(content.data, value, content.len) != 0)
        note("%s: stored, but changed on the disk meanwhile", file->path);
    free(content.data);
}

static void compare_everything(kv_store *store, struct file_list *list)
{
    struct progress progress = {.what = "comparing", .total = list->count};
    void *value;

    for (size_t i = 0; i < list->count; i++) {
        if (list->files[i].state == STORED && get_acknowledged(store, &list->files[i], &value)) {
            compare_with_disk(&list->files[i], value);
            kv_free(value);
        }
        advance(&progress);
    }
    end_progress(&progress);
}

/* ---- The whole ------------------------------------------------------------------------------------------------- */

struct settings {
    const char *store;
    char *source;
    bool temporary; /* we made the store's directory, and remove it */
};

static const char USAGE[] =
    "usage: header_store [--store DIR] [--keep] [SOURCE_DIR]\n"
    "\n"
    "Stores every regular file below SOURCE_DIR (/usr/include), is killed half-way, recovers, and checks everything.\n"
    "  --store DIR   keep the store in the new directory DIR, and leave it there\n"
    "  --keep        do not remove the temporary store at the end\n";

static _Noreturn void usage_error(void)
{
    fputs(USAGE, stderr);
    exit(2);
}

static struct settings parse_arguments(int argc, char **argv)
{
    static char usual_source[] = "/usr/include";
    struct settings settings = {.temporary = true};

    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--help") == 0) {
            fputs(USAGE, stdout);
            exit(EXIT_SUCCESS);
        } else if (strcmp(argv[i], "--keep") == 0) {
            settings.temporary = false;
        } else if (strcmp(argv[i], "--store") == 0 && i + 1 < argc) {
            settings.store = argv[++i];
        } else if (argv[i][0] != '-' && settings.source == NULL) {
            settings.source = argv[i];
        } else {
            usage_error();
        }
    }
    if (settings.store != NULL)
        settings.temporary = false;
    if (settings.source == NULL)
        settings.source = usual_source;
    return settings;
}

static char *make_temporary_directory(void)
{
    const char *parent = getenv("TMPDIR");
    char *path;

    if (parent == NULL || parent[0] == '\0')
        parent = "/tmp";
    if (asprintf(&path, "%s/header_store.XXXXXX", parent) < 0)
        die("out of memory");
    if (mkdtemp(path) == NULL)
        die("%s: %s", path, strerror(errno));
    return path;
}

/* It must be new: what an earlier run left there could hide a loss. */
static char *make_named_directory(const char *path)
{
    char *copy = strdup(path);

    if (copy == NULL)
        die("out of memory");
    if (mkdir(path, 0777) != 0)
        die("--store %s: %s", path, strerror(errno));
    return copy;
}

static void remove_tree(char *directory)
{
    char *roots[] = {directory, NULL};
    FTS *tree = fts_open(roots, FTS_PHYSICAL | FTS_NOCHDIR, NULL);
    FTSENT *entry;

    while (tree != NULL && (entry = fts_read(tree)) != NULL)
        if (entry->fts_info != FTS_D && remove(entry->fts_accpath) != 0)
            note("%s: cannot be removed: %s", entry->fts_path, strerror(errno));
    if (tree != NULL)
        fts_close(tree);
}

/* On tmpfs a sync costs nothing and protects from nothing but a kill, so that the figures say little. */
static void note_memory_file_system(const char *directory)
{
    struct statfs status;

    if (statfs(directory, &status) == 0 && (uint64_t)status.f_type == TMPFS_MAGIC)
        note("%s is in memory (tmpfs); for the speed of a disk use --store", directory);
}

static void print_figures(const struct file_list *list, const struct figures *figures)
{
    uint64_t bytes = 0;

    for (size_t i = 0; i < list->count; i++)
        bytes += list->files[i].len;
    printf("\nFigures\n");
    printf("  files                               %12zu\n", count_in_state(list, STORED));
    printf("  bytes                               %12" PRIu64 "\n", bytes);
    printf("  acknowledged before the kill        %12zu files\n", figures->before_kill.stored);
    printf("  acknowledged writes before the kill %12.0f a second\n", per_second(&figures->before_kill));
    printf("  acknowledged writes after it        %12.0f a second\n", per_second(&figures->after_kill));
    printf("  recovery after the kill             %12.3f s\n", figures->recovery_seconds);
    printf("  opening after the checkpoint        %12.3f s\n", figures->reopen_seconds);
    printf("  lost                                %12zu\n", count_in_state(list, LOST));
    printf("  different                           %12zu\n", count_in_state(list, DIFFERS));
    printf("  unexplained                         %12" PRIu64 "\n", figures->unexplained_keys);
}

static void recover_and_finish(const char *directory, struct file_list *list, struct figures *figures)
{
    kv_store *store = open_store(directory);
    kv_recovery recovery = recovery_report(store);

    figures->recovery_seconds = recovery.seconds;
    print_recovery(&recovery);
    figures->unexplained_keys = count_unexplained_keys(store, count_in_state(list, STORED));
    check_acknowledged(store, list);
    figures->after_kill = write_the_rest(store, list);
    checkpoint_and_close(store);
}

static void reopen_and_compare(const char *directory, struct file_list *list, struct figures *figures)
{
    kv_store *store = open_store(directory);

    figures->reopen_seconds = recovery_report(store).seconds;
    compare_everything(store, list);
    if (kv_close(store) != KV_OK)
        die("kv_close: %s", kv_errmsg());
}

int main(int argc, char **argv)
{
    struct settings settings = parse_arguments(argc, argv);
    struct figures figures = {0};
    struct file_list list;
    char *directory;
    bool good;

    setvbuf(stdout, NULL, _IOLBF, 0); /* keeps lines in order with stderr when both go to one file */
    list = list_files(settings.source);
    if (list.count == 0)
        die("%s: no regular files", settings.source);
    directory = settings.store != NULL ? make_named_directory(settings.store) : make_temporary_directory();
    printf("%zu files below %s go into the store %s\n", list.count, settings.source, directory);
    note_memory_file_system(directory);

    figures.before_kill = write_and_kill(directory, &list);
    recover_and_finish(directory, &list, &figures);
    reopen_and_compare(directory, &list, &figures);
    print_figures(&list, &figures);

    good = count_in_state(&list, LOST) == 0 && count_in_state(&list, DIFFERS) == 0 && figures.unexplained_keys == 0;
    /* A store that lost something is evidence: it stays. */
    if (settings.temporary && good)
        remove_tree(directory);
    else
        printf("the store is in %s\n", directory);
    free(directory);
    free_list(&list);
    return good ? EXIT_SUCCESS : EXIT_FAILURE;
}
