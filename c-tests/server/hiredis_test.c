/*
 * A server as C programs use it, through hiredis: hiredis_test PORT. Binary values, pipelining, transactions, errors.
 * (Of RESP3 the hiredis of some systems knows nothing.)
 */
#include <hiredis/hiredis.h>

#include "../support.h"

enum { PIPELINED = 3000 };

static redisContext *context;

static redisReply *checked(redisReply *reply)
{
    if (!reply)
        FAIL("no reply: %s", context->errstr);
    return reply;
}

static redisReply *next_reply(void)
{
    void *reply = NULL;

    if (redisGetReply(context, &reply) != REDIS_OK)
        FAIL("no reply: %s", context->errstr);
    return checked(reply);
}

/* Checks a reply that is words, and frees it. */
static void expect_words(redisReply *reply, int type, const char *words)
{
    checked(reply);
    if (reply->type != type || strcmp(reply->str, words) != 0)
        FAIL("expected \"%s\" of type %d, found \"%s\" of type %d", words, type, reply->str ? reply->str : "",
             reply->type);
    freeReplyObject(reply);
}

static void expect_integer(redisReply *reply, long long integer)
{
    checked(reply);
    if (reply->type != REDIS_REPLY_INTEGER || reply->integer != integer)
        FAIL("expected %lld, found %lld of type %d", integer, reply->integer, reply->type);
    freeReplyObject(reply);
}

static void expect_nil(redisReply *reply)
{
    CHECK(checked(reply)->type == REDIS_REPLY_NIL);
    freeReplyObject(reply);
}

static void test_binary(void)
{
    char value[1024];

    for (size_t i = 0; i < sizeof value; i++)
        value[i] = (char)i;
    redisReply *set = redisCommand(context, "SET %b %b", "k\0\r\n", (size_t)4, value, sizeof value);
    expect_words(set, REDIS_REPLY_STATUS, "OK");
    redisReply *reply = checked(redisCommand(context, "GET %b", "k\0\r\n", (size_t)4));
    CHECK(reply->type == REDIS_REPLY_STRING && reply->len == sizeof value);
    CHECK(memcmp(reply->str, value, reply->len) == 0);
    freeReplyObject(reply);
    expect_nil(redisCommand(context, "GET none"));
}

static void test_pipeline(void)
{
    for (int i = 0; i < PIPELINED; i++)
        CHECK(redisAppendCommand(context, "SET p%d v%d", i, i) == REDIS_OK &&
              redisAppendCommand(context, "APPEND p%d x", i) == REDIS_OK &&
              redisAppendCommand(context, "GET p%d", i) == REDIS_OK);
    for (int i = 0; i < PIPELINED; i++) {
        char value[32];
        int len = snprintf(value, sizeof value, "v%dx", i);
        expect_words(next_reply(), REDIS_REPLY_STATUS, "OK");
        expect_integer(next_reply(), len);
        expect_words(next_reply(), REDIS_REPLY_STRING, value);
    }
}

static void test_transaction(void)
{
    expect_words(redisCommand(context, "MULTI"), REDIS_REPLY_STATUS, "OK");
    expect_words(redisCommand(context, "SET n 41"), REDIS_REPLY_STATUS, "QUEUED");
    expect_words(redisCommand(context, "INCR n"), REDIS_REPLY_STATUS, "QUEUED");
    redisReply *reply = checked(redisCommand(context, "EXEC"));
    CHECK(reply->type == REDIS_REPLY_ARRAY && reply->elements == 2 && reply->element[1]->integer == 42);
    freeReplyObject(reply);
    expect_words(redisCommand(context, "INCR p0"), REDIS_REPLY_ERROR, "ERR value is not an integer or out of range");
}

int main(int argc, char **argv)
{
    if (argc != 2) {
        fprintf(stderr, "usage: hiredis_test PORT\n");
        return 2;
    }
    context = redisConnect("127.0.0.1", atoi(argv[1]));
    CHECK(context && !context->err);
    test_binary();
    test_pipeline();
    test_transaction();
    redisFree(context);
    printf("hiredis %d.%d.%d: %d commands pipelined, binary values, a transaction\n", HIREDIS_MAJOR,
           HIREDIS_MINOR, HIREDIS_PATCH, 3 * PIPELINED);
    return 0;
}
