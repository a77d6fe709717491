/* What this process has in memory, in bytes, from /proc. */
#ifndef BENCH_MEMORY_H
#define BENCH_MEMORY_H

#include <stdint.h>

/*
 * Resident now, in this process and those that it has started, such as a server. Counted exactly (smaps_rollup): the
 * VmRSS of status may lag behind.
 */
uint64_t memory_resident(void);

/* The most that was resident since the last memory_peak_reset(). */
uint64_t memory_peak(void);
void memory_peak_reset(void);

/* Threads of this process now. */
unsigned thread_count(void);

#endif
