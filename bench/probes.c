/* What the machine does without a store. */
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#ifdef HAVE_ZLIB
#include <zlib.h>
#endif

#include "clock.h"
#include "fail.h"
#include "result.h"
#include "workloads.h"

enum {
    COPIED = 64 << 20,
    DISK_BLOCK = 4 << 20,
    ALIGNMENT = 4096,
};

/* A probe has no operations that anybody would count: a result is megabytes and seconds. */
static void report_bandwidth(const struct bench *bench, const char *name, uint64_t bytes, double seconds)
{
    result_begin(bench->options, &(struct result){.name = name, .threads = 1, .seconds = seconds});
    result_number("mb_per_s", (double)bytes / seconds / 1e6);
    result_end();
}

static char *touched_memory(size_t bytes)
{
    char *memory = must(aligned_alloc(2 << 20, bytes));

    madvise(memory, bytes, MADV_HUGEPAGE);
    memset(memory, 1, bytes);
    return memory;
}

void probe_memcpy(const struct bench *bench)
{
    char *from = touched_memory(COPIED);
    char *to = touched_memory(COPIED);
    uint64_t start = now_ns();
    uint64_t bytes = 0;

    while (seconds_since(start) < bench->options->seconds) {
        memcpy(to, from, COPIED);
        __asm__ volatile("" : : "r"(to) : "memory");
        bytes += COPIED;
    }
    report_bandwidth(bench, "-", bytes, seconds_since(start));
    free(from);
    free(to);
}

#ifdef HAVE_ZLIB
static void measure_crc32(const struct bench *bench, const char *name, const char *data, size_t block)
{
    uint64_t start = now_ns();
    uint64_t bytes = 0;

    while (seconds_since(start) < bench->options->seconds) {
        for (size_t at = 0; at + block <= COPIED / 64; at += block, bytes += block) {
            uLong sum = crc32(0, (const Bytef *)data + at, (uInt)block);

            __asm__ volatile("" : : "r"(sum));
        }
    }
    report_bandwidth(bench, name, bytes, seconds_since(start));
}

void probe_crc32(const struct bench *bench)
{
    char *data = touched_memory(COPIED);

    measure_crc32(bench, "128-bytes", data, 128);
    measure_crc32(bench, "64-KiB", data, 65536);
    free(data);
}
#else
void probe_crc32(const struct bench *bench)
{
    (void)bench;
    CANNOT("zlib is not there");
}
#endif

/* Whole blocks, as many as the keys and values of the run have bytes, so that it compares with a checkpoint of them. */
static size_t disk_bytes(const struct bench *bench)
{
    size_t bytes = bench->options->keys * (KEY_LEN + bench->options->value_len);

    return (bytes + DISK_BLOCK - 1) / DISK_BLOCK * DISK_BLOCK;
}

static int open_disk_file(const struct bench *bench, int flags)
{
    char path[4096];
    int fd;

    snprintf(path, sizeof path, "%s/disk", bench->options->dir);
    fd = open(path, flags | O_CLOEXEC, 0600);
    if (fd < 0 && errno == EINVAL)
        CANNOT("the file system has no O_DIRECT");
    if (fd < 0)
        FAIL_ERRNO(path);
    return fd;
}

static void transfer(int fd, char *block, size_t bytes, bool writes)
{
    for (size_t at = 0; at < bytes; at += DISK_BLOCK) {
        ssize_t done = writes ? pwrite(fd, block, DISK_BLOCK, (off_t)at) : pread(fd, block, DISK_BLOCK, (off_t)at);

        if (done != DISK_BLOCK)
            FAIL_ERRNO(writes ? "pwrite" : "pread");
    }
    if (writes && fdatasync(fd) != 0)
        FAIL_ERRNO("fdatasync");
}

static void measure_disk(const struct bench *bench, const char *name, int flags, char *block)
{
    size_t bytes = disk_bytes(bench);
    int fd = open_disk_file(bench, flags);
    bool writes = (flags & O_ACCMODE) == O_WRONLY;
    uint64_t start;

    if (!writes)
        posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
    start = now_ns();
    transfer(fd, block, bytes, writes);
    report_bandwidth(bench, name, bytes, seconds_since(start));
    close(fd);
}

void probe_disk(const struct bench *bench)
{
    char *block = must(aligned_alloc(ALIGNMENT, DISK_BLOCK));

    memset(block, 1, DISK_BLOCK);
    measure_disk(bench, "write-direct", O_WRONLY | O_CREAT | O_TRUNC | O_DIRECT, block);
    measure_disk(bench, "read-direct", O_RDONLY | O_DIRECT, block);
    measure_disk(bench, "read-cold", O_RDONLY, block);
    measure_disk(bench, "write-buffered", O_WRONLY | O_CREAT | O_TRUNC, block);
    free(block);
}
