#!/usr/bin/env bash
# A reader in Python that knows only docs/format.md finds in a store what the library finds.
#
#     KVWAL_LIB_DIR=DIR tests/reader/test_reader.sh        DIR, where libkvwal.so is, is target/release unless set
#
# The library goes second each time, because opening a store repairs it. All stores are built with the same history, so
# that what is in the first one, $work/whole, is in each of them that was not cut.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
lib_dir=$(cd "${KVWAL_LIB_DIR:-$root/target/release}" && pwd)
work=$(mktemp -d "${TMPDIR:-/tmp}/test_reader.XXXXXX")
cleanup() { rm -rf "$work"; }
trap cleanup EXIT
export PYTHONDONTWRITEBYTECODE=1

fail() {
    echo "FAIL"
    echo "test_reader: $*" >&2
    exit 1
}

make_store() {
    LD_LIBRARY_PATH=$lib_dir "$work/make_store" "$@"
}

# The keys and values that the Python reader finds, without the expiry, which kv_scan() does not give.
read_with_python() {
    python3 "$here/kvwal_reader.py" "$1" | cut -d ' ' -f 1,2
}

# Compares the two readings of a store, which is changed by the second one. Leaves them in $work.
compare() {
    local store=$1

    read_with_python "$store" >"$work/python" 2>"$work/summary" || fail "the Python reader: $(cat "$work/summary")"
    make_store dump "$store" >"$work/library" || fail "the library does not open $store"
    [ -s "$work/library" ] || fail "there is nothing in the store"
    cmp -s "$work/python" "$work/library" || fail "the readers differ: $(cat "$work/summary")
$(diff "$work/python" "$work/library" | cut -c 1-160 | head -20)"
}

expect_whole() {
    cmp -s "$work/whole" "$work/library" || fail "the library lost something"
}

expect_file() {
    [ -s "$1" ] || fail "$(basename "$1") is missing or empty: the test does not try what it should"
}

test_log_only() {
    make_store build "$work/log"
    expect_file "$work/log/wal.log"
    [ ! -e "$work/log/checkpoint.dat" ] || fail "there is a checkpoint already"
    cp -r "$work/log" "$work/copy"
    compare "$work/copy"
    mv "$work/library" "$work/whole"
}

test_checkpoint_and_log() {
    make_store build "$work/checkpoint" --checkpoint
    expect_file "$work/checkpoint/wal.log"
    expect_file "$work/checkpoint/checkpoint.dat"
    cp -r "$work/checkpoint" "$work/copy"
    compare "$work/copy"
    expect_whole
}

# The store's owner was killed: preallocated zeros may follow the last record.
test_killed() {
    if make_store build "$work/copy" --checkpoint --crash 2>"$work/killed"; then
        fail "make_store was not killed"
    fi
    expect_file "$work/copy/wal.log"
    compare "$work/copy"
    expect_whole
}

# The last records belong to one batch, which a cut of a byte takes away as a whole; the longer cuts take more.
test_cut() {
    local store=$1 cut

    for cut in 1 5 100 1000; do
        rm -rf "$work/copy"
        cp -r "$store" "$work/copy"
        truncate -s "-$cut" "$work/copy/wal.log"
        compare "$work/copy"
        if cmp -s "$work/whole" "$work/library"; then
            fail "a log that is cut by $cut bytes gives the whole store"
        fi
    done
}

# Moves the records of wal.log behind an LSN to wal.next. Without an LSN it takes that of checkpoint.dat.
split_log() {
    python3 - "$here" "$@" <<'PYTHON'
import pathlib
import sys

sys.path.insert(0, sys.argv[1])
from kvwal_reader import decode_checkpoint, read_log

store = pathlib.Path(sys.argv[2])
log = (store / "wal.log").read_bytes()
if len(sys.argv) > 3:
    lsn = int(sys.argv[3])
else:
    lsn = decode_checkpoint((store / "checkpoint.dat").read_bytes())[0]
split = next(record.end for record in read_log("wal.log", log).records if record.lsn == lsn)
(store / "wal.log").write_bytes(log[:split])
(store / "wal.next").write_bytes(log[split:])
PYTHON
    expect_file "$1/wal.log"
    expect_file "$1/wal.next"
}

# As if a crash had come before a checkpoint was complete: the log goes on in wal.next.
test_two_logs() {
    cp -r "$work/log" "$work/copy"
    split_log "$work/copy" 300
    compare "$work/copy"
    expect_whole
}

# Damage in wal.log, which no checkpoint covers: what wal.next holds lies behind a bad record, and does not count.
test_two_logs_damaged() {
    cp -r "$work/log" "$work/copy"
    split_log "$work/copy" 300
    printf 'no record' >>"$work/copy/wal.log"
    compare "$work/copy"
}

# As if a crash had come when the checkpoint was complete, but the log that it covers not yet retired.
make_unretired() {
    cp -r "$work/log" "$work/copy"
    cp "$work/checkpoint/checkpoint.dat" "$work/copy"
    split_log "$work/copy"
}

test_unretired_log() {
    make_unretired
    compare "$work/copy"
    expect_whole
}

# What the checkpoint covers cannot be missed: it does not matter where the old log breaks off.
test_unretired_log_cut() {
    make_unretired
    truncate -s 10000 "$work/copy/wal.log"
    compare "$work/copy"
    expect_whole
}

run_test() {
    local name=$1
    shift
    printf '[reader] %s... ' "$name"
    "$@"
    rm -rf "$work/copy"
    echo ok
}

gcc -std=c11 -D_GNU_SOURCE -Wall -Wextra -Werror -I"$root/include" -o "$work/make_store" "$here/make_store.c" \
    -L"$lib_dir" -lkvwal
run_test "log only" test_log_only
run_test "checkpoint and log" test_checkpoint_and_log
run_test "killed, not closed" test_killed
run_test "log only, cut" test_cut "$work/log"
run_test "checkpoint and log, cut" test_cut "$work/checkpoint"
run_test "wal.log and wal.next" test_two_logs
run_test "wal.log damaged, and wal.next" test_two_logs_damaged
run_test "checkpoint, covered log, wal.next" test_unretired_log
run_test "checkpoint, covered log cut, wal.next" test_unretired_log_cut
