"""Tables, CSV and Markdown of the results."""

import csv

import measure
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


def read_csv(path):
    """What write_csv() wrote."""
    results = measure.Results()
    with open(path, newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            fields = {name: value for name, value in row.items() if value != ""}
            results.add(fields.pop("fs"), fields.pop("group"), int(fields.pop("round")), measure.typed(fields))
    return results


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
    """In the order in which they are to be shown: raw-over's own single thread beside the others' many. What belongs to
    a moment is for a picture, and not for a table."""
    rows = [row for row in results.rows if row["fs"] == fs and row["group"] == group and "at_s" not in row]
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
