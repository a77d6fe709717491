/*
 * The write-ahead log from the outside: the bytes of a record, what damage to them does, what is on disk after an
 * append, and what recovery makes of a whole, a damaged and a checkpointed log.
 *
 * The library's bytes are checked here by hand, against docs/format.md, with a CRC-32 and a decoder of the test's own.
 */
#include "support.h"

enum {
    LOG_RECORDS = 20, /* records of the logs of tests 3 to 6 */
    FIXED_BYTES = 33, /* of a record with an empty key and value and no expiry */
    EXPIRY_BYTES = 8,
    LENGTH_AT = 4,
    LENGTH_END = 8,
    OP_AT = 24
};

/* ---- Records, and their bytes by hand ---- */

static int is_expiring(const wal_record *record)
{
    return (record->op & ~WAL_OP_BATCH) == WAL_OP_PUT_EXPIRING;
}

static size_t encoded_size(const wal_record *record)
{
    size_t expiry_len = is_expiring(record) ? EXPIRY_BYTES : 0;

    return FIXED_BYTES + expiry_len + record->key_len + record->value_len;
}

/* Appends the library's encoding of *record. */
static void append_encoded(struct bytes *log, const wal_record *record)
{
    size_t len = encoded_size(record);
    uint8_t *buf = must_alloc(len);
    size_t written = 0;

    CHECK_OK(wal_record_encode(record, buf, len, &written));
    CHECK_EQ(written, len);
    append_bytes(log, buf, len);
    free(buf);
}

static void check_encoding(const uint8_t *bytes, size_t len, const wal_record *record)
{
    const uint8_t *at = bytes + OP_AT;

    CHECK_EQ(get_be32(bytes), crc32_of(bytes + LENGTH_AT, len - LENGTH_AT));
    CHECK_EQ(get_be32(bytes + LENGTH_AT), len);
    CHECK_EQ(get_be64(bytes + 8), record->lsn);
    CHECK_EQ(get_be64(bytes + 16), record->durable_lsn);
    CHECK_EQ(*at, record->op);
    at += 1;
    if (is_expiring(record)) {
        CHECK_EQ(get_be64(at), record->expires_at);
        at += EXPIRY_BYTES;
    }
    CHECK_EQ(get_be32(at), record->key_len);
    at += 4;
    CHECK_BYTES(at, record->key_len, record->key, record->key_len);
    at += record->key_len;
    CHECK_EQ(get_be32(at), record->value_len);
    at += 4;
    CHECK_BYTES(at, record->value_len, record->value, record->value_len);
    CHECK(at + record->value_len == bytes + len);
}

static void check_same_change(const wal_record *got, const wal_record *wanted)
{
    CHECK_EQ(got->lsn, wanted->lsn);
    CHECK_EQ(got->durable_lsn, wanted->durable_lsn);
    CHECK_EQ(got->op, wanted->op);
    CHECK_BYTES(got->key, got->key_len, wanted->key, wanted->key_len);
    CHECK_BYTES(got->value, got->value_len, wanted->value, wanted->value_len);
}

static void check_same_record(const wal_record *got, const wal_record *wanted)
{
    check_same_change(got, wanted);
    CHECK_EQ(got->expires_at, is_expiring(wanted) ? wanted->expires_at : 0);
}

/* ---- Tests 1 and 2: ten records with every kind of field ---- */

#define KEY(text) .key = (text), .key_len = sizeof(text) - 1
#define VALUE(text) .value = (text), .value_len = sizeof(text) - 1

static const wal_record samples[] = {
    {.lsn = 1, .durable_lsn = 0, .op = WAL_OP_PUT, KEY("name"), VALUE("Ada")},
    {.lsn = 2, .durable_lsn = 1, .op = WAL_OP_DELETE, KEY("name")},
    {.lsn = 3, .durable_lsn = 2, .op = WAL_OP_PUT_EXPIRING, .expires_at = 1700000000000, KEY("session"), VALUE("x")},
    {.lsn = 4, .durable_lsn = 2, .op = WAL_OP_PUT | WAL_OP_BATCH, KEY("from"), VALUE("90")},
    {.lsn = 5, .durable_lsn = 2, .op = WAL_OP_DELETE | WAL_OP_BATCH, KEY("lock")},
    {.lsn = 6, .durable_lsn = 2, .op = WAL_OP_PUT_EXPIRING | WAL_OP_BATCH, .expires_at = 1, KEY("to"), VALUE("10")},
    {.lsn = 7, .durable_lsn = 6, .op = WAL_OP_PUT, KEY(""), VALUE("the empty key")},
    {.lsn = 8, .durable_lsn = 7, .op = WAL_OP_PUT, KEY("the empty value")},
    {.lsn = 9, .durable_lsn = 8, .op = WAL_OP_PUT, KEY("\0\1\x7F\x80\xFF\0"), VALUE("\xFF\0\0\r\n\0\x80%s")},
    /* Numbers in which every byte differs; the expiry of a plain PUT is to be ignored. */
    {.lsn = 0x0102030405060708, .durable_lsn = 0x0011223344556677, .op = WAL_OP_PUT, .expires_at = 0x8899AABBCCDDEEFF},
};

static struct bytes encode_samples(void)
{
    struct bytes log = {NULL, 0};
    size_t i;

    for (i = 0; i < ARRAY_LEN(samples); i++)
        append_encoded(&log, &samples[i]);
    return log;
}

static void check_needs_whole_buffer(const wal_record *record)
{
    size_t len = encoded_size(record);
    uint8_t *buf = must_alloc(len);
    size_t written = 0;

    CHECK_CODE(wal_record_encode(record, NULL, 0, &written), KV_BUFFER);
    CHECK_EQ(written, len);
    written = 0;
    CHECK_CODE(wal_record_encode(record, buf, len - 1, &written), KV_BUFFER);
    CHECK_EQ(written, len);
    free(buf);
}

static void record_codec_round_trip(void)
{
    struct bytes log = encode_samples();
    size_t start = 0;
    size_t i;

    CHECK_EQ(ARRAY_LEN(samples), 10);
    CHECK_EQ(crc32_of("123456789", 9), 0xCBF43926u); /* the published check value: this test's own CRC is right */
    for (i = 0; i < ARRAY_LEN(samples); i++) {
        const uint8_t *bytes = log.data + start;
        size_t len = encoded_size(&samples[i]);
        size_t consumed = 0;
        wal_record decoded;

        check_encoding(bytes, len, &samples[i]);
        CHECK_OK(wal_record_decode(bytes, log.len - start, &decoded, &consumed));
        CHECK_EQ(consumed, len);
        check_same_record(&decoded, &samples[i]);
        check_needs_whole_buffer(&samples[i]);
        start += len;
    }
    CHECK_EQ(start, log.len);
    free_bytes(&log);
}

/* A decoder may trust the length field only as far as it must to find the checksummed bytes. */
static int is_expected_refusal(int code, size_t flipped_byte)
{
    int in_length = flipped_byte >= LENGTH_AT && flipped_byte < LENGTH_END;

    return code == KV_CRC_MISMATCH || (in_length && (code == KV_INCOMPLETE || code == KV_CORRUPT));
}

static void flip_every_bit(uint8_t *buf, size_t buf_len, size_t record_len)
{
    static const wal_record zero;
    size_t bit;

    for (bit = 0; bit < record_len * 8; bit++) {
        uint8_t mask = (uint8_t)(1u << (bit % 8));
        size_t consumed = 99;
        wal_record decoded;
        int code;

        buf[bit / 8] ^= mask;
        code = wal_record_decode(buf, buf_len, &decoded, &consumed);
        if (!is_expected_refusal(code, bit / 8))
            FAIL("with bit %zu flipped, decode returned %d (%s)", bit, code, kv_strerror(code));
        CHECK_EQ(consumed, 0);
        CHECK(decoded.key == zero.key && decoded.value == zero.value && decoded.lsn == zero.lsn);
        buf[bit / 8] ^= mask;
    }
}

/* A length that no record has is told from a buffer that ends too early. */
static void check_impossible_lengths(void)
{
    static const uint8_t lengths[][4] = {{0, 0, 0, 0}, {0, 0, 0, FIXED_BYTES - 1}, {0xFF, 0xFF, 0xFF, 0xFF}};
    uint8_t buf[64] = {0};
    size_t i;

    for (i = 0; i < ARRAY_LEN(lengths); i++) {
        size_t consumed;
        wal_record decoded;

        memcpy(buf + LENGTH_AT, lengths[i], sizeof lengths[i]);
        CHECK_CODE(wal_record_decode(buf, sizeof buf, &decoded, &consumed), KV_CORRUPT);
    }
}

static void crc_corruption_detection(void)
{
    struct bytes log = encode_samples();
    size_t start = 0;
    size_t i;

    for (i = 0; i < ARRAY_LEN(samples); i++) {
        size_t len = encoded_size(&samples[i]);
        size_t consumed;
        wal_record decoded;

        flip_every_bit(log.data + start, len, len);
        /* With bytes behind it, a length that became too long reaches into the next records. */
        flip_every_bit(log.data + start, log.len - start, len);
        /* The undamaged record is accepted, so it was the bit that was refused. */
        CHECK_OK(wal_record_decode(log.data + start, len, &decoded, &consumed));
        start += len;
    }
    check_impossible_lengths();
    free_bytes(&log);
}

/* ---- Tests 3 to 6: a log of twenty records ---- */

struct numbered {
    wal_record record;
    char key[16];
    char value[40];
};

/* Record n of every log below. Few keys, so that records overwrite one another; each fifth deletes what the one before
 * it has set. */
static void fill_record(struct numbered *numbered, unsigned n)
{
    wal_record *record = &numbered->record;
    int is_delete = n % 5 == 0;

    memset(numbered, 0, sizeof *numbered);
    snprintf(numbered->key, sizeof numbered->key, "key-%u", (is_delete ? n - 1 : n) % 7);
    snprintf(numbered->value, sizeof numbered->value, "value %u %.*s", n, (int)n, "####################");
    record->lsn = n;
    record->durable_lsn = n - 1;
    record->key = numbered->key;
    record->key_len = strlen(numbered->key);
    record->op = is_delete ? WAL_OP_DELETE : n % 3 == 0 ? WAL_OP_PUT_EXPIRING : WAL_OP_PUT;
    if (is_delete)
        return;
    record->value = numbered->value;
    record->value_len = strlen(numbered->value);
    if (is_expiring(record))
        record->expires_at = 4102444800000 + n; /* the year 2100 */
}

/* The bytes of records first to last, as the library encodes them. */
static struct bytes encode_range(unsigned first, unsigned last)
{
    struct bytes log = {NULL, 0};
    struct numbered numbered;
    unsigned n;

    for (n = first; n <= last; n++) {
        fill_record(&numbered, n);
        append_encoded(&log, &numbered.record);
    }
    return log;
}

static size_t size_of_range(unsigned first, unsigned last)
{
    struct bytes log = encode_range(first, last);
    size_t len = log.len;

    free_bytes(&log);
    return len;
}

static void append_record(wal_writer *writer, unsigned n)
{
    struct numbered numbered;
    wal_record record;

    fill_record(&numbered, n);
    record = numbered.record;
    record.lsn = 0;
    record.durable_lsn = 0;
    CHECK_OK(wal_append(writer, &record));
    CHECK_EQ(record.lsn, n);
    CHECK_EQ(record.durable_lsn, n - 1);
}

static void append_to_log(const char *path, unsigned first, unsigned last)
{
    wal_writer *writer;
    unsigned n;

    CHECK_OK(wal_open(path, &writer));
    for (n = first; n <= last; n++)
        append_record(writer, n);
    CHECK_OK(wal_close(writer));
}

static void check_file_is_range(const char *path, unsigned first, unsigned last)
{
    struct bytes wanted = encode_range(first, last);
    struct bytes found = read_file(path);

    CHECK_BYTES(found.data, found.len, wanted.data, wanted.len);
    free_bytes(&wanted);
    free_bytes(&found);
}

/* A wal_replay_fn: ctx is the number of the record that must come next. */
static int expect_next_record(void *ctx, const wal_record *record)
{
    unsigned *next = ctx;
    struct numbered wanted;

    fill_record(&wanted, *next);
    check_same_record(record, &wanted.record);
    *next += 1;
    return 0;
}

/* Replays a log that must yield the records behind after_lsn up to last; returns the report. */
static kv_recovery replay_through(const char *path, unsigned after_lsn, unsigned last, wal_replay_fn check)
{
    kv_recovery recovery = new_recovery();
    unsigned next = after_lsn + 1;

    CHECK_OK(wal_replay(path, after_lsn, check, &next, &recovery));
    CHECK_EQ(next, last + 1);
    CHECK_EQ(recovery.checkpoint_lsn, after_lsn);
    CHECK_EQ(recovery.records_replayed, last - after_lsn);
    CHECK_EQ(recovery.last_lsn, last);
    return recovery;
}

static void check_clean(const kv_recovery *recovery, size_t log_len)
{
    CHECK_EQ(recovery->verdict, KV_TAIL_CLEAN);
    CHECK_EQ(recovery->stop_offset, log_len);
    CHECK_EQ(recovery->bytes_quarantined, 0);
    CHECK_EQ(recovery->records_behind, 0);
}

static void append_discipline_file_size(void)
{
    char *dir = make_temp_dir();
    char *path = join_path(dir, "wal.log");
    size_t sum = 0;
    wal_writer *writer;
    unsigned n;

    CHECK_OK(wal_open(path, &writer));
    CHECK_EQ(file_size(path), 0);
    for (n = 1; n <= LOG_RECORDS; n++) {
        append_record(writer, n);
        sum += size_of_range(n, n);
        CHECK_EQ(file_size(path), sum);
    }
    CHECK_OK(wal_close(writer));
    CHECK_EQ(file_size(path), sum);
    check_file_is_range(path, 1, LOG_RECORDS);
    free(path);
    remove_temp_dir(dir);
}

/* A wal_replay_fn that has seen enough after three records. */
static int stop_after_three(void *ctx, const wal_record *record)
{
    unsigned *seen = ctx;

    (void)record;
    *seen += 1;
    return *seen == 3;
}

static void full_recovery_replay(void)
{
    char *dir = make_temp_dir();
    char *path = join_path(dir, "wal.log");
    size_t len = size_of_range(1, LOG_RECORDS);
    unsigned seen = 0;
    kv_recovery recovery;

    append_to_log(path, 1, LOG_RECORDS);
    recovery = replay_through(path, 0, LOG_RECORDS, expect_next_record);
    check_clean(&recovery, len);
    recovery = replay_through(path, 7, LOG_RECORDS, expect_next_record);
    check_clean(&recovery, len);
    recovery = replay_through(path, LOG_RECORDS, LOG_RECORDS, expect_next_record);
    check_clean(&recovery, len);
    CHECK_OK(wal_replay(path, 0, stop_after_three, &seen, NULL));
    CHECK_EQ(seen, 3);
    check_file_is_range(path, 1, LOG_RECORDS);

    append_to_log(path, LOG_RECORDS + 1, LOG_RECORDS + 1);
    recovery = replay_through(path, 0, LOG_RECORDS + 1, expect_next_record);
    check_clean(&recovery, size_of_range(1, LOG_RECORDS + 1));
    CHECK_EQ(quarantine_count(dir), 0);
    free(path);
    remove_temp_dir(dir);
}

enum { CORRUPT_RECORD = 15, GOOD_RECORDS = CORRUPT_RECORD - 1 };

/* Flips one bit in the last byte of a record, which is data: only the checksum can tell. */
static void corrupt_record(const char *path, unsigned n)
{
    struct bytes log = read_file(path);
    size_t at = size_of_range(1, n) - 1;
    uint8_t flipped = log.data[at] ^ 0x10;

    overwrite_file(path, at, &flipped, 1);
    free_bytes(&log);
}

/* wal_replay() reports the damage and changes nothing. */
static void check_replay_of_corrupt_log(const char *dir, const char *path)
{
    struct bytes before = read_file(path);
    kv_recovery recovery = replay_through(path, 0, GOOD_RECORDS, expect_next_record);
    struct bytes after = read_file(path);

    CHECK_EQ(recovery.verdict, KV_TAIL_DAMAGED); /* the records behind say that the 15th had been synced */
    CHECK_EQ(recovery.stop_offset, size_of_range(1, GOOD_RECORDS));
    CHECK_EQ(recovery.bytes_quarantined, size_of_range(CORRUPT_RECORD, LOG_RECORDS));
    CHECK_EQ(recovery.records_behind, LOG_RECORDS - CORRUPT_RECORD);
    CHECK_BYTES(after.data, after.len, before.data, before.len);
    CHECK_EQ(quarantine_count(dir), 0);
    free_bytes(&before);
    free_bytes(&after);
}

/* wal_open() keeps the good records and saves every byte behind them. */
static void check_open_of_corrupt_log(const char *dir, const char *path)
{
    struct bytes before = read_file(path);
    size_t good = size_of_range(1, GOOD_RECORDS);
    struct bytes saved = {NULL, 0};
    wal_writer *writer;

    CHECK_OK(wal_open(path, &writer));
    check_file_is_range(path, 1, GOOD_RECORDS);
    CHECK_EQ(read_quarantine(dir, &saved), 1);
    CHECK_BYTES(saved.data, saved.len, before.data + good, before.len - good);
    append_record(writer, CORRUPT_RECORD);
    CHECK_OK(wal_close(writer));
    check_file_is_range(path, 1, CORRUPT_RECORD);
    free_bytes(&before);
    free_bytes(&saved);
}

static void crash_recovery_corrupt_record(void)
{
    char *dir = make_temp_dir();
    char *path = join_path(dir, "wal.log");
    kv_recovery recovery;

    append_to_log(path, 1, LOG_RECORDS);
    corrupt_record(path, CORRUPT_RECORD);
    check_replay_of_corrupt_log(dir, path);
    check_open_of_corrupt_log(dir, path);
    recovery = replay_through(path, 0, CORRUPT_RECORD, expect_next_record);
    check_clean(&recovery, size_of_range(1, CORRUPT_RECORD));
    CHECK_EQ(quarantine_count(dir), 1);
    free(path);
    remove_temp_dir(dir);
}

/* ---- Test 6: the same records through a store ---- */

enum { CHECKPOINT_AT = 10, TTL_MS = 3600 * 1000 };

static kv_store *open_store(const char *dir)
{
    kv_store *store;

    CHECK_OK(kv_open(dir, NULL, &store));
    return store;
}

static void write_to_store(kv_store *store, unsigned first, unsigned last)
{
    struct numbered numbered;
    unsigned n;

    for (n = first; n <= last; n++) {
        const wal_record *r = &numbered.record;

        fill_record(&numbered, n);
        if (r->op == WAL_OP_DELETE)
            CHECK_OK(kv_del(store, r->key, r->key_len));
        else if (r->op == WAL_OP_PUT_EXPIRING)
            CHECK_OK(kv_set_ttl(store, r->key, r->key_len, r->value, r->value_len, TTL_MS));
        else
            CHECK_OK(kv_set(store, r->key, r->key_len, r->value, r->value_len));
    }
}

/* A kv_scan_fn: ctx is the struct bytes that takes "key=value;". */
static int append_pair(void *ctx, const void *key, size_t key_len, const void *value, size_t value_len)
{
    append_bytes(ctx, key, key_len);
    append_bytes(ctx, "=", 1);
    append_bytes(ctx, value, value_len);
    append_bytes(ctx, ";", 1);
    return 0;
}

static struct bytes store_contents(kv_store *store)
{
    struct bytes contents = {NULL, 0};

    CHECK_OK(kv_scan(store, NULL, 0, append_pair, &contents));
    return contents;
}

/* Twenty records, and perhaps a checkpoint after the tenth; returns what the store held before it was closed. */
static struct bytes fill_store(const char *dir, int with_checkpoint)
{
    kv_store *store = open_store(dir);
    struct bytes contents;

    write_to_store(store, 1, CHECKPOINT_AT);
    if (with_checkpoint)
        CHECK_OK(kv_checkpoint(store));
    write_to_store(store, CHECKPOINT_AT + 1, LOG_RECORDS);
    contents = store_contents(store);
    CHECK_OK(kv_close(store));
    return contents;
}

/* Opens a closed store, which must have been recovered from checkpoint_lsn onwards; returns its contents. */
static struct bytes reopen_store(const char *dir, unsigned checkpoint_lsn)
{
    kv_store *store = open_store(dir);
    kv_recovery recovery = recovery_report(store);
    struct bytes contents = store_contents(store);

    CHECK_EQ(recovery.verdict, KV_TAIL_CLEAN);
    CHECK_EQ(recovery.checkpoint_lsn, checkpoint_lsn);
    CHECK_EQ(recovery.records_replayed, LOG_RECORDS - checkpoint_lsn);
    CHECK_EQ(recovery.last_lsn, LOG_RECORDS);
    CHECK_OK(kv_close(store));
    return contents;
}

/* A wal_replay_fn as expect_next_record(), for records whose expiry depends on when they were written. */
static int expect_next_change(void *ctx, const wal_record *record)
{
    unsigned *next = ctx;
    struct numbered wanted;

    fill_record(&wanted, *next);
    check_same_change(record, &wanted.record);
    *next += 1;
    return 0;
}

/* Behind a checkpoint the log holds only what the checkpoint does not. */
static void check_log_after_checkpoint(const char *dir)
{
    char *path = join_path(dir, "wal.log");
    size_t len = size_of_range(CHECKPOINT_AT + 1, LOG_RECORDS);
    unsigned next = CHECKPOINT_AT;
    kv_recovery recovery;

    CHECK_EQ(file_size(path), len);
    recovery = replay_through(path, CHECKPOINT_AT, LOG_RECORDS, expect_next_change);
    check_clean(&recovery, len);
    /* Record 10 is asked for, and not there. */
    CHECK_CODE(wal_replay(path, CHECKPOINT_AT - 1, expect_next_change, &next, NULL), KV_CORRUPT);
    free(path);
}

static void checkpoint_and_partial_replay(void)
{
    char *dir = make_temp_dir();
    char *full_dir = join_path(dir, "full");
    char *partial_dir = join_path(dir, "partial");
    struct bytes written = fill_store(full_dir, 0);
    struct bytes written_partial = fill_store(partial_dir, 1);
    struct bytes full = reopen_store(full_dir, 0);
    struct bytes partial = reopen_store(partial_dir, CHECKPOINT_AT);

    CHECK(written.len > 0);
    CHECK_BYTES(written_partial.data, written_partial.len, written.data, written.len);
    CHECK_BYTES(full.data, full.len, written.data, written.len);
    CHECK_BYTES(partial.data, partial.len, written.data, written.len);
    check_log_after_checkpoint(partial_dir);
    free_bytes(&written);
    free_bytes(&written_partial);
    free_bytes(&full);
    free_bytes(&partial);
    free(full_dir);
    free(partial_dir);
    remove_temp_dir(dir);
}

static const struct test tests[] = {
    {"record codec round-trip", record_codec_round_trip},
    {"CRC corruption detection", crc_corruption_detection},
    {"append discipline file size", append_discipline_file_size},
    {"full recovery replay", full_recovery_replay},
    {"crash recovery (corrupt record)", crash_recovery_corrupt_record},
    {"checkpoint + partial replay", checkpoint_and_partial_replay},
};

int main(void)
{
    run_tests(tests, ARRAY_LEN(tests));
    printf("%zu/%zu tests passed\n", ARRAY_LEN(tests), ARRAY_LEN(tests));
    return EXIT_SUCCESS;
}
