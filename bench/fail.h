/* What a measurement does when something goes wrong: say it and end, since half a measurement is none. */
#ifndef BENCH_FAIL_H
#define BENCH_FAIL_H

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum exit_status { EXIT_CANNOT = 3 };

#define FAIL(...)                                                                                                      \
    do {                                                                                                               \
        fprintf(stderr, "kvbench: " __VA_ARGS__);                                                                      \
        fputc('\n', stderr);                                                                                           \
        exit(EXIT_FAILURE);                                                                                            \
    } while (0)

#define FAIL_ERRNO(what) FAIL("%s: %s", what, strerror(errno))

/* The store or the machine cannot do this: not a failure, but there is no result. */
#define CANNOT(...)                                                                                                    \
    do {                                                                                                               \
        fprintf(stderr, "kvbench: " __VA_ARGS__);                                                                      \
        fputc('\n', stderr);                                                                                           \
        exit(EXIT_CANNOT);                                                                                             \
    } while (0)

static inline void *must(void *block)
{
    if (block == NULL)
        FAIL("out of memory");
    return block;
}

#endif
