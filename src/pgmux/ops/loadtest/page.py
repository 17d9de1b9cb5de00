"""A load test's report as one page: nothing is fetched from elsewhere, every text is escaped, light
or dark as the reader has it, and narrow enough for a phone.

The page is a tree of elements, so that no text can become one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from xml.etree.ElementTree import Element, SubElement, tostring

from pgmux import __version__
from pgmux.ops import figures
from pgmux.ops.loadtest.distribution import class_bounds, classify
from pgmux.ops.loadtest.drawing import Line, draw_bars, draw_lines
from pgmux.ops.loadtest.page_style import STYLE
from pgmux.ops.loadtest.plan import LoadType
from pgmux.ops.loadtest.report import Asked, Report, SideReport, Summary
from pgmux.ops.loadtest.text import (
    bend_of,
    count_errors,
    figure_rows,
    find_cures,
    msec,
    notes_of,
    percent,
    verdict,
)
from pgmux.ops.printing import printable

_MOST_LABELS = 7


def build_page(report: Report, now: datetime | None = None) -> str:
    """The page's text."""
    html = Element("html", {"lang": "en"})
    head = SubElement(html, "head")
    SubElement(head, "meta", {"charset": "utf-8"})
    SubElement(head, "meta", {"name": "viewport", "content": "width=device-width, initial-scale=1"})
    SubElement(head, "meta", {"name": "color-scheme", "content": "light dark"})
    _add(head, "title", f"Load test: {title_of(report.test)}")
    SubElement(head, "style").text = STYLE
    body = SubElement(html, "body")
    _head(body, report)
    main = SubElement(body, "main")
    charts = SubElement(main, "div", {"class": "charts"})
    _figures(charts, report)
    for figure in _charts(report):
        charts.append(figure)
    _steps(main, report)
    _errors(main, report)
    _footer(body, now or datetime.now(UTC))
    return "<!doctype html>\n" + tostring(html, encoding="unicode", method="html") + "\n"


def title_of(test: Asked) -> str:
    """What was run, in a line."""
    load = test.load
    if test.test_type is LoadType.BURST:
        what = (
            f"{load.num_bursts:,} bursts of {load.burst_size:,} queries,"
            f" {load.burst_interval:g} s apart"
        )
    elif test.test_type is LoadType.RAMP:
        what = f"{load.num_queries:,} queries, up to {load.most_workers:,} workers"
    else:
        what = f"{load.num_queries:,} queries, {load.most_workers:,} workers"
    pool = "" if test.pool_size is None else f", pool of {test.pool_size} + {test.max_overflow}"
    return f"{what}, {test.query}, by {test.driver}{pool}"


def _head(body: Element, report: Report) -> None:
    head = SubElement(body, "header")
    _add(head, "h1", "Load test")
    _add(head, "p", title_of(report.test))
    state = "interrupted" if report.passed is None else "passed" if report.passed else "failed"
    _add(head, "p", verdict(report).plain, style=f"verdict {state}")
    for note in notes_of(report):
        _add(head, "p", note, style="quiet")
    sides = SubElement(head, "ul")
    for name, side in report.sides.items():
        item = SubElement(sides, "li")
        _key(item, name)
        rest = f" {side.place}, server version {side.version}"
        SubElement(item, "span").text = printable(rest)


def _key(parent: Element, name: str) -> None:
    """A side's name with its line."""
    svg = SubElement(parent, "svg", {"viewBox": "0 0 24 8", "class": "key", "aria-hidden": "true"})
    SubElement(svg, "path", {"d": "M0 4 H24", "class": f"p95 {name}"})
    _add(parent, "b", name)


def _figures(parent: Element, report: Report) -> None:
    wholes = [side.whole for side in report.sides.values()]
    ratio = ["pooler/direct"] if report.ratio else []
    rows = [[label, *cells] for label, *cells in figure_rows(report)]
    section = _section(parent, "Figures")
    _table(section, ["", *report.sides, *ratio], rows, numbers=len(wholes) + len(ratio))


def _charts(report: Report) -> Iterator[Element]:
    wholes = {name: side.whole for name, side in report.sides.items() if side.whole.succeeded}
    if not wholes:
        return
    yield _distribution(wholes)
    if report.test.test_type is LoadType.RAMP:
        yield from _ramp(report.sides)
    elif any(len(each.timeline) > 1 for each in wholes.values()):
        yield _over_time(wholes)


def _distribution(wholes: Mapping[str, Summary]) -> Element:
    bounds = class_bounds([each.histogram for each in wholes.values()])
    counts = {name: classify(each.histogram, bounds) for name, each in wholes.items()}
    labels = [f"≤ {figures.time(bound / 1e6)}" for bound in bounds]
    caption = "How long queries took: share of those that succeeded"
    return _figure(caption, draw_bars(caption, labels, counts), wholes)


def _over_time(wholes: Mapping[str, Summary]) -> Element:
    lines, bad = [], []
    for name, summary in wholes.items():
        start = 0.0
        points: dict[str, list[tuple[float, float | None]]] = {"p95": [], "median": []}
        for slot in summary.timeline:
            middle = (start + slot.until_s) / 2
            points["p95"].append((middle, slot.p95_ms))
            points["median"].append((middle, slot.median_ms))
            if slot.failed:
                bad.append((start, slot.until_s))
            start = slot.until_s
        lines += [Line(f"{what} {name}", of) for what, of in points.items()]
    last = max(each.timeline[-1].until_s for each in wholes.values() if each.timeline)
    labels = [(last * n / 4, f"{last * n / 4:.3g} s") for n in range(5)]
    caption = "Over time: p95, and thin the median"
    more = "; along the bottom, where queries failed" if bad else ""
    return _figure(
        caption + more, draw_lines(caption, lines, unit="ms", x_labels=labels, bad=bad), wholes
    )


def _ramp(sides: Mapping[str, SideReport]) -> Iterator[Element]:
    """By step, not by workers: those double."""
    longest = max((side.steps for side in sides.values()), key=len)
    labels = _thinned([(float(n), f"{step.workers:,}") for n, step in enumerate(longest)])
    workers = [step.workers for step in longest]
    marks = [float(workers.index(side.bend)) for side in sides.values() if side.bend]
    rates, p95s = [], []
    for name, side in sides.items():
        steps = list(enumerate(side.steps))
        rates.append(Line(f"p95 {name}", [(n, step.queries_per_second) for n, step in steps]))
        p95s.append(Line(f"p95 {name}", [(n, step.latency.p95_ms) for n, step in steps]))
    for what, unit, lines in (
        ("Queries per second by workers", "1/s", rates),
        ("p95 by workers", "ms", p95s),
    ):
        more = "; upright: where it bends" if marks else ""
        drawn = draw_lines(what, lines, unit=unit, x_labels=labels, marks=marks)
        yield _figure(what + more, drawn, sides)


def _thinned(labels: Sequence[tuple[float, str]]) -> list[tuple[float, str]]:
    """As many as there is room for, the last one always."""
    every = -(-len(labels) // _MOST_LABELS)
    return [each for n, each in enumerate(reversed(labels)) if n % every == 0][::-1]


def _figure(caption: str, drawn: Element, sides: Mapping[str, object]) -> Element:
    figure = Element("figure")
    above = _add(figure, "figcaption", caption)
    if len(sides) > 1:
        keys = SubElement(above, "span", {"class": "keys"})
        for name in sides:
            _key(SubElement(keys, "span"), name)
    figure.append(drawn)
    return figure


def _steps(main: Element, report: Report) -> None:
    sides = {name: side for name, side in report.sides.items() if side.steps}
    if not sides:
        return
    section = _section(main, "Steps of the ramp")
    columns = ["side", "workers", "queries/s", "mean", "p95", "p99", "success"]
    rows = [
        [
            *(name, f"{step.workers:,}", f"{step.queries_per_second:,.0f}"),
            *(msec(step.latency.mean_ms), msec(step.latency.p95_ms), msec(step.latency.p99_ms)),
            percent(step.success_percent),
        ]
        for name, side in sides.items()
        for step in side.steps
    ]
    _table(section, columns, rows, numbers=6)
    for name, side in sides.items():
        _add(section, "p", f"{name}: {bend_of(side)}")


def _errors(main: Element, report: Report) -> None:
    counts = count_errors(report)
    if not counts:
        return
    section = _section(main, "Errors")
    rows = [
        [message, code, *(f"{of[name]:,}" if name in of else "" for name in report.sides)]
        for (message, code), of in counts
    ]
    _table(section, ["error", "code", *report.sides], rows, numbers=len(report.sides))
    for message, cure in find_cures(report):
        paragraph = SubElement(section, "p")
        _add(paragraph, "b", message)
        SubElement(paragraph, "span").text = f": {cure}"


def _footer(body: Element, now: datetime) -> None:
    _add(
        body,
        "footer",
        f"pgmux {__version__}, {now:%Y-%m-%d %H:%M} UTC. Latencies are of queries that succeeded,"
        " with the wait for a connection of the driver's pool; a burst's from its planned moment.",
    )


def _section(main: Element, title: str) -> Element:
    section = SubElement(main, "section")
    _add(section, "h2", title)
    return section


def _table(
    parent: Element, columns: Sequence[str], rows: Sequence[Sequence[str]], *, numbers: int
) -> None:
    """The last `numbers` columns are numbers. Where it is too wide it scrolls, not the page."""
    first = len(columns) - numbers
    table = SubElement(SubElement(parent, "div", {"class": "wide"}), "table")
    line = SubElement(SubElement(table, "thead"), "tr")
    for place, name in enumerate(columns):
        _add(line, "th", name, style="number" if place >= first else "", scope="col")
    body = SubElement(table, "tbody")
    for row in rows:
        line = SubElement(body, "tr")
        for place, text in enumerate(row):
            _add(line, "td", text, style="number" if place >= first else "")


def _add(parent: Element, tag: str, text: str, *, style: str = "", **attributes: str) -> Element:
    """An element with a text, in which nothing is left that can't be shown."""
    made = SubElement(parent, tag, {**attributes, **({"class": style} if style else {})})
    made.text = printable(text, keep="\n")
    return made
