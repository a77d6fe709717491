#include "stores.h"

#include <stdio.h>

#include "fail.h"

/* PEERS, from the Makefile, is PEER(name) for each peer whose library is there. */
#ifndef PEERS
#define PEERS
#endif
#define ALL_STORES                                                                                                     \
    PEER(kvwal) PEER(kvwal_get) PEER(kvwal_nosync)                                                                     \
    PEER(raw_over) PEER(raw_append) PEER(raw_direct) PEER(raw_mem) PEER(raw_mem_inline) PEERS

#define PEER(name) extern const struct store name##_store;
ALL_STORES
#undef PEER

#define PEER(name) &name##_store,
static const struct store *const stores[] = {ALL_STORES};
#undef PEER

enum { STORE_COUNT = sizeof stores / sizeof stores[0] };

const struct store *store_find(const char *name)
{
    for (size_t i = 0; i < STORE_COUNT; i++) {
        if (strcmp(stores[i]->name, name) == 0)
            return stores[i];
    }
    return NULL;
}

void stores_list(void)
{
    for (size_t i = 0; i < STORE_COUNT; i++) {
        const struct store *store = stores[i];
        const char *kinds = store->is_control              ? "control"
                            : store->is_in_memory          ? "memory"
                            : !store->is_relaxed           ? "durable"
                            : store->is_durable            ? "durable,relaxed"
                                                           : "relaxed";

        printf("%s\t%s\t%s\t%s\n", store->name, store->version != NULL ? store->version() : "-", kinds,
               store->configuration);
    }
}

void *store_open(const struct store *store, const struct store_config *config)
{
    void *handle = store->open(config);

    if (handle == NULL)
        FAIL("%s cannot be opened", store->name);
    return handle;
}

void store_close(const struct store *store, void *handle)
{
    if (store->close(handle) != 0)
        FAIL("%s cannot be closed", store->name);
}

void *session_begin(const struct store *store, void *handle)
{
    void *session;

    if (store->begin == NULL)
        return handle;
    session = store->begin(handle);
    if (session == NULL)
        FAIL("%s gives no session", store->name);
    return session;
}

void session_end(const struct store *store, void *session)
{
    if (store->end != NULL)
        store->end(session);
}
