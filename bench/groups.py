"""What is measured: groups of measurements that are compared with each other, and so take turns."""

import collections

from measure import Member

KVWAL = ["kvwal"]
RAW_DURABLE = ["raw-over", "raw-append", "raw-direct"]
RAW_MEMORY = ["raw-mem", "raw-mem-inline"]

# members: one round. durable: only stores that really sync take part, and it is done on a journaled file system, too.
Group = collections.namedtuple("Group", "name what members durable rounds")


class Sizes:
    """How much of everything."""

    def __init__(self, quick, seconds):
        self.seconds = seconds
        self.million = 20_000 if quick else 1_000_000
        self.mixed = 20_000 if quick else 1_000_000
        self.relaxed = 50_000 if quick else 1_000_000
        self.get_small = 20_000 if quick else 1_000_000
        self.get_large = 100_000 if quick else 5_000_000
        self.growth = 500_000 if quick else 10_000_000
        self.replay = 500_000 if quick else 6_711_410  # records of 149 bytes: 1 GB
        self.timeline = 500_000 if quick else 5_000_000
        self.scaling = [n // (40 if quick else 1) for n in (1_000_000, 2_000_000, 5_000_000, 10_000_000)]
        self.replays = [n for n in self.scaling if n < self.replay] + [self.replay]


def make_groups(stores, sizes, rounds):
    """stores: those that may take part, by name."""
    few = min(rounds, 2)  # for what does not vary

    def having(kind):
        return [name for name, store in stores.items()
                if kind in store.kinds and not name.startswith(("raw-", "kvwal"))]

    def members(names, workload, keys, threads="1", seconds=None):
        return [Member(name, workload, threads, keys, sizes.seconds if seconds is None else seconds) for name in names]

    durable, relaxed, memory = having("durable"), having("relaxed"), having("memory")
    raw_over = RAW_DURABLE[:1]
    both = [name for name in durable if name in relaxed]
    readers = KVWAL + ["kvwal-get"] + RAW_MEMORY + relaxed + memory

    def durable_sets(threads):
        raws = RAW_DURABLE if threads == 1 else raw_over
        return members(raws, "set-durable", sizes.million) + members(KVWAL + durable, "set-durable", sizes.million,
                                                                      str(threads))

    groups = [
        Group(f"set-durable-{threads}", f"durable sets, {threads} thread{'s' if threads > 1 else ''}",
              durable_sets(threads), True, rounds) for threads in (1, 2, 8, 64)
    ]
    groups += [
        Group("batch-durable", "durable batches of 100, 1 thread",
              members(raw_over + RAW_DURABLE[2:] + KVWAL + durable, "batch-durable", sizes.million), True, rounds),
        Group("large-durable", "durable 64 KiB values, 1 thread",
              members(RAW_DURABLE + KVWAL + durable, "large-durable", 1000), True, rounds),
        Group("set-relaxed", "new keys, synced a little later",
              [member for threads in ("1", "2") for member in members(KVWAL + relaxed, "set-relaxed", sizes.relaxed,
                                                                      threads)], False, rounds),
        Group("get-small", f"gets, {sizes.get_small} keys", members(readers, "get", sizes.get_small, "1,2"), False,
              rounds),
        Group("get-large", f"gets, {sizes.get_large} keys", members(readers, "get", sizes.get_large, "1,2"), False,
              rounds),
        Group("get-many", "gets of 64 keys a call",
              members(KVWAL + ["raw-mem"], "get", sizes.get_large) +
              members(KVWAL + ["raw-mem"] + relaxed, "get-many", sizes.get_large), False, rounds),
        Group("mixed-50", "50 % gets, 50 % durable sets, 8 threads",
              members(KVWAL + both, "mixed-50", sizes.mixed, "8"), True, rounds),
        Group("mixed-95", "95 % gets, 5 % durable sets, 8 threads",
              members(KVWAL + both, "mixed-95", sizes.mixed, "8"), True, rounds),
        Group("pauses", "gets beside durable writers; gets and sets beside scans",
              members(KVWAL, "pauses", sizes.get_small), False, rounds),
        Group("checkpoint", "checkpoints, and sets beside them",
              members(["raw"], "disk", sizes.get_large) + members(KVWAL, "checkpoint", sizes.get_large), False, rounds),
        Group("timeline", "durable sets while two checkpoints come and go",
              members(KVWAL, "timeline", sizes.timeline, seconds=max(sizes.seconds, 1)), False, rounds),
        Group("growth", "sets while the table grows", members(KVWAL, "growth", sizes.growth), False, rounds),
        Group("memory", "resident memory",
              members(KVWAL + RAW_MEMORY + relaxed + memory, "memory", sizes.get_large) +
              members(KVWAL, "memory-random", sizes.get_large) + members(KVWAL, "memory-fixed", sizes.get_large),
              False, few),
        Group("reopen", "opening from a checkpoint",
              members(["raw"], "disk", sizes.get_large) + members(KVWAL, "reopen", sizes.get_large), False, rounds),
        Group("replay", "opening from a log",
              [member for keys in sizes.replays for member in members(KVWAL, "replay", keys)], False, rounds),
        Group("scaling", "cost as the store grows",
              [member for keys in sizes.scaling
               for member in members(KVWAL, "get", keys) + members(KVWAL, "scaling", keys)], False, rounds),
        Group("threads", "threads that kv_open starts", members(KVWAL, "threads", 1), False, 1),
        Group("machine", "what the machine does",
              members(["raw"], "memcpy", 1) + members(["raw"], "crc32", 1), False, few),
    ]
    return groups
