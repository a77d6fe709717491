#!/usr/bin/env python3
"""Measures kv_server against redis-server with `appendfsync always`: the same redis-benchmark commands, on the same file
system, in turns, in one run. README.md tells more."""

import argparse
import collections
import contextlib
import csv
import io
import os
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time

import filesystem
import report

# What is asked: a SET at 50 and 500 clients at least so many times Redis, a GET at least as quick, p99 no worse.
GOAL_SET, GOAL_GET, GOAL_P99 = 1.5, 1.0, 1.0
CLIENTS = (1, 50, 500)
PIPELINES = (1, 16)
JOURNALED_BYTES = 1 << 30
# Few enough that both hold them in a processor's cache as well or as badly.
KEYS, VALUE_BYTES = 100_000, 100
STARTS_WITHIN = 10

Case = collections.namedtuple("Case", "command clients pipeline")
Figure = collections.namedtuple("Figure", "rate p50 p99")


class Server:
    """A server in a directory of its own, from its start to its end."""

    def __init__(self, name, command, directory):
        self.name = name
        self.port = free_port()
        self.directory = tempfile.mkdtemp(prefix=f"{name}-", dir=directory)
        command = [part.format(port=self.port, dir=self.directory) for part in command]
        self.log = open(os.path.join(self.directory, "output"), "w+", encoding="utf-8")
        # Redis writes its configuration nowhere, and its data into the working directory.
        self.process = subprocess.Popen(command, stdout=self.log, stderr=self.log, cwd=self.directory)
        try:
            self.wait_until_ready()
        except BaseException:
            self.stop()
            raise

    def wait_until_ready(self):
        deadline = time.monotonic() + STARTS_WITHIN
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
                return
            except OSError:
                if self.process.poll() is not None or time.monotonic() > deadline:
                    self.log.seek(0)
                    sys.exit(f"server.py: {self.name} does not start: {self.log.read().strip()}")
                time.sleep(0.02)

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.log.close()
        shutil.rmtree(self.directory)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def commands_of(kv_server):
    redis = ["redis-server", "--port", "{port}", "--bind", "127.0.0.1", "--dir", "{dir}", "--appendonly", "yes",
             "--appendfsync", "always", "--save", "", "--daemonize", "no"]
    return {"kv_server": [kv_server, "{port}", "--dir", "{dir}/data"], "redis": redis}


def benchmark(port, case, requests):
    """One redis-benchmark."""
    command = ["redis-benchmark", "-h", "127.0.0.1", "-p", str(port), "-t", case.command, "-c", str(case.clients),
               "-P", str(case.pipeline), "-n", str(requests), "-r", str(KEYS), "-d", str(VALUE_BYTES), "--csv"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    rows = list(csv.DictReader(io.StringIO(done.stdout)))
    if done.returncode != 0 or len(rows) != 1:
        sys.exit(f"server.py: {' '.join(command)}: {done.stderr.strip() or done.stdout.strip()}")
    row = rows[0]
    return Figure(float(row["rps"]), float(row["p50_latency_ms"]), float(row["p99_latency_ms"]))


def requests_for(port, case, seconds):
    """How many requests take about so long."""
    few = max(500, 4 * case.clients * case.pipeline)
    began = time.monotonic()
    benchmark(port, case, few)
    return max(few, int(few / (time.monotonic() - began) * seconds))


def measure(servers, cases, rounds, seconds, progress):
    """Figures by case and server, one a round."""
    figures = collections.defaultdict(list)
    counts = {(case, server.name): requests_for(server.port, case, seconds) for case in cases for server in servers}
    for number in range(rounds):
        for case in cases:
            # Who comes first takes turns, too.
            for server in servers[number % 2:] + servers[:number % 2]:
                figures[case, server.name].append(benchmark(server.port, case, counts[case, server.name]))
            progress(f"round {number + 1}: {case.command} {case.clients} clients, pipeline {case.pipeline}")
    return figures


def ratio(figures, case, field):
    """Of kv_server to redis, in each round; then the median."""
    pairs = zip(figures[case, "kv_server"], figures[case, "redis"])
    return statistics.median(getattr(ours, field) / max(getattr(theirs, field), 1e-9) for ours, theirs in pairs)


def median(figures, case, name, field):
    return statistics.median(getattr(figure, field) for figure in figures[case, name])


def verdict(figures, case):
    """Whether the goals that there are for a case are met, in words."""
    if case.command == "set" and case.clients == 1:
        return "no goal"
    goal = GOAL_SET if case.command == "set" else GOAL_GET
    missed = []
    if ratio(figures, case, "rate") < goal:
        missed.append(f"rate below {goal:g}")
    if ratio(figures, case, "p99") > GOAL_P99:
        missed.append("p99 worse")
    return "missed: " + ", ".join(missed) if missed else "met"


def table(figures, cases):
    head = ["command", "clients", "pipeline", "kv_server", "redis", "ratio", "p99 kv_server", "p99 redis", "goal"]
    rows = []
    for case in cases:
        ours, theirs = (median(figures, case, name, "rate") for name in ("kv_server", "redis"))
        p99 = [f"{median(figures, case, name, 'p99'):.2f} ms" for name in ("kv_server", "redis")]
        rows.append([case.command.upper(), str(case.clients), str(case.pipeline), f"{ours:,.0f}/s", f"{theirs:,.0f}/s",
                     f"{ratio(figures, case, 'rate'):.2f}", *p99, verdict(figures, case)])
    return head, rows


def write_csv(path, all_figures):
    with open(path, "w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["file_system", "command", "clients", "pipeline", "server", "round", "rate", "p50_ms", "p99_ms"])
        for where, figures in all_figures.items():
            for (case, name), values in figures.items():
                rows.writerows([where, *case, name, number + 1, *figure] for number, figure in enumerate(values))


def measure_on(directory, arguments, cases):
    """Both servers are up all the time; the one that is not measured sleeps."""
    with contextlib.ExitStack() as up:
        servers = []
        for name, command in commands_of(arguments.server).items():
            servers.append(Server(name, command, directory))
            up.callback(servers[-1].stop)
        return measure(servers, cases, arguments.rounds, arguments.seconds, progress)


def progress(text):
    if sys.stderr.isatty():
        print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)


def versions(server):
    ours = subprocess.run([server, "--version"], capture_output=True, text=True, check=True).stdout.strip()
    theirs = subprocess.run(["redis-server", "--version"], capture_output=True, text=True, check=True).stdout
    return ours, "redis " + theirs.split("v=")[1].split()[0]


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--server", required=True, help="kv_server")
    parser.add_argument("--data", required=True, help="where the data goes; its file system is measured")
    parser.add_argument("--results", default=os.path.join(os.path.dirname(__file__), "results"))
    parser.add_argument("--quick", action="store_true", help="half a minute: one round, short")
    parser.add_argument("--smoke", action="store_true", help="a few cases, to see that all of this works")
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--seconds", type=float, help="of each measurement, about")
    arguments = parser.parse_args()
    arguments.server, arguments.data = (os.path.abspath(path) for path in (arguments.server, arguments.data))
    arguments.quick = arguments.quick or arguments.smoke
    arguments.rounds = arguments.rounds or (1 if arguments.quick else 5)
    arguments.seconds = arguments.seconds or (0.2 if arguments.quick else 2)
    return arguments


def main():
    arguments = parse_arguments()
    for command in ("redis-server", "redis-benchmark"):
        if shutil.which(command) is None:
            print(f"left out: the servers are not compared, since there is no {command}")
            return
    os.makedirs(arguments.data, exist_ok=True)
    os.makedirs(arguments.results, exist_ok=True)
    cases = [Case(command, clients, pipeline) for command in ("set", "get") for pipeline in PIPELINES
             for clients in CLIENTS if clients <= 50 or not arguments.smoke]
    page, all_figures = report.Report(), {}
    page.line(f"{' and '.join(versions(arguments.server))}, `appendfsync always`; {arguments.rounds} rounds of about "
              f"{arguments.seconds:g} s, {os.cpu_count()} cores; redis-benchmark, {VALUE_BYTES} bytes, {KEYS:,} keys")

    def measure_here(directory):
        where = filesystem.describe(directory)
        page.heading(where)
        all_figures[where] = measure_on(directory, arguments, cases)
        progress("")
        page.table(*table(all_figures[where], cases))

    measure_here(arguments.data)
    if "without a journal" in filesystem.describe(arguments.data) and not arguments.smoke:
        try:
            with filesystem.journaled(arguments.data, JOURNALED_BYTES) as directory:
                measure_here(directory)
        except filesystem.NoJournaled as why:
            page.line(f"not measured on an ext4 with a journal: {why}")
    write_csv(os.path.join(arguments.results, "server.csv"), all_figures)
    page.write(os.path.join(arguments.results, "server.md"), "kv_server against Redis")


if __name__ == "__main__":
    main()
