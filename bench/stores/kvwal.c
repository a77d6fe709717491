/*
 * kvwal, three times: with kv_get_into(), with kv_get(), and, as the negative control of the check of the syncs, as a
 * store that says it is durable but is not.
 */
#include <kvwal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../store.h"

static int failed(const char *call)
{
    fprintf(stderr, "kvwal: %s: %s\n", call, kv_errmsg());
    return -1;
}

static void *open_with(const struct store_config *config, int sync)
{
    kv_options options;
    kv_store *store;

    kv_options_init(&options);
    options.sync = sync;
    if (kv_open(config->dir, &options, &store) != KV_OK) {
        failed("kv_open");
        return NULL;
    }
    return store;
}

static void *open_store(const struct store_config *config)
{
    return open_with(config, config->durability == DURABLE ? KV_SYNC_ALWAYS : KV_SYNC_INTERVAL);
}

static void *open_without_sync(const struct store_config *config)
{
    return open_with(config, KV_SYNC_NONE);
}

static int close_store(void *store)
{
    return kv_close(store) == KV_OK ? 0 : failed("kv_close");
}

static int set(void *store, const void *key, size_t key_len, const void *value, size_t value_len)
{
    return kv_set(store, key, key_len, value, value_len) == KV_OK ? 0 : failed("kv_set");
}

static int set_batch(void *store, const struct pair *pairs, size_t count)
{
    kv_batch *batch = kv_batch_new();
    int code = batch != NULL ? KV_OK : KV_NO_MEMORY;

    for (size_t i = 0; i < count && code == KV_OK; i++)
        code = kv_batch_set(batch, pairs[i].key, pairs[i].key_len, pairs[i].value, pairs[i].value_len);
    if (code == KV_OK)
        code = kv_write(store, batch);
    kv_batch_free(batch);
    return code == KV_OK ? 0 : failed("kv_write");
}

static int get_into(void *store, struct lookup *lookup)
{
    int code = kv_get_into(store, lookup->key, lookup->key_len, lookup->buf, lookup->buf_len, &lookup->value_len);

    lookup->found = code == KV_OK;
    return code == KV_OK || code == KV_NOT_FOUND ? 0 : failed("kv_get_into");
}

/* With the copy that a caller makes who keeps values in a place of its own, so that both do the same. */
static int get_allocated(void *store, struct lookup *lookup)
{
    void *value;
    int code = kv_get(store, lookup->key, lookup->key_len, &value, &lookup->value_len);

    lookup->found = code == KV_OK;
    if (code == KV_OK)
        memcpy(lookup->buf, value, lookup->value_len);
    kv_free(value);
    return code == KV_OK || code == KV_NOT_FOUND ? 0 : failed("kv_get");
}

#ifdef HAVE_GET_MANY
_Static_assert(sizeof(struct lookup) == sizeof(kv_lookup) && sizeof(bool) <= sizeof(int) &&
                   offsetof(struct lookup, key) == offsetof(kv_lookup, key) &&
                   offsetof(struct lookup, key_len) == offsetof(kv_lookup, key_len) &&
                   offsetof(struct lookup, buf) == offsetof(kv_lookup, buf) &&
                   offsetof(struct lookup, buf_len) == offsetof(kv_lookup, buf_len) &&
                   offsetof(struct lookup, value_len) == offsetof(kv_lookup, value_len) &&
                   offsetof(struct lookup, found) == offsetof(kv_lookup, result),
               "a lookup can be handed over as it is, since copying it would be a part of what is measured");

static int get_many(void *store, struct lookup *lookups, size_t count)
{
    kv_lookup *theirs = (kv_lookup *)lookups;

    if (kv_get_many(store, theirs, count) != KV_OK)
        return failed("kv_get_many");
    for (size_t i = 0; i < count; i++) {
        int code = theirs[i].result;

        lookups[i].found = code == KV_OK;
    }
    return 0;
}
#define GET_MANY get_many
#else
#define GET_MANY NULL
#endif

static int checkpoint(void *store)
{
    return kv_checkpoint(store) == KV_OK ? 0 : failed("kv_checkpoint");
}

#define COMMON                                                                                                         \
    .version = kv_version, .is_durable = true, .close = close_store, .set = set, .set_batch = set_batch,               \
    .checkpoint = checkpoint

const struct store kvwal_store = {
    COMMON,
    .name = "kvwal",
    .configuration = "the defaults; relaxed: KV_SYNC_INTERVAL; kv_get_into",
    .is_relaxed = true,
    .open = open_store,
    .get = get_into,
    .get_many = GET_MANY,
};

const struct store kvwal_get_store = {
    COMMON,
    .name = "kvwal-get",
    .configuration = "as kvwal, but kv_get and kv_free",
    .is_relaxed = true,
    .open = open_store,
    .get = get_allocated,
};

const struct store kvwal_nosync_store = {
    COMMON,
    .name = "kvwal-nosync",
    .configuration = "KV_SYNC_NONE: not durable, although it says so",
    .is_control = true,
    .open = open_without_sync,
    .get = get_into,
};
