/*
 * What the tools that watch the server must object to: control race, or control leak.
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static volatile int counter;
static void *volatile kept;

static void *count(void *nothing)
{
    counter++;
    return nothing;
}

static int race(void)
{
    pthread_t threads[2];

    for (int i = 0; i < 2; i++)
        if (pthread_create(&threads[i], NULL, count, NULL) != 0)
            return EXIT_FAILURE;
    for (int i = 0; i < 2; i++)
        pthread_join(threads[i], NULL);
    return EXIT_SUCCESS;
}

static int leak(void)
{
    kept = malloc(1);
    return kept ? EXIT_SUCCESS : EXIT_FAILURE;
}

int main(int argc, char **argv)
{
    if (argc == 2 && strcmp(argv[1], "race") == 0)
        return race();
    if (argc == 2 && strcmp(argv[1], "leak") == 0)
        return leak();
    fprintf(stderr, "usage: control race|leak\n");
    return 2;
}
