#!/usr/bin/env python3
"""What clients can do to a server, and what can happen to it: robustness.py [--long] [TEST...].

Each test has servers of its own. That the server stays small is read from /proc (VmRSS), that it does not spin from the
time it has used of a processor, that others are served from their own latencies.
"""

import os
import random
import select
import signal
import socket
import subprocess
import sys
import threading
import time

from kv import (ANSWERS_WITHIN, SCALE, STOPS_WITHIN, Client, Server, check, packed, percentile, refused, run_tests,
                same, wait_until)

MIB = 1 << 20
LONG = "--long" in sys.argv
# What others may have to wait for an answer while somebody misbehaves. A busy machine lets everybody wait: how long is
# seen from sleeps that take longer than they should, and so many times that is granted beside it.
P99_SECONDS = 0.1 * SCALE
SLEEPS_GRANTED = 5
PAUSE = 0.002
# A server at rest, or with clients that only wait, uses less of a processor than this.
IDLE_SHARE = 0.1


class Others:
    """A client in a thread that goes on reading a key, and takes down how long each answer took."""

    def __init__(self, server):
        self.client = Client(server)
        same(self.client.ask("SET others value"), "OK", "SET")
        self.seconds, self.overslept, self.failure, self.is_over = [], [], None, threading.Event()
        self.thread = threading.Thread(target=self.run)

    def run(self):
        try:
            while not self.is_over.is_set():
                begun = time.monotonic()
                same(self.client.ask("GET others"), "VALUE value", "GET of another client")
                answered = time.monotonic()
                time.sleep(PAUSE)
                self.seconds.append(answered - begun)
                self.overslept.append(time.monotonic() - answered - PAUSE)
        except (AssertionError, OSError, EOFError) as failure:
            self.failure = failure

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, kind, *_):
        self.is_over.set()
        self.thread.join()
        self.client.close()
        if kind is None:
            check(self.failure is None, f"another client was not served: {self.failure}")
            granted = P99_SECONDS + SLEEPS_GRANTED * percentile(self.overslept, 99)
            check(self.p99() < granted, f"others were delayed: p99 is {self.p99():.3f} s, {granted:.3f} s are granted")

    def p99(self):
        return percentile(self.seconds, 99)

    def __str__(self):
        return f"others' p99 {self.p99() * 1000:.1f} ms"


def info(server):
    """The numbers of INFO."""
    with Client(server) as client:
        client.send(packed("INFO"))
        length = int(client.line()[1:])
        text = client.incoming.read(length + 2).decode()
    return dict(line.split(":", 1) for line in text.splitlines() if ":" in line)


def share_of_processor(server, seconds):
    """How much of a processor the server uses in the next seconds."""
    begun, used = time.monotonic(), server.cpu_seconds()
    time.sleep(seconds)
    return (server.cpu_seconds() - used) / (time.monotonic() - begun)


def check_is_at_rest(server, what):
    share = share_of_processor(server, 1.0)
    check(share < IDLE_SHARE, f"{what}: the server uses {share:.0%} of a processor")


def is_served(server):
    with Client(server) as client:
        same(client.ask("PING"), "PONG", "PING")


# ---- Clients that do little ----

def idle_connections(directory):
    count = 1000
    with Server(directory / "store") as server:
        before = server.resident_mib()
        idle = [Client(server) for _ in range(count)]
        for client in idle:
            same(client.ask("PING"), "PONG", "PING")
        grown = server.resident_mib() - before
        check(grown < count * 16 / 1024, f"{count} idle connections take {grown:.1f} MiB")
        check_is_at_rest(server, f"{count} idle connections")
        with Others(server) as others:
            time.sleep(2)
        for client in idle:
            same(client.ask("GET others"), "VALUE value", "GET of a client that was idle")
            client.close()
        server.stop()
    return f"{count} connections, {grown:.1f} MiB; {others}"


def one_byte_at_a_time(directory):
    """A byte a second in the long run; faster in the small one."""
    pause = 1.0 if LONG else 0.03
    requests = [(b"SET slow text\r\n", b"OK\n"), (packed("SET", "slow", "a\r\nb"), b"+OK\r\n"), (b"NO\n", b"ERROR ")]
    with Server(directory / "store") as server:
        clients = [(Client(server), request, answer) for request, answer in requests]
        with Others(server) as others:
            for at in range(max(len(request) for request, _ in requests)):
                for client, request, _ in clients:
                    client.send(request[at:at + 1])
                time.sleep(pause)
        for client, request, answer in clients:
            found = client.incoming.read(len(answer))
            same(found, answer, f"the answer to {request!r}, sent byte by byte")
        server.stop()
    return f"{others}"


# ---- Clients that do not read ----

def ask_for_much(server, key, times):
    """A client that asks for a value again and again, as long as it is read from, and reads nothing."""
    client = Client(server)
    client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
    client.socket.settimeout(0.2)
    try:
        client.send(packed("GET", key) * times)
    except (TimeoutError, ConnectionError):
        pass
    return client


def slow_readers(directory):
    """They ask for gigabytes, and are dropped in the end."""
    patience, value, readers, asked = 3, b"v" * 50000, 20, 50000
    with Server(directory / "store", "--patience", str(patience)) as server:
        with Client(server) as client:
            same(client.command("SET", "value", value), "+OK", "SET")
        with Others(server) as others:
            before, most, descriptors = server.resident_mib(), 0, server.descriptors()
            slow = [ask_for_much(server, "value", asked) for _ in range(readers)]
            begun = time.monotonic()
            # Nobody tells the client, whose window is closed: that the server has is seen from its counter.
            while int(info(server)["dropped_slow_readers"]) < readers:
                check(time.monotonic() - begun < 10 * patience * SCALE, "slow readers are not dropped")
                most = max(most, server.resident_mib())
                time.sleep(0.05)
            dropped_after = time.monotonic() - begun
            wait_until(lambda: server.descriptors() <= descriptors, ANSWERS_WITHIN, "the descriptors of slow readers")
        check(most - before < readers * 0.5, f"the server grew from {before:.0f} to {most:.0f} MiB")
        for client in slow:
            client.close()
        check_is_at_rest(server, "slow readers that are gone")
        server.stop()
    return (f"{readers} asked for {readers * asked * len(value) >> 30} GiB: {most - before:+.1f} MiB, dropped after "
            f"{dropped_after:.1f} s; {others}")


def large_answers(directory):
    """What all connections may take together is bounded; who needs more is told so, and others are served."""
    buffers, readers, asked = 32, 20, 100
    with Server(directory / "store", "--buffers", str(buffers)) as server:
        with Client(server) as client:
            same(client.command("SET", "large", b"v" * 4 * MIB), "+OK", "SET")
        before, most = server.resident_mib(), 0
        with Others(server) as others:
            slow = [ask_for_much(server, "large", asked) for _ in range(readers)]
            for _ in range(50):
                most = max(most, server.resident_mib())
                time.sleep(0.02)
            with Client(server) as client:
                check(client.command("GET", "large").startswith("-ERR answer too long"), "GET without memory for it")
        check(most - before < 2 * buffers, f"the server grew from {before:.0f} to {most:.0f} MiB")
        for client in slow:
            client.reset()
        with Client(server) as client:
            wait_until(lambda: len(client.command("GET", "large")) > 4 * MIB, ANSWERS_WITHIN, "memory that has become free")
        server.stop()
    return f"{readers} asked for {readers * asked * 4 >> 10} GiB: {most - before:+.1f} MiB of {buffers}; {others}"


def patient_reader(directory):
    """One that reads slowly, but reads, gets everything."""
    asked, value = 200, bytes(range(256)) * 1024
    with Server(directory / "store", "--patience", "1") as server, Client(server) as client:
        same(client.command("SET", "large", value), "+OK", "SET")
        client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        threading.Thread(target=client.send, args=(packed("GET", "large") * asked,)).start()
        expected, found = b"$%d\r\n%s\r\n" % (len(value), value), 0
        begun = time.monotonic()
        for number in range(asked):
            same(client.incoming.read(len(expected)) == expected, True, f"answer {number} is the value")
            found += len(expected)
            # In the first seconds slower than the server's patience is long.
            if time.monotonic() - begun < 2.5:
                time.sleep(0.1)
        server.stop()
    return f"{found / MIB:.0f} MiB in {time.monotonic() - begun:.1f} s"


def behind_a_large_answer(directory):
    """Commands that come while an answer waits for its client are carried out when that has gone."""
    with Server(directory / "store") as server:
        with Client(server) as client:
            same(client.command("SET", "large", b"v" * 8 * MIB), "+OK", "SET")
        for ends in (False, True, False):
            with Client(server) as client:
                client.send(packed("GET", "large"))
                time.sleep(0.2)
                client.send(packed("SET", "behind", "v") + packed("GET", "behind"))
                if ends:
                    client.end()
                time.sleep(0.2)
                same(len(client.reply()), 8 * MIB + 2, "the length of the large answer")
                same([client.reply(), client.reply()], ["+OK", '"v"'], "the answers behind it")
        server.stop()


def endless_requests(directory):
    """A client that does not read but goes on sending is not read from for ever."""
    with Server(directory / "store") as server, Client(server) as client:
        same(client.command("SET", "large", b"v" * 8 * MIB), "+OK", "SET")
        before = server.resident_mib()
        client.send(packed("GET", "large"))
        time.sleep(0.2)
        client.socket.settimeout(0.5)
        try:
            client.send(packed("PING") * 10_000_000)
        except TimeoutError:
            pass
        grown = server.resident_mib() - before
        check(grown < 16, f"the server grew by {grown:.0f} MiB")
        client.reset()
        server.stop()
    return f"{grown:+.1f} MiB"


# ---- Connections that end ----

def half_closed(directory):
    """A client that has sent its last byte gets all answers, and then the end."""
    count = 5000
    with Server(directory / "store") as server:
        with Client(server) as client:
            client.send(b"".join(b"SET k%d v\n" % number for number in range(count)) + b"GET k0\nSET cut of")
            client.end()
            lines = client.rest().splitlines()
        same(lines[:count + 1], [b"OK"] * count + [b"VALUE v"], "the answers behind a half-closed connection")
        check(lines[count + 1:] in ([], [lines[-1]]) and not lines[-1].startswith(b"OK"), f"half a line: {lines[-1]}")
        with Client(server) as client:
            same(client.ask("GET cut"), "NOT_FOUND", "a line without an end is no command")
        with Client(server) as client:
            client.send(packed("SET", "r", "v") + packed("GET", "r") + b"*2\r\n$3\r\nGE")
            client.end()
            same(client.rest(), b"+OK\r\n$1\r\nv\r\n", "RESP behind a half-closed connection")
        server.stop()


def resets(directory):
    """Connections that are reset in the middle of a command, or of an answer."""
    rounds = 200
    with Server(directory / "store") as server:
        with Client(server) as client:
            same(client.command("SET", "large", b"v" * 4 * MIB), "+OK", "SET")
        descriptors = server.descriptors()
        draw = random.Random(7)
        begins = [b"SET half of", packed("SET", "half", b"v" * 100000)[:50000], packed("GET", "large") * 20, b"",
                  packed("MULTI") + packed("SET", "half", "v"), packed("SET", "whole", "v") * 100,
                  packed("KEYS", "*") * 9]
        with Others(server) as others:
            for _ in range(rounds):
                client = Client(server)
                client.send(draw.choice(begins))
                if draw.random() < 0.5:
                    client.socket.setblocking(False)
                    try:
                        client.socket.recv(1000)
                    except OSError:
                        pass
                client.reset() if draw.random() < 0.8 else client.close()
        # The client of `others` is gone, too.
        wait_until(lambda: server.descriptors() <= descriptors, ANSWERS_WITHIN, "descriptors of connections that ended")
        with Client(server) as client:
            same(client.ask("GET half"), "NOT_FOUND", "half a command is none")
        server.stop()
    return f"{rounds} connections; {others}"


def killed_clients(directory):
    """Whole processes of clients that are killed while they work."""
    script = ("import socket, sys\n"
              "c = socket.create_connection(('127.0.0.1', int(sys.argv[1])))\n"
              "while True:\n"
              "    c.sendall(b''.join(b'SET k%d v%d\\nGET k%d\\n' % (n, n, n) for n in range(500))); c.recv(1000)\n")
    with Server(directory / "store") as server:
        descriptors = server.descriptors()
        with Others(server) as others:
            clients = [subprocess.Popen([sys.executable, "-c", script, str(server.port)], stderr=subprocess.DEVNULL)
                       for _ in range(6)]
            time.sleep(1.5)
            check(all(client.poll() is None for client in clients), "a client has ended by itself")
            for client in clients:
                client.kill()
                client.wait()
        wait_until(lambda: server.descriptors() <= descriptors, ANSWERS_WITHIN, "the descriptors of killed clients")
        check_is_at_rest(server, "killed clients")
        is_served(server)
        server.stop()
    return f"6 clients; {others}"


# ---- No room ----

def no_descriptors(directory):
    """Accepting fails (EMFILE) without spinning, and goes on when there is room."""
    with Server(directory / "store", descriptors=64) as server:
        clients = [Client(server, timeout=ANSWERS_WITHIN) for _ in range(100)]
        for client in clients:
            client.send(b"PING\n")
        wait_until(lambda: int(server.descriptors()) >= 64, ANSWERS_WITHIN, "the server's last descriptor")
        check_is_at_rest(server, "no descriptors")
        readable, _, _ = select.select([client.socket for client in clients], [], [], 0)
        served = [client for client in clients if client.socket in readable]
        check(30 < len(served) < 64, f"{len(served)} of {len(clients)} are served with 64 descriptors")
        begun = time.monotonic()
        for client in served:
            same(client.line(), b"PONG", "PING")
            client.close()
        for client in clients:
            if client not in served:
                same(client.line(), b"PONG", "PING of one that had to wait")
        waited = time.monotonic() - begun
        check("Too many open files" in server.log(), "the log does not say that descriptors have run out")
        check(server.log().count("Too many open files") < 5, "the log says it again and again")
        server.stop()
    return f"{len(served)} served, the other {100 - len(served)} within {waited:.2f} s after they had gone"


def max_clients(directory):
    def is_let_in():
        with Client(server) as client:
            return client.ask("PING") == "PONG"

    with Server(directory / "store", "--max-clients", "10") as server:
        clients = [Client(server) for _ in range(10)]
        for client in clients:
            same(client.ask("PING"), "PONG", "PING")
        with Client(server) as client:
            same(client.line(), b"ERROR max number of clients reached", "one client too many")
            check(client.has_ended(), "one client too many is not sent away")
        with Client(server) as client:
            client.send(packed("PING"))
            same(client.reply(), "-ERR max number of clients reached", "one client too many, with RESP")
        clients.pop().close()
        wait_until(is_let_in, ANSWERS_WITHIN, "room for another client")
        same(clients[0].ask("PING"), "PONG", "PING")
        server.stop()


# ---- Rubbish ----

def long_lines(directory):
    with Server(directory / "store") as server, Client(server) as client:
        for length in (2 * MIB, 50 * MIB):
            client.send(b"SET long " + b"x" * length + b"\nPING\n")
            check(client.line().startswith(b"ERROR line too long"), f"a line of {length} bytes")
            same(client.line(), b"PONG", "what follows a line that is too long")
        # The longest that is taken.
        value = b"x" * (MIB - len("SET fits "))
        client.send(b"SET fits " + value + b"\r\nGET fits\n")
        same(client.line(), b"OK", "the longest line")
        same(client.line() == b"VALUE " + value, True, "the longest line's value is there")
        grown = server.resident_mib()
        check(grown < 100, f"the server takes {grown:.0f} MiB")
        server.stop()
    return f"{grown:.0f} MiB"


def rubbish_as_text(directory):
    """Each line of binary rubbish gets one line of an answer."""
    size = 100 * MIB
    rubbish = b"x" + random.Random(7).randbytes(size - 2) + b"\n"
    lines = rubbish.count(b"\n")
    with Server(directory / "store") as server, Client(server) as client:
        sender = threading.Thread(target=client.send, args=(rubbish,))
        sender.start()
        begun, most = time.monotonic(), 0
        for number in range(lines):
            answer = client.line()
            check(answer.startswith(b"ERROR "), f"line {number} of rubbish: {answer!r}")
            if number % 10000 == 0:
                most = max(most, server.resident_mib())
        sender.join()
        seconds = time.monotonic() - begun
        same(client.ask("PING"), "PONG", "PING behind rubbish")
        check(most < 100, f"the server takes {most:.0f} MiB")
        server.stop()
    return f"{lines} lines of rubbish, an ERROR for each, in {seconds:.1f} s; {most:.0f} MiB"


def rubbish_as_resp(directory):
    """Commands that are changed at random: each connection ends, or goes on; the server does."""
    draw = random.Random(7)
    commands = [packed("SET", "k", "value"), packed("GET", "k"), packed("MSET", "a", "1", "b", "2"),
                packed("HELLO", "3"), packed("MULTI"), packed("EXEC"), packed("SCAN", "0", "COUNT", "10"), packed("CLIENT", "LIST")]
    headers = [b"*-2147483649\r\n", b"*2147483648\r\n", b"*1\r\n$-1\r\n", b"*1\r\n$1099511627777\r\n",
               b"*1\r\n+PING\r\n", b"*1048577\r\n", b"*2\r\n$536870912\r\n", b"*\r\n", b"*0\r\n", b"*-1\r\n",
               b"*1\r\n$0\r\n\r\n", b"*" * 99]
    rounds = 2000 if LONG else 500
    with Server(directory / "store") as server:
        with Others(server) as others:
            for number in range(rounds):
                data = bytearray(b"".join(draw.choices(commands, k=5)))
                for _ in range(draw.randrange(1, 5)):
                    data[draw.randrange(1, len(data))] = draw.randrange(256)
                if number % 4 == 0:
                    data += draw.choice(headers)
                with Client(server) as client:
                    try:
                        client.send(data)
                        client.end()
                        client.rest()
                    except ConnectionError:
                        pass
        check(server.resident_mib() < 100, f"the server takes {server.resident_mib():.0f} MiB")
        server.stop()
    return f"{rounds} connections; {others}"


# ---- The end ----

class Writer(threading.Thread):
    """A client that sets one key after the other, many at a time, and counts what is acknowledged."""

    def __init__(self, server, number):
        super().__init__()
        self.number, self.acknowledged, self.client = number, 0, Client(server)
        self.start()

    def run(self):
        issued = 0
        try:
            while True:
                keys = range(issued, issued + 50)
                self.client.send(b"".join(b"SET w%d-%d v%d\n" % (self.number, key, key) for key in keys))
                issued += len(keys)
                while self.acknowledged < issued:
                    same(self.client.line(), b"OK", "SET")
                    self.acknowledged += 1
        except (OSError, EOFError):
            self.client.close()

    def check_in(self, server):
        with Client(server) as client:
            client.send(b"".join(b"GET w%d-%d\n" % (self.number, key) for key in range(self.acknowledged)))
            for key in range(self.acknowledged):
                same(client.line(), b"VALUE v%d" % key, f"key {key} of writer {self.number}, which was acknowledged")


def sigterm_under_load(directory):
    """It exits in time and with 0, slow readers or not, and all that it has acknowledged is there."""
    slowest, rounds, total = 0, 5 if LONG else 2, 0
    for number in range(rounds):
        store = directory / f"store{number}"
        with Server(store) as server:
            with Client(server) as client:
                same(client.command("SET", "large", b"v" * MIB), "+OK", "SET")
            writers = [Writer(server, number) for number in range(8)]
            slow = [ask_for_much(server, "large", 100) for _ in range(number)]
            time.sleep(1)
            slowest = max(slowest, server.stop())
            for writer in writers:
                writer.join()
            for client in slow:
                client.close()
        with Server(store) as server:
            for writer in writers:
                writer.check_in(server)
                total += writer.acknowledged
            server.stop()
    check(total > 0, "nothing was acknowledged")
    return f"{slowest:.2f} s at most; {total} acknowledged, all there"


def sigint_and_shutdown(directory):
    with Server(directory / "store") as server:
        server.process.send_signal(signal.SIGINT)
        server.wait_for_end(STOPS_WITHIN)
    with Server(directory / "store") as server, Client(server) as client:
        client.send(packed("SHUTDOWN"))
        check(client.has_ended(), "SHUTDOWN has an answer")
        server.wait_for_end(STOPS_WITHIN)


# ---- Who is let in ----

def unix_socket(directory):
    path = directory / "socket"
    with Server(directory / "store", "--unix", str(path)) as server:
        with Client(path=path) as client, Client(server) as other:
            same(client.ask("SET k v"), "OK", "SET")
            same(other.ask("GET k"), "VALUE v", "GET over TCP")
        with Client(path=path) as client:
            same(client.command("GET", "k"), '"v"', "GET with RESP")
        server.kill()
    check(path.exists(), "a server that was killed leaves its socket")
    with Server(directory / "store", "--unix", str(path)) as server:
        with Client(path=path) as client:
            same(client.ask("GET k"), "VALUE v", "GET over a socket that was left behind")
        said = refused("0", "--dir", directory / "other", "--unix", path)
        check(str(path) in said, f"a socket that is in use: {said}")
        server.stop()
    check(not path.exists(), "the socket is still there")


def password(directory):
    file = directory / "password"
    file.write_text("open sesame\n")
    with Server(directory / "store", "--password-file", str(file)) as server:
        with Client(server) as client:
            for line in ("GET k", "SET k v", "STATS", "KEYS", "SHUTDOWN", "AUTH", "AUTH wrong"):
                check(client.ask(line).startswith("ERROR "), f"{line} without a password")
        with Client(server) as client:
            same(client.command("GET", "k"), "-NOAUTH Authentication required.", "GET without a password")
            for wrong in ("", "open", "open sesame ", "open sesame\n", b"\0"):
                same(client.command("AUTH", wrong), "-WRONGPASS invalid username-password pair or user is disabled.",
                     f"AUTH {wrong!r}")
            same(client.command("FLUSHALL"), "-NOAUTH Authentication required.", "FLUSHALL with a wrong password")
            same(client.command("AUTH", "open sesame"), "+OK", "AUTH")
            same(client.command("SET", "k", "v"), "+OK", "SET with the password")
        with Client(server) as client:
            same(client.command("AUTH", "default", "open sesame"), "+OK", "AUTH with a user")
            same(client.command("GET", "k"), '"v"', "GET with the password")
        # Who is not let in cannot make the server keep much for him.
        strangers = [Client(server) for _ in range(50)]
        before = server.resident_mib()
        for client in strangers:
            try:
                client.send(b"*2\r\n$3\r\nSET\r\n$60000000\r\n" + b"x" * MIB)
            except ConnectionError:
                pass
        grown = server.resident_mib() - before
        check(grown < 16, f"50 clients without a password take {grown:.0f} MiB")
        server.stop()
    return f"50 strangers take {grown:.1f} MiB"


def refusals(directory):
    """Starts that are refused, and say why."""
    store = directory / "store"
    for words, arguments in [
            ("--insecure", ["0", "--dir", store, "--bind", "0.0.0.0"]),
            ("--insecure", ["0", "--dir", store, "--bind", "::"]),
            ("no-such-file", ["0", "--dir", store, "--password-file", directory / "no-such-file"]),
            ("--sync", ["0", "--dir", store, "--sync", "sometimes"])]:
        said = refused(*arguments)
        check(words in said, f"kv_server {arguments}: {said}")
        check(not store.exists(), f"kv_server {arguments}: it has made a store")
    with Server(store) as server:
        said = refused("0", "--dir", store)
        check(str(server.process.pid) in said, f"a store that is in use: {said}")
        said = refused(str(server.port), "--dir", directory / "other")
        check(str(server.port) in said, f"a port that is in use: {said}")
        server.stop()


def damage(directory):
    """Damage within acknowledged data: no start, unless the prefix is asked for."""
    store = directory / "store"
    with Server(store) as server, Client(server) as client:
        for number in range(100):
            same(client.ask(f"SET k{number} value"), "OK", "SET")
        server.stop()
    log = store / "wal.log"
    data = bytearray(log.read_bytes())
    data[len(data) // 2] ^= 1
    log.write_bytes(data)
    said = refused("0", "--dir", store)
    for words in ("wal.log", "LSN", "--recover prefix"):
        check(words in said, f"the refusal of a damaged store does not say {words!r}: {said}")
    same(log.read_bytes(), bytes(data), "the damaged log")
    with Server(store, "--recover", "prefix") as server, Client(server) as client:
        keys = int(client.ask("KEYS").split()[1])
        check(0 < keys < 100, f"{keys} keys of the prefix")
        server.stop()
    return f"{keys} of 100 keys before the damage"


def failed_sync(directory):
    """A sync that fails is said once, ends all writing and no reading, and is the reason for the exit status."""
    with Server(directory / "store") as server, Client(server) as client:
        same(client.ask("SET k durable"), "OK", "SET")
        tracer = subprocess.Popen(["strace", "-f", "-q", "-o", "/dev/null", "-e", "trace=fdatasync",
                                   "-e", "inject=fdatasync:error=EIO", "-p", str(server.process.pid)])
        try:
            wait_until(lambda: "TracerPid:\t0" not in server.of_proc("status").read_text(),
                       10, "strace")
            time.sleep(0.3)
            for number in range(3):
                check(client.ask(f"SET k lost{number}").startswith("ERROR "), "a SET whose sync fails is no error")
        finally:
            tracer.terminate()
            tracer.wait()
        check(client.ask("SET k again").startswith("ERROR "), "a SET after a failed sync is no error")
        same(client.ask("GET k"), "VALUE durable", "GET")
        same(server.log().count("no more writes"), 1, "how often the log says so")
        server.process.terminate()
        same(server.process.wait(timeout=10), 1, "the exit status")


TESTS = [idle_connections, one_byte_at_a_time, slow_readers, large_answers, patient_reader,
         behind_a_large_answer, endless_requests, half_closed, resets, killed_clients,
         no_descriptors, max_clients, long_lines, rubbish_as_text, rubbish_as_resp, sigterm_under_load,
         sigint_and_shutdown, unix_socket, password, refusals, damage, failed_sync]

if __name__ == "__main__":
    run_tests(TESTS, os.path.basename(__file__), [argument for argument in sys.argv[1:] if argument != "--long"])
