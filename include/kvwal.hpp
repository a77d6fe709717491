/*
 * kvwal for C++17: the records of the log as values. Header-only, over kvwal.h; link with -lkvwal.
 *
 *     #include <kvwal.hpp>
 *
 *     WALRecord record;
 *     record.lsn = 1;
 *     record.key = "name";
 *     record.value = "Ada";
 *     std::vector<uint8_t> bytes = serialize_wal_record(record);
 *     std::optional<WALRecord> same = deserialize_wal_record(bytes.data(), bytes.size());
 *
 * There is one codec, wal_record_encode() and wal_record_decode(); this header only moves bytes between their struct of
 * pointers and a struct that owns what it holds. docs/format.md describes every byte.
 *
 * Everything is in namespace kvwal. The names WALRecord, WALOp, serialize_wal_record and deserialize_wal_record may
 * also be used without it, unless KVWAL_NO_GLOBAL_NAMES is defined before this header is included.
 */
#ifndef KVWAL_HPP
#define KVWAL_HPP

#include <cstddef>
#include <cstdint>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

#include "kvwal.h"

namespace kvwal {

/* What a record does to its key. */
enum class WALOp : uint8_t {
    /* Sets the key, for good or, with WALRecord::expires_at, for some time. */
    PUT = 1,
    /* Deletes the key. */
    DELETE = 2
};

/* One record of the log; it owns its key and value. */
struct WALRecord {
    /* Log sequence number: 1, 2, 3, ... without a gap. */
    uint64_t lsn = 0;
    /* The highest LSN whose fsync had returned when this record was written. */
    uint64_t durable_lsn = 0;
    /* What it does. */
    WALOp op = WALOp::PUT;
    /* The key: any bytes, up to KV_MAX_KEY_LEN of them. */
    std::string key = {};
    /* The value: any bytes, up to KV_MAX_VALUE_LEN of them; empty for a DELETE. */
    std::string value = {};
    /* For a PUT: when the key expires, in Unix milliseconds. Such a record has WAL_OP_PUT_EXPIRING on the wire. */
    std::optional<uint64_t> expires_at = std::nullopt;
    /* The next record belongs to the same atomic batch (WAL_OP_BATCH on the wire). */
    bool in_batch = false;

    /* Equal in every field. */
    friend bool operator==(const WALRecord &a, const WALRecord &b)
    {
        return a.lsn == b.lsn && a.durable_lsn == b.durable_lsn && a.op == b.op && a.key == b.key &&
               a.value == b.value && a.expires_at == b.expires_at && a.in_batch == b.in_batch;
    }

    /* Different in some field. */
    friend bool operator!=(const WALRecord &a, const WALRecord &b)
    {
        return !(a == b);
    }
};

/* Not part of the interface. */
namespace detail {

/* The op byte. Refuses what wal_record has no way to express, and would therefore drop or take for something else. */
inline uint8_t op_to_wire(const WALRecord &record)
{
    const uint8_t batch = record.in_batch ? WAL_OP_BATCH : 0;
    switch (record.op) {
    case WALOp::PUT:
        return static_cast<uint8_t>((record.expires_at ? WAL_OP_PUT_EXPIRING : WAL_OP_PUT) | batch);
    case WALOp::DELETE:
        if (record.expires_at) {
            throw std::invalid_argument("serialize_wal_record: a DELETE has no expires_at");
        }
        return static_cast<uint8_t>(WAL_OP_DELETE | batch);
    }
    throw std::invalid_argument("serialize_wal_record: op is neither PUT nor DELETE");
}

/* The record in the terms of kvwal.h; it points into the original. */
inline wal_record to_c(const WALRecord &record)
{
    wal_record c = {};
    c.lsn = record.lsn;
    c.durable_lsn = record.durable_lsn;
    c.expires_at = record.expires_at.value_or(0);
    c.key = record.key.data();
    c.key_len = record.key.size();
    c.value = record.value.data();
    c.value_len = record.value.size();
    c.op = op_to_wire(record);
    return c;
}

/* A copy of what wal_record_decode() found. */
inline WALRecord from_c(const wal_record &c)
{
    const int op = c.op & ~WAL_OP_BATCH;
    WALRecord record;
    record.lsn = c.lsn;
    record.durable_lsn = c.durable_lsn;
    record.op = op == WAL_OP_DELETE ? WALOp::DELETE : WALOp::PUT;
    record.key.assign(static_cast<const char *>(c.key), c.key_len);
    record.value.assign(static_cast<const char *>(c.value), c.value_len);
    if (op == WAL_OP_PUT_EXPIRING) {
        record.expires_at = c.expires_at;
    }
    record.in_batch = (c.op & WAL_OP_BATCH) != 0;
    return record;
}

} // namespace detail

/*
 * The bytes of a record, as they stand in the log. Throws std::invalid_argument for a record that cannot exist: with
 * the words of kv_errmsg() if a key or value is too long or a DELETE has a value, with its own if a DELETE has an
 * expiry or the op is unknown, which kvwal.h has no way to ask for. Does not block.
 */
inline std::vector<uint8_t> serialize_wal_record(const WALRecord &record)
{
    const wal_record c = detail::to_c(record);
    std::size_t size = 0;
    int result = wal_record_encode(&c, nullptr, 0, &size);
    std::vector<uint8_t> bytes(size);
    if (result == KV_BUFFER) {
        result = wal_record_encode(&c, bytes.data(), bytes.size(), &size);
    }
    if (result != KV_OK) {
        throw std::invalid_argument(kv_errmsg());
    }
    return bytes;
}

/*
 * The record at the beginning of the size bytes at data; what lies behind it is not looked at. Empty if there is no
 * whole, undamaged record; kv_errmsg() then says why. Does not block.
 */
inline std::optional<WALRecord> deserialize_wal_record(const uint8_t *data, std::size_t size)
{
    wal_record c = {};
    std::size_t consumed = 0;
    if (wal_record_decode(data, size, &c, &consumed) != KV_OK) {
        return std::nullopt;
    }
    return detail::from_c(c);
}

} // namespace kvwal

#ifndef KVWAL_NO_GLOBAL_NAMES
using kvwal::deserialize_wal_record;
using kvwal::serialize_wal_record;
using kvwal::WALOp;
using kvwal::WALRecord;
#endif

#endif /* KVWAL_HPP */
