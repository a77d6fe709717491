#!/usr/bin/env bash
# Compares include/kvwal.h with what the build generated; with --take, takes it over.
set -euo pipefail
cd "$(dirname "$0")/.."

generated=$(ls -t target/release/build/kvwal-*/out/kvwal.h | head -n 1)
if [ "${1:-}" = --take ]; then
    cp "$generated" include/kvwal.h
elif ! diff -u include/kvwal.h "$generated"; then
    echo "include/kvwal.h is not what src/ffi says: run make header" >&2
    exit 1
fi
