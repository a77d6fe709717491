#!/bin/bash
# Builds and runs the write-ahead log's six tests against the shared library.
#
#   KVWAL_LIB_DIR  where libkvwal.so is; target/release of this tree if not set
#   CC             the C compiler; gcc if not set
set -e

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
lib_dir=${KVWAL_LIB_DIR:-$root/target/release}
work=$(mktemp -d "${TMPDIR:-/tmp}/kvwal-harness-XXXXXX")

cleanup() {
    rm -rf "$work"
}
trap cleanup EXIT

if [ ! -e "$lib_dir/libkvwal.so" ]; then
    echo "no libkvwal.so in $lib_dir: run 'cargo build --release', or set KVWAL_LIB_DIR" >&2
    exit 1
fi
lib_dir=$(cd "$lib_dir" && pwd)

printf '[build] compiling WAL components... '
"${CC:-gcc}" -std=c11 -D_GNU_SOURCE -O2 -Wall -Wextra -Werror -I"$root/include" \
    "$root/c-tests/wal_full_test.c" -o "$work/wal_full_test" -L"$lib_dir" -lkvwal
echo ok

# The tests' own temporary directories go with this one, whatever happens.
TMPDIR=$work LD_LIBRARY_PATH=$lib_dir${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH} "$work/wal_full_test"
