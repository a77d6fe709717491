/* What the benchmark asks of a store: one adapter file a store (stores/NAME.c), each of which defines one of these. */
#ifndef BENCH_STORE_H
#define BENCH_STORE_H

#include <stdbool.h>
#include <stddef.h>

/* How a store is opened. */
enum durability {
    DURABLE, /* every acknowledged write is on stable storage */
    RELAXED, /* it gets there a little later: a sync every 100 ms where the store has such a mode, otherwise none */
};

struct store_config {
    const char *dir; /* exists; empty unless the store was closed there before */
    enum durability durability;
    size_t keys;    /* how many there will be, for stores that want to know beforehand */
    size_t threads; /* how many will use it at once */
};

struct pair {
    const void *key;
    size_t key_len;
    const void *value;
    size_t value_len;
};

struct lookup {
    const void *key;
    size_t key_len;
    void *buf;
    size_t buf_len;
    size_t value_len;
    bool found;
};

/*
 * A store. Functions that return int return 0, or anything else after they have said on stderr what went wrong.
 * A session is what one thread works with; where the store needs nothing of the kind it is the store itself.
 * What a store cannot do is NULL, and its rows are left out.
 */
struct store {
    const char *name;
    const char *configuration;          /* in words, for the report: the mode and why, from the store's own documentation */
    const char *(*version)(void);
    bool is_durable, is_relaxed;        /* the durabilities that it has */
    bool is_in_memory;                  /* nothing of it is in a file: only get rows are meaningful */
    void *(*open)(const struct store_config *config);
    int (*close)(void *store);
    void *(*begin)(void *store);        /* a session for the calling thread */
    void (*end)(void *session);
    int (*set)(void *session, const void *key, size_t key_len, const void *value, size_t value_len);
    int (*set_batch)(void *session, const struct pair *pairs, size_t count); /* atomic, and one sync if durable */
    int (*get)(void *session, struct lookup *lookup);                        /* copies the value into buf */
    int (*get_many)(void *session, struct lookup *lookups, size_t count);
    int (*checkpoint)(void *store);
    bool is_control; /* says that it is durable and is not, which the check of the syncs has to notice */
    bool is_single_threaded;
};

#endif
