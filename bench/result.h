/* A result: one line of key=value on stdout. */
#ifndef BENCH_RESULT_H
#define BENCH_RESULT_H

#include <stdint.h>

#include "histogram.h"
#include "options.h"

struct result {
    const char *name; /* the case; NULL: there is but one */
    unsigned threads;
    uint64_t ops;
    double seconds;
    size_t op_bytes;                 /* keys and values of an operation; 0: no mb_per_s */
    const struct histogram *latency; /* NULL: none */
};

/* Begins the line; result_number() adds to it, result_end() ends it. */
void result_begin(const struct options *options, const struct result *result);
void result_number(const char *key, double value);
void result_end(void);

/* A whole line. */
void result_print(const struct options *options, const struct result *result);

#endif
