/*
 * quick_start: what a C++ program does with kvwal, from opening a store to reading what an earlier run left there.
 *
 *     quick_start DIR        DIR is created; run it twice
 */
#include <kvwal.hpp>

#include <chrono>
#include <iostream>

using namespace std::chrono_literals;

namespace {

/* Sets one key, or several of which a crash leaves all or none, or one for some time. */
void write(kvwal::Store &store)
{
    store.set("user/1", "Ada"); // on the disk when it returns

    kvwal::Batch batch;
    batch.set("user/2", "Grace");
    batch.set("user/3", "Edsger");
    batch.del("user/1");
    store.write(batch);

    store.set("session/1", "token", 30min);
}

/* Reads one key, or all that begin alike, in order. */
void read(const kvwal::Store &store)
{
    std::cout << "user/1: " << store.get("user/1").value_or("nobody") << '\n';
    store.scan("user/", [](std::string_view key, std::string_view value) {
        std::cout << key << ": " << value << '\n';
    });
}

/* Counts the runs. An error that a program expects needs no exception. */
int count_run(kvwal::Store &store)
{
    const int runs = std::stoi(store.get("runs").value_or("0")) + 1;
    std::error_code error;
    store.set("runs", std::to_string(runs), error);
    if (error) { // or error == kvwal::Errc::no_space, and so on
        std::cerr << "this run is not counted: " << kv_errmsg() << '\n';
    }
    return runs;
}

} // namespace

int main(int argc, char **argv)
{
    if (argc != 2) {
        std::cerr << "usage: quick_start DIR\n";
        return 2;
    }
    try {
        kvwal::Store store = kvwal::Store::open(argv[1]);
        std::cout << "found: " << store.recovery_report().last_lsn << " records\n";
        write(store);
        read(store);
        std::cout << "run: " << count_run(store) << '\n';
        store.close();
    } catch (const kvwal::Error &error) {
        std::cerr << error.what() << '\n';
        return 1;
    }
    return 0;
}
