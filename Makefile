# kvwal: `make run` shows what it is for, `make test` that it works. Both install what they need (as root on Debian).
#
#   make build    in target/release the library, the tool kvwal and the server kv_server; man pages and completions in target/generated
#   make run      store every file below /usr/include, be killed half-way, lose nothing
#   make test     tests in Rust, C, C++ and Python, valgrind, the server, installing, and the hunt and the benchmark in miniature
#   make wheel    the Python package: see bindings/python/README.md
#   make bench    measure against the disk, the memory, other stores and Redis: see bench/README.md; QUICK=1 takes two minutes
#   make check    formatting, lints, header up to date, exported symbols, binary interface
#   make torture  look for lost data, for SECONDS=600; make fuzz, and others: see torture/hunt.mk
#   make server-test   the server alone: see server/server.mk
#   make nightly  the property tests with 10,000 cases, all power cuts and bit flips, and threads under helgrind and drd for longer
#   make header   take over the generated header after a change of src/ffi
#   make install PREFIX=/usr/local, uninstall, deb, install-test, abi, golden: see packaging/install.mk
#   make clean

CARGO ?= cargo
ifeq ($(origin CC),default)
CC := gcc
endif
SOURCE_DIR ?= /usr/include

# Compiling a whole tree takes half as much again if it is noted down what a next time could keep.
export CARGO_INCREMENTAL ?= 0

# Lints and tests take the same packages with the same features, so that nothing is compiled twice.
WORKSPACE := --workspace --exclude kvwal-fuzz --features sim

LIB_DIR := target/release
OUT := target/c
COMPLETIONS := target/generated/completions
CFLAGS := -std=c11 -D_GNU_SOURCE -O2 -g -Wall -Wextra -Werror -Iinclude
CXXFLAGS := -std=c++17 -O2 -g -Wall -Wextra -Wpedantic -Wconversion -Wshadow -Werror -Iinclude
SHARED := -L$(LIB_DIR) -lkvwal -lpthread -Wl,-rpath,'$$ORIGIN/../../release'
STATIC := $(LIB_DIR)/libkvwal.a -lpthread -ldl -lm

C_TESTS := wal_full_test wal_crash_test kv_correctness_test api_test lookups_test feed_test archive_test \
    threads_test transactions_test
CXX_TESTS := test_wal_format cpp_test
PROGRAMS := $(foreach kind,shared static,$(addprefix $(OUT)/$(kind)/,$(C_TESTS) $(CXX_TESTS))) \
    $(addprefix $(OUT)/,threads_race commit_cost cpp_no_exceptions quick_start)
LINK = $(if $(filter $(CXX_TESTS),$(@F)),$(CXX),$(CC))
C_PARTS := $(addprefix c-part-,drd memcheck helgrind plain)

# Makes targets two at a time, for what keeps one core busy. What one of them prints comes when it has ended. The compiler is
# not to look for the jobs of make (CARGO_MAKEFLAGS), which are closed to it.
TOGETHER = CARGO_MAKEFLAGS= $(MAKE) --no-print-directory --jobs=2 --output-sync=target

# make bench; SEED is also for make torture and make fuzz
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

.SECONDARY: # the objects are kept
.PHONY: build run test check nightly header clean rust-test c-test c-programs $(C_PARTS) bench bench-server bench-smoke tools

build: tools
	$(CARGO) build --release -p kvwal -p kvwal-cli -p kv_server
	@mkdir -p $(COMPLETIONS)
	@$(LIB_DIR)/kvwal man target/generated/man
	@$(LIB_DIR)/kvwal completions bash > $(COMPLETIONS)/kvwal.bash
	@$(LIB_DIR)/kvwal completions zsh > $(COMPLETIONS)/_kvwal
	@$(LIB_DIR)/kvwal completions fish > $(COMPLETIONS)/kvwal.fish
	@$(LIB_DIR)/kv_server --man > target/generated/man/kv_server.1
	@$(LIB_DIR)/kv_server --completions bash > $(COMPLETIONS)/kv_server.bash
	@$(LIB_DIR)/kv_server --completions zsh > $(COMPLETIONS)/_kv_server
	@$(LIB_DIR)/kv_server --completions fish > $(COMPLETIONS)/kv_server.fish

tools:
	@tools/need.sh cargo cc gcc

run: build
	@$(MAKE) --no-print-directory $(OUT)/header_store
	$(OUT)/header_store $(SOURCE_DIR)

test:
	@echo "two parts at a time: each part's output comes when it has ended"
	@$(TOGETHER) rust-test $(C_PARTS) $(HUNT_PARTS) install-test server-clients python-test
	@$(MAKE) --no-print-directory bench-smoke
	@echo "all tests passed"

rust-test: tools
	$(CARGO) test $(WORKSPACE)

include torture/hunt.mk server/server.mk packaging/install.mk bindings/python/python.mk

c-test:
	@$(TOGETHER) $(C_PARTS)

c-programs: build
	@tools/need.sh g++ valgrind strace python3
	@$(MAKE) --no-print-directory $(PROGRAMS)

$(C_PARTS): c-part-%: c-programs
	c-tests/run.sh $(OUT) $*

# What is missing is left out, by name; so nothing but the measuring itself may fail here.
bench: build
	@tools/need.sh python3
	@for wanted in mkfs.ext4 strip package:zlib1g-dev $(PEERS); do tools/need.sh "$$wanted" || true; done
	@CC="$(CC)" CARGO="$(CARGO)" bench/build.sh target/bench $(LIB_DIR)
	@$(if $(ONLY),,$(MAKE) --no-print-directory bench-server)
	@bench/run.py --programs target/bench --library $(LIB_DIR)/libkvwal.so --data $(BENCH_DIR) --results $(RESULTS) \
	    $(if $(QUICK),--quick) $(if $(ROUNDS),--rounds $(ROUNDS)) $(if $(DURATION),--seconds $(DURATION)) \
	    $(if $(SEED),--seed $(SEED)) $(if $(ONLY),--only $(ONLY)) $(if $(STORES),--stores $(STORES))

bench-server: build
	@for wanted in redis-server redis-cli; do tools/need.sh "$$wanted" || true; done
	@bench/server.py --server $(LIB_DIR)/kv_server --data $(BENCH_DIR) --results $(RESULTS) \
	    $(if $(QUICK),--quick) $(if $(ROUNDS),--rounds $(ROUNDS)) $(if $(DURATION),--seconds $(DURATION))

bench-smoke: build
	@tools/need.sh python3
	@CC="$(CC)" bench/build.sh --without-peers target/bench-smoke $(LIB_DIR)
	@bench/smoke.py target/bench-smoke
	@bench/server.py --smoke --server $(LIB_DIR)/kv_server --data target/bench-smoke/server --results target/bench-smoke/server

check: tools
	@tools/need.sh nm
	$(CARGO) fmt --all --check
	$(CARGO) clippy $(WORKSPACE) --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --no-deps --quiet
	@$(MAKE) --no-print-directory build
	tools/check_header.sh
	tools/check_symbols.sh $(LIB_DIR)/libkvwal.so
	tools/abi.sh $(LIB_DIR)/libkvwal.so

nightly: c-programs broken-all
	PROPTEST_CASES=10000 KVWAL_THOROUGH=1 $(CARGO) test --release --features sim
	HELGRIND_ITERATIONS=300 DRD_ITERATIONS=20 c-tests/run.sh $(OUT)

header: tools
	$(CARGO) build --release
	tools/check_header.sh --take

# Compiled once, linked twice.
$(OUT)/objects/%.o: c-tests/%.c c-tests/support.h include/kvwal.h
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) -c -o $@ $<

$(OUT)/objects/%.o: c-tests/%.cpp include/kvwal.hpp include/kvwal.h
	@mkdir -p $(@D)
	$(CXX) $(CXXFLAGS) -c -o $@ $<

$(OUT)/shared/%: $(OUT)/objects/%.o $(LIB_DIR)/libkvwal.so
	@mkdir -p $(@D)
	$(LINK) -o $@ $< $(SHARED)

$(OUT)/static/%: $(OUT)/objects/%.o $(LIB_DIR)/libkvwal.a
	@mkdir -p $(@D)
	$(LINK) -o $@ $< $(STATIC)

# With a lock left out of the test's own bookkeeping, which helgrind and drd must notice.
$(OUT)/threads_race: c-tests/threads_test.c c-tests/support.h include/kvwal.h $(LIB_DIR)/libkvwal.so
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) -DMISSING_LOCK -o $@ $< -L$(LIB_DIR) -lkvwal -lpthread -Wl,-rpath,'$$ORIGIN/../release'

$(OUT)/commit_cost: c-tests/commit_cost.c c-tests/support.h include/kvwal.h $(LIB_DIR)/libkvwal.so
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) -o $@ $< -L$(LIB_DIR) -lkvwal -lpthread -Wl,-rpath,'$$ORIGIN/../release'

$(OUT)/cpp_no_exceptions: c-tests/cpp_test.cpp include/kvwal.hpp include/kvwal.h $(LIB_DIR)/libkvwal.so
	@mkdir -p $(@D)
	$(CXX) $(CXXFLAGS) -fno-exceptions -o $@ $< -L$(LIB_DIR) -lkvwal -lpthread -Wl,-rpath,'$$ORIGIN/../release'

$(OUT)/quick_start: examples/quick_start.cpp include/kvwal.hpp include/kvwal.h $(LIB_DIR)/libkvwal.so
	@mkdir -p $(@D)
	$(CXX) $(CXXFLAGS) -o $@ $< -L$(LIB_DIR) -lkvwal -lpthread -Wl,-rpath,'$$ORIGIN/../release'

$(OUT)/header_store: examples/header_store.c include/kvwal.h $(LIB_DIR)/libkvwal.so
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) -o $@ $< -L$(LIB_DIR) -lkvwal -lpthread -Wl,-rpath,'$$ORIGIN/../release'

clean:
	$(CARGO) clean
