#!/usr/bin/env bash
# Installs into a scratch root, builds on what was installed, moves it, builds on it again, and takes it away.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
work=$(mktemp -d "${TMPDIR:-/tmp}/kvwal-install.XXXXXX")
cleanup() { rm -rf "$work"; }
trap cleanup EXIT
version=$(sed -n '/^version = /{s/.*"\(.*\)"/\1/p;q}' "$root/Cargo.toml")
. "$here/tree.sh"

# From a make that runs this, no directory is to be taken over.
unset MAKEFLAGS MAKEOVERRIDES MFLAGS PREFIX DESTDIR TOOLS
make_in_root() { make --no-print-directory -C "$root" "$@"; }

files_of() { (cd "$1" && find . ! -type d | LC_ALL=C sort); }

# A program with all that is generated for it, for there must be a way to install those.
tool=(TOOLS=kvwal-probe TOOL_DIR="$work/tool" GENERATED_DIR="$work/generated")
mkdir -p "$work/tool" "$work/generated/man" "$work/generated/completions"
printf '#!/bin/sh\necho probe\n' >"$work/tool/kvwal-probe"
touch "$work/generated/man/"{kvwal-probe,kvwal-probe-get,kvwal-other}.1
touch "$work/generated/completions/"{kvwal-probe.bash,_kvwal-probe,kvwal-probe.fish}

expected_files() {
    cat <<END
./opt/kvwal/bin/kvwal-probe
./opt/kvwal/include/kvwal.h
./opt/kvwal/include/kvwal.hpp
./opt/kvwal/lib/cmake/kvwal/kvwalConfig.cmake
./opt/kvwal/lib/cmake/kvwal/kvwalConfigVersion.cmake
./opt/kvwal/lib/libkvwal.a
./opt/kvwal/lib/libkvwal.so
./opt/kvwal/lib/libkvwal.so.0
./opt/kvwal/lib/libkvwal.so.$version
./opt/kvwal/lib/pkgconfig/kvwal.pc
./opt/kvwal/share/bash-completion/completions/kvwal-probe.bash
./opt/kvwal/share/doc/kvwal/LICENSE-APACHE
./opt/kvwal/share/doc/kvwal/LICENSE-MIT
./opt/kvwal/share/fish/vendor_completions.d/kvwal-probe.fish
./opt/kvwal/share/man/man1/kvwal-probe-get.1
./opt/kvwal/share/man/man1/kvwal-probe.1
./opt/kvwal/share/zsh/site-functions/_kvwal-probe
END
}

installs() {
    (umask 077 && make_in_root install DESTDIR="$work/root" PREFIX=/opt/kvwal "${tool[@]}")
    diff <(expected_files) <(files_of "$work/root")
    local lib=$work/root/opt/kvwal/lib
    [ "$(readlink "$lib/libkvwal.so") $(readlink "$lib/libkvwal.so.0")" = "libkvwal.so.0 libkvwal.so.$version" ]
    [ -z "$(find "$work/root" -type f ! -perm -444)" ]
    [ "$("$work/root/opt/kvwal/bin/kvwal-probe")" = probe ]
}

# As a distribution does it: a directory for each architecture, and headers in one of their own.
installs_elsewhere() {
    make_in_root install DESTDIR="$work/other root" PREFIX=/usr libdir=/usr/lib/some-arch includedir=/usr/include/kvwal-0
    mv "$work/other root" "$work/other"
    names_nothing "$work/other/usr/lib/some-arch" "$work" "$root" /usr
    with_pkg_config "$work/other/usr/lib/some-arch"
}

refuses_relative_prefix() {
    not make_in_root install DESTDIR="$work/relative" PREFIX=opt
    [ ! -e "$work/relative" ]
    grep -q 'PREFIX that begins with /' "$work/output"
}

# Everything but the directories that are not kvwal's alone; and what others have put there.
uninstalls() {
    mkdir -p "$work/again/opt/kvwal/lib/cmake/kvwal"
    touch "$work/again/opt/kvwal/lib/libkvwal.so.9" "$work/again/opt/kvwal/lib/cmake/kvwal/of-others"
    files_of "$work/again" >"$work/before"
    make_in_root install DESTDIR="$work/again" PREFIX=/opt/kvwal "${tool[@]}"
    make_in_root uninstall DESTDIR="$work/again" PREFIX=/opt/kvwal "${tool[@]}"
    diff "$work/before" <(files_of "$work/again")
    rm "$work/again/opt/kvwal/lib/cmake/kvwal/of-others"
    make_in_root uninstall DESTDIR="$work/again" PREFIX=/opt/kvwal "${tool[@]}"
    [ -z "$(find "$work/again/opt/kvwal" -mindepth 1 -type d -name kvwal)" ]
}

try "make install" installs
prefix=$work/root/opt/kvwal
try "soname, no RPATH" library_names "$prefix/lib/libkvwal.so"
try "nothing names the place of building or installing" names_nothing "$prefix/lib" "$work" "$root" /opt
try "pkg-config, in C and C++, shared and static" with_pkg_config "$prefix/lib"
try "CMake, in C and C++, shared and static" with_cmake "$prefix"
try "CMake, another version" refuses_versions "$prefix"
mv "$prefix" "$work/moved"
try "moved: pkg-config" with_pkg_config "$work/moved/lib"
try "moved: CMake" with_cmake "$work/moved"
try "other directories" installs_elsewhere
try "a relative PREFIX" refuses_relative_prefix
try "make uninstall" uninstalls

echo "$passed passed, 0 failed"
