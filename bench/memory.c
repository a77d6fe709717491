#include "memory.h"

#include <dirent.h>
#include <unistd.h>

#include "fail.h"

static uint64_t field_of(const char *path, const char *field)
{
    char line[256];
    unsigned long long kib;
    FILE *file = fopen(path, "r");

    if (file == NULL)
        FAIL_ERRNO(path);
    while (fgets(line, sizeof line, file) != NULL) {
        if (strncmp(line, field, strlen(field)) == 0 && sscanf(line + strlen(field), " %llu kB", &kib) == 1) {
            fclose(file);
            return kib * 1024;
        }
    }
    FAIL("%s has no field %s", path, field);
}

/* Of those that this process has started and that run; they start none themselves. */
static uint64_t resident_in_children(void)
{
    uint64_t bytes = 0;
    char path[64];
    int child;
    FILE *children;

    snprintf(path, sizeof path, "/proc/self/task/%d/children", (int)getpid());
    children = fopen(path, "r");
    if (children == NULL)
        return 0;
    while (fscanf(children, "%d", &child) == 1) {
        snprintf(path, sizeof path, "/proc/%d/smaps_rollup", child);
        bytes += field_of(path, "Rss:");
    }
    fclose(children);
    return bytes;
}

uint64_t memory_resident(void)
{
    return field_of("/proc/self/smaps_rollup", "Rss:") + resident_in_children();
}

uint64_t memory_peak(void)
{
    return field_of("/proc/self/status", "VmHWM:");
}

void memory_peak_reset(void)
{
    FILE *file = fopen("/proc/self/clear_refs", "w");

    if (file == NULL || fputs("5", file) < 0 || fclose(file) != 0)
        FAIL_ERRNO("/proc/self/clear_refs");
}

unsigned thread_count(void)
{
    unsigned count = 0;
    DIR *tasks = opendir("/proc/self/task");

    if (tasks == NULL)
        FAIL_ERRNO("/proc/self/task");
    for (struct dirent *entry; (entry = readdir(tasks)) != NULL;)
        count += entry->d_name[0] != '.';
    closedir(tasks);
    return count;
}
