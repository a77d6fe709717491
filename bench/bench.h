/* One measurement: what every workload gets. */
#ifndef BENCH_BENCH_H
#define BENCH_BENCH_H

#include "keys.h"
#include "options.h"
#include "store.h"

struct bench {
    const struct options *options;
    const struct store *store; /* NULL for a workload that needs none */
};

/* The directory for the number-th store of this process: made if it is not there. Good until the next call. */
const char *bench_dir(const struct bench *bench, unsigned number);

/* Sets all the keys with values of value_len bytes, in batches where the store has batches. */
void load_keys(const struct bench *bench, void *session, const struct key *keys, size_t count,
               const struct value_pool *pool, size_t value_len);

/* Reads 1000 of the keys and compares their values. */
void check_keys(const struct bench *bench, void *session, const struct key *keys, size_t count,
                const struct value_pool *pool, size_t value_len);

/* load_keys() with keys of their own, check_keys() and, if the store has it, checkpoint(). */
void load_store(const struct bench *bench, void *handle, const struct value_pool *pool);

#endif
