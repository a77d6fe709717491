/*
 * The store as a map: what was set last is what a get returns, now and after reopening, whatever the keys look like.
 */
#include "support.h"

/* ---- A store in a temporary directory ---- */

struct fixture {
    char *dir;
    kv_store *store;
};

/* Thousands of writes test the table, not the disk: closing syncs them all. */
static void open_fixture(struct fixture *fixture)
{
    kv_options options;

    kv_options_init(&options);
    options.sync = KV_SYNC_NONE;
    CHECK_OK(kv_open(fixture->dir, &options, &fixture->store));
}

static struct fixture set_up(void)
{
    struct fixture fixture;

    fixture.dir = make_temp_dir();
    open_fixture(&fixture);
    return fixture;
}

static void reopen(struct fixture *fixture)
{
    CHECK_OK(kv_close(fixture->store));
    open_fixture(fixture);
}

static void tear_down(struct fixture *fixture)
{
    CHECK_OK(kv_close(fixture->store));
    remove_temp_dir(fixture->dir);
}

static void set_text(kv_store *store, const char *key, const char *value)
{
    CHECK_OK(kv_set(store, key, strlen(key), value, strlen(value)));
}

static void check_value(kv_store *store, const void *key, size_t key_len, const void *wanted, size_t wanted_len)
{
    void *value;
    size_t len;

    CHECK_OK(kv_get(store, key, key_len, &value, &len));
    CHECK_BYTES(value, len, wanted, wanted_len);
    kv_free(value);
}

static void check_text(kv_store *store, const char *key, const char *wanted)
{
    check_value(store, key, strlen(key), wanted, strlen(wanted));
}

static void check_missing(kv_store *store, const void *key, size_t key_len)
{
    void *value = &value;
    size_t len = 99;

    CHECK_CODE(kv_get(store, key, key_len, &value, &len), KV_NOT_FOUND);
    CHECK(value == NULL);
    CHECK_EQ(len, 0);
}

static void check_missing_text(kv_store *store, const char *key)
{
    check_missing(store, key, strlen(key));
}

/* ---- Tests 1 to 4: one key ---- */

static void set_get(void)
{
    struct fixture fixture = set_up();

    check_missing_text(fixture.store, "name");
    set_text(fixture.store, "name", "Ada");
    set_text(fixture.store, "", "the empty key");
    set_text(fixture.store, "empty value", "");
    check_text(fixture.store, "name", "Ada");
    check_text(fixture.store, "", "the empty key");
    check_text(fixture.store, "empty value", "");
    check_missing_text(fixture.store, "nam");
    check_missing_text(fixture.store, "name ");
    CHECK_EQ(store_stats(fixture.store).keys, 3);

    reopen(&fixture);
    check_text(fixture.store, "name", "Ada");
    check_text(fixture.store, "", "the empty key");
    check_text(fixture.store, "empty value", "");
    tear_down(&fixture);
}

static void overwrite(void)
{
    static const char *const values[] = {"first", "a longer second value", "3rd", "", "last"};
    struct fixture fixture = set_up();
    size_t i;

    set_text(fixture.store, "other", "untouched");
    for (i = 0; i < ARRAY_LEN(values); i++) {
        set_text(fixture.store, "key", values[i]);
        check_text(fixture.store, "key", values[i]);
        CHECK_EQ(store_stats(fixture.store).keys, 2);
    }
    check_text(fixture.store, "other", "untouched");

    reopen(&fixture);
    check_text(fixture.store, "key", "last");
    check_text(fixture.store, "other", "untouched");
    tear_down(&fixture);
}

static void delete_key(void)
{
    struct fixture fixture = set_up();

    set_text(fixture.store, "gone", "1");
    set_text(fixture.store, "kept", "2");
    set_text(fixture.store, "back", "3");
    CHECK_OK(kv_del(fixture.store, "gone", 4));
    CHECK_OK(kv_del(fixture.store, "back", 4));
    check_missing_text(fixture.store, "gone");
    check_missing_text(fixture.store, "back");
    set_text(fixture.store, "back", "4");

    reopen(&fixture);
    check_missing_text(fixture.store, "gone");
    check_text(fixture.store, "kept", "2");
    check_text(fixture.store, "back", "4");
    CHECK_EQ(store_stats(fixture.store).keys, 2);
    tear_down(&fixture);
}

static void delete_missing_key(void)
{
    struct fixture fixture = set_up();
    uint64_t last_lsn;

    CHECK_CODE(kv_del(fixture.store, "never", 5), KV_NOT_FOUND);
    set_text(fixture.store, "key", "value");
    last_lsn = store_stats(fixture.store).last_lsn;
    CHECK_CODE(kv_del(fixture.store, "never", 5), KV_NOT_FOUND);
    CHECK_CODE(kv_del(fixture.store, "", 0), KV_NOT_FOUND);
    CHECK_EQ(store_stats(fixture.store).last_lsn, last_lsn); /* nothing was logged */
    CHECK_OK(kv_del(fixture.store, "key", 3));
    CHECK_CODE(kv_del(fixture.store, "key", 3), KV_NOT_FOUND);
    CHECK_EQ(store_stats(fixture.store).dels, 1);
    CHECK_EQ(store_stats(fixture.store).keys, 0);
    tear_down(&fixture);
}

/* ---- Sets of keys: key number i is set to i, those with an odd i are deleted, and the others are still right ---- */

enum { MAX_KEY = 256 };

struct key_set {
    size_t count;
    /* Writes key number i, of at most MAX_KEY bytes, to *key, and returns its length. */
    size_t (*make_key)(size_t i, uint8_t *key);
};

static void set_keys(kv_store *store, const struct key_set *keys)
{
    uint8_t key[MAX_KEY];
    size_t i;

    for (i = 0; i < keys->count; i++)
        CHECK_OK(kv_set(store, key, keys->make_key(i, key), &i, sizeof i));
}

static void delete_odd_keys(kv_store *store, const struct key_set *keys)
{
    uint8_t key[MAX_KEY];
    size_t i;

    for (i = 1; i < keys->count; i += 2)
        CHECK_OK(kv_del(store, key, keys->make_key(i, key)));
}

static void check_keys(kv_store *store, const struct key_set *keys, int odd_ones_are_there)
{
    uint8_t key[MAX_KEY];
    size_t i;

    for (i = 0; i < keys->count; i++) {
        size_t len = keys->make_key(i, key);
        if (i % 2 == 0 || odd_ones_are_there)
            check_value(store, key, len, &i, sizeof i);
        else
            check_missing(store, key, len);
    }
    CHECK_EQ(store_stats(store).keys, odd_ones_are_there ? keys->count : (keys->count + 1) / 2);
}

static void check_key_set(const struct key_set *keys)
{
    struct fixture fixture = set_up();

    set_keys(fixture.store, keys);
    check_keys(fixture.store, keys, 1);
    delete_odd_keys(fixture.store, keys);
    check_keys(fixture.store, keys, 0);
    reopen(&fixture);
    check_keys(fixture.store, keys, 0);
    tear_down(&fixture);
}

/* ---- Test 5 ---- */

static size_t numbered_key(size_t i, uint8_t *key)
{
    return (size_t)sprintf((char *)key, "key-%zu", i);
}

static void many_keys(void)
{
    check_key_set(&(struct key_set){1000, numbered_key});
}

/* ---- Test 6: keys that weak hashes cannot tell apart ---- */

enum { JAVA_KEYS = 4096, JAVA_PAIRS = 12, ANAGRAMS = 5040, SAME_PREFIX_KEYS = 3000, FNV_KEYS = 1024 };

/* "Aa" and "BB" have the same hash h * 31 + byte, and so has every string of as many of them. */
static size_t java_key(size_t i, uint8_t *key)
{
    size_t pair;

    for (pair = 0; pair < JAVA_PAIRS; pair++)
        memcpy(key + 2 * pair, (i >> pair & 1) != 0 ? "BB" : "Aa", 2);
    return 2 * JAVA_PAIRS;
}

/* The permutations of seven letters: the same length, the same sum, the same exclusive or. */
static size_t anagram_key(size_t i, uint8_t *key)
{
    uint8_t letters[] = "abcdefg";
    size_t left;

    for (left = 7; left > 0; left--) {
        size_t choice = i % left;
        i /= left;
        *key++ = letters[choice];
        letters[choice] = letters[left - 1];
    }
    return 7;
}

/* Nothing but NULs: the same for a hash that starts at 0 and forgets the length, and for strcmp(). */
static size_t nul_key(size_t i, uint8_t *key)
{
    memset(key, 0, MAX_KEY);
    return i;
}

/* The difference lies behind everything that a hash of the first bytes, or of a few of them, would look at. */
static size_t same_prefix_key(size_t i, uint8_t *key)
{
    memset(key, 'x', MAX_KEY);
    key[MAX_KEY - 2] = (uint8_t)(i >> 8);
    key[MAX_KEY - 1] = (uint8_t)i;
    return MAX_KEY;
}

static uint32_t java_hash(const uint8_t *key, size_t len)
{
    uint32_t hash = 0;

    while (len-- > 0)
        hash = hash * 31 + *key++;
    return hash;
}

static uint32_t fnv1a(const uint8_t *key, size_t len)
{
    uint32_t hash = 2166136261u;

    while (len-- > 0)
        hash = (hash ^ *key++) * 16777619u;
    return hash;
}

/* Keys with the same FNV-1a hash modulo 1024, so in one slot of a table that small: found by trying. */
static uint32_t fnv_numbers[FNV_KEYS];

static size_t fnv_key(size_t i, uint8_t *key)
{
    memcpy(key, &fnv_numbers[i], sizeof fnv_numbers[i]);
    return sizeof fnv_numbers[i];
}

static void find_fnv_keys(void)
{
    uint32_t number = 0;
    size_t found = 0;

    for (; found < FNV_KEYS; number++) {
        if (fnv1a((const uint8_t *)&number, sizeof number) % FNV_KEYS == 0)
            fnv_numbers[found++] = number;
    }
}

/* The test would be idle if these did not collide. */
static void check_java_keys_collide(void)
{
    uint8_t key[MAX_KEY];
    uint32_t hash = java_hash(key, java_key(0, key));
    size_t i;

    for (i = 1; i < JAVA_KEYS; i++)
        CHECK_EQ(java_hash(key, java_key(i, key)), hash);
}

static void colliding_keys(void)
{
    static const struct key_set sets[] = {
        {JAVA_KEYS, java_key},
        {ANAGRAMS, anagram_key},
        {MAX_KEY, nul_key},
        {SAME_PREFIX_KEYS, same_prefix_key},
        {FNV_KEYS, fnv_key},
    };
    size_t i;

    check_java_keys_collide();
    find_fnv_keys();
    for (i = 0; i < ARRAY_LEN(sets); i++)
        check_key_set(&sets[i]);
}

static const struct test tests[] = {
    {"set/get", set_get},
    {"overwrite", overwrite},
    {"delete", delete_key},
    {"delete missing", delete_missing_key},
    {"1,000 keys, every other one deleted", many_keys},
    {"colliding keys", colliding_keys},
};

int main(void)
{
    run_tests(tests, ARRAY_LEN(tests));
    printf("%zu/%zu tests PASS\n", ARRAY_LEN(tests), ARRAY_LEN(tests));
    return EXIT_SUCCESS;
}
