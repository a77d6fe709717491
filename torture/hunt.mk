# The hunt for whatever makes the store lose data. All of it has a small size, which `make test` runs.
#
#   make torture SECONDS=600   on a simulated disk with one thread and with many, under the real kernel, and the server; SEED=n
#   make torture-replay SEED=n [THREADS=many]   a seed that failed, again
#   make kernel-test           the part under the real kernel: KERNEL_SECONDS=40
#   make schedules             threads in thousands of orders, each decided by a seed; SCHEDULES=10 for ten times as many
#   make tsan                  threads under ThreadSanitizer
#   make fuzz SECONDS=60       so long for each target; SEED=n repeats a run
#   make broken                breaks the library on purpose, in many ways, and has the torture find each of them out;
#                              broken-smoke in six of them
#   make broken-all            the same for the schedules, the histories and ThreadSanitizer, too
#   make mutants               changes the code in one small place at a time, and sees whether a test notices; takes hours;
#                              FILE=src/format.rs for one file

torture: SECONDS ?= 600
fuzz: SECONDS ?= 60
KERNEL_SECONDS ?= 40
SCHEDULES ?= 1
KERNEL_PROGRAMS := $(addprefix $(OUT)/kernel/,calls_test kill_test limit_test full_test power_test libfaults.so)

HOST = $(shell rustc -vV | sed -n 's/^host: //p')
ONE_THREAD = target/debug/kvwal-torture
# With threads that a seed schedules. With a target the flag is not for build scripts, which are there from other builds.
SHUTTLE = RUSTFLAGS="--cfg kvwal_shuttle" CARGO_BUILD_TARGET=$(HOST) KVWAL_SCHEDULES=$(SCHEDULES)
SCHEDULED := -p kvwal -p kvwal-torture --features sim
MANY_THREADS = target/$(HOST)/debug/kvwal-torture
with_seed = $(if $(SEED),--seed $(SEED))

HUNT_PARTS := broken-smoke hunt-in-turn tsan kernel-test

.PHONY: hunt-smoke hunt-in-turn torture torture-build torture-smoke torture-replay kernel-test schedules tsan fuzz fuzz-smoke \
    broken broken-smoke broken-all mutants

hunt-smoke:
	@$(TOGETHER) $(HUNT_PARTS)

# For schedules and for fuzzing the library is compiled in different ways under the same name, and should be but once for each.
hunt-in-turn:
	@$(MAKE) --no-print-directory torture-smoke
	@$(MAKE) --no-print-directory schedules
	@$(MAKE) --no-print-directory fuzz-smoke

torture: torture-build
	$(ONE_THREAD) run --seconds $$(($(SECONDS) * 35 / 100)) $(with_seed)
	$(MANY_THREADS) run --seconds $$(($(SECONDS) * 25 / 100)) $(with_seed)
	@$(MAKE) --no-print-directory kernel-test KERNEL_SECONDS=$$(($(SECONDS) * 25 / 100))
	@$(MAKE) --no-print-directory server-torture SECONDS=$$(($(SECONDS) * 15 / 100))

torture-build: tools
	$(CARGO) build --quiet $(WORKSPACE) --bin kvwal-torture
	$(SHUTTLE) $(CARGO) build --quiet $(SCHEDULED) --bin kvwal-torture

# The same seeds each time: what is new is for the long run to find.
torture-smoke: torture-build
	$(ONE_THREAD) run --seconds 10 --seed 7
	$(MANY_THREADS) run --seconds 10 --seed 7

torture-replay: torture-build
	$(if $(filter many,$(THREADS)),$(MANY_THREADS),$(ONE_THREAD)) replay $(SEED)

kernel-test: build
	@tools/need.sh strace
	@$(MAKE) --no-print-directory $(KERNEL_PROGRAMS)
	c-tests/kernel/run.sh $(OUT) --seconds $(KERNEL_SECONDS) $(with_seed)

schedules: tools
	$(SHUTTLE) $(CARGO) test $(SCHEDULED) --lib schedule
	$(SHUTTLE) $(CARGO) test $(SCHEDULED) --test schedules --test linearizable

tsan: tools
	CARGO="$(CARGO)" CC="$(CC)" c-tests/tsan.sh target/tsan

fuzz: tools
	@tools/need.sh g++
	@CARGO="$(CARGO)" SEED="$(SEED)" tools/fuzz.sh $(SECONDS)

fuzz-smoke: tools
	@tools/need.sh g++
	@CARGO="$(CARGO)" SEED="$(SEED)" tools/fuzz.sh smoke

broken: tools
	@tools/need.sh patch
	CARGO="$(CARGO)" torture/broken.sh torture

# One for each of the things that the torture asks for.
broken-smoke: tools
	@tools/need.sh patch
	CARGO="$(CARGO)" torture/broken.sh $(addprefix torture/,acknowledged-before-sync appended-behind-unproven-tail \
	    batch-in-part durable-lsn-ahead quarantine-skipped rollback-forgotten)

broken-all: tools
	@tools/need.sh patch
	CARGO="$(CARGO)" CC="$(CC)" torture/broken.sh torture schedules histories tsan

mutants: tools
	tools/mutants.sh $(FILE)

$(OUT)/kernel/%: c-tests/kernel/%.c $(wildcard c-tests/kernel/*.h) c-tests/support.h include/kvwal.h $(LIB_DIR)/libkvwal.so
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) -o $@ $< $(SHARED)

# To be loaded before the library.
$(OUT)/kernel/libfaults.so: $(addprefix c-tests/kernel/,faults.c faults.h shadow.c shadow.h)
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) -fPIC -shared -o $@ $(filter %.c,$^) -ldl -lpthread
