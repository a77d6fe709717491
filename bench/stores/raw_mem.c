/*
 * What memory does with a hash table that takes no lock and checks nothing: the bound for a get. Keys of 16 bytes; open
 * addressing with linear probing, at most 0.7 full; huge pages.
 *
 *   raw-mem         slots of key and pointer, values apart in an arena
 *   raw-mem-inline  slots of key and value
 *
 * Gets may run on any number of threads; sets, on one, and not beside gets.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "../store.h"

enum {
    MAX_INLINE_VALUE = 108, /* with key and length: two cache lines */
    PREFETCHED = 64,        /* keys looked up at once by get_many */
};

static const double MAX_LOAD = 0.7;
static const size_t HUGE_PAGE = 2 << 20;
static const size_t ARENA_BYTES = (size_t)1 << 37; /* of addresses; memory is taken as it is filled */

struct key {
    uint64_t high, low;
};

/* A value in the arena. */
struct value {
    uint32_t len, room;
    char bytes[];
};

struct slot {
    struct key key;
    struct value *value; /* NULL: the slot is empty */
};

struct inline_slot {
    struct key key;
    uint32_t len_plus_one; /* 0: the slot is empty */
    char bytes[MAX_INLINE_VALUE];
};

_Static_assert(sizeof(struct inline_slot) == 128, "a slot begins with a cache line");

struct table {
    size_t mask;
    union {
        struct slot *slots;
        struct inline_slot *inline_slots;
        void *memory;
    };
    size_t memory_bytes;
    char *arena;
    size_t arena_used;
};

static struct key key_of(const void *bytes)
{
    struct key key;

    memcpy(&key, bytes, sizeof key);
    return key;
}

static bool same(struct key a, struct key b)
{
    return ((a.high ^ b.high) | (a.low ^ b.low)) == 0;
}

/* One multiplication, both halves of which count. */
static uint64_t hash(struct key key)
{
    unsigned __int128 product =
        (unsigned __int128)(key.high ^ 0xa0761d6478bd642fU) * (key.low ^ 0xe7037ed1a0b428dbU);

    return (uint64_t)product ^ (uint64_t)(product >> 64);
}

static void *map_huge(size_t bytes)
{
    void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

    if (memory == MAP_FAILED)
        return NULL;
    madvise(memory, bytes, MADV_HUGEPAGE);
    return memory;
}

static int close_table(void *store)
{
    struct table *table = store;

    if (table->memory != NULL)
        munmap(table->memory, table->memory_bytes);
    if (table->arena != NULL)
        munmap(table->arena, ARENA_BYTES);
    free(table);
    return 0;
}

static struct table *table_new(size_t keys, size_t slot_bytes)
{
    struct table *table = calloc(1, sizeof *table);
    size_t slots = 64;

    if (table == NULL)
        return NULL;
    while ((double)slots * MAX_LOAD < (double)keys)
        slots *= 2;
    table->mask = slots - 1;
    table->memory_bytes = (slots * slot_bytes + HUGE_PAGE - 1) / HUGE_PAGE * HUGE_PAGE;
    table->memory = map_huge(table->memory_bytes);
    table->arena = map_huge(ARENA_BYTES);
    if (table->memory == NULL || table->arena == NULL) {
        perror("mmap");
        close_table(table);
        return NULL;
    }
    return table;
}

static void *open_apart(const struct store_config *config)
{
    return table_new(config->keys, sizeof(struct slot));
}

static void *open_inline(const struct store_config *config)
{
    return table_new(config->keys, sizeof(struct inline_slot));
}

/* The slot of this key, or the empty one where it would be. */
static struct slot *find(const struct table *table, struct key key)
{
    for (size_t at = hash(key) & table->mask;; at = (at + 1) & table->mask) {
        struct slot *slot = &table->slots[at];

        if (slot->value == NULL || same(slot->key, key))
            return slot;
    }
}

static struct inline_slot *find_inline(const struct table *table, struct key key)
{
    for (size_t at = hash(key) & table->mask;; at = (at + 1) & table->mask) {
        struct inline_slot *slot = &table->inline_slots[at];

        if (slot->len_plus_one == 0 || same(slot->key, key))
            return slot;
    }
}

/* A value that no longer fits where it was gets a new place; the old one is lost. */
static struct value *place_for(struct table *table, struct value *old, size_t len)
{
    size_t bytes = (sizeof *old + len + 7) & ~(size_t)7;
    struct value *value = (struct value *)(table->arena + table->arena_used);

    if (old != NULL && len <= old->room)
        return old;
    if (table->arena_used + bytes > ARENA_BYTES)
        return NULL;
    table->arena_used += bytes;
    value->room = (uint32_t)(bytes - sizeof *value);
    return value;
}

static int set_apart(void *store, const void *key, size_t key_len, const void *bytes, size_t len)
{
    struct table *table = store;
    struct slot *slot;
    struct value *value;

    if (key_len != sizeof(struct key))
        return -1;
    slot = find(table, key_of(key));
    value = place_for(table, slot->value, len);
    if (value == NULL)
        return -1;
    value->len = (uint32_t)len;
    memcpy(value->bytes, bytes, len);
    slot->key = key_of(key);
    slot->value = value;
    return 0;
}

static int set_inline(void *store, const void *key, size_t key_len, const void *bytes, size_t len)
{
    struct inline_slot *slot;

    if (key_len != sizeof(struct key) || len > MAX_INLINE_VALUE)
        return -1;
    slot = find_inline(store, key_of(key));
    slot->key = key_of(key);
    slot->len_plus_one = (uint32_t)len + 1;
    memcpy(slot->bytes, bytes, len);
    return 0;
}

static void answer(struct lookup *lookup, const char *bytes, size_t len)
{
    lookup->found = bytes != NULL && len <= lookup->buf_len;
    if (lookup->found) {
        lookup->value_len = len;
        memcpy(lookup->buf, bytes, len);
    }
}

static void answer_apart(struct lookup *lookup, const struct slot *slot)
{
    if (slot->value != NULL)
        answer(lookup, slot->value->bytes, slot->value->len);
    else
        lookup->found = false;
}

static int get_apart(void *store, struct lookup *lookup)
{
    answer_apart(lookup, find(store, key_of(lookup->key)));
    return 0;
}

static int get_inline(void *store, struct lookup *lookup)
{
    const struct inline_slot *slot = find_inline(store, key_of(lookup->key));

    answer(lookup, slot->len_plus_one > 0 ? slot->bytes : NULL, slot->len_plus_one - 1);
    return 0;
}

/* The misses of many keys at once: first those of all slots, then those of all values. */
static void get_group(const struct table *table, struct lookup *lookups, size_t count)
{
    const struct slot *found[PREFETCHED];

    for (size_t i = 0; i < count; i++)
        __builtin_prefetch(&table->slots[hash(key_of(lookups[i].key)) & table->mask]);
    for (size_t i = 0; i < count; i++) {
        found[i] = find(table, key_of(lookups[i].key));
        __builtin_prefetch(found[i]->value);
        __builtin_prefetch((const char *)found[i]->value + 64);
    }
    for (size_t i = 0; i < count; i++)
        answer_apart(&lookups[i], found[i]);
}

static int get_many(void *store, struct lookup *lookups, size_t count)
{
    for (size_t at = 0; at < count; at += PREFETCHED)
        get_group(store, lookups + at, count - at < PREFETCHED ? count - at : PREFETCHED);
    return 0;
}

const struct store raw_mem_store = {
    .name = "raw-mem",
    .configuration = "an unlocked table in huge pages, values apart",
    .is_in_memory = true,
    .open = open_apart,
    .close = close_table,
    .set = set_apart,
    .get = get_apart,
    .get_many = get_many,
};

const struct store raw_mem_inline_store = {
    .name = "raw-mem-inline",
    .configuration = "an unlocked table in huge pages, values in the slots",
    .is_in_memory = true,
    .open = open_inline,
    .close = close_table,
    .set = set_inline,
    .get = get_inline,
};
