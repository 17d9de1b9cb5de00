"""The ratios as an SVG: a bar from 1 for each load, the spread of its rounds, and what is aimed at.

The axis is logarithmic, so that half and twice the cost are as far from 1. All colours can be read
on white and on black, and nothing is painted behind them.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import median
from xml.etree import ElementTree
from xml.etree.ElementTree import Element, SubElement

from bench.measure import Measured, Row
from bench.report.data import Report

_BETTER, _WORSE, _INK, _GOAL = "#3b8bd0", "#d9822b", "#777777", "#c2489d"
_WIDTH = 780
_LEFT, _RIGHT = 250, 640  # of the plot; names before it, numbers behind it
_TOP, _LINE, _BAR = 64, 19, 11
_FAINT = "0.35"
_TICKS = (0.125, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0)


@dataclass(frozen=True, slots=True)
class Bar:
    """A pooler's ratios at one row of the table, ascending."""

    row: Row
    name: str
    label: str
    ratios: list[float]

    @property
    def value(self) -> float:
        return median(self.ratios)

    @property
    def goal(self) -> float | None:
        goal = self.row.goal(self.name)
        return goal.limit if goal is not None and goal.is_ratio else None

    @property
    def is_better(self) -> bool:
        more = self.row.quantity.more_is_better
        return self.value >= 1 if more else self.value <= 1


def chart(report: Report) -> str:
    """The SVG's text; without a yardstick its bars are missing."""
    bars = list(_bars(report.results))
    height = _TOP + _LINE * len(bars) + 34
    svg = Element(
        "svg",
        xmlns="http://www.w3.org/2000/svg",
        viewBox=f"0 0 {_WIDTH} {height}",
        role="img",
        attrib={
            "font-family": "system-ui, DejaVu Sans, sans-serif",
            "font-size": "12",
            "fill": _INK,
        },
    )
    yardstick = next(iter(report.results[0].samples))
    title = f"pgmux beside {yardstick}, which is 1: CPU per transaction, or what is named"
    SubElement(svg, "title").text = title
    _text(svg, _WIDTH / 2, 18, title, anchor="middle", size=14)
    _key(svg)
    x = _Scale(bars)
    _axis(svg, x, bottom=_TOP + _LINE * len(bars))
    for number, bar in enumerate(bars):
        _draw(svg, bar, x, y=_TOP + _LINE * number + _LINE / 2)
    _text(svg, _WIDTH / 2, height - 8, report.machine, anchor="middle", size=10)
    ElementTree.indent(svg)
    return ElementTree.tostring(svg, encoding="unicode") + "\n"


class _Scale:
    """A ratio's place on the axis, which reaches as far as the ratios do."""

    def __init__(self, bars: Sequence[Bar]) -> None:
        all_ratios = [ratio for bar in bars for ratio in bar.ratios]
        self.low = math.floor(min(-1.0, *map(math.log2, all_ratios), 0.0))
        self.high = math.ceil(max(1.0, *map(math.log2, all_ratios), 0.0))

    def __call__(self, ratio: float) -> float:
        share = (math.log2(ratio) - self.low) / (self.high - self.low)
        return _LEFT + share * (_RIGHT - _LEFT)

    def ticks(self) -> list[float]:
        return [tick for tick in _TICKS if self.low <= math.log2(tick) <= self.high]


def _bars(results: Sequence[Measured]) -> Iterator[Bar]:
    names = [name for name in results[0].samples if name.startswith("pgmux")]
    for row in (row for result in results for row in result.rows() if row.quantity.is_charted):
        for name in names:
            ratios = [ratio for ratio in row.ratios(name) if ratio > 0]
            if ratios and name in row.others():
                form = f" ({name.partition(' ')[2]})" if len(names) > 1 else ""
                more = " ↑" if row.quantity.more_is_better else ""
                yield Bar(row, name, f"{row.name}{form}{more}", ratios)


def _key(svg: Element) -> None:
    """What the colours and signs mean."""
    y = 40
    for x, colour, text in (
        (_LEFT - 130, _BETTER, "better"),
        (_LEFT - 60, _WORSE, "worse"),
    ):
        _rect(svg, x, y - 9, 10, 10, colour)
        _text(svg, x + 15, y, text)
    _goal(svg, _LEFT + 12, y - 4)
    _text(svg, _LEFT + 20, y, "goal")
    _spread(svg, _LEFT + 66, _LEFT + 90, y - 4)
    _text(svg, _LEFT + 97, y, "spread of the rounds")
    _text(svg, _LEFT + 235, y, "↑ more is better, else less")


def _axis(svg: Element, x: _Scale, bottom: float) -> None:
    for tick in x.ticks():
        is_one = tick == 1
        _line(svg, x(tick), _TOP - 4, x(tick), bottom, _INK, faint=not is_one)
        _text(svg, x(tick), bottom + 13, f"{tick:g}", anchor="middle", size=10)


def _draw(svg: Element, bar: Bar, x: _Scale, y: float) -> None:
    """One line: name, bar, spread, goal, and the number."""
    ends = sorted((x(1), x(bar.value)))
    colour = _BETTER if bar.is_better else _WORSE
    _text(svg, _LEFT - 12, y + 4, bar.label, anchor="end")
    _rect(svg, ends[0], y - _BAR / 2, max(1.0, ends[1] - ends[0]), _BAR, colour)
    _spread(svg, x(bar.ratios[0]), x(bar.ratios[-1]), y)
    if bar.goal is not None:
        _goal(svg, x(bar.goal), y)
    spread = f" [{bar.ratios[0]:.2f}–{bar.ratios[-1]:.2f}]" if len(bar.ratios) > 1 else ""
    _text(svg, _RIGHT + 12, y + 4, f"{bar.value:.2f}{spread}")


def _goal(svg: Element, x: float, y: float) -> None:
    _line(svg, x, y - 8, x, y + 8, _GOAL, width=2.5)


def _spread(svg: Element, start: float, end: float, y: float) -> None:
    _line(svg, start, y, end, y, _INK, width=1.5)
    for x in (start, end):
        _line(svg, x, y - 3, x, y + 3, _INK, width=1.5)


def _text(
    svg: Element, x: float, y: float, text: str, *, anchor: str = "start", size: int = 12
) -> None:
    place = {"x": f"{x:.1f}", "y": f"{y:.1f}", "text-anchor": anchor, "font-size": str(size)}
    SubElement(svg, "text", place).text = text


def _rect(svg: Element, x: float, y: float, width: float, height: float, fill: str) -> None:
    sizes = {"x": x, "y": y, "width": width, "height": height}
    SubElement(svg, "rect", {k: f"{v:.1f}" for k, v in sizes.items()}, fill=fill)


def _line(
    svg: Element,
    x1: float,
    y1: float,
    x2: float,
    y2: float,
    stroke: str,
    *,
    width: float = 1,
    faint: bool = False,
) -> None:
    ends = {"x1": x1, "y1": y1, "x2": x2, "y2": y2, "stroke-width": width}
    attributes = {k: f"{v:.1f}" for k, v in ends.items()} | {"stroke": stroke}
    SubElement(svg, "line", attributes | ({"opacity": _FAINT} if faint else {}))
