#!/usr/bin/env bash
# Makes sure that commands are there: need.sh COMMAND...
# What is missing is installed when this runs as root on Debian; otherwise one line says what to install.
set -euo pipefail

package_of() {
    case $1 in
        g++ | gcc | make | valgrind | strace | python3) echo "$1" ;;
        cc) echo gcc ;;
        nm) echo binutils ;;
        *) echo "" ;;
    esac
}

packages=() others=()
for command in "$@"; do
    command -v "$command" > /dev/null && continue
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
