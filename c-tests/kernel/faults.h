/*
 * How a test tells faults.c, which is loaded before it (LD_PRELOAD), which file call is to fail. The functions are
 * weak: they are NULL if it is not loaded.
 */
#ifndef KVWAL_KERNEL_FAULTS_H
#define KVWAL_KERNEL_FAULTS_H

#include <stdint.h>

enum fault_kind {
    FAULT_OPEN,
    FAULT_READ,
    FAULT_WRITE,
    FAULT_SYNC, /* fsync and fdatasync, of directories, too */
    FAULT_TRUNCATE,
    FAULT_RENAME,
    FAULT_UNLINK,
    FAULT_MKDIR,
    FAULT_LOCK,
    FAULT_STAT,
    FAULT_MAP,
    FAULT_KINDS
};

/* The n-th call of a kind, counted from 1, fails. */
struct fault {
    enum fault_kind kind;
    uint64_t n;
    int error; /* 0: none */
    /* Not 0: the n-th call, a write, ends after so many bytes; below 0: that many before its end. If there is an error,
     * too, the next write gets that. */
    long short_by;
    int is_lasting; /* all later calls of the kind get the error, too; without one, they are cut short */
};

struct fault_report {
    uint64_t calls[FAULT_KINDS];
    uint64_t injected; /* calls that failed or were cut short */
    /* Syncs by a descriptor whose sync had failed before. */
    uint64_t second_syncs;
};

/* Calls on files below this directory count from now on; what is open already does not. */
__attribute__((weak)) void faults_watch(const char *dir);
/* Counts from 0 again. NULL: nothing fails. */
__attribute__((weak)) void faults_arm(const struct fault *fault);
/* While paused nothing is counted and nothing fails. */
__attribute__((weak)) void faults_pause(int is_paused);
/* The logs in `dir`, which nobody has open, lose what a failed sync has not brought to the disk. */
__attribute__((weak)) void faults_lose(const char *dir);
__attribute__((weak)) void faults_read(struct fault_report *report);

#endif
