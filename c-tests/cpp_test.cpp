/*
 * kvwal.hpp as a C++ program uses it: stores, batches and logs, in the form that throws and in the form that does not.
 * What the calls below it do is tested in C; here it matters that nothing gets lost on the way, that errors arrive with
 * their code and words, that no exception passes through C, and that handles are closed once.
 *
 * Compiled without exceptions, too; then the tests of what is thrown are replaced by one of what happens instead.
 *
 * Exits non-zero as soon as a check fails.
 */
#include "kvwal.hpp"

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <map>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

namespace {

using kvwal::Errc;
using std::chrono_literals::operator""ms;
using std::chrono_literals::operator""h;

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

/* A call of the form that does not throw, with a std::error_code named error, which is set to something else first. */
#define CHECK_AFTER(call, condition)                                                                                   \
    do {                                                                                                               \
        std::error_code error = Errc::internal;                                                                        \
        call;                                                                                                          \
        if (!(condition))                                                                                              \
            fail(__LINE__, #call " gave '" + error.message() + "'; kv_errmsg: " + kv_errmsg());                        \
    } while (0)

#define CHECK_ERROR(call, expected) CHECK_AFTER(call, error == (expected))
#define CHECK_FINE(call) CHECK_AFTER(call, !error)

/* A call of the form that throws, with some of the words that it has to say. */
#define CHECK_THROWS(call, expected, words) check_throws(__LINE__, [&] { static_cast<void>(call); }, expected, words)

#ifdef __cpp_exceptions
template <class Call> void check_throws(int line, Call call, Errc expected, const std::string &words)
{
    try {
        call();
    } catch (const kvwal::Error &error) {
        if (error.code() != expected || std::strstr(error.what(), words.c_str()) == nullptr) {
            fail(line, std::string("thrown: ") + error.code().message() + ", in words: " + error.what());
        }
        return;
    }
    fail(line, "nothing was thrown");
}
#else
template <class Call> void check_throws(int, Call, Errc, const std::string &)
{
}
#endif

/*
 * Runs a part of a test in a child, and waits for it. What the child has of the parent's stores nothing frees, not even
 * close(): so another program takes its place in the end, without a word of valgrind about it.
 */
template <class Part> void in_child(Part part)
{
    std::fflush(stdout);
    const pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        part();
        execlp("true", "true", static_cast<char *>(nullptr));
        fail(__LINE__, "there is no program true");
    }
    int status = 0;
    CHECK(waitpid(child, &status, 0) == child);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

/* A directory that is gone with its owner. */
class TempDir {
public:
    TempDir()
    {
        path_ = (std::filesystem::temp_directory_path() / "kvwal-cpp-XXXXXX").string();
        CHECK(mkdtemp(path_.data()) != nullptr);
    }
    TempDir(const TempDir &) = delete;
    TempDir &operator=(const TempDir &) = delete;
    ~TempDir()
    {
        std::error_code ignored;
        std::filesystem::remove_all(path_, ignored);
    }

    std::string operator/(const char *name) const
    {
        return path_ + "/" + name;
    }

private:
    std::string path_;
};

kvwal::Options only_existing()
{
    kvwal::Options options;
    options.create = false;
    return options;
}

kvwal::Options strict()
{
    kvwal::Options options;
    options.recovery = kvwal::RecoveryMode::strict;
    return options;
}

std::string every_byte()
{
    std::string bytes;
    for (int byte = 0; byte < 256; byte++) {
        bytes.push_back(static_cast<char>(byte));
    }
    return bytes;
}

using Pairs = std::vector<std::pair<std::string, std::string>>;

Pairs all_with(const kvwal::Store &store, std::string_view prefix)
{
    Pairs pairs;
    store.scan(prefix, [&pairs](std::string_view key, std::string_view value) { pairs.emplace_back(key, value); });
    return pairs;
}

/* ---- Types ---- */

template <class Owner> constexpr bool moves_only()
{
    return std::is_nothrow_move_constructible_v<Owner> && std::is_nothrow_move_assignable_v<Owner> &&
           !std::is_copy_constructible_v<Owner> && !std::is_copy_assignable_v<Owner>;
}

void test_types()
{
    static_assert(moves_only<kvwal::Store>() && moves_only<kvwal::Batch>() && moves_only<kvwal::Log>());
    static_assert(std::is_base_of_v<std::runtime_error, kvwal::Error>);
    static_assert(std::is_nothrow_copy_constructible_v<kvwal::Error>);

    [[maybe_unused]] std::error_code error;
    [[maybe_unused]] kvwal::Store store;
    [[maybe_unused]] kvwal::Batch batch(error);
    [[maybe_unused]] char room[1];
    [[maybe_unused]] const std::chrono::milliseconds ttl = 1ms;
    static_assert(noexcept(store.set("", "", error)) && noexcept(store.set("", "", ttl, error)));
    static_assert(noexcept(store.del("", error)) && noexcept(store.write(batch, error)));
    static_assert(noexcept(store.get_into("", room, 1, error)) && noexcept(store.stats(error)));
    static_assert(noexcept(store.close(error)) && !noexcept(store.close()) && !noexcept(store.set("", "")));
    static_assert(std::is_same_v<decltype(store.get("")), std::optional<std::string>>);
}

/* ---- Stores ---- */

void test_set_get_del()
{
    const TempDir dir;
    {
        kvwal::Store store = kvwal::Store::open(dir / "store");
        store.set("name", "Ada");
        store.set(every_byte(), every_byte());
        CHECK_FINE(store.set("", "", error));
        store.set("gone", "soon");
        CHECK(store.del("gone") && !store.del("gone"));
        CHECK_FINE(CHECK(!store.del("gone", error)));
    }
    kvwal::Store store = kvwal::Store::open(dir / "store", only_existing());
    CHECK(store.get("name") == "Ada");
    CHECK(store.get(every_byte()) == every_byte());
    CHECK(store.get("") == "");
    CHECK(store.get("gone") == std::nullopt);
    CHECK_FINE(CHECK(store.get("name", error) == "Ada"));
    CHECK_FINE(CHECK(store.get("gone", error) == std::nullopt));
    store.close();
}

void test_get_into()
{
    const TempDir dir;
    kvwal::Store store = kvwal::Store::open(dir / "store");
    char buffer[4] = "...";

    store.set("name", "Ada");
    CHECK(store.get_into("name", buffer, 2) == 3u);
    CHECK(std::string(buffer) == "...");
    CHECK(store.get_into("name", buffer, 3) == 3u);
    CHECK(std::string(buffer) == "Ada");
    CHECK(store.get_into("missing", buffer, 3) == std::nullopt);
    CHECK_FINE(CHECK(store.get_into("name", nullptr, 0, error) == 3u));
    CHECK_FINE(CHECK(store.get_into("missing", buffer, 3, error) == std::nullopt));
}

/* More keys than are looked up at a time, some of them missing, some values too long for the first try. */
void test_get_many()
{
    const TempDir dir;
    kvwal::Store store = kvwal::Store::open(dir / "store");
    std::vector<std::string> names;
    std::vector<std::optional<std::string>> expected;
    kvwal::Batch batch;
    for (std::size_t number = 0; number < 200; number++) {
        names.push_back("key/" + std::to_string(number));
        expected.push_back(std::nullopt);
        if (number % 3 != 0) {
            expected.back() = std::string(number * 5, 'v');
            batch.set(names.back(), *expected.back());
        }
    }
    store.write(batch);

    const std::vector<std::string_view> keys(names.begin(), names.end());
    CHECK(store.get_many(keys) == expected);
    CHECK_FINE(CHECK(store.get_many(keys, error) == expected));
    CHECK(store.get_many({}).empty());
    CHECK(store.get_many({"key/0", "key/1"}) == std::vector<std::optional<std::string>>({std::nullopt, "vvvvv"}));

    const std::string too_long(KV_MAX_KEY_LEN + 1, 'k');
    CHECK_THROWS(store.get_many({"key/1", too_long}), Errc::too_large, "kv_get_many");
    CHECK_ERROR(CHECK(store.get_many({"key/1", too_long}, error).empty()), Errc::too_large);
}

void test_ttl()
{
    const TempDir dir;
    kvwal::Store store = kvwal::Store::open(dir / "store");

    store.set("session", "token", 1h);
    CHECK_FINE(store.set("blink", "of an eye", 1ms, error));
    usleep(20 * 1000);
    CHECK(store.get("session") == "token");
    CHECK(store.get("blink") == std::nullopt);
    CHECK_THROWS(store.set("never", "there", -1h), Errc::invalid, "kv_set_ttl");
    CHECK_ERROR(store.set("never", "there", 0ms, error), Errc::invalid);
    CHECK(store.get("never") == std::nullopt);
}

void test_batch()
{
    const TempDir dir;
    kvwal::Store store = kvwal::Store::open(dir / "store");
    kvwal::Batch batch;

    store.set("old", "1");
    batch.set("a", "1");
    CHECK_FINE(batch.set("b", "2", error));
    batch.del("old");
    CHECK_FINE(batch.del("never there", error));
    CHECK_THROWS(batch.set(std::string(KV_MAX_KEY_LEN + 1, 'k'), ""), Errc::too_large, "kv_batch_set");
    CHECK_ERROR(batch.del(std::string(KV_MAX_KEY_LEN + 1, 'k'), error), Errc::too_large);
    const uint64_t commits = store.stats().commits;
    store.write(batch);
    CHECK(store.stats().commits == commits + 1);
    CHECK(all_with(store, "") == Pairs({{"a", "1"}, {"b", "2"}}));

    store.del("a");
    CHECK_FINE(store.write(batch, error));
    CHECK(store.get("a") == "1");

    batch.clear();
    batch.set("c", "3");
    kvwal::Batch moved = std::move(batch);
    store.write(moved);
    CHECK(all_with(store, "") == Pairs({{"a", "1"}, {"b", "2"}, {"c", "3"}}));
    CHECK_THROWS(batch.set("d", "4"), Errc::invalid, "b is NULL");
    CHECK_ERROR(batch.clear(error), Errc::invalid);
    CHECK_ERROR(store.write(batch, error), Errc::invalid);
}

void test_scan()
{
    const TempDir dir;
    kvwal::Store store = kvwal::Store::open(dir / "store");
    for (const char *key : {"b/2", "a/1", "b/1", "c/1", "b/3"}) {
        store.set(key, every_byte());
    }
    CHECK(all_with(store, "b/") == Pairs({{"b/1", every_byte()}, {"b/2", every_byte()}, {"b/3", every_byte()}}));
    CHECK(all_with(store, "").size() == 5);
    CHECK(all_with(store, "d").empty());

    std::string seen;
    const auto until_b2 = [&seen](std::string_view key, std::string_view) {
        seen += key;
        return key != "b/2";
    };
    CHECK_FINE(store.scan("", until_b2, error));
    CHECK(seen == "a/1b/1b/2");

    store.scan("b/", [&store](std::string_view key, std::string_view) { store.del(key); });
    CHECK(all_with(store, "").size() == 2);
}

void test_report_and_stats()
{
    const TempDir dir;
    kvwal::Options relaxed;
    relaxed.sync = kvwal::SyncMode::interval;
    relaxed.sync_interval = 1h;
    relaxed.checkpoint_wal_bytes = kvwal::never;
    {
        kvwal::Store store = kvwal::Store::open(dir / "store", relaxed);
        store.set("a", "1");
        CHECK(store.stats().last_lsn == 1 && store.stats().durable_lsn == 0);
        store.sync();
        CHECK(store.stats().durable_lsn == 1);
        store.checkpoint();
        CHECK(store.stats().checkpoint_lsn == 1);
        store.set("b", "2");
        CHECK_FINE(store.sync(error));
        CHECK_FINE(store.close(error));
    }
    kvwal::Store store = kvwal::Store::open(dir / "store");
    const kvwal::RecoveryReport report = store.recovery_report();
    CHECK(report.verdict == KV_TAIL_CLEAN && report.checkpoint_keys == 1 && report.records_replayed == 1);
    CHECK_FINE(CHECK(store.recovery_report(error).last_lsn == 2));
    CHECK_FINE(CHECK(store.stats(error).keys == 2));
    CHECK_FINE(store.checkpoint(error));
}

/* ---- Errors ---- */

void test_codes()
{
    const std::error_code locked = Errc::locked;
    CHECK(locked.value() == KV_LOCKED && locked.category() == kvwal::category());
    CHECK(locked.message() == kv_strerror(KV_LOCKED) && std::string(locked.category().name()) == "kvwal");
    CHECK(locked == std::errc::device_or_resource_busy && locked != std::errc::io_error);
    CHECK(make_error_code(Errc::no_space) == std::errc::no_space_on_device);
    CHECK(make_error_code(Errc::invalid) == std::errc::invalid_argument);
    CHECK(make_error_code(Errc::no_memory) == std::errc::not_enough_memory);
    CHECK(make_error_code(Errc::io) == std::errc::io_error);
    CHECK(make_error_code(Errc::corrupt).default_error_condition().category() == kvwal::category());
}

void test_open_errors()
{
    const TempDir dir;
    CHECK_THROWS(kvwal::Store::open(dir / "missing", only_existing()), Errc::io, dir / "missing");
    CHECK_ERROR(kvwal::Store::open(dir / "missing", only_existing(), error), Errc::io);
    CHECK(!std::filesystem::exists(dir / "missing"));

    const std::string cut_short = (dir / "store") + std::string("\0.old", 5);
    CHECK_THROWS(kvwal::Store::open(cut_short), Errc::invalid, "NUL");
    CHECK_THROWS(kvwal::Log::open(cut_short), Errc::invalid, "NUL");
    CHECK_THROWS(kvwal::replay(cut_short, 0, [](const WALRecord &) {}), Errc::invalid, "NUL");
    CHECK_ERROR(kvwal::Store::open(cut_short, {}, error), Errc::invalid);
    CHECK_ERROR(kvwal::Log::open(cut_short, error), Errc::invalid);
    CHECK_ERROR(kvwal::replay(cut_short, 0, [](const WALRecord &) {}, error), Errc::invalid);
    CHECK(!std::filesystem::exists(dir / "store"));
}

void test_too_large()
{
    const TempDir dir;
    kvwal::Store store = kvwal::Store::open(dir / "store");
    const std::string too_long(KV_MAX_KEY_LEN + 1, 'k');
    CHECK_THROWS(store.set(too_long, ""), Errc::too_large, "kv_set");
    CHECK_THROWS(store.get(too_long), Errc::too_large, "kv_get");
    CHECK_THROWS(store.del(too_long), Errc::too_large, "kv_del");
    CHECK_ERROR(store.set(too_long, "", error), Errc::too_large);
    CHECK_ERROR(CHECK(store.get(too_long, error) == std::nullopt), Errc::too_large);
    CHECK_ERROR(CHECK(store.get_into(too_long, nullptr, 0, error) == std::nullopt), Errc::too_large);
    CHECK(store.stats().keys == 0);
}

void test_locked()
{
    const TempDir dir;
    kvwal::Store store = kvwal::Store::open(dir / "store");
    const std::string owner = std::to_string(getpid());
    const auto refused = [&] {
        CHECK_THROWS(kvwal::Store::open(dir / "store"), Errc::locked, owner);
        CHECK_ERROR(kvwal::Store::open(dir / "store", {}, error), Errc::locked);
        CHECK(std::strstr(kv_errmsg(), owner.c_str()) != nullptr);
    };
    refused();
    in_child(refused);
    store.close();
    kvwal::Store::open(dir / "store").close();
}

void test_forked()
{
    const TempDir dir;
    kvwal::Store store = kvwal::Store::open(dir / "store");
    store.set("name", "Ada");
    const auto refused = [&store] {
        CHECK_THROWS(store.get("name"), Errc::forked, "kv_get");
        CHECK_ERROR(store.set("name", "Eve", error), Errc::forked);
        CHECK_ERROR(store.close(error), Errc::forked);
    };
    in_child(refused);
    CHECK(store.get("name") == "Ada");
}

void flip_bit_at(const std::string &path, std::streamoff offset)
{
    std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
    file.seekg(offset);
    const int byte = file.get();
    CHECK(byte != EOF);
    file.seekp(offset);
    file.put(static_cast<char>(byte ^ 1));
    CHECK(file.good());
}

void test_damaged()
{
    const TempDir dir;
    {
        kvwal::Store store = kvwal::Store::open(dir / "store");
        for (const char *key : {"1", "2", "3"}) {
            store.set(key, "value");
        }
    }
    flip_bit_at(dir / "store/wal.log", 50);
    CHECK_THROWS(kvwal::Store::open(dir / "store", strict()), Errc::corrupt, "wal.log");
    CHECK_ERROR(kvwal::Store::open(dir / "store", strict(), error), Errc::corrupt);

    kvwal::Store store = kvwal::Store::open(dir / "store");
    const kvwal::RecoveryReport report = store.recovery_report();
    CHECK(report.verdict == KV_TAIL_DAMAGED && report.last_lsn == 1 && report.records_behind == 1);
    CHECK(all_with(store, "") == Pairs({{"1", "value"}}));
}

/* A limit on the size of files stands for a full disk; it heals when it is lifted. */
void test_no_space()
{
    const TempDir dir;
    const auto part = [&dir] {
        kvwal::Store store = kvwal::Store::open(dir / "store");
        rlimit limit;
        CHECK(getrlimit(RLIMIT_FSIZE, &limit) == 0);
        const rlimit full = {64 * 1024, limit.rlim_max};
        CHECK(setrlimit(RLIMIT_FSIZE, &full) == 0);
        const std::string value(128 * 1024, 'v');
        CHECK_THROWS(store.set("large", value), Errc::no_space, "wal.log");
        CHECK_ERROR(store.set("large", value, error), Errc::no_space);
        CHECK(store.get("large") == std::nullopt);
        CHECK(setrlimit(RLIMIT_FSIZE, &limit) == 0);
        CHECK_FINE(store.set("large", value, error));
    };
    in_child(part);
    CHECK(kvwal::Store::open(dir / "store").get("large") == std::string(128 * 1024, 'v'));
}

/* ---- Handles ---- */

/* What a store that is closed, moved from, or was never open, answers. */
void check_no_store(kvwal::Store &store)
{
    CHECK(store.native_handle() == nullptr);
    CHECK_THROWS(store.set("a", "1"), Errc::invalid, "kv_set");
    CHECK_THROWS(store.scan("", [](auto, auto) {}), Errc::invalid, "kv_scan");
    CHECK_THROWS(store.stats(), Errc::invalid, "kv_stats_get");
    CHECK_ERROR(store.get("a", error), Errc::invalid);
    CHECK_ERROR(store.get_many({}, error), Errc::invalid);
    CHECK_ERROR(store.get_many({"a"}, error), Errc::invalid);
    CHECK_ERROR(store.del("a", error), Errc::invalid);
    CHECK_ERROR(store.sync(error), Errc::invalid);
    CHECK_ERROR(store.checkpoint(error), Errc::invalid);
    CHECK_ERROR(store.recovery_report(error), Errc::invalid);
    store.close();
    CHECK_FINE(store.close(error));
}

void test_no_store()
{
    const TempDir dir;
    kvwal::Store never_open;
    check_no_store(never_open);

    kvwal::Store first = kvwal::Store::open(dir / "first");
    first.set("name", "first");
    kvwal::Store moved = std::move(first);
    check_no_store(first);
    CHECK(moved.get("name") == "first");

    // Assigning closes what was there: another handle can open it.
    kvwal::Store second = kvwal::Store::open(dir / "second");
    second = std::move(moved);
    CHECK(second.get("name") == "first");
    kvwal::Store::open(dir / "second").close();

    second.close();
    check_no_store(second);
    kvwal::Store::open(dir / "first").close();
}

/* ---- The log alone ---- */

WALRecord put(const std::string &key, const std::string &value)
{
    WALRecord record;
    record.key = key;
    record.value = value;
    return record;
}

void test_log()
{
    const TempDir dir;
    std::vector<WALRecord> records = {put("a", "1"), put("b", every_byte()), put("c", "")};
    records[2].expires_at = UINT64_MAX;
    {
        kvwal::Log log = kvwal::Log::open(dir / "log");
        log.append(records[0]);
        CHECK_FINE(log.append(records[1], error));
        kvwal::Log moved = std::move(log);
        moved.append(records[2]);
        CHECK(records[2].lsn == 3 && records[2].durable_lsn == 2);
        CHECK_THROWS(log.append(records[0]), Errc::invalid, "wal_append");
        CHECK_FINE(moved.close(error));
        moved.close();
    }
    std::vector<WALRecord> replayed;
    const auto collect = [&replayed](const WALRecord &record) { replayed.push_back(record); };
    CHECK(kvwal::replay(dir / "log", 0, collect).last_lsn == 3);
    CHECK(replayed == records);
    CHECK_FINE(CHECK(kvwal::replay(dir / "log", 2, collect, error).records_replayed == 1));
    CHECK(replayed.size() == 4 && replayed[3] == records[2]);

    int seen = 0;
    kvwal::replay(dir / "log", 0, [&seen](const WALRecord &) { return ++seen < 2; });
    CHECK(seen == 2);
    CHECK_THROWS(kvwal::replay(dir / "missing", 0, collect), Errc::io, dir / "missing");
}

void test_impossible_records()
{
    const TempDir dir;
    kvwal::Log log = kvwal::Log::open(dir / "log");
    WALRecord record = put("a", "");
    record.op = WALOp::DELETE;
    record.expires_at = 1;
    CHECK_THROWS(log.append(record), Errc::invalid, "a DELETE has no expires_at");
    CHECK_ERROR(log.append(record, error), Errc::invalid);
    CHECK_ERROR(CHECK(serialize_wal_record(record, error).empty()), Errc::invalid);
    CHECK(record.lsn == 0);
    record = put("a", "1");
    CHECK_FINE(CHECK(serialize_wal_record(record, error) == serialize_wal_record(record)));
}

/* ---- Exceptions ---- */

#ifdef __cpp_exceptions

struct Mine {
    int number;
};

/* The number thrown by what is called, 0 if nothing is. */
template <class Call> int caught_from(Call call)
{
    try {
        call();
    } catch (const Mine &mine) {
        return mine.number;
    }
    return 0;
}

void test_callback_throws()
{
    const TempDir dir;
    kvwal::Store store = kvwal::Store::open(dir / "store");
    store.set("a", "1");
    store.set("b", "2");
    int calls = 0;
    const auto throwing = [&calls](std::string_view, std::string_view) { throw Mine{++calls}; };
    CHECK(caught_from([&] { store.scan("", throwing); }) == 1);
    std::error_code error;
    CHECK(caught_from([&] { store.scan("", throwing, error); }) == 2);

    // Neither the store nor the next scan knows anything of it.
    CHECK(all_with(store, "") == Pairs({{"a", "1"}, {"b", "2"}}));
    store.close();

    const auto throwing_too = [](const WALRecord &record) { throw Mine{static_cast<int>(record.lsn) + 10}; };
    CHECK(caught_from([&] { kvwal::replay(dir / "store/wal.log", 0, throwing_too); }) == 11);
    CHECK(caught_from([&] { kvwal::replay(dir / "store/wal.log", 1, throwing_too, error); }) == 12);
}

#else

/* Where the other form would throw. */
void test_callback_throws()
{
    const TempDir dir;
    std::fflush(stdout);
    const pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        kvwal::Store::open(dir / "missing", only_existing());
        _exit(0);
    }
    int status = 0;
    CHECK(waitpid(child, &status, 0) == child);
    CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
}

#endif

struct Test {
    const char *name;
    void (*run)();
};

const Test TESTS[] = {
    {"types", test_types},
    {"set, get and del, and once more after opening", test_set_get_del},
    {"get_into", test_get_into},
    {"get_many", test_get_many},
    {"keys that expire", test_ttl},
    {"batches", test_batch},
    {"scans", test_scan},
    {"report and statistics", test_report_and_stats},
    {"codes and conditions", test_codes},
    {"stores that cannot be opened", test_open_errors},
    {"keys that are too long", test_too_large},
    {"a locked store names its owner", test_locked},
    {"a store in a forked child", test_forked},
    {"a damaged store, strictly and not", test_damaged},
    {"a full disk heals", test_no_space},
    {"closed, moved from, never open", test_no_store},
    {"the log alone", test_log},
    {"records that cannot exist", test_impossible_records},
    {"exceptions from callbacks, or none at all", test_callback_throws},
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
