/*
 * A file system that fails on demand, between libkvwal.so and the C library: to be loaded by LD_PRELOAD. It stands in
 * front of every function by which the library touches files, counts the calls on files below one directory, and fails
 * those that it was told to (faults.h).
 *
 * By the variable KVWAL_KERNEL_LIE it breaks promises instead, on all files, so that the tests can be seen to notice:
 *   sync   fsync and fdatasync do nothing and return 0
 *   data   fdatasync does nothing and returns 0
 *   retry  a failed fsync or fdatasync is called again, and the second result returned
 *   keep   what is written although the file has it already does not count as written
 *   cut    ftruncate does nothing and returns 0
 *   space  a write that found no room returns success
 *   signal no thread can block a signal
 */
#undef _FORTIFY_SOURCE

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include "faults.h"
#include "shadow.h"

enum { MOST_FDS = 1024 };

/* ---- The functions that stand behind these ---- */

static struct {
    int (*openat)(int, const char *, int, ...);
    ssize_t (*pread64)(int, void *, size_t, off64_t);
    ssize_t (*pwrite64)(int, const void *, size_t, off64_t);
    ssize_t (*pwritev)(int, const struct iovec *, int, off_t);
    int (*fdatasync)(int);
    int (*fsync)(int);
    int (*ftruncate64)(int, off64_t);
    int (*renameat)(int, const char *, int, const char *);
    int (*unlinkat)(int, const char *, int);
    int (*mkdirat)(int, const char *, mode_t);
    int (*flock)(int, int);
    int (*fstatat)(int, const char *, struct stat *, int);
    int (*statx)(int, const char *, int, unsigned, struct statx *);
    void *(*mmap)(void *, size_t, int, int, int, off_t);
    int (*close)(int);
    int (*pthread_sigmask)(int, const sigset_t *, sigset_t *);
} real;

static enum { HONEST, LIES_SYNC, LIES_DATA, LIES_RETRY, LIES_KEEP, LIES_CUT, LIES_SPACE, LIES_SIGNAL } honesty;

/* Whatever calls first finds them. */
static void find_real(void)
{
    const char *lie = getenv("KVWAL_KERNEL_LIE");

#define FIND(name) *(void **)&real.name = dlsym(RTLD_NEXT, #name)
    FIND(openat), FIND(pread64), FIND(pwrite64), FIND(pwritev), FIND(fdatasync), FIND(fsync), FIND(ftruncate64);
    FIND(renameat), FIND(unlinkat), FIND(mkdirat), FIND(flock), FIND(fstatat), FIND(statx), FIND(mmap), FIND(close);
    FIND(pthread_sigmask);
#undef FIND
    if (lie != NULL)
        honesty = strcmp(lie, "sync") == 0     ? LIES_SYNC
                  : strcmp(lie, "data") == 0   ? LIES_DATA
                  : strcmp(lie, "retry") == 0  ? LIES_RETRY
                  : strcmp(lie, "keep") == 0   ? LIES_KEEP
                  : strcmp(lie, "cut") == 0    ? LIES_CUT
                  : strcmp(lie, "space") == 0  ? LIES_SPACE
                  : strcmp(lie, "signal") == 0 ? LIES_SIGNAL
                                               : HONEST;
}

static pthread_once_t found = PTHREAD_ONCE_INIT;

#define REAL(name) (pthread_once(&found, find_real), real.name)

/* ---- What is watched ---- */

static char root[4096];
static atomic_bool is_watched[MOST_FDS];
static atomic_bool is_log[MOST_FDS]; /* whose syncs may fail: shadow.c keeps what the disk has */
/* A sync of it has failed. The kernel tells each open descriptor of a failure, so two of one file are two things. */
static atomic_bool has_failed[MOST_FDS];
static atomic_bool is_armed, is_paused;
static struct fault armed;
static atomic_ullong calls[FAULT_KINDS];
static atomic_ullong injected, second_syncs;

static int watches_fd(int fd)
{
    return fd >= 0 && fd < MOST_FDS && is_watched[fd] && !is_paused;
}

static int watches_path(int dir, const char *path)
{
    size_t len = strlen(root);

    if (path[0] != '/')
        return watches_fd(dir);
    return len > 0 && strncmp(path, root, len) == 0 && (path[len] == '/' || path[len] == 0) && !is_paused;
}

void faults_watch(const char *dir)
{
    snprintf(root, sizeof root, "%s", dir);
}

void faults_lose(const char *dir)
{
    shadow_lose(dir);
}

void faults_pause(int paused)
{
    is_paused = paused;
}

void faults_arm(const struct fault *fault)
{
    int kind;

    is_armed = 0;
    for (kind = 0; kind < FAULT_KINDS; kind++)
        calls[kind] = 0;
    injected = 0;
    second_syncs = 0;
    if (fault != NULL) {
        armed = *fault;
        is_armed = 1;
    }
}

void faults_read(struct fault_report *report)
{
    int kind;

    for (kind = 0; kind < FAULT_KINDS; kind++)
        report->calls[kind] = calls[kind];
    report->injected = injected;
    report->second_syncs = second_syncs;
}

/* ---- Whether a call fails ---- */

/* Counts a call, the n-th one; returns the error that it is to fail with, 0 if none. */
static int strike_at(enum fault_kind kind, unsigned long long *number)
{
    unsigned long long n = *number = ++calls[kind];
    unsigned long long first;

    if (!is_armed || kind != armed.kind || armed.error == 0)
        return 0;
    first = armed.short_by != 0 ? armed.n + 1 : armed.n;
    if (n != first && !(armed.is_lasting && n > first))
        return 0;
    injected++;
    return armed.error;
}

static int strike(enum fault_kind kind)
{
    unsigned long long n;

    return strike_at(kind, &n);
}

/* The length that the n-th write, of `len` bytes, is cut to. */
static size_t cut_short(unsigned long long n, size_t len)
{
    int is_its_turn = n == armed.n || (n > armed.n && armed.is_lasting && armed.error == 0);
    size_t cut;

    if (!is_armed || armed.kind != FAULT_WRITE || armed.short_by == 0 || !is_its_turn)
        return len;
    cut = armed.short_by > 0 ? (size_t)armed.short_by : len + (size_t)armed.short_by;
    if (cut == 0 || cut >= len)
        return len;
    injected++;
    return cut;
}

#define FAIL_IF_STRUCK(kind, result)                                                                                   \
    do {                                                                                                               \
        int struck = strike(kind);                                                                                     \
        if (struck != 0) {                                                                                             \
            errno = struck;                                                                                            \
            return result;                                                                                             \
        }                                                                                                              \
    } while (0)

/* ---- The calls ---- */

static int open_watched(int dir, const char *path, int flags, mode_t mode)
{
    int watches = watches_path(dir, path);
    int fd;

    if (watches)
        FAIL_IF_STRUCK(FAULT_OPEN, -1);
    fd = REAL(openat)(dir, path, flags, mode);
    if (fd >= 0 && fd < MOST_FDS) {
        is_watched[fd] = watches;
        is_log[fd] = watches && is_armed && armed.kind == FAULT_SYNC && strncmp(path, "wal.", 4) == 0;
        if (is_log[fd])
            shadow_opened(fd);
    }
    return fd;
}

static mode_t mode_of(int flags, va_list arguments)
{
    return (flags & (O_CREAT | __O_TMPFILE)) != 0 ? va_arg(arguments, mode_t) : 0;
}

#define DEFINE_OPEN(name)                                                                                              \
    int name(const char *path, int flags, ...)                                                                         \
    {                                                                                                                  \
        va_list arguments;                                                                                             \
        mode_t mode;                                                                                                   \
                                                                                                                       \
        va_start(arguments, flags);                                                                                    \
        mode = mode_of(flags, arguments);                                                                              \
        va_end(arguments);                                                                                             \
        return open_watched(AT_FDCWD, path, flags, mode);                                                              \
    }

#define DEFINE_OPENAT(name)                                                                                            \
    int name(int dir, const char *path, int flags, ...)                                                                \
    {                                                                                                                  \
        va_list arguments;                                                                                             \
        mode_t mode;                                                                                                   \
                                                                                                                       \
        va_start(arguments, flags);                                                                                    \
        mode = mode_of(flags, arguments);                                                                              \
        va_end(arguments);                                                                                             \
        return open_watched(dir, path, flags, mode);                                                                   \
    }

DEFINE_OPEN(open)
DEFINE_OPEN(open64)
DEFINE_OPENAT(openat)
DEFINE_OPENAT(openat64)

int close(int fd)
{
    if (fd >= 0 && fd < MOST_FDS) {
        is_watched[fd] = 0;
        is_log[fd] = 0;
        has_failed[fd] = 0;
    }
    return REAL(close)(fd);
}

ssize_t pread64(int fd, void *buf, size_t len, off64_t offset)
{
    if (watches_fd(fd))
        FAIL_IF_STRUCK(FAULT_READ, -1);
    return REAL(pread64)(fd, buf, len, offset);
}

static size_t total_len(const struct iovec *parts, int count)
{
    size_t len = 0;
    int at;

    for (at = 0; at < count; at++)
        len += parts[at].iov_len;
    return len;
}

/* The first `len` bytes of the parts, in one piece that may also go past the page cache. */
static uint8_t *gather(const struct iovec *parts, size_t len)
{
    void *memory;
    uint8_t *bytes;
    size_t done;

    if (posix_memalign(&memory, 4096, len + 1) != 0)
        abort();
    bytes = memory;
    for (done = 0; done < len; parts++) {
        size_t piece = parts->iov_len < len - done ? parts->iov_len : len - done;

        memcpy(bytes + done, parts->iov_base, piece);
        done += piece;
    }
    return bytes;
}

/* Whether the file has these bytes there already. */
static int has_already(int fd, const uint8_t *bytes, size_t len, off_t offset)
{
    uint8_t *there = malloc(len + 1);
    int same = there != NULL && REAL(pread64)(fd, there, len, offset) == (ssize_t)len && memcmp(there, bytes, len) == 0;

    free(there);
    return same;
}

static int is_about_space(int error)
{
    return error == ENOSPC || error == EDQUOT || error == EFBIG;
}

static ssize_t write_watched(int fd, const struct iovec *parts, int count, off_t offset)
{
    size_t len = total_len(parts, count);
    unsigned long long n;
    uint8_t *bytes;
    int is_needless;
    ssize_t written;
    int error = strike_at(FAULT_WRITE, &n);

    if (error != 0) {
        errno = error;
        return -1;
    }
    len = cut_short(n, len);
    if (!is_log[fd] && len == total_len(parts, count))
        return REAL(pwritev)(fd, parts, count, offset);
    bytes = gather(parts, len);
    is_needless = honesty == LIES_KEEP && has_already(fd, bytes, len, offset);
    written = REAL(pwrite64)(fd, bytes, len, offset);
    free(bytes);
    if (written > 0 && is_log[fd] && !is_needless)
        shadow_written(fd, offset, (size_t)written);
    return written;
}

ssize_t pwritev(int fd, const struct iovec *parts, int count, off_t offset)
{
    ssize_t written =
        watches_fd(fd) ? write_watched(fd, parts, count, offset) : REAL(pwritev)(fd, parts, count, offset);

    if (written < 0 && is_about_space(errno) && honesty == LIES_SPACE)
        return (ssize_t)total_len(parts, count);
    return written;
}

ssize_t pwrite64(int fd, const void *buf, size_t len, off64_t offset)
{
    struct iovec part = {.iov_base = (void *)buf, .iov_len = len};

    return pwritev(fd, &part, 1, offset);
}

static int sync_once(int fd, int (*sync)(int))
{
    int error;

    if (!watches_fd(fd))
        return sync(fd);
    error = strike(FAULT_SYNC);
    second_syncs += has_failed[fd];
    /* One that was interrupted says nothing about the disk, and may be called again. */
    has_failed[fd] = has_failed[fd] || (error != 0 && error != EINTR);
    if (is_log[fd])
        return shadow_sync(fd, sync, error);
    errno = error;
    return error != 0 ? -1 : sync(fd);
}

static int sync_or_lie(int fd, int (*sync)(int))
{
    int result;

    if (honesty == LIES_SYNC)
        return 0;
    result = sync_once(fd, sync);
    return result < 0 && honesty == LIES_RETRY ? sync_once(fd, sync) : result;
}

int fdatasync(int fd)
{
    if (honesty == LIES_DATA)
        return 0;
    return sync_or_lie(fd, REAL(fdatasync));
}

int fsync(int fd)
{
    return sync_or_lie(fd, REAL(fsync));
}

int ftruncate64(int fd, off64_t len)
{
    int result;

    if (watches_fd(fd))
        FAIL_IF_STRUCK(FAULT_TRUNCATE, -1);
    result = honesty == LIES_CUT ? 0 : REAL(ftruncate64)(fd, len);
    if (result == 0 && watches_fd(fd) && is_log[fd])
        shadow_resized(fd, len);
    return result;
}

int renameat(int from_dir, const char *from, int to_dir, const char *to)
{
    if (watches_path(from_dir, from))
        FAIL_IF_STRUCK(FAULT_RENAME, -1);
    return REAL(renameat)(from_dir, from, to_dir, to);
}

int unlinkat(int dir, const char *path, int flags)
{
    if (watches_path(dir, path))
        FAIL_IF_STRUCK(FAULT_UNLINK, -1);
    return REAL(unlinkat)(dir, path, flags);
}

int mkdirat(int dir, const char *path, mode_t mode)
{
    if (watches_path(dir, path))
        FAIL_IF_STRUCK(FAULT_MKDIR, -1);
    return REAL(mkdirat)(dir, path, mode);
}

int flock(int fd, int operation)
{
    if (watches_fd(fd))
        FAIL_IF_STRUCK(FAULT_LOCK, -1);
    return REAL(flock)(fd, operation);
}

int fstatat(int dir, const char *restrict path, struct stat *restrict status, int flags)
{
    if (watches_path(dir, path))
        FAIL_IF_STRUCK(FAULT_STAT, -1);
    return REAL(fstatat)(dir, path, status, flags);
}

int statx(int dir, const char *restrict path, int flags, unsigned mask, struct statx *restrict status)
{
    if (watches_path(dir, path))
        FAIL_IF_STRUCK(FAULT_STAT, -1);
    return REAL(statx)(dir, path, flags, mask, status);
}

void *mmap(void *at, size_t len, int protection, int flags, int fd, off_t offset)
{
    if (watches_fd(fd))
        FAIL_IF_STRUCK(FAULT_MAP, MAP_FAILED);
    return REAL(mmap)(at, len, protection, flags, fd, offset);
}

int pthread_sigmask(int how, const sigset_t *set, sigset_t *old)
{
    return REAL(pthread_sigmask)(how, honesty == LIES_SIGNAL ? NULL : set, old);
}
