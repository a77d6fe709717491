# Trying an installed tree as those do who build on it; to be sourced. What needs $work, a directory, and $version.

passed=0

fail() {
    echo "FAIL"
    [ ! -e "$work/output" ] || tail -n 40 "$work/output" >&2
    echo "$(basename "$0"): $*" >&2
    exit 1
}

# try NAME FUNCTION...: runs it with its output kept, up to the first command that fails. That needs `set -e`, which bash
# ignores in whatever stands before `||` or behind `if` and `!`.
try() {
    local name=$1 status
    shift
    printf '[install] %-58s ' "$name"
    set +e
    (set -e; "$@") >"$work/output" 2>&1
    status=$?
    set -e
    [ $status -eq 0 ] || fail "$name: exit status $status"
    echo ok
    passed=$((passed + 1))
}

# not COMMAND...: it has to fail.
not() {
    if "$@"; then
        echo "this should have failed: $*"
        return 1
    fi
}

# pkg_config LIBDIR ARGUMENT...: knows nothing but the tree.
pkg_config() {
    PKG_CONFIG_LIBDIR=$1/pkgconfig pkg-config "${@:2}" kvwal
}

# run PROGRAM: it runs with a store of its own, and is of this version in its header and its library.
run() {
    rm -rf "$work/store"
    local printed
    printed=$("$1" "$work/store")
    echo "$1 printed '$printed'"
    [ "$printed" = "$version $version" ]
}

needs_library() {
    readelf -d "$1" | grep -F '(NEEDED)' | grep -qF '[libkvwal.so'
}

# with_pkg_config LIBDIR: a program built with nothing but what pkg-config says, linked with each library.
with_pkg_config() {
    local libdir=$1 flags static_flags compiler
    flags=$(pkg_config "$libdir" --cflags --libs)
    static_flags=$(pkg_config "$libdir" --static --cflags --libs)
    [ "$(pkg_config "$libdir" --modversion)" = "$version" ]
    for compiler in 'gcc -std=c99 use.c' 'g++ -std=c++17 use.cpp'; do
        (cd "$here" && $compiler -Wall -Wextra -Werror -pedantic $flags -o "$work/shared")
        needs_library "$work/shared"
        LD_LIBRARY_PATH=$libdir run "$work/shared"
        (cd "$here" && $compiler -static $static_flags -o "$work/static")
        not needs_library "$work/static"
        run "$work/static"
    done
}

# with_cmake PREFIX: the same with find_package, which has to find this tree and no other.
with_cmake() {
    rm -rf "$work/cmake"
    cmake -S "$here" -B "$work/cmake" -DCMAKE_PREFIX_PATH="$1" -DCMAKE_FIND_USE_CMAKE_SYSTEM_PATH=OFF \
        -DWANTED_VERSION="$version"
    grep -q "^kvwal_DIR:PATH=$1/" "$work/cmake/CMakeCache.txt"
    cmake --build "$work/cmake"
    local language
    for language in c cpp; do
        needs_library "$work/cmake/use-$language-kvwal"
        run "$work/cmake/use-$language-kvwal"
        not needs_library "$work/cmake/use-$language-static"
        run "$work/cmake/use-$language-static"
    done
}

# A version of CMake's that the installed one cannot stand for is refused.
refuses_versions() {
    local wanted
    for wanted in 99.0 0.0.1; do
        rm -rf "$work/cmake"
        not cmake -S "$here" -B "$work/cmake" -DCMAKE_PREFIX_PATH="$1" -DWANTED_VERSION=$wanted
        grep -q 'package "kvwal" that is compatible' "$work/output"
    done
}

# The library's soname, and no place where it is looked for or was built.
library_names() {
    readelf -d "$1" >"$work/dynamic"
    grep -F '(SONAME)' "$work/dynamic" | grep -F '[libkvwal.so.'
    not grep -E '\((RPATH|RUNPATH)\)' "$work/dynamic"
}

# names_nothing LIBDIR WORD...: the files for pkg-config and CMake name no such place.
names_nothing() {
    local word
    for word in "${@:2}"; do
        not grep -rnF -e "$word" "$1/pkgconfig/kvwal.pc" "$1/cmake/kvwal"
    done
}
