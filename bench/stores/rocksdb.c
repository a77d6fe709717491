#include <dlfcn.h>
#include <limits.h>
#include <rocksdb/c.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../store.h"

struct rocksdb {
    rocksdb_t *db;
    rocksdb_column_family_handle_t *family; /* the default one, which MultiGet wants to be told */
    rocksdb_options_t *options;
    rocksdb_readoptions_t *read;
    rocksdb_writeoptions_t *write;
};

/* Takes what the library said, if it said anything. */
static int failed(char *error)
{
    if (!error)
        return 0;
    fprintf(stderr, "rocksdb: %s\n", error);
    rocksdb_free(error);
    return -1;
}

/* The C interface does not tell, but the shared library is called librocksdb.so.VERSION. */
static const char *rocks_version(void)
{
    static char path[PATH_MAX];
    Dl_info info;
    if (!dladdr((void *)rocksdb_open, &info) || !realpath(info.dli_fname, path))
        return "unknown";
    const char *suffix = strstr(path, ".so.");
    return suffix ? suffix + strlen(".so.") : "unknown";
}

static void rocks_free(struct rocksdb *store)
{
    rocksdb_writeoptions_destroy(store->write);
    rocksdb_readoptions_destroy(store->read);
    rocksdb_options_destroy(store->options);
    free(store);
}

static void *rocks_open(const struct store_config *config)
{
    struct rocksdb *store = calloc(1, sizeof *store);
    if (!store) {
        perror("rocksdb");
        return NULL;
    }
    store->options = rocksdb_options_create();
    rocksdb_options_set_create_if_missing(store->options, 1);
    /* Bloom filters of 10 bits a key, a hash index in every block, and a block cache with room for all the blocks. */
    rocksdb_options_optimize_for_point_lookup(store->options, 256 + config->keys * 256 / (1 << 20));
    rocksdb_options_set_compression(store->options, rocksdb_no_compression);
    rocksdb_options_set_write_buffer_size(store->options, (size_t)128 << 20);
    rocksdb_options_set_max_write_buffer_number(store->options, 4);
    rocksdb_options_set_level_compaction_dynamic_level_bytes(store->options, 1);
    rocksdb_options_set_bytes_per_sync(store->options, 1 << 20);
    /* A log file that is written over has no metadata to sync. */
    rocksdb_options_set_recycle_log_file_num(store->options, 4);
    store->read = rocksdb_readoptions_create();
    store->write = rocksdb_writeoptions_create();
    rocksdb_writeoptions_set_sync(store->write, config->durability == DURABLE);
    char *error = NULL;
    const char *family = "default";
    const rocksdb_options_t *options = store->options;
    store->db = rocksdb_open_column_families(options, config->dir, 1, &family, &options, &store->family, &error);
    if (failed(error)) {
        rocks_free(store);
        return NULL;
    }
    return store;
}

static int rocks_close(void *opaque)
{
    struct rocksdb *store = opaque;
    rocksdb_column_family_handle_destroy(store->family);
    rocksdb_close(store->db);
    rocks_free(store);
    return 0;
}

static int rocks_set(void *opaque, const void *key, size_t key_len, const void *value, size_t value_len)
{
    struct rocksdb *store = opaque;
    char *error = NULL;
    rocksdb_put(store->db, store->write, key, key_len, value, value_len, &error);
    return failed(error);
}

static int rocks_set_batch(void *opaque, const struct pair *pairs, size_t count)
{
    struct rocksdb *store = opaque;
    rocksdb_writebatch_t *batch = rocksdb_writebatch_create();
    for (size_t i = 0; i < count; i++)
        rocksdb_writebatch_put(batch, pairs[i].key, pairs[i].key_len, pairs[i].value, pairs[i].value_len);
    char *error = NULL;
    rocksdb_write(store->db, store->write, batch, &error);
    rocksdb_writebatch_destroy(batch);
    return failed(error);
}

/* Copies a pinned value, so that it is copied once: from its block into the buffer. */
static void take(struct lookup *lookup, rocksdb_pinnableslice_t *slice)
{
    lookup->found = slice != NULL;
    if (!slice)
        return;
    const char *value = rocksdb_pinnableslice_value(slice, &lookup->value_len);
    memcpy(lookup->buf, value, lookup->value_len < lookup->buf_len ? lookup->value_len : lookup->buf_len);
    rocksdb_pinnableslice_destroy(slice);
}

static int rocks_get(void *opaque, struct lookup *lookup)
{
    struct rocksdb *store = opaque;
    char *error = NULL;
    take(lookup, rocksdb_get_pinned(store->db, store->read, lookup->key, lookup->key_len, &error));
    return failed(error);
}

static int rocks_get_many(void *opaque, struct lookup *lookups, size_t count)
{
    enum { AT_ONCE = 256 };
    struct rocksdb *store = opaque;
    const char *keys[AT_ONCE];
    size_t key_lens[AT_ONCE];
    rocksdb_pinnableslice_t *values[AT_ONCE];
    char *errors[AT_ONCE];
    int rc = 0;
    while (count > 0) {
        size_t n = count < AT_ONCE ? count : AT_ONCE;
        for (size_t i = 0; i < n; i++) {
            keys[i] = lookups[i].key;
            key_lens[i] = lookups[i].key_len;
        }
        rocksdb_batched_multi_get_cf(store->db, store->read, store->family, n, keys, key_lens, values, errors, false);
        for (size_t i = 0; i < n; i++) {
            take(&lookups[i], values[i]);
            rc |= failed(errors[i]);
        }
        lookups += n;
        count -= n;
    }
    return rc;
}

static int rocks_checkpoint(void *opaque)
{
    struct rocksdb *store = opaque;
    rocksdb_flushoptions_t *options = rocksdb_flushoptions_create();
    char *error = NULL;
    rocksdb_flush(store->db, options, &error);
    rocksdb_flushoptions_destroy(options);
    if (failed(error))
        return -1;
    rocksdb_compact_range(store->db, NULL, 0, NULL, 0);
    return 0;
}

const struct store rocksdb_store = {
    .name = "rocksdb",
    .configuration =
        "Durable: WriteOptions.sync, which the library groups over threads, and recycled log files. Relaxed: the default, no "
        "sync. OptimizeForPointLookup (Bloom filter of 10 bits a key, hash index in each block) with a block cache larger "
        "than the data, four write buffers of 128 MiB, no compression; flushed and compacted before it is only read.",
    .version = rocks_version,
    .is_durable = true,
    .is_relaxed = true,
    .open = rocks_open,
    .close = rocks_close,
    .set = rocks_set,
    .set_batch = rocks_set_batch,
    .get = rocks_get,
    .get_many = rocks_get_many,
    .checkpoint = rocks_checkpoint,
};
