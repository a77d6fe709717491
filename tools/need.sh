#!/usr/bin/env bash
# Makes sure that commands and libraries are there: need.sh COMMAND... package:DEBIAN-PACKAGE...
# What is missing is installed when this runs as root on Debian; otherwise one line says what to install.
set -euo pipefail

package_of() {
    case $1 in
        g++ | gcc | make | patch | valgrind | strace | python3) echo "$1" ;;
        cc) echo gcc ;;
        nm | strip) echo binutils ;;
        mkfs.ext4) echo e2fsprogs ;;
        losetup) echo mount ;;
        redis-server) echo redis-server ;;
        package:*) echo "${1#package:}" ;;
        *) echo "" ;;
    esac
}

is_there() {
    case $1 in
        package:*) dpkg-query -W -f='${Status}' "${1#package:}" 2> /dev/null | grep -q 'ok installed' ;;
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
apt-get update -qq
DEBIAN_FRONTEND=noninteractive apt-get install -y -qq "${packages[@]}" > /dev/null
