#!/usr/bin/env bash
# The threads of threads_test under ThreadSanitizer: tsan.sh DIR [ITERATIONS], where DIR is for what is built.
#
# The library is instrumented, and the test, but not Rust's standard library, which comes compiled. That gives no false
# alarms here, for all that the library's threads do to each other goes through pthread's locks and its own atomics. Fences
# and membarrier are not understood; what is freed behind a reader's back is seen all the same, for readers leave by a
# release that whoever frees acquires. Unlike on valgrind, readers do what they do in earnest, and a memory order that is
# too weak is reported (torture/broken/tsan/relaxed-slot.patch). The negative control is the same test with a lock left
# out, which must be reported.
#
# The runtime is the one that comes with rustc; gcc's is older and lacks what rustc calls.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
out=$1
iterations=${2:-1000}
target=$(rustc -vV | sed -n 's/^host: //p')
runtime=$(find "$(rustc --print sysroot)/lib/rustlib/$target/lib" -name 'librustc-*_rt.tsan.a' | head -n 1)
if [ -z "$runtime" ]; then
    echo "skipped: this rustc has no runtime of ThreadSanitizer"
    exit 0
fi
mkdir -p "$out"

# On a stable compiler, too. With --target the flags are not for build scripts, which are there from other builds.
built=${CARGO_TARGET_DIR:-$root/target}
RUSTC_WRAPPER=$root/c-tests/tsan-rustc.sh \
    RUSTFLAGS="-Zsanitizer=thread -Cunsafe-allow-abi-mismatch=sanitizer" CARGO_TARGET_DIR=$built \
    "${CARGO:-cargo}" rustc --quiet --manifest-path "$root/Cargo.toml" --lib --crate-type staticlib --target "$target"

# compile PROGRAM FLAGS...
compile() {
    local program=$1
    shift
    "${CC:-gcc}" -std=c11 -D_GNU_SOURCE -O1 -g -I"$root/include" -fsanitize=thread "$@" \
        -c -o "$program.o" "$root/c-tests/threads_test.c"
    "${CC:-gcc}" -o "$program" "$program.o" "$built/$target/debug/libkvwal.a" \
        -Wl,--whole-archive "$runtime" -Wl,--no-whole-archive -lpthread -ldl -lm -lrt -lresolv
}

compile "$out/threads_test"
compile "$out/threads_race" -DMISSING_LOCK

export TSAN_OPTIONS="exitcode=66"
printf '%-52s ' "[threads_test, ThreadSanitizer]"
if ! "$out/threads_test" "$iterations" >"$out/output" 2>&1 || grep -q 'WARNING: ThreadSanitizer' "$out/output"; then
    echo "FAIL"
    head -n 60 "$out/output" >&2
    exit 1
fi
echo ok

printf '%-52s ' "[threads_test with a lock left out, ThreadSanitizer]"
"$out/threads_race" 30 >"$out/output" 2>&1 || true
if ! grep -q 'WARNING: ThreadSanitizer: data race' "$out/output"; then
    echo "FAIL: it was not noticed"
    exit 1
fi
echo ok
