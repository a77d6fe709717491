/*
 * What every C test needs: checks that name their place and end the program, temporary directories, whole files in
 * memory, and a CRC-32 and big-endian integers of its own, so that the library's bytes are not judged by the library.
 *
 * Header-only, so that each test is one file for the compiler. A failed check leaves the temporary directory behind,
 * to be looked at.
 */
#ifndef KVWAL_TEST_SUPPORT_H
#define KVWAL_TEST_SUPPORT_H

/* For mkdtemp() and nftw(); works only if this header comes first. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "kvwal.h"

/* ---- Checks: print file:line and what was wrong, then exit(1) ---- */

__attribute__((noreturn, format(printf, 3, 4))) static inline void check_failed(const char *file, int line,
                                                                                const char *format, ...)
{
    va_list arguments;

    fflush(stdout);
    fprintf(stderr, "FAIL\n%s:%d: ", file, line);
    va_start(arguments, format);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    fputc('\n', stderr);
    exit(EXIT_FAILURE);
}

#define FAIL(...) check_failed(__FILE__, __LINE__, __VA_ARGS__)

#define CHECK(condition)                                                                                               \
    do {                                                                                                               \
        if (!(condition))                                                                                              \
            FAIL("not true: %s", #condition);                                                                          \
    } while (0)

/* For system calls: reports errno. */
#define CHECK_SYS(condition)                                                                                           \
    do {                                                                                                               \
        if (!(condition))                                                                                              \
            FAIL("failed: %s: %s", #condition, strerror(errno));                                                       \
    } while (0)

/* Integers of any type. */
#define CHECK_EQ(actual, expected)                                                                                     \
    do {                                                                                                               \
        long long check_actual = (long long)(actual);                                                                  \
        long long check_expected = (long long)(expected);                                                              \
        if (check_actual != check_expected)                                                                            \
            FAIL("%s is %lld, not %lld (%s)", #actual, check_actual, check_expected, #expected);                       \
    } while (0)

/* Result codes of the library. */
#define CHECK_CODE(call, expected)                                                                                     \
    do {                                                                                                               \
        int check_code = (call);                                                                                       \
        if (check_code != (expected))                                                                                  \
            FAIL("%s returned %d (%s), not %s; kv_errmsg: %s", #call, check_code, kv_strerror(check_code), #expected,  \
                 kv_errmsg());                                                                                         \
    } while (0)

#define CHECK_OK(call) CHECK_CODE(call, KV_OK)

#define CHECK_BYTES(actual, actual_len, expected, expected_len)                                                        \
    check_bytes(__FILE__, __LINE__, #actual, actual, actual_len, expected, expected_len)

static inline void check_bytes(const char *file, int line, const char *what, const void *actual, size_t actual_len,
                               const void *expected, size_t expected_len)
{
    size_t at;

    if (actual_len != expected_len)
        check_failed(file, line, "%s has %zu bytes, not %zu", what, actual_len, expected_len);
    for (at = 0; at < actual_len; at++) {
        unsigned got = ((const uint8_t *)actual)[at];
        unsigned wanted = ((const uint8_t *)expected)[at];
        if (got != wanted)
            check_failed(file, line, "%s differs at byte %zu: 0x%02x, not 0x%02x", what, at, got, wanted);
    }
}

/* ---- Numbered tests: "[test 1] name... PASS" ---- */

struct test {
    const char *name;
    void (*run)(void);
};

static inline void run_tests(const struct test *tests, size_t count)
{
    size_t i;

    for (i = 0; i < count; i++) {
        printf("[test %zu] %s... ", i + 1, tests[i].name);
        fflush(stdout);
        tests[i].run();
        printf("PASS\n");
        fflush(stdout);
    }
}

#define ARRAY_LEN(array) (sizeof(array) / sizeof((array)[0]))

/* ---- Memory and paths; what they return is to be freed with free() ---- */

static inline void *must_alloc(size_t len)
{
    void *memory = malloc(len > 0 ? len : 1);

    CHECK(memory != NULL);
    return memory;
}

static inline char *join_path(const char *dir, const char *name)
{
    size_t len = strlen(dir) + strlen(name) + 2;
    char *path = must_alloc(len);

    snprintf(path, len, "%s/%s", dir, name);
    return path;
}

/* ---- Temporary directories, under $TMPDIR or /tmp ---- */

static inline char *make_temp_dir(void)
{
    const char *parent = getenv("TMPDIR");
    char *dir = join_path(parent != NULL && parent[0] != '\0' ? parent : "/tmp", "kvwal-test-XXXXXX");

    CHECK_SYS(mkdtemp(dir) != NULL);
    return dir;
}

static inline int remove_entry(const char *path, const struct stat *status, int kind, struct FTW *place)
{
    (void)status;
    (void)kind;
    (void)place;
    return remove(path);
}

static inline void remove_tree(const char *dir)
{
    CHECK_SYS(nftw(dir, remove_entry, 16, FTW_DEPTH | FTW_PHYS) == 0);
}

/* Removes what make_temp_dir() made, and frees its name. */
static inline void remove_temp_dir(char *dir)
{
    remove_tree(dir);
    free(dir);
}

/* ---- Files ---- */

struct bytes {
    uint8_t *data;
    size_t len;
};

static inline void free_bytes(struct bytes *bytes)
{
    free(bytes->data);
    bytes->data = NULL;
    bytes->len = 0;
}

static inline void append_bytes(struct bytes *bytes, const void *data, size_t len)
{
    bytes->data = realloc(bytes->data, bytes->len + len + 1);
    CHECK(bytes->data != NULL);
    if (len > 0)
        memcpy(bytes->data + bytes->len, data, len);
    bytes->len += len;
}

static inline int path_exists(const char *path)
{
    struct stat status;

    if (lstat(path, &status) == 0)
        return 1;
    CHECK_SYS(errno == ENOENT);
    return 0;
}

static inline size_t file_size(const char *path)
{
    struct stat status;

    CHECK_SYS(stat(path, &status) == 0);
    return (size_t)status.st_size;
}

/* Appends the whole file to *bytes. */
static inline void append_file(struct bytes *bytes, const char *path)
{
    size_t len = file_size(path);
    void *data = must_alloc(len);
    FILE *file = fopen(path, "rb");

    CHECK_SYS(file != NULL);
    CHECK_SYS(fread(data, 1, len, file) == len);
    CHECK_SYS(fclose(file) == 0);
    append_bytes(bytes, data, len);
    free(data);
}

static inline struct bytes read_file(const char *path)
{
    struct bytes bytes = {NULL, 0};

    append_file(&bytes, path);
    return bytes;
}

static inline void write_file(const char *path, const void *data, size_t len)
{
    FILE *file = fopen(path, "wb");

    CHECK_SYS(file != NULL);
    CHECK_SYS(fwrite(data, 1, len, file) == len);
    CHECK_SYS(fclose(file) == 0);
}

/* Overwrites part of an existing file, as a failing disk would. */
static inline void overwrite_file(const char *path, size_t offset, const void *data, size_t len)
{
    int fd = open(path, O_WRONLY);

    CHECK_SYS(fd >= 0);
    CHECK_SYS(pwrite(fd, data, len, (off_t)offset) == (ssize_t)len);
    CHECK_SYS(close(fd) == 0);
}

/* ---- The quarantine directory below a store or beside a log ---- */

static inline int not_dot(const struct dirent *entry)
{
    return strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0;
}

/* How many files dir/quarantine holds; 0 if it does not exist. With a `contents`, appends their bytes in name order. */
static inline size_t read_quarantine(const char *dir, struct bytes *contents)
{
    char *quarantine = join_path(dir, "quarantine");
    struct dirent **entries = NULL;
    int count = path_exists(quarantine) ? scandir(quarantine, &entries, not_dot, alphasort) : 0;
    int i;

    CHECK_SYS(count >= 0);
    for (i = 0; i < count; i++) {
        char *path = join_path(quarantine, entries[i]->d_name);
        if (contents != NULL)
            append_file(contents, path);
        free(path);
        free(entries[i]);
    }
    free(entries);
    free(quarantine);
    return (size_t)count;
}

static inline size_t quarantine_count(const char *dir)
{
    return read_quarantine(dir, NULL);
}

/* ---- CRC-32 as in zlib and IEEE 802.3, one table look-up a byte ---- */

static inline void fill_crc_table(uint32_t table[256])
{
    uint32_t i;

    for (i = 0; i < 256; i++) {
        uint32_t entry = i;
        int bit;
        for (bit = 0; bit < 8; bit++)
            entry = (entry >> 1) ^ ((entry & 1) != 0 ? 0xEDB88320u : 0);
        table[i] = entry;
    }
}

static inline uint32_t crc32_of(const void *data, size_t len)
{
    static uint32_t table[256];
    const uint8_t *bytes = data;
    uint32_t crc = 0xFFFFFFFFu;
    size_t at;

    if (table[1] == 0)
        fill_crc_table(table);
    for (at = 0; at < len; at++)
        crc = (crc >> 8) ^ table[(crc ^ bytes[at]) & 0xFF];
    return crc ^ 0xFFFFFFFFu;
}

/* ---- Big-endian integers ---- */

static inline uint32_t get_be32(const uint8_t *at)
{
    return (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | (uint32_t)at[3];
}

static inline uint64_t get_be64(const uint8_t *at)
{
    return (uint64_t)get_be32(at) << 32 | get_be32(at + 4);
}

/* ---- The library's structs, ready to be filled ---- */

static inline kv_recovery new_recovery(void)
{
    kv_recovery recovery;

    memset(&recovery, 0, sizeof recovery);
    recovery.struct_size = sizeof recovery;
    return recovery;
}

static inline kv_recovery recovery_report(kv_store *store)
{
    kv_recovery recovery = new_recovery();

    CHECK_OK(kv_recovery_report(store, &recovery));
    return recovery;
}

static inline kv_stats store_stats(kv_store *store)
{
    kv_stats stats;

    memset(&stats, 0, sizeof stats);
    stats.struct_size = sizeof stats;
    CHECK_OK(kv_stats_get(store, &stats));
    return stats;
}

#endif
