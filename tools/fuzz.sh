#!/usr/bin/env bash
# Runs the fuzz targets of fuzz/targets: fuzz.sh smoke, or fuzz.sh SECONDS for each target. SEED=n repeats a run.
#
# Needs no nightly toolchain: the compiler's pass for coverage is called by stable flags. New inputs are gathered in
# target/fuzz/corpus; what makes a target fail is kept in target/fuzz/found, with the command that repeats it.
set -euo pipefail
cd "$(dirname "$0")/.."

CARGO=${CARGO:-cargo}
OUT=target/fuzz
TARGETS=(record log checkpoint open protocol)
# The longest input: enough for each file of a small store.
MAX_LEN=4096

build() {
    local triple pass
    triple=$(rustc -vV | sed -n 's/^host: //p')
    pass="-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=3"
    for arg in inline-8bit-counters pc-table trace-compares; do
        pass+=" -Cllvm-args=-sanitizer-coverage-$arg"
    done
    # With --target the flags are not those of build scripts, which are taken from other builds.
    RUSTFLAGS=$pass CARGO_PROFILE_DEV_OPT_LEVEL=2 CARGO_PROFILE_DEV_CODEGEN_UNITS=1 "$CARGO" build --quiet \
        --config 'profile.dev.package.kv_server.opt-level=2' --package kvwal-fuzz --bins --target "$triple"
    BIN=target/$triple/debug
}

# Runs one target for some seconds, prints a line about it; false if something was found.
run() {
    local target=$1 seconds=$2 log=$OUT/$1.log found=$OUT/found/$1 status=0
    local corpora=("$OUT/corpus/$target")
    [ ! -d "fuzz/corpus/$target" ] || corpora+=("fuzz/corpus/$target")
    mkdir -p "$OUT/corpus/$target" "$found"
    "$BIN/$target" "${corpora[@]}" -artifact_prefix="$found/" -seed="$SEED" \
        -max_len=$MAX_LEN -max_total_time="$seconds" -timeout=10 -rss_limit_mb=1024 -print_final_stats=1 \
        > "$log" 2>&1 || status=$?
    local runs begun ended
    runs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")
    begun=$(sed -n 's/.*INITED.* cov: \([0-9]*\).*/\1/p' "$log")
    ended=$(sed -n 's/.* cov: \([0-9]*\).*/\1/p' "$log" | tail -1)
    echo "fuzz: $target, seed $SEED: ${runs:-?} inputs, $begun edges covered at first, $ended at last"
    return $status
}

report_found() {
    local input
    grep -E 'panicked at|^ERROR|ERROR: libFuzzer' -A 2 "$OUT/$1.log" | head -8 || true
    input=$(sed -n 's/.*Test unit written to //p' "$OUT/$1.log" | tail -1)
    echo "fuzz: $1 failed; repeat it with: $BIN/$1 $input"
}

hunt() {
    local failed=0 target
    for target in "${TARGETS[@]}"; do
        run "$target" "$1" || { report_found "$target"; failed=1; }
    done
    return $failed
}

# A fuzzer that is blind finds nothing, too: it has to find the planted defect.
control() {
    rm -rf "$OUT/corpus/planted"
    if run planted 20; then
        echo "fuzz: the planted defect was not found: the fuzzer sees no coverage" >&2
        return 1
    fi
    grep -q 'the planted defect' "$OUT/planted.log"
    rm -rf "$OUT/found/planted"
    echo "fuzz: the planted defect was found"
}

mkdir -p "$OUT"
build
case ${1:?smoke, or seconds for each target} in
    smoke)
        SEED=${SEED:-1}
        control
        # From the same beginning each time: what an earlier run has gathered is left aside.
        OUT=target/fuzz/smoke
        rm -rf "$OUT"
        hunt 3
        ;;
    *)
        SEED=${SEED:-$((RANDOM * 32768 + RANDOM + 1))}
        control
        hunt "$1"
        ;;
esac
