/* The stores that were compiled in. */
#ifndef BENCH_STORES_H
#define BENCH_STORES_H

#include "options.h"
#include "store.h"

/* NULL if there is none with this name. */
const struct store *store_find(const char *name);

/* What --list prints. */
void stores_list(void);

/* These end the process when they fail. */
void *store_open(const struct store *store, const struct store_config *config);
void store_close(const struct store *store, void *handle);
void *session_begin(const struct store *store, void *handle);
void session_end(const struct store *store, void *session);

#endif
