#!/usr/bin/env bash
# Builds Debian packages of what `make build` has built, in target/deb. Called by `make deb`, with its variables.
#
# packaging/debian is the debian/ of a source tree, but for what is known elsewhere: the changelog has the version of
# Cargo.toml, the symbols file is the record of the binary interface, and the runtime package has the soname's number.
# The maintainer is whoever builds them, as DEBFULLNAME and DEBEMAIL say.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
out=$root/target/deb
build=$out/kvwal-$VERSION
runtime=libkvwal${SONAME##*.}
maintainer="${DEBFULLNAME:-The kvwal authors} <${DEBEMAIL:-kvwal@packages.invalid}>"
# The time of the last change, so that the same sources give the same packages.
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git -C "$root" log -1 --format=%ct 2> /dev/null || date +%s)}

changelog() {
    cat << END
kvwal ($VERSION) unstable; urgency=medium

  * Built from the sources of kvwal $VERSION; CHANGELOG.md has what is new.

 -- $maintainer  $(date -R -u -d "@$SOURCE_DATE_EPOCH")
END
}

symbols() {
    printf '%s\n' "$SONAME $runtime #MINVER#" '* Build-Depends-Package: libkvwal-dev'
    awk '$1 == "function" { sub(/:$/, "", $4); print " " $2 "@Base", $4 }' "$root/packaging/abi/$SONAME.abi"
}

rm -rf "$out"
mkdir -p "$build"
cp -r "$root/packaging/debian" "$build"
cd "$build/debian"
sed -i "s|@MAINTAINER@|$maintainer|; s|@RUNTIME@|$runtime|" control
mv runtime.install "$runtime.install"
changelog > changelog
symbols > "$runtime.symbols"
mkdir source
echo '3.0 (native)' > source/format
cd ..
# What the calling make was told is not for the one below; tools/need.sh has looked after the build's dependencies.
unset MAKEFLAGS MAKEOVERRIDES MFLAGS
export KVWAL=$root SOURCE_DATE_EPOCH
dpkg-buildpackage --build=binary --no-sign --no-check-builddeps
ls "$out"/*.deb
