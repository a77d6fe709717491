#!/usr/bin/env python3
"""Writes the page of a run, index.html, and each chart as a file of its own: page.py RESULTS. What it draws is read
from results.csv, run.json and, if it is there, server.csv. The page needs nothing else, neither a network nor scripts,
and is well-formed XML."""

import csv
import json
import os
import sys
import time
from html import escape

import figures
import goals
import report
import svg
import words

# Widths of the drawings, in pixels: the whole page, half of it, a third of it or a phone; and a file of its own.
WHOLE, HALF, THIRD, FILE = 1160, 556, 366, 860
STYLE = """
body { margin: 0 auto; padding: 28px 24px 60px; max-width: 1160px; background: var(--paper); color: var(--ink);
  font: 16px/1.5 system-ui, -apple-system, 'Segoe UI', Roboto, 'DejaVu Sans', sans-serif; }
h1 { font-size: 30px; line-height: 1.2; margin: 0 0 6px; }
h2 { font-size: 21px; line-height: 1.3; margin: 0 0 4px; text-wrap: balance; }
.kind { color: var(--quiet); font-size: 12.5px; font-weight: 600; letter-spacing: .04em; text-transform: uppercase;
  margin: 0 0 6px; }
h3 { font-size: 14px; margin: 14px 0 6px; }
p { margin: 0 0 10px; max-width: 105ch; }
a { color: inherit; text-decoration-color: var(--own); text-underline-offset: 3px; }
code { font-size: .92em; }
.quiet, figcaption, summary { color: var(--quiet); font-size: 13.5px; }
.notice { border-left: 4px solid var(--own); padding: 4px 12px; margin: 14px 0; }
nav ul { list-style: none; display: flex; flex-wrap: wrap; gap: 4px 18px; padding: 0; margin: 14px 0 0;
  font-size: 14px; }
main { display: grid; grid-template-columns: repeat(2, minmax(0, 1fr)); gap: 0 48px; }
figure, section { margin: 0; padding: 30px 0 22px; border-top: 1px solid var(--grid); grid-column: 1 / -1;
  min-width: 0; }
figure.half { grid-column: auto; }
main > :first-child { border-top: 0; }
.panels { display: grid; gap: 4px 30px; }
.two { grid-template-columns: repeat(2, minmax(0, 1fr)); }
.three { grid-template-columns: repeat(3, minmax(0, 1fr)); }
svg { display: block; width: 100%; height: auto; margin-top: 12px; overflow: visible; }
svg.narrow { display: none; }
figcaption { margin-top: 12px; }
details { margin-top: 8px; }
summary { cursor: pointer; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-size: 13.5px; font-variant-numeric: tabular-nums; margin: 8px 0; }
th, td { text-align: left; padding: 4px 14px 4px 0; border-bottom: 1px solid var(--grid); vertical-align: top; }
th { color: var(--quiet); font-weight: 600; }
.figures td, .figures th { white-space: nowrap; }
.goals td:last-child, .summary { white-space: nowrap; font-weight: 600; }
.met { color: var(--good); }
.missed { color: var(--own); }
@media (max-width: 899px) {
  body { padding: 20px 15px 40px; }
  main, .panels { grid-template-columns: minmax(0, 1fr); }
  figure.half { grid-column: 1 / -1; }
  svg { max-width: 560px; }
  svg.wide { display: none; }
  svg.narrow { display: block; }
  h1 { font-size: 24px; }
  h2 { font-size: 18px; }
  .goals thead { display: none; }
  .goals tr { display: block; padding: 8px 0; border-bottom: 1px solid var(--grid); }
  .goals td { display: block; border: 0; padding: 0; }
  .goals td:first-child { font-weight: 600; }
}
"""
HEAD = f"""<!DOCTYPE html>
<html lang="en" xmlns="http://www.w3.org/1999/xhtml">
<head>
<meta charset="utf-8"/>
<meta name="viewport" content="width=device-width, initial-scale=1"/>
<title>kvwal: the benchmark</title>
<style>{svg.style_sheet()}{STYLE}</style>
</head>
<body>
"""
QUICK = '<p class="notice">QUICK: reduced sizes, and few rounds. Good for a look; no figure to quote.</p>\n'


def write(directory):
    """Draws all that the results allow. Returns the names of the charts."""
    results = report.read_csv(os.path.join(directory, "results.csv"))
    with open(os.path.join(directory, "run.json"), encoding="utf-8") as file:
        about = json.load(file)
    server_rows, server_date = read_server(os.path.join(directory, "server.csv"))
    made = figures.make(results, about["file_systems"], server_rows)
    names = []
    for figure in made:
        caption = caption_of(figure, about, server_date)
        for chart in figure.charts:
            with open(os.path.join(directory, f"{chart.name}.svg"), "w", encoding="utf-8") as file:
                file.write(svg.stand_alone(chart.draw(FILE), title_of(figure, chart), f"{figure.about} {caption}"))
            names.append(chart.name)
    with open(os.path.join(directory, "index.html"), "w", encoding="utf-8") as file:
        file.write(html(made, names, about, server_date))
    return names


def read_server(path):
    """Rows and date; what there is not is empty."""
    if not os.path.exists(path):
        return [], None
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file)), time.strftime("%Y-%m-%d", time.localtime(os.path.getmtime(path)))


def caption_of(figure, about, server_date):
    """Where, when and how."""
    if figure.name.startswith("server"):
        return f"{about['machine']}; {figure.where}; server.csv of {server_date}. Medians of the rounds."
    medians = " Medians of the rounds." if about["rounds"] > 1 else ""
    return f"{about['machine']}; {figure.where}; {run_of(about)}.{medians}"


def run_of(about):
    return (f"{about['date']}; seed {about['seed']}; {words.count(about['rounds'], 'round')} of {about['seconds']:g} s"
            f"{', reduced sizes' if about['quick'] else ''}")


def html(made, names, about, server_date):
    return "".join([HEAD, header(made, about), "<main>\n",
                    *(figure_of(figure, caption_of(figure, about, server_date)) for figure in made),
                    verdicts(about), notes(names, about), "</main>\n</body>\n</html>\n"])


def header(made, about):
    links = [f'<li><a href="#{figure.name}">{label(figure)}</a></li>' for figure in made]
    links.append(f'<li><a href="#goals">Goals: {summary(about)}</a></li>')
    return (f"<header>\n<h1>kvwal: the benchmark</h1>\n"
            f'<p class="quiet">{escape(about["machine"])}; {escape(run_of(about))}.</p>\n'
            f"{QUICK if about['quick'] else ''}<nav><ul>{''.join(links)}</ul></nav>\n</header>\n")


def label(figure):
    """What tells it apart in the list of contents."""
    return escape(figure.kind + (", with a journal" if figure.name.endswith("-journaled") else ""))


def summary(about):
    every = [verdict for rows in about["verdicts"].values() for verdict in rows]
    return f"{sum(verdict[3] == goals.MET for verdict in every)} of {len(every)} met" if every else "none measured"


def figure_of(figure, caption):
    panels = "".join(panel(figure, chart) for chart in figure.charts)
    shape = {1: "one", 2: "two", 3: "three"}[len(figure.charts)]
    return (f'<figure id="{figure.name}" class="{"whole" if figure.wide else "half"}">\n'
            f'<p class="kind">{label(figure)}</p>\n<h2>{escape(figure.title)}</h2>\n'
            f'<p class="quiet">{escape(figure.about)}</p>\n<div class="panels {shape}">{panels}</div>\n'
            f"<figcaption>{escape(caption)}</figcaption>\n"
            f'<details><summary>The figures</summary>{table("figures", *figure.table)}</details>\n</figure>\n')


def panel(figure, chart):
    """Drawn twice, for wide and for narrow pages, unless it is narrow in both."""
    title = f"<h3>{escape(chart.title)}</h3>" if chart.title else ""
    description = title_of(figure, chart)
    if len(figure.charts) > 2:
        return f"<div>{title}{svg.inline(chart.draw(THIRD), description)}</div>\n"
    wide = WHOLE if figure.wide and len(figure.charts) == 1 else HALF
    return (f'<div>{title}{svg.inline(chart.draw(wide), description, "wide")}\n'
            f'{svg.inline(chart.draw(THIRD), description, "narrow")}</div>\n')


def title_of(figure, chart):
    return f"{figure.title}. {chart.title}" if chart.title else figure.title


def table(kind, head, rows):
    def line(cells, kind):
        return "<tr>" + "".join(f"<{kind}>{escape(cell)}</{kind}>" for cell in cells) + "</tr>\n"

    return (f'<div class="scroll"><table class="{kind}"><thead>{line(head, "th")}</thead>\n'
            f'<tbody>{"".join(line(row, "td") for row in rows)}</tbody></table></div>')


def verdicts(about):
    parts = [f'<section id="goals">\n<h2>Goals: {summary(about)}</h2>\n<p class="quiet">Each is a ratio within a '
             "round, and of the rounds the median, with the least and the most in brackets.</p>\n"]
    for fs, rows in about["verdicts"].items():
        titles = "".join(f"<th>{title}</th>" for title in goals.Verdict._fields)
        parts.append(f'<h3>{escape(fs)}</h3>\n<table class="goals"><thead><tr>{titles}</tr></thead>\n'
                     f'<tbody>{"".join(verdict(row) for row in rows)}</tbody></table>\n')
    return "".join(parts) + "</section>\n"


def verdict(row):
    name, goal, measured, result = (escape(cell) for cell in row)
    kind, sign = ("met", "✓ met") if result == goals.MET else ("missed", "✗ missed")
    return f'<tr><td>{name}</td><td>{goal}</td><td>{measured}</td><td class="{kind}">{sign}</td></tr>\n'


def notes(names, about):
    left_out = "".join(f"<li>{escape(text)}</li>" for text in about["left_out"]) or "<li>nothing</li>"
    files = ", ".join(f'<a href="{name}">{name}</a>' for name in
                      ["results.csv", "results.md", *(f"{name}.svg" for name in names)])
    return (f'<section id="notes">\n<h2>Beside the figures</h2>\n<p class="quiet">Files: {files}.</p>\n'
            f'<details><summary>Left out of this run</summary><ul class="quiet">{left_out}</ul></details>\n'
            "<details><summary>Stores, and how they are configured</summary>"
            f"{table('stores', ['store', 'version', 'configuration'], about['stores'])}</details>\n</section>\n")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: page.py RESULTS")
    write(sys.argv[1])
