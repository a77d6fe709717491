"""Runs the benchmark's programs, one process for each measurement, and keeps what they print."""

import collections
import contextlib
import os
import shutil
import signal
import statistics
import struct
import subprocess
import tempfile

CANNOT = 3  # exit status: the store cannot do this
SYNC_COUNTERS = ("fsync", "fdatasync", "msync", "synced_write", "sync_file_range")
# A hanging store must not hold up the others for ever. Loading millions of keys takes some of them minutes.
LIMIT_SECONDS = 900

Store = collections.namedtuple("Store", "name version kinds configuration program")
# What is measured in a group: a store under a workload. threads is what --threads gets.
Member = collections.namedtuple("Member", "store workload threads keys seconds")


class LeftOut(Exception):
    """There is no result, and this is why."""


class Programs:
    """kvbench and kvbench-rust, and the stores that they know."""

    def __init__(self, directory):
        self.directory = directory
        self.stores = {}
        for name in ("kvbench", "kvbench-rust"):
            program = os.path.join(directory, name)
            if os.path.exists(program):
                self._list(program)

    def _list(self, program):
        listing = subprocess.run([program, "--list"], check=True, capture_output=True, text=True).stdout
        for line in listing.splitlines():
            name, version, kinds, configuration = line.split("\t")
            self.stores[name] = Store(name, version, kinds.split(","), configuration, program)

    def missing(self):
        with open(os.path.join(self.directory, "missing"), encoding="utf-8") as lines:
            return [line.strip() for line in lines]

    def program_of(self, store):
        if store in self.stores:
            return self.stores[store].program
        return os.path.join(self.directory, "kvbench")

    def run(self, member, base, seed, ops=None, environment=None):
        """One measurement in a fresh directory below base. Returns its results, each a dict."""
        directory = tempfile.mkdtemp(dir=base)
        command = [self.program_of(member.store), "--store", member.store, "--workload", member.workload, "--dir",
                   directory, "--threads", str(member.threads), "--keys", str(member.keys), "--seconds",
                   str(member.seconds), "--seed", str(seed)]
        if ops is not None:
            command += ["--ops", str(ops)]
        try:
            os.sync()  # what the last measurement left to be written is not this one's to wait for
            return [parse(line) for line in output_of(command, environment) if line.startswith("store=")]
        finally:
            shutil.rmtree(directory, ignore_errors=True)

    def syncs_per_op(self, store, base, seed):
        """Calls per durable set, by name: what twice as many sets add, so that opening and closing do not count."""
        ops = 100
        counts = [self._count_syncs(store, base, seed, n) for n in (ops, 2 * ops)]
        return {name: (counts[1][name] - counts[0][name]) / ops for name in SYNC_COUNTERS}

    def _count_syncs(self, store, base, seed, ops):
        with tempfile.NamedTemporaryFile() as counts:
            counts.write(bytes(8 * len(SYNC_COUNTERS)))
            counts.flush()
            environment = dict(os.environ, KVBENCH_SYNCS=counts.name,
                               LD_PRELOAD=os.path.join(self.directory, "count_syncs.so"))
            self.run(Member(store, "set-durable", 1, 10000, 60), base, seed, ops, environment)
            counts.seek(0)
            return dict(zip(SYNC_COUNTERS, struct.unpack(f"{len(SYNC_COUNTERS)}Q", counts.read())))


def output_of(command, environment):
    """The lines on stdout. The process leads a group, so that a server that it started ends with it."""
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                          start_new_session=True) as process:
        try:
            out, err = process.communicate(timeout=LIMIT_SECONDS)
        except subprocess.TimeoutExpired:
            raise LeftOut(f"took more than {LIMIT_SECONDS} s") from None
        finally:
            end_group(process)
    if process.returncode != 0:
        reason = (err.strip().splitlines() or [f"exit status {process.returncode}"])[-1]
        raise LeftOut(reason if process.returncode == CANNOT else f"FAILED: {reason}")
    return out.splitlines()


def end_group(process):
    """Ends it with all that it has started, and waits for it."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def parse(line):
    return typed(dict(field.split("=", 1) for field in line.split()))


def typed(fields):
    """All but the names are numbers."""
    return {name: value if name in ("store", "workload", "case") else float(value) for name, value in fields.items()}


def counted_as_sync(counts):
    return sum(count for name, count in counts.items() if name != "sync_file_range")


Spread = collections.namedtuple("Spread", "median low high")


def spread(values):
    return Spread(statistics.median(values), min(values), max(values))


class Results:
    """All results of a run: what was measured on which file system, in which group and round."""

    def __init__(self):
        self.rows = []

    def add(self, fs, group, round_number, fields):
        self.rows.append(dict(fields, fs=fs, group=group, round=round_number))

    def by_round(self, field, **where):
        """{round: value} of the rows that are so; empty if there are none with that field."""
        return {row["round"]: row[field] for row in self.rows
                if field in row and all(row[name] == value for name, value in where.items())}

    def spread(self, field, **where):
        """None if there is nothing."""
        values = list(self.by_round(field, **where).values())
        return spread(values) if values else None

    def ratio(self, field, over, under, under_field=None):
        """Of two figures, round by round, so that what changes between rounds drops out. None if one is missing."""
        above, below = self.by_round(field, **over), self.by_round(under_field or field, **under)
        ratios = [above[n] / below[n] for n in above if below.get(n)]
        return spread(ratios) if ratios else None

    def values_of(self, name, **where):
        """The different values of a field, in the order in which they came."""
        return list(dict.fromkeys(row[name] for row in self.rows if all(row[n] == v for n, v in where.items())))
