/*
 * What a disk does with the bytes of one log record after the other, and nothing else: the bound for a durable store.
 * Nothing can be read back.
 *
 *   raw-over    pwrite into a file that was filled with zeros and synced, around and around, and fdatasync
 *   raw-append  pwrite at the end, which makes the file longer, and fdatasync
 *   raw-direct  as raw-over, but past the page cache: whole 4 KiB blocks, O_DIRECT
 */
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../store.h"

enum {
    RECORD_OVERHEAD = 33, /* of a record of kvwal's log */
    BLOCK = 4096,
    FILE_BYTES = 64 << 20,
    BUFFER_BYTES = 1 << 20,
};

struct raw_file {
    int fd;
    off_t offset;
    bool grows, direct;
    char *buffer;
    size_t filled;
};

static int failed(const char *call)
{
    perror(call);
    return -1;
}

static int fill_with_zeros(struct raw_file *file)
{
    memset(file->buffer, 0, BUFFER_BYTES);
    for (off_t at = 0; at < FILE_BYTES; at += BUFFER_BYTES) {
        if (pwrite(file->fd, file->buffer, BUFFER_BYTES, at) != BUFFER_BYTES)
            return failed("pwrite");
    }
    return fsync(file->fd) == 0 ? 0 : failed("fsync");
}

static int close_file(void *store)
{
    struct raw_file *file = store;
    int status = close(file->fd) == 0 ? 0 : failed("close");

    free(file->buffer);
    free(file);
    return status;
}

static void *open_file(const struct store_config *config, bool grows, bool direct)
{
    struct raw_file *file = calloc(1, sizeof *file);
    char path[4096];

    if (file == NULL || (file->buffer = aligned_alloc(BLOCK, BUFFER_BYTES)) == NULL) {
        failed("open");
        free(file);
        return NULL;
    }
    snprintf(path, sizeof path, "%s/log", config->dir);
    file->grows = grows;
    file->direct = direct;
    file->fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | (direct ? O_DIRECT : 0), 0600);
    if (file->fd < 0 || (!grows && fill_with_zeros(file) != 0)) {
        failed("open");
        close_file(file);
        return NULL;
    }
    return file;
}

static void *open_over(const struct store_config *config)
{
    return open_file(config, false, false);
}

static void *open_append(const struct store_config *config)
{
    return open_file(config, true, false);
}

static void *open_direct(const struct store_config *config)
{
    return open_file(config, false, true);
}

static int encode(struct raw_file *file, const struct pair *pair)
{
    char *at = file->buffer + file->filled;

    if (file->filled + RECORD_OVERHEAD + pair->key_len + pair->value_len > BUFFER_BYTES) {
        fprintf(stderr, "raw: more than %d bytes at once\n", BUFFER_BYTES);
        return -1;
    }
    memset(at, 1, RECORD_OVERHEAD);
    memcpy(at + RECORD_OVERHEAD, pair->key, pair->key_len);
    memcpy(at + RECORD_OVERHEAD + pair->key_len, pair->value, pair->value_len);
    file->filled += RECORD_OVERHEAD + pair->key_len + pair->value_len;
    return 0;
}

static int write_and_sync(struct raw_file *file)
{
    size_t len = file->direct ? (file->filled + BLOCK - 1) / BLOCK * BLOCK : file->filled;

    if (!file->grows && file->offset + (off_t)len > FILE_BYTES)
        file->offset = 0;
    if (pwrite(file->fd, file->buffer, len, file->offset) != (ssize_t)len)
        return failed("pwrite");
    file->offset += (off_t)len;
    return fdatasync(file->fd) == 0 ? 0 : failed("fdatasync");
}

static int set_batch(void *store, const struct pair *pairs, size_t count)
{
    struct raw_file *file = store;

    file->filled = 0;
    for (size_t i = 0; i < count; i++) {
        if (encode(file, &pairs[i]) != 0)
            return -1;
    }
    return write_and_sync(file);
}

static int set(void *store, const void *key, size_t key_len, const void *value, size_t value_len)
{
    struct pair pair = {.key = key, .key_len = key_len, .value = value, .value_len = value_len};

    return set_batch(store, &pair, 1);
}

#define COMMON .is_durable = true, .is_single_threaded = true, .close = close_file, .set = set, .set_batch = set_batch

const struct store raw_over_store = {
    COMMON,
    .name = "raw-over",
    .configuration = "pwrite over zeros that are on the disk, fdatasync",
    .open = open_over,
};

const struct store raw_append_store = {
    COMMON,
    .name = "raw-append",
    .configuration = "pwrite at the end of the file, fdatasync",
    .open = open_append,
};

const struct store raw_direct_store = {
    COMMON,
    .name = "raw-direct",
    .configuration = "pwrite of whole blocks over zeros that are on the disk, O_DIRECT, fdatasync",
    .open = open_direct,
};
