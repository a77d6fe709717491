/*
 * What commits cost: commit_cost DIR SETS [THREADS] sets SETS keys by each of THREADS threads (1 unless told) and prints
 * how many group commits and syncs that took. Run under strace -c, it shows the system calls.
 */
#include <pthread.h>

#include "support.h"

enum { MAX_THREADS = 64 };

struct writer {
    pthread_t thread;
    kv_store *store;
    int number;
    int sets;
};

static void *write_keys(void *argument)
{
    struct writer *writer = argument;
    char key[32];

    for (int i = 0; i < writer->sets; i++) {
        snprintf(key, sizeof key, "%d/%d", writer->number, i);
        CHECK_EQ(kv_set(writer->store, key, strlen(key), "a value", 7), KV_OK);
    }
    return NULL;
}

int main(int argc, char **argv)
{
    struct writer writers[MAX_THREADS];
    kv_stats stats = {.struct_size = sizeof stats};
    int threads = argc > 3 ? atoi(argv[3]) : 1;
    kv_store *store;

    if (argc < 3 || threads < 1 || threads > MAX_THREADS) {
        fprintf(stderr, "usage: commit_cost DIR SETS [THREADS]\n");
        return 2;
    }
    CHECK_EQ(kv_open(argv[1], NULL, &store), KV_OK);
    for (int i = 0; i < threads; i++) {
        writers[i] = (struct writer){.store = store, .number = i, .sets = atoi(argv[2])};
        CHECK_EQ(pthread_create(&writers[i].thread, NULL, write_keys, &writers[i]), 0);
    }
    for (int i = 0; i < threads; i++)
        CHECK_EQ(pthread_join(writers[i].thread, NULL), 0);
    CHECK_EQ(kv_stats_get(store, &stats), KV_OK);
    CHECK_EQ(stats.sets, (uint64_t)threads * (uint64_t)atoi(argv[2]));
    printf("%llu sets, %llu commits, %llu syncs\n", (unsigned long long)stats.sets,
           (unsigned long long)stats.commits, (unsigned long long)stats.syncs);
    CHECK_EQ(kv_close(store), KV_OK);
    return 0;
}
