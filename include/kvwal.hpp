/*
 * kvwal for C++17: stores, batches, feeds and logs that close themselves, and the records of the log as values.
 * Header-only, over kvwal.h, which says in full what each call does and when it waits for the disk; link with -lkvwal.
 *
 * Example
 *
 *     #include <kvwal.hpp>
 *     #include <iostream>
 *
 *     int main()
 *     {
 *         try {
 *             kvwal::Store store = kvwal::Store::open("example-store");
 *             store.set("name", "Ada");    // on the disk when it returns
 *             std::cout << store.get("name").value_or("nobody") << '\n';
 *             store.close();
 *         } catch (const kvwal::Error &error) {
 *             std::cerr << error.what() << '\n';
 *             return 1;
 *         }
 *     }
 *
 * The rules
 *   - Keys and values go in as std::string_view, any bytes, and come out as std::string. What is not there is an empty
 *     std::optional, or false; it is no error.
 *   - Every call that can fail has two forms. One throws kvwal::Error, whose code() is the code and whose what() has
 *     the words of kv_errmsg(). The other takes a std::error_code at the end, which it sets or clears, and throws
 *     nothing of its own; kv_errmsg() has the words until this thread's next call. Where it is not noexcept, it makes
 *     strings or vectors, which may throw std::bad_alloc, or calls a function of yours.
 *   - Store, Batch, Tail and Log own a handle and can be moved, not copied. What was moved from or closed refuses
 *     every call but close() with Errc::invalid. Destructors close, and nobody learns what came of it: call close()
 *     where that matters.
 *   - A function that is passed to scan() or replay() returns nothing, or false to end it; one that is passed to
 *     transact() nothing, or false to change nothing. What it throws, the caller of scan(), replay() or transact()
 *     catches, on whatever thread it ran.
 *   - A Store serves any number of threads; only what ends or moves it must not happen beside another call on it. So
 *     does a Tail, and close() may come beside its other calls. A Batch or a Log serves one thread at a time.
 *   - Without exceptions (-fno-exceptions) the throwing form ends the program where it would throw, as the standard
 *     library's does.
 *   - kv_errmsg(), kv_strerror() and kv_version() have no other name here: call them as they are.
 *
 * The log's records as values
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

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <exception>
#include <memory>
#include <mutex>
#include <new>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>
#include <type_traits>
#include <utility>
#include <vector>

#include "kvwal.h"

namespace kvwal {

/* ---- Errors ---- */

/* The result codes of kvwal.h but KV_OK, to compare a std::error_code with: error == kvwal::Errc::locked. */
enum class Errc : int {
    not_found = KV_NOT_FOUND,
    conflict = KV_CONFLICT,
    lagged = KV_LAGGED,
    invalid = KV_INVALID,
    too_large = KV_TOO_LARGE,
    no_memory = KV_NO_MEMORY,
    io = KV_IO,
    no_space = KV_NO_SPACE,
    locked = KV_LOCKED,
    corrupt = KV_CORRUPT,
    crc_mismatch = KV_CRC_MISMATCH,
    incomplete = KV_INCOMPLETE,
    failed = KV_FAILED,
    version = KV_VERSION,
    forked = KV_FORKED,
    buffer = KV_BUFFER,
    internal = KV_INTERNAL
};

/* The category of the codes; its messages are those of kv_strerror(). */
inline const std::error_category &category() noexcept;

/* How a code becomes a std::error_code. */
inline std::error_code make_error_code(Errc code) noexcept
{
    return {static_cast<int>(code), category()};
}

/* What the throwing form of a call throws. */
class Error : public std::runtime_error {
public:
    Error(std::error_code code, const char *words) : std::runtime_error(words), code_(code)
    {
    }

    /* The code, such as Errc::locked. Its value() is the number from kvwal.h. */
    const std::error_code &code() const noexcept
    {
        return code_;
    }

private:
    std::error_code code_;
};

/* What Tail::next() throws when the next record is in no log any more. */
class Lagged : public Error {
public:
    explicit Lagged(uint64_t checkpoint_lsn)
        : Error(make_error_code(Errc::lagged), words(checkpoint_lsn).c_str()), checkpoint_lsn_(checkpoint_lsn)
    {
    }

    /* LSN of a checkpoint that covers the record: begin again with what the store holds, and a feed from the next. */
    uint64_t checkpoint_lsn() const noexcept
    {
        return checkpoint_lsn_;
    }

private:
    static std::string words(uint64_t checkpoint_lsn)
    {
        const std::string what = std::string("kv_tail_next: ") + kv_strerror(KV_LAGGED);
        return what + "; begin again behind the checkpoint of LSN " + std::to_string(checkpoint_lsn);
    }

    uint64_t checkpoint_lsn_;
};

/* Not part of the interface. */
namespace detail {

class Category final : public std::error_category {
public:
    const char *name() const noexcept override
    {
        return "kvwal";
    }

    std::string message(int code) const override
    {
        return kv_strerror(code);
    }

    /* What a program means that asks for std::errc::no_space_on_device, whoever reports it. */
    std::error_condition default_error_condition(int code) const noexcept override
    {
        switch (code) {
        case KV_INVALID:
            return std::errc::invalid_argument;
        case KV_NO_MEMORY:
            return std::errc::not_enough_memory;
        case KV_IO:
            return std::errc::io_error;
        case KV_NO_SPACE:
            return std::errc::no_space_on_device;
        case KV_LOCKED:
            return std::errc::device_or_resource_busy;
        default:
            return {code, *this};
        }
    }
};

/* Throws; where there are no exceptions, ends the program. */
template <class Exception> [[noreturn]] void raise(const Exception &exception)
{
#ifdef __cpp_exceptions
    throw exception;
#else
    static_cast<void>(exception);
    std::abort();
#endif
}

/* Passes a result on; an error is thrown. */
inline int checked(int result)
{
    if (result < 0) {
        raise(Error(make_error_code(static_cast<Errc>(result)), kv_errmsg()));
    }
    return result;
}

/* Passes a result on; an error goes to the caller's error_code, which is cleared otherwise. */
inline int checked(int result, std::error_code &error) noexcept
{
    error = result < 0 ? make_error_code(static_cast<Errc>(result)) : std::error_code();
    return result;
}

/* Whether C would see only the beginning of it. */
inline bool has_nul(const std::string &path) noexcept
{
    return path.find('\0') != std::string::npos;
}

/* A path as C takes it, or NULL, which every call refuses, if a NUL would cut it or one of the others short. */
template <class... Others> const char *c_path(const std::string &path, const Others &...others) noexcept
{
    return (has_nul(path) || ... || has_nul(others)) ? nullptr : path.c_str();
}

/* The same, with words for what C cannot see. */
template <class... Others> const char *checked_path(const std::string &path, const Others &...others)
{
    if (c_path(path, others...) == nullptr) {
        raise(Error(make_error_code(Errc::invalid), "the path has a NUL in it"));
    }
    return path.c_str();
}

/* A path that may be left out, and then is empty. */
inline const char *c_optional_path(const std::string &path) noexcept
{
    return path.empty() ? nullptr : path.c_str();
}

/* Milliseconds as C takes them. None and less than none are 0. */
inline uint64_t c_milliseconds(std::chrono::milliseconds time) noexcept
{
    return time.count() > 0 ? static_cast<uint64_t>(time.count()) : 0;
}

/* Frees, closes and gives back whatever kvwal.h hands out. */
struct Release {
    void operator()(kv_store *store) const noexcept
    {
        static_cast<void>(kv_close(store));
    }
    void operator()(kv_batch *batch) const noexcept
    {
        kv_batch_free(batch);
    }
    void operator()(kv_tail *tail) const noexcept
    {
        static_cast<void>(kv_tail_close(tail));
    }
    void operator()(wal_writer *log) const noexcept
    {
        static_cast<void>(wal_close(log));
    }
    void operator()(void *value) const noexcept
    {
        kv_free(value);
    }
};

template <class Handle> using Owned = std::unique_ptr<Handle, Release>;

/*
 * A caller's function on its way through C. No exception may pass the frames of C, so it is caught below them, ends the
 * walk or the transaction, and is thrown again above them.
 */
template <class Visit> class Passenger {
public:
    explicit Passenger(Visit &visit) noexcept : visit_(visit)
    {
    }

    /* What C gets: 0 to go on. */
    template <class... Arguments> int call(Arguments &&...arguments) noexcept
    {
#ifdef __cpp_exceptions
        try {
            return goes_on(std::forward<Arguments>(arguments)...) ? 0 : 1;
        } catch (...) {
            thrown_ = std::current_exception();
            return 1;
        }
#else
        return goes_on(std::forward<Arguments>(arguments)...) ? 0 : 1;
#endif
    }

    /* Called when C has returned. */
    void arrive() const
    {
        if (thrown_ != nullptr) {
            std::rethrow_exception(thrown_);
        }
    }

private:
    template <class... Arguments> bool goes_on(Arguments &&...arguments)
    {
        if constexpr (std::is_void_v<std::invoke_result_t<Visit &, Arguments...>>) {
            visit_(std::forward<Arguments>(arguments)...);
            return true;
        } else {
            return static_cast<bool>(visit_(std::forward<Arguments>(arguments)...));
        }
    }

    Visit &visit_;
    std::exception_ptr thrown_ = nullptr;
};

inline std::string_view view(const void *bytes, std::size_t len) noexcept
{
    return {static_cast<const char *>(bytes), len};
}

} // namespace detail

inline const std::error_category &category() noexcept
{
    static const detail::Category instance;
    return instance;
}

/* ---- The records of the log ---- */

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

/* Why a record cannot exist, if wal_record has no way to express it; kvwal.h refuses the others itself. */
inline const char *impossible(const WALRecord &record) noexcept
{
    switch (record.op) {
    case WALOp::PUT:
        return nullptr;
    case WALOp::DELETE:
        return record.expires_at ? "a DELETE has no expires_at" : nullptr;
    }
    return "op is neither PUT nor DELETE";
}

/* The op byte; 0, which is none, for what would otherwise be taken for something else. */
inline uint8_t op_to_wire(const WALRecord &record) noexcept
{
    if (impossible(record) != nullptr) {
        return 0;
    }
    const uint8_t put = record.expires_at ? WAL_OP_PUT_EXPIRING : WAL_OP_PUT;
    const uint8_t op = record.op == WALOp::DELETE ? uint8_t{WAL_OP_DELETE} : put;
    return static_cast<uint8_t>(op | (record.in_batch ? WAL_OP_BATCH : 0));
}

/* The record in the terms of kvwal.h; it points into the original. */
inline wal_record to_c(const WALRecord &record) noexcept
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
 * The bytes of a record, as they stand in the log; none, and an error, for a record that cannot exist. Does not block.
 */
inline std::vector<uint8_t> serialize_wal_record(const WALRecord &record, std::error_code &error)
{
    const wal_record c = detail::to_c(record);
    std::size_t size = 0;
    int result = wal_record_encode(&c, nullptr, 0, &size);
    std::vector<uint8_t> bytes(size);
    if (result == KV_BUFFER) {
        result = wal_record_encode(&c, bytes.data(), bytes.size(), &size);
    }
    detail::checked(result, error);
    return bytes;
}

/*
 * The same. Throws std::invalid_argument for a record that cannot exist: with the words of kv_errmsg() if a key or
 * value is too long or a DELETE has a value, with its own if a DELETE has an expiry or the op is unknown, which kvwal.h
 * has no way to ask for.
 */
inline std::vector<uint8_t> serialize_wal_record(const WALRecord &record)
{
    if (const char *why = detail::impossible(record)) {
        detail::raise(std::invalid_argument(std::string("serialize_wal_record: ") + why));
    }
    std::error_code error;
    std::vector<uint8_t> bytes = serialize_wal_record(record, error);
    if (error) {
        detail::raise(std::invalid_argument(kv_errmsg()));
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

/* ---- The log alone, without a store ---- */

/* What opening a store or reading a log found; see kvwal.h. */
using RecoveryReport = kv_recovery;

namespace detail {

inline RecoveryReport empty_report() noexcept
{
    RecoveryReport report = {};
    report.struct_size = sizeof report;
    return report;
}

template <class Visit> int replay_one(void *ctx, const wal_record *record) noexcept
{
    return static_cast<Passenger<Visit> *>(ctx)->call(*record);
}

/* wal_replay() with a function of the caller's. Copying a record may throw, too, so the passenger does it. */
template <class Visit> int replay(const char *path, uint64_t after_lsn, Visit &&visit, RecoveryReport &report)
{
    auto copying = [&visit](const wal_record &record) { return visit(from_c(record)); };
    Passenger<decltype(copying)> passenger(copying);
    const int result = wal_replay(path, after_lsn, replay_one<decltype(copying)>, &passenger, &report);
    passenger.arrive();
    return result;
}

} // namespace detail

/*
 * Calls visit(const WALRecord &) with each record of a log file whose LSN is above after_lsn, in order, up to the first
 * bad one; see wal_replay(). Changes nothing.
 */
template <class Visit> RecoveryReport replay(const std::string &path, uint64_t after_lsn, Visit &&visit)
{
    RecoveryReport report = detail::empty_report();
    detail::checked(detail::replay(detail::checked_path(path), after_lsn, visit, report));
    return report;
}

template <class Visit>
RecoveryReport replay(const std::string &path, uint64_t after_lsn, Visit &&visit, std::error_code &error)
{
    RecoveryReport report = detail::empty_report();
    detail::checked(detail::replay(detail::c_path(path), after_lsn, visit, report), error);
    return report;
}

/* A log to append to. */
class Log {
public:
    /* No log: close() is fine, every other call is Errc::invalid. */
    Log() noexcept = default;

    /* Opens a log file, creating it if it is missing; see wal_open(). */
    static Log open(const std::string &path)
    {
        wal_writer *handle = nullptr;
        detail::checked(wal_open(detail::checked_path(path), &handle));
        return Log(handle);
    }

    static Log open(const std::string &path, std::error_code &error) noexcept
    {
        wal_writer *handle = nullptr;
        detail::checked(wal_open(detail::c_path(path), &handle), error);
        return Log(handle);
    }

    /* Gives the record the next LSN, and appends it durably; sets its lsn and durable_lsn. See wal_append(). */
    void append(WALRecord &record)
    {
        if (const char *why = detail::impossible(record)) {
            detail::raise(Error(make_error_code(Errc::invalid), why));
        }
        detail::checked(append_and_number(record));
    }

    void append(WALRecord &record, std::error_code &error) noexcept
    {
        detail::checked(append_and_number(record), error);
    }

    /* Closes the log, whatever comes of it. Nothing happens if it is closed. */
    void close()
    {
        detail::checked(wal_close(handle_.release()));
    }

    void close(std::error_code &error) noexcept
    {
        detail::checked(wal_close(handle_.release()), error);
    }

    /* For the functions of kvwal.h; NULL if the log is closed. */
    wal_writer *native_handle() const noexcept
    {
        return handle_.get();
    }

private:
    explicit Log(wal_writer *handle) noexcept : handle_(handle)
    {
    }

    int append_and_number(WALRecord &record) noexcept
    {
        wal_record c = detail::to_c(record);
        const int result = wal_append(handle_.get(), &c);
        if (result == KV_OK) {
            record.lsn = c.lsn;
            record.durable_lsn = c.durable_lsn;
        }
        return result;
    }

    detail::Owned<wal_writer> handle_;
};

/* ---- How to open a store, and what it tells about itself ---- */

/* When a write returns. */
enum class SyncMode : int {
    /* When it is on stable storage. */
    always = KV_SYNC_ALWAYS,
    /* When it is in memory; synced every Options::sync_interval. */
    interval = KV_SYNC_INTERVAL,
    /* When the kernel has it; synced by sync(), checkpoint() and close() alone. */
    none = KV_SYNC_NONE
};

/* What opening does about acknowledged data that was damaged. */
enum class RecoveryMode : int {
    /* Opens with the longest exact prefix, and reports what was cut. */
    prefix = KV_RECOVER_PREFIX,
    /* Refuses with Errc::corrupt, and changes nothing. */
    strict = KV_RECOVER_STRICT
};

/* For sizes in Options: not at all. */
inline constexpr uint64_t never = UINT64_MAX;

/* How to open a store. What is left alone is the default of kv_options, and so is a zero. */
struct Options {
    SyncMode sync = SyncMode::always;
    RecoveryMode recovery = RecoveryMode::prefix;
    /* Time between two syncs in SyncMode::interval. */
    std::chrono::milliseconds sync_interval = std::chrono::milliseconds::zero();
    /* Make a checkpoint in the background when the log exceeds this many bytes. */
    uint64_t checkpoint_wal_bytes = 0;
    /* Keep up to this many zero-filled bytes ahead of the last record. */
    uint64_t preallocate = 0;
    /* Create a store that is missing; otherwise that is Errc::io. */
    bool create = true;
    /* A directory that keeps the logs which checkpoints retire, so that restore() can use them. Empty: none. */
    std::string archive_dir = {};
};

/* Counters and sizes of an open store; see kvwal.h. */
using Stats = kv_stats;

/* What a store's files hold; see kvwal.h. */
using Verified = kv_verified;

/* What restore() makes a store of, and up to where. What is left alone is not given; one directory must be. */
struct RestoreOptions {
    /* A backup, or any other copy of the store's directory, to begin with. */
    std::string backup_dir = {};
    /* What the store was opened with as Options::archive_dir. */
    std::string archive_dir = {};
    /* The store itself, open or not, damaged or not, for what is in its logs still. */
    std::string store_dir = {};
    /* Up to this record, included; a batch that goes on behind it is left out whole. 0: no such limit. */
    uint64_t until_lsn = 0;
    /* What was durable at this time, as far as the archive knows. */
    std::optional<std::chrono::system_clock::time_point> until_time = std::nullopt;
};

/* What was restored; see kvwal.h. */
using Restored = kv_restored;

namespace detail {

inline kv_options to_c(const Options &options) noexcept
{
    kv_options c;
    kv_options_init(&c);
    c.sync = static_cast<int>(options.sync);
    c.recovery = static_cast<int>(options.recovery);
    c.sync_interval_ms = c_milliseconds(options.sync_interval);
    c.checkpoint_wal_bytes = options.checkpoint_wal_bytes;
    c.preallocate = options.preallocate;
    c.no_create = options.create ? 0 : 1;
    c.archive_dir = c_optional_path(options.archive_dir);
    return c;
}

inline Verified nothing_verified() noexcept
{
    Verified verified = {};
    verified.struct_size = sizeof verified;
    return verified;
}

/* Rounded down, so that nothing later is restored; what is given is never 0, which would be no limit. */
inline uint64_t c_time(std::chrono::system_clock::time_point time) noexcept
{
    const auto since_1970 = std::chrono::floor<std::chrono::milliseconds>(time.time_since_epoch());
    return since_1970.count() > 0 ? c_milliseconds(since_1970) : 1;
}

inline kv_restore_options to_c(const RestoreOptions &options) noexcept
{
    kv_restore_options c = {};
    c.struct_size = sizeof c;
    c.backup_dir = c_optional_path(options.backup_dir);
    c.archive_dir = c_optional_path(options.archive_dir);
    c.store_dir = c_optional_path(options.store_dir);
    c.until_lsn = options.until_lsn;
    c.until_ms = options.until_time ? c_time(*options.until_time) : 0;
    return c;
}

inline Restored nothing_restored() noexcept
{
    Restored restored = {};
    restored.struct_size = sizeof restored;
    return restored;
}

} // namespace detail

/*
 * Reads all files of the store in a directory, and says what opening would find; see kv_verify(). Changes nothing, and
 * may run beside an open store. Damage is no error: verdict, refused and reason tell.
 */
inline Verified verify(const std::string &dir)
{
    Verified verified = detail::nothing_verified();
    detail::checked(kv_verify(detail::checked_path(dir), &verified));
    return verified;
}

inline Verified verify(const std::string &dir, std::error_code &error) noexcept
{
    Verified verified = detail::nothing_verified();
    detail::checked(kv_verify(detail::c_path(dir), &verified), error);
    return verified;
}

/*
 * Makes a store in a directory that is empty or not there, as it was after some record or at some time, out of a backup,
 * an archive, and the store's own logs. Verified and durable when it returns; see kv_restore().
 */
inline Restored restore(const std::string &dest_dir, const RestoreOptions &options)
{
    const kv_restore_options c = detail::to_c(options);
    const char *dest = detail::checked_path(dest_dir, options.backup_dir, options.archive_dir, options.store_dir);
    Restored restored = detail::nothing_restored();
    detail::checked(kv_restore(dest, &c, &restored));
    return restored;
}

inline Restored restore(const std::string &dest_dir, const RestoreOptions &options, std::error_code &error) noexcept
{
    const kv_restore_options c = detail::to_c(options);
    const char *dest = detail::c_path(dest_dir, options.backup_dir, options.archive_dir, options.store_dir);
    Restored restored = detail::nothing_restored();
    detail::checked(kv_restore(dest, &c, &restored), error);
    return restored;
}

/* ---- Batches and transactions ---- */

/* Changes that Store::write() makes all at once or not at all. */
class Batch {
public:
    /* An empty batch. Throws std::bad_alloc if there is no memory for one. */
    Batch() : handle_(kv_batch_new())
    {
        if (handle_ == nullptr) {
            detail::raise(std::bad_alloc());
        }
    }

    explicit Batch(std::error_code &error) noexcept : handle_(kv_batch_new())
    {
        detail::checked(handle_ != nullptr ? KV_OK : KV_NO_MEMORY, error);
    }

    /* Adds "set key to value". */
    void set(std::string_view key, std::string_view value)
    {
        detail::checked(kv_batch_set(handle_.get(), key.data(), key.size(), value.data(), value.size()));
    }

    void set(std::string_view key, std::string_view value, std::error_code &error) noexcept
    {
        detail::checked(kv_batch_set(handle_.get(), key.data(), key.size(), value.data(), value.size()), error);
    }

    /* Adds "delete key"; a key that is not there when the batch is written is no error. */
    void del(std::string_view key)
    {
        detail::checked(kv_batch_del(handle_.get(), key.data(), key.size()));
    }

    void del(std::string_view key, std::error_code &error) noexcept
    {
        detail::checked(kv_batch_del(handle_.get(), key.data(), key.size()), error);
    }

    /* Empties the batch, to be filled again. */
    void clear()
    {
        detail::checked(kv_batch_clear(handle_.get()));
    }

    void clear(std::error_code &error) noexcept
    {
        detail::checked(kv_batch_clear(handle_.get()), error);
    }

    /* For the functions of kvwal.h; NULL if the batch was moved from. */
    kv_batch *native_handle() const noexcept
    {
        return handle_.get();
    }

private:
    detail::Owned<kv_batch> handle_;
};

/*
 * The store as the function of Store::transact() sees it: with its own changes, while nobody else makes any. Good until
 * that function returns, on the thread that it runs on. Nothing here waits for the disk.
 */
class Transaction {
public:
    /* What kv_transact() has passed to a function. */
    explicit Transaction(kv_txn *handle) noexcept : handle_(handle)
    {
    }
    Transaction(const Transaction &) = delete;
    Transaction &operator=(const Transaction &) = delete;

    /* The value of a key, if the key is there. The view is good until the function returns. */
    std::optional<std::string_view> get(std::string_view key) const
    {
        std::optional<std::string_view> value;
        detail::checked(look_up(key, value));
        return value;
    }

    std::optional<std::string_view> get(std::string_view key, std::error_code &error) const noexcept
    {
        std::optional<std::string_view> value;
        detail::checked(look_up(key, value), error);
        return value;
    }

    /* Sets key to value, replacing an earlier value and its expiry. */
    void set(std::string_view key, std::string_view value)
    {
        detail::checked(kv_txn_set(handle_, key.data(), key.size(), value.data(), value.size()));
    }

    void set(std::string_view key, std::string_view value, std::error_code &error) noexcept
    {
        detail::checked(kv_txn_set(handle_, key.data(), key.size(), value.data(), value.size()), error);
    }

    /* The same, but the key is gone when ttl is over. A ttl of zero or less is Errc::invalid. */
    void set(std::string_view key, std::string_view value, std::chrono::milliseconds ttl)
    {
        detail::checked(set_until(key, value, ttl));
    }

    void set(std::string_view key, std::string_view value, std::chrono::milliseconds ttl,
             std::error_code &error) noexcept
    {
        detail::checked(set_until(key, value, ttl), error);
    }

    /* Deletes a key. False if it was not there. */
    bool del(std::string_view key)
    {
        return detail::checked(kv_txn_del(handle_, key.data(), key.size())) == KV_OK;
    }

    bool del(std::string_view key, std::error_code &error) noexcept
    {
        return detail::checked(kv_txn_del(handle_, key.data(), key.size()), error) == KV_OK;
    }

    /* For the functions of kvwal.h. */
    kv_txn *native_handle() const noexcept
    {
        return handle_;
    }

private:
    int look_up(std::string_view key, std::optional<std::string_view> &value) const noexcept
    {
        const void *bytes = nullptr;
        std::size_t len = 0;
        const int result = kv_txn_get(handle_, key.data(), key.size(), &bytes, &len);
        if (result == KV_OK) {
            value = detail::view(bytes, len);
        }
        return result;
    }

    int set_until(std::string_view key, std::string_view value, std::chrono::milliseconds ttl) noexcept
    {
        const uint64_t ttl_ms = detail::c_milliseconds(ttl);
        return kv_txn_set_ttl(handle_, key.data(), key.size(), value.data(), value.size(), ttl_ms);
    }

    kv_txn *handle_;
};

/* ---- The change feed ---- */

/* For Tail::next(): as long as it takes. */
inline constexpr std::chrono::milliseconds forever = std::chrono::milliseconds::max();

/* Not part of the interface. */
namespace detail {

/* A feed that one thread may close while others wait for its records. C allows one call at a time. */
class Feed {
public:
    int open(kv_store *store, uint64_t from_lsn) noexcept
    {
        kv_tail *handle = nullptr;
        const int result = kv_tail_open(store, from_lsn, &handle);
        handle_.reset(handle);
        return result;
    }

    /* kv_tail_next() in small steps, so that whoever wants to close need not wait for long. */
    int next(std::chrono::milliseconds timeout, std::optional<WALRecord> &record)
    {
        constexpr std::chrono::milliseconds most(50);
        const auto began = std::chrono::steady_clock::now();
        const std::lock_guard<std::mutex> one_at_a_time(busy_);
        for (;;) {
            const auto waited = std::chrono::steady_clock::now() - began;
            const auto left = timeout - std::chrono::duration_cast<std::chrono::milliseconds>(waited);
            const int result = next_of(current(), left < most ? left : most, record);
            if (result != KV_NOT_FOUND || left <= most) {
                return result;
            }
        }
    }

    uint64_t checkpoint_lsn() const noexcept
    {
        return checkpoint_lsn_;
    }

    int close() noexcept
    {
        closing_ = true;
        const std::lock_guard<std::mutex> one_at_a_time(busy_);
        return kv_tail_close(handle_.release());
    }

    kv_tail *native_handle() const noexcept
    {
        return handle_.get();
    }

private:
    /* NULL, which every call refuses, as soon as somebody wants to close. */
    kv_tail *current() const noexcept
    {
        return closing_ ? nullptr : handle_.get();
    }

    int next_of(kv_tail *handle, std::chrono::milliseconds timeout, std::optional<WALRecord> &record)
    {
        wal_record c = {};
        const int result = kv_tail_next(handle, static_cast<uint32_t>(c_milliseconds(timeout)), &c);
        checkpoint_lsn_ = kv_tail_checkpoint_lsn(handle);
        if (result == KV_OK) {
            record = from_c(c);
        }
        return result;
    }

    Owned<kv_tail> handle_;
    std::mutex busy_;
    std::atomic<bool> closing_ = {false};
    std::atomic<uint64_t> checkpoint_lsn_ = {0};
};

} // namespace detail

/*
 * The durable records of an open store, in order, each once; what Store::tail() opens. See kv_tail_next().
 *
 * When the next record is in no log any more, next() throws Lagged, or sets Errc::lagged: then begin again with what
 * the store holds now, by scan() or with a backup, and a feed from checkpoint_lsn() + 1.
 */
class Tail {
public:
    /* No feed: close() is fine, next() is Errc::invalid. */
    Tail() noexcept = default;

    /*
     * Waits for the next record; empty if none came within the time. Errc::invalid as soon as another thread closes the
     * feed or the store. Several threads take turns. A record for whose copy there is no memory (std::bad_alloc) does
     * not come again on this feed: open another one.
     */
    std::optional<WALRecord> next(std::chrono::milliseconds timeout = forever)
    {
        std::optional<WALRecord> record;
        if (detail::checked(wait(timeout, record)) == KV_LAGGED) {
            detail::raise(Lagged(checkpoint_lsn()));
        }
        return record;
    }

    std::optional<WALRecord> next(std::chrono::milliseconds timeout, std::error_code &error)
    {
        std::optional<WALRecord> record;
        if (detail::checked(wait(timeout, record), error) == KV_LAGGED) {
            error = make_error_code(Errc::lagged);
        }
        return record;
    }

    /* LSN of the checkpoint to begin again from, if the last next() came to Errc::lagged; otherwise 0. */
    uint64_t checkpoint_lsn() const noexcept
    {
        return feed_ == nullptr ? 0 : feed_->checkpoint_lsn();
    }

    /*
     * Closes the feed; nothing happens if it is closed. May be called while another thread is in next(), which ends
     * within a moment. May come before or after the store's close().
     */
    void close()
    {
        detail::checked(end());
    }

    void close(std::error_code &error) noexcept
    {
        detail::checked(end(), error);
    }

    /* For the functions of kvwal.h; NULL if the feed is closed. */
    kv_tail *native_handle() const noexcept
    {
        return feed_ == nullptr ? nullptr : feed_->native_handle();
    }

private:
    friend class Store;

    explicit Tail(std::unique_ptr<detail::Feed> feed) noexcept : feed_(std::move(feed))
    {
    }

    int wait(std::chrono::milliseconds timeout, std::optional<WALRecord> &record)
    {
        if (feed_ == nullptr) {
            wal_record none = {};
            return kv_tail_next(nullptr, 0, &none);
        }
        return feed_->next(timeout, record);
    }

    int end() noexcept
    {
        return feed_ == nullptr ? KV_OK : feed_->close();
    }

    std::unique_ptr<detail::Feed> feed_;
};

/* ---- The store ---- */

/* Not part of the interface. */
namespace detail {

template <class Visit>
int scan_one(void *ctx, const void *key, std::size_t key_len, const void *value, std::size_t value_len) noexcept
{
    return static_cast<Passenger<Visit> *>(ctx)->call(view(key, key_len), view(value, value_len));
}

template <class Work> int transact_one(void *ctx, kv_txn *handle) noexcept
{
    Transaction transaction(handle);
    return static_cast<Passenger<Work> *>(ctx)->call(transaction);
}

} // namespace detail

/* An open store. */
class Store {
public:
    /* No store: close() is fine, every other call is Errc::invalid. */
    Store() noexcept = default;

    /* Opens the store in a directory, creating it if it is missing, and recovers it first; see kv_open(). */
    static Store open(const std::string &dir, const Options &options = {})
    {
        const kv_options c = detail::to_c(options);
        kv_store *handle = nullptr;
        detail::checked(kv_open(detail::checked_path(dir, options.archive_dir), &c, &handle));
        return Store(handle);
    }

    static Store open(const std::string &dir, const Options &options, std::error_code &error) noexcept
    {
        const kv_options c = detail::to_c(options);
        kv_store *handle = nullptr;
        detail::checked(kv_open(detail::c_path(dir, options.archive_dir), &c, &handle), error);
        return Store(handle);
    }

    /* Sets key to value, replacing an earlier value and its expiry. */
    void set(std::string_view key, std::string_view value)
    {
        detail::checked(kv_set(handle_.get(), key.data(), key.size(), value.data(), value.size()));
    }

    void set(std::string_view key, std::string_view value, std::error_code &error) noexcept
    {
        detail::checked(kv_set(handle_.get(), key.data(), key.size(), value.data(), value.size()), error);
    }

    /* The same, but the key is gone when ttl is over. A ttl of zero or less is Errc::invalid. */
    void set(std::string_view key, std::string_view value, std::chrono::milliseconds ttl)
    {
        detail::checked(set_until(key, value, ttl));
    }

    void set(std::string_view key, std::string_view value, std::chrono::milliseconds ttl,
             std::error_code &error) noexcept
    {
        detail::checked(set_until(key, value, ttl), error);
    }

    /* The value of a key, if the key is there. */
    std::optional<std::string> get(std::string_view key) const
    {
        std::optional<std::string> value;
        detail::checked(look_up(key, value));
        return value;
    }

    std::optional<std::string> get(std::string_view key, std::error_code &error) const
    {
        std::optional<std::string> value;
        detail::checked(look_up(key, value), error);
        return value;
    }

    /*
     * Copies the value of a key into the caller's buffer, allocates nothing, and returns the value's length. If that is
     * more than there is room for, nothing was copied.
     */
    std::optional<std::size_t> get_into(std::string_view key, void *buffer, std::size_t room) const
    {
        std::size_t len = 0;
        const int result = detail::checked(copy_into(key, buffer, room, len));
        return length_if_found(result, len);
    }

    std::optional<std::size_t> get_into(std::string_view key, void *buffer, std::size_t room,
                                        std::error_code &error) const noexcept
    {
        std::size_t len = 0;
        const int result = detail::checked(copy_into(key, buffer, room, len), error);
        return length_if_found(result, len);
    }

    /*
     * The values of many keys, in the order of the keys; several times as fast as one call a key in a large store. The
     * answers are not all as of one moment: scan() is.
     */
    std::vector<std::optional<std::string>> get_many(const std::vector<std::string_view> &keys) const
    {
        std::vector<std::optional<std::string>> values(keys.size());
        detail::checked(look_up_all(keys, values));
        return values;
    }

    std::vector<std::optional<std::string>> get_many(const std::vector<std::string_view> &keys,
                                                     std::error_code &error) const
    {
        std::vector<std::optional<std::string>> values(keys.size());
        if (detail::checked(look_up_all(keys, values), error) < 0) {
            values.clear();
        }
        return values;
    }

    /* Deletes a key. False if it was not there. */
    bool del(std::string_view key)
    {
        return detail::checked(kv_del(handle_.get(), key.data(), key.size())) == KV_OK;
    }

    bool del(std::string_view key, std::error_code &error) noexcept
    {
        return detail::checked(kv_del(handle_.get(), key.data(), key.size()), error) == KV_OK;
    }

    /* Makes all changes of a batch or none, with one sync. The batch stays as it is. */
    void write(const Batch &batch)
    {
        detail::checked(kv_write(handle_.get(), batch.native_handle()));
    }

    void write(const Batch &batch, std::error_code &error) noexcept
    {
        detail::checked(kv_write(handle_.get(), batch.native_handle()), error);
    }

    /* Sets key to value if it is not there. False if it is; then it stays as it is. */
    bool set_if_absent(std::string_view key, std::string_view value)
    {
        return detail::checked(set_absent(key, value)) == KV_OK;
    }

    bool set_if_absent(std::string_view key, std::string_view value, std::error_code &error) noexcept
    {
        return detail::checked(set_absent(key, value), error) == KV_OK;
    }

    /*
     * Sets key to value, and drops an expiry, if its value is the expected one. False, and nothing changes, if its
     * value is another one or the key is not there.
     */
    bool compare_and_set(std::string_view key, std::string_view expected, std::string_view value)
    {
        return detail::checked(set_expected(key, expected, value)) == KV_OK;
    }

    bool compare_and_set(std::string_view key, std::string_view expected, std::string_view value,
                         std::error_code &error) noexcept
    {
        return detail::checked(set_expected(key, expected, value), error) == KV_OK;
    }

    /*
     * Calls work(Transaction &), once, which reads and changes keys, all of it at one moment: nobody else writes in
     * between. When it returns its changes are made all at once; if it returns false or throws, none is. True if they
     * were made.
     *
     * It runs on this thread, or on another one that is inside a call on this store, while this one waits; kv_errmsg()
     * has the words of the thread that it runs on. Until it returns every writer waits, so it should be quick, wait for
     * nobody, and write to this store by its Transaction alone; see kv_transact().
     */
    template <class Work> bool transact(Work &&work)
    {
        return detail::checked(run(work)) == KV_OK;
    }

    template <class Work> bool transact(Work &&work, std::error_code &error)
    {
        return detail::checked(run(work), error) == KV_OK;
    }

    /*
     * Calls visit(std::string_view key, std::string_view value) with every key that begins with prefix, in byte order,
     * as of the moment of the call. The views are good until visit returns, and visit may use the store.
     */
    template <class Visit> void scan(std::string_view prefix, Visit &&visit) const
    {
        detail::checked(walk(prefix, visit));
    }

    template <class Visit> void scan(std::string_view prefix, Visit &&visit, std::error_code &error) const
    {
        detail::checked(walk(prefix, visit), error);
    }

    /* Makes every earlier write durable; there is nothing to do in SyncMode::always. */
    void sync()
    {
        detail::checked(kv_sync(handle_.get()));
    }

    void sync(std::error_code &error) noexcept
    {
        detail::checked(kv_sync(handle_.get()), error);
    }

    /* Writes a snapshot of the store and retires the log that it covers; see kv_checkpoint(). */
    void checkpoint()
    {
        detail::checked(kv_checkpoint(handle_.get()));
    }

    void checkpoint(std::error_code &error) noexcept
    {
        detail::checked(kv_checkpoint(handle_.get()), error);
    }

    /*
     * Makes a store of its own in a directory that is empty or not there, as of one moment, while readers and writers
     * go on. Verified and durable when it returns; see kv_backup().
     */
    void backup(const std::string &dest_dir) const
    {
        detail::checked(kv_backup(handle_.get(), detail::checked_path(dest_dir)));
    }

    void backup(const std::string &dest_dir, std::error_code &error) const noexcept
    {
        detail::checked(kv_backup(handle_.get(), detail::c_path(dest_dir)), error);
    }

    /* A feed of the durable records, from the record from_lsn on; 1 is the first that there ever was. */
    Tail tail(uint64_t from_lsn) const
    {
        auto feed = std::make_unique<detail::Feed>();
        detail::checked(feed->open(handle_.get(), from_lsn));
        return Tail(std::move(feed));
    }

    Tail tail(uint64_t from_lsn, std::error_code &error) const
    {
        auto feed = std::make_unique<detail::Feed>();
        detail::checked(feed->open(handle_.get(), from_lsn), error);
        return Tail(std::move(feed));
    }

    /* Counters and sizes. */
    Stats stats() const
    {
        Stats stats = empty_stats();
        detail::checked(kv_stats_get(handle_.get(), &stats));
        return stats;
    }

    Stats stats(std::error_code &error) const noexcept
    {
        Stats stats = empty_stats();
        detail::checked(kv_stats_get(handle_.get(), &stats), error);
        return stats;
    }

    /* What opening this store found. */
    RecoveryReport recovery_report() const
    {
        RecoveryReport report = detail::empty_report();
        detail::checked(kv_recovery_report(handle_.get(), &report));
        return report;
    }

    RecoveryReport recovery_report(std::error_code &error) const noexcept
    {
        RecoveryReport report = detail::empty_report();
        detail::checked(kv_recovery_report(handle_.get(), &report), error);
        return report;
    }

    /* Closes the store, whatever comes of it; see kv_close(). Nothing happens if it is closed. */
    void close()
    {
        detail::checked(kv_close(handle_.release()));
    }

    void close(std::error_code &error) noexcept
    {
        detail::checked(kv_close(handle_.release()), error);
    }

    /* For the functions of kvwal.h; NULL if the store is closed. */
    kv_store *native_handle() const noexcept
    {
        return handle_.get();
    }

private:
    explicit Store(kv_store *handle) noexcept : handle_(handle)
    {
    }

    static Stats empty_stats() noexcept
    {
        Stats stats = {};
        stats.struct_size = sizeof stats;
        return stats;
    }

    static std::optional<std::size_t> length_if_found(int result, std::size_t len) noexcept
    {
        return result == KV_OK ? std::optional<std::size_t>(len) : std::nullopt;
    }

    int set_until(std::string_view key, std::string_view value, std::chrono::milliseconds ttl) noexcept
    {
        const uint64_t ttl_ms = detail::c_milliseconds(ttl);
        return kv_set_ttl(handle_.get(), key.data(), key.size(), value.data(), value.size(), ttl_ms);
    }

    int set_absent(std::string_view key, std::string_view value) noexcept
    {
        return kv_set_if_absent(handle_.get(), key.data(), key.size(), value.data(), value.size());
    }

    int set_expected(std::string_view key, std::string_view expected, std::string_view value) noexcept
    {
        return kv_compare_and_set(handle_.get(), key.data(), key.size(), expected.data(), expected.size(), value.data(),
                                  value.size());
    }

    int look_up(std::string_view key, std::optional<std::string> &value) const
    {
        void *bytes = nullptr;
        std::size_t len = 0;
        const int result = kv_get(handle_.get(), key.data(), key.size(), &bytes, &len);
        const detail::Owned<void> owner(bytes);
        if (result == KV_OK) {
            value.emplace(static_cast<const char *>(bytes), len);
        }
        return result;
    }

    /* A buffer that is too small is an answer here, not an error. */
    int copy_into(std::string_view key, void *buffer, std::size_t room, std::size_t &len) const noexcept
    {
        const int result = kv_get_into(handle_.get(), key.data(), key.size(), buffer, room, &len);
        return result == KV_BUFFER ? KV_OK : result;
    }

    /* As many keys at a time as it takes to overlap the waits for memory; buffers for their values fit the stack. */
    int look_up_all(const std::vector<std::string_view> &keys, std::vector<std::optional<std::string>> &values) const
    {
        constexpr std::size_t step = 64;
        for (std::size_t first = 0; first < keys.size(); first += step) {
            const std::size_t count = keys.size() - first < step ? keys.size() - first : step;
            const int result = look_up_some<step>(&keys[first], &values[first], count);
            if (result < 0) {
                return result;
            }
        }
        return keys.empty() ? kv_get_many(handle_.get(), nullptr, 0) : KV_OK;
    }

    /* A value that is too long for its buffer is fetched by itself. */
    template <std::size_t most>
    int look_up_some(const std::string_view *keys, std::optional<std::string> *values, std::size_t count) const
    {
        constexpr std::size_t room = 256;
        char buffers[most][room];
        kv_lookup lookups[most];
        for (std::size_t at = 0; at < count; at++) {
            lookups[at] = {keys[at].data(), keys[at].size(), buffers[at], room, 0, KV_OK};
        }
        int result = kv_get_many(handle_.get(), lookups, count);
        for (std::size_t at = 0; at < count && result >= 0; at++) {
            if (lookups[at].result == KV_OK) {
                values[at].emplace(buffers[at], lookups[at].value_len);
            } else if (lookups[at].result == KV_BUFFER) {
                result = look_up(keys[at], values[at]);
            }
        }
        return result;
    }

    template <class Visit> int walk(std::string_view prefix, Visit &visit) const
    {
        detail::Passenger<Visit> passenger(visit);
        const int result =
            kv_scan(handle_.get(), prefix.data(), prefix.size(), detail::scan_one<Visit>, &passenger);
        passenger.arrive();
        return result;
    }

    template <class Work> int run(Work &work)
    {
        detail::Passenger<Work> passenger(work);
        const int result = kv_transact(handle_.get(), detail::transact_one<Work>, &passenger);
        passenger.arrive();
        return result;
    }

    detail::Owned<kv_store> handle_;
};

} // namespace kvwal

template <> struct std::is_error_code_enum<kvwal::Errc> : std::true_type {};

#ifndef KVWAL_NO_GLOBAL_NAMES
using kvwal::deserialize_wal_record;
using kvwal::serialize_wal_record;
using kvwal::WALOp;
using kvwal::WALRecord;
#endif

#endif /* KVWAL_HPP */
