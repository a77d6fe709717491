#include <pthread.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../store.h"

struct sqlite {
    char *path;
    enum durability durability;
    size_t keys;
    /* SQLite has one writer at a time, and who finds it busy sleeps for milliseconds; waiting here hands over at once. */
    pthread_mutex_t writer;
};

struct session {
    struct sqlite *store;
    sqlite3 *db;
    sqlite3_stmt *set, *get, *begin_read, *begin_write, *commit, *rollback;
};

static int failed(sqlite3 *db, const char *what)
{
    fprintf(stderr, "sqlite: %s: %s\n", what, sqlite3_errmsg(db));
    return -1;
}

/* A connection, set up as every connection of this store is. */
static sqlite3 *connect_to(const struct sqlite *store)
{
    sqlite3 *db = NULL;
    int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX; /* used by one thread at a time */
    if (sqlite3_open_v2(store->path, &db, flags, NULL) != SQLITE_OK) {
        failed(db, "open");
        sqlite3_close(db);
        return NULL;
    }
    sqlite3_busy_timeout(db, 60000);
    char pragmas[512];
    snprintf(pragmas, sizeof pragmas,
             "PRAGMA journal_mode=WAL; PRAGMA synchronous=%s; PRAGMA mmap_size=%lld; PRAGMA cache_size=-%zu;"
             "PRAGMA temp_store=MEMORY;"
             "CREATE TABLE IF NOT EXISTS kv (key BLOB PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID",
             store->durability == DURABLE ? "FULL" : "OFF", 2147418112LL, 65536 + store->keys / 4);
    char *error = NULL;
    if (sqlite3_exec(db, pragmas, NULL, NULL, &error) != SQLITE_OK) {
        fprintf(stderr, "sqlite: %s\n", error);
        sqlite3_free(error);
        sqlite3_close(db);
        return NULL;
    }
    return db;
}

static const char *lite_version(void)
{
    return sqlite3_libversion();
}

static void *lite_open(const struct store_config *config)
{
    struct sqlite *store = calloc(1, sizeof *store);
    if (!store) {
        perror("sqlite");
        return NULL;
    }
    sqlite3_config(SQLITE_CONFIG_MEMSTATUS, 0); /* whose counters threads would share; refused once SQLite is in use */
    store->durability = config->durability;
    store->keys = config->keys;
    store->path = sqlite3_mprintf("%s/kv.db", config->dir);
    pthread_mutex_init(&store->writer, NULL);
    sqlite3 *db = store->path ? connect_to(store) : NULL; /* creates the table */
    if (!db) {
        sqlite3_free(store->path);
        free(store);
        return NULL;
    }
    sqlite3_close(db);
    return store;
}

static int lite_close(void *opaque)
{
    struct sqlite *store = opaque;
    pthread_mutex_destroy(&store->writer);
    sqlite3_free(store->path);
    free(store);
    return 0;
}

static void lite_end(void *opaque)
{
    struct session *session = opaque;
    sqlite3_finalize(session->set);
    sqlite3_finalize(session->get);
    sqlite3_finalize(session->begin_read);
    sqlite3_finalize(session->begin_write);
    sqlite3_finalize(session->commit);
    sqlite3_finalize(session->rollback);
    sqlite3_close(session->db);
    free(session);
}

static void *lite_begin(void *opaque)
{
    struct session *session = calloc(1, sizeof *session);
    if (!session) {
        perror("sqlite");
        return NULL;
    }
    session->store = opaque;
    session->db = connect_to(session->store);
    if (!session->db) {
        free(session);
        return NULL;
    }
    const struct {
        sqlite3_stmt **statement;
        const char *text;
    } statements[] = {
        {&session->set, "INSERT OR REPLACE INTO kv VALUES (?, ?)"},
        {&session->get, "SELECT value FROM kv WHERE key = ?"},
        {&session->begin_read, "BEGIN"},
        {&session->begin_write, "BEGIN IMMEDIATE"},
        {&session->commit, "COMMIT"},
        {&session->rollback, "ROLLBACK"},
    };
    for (size_t i = 0; i < sizeof statements / sizeof *statements; i++) {
        if (sqlite3_prepare_v3(session->db, statements[i].text, -1, SQLITE_PREPARE_PERSISTENT, statements[i].statement,
                               NULL) != SQLITE_OK) {
            failed(session->db, statements[i].text);
            lite_end(session);
            return NULL;
        }
    }
    return session;
}

/* Runs a statement that returns no rows. */
static int run(struct session *session, sqlite3_stmt *statement)
{
    int rc = sqlite3_step(statement);
    int reset = sqlite3_reset(statement);
    if (rc != SQLITE_DONE || reset != SQLITE_OK)
        return failed(session->db, sqlite3_sql(statement));
    return 0;
}

static int put(struct session *session, const struct pair *pair)
{
    sqlite3_bind_blob64(session->set, 1, pair->key, pair->key_len, SQLITE_STATIC);
    sqlite3_bind_blob64(session->set, 2, pair->value, pair->value_len, SQLITE_STATIC);
    return run(session, session->set);
}

static int lite_set(void *opaque, const void *key, size_t key_len, const void *value, size_t value_len)
{
    struct session *session = opaque;
    struct pair pair = {key, key_len, value, value_len};
    pthread_mutex_lock(&session->store->writer);
    int rc = put(session, &pair);
    pthread_mutex_unlock(&session->store->writer);
    return rc;
}

static int lite_set_batch(void *opaque, const struct pair *pairs, size_t count)
{
    struct session *session = opaque;
    pthread_mutex_lock(&session->store->writer);
    int rc = run(session, session->begin_write);
    if (rc == 0) {
        for (size_t i = 0; rc == 0 && i < count; i++)
            rc = put(session, &pairs[i]);
        if (rc == 0)
            rc = run(session, session->commit);
        if (rc)
            run(session, session->rollback);
    }
    pthread_mutex_unlock(&session->store->writer);
    return rc;
}

static int lite_get(void *opaque, struct lookup *lookup)
{
    struct session *session = opaque;
    sqlite3_bind_blob64(session->get, 1, lookup->key, lookup->key_len, SQLITE_STATIC);
    int rc = sqlite3_step(session->get);
    lookup->found = rc == SQLITE_ROW;
    if (lookup->found) {
        const void *value = sqlite3_column_blob(session->get, 0);
        lookup->value_len = (size_t)sqlite3_column_bytes(session->get, 0);
        if (lookup->value_len > 0) /* an empty blob is NULL */
            memcpy(lookup->buf, value, lookup->value_len < lookup->buf_len ? lookup->value_len : lookup->buf_len);
    }
    sqlite3_reset(session->get);
    return rc == SQLITE_ROW || rc == SQLITE_DONE ? 0 : failed(session->db, "get");
}

static int lite_get_many(void *opaque, struct lookup *lookups, size_t count)
{
    struct session *session = opaque;
    int rc = run(session, session->begin_read);
    if (rc)
        return rc;
    for (size_t i = 0; rc == 0 && i < count; i++)
        rc = lite_get(session, &lookups[i]);
    return run(session, session->commit) || rc;
}

static int lite_checkpoint(void *opaque)
{
    struct sqlite *store = opaque;
    sqlite3 *db = connect_to(store);
    if (!db)
        return -1;
    int rc = sqlite3_wal_checkpoint_v2(db, NULL, SQLITE_CHECKPOINT_FULL, NULL, NULL);
    if (rc != SQLITE_OK)
        failed(db, "checkpoint");
    sqlite3_close(db);
    return rc;
}

const struct store sqlite_store = {
    .name = "sqlite",
    .configuration =
        "WITHOUT ROWID table with a BLOB primary key, journal_mode=WAL with the automatic checkpoint, prepared statements, one "
        "connection a thread, writers taking turns on a mutex, cache for all pages, mmap. Durable: synchronous=FULL. Relaxed: "
        "synchronous=OFF, each set its own transaction.",
    .version = lite_version,
    .is_durable = true,
    .is_relaxed = true,
    .open = lite_open,
    .close = lite_close,
    .begin = lite_begin,
    .end = lite_end,
    .set = lite_set,
    .set_batch = lite_set_batch,
    .get = lite_get,
    .get_many = lite_get_many,
    .checkpoint = lite_checkpoint,
};
