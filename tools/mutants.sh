#!/usr/bin/env bash
# Changes the code in one small place at a time, and sees whether a test notices: mutants.sh [FILE...]. All take hours, one
# takes minutes. What no test notices is in target/mutants.out/missed.txt afterwards; docs/mutants.md says what was there.
#
# Nearly all is noticed by quick tests, so the first pass leaves the slow ones out. The second takes all tests to the rest.
set -euo pipefail
cd "$(dirname "$0")/.."

if ! command -v cargo-mutants > /dev/null; then
    echo "kvwal needs cargo-mutants, version 27 or later: cargo install cargo-mutants --locked" >&2
    exit 1
fi

files=(src/format.rs src/commit.rs src/recovery.rs 'src/wal/**' 'src/checkpoint/**' src/checkpoints.rs src/engine.rs src/lock.rs)
[ $# -eq 0 ] || files=("$@")
programs=(--lib --test store)
# Neither can notice a change in those files.
elsewhere=(--skip sys:: --skip table::)
slow=(--skip each_write_that_fails --skip every_call_fails --skip of_the_recovery_from
    --skip every_bit_flip_of_the_log --skip every_truncation_of_the_log --skip damage_everywhere::)

# Less to be linked, and nothing to be looked up when a test fails, as it is meant to.
export CARGO_PROFILE_DEV_DEBUG=0 RUST_BACKTRACE=0

# That some are missed (2) or never end (3) is a result.
run() { cargo mutants --output target --no-shuffle "${files[@]/#/--file=}" "$@" || [ $? -eq 2 ] || [ $? -eq 3 ]; }

run -- "${programs[@]}" -- "${elsewhere[@]}" "${slow[@]}"
run --iterate -- "${programs[@]}" --test process -- "${elsewhere[@]}"
