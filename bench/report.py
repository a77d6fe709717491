"""Tables, CSV, Markdown and plots of the results."""

import csv
import os
import shutil
import subprocess

from goals import number, short

# What a row is told apart by, and the figure that its workload is about.
IDENTITY = ("workload", "case", "threads", "keys")
FIGURES = {
    "large-durable": "mb_per_s",
    "disk": "mb_per_s",
    "memcpy": "mb_per_s",
    "crc32": "mb_per_s",
    "memory": "bytes_per_key",
    "memory-random": "bytes_per_key",
    "memory-fixed": "bytes_per_key",
    "threads": "started",
}
UNITS = {"ops_per_s": "ops/s", "mb_per_s": "MB/s", "bytes_per_key": "bytes/key", "started": "threads"}
OWN_COLOUR, OTHER_COLOUR = "#d62728", "#8899aa"
LATENCIES = ("p50_us", "p99_us", "p9999_us", "max_us")


class Report:
    """Collects the text of a run: plain on stdout, Markdown in a file."""

    def __init__(self):
        self.markdown = []

    def heading(self, text):
        print(f"\n== {text}\n")
        self.markdown.append(f"\n## {text}\n")

    def line(self, text):
        print(text)
        self.markdown.append(text + "\n")

    def table(self, titles, rows):
        widths = [max(len(row[i]) for row in [titles] + rows) for i in range(len(titles))]
        for row in [titles] + rows:
            print("  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip())
        self.markdown.append("| " + " | ".join(titles) + " |")
        self.markdown.append("|" + "---|" * len(titles))
        self.markdown += ["| " + " | ".join(row) + " |" for row in rows]

    def write(self, path, title):
        with open(path, "w", encoding="utf-8") as file:
            file.write(f"# {title}\n" + "\n".join(self.markdown) + "\n")


def write_csv(results, path):
    fields = list(dict.fromkeys(name for row in results.rows for name in row))
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fields, restval="")
        writer.writeheader()
        writer.writerows(results.rows)


def report_group(report, results, fs, group):
    """Each figure with its spread, beside it kvwal's figure divided by it."""
    rows = []
    for identity in identities(results, fs, group.name):
        where = dict(zip(IDENTITY, identity), fs=fs, group=group.name)
        for store in results.values_of("store", **where):
            rows.append(row_of(results, where, store))
    if rows:
        report.heading(f"{group.name}: {group.what} [{fs}]")
        report.table(["workload", "store", "figure", "spread", "unit", "kvwal is", "p50 us", "p99 us", "p99.99 us",
                      "max us"], rows)


def identities(results, fs, group):
    """In the order in which they are to be shown: raw-over's own single thread beside the others' many."""
    rows = [row for row in results.rows if row["fs"] == fs and row["group"] == group]
    return list(dict.fromkeys(tuple(row[name] for name in IDENTITY) for row in rows))


def row_of(results, where, store):
    field = FIGURES.get(where["workload"], "ops_per_s")
    figure = results.spread(field, **dict(where, store=store))
    ratio = results.ratio(field, dict(where, store="kvwal"), dict(where, store=store)) if store != "kvwal" else None
    name = where["workload"] if where["case"] == "-" else f"{where['workload']}/{where['case']}"
    latencies = [results.spread(name, **dict(where, store=store)) for name in LATENCIES]
    return [f"{name}, {where['threads']:.0f}T, {short(where['keys'])}", store, short(figure.median),
            f"{short(figure.low)} .. {short(figure.high)}", UNITS[field], f"{number(ratio.median)} x" if ratio else "",
            *(number(latency.median) if latency else "" for latency in latencies)]


class Plots:
    """SVG by gnuplot."""

    def __init__(self, directory):
        self.directory = directory
        self.missing = shutil.which("gnuplot") is None

    def draw(self, name, commands, blocks):
        """blocks: {name: lines} of data that the commands plot by $name."""
        if self.missing or not blocks:
            return
        script = ["set terminal svg size 900,540 background '#ffffff' font 'sans,13'",
                  f"set output '{os.path.join(self.directory, name)}.svg'", "set grid", "set key outside right",
                  "set format y '%.0s%c'"]
        for block, lines in blocks.items():
            script += [f"${block} << END", *lines, "END"]
        subprocess.run(["gnuplot"], input="\n".join(script + commands) + "\n", text=True, check=True)


def curves(plots, name, title, axis, series, extra=()):
    """series: {label: [(x, y)]}."""
    series = {label: points for label, points in series.items() if points}
    blocks = {f"data{i}": [f"{x} {y}" for x, y in sorted(points)] for i, points in enumerate(series.values())}
    lines = [f"$data{i} using 1:2 with linespoints {line_style(i, label)} title '{label}'"
             for i, label in enumerate(series)]
    plots.draw(name, [f"set title '{title}'", f"set xlabel '{axis[0]}'", f"set ylabel '{axis[1]}'", *extra,
                      "plot " + ", ".join(lines)], blocks)


def line_style(i, label):
    """gnuplot has six colours besides red that are told apart easily; the next six are dashed."""
    if label == "kvwal":
        return f"linecolor rgb '{OWN_COLOUR}' linewidth 4"
    return f"linetype {i % 6 + 1} dashtype {i // 6 + 1} linewidth 2"


def bars(plots, name, title, label, figures):
    """figures: [(store, value)]."""
    rows = [f'"{store}" {value} {OWN_COLOUR if store.startswith("kvwal") else OTHER_COLOUR}'.replace("#", "0x")
            for store, value in sorted(figures, key=lambda figure: -figure[1])]
    if rows:
        plots.draw(name, [f"set title '{title}'", f"set ylabel '{label}'", "unset key", "set style fill solid 0.8",
                          "set boxwidth 0.7", "set xtics rotate by -40", "set yrange [0:*]",
                          "plot $data using 0:2:3:xtic(1) with boxes linecolor rgb variable"], {"data": rows})


def draw_plots(plots, results, fs_names):
    for i, fs in enumerate(fs_names):
        suffix = "" if i == 0 else "-journaled"
        series = {}
        for threads in (1, 2, 8, 64):
            where = {"fs": fs, "group": f"set-durable-{threads}", "threads": threads}
            for store in results.values_of("store", **where):
                if store != "raw-append" and store != "raw-direct":
                    point = (threads, results.spread("ops_per_s", **dict(where, store=store)).median)
                    series.setdefault(store, []).append(point)
        curves(plots, f"set-durable{suffix}", f"Durable sets a second [{fs}]", ("threads", "sets/s"), series,
               ("set logscale xy", "set xrange [0.8:80]", "set xtics (1, 2, 8, 64)"))
    for group in ("get-small", "get-large"):
        where = {"fs": fs_names[0], "group": group, "case": "uniform", "threads": 1}
        bars(plots, group, f"Gets a second, uniform, 1 thread ({group})", "gets/s",
             [(store, results.spread("ops_per_s", **dict(where, store=store)).median)
              for store in results.values_of("store", **where)])
    draw_scaling(plots, results, fs_names[0])


def draw_scaling(plots, results, fs):
    series = {}
    for case, label in (("uniform", "get"), ("set-durable", "durable set"), ("checkpoint", "checkpoint, keys"),
                        ("open", "open, keys")):
        where = {"fs": fs, "group": "scaling", "case": case}
        series[label] = [(keys, results.spread("ops_per_s", **dict(where, keys=keys)).median)
                         for keys in results.values_of("keys", **where)]
    curves(plots, "scaling", "kvwal as the store grows", ("keys", "a second"), series,
           ("set logscale xy", "set format x '%.0s%c'"))
