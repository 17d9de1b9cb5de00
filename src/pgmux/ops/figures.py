"""Numbers as few characters: what a reader of columns can compare at a glance.

Each takes None for what isn't told, or hasn't happened, and makes a dash of it.
"""

from __future__ import annotations

from collections.abc import Sequence

DASH = "–"
_BLOCKS = "▁▂▃▄▅▆▇█"
_STEPS = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))


def count(value: float | None) -> str:
    """A whole number, in full up to five digits."""
    if value is None:
        return DASH
    return f"{value:.0f}" if abs(value) < 99_999.5 else _scaled(value)


def rate(value: float | None) -> str:
    """A number per second; a fraction where there are few."""
    if value is None or value == 0:
        return DASH if value is None else "0"
    return f"{value:.1f}" if value < 9.95 else count(value)


def size(value: float | None) -> str:
    """Bytes, or bytes per second."""
    if value is None:
        return DASH
    return f"{value:.0f}B" if value < 999.5 else _scaled(value) + "B"


def _scaled(value: float) -> str:
    for step, letter in _STEPS:
        if value >= step * 0.9995:
            scaled = value / step
            return f"{scaled:.1f}{letter}" if scaled < 99.95 else f"{scaled:.0f}{letter}"
    return f"{value:.0f}"


def share(value: float | None) -> str:
    """0 to 1 as per cent."""
    return DASH if value is None else f"{value:.0%}"


def time(seconds: float | None) -> str:
    """A duration in the unit that fits it."""
    if seconds is None:
        return DASH
    if seconds < 0.0009995:
        return f"{seconds * 1e6:.0f}µs" if seconds else "0"
    if seconds < 0.9995:
        value = seconds * 1e3
        return f"{value:.1f}ms" if value < 9.95 else f"{value:.0f}ms"
    if seconds < 59.95:
        return f"{seconds:.1f}s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes}m{rest:02}s"
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f"{hours}h{minutes:02}m"
    days, hours = divmod(hours, 24)
    return f"{days}d{hours:02}h" if days < 10_000 else f"{days}d"


def plain(value: float | None) -> str:
    """A number that is a name, as a port or a pid."""
    return "" if value is None else f"{value:.0f}"


def sparkline(values: Sequence[float | None], width: int) -> str:
    """The last `width` values as blocks from 0 up to the highest; a blank is an unknown one."""
    shown = values[-width:] if width > 0 else ()
    highest = max((value for value in shown if value is not None), default=0.0)
    return "".join(_block(value, highest) for value in shown)


def _block(value: float | None, highest: float) -> str:
    if value is None:
        return " "
    top = len(_BLOCKS) - 1
    return _BLOCKS[round(value / highest * top)] if highest > 0 else _BLOCKS[0]


def bar(value: float, highest: float, width: int) -> str:
    """A bar whose full width is `highest`; whatever is there at all can be seen."""
    if value <= 0 or highest <= 0:
        return ""
    return "█" * max(1, round(value / highest * width))
