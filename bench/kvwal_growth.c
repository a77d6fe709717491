/*
 * The longest set while the table grows, against the same sets in a table that has all the keys already, and against a
 * thread that only writes as many bytes to a file, or only reads the clock.
 */
#include <stdlib.h>
#include <unistd.h>

#include "kvwal_work.h"

static void measure(struct kvwal_work *work, enum operation operation, const char *name)
{
    struct team_outcome *outcome;

    work->operation = operation;
    outcome = kvwal_measure(work, 1, operation != READ_CLOCK);
    kvwal_report(work->options, name, 1, outcome);
    free(outcome);
    kvwal_check(kv_sync(work->store), "kv_sync");
}

void growth(const struct bench *bench)
{
    const struct options *options = bench->options;
    struct key *keys = keys_in_order(options->keys, options->seed);
    struct kvwal_work work = {
        .options = options,
        .keys = keys,
        .key_count = options->keys,
        .pool = value_pool_new(options->value_len, options->seed),
        .store = kvwal_open(bench, KV_SYNC_NONE),
        .fd = kvwal_open_written(bench),
    };

    measure(&work, SET, "growing");
    measure(&work, SET, "grown");
    measure(&work, WRITE_FILE, "write");
    measure(&work, READ_CLOCK, "clock");
    kvwal_close(work.store);
    close(work.fd);
    free(keys);
    free(work.pool.bytes);
}
