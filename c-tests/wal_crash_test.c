/*
 * What a crash or a failing disk leaves behind, and what every way of reading a log makes of it.
 *
 * Each test damages the bytes of a small log and gives them to wal_replay(), to kv_open() with prefix recovery, once
 * with a write right behind it, and to kv_open() with strict recovery. Each must find the same records, and say so.
 */
#include "support.h"

enum {
    MAX_RECORDS = 8,
    LENGTH_AT = 4, /* in a record */
    LSN_AT = 8,
    DURABLE_LSN_AT = 16,
    ZEROED = 8, /* bytes that the disk lost inside record 3 */
    CUT = 10    /* bytes missing at the end */
};

/* ---- A map of one-byte keys and values, filled from records or from a store ---- */

struct map {
    char values[256]; /* 0: the key is not there */
};

static uint8_t only_byte(const void *bytes, size_t len)
{
    CHECK_EQ(len, 1);
    return *(const uint8_t *)bytes;
}

/* A wal_replay_fn. */
static int apply_record(void *ctx, const wal_record *record)
{
    struct map *map = ctx;
    uint8_t key = only_byte(record->key, record->key_len);
    int is_delete = (record->op & ~WAL_OP_BATCH) == WAL_OP_DELETE;

    map->values[key] = is_delete ? 0 : (char)only_byte(record->value, record->value_len);
    return 0;
}

/* A kv_scan_fn. */
static int add_pair(void *ctx, const void *key, size_t key_len, const void *value, size_t value_len)
{
    struct map *map = ctx;

    map->values[only_byte(key, key_len)] = (char)only_byte(value, value_len);
    return 0;
}

/* Compares with a text such as "a=1 c=3". */
static void check_map(const struct map *map, const char *wanted)
{
    char text[4 * 256 + 1] = "";
    size_t len = 0;
    int key;

    for (key = 0; key < 256; key++) {
        if (map->values[key] != 0)
            len += (size_t)sprintf(text + len, "%s%c=%c", len > 0 ? " " : "", key, map->values[key]);
    }
    if (strcmp(text, wanted) != 0)
        FAIL("the keys are '%s', not '%s'", text, wanted);
}

static void check_contents(kv_store *store, const char *wanted)
{
    struct map map = {{0}};

    CHECK_OK(kv_scan(store, NULL, 0, add_pair, &map));
    check_map(&map, wanted);
}

/* ---- A store directory that holds nothing but a log ---- */

struct planted {
    char *dir;
    char *log_path;
};

static struct planted plant(const struct bytes *log)
{
    struct planted planted;

    planted.dir = make_temp_dir();
    planted.log_path = join_path(planted.dir, "wal.log");
    write_file(planted.log_path, log->data, log->len);
    return planted;
}

static void uproot(struct planted *planted)
{
    free(planted->log_path);
    remove_temp_dir(planted->dir);
}

static void check_log_file(const struct planted *planted, const uint8_t *wanted, size_t wanted_len)
{
    struct bytes found = read_file(planted->log_path);

    CHECK_BYTES(found.data, found.len, wanted, wanted_len);
    free_bytes(&found);
}

/* ---- The logs that are damaged ---- */

struct log {
    struct bytes bytes;
    size_t start[MAX_RECORDS + 1]; /* of each record, and the end of the last one */
    unsigned records;
};

static void set(kv_store *store, char key, char value)
{
    CHECK_OK(kv_set(store, &key, 1, &value, 1));
}

static void del(kv_store *store, char key)
{
    CHECK_OK(kv_del(store, &key, 1));
}

static void write_single_records(kv_store *store)
{
    set(store, 'a', '1');
    set(store, 'b', '2');
    set(store, 'c', '3');
    del(store, 'b');
    set(store, 'd', '4');
}

static void write_batch(kv_store *store)
{
    kv_batch *batch = kv_batch_new();

    CHECK(batch != NULL);
    CHECK_OK(kv_batch_set(batch, "b", 1, "2", 1));
    CHECK_OK(kv_batch_del(batch, "a", 1));
    CHECK_OK(kv_batch_set(batch, "c", 1, "3", 1));
    CHECK_OK(kv_write(store, batch));
    kv_batch_free(batch);
}

static void write_batch_last(kv_store *store)
{
    set(store, 'a', '1');
    write_batch(store);
}

static void write_batch_in_the_middle(kv_store *store)
{
    write_batch_last(store);
    set(store, 'd', '4');
}

static void find_records(struct log *log)
{
    size_t at = 0;

    for (log->records = 0; at < log->bytes.len; log->records++) {
        CHECK(log->records < MAX_RECORDS);
        log->start[log->records] = at;
        at += get_be32(log->bytes.data + at + LENGTH_AT);
    }
    CHECK_EQ(at, log->bytes.len);
    log->start[log->records] = at;
}

/* The log of a store that was written to and closed. */
static struct log make_log(void (*write)(kv_store *store), unsigned records)
{
    char *dir = make_temp_dir();
    char *log_path = join_path(dir, "wal.log");
    struct log log;
    kv_store *store;

    CHECK_OK(kv_open(dir, NULL, &store));
    write(store);
    CHECK_OK(kv_close(store));
    log.bytes = read_file(log_path);
    find_records(&log);
    CHECK_EQ(log.records, records);
    free(log_path);
    remove_temp_dir(dir);
    return log;
}

static struct log make_single_records(void)
{
    return make_log(write_single_records, 5);
}

/* Record numbers are those of the issue and of the LSNs: the first is 1. */
static uint8_t *record_at(const struct log *log, unsigned number)
{
    return log->bytes.data + log->start[number - 1];
}

static size_t record_len(const struct log *log, unsigned number)
{
    return log->start[number] - log->start[number - 1];
}

/* ---- What must be found in a damaged log, by each way of reading it ---- */

struct outcome {
    unsigned records;   /* before the damage */
    const char *keys;   /* what these records leave */
    int verdict;        /* KV_TAIL_... */
    unsigned behind;    /* valid records behind the damage */
};

static size_t good_len(const struct log *log, const struct outcome *outcome)
{
    return log->start[outcome->records];
}

static size_t bad_len(const struct log *log, const struct outcome *outcome)
{
    return outcome->verdict == KV_TAIL_CLEAN ? 0 : log->bytes.len - good_len(log, outcome);
}

static void check_report(const kv_recovery *report, const struct log *log, const struct outcome *outcome)
{
    CHECK_EQ(report->verdict, outcome->verdict);
    CHECK_EQ(report->checkpoint_lsn, 0);
    CHECK_EQ(report->last_lsn, outcome->records);
    CHECK_EQ(report->records_replayed, outcome->records);
    CHECK_EQ(report->stop_offset, good_len(log, outcome));
    CHECK_EQ(report->bytes_quarantined, bad_len(log, outcome));
    CHECK_EQ(report->records_behind, outcome->behind);
}

static void check_quarantine(const char *dir, const struct log *log, const struct outcome *outcome)
{
    struct bytes saved = {NULL, 0};
    size_t files = read_quarantine(dir, &saved);

    CHECK_EQ(files, outcome->verdict == KV_TAIL_CLEAN ? 0 : 1);
    CHECK_BYTES(saved.data, saved.len, log->bytes.data + good_len(log, outcome), bad_len(log, outcome));
    free_bytes(&saved);
}

/* A refused or read-only look at a log leaves every byte where it was. */
static void check_untouched(const struct planted *planted, const struct log *log)
{
    check_log_file(planted, log->bytes.data, log->bytes.len);
    CHECK_EQ(quarantine_count(planted->dir), 0);
}

static void check_replay(const struct log *log, const struct outcome *outcome)
{
    struct planted planted = plant(&log->bytes);
    kv_recovery report = new_recovery();
    struct map map = {{0}};

    CHECK_OK(wal_replay(planted.log_path, 0, apply_record, &map, &report));
    check_map(&map, outcome->keys);
    check_report(&report, log, outcome);
    check_untouched(&planted, log);
    uproot(&planted);
}

static kv_store *open_store(const char *dir, int recovery)
{
    kv_options options;
    kv_store *store;

    kv_options_init(&options);
    options.recovery = recovery;
    CHECK_OK(kv_open(dir, &options, &store));
    return store;
}

/* The next open finds nothing left to repair. */
static void check_reopens_clean(const struct planted *planted, unsigned last_lsn, const char *keys)
{
    size_t quarantined = quarantine_count(planted->dir);
    kv_store *store = open_store(planted->dir, KV_RECOVER_STRICT);
    kv_recovery report = recovery_report(store);

    CHECK_EQ(report.verdict, KV_TAIL_CLEAN);
    CHECK_EQ(report.last_lsn, last_lsn);
    check_contents(store, keys);
    CHECK_OK(kv_close(store));
    CHECK_EQ(quarantine_count(planted->dir), quarantined);
}

static void check_open(const struct log *log, const struct outcome *outcome, int recovery)
{
    struct planted planted = plant(&log->bytes);
    kv_store *store = open_store(planted.dir, recovery);
    kv_recovery report = recovery_report(store);

    check_report(&report, log, outcome);
    check_contents(store, outcome->keys);
    check_quarantine(planted.dir, log, outcome);
    CHECK_OK(kv_close(store));
    check_log_file(&planted, log->bytes.data, good_len(log, outcome));
    check_reopens_clean(&planted, outcome->records, outcome->keys);
    uproot(&planted);
}

/* The log of planted is the good records of log and one more. */
static void check_log_grew_by_one(const struct planted *planted, const struct log *log, const struct outcome *outcome)
{
    struct bytes found = read_file(planted->log_path);
    size_t good = good_len(log, outcome);
    wal_record added;
    size_t added_len;

    CHECK(found.len > good);
    CHECK_BYTES(found.data, good, log->bytes.data, good);
    CHECK_OK(wal_record_decode(found.data + good, found.len - good, &added, &added_len));
    CHECK_EQ(added_len, found.len - good);
    CHECK_EQ(added.lsn, outcome->records + 1);
    CHECK_EQ(added.durable_lsn, outcome->records); /* recovery has made the records before it durable */
    free_bytes(&found);
}

static void check_write_after_open(const struct log *log, const struct outcome *outcome)
{
    struct planted planted = plant(&log->bytes);
    kv_store *store = open_store(planted.dir, KV_RECOVER_PREFIX);
    char keys[64];

    set(store, 'z', '9');
    CHECK_OK(kv_close(store));
    check_log_grew_by_one(&planted, log, outcome);
    snprintf(keys, sizeof keys, "%s%sz=9", outcome->keys, outcome->keys[0] != '\0' ? " " : "");
    check_reopens_clean(&planted, outcome->records + 1, keys);
    uproot(&planted);
}

/* Acknowledged data was damaged: strict recovery refuses, and leaves everything to a prefix recovery. */
static void check_strict_refusal(const struct log *log, const struct outcome *outcome)
{
    struct planted planted = plant(&log->bytes);
    kv_options options;
    kv_store *store;

    kv_options_init(&options);
    options.recovery = KV_RECOVER_STRICT;
    CHECK_CODE(kv_open(planted.dir, &options, &store), KV_CORRUPT);
    CHECK(store == NULL);
    CHECK(strstr(kv_errmsg(), "wal.log") != NULL);
    check_untouched(&planted, log);

    store = open_store(planted.dir, KV_RECOVER_PREFIX);
    check_contents(store, outcome->keys);
    CHECK_OK(kv_close(store));
    check_quarantine(planted.dir, log, outcome);
    uproot(&planted);
}

static void check_every_reader(const struct log *log, struct outcome outcome)
{
    check_replay(log, &outcome);
    check_open(log, &outcome, KV_RECOVER_PREFIX);
    check_write_after_open(log, &outcome);
    if (outcome.verdict == KV_TAIL_DAMAGED)
        check_strict_refusal(log, &outcome);
    else
        check_open(log, &outcome, KV_RECOVER_STRICT);
}

/* ---- The scenario of issue 2: a=1, b=2, c=3, b deleted, d=4 ---- */

static const struct outcome first_four = {4, "a=1 c=3", KV_TAIL_TORN, 0};
/* Records 4 and 5 are whole, and say that record 3 had been synced. */
static const struct outcome first_two = {2, "a=1 b=2", KV_TAIL_DAMAGED, 2};

static void undamaged(void)
{
    struct log log = make_single_records();
    unsigned number;

    for (number = 1; number <= log.records; number++) {
        CHECK_EQ(get_be64(record_at(&log, number) + LSN_AT), number);
        CHECK_EQ(get_be64(record_at(&log, number) + DURABLE_LSN_AT), number - 1);
    }
    check_every_reader(&log, (struct outcome){5, "a=1 c=3 d=4", KV_TAIL_CLEAN, 0});
    free_bytes(&log.bytes);
}

static void garbage_in_record_5(void)
{
    struct log log = make_single_records();

    memset(record_at(&log, 5), 0xA5, record_len(&log, 5));
    check_every_reader(&log, first_four);
    free_bytes(&log.bytes);
}

static void zeros_inside_record_3(void)
{
    struct log log = make_single_records();

    memset(record_at(&log, 3) + (record_len(&log, 3) - ZEROED) / 2, 0, ZEROED);
    check_every_reader(&log, first_two);
    free_bytes(&log.bytes);
}

static void truncated_tail(void)
{
    struct log log = make_single_records();

    log.bytes.len -= CUT;
    check_every_reader(&log, first_four);
    free_bytes(&log.bytes);
}

/* ---- More damage to the same log ---- */

/* Also over the length and over the whole header, where nothing tells any more how long the record was. */
static void zeros_anywhere_inside_record_3(void)
{
    struct log log = make_single_records();
    size_t len = record_len(&log, 3);
    uint8_t *intact = must_alloc(len);
    size_t at;

    memcpy(intact, record_at(&log, 3), len);
    for (at = 0; at + ZEROED <= len; at++) {
        memset(record_at(&log, 3) + at, 0, ZEROED);
        check_replay(&log, &first_two);
        memcpy(record_at(&log, 3), intact, len);
    }
    memset(record_at(&log, 3), 0, ZEROED);
    check_every_reader(&log, first_two);
    free(intact);
    free_bytes(&log.bytes);
}

static void truncated_at_every_byte(void)
{
    static const char *const keys[] = {"", "a=1", "a=1 b=2", "a=1 b=2 c=3", "a=1 c=3"};
    struct log log = make_single_records();

    while (log.bytes.len > 0) {
        struct outcome outcome = {log.records, NULL, KV_TAIL_TORN, 0};

        log.bytes.len--;
        while (log.start[outcome.records] > log.bytes.len)
            outcome.records--;
        outcome.keys = keys[outcome.records];
        if (log.start[outcome.records] == log.bytes.len)
            outcome.verdict = KV_TAIL_CLEAN;
        check_replay(&log, &outcome);
    }
    free_bytes(&log.bytes);
}

static void truncated_header(void)
{
    struct log log = make_single_records();

    log.bytes.len = log.start[4] + 5;
    check_every_reader(&log, first_four);
    free_bytes(&log.bytes);
}

/* A length far beyond the file, and one too short for any record, must neither be believed nor allocated. */
static void bad_length(void)
{
    struct log log = make_single_records();
    size_t i;
    static const uint8_t lengths[][4] = {{0xFF, 0xFF, 0xFF, 0xFF}, {0x40, 0, 0, 0}, {0, 0, 0, 0}, {0, 0, 0, 32}};

    for (i = 0; i < ARRAY_LEN(lengths); i++) {
        memcpy(record_at(&log, 5) + LENGTH_AT, lengths[i], 4);
        check_replay(&log, &first_four);
    }
    check_every_reader(&log, first_four);

    memcpy(record_at(&log, 5) + LENGTH_AT, lengths[0], 4);
    check_every_reader(&log, first_four);
    free_bytes(&log.bytes);
}

static void bad_first_record(void)
{
    struct log log = make_single_records();

    record_at(&log, 1)[LSN_AT] ^= 1;
    check_every_reader(&log, (struct outcome){0, "", KV_TAIL_DAMAGED, 4});
    free_bytes(&log.bytes);
}

/* Space that was allocated ahead of the records is no damage, whether or not a record's header would fit into it. */
static void zeros_behind_the_last_record(void)
{
    static const size_t counts[] = {1, 7, 8, 33, 4096, 70000};
    static const uint8_t zeros[70000];
    const struct outcome all = {5, "a=1 c=3 d=4", KV_TAIL_CLEAN, 0};
    size_t i;

    for (i = 0; i < ARRAY_LEN(counts); i++) {
        struct log log = make_single_records();
        append_bytes(&log.bytes, zeros, counts[i]);
        check_every_reader(&log, all);
        free_bytes(&log.bytes);
    }
}

/* What was not zero is saved; whether the allocated zeros are saved with it is left open. */
static void check_quarantine_up_to_zeros(const char *dir, const uint8_t *wanted, size_t wanted_len)
{
    struct bytes saved = {NULL, 0};
    size_t at;

    CHECK_EQ(read_quarantine(dir, &saved), 1);
    CHECK(saved.len >= wanted_len);
    CHECK_BYTES(saved.data, wanted_len, wanted, wanted_len);
    for (at = wanted_len; at < saved.len; at++)
        CHECK_EQ(saved.data[at], 0);
    free_bytes(&saved);
}

/* As a power cut leaves the log of a store that was open: a torn write, and then the zeros ahead. */
static void torn_record_before_allocated_zeros(void)
{
    static const uint8_t zeros[70000];
    struct log log = make_single_records();
    struct planted planted;
    kv_recovery report;
    kv_store *store;

    memset(record_at(&log, 5), 0xA5, record_len(&log, 5));
    append_bytes(&log.bytes, zeros, sizeof zeros);
    planted = plant(&log.bytes);
    store = open_store(planted.dir, KV_RECOVER_STRICT);
    report = recovery_report(store);
    CHECK_EQ(report.verdict, KV_TAIL_TORN);
    CHECK_EQ(report.stop_offset, good_len(&log, &first_four));
    check_contents(store, first_four.keys);
    CHECK_OK(kv_close(store));
    check_log_file(&planted, log.bytes.data, good_len(&log, &first_four));
    check_quarantine_up_to_zeros(planted.dir, record_at(&log, 5), record_len(&log, 5));
    check_reopens_clean(&planted, first_four.records, first_four.keys);
    uproot(&planted);
    free_bytes(&log.bytes);
}

/* ---- Batches are whole or absent: a=1, then the batch b=2, a deleted, c=3 ---- */

static const struct outcome before_batch = {1, "a=1", KV_TAIL_TORN, 0};

static void batch_undamaged(void)
{
    struct log log = make_log(write_batch_last, 4);

    check_every_reader(&log, (struct outcome){4, "b=2 c=3", KV_TAIL_CLEAN, 0});
    free_bytes(&log.bytes);
}

static void batch_missing_last_record(void)
{
    struct log log = make_log(write_batch_last, 4);

    log.bytes.len = log.start[3];
    check_every_reader(&log, before_batch);
    free_bytes(&log.bytes);
}

static void batch_truncated_last_record(void)
{
    struct log log = make_log(write_batch_last, 4);

    log.bytes.len -= 1;
    check_every_reader(&log, before_batch);
    free_bytes(&log.bytes);
}

static void batch_bad_last_record(void)
{
    struct log log = make_log(write_batch_last, 4);

    log.bytes.data[log.bytes.len - 1] ^= 0x80;
    check_every_reader(&log, before_batch);
    free_bytes(&log.bytes);
}

/* Valid records behind the bad one alone prove nothing: they were written together, and none says it was synced. */
static void batch_bad_first_record(void)
{
    struct log log = make_log(write_batch_last, 4);

    record_at(&log, 2)[LSN_AT] ^= 0x80;
    check_every_reader(&log, (struct outcome){1, "a=1", KV_TAIL_TORN, 2});
    free_bytes(&log.bytes);
}

/* The write behind the batch says that the batch had been synced. */
static void batch_damaged_before_a_later_write(void)
{
    struct log log = make_log(write_batch_in_the_middle, 5);

    record_at(&log, 4)[record_len(&log, 4) - 1] ^= 0x80;
    check_every_reader(&log, (struct outcome){1, "a=1", KV_TAIL_DAMAGED, 1});
    free_bytes(&log.bytes);
}

static const struct test tests[] = {
    {"undamaged", undamaged},
    {"garbage in record 5", garbage_in_record_5},
    {"8 zero bytes inside record 3", zeros_inside_record_3},
    {"10 bytes cut from the end", truncated_tail},
    {"8 zero bytes anywhere inside record 3", zeros_anywhere_inside_record_3},
    {"truncated at every byte", truncated_at_every_byte},
    {"truncated header", truncated_header},
    {"bad length", bad_length},
    {"bad first record", bad_first_record},
    {"zeros behind the last record", zeros_behind_the_last_record},
    {"torn record before allocated zeros", torn_record_before_allocated_zeros},
    {"batch undamaged", batch_undamaged},
    {"batch missing its last record", batch_missing_last_record},
    {"batch with a truncated last record", batch_truncated_last_record},
    {"batch with a bad last record", batch_bad_last_record},
    {"batch with a bad first record", batch_bad_first_record},
    {"batch damaged before a later write", batch_damaged_before_a_later_write},
};

int main(void)
{
    run_tests(tests, ARRAY_LEN(tests));
    printf("%zu/%zu tests passed\n", ARRAY_LEN(tests), ARRAY_LEN(tests));
    return EXIT_SUCCESS;
}
