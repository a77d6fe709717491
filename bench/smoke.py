#!/usr/bin/env python3
"""The benchmark in miniature: smoke.py PROGRAMS. Whether every workload measures something that makes sense, whether
the check of the syncs really counts, whether a goal that is missed is called missed, and whether the page has each
picture that there is data for. Needs no peer."""

import os
import shutil
import subprocess
import sys
import tempfile

import figures
import goals
import measure
import smoke_page

EVERY_GET = [("uniform", 1), ("uniform", 2), ("zipf", 1), ("zipf", 2)]
BOTH_THREADS = [("-", 1), ("-", 2)]
EVERY_SET = [("-", threads) for threads in figures.THREADS]
# Store, workload, --threads: the cases and threads of the lines that must come.
EXPECTED = [
    ("kvwal", "set-durable", "1,2,8,64", EVERY_SET),
    ("kvwal", "batch-durable", "1", [("-", 1)]),
    ("kvwal", "large-durable", "1", [("-", 1)]),
    ("raw-over", "set-durable", "1", [("-", 1)]),
    ("raw-over", "batch-durable", "1", [("-", 1)]),
    ("raw-over", "large-durable", "1", [("-", 1)]),
    ("raw-append", "set-durable", "1", [("-", 1)]),
    ("raw-direct", "large-durable", "1", [("-", 1)]),
    ("kvwal", "set-relaxed", "1,2", BOTH_THREADS),
    ("kvwal", "get", "1,2", EVERY_GET),
    ("kvwal-get", "get", "1,2", EVERY_GET),
    ("raw-mem", "get", "1,2", EVERY_GET),
    ("raw-mem-inline", "get", "1,2", EVERY_GET),
    ("kvwal", "get-many", "1", [("uniform", 1)]),
    ("raw-mem", "get-many", "1", [("uniform", 1)]),
    ("kvwal", "mixed-50", "8", [("-", 8)]),
    ("kvwal", "mixed-95", "8", [("-", 8)]),
    ("kvwal", "memory", "1", [("loaded", 1)]),
    ("kvwal", "memory-random", "1", [("loaded", 1), ("random-sizes", 1)]),
    ("kvwal", "memory-fixed", "1", [("loaded", 1), ("one-size-a-round", 1)]),
    ("kvwal", "pauses", "1", [(case, 1) for case in (
        "scan", "clock", "clock-beside-scan", "get", "get-beside-scan", "write", "write-beside-scan", "set",
        "set-beside-scan", "clock-beside-writers", "get-beside-writers")]),
    ("kvwal", "checkpoint", "1", [("stream", 1), ("set", 1), ("set-beside", 1)]),
    ("kvwal", "growth", "1", [("growing", 1), ("grown", 1), ("write", 1), ("clock", 1)]),
    ("kvwal", "reopen", "1", [("checkpoint", 1), ("warm", 1), ("cold", 1)]),
    ("kvwal", "replay", "1", [("warm", 1)]),
    ("kvwal", "scaling", "1", [("checkpoint", 1), ("open", 1), ("set-durable", 1)]),
    ("kvwal", "threads", "1", [(case, 0) for case in (
        "always", "interval", "none", "always-no-checkpoints", "always-no-checkpoints-no-preallocation",
        "none-no-checkpoints-no-preallocation")]),
    ("raw", "memcpy", "1", [("-", 1)]),
    ("raw", "crc32", "1", [("128-bytes", 1), ("64-KiB", 1)]),
    ("raw", "disk", "1", [("write-direct", 1), ("read-direct", 1), ("read-cold", 1), ("write-buffered", 1)]),
]
# What one of these cannot do depends on the machine: O_DIRECT, zlib, kv_get_many.
MAY_BE_LEFT_OUT = [("raw", "disk"), ("raw", "crc32"), ("raw-direct", "large-durable"), ("kvwal", "get-many")]
KEYS, SECONDS, SEED = 3000, 0.02, 1
FIGURE_OF = {"threads": "started", "memory": "resident_mib", "memory-random": "ratio", "memory-fixed": "ratio",
             "disk": "mb_per_s", "memcpy": "mb_per_s", "crc32": "mb_per_s"}


def expect(condition, what):
    if not condition:
        sys.exit(f"smoke.py: {what}")


def check_line(fields):
    what = f"{fields['store']}, {fields['workload']}, {fields['case']}"
    figure = FIGURE_OF.get(fields["workload"], "ops_per_s")
    expect(fields[figure] > 0 or figure == "started", f"{what}: {figure} is {fields[figure]}")
    if figure == "ops_per_s":
        rate = fields["ops"] / fields["seconds"]
        expect(abs(rate / fields["ops_per_s"] - 1) < 0.01, f"{what}: ops, seconds and ops_per_s do not agree")
    if "p50_us" in fields:
        latencies = [fields[name] for name in (*figures.QUANTILES, "max_us")]
        expect(latencies == sorted(latencies) and latencies[-1] > 0, f"{what}: latencies {latencies}")


def check_workloads(programs, base):
    """Returns what they have printed."""
    printed = []
    for store, workload, threads, lines in EXPECTED:
        member = measure.Member(store, workload, threads, KEYS, SECONDS)
        try:
            results = programs.run(member, base, SEED)
        except measure.LeftOut as reason:
            allowed = (store, workload) in MAY_BE_LEFT_OUT and "FAILED" not in str(reason)
            expect(allowed, f"{store}, {workload}: {reason}")
            print(f"  {store}, {workload}: left out, {reason}")
            continue
        got = [(fields["case"], fields["threads"]) for fields in results]
        expect(got == lines, f"{store}, {workload}: printed {got}, not {lines}")
        for fields in results:
            check_line(fields)
        printed += results
    return printed


def check_timeline(programs, base):
    """Each set is in one interval, and either beside a checkpoint or not. Returns what was printed."""
    seconds = 3 * SECONDS
    lines = programs.run(measure.Member("kvwal", "timeline", "2", KEYS, seconds), base, SEED)
    quiet, beside, first, second, *intervals = lines
    for fields in lines:
        check_line(fields)
    expect([fields["case"] for fields in lines] == ["quiet", "beside", "checkpoint", "checkpoint"] +
           ["interval"] * len(intervals), f"timeline: printed {[fields['case'] for fields in lines]}")
    ops = sum(fields["ops"] for fields in intervals)
    expect(ops == quiet["ops"] + beside["ops"], f"timeline: {ops} sets in the intervals, "
           f"{quiet['ops']} in quiet times and {beside['ops']} beside checkpoints")
    starts = [fields["at_s"] for fields in intervals]
    expect(starts == sorted(set(starts)) and all(fields["seconds"] == 0.05 for fields in intervals),
           f"timeline: intervals at {starts} of {intervals[0]['seconds']} s")
    pause = second["at_s"] - first["at_s"] - first["seconds"]
    expect(min(first["at_s"], pause) >= seconds - 0.002,  # at_s has whole milliseconds
           f"timeline: no quiet time before the checkpoints at {first['at_s']} and {second['at_s']}")
    longest = max(quiet["max_us"], beside["max_us"])
    expect(max(fields["max_us"] for fields in intervals) == longest, "timeline: no interval has the longest set")
    return lines


def check_run(programs, base):
    """The driver, from the command line to the page."""
    results = os.path.join(base, "results")
    driver = os.path.join(os.path.dirname(os.path.abspath(__file__)), "run.py")
    subprocess.run([driver, "--programs", programs.directory, "--data", base, "--results", results, "--quick",
                    "--only", "threads,timeline", "--seed", str(SEED)], check=True, capture_output=True)
    with open(os.path.join(results, "index.html"), encoding="utf-8") as page:
        expect(f"seed {SEED};" in page.read(), "the page of a run does not name its seed")
    written = sorted(os.listdir(results))
    expect(written == ["index.html", "results.csv", "results.md", "run.json", "timeline.svg"],
           f"a run leaves {written}")
    shutil.rmtree(results)


def check_refusals(programs, base):
    """What a store cannot do is left out, and what does not exist is a failure or left out, never a result."""
    for store, workload, threads in (("raw-over", "get", "1"), ("raw-over", "set-durable", "2"),
                                     ("raw-mem", "set-durable", "1"), ("nothing", "get", "1"),
                                     ("kvwal", "nothing", "1"), ("kvwal", "get", "0")):
        try:
            programs.run(measure.Member(store, workload, threads, KEYS, SECONDS), base, SEED)
        except measure.LeftOut:
            continue
        sys.exit(f"smoke.py: {store} has done {workload} with {threads} threads")


def check_syncs(programs, base):
    for store, durable in (("kvwal", True), ("raw-over", True), ("raw-append", True), ("kvwal-nosync", False)):
        counts = programs.syncs_per_op(store, base, SEED)
        per_op = measure.counted_as_sync(counts)
        expect((0.99 <= per_op <= 1.1) if durable else per_op == 0, f"{store}: {per_op} syncs per durable set")


def check_verdicts():
    """The same figures against a bound that they meet and one that they miss."""
    results = measure.Results()
    for number, (kvwal, raw) in enumerate(((90, 100), (99, 100), (120, 100))):
        for store, rate in (("kvwal", kvwal), ("raw-over", raw), ("peer", rate_of_peer(number))):
            results.add("fs", "set-durable-1", number, {"store": store, "threads": 1.0, "ops_per_s": float(rate)})
    verdicts = {verdict.goal: verdict for verdict in goals.judge_durable(results, "fs", ["peer"], None)}
    over = verdicts[">= 0.98 x raw-over"]
    expect(over.verdict == goals.MET and over.measured == "0.990 x (0.900 .. 1.20)", f"judged {over}")
    peer = verdicts[">= 1.0 x the best peer (peer)"]
    expect(peer.verdict == goals.MISSED, f"judged {peer}")


def rate_of_peer(number):
    return (100, 200, 100)[number]


def main():
    programs = measure.Programs(sys.argv[1])
    with tempfile.TemporaryDirectory(prefix="kvbench-smoke-") as base:
        printed = check_workloads(programs, base) + check_timeline(programs, base)
        check_refusals(programs, base)
        check_syncs(programs, base)
        check_verdicts()
        smoke_page.check(printed, base)
        check_run(programs, base)
        expect(os.listdir(base) == [], "measurements leave something behind")
    print(f"benchmark in miniature: {len(EXPECTED) + 1} workloads ok, and the page")


if __name__ == "__main__":
    main()
