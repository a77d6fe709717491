/*
 * What the tests under a real kernel write, and what must be found afterwards.
 *
 * Each writer has slots of its own, and what its n-th operation does follows from its number and n alone. A value says
 * who wrote it where with which operation, and every byte of it follows from that. So whatever a store holds can be
 * checked without having been there, and a writer's slots tell exactly how many of its operations have happened: all
 * that were acknowledged, none that were refused, and of those in between, the one or few under way at the end, the
 * first so many. That checks four things at once: nothing acknowledged is missing, nothing is there that was not
 * written, the order of each writer is kept, and batches are whole.
 */
#ifndef KVWAL_KERNEL_MODEL_H
#define KVWAL_KERNEL_MODEL_H

#include <pthread.h>
#include <time.h>

#include "../support.h"

enum {
    SLOTS = 24,
    MOST_WRITERS = 8,
    BATCH_SETS = 4, /* and one deletion */
    HEADER_LEN = 32,
    LONGEST_VALUE = 70000, /* is written from where it is, without being copied */
    TTL_MS = 3600 * 1000   /* longer than any test */
};

/* ---- Random numbers: one 64-bit number from another (splitmix64) ---- */

static inline uint64_t mix(uint64_t x)
{
    x += 0x9E3779B97F4A7C15u;
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9u;
    x = (x ^ (x >> 27)) * 0x94D049BB133111EBu;
    return x ^ (x >> 31);
}

/* The next number of the sequence that *state runs through. */
static inline uint64_t next_random(uint64_t *state)
{
    *state = mix(*state);
    return *state;
}

/* ---- Operations ---- */

enum operation_kind { OP_SET, OP_SET_TTL, OP_DELETE, OP_BATCH };

struct operation {
    enum operation_kind kind;
    unsigned slot; /* the first one */
};

static inline struct operation operation_of(unsigned writer, uint64_t number)
{
    static const enum operation_kind kinds[8] = {OP_SET,   OP_SET,   OP_DELETE, OP_SET_TTL,
                                                 OP_BATCH, OP_SET, OP_SET,    OP_DELETE};
    struct operation operation;

    operation.kind = kinds[number % ARRAY_LEN(kinds)];
    /* Eight operations in a row begin in different slots: so none takes back what one shortly before it did. */
    operation.slot = (unsigned)(number % 8 + mix(number * MOST_WRITERS + writer) % (SLOTS / 8) * 8);
    return operation;
}

struct value {
    size_t len;
    uint8_t bytes[LONGEST_VALUE];
};

/* Mostly short, for that is where records share sectors; some longer than a page, a few longer than a buffer. */
static inline size_t value_len(uint64_t hash)
{
    if (hash % 64 == 0)
        return LONGEST_VALUE;
    return HEADER_LEN + (hash >> 8) % (hash % 8 == 1 ? 6000 : 200);
}

static inline void make_value(struct value *value, unsigned writer, unsigned slot, uint64_t number)
{
    uint64_t random = mix((number * SLOTS + slot) * MOST_WRITERS + writer);
    size_t at;

    value->len = value_len(random);
    memset(value->bytes, ' ', HEADER_LEN);
    snprintf((char *)value->bytes, HEADER_LEN, "%u %u %llu", writer, slot, (unsigned long long)number);
    for (at = HEADER_LEN; at < value->len; at++) {
        if (at % 8 == 0)
            next_random(&random);
        value->bytes[at] = (uint8_t)(random >> (at % 8 * 8));
    }
}

struct key {
    char text[24];
    size_t len;
};

static inline struct key make_key(unsigned writer, unsigned slot)
{
    struct key key;

    key.len = (size_t)snprintf(key.text, sizeof key.text, "%u/%u", writer % MOST_WRITERS, slot % SLOTS);
    return key;
}

/* ---- What a writer's slots hold ---- */

struct writer {
    unsigned number;
    uint64_t done;          /* the last operation that happened or was refused */
    uint64_t set_by[SLOTS]; /* the operation that set the slot; 0 if there is nothing in it */
    uint64_t records;       /* in the log, so far */
    unsigned unsure;        /* so many operations behind `done` may have happened, too */
};

static inline void apply_operation(struct writer *writer, uint64_t number)
{
    struct operation operation = operation_of(writer->number, number);
    unsigned i;

    switch (operation.kind) {
    case OP_SET:
    case OP_SET_TTL:
        writer->set_by[operation.slot] = number;
        writer->records += 1;
        break;
    case OP_DELETE:
        writer->records += writer->set_by[operation.slot] != 0;
        writer->set_by[operation.slot] = 0;
        break;
    case OP_BATCH:
        for (i = 0; i < BATCH_SETS; i++)
            writer->set_by[(operation.slot + i) % SLOTS] = number;
        writer->set_by[(operation.slot + i) % SLOTS] = 0;
        writer->records += BATCH_SETS + 1;
        break;
    }
    writer->done = number;
}

/* Deletes what is not there. */
static inline int changes_nothing(const struct writer *writer, uint64_t number)
{
    struct operation operation = operation_of(writer->number, number);

    return operation.kind == OP_DELETE && writer->set_by[operation.slot] == 0;
}

static inline int write_batch(kv_store *store, unsigned writer, unsigned slot, uint64_t number, struct value *value)
{
    kv_batch *batch = kv_batch_new();
    struct key key;
    unsigned i;
    int code;

    CHECK(batch != NULL);
    for (i = 0; i < BATCH_SETS; i++) {
        key = make_key(writer, (slot + i) % SLOTS);
        make_value(value, writer, (slot + i) % SLOTS, number);
        CHECK_OK(kv_batch_set(batch, key.text, key.len, value->bytes, value->len));
    }
    key = make_key(writer, (slot + i) % SLOTS);
    CHECK_OK(kv_batch_del(batch, key.text, key.len));
    code = kv_write(store, batch);
    kv_batch_free(batch);
    return code;
}

static inline int del_slot(kv_store *store, const struct writer *writer, unsigned slot)
{
    struct key key = make_key(writer->number, slot);
    int code = kv_del(store, key.text, key.len);

    if (code == KV_OK || code == KV_NOT_FOUND)
        CHECK_EQ(code, writer->set_by[slot] != 0 ? KV_OK : KV_NOT_FOUND);
    return code == KV_NOT_FOUND ? KV_OK : code;
}

/* Does operation `number` on the store, not on the model; returns the result code. */
static inline int do_operation(kv_store *store, const struct writer *writer, uint64_t number)
{
    struct operation operation = operation_of(writer->number, number);
    struct key key = make_key(writer->number, operation.slot);
    struct value *value = must_alloc(sizeof *value);
    int code = KV_OK;

    make_value(value, writer->number, operation.slot, number);
    switch (operation.kind) {
    case OP_SET:
        code = kv_set(store, key.text, key.len, value->bytes, value->len);
        break;
    case OP_SET_TTL:
        code = kv_set_ttl(store, key.text, key.len, value->bytes, value->len, TTL_MS);
        break;
    case OP_DELETE:
        code = del_slot(store, writer, operation.slot);
        break;
    case OP_BATCH:
        code = write_batch(store, writer->number, operation.slot, number, value);
        break;
    }
    free(value);
    return code;
}

static inline void new_writers(struct writer *writers, unsigned count)
{
    unsigned i;

    memset(writers, 0, count * sizeof *writers);
    for (i = 0; i < count; i++)
        writers[i].number = i;
}

/* ---- What a store holds ---- */

struct found {
    unsigned writers;
    uint64_t set_by[MOST_WRITERS][SLOTS];
};

/* A kv_scan_fn: a value that is not what its own header says is corrupt, wherever it comes from. */
static inline int find_pair(void *ctx, const void *key, size_t key_len, const void *bytes, size_t len)
{
    struct found *found = ctx;
    struct value *value = must_alloc(sizeof *value);
    char header[HEADER_LEN + 1] = "";
    unsigned long long number;
    unsigned writer, slot;
    struct key expected;

    memcpy(header, bytes, len < HEADER_LEN ? len : HEADER_LEN);
    if (sscanf(header, "%u %u %llu", &writer, &slot, &number) != 3 || writer >= found->writers || slot >= SLOTS)
        FAIL("CORRUPT: the value of '%.*s' begins with '%s'", (int)key_len, (const char *)key, header);
    expected = make_key(writer, slot);
    CHECK_BYTES(key, key_len, expected.text, expected.len);
    make_value(value, writer, slot, number);
    CHECK_BYTES(bytes, len, value->bytes, value->len);
    found->set_by[writer][slot] = number;
    free(value);
    return 0;
}

static inline void look_through(kv_store *store, struct found *found, unsigned writers)
{
    memset(found, 0, sizeof *found);
    found->writers = writers;
    CHECK_OK(kv_scan(store, NULL, 0, find_pair, found));
}

static inline int holds(const struct found *found, const struct writer *writer)
{
    return memcmp(found->set_by[writer->number], writer->set_by, sizeof writer->set_by) == 0;
}

__attribute__((noreturn)) static inline void fail_for_slots(const struct found *found, const struct writer *writer)
{
    const uint64_t *slots = found->set_by[writer->number];
    unsigned slot = 0;

    while (slots[slot] == writer->set_by[slot])
        slot++;
    FAIL("LOST: %llu operations of writer %u were acknowledged, but slot %u is as of %llu, not of %llu",
         (unsigned long long)writer->done, writer->number, slot, (unsigned long long)slots[slot],
         (unsigned long long)writer->set_by[slot]);
}

/* The store, which nobody is writing to, holds what was acknowledged, and nothing else. */
static inline void check_exactly(kv_store *store, const struct writer *writers, unsigned count)
{
    struct found found;
    unsigned i;

    look_through(store, &found, count);
    for (i = 0; i < count; i++) {
        if (!holds(&found, &writers[i]))
            fail_for_slots(&found, &writers[i]);
    }
}

/* Looks each slot of a writer up, as programs do. */
static inline void check_lookups(kv_store *store, const struct writer *writer)
{
    struct value *value = must_alloc(sizeof *value);
    unsigned slot;

    for (slot = 0; slot < SLOTS; slot++) {
        struct key key = make_key(writer->number, slot);
        void *got;
        size_t len;
        int code = kv_get(store, key.text, key.len, &got, &len);

        CHECK_EQ(code, writer->set_by[slot] != 0 ? KV_OK : KV_NOT_FOUND);
        if (code == KV_OK) {
            make_value(value, writer->number, slot, writer->set_by[slot]);
            CHECK_BYTES(got, len, value->bytes, value->len);
            kv_free(got);
        }
    }
    free(value);
}

/* Finds out how many of the operations that may have happened did. */
static inline void settle(struct writer *writer, const struct found *found)
{
    struct writer further = *writer;

    while (!holds(found, &further) && further.done < writer->done + writer->unsure)
        apply_operation(&further, further.done + 1);
    if (!holds(found, &further))
        fail_for_slots(found, writer);
    *writer = further;
    writer->unsure = 0;
}

/*
 * The same for a store that was just opened after a crash. What happened although nobody was told of it is taken over
 * into the model. The number of records tells whether the log is an exact prefix.
 */
static inline void check_recovered(kv_store *store, struct writer *writers, unsigned count)
{
    kv_recovery recovery = recovery_report(store);
    uint64_t records = 0;
    struct found found;
    unsigned i;

    if (recovery.verdict == KV_TAIL_DAMAGED)
        FAIL("VERDICT: damaged, at offset %llu, durable %llu, last %llu, %llu records behind, checkpoint %llu",
             (unsigned long long)recovery.stop_offset, (unsigned long long)recovery.durable_lsn,
             (unsigned long long)recovery.last_lsn, (unsigned long long)recovery.records_behind,
             (unsigned long long)recovery.checkpoint_lsn);
    look_through(store, &found, count);
    for (i = 0; i < count; i++) {
        settle(&writers[i], &found);
        records += writers[i].records;
    }
    CHECK_EQ(recovery.last_lsn, records);
}

/* Each writer does an operation, which must succeed. */
static inline void check_writable(kv_store *store, struct writer *writers, unsigned count)
{
    unsigned i;

    for (i = 0; i < count; i++) {
        CHECK_OK(do_operation(store, &writers[i], writers[i].done + 1));
        apply_operation(&writers[i], writers[i].done + 1);
    }
}

/* ---- Time ---- */

static inline double seconds_now(void)
{
    struct timespec now;

    CHECK_SYS(clock_gettime(CLOCK_MONOTONIC, &now) == 0);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

/* ---- Writers that go on until there is no room any more ---- */

enum { ENOUGH_REFUSALS = 8, MOST_OPERATIONS = 20000 };

struct filling {
    pthread_t thread;
    kv_store *store;
    struct writer *writer;
};

static inline void *fill_up(void *argument)
{
    struct filling *filling = argument;
    struct writer *writer = filling->writer;
    uint64_t from = writer->done;
    unsigned refusals = 0;

    while (refusals < ENOUGH_REFUSALS) {
        int code = do_operation(filling->store, writer, writer->done + 1);

        if (code == KV_OK) {
            apply_operation(writer, writer->done + 1);
        } else {
            CHECK_EQ(code, KV_NO_SPACE);
            writer->done += 1;
            refusals += 1;
        }
        if (writer->done > from + MOST_OPERATIONS)
            FAIL("SWALLOWED: there was no room, and %d operations were acknowledged", MOST_OPERATIONS);
    }
    return NULL;
}

/* All writers at once; each goes on until it was refused several times, so that also small records find no room. */
static inline void write_until_full(kv_store *store, struct writer *writers, unsigned count)
{
    struct filling fillings[MOST_WRITERS];
    unsigned i;

    for (i = 0; i < count; i++) {
        fillings[i].store = store;
        fillings[i].writer = &writers[i];
        CHECK_EQ(pthread_create(&fillings[i].thread, NULL, fill_up, &fillings[i]), 0);
    }
    for (i = 0; i < count; i++)
        CHECK_EQ(pthread_join(fillings[i].thread, NULL), 0);
}

#endif
