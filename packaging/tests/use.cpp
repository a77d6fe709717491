/* As use.c, in C++, with kvwal.hpp: the store's log begins with the record that is expected there. */
#include <kvwal.hpp>

#include <cstdint>
#include <fstream>
#include <iostream>
#include <iterator>
#include <string>
#include <vector>

static bool set_name(const char *dir)
{
    kv_store *store = nullptr;
    return kv_open(dir, nullptr, &store) == KV_OK && kv_set(store, "name", 4, "Ada", 3) == KV_OK &&
           kv_close(store) == KV_OK;
}

int main(int argc, char **argv)
{
    if (argc != 2) {
        return 2;
    }
    if (!set_name(argv[1])) {
        std::cerr << "use: " << kv_errmsg() << '\n';
        return 1;
    }
    kvwal::WALRecord expected;
    expected.lsn = 1;
    expected.key = "name";
    expected.value = "Ada";
    std::ifstream log(std::string(argv[1]) + "/wal.log", std::ios::binary);
    const std::vector<std::uint8_t> bytes{std::istreambuf_iterator<char>(log), {}};
    if (bytes != kvwal::serialize_wal_record(expected)) {
        std::cerr << "use: wal.log is not the one record that was written\n";
        return 1;
    }
    std::cout << KVWAL_VERSION_STRING << ' ' << kv_version() << '\n';
    return 0;
}
