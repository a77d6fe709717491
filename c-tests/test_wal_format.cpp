/*
 * The record format, seen from C++ through kvwal.hpp. What the library writes is judged here by bytes, integers and a
 * CRC-32 that this file makes itself, straight from the table in the format's description.
 *
 * Exits non-zero as soon as a check fails.
 */
#include "kvwal.hpp"

#include <cstdio>
#include <cstdlib>
#include <functional>
#include <type_traits>

namespace {

using Bytes = std::vector<uint8_t>;

[[noreturn]] void fail(int line, const std::string &what)
{
    std::fflush(stdout);
    std::fprintf(stderr, "FAIL\n%s:%d: %s\n", __FILE__, line, what.c_str());
    std::exit(EXIT_FAILURE);
}

#define CHECK(condition)                                                                                               \
    do {                                                                                                               \
        if (!(condition))                                                                                              \
            fail(__LINE__, "not true: " #condition);                                                                   \
    } while (0)

/* ---- The format, once more, from its description ---- */

uint32_t crc32_of(const uint8_t *bytes, size_t len)
{
    uint32_t crc = 0xFFFFFFFFu;
    for (size_t at = 0; at < len; at++) {
        crc ^= bytes[at];
        for (int bit = 0; bit < 8; bit++) {
            crc = (crc >> 1) ^ ((crc & 1) != 0 ? 0xEDB88320u : 0);
        }
    }
    return ~crc;
}

Bytes big_endian(uint64_t number, size_t len)
{
    Bytes bytes(len);
    for (size_t at = len; at-- > 0; number >>= 8) {
        bytes[at] = static_cast<uint8_t>(number);
    }
    return bytes;
}

Bytes bytes_of(const std::string &text)
{
    return Bytes(text.begin(), text.end());
}

void append(Bytes &to, const Bytes &bytes)
{
    to.insert(to.end(), bytes.begin(), bytes.end());
}

struct Field {
    std::string name;
    Bytes bytes;
    std::string meaning;
};

uint8_t wire_op(const WALRecord &record)
{
    const int op = record.op == WALOp::DELETE ? 2 : record.expires_at ? 3 : 1;
    return static_cast<uint8_t>(op | (record.in_batch ? 0x80 : 0));
}

std::string quoted(const std::string &text)
{
    return "\"" + text + "\"";
}

/* The record's fields, in the order of the description; the CRC comes last, as it needs all the others. */
std::vector<Field> expected_fields(const WALRecord &record)
{
    const size_t length = 33 + record.key.size() + record.value.size() + (record.expires_at ? 8 : 0);
    std::vector<Field> fields = {
        {"length", big_endian(length, 4), std::to_string(length) + " bytes in all"},
        {"lsn", big_endian(record.lsn, 8), std::to_string(record.lsn)},
        {"durable_lsn", big_endian(record.durable_lsn, 8), std::to_string(record.durable_lsn)},
        {"op", {wire_op(record)}, record.op == WALOp::DELETE ? "DELETE" : record.expires_at ? "PUT, expiring" : "PUT"},
    };
    if (record.expires_at) {
        fields.push_back({"expires_at", big_endian(*record.expires_at, 8), std::to_string(*record.expires_at) + " ms"});
    }
    fields.push_back({"key_len", big_endian(record.key.size(), 4), std::to_string(record.key.size())});
    fields.push_back({"key", bytes_of(record.key), quoted(record.key)});
    fields.push_back({"value_len", big_endian(record.value.size(), 4), std::to_string(record.value.size())});
    fields.push_back({"value", bytes_of(record.value), quoted(record.value)});

    Bytes covered;
    for (const Field &field : fields) {
        append(covered, field.bytes);
    }
    const uint32_t crc = crc32_of(covered.data(), covered.size());
    fields.insert(fields.begin(), {"crc32", big_endian(crc, 4), "of bytes 4 to the end"});
    return fields;
}

/* ---- Records to look at ---- */

WALRecord put(const std::string &key, const std::string &value)
{
    WALRecord record;
    record.lsn = 0x0102030405060708;
    record.durable_lsn = 0x0102030405060707;
    record.key = key;
    record.value = value;
    return record;
}

WALRecord del(const std::string &key)
{
    WALRecord record = put(key, "");
    record.op = WALOp::DELETE;
    return record;
}

WALRecord put_until(const std::string &key, const std::string &value, uint64_t expires_at)
{
    WALRecord record = put(key, value);
    record.expires_at = expires_at;
    return record;
}

WALRecord batched(WALRecord record)
{
    record.in_batch = true;
    return record;
}

std::vector<WALRecord> records_of_all_kinds()
{
    std::string every_byte;
    for (int byte = 0; byte < 256; byte++) {
        every_byte.push_back(static_cast<char>(byte));
    }
    return {
        put("name", "Ada"),
        put("", ""),
        put(every_byte, every_byte),
        put(std::string(KV_MAX_KEY_LEN, 'k'), std::string(100000, 'v')),
        del("name"),
        del(""),
        put_until("session", "token", 1767225600000),
        put_until("session", "", 1),
        batched(put("name", "Ada")),
        batched(del("name")),
        batched(put_until("session", "token", UINT64_MAX)),
    };
}

/* Small ones, for what is done at every bit of a record. */
std::vector<WALRecord> small_records()
{
    return {put("name", "Ada"), put("", ""), del("name"), put_until("session", "token", 1767225600000),
            batched(put("name", "Ada"))};
}

std::optional<WALRecord> decode(const Bytes &bytes)
{
    return deserialize_wal_record(bytes.data(), bytes.size());
}

/* ---- The tests ---- */

void print_field(size_t offset, const Field &field)
{
    std::string hex;
    for (const uint8_t byte : field.bytes) {
        char digits[4];
        std::snprintf(digits, sizeof digits, "%02x ", byte);
        hex += digits;
    }
    std::printf("  %6zu  %-24s %-12s %s\n", offset, hex.c_str(), field.name.c_str(), field.meaning.c_str());
}

/* Compares the record's bytes with the expected fields, one by one. */
void check_layout(const WALRecord &record, const std::function<void(size_t, const Field &)> &visit)
{
    const Bytes bytes = serialize_wal_record(record);
    size_t offset = 0;
    for (const Field &field : expected_fields(record)) {
        CHECK(offset + field.bytes.size() <= bytes.size());
        const Bytes actual(bytes.begin() + offset, bytes.begin() + offset + field.bytes.size());
        if (actual != field.bytes) {
            fail(__LINE__, "field " + field.name + " at offset " + std::to_string(offset) + " is wrong");
        }
        visit(offset, field);
        offset += field.bytes.size();
    }
    CHECK(offset == bytes.size());
}

void test_hex_dump()
{
    std::printf("\n  offset  bytes                    field        meaning\n");
    check_layout(put("name", "Ada"), print_field);
}

void test_layout()
{
    for (const WALRecord &record : records_of_all_kinds()) {
        check_layout(record, [](size_t, const Field &) {});
    }
}

void test_round_trip()
{
    for (const WALRecord &record : records_of_all_kinds()) {
        const std::optional<WALRecord> same = decode(serialize_wal_record(record));
        CHECK(same.has_value());
        CHECK(*same == record);
    }
}

void test_bytes_behind_are_ignored()
{
    const WALRecord first = put("first", "1");
    Bytes log = serialize_wal_record(first);
    append(log, serialize_wal_record(del("second")));
    CHECK(decode(log) == first);
}

void test_bit_flips()
{
    for (const WALRecord &record : small_records()) {
        Bytes bytes = serialize_wal_record(record);
        for (size_t bit = 0; bit < bytes.size() * 8; bit++) {
            const uint8_t mask = static_cast<uint8_t>(1u << bit % 8);
            bytes[bit / 8] ^= mask;
            CHECK(!decode(bytes).has_value());
            bytes[bit / 8] ^= mask;
        }
        CHECK(decode(bytes) == record);
    }
}

void test_truncations()
{
    for (const WALRecord &record : small_records()) {
        const Bytes bytes = serialize_wal_record(record);
        for (size_t len = 0; len < bytes.size(); len++) {
            // A copy of just that length, so that valgrind sees a read behind its end.
            const Bytes shorter(bytes.begin(), bytes.begin() + len);
            CHECK(!decode(shorter).has_value());
        }
    }
}

void test_not_records()
{
    CHECK(!deserialize_wal_record(nullptr, 0).has_value());
    CHECK(!decode(Bytes(4096, 0x00)).has_value());
    CHECK(!decode(Bytes(4096, 0xFF)).has_value());
    CHECK(!decode(bytes_of("A line of text, long enough to hold the fixed part of a record.\n")).has_value());
}

void check_refused(const WALRecord &record)
{
    try {
        serialize_wal_record(record);
    } catch (const std::invalid_argument &refusal) {
        CHECK(std::string(refusal.what()).size() > 0);
        return;
    }
    fail(__LINE__, "a record that cannot exist was serialized");
}

void test_impossible_records()
{
    check_refused(put(std::string(KV_MAX_KEY_LEN + 1, 'k'), "too long a key"));
    CHECK(std::string(kv_errmsg()).find("wal_record_encode") != std::string::npos);

    WALRecord record = del("key");
    record.value = "a DELETE has no value";
    check_refused(record);

    record = del("key");
    record.expires_at = 1;
    check_refused(record);

    record = put("key", "value");
    record.op = static_cast<WALOp>(7);
    check_refused(record);
}

void test_names()
{
    static_assert(std::is_same<WALRecord, kvwal::WALRecord>::value, "the names are there without the namespace");
    static_assert(std::is_same<std::underlying_type<WALOp>::type, uint8_t>::value, "an op is one byte");
    static_assert(static_cast<int>(WALOp::PUT) == WAL_OP_PUT && static_cast<int>(WALOp::DELETE) == WAL_OP_DELETE,
                  "kvwal.hpp and kvwal.h number the ops alike");
    CHECK(kvwal::serialize_wal_record(put("k", "v")) == serialize_wal_record(put("k", "v")));
    CHECK(put("k", "v") != del("k"));
}

struct Test {
    const char *name;
    void (*run)();
};

const Test TESTS[] = {
    {"annotated hex dump of one record", test_hex_dump},
    {"layout of every kind, field by field", test_layout},
    {"round trip of every kind", test_round_trip},
    {"bytes behind a record are ignored", test_bytes_behind_are_ignored},
    {"every bit flip is detected", test_bit_flips},
    {"every truncation is detected", test_truncations},
    {"zeros, ones and text are no records", test_not_records},
    {"impossible records are refused", test_impossible_records},
    {"names and numbers", test_names},
};

} // namespace

int main()
{
    size_t number = 0;
    for (const Test &test : TESTS) {
        std::printf("[test %zu] %s... ", ++number, test.name);
        std::fflush(stdout);
        test.run();
        std::printf("PASS\n");
    }
    std::printf("%zu/%zu tests passed\n", number, number);
    return 0;
}
