#!/usr/bin/env bash
# The headers compile alone, and the examples of include/kvwal.h and README.md do what they show.
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

# The lines between " * Example" and the end of the comment, without " *     ".
example_of_header() {
    sed -n '/^ \* Example$/,/^ \*\/$/s/^ \*\(     \|$\)//p' "$root/include/kvwal.h"
}

# The first block fenced with ```c.
example_of_readme() {
    awk '/^```c$/ && !seen { inside = seen = 1; next } /^```$/ { inside = 0 } inside' "$root/README.md"
}

run_example() {
    (cd "$1" && LD_LIBRARY_PATH=$lib_dir ./example)
}

# Each run prints what it read back: the first what it has just stored, the second what the first left there, too.
check_example() {
    local name=$1 source=$2 dir=$work/$1

    printf '[example] %s... ' "$name"
    mkdir "$dir"
    printf '%s\n' "$source" >"$dir/example.c"
    gcc -std=c99 -Wall -Wextra -Werror -pedantic -I"$root/include" -o "$dir/example" "$dir/example.c" \
        -L"$lib_dir" -lkvwal || fail "the example of $name does not compile"
    for run in first second; do
        output=$(run_example "$dir") || fail "the $run run of the example of $name failed"
        [ "$output" = Ada ] || fail "the $run run of the example of $name printed '$output' instead of 'Ada'"
    done
    echo ok
}

compile_alone kvwal.h gcc c c99
compile_alone kvwal.h g++ c++ c++17
if [ -e "$root/include/kvwal.hpp" ]; then
    compile_alone kvwal.hpp g++ c++ c++17
fi

header_example=$(example_of_header)
[ -n "$header_example" ] || fail "include/kvwal.h has no example"
check_example kvwal.h "$header_example"

readme_example=$([ ! -e "$root/README.md" ] || example_of_readme)
if [ -n "$readme_example" ]; then
    check_example README.md "$readme_example"
fi
