/* The workloads, each in a function that prints its results. */
#ifndef BENCH_WORKLOADS_H
#define BENCH_WORKLOADS_H

#include "bench.h"

/* set.c */
void set_durable(const struct bench *bench);
void batch_durable(const struct bench *bench);
void set_relaxed(const struct bench *bench);

/* get.c */
void get(const struct bench *bench);
void get_many(const struct bench *bench);

/* mixed.c */
void mixed_50(const struct bench *bench);
void mixed_95(const struct bench *bench);

/* footprint.c */
void memory(const struct bench *bench);
void memory_random(const struct bench *bench);
void memory_fixed(const struct bench *bench);

/* probes.c: what the machine does, without a store */
void probe_memcpy(const struct bench *bench);
void probe_crc32(const struct bench *bench);
void probe_disk(const struct bench *bench);

/* kvwal_*.c: what only kvwal is asked */
void pauses(const struct bench *bench);
void checkpoint(const struct bench *bench);
void timeline(const struct bench *bench);
void growth(const struct bench *bench);
void reopen(const struct bench *bench);
void replay(const struct bench *bench);
void scaling(const struct bench *bench);
void threads_started(const struct bench *bench);

#endif
