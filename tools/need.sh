#!/usr/bin/env bash
# Makes sure that commands, libraries and modules of $PYTHON are there:
#
#     need.sh COMMAND... package:DEBIAN-PACKAGE... python:MODULE...
#
# What is missing is installed when this runs as root on Debian; otherwise one line says what to install.
set -euo pipefail

package_of() {
    case $1 in
        cmake | g++ | gcc | lintian | make | patch | pkg-config | python3 | strace | valgrind) echo "$1" ;;
        cc) echo gcc ;;
        dh) echo debhelper ;;
        dpkg-buildpackage) echo dpkg-dev ;;
        nm | readelf | strip) echo binutils ;;
        mkfs.ext4) echo e2fsprogs ;;
        losetup) echo mount ;;
        redis-server) echo redis-server ;;
        redis-cli) echo redis-tools ;;
        nc) echo netcat-openbsd ;;
        package:*) echo "${1#package:}" ;;
        python:ensurepip) echo python3-venv ;;
        python:*) echo "python3-${1#python:}" ;;
        *) echo "" ;;
    esac
}

is_there() {
    case $1 in
        package:*) dpkg-query -W -f='${Status}' "${1#package:}" 2> /dev/null | grep -q 'ok installed' ;;
        python:*) "${PYTHON:-python3}" -c "import ${1#python:}" 2> /dev/null ;;
        *) command -v "$1" > /dev/null ;;
    esac
}

packages=() others=()
for command in "$@"; do
    is_there "$command" && continue
    package=$(package_of "$command")
    if [ -n "$package" ]; then packages+=("$package"); else others+=("$command"); fi
done

if [ ${#others[@]} -gt 0 ]; then
    echo "kvwal needs ${others[*]}: install Rust 1.91 or later, with rustfmt and clippy" >&2
    exit 1
fi
[ ${#packages[@]} -eq 0 ] && exit 0
if [ "$(id -u)" -ne 0 ] || ! command -v apt-get > /dev/null; then
    echo "kvwal needs ${packages[*]}: install them, on Debian with: apt-get install ${packages[*]}" >&2
    exit 1
fi
echo "installing ${packages[*]}"
# Two parts of the tests may get here at once.
exec 9> "${TMPDIR:-/tmp}/kvwal-need.lock"
flock 9
apt-get update -qq
DEBIAN_FRONTEND=noninteractive apt-get install -y -qq "${packages[@]}" > /dev/null
