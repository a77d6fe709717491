#!/usr/bin/env bash
# Drives kv_server as a person with netcat would: server_harness.sh [PORT], or a free port without one.
#
# Each category has a server of its own, which is told to stop at the end and must do so within two seconds. At the end
# test_crash_recovery kills the server under load, again and again, and looks for what it had acknowledged.
#
# KV_SERVER        the binary; by default that of this tree's release build
# SERVER_WRAPPER   a command to start it with: SERVER_WRAPPER="valgrind --tool=helgrind"; all limits of time grow
# TIME_SCALE       how much they grow: by default 15 with a wrapper, 1 without
# CRASH_ROUNDS     how often the server is killed: by default 3, but 0 with a wrapper
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
server=${KV_SERVER:-$here/../target/release/kv_server}
read -ra wrapper <<<"${SERVER_WRAPPER:-}"
scale=${TIME_SCALE:-$([ ${#wrapper[@]} -eq 0 ] && echo 1 || echo 15)}
rounds=${CRASH_ROUNDS:-$([ ${#wrapper[@]} -eq 0 ] && echo 3 || echo 0)}
wanted_port=${1:-0}
work=$(mktemp -d "${TMPDIR:-/tmp}/kv-harness.XXXXXX")
pid='' port='' dir=''

cleanup() {
    if [ -n "$pid" ]; then
        kill -KILL "$pid" && wait "$pid" || true
    fi 2>/dev/null
    rm -rf "$work"
}
trap cleanup EXIT

fail() {
    echo "FAIL"
    echo "server_harness.sh: $*" >&2
    [ ! -e "$work/log" ] || tail -n 40 "$work/log" >&2
    exit 1
}

# ---- The server ----

# Starts it on the store in $dir, and waits until it says where it listens.
start() {
    : >"$work/log"
    "${wrapper[@]}" "$server" "$wanted_port" --dir "$dir" 2>"$work/log" </dev/null &
    pid=$!
    for ((tries = 0; tries < 100 * scale; tries++)); do
        port=$(sed -n 's/^listening on 127\.0\.0\.1:\([0-9]*\)$/\1/p' "$work/log")
        [ -z "$port" ] || return 0
        kill -0 "$pid" 2>/dev/null || fail "the server has not started"
        sleep 0.1
    done
    fail "the server does not say where it listens"
}

# Tells it to stop. It must exit with 0, within two seconds.
stop() {
    local status=0
    kill -TERM "$pid"
    for ((tries = 0; tries < 40 * scale; tries++)); do
        kill -0 "$pid" 2>/dev/null || break
        sleep 0.05
    done
    ! kill -0 "$pid" 2>/dev/null || fail "the server still runs, $((2 * scale)) seconds after SIGTERM"
    wait "$pid" || status=$?
    pid=''
    [ "$status" -eq 0 ] || fail "the server's exit status after SIGTERM is $status"
}

# ---- Clients ----

# Sends its input, prints the answers until the connection ends.
if nc -h 2>&1 | grep -q -- '-N'; then
    talk() { timeout $((30 * scale)) nc -N 127.0.0.1 "$port"; }
else
    # The shell cannot end one direction alone; so the last line asks for the end, and its answer is left out.
    talk() {
        local connection
        exec {connection}<>"/dev/tcp/127.0.0.1/$port"
        { cat && echo QUIT; } <&0 >&"$connection" &
        timeout $((30 * scale)) cat <&"$connection" | head -n -1
        exec {connection}>&-
    }
fi

# expect LINE ANSWER [LINE ANSWER]...: over one connection, all sent at once.
expect() {
    local sent=() expected=()
    while [ $# -gt 0 ]; do
        sent+=("$1") expected+=("$2")
        shift 2
    done
    printf '%s\n' "${sent[@]}" >"$work/sent"
    printf '%s\n' "${expected[@]}" >"$work/expected"
    talk <"$work/sent" >"$work/answers" || fail "${FUNCNAME[1]}: the connection failed"
    diff -u "$work/expected" "$work/answers" >&2 || fail "${FUNCNAME[1]}: other answers to: ${sent[*]}"
}

# ---- Categories ----

test_basic_ops() {
    expect 'SET foo bar' OK 'GET foo' 'VALUE bar' 'DEL foo' DELETED 'GET foo' NOT_FOUND 'DEL foo' NOT_FOUND
    expect 'GET never' NOT_FOUND 'set lower case' OK 'get lower' 'VALUE case' 'SET soon gone EX 100' OK \
        'GET soon' 'VALUE gone'
    expect 'SET brief value EX 1' OK
    sleep 1.1
    expect 'GET brief' NOT_FOUND
    expect $'SET crlf yes\r' OK $'GET crlf\r' 'VALUE yes' '  SET   wide   gaps  ' OK 'GET wide' 'VALUE gaps'
}

test_overwrite() {
    expect 'SET key first' OK 'SET key second' OK 'GET key' 'VALUE second'
    expect 'GET key' 'VALUE second' 'SET key third' OK 'DEL key' DELETED 'GET key' NOT_FOUND 'SET key fourth' OK \
        'GET key' 'VALUE fourth'
    # What is overwritten stays so when the server has been away.
    stop
    start
    expect 'GET key' 'VALUE fourth' 'SET key fifth' OK 'GET key' 'VALUE fifth'
}

# Each gets one line, and the connection goes on.
test_invalid_commands() {
    local missing='ERROR missing arguments' many='ERROR too many arguments' unknown='ERROR unknown command'
    expect 'BADCMD' "$unknown" 'GETS foo' "$unknown" 'GET' "$missing" 'SET' "$missing" 'SET foo' "$missing" \
        'DEL' "$missing" 'GET foo bar' "$many" 'DEL foo bar' "$many" 'SET foo bar baz' "$many" 'STATS now' "$many" \
        'SET foo bar EX' "$missing" 'SET foo bar EX 1 2' "$many" 'SET foo fine' OK 'GET foo' 'VALUE fine'
    # The reason is the server's to word.
    local line
    for line in '' ' ' 'SET foo bar EX none' 'SET foo bar EX 0' 'SET foo bar EX -1' \
        'SET foo bar EX 99999999999999999999' $'GET \x01' $'\x7f' $'\xff\xfe' "GET $(printf 'k%.0s' {1..70000})"; do
        printf '%s\nGET foo\n' "$line" | talk >"$work/answers" || fail "test_invalid_commands: the connection failed"
        [ "$(grep -c '' "$work/answers")" -eq 2 ] && grep -q '^ERROR .' <(head -n 1 "$work/answers") &&
            [ "$(tail -n 1 "$work/answers")" = 'VALUE fine' ] ||
            fail "test_invalid_commands: '${line:0:40}' gave: $(head -c 300 "$work/answers")"
    done
    # Nor does a line of NUL bytes, which no shell can hold, pass for an empty key.
    printf 'GET a\0b\nGET foo\n' | talk >"$work/answers"
    grep -q '^ERROR .' "$work/answers" || fail "test_invalid_commands: a NUL byte: $(cat "$work/answers")"
}

test_stats() {
    expect 'STATS' 'gets:0 sets:0 dels:0 errors:0 keys:0 bytes:0'
    expect 'SET foo bar' OK 'GET foo' 'VALUE bar' 'BADCMD' 'ERROR unknown command' \
        'STATS' 'gets:1 sets:1 dels:0 errors:1 keys:1 bytes:3'
    expect 'STATS' 'gets:1 sets:1 dels:0 errors:1 keys:1 bytes:3'
    expect 'GET none' NOT_FOUND 'SET foo longer' OK 'SET other one' OK 'DEL other' DELETED 'DEL other' NOT_FOUND \
        'STATS' 'gets:2 sets:3 dels:1 errors:1 keys:1 bytes:6'
}

# Ten clients with a hundred sets each, and every one of them is counted.
test_concurrent() {
    local clients=10 sets=100 client jobs=()
    for ((client = 0; client < clients; client++)); do
        for ((i = 0; i < sets; i++)); do echo "SET c$client-$i v$client-$i"; done | talk >"$work/client-$client" &
        jobs+=($!)
    done
    for job in "${jobs[@]}"; do wait "$job" || fail "test_concurrent: a client failed"; done
    [ "$(cat "$work"/client-* | grep -cx OK)" -eq $((clients * sets)) ] ||
        fail "test_concurrent: $(cat "$work"/client-* | sort | uniq -c)"
    expect 'STATS' "gets:0 sets:$((clients * sets)) dels:0 errors:0 keys:$((clients * sets)) bytes:4900"
    for ((client = 0; client < clients; client++)); do
        for ((i = 0; i < sets; i++)); do echo "GET c$client-$i"; done
    done | talk >"$work/found"
    for ((client = 0; client < clients; client++)); do
        for ((i = 0; i < sets; i++)); do echo "VALUE v$client-$i"; done
    done | cmp - "$work/found" || fail "test_concurrent: another value is there"
}

# A client that sets one key after the other, some at a time, and notes each that is acknowledged.
keep_setting() {
    local name=$1 connection next=0 ahead=16 i answer
    exec {connection}<>"/dev/tcp/127.0.0.1/$port"
    while :; do
        for ((i = next; i < next + ahead; i++)); do printf 'SET %s-%06d %s-%d\n' "$name" "$i" "$name" "$i"; done \
            >&"$connection" || break
        for ((i = next; i < next + ahead; i++)); do
            read -r answer <&"$connection" && [ "$answer" = OK ] || break 2
            echo "$i" >>"$work/acknowledged-$name"
        done
        next=$((next + ahead))
    done 2>/dev/null
}

# Of what a client has set, the server knows the beginning, and all that it had acknowledged.
check_client() {
    local name=$1 acknowledged known
    acknowledged=$(grep -c '' "$work/acknowledged-$name" 2>/dev/null || true)
    echo "KEYS $name-" | talk >"$work/keys"
    known=$(sed -n '1s/^KEYS //p' "$work/keys")
    tail -n +2 "$work/keys" | diff -q - <(for ((i = 0; i < known; i++)); do printf '%s-%06d\n' "$name" "$i"; done) \
        >/dev/null || fail "test_crash_recovery: there are gaps in what $name has set"
    [ "$known" -ge "$acknowledged" ] ||
        fail "test_crash_recovery: LOST: $name had $acknowledged acknowledged, $known are there"
    tail -n +2 "$work/keys" | sed 's/^/GET /' | talk >"$work/values"
    for ((i = 0; i < known; i++)); do echo "VALUE $name-$i"; done | cmp -s - "$work/values" ||
        fail "test_crash_recovery: another value is there of $name"
    total=$((total + acknowledged))
}

test_crash_recovery() {
    local clients=4 round client total=0 names=()
    for ((round = 1; round <= rounds; round++)); do
        local jobs=()
        for ((client = 0; client < clients; client++)); do
            names+=("r$round-c$client")
            keep_setting "r$round-c$client" &
            jobs+=($!)
        done
        sleep "0.$((RANDOM % 6 + 3))"
        kill -KILL "$pid"
        wait "$pid" 2>/dev/null || true
        wait "${jobs[@]}" || true
        start
        total=0
        for name in "${names[@]}"; do check_client "$name"; done
    done
    [ "$total" -gt 0 ] || fail "test_crash_recovery: nothing was acknowledged"
    summary="$rounds kills, $total acknowledged, all there"
}

# try NAME: with a server of its own.
try() {
    summary=ok
    printf '%-24s ' "$1"
    dir=$work/$1
    start
    "$1"
    stop
    echo "$summary"
}

categories=(test_basic_ops test_overwrite test_invalid_commands test_stats test_concurrent)
for category in "${categories[@]}"; do try "$category"; done
echo "${#categories[@]}/${#categories[@]} tests passed"
[ "$rounds" -eq 0 ] || try test_crash_recovery
echo "server exited cleanly"
