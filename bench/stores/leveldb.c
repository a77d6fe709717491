#include <leveldb/c.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../store.h"

struct leveldb {
    leveldb_t *db;
    leveldb_cache_t *cache;
    leveldb_filterpolicy_t *filter;
    leveldb_options_t *options;
    leveldb_readoptions_t *read;
    leveldb_writeoptions_t *write;
};

/* Takes what the library said, if it said anything. */
static int failed(char *error)
{
    if (!error)
        return 0;
    fprintf(stderr, "leveldb: %s\n", error);
    leveldb_free(error);
    return -1;
}

static const char *level_version(void)
{
    static char version[32];
    snprintf(version, sizeof version, "%d.%d", leveldb_major_version(), leveldb_minor_version());
    return version;
}

static void level_free(struct leveldb *store)
{
    leveldb_writeoptions_destroy(store->write);
    leveldb_readoptions_destroy(store->read);
    leveldb_options_destroy(store->options);
    leveldb_filterpolicy_destroy(store->filter);
    leveldb_cache_destroy(store->cache);
    free(store);
}

static void *level_open(const struct store_config *config)
{
    struct leveldb *store = calloc(1, sizeof *store);
    if (!store) {
        perror("leveldb");
        return NULL;
    }
    /* Room for every block as it lies in memory, with what the cache itself and the values' spread add. */
    store->cache = leveldb_cache_create_lru(((size_t)64 << 20) + config->keys * 256);
    store->filter = leveldb_filterpolicy_create_bloom(10);
    store->options = leveldb_options_create();
    leveldb_options_set_create_if_missing(store->options, 1);
    leveldb_options_set_write_buffer_size(store->options, (size_t)64 << 20);
    leveldb_options_set_max_file_size(store->options, (size_t)64 << 20);
    leveldb_options_set_max_open_files(store->options, 4096);
    leveldb_options_set_compression(store->options, leveldb_no_compression);
    leveldb_options_set_cache(store->options, store->cache);
    leveldb_options_set_filter_policy(store->options, store->filter);
    store->read = leveldb_readoptions_create();
    store->write = leveldb_writeoptions_create();
    leveldb_writeoptions_set_sync(store->write, config->durability == DURABLE);
    char *error = NULL;
    store->db = leveldb_open(store->options, config->dir, &error);
    if (failed(error)) {
        level_free(store);
        return NULL;
    }
    return store;
}

static int level_close(void *opaque)
{
    struct leveldb *store = opaque;
    leveldb_close(store->db);
    level_free(store);
    return 0;
}

static int level_set(void *opaque, const void *key, size_t key_len, const void *value, size_t value_len)
{
    struct leveldb *store = opaque;
    char *error = NULL;
    leveldb_put(store->db, store->write, key, key_len, value, value_len, &error);
    return failed(error);
}

static int level_set_batch(void *opaque, const struct pair *pairs, size_t count)
{
    struct leveldb *store = opaque;
    leveldb_writebatch_t *batch = leveldb_writebatch_create();
    for (size_t i = 0; i < count; i++)
        leveldb_writebatch_put(batch, pairs[i].key, pairs[i].key_len, pairs[i].value, pairs[i].value_len);
    char *error = NULL;
    leveldb_write(store->db, store->write, batch, &error);
    leveldb_writebatch_destroy(batch);
    return failed(error);
}

static int level_get(void *opaque, struct lookup *lookup)
{
    struct leveldb *store = opaque;
    char *error = NULL;
    char *value = leveldb_get(store->db, store->read, lookup->key, lookup->key_len, &lookup->value_len, &error);
    lookup->found = value != NULL;
    if (value) {
        memcpy(lookup->buf, value, lookup->value_len < lookup->buf_len ? lookup->value_len : lookup->buf_len);
        leveldb_free(value);
    }
    return failed(error);
}

static int level_checkpoint(void *opaque)
{
    struct leveldb *store = opaque;
    leveldb_compact_range(store->db, NULL, 0, NULL, 0);
    return 0;
}

const struct store leveldb_store = {
    .name = "leveldb",
    .configuration =
        "Durable: WriteOptions.sync, which the library groups over threads. Relaxed: the default, no sync. 64 MiB write buffer "
        "and files, Bloom filter of 10 bits a key, block cache larger than the data, no compression; compacted before it is only read.",
    .version = level_version,
    .is_durable = true,
    .is_relaxed = true,
    .open = level_open,
    .close = level_close,
    .set = level_set,
    .set_batch = level_set_batch,
    .get = level_get,
    .checkpoint = level_checkpoint,
};
