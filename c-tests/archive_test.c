/*
 * Archives, which keep the logs that checkpoints retire, and what is restored from them: the store as of every record and
 * at any time, each code that kv_restore() and kv_open() promise, and an archive that is elsewhere, cannot be written, or
 * belongs to somebody else.
 */
#include "support.h"

#include <pthread.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>

enum { KEYS = 7, MOST_RECORDS = 200, ABSENT = -1 };

static char *dir, *store_dir, *archive_dir, *dest_dir, *backup_dir;

static void make_dirs(void)
{
    dir = make_temp_dir();
    store_dir = join_path(dir, "store");
    archive_dir = join_path(dir, "archive");
    dest_dir = join_path(dir, "restored");
    backup_dir = join_path(dir, "backup");
}

static void remove_dirs(void)
{
    free(store_dir);
    free(archive_dir);
    free(dest_dir);
    free(backup_dir);
    remove_temp_dir(dir);
}

/* Small writes, so that what a file-size limit lets through can be told. */
static kv_options with_archive(const char *archive)
{
    kv_options options;

    kv_options_init(&options);
    options.archive_dir = archive;
    options.preallocate = UINT64_MAX;
    options.checkpoint_wal_bytes = UINT64_MAX;
    return options;
}

static int try_open(const char *path, const char *archive, kv_store **store)
{
    kv_options options = with_archive(archive);

    return kv_open(path, &options, store);
}

static kv_store *open_store(const char *path, const char *archive)
{
    kv_store *store;

    CHECK_OK(try_open(path, archive, &store));
    return store;
}

/* ---- What the store held after each of its records ---- */

struct state {
    int values[KEYS];
};

/* Of the records 0 to last; one that does not end a batch has the state before the batch, and its LSN. */
struct history {
    struct state states[MOST_RECORDS];
    uint64_t as_of[MOST_RECORDS];
    uint64_t last;
};

static void begin_history(struct history *history)
{
    memset(history, 0, sizeof *history);
    for (int key = 0; key < KEYS; key++)
        history->states[0].values[key] = ABSENT;
}

static size_t key_name(int key, char name[8])
{
    return (size_t)sprintf(name, "key%d", key);
}

/* The value of a key is a number, with a length of its own. */
static size_t value_bytes(int number, char value[300])
{
    size_t len = sizeof number + (size_t)number * 37 % 200;

    memset(value, number, len);
    memcpy(value, &number, sizeof number);
    return len;
}

static void note(struct history *history, const struct state *state, uint64_t records)
{
    uint64_t before = history->last;

    CHECK(before + records < MOST_RECORDS);
    for (uint64_t lsn = before + 1; lsn <= before + records; lsn++) {
        history->states[lsn] = lsn < before + records ? history->states[before] : *state;
        history->as_of[lsn] = lsn < before + records ? before : lsn;
    }
    history->last += records;
}

static void set(struct history *history, kv_store *store, int key)
{
    struct state state = history->states[history->last];
    char name[8], value[300];
    int number = (int)history->last + 1;

    CHECK_OK(kv_set(store, name, key_name(key, name), value, value_bytes(number, value)));
    state.values[key] = number;
    note(history, &state, 1);
}

/* Deletes a key, and sets all others. */
static void write_batch(struct history *history, kv_store *store, int deleted)
{
    struct state state = history->states[history->last];
    kv_batch *batch = kv_batch_new();
    char name[8], value[300];
    int number = (int)history->last + 1;

    CHECK_OK(kv_batch_del(batch, name, key_name(deleted, name)));
    state.values[deleted] = ABSENT;
    for (int key = 0; key < KEYS; key++) {
        if (key != deleted) {
            CHECK_OK(kv_batch_set(batch, name, key_name(key, name), value, value_bytes(number, value)));
            state.values[key] = number;
        }
    }
    CHECK_OK(kv_write(store, batch));
    kv_batch_free(batch);
    note(history, &state, KEYS);
    CHECK_EQ(store_stats(store).last_lsn, history->last);
}

static void check_state(kv_store *store, const struct state *state)
{
    char name[8], value[300];
    uint64_t keys = 0;
    void *found;
    size_t len;

    for (int key = 0; key < KEYS; key++) {
        int result = kv_get(store, name, key_name(key, name), &found, &len);
        if (state->values[key] == ABSENT) {
            CHECK_EQ(result, KV_NOT_FOUND);
        } else {
            CHECK_OK(result);
            CHECK_BYTES(found, len, value, value_bytes(state->values[key], value));
            keys++;
        }
        kv_free(found);
    }
    CHECK_EQ(store_stats(store).keys, keys);
}

/* ---- Restoring ---- */

static kv_restore_options from(const char *backup, const char *archive, const char *store)
{
    kv_restore_options options;

    memset(&options, 0, sizeof options);
    options.struct_size = sizeof options;
    options.backup_dir = backup;
    options.archive_dir = archive;
    options.store_dir = store;
    return options;
}

static kv_restore_options until(kv_restore_options options, uint64_t lsn)
{
    options.until_lsn = lsn;
    return options;
}

static kv_restore_options until_ms(kv_restore_options options, uint64_t ms)
{
    options.until_ms = ms;
    return options;
}

/* Restores, checks that it is the store as of the record `lsn` and goes on from there, and removes it again. */
static kv_restored check_restores(kv_restore_options options, const struct history *history, uint64_t lsn)
{
    kv_restored restored;
    kv_store *store;

    memset(&restored, 0xff, sizeof restored);
    restored.struct_size = sizeof restored;
    CHECK_OK(kv_restore(dest_dir, &options, &restored));
    CHECK_EQ(restored.last_lsn, history->as_of[lsn]);
    CHECK_EQ(restored.records, restored.last_lsn - restored.checkpoint_lsn);
    CHECK_EQ(restored.noted_ms != 0, options.until_ms != 0);
    CHECK_OK(kv_open(dest_dir, NULL, &store));
    CHECK_EQ(recovery_report(store).verdict, KV_TAIL_CLEAN);
    CHECK_EQ(store_stats(store).last_lsn, restored.last_lsn);
    check_state(store, &history->states[lsn]);
    CHECK_OK(kv_set(store, "more", 4, "", 0));
    CHECK_EQ(store_stats(store).last_lsn, restored.last_lsn + 1);
    CHECK_OK(kv_close(store));
    remove_tree(dest_dir);
    return restored;
}

static void check_restores_all(kv_restore_options options, const struct history *history, uint64_t first)
{
    for (uint64_t lsn = first; lsn <= history->last; lsn++)
        check_restores(until(options, lsn), history, lsn);
    check_restores(options, history, history->last);
}

/* As many as tell whether a log is missing: each takes the disk some time. */
static void check_restores_some(kv_restore_options options, const struct history *history)
{
    for (uint64_t lsn = 1; lsn <= history->last; lsn += 9)
        check_restores(until(options, lsn), history, lsn);
    check_restores(options, history, history->last);
}

/* Restoring is refused, in words that have `what` in them, and leaves nothing behind. */
#define CHECK_REFUSED(options, expected, what) check_refused(__LINE__, options, expected, what)

static void check_refused(int line, kv_restore_options options, int expected, const char *what)
{
    kv_restored restored = {.struct_size = sizeof restored, .last_lsn = 7, .noted_ms = 7};
    int result = kv_restore(dest_dir, &options, &restored);

    if (result != expected || strstr(kv_errmsg(), what) == NULL)
        check_failed(__FILE__, line, "%d (%s): %s", result, kv_strerror(result), kv_errmsg());
    CHECK(restored.last_lsn == 0 && restored.noted_ms == 0);
    CHECK(!path_exists(dest_dir));
}

/* The files in the archive that hold logs, in order; returns how many. */
static int list_kept(char *kept[], int most)
{
    struct dirent **entries;
    int found = scandir(archive_dir, &entries, not_dot, alphasort), count = 0;

    CHECK_SYS(found >= 0);
    for (int i = 0; i < found; i++) {
        if (strncmp(entries[i]->d_name, "wal-", 4) == 0) {
            CHECK(count < most);
            kept[count++] = join_path(archive_dir, entries[i]->d_name);
        }
        free(entries[i]);
    }
    free(entries);
    return count;
}

static void free_kept(char *kept[], int count)
{
    for (int i = 0; i < count; i++)
        free(kept[i]);
}

/* Records 1 to 12, 13 to 20 and 21 in the archive, one backup as of 20, and a few records in the store's log. */
enum { FIRST_CHECKPOINT = 12, BACKED_UP = 20, ARCHIVED = 21 };

static kv_store *fill(struct history *history)
{
    begin_history(history);
    kv_store *store = open_store(store_dir, archive_dir);
    for (int key = 0; key < 5; key++)
        set(history, store, key);
    write_batch(history, store, 2);
    CHECK_EQ(history->last, FIRST_CHECKPOINT);
    CHECK_OK(kv_checkpoint(store));
    set(history, store, 2);
    write_batch(history, store, 0);
    CHECK_OK(kv_checkpoint(store));
    CHECK_EQ(history->last, BACKED_UP);
    CHECK_OK(kv_backup(store, backup_dir));
    set(history, store, 3);
    CHECK_OK(kv_checkpoint(store));
    CHECK_EQ(history->last, ARCHIVED);
    set(history, store, 3);
    write_batch(history, store, 5);
    CHECK_EQ(store_stats(store).checkpoints, 3);
    CHECK_EQ(store_stats(store).checkpoints_failed, 0);
    return store;
}

static void test_every_record(void)
{
    struct history history;

    make_dirs();
    kv_store *store = fill(&history);
    /* All are only read, and may be in use. The last write, which is a batch, nothing in the store's files proves durable yet. */
    kv_restored beside = check_restores(from(NULL, NULL, store_dir), &history, history.last - KEYS);
    CHECK_EQ(beside.checkpoint_lsn, ARCHIVED);
    CHECK_OK(kv_close(store));
    check_restores_all(from(NULL, archive_dir, store_dir), &history, 1);
    check_restores_all(from(backup_dir, archive_dir, store_dir), &history, BACKED_UP);
    CHECK_EQ(check_restores(from(backup_dir, NULL, NULL), &history, BACKED_UP).records, 0);
    CHECK_EQ(check_restores(from(NULL, NULL, store_dir), &history, history.last).checkpoint_lsn, ARCHIVED);
    CHECK_EQ(check_restores(from(NULL, archive_dir, NULL), &history, ARCHIVED).checkpoint_lsn, 0);
    CHECK_EQ(check_restores(from(backup_dir, archive_dir, NULL), &history, ARCHIVED).checkpoint_lsn, BACKED_UP);

    /* The archive goes on when the store is opened again. */
    store = open_store(store_dir, archive_dir);
    set(&history, store, 6);
    CHECK_OK(kv_checkpoint(store));
    set(&history, store, 6);
    CHECK_OK(kv_close(store));
    check_restores_some(from(NULL, archive_dir, store_dir), &history);
    remove_dirs();
}

static void test_divided_batch(void)
{
    struct history history;

    make_dirs();
    CHECK_OK(kv_close(fill(&history)));
    /* 6 to 12 are a batch. */
    for (uint64_t lsn = 6; lsn < 12; lsn++)
        CHECK_EQ(check_restores(until(from(NULL, archive_dir, NULL), lsn), &history, lsn).last_lsn, 5);
    CHECK_EQ(check_restores(until(from(NULL, archive_dir, NULL), 12), &history, 12).last_lsn, 12);
    remove_dirs();
}

/* ---- Times ---- */

static uint64_t now_ms(void)
{
    struct timespec now;

    CHECK_SYS(clock_gettime(CLOCK_REALTIME, &now) == 0);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

/* The LSN of the last note in the archive: the last 8 of the 20 bytes of each. See docs/format.md. */
static uint64_t noted_lsn(void)
{
    struct dirent **entries;
    int count = scandir(archive_dir, &entries, not_dot, alphasort), i;
    struct bytes notes = {NULL, 0};

    CHECK_SYS(count >= 0);
    for (i = 0; i < count; i++) {
        if (strncmp(entries[i]->d_name, "times-", 6) == 0) {
            char *path = join_path(archive_dir, entries[i]->d_name);
            append_file(&notes, path);
            free(path);
        }
        free(entries[i]);
    }
    free(entries);
    uint64_t lsn = notes.len >= 20 ? get_be64(notes.data + notes.len / 20 * 20 - 8) : 0;
    free_bytes(&notes);
    return lsn;
}

static void test_times(void)
{
    enum { ROUNDS = 4 };
    struct history history;
    uint64_t times[ROUNDS], lsns[ROUNDS], began = now_ms();

    make_dirs();
    begin_history(&history);
    kv_store *store = open_store(store_dir, archive_dir);
    for (int round = 0; round < ROUNDS; round++) {
        set(&history, store, round);
        if (round == 2) {
            write_batch(&history, store, 1);
            CHECK_OK(kv_checkpoint(store));
        }
        while (noted_lsn() != history.last)
            usleep(1000);
        times[round] = now_ms();
        lsns[round] = history.last;
        /* The clock of the next note is another one for sure. */
        usleep(5000);
    }
    CHECK_OK(kv_close(store));
    for (int round = 0; round < ROUNDS; round++) {
        kv_restored restored =
            check_restores(until_ms(from(NULL, archive_dir, store_dir), times[round]), &history, lsns[round]);
        CHECK(restored.noted_ms >= (round == 0 ? began : times[round - 1]) && restored.noted_ms <= times[round]);
    }
    check_restores(until_ms(from(NULL, archive_dir, store_dir), UINT64_MAX), &history, history.last);
    CHECK_REFUSED(until_ms(from(NULL, archive_dir, store_dir), began - 1), KV_INVALID, "notes nothing from so early");
    CHECK_REFUSED(until_ms(from(NULL, NULL, store_dir), now_ms()), KV_INVALID, "only an archive knows times");
    remove_dirs();
}

/* ---- What is refused ---- */

static void test_invalid(void)
{
    struct history history;

    make_dirs();
    CHECK_OK(kv_close(fill(&history)));
    kv_restore_options all = from(NULL, archive_dir, store_dir), both = until(until_ms(all, 7), 7);
    CHECK_REFUSED(from(NULL, NULL, NULL), KV_INVALID, "nothing is given");
    CHECK_REFUSED(both, KV_INVALID, "both given");
    CHECK_REFUSED(until(all, history.last + 1), KV_INVALID, "the records end with LSN 29, before 30");
    CHECK_REFUSED(until(from(backup_dir, NULL, NULL), BACKED_UP - 1), KV_INVALID, "later than 19");

    /* Not into what holds something, be it a store, a file, or what is not ours. */
    char *other = join_path(dir, "other"), *kept = join_path(other, "kept");
    CHECK_SYS(mkdir(other, 0777) == 0);
    write_file(kept, "x", 1);
    CHECK_CODE(kv_restore(other, &all, NULL), KV_INVALID);
    CHECK(strstr(kv_errmsg(), other) != NULL);
    CHECK_CODE(kv_restore(kept, &all, NULL), KV_INVALID);
    CHECK_CODE(kv_restore(store_dir, &all, NULL), KV_INVALID);
    CHECK_CODE(kv_restore(archive_dir, &all, NULL), KV_INVALID);
    CHECK_EQ(file_size(kept), 1);
    check_restores(all, &history, history.last);
    /* An empty directory is a place for it. */
    CHECK_SYS(unlink(kept) == 0);
    CHECK_OK(kv_restore(other, &all, NULL));
    CHECK_OK(kv_close(open_store(other, NULL)));
    free(kept);
    free(other);
    remove_dirs();
}

static void test_missing_directories(void)
{
    struct history history;

    make_dirs();
    CHECK_OK(kv_close(fill(&history)));
    char *missing = join_path(dir, "missing"), *below = join_path(missing, "restored");
    CHECK_REFUSED(from(missing, archive_dir, store_dir), KV_IO, missing);
    CHECK_REFUSED(from(NULL, missing, store_dir), KV_IO, missing);
    CHECK_REFUSED(from(NULL, archive_dir, missing), KV_IO, missing);
    kv_restore_options all = from(NULL, archive_dir, store_dir);
    CHECK_CODE(kv_restore(below, &all, NULL), KV_IO);
    CHECK(strstr(kv_errmsg(), missing) != NULL);
    CHECK(!path_exists(missing));
    free(below);
    free(missing);
    remove_dirs();
}

static void test_gaps_and_damage(void)
{
    struct history history;
    char *kept[3];

    make_dirs();
    CHECK_OK(kv_close(fill(&history)));
    CHECK_EQ(list_kept(kept, 3), 3);
    struct bytes log = read_file(kept[1]);
    kv_restore_options archived = from(NULL, archive_dir, NULL), all = from(NULL, archive_dir, store_dir);

    CHECK_SYS(unlink(kept[1]) == 0);
    CHECK_REFUSED(archived, KV_CORRUPT, "the records 13 to 20 are missing");
    check_restores(until(archived, FIRST_CHECKPOINT), &history, FIRST_CHECKPOINT);
    /* The store's checkpoint spares what is missing, unless it is later than what is asked for. */
    check_restores(all, &history, history.last);
    CHECK_REFUSED(until(all, 15), KV_INVALID, "the records 13 to 20 are missing");

    for (size_t at = 0; at < log.len; at += 50) {
        log.data[at] ^= 4;
        write_file(kept[1], log.data, log.len);
        CHECK_REFUSED(archived, KV_CORRUPT, kept[1]);
        log.data[at] ^= 4;
    }
    write_file(kept[1], log.data, log.len - 1);
    CHECK_REFUSED(archived, KV_CORRUPT, kept[1]);
    check_restores(until(archived, FIRST_CHECKPOINT), &history, FIRST_CHECKPOINT);
    write_file(kept[1], log.data, log.len);
    check_restores(archived, &history, ARCHIVED);
    free_bytes(&log);
    free_kept(kept, 3);
    remove_dirs();
}

static void test_another_history(void)
{
    struct history history;

    make_dirs();
    CHECK_OK(kv_close(fill(&history)));
    kv_store *other = open_store(backup_dir, NULL);
    CHECK_OK(kv_set(other, "another", 7, "history", 7));
    CHECK_OK(kv_close(other));
    CHECK_REFUSED(from(backup_dir, archive_dir, NULL), KV_CORRUPT, "another history");
    remove_dirs();
}

static void limit_files(rlim_t bytes)
{
    struct rlimit limit;

    CHECK_SYS(getrlimit(RLIMIT_FSIZE, &limit) == 0);
    limit.rlim_cur = bytes;
    CHECK_SYS(setrlimit(RLIMIT_FSIZE, &limit) == 0);
}

static rlim_t file_limit(void)
{
    struct rlimit limit;

    CHECK_SYS(getrlimit(RLIMIT_FSIZE, &limit) == 0);
    return limit.rlim_cur;
}

static void test_no_space_for_what_is_restored(void)
{
    struct history history;
    rlim_t before = file_limit();

    make_dirs();
    CHECK_OK(kv_close(fill(&history)));
    /* Not enough for the checkpoint, and for the log alone. */
    limit_files(20);
    CHECK_REFUSED(from(NULL, archive_dir, store_dir), KV_NO_SPACE, dest_dir);
    CHECK_REFUSED(from(NULL, archive_dir, NULL), KV_NO_SPACE, dest_dir);
    limit_files(before);
    check_restores(from(NULL, archive_dir, store_dir), &history, history.last);
    remove_dirs();
}

static void test_arguments(void)
{
    struct history history;
    size_t small[3] = {2 * sizeof(size_t), 7, 7};

    make_dirs();
    CHECK_OK(kv_close(fill(&history)));
    kv_restore_options all = from(NULL, archive_dir, store_dir);
    kv_restored restored = {.struct_size = sizeof restored};
    CHECK_CODE(kv_restore(NULL, &all, &restored), KV_INVALID);
    CHECK_CODE(kv_restore("", &all, &restored), KV_INVALID);
    CHECK_CODE(kv_restore(dest_dir, NULL, &restored), KV_INVALID);
    CHECK(strstr(kv_errmsg(), "options is NULL") != NULL);
    size_t wrong[] = {0, sizeof(size_t) - 1, 4097};
    for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
        all.struct_size = wrong[i];
        CHECK_CODE(kv_restore(dest_dir, &all, NULL), KV_INVALID);
        CHECK(strstr(kv_errmsg(), "options->struct_size") != NULL);
        all.struct_size = sizeof all;
        restored.struct_size = wrong[i];
        CHECK_CODE(kv_restore(dest_dir, &all, &restored), KV_INVALID);
        CHECK(strstr(kv_errmsg(), "out->struct_size") != NULL);
        CHECK(!path_exists(dest_dir));
    }
    /* A program that knows fewer fields: of what is restored only the first, of the options no limits. */
    CHECK_OK(kv_restore(dest_dir, &all, (kv_restored *)small));
    CHECK(small[0] == 2 * sizeof(size_t) && small[1] == history.last && small[2] == 7);
    remove_tree(dest_dir);
    kv_restore_options older = until(until_ms(all, 1), 1);
    older.struct_size = offsetof(kv_restore_options, until_lsn);
    restored.struct_size = sizeof restored;
    CHECK_OK(kv_restore(dest_dir, &older, &restored));
    CHECK_EQ(restored.last_lsn, history.last);
    remove_tree(dest_dir);
    /* A program from before there were archives has none, whatever follows its options. */
    kv_options before = with_archive(dest_dir);
    kv_store *store;
    before.struct_size = offsetof(kv_options, archive_dir);
    CHECK_OK(kv_open(store_dir, &before, &store));
    CHECK_OK(kv_close(store));
    CHECK(!path_exists(dest_dir));
    remove_dirs();
}

static void test_opening(void)
{
    struct history history;
    kv_store *other = (kv_store *)&history;
    char pid[16];

    make_dirs();
    char *second = join_path(dir, "second"), *file = join_path(dir, "file"), *below = join_path(file, "archive");
    kv_store *store = fill(&history);
    /* In use, by this process; kv_errmsg() says where, and by whom. */
    CHECK_CODE(try_open(second, archive_dir, &other), KV_LOCKED);
    CHECK(other == NULL && strstr(kv_errmsg(), archive_dir) != NULL);
    sprintf(pid, "%d", (int)getpid());
    CHECK(strstr(kv_errmsg(), pid) != NULL);
    /* It was not opened, but it can be. */
    CHECK_OK(kv_close(open_store(second, NULL)));
    CHECK_OK(kv_close(store));

    CHECK_CODE(try_open(backup_dir, archive_dir, &other), KV_INVALID);
    CHECK(other == NULL && strstr(kv_errmsg(), archive_dir) != NULL);
    CHECK(strstr(kv_errmsg(), "keeps records up to LSN 21, but the store ends with 20") != NULL);
    CHECK(strstr(kv_errmsg(), "older copy") != NULL);
    CHECK_CODE(try_open(second, archive_dir, &other), KV_INVALID);
    /* Nobody holds the archive after that. */
    CHECK_OK(kv_close(open_store(store_dir, archive_dir)));

    write_file(file, "x", 1);
    CHECK_CODE(try_open(store_dir, file, &other), KV_IO);
    CHECK(strstr(kv_errmsg(), file) != NULL);
    CHECK_CODE(try_open(store_dir, below, &other), KV_IO);
    CHECK_CODE(try_open(store_dir, "", &other), KV_INVALID);
    CHECK_OK(kv_close(open_store(store_dir, archive_dir)));
    free(second);
    free(file);
    free(below);
    remove_dirs();
}

/* ---- Where the archive is, and what becomes of it ---- */

/* What the program's paths mean must not depend on where it goes later. */
static void test_relative_path(void)
{
    struct history history;
    char *before = getcwd(NULL, 0);

    make_dirs();
    begin_history(&history);
    CHECK_SYS(chdir(dir) == 0);
    char path[] = "archive";
    kv_store *store = open_store("store", path);
    memset(path, 'x', sizeof path - 1);
    CHECK_SYS(chdir("/") == 0);
    set(&history, store, 1);
    CHECK_OK(kv_checkpoint(store));
    CHECK_OK(kv_close(store));
    check_restores_some(from(NULL, archive_dir, NULL), &history);
    CHECK_SYS(chdir(before) == 0);
    free(before);
    remove_dirs();
}

static dev_t device_of(const char *path)
{
    struct stat status;

    CHECK_SYS(stat(path, &status) == 0);
    return status.st_dev;
}

/* Puts archive_dir on another file system; 0, and says so, if there is none at hand. */
static int move_archive(void)
{
    char elsewhere[] = "/dev/shm/kvwal-test-XXXXXX";

    if (access("/dev/shm", W_OK) != 0 || device_of("/dev/shm") == device_of(dir)) {
        printf("left out: /dev/shm is no other file system than %s, or may not be written... ", dir);
        return 0;
    }
    CHECK_SYS(mkdtemp(elsewhere) != NULL);
    free(archive_dir);
    archive_dir = strdup(elsewhere);
    CHECK(archive_dir != NULL);
    return 1;
}

static void test_another_file_system(void)
{
    struct history history;

    make_dirs();
    if (move_archive()) {
        CHECK_OK(kv_close(fill(&history)));
        check_restores_some(from(NULL, archive_dir, store_dir), &history);
        remove_tree(archive_dir);
    }
    remove_dirs();
}

static void check_named(const char *path)
{
    if (strstr(kv_errmsg(), path) == NULL)
        FAIL("%s is not named: %s", path, kv_errmsg());
}

/* A checkpoint that fails for the archive: it is counted, and reads and writes go on. */
static void check_checkpoint_fails(struct history *history, kv_store *store, int expected)
{
    kv_stats before = store_stats(store);

    CHECK_CODE(kv_checkpoint(store), expected);
    check_named(archive_dir);
    CHECK_EQ(store_stats(store).checkpoints_failed, before.checkpoints_failed + 1);
    CHECK_EQ(store_stats(store).checkpoints, before.checkpoints);
    set(history, store, 4);
    check_state(store, &history->states[history->last]);
}

/* It was healed: nothing is missing after the next checkpoint, and the one after that needs no log of the store's any more. */
static void check_heals(struct history *history, kv_store *store)
{
    kv_stats before = store_stats(store);

    CHECK_OK(kv_checkpoint(store));
    CHECK_EQ(store_stats(store).checkpoints_failed, before.checkpoints_failed);
    CHECK_EQ(store_stats(store).checkpoints, before.checkpoints + 1);
    CHECK_EQ(store_stats(store).checkpoint_lsn, history->last);
    set(history, store, 5);
    CHECK_OK(kv_close(store));
    check_restores_some(from(NULL, archive_dir, store_dir), history);
    store = open_store(store_dir, archive_dir);
    CHECK_OK(kv_checkpoint(store));
    CHECK_OK(kv_close(store));
    check_restores_some(from(NULL, archive_dir, NULL), history);
}

static void test_archive_is_gone(void)
{
    struct history history;

    make_dirs();
    char *aside = join_path(dir, "aside");
    kv_store *store = fill(&history);
    CHECK_SYS(rename(archive_dir, aside) == 0);
    check_checkpoint_fails(&history, store, KV_IO);
    check_checkpoint_fails(&history, store, KV_IO);
    write_file(archive_dir, "x", 1);
    check_checkpoint_fails(&history, store, KV_IO);
    CHECK_SYS(unlink(archive_dir) == 0);
    CHECK_SYS(rename(aside, archive_dir) == 0);
    check_heals(&history, store);
    free(aside);
    remove_dirs();
}

/* Closed and opened again in between: whoever opens it has the logs of two checkpoints to keep. */
static void test_archive_is_gone_when_closed(void)
{
    struct history history;

    make_dirs();
    char *aside = join_path(dir, "aside");
    kv_store *store = fill(&history);
    CHECK_SYS(rename(archive_dir, aside) == 0);
    check_checkpoint_fails(&history, store, KV_IO);
    CHECK_OK(kv_close(store));
    CHECK_SYS(rename(aside, archive_dir) == 0);
    check_restores_some(from(NULL, archive_dir, store_dir), &history);
    store = open_store(store_dir, archive_dir);
    check_state(store, &history.states[history.last]);
    set(&history, store, 1);
    check_heals(&history, store);
    free(aside);
    remove_dirs();
}

/* A limit for files that the checkpoint keeps and the log that is to be copied does not. */
static void test_archive_is_full(void)
{
    enum { SETS = 40 };
    struct history history;
    rlim_t before = file_limit();

    make_dirs();
    if (move_archive()) {
        begin_history(&history);
        kv_store *store = open_store(store_dir, archive_dir);
        for (int i = 0; i < SETS; i++)
            set(&history, store, 4);
        char *log = join_path(store_dir, "wal.log");
        limit_files(file_size(log) - 1);
        check_checkpoint_fails(&history, store, KV_NO_SPACE);
        limit_files(before);
        char *kept[1];
        CHECK_EQ(list_kept(kept, 1), 0);
        check_heals(&history, store);
        free(log);
        remove_tree(archive_dir);
    }
    remove_dirs();
}

/* ---- Processes and threads ---- */

/* In the child: no call reaches the archive, and it lives on until the parent has closed. */
static void be_a_child(kv_store *store, const int closed[2])
{
    char byte;

    /* So that a parent that fails ends the wait. */
    CHECK_SYS(close(closed[1]) == 0);
    CHECK_CODE(kv_set(store, "a", 1, "b", 1), KV_FORKED);
    CHECK_CODE(kv_checkpoint(store), KV_FORKED);
    CHECK_SYS(read(closed[0], &byte, 1) == 1);
    CHECK_CODE(kv_close(store), KV_FORKED);
    execlp("true", "true", (char *)NULL);
    FAIL("true cannot be run");
}

/* All names and all bytes in the archive but the notes, which go on in the parent. */
static struct bytes archived_bytes(void)
{
    struct bytes bytes = {NULL, 0};
    char *kept[8];
    int count = list_kept(kept, 8);

    for (int i = 0; i < count; i++) {
        append_bytes(&bytes, kept[i], strlen(kept[i]));
        append_file(&bytes, kept[i]);
    }
    free_kept(kept, count);
    return bytes;
}

static void test_fork(void)
{
    struct history history;
    int closed[2], status;

    make_dirs();
    kv_store *store = fill(&history);
    struct bytes before = archived_bytes();
    CHECK_SYS(pipe(closed) == 0);
    fflush(stdout);
    pid_t child = fork();
    CHECK_SYS(child >= 0);
    if (child == 0)
        be_a_child(store, closed);
    CHECK_OK(kv_close(store));
    uint64_t noted = noted_lsn();
    CHECK_EQ(noted, history.last);
    /* The child still has what it inherited open, but not the lock. */
    store = open_store(store_dir, archive_dir);
    CHECK_SYS(write(closed[1], "", 1) == 1);
    CHECK_SYS(waitpid(child, &status, 0) == child);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    struct bytes after = archived_bytes();
    CHECK_BYTES(after.data, after.len, before.data, before.len);
    /* Nor did the child's kv_close() give this one's lock away. */
    kv_store *other;
    CHECK_CODE(try_open(backup_dir, archive_dir, &other), KV_LOCKED);
    CHECK_OK(kv_checkpoint(store));
    CHECK_OK(kv_close(store));
    check_restores_some(from(NULL, archive_dir, NULL), &history);
    CHECK_SYS(close(closed[0]) == 0 && close(closed[1]) == 0);
    free_bytes(&before);
    free_bytes(&after);
    remove_dirs();
}

enum { WRITERS = 2, ROUNDS = 40, CHECKPOINTS = 5 };

struct writer {
    kv_store *store;
    char key;
};

/* Sets its key to 1, 2, 3, … and another one in the same batch. */
static void *count_up(void *argument)
{
    const struct writer *writer = argument;

    for (int number = 1; number <= ROUNDS; number++) {
        kv_batch *batch = kv_batch_new();
        char twin = (char)(writer->key + WRITERS);
        CHECK_OK(kv_batch_set(batch, &writer->key, 1, &number, sizeof number));
        CHECK_OK(kv_batch_set(batch, &twin, 1, &number, sizeof number));
        CHECK_OK(kv_write(writer->store, batch));
        kv_batch_free(batch);
    }
    return NULL;
}

static int number_of(kv_store *store, char key)
{
    int number = 0;
    size_t len;
    int result = kv_get_into(store, &key, 1, &number, sizeof number, &len);

    CHECK(result == KV_OK || result == KV_NOT_FOUND);
    return number;
}

/* Each writer has come to some number, with both keys of its batch, and together they have written `lsn` records. */
static void check_counted(uint64_t lsn)
{
    kv_restore_options options = until(from(NULL, archive_dir, NULL), lsn);
    uint64_t records = 0;

    CHECK_OK(kv_restore(dest_dir, &options, NULL));
    kv_store *store = open_store(dest_dir, NULL);
    for (char key = 0; key < WRITERS; key++) {
        CHECK_EQ(number_of(store, key), number_of(store, (char)(key + WRITERS)));
        records += 2 * (uint64_t)number_of(store, key);
    }
    CHECK_EQ(records, lsn / 2 * 2);
    CHECK_OK(kv_close(store));
    remove_tree(dest_dir);
}

static void test_checkpoints_beside_writers(void)
{
    pthread_t threads[WRITERS];
    struct writer writers[WRITERS];

    make_dirs();
    kv_store *store = open_store(store_dir, archive_dir);
    for (char i = 0; i < WRITERS; i++) {
        writers[(int)i] = (struct writer){store, i};
        CHECK(pthread_create(&threads[(int)i], NULL, count_up, &writers[(int)i]) == 0);
    }
    for (int i = 0; i < CHECKPOINTS; i++) {
        usleep(2000);
        CHECK_OK(kv_checkpoint(store));
    }
    for (int i = 0; i < WRITERS; i++)
        CHECK(pthread_join(threads[i], NULL) == 0);
    CHECK_OK(kv_checkpoint(store));
    CHECK_EQ(store_stats(store).last_lsn, 2 * WRITERS * ROUNDS);
    CHECK_EQ(store_stats(store).checkpoints_failed, 0);
    CHECK_OK(kv_close(store));
    for (uint64_t lsn = 1; lsn <= 2 * WRITERS * ROUNDS; lsn += 31)
        check_counted(lsn);
    check_counted(2 * WRITERS * ROUNDS);
    remove_dirs();
}

int main(int argc, char **argv)
{
    static const struct test tests[] = {
        {"checkpoints beside writers, all kept", test_checkpoints_beside_writers},
        {"every record can be restored", test_every_record},
        {"a batch that the limit divides is left out", test_divided_batch},
        {"times", test_times},
        {"what cannot be restored, and where to", test_invalid},
        {"directories that are not there", test_missing_directories},
        {"gaps and damage are named", test_gaps_and_damage},
        {"a backup that went its own way", test_another_history},
        {"no room for what is restored", test_no_space_for_what_is_restored},
        {"arguments, and older programs", test_arguments},
        {"whose archive it is", test_opening},
        {"a relative path stays what it was", test_relative_path},
        {"an archive on another file system", test_another_file_system},
        {"an archive that is gone for a while", test_archive_is_gone},
        {"an archive that is gone until the next open", test_archive_is_gone_when_closed},
        {"an archive that is full", test_archive_is_full},
        {"a forked child leaves the archive alone", test_fork},
    };
    /* For thread checkers, which are slow. */
    size_t count = argc > 1 && strcmp(argv[1], "threads") == 0 ? 1 : ARRAY_LEN(tests);

    run_tests(tests, count);
    printf("%zu/%zu tests passed\n", count, count);
    return 0;
}
