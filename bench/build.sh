#!/usr/bin/env bash
# Builds the benchmark's programs: build.sh [--without-peers] OUT LIB_DIR. What is not there to build with is left out,
# and named in OUT/missing. Uses CC and CARGO.
set -euo pipefail

with_peers=yes
if [ "$1" = --without-peers ]; then
    with_peers=no
    shift
fi
out=$1 lib_dir=$2
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cc=${CC:-gcc}
flags=(-std=c11 -D_GNU_SOURCE -O2 -g -Wall -Wextra -Werror -I"$here/../include")

mkdir -p "$out"
: > "$out/missing"

# links HEADER LIBRARY: whether a program with them can be built.
links() {
    printf '#include <stddef.h>\n#include <stdio.h>\n#include <%s>\nint main(void) { return 0; }\n' "$1" |
        "$cc" -x c - -o /dev/null "-l$2" 2> /dev/null
}

missing() {
    echo "$*" | tee -a "$out/missing"
}

shopt -s extglob
sources=("$here"/!(count_syncs).c "$here"/stores/{kvwal,raw_file,raw_mem}.c)
libraries=() peers=""

# peer FILE HEADER LIBRARY STORE...
peer() {
    local file=$1 header=$2 library=$3 store
    shift 3
    if ! links "$header" "$library"; then
        missing "$*: no $header or lib$library to build with"
        return
    fi
    sources+=("$here/stores/$file")
    libraries+=("-l$library")
    for store in "$@"; do peers+=" PEER($store)"; done
}

if [ $with_peers = yes ]; then
    peer lmdb.c lmdb.h lmdb lmdb
    peer rocksdb.c rocksdb/c.h rocksdb rocksdb
    peer leveldb.c leveldb/c.h leveldb leveldb
    peer sqlite.c sqlite3.h sqlite3 sqlite
    peer berkeleydb.c db.h db berkeleydb
    peer tkrzw.c tkrzw_langc.h tkrzw tkrzw_hash tkrzw_tiny
    peer redis.c hiredis/hiredis.h hiredis redis
fi
if links zlib.h z; then
    flags+=(-DHAVE_ZLIB)
    libraries+=(-lz)
else
    missing "crc32: no zlib.h or libz to build with"
fi
if grep -q 'kv_get_many(' "$here/../include/kvwal.h"; then
    flags+=(-DHAVE_GET_MANY)
else
    missing "get-many: kvwal has no kv_get_many"
fi

"$cc" "${flags[@]}" "-DPEERS=$peers" -o "$out/kvbench" "${sources[@]}" -L"$lib_dir" -lkvwal "${libraries[@]}" -lm \
    -lpthread "-Wl,-rpath,$(cd "$lib_dir" && pwd)"
"$cc" "${flags[@]}" -shared -fPIC -o "$out/count_syncs.so" "$here/count_syncs.c" -ldl

# The peers that are written in Rust are a crate of their own, so that the library depends on none of them.
if [ $with_peers = no ]; then
    exit 0
elif ${CARGO:-cargo} build --quiet --release --manifest-path "$here/rust/Cargo.toml" --target-dir "$out/rust" \
    2> "$out/cargo.log"; then
    cp "$out/rust/release/kvbench-rust" "$out/kvbench-rust"
else
    rm -f "$out/kvbench-rust"
    missing "redb, fjall, sled: cargo cannot build them: $(grep -m 1 '^error' "$out/cargo.log" || true)"
fi
