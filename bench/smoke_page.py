"""Whether the page of a run has each picture that there is data for, and no other; a part of smoke.py."""

import csv
import json
import os
import re
import shutil
import sys
import xml.etree.ElementTree

import figures
import goals
import measure
import page
import report

SVG = "{http://www.w3.org/2000/svg}"
HTML = "{http://www.w3.org/1999/xhtml}"
FS = "ext4 <of a test>"
PEER = "a peer & <more>"  # so that what is not escaped is found
SEED = 4711
DURABLE = ["set-durable", *(f"latency-{threads}" for threads in figures.LATENCY_THREADS)]
OTHERS = ["timeline", "recovery", "scaling", "get-small", "get-large"]
SERVER = ["server-rate", "server-p99"]


def expect(condition, what):
    if not condition:
        sys.exit(f"smoke.py: the page: {what}")


def check(lines, base):
    """lines: what kvbench has printed for kvwal and for the raw bounds, parsed."""
    directory = os.path.join(base, "page")
    os.mkdir(directory)
    results = results_of(lines)
    expect(results.rows, "there is nothing to draw")

    check_drawn(directory, results, DURABLE + OTHERS)
    write_server(directory)
    check_drawn(directory, results, DURABLE + OTHERS + SERVER)
    check_quantiles(results)
    few = measure.Results()
    few.rows = [row for row in results.rows if row["group"] in ("set-durable-1", "threads")]
    os.remove(os.path.join(directory, "server.csv"))
    check_drawn(directory, few, ["set-durable", "latency-1"])
    few.rows = [row for row in results.rows if row["group"] == "threads"]
    check_drawn(directory, few, [])

    shutil.rmtree(directory)


def results_of(lines):
    """As a run has them: in groups, in two rounds, with a peer that is half as good. What is drawn by the size of the
    store is there in two sizes; and there are enough sets for each quantile, which a slow disk need not have done."""
    results = measure.Results()
    for fields in lines:
        if fields["workload"] == "set-durable":
            fields = dict(fields, ops=1e5)
        for group in groups_of(fields):
            for number in (0, 1):
                results.add(FS, group, number, fields)
                results.add(FS, group, number, dict(fields, keys=2 * fields["keys"]))
                if fields["store"] == "kvwal" and group.startswith(("set-durable", "get")):
                    results.add(FS, group, number, dict(fields, store=PEER, ops_per_s=fields["ops_per_s"] / 2))
    return results


def groups_of(fields):
    """The groups in which a run has such a line."""
    workload = fields["workload"]
    if workload == "set-durable":
        alone = fields["store"].startswith("raw-")
        return [f"set-durable-{threads}" for threads in figures.THREADS if alone or threads == fields["threads"]]
    if workload == "get":
        return ["get-small", "get-large", "scaling"] if fields["store"] == "kvwal" else ["get-small", "get-large"]
    return [workload]


def check_quantiles(results):
    """Of a hundred sets nobody can tell what only one in a thousand exceeds."""
    few = measure.Results()
    few.rows = [dict(row, ops=100.0) for row in results.rows if row["group"] == "set-durable-8"]
    shown = {one.name: len(one.points) for one in figures.latency_series(few, FS, 8)}
    expect(shown.get("kvwal") == len([name for name in figures.QUANTILES if figures.QUANTILES[name] <= 0.99]),
           f"of a hundred sets so many quantiles are shown: {shown}")


def write_server(directory):
    with open(os.path.join(directory, "server.csv"), "w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["file_system", "command", "clients", "pipeline", "server", "round", "rate", "p50_ms", "p99_ms"])
        for command in ("set", "get"):
            for clients in (1, 50):
                rows.writerow([FS, command, clients, 1, "kv_server", 1, 2000.0 * clients, 0.3, 1.5])
                rows.writerow([FS, command, clients, 1, "redis", 1, 1000.0 * clients, 0.3, 0.0])


def check_drawn(directory, results, wanted):
    about = {"date": "2001-02-03 04:05", "machine": "a <machine>", "seed": SEED, "rounds": 2, "seconds": 0.1,
             "quick": True, "file_systems": [FS], "stores": [["kvwal", "1 & 2", "<none>"]], "left_out": ["a <store>"],
             "verdicts": {FS: [["a row", ">= 1", "2", goals.MET], ["another", "<= 1", "2", goals.MISSED]]}}
    with open(os.path.join(directory, "run.json"), "w", encoding="utf-8") as file:
        json.dump(about, file)
    path = os.path.join(directory, "results.csv")
    report.write_csv(results, path)
    expect(report.read_csv(path).rows == results.rows, "results.csv is not read as it was written")
    with open(os.path.join(directory, "results.md"), "w", encoding="utf-8") as file:
        file.write("# results\n")

    drawn = page.write(directory)
    expect(drawn == wanted, f"drawn are {drawn}, not {wanted}")
    for name in wanted:
        check_svg(xml.etree.ElementTree.parse(os.path.join(directory, f"{name}.svg")).getroot(), name)
    check_html(directory, wanted)


def check_html(directory, wanted):
    with open(os.path.join(directory, "index.html"), encoding="utf-8") as file:
        source = file.read()
    root = xml.etree.ElementTree.fromstring(source)
    drawings = list(root.iter(f"{SVG}svg"))
    # Each is there for wide and for narrow pages, but for panels of three, which are narrow in both.
    twice = [name for name in wanted if not (name.startswith("latency") and "latency-8" in wanted)]
    expect(len(drawings) == len(wanted) + len(twice), f"{len(drawings)} drawings of {wanted}")
    for drawing in drawings:
        check_svg(drawing, drawing.get("aria-label"))
    for figure in root.iter(f"{HTML}figure"):
        title, caption = (figure.findtext(f".//{HTML}{name}") for name in ("h2", "figcaption"))
        expect(title and caption and FS in caption, f"{figure.get('id')} has title {title} and caption {caption}")
        expect(str(SEED) in caption or figure.get("id") == "server", f"there is no seed in: {caption}")
        expect(len(list(figure.iter(f"{HTML}tr"))) > 1, f"{figure.get('id')} has no table")
    cells = [cell.text for cell in root.iter(f"{HTML}td")]
    expect("✓ met" in cells and "✗ missed" in cells, "there are no verdicts")
    check_references(root, source, directory)


def check_references(root, source, directory):
    names = {element.get("id") for element in root.iter()}
    references = [element.get(name) for element in root.iter() for name in ("href", "src") if element.get(name)]
    for reference in references:
        there = reference[1:] in names if reference.startswith("#") else os.path.exists(
            os.path.join(directory, reference))
        expect(there, f"there is no {reference}")
    outside = re.sub(r'xmlns="[^"]*"', "", source)
    expect(not re.search(r"https?:|//|url\(|@import|<script", outside), "it needs something from outside")


def check_svg(root, name):
    """All that is written and marked lies within the picture."""
    left, top, width, height = (float(number) for number in root.get("viewBox").split())
    expect(root.findall(f".//{SVG}text"), f"{name}: there is not a word")
    shifts = {root: (0.0, 0.0)}
    for parent in root.iter():
        for child in parent:
            x, y = shifts[parent]
            moved = re.fullmatch(r"translate\((-?[\d.]+),(-?[\d.]+)\)", child.get("transform", "translate(0,0)"))
            expect(moved, f"{name}: moved by {child.get('transform')}")
            shifts[child] = x + float(moved[1]), y + float(moved[2])
    for element, (x, y) in shifts.items():
        if element.tag == f"{SVG}text":
            x, y = x + float(element.get("x")), y + float(element.get("y"))
        expect(left <= x <= left + width and top <= y <= top + height,
               f"{name}: {element.tag} {element.text or ''} at {x}, {y} is not within {width} x {height}")
