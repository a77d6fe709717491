#include <lmdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../store.h"

struct lmdb {
    MDB_env *env;
    MDB_dbi dbi;
};

struct session {
    struct lmdb *store;
    MDB_txn *reader; /* reset between gets, so that it keeps its slot in the reader table but pins no pages */
};

static int failed(const char *what, int rc)
{
    fprintf(stderr, "lmdb: %s: %s\n", what, mdb_strerror(rc));
    return rc;
}

static const char *lmdb_version(void)
{
    static char version[32];
    int major, minor, patch;
    mdb_version(&major, &minor, &patch);
    snprintf(version, sizeof version, "%d.%d.%d", major, minor, patch);
    return version;
}

static void *lmdb_open(const struct store_config *config)
{
    /* Only address space and the length of a sparse file, so there is no reason to be mean. */
    size_t map_size = ((size_t)16 << 30) + config->keys * 1024;
    /* Without thread-local slots a session's reader may be reset and renewed, whatever thread it is used by. */
    unsigned flags = MDB_NOTLS | (config->durability == RELAXED ? MDB_WRITEMAP | MDB_NOSYNC : MDB_NOMEMINIT);

    struct lmdb *store = calloc(1, sizeof *store);
    if (!store) {
        perror("lmdb");
        return NULL;
    }
    int rc = mdb_env_create(&store->env);
    if (rc) {
        failed("mdb_env_create", rc);
        free(store);
        return NULL;
    }
    MDB_txn *txn = NULL;
    if ((rc = mdb_env_set_mapsize(store->env, map_size)) ||
        (rc = mdb_env_set_maxreaders(store->env, (unsigned)config->threads + 16)) ||
        (rc = mdb_env_open(store->env, config->dir, flags, 0644)) ||
        (rc = mdb_txn_begin(store->env, NULL, 0, &txn)) || (rc = mdb_dbi_open(txn, NULL, 0, &store->dbi))) {
        failed("open", rc);
        if (txn)
            mdb_txn_abort(txn);
        mdb_env_close(store->env);
        free(store);
        return NULL;
    }
    if ((rc = mdb_txn_commit(txn))) {
        failed("open", rc);
        mdb_env_close(store->env);
        free(store);
        return NULL;
    }
    return store;
}

static int lmdb_close(void *opaque)
{
    struct lmdb *store = opaque;
    int rc = mdb_env_sync(store->env, 1);
    if (rc)
        failed("mdb_env_sync", rc);
    mdb_env_close(store->env);
    free(store);
    return rc;
}

static void *lmdb_begin(void *opaque)
{
    struct lmdb *store = opaque;
    struct session *session = calloc(1, sizeof *session);
    if (!session) {
        perror("lmdb");
        return NULL;
    }
    session->store = store;
    int rc = mdb_txn_begin(store->env, NULL, MDB_RDONLY, &session->reader);
    if (rc) {
        failed("mdb_txn_begin", rc);
        free(session);
        return NULL;
    }
    mdb_txn_reset(session->reader);
    return session;
}

static void lmdb_end(void *opaque)
{
    struct session *session = opaque;
    mdb_txn_abort(session->reader);
    free(session);
}

static int lmdb_set_batch(void *opaque, const struct pair *pairs, size_t count)
{
    struct lmdb *store = ((struct session *)opaque)->store;
    MDB_txn *txn;
    int rc = mdb_txn_begin(store->env, NULL, 0, &txn);
    if (rc)
        return failed("mdb_txn_begin", rc);
    for (size_t i = 0; i < count; i++) {
        MDB_val key = {pairs[i].key_len, (void *)pairs[i].key};
        MDB_val value = {pairs[i].value_len, (void *)pairs[i].value};
        if ((rc = mdb_put(txn, store->dbi, &key, &value, 0))) {
            mdb_txn_abort(txn);
            return failed("mdb_put", rc);
        }
    }
    if ((rc = mdb_txn_commit(txn)))
        return failed("mdb_txn_commit", rc);
    return 0;
}

static int lmdb_set(void *session, const void *key, size_t key_len, const void *value, size_t value_len)
{
    struct pair pair = {key, key_len, value, value_len};
    return lmdb_set_batch(session, &pair, 1);
}

static int lmdb_get_many(void *opaque, struct lookup *lookups, size_t count)
{
    struct session *session = opaque;
    int rc = mdb_txn_renew(session->reader);
    if (rc)
        return failed("mdb_txn_renew", rc);
    for (size_t i = 0; i < count; i++) {
        struct lookup *lookup = &lookups[i];
        MDB_val key = {lookup->key_len, (void *)lookup->key}, value;
        rc = mdb_get(session->reader, session->store->dbi, &key, &value);
        if (rc && rc != MDB_NOTFOUND)
            break;
        lookup->found = rc == 0;
        if (lookup->found) {
            lookup->value_len = value.mv_size;
            memcpy(lookup->buf, value.mv_data, value.mv_size < lookup->buf_len ? value.mv_size : lookup->buf_len);
        }
        rc = 0;
    }
    mdb_txn_reset(session->reader);
    return rc ? failed("mdb_get", rc) : 0;
}

static int lmdb_get(void *session, struct lookup *lookup)
{
    return lmdb_get_many(session, lookup, 1);
}

const struct store lmdb_store = {
    .name = "lmdb",
    .configuration =
        "Durable: the default, a synchronous commit a write transaction (its data by fdatasync, its meta page through a "
        "descriptor with O_DSYNC), with MDB_NOMEMINIT. Relaxed: MDB_WRITEMAP | MDB_NOSYNC, no sync until close. Reads by a "
        "read-only transaction a session that is reset and renewed (MDB_NOTLS), the value copied out.",
    .version = lmdb_version,
    .is_durable = true,
    .is_relaxed = true,
    .open = lmdb_open,
    .close = lmdb_close,
    .begin = lmdb_begin,
    .end = lmdb_end,
    .set = lmdb_set,
    .set_batch = lmdb_set_batch,
    .get = lmdb_get,
    .get_many = lmdb_get_many,
};
