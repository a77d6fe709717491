/*
 * Many clients at once: stress PORT SECONDS [SEED [THREADS]]. Half of them speak text and half RESP.
 *
 * Each thread has keys of its own, and so knows what is in the store: it makes up a batch of commands together with the
 * bytes of all answers, sends it in pieces, reads while it sends, and compares byte by byte. So every answer's content
 * and order is checked. One counter is shared by all that speak RESP: each must see it grow, and in the end it is the
 * sum of what they have added. At the end each thread's keys are read again, by the other protocol.
 */
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <sys/socket.h>
#include <time.h>

#include "../support.h"

enum {
    KEYS = 200,
    MOST_THREADS = 256,
    MOST_IN_BATCH = 64,
    MOST_VALUE = 100 * 1000,
    BATCH_BYTES = 512 * 1024, /* beyond this a batch gets no further commands */
    PATIENCE_MS = 120 * 1000
};

struct buffer {
    char *data;
    size_t len, room;
};

struct value {
    struct buffer bytes;
    int is_there;
};

struct client {
    pthread_t thread;
    int number, socket, is_resp;
    uint64_t random;
    struct value values[KEYS];
    struct buffer sent, expected, found;
    long long commands, counted, last_count;
};

static struct sockaddr_in server;
static struct timespec stop_at;
static struct client clients[MOST_THREADS];

/* ---- Bytes ---- */

static void reserve(struct buffer *bytes, size_t more)
{
    if (bytes->len + more <= bytes->room)
        return;
    bytes->room = (bytes->len + more) * 2;
    bytes->data = realloc(bytes->data, bytes->room);
    CHECK(bytes->data);
}

static void add(struct buffer *bytes, const void *data, size_t len)
{
    reserve(bytes, len + 1);
    memcpy(bytes->data + bytes->len, data, len);
    bytes->len += len;
}

__attribute__((format(printf, 2, 3))) static void print(struct buffer *bytes, const char *format, ...)
{
    char text[256];
    va_list arguments;

    va_start(arguments, format);
    int len = vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    CHECK(len >= 0 && (size_t)len < sizeof text);
    add(bytes, text, (size_t)len);
}

static void add_bulk(struct buffer *bytes, const void *data, size_t len)
{
    print(bytes, "$%zu\r\n", len);
    add(bytes, data, len);
    print(bytes, "\r\n");
}

/* ---- What is done to keys: the command, and the answer it must get ---- */

/* xorshift64*, so that a seed repeats a run. */
static uint64_t draw(struct client *client, uint64_t below)
{
    client->random ^= client->random >> 12;
    client->random ^= client->random << 25;
    client->random ^= client->random >> 27;
    return (client->random * 2685821657736338717u >> 11) % below;
}

static const char *key_of(const struct client *client, int key, char name[32])
{
    snprintf(name, 32, "t%d-k%d", client->number, key);
    return name;
}

/* Any bytes, or none, for RESP; one word for text. Small mostly. */
static void make_up(struct client *client, struct buffer *value)
{
    size_t most = draw(client, 100) == 0 ? MOST_VALUE : 100;
    size_t len = draw(client, most) + !client->is_resp;

    value->len = 0;
    reserve(value, len + 1);
    for (size_t i = 0; i < len; i++)
        value->data[i] = client->is_resp ? (char)draw(client, 256) : (char)('!' + draw(client, 94));
    value->len = len;
}

/* Sends one command of words, the last of which may be any bytes. */
static void command(struct client *client, int count, const char *const words[], const struct buffer *last)
{
    if (client->is_resp)
        print(&client->sent, "*%d\r\n", count + !!last);
    for (int i = 0; i < count; i++) {
        if (client->is_resp)
            add_bulk(&client->sent, words[i], strlen(words[i]));
        else
            print(&client->sent, "%s%s", i ? " " : "", words[i]);
    }
    if (last && client->is_resp)
        add_bulk(&client->sent, last->data, last->len);
    else if (last)
        print(&client->sent, " "), add(&client->sent, last->data, last->len);
    if (!client->is_resp)
        print(&client->sent, draw(client, 4) ? "\n" : "\r\n");
    client->commands++;
}

static void expect_value(struct client *client, const struct value *value)
{
    if (client->is_resp && value->is_there) {
        add_bulk(&client->expected, value->bytes.data, value->bytes.len);
    } else if (value->is_there) {
        print(&client->expected, "VALUE ");
        add(&client->expected, value->bytes.data, value->bytes.len);
        print(&client->expected, "\n");
    } else {
        print(&client->expected, client->is_resp ? "$-1\r\n" : "NOT_FOUND\n");
    }
}

static void set(struct client *client, int key)
{
    struct value *value = &client->values[key];
    char name[32];

    make_up(client, &value->bytes);
    value->is_there = 1;
    command(client, 2, (const char *[]){"SET", key_of(client, key, name)}, &value->bytes);
    print(&client->expected, client->is_resp ? "+OK\r\n" : "OK\n");
}

static void get(struct client *client, int key)
{
    char name[32];

    command(client, 2, (const char *[]){"GET", key_of(client, key, name)}, NULL);
    expect_value(client, &client->values[key]);
}

static void del(struct client *client, int key)
{
    struct value *value = &client->values[key];
    char name[32];

    command(client, 2, (const char *[]){"DEL", key_of(client, key, name)}, NULL);
    if (client->is_resp)
        print(&client->expected, ":%d\r\n", value->is_there);
    else
        print(&client->expected, value->is_there ? "DELETED\n" : "NOT_FOUND\n");
    value->is_there = 0;
}

static void append(struct client *client, int key)
{
    struct value *value = &client->values[key];
    struct buffer more = {0};
    char name[32];

    if (value->bytes.len > MOST_VALUE)
        return;
    make_up(client, &more);
    if (!value->is_there)
        value->bytes.len = 0;
    value->is_there = 1;
    add(&value->bytes, more.data, more.len);
    command(client, 2, (const char *[]){"APPEND", key_of(client, key, name)}, &more);
    print(&client->expected, ":%zu\r\n", value->bytes.len);
    free(more.data);
}

/* Sets in a transaction, and looks within it. */
static void transaction(struct client *client, int key)
{
    command(client, 1, (const char *[]){"MULTI"}, NULL);
    print(&client->expected, "+OK\r\n");
    size_t before = client->expected.len;
    set(client, key);
    get(client, key);
    struct buffer answers = {0};
    add(&answers, client->expected.data + before, client->expected.len - before);
    client->expected.len = before;
    command(client, 1, (const char *[]){"EXEC"}, NULL);
    print(&client->expected, "+QUEUED\r\n+QUEUED\r\n*2\r\n");
    add(&client->expected, answers.data, answers.len);
    free(answers.data);
}

static void refused(struct client *client)
{
    command(client, 2, (const char *[]){"NONSENSE", "now"}, NULL);
    print(&client->expected, client->is_resp ? "-ERR unknown command 'NONSENSE', with args beginning with: 'now' \r\n"
                                             : "ERROR unknown command\n");
}

static void any_command(struct client *client)
{
    int key = (int)draw(client, KEYS), which = (int)draw(client, client->is_resp ? 100 : 85);

    if (which < 40)
        set(client, key);
    else if (which < 70)
        get(client, key);
    else if (which < 82)
        del(client, key);
    else if (which < 85)
        refused(client);
    else if (which < 95)
        append(client, key);
    else
        transaction(client, key);
}

/* ---- The connection ---- */

static void be_connected(struct client *client)
{
    int on = 1;

    CHECK_SYS((client->socket = socket(AF_INET, SOCK_STREAM, 0)) >= 0);
    CHECK_SYS(connect(client->socket, (struct sockaddr *)&server, sizeof server) == 0);
    CHECK_SYS(setsockopt(client->socket, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) == 0);
}

/* Sends some more of the batch: a piece that may end anywhere. */
static size_t send_piece(struct client *client, size_t sent)
{
    size_t left = client->sent.len - sent, piece = draw(client, 8) ? left : 1 + draw(client, left);
    ssize_t count = send(client->socket, client->sent.data + sent, piece, MSG_DONTWAIT | MSG_NOSIGNAL);

    if (count < 0 && (errno == EAGAIN || errno == EINTR))
        return 0;
    CHECK_SYS(count > 0);
    return (size_t)count;
}

static void receive_some(struct client *client)
{
    reserve(&client->found, 65536);
    ssize_t count = recv(client->socket, client->found.data + client->found.len, 65536, MSG_DONTWAIT);

    if (count < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    CHECK_SYS(count >= 0);
    if (count == 0)
        FAIL("client %d: the server has ended the connection", client->number);
    client->found.len += (size_t)count;
}

/* Sends all, and reads until this many bytes have been found. */
static void exchange(struct client *client, size_t least)
{
    size_t sent = 0;

    while (sent < client->sent.len || client->found.len < least) {
        struct pollfd ready = {.fd = client->socket, .events = POLLIN};
        if (sent < client->sent.len)
            ready.events |= POLLOUT;
        int count = poll(&ready, 1, PATIENCE_MS);
        if (count == 0)
            FAIL("client %d: no answer: %zu of %zu bytes", client->number, client->found.len, least);
        CHECK_SYS(count == 1 || errno == EINTR);
        if (ready.revents & POLLOUT)
            sent += send_piece(client, sent);
        if (ready.revents & (POLLIN | POLLHUP | POLLERR))
            receive_some(client);
    }
    client->sent.len = 0;
}

static void compare(struct client *client)
{
    const struct buffer *found = &client->found, *expected = &client->expected;
    size_t at = 0;

    while (at < expected->len && at < found->len && found->data[at] == expected->data[at])
        at++;
    if (at < expected->len || found->len > expected->len)
        FAIL("client %d (%s): another answer at byte %zu of %zu (found %zu): expected \"%.40s\", found \"%.40s\"",
             client->number, client->is_resp ? "RESP" : "text", at, expected->len, found->len, expected->data + at,
             found->data + at);
    client->expected.len = 0;
}

/* So that what is quoted of it ends. */
static void terminate(struct buffer *bytes)
{
    reserve(bytes, 1);
    bytes->data[bytes->len] = '\0';
}

static void run_batch(struct client *client)
{
    client->found.len = 0;
    exchange(client, client->expected.len);
    terminate(&client->found);
    terminate(&client->expected);
    compare(client);
}

/* ---- Each thread ---- */

static void count_up(struct client *client)
{
    long long now;

    command(client, 2, (const char *[]){"INCR", "shared-counter"}, NULL);
    client->found.len = 0;
    do
        exchange(client, client->found.len + 1);
    while (client->found.data[client->found.len - 1] != '\n');
    terminate(&client->found);
    CHECK(sscanf(client->found.data, ":%lld", &now) == 1);
    if (now <= client->last_count)
        FAIL("client %d: the counter went from %lld to %lld", client->number, client->last_count, now);
    client->last_count = now;
    client->counted++;
}

static int is_over(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec > stop_at.tv_sec || (now.tv_sec == stop_at.tv_sec && now.tv_nsec >= stop_at.tv_nsec);
}

static void verify(struct client *client)
{
    close(client->socket);
    be_connected(client);
    for (int key = 0; key < KEYS; key++) {
        get(client, key);
        if (key % MOST_IN_BATCH == 0 || key == KEYS - 1)
            run_batch(client);
    }
    close(client->socket);
}

static void *run(void *argument)
{
    struct client *client = argument;

    be_connected(client);
    do {
        int count = 1 + (int)draw(client, MOST_IN_BATCH);
        while (count-- && client->sent.len < BATCH_BYTES && client->expected.len < BATCH_BYTES)
            any_command(client);
        run_batch(client);
        if (client->is_resp)
            count_up(client);
    } while (!is_over());
    /* What text has set RESP can read; of what RESP has set text can read only some. */
    client->is_resp = 1;
    verify(client);
    return NULL;
}

static void check_counter(long long counted)
{
    struct client *client = &clients[0];

    be_connected(client);
    client->is_resp = 0;
    command(client, 2, (const char *[]){"GET", "shared-counter"}, NULL);
    if (counted)
        print(&client->expected, "VALUE %lld\n", counted);
    else
        print(&client->expected, "NOT_FOUND\n");
    run_batch(client);
    close(client->socket);
}

int main(int argc, char **argv)
{
    if (argc < 3 || argc > 5) {
        fprintf(stderr, "usage: stress PORT SECONDS [SEED [THREADS]]\n");
        return 2;
    }
    uint64_t seed = argc > 3 ? strtoull(argv[3], NULL, 10) : (uint64_t)time(NULL);
    int threads = argc > 4 ? atoi(argv[4]) : 8;
    long long commands = 0, counted = 0;

    CHECK(threads >= 1 && threads <= MOST_THREADS);
    server = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(argv[1])),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    clock_gettime(CLOCK_MONOTONIC, &stop_at);
    stop_at.tv_sec += atoi(argv[2]);
    for (int i = 0; i < threads; i++) {
        clients[i].number = i;
        clients[i].is_resp = i % 2;
        clients[i].random = (seed + 1) * 6364136223846793005u + (uint64_t)i * 1442695040888963407u + 1;
        CHECK(pthread_create(&clients[i].thread, NULL, run, &clients[i]) == 0);
    }
    for (int i = 0; i < threads; i++) {
        CHECK(pthread_join(clients[i].thread, NULL) == 0);
        commands += clients[i].commands;
        counted += clients[i].counted;
    }
    check_counter(counted);
    printf("%lld commands of %d clients, each answer as expected; seed %llu\n", commands, threads,
           (unsigned long long)seed);
    return 0;
}
