#!/usr/bin/env bash
# Changes the code in one small place at a time and sees whether a test notices: mutants.sh [FILE]. Without a file it takes
# hours. Results come in target/mutants.out.
#
# Most mutants are noticed by quick tests, so the first pass leaves the slow ones out, and the second takes all tests to
# those that are left. In the end everything that no test notices is in missed.txt.
set -euo pipefail
cd "$(dirname "$0")/.."

slow=(each_write_that_fails every_call_fails of_the_recovery_from every_bit_flip_of_the_log every_truncation_of_the_log)
# Neither can notice anything of what is changed.
elsewhere=(sys:: table::)

# Without debug information building takes two thirds of the time, and without backtraces a failure a tenth.
export CARGO_PROFILE_DEV_DEBUG=0 RUST_BACKTRACE=0
mutants=(cargo mutants --output target --no-shuffle ${1:+--file "$1"})
skip() { printf -- '--skip\n%s\n' "$@"; }

# 2: some are missed. 3: some ran out of time.
allow() { "$@" || [ $? -eq 2 ] || [ $? -eq 3 ]; }
readarray -t skipped < <(for name in "${slow[@]}" "${elsewhere[@]}"; do skip "$name"; done)
allow "${mutants[@]}" -- -- "${skipped[@]}"
readarray -t skipped < <(for name in "${elsewhere[@]}"; do skip "$name"; done)
allow "${mutants[@]}" --iterate -- --test model -- "${skipped[@]}"
