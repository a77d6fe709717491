/*
 * A full disk: full_test DIR SECONDS SEED, on a small file system of its own.
 *
 * Writers fill it up; a checkpoint, a new store and an open are tried on it; then room is made, and the same handle
 * goes on. Nothing acknowledged may be missing, and nothing refused may be there.
 */
#include "model.h"

enum { WRITERS = 4, BALLAST = 1 << 20 };

static struct {
    uint64_t rounds, sets, refused, checkpoints_refused, reopened;
} total;

/* ---- The rest of the disk ---- */

/* Leaves not a byte of room. */
static void take_all_room(const char *path)
{
    static const uint8_t bytes[64 << 10];
    size_t piece = sizeof bytes;
    int fd = open(path, O_WRONLY | O_CREAT | O_APPEND, 0666);

    CHECK_SYS(fd >= 0);
    while (piece > 0) {
        ssize_t written = write(fd, bytes, piece);

        CHECK_SYS(written > 0 || errno == ENOSPC);
        if (written <= 0)
            piece /= 2;
    }
    /* What is not allocated yet counts as free until it is. */
    CHECK_SYS(fsync(fd) == 0);
    CHECK_SYS(close(fd) == 0);
}

static void make_ballast(const char *path)
{
    int fd = open(path, O_WRONLY | O_CREAT, 0666);

    CHECK_SYS(fd >= 0);
    CHECK_EQ(posix_fallocate(fd, 0, BALLAST), 0);
    CHECK_SYS(close(fd) == 0);
}

/* ---- What is tried on a full disk ---- */

static struct bytes read_file_in(const char *dir, const char *name)
{
    struct bytes bytes = {NULL, 0};
    char *path = join_path(dir, name);

    if (path_exists(path))
        append_file(&bytes, path);
    free(path);
    return bytes;
}

static void check_same_file(const char *dir, const char *name, struct bytes *before)
{
    struct bytes after = read_file_in(dir, name);

    CHECK_BYTES(after.data, after.len, before->data, before->len);
    free_bytes(&after);
    free_bytes(before);
}

/* There is no room for a checkpoint: what there was stays as it is. */
static void check_no_checkpoint(kv_store *store, const char *dir)
{
    uint64_t newest = store_stats(store).checkpoint_lsn;
    struct bytes checkpoint = read_file_in(dir, "checkpoint.dat");
    struct bytes log = read_file_in(dir, "wal.log");

    CHECK_CODE(kv_checkpoint(store), KV_NO_SPACE);
    check_same_file(dir, "checkpoint.dat", &checkpoint);
    check_same_file(dir, "wal.log", &log);
    CHECK_EQ(store_stats(store).checkpoint_lsn, newest);
    total.checkpoints_refused++;
}

/* The same while checkpoints are made in the background: one of them may be complete, and cover everything. */
static void check_some_checkpoint(kv_store *store)
{
    int code = kv_checkpoint(store);
    kv_stats stats = store_stats(store);

    CHECK_EQ(code, stats.checkpoint_lsn == stats.last_lsn ? KV_OK : KV_NO_SPACE);
    total.checkpoints_refused += code != KV_OK;
}

static void check_no_new_store(const char *parent)
{
    char *dir = join_path(parent, "other");
    kv_store *store;
    int code = kv_open(dir, NULL, &store);

    CHECK_CODE(code, KV_NO_SPACE);
    CHECK(store == NULL);
    if (path_exists(dir))
        remove_tree(dir);
    free(dir);
}

static void close_and_count(kv_store *store)
{
    kv_stats stats = store_stats(store);

    total.sets += stats.sets;
    total.refused += stats.errors;
    CHECK_OK(kv_close(store));
}

/* Closes and opens the store while there is no room. Refused or not, nothing is lost. NULL: refused. */
static kv_store *reopen_without_room(kv_store *store, const char *dir, const kv_options *options,
                                     struct writer *writers)
{
    int code;

    close_and_count(store);
    code = kv_open(dir, options, &store);
    if (code == KV_NO_SPACE)
        return NULL;
    CHECK_EQ(code, KV_OK);
    check_exactly(store, writers, WRITERS);
    total.reopened++;
    return store;
}

/* ---- Rounds ---- */

struct place {
    char *parent, *dir, *ballast, *filler;
};

static void make_room(const struct place *place)
{
    CHECK_SYS(unlink(place->filler) == 0);
    CHECK_SYS(unlink(place->ballast) == 0);
}

static void take_options(kv_options *options, uint64_t choice)
{
    static const uint64_t AHEAD[] = {0, UINT64_MAX, 4096, 256 << 10};

    kv_options_init(options);
    options->checkpoint_wal_bytes = choice % 3 == 0 ? 64 << 10 : UINT64_MAX;
    options->preallocate = AHEAD[choice / 4 % ARRAY_LEN(AHEAD)];
}

static void try_without_room(kv_store *store, const struct place *place, const kv_options *options,
                             struct writer *writers)
{
    take_all_room(place->filler);
    write_until_full(store, writers, WRITERS);
    check_exactly(store, writers, WRITERS);
    take_all_room(place->filler);
    if (options->checkpoint_wal_bytes == UINT64_MAX)
        check_no_checkpoint(store, place->dir);
    else
        check_some_checkpoint(store);
    check_no_new_store(place->parent);
    check_lookups(store, &writers[0]);
}

static void go_on(kv_store *store, struct writer *writers)
{
    check_writable(store, writers, WRITERS);
    CHECK_OK(kv_checkpoint(store));
    check_writable(store, writers, WRITERS);
    close_and_count(store);
}

static void play_round(const struct place *place, struct writer *writers, uint64_t *random)
{
    uint64_t choice = next_random(random);
    kv_options options;
    kv_store *store;

    take_options(&options, choice);
    make_ballast(place->ballast);
    CHECK_OK(kv_open(place->dir, &options, &store));
    check_exactly(store, writers, WRITERS);
    /* Two each, since a writer's next one may be to delete what is not there. */
    check_writable(store, writers, WRITERS);
    check_writable(store, writers, WRITERS);
    try_without_room(store, place, &options, writers);
    if (choice / 16 % 2 == 0)
        store = reopen_without_room(store, place->dir, &options, writers);
    make_room(place);
    if (store == NULL)
        CHECK_OK(kv_open(place->dir, &options, &store));
    go_on(store, writers);

    CHECK_OK(kv_open(place->dir, NULL, &store));
    check_exactly(store, writers, WRITERS);
    CHECK_EQ(recovery_report(store).verdict, KV_TAIL_CLEAN);
    CHECK_OK(kv_close(store));
    total.rounds++;
}

int main(int argc, char **argv)
{
    struct writer writers[WRITERS];
    struct place place;
    uint64_t random;
    double until;

    if (argc != 4) {
        fprintf(stderr, "usage: full_test DIR SECONDS SEED\n");
        return 2;
    }
    place.parent = argv[1];
    place.dir = join_path(argv[1], "store");
    place.ballast = join_path(argv[1], "ballast");
    place.filler = join_path(argv[1], "filler");
    until = seconds_now() + atof(argv[2]);
    random = strtoull(argv[3], NULL, 10);
    new_writers(writers, WRITERS);
    do {
        play_round(&place, writers, &random);
    } while (seconds_now() < until || total.checkpoints_refused == 0);
    printf("filled %llu times, %llu keys set, %llu calls refused, %llu of them checkpoints, reopened %llu times "
           "without room\n",
           (unsigned long long)total.rounds, (unsigned long long)total.sets, (unsigned long long)total.refused,
           (unsigned long long)total.checkpoints_refused, (unsigned long long)total.reopened);
    remove_tree(place.dir);
    free(place.dir);
    free(place.ballast);
    free(place.filler);
    return EXIT_SUCCESS;
}
