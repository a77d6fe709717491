/*
 * kv_get_many(): each key is answered as kv_get_into() would, however many there are and whatever is wrong with the
 * others; and the arguments are checked before anything is done.
 */
#include "support.h"

#include <sys/wait.h>

enum { KEYS = 1000 };

static char *dir;
static kv_store *store;

/* key000, key001, …; every third is not there. Lengths go up to a few hundred bytes. */
static size_t make_key(char *key, int n)
{
    return (size_t)sprintf(key, "key%03d", n);
}

static size_t make_value(char *value, int n)
{
    size_t len = (size_t)(n * 7 % 400);

    memset(value, 'a' + n % 26, len);
    return len;
}

static void open_filled(void)
{
    char key[16], value[400];
    int n;

    dir = make_temp_dir();
    CHECK_OK(kv_open(dir, NULL, &store));
    kv_batch *batch = kv_batch_new();
    for (n = 0; n < KEYS; n++)
        if (n % 3 != 0)
            CHECK_OK(kv_batch_set(batch, key, make_key(key, n), value, make_value(value, n)));
    CHECK_OK(kv_write(store, batch));
    kv_batch_free(batch);
}

static void close_and_remove(void)
{
    CHECK_OK(kv_close(store));
    remove_temp_dir(dir);
}

static void check_many(size_t count)
{
    kv_lookup *lookups = must_alloc(count * sizeof *lookups);
    char(*keys)[16] = must_alloc(count * sizeof *keys);
    char(*bufs)[400] = must_alloc(count * sizeof *bufs);
    char value[400];
    size_t i;

    for (i = 0; i < count; i++) {
        int n = (int)(i * 17 % KEYS);
        lookups[i] = (kv_lookup){keys[i], make_key(keys[i], n), bufs[i], sizeof bufs[i], 12345, 12345};
    }
    CHECK_OK(kv_get_many(store, lookups, count));
    for (i = 0; i < count; i++) {
        int n = (int)(i * 17 % KEYS);
        CHECK_EQ(lookups[i].result, n % 3 == 0 ? KV_NOT_FOUND : KV_OK);
        CHECK_BYTES(bufs[i], lookups[i].value_len, value, n % 3 == 0 ? 0 : make_value(value, n));
    }
    free(lookups);
    free(keys);
    free(bufs);
}

static void test_any_number_of_keys(void)
{
    static const size_t counts[] = {0, 1, 2, 31, 32, 33, 64, 1000};
    kv_stats before = {.struct_size = sizeof before}, after = {.struct_size = sizeof after};
    size_t i, total = 0;

    open_filled();
    CHECK_OK(kv_stats_get(store, &before));
    for (i = 0; i < ARRAY_LEN(counts); i++) {
        check_many(counts[i]);
        total += counts[i];
    }
    CHECK_OK(kv_stats_get(store, &after));
    CHECK_EQ(after.gets - before.gets, total);
    CHECK_OK(kv_get_many(store, NULL, 0));
    close_and_remove();
}

static void test_each_has_its_own_answer(void)
{
    char small[4] = "....", exact[8], empty[1] = "x";
    kv_lookup lookups[] = {
        {"long", 4, small, sizeof small, 0, 0}, {"long", 4, exact, sizeof exact, 0, 0}, {"nobody", 6, small, 4, 0, 0},
        {NULL, 0, small, sizeof small, 0, 0},   {"empty", 5, NULL, 0, 0, 0},            {"long", 4, NULL, 0, 0, 0},
        {"empty", 5, empty, 1, 0, 0},           {"gone", 4, empty, 1, 0, 0},
    };

    dir = make_temp_dir();
    CHECK_OK(kv_open(dir, NULL, &store));
    CHECK_OK(kv_set(store, "long", 4, "12345678", 8));
    CHECK_OK(kv_set(store, "empty", 5, NULL, 0));
    CHECK_OK(kv_set_ttl(store, "gone", 4, "x", 1, 1));
    CHECK_SYS(usleep(5000) == 0);
    CHECK_OK(kv_get_many(store, lookups, ARRAY_LEN(lookups)));
    CHECK_EQ(lookups[0].result, KV_BUFFER);
    CHECK_EQ(lookups[0].value_len, 8);
    CHECK_BYTES(small, 4, "....", 4);
    CHECK_EQ(lookups[1].result, KV_OK);
    CHECK_BYTES(exact, lookups[1].value_len, "12345678", 8);
    CHECK_EQ(lookups[2].result, KV_NOT_FOUND);
    CHECK_EQ(lookups[2].value_len, 0);
    CHECK_EQ(lookups[3].result, KV_NOT_FOUND);
    CHECK_EQ(lookups[4].result, KV_OK);
    CHECK_EQ(lookups[4].value_len, 0);
    CHECK_EQ(lookups[5].result, KV_BUFFER);
    CHECK_EQ(lookups[5].value_len, 8);
    CHECK_EQ(lookups[6].result, KV_OK);
    CHECK_EQ(lookups[7].result, KV_NOT_FOUND);
    CHECK_EQ(empty[0], 'x');
    close_and_remove();
}

static void check_refused(kv_lookup wrong, int code, const char *words)
{
    char buf[8];
    kv_lookup lookups[] = {{"a", 1, buf, sizeof buf, 12345, 12345}, wrong, {"a", 1, buf, sizeof buf, 12345, 12345}};

    CHECK_CODE(kv_get_many(store, lookups, 3), code);
    CHECK(strstr(kv_errmsg(), "lookups[1]") != NULL && strstr(kv_errmsg(), words) != NULL);
    CHECK_EQ(lookups[0].result, 12345);
    CHECK_EQ(lookups[0].value_len, 12345);
}

static void test_wrong_arguments(void)
{
    char *longest = calloc(1, KV_MAX_KEY_LEN + 1), buf[8];
    kv_lookup one = {"a", 1, buf, sizeof buf, 0, 0};

    CHECK(longest != NULL);
    open_filled();
    CHECK_CODE(kv_get_many(NULL, &one, 1), KV_INVALID);
    CHECK_CODE(kv_get_many(store, NULL, 1), KV_INVALID);
    CHECK_CODE(kv_get_many(store, &one, SIZE_MAX), KV_TOO_LARGE);
    check_refused((kv_lookup){NULL, 1, buf, sizeof buf, 0, 0}, KV_INVALID, "key is NULL");
    check_refused((kv_lookup){"a", 1, NULL, 1, 0, 0}, KV_INVALID, "buf is NULL");
    check_refused((kv_lookup){longest, KV_MAX_KEY_LEN + 1, buf, sizeof buf, 0, 0}, KV_TOO_LARGE, "65536");
    one = (kv_lookup){longest, KV_MAX_KEY_LEN, buf, sizeof buf, 0, 0};
    CHECK_OK(kv_get_many(store, &one, 1));
    CHECK_EQ(one.result, KV_NOT_FOUND);
    free(longest);
    close_and_remove();
}

static void test_a_forked_child(void)
{
    char buf[8];
    kv_lookup one = {"a", 1, buf, sizeof buf, 0, 0};
    int status;

    open_filled();
    pid_t child = fork();
    CHECK_SYS(child >= 0);
    if (child == 0) {
        CHECK_CODE(kv_get_many(store, &one, 1), KV_FORKED);
        /* Another program in its place: so valgrind does not complain about the memory, which is the parent's to free. */
        execlp("true", "true", (char *)NULL);
    }
    CHECK_SYS(waitpid(child, &status, 0) == child);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    close_and_remove();
}

int main(void)
{
    static const struct test tests[] = {
        {"any number of keys", test_any_number_of_keys},
        {"each key has its own answer", test_each_has_its_own_answer},
        {"wrong arguments are named, and nothing is done", test_wrong_arguments},
        {"a forked child is refused", test_a_forked_child},
    };

    run_tests(tests, ARRAY_LEN(tests));
    printf("%zu/%zu tests passed\n", ARRAY_LEN(tests), ARRAY_LEN(tests));
    return 0;
}
