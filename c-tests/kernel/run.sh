#!/usr/bin/env bash
# The shipped libkvwal.so under a real kernel: run.sh DIR [--seconds N] [--seed S], where the Makefile has put the
# programs into DIR/kernel.
#
# File calls that fail, one by one; SIGKILL; the file-size limit; a full disk; power cuts. Each of them is also run
# against something that breaks its promise, and must notice. All of it takes about N seconds (40), at least 30. What
# needs root and loop devices is skipped without them, with a line that says so.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
usage() {
    echo "usage: run.sh DIR [--seconds N] [--seed S]" >&2
    exit 2
}
[ $# -ge 1 ] || usage
programs=$(cd "$1" && pwd)/kernel
shift
seconds=40
seed=$((RANDOM * 32768 + RANDOM))
while [ $# -ge 2 ]; do
    case $1 in
        --seconds) seconds=$2 ;;
        --seed) seed=$2 ;;
        *) usage ;;
    esac
    shift 2
done
[ $# -eq 0 ] || usage
PATH=$PATH:/usr/sbin:/sbin

# Most of this is as telling in memory, where it is a hundred times as fast: what is tested is not the disk.
place=${TMPDIR:-/tmp}
[ -d /dev/shm ] && [ -w /dev/shm ] && [ "$(df --output=avail -k /dev/shm | tail -1)" -ge 262144 ] && place=/dev/shm
work=$(mktemp -d "$place/kvwal-kernel.XXXXXX")
mountpoint='' device=''

# Takes back what attach has made.
release() {
    if [ -n "$mountpoint" ] && mountpoint -q "$mountpoint"; then
        umount "$mountpoint" || umount --lazy "$mountpoint"
    fi
    [ -z "$device" ] || losetup --detach "$device"
    mountpoint='' device=''
}
cleanup() {
    release
    rm -rf "$work"
}
trap cleanup EXIT
trap 'exit 1' INT TERM

# Shares of the time: percent PERCENTAGE.
percent() { echo $((seconds * $1 / 100)); }

# Every program ends by itself; this is for one that hangs.
limit() { timeout --kill-after=10 $((seconds + 600)) "$@"; }
with_faults() { limit env LD_PRELOAD="$programs/libfaults.so" "$@"; }
with_lie() { limit env KVWAL_KERNEL_LIE="$1" LD_PRELOAD="$programs/libfaults.so" "${@:2}"; }

fail() {
    echo "FAIL"
    [ ! -e "$work/output" ] || tail -n 40 "$work/output" >&2
    echo "run.sh: $1; it was run with --seconds $seconds --seed $seed" >&2
    exit 1
}

# try NAME COMMAND...: it succeeds, and its last line says what it did.
try() {
    local name=$1 status=0
    shift
    printf '%-32s ' "[$name]"
    "$@" >"$work/output" 2>&1 || status=$?
    [ "$status" -eq 0 ] || fail "$name: exit status $status"
    tail -n 1 "$work/output"
}

# caught NAME MESSAGE COMMAND...: it fails, with one of the messages in the pattern. A check that cannot fail is none.
caught() {
    local name=$1 message=$2 status=0
    shift 2
    printf '%-32s ' "[$name]"
    "$@" >"$work/output" 2>&1 || status=$?
    [ "$status" -eq 1 ] || fail "$name: it was not noticed, exit status $status"
    grep -E -m 1 "$message" "$work/output" >"$work/message" || fail "$name: something else was noticed"
    sed 's/^[^ ]*: /noticed: /' "$work/message"
}

skipped() { printf '%-32s skipped: needs root and loop devices\n' "[$1]"; }

# An empty directory below the working one.
new_dir() {
    mkdir "$work/$1"
    echo "$work/$1"
}

# ---- File calls ----

# What faults.c counts is what the kernel sees: no call of the library gets past it.
counts_every_call() {
    local dir=$1
    limit strace -f -y -o "$work/trace" -E LD_PRELOAD="$programs/libfaults.so" "$programs/calls_test" count "$dir" \
        >"$work/counted"
    awk -v dir="$dir" '
        BEGIN {
            split("openat open|pread64 read|pwrite64 write|pwritev write|fdatasync sync|fsync sync|" \
                  "ftruncate truncate|renameat rename|unlinkat unlink|mkdirat mkdir|flock lock|newfstatat stat|" \
                  "statx stat|mmap map", pairs, "|")
            for (i in pairs) { split(pairs[i], pair, " "); kinds[pair[1]] = pair[2]; seen[pair[2]] = 0 }
        }
        index($0, dir) && !/ resumed>/ {
            call = $2
            sub(/\(.*/, "", call)
            if (call in kinds) seen[kinds[call]]++
            else if (call !~ /^(close|fadvise64|execve)$/) seen["other: " call]++
        }
        END { for (kind in seen) print kind, seen[kind] }' "$work/trace" | sort >"$work/seen"
    sort "$work/counted" | diff - "$work/seen" || return 1
    echo "$(awk '{ n += $2 } END { print n }' "$work/seen") calls, all counted"
}

echo "under a real kernel: $seconds seconds, seed $seed, in $place"
try "calls are counted" counts_every_call "$(new_dir counting)"
try "calls fail, one by one" with_faults "$programs/calls_test" "$(new_dir calls)" "$(percent 30)" "$seed"
caught "a failed fsync is repeated" "SECOND SYNC" with_lie retry "$programs/calls_test" "$(new_dir retried)" 0 "$seed"
caught "the tail is not rewritten" "VERDICT|LOST" with_lie keep "$programs/calls_test" "$(new_dir kept)" 0 "$seed"

# ---- Death of the process ----

try "SIGKILL" limit "$programs/kill_test" "$(new_dir killed)" "$(percent 20)" "$seed"
caught "SIGKILL, records in memory" "LOST" limit "$programs/kill_test" "$(new_dir unsafe)" 30 "$seed" interval

# ---- No room ----

try "file-size limit" limit "$programs/limit_test" "$(new_dir limited)" "$(percent 4)" "$seed"

# The shell says how it died, into the output.
dies_of_limit() {
    local status=0
    # shellcheck disable=SC2016 # the inner shell is to expand it
    with_lie signal bash -c '"$@"; exit $?' bash "$programs/limit_test" "$1" 0 "$seed" || status=$?
    [ "$status" -eq $((128 + $(kill -l XFSZ))) ] && echo "noticed: killed by SIGXFSZ"
}
caught "a failed write is not cut off" "file_size" with_lie cut "$programs/limit_test" "$(new_dir uncut)" 0 "$seed"
try "the signal is not blocked" dies_of_limit "$(new_dir unblocked)"

# attach NAME SIZE [MKFS OPTION...]: a loop device with an ext4, and a directory for it: $device, $image, $mountpoint.
attach() {
    image=$work/$1.image
    truncate -s "$2" "$image"
    mkfs.ext4 -q -F -m 0 "${@:3}" "$image"
    mountpoint=$(new_dir "$1")
    # Another process may be faster with a free device.
    for _ in 1 2 3 4 5; do
        ! device=$(losetup --find --show "$image") || return 0
        sleep 0.2
    done
    fail "no loop device"
}

full_disks() {
    attach full 4M
    mount "$device" "$mountpoint"
    try "full disk, ext4" limit "$programs/full_test" "$mountpoint" "$(percent 6)" "$seed"
    caught "the full disk is kept secret" "SWALLOWED|LOST" with_lie space "$programs/full_test" "$mountpoint" 0 "$seed"
    release
    mountpoint=$(new_dir full-memory)
    mount -t tmpfs -o size=4m none "$mountpoint"
    try "full disk, tmpfs" limit "$programs/full_test" "$mountpoint" "$(percent 2)" "$seed"
    release
}

# ---- Power cuts ----

# power_test SECONDS PREFIX...: on what attach() has made.
power_test() { "${@:2}" "$programs/power_test" "$device" "$image" "$mountpoint" "$1" "$seed"; }

power_cuts() {
    attach journal 64M
    try "power cuts, ext4" power_test "$(percent 13)" limit
    release
    attach plain 64M -O ^has_journal
    try "power cuts, no journal" power_test "$(percent 13)" limit
    release
    for lie in sync data; do
        attach "lie-$lie" 64M
        caught "power cuts, $lie lies" "LOST|VERDICT" power_test 30 with_lie "$lie"
        release
    done
}

# Whether an ext4 can really be mounted here: that there is a control device says little.
can_mount() {
    [ "$(id -u)" -eq 0 ] && [ -w /dev/loop-control ] || return 1
    "$root/tools/need.sh" mkfs.ext4 losetup && truncate -s 1M "$work/probe" && mkfs.ext4 -q -F "$work/probe" &&
        mkdir "$work/probed" && mount -o loop "$work/probe" "$work/probed" && umount "$work/probed"
}

if can_mount 2>/dev/null; then
    full_disks
    power_cuts
else
    skipped "full disk"
    skipped "power cuts"
fi
