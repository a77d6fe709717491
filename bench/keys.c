#include "keys.h"

#include <math.h>
#include <stdlib.h>

#include "fail.h"

static const double ZIPF_EXPONENT = 0.99;

uint64_t splitmix64(uint64_t state)
{
    uint64_t z = state + 0x9e3779b97f4a7c15U;

    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9U;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebU;
    return z ^ (z >> 31);
}

uint64_t random_next(uint64_t *state)
{
    *state += 0x9e3779b97f4a7c15U;
    return splitmix64(*state);
}

struct key key_number(uint64_t i, uint64_t seed)
{
    static const char digits[] = "0123456789abcdef";
    uint64_t bits = splitmix64(i + seed);
    struct key key;

    for (int at = KEY_LEN - 1; at >= 0; at--, bits >>= 4)
        key.bytes[at] = digits[bits & 15];
    return key;
}

struct key *keys_in_order(size_t count, uint64_t seed)
{
    struct key *keys = must(malloc(count * sizeof *keys));

    for (size_t i = 0; i < count; i++)
        keys[i] = key_number(i, seed);
    return keys;
}

/* Quickly generating billion-record synthetic databases, Gray et al., SIGMOD 1994, as YCSB does it. */
struct zipf {
    double count, alpha, zeta, eta, second;
};

static struct zipf zipf_new(size_t count)
{
    struct zipf zipf = {.count = (double)count, .alpha = 1 / (1 - ZIPF_EXPONENT)};
    double zeta2 = 1 + pow(0.5, ZIPF_EXPONENT);

    for (size_t i = 1; i <= count; i++)
        zipf.zeta += pow(1 / (double)i, ZIPF_EXPONENT);
    zipf.second = zeta2;
    zipf.eta = (1 - pow(2 / zipf.count, 1 - ZIPF_EXPONENT)) / (1 - zeta2 / zipf.zeta);
    return zipf;
}

static uint64_t zipf_rank(const struct zipf *zipf, double uniform)
{
    double scaled = uniform * zipf->zeta;
    double rank;

    if (scaled < 1)
        return 0;
    if (scaled < zipf->second)
        return 1;
    rank = zipf->count * pow(zipf->eta * uniform - zipf->eta + 1, zipf->alpha);
    return rank < zipf->count ? (uint64_t)rank : (uint64_t)zipf->count - 1;
}

struct key *keys_drawn(size_t draws, size_t count, enum distribution distribution, uint64_t seed, uint64_t draw_seed)
{
    struct key *keys = must(malloc(draws * sizeof *keys));
    struct zipf zipf = {0};
    uint64_t state = splitmix64(draw_seed);

    if (distribution == ZIPF)
        zipf = zipf_new(count);
    for (size_t i = 0; i < draws; i++) {
        uint64_t bits = random_next(&state);
        /* Scattered, or the popular keys would lie side by side in a store that keeps the order of loading. */
        if (distribution == ZIPF)
            bits = splitmix64(zipf_rank(&zipf, (double)(bits >> 11) * 0x1p-53));
        keys[i] = key_number(bits % count, seed);
    }
    return keys;
}

struct value_pool value_pool_new(size_t max_len, uint64_t seed)
{
    size_t len = max_len + (1U << POOL_SPREAD_BITS);
    struct value_pool pool = {must(malloc(len))};
    uint64_t state = splitmix64(seed ^ 0x76616c756573U);

    for (size_t i = 0; i < len; i++)
        pool.bytes[i] = (char)random_next(&state);
    return pool;
}
