"""The figures that the results of a run allow: what is plotted, and the sentence that says what is to be seen."""

import collections
import statistics

import svg
import words
from goals import short

Figure = collections.namedtuple("Figure", (
    "name",  # of its file, and on a page
    "kind",  # what it is about, in a few words
    "title",  # what is seen, from the data
    "about",  # how to read it
    "where",  # the file system
    "charts",  # one, or several of a kind
    "wide",  # whether it takes the whole width of a page
    "table",  # head and rows with the figures
))
# draw(width) makes the drawing.
Chart = collections.namedtuple("Chart", "name title draw")

NAMES = {"lmdb": "LMDB", "rocksdb": "RocksDB", "leveldb": "LevelDB", "sqlite": "SQLite", "berkeleydb": "Berkeley DB",
         "tkrzw-hash": "Tkrzw", "redis": "Redis", "redb": "redb", "fjall": "fjall", "sled": "sled",
         "tkrzw-tiny": "TinyDBM", "kvwal": "kvwal", "kvwal-get": "kvwal, kv_get", "raw-over": "raw fdatasync",
         "raw-mem": "bare table", "raw-mem-inline": "bare table, inline"}
PEERS = [name for name in NAMES if not name.startswith(("kvwal", "raw-"))]
PEER_MARKS = ["circle", "square", "diamond", "up", "down", "hollow-circle", "hollow-square", "hollow-diamond",
              "hollow-up", "hollow-down"]
OWN = svg.Style("own", "circle", strong=True)
RAW = svg.Style("ink", dashed=True)
THREADS = (1, 2, 8, 64)
LATENCY_THREADS = (1, 8, 64)
QUANTILES = {"p50_us": 0.5, "p75_us": 0.75, "p90_us": 0.9, "p95_us": 0.95, "p99_us": 0.99, "p995_us": 0.995,
             "p999_us": 0.999, "p9995_us": 0.9995, "p9999_us": 0.9999}
QUANTILE_TICKS = (0.5, 0.9, 0.99, 0.999, 0.9999)
NOT_SHOWN = ("raw-append", "raw-direct")


def make(results, fs_names, server_rows):
    """All figures for which there is data, in the order of a page."""
    figures = []
    for fs, suffix in zip(fs_names, ("", "-journaled")):
        figures += [durable_sets(results, fs, suffix), latencies(results, fs, suffix)]
    first = fs_names[0]
    figures += [timeline(results, first), recovery(results, first), scaling(results, first)]
    figures += [gets(results, first, group) for group in ("get-small", "get-large")]
    figures += [server(rows, fs, suffix) for (fs, rows), suffix in zip(by_file_system(server_rows), ("", "-journaled"))]
    return [figure for figure in figures if figure is not None]


def name_of(store):
    return NAMES.get(store, store)


def style_of(store):
    """A store looks the same in every chart."""
    if store == "kvwal":
        return OWN
    if store.startswith("raw-"):
        return RAW
    place = PEERS.index(store) if store in PEERS else len(PEERS)
    return svg.Style(f"c{place % 10}", PEER_MARKS[place % len(PEER_MARKS)])


def medians(results, field, where, over):
    """{value of the field `over`: median}, such as of the stores or of the numbers of keys."""
    spreads = {value: results.spread(field, **dict(where, **{over: value}))
               for value in results.values_of(over, **where)}
    return {value: spread.median for value, spread in spreads.items() if spread is not None}


def is_peer(store):
    return not store.startswith(("kvwal", "raw-"))


def best_peer(results, field, where):
    """In words: the peer that kvwal is least ahead of, and how far. Round by round, as the goals are judged."""
    ratios = {store: results.ratio(field, dict(where, store="kvwal"), dict(where, store=store))
              for store in results.values_of("store", **where) if is_peer(store)}
    if not ratios:
        return ""
    best = min(ratios, key=lambda store: ratios[store].median)
    return f", {words.times(ratios[best].median)} {name_of(best)}, the best of the others"


def log_axis(title, values, show):
    scale = svg.Log(values)
    return svg.Axis(title, scale, scale.ticks(), show)


def table_of(title, series, show_x, show_y):
    places = sorted({x for one in series for x, _ in one.points})
    rows = [[one.name, *(show_y(dict(one.points)[x]) if x in dict(one.points) else "" for x in places)]
            for one in series]
    return [title, *(show_x(x) for x in places)], rows


# Durable sets by threads


def durable_sets(results, fs, suffix):
    points, bands = collections.defaultdict(list), collections.defaultdict(list)
    for threads in THREADS:
        # raw-over has one thread in each of the groups, where it is beside the others for comparison.
        where = {"fs": fs, "group": f"set-durable-{threads}"}
        for store in results.values_of("store", **where):
            if store not in NOT_SHOWN:
                spread = results.spread("ops_per_s", **where, store=store)
                points[store].append((threads, spread.median))
                bands[store].append((threads, spread.low, spread.high))
    if "kvwal" not in points:
        return None
    series = [svg.Series(name_of(store), style_of(store), values, bands[store] if store == "kvwal" else ())
              for store, values in points.items()]
    name = f"set-durable{suffix}"
    several = len(points["kvwal"]) > 1
    banded = several and any(low < high for _, low, high in bands["kvwal"])
    return Figure(
        name=name, kind="Durable sets by threads", title=title_of_durable_sets(results, fs, points), where=fs,
        wide=several,
        about=f"{name_of('raw-over')}: one thread writes the same bytes over zeros that are on the disk already, and "
              "syncs them, measured beside the others, whatever the number of their threads." +
              (" The band is the spread of kvwal's rounds." if banded else "") +
              (" Both axes are logarithmic." if several else ""),
        charts=[Chart(name, None, lambda width: draw_durable_sets(width, series))],
        table=table_of("sets a second", series, lambda threads: words.count(threads, "thread"), short))


def title_of_durable_sets(results, fs, points):
    threads, rate = points["kvwal"][-1]
    where = {"fs": fs, "group": f"set-durable-{threads}"}
    title = f"kvwal makes {short(rate)} durable sets a second with {words.count(threads, 'thread')}"
    bare = results.ratio("ops_per_s", dict(where, store="kvwal"), dict(where, store="raw-over"))
    if bare is not None:
        title += f": {words.times(bare.median)} one thread of bare syncs"
    return title + best_peer(results, "ops_per_s", where)


def draw_durable_sets(width, series):
    """With one number of threads there is no line to draw."""
    if all(len(one.points) == 1 for one in series):
        rows = [svg.Bar(one.name, one.points[0][1], "own" if one.style.strong else "quiet", one.style.strong,
                        one.style.dashed) for one in series]
        return svg.bars(width, rows, svg.Axis("sets a second", svg.Linear(max(row.value for row in rows)), (), short))
    rates = [rate for one in series for _, rate in one.points]
    rates += [rate for one in series for _, low, high in one.band for rate in (low, high)]
    threads = sorted({x for one in series for x, _ in one.points})
    x = svg.Axis("threads", svg.Log(threads, 1.0), threads, words.plain)
    return svg.Plot(width, 400 if width > 500 else 340, x, log_axis("sets a second", rates, words.brief), series).draw()


# Latencies


def latencies(results, fs, suffix):
    panels = {threads: series for threads in LATENCY_THREADS if (series := latency_series(results, fs, threads))}
    if not panels:
        return None
    latest = [y for series in panels.values() for one in series for _, y in one.points]
    rows = [[f"{one.name}, {words.count(threads, 'thread')}", *(words.time(y) for _, y in one.points),
             *[""] * (len(QUANTILES) - len(one.points))] for threads, series in panels.items() for one in series]
    return Figure(
        name=f"latency{suffix}", kind="Latency of durable sets", where=fs, wide=len(panels) > 1,
        title=title_of_latencies(results, fs, 8 if 8 in panels else max(panels)),
        about="How long a durable set takes: so many per cent of the sets took no longer. To the right are the slow "
              "ones; lower is better. A line ends where there were too few sets to tell. The axes are logarithmic" +
              (", and the same in all panels." if len(panels) > 1 else "."),
        charts=[Chart(f"latency-{threads}{suffix}", words.count(threads, "thread"),
                      lambda width, series=series: draw_latency(width, series, latest))
                for threads, series in panels.items()],
        table=(["", *(f"{words.per_cent(quantile)} %" for quantile in QUANTILES.values())], rows))


def latency_series(results, fs, threads):
    """Empty if kvwal was not measured so."""
    series = {}
    for store in results.values_of("store", fs=fs, group=f"set-durable-{threads}"):
        where = {"fs": fs, "group": f"set-durable-{threads}", "store": store}
        # At least one set must have taken longer than a quantile says, in every round.
        calls = results.spread("ops", **where).low
        points = [(rarity(quantile), results.spread(field, **where).median) for field, quantile in QUANTILES.items()
                  if calls * (1 - quantile) >= 1]
        if points and store not in NOT_SHOWN:
            series[store] = svg.Series(name_of(store), style_of(store), points)
    return list(series.values()) if "kvwal" in series else []


def rarity(quantile):
    """So that 90 %, 99 % and 99.9 % are equally far apart on a logarithmic axis."""
    return 1 / (1 - quantile)


def title_of_latencies(results, fs, threads):
    p99 = medians(results, "p99_us", {"fs": fs, "group": f"set-durable-{threads}"}, "store")
    title = (f"With {words.count(threads, 'thread')} 99 % of kvwal's durable sets take no more than "
             f"{words.time(p99['kvwal'])}")
    peers = [store for store in p99 if is_peer(store)]
    if peers:
        best = min(peers, key=p99.get)
        title += f"; of {name_of(best)}'s, the best of the others, {words.time(p99[best])}"
    return title


def draw_latency(width, series, latest):
    ticks = [rarity(quantile) for quantile in QUANTILE_TICKS]
    x = svg.Axis("per cent of the sets", svg.Log(ticks, 1.0), ticks, lambda value: words.per_cent(1 - 1 / value))
    return svg.Plot(width, 380, x, log_axis("take no longer than", latest, words.time), series).draw()


# A checkpoint beside writers


def timeline(results, fs):
    where = {"fs": fs, "group": "timeline"}
    rounds = results.values_of("round", **where)
    quiet, beside = ([results.spread(field, **where, case=case) for field in ("p50_us", "p99_us", "max_us")]
                     for case in ("quiet", "beside"))
    # Beside a checkpoint that was made in no time there was perhaps no set.
    if None in quiet + beside:
        return None
    quiet, beside = ([words.time(spread.median) for spread in spreads] for spreads in (quiet, beside))
    rows = [row for row in results.rows if row["fs"] == fs and row["group"] == "timeline" and row["round"] == rounds[0]]
    moments = sorted((row for row in rows if row["case"] == "interval"), key=lambda row: row["at_s"])
    spans = [svg.Span(row["at_s"], row["at_s"] + row["seconds"], "checkpoint")
             for row in rows if row["case"] == "checkpoint"]
    series = [svg.Series(name, style, broken(moments, field)) for name, style, field in (
        ("longest", svg.Style("quiet", "dot", joined=False), "max_us"),
        ("99 %", svg.Style("own", strong=True), "p99_us"), ("median", svg.Style("c0"), "p50_us"))]
    return Figure(
        name="timeline", kind="A checkpoint beside writers", where=fs, wide=True,
        title=f"99 % of the durable sets take no more than {quiet[1]} in quiet times, and {beside[1]} beside a "
              f"checkpoint of {words.brief(rows[0]['keys'])} keys",
        about=f"Durable sets by {words.count(rows[0]['threads'], 'thread')}, one after the other; each point is of "
              f"those that began within {words.milliseconds(1e3 * moments[0]['seconds'])}. Where it is shaded, a "
              "checkpoint is made." +
              (f" Shown is round 1 of {len(rounds)}; the title has the medians of all." if len(rounds) > 1 else ""),
        charts=[Chart("timeline", None, lambda width: draw_timeline(width, series, spans))],
        table=(["", "median", "99 %", "longest"], [["quiet", *quiet], ["beside a checkpoint", *beside]]))


def broken(moments, field):
    """A line that is broken where for a whole interval no set began."""
    points, length = [], moments[0]["seconds"]
    for before, moment in zip([None, *moments], moments):
        if before and moment["at_s"] - before["at_s"] > 1.5 * length:
            points.append((moment["at_s"], None))
        points.append((moment["at_s"] + length / 2, moment[field]))
    return points


def draw_timeline(width, series, spans):
    latest = [y for one in series for _, y in one.points if y is not None]
    scale = svg.Linear(max(x for one in series for x, _ in one.points))
    x = svg.Axis("seconds", scale, scale.ticks(8 if width > 500 else 4), words.plain)
    y = log_axis("a set takes", latest, words.time)
    return svg.Plot(width, 360 if width > 500 else 320, x, y, series).draw(spans)


# Opening, and all else, by the size of the store


def recovery(results, fs):
    kinds = (("checkpoint", OWN, {"group": "scaling", "case": "open"}),
             ("log", svg.Style("c2", "square"), {"group": "replay", "case": "warm"}),
             ("checkpoint, not cached", svg.Style("c0", "diamond"), {"group": "reopen", "case": "cold"}))
    series = [svg.Series(name, style, sorted(medians(results, "seconds", dict(where, fs=fs), "keys").items()))
              for name, style, where in kinds]
    series = [one for one in series if one.points]
    if not series:
        return None
    longest = [f"{words.seconds(one.points[-1][1])} from a {one.name} of {words.brief(one.points[-1][0])} keys"
               for one in series]
    return Figure(
        name="recovery", kind="Opening a store", where=fs, wide=False,
        title="Opening takes " + ", and ".join(longest[:2]),
        about="The time that kv_open takes, right after a checkpoint or a log, in which each key is once, was written. "
              "Not cached: a checkpoint, after the page cache was emptied.",
        charts=[Chart("recovery", None, lambda width: draw_recovery(width, series))],
        table=table_of("keys", series, words.brief, words.seconds))


def draw_recovery(width, series):
    x, y = (svg.Linear(1.08 * max(point[i] for one in series for point in one.points)) for i in (0, 1))
    return svg.Plot(width, 320, svg.Axis("keys", x, x.ticks(), words.brief),
                    svg.Axis("seconds", y, y.ticks(), words.plain), series).draw()


def scaling(results, fs):
    """Each rate as a part of that of the smallest store: what does not depend on the size is a level line."""
    kinds = (("gets", OWN, "uniform"), ("durable sets", svg.Style("c0", "square"), "set-durable"),
             ("checkpoints", svg.Style("c2", "diamond"), "checkpoint"), ("opening", svg.Style("c5", "up"), "open"))
    series = []
    for name, style, case in kinds:
        where = {"fs": fs, "group": "scaling", "case": case}
        sizes = sorted(results.values_of("keys", **where))
        if len(sizes) > 1:
            ratios = [(keys, results.ratio("ops_per_s", dict(where, keys=keys), dict(where, keys=sizes[0])).median)
                      for keys in sizes]
            series.append(svg.Series(name, style, ratios))
    if not series:
        return None
    least, most = (words.brief(series[0].points[i][0]) for i in (0, -1))
    kept = [f"{one.name} {'are' if i == 0 else ''} at {show_part(one.points[-1][1])}" for i, one in enumerate(series)]
    return Figure(
        name="scaling", kind="As the store grows", where=fs, wide=False,
        title=f"With {most} keys, " + ", ".join(kept).replace("  ", " ") + f" of their rate with {least}",
        about="Rates as parts of those of the smallest store. Of gets and durable sets it is so many a second, of "
              "checkpoints and opening so many keys a second.",
        charts=[Chart("scaling", None, lambda width: draw_scaling(width, series))],
        table=table_of("keys", series, words.brief, show_part))


def show_part(ratio):
    return f"{words.per_cent(round(ratio, 2))} %"


def draw_scaling(width, series):
    sizes = [keys for keys, _ in series[0].points]
    y = svg.Linear(1.1 * max(ratio for one in series for _, ratio in one.points))
    return svg.Plot(width, 320, svg.Axis("keys", svg.Log(sizes, 1.0), sizes, words.brief),
                    svg.Axis("of the rate of the smallest store", y, y.ticks(), show_part), series).draw()


# Gets


def gets(results, fs, group):
    where = {"fs": fs, "group": group, "case": "uniform", "threads": 1}
    rates = medians(results, "ops_per_s", where, "store")
    if "kvwal" not in rates:
        return None
    rows = [svg.Bar("kvwal, kv_get_into" if store == "kvwal" else name_of(store), rate,
                    "own" if store == "kvwal" else "own2" if store.startswith("kvwal") else "quiet",
                    store.startswith("kvwal"), store.startswith("raw-")) for store, rate in rates.items()]
    keys = words.brief(results.values_of("keys", **where)[0])
    title = f"Among {keys} keys kvwal gets {short(rates['kvwal'])} a second" + best_peer(results, "ops_per_s", where)
    axis = svg.Axis("gets a second, 1 thread, uniform", svg.Linear(max(rates.values())), (), short)
    return Figure(
        name=group, kind=f"Gets among {keys} keys", title=title, where=fs, wide=False,
        about="The bare table is in C, without a lock or anything else that a store needs: a bound.",
        charts=[Chart(group, None, lambda width: svg.bars(width, rows, axis))],
        table=(["", "gets a second"], [[row.name, short(row.value)] for row in rows]))


# The server


def by_file_system(rows):
    return [(fs, [row for row in rows if row["file_system"] == fs])
            for fs in dict.fromkeys(row["file_system"] for row in rows)]


def server(rows, fs, suffix):
    """rows: of server.csv, from the comparison of kv_server with Redis."""
    cases = list(dict.fromkeys((row["command"], row["clients"], row["pipeline"]) for row in rows))
    rates, latest = (server_pairs(rows, cases, field) for field in ("rate", "p99_ms"))
    shown = ([rate for rate in rates if rate.group == "SET"] or rates)[-1]
    return Figure(
        name=f"server{suffix}", kind="kv_server and Redis", where=fs, wide=True,
        title=f"{shown.group}, {shown.name}: kv_server answers {short(shown.ours)} commands a second, "
              f"{shown.ratio} Redis",
        about="redis-benchmark against both, Redis with appendfsync always. ×: kv_server's figure divided by that of "
              "Redis in the same round: of commands a second more is better, of latencies less. The axes are "
              "logarithmic.",
        charts=[Chart(f"server-rate{suffix}", "Commands a second",
                      lambda width: draw_server(width, rates, "commands a second", words.brief)),
                Chart(f"server-p99{suffix}", "99 % of the commands take no longer than",
                      lambda width: draw_server(width, latest, "no longer than", words.milliseconds))],
        table=(["", "kv_server", "Redis", "ratio", "kv_server, 99 %", "Redis, 99 %"],
               [[f"{rate.group}, {rate.name}", f"{short(rate.ours)}/s", f"{short(rate.theirs)}/s", rate.ratio,
                 words.milliseconds(p99.ours), words.milliseconds(p99.theirs)] for rate, p99 in zip(rates, latest)]))


def server_pairs(rows, cases, field):
    pairs = []
    for case in cases:
        # redis-benchmark's latencies are whole microseconds, and may be none.
        ours, theirs = ({row["round"]: max(float(row[field]), 0.001) for row in rows
                         if row["server"] == name and (row["command"], row["clients"], row["pipeline"]) == case}
                        for name in ("kv_server", "redis"))
        command, clients, pipeline = case
        group = command.upper() + (f", {pipeline} at once" if pipeline != "1" else "")
        ratio = statistics.median(ours[n] / theirs[n] for n in ours if n in theirs)
        pairs.append(svg.Pair(group, words.count(int(clients), "client"), statistics.median(ours.values()),
                              statistics.median(theirs.values()), f"{ratio:.2f}\u00a0×"))
    return pairs


def draw_server(width, rows, title, show):
    scale = svg.Log([value for row in rows for value in (row.ours, row.theirs)], 1.3)
    return svg.pairs(width, rows, svg.Axis(title, scale, scale.ticks(), show), ("kv_server", OWN),
                     ("Redis", style_of("redis")))
