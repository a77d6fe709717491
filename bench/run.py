#!/usr/bin/env python3
"""Measures kvwal, the raw bounds and the peers in rounds, and says which goals are met. README.md tells more."""

import argparse
import contextlib
import json
import os
import platform
import shutil
import signal
import subprocess
import sys
import tempfile
import time

import filesystem
import goals
import groups
import measure
import page
import report

NEGATIVE_CONTROL = "kvwal-nosync"
# A store that syncs less than once per operation, with one thread, acknowledges what is not on the disk.
LEAST_SYNCS = 0.99


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--programs", required=True, help="the directory with kvbench")
    parser.add_argument("--library", help="libkvwal.so, for its size")
    parser.add_argument("--data", required=True, help="where the data goes; its file system is measured")
    parser.add_argument("--results", default=os.path.join(os.path.dirname(__file__), "results"))
    parser.add_argument("--quick", action="store_true", help="two minutes, reduced sizes")
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--seconds", type=float, help="of each measurement")
    parser.add_argument("--seed", type=int)
    parser.add_argument("--only", default="", help="these groups, by name or beginning, with commas")
    parser.add_argument("--stores", default="", help="these stores, with commas; raw bounds and kvwal always run")
    parser.add_argument("--list", action="store_true", help="list the groups")
    arguments = parser.parse_args()
    arguments.rounds = arguments.rounds or (1 if arguments.quick else 5)
    arguments.seconds = arguments.seconds or (0.15 if arguments.quick else 2)
    arguments.seed = arguments.seed if arguments.seed is not None else int(time.time())
    return arguments


class Run:
    """One run of the benchmark."""

    def __init__(self, arguments):
        self.arguments = arguments
        self.programs = measure.Programs(arguments.programs)
        self.results = measure.Results()
        self.report = report.Report()
        self.left_out = []
        self.verdicts = {}
        wanted = [name for name in arguments.stores.split(",") if name]
        self.stores = {name: store for name, store in self.programs.stores.items()
                       if not wanted or name in wanted or name.startswith(("kvwal", "raw-"))}
        self.peers = [name for name in self.stores if not name.startswith(("kvwal", "raw-"))]
        self.not_durable = set()
        self.sizes = groups.Sizes(arguments.quick, arguments.seconds)
        self.groups = self.choose_groups()

    def choose_groups(self):
        wanted = [name for name in self.arguments.only.split(",") if name]
        return [group for group in groups.make_groups(self.stores, self.sizes, self.arguments.rounds)
                if not wanted or any(group.name.startswith(name) for name in wanted)]

    def introduce(self):
        arguments = self.arguments
        self.report.line(f"seed {arguments.seed}, {arguments.rounds} rounds, {arguments.seconds:g} s a measurement, "
                         f"{os.cpu_count()} cores")
        if arguments.quick:
            self.report.line("QUICK: reduced sizes and a single round. Good for a look; no figure to quote.")
        self.report.heading("Stores")
        self.report.table(["store", "version", "configuration"],
                          [[store.name, store.version, store.configuration] for store in self.stores.values()])

    def check_syncs(self, base):
        """Which of the stores that say that they are durable really ask the disk."""
        self.report.heading("Calls for stable storage per durable set, 1 thread")
        rows = []
        for store in self.stores.values():
            if "durable" not in store.kinds and "control" not in store.kinds:
                continue
            try:
                counts = self.programs.syncs_per_op(store.name, base, self.arguments.seed)
            except measure.LeftOut as reason:
                self.leave_out(f"{store.name}, check of its syncs", reason)
                self.not_durable.add(store.name)
                continue
            durable = measure.counted_as_sync(counts) >= LEAST_SYNCS
            if not durable:
                self.not_durable.add(store.name)
            rows.append([store.name, *(f"{counts[name]:.2f}" for name in measure.SYNC_COUNTERS),
                         "yes" if durable else "NO: left out of the durable rows"])
        self.report.table(["store", *measure.SYNC_COUNTERS, "durable"], rows)
        if NEGATIVE_CONTROL not in self.not_durable:
            sys.exit(f"the check of the syncs does not notice that {NEGATIVE_CONTROL} is not durable")

    def leave_out(self, what, why):
        text = f"{what}: {why}"
        if text not in self.left_out:
            self.left_out.append(text)

    def members_of(self, group):
        for member in group.members:
            if group.durable and member.store in self.not_durable:
                self.leave_out(f"{member.store} in {group.name}", "does not sync each set")
            else:
                yield member

    def measure_group(self, group, base, fs):
        """In rounds, so that all stores see the same weather; every other round backwards, so that none has the best
        place."""
        members = list(self.members_of(group))
        for number in range(group.rounds):
            progress(f"{group.name}, round {number + 1} of {group.rounds} [{fs}]")
            for member in members if number % 2 == 0 else members[::-1]:
                try:
                    for fields in self.programs.run(member, base, self.arguments.seed + number):
                        self.results.add(fs, group.name, number, fields)
                except measure.LeftOut as reason:
                    self.leave_out(f"{member.store} in {group.name}", reason)
                    members = [other for other in members if other != member]
        report.report_group(self.report, self.results, fs, group)

    def measure_journaled(self, base):
        """Returns the name of the file system, or None."""
        durable = [group for group in self.groups if group.durable]
        if not durable or "with a journal" in filesystem.describe(base):
            return None
        size = filesystem.JOURNALED_BYTES_QUICK if self.arguments.quick else filesystem.JOURNALED_BYTES
        try:
            with filesystem.journaled(base, size) as point:
                fs = filesystem.describe(point) + ", in a loop-mounted image"
                if self.arguments.quick and len(durable) > 1:
                    self.leave_out("all but the first durable rows on a journaled ext4", "QUICK")
                    durable = durable[:1]
                for group in durable:
                    self.measure_group(group, point, fs)
                return fs
        except filesystem.NoJournaled as reason:
            self.leave_out("the durable rows on a journaled ext4", reason)
        return None

    def judge(self, fs, journaled):
        library_bytes = stripped_bytes(self.arguments.library) if self.arguments.library else None
        self.show_verdicts(fs, goals.judge(self.results, fs, self.peers, self.sizes, library_bytes))
        if journaled:
            self.show_verdicts(journaled, goals.judge_durable(self.results, journaled, self.peers, self.sizes))

    def show_verdicts(self, fs, verdicts):
        measured = [verdict for verdict in verdicts if verdict.verdict != goals.NOT_MEASURED]
        self.verdicts[fs] = measured
        self.report.heading(f"Goals [{fs}]")
        self.report.table(["row", "goal", "measured", "verdict"], [list(verdict) for verdict in measured])
        met = sum(verdict.verdict == goals.MET for verdict in measured)
        self.report.line(f"\n{met} of {len(measured)} met; {len(verdicts) - len(measured)} not measured"
                         f"{' (QUICK: reduced sizes)' if self.arguments.quick else ''}")

    def finish(self, fs_names):
        directory = self.arguments.results
        os.makedirs(directory, exist_ok=True)
        left_out = self.programs.missing() + self.left_out
        self.report.heading("Left out")
        for text in left_out or ["nothing"]:
            self.report.line(f"- {text}")
        report.write_csv(self.results, os.path.join(directory, "results.csv"))
        self.report.write(os.path.join(directory, "results.md"),
                          "kvwal's benchmark" + (" (QUICK: reduced sizes)" if self.arguments.quick else ""))
        self.write_about(os.path.join(directory, "run.json"), fs_names, left_out)
        page.write(directory)
        print(f"\nindex.html, with plots, results.md and results.csv are in {directory}")

    def write_about(self, path, fs_names, left_out):
        """What a reader of the figures has to know beside them."""
        arguments = self.arguments
        about = {"date": time.strftime("%Y-%m-%d %H:%M"), "machine": machine(), "seed": arguments.seed,
                 "rounds": arguments.rounds, "seconds": arguments.seconds, "quick": arguments.quick,
                 "file_systems": fs_names, "stores": [[store.name, store.version, store.configuration]
                                                      for store in self.stores.values()],
                 "verdicts": self.verdicts, "left_out": left_out}
        with open(path, "w", encoding="utf-8") as file:
            json.dump(about, file, indent=1)

    def run(self, base):
        fs = filesystem.describe(base)
        self.introduce()
        if any(group.durable for group in self.groups):
            self.check_syncs(base)
        for group in self.groups:
            self.measure_group(group, base, fs)
        journaled = self.measure_journaled(base)
        self.judge(fs, journaled)
        self.finish([fs] + ([journaled] if journaled else []))


def stripped_bytes(library):
    with tempfile.TemporaryDirectory() as directory, contextlib.suppress(FileNotFoundError):
        stripped = os.path.join(directory, "library")
        subprocess.run(["strip", "-o", stripped, library], check=True)
        return os.path.getsize(stripped)
    return None


def machine():
    """The processor, how much of it, and the kernel."""
    processor = platform.machine()
    with contextlib.suppress(OSError), open("/proc/cpuinfo", encoding="utf-8") as lines:
        processor = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), processor)
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / (1 << 30)
    return f"{processor}, {os.cpu_count()} cores, {memory:.0f} GiB, Linux {platform.release()}"


def progress(text):
    print(f"[{time.strftime('%H:%M:%S')}] {text}", file=sys.stderr, flush=True)


def main():
    arguments = parse_arguments()
    run = Run(arguments)
    if arguments.list:
        for group in run.groups:
            print(f"{group.name:16} {group.what}")
        return
    # So that whatever is mounted or lies about is cleared away.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda received, _: sys.exit(128 + received))
    os.makedirs(arguments.data, exist_ok=True)
    base = tempfile.mkdtemp(prefix="kvbench-", dir=arguments.data)
    try:
        run.run(base)
    finally:
        shutil.rmtree(base, ignore_errors=True)


if __name__ == "__main__":
    main()
