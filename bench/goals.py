"""The goals, each a ratio within one run, and what was measured beside them."""

import collections
import math

Verdict = collections.namedtuple("Verdict", "row goal measured verdict")
MET, MISSED, NOT_MEASURED = "met", "MISSED", "not measured"


class Goals:
    """Judges the results on one file system."""

    def __init__(self, results, fs, peers, sizes):
        self.results, self.fs, self.peers, self.sizes = results, fs, peers, sizes
        self.verdicts = []

    def where(self, group, store="kvwal", **more):
        return dict(more, fs=self.fs, group=group, store=store)

    def add(self, row, goal, measured, met):
        self.verdicts.append(Verdict(row, goal, measured, MET if met else MISSED))

    def nothing(self, row, goal):
        self.verdicts.append(Verdict(row, goal, "-", NOT_MEASURED))

    def at_least(self, row, goal, bound, ratio, unit="x"):
        if ratio is None:
            self.nothing(row, goal)
        else:
            self.add(row, goal, show(ratio, unit), ratio.median >= bound)

    def at_most(self, row, goal, bound, ratio, unit="x"):
        if ratio is None:
            self.nothing(row, goal)
        else:
            self.add(row, goal, show(ratio, unit), ratio.median <= bound)

    def best_peer(self, field, kvwal):
        """The peer that kvwal is least ahead of: its name, and kvwal's ratio to it."""
        ratios = []
        for peer in self.peers:
            ratio = self.results.ratio(field, kvwal, dict(kvwal, store=peer))
            if ratio is not None:
                ratios.append((ratio.median, peer, ratio))
        return min(ratios)[1:] if ratios else (None, None)

    def ahead_of_peers(self, row, bound, field, kvwal):
        peer, ratio = self.best_peer(field, kvwal)
        name = f" ({peer})" if peer else ""
        self.at_least(row, f">= {bound} x the best peer{name}", bound, ratio)

    def durable(self):
        results = self.results
        for threads, bound in ((1, 0.98), (2, 1.5), (8, 4.8), (64, 23)):
            kvwal = self.where(f"set-durable-{threads}", threads=threads)
            raw = self.where(f"set-durable-{threads}", "raw-over", threads=1)
            row = f"durable set, {threads} threads" if threads > 1 else "durable set, 1 thread"
            self.at_least(row, f">= {bound} x raw-over", bound, results.ratio("ops_per_s", kvwal, raw))
            self.ahead_of_peers(row, 1.0, "ops_per_s", kvwal)
            for limited, limit, field, what in ((1, 1.1, "p99_us", "p99"), (8, 4, "p50_us", "median"),
                                                (64, 7, "p50_us", "median")):
                if threads == limited:
                    self.at_most(row, f"p99 <= {limit} x raw-over's {what}", limit,
                                 results.ratio("p99_us", kvwal, raw, field))
        for group, row, field, bound in (("batch-durable", "durable batches of 100", "ops_per_s", 0.9),
                                         ("large-durable", "durable 64 KiB values", "mb_per_s", 1.15)):
            self.at_least(row, f">= {bound} x raw-over", bound,
                          results.ratio(field, self.where(group), self.where(group, "raw-over")))
        for percent, bound in ((50, 1.8), (95, 2.5)):
            group = f"mixed-{percent}"
            self.ahead_of_peers(f"mixed {percent}/{100 - percent}, 8 threads", bound, "ops_per_s", self.where(group))

    def relaxed(self):
        one, two = (self.where("set-relaxed", threads=threads) for threads in (1, 2))
        self.ahead_of_peers("relaxed set, 1 thread", 1.5, "ops_per_s", one)
        self.ahead_of_peers("relaxed set, 2 threads", 1.5, "ops_per_s", two)
        self.at_least("relaxed set, 2 threads", "> 1.0 x 1 thread", 1.0, self.results.ratio("ops_per_s", two, one))

    def reads(self):
        for group, size in (("get-small", self.sizes.get_small), ("get-large", self.sizes.get_large)):
            for case in ("uniform", "zipf"):
                for threads in (1, 2):
                    self.read(f"get, {short(size)}, {case}, {threads} thread{'s' if threads > 1 else ''}", group,
                              {"case": case, "threads": threads})
        many = self.where("get-many", workload="get-many")
        one = self.where("get-many", workload="get", case="uniform")
        self.at_least(f"get_many, 64 a call, {short(self.sizes.get_large)}, uniform", ">= 3 x kv_get_into", 3,
                      self.results.ratio("ops_per_s", many, one))

    def read(self, row, group, which):
        for store, name, bound_name, bound in (("kvwal", "kv_get_into", "raw-mem", 1.0),
                                               ("kvwal", "kv_get_into", "raw-mem-inline", 0.75),
                                               ("kvwal-get", "kv_get", "raw-mem", 0.8)):
            self.at_least(row, f"{name} >= {bound} x {bound_name}", bound,
                          self.results.ratio("ops_per_s", self.where(group, store, **which),
                                             self.where(group, bound_name, **which)))
        self.ahead_of_peers(row, 1.8, "ops_per_s", self.where(group, **which))

    def pauses(self):
        self.no_more_pauses("get beside durable writers", "waits for no fsync", "over_100us", "0.1 ms", "pauses",
                            "get-beside-writers", "clock-beside-writers")
        self.no_more_pauses("get beside a scan", "no pause above 1 ms", "over_1ms", "1 ms", "pauses",
                            "get-beside-scan", "clock-beside-scan")
        self.no_more_pauses("relaxed set beside a scan", "no pause above 1 ms", "over_1ms", "1 ms", "pauses",
                            "set-beside-scan", "write-beside-scan")
        self.no_more_pauses(f"growth to {short(self.sizes.growth)} keys", "no set above 1 ms", "over_1ms", "1 ms",
                            "growth", "growing", "grown")

    def no_more_pauses(self, row, goal, field, limit, group, case, neighbour):
        """The neighbour does the same without what is blamed: what it pauses, the machine does."""
        ours = list(self.results.by_round(field, **self.where(group, case=case)).values())
        theirs = list(self.results.by_round(field, **self.where(group, case=neighbour)).values())
        if not ours or not theirs:
            self.nothing(row, goal)
            return
        scatter = 2 * math.sqrt(sum(theirs))
        longest, p9999 = (self.results.spread(name, **self.where(group, case=case)) for name in ("max_us", "p9999_us"))
        longest_theirs = self.results.spread("max_us", **self.where(group, case=neighbour))
        measured = (f"{sum(ours):.0f} above {limit}, {neighbour} {sum(theirs):.0f}; "
                    f"p99.99 {milliseconds(p9999.median)}; "
                    f"max {milliseconds(longest.high)}, {neighbour} {milliseconds(longest_theirs.high)}")
        self.add(row, f"{goal}, but for the machine's", measured, sum(ours) <= sum(theirs) + scatter)

    def checkpoints(self):
        results, disk = self.results, self.where("checkpoint", "raw", case="write-direct")
        self.at_least("checkpoint", ">= 0.6 x sequential O_DIRECT write", 0.6,
                      results.ratio("mb_per_s", self.where("checkpoint", case="stream"), disk))
        self.at_most("checkpoint", "p99 of durable sets beside it <= 1.5 x without", 1.5,
                     results.ratio("p99_us", self.where("checkpoint", case="set-beside"),
                                   self.where("checkpoint", case="set")))
        self.at_most("checkpoint", "memory <= 32 MiB above that without", 32,
                     results.spread("extra_mib", **self.where("checkpoint", case="set-beside")), "MiB")

    def memory(self):
        self.at_most(f"memory, {short(self.sizes.get_large)} keys", "<= 28 bytes a key above its own", 28,
                     self.results.spread("bytes_per_key", **self.where("memory", workload="memory")), "bytes")
        for case in ("random-sizes", "one-size-a-round"):
            self.at_most(f"memory after 10 rounds, {case}", "<= 1.3 x before", 1.3,
                         self.results.spread("ratio", **self.where("memory", case=case)))

    def opening(self):
        results = self.results
        warm, cold = self.where("reopen", case="warm"), self.where("reopen", case="cold")
        size, records = short(self.sizes.get_large), short(self.sizes.replay)
        self.at_least(f"open, {size} keys, cached", ">= 6M keys/s", 6, millions(results, warm), "M/s")
        self.at_least(f"open, {size} keys, cached", "both cores busy (>= 1.5)", 1.5,
                      results.spread("busy_cores", **warm), "cores")
        for case in ("read-cold", "read-direct"):
            self.at_least(f"open, {size} keys, cold", f">= 0.5 x {case}", 0.5,
                          results.ratio("mb_per_s", cold, self.where("reopen", "raw", case=case)))
        replay = self.where("replay", keys=self.sizes.replay)
        self.at_least(f"replay of {records} records", ">= 3M records/s", 3, millions(results, replay), "M/s")
        self.at_most(f"replay of {records} records", "peak memory <= 64 MiB above the open store", 64,
                     results.spread("peak_above_mib", **replay), "MiB")

    def scaling(self):
        sizes = sorted(self.results.values_of("keys", **self.where("scaling", workload="scaling")))
        small, large = (sizes[0], sizes[-1]) if sizes else (0, 0)
        row = f"{short(large)} keys against {short(small)}"
        for case, what, bound in (("uniform", "get", 0.6), ("set-durable", "durable set", 0.9),
                                  ("checkpoint", "checkpoint, keys/s", 0.75), ("open", "open, keys/s", 0.75)):
            ratio = self.results.ratio("ops_per_s", self.where("scaling", case=case, keys=large),
                                       self.where("scaling", case=case, keys=small))
            self.at_least(row, f"{what} >= {bound} x", bound, ratio)

    def size(self, library_bytes):
        if library_bytes is None:
            self.nothing("libkvwal.so, stripped", "< 700 KiB")
        else:
            self.add("libkvwal.so, stripped", "< 700 KiB", f"{library_bytes / 1024:.0f} KiB",
                     library_bytes < 700 * 1024)
        for case, allowed in (("none-no-checkpoints-no-preallocation", 0),
                              ("always-no-checkpoints-no-preallocation", 0), ("always", 2), ("interval", 3)):
            self.at_most("threads that kv_open starts", f"{case}: <= {allowed}", allowed,
                         self.results.spread("started", **self.where("threads", case=case)), "")


def judge(results, fs, peers, sizes, library_bytes):
    goals = Goals(results, fs, peers, sizes)
    goals.durable()
    goals.relaxed()
    goals.reads()
    goals.pauses()
    goals.checkpoints()
    goals.memory()
    goals.opening()
    goals.scaling()
    goals.size(library_bytes)
    return goals.verdicts


def judge_durable(results, fs, peers, sizes):
    """For the other file system, where only the durable rows run."""
    goals = Goals(results, fs, peers, sizes)
    goals.durable()
    return goals.verdicts


def millions(results, where):
    rates = results.spread("ops_per_s", **where)
    return rates and type(rates)(*(rate / 1e6 for rate in rates))


def milliseconds(microseconds):
    return f"{number(microseconds / 1e3)} ms"


def show(figure, unit):
    text = f"{number(figure.median)} {unit}".strip()
    return text if figure.low == figure.high else f"{text} ({number(figure.low)} .. {number(figure.high)})"


def number(value):
    """With three digits that count, or all that stand before the point."""
    if value == 0 or abs(value) >= 100:
        return f"{value:.0f}"
    return f"{value:.{max(0, 2 - math.floor(math.log10(abs(value))))}f}"


def short(value):
    for limit, unit in ((1e6, "M"), (1e3, "k")):
        if abs(value) >= limit:
            return number(value / limit) + unit
    return number(value)
