#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <tkrzw_langc.h>

#include "../store.h"

struct tkrzw {
    TkrzwDBM *dbm;
    bool sync_each;
};

static int failed(const char *what)
{
    TkrzwStatus status = tkrzw_get_last_status();
    fprintf(stderr, "tkrzw: %s: %s: %s\n", what, tkrzw_status_code_name(status.code), status.message);
    return -1;
}

static const char *tkrzw_version(void)
{
    return TKRZW_PACKAGE_VERSION;
}

static void *open_dbm(const char *path, const char *params, bool sync_each)
{
    struct tkrzw *store = malloc(sizeof *store);
    if (!store) {
        perror("tkrzw");
        return NULL;
    }
    store->sync_each = sync_each;
    store->dbm = tkrzw_dbm_open(path, true, params);
    if (!store->dbm) {
        failed("open");
        free(store);
        return NULL;
    }
    return store;
}

static void *hash_open(const struct store_config *config)
{
    char path[4096], params[256];
    snprintf(path, sizeof path, "%s/kv.tkh", config->dir);
    /* Buckets: more than keys, as the documentation advises, so that a chain is hardly ever longer than one. */
    snprintf(params, sizeof params, "dbm=HashDBM,file=MemoryMapParallelFile,num_buckets=%zu%s",
             config->keys * 2 + 1,
             config->durability == DURABLE ? ",update_mode=UPDATE_APPENDING,restore_mode=RESTORE_SYNC" : "");
    return open_dbm(path, params, config->durability == DURABLE);
}

static void *tiny_open(const struct store_config *config)
{
    char params[128];
    snprintf(params, sizeof params, "dbm=TinyDBM,num_buckets=%zu", config->keys * 2 + 1);
    return open_dbm("", params, false);
}

static int tkrzw_close(void *opaque)
{
    struct tkrzw *store = opaque;
    bool ok = tkrzw_dbm_close(store->dbm);
    free(store);
    return ok ? 0 : failed("close");
}

static int sync_if_durable(struct tkrzw *store)
{
    if (store->sync_each && !tkrzw_dbm_synchronize(store->dbm, true, NULL, NULL, ""))
        return failed("synchronize");
    return 0;
}

static int tkrzw_set(void *opaque, const void *key, size_t key_len, const void *value, size_t value_len)
{
    struct tkrzw *store = opaque;
    if (!tkrzw_dbm_set(store->dbm, key, (int32_t)key_len, value, (int32_t)value_len, true))
        return failed("set");
    return sync_if_durable(store);
}

/* What a record is to become, whatever it was: the record processor of a batch. */
static const char *new_value(void *arg, const char *key, int32_t key_size, const char *value, int32_t value_size,
                             int32_t *new_size)
{
    const struct pair *pair = arg;
    (void)key, (void)key_size, (void)value, (void)value_size;
    *new_size = (int32_t)pair->value_len;
    return pair->value;
}

/* By process_multi, as set_multi sets one after the other and is not atomic. */
static int tkrzw_set_batch(void *opaque, const struct pair *pairs, size_t count)
{
    struct tkrzw *store = opaque;
    TkrzwKeyProcPair *requests = malloc(count * sizeof *requests);
    if (!requests) {
        perror("tkrzw");
        return -1;
    }
    for (size_t i = 0; i < count; i++)
        requests[i] = (TkrzwKeyProcPair){pairs[i].key, (int32_t)pairs[i].key_len, new_value, (void *)&pairs[i]};
    bool ok = tkrzw_dbm_process_multi(store->dbm, requests, (int32_t)count, true);
    free(requests);
    return ok ? sync_if_durable(store) : failed("process_multi");
}

/* Copies the value while the record is locked, which saves the copy that tkrzw_dbm_get allocates. */
static const char *copy_value(void *arg, const char *key, int32_t key_size, const char *value, int32_t value_size,
                              int32_t *new_size)
{
    struct lookup *lookup = arg;
    (void)key, (void)key_size, (void)new_size;
    lookup->found = value != NULL;
    if (value) {
        lookup->value_len = (size_t)value_size;
        memcpy(lookup->buf, value, lookup->value_len < lookup->buf_len ? lookup->value_len : lookup->buf_len);
    }
    return TKRZW_REC_PROC_NOOP;
}

static int tkrzw_get(void *opaque, struct lookup *lookup)
{
    struct tkrzw *store = opaque;
    if (!tkrzw_dbm_process(store->dbm, lookup->key, (int32_t)lookup->key_len, copy_value, lookup, false))
        return failed("process");
    return 0;
}

const struct store tkrzw_hash_store = {
    .name = "tkrzw-hash",
    .configuration =
        "HashDBM, memory-mapped, two buckets a key. Durable: UPDATE_APPENDING with RESTORE_SYNC, and Synchronize(hard), which "
        "is msync, after each write. Relaxed: in place, no sync. Batches by ProcessMulti.",
    .version = tkrzw_version,
    .is_durable = true,
    .is_relaxed = true,
    .open = hash_open,
    .close = tkrzw_close,
    .set = tkrzw_set,
    .set_batch = tkrzw_set_batch,
    .get = tkrzw_get,
};

const struct store tkrzw_tiny_store = {
    .name = "tkrzw-tiny",
    .configuration = "TinyDBM, in memory only, with two buckets a key.",
    .version = tkrzw_version,
    .is_relaxed = true,
    .is_in_memory = true,
    .open = tiny_open,
    .close = tkrzw_close,
    .set = tkrzw_set,
    .set_batch = tkrzw_set_batch,
    .get = tkrzw_get,
};
