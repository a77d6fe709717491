#!/usr/bin/env bash
# The library exports exactly the functions that the header declares: check_symbols.sh LIBRARY
set -euo pipefail

header=$(dirname "$0")/../include/kvwal.h
exported=$(nm -D --defined-only "$1" | awk '{ print $3 }' | sort)
declared=$(grep -oE '^[a-z].*\b(kv|wal)_[a-z_]+\(' "$header" | grep -oE '(kv|wal)_[a-z_]+\($' | tr -d '(' | sort)

if ! diff <(echo "$declared") <(echo "$exported"); then
    echo "$1 does not export what include/kvwal.h declares (< header, > library)" >&2
    exit 1
fi
soname=$(objdump -p "$1" | awk '$1 == "SONAME" { print $2 }')
if [ "$soname" != libkvwal.so.0 ]; then
    echo "$1 has the soname '$soname'" >&2
    exit 1
fi
