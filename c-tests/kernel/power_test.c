/*
 * A power cut: power_test DEVICE IMAGE MOUNTPOINT SECONDS SEED, as root; DEVICE is a loop device over the file IMAGE,
 * with an ext4 in it that is not mounted.
 *
 * While a child with several writers writes to a store, makes checkpoints, or opens it, the file system is shut down
 * (EXT4_IOC_SHUTDOWN, without even writing its journal), or made read-only by an error. From then on nothing reaches
 * the disk. What is in the image at that moment is what a power cut leaves; it is saved, and put back when the kernel
 * has let go of the device, so that nothing that was only in memory survives. Then the store must hold what the child
 * had acknowledged before. Half of the time the image is put back once more, so that the next child recovers the store
 * itself, and may be cut off while it does.
 *
 * An ext4 without a journal can be written to again only after e2fsck, and that gives up what it cannot make sense of,
 * durable or not: an extent that the disk has before the size of its file that includes it, with all that was synced in
 * it; or what it overwrites when it clones blocks that a deleted file still claims. So there the store is read as the
 * disk has it, and goes on in a new file system.
 *
 * What the child acknowledges while the file system is being shut down may be there afterwards or not: an ext4 whose
 * journal is aborted under an fdatasync may return 0 from it. (So it does to a program that only writes and syncs, in
 * one of twenty cuts. A machine without power does not return at all.)
 */
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/mount.h>

#include "crash.h"

/* Of the kernel's fs/ext4/ext4.h; newer headers have it as FS_IOC_SHUTDOWN. */
#define SHUTDOWN _IOR('X', 125, uint32_t)

enum {
    SHUTDOWN_WITHOUT_JOURNAL = 2,
    ROUNDS_A_STORE = 10,
    LONGEST_MICROSECONDS = 150000,
    PIECE = 1 << 20
};

struct disk {
    const char *device, *image, *mountpoint;
    char *blank; /* the image with nothing in it; NULL with a journal, which needs none */
    char *saved; /* what a power cut leaves of the image */
    char *store;
    int has_journal;
};

static struct {
    uint64_t cuts, made_read_only, unborn, operations, torn, recovered_twice, checkpoints;
} total;

/* ---- The disk ---- */

static void mount_disk(const struct disk *disk, unsigned long flags, const char *options)
{
    CHECK_SYS(mount(disk->device, disk->mountpoint, "ext4", MS_NOATIME | flags, options) == 0);
}

static void unmount_disk(const struct disk *disk)
{
    CHECK_SYS(umount2(disk->mountpoint, 0) == 0);
}

static char *beside(const char *path, const char *suffix)
{
    char *name = must_alloc(strlen(path) + strlen(suffix) + 1);

    sprintf(name, "%s%s", path, suffix);
    return name;
}

static void copy_file(const char *from, const char *to)
{
    int in = open(from, O_RDONLY | O_CLOEXEC);
    int out = open(to, O_WRONLY | O_CREAT | O_CLOEXEC, 0666);
    uint8_t *piece = must_alloc(PIECE);
    ssize_t len;

    CHECK_SYS(in >= 0 && out >= 0);
    while ((len = read(in, piece, PIECE)) > 0)
        CHECK_SYS(write(out, piece, (size_t)len) == len);
    CHECK_SYS(len == 0);
    CHECK_SYS(close(in) == 0 && close(out) == 0);
    free(piece);
}

/* The device, which is not mounted, has what is in the file. */
static void put_back(const struct disk *disk, const char *file)
{
    int device;

    copy_file(file, disk->image);
    device = open(disk->device, O_RDONLY | O_CLOEXEC);
    CHECK_SYS(device >= 0);
    CHECK_SYS(ioctl(device, BLKFLSBUF, 0) == 0);
    CHECK_SYS(close(device) == 0);
}

static void move_to_new_file_system(const struct disk *disk)
{
    struct bytes files[ARRAY_LEN(STORE_FILES)];
    int is_there;

    mount_disk(disk, MS_RDONLY, "");
    is_there = access(disk->store, R_OK) == 0;
    if (is_there)
        read_store(disk->store, files);
    unmount_disk(disk);
    put_back(disk, disk->blank);
    if (is_there) {
        mount_disk(disk, 0, "");
        write_store(disk->store, files);
        unmount_disk(disk);
    }
}

/* The device, which is not mounted, has what the power cut left. */
static void power_on(const struct disk *disk)
{
    put_back(disk, disk->saved);
    if (!disk->has_journal)
        move_to_new_file_system(disk);
}

/* Has the kernel find an error in the file system, which then goes read-only. Returns 0 if it cannot be made to. */
static int make_read_only(const struct disk *disk)
{
    char path[200];
    int fd;

    snprintf(path, sizeof path, "/sys/fs/ext4/%s/trigger_fs_error", strrchr(disk->device, '/') + 1);
    fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0)
        return 0;
    CHECK_SYS(write(fd, "1", 1) == 1);
    CHECK_SYS(close(fd) == 0);
    total.made_read_only++;
    return 1;
}

static void shut_down(const struct disk *disk)
{
    uint32_t how = SHUTDOWN_WITHOUT_JOURNAL;
    int fd = open(disk->mountpoint, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    CHECK_SYS(fd >= 0);
    CHECK_SYS(ioctl(fd, SHUTDOWN, &how) == 0);
    CHECK_SYS(close(fd) == 0);
    total.cuts++;
}

/* ---- In the child: the disk is gone ---- */

static const char *child_dir;

static void check_without_disk(kv_store *store, const struct writer *writers, unsigned count)
{
    unsigned i;
    int code;

    for (i = 0; i < count; i++) {
        check_lookups(store, &writers[i]);
        CHECK_EQ(kv_set(store, "x", 1, "y", 1), KV_FAILED);
    }
    check_exactly(store, writers, count);
    CHECK_EQ(kv_checkpoint(store), KV_FAILED);
    CHECK_EQ(kv_close(store), KV_FAILED);
    code = kv_open(child_dir, NULL, &store);
    if (code != KV_IO)
        FAIL("on a file system that is gone kv_open returned %d (%s): %s", code, kv_strerror(code), kv_errmsg());
}

/* ---- Rounds ---- */

static const char *mount_options(const struct disk *disk, uint64_t choice)
{
    static const char *const OPTIONS[] = {"errors=remount-ro", "errors=remount-ro,data=writeback",
                                          "errors=remount-ro,data=journal", "errors=remount-ro,nodelalloc"};

    return disk->has_journal ? OPTIONS[choice % ARRAY_LEN(OPTIONS)] : OPTIONS[0];
}

static void examine(const struct disk *disk, const struct plan *plan, struct writer *writers, int is_last_look)
{
    kv_recovery recovery;
    kv_store *store;

    mount_disk(disk, 0, "");
    if (path_exists(disk->store)) {
        CHECK_OK(kv_open(disk->store, NULL, &store));
        check_recovered(store, writers, plan->writers);
        recovery = recovery_report(store);
        total.torn += recovery.verdict == KV_TAIL_TORN;
        total.checkpoints += recovery.checkpoint_lsn > 0;
        if (is_last_look)
            check_writable(store, writers, plan->writers);
        CHECK_OK(kv_close(store));
    } else {
        check_nothing_written(writers, plan->writers);
        total.unborn++;
    }
    unmount_disk(disk);
}

/* As the kernel does when it likes to: some pages of the log reach the disk, and others before them do not. */
static void write_some_pages(const struct disk *disk, uint64_t *random)
{
    static const char *const LOGS[] = {"wal.log", "wal.next"};
    char *path = join_path(disk->store, LOGS[next_random(random) % 2]);
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    struct stat status;
    int i;

    free(path);
    if (fd < 0)
        return;
    CHECK_SYS(fstat(fd, &status) == 0);
    for (i = 0; i < 8 && status.st_size > 0; i++) {
        off64_t at = (off64_t)(next_random(random) % (uint64_t)status.st_size) & ~(off64_t)4095;

        CHECK_SYS(sync_file_range(fd, at, 4096, SYNC_FILE_RANGE_WRITE | SYNC_FILE_RANGE_WAIT_AFTER) == 0);
    }
    CHECK_SYS(close(fd) == 0);
}

static void cut(const struct disk *disk, uint64_t *random)
{
    if (next_random(random) % 2 == 0)
        write_some_pages(disk, random);
    if (!disk->has_journal || next_random(random) % 4 != 0 || !make_read_only(disk))
        shut_down(disk);
}

static void play_round(const struct disk *disk, const struct plan *plan, double moment, struct writer *writers,
                       uint64_t *random)
{
    struct child child;
    int status;

    mount_disk(disk, 0, mount_options(disk, next_random(random)));
    child = start_child(plan, writers);
    listen_for(&child, moment, writers);
    cut(disk, random);
    status = end_of_child(plan, &child, writers, 0);
    if (!WIFEXITED(status) || WEXITSTATUS(status) != EXIT_SUCCESS)
        FAIL("the child ended with status 0x%x", status);

    copy_file(disk->image, disk->saved);
    unmount_disk(disk);
    power_on(disk);
    if (next_random(random) % 2 == 0) {
        examine(disk, plan, writers, 1);
    } else {
        examine(disk, plan, writers, 0);
        power_on(disk);
        total.recovered_twice++;
    }
}

/* In some stores only kv_sync() syncs, so that at the cut there is much that the disk has in part. */
static struct plan make_plan(const struct disk *disk, uint64_t choice)
{
    static const uint64_t AHEAD[] = {0, UINT64_MAX, 32 << 10, 256 << 10};
    struct plan plan = {.dir = disk->store, .writers = 1 + (unsigned)(choice % 6), .on_failure = check_without_disk};

    kv_options_init(&plan.options);
    plan.options.checkpoint_wal_bytes = 8192u << choice / 8 % 6;
    plan.options.preallocate = AHEAD[choice / 64 % ARRAY_LEN(AHEAD)];
    if (choice / 256 % 2 == 0) {
        plan.options.sync = KV_SYNC_NONE;
        plan.together = MOST_TOGETHER;
    }
    return plan;
}

static void play_store(const struct disk *disk, uint64_t *random, double until)
{
    struct plan plan = make_plan(disk, next_random(random));
    struct writer writers[MOST_WRITERS];
    int round = 0;

    new_writers(writers, plan.writers);
    do {
        double moment = (double)(next_random(random) % LONGEST_MICROSECONDS) / 1e6;

        /* Often while it is opened, or made. */
        if (round == 0 || next_random(random) % 4 == 0)
            moment /= 20;
        play_round(disk, &plan, moment, writers, random);
    } while (++round < ROUNDS_A_STORE && seconds_now() < until);
    total.operations += operations_of(writers, plan.writers);
    mount_disk(disk, 0, "");
    if (path_exists(disk->store))
        remove_tree(disk->store);
    unmount_disk(disk);
}

static int find_journal(const struct disk *disk)
{
    enum { FEATURES_AT = 1024 + 0x5C, HAS_JOURNAL = 4 };
    uint8_t features;
    int fd = open(disk->image, O_RDONLY | O_CLOEXEC);

    CHECK_SYS(fd >= 0);
    CHECK_SYS(pread(fd, &features, 1, FEATURES_AT) == 1);
    CHECK_SYS(close(fd) == 0);
    return (features & HAS_JOURNAL) != 0;
}

int main(int argc, char **argv)
{
    struct disk disk;
    uint64_t random;
    double until;

    if (argc != 6) {
        fprintf(stderr, "usage: power_test DEVICE IMAGE MOUNTPOINT SECONDS SEED\n");
        return 2;
    }
    disk = (struct disk){.device = argv[1], .image = argv[2], .mountpoint = argv[3]};
    disk.saved = beside(disk.image, ".saved");
    disk.store = join_path(disk.mountpoint, "store");
    disk.has_journal = find_journal(&disk);
    if (!disk.has_journal) {
        disk.blank = beside(disk.image, ".blank");
        copy_file(disk.image, disk.blank);
    }
    child_dir = disk.store;
    until = seconds_now() + atof(argv[4]);
    random = strtoull(argv[5], NULL, 10);
    while (seconds_now() < until || total.operations == 0)
        play_store(&disk, &random, until);
    printf("%llu power cuts, %llu of them before there was a store, %llu times made read-only, %llu operations "
           "acknowledged, %llu torn tails, %llu recoveries from a checkpoint, %llu left to the next child\n",
           (unsigned long long)total.cuts, (unsigned long long)total.unborn, (unsigned long long)total.made_read_only,
           (unsigned long long)total.operations, (unsigned long long)total.torn,
           (unsigned long long)total.checkpoints, (unsigned long long)total.recovered_twice);
    free(disk.saved);
    free(disk.blank);
    free(disk.store);
    return EXIT_SUCCESS;
}
