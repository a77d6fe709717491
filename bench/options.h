/* The command line. */
#ifndef BENCH_OPTIONS_H
#define BENCH_OPTIONS_H

#include <stddef.h>
#include <stdint.h>

enum { MAX_THREAD_COUNTS = 8, MAX_THREADS = 256 };

struct options {
    const char *store;
    const char *workload;
    const char *dir;
    unsigned threads[MAX_THREAD_COUNTS]; /* one measurement for each */
    size_t thread_counts;
    size_t keys;
    size_t value_len; /* 0: what the workload is made for */
    double seconds;
    uint64_t ops; /* 0: the time decides */
    uint64_t seed;
};

#endif
