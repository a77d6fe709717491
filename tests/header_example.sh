#!/usr/bin/env bash
# The headers compile alone, kvwal.hpp leaves out no function of kvwal.h, and the examples of the headers, README.md and
# docs/getting-started.md do what they show.
#
#     KVWAL_LIB_DIR=DIR tests/header_example.sh        DIR, where libkvwal.so is, is target/release unless set
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
lib_dir=$(cd "${KVWAL_LIB_DIR:-$root/target/release}" && pwd)
work=$(mktemp -d "${TMPDIR:-/tmp}/header_example.XXXXXX")
cleanup() { rm -rf "$work"; }
trap cleanup EXIT

fail() {
    echo "FAIL"
    echo "header_example: $*" >&2
    exit 1
}

# A header that includes all it needs, and has an include guard, compiles when it comes first, twice.
compile_alone() {
    local header=$1 compiler=$2 language=$3 standard=$4

    printf '[header] %s as %s... ' "$header" "$standard"
    printf '#include <%s>\n#include <%s>\n' "$header" "$header" |
        "$compiler" -x "$language" -std="$standard" -Wall -Wextra -Werror -pedantic -fsyntax-only \
            -I"$root/include" - || fail "$header does not compile as $standard"
    echo ok
}

# Each function is called, or named where its absence is explained.
check_nothing_left_out() {
    local function functions=0

    printf '[header] every function of kvwal.h in kvwal.hpp... '
    for function in $(sed -nE '/^typedef/d; s/^[a-z].*[ *]((kv|wal)_[a-z_]+)\(.*/\1/p' "$root/include/kvwal.h"); do
        grep -q "\b$function(" "$root/include/kvwal.hpp" || fail "$function is not in kvwal.hpp"
        functions=$((functions + 1))
    done
    [ "$functions" -gt 40 ] || fail "only $functions functions were found in kvwal.h"
    echo ok
}

# What is indented below " * Example", up to the next line of text, without " *     ".
example_of_header() {
    awk '/^ \* Example$/ { inside = 1; next } /^ \* ?[^ ]/ { inside = 0 } inside' "$root/include/$1" |
        sed 's/^ \*\(     \|$\)//'
}

# The first block of a language in a document.
example_of_document() {
    awk -v fence="^\`\`\`$2\$" '$0 ~ fence && !seen { inside = seen = 1; next } /^```$/ { inside = 0 } inside' \
        "$root/$1"
}

run_example() {
    (cd "$1" && LD_LIBRARY_PATH=$lib_dir ./program)
}

# Each run prints what it read back: the first what it has just stored, the second what the first left there, too.
check_example() {
    local name=$1 compiler=$2 language=$3 standard=$4 source=$5 dir=$work/${1//\//-}-$3

    printf '[example] %s in %s... ' "$name" "$standard"
    [ -n "$source" ] || fail "$name has no example"
    mkdir "$dir"
    printf '%s\n' "$source" >"$dir/example"
    "$compiler" -x "$language" -std="$standard" -Wall -Wextra -Werror -pedantic -I"$root/include" \
        -o "$dir/program" "$dir/example" -L"$lib_dir" -lkvwal || fail "the example of $name does not compile"
    for run in first second; do
        output=$(run_example "$dir") || fail "the $run run of the example of $name failed"
        [ "$output" = Ada ] || fail "the $run run of the example of $name printed '$output' instead of 'Ada'"
    done
    echo ok
}

compile_alone kvwal.h gcc c c99
compile_alone kvwal.h g++ c++ c++17
compile_alone kvwal.hpp g++ c++ c++17

check_nothing_left_out

check_example kvwal.h gcc c c99 "$(example_of_header kvwal.h)"
check_example kvwal.hpp g++ c++ c++17 "$(example_of_header kvwal.hpp)"
for document in README.md docs/getting-started.md; do
    check_example "$document" gcc c c99 "$(example_of_document "$document" c)"
    check_example "$document" g++ c++ c++17 "$(example_of_document "$document" cpp)"
done
