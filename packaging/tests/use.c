/*
 * The least that a program does with an installed kvwal: use DIR sets a key in the store DIR, closes it, opens it again,
 * and finds it. Prints the versions of header and library.
 */
#include <kvwal.h>

#include <stdio.h>
#include <string.h>

static int failed(const char *what)
{
    fprintf(stderr, "use: %s: %s\n", what, kv_errmsg());
    return 1;
}

int main(int argc, char **argv)
{
    kv_store *store;
    char value[8];
    size_t len;

    if (argc != 2)
        return 2;
    if (kv_open(argv[1], NULL, &store) != KV_OK || kv_set(store, "name", 4, "Ada", 3) != KV_OK)
        return failed("setting");
    if (kv_close(store) != KV_OK || kv_open(argv[1], NULL, &store) != KV_OK)
        return failed("reopening");
    if (kv_get_into(store, "name", 4, value, sizeof value, &len) != KV_OK || len != 3 || memcmp(value, "Ada", 3) != 0)
        return failed("getting");
    if (kv_close(store) != KV_OK)
        return failed("closing");
    printf("%s %s\n", KVWAL_VERSION_STRING, kv_version());
    return 0;
}
