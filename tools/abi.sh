#!/usr/bin/env bash
# The binary interface of the library, compared with the recorded one: abi.sh LIBRARY; with --take, takes over what was added.
#
# The record, packaging/abi/SONAME.abi, has a line for each constant, function, callback, struct and member of a struct in
# include/kvwal.h, as gcc sees it on a machine with 64 bits. Programs that were compiled against it run for as long as no
# line is taken away or changed. A struct that begins with struct_size may grow. A function has the version that brought it
# (--take needs VERSION for that), from which packaging/deb.sh makes the symbols file of the Debian package.
set -euo pipefail
export LC_ALL=C

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
header=$root/include/kvwal.h
work=$(mktemp -d "${TMPDIR:-/tmp}/abi.XXXXXX")
cleanup() { rm -rf "$work"; }
trap cleanup EXIT

take=false
if [ "$1" = --take ]; then
    take=true
    shift
fi
soname=$(objdump -p "$1" | awk '$1 == "SONAME" { print $2 }')
record=$root/packaging/abi/$soname.abi

without_comments() { gcc -fpreprocessed -dD -E -P "$header"; }

# A program that prints constants, structs and members, and declares each callback as a function of that name.
print_program() {
    echo '#include <kvwal.h>'
    echo '#include <stdio.h>'
    without_comments | sed -n 's/^typedef [^(]*(\*\([a-z_0-9]*\))(.*/extern __typeof__(*(\1)0) callback_\1;/p'
    echo 'int main(void) {'
    without_comments | awk '
        $1 == "#define" && NF > 2 && $2 !~ /^KVWAL_VERSION/ { printf "printf(\"constant %s %%lld\\n\", (long long)%s);\n", $2, $2 }
        /^typedef struct [a-z_0-9]+ \{/ { name = $3; first = 1; next }
        name != "" && /^}/ {
            printf "printf(\"struct %s%s size %%zu\\n\", sizeof(%s));\n", name, grows ? " may grow, from" : "", name
            name = ""
        }
        name != "" {
            sub(/;$/, ""); sub(/^ +/, "")
            member = $0; sub(/.*[ *]/, "", member)
            type = substr($0, 1, length($0) - length(member)); sub(/ +$/, "", type)
            if (first) grows = member == "struct_size"
            first = 0
            printf "printf(\"member %s.%s at %%zu size %%zu %s\\n\", offsetof(%s, %s), sizeof(((%s *)0)->%s));\n",
                name, member, type, name, member, name, member
        }'
    echo 'return 0; }'
}

# What the header says now, in the form of the record, but for the versions.
describe() {
    print_program > "$work/abi.c"
    gcc -std=c11 -I"$root/include" -aux-info "$work/prototypes" -o "$work/abi" "$work/abi.c"
    "$work/abi"
    sed -nE 's|^/\* .*/abi\.c:.*\*/ extern (.*[ *])callback_(\w+) (\(.*\));$|callback \2: \1\3|p
             s|^/\* .*/kvwal\.h:.*\*/ extern (.*[ *])((kv\|wal)_\w+) (\(.*\));$|function \2: \1\4|p' "$work/prototypes"
}

# Of two descriptions: what of the first the second has not, where a struct that may grow has not become smaller.
missing_from() {
    awk '
        function size_of(line) { return match(line, / may grow, from size [0-9]+$/) ? $NF + 0 : -1 }
        NR == FNR { if (size_of($0) >= 0) sizes[$2] = $NF + 0; lines[$0] = 1; next }
        size_of($0) >= 0 && ($2 in sizes) && sizes[$2] >= size_of($0) { next }
        !($0 in lines)' "$2" "$1"
}

without_versions() { sed -E '/^#/d; s/^(function \w+) since [0-9.]+:/\1:/' "$1"; }

# The description with the version of each function: the recorded one, or this.
with_versions() {
    awk -v version="$VERSION" '
        NR == FNR { if ($1 == "function") since[$2] = $4; next }
        $1 != "function" { print; next }
        { name = substr($2, 1, length($2) - 1); rest = substr($0, length("function " $2) + 1) }
        { print "function " name " since " (name in since ? since[name] : version ":") rest }' "$1" "$2"
}

describe | sort > "$work/now"
[ "$(grep -c '^function' "$work/now")" -eq "$(nm -D --defined-only "$1" | wc -l)" ] || {
    echo "abi.sh does not see every function that $1 exports" >&2
    exit 1
}
if $take && [ ! -e "$record" ]; then
    echo "# The binary interface of $soname on machines with 64 bits, as tools/abi.sh sees it. Written by make abi." > "$record"
fi
without_versions "$record" > "$work/recorded"

missing=$(missing_from "$work/recorded" "$work/now")
if [ -n "$missing" ]; then
    cat >&2 <<END
The binary interface of $soname has lost, or changed:
$missing
Programs that are compiled already would break. Undo that. If it has to be: give the library another soname (SONAME in
build.rs, the package libkvwal0 in packaging/debian), and make abi records the interface anew. Only what no release has
had yet may also be taken out of packaging/abi/$soname.abi by hand.
END
    exit 1
fi
if $take; then
    { grep '^#' "$record"; with_versions "$record" "$work/now"; } > "$work/record"
    cp "$work/record" "$record"
elif ! cmp -s "$work/now" "$work/recorded"; then
    echo "The binary interface of $soname has grown by what follows: make abi takes it over." >&2
    missing_from "$work/now" "$work/recorded" >&2
    exit 1
fi
