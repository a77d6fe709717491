#include <errno.h>
#include <hiredis/hiredis.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "../store.h"

#define SOCKET_NAME "redis.sock" /* in the server's directory, which is also where it runs */

struct redis {
    pid_t server;
    char socket[sizeof((struct sockaddr_un *)NULL)->sun_path];
};

static int failed(const char *what, const char *why)
{
    fprintf(stderr, "redis: %s: %s\n", what, why);
    return -1;
}

static void pause_ms(long ms)
{
    nanosleep(&(struct timespec){ms / 1000, ms % 1000 * 1000000}, NULL);
}

static const char *redis_version(void)
{
    static char version[64] = "unknown";
    char line[256];
    FILE *output = popen("redis-server --version", "r");
    if (output) {
        if (fgets(line, sizeof line, output))
            sscanf(line, "Redis server v=%63s", version);
        pclose(output);
    }
    return version;
}

static void run_server(const struct store_config *config, pid_t parent)
{
    /* Not to outlive a benchmark that is killed. */
    if (prctl(PR_SET_PDEATHSIG, SIGTERM) != 0 || getppid() != parent)
        _exit(1);
    execlp("redis-server", "redis-server", "--port", "0", "--unixsocket", SOCKET_NAME, "--dir", config->dir, "--appendonly",
           "yes", "--appendfsync", config->durability == DURABLE ? "always" : "everysec", "--save", "", "--daemonize",
           "no", "--logfile", "redis.log", (char *)NULL);
    fprintf(stderr, "redis: redis-server: %s\n", strerror(errno));
    _exit(127);
}

/* A connection to a server that has loaded its data, NULL if there is none yet. */
static redisContext *connect_if_ready(const struct redis *store)
{
    redisContext *connection = redisConnectUnix(store->socket);
    if (!connection || connection->err) {
        redisFree(connection);
        return NULL;
    }
    redisReply *reply = redisCommand(connection, "PING");
    bool ready = reply && reply->type == REDIS_REPLY_STATUS;
    freeReplyObject(reply);
    if (ready)
        return connection;
    redisFree(connection);
    return NULL;
}

static int redis_close(void *opaque)
{
    struct redis *store = opaque;
    int status = 0;
    kill(store->server, SIGTERM); /* flushes the append-only file and goes */
    while (waitpid(store->server, &status, 0) < 0 && errno == EINTR)
        ;
    free(store);
    return WIFEXITED(status) && WEXITSTATUS(status) == 0 ? 0 : failed("redis-server", "did not exit cleanly");
}

static void *redis_open(const struct store_config *config)
{
    struct redis *store = calloc(1, sizeof *store);
    if (!store) {
        perror("redis");
        return NULL;
    }
    size_t length = (size_t)snprintf(store->socket, sizeof store->socket, "%s/" SOCKET_NAME, config->dir);
    if (length >= sizeof store->socket) {
        failed(config->dir, "too long for the path of a socket");
        free(store);
        return NULL;
    }
    pid_t parent = getpid();
    store->server = fork();
    if (store->server == 0)
        run_server(config, parent);
    if (store->server < 0) {
        perror("redis: fork");
        free(store);
        return NULL;
    }
    redisContext *connection;
    while (!(connection = connect_if_ready(store))) {
        if (waitpid(store->server, NULL, WNOHANG) == store->server) {
            failed("redis-server", "ended before it was ready");
            free(store);
            return NULL;
        }
        pause_ms(10);
    }
    redisFree(connection);
    return store;
}

static void *redis_begin(void *opaque)
{
    redisContext *connection = connect_if_ready(opaque);
    if (!connection)
        failed("connect", "no answer");
    return connection;
}

static void redis_end(void *connection)
{
    redisFree(connection);
}

/* Sends a command; what comes back is of the type that is expected, or it is an error. */
static redisReply *call(redisContext *connection, int argc, const char **argv, const size_t *lens, int type)
{
    redisReply *reply = redisCommandArgv(connection, argc, argv, lens);
    if (!reply) {
        failed(argv[0], connection->errstr);
    } else if (reply->type != type) {
        failed(argv[0], reply->type == REDIS_REPLY_ERROR ? reply->str : "unexpected reply");
        freeReplyObject(reply);
        reply = NULL;
    }
    return reply;
}

static int redis_set(void *connection, const void *key, size_t key_len, const void *value, size_t value_len)
{
    redisReply *reply =
        call(connection, 3, (const char *[]){"SET", key, value}, (size_t[]){3, key_len, value_len}, REDIS_REPLY_STATUS);
    freeReplyObject(reply);
    return reply ? 0 : -1;
}

/* Room for the arguments of a command with so many of them: the pointers, and the lengths behind them. */
static const char **arguments(size_t argc, size_t **lens)
{
    const char **argv = malloc(argc * (sizeof *argv + sizeof **lens));
    if (argv)
        *lens = (size_t *)(argv + argc);
    else
        perror("redis");
    return argv;
}

static int redis_set_batch(void *connection, const struct pair *pairs, size_t count)
{
    size_t *lens, argc = 1;
    const char **argv = arguments(1 + 2 * count, &lens);
    if (!argv)
        return -1;
    argv[0] = "MSET";
    lens[0] = strlen(argv[0]);
    for (size_t i = 0; i < count; i++) {
        argv[argc] = pairs[i].key;
        lens[argc++] = pairs[i].key_len;
        argv[argc] = pairs[i].value;
        lens[argc++] = pairs[i].value_len;
    }
    redisReply *reply = call(connection, (int)argc, argv, lens, REDIS_REPLY_STATUS);
    free(argv);
    freeReplyObject(reply);
    return reply ? 0 : -1;
}

static void take(struct lookup *lookup, const redisReply *value)
{
    lookup->found = value->type == REDIS_REPLY_STRING;
    if (lookup->found) {
        lookup->value_len = value->len;
        memcpy(lookup->buf, value->str, value->len < lookup->buf_len ? value->len : lookup->buf_len);
    }
}

static int redis_get_many(void *connection, struct lookup *lookups, size_t count)
{
    size_t *lens;
    const char **argv = arguments(1 + count, &lens);
    if (!argv)
        return -1;
    argv[0] = "MGET";
    lens[0] = strlen(argv[0]);
    for (size_t i = 0; i < count; i++) {
        argv[1 + i] = lookups[i].key;
        lens[1 + i] = lookups[i].key_len;
    }
    redisReply *reply = call(connection, (int)(1 + count), argv, lens, REDIS_REPLY_ARRAY);
    free(argv);
    if (!reply)
        return -1;
    for (size_t i = 0; i < count; i++)
        take(&lookups[i], reply->element[i]);
    freeReplyObject(reply);
    return 0;
}

static int redis_get(void *connection, struct lookup *lookup)
{
    redisReply *value = redisCommand(connection, "GET %b", lookup->key, lookup->key_len);
    if (!value || value->type == REDIS_REPLY_ERROR) {
        failed("GET", value ? value->str : ((redisContext *)connection)->errstr);
        freeReplyObject(value);
        return -1;
    }
    take(lookup, value);
    freeReplyObject(value);
    return 0;
}

const struct store redis_store = {
    .name = "redis",
    .configuration =
        "A redis-server of its own, reached over a unix socket by one connection a thread; appendonly yes, save \"\". "
        "Durable: appendfsync always. Relaxed: appendfsync everysec. Batches by MSET, many gets by MGET.",
    .version = redis_version,
    .is_durable = true,
    .is_relaxed = true,
    .open = redis_open,
    .close = redis_close,
    .begin = redis_begin,
    .end = redis_end,
    .set = redis_set,
    .set_batch = redis_set_batch,
    .get = redis_get,
    .get_many = redis_get_many,
};
