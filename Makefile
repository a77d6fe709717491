# kvwal: `make run` shows what it is for, `make test` that it works. Both install what they need (as root on Debian).
#
#   make build    the library, target/release/libkvwal.so and .a
#   make run      store every file below /usr/include, be killed half-way, lose nothing
#   make test     Rust tests, C and C++ tests, valgrind, the Python reader, faults of the kernel, the benchmark in miniature
#   make bench    measure against the disk, the memory and other stores: see bench/README.md; QUICK=1 takes two minutes
#   make check    formatting, lints, header up to date, exported symbols
#   make torture  look for lost data for SECONDS=600: a simulated disk, with one thread and with many, and the real kernel
#   make broken   break the library on purpose, in many ways, and see each of them found out
#   make schedules  threads in thousands of orders, each decided by a seed; SCHEDULES=10 for ten times as many
#   make tsan     threads under ThreadSanitizer
#   make nightly  the property tests with 10,000 cases, and threads under helgrind and drd for longer
#   make header   take over the generated header after a change of src/ffi
#   make clean

CARGO ?= cargo
ifeq ($(origin CC),default)
CC := gcc
endif
SOURCE_DIR ?= /usr/include

LIB_DIR := target/release
OUT := target/c
CFLAGS := -std=c11 -D_GNU_SOURCE -O2 -g -Wall -Wextra -Werror -Iinclude
CXXFLAGS := -std=c++17 -O2 -g -Wall -Wextra -Werror -Iinclude
SHARED := -L$(LIB_DIR) -lkvwal -lpthread -Wl,-rpath,'$$ORIGIN/../../release'
STATIC := $(LIB_DIR)/libkvwal.a -lpthread -ldl -lm

C_TESTS := wal_full_test wal_crash_test kv_correctness_test api_test lookups_test threads_test
CXX_TESTS := test_wal_format
KERNEL_PROGRAMS := $(addprefix $(OUT)/kernel/,calls_test kill_test limit_test full_test power_test libfaults.so)
# make torture, make kernel-test; the next lines' SEED is for them, too
SECONDS ?= 600
KERNEL_SECONDS ?= 40
PROGRAMS := $(foreach kind,shared static,$(addprefix $(OUT)/$(kind)/,$(C_TESTS) $(CXX_TESTS)))

# make bench
QUICK ?=
ROUNDS ?=
DURATION ?=
SEED ?=
ONLY ?=
STORES ?=
BENCH_DIR ?= target/bench/data
RESULTS ?= bench/results
PEERS := redis-server $(addprefix package:,liblmdb-dev librocksdb-dev libleveldb-dev libsqlite3-dev libdb-dev \
    libtkrzw-dev libhiredis-dev)

.PHONY: build run test check nightly header clean rust-test c-test kernel-test bench bench-smoke schedules tsan \
    torture torture-smoke torture-replay torture-build broken broken-all tools

build: tools
	$(CARGO) build --release

tools:
	@tools/need.sh cargo cc gcc

run: build
	@$(MAKE) --no-print-directory $(OUT)/header_store
	$(OUT)/header_store $(SOURCE_DIR)

test: rust-test c-test kernel-test schedules tsan torture-smoke broken bench-smoke
	@echo "all tests passed"

rust-test: tools
	$(CARGO) test --features sim

# With threads that a seed schedules. In a directory of its own, for all is compiled with another flag.
SCHEDULES ?= 1
SHUTTLE := RUSTFLAGS="--cfg kvwal_shuttle" CARGO_TARGET_DIR=target/shuttle KVWAL_SCHEDULES=$(SCHEDULES)
schedules: tools
	$(SHUTTLE) $(CARGO) test --features sim --lib schedule
	$(SHUTTLE) $(CARGO) test --features sim --test schedules
	$(SHUTTLE) $(CARGO) test -p kvwal-torture

ONE_THREAD := $(CARGO) run --quiet -p kvwal-torture --
MANY_THREADS := $(SHUTTLE) $(ONE_THREAD)
with_seed = $(if $(SEED),--seed $(SEED))
torture: torture-build
	$(ONE_THREAD) run --seconds $$(($(SECONDS) * 4 / 10)) $(with_seed)
	$(MANY_THREADS) run --seconds $$(($(SECONDS) * 3 / 10)) $(with_seed)
	@$(MAKE) --no-print-directory kernel-test KERNEL_SECONDS=$$(($(SECONDS) * 3 / 10))

torture-build: tools
	$(CARGO) build --quiet -p kvwal-torture
	$(SHUTTLE) $(CARGO) build --quiet -p kvwal-torture

torture-smoke: torture-build
	$(ONE_THREAD) run --seconds 10
	$(MANY_THREADS) run --seconds 10

# A seed that failed: SEED=n, THREADS=many if there were many.
torture-replay: torture-build
	$(if $(filter many,$(THREADS)),$(MANY_THREADS),$(ONE_THREAD)) replay $(SEED)

broken: tools
	@tools/need.sh patch
	CARGO="$(CARGO)" torture/broken.sh

broken-all: tools
	@tools/need.sh patch
	CARGO="$(CARGO)" CC="$(CC)" torture/broken.sh torture schedules histories tsan

tsan: tools
	CARGO="$(CARGO)" CC="$(CC)" c-tests/tsan.sh target/tsan

c-test: build
	@tools/need.sh g++ valgrind strace python3
	@$(MAKE) --no-print-directory $(PROGRAMS) $(OUT)/threads_race $(OUT)/commit_cost
	c-tests/run.sh $(OUT)

kernel-test: build
	@tools/need.sh strace
	@$(MAKE) --no-print-directory $(KERNEL_PROGRAMS)
	c-tests/kernel/run.sh $(OUT) --seconds $(KERNEL_SECONDS) $(if $(SEED),--seed $(SEED))

# What is missing is left out, by name; so nothing but the measuring itself may fail here.
bench: build
	@tools/need.sh python3
	@for wanted in gnuplot mkfs.ext4 strip package:zlib1g-dev $(PEERS); do tools/need.sh "$$wanted" || true; done
	@CC="$(CC)" CARGO="$(CARGO)" bench/build.sh target/bench $(LIB_DIR)
	@bench/run.py --programs target/bench --library $(LIB_DIR)/libkvwal.so --data $(BENCH_DIR) --results $(RESULTS) \
	    $(if $(QUICK),--quick) $(if $(ROUNDS),--rounds $(ROUNDS)) $(if $(DURATION),--seconds $(DURATION)) \
	    $(if $(SEED),--seed $(SEED)) $(if $(ONLY),--only $(ONLY)) $(if $(STORES),--stores $(STORES))

bench-smoke: build
	@tools/need.sh python3
	@CC="$(CC)" bench/build.sh --without-peers target/bench-smoke $(LIB_DIR)
	@bench/smoke.py target/bench-smoke

check: tools
	@tools/need.sh nm
	$(CARGO) fmt --all --check
	$(CARGO) clippy --all-targets --features sim -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --no-deps --quiet
	@$(MAKE) --no-print-directory build
	tools/check_header.sh
	tools/check_symbols.sh $(LIB_DIR)/libkvwal.so

nightly: build
	PROPTEST_CASES=10000 $(CARGO) test --release --features sim
	@tools/need.sh g++ valgrind strace python3
	@$(MAKE) --no-print-directory $(PROGRAMS) $(OUT)/threads_race $(OUT)/commit_cost
	HELGRIND_ITERATIONS=300 DRD_ITERATIONS=20 c-tests/run.sh $(OUT)

header: tools
	$(CARGO) build --release
	tools/check_header.sh --take

$(OUT)/shared/%: c-tests/%.c c-tests/support.h include/kvwal.h $(LIB_DIR)/libkvwal.so
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) -o $@ $< $(SHARED)

$(OUT)/static/%: c-tests/%.c c-tests/support.h include/kvwal.h $(LIB_DIR)/libkvwal.a
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) -o $@ $< $(STATIC)

$(OUT)/shared/%: c-tests/%.cpp include/kvwal.hpp include/kvwal.h $(LIB_DIR)/libkvwal.so
	@mkdir -p $(@D)
	$(CXX) $(CXXFLAGS) -o $@ $< $(SHARED)

$(OUT)/static/%: c-tests/%.cpp include/kvwal.hpp include/kvwal.h $(LIB_DIR)/libkvwal.a
	@mkdir -p $(@D)
	$(CXX) $(CXXFLAGS) -o $@ $< $(STATIC)

$(OUT)/kernel/%: c-tests/kernel/%.c $(wildcard c-tests/kernel/*.h) c-tests/support.h include/kvwal.h $(LIB_DIR)/libkvwal.so
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) -o $@ $< $(SHARED)

# To be loaded before the library.
$(OUT)/kernel/libfaults.so: $(addprefix c-tests/kernel/,faults.c faults.h shadow.c shadow.h)
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) -fPIC -shared -o $@ $(filter %.c,$^) -ldl -lpthread

# With a lock left out of the test's own bookkeeping, which helgrind and drd must notice.
$(OUT)/threads_race: c-tests/threads_test.c c-tests/support.h include/kvwal.h $(LIB_DIR)/libkvwal.so
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) -DMISSING_LOCK -o $@ $< -L$(LIB_DIR) -lkvwal -lpthread -Wl,-rpath,'$$ORIGIN/../release'

$(OUT)/commit_cost: c-tests/commit_cost.c c-tests/support.h include/kvwal.h $(LIB_DIR)/libkvwal.so
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) -o $@ $< -L$(LIB_DIR) -lkvwal -lpthread -Wl,-rpath,'$$ORIGIN/../release'

$(OUT)/header_store: examples/header_store.c include/kvwal.h $(LIB_DIR)/libkvwal.so
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) -o $@ $< -L$(LIB_DIR) -lkvwal -lpthread -Wl,-rpath,'$$ORIGIN/../release'

clean:
	$(CARGO) clean
