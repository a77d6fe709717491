/* One measurement: one workload for one store, in a process of its own. README.md has the command line. */
#include <getopt.h>
#include <stdio.h>

#include "fail.h"
#include "stores.h"
#include "workloads.h"

enum { VALUE_LEN = 100, LARGE_VALUE_LEN = 65536, LARGE_KEYS = 1000 };

struct workload {
    const char *name;
    void (*run)(const struct bench *bench);
    enum { ANY_STORE, ONLY_KVWAL, NO_STORE } needs;
    const char *what;
};

static const struct workload workloads[] = {
    {"set-durable", set_durable, ANY_STORE, "durable sets of uniform keys"},
    {"batch-durable", batch_durable, ANY_STORE, "durable batches of 100 sets"},
    {"large-durable", set_durable, ANY_STORE, "durable sets of 64 KiB values"},
    {"set-relaxed", set_relaxed, ANY_STORE, "new keys, each synced a little later"},
    {"get", get, ANY_STORE, "gets, uniform and zipf"},
    {"get-many", get_many, ANY_STORE, "gets of 64 keys a call, uniform"},
    {"mixed-50", mixed_50, ANY_STORE, "half gets, half durable sets"},
    {"mixed-95", mixed_95, ANY_STORE, "95 % gets, the rest durable sets"},
    {"memory", memory, ANY_STORE, "resident memory of the loaded store"},
    {"memory-random", memory_random, ANY_STORE, "and after 10 rounds of sets, all values of random sizes"},
    {"memory-fixed", memory_fixed, ANY_STORE, "and after 10 rounds of sets, values of one size in each round"},
    {"pauses", pauses, ONLY_KVWAL, "the longest get beside writers; gets and sets beside scans"},
    {"checkpoint", checkpoint, ONLY_KVWAL, "its bandwidth, what sets beside it notice, its memory"},
    {"timeline", timeline, ONLY_KVWAL, "durable sets, moment by moment, while two checkpoints come and go"},
    {"growth", growth, ONLY_KVWAL, "the longest set while the table grows, and when it does not"},
    {"reopen", reopen, ONLY_KVWAL, "opening from a checkpoint, warm and cold"},
    {"replay", replay, ONLY_KVWAL, "opening from a log alone"},
    {"scaling", scaling, ONLY_KVWAL, "get, durable set, checkpoint and open of a store with so many keys"},
    {"threads", threads_started, ONLY_KVWAL, "threads that kv_open starts, for each set of options"},
    {"memcpy", probe_memcpy, NO_STORE, "bandwidth of memcpy"},
    {"crc32", probe_crc32, NO_STORE, "bandwidth of zlib's crc32"},
    {"disk", probe_disk, NO_STORE, "sequential bandwidth of the disk, with and without the page cache"},
};

enum { WORKLOAD_COUNT = sizeof workloads / sizeof workloads[0] };

static void help(void)
{
    printf("usage: kvbench --store NAME --workload W --dir D [--threads N,...] [--keys K] [--value BYTES]\n"
           "               [--seconds S] [--ops N] [--seed X]\n"
           "       kvbench --list\n"
           "\n"
           "Measures one workload for one store; a result is a line of key=value. --list names the stores.\n"
           "Workloads:\n");
    for (size_t i = 0; i < WORKLOAD_COUNT; i++)
        printf("  %-14s %s%s\n", workloads[i].name, workloads[i].what,
               workloads[i].needs == ONLY_KVWAL ? " (kvwal)"
               : workloads[i].needs == NO_STORE ? " (--store raw)"
                                                : "");
}

static double number(const char *text, double least)
{
    char *end;
    double value = strtod(text, &end);

    if (end == text || *end != '\0' || value < least)
        FAIL("not a number of at least %g: %s", least, text);
    return value;
}

static void parse_threads(struct options *options, char *list)
{
    options->thread_counts = 0;
    for (char *one = strtok(list, ","); one != NULL; one = strtok(NULL, ",")) {
        double threads = number(one, 1);

        if (threads > MAX_THREADS || options->thread_counts == MAX_THREAD_COUNTS)
            FAIL("too many threads: at most %d, and %d counts", MAX_THREADS, MAX_THREAD_COUNTS);
        options->threads[options->thread_counts++] = (unsigned)threads;
    }
    if (options->thread_counts == 0)
        FAIL("no number of threads");
}

static struct options parse(int argc, char **argv)
{
    static const struct option known[] = {
        {"store", required_argument, NULL, 's'},   {"workload", required_argument, NULL, 'w'},
        {"dir", required_argument, NULL, 'd'},     {"threads", required_argument, NULL, 't'},
        {"keys", required_argument, NULL, 'k'},    {"value", required_argument, NULL, 'v'},
        {"seconds", required_argument, NULL, 'S'}, {"ops", required_argument, NULL, 'o'},
        {"seed", required_argument, NULL, 'x'},    {"list", no_argument, NULL, 'l'},
        {"help", no_argument, NULL, 'h'},          {NULL, 0, NULL, 0},
    };
    struct options options = {.threads = {1}, .thread_counts = 1, .seconds = 3, .seed = 1};

    for (int c; (c = getopt_long(argc, argv, "", known, NULL)) != -1;) {
        switch (c) {
        case 's': options.store = optarg; break;
        case 'w': options.workload = optarg; break;
        case 'd': options.dir = optarg; break;
        case 't': parse_threads(&options, optarg); break;
        case 'k': options.keys = (size_t)number(optarg, 1); break;
        case 'v': options.value_len = (size_t)number(optarg, 1); break;
        case 'S': options.seconds = number(optarg, 0); break;
        case 'o': options.ops = (uint64_t)number(optarg, 1); break;
        case 'x': options.seed = (uint64_t)number(optarg, 0); break;
        case 'l': stores_list(); exit(EXIT_SUCCESS);
        case 'h': help(); exit(EXIT_SUCCESS);
        default: exit(EXIT_FAILURE);
        }
    }
    if (optind < argc || options.store == NULL || options.workload == NULL || options.dir == NULL)
        FAIL("--store, --workload and --dir are needed; see --help");
    return options;
}

static const struct workload *find_workload(const char *name)
{
    for (size_t i = 0; i < WORKLOAD_COUNT; i++) {
        if (strcmp(workloads[i].name, name) == 0)
            return &workloads[i];
    }
    FAIL("there is no workload %s; see --help", name);
}

static void fill_in(struct options *options)
{
    bool large = strcmp(options->workload, "large-durable") == 0;

    if (options->keys == 0)
        options->keys = large ? LARGE_KEYS : 1000000;
    if (options->value_len == 0)
        options->value_len = large ? LARGE_VALUE_LEN : VALUE_LEN;
}

int main(int argc, char **argv)
{
    struct options options = parse(argc, argv);
    const struct workload *workload = find_workload(options.workload);
    struct bench bench = {.options = &options, .store = store_find(options.store)};

    fill_in(&options);
    if (workload->needs != NO_STORE && bench.store == NULL)
        CANNOT("there is no store %s; see --list", options.store);
    if (workload->needs == ONLY_KVWAL && strcmp(options.store, "kvwal") != 0)
        CANNOT("%s is for kvwal only", workload->name);
    workload->run(&bench);
    return EXIT_SUCCESS;
}
