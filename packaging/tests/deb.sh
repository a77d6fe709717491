#!/usr/bin/env bash
# Checks the packages in a directory: deb.sh DIR. Lintian, then dpkg installs them below a scratch root, which is built on,
# and removes them.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
packages=$(cd "$1" && pwd)
work=$(mktemp -d "${TMPDIR:-/tmp}/kvwal-deb.XXXXXX")
cleanup() { rm -rf "$work"; }
trap cleanup EXIT
version=$(sed -n '/^version = /{s/.*"\(.*\)"/\1/p;q}' "$root/Cargo.toml")
. "$here/tree.sh"

# What the packages need is on the machine, not below the scratch root.
dpkg_in_root() {
    dpkg --root="$work/root" --log=/dev/null --force-not-root,depends "$@"
}

field() { dpkg-deb --field "$packages/$1_$version"_*.deb "$2"; }

depends_on_what_it_uses() {
    field libkvwal0 Depends | grep -E '(^| )libc6 \(>= '
    field libkvwal-dev Depends | grep -F "libkvwal0 (= $version)"
    dpkg-deb --info "$packages/libkvwal0_$version"_*.deb symbols | grep -F "kv_open@Base 0.1.0"
}

installs() {
    mkdir -p "$work/root/var/lib/dpkg"/{info,updates}
    touch "$work/root/var/lib/dpkg/status"
    dpkg_in_root --install "$packages"/*.deb
    [ -e "$work/root/usr/include/kvwal.h" ]
}

removes() {
    dpkg_in_root --purge $(cd "$packages" && ls *.deb | sed 's/_.*//')
    [ -z "$(find "$work/root" -name '*kvwal*' ! -path '*/var/lib/dpkg/*')" ]
}

try "lintian" lintian --allow-root --fail-on error,warning "$packages/kvwal_$version"_*.changes
try "packages depend on what they use" depends_on_what_it_uses
try "dpkg --install" installs
libdir=$work/root/usr/lib/$(dpkg-architecture -qDEB_HOST_MULTIARCH)
try "packages: nothing names the place of building" names_nothing "$libdir" "$work" "$root"
try "packages: pkg-config" with_pkg_config "$libdir"
try "packages: CMake" with_cmake "$work/root/usr"
try "dpkg --purge" removes

echo "$passed passed, 0 failed"
