/*
 * What the workloads share that only kvwal is asked: opening it with other options than the adapter's, filling it, and
 * threads that time each of their operations. Two of these do not use the store at all: what they wait for, the machine
 * is to blame for.
 */
#ifndef BENCH_KVWAL_WORK_H
#define BENCH_KVWAL_WORK_H

#include <kvwal.h>

#include "team.h"
#include "workloads.h"

enum operation {
    READ_CLOCK, /* nothing */
    WRITE_FILE, /* one pwrite of as many bytes as the log takes for a set */
    GET,
    SET,
};

struct kvwal_work {
    const struct options *options;
    enum operation operation;
    kv_store *store;
    int fd; /* of WRITE_FILE */
    const struct key *keys; /* in the order of their use */
    size_t key_count;
    struct value_pool pool;
};

/* Ends the process, with kv_errmsg(), unless code is KV_OK. */
void kvwal_check(int code, const char *what);

/* One of KV_SYNC_*; without checkpoints but those that are asked for. */
kv_store *kvwal_open(const struct bench *bench, int sync);
void kvwal_close(kv_store *store);

/* A file beside the store, for WRITE_FILE. */
int kvwal_open_written(const struct bench *bench);

/* Sets all keys, in batches. */
void kvwal_load(const struct bench *bench, kv_store *store, const struct value_pool *pool);

/* What measures so: threads that do the operation for options->seconds, or until each has used all keys once. */
struct team_outcome *kvwal_measure(struct kvwal_work *work, unsigned threads, bool each_key_once);

void kvwal_report(const struct options *options, const char *name, unsigned threads,
                  const struct team_outcome *outcome);

/* Runs a part of a workload in a process of its own, so that it finds memory as a fresh process does. */
void in_child(const struct bench *bench, void (*part)(const struct bench *bench));

/* The size of a file of the store. */
uint64_t kvwal_file_bytes(const struct bench *bench, const char *name);

#endif
