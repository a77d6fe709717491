#include <db.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "../store.h"

#define FILE_NAME "kv.db"

struct berkeleydb {
    DB_ENV *env;
    DB *db;
};

static int failed(const char *what, int rc)
{
    fprintf(stderr, "berkeleydb: %s: %s\n", what, db_strerror(rc));
    return rc;
}

static const char *berkeley_version(void)
{
    static char version[32];
    int major, minor, patch;
    db_version(&major, &minor, &patch);
    snprintf(version, sizeof version, "%d.%d.%d", major, minor, patch);
    return version;
}

/* The victim of a deadlock is who has written least: with random ones, many batches at once got nowhere. */
static int set_up(DB_ENV *env, const struct store_config *config)
{
    size_t cache = ((size_t)256 << 20) + config->keys * 256; /* all pages, at the fill that random keys leave */
    int rc;
    if ((rc = env->set_cachesize(env, (u_int32_t)(cache >> 30), (u_int32_t)(cache & ((1u << 30) - 1)), 1)) ||
        (rc = env->set_lg_bsize(env, 8u << 20)) || (rc = env->set_lg_max(env, 64u << 20)) ||
        (rc = env->log_set_config(env, DB_LOG_AUTO_REMOVE, 1)) || (rc = env->set_lk_detect(env, DB_LOCK_MINWRITE)) ||
        (rc = env->set_lk_max_locks(env, 100000)) || (rc = env->set_lk_max_objects(env, 100000)) ||
        (rc = env->set_lk_max_lockers(env, 10000)) || (rc = env->set_tx_max(env, 1000)) ||
        (rc = env->set_flags(env, DB_AUTO_COMMIT, 1)))
        return failed("configuration", rc);
    if (config->durability == DURABLE) /* is DB_TXN_SYNC, the default */
        rc = env->log_set_config(env, DB_LOG_ZERO, 1);
    else
        rc = env->set_flags(env, DB_TXN_WRITE_NOSYNC, 1);
    return rc ? failed("configuration", rc) : 0;
}

/*
 * What is written durably from the start is a B-tree, which spreads the first writes over fewer pages, and what is loaded
 * to be read is a hash table of the right size: each was measured to be the faster.
 */
static int open_db(DB *db, const struct store_config *config)
{
    const u_int32_t page_size = 4096, pair_size = 16 + 100 + 8; /* with what a pair needs besides */
    char path[4096];
    snprintf(path, sizeof path, "%s/" FILE_NAME, config->dir);
    u_int32_t flags = DB_AUTO_COMMIT | DB_THREAD;
    DBTYPE type = DB_UNKNOWN; /* that of the file */
    int rc = 0;
    if (access(path, F_OK) != 0) {
        flags |= DB_CREATE;
        type = config->durability == DURABLE ? DB_BTREE : DB_HASH;
    }
    if (type == DB_HASH && ((rc = db->set_pagesize(db, page_size)) ||
                            (rc = db->set_h_ffactor(db, (page_size - 32) / pair_size)) ||
                            (rc = db->set_h_nelem(db, (u_int32_t)config->keys))))
        return rc;
    return db->open(db, NULL, FILE_NAME, NULL, type, flags, 0);
}

static void *berkeley_open(const struct store_config *config)
{
    struct berkeleydb *store = calloc(1, sizeof *store);
    if (!store) {
        perror("berkeleydb");
        return NULL;
    }
    int rc = db_env_create(&store->env, 0);
    if (rc) {
        failed("db_env_create", rc);
        free(store);
        return NULL;
    }
    /* One process, so the environment may lie in its own memory. */
    u_int32_t flags = DB_CREATE | DB_INIT_LOCK | DB_INIT_LOG | DB_INIT_MPOOL | DB_INIT_TXN | DB_RECOVER | DB_THREAD |
                      DB_PRIVATE;
    if ((rc = set_up(store->env, config)) == 0 && (rc = store->env->open(store->env, config->dir, flags, 0)))
        failed("DB_ENV->open", rc);
    if (rc == 0 && (rc = db_create(&store->db, store->env, 0)))
        failed("db_create", rc);
    if (rc == 0 && (rc = open_db(store->db, config)))
        failed("DB->open", rc);
    if (rc) {
        if (store->db)
            store->db->close(store->db, 0);
        store->env->close(store->env, 0);
        free(store);
        return NULL;
    }
    return store;
}

static int berkeley_close(void *opaque)
{
    struct berkeleydb *store = opaque;
    int rc = store->env->txn_checkpoint(store->env, 0, 0, 0);
    int db_rc = store->db->close(store->db, 0);
    int env_rc = store->env->close(store->env, 0);
    free(store);
    if (!rc)
        rc = db_rc ? db_rc : env_rc;
    return rc ? failed("close", rc) : 0;
}

static DBT to_store(const void *data, size_t size)
{
    return (DBT){.data = (void *)data, .size = (u_int32_t)size};
}

static int berkeley_set(void *opaque, const void *key, size_t key_len, const void *value, size_t value_len)
{
    struct berkeleydb *store = opaque;
    DBT key_dbt = to_store(key, key_len), value_dbt = to_store(value, value_len);
    int rc;
    do
        rc = store->db->put(store->db, NULL, &key_dbt, &value_dbt, 0);
    while (rc == DB_LOCK_DEADLOCK);
    return rc ? failed("DB->put", rc) : 0;
}

/* One attempt; a deadlock is for the caller to try again. */
static int put_all(struct berkeleydb *store, const struct pair *pairs, size_t count)
{
    DB_TXN *txn;
    int rc = store->env->txn_begin(store->env, NULL, &txn, 0);
    if (rc)
        return rc;
    for (size_t i = 0; i < count; i++) {
        DBT key = to_store(pairs[i].key, pairs[i].key_len), value = to_store(pairs[i].value, pairs[i].value_len);
        if ((rc = store->db->put(store->db, txn, &key, &value, 0))) {
            txn->abort(txn);
            return rc;
        }
    }
    return txn->commit(txn, 0);
}

static int berkeley_set_batch(void *opaque, const struct pair *pairs, size_t count)
{
    int rc;
    do
        rc = put_all(opaque, pairs, count);
    while (rc == DB_LOCK_DEADLOCK);
    return rc ? failed("batch", rc) : 0;
}

static int berkeley_get(void *opaque, struct lookup *lookup)
{
    struct berkeleydb *store = opaque;
    DBT key = to_store(lookup->key, lookup->key_len);
    DBT value = {.data = lookup->buf, .ulen = (u_int32_t)lookup->buf_len, .flags = DB_DBT_USERMEM};
    int rc;
    do
        rc = store->db->get(store->db, NULL, &key, &value, 0);
    while (rc == DB_LOCK_DEADLOCK);
    lookup->found = rc == 0 || rc == DB_BUFFER_SMALL;
    lookup->value_len = value.size;
    return lookup->found || rc == DB_NOTFOUND ? 0 : failed("DB->get", rc);
}

static int berkeley_checkpoint(void *opaque)
{
    struct berkeleydb *store = opaque;
    int rc = store->env->txn_checkpoint(store->env, 0, 0, 0);
    return rc ? failed("txn_checkpoint", rc) : 0;
}

const struct store berkeleydb_store = {
    .name = "berkeleydb",
    .configuration =
        "Transactional environment in private memory, DB_AUTO_COMMIT, DB_LOCK_MINWRITE, cache for all pages, 8 MiB log "
        "buffer. Durable: DB_TXN_SYNC with group commit, DB_LOG_ZERO. Relaxed: DB_TXN_WRITE_NOSYNC. Tables: DB_BTREE if durable "
        "from the start, DB_HASH with as many buckets as its manual computes if loaded relaxed.",
    .version = berkeley_version,
    .is_durable = true,
    .is_relaxed = true,
    .open = berkeley_open,
    .close = berkeley_close,
    .set = berkeley_set,
    .set_batch = berkeley_set_batch,
    .get = berkeley_get,
    .checkpoint = berkeley_checkpoint,
};
