/*
 * A failed fsync on Linux leaves in the page cache what the disk never got, marked as clean: it is there to be read,
 * until a power cut, and a later fsync does not write it. To see whether the library builds on such data, this keeps a
 * copy of each log as the disk has it. A sync that succeeds copies what was written before it; one that fails drops it,
 * so that it never gets there unless it is written again. In the end the logs are made to be as the disk has them.
 *
 * Lengths and names are not held back. All calls go past the functions that faults.c stands in front of.
 */
#include "shadow.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { MOST_FILES = 256, MOST_WRITES = 4096 };

struct file {
    dev_t dev;
    ino_t ino;
    uint8_t *bytes; /* as the disk has them */
    size_t len;
};

struct pending {
    struct file *file;
    size_t at, len;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct file files[MOST_FILES];
static unsigned file_count;
/* Written since the last sync of its file. */
static struct pending writes[MOST_WRITES];
static unsigned write_count;

static void demand(int condition)
{
    if (!condition)
        abort();
}

static void status_of(int fd, struct stat *status)
{
    demand(syscall(SYS_newfstatat, fd, "", status, AT_EMPTY_PATH) == 0);
}

static struct file *find(int fd)
{
    struct stat status;
    unsigned i;

    status_of(fd, &status);
    for (i = 0; i < file_count; i++) {
        if (files[i].dev == status.st_dev && files[i].ino == status.st_ino)
            return &files[i];
    }
    return NULL;
}

static void resize(struct file *file, size_t len)
{
    if (len > file->len) {
        file->bytes = realloc(file->bytes, len);
        demand(file->bytes != NULL);
        memset(file->bytes + file->len, 0, len - file->len);
    }
    file->len = len;
}

/* What the page cache has there is on the disk now. */
static void copy(int fd, struct file *file, size_t at, size_t len)
{
    ssize_t got;

    if (at + len > file->len)
        resize(file, at + len);
    while (len > 0 && (got = syscall(SYS_pread64, fd, file->bytes + at, len, at)) > 0) {
        at += (size_t)got;
        len -= (size_t)got;
    }
}

void shadow_opened(int fd)
{
    struct stat status;
    struct file *file;

    pthread_mutex_lock(&lock);
    file = find(fd);
    status_of(fd, &status);
    if (file == NULL) {
        demand(file_count < MOST_FILES);
        file = &files[file_count++];
        *file = (struct file){.dev = status.st_dev, .ino = status.st_ino};
        copy(fd, file, 0, (size_t)status.st_size);
    } else if (status.st_size == 0) {
        resize(file, 0); /* perhaps another file with the number of one that is gone */
    }
    pthread_mutex_unlock(&lock);
}

void shadow_written(int fd, off_t at, size_t len)
{
    pthread_mutex_lock(&lock);
    demand(write_count < MOST_WRITES);
    writes[write_count++] = (struct pending){.file = find(fd), .at = (size_t)at, .len = len};
    pthread_mutex_unlock(&lock);
}

void shadow_resized(int fd, off_t len)
{
    struct file *file;
    unsigned i;

    pthread_mutex_lock(&lock);
    file = find(fd);
    resize(file, (size_t)len);
    for (i = 0; i < write_count; i++) {
        if (writes[i].file == file && writes[i].at + writes[i].len > (size_t)len)
            writes[i].len = writes[i].at < (size_t)len ? (size_t)len - writes[i].at : 0;
    }
    pthread_mutex_unlock(&lock);
}

/* Whatever happens to it, nothing that was written before is written by a later sync. */
static void end_writes(int fd, struct file *file, int is_synced)
{
    unsigned kept = 0;
    unsigned i;

    for (i = 0; i < write_count; i++) {
        if (writes[i].file != file)
            writes[kept++] = writes[i];
        else if (is_synced)
            copy(fd, file, writes[i].at, writes[i].len);
    }
    write_count = kept;
}

int shadow_sync(int fd, int (*sync)(int), int error)
{
    int result = -1;

    /* Nobody can note a write that this sync does not cover before it has ended. */
    pthread_mutex_lock(&lock);
    if (error == 0)
        result = sync(fd);
    else
        errno = error;
    if (error != EINTR)
        end_writes(fd, find(fd), result == 0);
    pthread_mutex_unlock(&lock);
    return result;
}

static void lose(int fd)
{
    struct file *file = find(fd);
    size_t done = 0;
    struct stat status;

    status_of(fd, &status);
    if (file == NULL)
        return;
    resize(file, (size_t)status.st_size);
    while (done < file->len) {
        ssize_t written = syscall(SYS_pwrite64, fd, file->bytes + done, file->len - done, done);

        demand(written > 0);
        done += (size_t)written;
    }
}

void shadow_lose(const char *dir)
{
    static const char *const LOGS[] = {"wal.log", "wal.next"};
    int parent = (int)syscall(SYS_openat, AT_FDCWD, dir, O_RDONLY | O_DIRECTORY, 0);
    unsigned i;

    pthread_mutex_lock(&lock);
    for (i = 0; i < 2 && parent >= 0; i++) {
        int fd = (int)syscall(SYS_openat, parent, LOGS[i], O_RDWR, 0);

        if (fd >= 0) {
            lose(fd);
            syscall(SYS_close, fd);
        }
    }
    if (parent >= 0)
        syscall(SYS_close, parent);
    for (i = 0; i < file_count; i++)
        free(files[i].bytes);
    file_count = 0;
    write_count = 0;
    pthread_mutex_unlock(&lock);
}
