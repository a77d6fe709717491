"""Charts in SVG: scales, axes, marks and labels. Knows nothing of what is measured.

A chart is drawn for a width in pixels, so that a page can have one for a desk and one for a phone, with letters of the
same size. Colours are classes of STYLE, which follows the reader's light or dark setting in a page and in a file alike.
No series is told apart by its colour alone: each has a mark or a dash of its own, and its name where it ends.
"""

import collections
import math
import textwrap
from xml.sax.saxutils import escape, quoteattr

# mark: one of MARKS, with "hollow-" before it, or None. strong: what the chart is about. joined: with a line.
Style = collections.namedtuple("Style", "colour mark dashed strong joined", defaults=(None, False, False, True))
# points: [(x, y)], y None where the line is broken. band: [(x, low, high)], the spread around it.
Series = collections.namedtuple("Series", "name style points band", defaults=((),))
# ticks: the values that are named; show: a value in words, with its unit.
Axis = collections.namedtuple("Axis", "title scale ticks show")
# from and to: on the x axis.
Span = collections.namedtuple("Span", "start end name")
Drawing = collections.namedtuple("Drawing", "width height body")
# faint: not of a kind with the others.
Bar = collections.namedtuple("Bar", "name value colour strong faint", defaults=(False, False))
# Two values to be compared, and what their ratio is in words. Those of a group stand together, below its name.
Pair = collections.namedtuple("Pair", "group name ours theirs ratio")

NAMESPACE = "http://www.w3.org/2000/svg"
FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'DejaVu Sans', sans-serif"
# Light, dark. The ten for the others are three times as bright or dark as the paper at least, and far from each other
# also for eyes without red or green cones, as far as ten can be.
COLOURS = {
    "paper": ("#ffffff", "#15191e"), "ink": ("#1b2026", "#e8ecf0"), "quiet": ("#5b6672", "#9ba7b4"),
    "grid": ("#e3e7eb", "#2b323a"), "shade": ("#f3e3d8", "#3a2c24"), "good": ("#0b6b4f", "#4fc79b"),
    "own": ("#cf3f0a", "#ff8453"), "own2": ("#e58a5f", "#c0603a"),
    "c0": ("#5c81e2", "#416bcb"), "c1": ("#ae865b", "#d0cd22"),
    "c2": ("#5c8f96", "#48787b"), "c3": ("#4d42dc", "#7b5c9c"),
    "c4": ("#2d47ad", "#98c8ee"), "c5": ("#73156c", "#c3a5b0"),
    "c6": ("#72415a", "#b67565"), "c7": ("#1f91bd", "#509ede"),
    "c8": ("#40421e", "#448e17"), "c9": ("#836757", "#e1c1a7"),
}
LETTER = 6.9  # about the width of one, of 12 px
LABEL_DISTANCE = 15
ROW, ROW_TOP = 25, 34
MARKS = {  # around 0, 0
    "dot": "M-2,0a2,2 0 1,0 4,0a2,2 0 1,0 -4,0z",
    "circle": "M-3.6,0a3.6,3.6 0 1,0 7.2,0a3.6,3.6 0 1,0 -7.2,0z", "square": "M-3.2,-3.2h6.4v6.4h-6.4z",
    "diamond": "M0,-4.4L4.4,0L0,4.4L-4.4,0z", "up": "M0,-4.2L4,3L-4,3z", "down": "M0,4.2L4,-3L-4,-3z",
}


def style_sheet():
    def variables(which):
        return "".join(f"--{name}:{pair[which]};" for name, pair in COLOURS.items())

    classes = "".join(f".{name}{{color:var(--{name})}}" for name in COLOURS)
    return f"""
:root {{ color-scheme: light dark; {variables(0)} }}
@media (prefers-color-scheme: dark) {{ :root {{ {variables(1)} }} }}
svg {{ font-family: {FONT}; font-size: 12px; }}
svg text {{ fill: var(--quiet); }}
svg text.name {{ fill: var(--ink); }}
svg text.group {{ fill: var(--ink); font-weight: 600; }}
svg text.strong {{ fill: var(--own); font-weight: 700; }}
svg .grid {{ stroke: var(--grid); }}
svg .leader {{ stroke: var(--quiet); stroke-opacity: .45; }}
{classes}
"""


def element(name, *children, **attributes):
    """class_ is class, stroke_width is stroke-width. Children are SVG already."""
    given = "".join(f" {key.rstrip('_').replace('_', '-')}={quoteattr(short(value))}"
                    for key, value in attributes.items() if value is not None)
    return f"<{name}{given}>{''.join(children)}</{name}>" if children else f"<{name}{given}/>"


def short(value):
    return f"{value:.1f}" if isinstance(value, float) else str(value)


def text(x, y, words, anchor="start", class_=None):
    return element("text", escape(words), x=float(x), y=float(y), text_anchor=anchor, class_=class_)


def width_of(words):
    return max((len(word) for word in words), default=0) * LETTER


class Linear:
    """From 0."""

    def __init__(self, high):
        self.high = high

    def place(self, value):
        return value / self.high

    def ticks(self, count=5):
        step = 10 ** math.floor(math.log10(self.high / count))
        step *= next(factor for factor in (1, 2, 5, 10) if factor * step * count >= self.high)
        return [n * step for n in range(math.floor(self.high / step + 1e-9) + 1)]


class Log:
    """From a bit below the least to a bit above the greatest."""

    def __init__(self, values, margin=1.15):
        self.low, self.high = min(values) / margin, max(values) * margin

    def place(self, value):
        return math.log(value / self.low) / math.log(self.high / self.low)

    def ticks(self):
        decades = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
        for factors in ((1,), (1, 3), (1, 2, 5)):
            ticks = [factor * 10.0 ** n for n in decades for factor in factors]
            ticks = [tick for tick in ticks if self.low <= tick <= self.high]
            if len(ticks) >= 3:
                break
        return ticks


def apart(wanted, distance, low, high):
    """The places nearest to those wanted that are so far from each other, between low and high. Places that want to be
    too near are pooled, and share the mean of what they want."""
    order = sorted(range(len(wanted)), key=wanted.__getitem__)
    pools = []
    for rank, i in enumerate(order):
        pools.append((wanted[i] - rank * distance, 1))
        while len(pools) > 1 and pools[-2][0] / pools[-2][1] >= pools[-1][0] / pools[-1][1]:
            total, count = pools.pop()
            pools[-1] = (pools[-1][0] + total, pools[-1][1] + count)
    means = [total / count for total, count in pools for _ in range(count)]
    last = max(low, high - (len(wanted) - 1) * distance)
    places = [0.0] * len(wanted)
    for rank, i in enumerate(order):
        places[i] = min(max(means[rank], low), last) + rank * distance
    return places


def mark(style, x, y, tip=None):
    if style.mark is None:
        return ""
    hollow = style.mark.startswith("hollow-")
    shape = element("path", d=MARKS[style.mark.removeprefix("hollow-")], stroke="currentColor", stroke_width=1.4,
                    fill="var(--paper)" if hollow else "currentColor")
    children = [element("title", escape(tip))] if tip else []
    return element("g", *children, shape, class_=style.colour, transform=f"translate({x:.1f},{y:.1f})")


def stroke(style, places):
    if not style.joined:
        return ""
    return element("path", d=places, fill="none", stroke="currentColor", stroke_width=2.6 if style.strong else 1.5,
                   stroke_dasharray="5 4" if style.dashed else None, stroke_linejoin="round", class_=style.colour)


class Plot:
    """A frame with two axes, and what is drawn in it. Each series has its name to the right of where it ends."""

    def __init__(self, width, height, x, y, series):
        self.width, self.height, self.x, self.y, self.series = width, height, x, y, series
        self.left = 12 + width_of([y.show(tick) for tick in y.ticks])
        self.right = width - 34 - width_of([one.name for one in series])
        self.top, self.bottom = 30, height - 42
        self.body = []

    def at(self, x, y):
        return (self.left + self.x.scale.place(x) * (self.right - self.left),
                self.bottom - self.y.scale.place(y) * (self.bottom - self.top))

    def draw(self, spans=()):
        self.shade(spans)
        self.frame()
        # What the chart is about comes last, and so lies on top.
        for one in sorted(self.series, key=lambda one: one.style.strong):
            self.band(one)
            self.line(one)
        self.names()
        return Drawing(self.width, self.height, "".join(self.body))

    def shade(self, spans):
        named = -self.width
        for span in spans:
            start, end = (self.at(x, self.y.ticks[-1])[0] for x in (span.start, span.end))
            self.body.append(element("rect", x=start, y=float(self.top), width=max(end - start, 1.5),
                                     height=float(self.bottom - self.top), fill="var(--shade)"))
            # A name that would run into the one before it is left out.
            if (start + end) / 2 - named > width_of([span.name]):
                named = (start + end) / 2
                self.body.append(text(named, self.top - 5, span.name, "middle"))

    def frame(self):
        for tick in self.y.ticks:
            y = self.at(self.x.ticks[0], tick)[1]
            self.body.append(element("path", d=f"M{self.left:.1f},{y:.1f}H{self.right:.1f}", class_="grid"))
            self.body.append(text(self.left - 6, y + 4, self.y.show(tick), "end"))
        for tick in self.x.ticks:
            x = self.at(tick, self.y.ticks[0])[0]
            self.body.append(element("path", d=f"M{x:.1f},{self.bottom}v5", class_="grid"))
            self.body.append(text(x, self.bottom + 18, self.x.show(tick), "middle"))
        self.body.append(element("path", d=f"M{self.left:.1f},{self.bottom}H{self.right:.1f}", stroke="var(--quiet)"))
        self.body.append(text(0, 12, self.y.title))
        self.body.append(text((self.left + self.right) / 2, self.height - 6, self.x.title, "middle"))

    def band(self, one):
        if one.band:
            upper = [self.at(x, high) for x, _, high in one.band]
            lower = [self.at(x, low) for x, low, _ in reversed(one.band)]
            self.body.append(element("path", d=path(upper + lower) + "z", fill="currentColor", fill_opacity=0.15,
                                     class_=one.style.colour))

    def line(self, one):
        style = one.style
        places, pieces = [], [[]]
        for x, y in one.points:
            if y is None:
                pieces.append([])
            else:
                pieces[-1].append(self.at(x, y))
                places.append((*pieces[-1][-1], f"{one.name}, {self.x.show(x)}: {self.y.show(y)}"))
        self.body.append(stroke(style, "".join(path(piece) for piece in pieces if piece)))
        self.body += [mark(style, *place) for place in places]

    def names(self):
        ends = [self.at(*[point for point in one.points if point[1] is not None][-1]) for one in self.series]
        places = apart([y for _, y in ends], LABEL_DISTANCE, self.top + 4, self.bottom - 2)
        for one, (x, y), place in zip(self.series, ends, places):
            style, left = one.style, self.right + 10
            self.body.append(element("path", d=f"M{x + 5:.1f},{y:.1f}L{left:.1f},{place:.1f}", fill="none",
                                     class_="leader"))
            self.body.append(stroke(style, f"M{left:.1f},{place:.1f}h16"))
            self.body.append(mark(style, left + 8, place))
            self.body.append(text(left + 21, place + 4, one.name, class_="strong" if style.strong else "name"))


def path(places):
    return "M" + "L".join(f"{x:.1f},{y:.1f}" for x, y in places)


def bars(width, rows, axis):
    """From 0; the greatest first, each with its value at its end."""
    left = 14 + width_of([row.name for row in rows])
    right = width - 14 - width_of([axis.show(row.value) for row in rows])
    body = [text(0, 12, axis.title)]
    for i, row in enumerate(sorted(rows, key=lambda row: -row.value)):
        y, length = ROW_TOP + i * ROW, axis.scale.place(row.value) * (right - left)
        body.append(text(left - 8, y + 4, row.name, "end", "strong" if row.strong else "name"))
        body.append(element("rect", x=left, y=y - 8.0, width=max(length, 1.0), height=16, rx=2, fill="currentColor",
                            fill_opacity=0.4 if row.faint else None, class_=row.colour))
        body.append(text(left + length + 6, y + 4, axis.show(row.value)))
    return Drawing(width, ROW_TOP + len(rows) * ROW - 8, "".join(body))


def pairs(width, rows, axis, ours, theirs):
    """Two marks a row, joined, and their ratio at its end. ours, theirs: name and style of each."""
    left, right = 24 + width_of([row.name for row in rows]), width - 24 - width_of([row.ratio for row in rows])

    def at(value):
        return left + axis.scale.place(value) * (right - left)

    body, group, y = legend(ours, theirs), None, ROW_TOP + 6
    for row in rows:
        if row.group != group:
            group = row.group
            body.append(text(0, y + 4, group, class_="group"))
            y += ROW
        body.append(text(14, y + 4, row.name, class_="name"))
        body.append(element("path", d=f"M{at(row.ours):.1f},{y}H{at(row.theirs):.1f}", stroke="var(--quiet)",
                            stroke_opacity=0.5, stroke_width=2))
        for (name, style), value in ((theirs, row.theirs), (ours, row.ours)):
            body.append(mark(style, at(value), y, f"{name}, {row.group}, {row.name}: {axis.show(value)}"))
        body.append(text(width, y + 4, row.ratio, "end", "name"))
        y += ROW
    grid = [element("path", d=f"M{at(tick):.1f},{ROW_TOP - 4}V{y - 6}", class_="grid") for tick in axis.ticks]
    body += [text(at(tick), y + 10, axis.show(tick), "middle") for tick in axis.ticks]
    body.append(text((left + right) / 2, y + 28, axis.title, "middle"))
    return Drawing(width, y + 34, "".join(grid + body))


def legend(ours, theirs):
    body, x = [], 4
    for name, style in (ours, theirs):
        body.append(mark(style, x, 10))
        body.append(text(x + 9, 14, name, class_="strong" if style.strong else "name"))
        x += 34 + width_of([name])
    return body


def inline(drawing, description, class_=None):
    """For a page, which has the style sheet and words around it."""
    return element("svg", drawing.body, xmlns=NAMESPACE, viewBox=f"0 0 {drawing.width} {drawing.height}", role="img",
                   aria_label=description, class_=class_)


def stand_alone(drawing, title, notes):
    """A file of its own, with a title above and notes below."""
    margin, line = 24, 25
    titles = textwrap.wrap(title, int(drawing.width / 11.2))
    notes = textwrap.wrap(notes, int(drawing.width / 6.2))
    top = margin + len(titles) * line + 10
    height = top + drawing.height + 16 + 16 * len(notes) + margin // 2
    body = [element("style", style_sheet()), element("rect", width="100%", height="100%", fill="var(--paper)")]
    for i, words in enumerate(titles):
        body.append(element("text", escape(words), x=margin, y=margin + 16 + i * line,
                            style="font-size:18px;font-weight:700;fill:var(--ink)"))
    body.append(element("g", drawing.body, transform=f"translate({margin},{top})"))
    body += [text(margin, top + drawing.height + 22 + 16 * i, words) for i, words in enumerate(notes)]
    width = drawing.width + 2 * margin
    return '<?xml version="1.0" encoding="utf-8"?>\n' + element(
        "svg", element("title", escape(title)), *body, xmlns=NAMESPACE, width=width, height=height,
        viewBox=f"0 0 {width} {height}") + "\n"
