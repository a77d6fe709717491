/* What the disk has got of the logs, while the page cache has all of it: see shadow.c. */
#ifndef KVWAL_KERNEL_SHADOW_H
#define KVWAL_KERNEL_SHADOW_H

#include <sys/types.h>

/* The file was opened; what it holds is on the disk. */
void shadow_opened(int fd);
/* So much was written there. */
void shadow_written(int fd, off_t at, size_t len);
/* The file was cut off, or extended with zeros. */
void shadow_resized(int fd, off_t len);
/* Calls sync(fd), or if error is not 0 fails with that; returns its result. */
int shadow_sync(int fd, int (*sync)(int), int error);
/* Makes the files of these names hold what the disk has got of them, and forgets about everything. */
void shadow_lose(const char *dir);

#endif
