"""Figures in words."""

from goals import number, short


def count(amount, what):
    return f"{amount:.0f} {what}{'' if amount == 1 else 's'}"


def times(ratio):
    """Not to be torn apart at the end of a line."""
    return f"{number(ratio)}\u00a0×"


def per_cent(fraction):
    return f"{100 * fraction:.6g}"


def time(us):
    for limit, unit in ((1e6, "s"), (1e3, "ms")):
        if us >= limit * 0.9995:
            return f"{trimmed(number(us / limit))} {unit}"
    return f"{trimmed(number(us))} µs"


def milliseconds(ms):
    return time(1e3 * ms)


def seconds(value):
    return f"{number(value)} s"


def plain(value):
    """Without a unit."""
    return trimmed(number(value)) if value else "0"


def brief(value):
    """As short(), but without zeros behind the point."""
    if value == 0:
        return "0"
    text = short(value)
    return trimmed(text[:-1]) + text[-1] if text[-1].isalpha() else trimmed(text)


def trimmed(text):
    return text.rstrip("0").rstrip(".") if "." in text else text
