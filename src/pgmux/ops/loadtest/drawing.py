"""Charts as SVG: bars by class, and lines. Colours are the page's, by class; a side is also told by
its line's dashes, and every chart has its numbers beside it in a table or as a title.

The drawing is as wide as a phone, so that its text can be read there too.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from xml.etree.ElementTree import Element, SubElement

WIDTH = 420
_LEFT, _RIGHT = 58, 398  # of the plot
_TOP, _HEIGHT = 12, 150
_BAR, _GAP = 12, 6

Point = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Line:
    """Points by x; None in y's place is a hole. `style`: classes of the page's style sheet."""

    style: str
    points: Sequence[tuple[float, float | None]]


def draw_bars(title: str, labels: Sequence[str], sides: Mapping[str, Sequence[int]]) -> Element:
    """A row a label, in it a bar a side: its share of all that the side has."""
    row = _BAR * len(sides) + _GAP
    svg = _canvas(title, row * len(labels) + _GAP)
    shares = {name: [count / max(1, sum(of)) for count in of] for name, of in sides.items()}
    highest = max((share for of in shares.values() for share in of), default=1.0) or 1.0
    for number, label in enumerate(labels):
        y = number * row + _GAP
        _text(svg, _LEFT + 6, y + _BAR * len(sides) / 2 + 4, label, "end")
        for place, (name, of) in enumerate(shares.items()):
            _bar(svg, y + place * _BAR, of[number], highest, name)
    return svg


def _bar(svg: Element, y: float, share: float, highest: float, name: str) -> None:
    if not share:
        return
    left, most = _LEFT + 12, _RIGHT - 52
    shown = f"{share:.1%}" if share >= 0.001 else "< 0.1%"
    width = max(1.0, share / highest * (most - left))
    bar = SubElement(svg, "rect", _numbers(x=left, y=y, width=width, height=_BAR - 1))
    bar.set("class", name)
    SubElement(bar, "title").text = f"{name}: {share:.2%}"
    _text(svg, left + width + 4, y + _BAR - 2, shown, small=True)


def draw_lines(
    title: str,
    lines: Sequence[Line],
    *,
    unit: str,
    x_labels: Sequence[tuple[float, str]],
    marks: Sequence[float] = (),
    bad: Sequence[Point] = (),
) -> Element:
    """Lines over x, from 0 up; `marks` are upright lines, `bad` pieces of the x axis."""
    svg = _canvas(title, _TOP + _HEIGHT + 24)
    xs = [x for x, _ in x_labels] + [x for line in lines for x, _ in line.points]
    ys = [y for line in lines for _, y in line.points if y is not None]
    top = round_up(max(ys, default=1.0))
    place = _Place(min(xs, default=0.0), max(xs, default=1.0), top)
    for share in (0.0, 0.25, 0.5, 0.75, 1.0):
        y = place.y(share * top)
        _line(svg, _LEFT, y, _RIGHT, y, "grid")
        _text(svg, _LEFT - 6, y + 4, f"{share * top:,.4g}", "end", small=True)
    _text(svg, 2, _TOP - 2, unit, small=True)
    for x, label in x_labels:
        _text(svg, place.x(x), _TOP + _HEIGHT + 16, label, "middle", small=True)
    for x in marks:
        _line(svg, place.x(x), _TOP, place.x(x), _TOP + _HEIGHT, "mark")
    for start, end in bad:
        _line(svg, place.x(start), _TOP + _HEIGHT, place.x(end), _TOP + _HEIGHT, "bad")
    for line in lines:
        _path(svg, line, place)
    return svg


def round_up(value: float) -> float:
    """The next number that divides well by four: 1, 2, 4, 8 times a power of ten."""
    if value <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(value))
    return next(step * power for step in (1, 2, 4, 8, 10) if step * power >= value * (1 - 1e-9))


class _Place:
    """Where values are in the plot."""

    def __init__(self, first: float, last: float, top: float) -> None:
        self._first, self._span, self._top = first, (last - first) or 1.0, top

    def x(self, value: float) -> float:
        return _LEFT + (value - self._first) / self._span * (_RIGHT - _LEFT)

    def y(self, value: float) -> float:
        return _TOP + (1 - value / self._top) * _HEIGHT


def _path(svg: Element, line: Line, place: _Place) -> None:
    steps, is_down = [], False
    for x, y in line.points:
        if y is not None:
            steps.append(f"{'L' if is_down else 'M'}{place.x(x):.1f} {place.y(y):.1f}")
        is_down = y is not None
    if len(steps) == 1:
        steps.append("h1")  # or nothing would be seen of it
    SubElement(svg, "path", {"d": " ".join(steps), "class": line.style})


def _canvas(title: str, height: float) -> Element:
    svg = Element("svg", {"viewBox": f"0 0 {WIDTH} {height:g}", "role": "img"})
    SubElement(svg, "title").text = title
    return svg


def _text(
    svg: Element, x: float, y: float, text: str, anchor: str = "start", *, small: bool = False
) -> None:
    made = SubElement(svg, "text", {**_numbers(x=x, y=y), "text-anchor": anchor})
    made.text = text
    if small:
        made.set("class", "small")


def _line(svg: Element, x1: float, y1: float, x2: float, y2: float, style: str) -> None:
    SubElement(svg, "line", {**_numbers(x1=x1, y1=y1, x2=x2, y2=y2), "class": style})


def _numbers(**values: float) -> dict[str, str]:
    return {name: f"{value:.1f}" for name, value in values.items()}
