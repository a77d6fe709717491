#!/usr/bin/env bash
# Runs everything that tries the library from outside: run.sh DIR [PART...], where the Makefile has put the programs.
#
# The parts, all of them unless told: `plain`, each C and C++ test with the shared library and with the static one, what one
# caller costs in system calls, C++ without exceptions, the examples of the documents, the reader in Python; `memcheck`,
# the tests under that, which must find every block freed; `helgrind` and `drd`, the threads under these, and once with a
# lock left out, which they must notice.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/.." && pwd)
programs=$(cd "$1" && pwd)
shift
work=$(mktemp -d "${TMPDIR:-/tmp}/kvwal-run.XXXXXX")
cleanup() { rm -rf "$work"; }
trap cleanup EXIT
export TMPDIR=$work

tests=(wal_full_test wal_crash_test kv_correctness_test api_test lookups_test feed_test archive_test threads_test \
    transactions_test test_wal_format cpp_test)
# How much each of the threads does under valgrind's thread checkers, which are slow, drd above all.
declare -A iterations=([helgrind]=${HELGRIND_ITERATIONS:-15} [drd]=${DRD_ITERATIONS:-4})
passed=0

fail() {
    echo "FAIL"
    [ ! -e "$work/output" ] || tail -n 40 "$work/output" >&2
    echo "run.sh: $*" >&2
    exit 1
}

# try NAME COMMAND...: runs it with its output kept.
try() {
    local name=$1
    shift
    printf '%-52s ' "[$name]"
    "$@" >"$work/output" 2>&1 || fail "$name: exit status $?"
    echo ok
    passed=$((passed + 1))
}

memcheck() {
    valgrind --leak-check=full --show-leak-kinds=all --errors-for-leak-kinds=all --error-exitcode=99 "$@" &&
        grep -q 'All heap blocks were freed -- no leaks are possible' "$work/output" &&
        ! grep 'ERROR SUMMARY' "$work/output" | grep -v 'ERROR SUMMARY: 0 errors from 0 contexts'
}

thread_check() {
    local tool=$1
    shift
    valgrind --tool="$tool" --error-exitcode=99 "$@" &&
        grep -q 'ERROR SUMMARY: 0 errors from 0 contexts' "$work/output"
}

# The negative control: a check that cannot fail is none. The first error is enough.
notices_missing_lock() {
    local tool=$1 status=0
    valgrind --tool="$tool" --error-exitcode=99 --exit-on-first-error=yes "$programs/threads_race" \
        "${iterations[$tool]}" || status=$?
    [ "$status" -eq 99 ]
}

# A caller alone pays for a set with one write and one fdatasync; everything else a run does, it does once.
one_write_one_sync() {
    local sets=500
    for count in $((sets)) $((sets * 2)); do
        strace -f -c -o "$work/calls" -e trace=write,pwrite64,pwritev,fdatasync \
            "$programs/commit_cost" "$work/cost-$count" "$count" || return 1
        awk '$NF ~ /^(pwrite64|pwritev|write)$/ { writes += $4 } $NF == "fdatasync" { syncs += $4 }
             END { print writes + 0, syncs + 0 }' "$work/calls" >"$work/counted-$count"
    done
    read -r writes_once syncs_once <"$work/counted-$sets"
    read -r writes_twice syncs_twice <"$work/counted-$((sets * 2))"
    echo "$sets more sets: $((writes_twice - writes_once)) writes, $((syncs_twice - syncs_once)) syncs"
    [ $((writes_twice - writes_once)) -eq "$sets" ] && [ $((syncs_twice - syncs_once)) -eq "$sets" ]
}

# Eight callers at once share them.
callers_share_syncs() {
    "$programs/commit_cost" "$work/shared-cost" 200 8 || return 1
    local sets commits syncs
    read -r sets _ commits _ syncs _ <"$work/output"
    [ "$syncs" -eq "$commits" ] && [ $((commits * 3)) -le "$sets" ]
}

# Each run finds the records of the runs before it.
quick_start() {
    local records
    for records in 0 6; do
        "$programs/quick_start" "$work/quick" && grep -qx "found: $records records" "$work/output" || return 1
    done
    [ "$(tail -n 4 "$work/output" | tr '\n' ';')" = 'user/1: nobody;user/2: Grace;user/3: Edsger;run: 2;' ]
}

plain() {
    local kind name
    for kind in shared static; do
        for name in "${tests[@]}"; do
            try "$name, $kind" "$programs/$kind/$name"
        done
    done
    try "test_harness.sh" "$here/test_harness.sh"
    try "one write and one sync for a set" one_write_one_sync
    try "eight callers share writes and syncs" callers_share_syncs
    try "cpp_test, without exceptions" "$programs/cpp_no_exceptions"
    try "quick_start.cpp" quick_start
    try "headers and examples" "$root/tests/header_example.sh"
    try "the reader in Python" "$root/tests/reader/test_reader.sh"
}

under_memcheck() {
    local name
    for name in "${tests[@]}"; do
        try "$name, memcheck" memcheck "$programs/shared/$name"
    done
}

under_thread_checker() {
    try "threads_test, $1" thread_check "$1" "$programs/shared/threads_test" "${iterations[$1]}"
    try "transactions_test, $1" thread_check "$1" "$programs/shared/transactions_test" "${iterations[$1]}"
    try "feed_test, $1" thread_check "$1" "$programs/shared/feed_test"
    try "archive_test, $1" thread_check "$1" "$programs/shared/archive_test" threads
    try "threads_test with a lock left out, $1" notices_missing_lock "$1"
}

[ $# -gt 0 ] || set -- plain memcheck helgrind drd
for part in "$@"; do
    case $part in
        plain) plain ;;
        memcheck) under_memcheck ;;
        helgrind | drd) under_thread_checker "$part" ;;
        *) fail "there is no part $part" ;;
    esac
done

echo "$passed passed, 0 failed"
