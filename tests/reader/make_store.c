/*
 * make_store: a store with every kind of thing in it, for a reader in another language to be tried on.
 *
 *     make_store build DIR [--checkpoint] [--crash]     makes the store DIR
 *     make_store dump DIR                               prints a line "hexkey hexvalue" a key, in kv_scan()'s order
 *
 * --checkpoint makes a checkpoint in the middle; --crash ends with SIGKILL instead of kv_close().
 */
#include <kvwal.h>

#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { KEYS = 200, LONG_VALUE = 3 * 1024 * 1024, SHORT_TTL_MS = 300 };

static const uint64_t TEN_YEARS_MS = UINT64_C(10) * 365 * 24 * 3600 * 1000;

/* Ends the program if a call of the library failed. */
static void expect_ok(int rc)
{
    if (rc == KV_OK)
        return;
    fprintf(stderr, "make_store: %s: %s\n", kv_strerror(rc), kv_errmsg());
    exit(EXIT_FAILURE);
}

static void set(kv_store *store, const char *key, const char *value)
{
    expect_ok(kv_set(store, key, strlen(key), value, strlen(value)));
}

static void set_ttl(kv_store *store, const char *key, const char *value, uint64_t ttl_ms)
{
    expect_ok(kv_set_ttl(store, key, strlen(key), value, strlen(value), ttl_ms));
}

static void del(kv_store *store, const char *key)
{
    expect_ok(kv_del(store, key, strlen(key)));
}

/* Many keys: all set, every third one overwritten, every fifth one deleted. */
static void set_many(kv_store *store, const char *when)
{
    char key[32], value[64];

    for (int i = 0; i < KEYS; i++) {
        snprintf(key, sizeof key, "%s-%03d", when, i);
        set(store, key, "first value");
        if (i % 3 == 0) {
            snprintf(value, sizeof value, "overwritten, number %d", i);
            set(store, key, value);
        }
        if (i % 5 == 0)
            del(store, key);
    }
}

static void set_odd_sizes(kv_store *store)
{
    static const char binary_key[] = "\0\xff\n\0key";
    static const char binary_value[] = "value\0\xfe\r\n\0";
    static char longest_key[KV_MAX_KEY_LEN];

    memset(longest_key, 'k', sizeof longest_key);
    expect_ok(kv_set(store, NULL, 0, "of the empty key", 16));
    expect_ok(kv_set(store, "empty value", 11, NULL, 0));
    expect_ok(kv_set(store, binary_key, sizeof binary_key, binary_value, sizeof binary_value));
    expect_ok(kv_set(store, longest_key, sizeof longest_key, "of the longest key", 18));
}

/* Larger than a block of a checkpoint, and without a period that a misplaced block could hide in. */
static void set_long_value(kv_store *store, const char *key)
{
    unsigned char *value = malloc(LONG_VALUE);
    uint32_t state = 1;

    if (value == NULL)
        exit(EXIT_FAILURE);
    for (size_t i = 0; i < LONG_VALUE; i++) {
        state = state * 1664525 + 1013904223;
        value[i] = (unsigned char)(state >> 24);
    }
    expect_ok(kv_set(store, key, strlen(key), value, LONG_VALUE));
    free(value);
}

/* The short ones will have expired when the store is read, also the one that replaced a value that stays. */
static void set_expiring(kv_store *store, const char *when)
{
    char key[64];

    snprintf(key, sizeof key, "%s-expires-late", when);
    set_ttl(store, key, "still there", TEN_YEARS_MS);
    snprintf(key, sizeof key, "%s-expires-soon", when);
    set_ttl(store, key, "gone", SHORT_TTL_MS);
    snprintf(key, sizeof key, "%s-replaced-by-one-that-expires", when);
    set(store, key, "stays");
    set_ttl(store, key, "gone", SHORT_TTL_MS);
    snprintf(key, sizeof key, "%s-expiry-taken-back", when);
    set_ttl(store, key, "would be gone", SHORT_TTL_MS);
    set(store, key, "stays");
}

/* Sets a key twice, another one once, and deletes `victim`, which must be there, all in one batch. */
static void write_batch(kv_store *store, const char *when, const char *victim)
{
    kv_batch *batch = kv_batch_new();
    char key[64];

    if (batch == NULL)
        exit(EXIT_FAILURE);
    snprintf(key, sizeof key, "%s-batch-a", when);
    expect_ok(kv_batch_set(batch, key, strlen(key), "replaced in the same batch", 26));
    expect_ok(kv_batch_del(batch, victim, strlen(victim)));
    expect_ok(kv_batch_set(batch, key, strlen(key), "final", 5));
    snprintf(key, sizeof key, "%s-batch-b", when);
    expect_ok(kv_batch_set(batch, key, strlen(key), "another", 7));
    expect_ok(kv_write(store, batch));
    kv_batch_free(batch);
}

static void write_first_half(kv_store *store)
{
    set_many(store, "early");
    set_odd_sizes(store);
    set_long_value(store, "long value");
    set_long_value(store, "long value that is replaced");
    write_batch(store, "early", "early-001");
    set_expiring(store, "early");
}

/* Changes what the first half left, and ends with a batch, so that a cut in the last record takes all of that batch. */
static void write_second_half(kv_store *store)
{
    set(store, "early-002", "changed later");
    del(store, "early-004");
    set(store, "long value that is replaced", "short now");
    set_many(store, "late");
    set_long_value(store, "late long value");
    set_expiring(store, "late");
    write_batch(store, "late", "early-007");
}

static void wait_until_expired(void)
{
    struct timespec pause = {.tv_nsec = (SHORT_TTL_MS + 50) * 1000000L};

    nanosleep(&pause, NULL);
}

static void build(const char *directory, bool checkpoint, bool crash)
{
    kv_store *store;

    expect_ok(kv_open(directory, NULL, &store));
    write_first_half(store);
    if (checkpoint)
        expect_ok(kv_checkpoint(store));
    write_second_half(store);
    wait_until_expired();
    if (crash)
        raise(SIGKILL);
    expect_ok(kv_close(store));
}

static void print_hex(const unsigned char *bytes, size_t len)
{
    static const char digits[] = "0123456789abcdef";

    for (size_t i = 0; i < len; i++) {
        putchar(digits[bytes[i] >> 4]);
        putchar(digits[bytes[i] & 15]);
    }
}

static int print_entry(void *ctx, const void *key, size_t key_len, const void *value, size_t value_len)
{
    (void)ctx;
    print_hex(key, key_len);
    putchar(' ');
    print_hex(value, value_len);
    putchar('\n');
    return 0;
}

static void dump(const char *directory)
{
    kv_store *store;

    expect_ok(kv_open(directory, NULL, &store));
    expect_ok(kv_scan(store, NULL, 0, print_entry, NULL));
    expect_ok(kv_close(store));
}

static void usage_error(void)
{
    fputs("usage: make_store build DIR [--checkpoint] [--crash] | make_store dump DIR\n", stderr);
    exit(2);
}

int main(int argc, char **argv)
{
    bool checkpoint = false, crash = false;

    if (argc < 3)
        usage_error();
    for (int i = 3; i < argc; i++) {
        if (strcmp(argv[i], "--checkpoint") == 0)
            checkpoint = true;
        else if (strcmp(argv[i], "--crash") == 0)
            crash = true;
        else
            usage_error();
    }
    if (strcmp(argv[1], "build") == 0)
        build(argv[2], checkpoint, crash);
    else if (strcmp(argv[1], "dump") == 0)
        dump(argv[2]);
    else
        usage_error();
    return fflush(stdout) == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
