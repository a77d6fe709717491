/* Latencies in nanoseconds, counted in buckets that are at most 1.6 % wide; the largest is kept exactly. */
#ifndef BENCH_HISTOGRAM_H
#define BENCH_HISTOGRAM_H

#include <stdint.h>

enum {
    SUB_BITS = 6, /* 64 buckets for each power of two */
    HISTOGRAM_BUCKETS = (64 - SUB_BITS + 1) << SUB_BITS,
};

struct histogram {
    uint64_t counts[HISTOGRAM_BUCKETS];
    uint64_t count;
    uint64_t max;
};

void histogram_add(struct histogram *histogram, uint64_t ns);
void histogram_merge(struct histogram *into, const struct histogram *from);

/* The latency that a fraction of all calls did not exceed: the upper end of its bucket. 0 if there were no calls. */
uint64_t histogram_quantile(const struct histogram *histogram, double fraction);

/* How many calls took longer, to the precision of a bucket. */
uint64_t histogram_above(const struct histogram *histogram, uint64_t ns);

#endif
