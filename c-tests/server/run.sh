#!/usr/bin/env bash
# kv_server from outside: run.sh PROGRAMS [--long SECONDS], where the Makefile has put the clients in C.
#
# The harness with netcat; many clients at once; what clients can do to a server; Redis's own clients, against a real
# redis-server; the same under helgrind and memcheck; and which thread it is that touches sockets. Each tool is also
# shown something that it must object to. That takes about a minute; with --long clients and kills go on for about
# SECONDS instead.
#
# KV_SERVER is the binary, by default that of this tree's release build. What is missing is skipped, with a line.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
usage() {
    echo "usage: run.sh PROGRAMS [--long SECONDS]" >&2
    exit 2
}
[ $# -eq 1 ] || { [ $# -eq 3 ] && [ "$2" = --long ]; } || usage
programs=$(cd "$1" && pwd)
long=${3:-0}
server=$(readlink -f "${KV_SERVER:-$here/../../target/release/kv_server}")
export KV_SERVER=$server
work=$(mktemp -d "${TMPDIR:-/tmp}/kv-server-run.XXXXXX")
export TMPDIR=$work
pid='' port=''
cleanup() {
    [ -z "$pid" ] || kill -9 "$pid" 2>/dev/null || true
    rm -rf "$work"
}
trap cleanup EXIT
passed=0

fail() {
    echo "FAIL"
    [ ! -e "$work/output" ] || tail -n 40 "$work/output" >&2
    echo "run.sh: $*" >&2
    exit 1
}

# try NAME COMMAND...: it succeeds, and its last line says what it did.
try() {
    local name=$1 status=0
    shift
    printf '%-34s ' "[$name]"
    "$@" >"$work/output" 2>&1 || status=$?
    [ "$status" -eq 0 ] || fail "$name: exit status $status"
    tail -n 1 "$work/output"
    passed=$((passed + 1))
}

# caught NAME COMMAND...: it fails. A check that cannot fail is none.
caught() {
    local name=$1
    shift
    printf '%-34s ' "[$name]"
    ! "$@" >"$work/output" 2>&1 || fail "$name: it was not noticed"
    echo noticed
    passed=$((passed + 1))
}

skipped() { printf '%-34s skipped: there is no %s\n' "[$1]" "$2"; }

# start [COMMAND...]: a server, by way of this command; stop() ends it: $pid, $port.
start() {
    rm -rf "$work/store"
    : >"$work/log"
    "$@" "$server" 0 --dir "$work/store" </dev/null 2>"$work/log" &
    pid=$!
    port=''
    for ((tries = 0; tries < 600 && ${#port} == 0; tries++)); do
        sleep 0.1
        kill -0 "$pid" || return 1
        port=$(sed -n 's/^listening on 127\.0\.0\.1:\([0-9]*\)$/\1/p' "$work/log")
    done
    [ -n "$port" ]
}

stop() {
    local ended=$pid
    kill -TERM "$pid"
    pid=''
    wait "$ended"
}

# A Python that has redis-py, if there is one: Debian's, mostly.
python=python3
for candidate in python3 /usr/bin/python3; do
    if "$candidate" -c 'import redis' 2>/dev/null; then
        python=$candidate
        break
    fi
done

# stress SECONDS [COMMAND...]: many clients at a server, which this command has started.
stress() {
    local seconds=$1
    shift
    start "$@" || return 1
    if [ -x "$programs/hiredis_test" ]; then "$programs/hiredis_test" "$port" || return 1; fi
    timeout $((seconds + 600)) "$programs/stress" "$port" "$seconds" >"$work/stress" || return 1
    stop && cat "$work/stress"
}

# The harness; in the end it says what the kills have shown.
harness() {
    "$here/../server_harness.sh" && sed -n 's/^test_crash_recovery *//p' "$work/output"
}

# ---- Under valgrind ----

# Verdicts in these files, one in each, and each a good one.
without_errors() {
    [ "$(cat "$@" | grep -c 'ERROR SUMMARY: 0 errors from 0 contexts')" -eq $# ] || return 1
    echo "$# servers: ERROR SUMMARY: 0 errors from 0 contexts"
}

# Every block is freed, but for one that each Rust program has from before main().
without_leaks() {
    without_errors "$@" >/dev/null || return 1
    awk '
        FNR == 1 { files++ }
        / loss record / { records++ }
        /stack_overflow::thread_info::/ && !counted[FILENAME]++ { of_rust++ }
        /(definitely|indirectly|possibly) lost: 0 bytes in 0 blocks/ { none_lost++ }
        /All heap blocks were freed/ { none_lost += 3 }
        END {
            if (none_lost != 3 * files || records != of_rust) exit 1
            print files " servers: nothing lost; reachable: " of_rust + 0 " blocks, which Rust makes before main()"
        }' "$@"
}

helgrind=(valgrind --tool=helgrind)
memcheck=(valgrind --leak-check=full --show-leak-kinds=all)
logs=$work/valgrind

# clients WRAPPER...: at servers under this tool, each of which has its own file in $logs.
clients() {
    stress 2 "$@" "--log-file=$logs/%p" &&
        SERVER_WRAPPER="$* --log-file=$logs/%p" TIME_SCALE=15 "$python" "$here/redis_clients.py" replies_resp3
}
under_helgrind() {
    rm -rf "$logs" && mkdir "$logs" || return 1
    SERVER_WRAPPER="${helgrind[*]} --log-file=$logs/%p" "$here/../server_harness.sh" || return 1
    clients "${helgrind[@]}" || return 1
    cat "$logs"/* && without_errors "$logs"/*
}
under_memcheck() {
    rm -rf "$logs" && mkdir "$logs" || return 1
    clients "${memcheck[@]}" || return 1
    cat "$logs"/* && without_leaks "$logs"/*
}

# The same verdict on a program with a race, and on one that leaves a block behind.
race_is_clean() {
    "${helgrind[@]}" --log-file="$work/control" "$programs/control" race && without_errors "$work/control"
}
leak_is_clean() {
    "${memcheck[@]}" --log-file="$work/control" "$programs/control" leak && without_leaks "$work/control"
}

# ---- Which thread does what ----

# From a trace with -f -y: one thread waits for events and does all that is done to sockets.
check_trace() {
    awk '
        / epoll_wait\(/ { waits[$1]++; loop = $1 }
        /<(TCP|TCPv6|UNIX|UNIX-STREAM|socket):/ && / (readv?|writev?|recvfrom|sendto|recvmsg|sendmsg|accept4)\(/ {
            touches[$1]++; all++
        }
        END {
            for (thread in waits) threads++
            if (threads != 1) { print threads + 0 " threads wait for events"; exit 1 }
            if (touches[loop] < 100) { print "the loop touches sockets only " touches[loop] + 0 " times"; exit 1 }
            if (touches[loop] != all) { print all - touches[loop] " times another thread touches a socket"; exit 1 }
            print waits[loop] " times epoll_wait, " all " times a socket, all in one thread"
        }' "$1"
}

one_thread_does_sockets() {
    local calls=epoll_wait,read,write,readv,writev,recvfrom,sendto,recvmsg,sendmsg,accept4
    start strace -D -f -yy -s 0 -o "$work/trace" -e trace="$calls" || return 1
    timeout 120 "$programs/stress" "$port" 2 || return 1
    stop && check_trace "$work/trace"
}

# The same trace with one call more, by a thread that is not there.
another_thread_does() {
    { cat "$work/trace" && echo '1 read(9<TCP:[127.0.0.1:1->127.0.0.1:2]>, ""..., 1) = 1'; } >"$work/altered"
    check_trace "$work/altered"
}

# ---- All of it ----

# Tests in Python print a line each: shown as they come.
tests_in_python() {
    local count
    "$@" 2>"$work/output" | tee "$work/tests" || fail "$2"
    count=$(sed -n 's/^\([0-9]*\)\/[0-9]* tests passed$/\1/p' "$work/tests")
    passed=$((passed + count))
}

small() {
    try "server_harness.sh" harness
    try "many clients" stress 5
    tests_in_python "$python" "$here/robustness.py"
    tests_in_python "$python" "$here/redis_clients.py"
    if command -v valgrind >/dev/null; then
        try "helgrind" under_helgrind
        caught "a race" race_is_clean
        try "memcheck" under_memcheck
        caught "a leak" leak_is_clean
    else
        skipped "helgrind, memcheck" valgrind
    fi
    if command -v strace >/dev/null; then
        try "one thread does the sockets" one_thread_does_sockets
        caught "another thread does" another_thread_does
    else
        skipped "one thread does the sockets" strace
    fi
}

# A kill takes about three seconds, with the looking for all that was acknowledged.
large() {
    try "many clients" stress $((long / 3))
    CRASH_ROUNDS=$((long / 10 + 1)) try "kills under load" harness
    tests_in_python "$python" "$here/robustness.py" --long
}

if [ "$long" -eq 0 ]; then small; else large; fi
echo "$passed passed, 0 failed"
