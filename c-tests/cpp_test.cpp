/*
 * kvwal.hpp as a C++ program uses it: stores, batches, transactions, feeds and logs, in the form that throws and in the
 * form that does not. What the calls below it do is tested in C; here it matters that nothing gets lost on the way,
 * that errors arrive with their code and words, that no exception passes through C, and that handles are closed once.
 *
 * Compiled without exceptions, too; then the tests of what is thrown are replaced by one of what happens instead.
 *
 * Exits non-zero as soon as a check fails.
 */
#include "kvwal.hpp"

#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <map>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <thread>
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
    static_assert(moves_only<kvwal::Tail>());
    static_assert(!std::is_copy_constructible_v<kvwal::Transaction>);
    static_assert(!std::is_move_constructible_v<kvwal::Transaction>);
    static_assert(std::is_base_of_v<kvwal::Error, kvwal::Lagged>);
    static_assert(std::is_nothrow_copy_constructible_v<kvwal::Lagged>);
    static_assert(std::is_base_of_v<std::runtime_error, kvwal::Error>);
    static_assert(std::is_nothrow_copy_constructible_v<kvwal::Error>);

    [[maybe_unused]] std::error_code error;
    [[maybe_unused]] kvwal::Store store;
    [[maybe_unused]] kvwal::Batch batch(error);
    [[maybe_unused]] char room[1];
    [[maybe_unused]] const std::string dir;
    [[maybe_unused]] const std::chrono::milliseconds ttl = 1ms;
    static_assert(noexcept(store.set("", "", error)) && noexcept(store.set("", "", ttl, error)));
    static_assert(noexcept(store.del("", error)) && noexcept(store.write(batch, error)));
    static_assert(noexcept(store.get_into("", room, 1, error)) && noexcept(store.stats(error)));
    static_assert(noexcept(store.close(error)) && !noexcept(store.close()) && !noexcept(store.set("", "")));
    static_assert(noexcept(store.set_if_absent("", "", error)) && noexcept(store.compare_and_set("", "", "", error)));
    static_assert(noexcept(kvwal::verify(dir, error)) && noexcept(store.backup(dir, error)));
    static_assert(noexcept(kvwal::restore(dir, {}, error)) && noexcept(kvwal::Store::open(dir, {}, error)));
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

/* ---- Transactions ---- */

using kvwal::Transaction;

void test_transact()
{
    const TempDir dir;
    kvwal::Store store = kvwal::Store::open(dir / "store");
    store.set("there", "before");
    store.set("gone", "soon");
    const uint64_t commits = store.stats().commits;
    int runs = 0;
    const auto change = [&runs](Transaction &transaction) {
        runs++;
        const std::optional<std::string_view> first = transaction.get("there");
        CHECK(first == "before" && transaction.get("none") == std::nullopt);
        transaction.set("there", "after");
        CHECK_FINE(transaction.set(every_byte(), every_byte(), error));
        transaction.set("hour", "1", 1h);
        CHECK_FINE(transaction.set("minute", "2", 60000ms, error));
        CHECK(transaction.del("gone") && !transaction.del("gone"));
        CHECK_FINE(CHECK(!transaction.del("gone", error)));
        CHECK(transaction.get("there") == "after" && transaction.get("gone") == std::nullopt);
        CHECK_FINE(CHECK(transaction.get(every_byte(), error) == every_byte()));
        // What was found stays, although the key has been set since.
        CHECK(first == "before" && kv_txn_set(transaction.native_handle(), "", 0, "", 0) == KV_OK);
    };
    CHECK(store.transact(change));
    CHECK(runs == 1 && store.stats().commits == commits + 1);
    const Pairs all = {
        {"", ""}, {every_byte(), every_byte()}, {"hour", "1"}, {"minute", "2"}, {"there", "after"}};
    CHECK(all_with(store, "") == all);
    CHECK_FINE(CHECK(store.transact([](Transaction &transaction) { return transaction.del(""); }, error)));
    CHECK(store.get("") == std::nullopt);
}

void test_transact_changes_nothing()
{
    const TempDir dir;
    kvwal::Store store = kvwal::Store::open(dir / "store");
    store.set("there", "before");
    const auto refuse = [](Transaction &transaction) {
        transaction.set("there", "after");
        transaction.set("new", "1");
        return false;
    };
    CHECK(!store.transact(refuse));
    CHECK_FINE(CHECK(!store.transact(refuse, error)));
    CHECK(all_with(store, "") == Pairs({{"there", "before"}}));
    CHECK(store.stats().commits == 1);
}

/* Words and codes of what is wrong inside arrive there, and the rest is committed. */
void test_transact_misuse()
{
    const TempDir dir;
    kvwal::Store store = kvwal::Store::open(dir / "store");
    const std::string too_long(KV_MAX_KEY_LEN + 1, 'k');
    const auto nothing = [](Transaction &) {};
    const auto misuse = [&](Transaction &transaction) {
        CHECK_THROWS(transaction.get(too_long), Errc::too_large, "kv_txn_get");
        CHECK_THROWS(transaction.set(too_long, ""), Errc::too_large, "kv_txn_set");
        CHECK_THROWS(transaction.set("key", "", 0ms), Errc::invalid, "kv_txn_set_ttl");
        CHECK_THROWS(transaction.del(too_long), Errc::too_large, "kv_txn_del");
        CHECK_ERROR(CHECK(transaction.get(too_long, error) == std::nullopt), Errc::too_large);
        CHECK_ERROR(transaction.set(too_long, "", error), Errc::too_large);
        CHECK_ERROR(transaction.set("key", "", -1h, error), Errc::invalid);
        CHECK_ERROR(CHECK(!transaction.del(too_long, error)), Errc::too_large);
        CHECK_THROWS(store.set("key", "value"), Errc::invalid, "transaction");
        CHECK_ERROR(CHECK(!store.set_if_absent("key", "value", error)), Errc::invalid);
        CHECK_ERROR(CHECK(!store.transact(nothing, error)), Errc::invalid);
        CHECK_ERROR(store.checkpoint(error), Errc::invalid);
        transaction.set("done", "yes");
        CHECK(store.get("done") == std::nullopt);
    };
    CHECK(store.transact(misuse));
    CHECK(all_with(store, "") == Pairs({{"done", "yes"}}));
}

void test_conditional_writes()
{
    const TempDir dir;
    kvwal::Store store = kvwal::Store::open(dir / "store");
    CHECK(!store.compare_and_set("key", "", "1"));
    CHECK(store.set_if_absent("key", "1") && !store.set_if_absent("key", "2"));
    CHECK_FINE(CHECK(!store.set_if_absent("key", "2", error)));
    CHECK(!store.compare_and_set("key", "12", "3") && store.get("key") == "1");
    CHECK(store.compare_and_set("key", "1", every_byte()));
    CHECK_FINE(CHECK(!store.compare_and_set("key", "1", "3", error)));
    CHECK_FINE(CHECK(store.compare_and_set("key", every_byte(), "", error)));
    CHECK(store.get("key") == "" && store.stats().sets == 3);
    CHECK_THROWS(store.set_if_absent(std::string(KV_MAX_KEY_LEN + 1, 'k'), ""), Errc::too_large, "kv_set_if_absent");
    CHECK_THROWS(store.compare_and_set(std::string(KV_MAX_KEY_LEN + 1, 'k'), "", ""), Errc::too_large, "kv_compare");
}

constexpr int THREADS = 8;

/* Runs a part of a test in several threads, which tells each its number. */
template <class Part> void in_threads(Part part)
{
    std::vector<std::thread> threads;
    for (int number = 0; number < THREADS; number++) {
        threads.emplace_back([&part, number] { part(number); });
    }
    for (std::thread &thread : threads) {
        thread.join();
    }
}

/* Waits until all of them are about to make a call that does not end, and then for long enough to be in it. */
void until_waiting(const std::atomic<int> &about_to_wait)
{
    while (about_to_wait < THREADS) {
        std::this_thread::yield();
    }
    std::this_thread::sleep_for(20ms);
}

/*
 * Runs a part of a test in several threads that come to the store while a transaction holds it up. So they have to
 * share a group, in which one of them runs the works of the others.
 */
template <class Part> void in_one_group(kvwal::Store &store, Part part)
{
    std::atomic<bool> held_up = {false};
    std::atomic<int> coming = {0};
    std::thread first([&] {
        const auto hold_up = [&](Transaction &) {
            held_up = true;
            until_waiting(coming);
        };
        CHECK(store.transact(hold_up));
    });
    in_threads([&](int number) {
        while (!held_up) {
            std::this_thread::yield();
        }
        coming++;
        part(number);
    });
    first.join();
}

void count_up(Transaction &transaction)
{
    const std::string before(transaction.get("count").value_or("0"));
    transaction.set("count", std::to_string(std::stoi(before) + 1));
}

/* Eight threads count, and none gets in between, wherever the work runs. */
void test_transact_in_threads()
{
    const TempDir dir;
    kvwal::Store store = kvwal::Store::open(dir / "store");
    std::atomic<int> elsewhere = {0}, counted = {0};
    in_one_group(store, [&](int) {
        const std::thread::id caller = std::this_thread::get_id();
        for (int round = 0; round < 50; round++) {
            const bool keep = round % 5 != 0;
            const auto work = [&](Transaction &transaction) {
                elsewhere += std::this_thread::get_id() != caller;
                count_up(transaction);
                return keep;
            };
            CHECK(store.transact(work) == keep);
            counted += keep;
        }
    });
    CHECK(store.get("count") == std::to_string(counted) && counted == THREADS * 40);
    CHECK(elsewhere > 0);
}

/* ---- Backups, and a look from outside ---- */

void test_backup()
{
    const TempDir dir;
    kvwal::Store store = kvwal::Store::open(dir / "store");
    store.set("name", "Ada");
    store.backup(dir / "backup");
    store.set("name", "Grace");
    CHECK_FINE(store.backup(dir / "second", error));
    CHECK(kvwal::Store::open(dir / "backup", only_existing()).get("name") == "Ada");
    CHECK(kvwal::Store::open(dir / "second", only_existing()).get("name") == "Grace");

    CHECK_THROWS(store.backup(dir / "backup"), Errc::invalid, dir / "backup");
    CHECK_THROWS(store.backup(dir / "no/such"), Errc::io, "No such file");
    CHECK_THROWS(store.backup(std::string("a\0b", 3)), Errc::invalid, "NUL");
    CHECK_ERROR(store.backup(dir / "backup", error), Errc::invalid);
    CHECK_ERROR(store.backup(std::string("a\0b", 3), error), Errc::invalid);
}

void test_verify()
{
    const TempDir dir;
    {
        kvwal::Store store = kvwal::Store::open(dir / "store");
        for (const char *key : {"1", "2", "3"}) {
            store.set(key, "value");
        }
        const kvwal::Verified verified = kvwal::verify(dir / "store");
        CHECK(verified.verdict == KV_TAIL_CLEAN && verified.refused == 0 && verified.is_open != 0);
        CHECK(verified.records == 3 && verified.keys == 3 && verified.value_bytes == 15 && verified.last_lsn == 3);
    }
    flip_bit_at(dir / "store/wal.log", 50);
    kvwal::Verified damaged = {};
    CHECK_FINE(damaged = kvwal::verify(dir / "store", error));
    CHECK(damaged.verdict == KV_TAIL_DAMAGED && damaged.is_open == 0);
    CHECK(std::string(damaged.bad_file) == "wal.log" && damaged.bad_lsn == 2 && damaged.reason[0] != '\0');
    CHECK(damaged.next_size == UINT64_MAX && damaged.records_behind == 1);

    CHECK_THROWS(kvwal::verify(dir / "missing"), Errc::io, dir / "missing");
    CHECK_THROWS(kvwal::verify(std::string("a\0b", 3)), Errc::invalid, "NUL");
    CHECK_ERROR(kvwal::verify(dir / "missing", error), Errc::io);
    CHECK_ERROR(kvwal::verify(std::string("a\0b", 3), error), Errc::invalid);
}

/* ---- Restoring ---- */

kvwal::Options archived_in(const std::string &archive)
{
    kvwal::Options options;
    options.archive_dir = archive;
    return options;
}

kvwal::RestoreOptions archive_and_store(const TempDir &dir)
{
    kvwal::RestoreOptions options;
    options.archive_dir = dir / "archive";
    options.store_dir = dir / "store";
    return options;
}

/* The name that a store restored under `dest` holds. */
std::optional<std::string> restored_name(const std::string &dest)
{
    return kvwal::Store::open(dest, only_existing()).get("name");
}

void test_restore()
{
    const TempDir dir;
    {
        kvwal::Store store = kvwal::Store::open(dir / "store", archived_in(dir / "archive"));
        store.set("name", "Ada");
        store.checkpoint();
        store.backup(dir / "backup");
        store.set("name", "Grace");
        CHECK(store.stats().checkpoints == 1 && store.stats().checkpoints_failed == 0);
    }
    kvwal::RestoreOptions options = archive_and_store(dir);
    const kvwal::Restored latest = kvwal::restore(dir / "latest", options);
    CHECK(latest.last_lsn == 2 && latest.checkpoint_lsn == 1 && latest.records == 1 && latest.noted_ms == 0);
    CHECK(restored_name(dir / "latest") == "Grace");
    options.until_lsn = 1;
    kvwal::Restored earlier = {};
    CHECK_FINE(earlier = kvwal::restore(dir / "earlier", options, error));
    CHECK(earlier.last_lsn == 1 && restored_name(dir / "earlier") == "Ada");

    kvwal::RestoreOptions from_backup;
    from_backup.backup_dir = dir / "backup";
    CHECK(kvwal::restore(dir / "from backup", from_backup).records == 0);
    CHECK(restored_name(dir / "from backup") == "Ada");
}

void test_restore_by_time()
{
    const TempDir dir;
    {
        kvwal::Store store = kvwal::Store::open(dir / "store", archived_in(dir / "archive"));
        store.set("name", "Ada");
    }
    // What closing has noted is not later than this.
    const auto between = std::chrono::system_clock::now();
    std::this_thread::sleep_for(5ms);
    {
        kvwal::Store store = kvwal::Store::open(dir / "store", archived_in(dir / "archive"));
        store.set("name", "Grace");
    }
    kvwal::RestoreOptions options = archive_and_store(dir);
    options.until_time = between;
    const kvwal::Restored restored = kvwal::restore(dir / "then", options);
    CHECK(restored.last_lsn == 1 && restored_name(dir / "then") == "Ada");
    const auto noted = std::chrono::system_clock::time_point(std::chrono::milliseconds(restored.noted_ms));
    CHECK(noted <= between && noted > between - 60000ms);
    options.until_time = std::chrono::system_clock::now();
    CHECK_FINE(CHECK(kvwal::restore(dir / "now", options, error).last_lsn == 2));
    // A time from before all records is none that has no limit.
    for (const auto since_1970 : {-1h, 0h, 1h}) {
        options.until_time = std::chrono::system_clock::time_point(since_1970);
        CHECK_THROWS(kvwal::restore(dir / "early", options), Errc::invalid, "notes nothing from so early");
    }
}

void test_restore_errors()
{
    const TempDir dir;
    const std::string nul("a\0b", 3);
    kvwal::Store store = kvwal::Store::open(dir / "store", archived_in(dir / "archive"));
    CHECK_THROWS(kvwal::Store::open(dir / "second", archived_in(dir / "archive")), Errc::locked, dir / "archive");
    CHECK_THROWS(kvwal::Store::open(dir / "second", archived_in(nul)), Errc::invalid, "NUL");
    CHECK_ERROR(kvwal::Store::open(dir / "second", archived_in(nul), error), Errc::invalid);
    store.set("name", "Ada");
    store.close();

    kvwal::RestoreOptions options = archive_and_store(dir);
    CHECK_THROWS(kvwal::restore(dir / "store", options), Errc::invalid, dir / "store");
    CHECK_THROWS(kvwal::restore(dir / "no/such", options), Errc::io, "No such file");
    CHECK_THROWS(kvwal::restore(nul, options), Errc::invalid, "NUL");
    CHECK_ERROR(kvwal::restore(nul, options, error), Errc::invalid);
    options.until_lsn = 2;
    CHECK_THROWS(kvwal::restore(dir / "restored", options), Errc::invalid, "the records end with LSN 1");
    CHECK_ERROR(CHECK(kvwal::restore(dir / "restored", options, error).last_lsn == 0), Errc::invalid);
    CHECK_THROWS(kvwal::restore(dir / "restored", {}), Errc::invalid, "nothing is given");
    for (std::string kvwal::RestoreOptions::*path : {&kvwal::RestoreOptions::backup_dir,
                                                     &kvwal::RestoreOptions::archive_dir,
                                                     &kvwal::RestoreOptions::store_dir}) {
        options = archive_and_store(dir);
        options.*path = nul;
        CHECK_THROWS(kvwal::restore(dir / "restored", options), Errc::invalid, "NUL");
        CHECK_ERROR(kvwal::restore(dir / "restored", options, error), Errc::invalid);
        options.*path = dir / "missing";
        CHECK_THROWS(kvwal::restore(dir / "restored", options), Errc::io, dir / "missing");
        CHECK_ERROR(kvwal::restore(dir / "restored", options, error), Errc::io);
    }
    CHECK(!std::filesystem::exists(dir / "restored"));
}

/* ---- Feeds ---- */

void test_tail()
{
    const TempDir dir;
    kvwal::Store store = kvwal::Store::open(dir / "store");
    kvwal::Tail tail = store.tail(1);
    CHECK(tail.next(0ms) == std::nullopt && tail.next(-1ms) == std::nullopt);
    kvwal::Batch batch;
    batch.set("b", every_byte());
    batch.del("a");
    store.set("a", "1", 1h);
    store.write(batch);

    const std::optional<WALRecord> first = tail.next();
    CHECK(first && first->lsn == 1 && first->op == WALOp::PUT && first->key == "a" && first->value == "1");
    CHECK(first->expires_at && !first->in_batch);
    std::optional<WALRecord> record;
    CHECK_FINE(record = tail.next(0ms, error));
    CHECK(record && record->lsn == 2 && record->key == "b" && record->value == every_byte() && record->in_batch);
    kvwal::Tail moved = std::move(tail);
    record = moved.next(kvwal::forever);
    CHECK(record && record->lsn == 3 && record->op == WALOp::DELETE && record->key == "a" && !record->in_batch);

    // More than one step of waiting, in which nothing comes.
    const auto began = std::chrono::steady_clock::now();
    CHECK_FINE(CHECK(moved.next(120ms, error) == std::nullopt));
    CHECK(std::chrono::steady_clock::now() - began >= 119ms);
    CHECK(moved.checkpoint_lsn() == 0 && moved.native_handle() != nullptr);
    CHECK(store.tail(3).next()->lsn == 3);
    CHECK_THROWS(store.tail(5), Errc::invalid, "is it another store's?");
    CHECK_ERROR(store.tail(5, error), Errc::invalid);
    CHECK_FINE(CHECK(store.tail(4, error).next(0ms) == std::nullopt));
}

void test_tail_lags()
{
    const TempDir dir;
    kvwal::Store store = kvwal::Store::open(dir / "store");
    kvwal::Tail tail = store.tail(1);
    store.set("a", "1");
    store.set("b", "2");
    store.checkpoint();
    store.set("c", "3");
    CHECK_ERROR(CHECK(tail.next(kvwal::forever, error) == std::nullopt), Errc::lagged);
    CHECK(tail.checkpoint_lsn() == 2);
    CHECK_THROWS(tail.next(), Errc::lagged, "begin again behind the checkpoint of LSN 2");
#ifdef __cpp_exceptions
    try {
        tail.next();
        fail(__LINE__, "nothing was thrown");
    } catch (const kvwal::Lagged &lagged) {
        CHECK(lagged.checkpoint_lsn() == 2);
    }
#endif
    tail = store.tail(tail.checkpoint_lsn() + 1);
    CHECK(tail.next()->key == "c" && tail.checkpoint_lsn() == 0);
}

/* What a feed that is closed, moved from, or was never open, answers. */
void check_no_tail(kvwal::Tail &tail)
{
    CHECK(tail.native_handle() == nullptr && tail.checkpoint_lsn() == 0);
    CHECK_THROWS(tail.next(), Errc::invalid, "kv_tail_next");
    CHECK_ERROR(CHECK(tail.next(kvwal::forever, error) == std::nullopt), Errc::invalid);
    tail.close();
    CHECK_FINE(tail.close(error));
}

/* Closing a feed, or its store, ends the waiting of every thread. */
void test_tail_closed_while_others_wait()
{
    const TempDir dir;
    kvwal::Store store = kvwal::Store::open(dir / "store");
    kvwal::Tail shared = store.tail(1);
    std::atomic<int> about_to_wait = {0};
    std::thread closing([&] {
        until_waiting(about_to_wait);
        shared.close();
    });
    in_threads([&](int number) {
        const std::chrono::milliseconds timeout = number % 2 == 0 ? 1h : kvwal::forever;
        about_to_wait++;
        CHECK_ERROR(CHECK(shared.next(timeout, error) == std::nullopt), Errc::invalid);
    });
    closing.join();
    check_no_tail(shared);

    about_to_wait = 0;
    closing = std::thread([&] {
        until_waiting(about_to_wait);
        store.close();
    });
    in_threads([&](int) {
        kvwal::Tail own = store.tail(1);
        about_to_wait++;
        CHECK_ERROR(CHECK(own.next(kvwal::forever, error) == std::nullopt), Errc::invalid);
        CHECK(std::strstr(kv_errmsg(), "closed") != nullptr);
    });
    closing.join();
}

void test_no_tail()
{
    const TempDir dir;
    kvwal::Store store = kvwal::Store::open(dir / "store");
    kvwal::Tail never_open;
    check_no_tail(never_open);
    kvwal::Tail tail = store.tail(1);
    kvwal::Tail moved = std::move(tail);
    check_no_tail(tail);
    CHECK_FINE(moved.next(0ms, error));
    moved.close();
    check_no_tail(moved);
    std::error_code error;
    kvwal::Tail refused = store.tail(100, error);
    check_no_tail(refused);
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
    CHECK(make_error_code(Errc::lagged).message() == kv_strerror(KV_LAGGED));
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

/* Root may do everything, so then it is nobody who tries. */
void test_no_permission()
{
    const TempDir dir;
    kvwal::Store store = kvwal::Store::open(dir / "store");
    store.close();
    CHECK(mkdir((dir / "closed").c_str(), 0500) == 0 && chmod((dir / "store").c_str(), 0) == 0);
    const auto refused = [&dir] {
        CHECK(geteuid() != 0 || seteuid(65534) == 0);
        CHECK_THROWS(kvwal::Store::open(dir / "closed/store"), Errc::io, "Permission denied");
        CHECK_ERROR(kvwal::Store::open(dir / "closed/store", {}, error), Errc::io);
        CHECK_THROWS(kvwal::Store::open(dir / "store"), Errc::io, dir / "store");
        CHECK_THROWS(kvwal::verify(dir / "store"), Errc::io, "Permission denied");
        CHECK_ERROR(kvwal::verify(dir / "store", error), Errc::io);
    };
    in_child(refused);
    CHECK(chmod((dir / "store").c_str(), 0700) == 0);
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
    kvwal::Tail tail = store.tail(1);
    store.set("name", "Ada");
    const auto refused = [&store, &tail] {
        CHECK_THROWS(store.get("name"), Errc::forked, "kv_get");
        CHECK_ERROR(store.set("name", "Eve", error), Errc::forked);
        CHECK_ERROR(store.transact([](Transaction &) {}, error), Errc::forked);
        CHECK_ERROR(tail.next(kvwal::forever, error), Errc::forked);
        CHECK_ERROR(tail.close(error), Errc::forked);
        CHECK_ERROR(store.close(error), Errc::forked);
    };
    in_child(refused);
    CHECK(store.get("name") == "Ada");
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
    CHECK_THROWS(store.transact([](Transaction &) {}), Errc::invalid, "kv_transact");
    CHECK_THROWS(store.tail(1), Errc::invalid, "kv_tail_open");
    CHECK_THROWS(store.backup("/nowhere"), Errc::invalid, "kv_backup");
    CHECK_ERROR(CHECK(!store.transact([](Transaction &) {}, error)), Errc::invalid);
    CHECK_ERROR(CHECK(!store.set_if_absent("a", "1", error)), Errc::invalid);
    CHECK_ERROR(CHECK(!store.compare_and_set("a", "1", "2", error)), Errc::invalid);
    CHECK_ERROR(store.tail(1, error), Errc::invalid);
    CHECK_ERROR(store.backup("/nowhere", error), Errc::invalid);
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

/* What a work throws reaches the caller of transact(), on whatever thread the work runs, and nothing is changed. */
void test_work_throws()
{
    const TempDir dir;
    kvwal::Store store = kvwal::Store::open(dir / "store");
    std::atomic<int> elsewhere = {0};
    in_one_group(store, [&](int number) {
        const std::thread::id caller = std::this_thread::get_id();
        const int mine = number * 1000 + 1;
        for (int round = 0; round < 50; round++) {
            const auto throwing = [&](Transaction &transaction) {
                elsewhere += std::this_thread::get_id() != caller;
                transaction.set("changed", "yes");
                throw Mine{mine + round};
            };
            std::error_code error;
            CHECK(caught_from([&] { store.transact(throwing); }) == mine + round);
            CHECK(caught_from([&] { store.transact(throwing, error); }) == mine + round);
            CHECK(store.transact(count_up));
        }
    });
    CHECK(elsewhere > 0);
    CHECK(all_with(store, "") == Pairs({{"count", std::to_string(THREADS * 50)}}));

    // Also what the calls inside throw, with the words of the thread that they ran on.
    const auto too_large = [](Transaction &transaction) { transaction.get(std::string(KV_MAX_KEY_LEN + 1, 'k')); };
    CHECK_THROWS(store.transact(too_large), Errc::too_large, "kv_txn_get");
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

/* Nothing can. */
void test_work_throws()
{
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
    {"transactions", test_transact},
    {"a transaction that is refused changes nothing", test_transact_changes_nothing},
    {"what is wrong inside a transaction", test_transact_misuse},
    {"conditional writes", test_conditional_writes},
    {"transactions in 8 threads", test_transact_in_threads},
    {"backups", test_backup},
    {"a look from outside", test_verify},
    {"restoring up to a record", test_restore},
    {"restoring by time", test_restore_by_time},
    {"what cannot be restored, or archived", test_restore_errors},
    {"feeds", test_tail},
    {"a feed that lags", test_tail_lags},
    {"a feed, or its store, closed while others wait", test_tail_closed_while_others_wait},
    {"a feed that is closed, moved from, never open", test_no_tail},
    {"codes and conditions", test_codes},
    {"stores that cannot be opened", test_open_errors},
    {"no permission", test_no_permission},
    {"keys that are too long", test_too_large},
    {"a locked store names its owner", test_locked},
    {"a store in a forked child", test_forked},
    {"a damaged store, strictly and not", test_damaged},
    {"a full disk heals", test_no_space},
    {"closed, moved from, never open", test_no_store},
    {"the log alone", test_log},
    {"records that cannot exist", test_impossible_records},
    {"exceptions from callbacks, or none at all", test_callback_throws},
    {"exceptions from transactions, on any thread", test_work_throws},
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
