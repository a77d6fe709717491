/* Keys, values, and the orders in which keys are used. */
#ifndef BENCH_KEYS_H
#define BENCH_KEYS_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

enum { KEY_LEN = 16, POOL_SPREAD_BITS = 20 };

struct key {
    char bytes[KEY_LEN];
};

enum distribution { UNIFORM, ZIPF };

uint64_t splitmix64(uint64_t state);

/* A generator that is quick and good enough for this; the state is its own seed. */
uint64_t random_next(uint64_t *state);

/* Key number i of the run with this seed. */
struct key key_number(uint64_t i, uint64_t seed);

/* Keys 0 to count-1, in this order. To be freed. */
struct key *keys_in_order(size_t count, uint64_t seed);

/* draws keys out of keys 0 to count-1, in the order of their use. To be freed. */
struct key *keys_drawn(size_t draws, size_t count, enum distribution distribution, uint64_t seed, uint64_t draw_seed);

/* Random bytes, which values of up to max_len bytes are pieces of; the same for the same seed. */
struct value_pool {
    char *bytes; /* to be freed */
};

struct value_pool value_pool_new(size_t max_len, uint64_t seed);

/* The value of this key, of any length up to max_len. Which piece of the pool it is depends on the key. */
static inline const char *value_of(const struct value_pool *pool, const struct key *key)
{
    uint64_t start;

    memcpy(&start, key->bytes + KEY_LEN - sizeof start, sizeof start);
    return pool->bytes + (start * 0x9e3779b97f4a7c15U >> (64 - POOL_SPREAD_BITS));
}

#endif
