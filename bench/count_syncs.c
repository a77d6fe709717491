/*
 * Preloaded, counts the calls that ask for stable storage, in this process and in those it starts: in the file that
 * KVBENCH_SYNCS names, an array of 64-bit numbers in the order of enum counter, which run.py reads.
 *
 * A write to a file that was opened with O_SYNC or O_DSYNC counts as a sync; sync_file_range() is counted apart, since
 * no power cut respects it.
 */
#include <dlfcn.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <unistd.h>

enum counter { FSYNC, FDATASYNC, MSYNC, SYNCED_WRITE, SYNC_FILE_RANGE, COUNTERS };

static _Atomic uint64_t unwanted[COUNTERS]; /* where there is no file */
static _Atomic uint64_t *counts = unwanted;

__attribute__((constructor)) static void map_counts(void)
{
    const char *path = getenv("KVBENCH_SYNCS");
    int fd = path != NULL ? open(path, O_RDWR | O_CLOEXEC) : -1;
    void *memory = fd >= 0 ? mmap(NULL, sizeof unwanted, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0) : MAP_FAILED;

    if (memory != MAP_FAILED)
        counts = memory;
    if (fd >= 0)
        close(fd);
}

static void count(enum counter counter)
{
    atomic_fetch_add(&counts[counter], 1);
}

static void count_synced_write(int fd, int rw_flags)
{
    if ((fcntl(fd, F_GETFL) & (O_DSYNC | O_SYNC)) != 0 || (rw_flags & (RWF_DSYNC | RWF_SYNC)) != 0)
        count(SYNCED_WRITE);
}

/* The function that this one stands in front of. */
#define NEXT(name, ...)                                                                                                \
    ({                                                                                                                 \
        static __typeof__(name) *next;                                                                                 \
        if (next == NULL)                                                                                              \
            next = (__typeof__(name) *)dlsym(RTLD_NEXT, #name);                                                        \
        next(__VA_ARGS__);                                                                                             \
    })

int fsync(int fd)
{
    count(FSYNC);
    return NEXT(fsync, fd);
}

int fdatasync(int fd)
{
    count(FDATASYNC);
    return NEXT(fdatasync, fd);
}

int msync(void *start, size_t len, int flags)
{
    if ((flags & MS_SYNC) != 0)
        count(MSYNC);
    return NEXT(msync, start, len, flags);
}

int sync_file_range(int fd, off64_t offset, off64_t len, unsigned flags)
{
    count(SYNC_FILE_RANGE);
    return NEXT(sync_file_range, fd, offset, len, flags);
}

ssize_t write(int fd, const void *bytes, size_t len)
{
    count_synced_write(fd, 0);
    return NEXT(write, fd, bytes, len);
}

ssize_t writev(int fd, const struct iovec *parts, int part_count)
{
    count_synced_write(fd, 0);
    return NEXT(writev, fd, parts, part_count);
}

ssize_t pwrite(int fd, const void *bytes, size_t len, off_t offset)
{
    count_synced_write(fd, 0);
    return NEXT(pwrite, fd, bytes, len, offset);
}

ssize_t pwrite64(int fd, const void *bytes, size_t len, off64_t offset)
{
    count_synced_write(fd, 0);
    return NEXT(pwrite64, fd, bytes, len, offset);
}

ssize_t pwritev(int fd, const struct iovec *parts, int part_count, off_t offset)
{
    count_synced_write(fd, 0);
    return NEXT(pwritev, fd, parts, part_count, offset);
}

ssize_t pwritev64(int fd, const struct iovec *parts, int part_count, off64_t offset)
{
    count_synced_write(fd, 0);
    return NEXT(pwritev64, fd, parts, part_count, offset);
}

ssize_t pwritev2(int fd, const struct iovec *parts, int part_count, off_t offset, int flags)
{
    count_synced_write(fd, flags);
    return NEXT(pwritev2, fd, parts, part_count, offset, flags);
}
