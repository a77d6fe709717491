#include <stdio.h>
#include <sys/stat.h>

#include "bench.h"
#include "fail.h"
#include "stores.h"

enum { LOAD_BATCH = 1000, CHECKED_KEYS = 1000 };

const char *bench_dir(const struct bench *bench, unsigned number)
{
    static char path[4096];

    snprintf(path, sizeof path, "%s/%u", bench->options->dir, number);
    if (mkdir(path, 0700) != 0 && errno != EEXIST)
        FAIL_ERRNO(path);
    return path;
}

static struct pair pair_of(const struct key *key, const struct value_pool *pool, size_t value_len)
{
    return (struct pair){
        .key = key->bytes, .key_len = KEY_LEN, .value = value_of(pool, key), .value_len = value_len};
}

static void load_batches(const struct store *store, void *session, const struct key *keys, size_t count,
                         const struct value_pool *pool, size_t value_len)
{
    struct pair pairs[LOAD_BATCH];

    for (size_t at = 0; at < count;) {
        size_t filled = 0;

        while (filled < LOAD_BATCH && at < count)
            pairs[filled++] = pair_of(&keys[at++], pool, value_len);
        if (store->set_batch(session, pairs, filled) != 0)
            FAIL("%s: loading failed", store->name);
    }
}

void load_keys(const struct bench *bench, void *session, const struct key *keys, size_t count,
               const struct value_pool *pool, size_t value_len)
{
    const struct store *store = bench->store;

    if (store->set_batch != NULL) {
        load_batches(store, session, keys, count, pool, value_len);
        return;
    }
    for (size_t i = 0; i < count; i++) {
        if (store->set(session, keys[i].bytes, KEY_LEN, value_of(pool, &keys[i]), value_len) != 0)
            FAIL("%s: loading failed", store->name);
    }
}

void check_keys(const struct bench *bench, void *session, const struct key *keys, size_t count,
                const struct value_pool *pool, size_t value_len)
{
    char *buf = must(malloc(value_len + 1));

    for (size_t i = 0; i < CHECKED_KEYS; i++) {
        const struct key *key = &keys[i * count / CHECKED_KEYS];
        struct lookup lookup = {.key = key->bytes, .key_len = KEY_LEN, .buf = buf, .buf_len = value_len};

        if (bench->store->get(session, &lookup) != 0 || !lookup.found || lookup.value_len != value_len ||
            memcmp(buf, value_of(pool, key), value_len) != 0)
            FAIL("%s: a key that was loaded has another value or none", bench->store->name);
    }
    free(buf);
}

void load_store(const struct bench *bench, void *handle, const struct value_pool *pool)
{
    const struct options *options = bench->options;
    struct key *keys = keys_in_order(options->keys, options->seed);
    void *session = session_begin(bench->store, handle);

    load_keys(bench, session, keys, options->keys, pool, options->value_len);
    check_keys(bench, session, keys, options->keys, pool, options->value_len);
    session_end(bench->store, session);
    if (bench->store->checkpoint != NULL && bench->store->checkpoint(handle) != 0)
        FAIL("%s: checkpoint failed", bench->store->name);
    free(keys);
}
