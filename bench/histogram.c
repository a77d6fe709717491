#include "histogram.h"

enum { SUB_BUCKETS = 1 << SUB_BITS };

/* Values below SUB_BUCKETS have a bucket each; above, the highest SUB_BITS + 1 bits choose one. */
static unsigned bucket_of(uint64_t ns)
{
    unsigned shift;

    if (ns < SUB_BUCKETS)
        return (unsigned)ns;
    shift = 63U - (unsigned)__builtin_clzll(ns) - SUB_BITS;
    return ((shift + 1) << SUB_BITS) + (unsigned)(ns >> shift) - SUB_BUCKETS;
}

static uint64_t bucket_end(unsigned bucket)
{
    unsigned shift;

    if (bucket < SUB_BUCKETS)
        return bucket;
    shift = (bucket >> SUB_BITS) - 1;
    return ((((uint64_t)bucket & (SUB_BUCKETS - 1)) + SUB_BUCKETS + 1) << shift) - 1;
}

void histogram_add(struct histogram *histogram, uint64_t ns)
{
    histogram->counts[bucket_of(ns)]++;
    histogram->count++;
    if (ns > histogram->max)
        histogram->max = ns;
}

void histogram_merge(struct histogram *into, const struct histogram *from)
{
    for (unsigned i = 0; i < HISTOGRAM_BUCKETS; i++)
        into->counts[i] += from->counts[i];
    into->count += from->count;
    if (from->max > into->max)
        into->max = from->max;
}

uint64_t histogram_quantile(const struct histogram *histogram, double fraction)
{
    uint64_t wanted = (uint64_t)((double)histogram->count * fraction);
    uint64_t seen = 0;

    for (unsigned i = 0; i < HISTOGRAM_BUCKETS; i++) {
        seen += histogram->counts[i];
        if (seen > wanted)
            return bucket_end(i) < histogram->max ? bucket_end(i) : histogram->max;
    }
    return histogram->max;
}

uint64_t histogram_above(const struct histogram *histogram, uint64_t ns)
{
    uint64_t above = 0;

    for (unsigned i = bucket_of(ns) + 1; i < HISTOGRAM_BUCKETS; i++)
        above += histogram->counts[i];
    return above;
}
