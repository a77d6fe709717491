"""A kv_server to be tested, and clients for it. Needs nothing but Python's library.

The binary is that of the environment variable KV_SERVER, or of this tree's release build. SERVER_WRAPPER is a command
to start it with. TIME_SCALE makes every limit of time that many times as long.
"""

import contextlib
import os
import pathlib
import random
import re
import resource
import signal
import socket
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
BINARY = os.environ.get("KV_SERVER", str(ROOT / "target/release/kv_server"))
WRAPPER = os.environ.get("SERVER_WRAPPER", "").split()
SCALE = float(os.environ.get("TIME_SCALE", "1"))
# The contract: a server that is told to stop is gone by then.
STOPS_WITHIN = 2.0 * SCALE
STARTS_WITHIN = 20.0 * SCALE
# No answer that a test waits for takes longer, unless it never comes.
ANSWERS_WITHIN = 30.0 * SCALE
TICKS = os.sysconf("SC_CLK_TCK")


def check(condition, what):
    """Ends a test that has failed."""
    if not condition:
        raise AssertionError(what)


def same(found, expected, what):
    """Ends a test whose answer is another one."""
    if isinstance(found, list) and isinstance(expected, list):
        for at, (one, other) in enumerate(zip(found, expected)):
            check(one == other, f"{what}: at {at} expected {shorten(other)}, found {shorten(one)}")
        check(len(found) == len(expected), f"{what}: expected {len(expected)} of them, found {len(found)}")
    check(found == expected, f"{what}: expected {shorten(expected)}, found {shorten(found)}")


def shorten(value):
    text = repr(value)
    return text if len(text) <= 300 else f"{text[:150]} ... {text[-100:]} ({len(text)} characters)"


def wait_until(condition, seconds, what):
    """Waits for something that has to happen within so many seconds; how long it took."""
    begun = time.monotonic()
    while not condition():
        check(time.monotonic() - begun < seconds, f"{what}: not within {seconds} seconds")
        time.sleep(0.01)
    return time.monotonic() - begun


class Server:
    """A server in a process of its own, on a free port of the loopback address. Killed at the end of a `with`."""

    def __init__(self, directory, *options, descriptors=None):
        self.directory = pathlib.Path(directory)
        self.options = options
        self.log_path = self.directory.with_name(self.directory.name + f"-{random.getrandbits(32):08x}.log")
        with open(self.log_path, "wb") as log:
            self.process = subprocess.Popen(
                [*WRAPPER, BINARY, "0", "--dir", str(directory), *options],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                preexec_fn=descriptors and (lambda: limit_descriptors(descriptors)))
        self.port = self.wait_for_port()

    def wait_for_port(self):
        # A line of the log may come in pieces.
        def says_where():
            return re.search(r"^listening on 127\.0\.0\.1:(\d+)\n", self.log(), re.MULTILINE)
        wait_until(lambda: says_where() or self.process.poll() is not None, STARTS_WITHIN, "the server's start")
        check(self.process.poll() is None, f"the server did not start: {self.log()}")
        return int(says_where()[1])

    def log(self):
        return self.log_path.read_text(errors="replace")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.kill()

    def kill(self):
        self.process.kill()
        self.process.wait()

    def stop(self):
        """Tells it to stop, which it must in time, and well. How long it took."""
        begun = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        self.wait_for_end(STOPS_WITHIN)
        return time.monotonic() - begun

    def wait_for_end(self, seconds):
        try:
            status = self.process.wait(timeout=seconds)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"the server has not stopped within {seconds} seconds: {self.log()}") from None
        same(status, 0, f"exit status; the log: {self.log()[-2000:]}")

    def of_proc(self, name):
        return pathlib.Path(f"/proc/{self.process.pid}/{name}")

    def resident_mib(self):
        lines = self.of_proc("status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS:")) / 1024

    def cpu_seconds(self):
        fields = self.of_proc("stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICKS

    def descriptors(self):
        return len(os.listdir(self.of_proc("fd")))


def limit_descriptors(count):
    resource.setrlimit(resource.RLIMIT_NOFILE, (count, count))


def refused(*arguments):
    """What a server says that does not start; it must say so by its exit status, too."""
    done = subprocess.run([BINARY, *map(str, arguments)], stdin=subprocess.DEVNULL, capture_output=True,
                          timeout=STARTS_WITHIN)
    check(done.returncode > 0, f"kv_server {arguments}: exit status {done.returncode}")
    check(b"panicked" not in done.stderr, f"kv_server {arguments}: {done.stderr}")
    return done.stderr.decode(errors="replace")


class Client:
    """A connection: lines of text, or RESP."""

    def __init__(self, server=None, path=None, timeout=ANSWERS_WITHIN):
        if path is None:
            self.socket = socket.create_connection(("127.0.0.1", server.port), timeout)
        else:
            self.socket = socket.socket(socket.AF_UNIX)
            self.socket.settimeout(timeout)
            self.socket.connect(str(path))
        self.incoming = self.socket.makefile("rb")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.incoming.close()
        self.socket.close()

    def reset(self):
        """Ends the connection without a word: the other side gets a reset."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        self.close()

    def send(self, data):
        self.socket.sendall(data)

    def end(self):
        self.socket.shutdown(socket.SHUT_WR)

    def line(self):
        """The next line without its end; EOFError if there is none."""
        line = self.incoming.readline()
        if not line:
            raise EOFError("the connection has ended")
        check(line.endswith(b"\n"), f"half a line: {shorten(line)}")
        return line.rstrip(b"\r\n")

    def ask(self, line):
        """The answer to a line."""
        self.send(line.encode() + b"\n")
        return self.line().decode()

    def rest(self):
        """All that comes until the connection ends."""
        return self.incoming.read()

    def has_ended(self):
        """Whether the other side has ended the connection, without anything more to say."""
        try:
            return self.incoming.read(1) == b""
        except ConnectionError:
            return True

    def command(self, *arguments):
        """The reply to a command, as `reply` shows it."""
        self.send(packed(*arguments))
        return self.reply()

    def reply(self):
        """The next reply of RESP in a notation that keeps its type: +OK, -ERR why, :1, "bytes", nil, [a b], %{k: v}."""
        head = self.line()
        kind, rest = head[:1].decode(), head[1:]
        if kind in "+-:,#(":
            return kind + rest.decode(errors="replace")
        if kind == "_":
            return "_"
        count = int(rest)
        if kind in "$=":
            return self.bulk(count) if kind == "$" else "=" + self.bulk(count)
        check(kind in "*%~>", f"this is no reply: {head!r}")
        if count < 0:
            return "nil*"
        if kind == "%":
            return "%{" + " ".join(f"{self.reply()}: {self.reply()}" for _ in range(count)) + "}"
        inner = " ".join(self.reply() for _ in range(count))
        return f"[{inner}]" if kind == "*" else f"{kind}{{{inner}}}"

    def bulk(self, length):
        if length < 0:
            return "nil"
        data = self.incoming.read(length + 2)
        check(len(data) == length + 2 and data.endswith(b"\r\n"), f"a bulk of {length} that ends in {data[-4:]!r}")
        return '"' + data[:-2].decode("latin-1").encode("unicode_escape").decode() + '"'


def packed(*arguments):
    """A command as a client sends it."""
    parts = [as_bytes(argument) for argument in arguments]
    return b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%s\r\n" % (len(part), part) for part in parts)


def as_bytes(argument):
    return argument if isinstance(argument, bytes) else str(argument).encode()


def percentile(values, per_cent):
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, len(ordered) * per_cent // 100)]


def run_tests(tests, name, arguments):
    """Runs each test with an empty directory, and says what it found; ends the program."""
    chosen = [test for test in tests if not arguments or test.__name__ in arguments]
    unknown = set(arguments) - {test.__name__ for test in tests}
    if unknown or not chosen:
        sys.exit(f"{name}: no such test: {' '.join(sorted(unknown))}; there are {' '.join(t.__name__ for t in tests)}")
    for test in chosen:
        print(f"{'[' + test.__name__ + ']':<34} ", end="", flush=True)
        with contextlib.ExitStack() as stack:
            directory = stack.enter_context(tempfile.TemporaryDirectory(prefix="kv-server."))
            try:
                print(test(pathlib.Path(directory)) or "ok", flush=True)
            except (AssertionError, OSError, EOFError, subprocess.SubprocessError) as failure:
                print("FAIL", flush=True)
                for log in sorted(pathlib.Path(directory).glob("*.log")):
                    sys.stderr.write(log.read_text(errors="replace")[-2000:])
                sys.exit(f"{name}: {test.__name__}: {type(failure).__name__}: {failure}")
    print(f"{len(chosen)}/{len(chosen)} tests passed")
