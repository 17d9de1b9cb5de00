"""A load test's report for a terminal: tables, charts of characters, and the verdict."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from rich.console import Console, RenderableType
from rich.text import Text

from pgmux.ops import figures
from pgmux.ops.loadtest.distribution import class_bounds, classify
from pgmux.ops.loadtest.judge import Judgement, decisive
from pgmux.ops.loadtest.plan import LoadType
from pgmux.ops.loadtest.report import Report, SideReport, Summary
from pgmux.ops.printing import styled, table

_BARS = {1: 30, 2: 20}  # characters, by sides: together no wider than 80

Cell = Callable[[Summary], str]


def print_report(report: Report, console: Console) -> None:
    """All of it, the verdict last."""
    can_draw = console.encoding.lower().startswith("utf")
    for name, side in report.sides.items():
        console.print(Text(f"{name}: {side.place}, server version {side.version}"))
    console.print()
    for part in _parts(report, can_draw=can_draw):
        console.print(part)
        console.print()
    for note in notes_of(report):
        console.print(styled(note, "note"))
    console.print(verdict(report))


def _parts(report: Report, *, can_draw: bool) -> Iterator[RenderableType]:
    yield figures_table(report)
    if any(side.steps for side in report.sides.values()):
        yield steps_table(report)
        yield bends(report)
    if any(side.whole.errors for side in report.sides.values()):
        yield errors_table(report)
        for message, cure in find_cures(report):
            yield Text.assemble(styled(message, "bold"), f": {cure}")
    if chart := draw_distribution(report, can_draw=can_draw):
        yield chart
    if can_draw and (chart := draw_course(report)):
        yield chart


def figures_table(report: Report) -> RenderableType:
    """Each side's figures, and the pooler's to the direct side's."""
    names = [*report.sides, *(["pooler/direct"] if report.ratio else [])]
    return table(("", *names), figure_rows(report), right=names)


_FIGURES: tuple[tuple[str, str, Cell], ...] = (
    ("queries", "", lambda s: f"{s.queries:,}"),
    ("failed", "", lambda s: f"{s.failed:,}"),
    ("success", "", lambda s: percent(s.success_percent)),
    ("mean", "mean", lambda s: msec(s.latency.mean_ms)),
    ("median", "median", lambda s: msec(s.latency.median_ms)),
    ("p95", "p95", lambda s: msec(s.latency.p95_ms)),
    ("p99", "p99", lambda s: msec(s.latency.p99_ms)),
    ("max", "max", lambda s: msec(s.latency.max_ms)),
    ("queries/s", "queries_per_second", lambda s: f"{s.queries_per_second:,.0f}"),
    ("connections made", "", lambda s: f"{s.connections:,}"),
    ("connect, mean", "connect", lambda s: msec(s.connect.mean_ms)),
    ("connect, p95", "", lambda s: msec(s.connect.p95_ms)),
    ("measured for", "", lambda s: f"{s.seconds:.2f} s"),
)


def figure_rows(report: Report) -> list[list[str]]:
    """The table's lines: a label, a cell a side, and the ratio where there are two."""
    wholes = [side.whole for side in report.sides.values()]
    return [
        [label, *map(cell, wholes), *([times(report.ratio.get(of))] if report.ratio else [])]
        for label, of, cell in _FIGURES
    ]


def steps_table(report: Report) -> RenderableType:
    """The ramp: a line a step and side, with whether that passed."""
    columns = ("workers", "side", "queries/s", "mean", "p95", "p99", "success", "")
    most = max(len(side.steps) for side in report.sides.values())
    rows = [
        _step_cells(report, name, side, number)
        for number in range(most)
        for name, side in report.sides.items()
        if number < len(side.steps)
    ]
    return table(columns, rows, right=[each for each in columns if each not in ("side", "")])


def _step_cells(report: Report, name: str, side: SideReport, step: int) -> list[str | Text]:
    summary = side.steps[step]
    judged = [j for j in report.judgements if str(j.side) == name and j.step == step]
    is_good = all(each.passed for each in judged)
    return [
        f"{summary.workers:,}",
        name,
        f"{summary.queries_per_second:,.0f}",
        msec(summary.latency.mean_ms),
        msec(summary.latency.p95_ms),
        msec(summary.latency.p99_ms),
        percent(summary.success_percent),
        styled("passed", "good") if is_good else styled("failed", "error"),
    ]


def bends(report: Report) -> Text:
    """Where more workers stop to help, a line a side."""
    return Text("\n").join(
        Text(f"{name}: {bend_of(side)}") for name, side in report.sides.items() if side.steps
    )


def bend_of(side: SideReport) -> str:
    """One side's bend, in words."""
    if side.bend is None:
        return "the most workers get the most done: it bends later, if at all"
    return (
        f"bends at {side.bend:,} worker{'' if side.bend == 1 else 's'}: more of them get hardly"
        " more done, they wait longer"
    )


def errors_table(report: Report) -> RenderableType:
    """What failed, by message and SQLSTATE or the system's code, the most frequent first."""
    rows = [
        [message, code, *(f"{of[name]:,}" if name in of else "" for name in report.sides)]
        for (message, code), of in count_errors(report)
    ]
    return table(("error", "code", *report.sides), rows, right=report.sides)


def count_errors(report: Report) -> list[tuple[tuple[str, str], dict[str, int]]]:
    """Message and code, and how often by side; the most frequent first."""
    counts: dict[tuple[str, str], dict[str, int]] = {}
    for name, side in report.sides.items():
        for error in side.whole.errors:
            counts.setdefault((error.message, error.code), {})[name] = error.count
    return sorted(counts.items(), key=lambda item: -sum(item[1].values()))


def find_cures(report: Report) -> list[tuple[str, str]]:
    """What to do about the errors, each once, behind the first error that it is for."""
    found: dict[str, str] = {}
    for side in report.sides.values():
        for error in side.whole.errors:
            if error.cure:
                found.setdefault(error.cure, error.message)
    return [(message, cure) for cure, message in found.items()]


def draw_distribution(report: Report, *, can_draw: bool) -> Text | None:
    """How long queries took: a line a class, a bar a side; None of nothing."""
    wholes = {name: side.whole for name, side in report.sides.items() if side.whole.succeeded}
    bounds = class_bounds([each.histogram for each in wholes.values()])
    counts = {name: classify(each.histogram, bounds) for name, each in wholes.items()}
    if not bounds:
        return None
    most = _BARS[len(counts)]
    width = most + 9
    heading = "".join(f"{name:<{width}}" for name in counts) if len(counts) > 1 else ""
    lines = [Text(f"{'latency':>12}  {heading}".rstrip(), "bold")]
    lower = 0.0
    for number, bound in enumerate(bounds):
        label = f"≤ {figures.time(bound / 1e6)}"
        label = label if can_draw else label.replace("≤", "<=").replace("µ", "u")
        line = Text().append(f"{label:>12}  ", "dim")
        for name, of in counts.items():
            bar = figures.bar(of[number], max(of), most)
            bar = bar if can_draw else "#" * len(bar)
            line.append(f"{bar:<{most}}", "cyan")
            line.append(f"{_share(of[number], sum(of)):>7}  ")
            if len(counts) == 1:
                line.append(_marks(wholes[name], lower, bound), "yellow")
        line.rstrip()
        lines.append(line)
        lower = bound
    return Text("\n").join(lines)


def _share(count: int, total: int) -> str:
    """Of all, so that one of very many can be seen and nothing can't."""
    if count and count < total / 1000:
        return "< 0.1 %"
    return percent(100 * count / total, 1) if count else ""


def _marks(summary: Summary, lower: float, upper: float) -> str:
    """Which quantiles are within the class."""
    latency = summary.latency
    named = {"median": latency.median_ms, "p95": latency.p95_ms, "p99": latency.p99_ms}
    return ", ".join(n for n, ms in named.items() if ms and lower < ms * 1000 <= upper)


def draw_course(report: Report) -> Text | None:
    """p95 over time, a line a side; None where that is one moment, or a ramp."""
    lines = []
    for name, side in report.sides.items():
        slots = side.whole.timeline
        values = [slot.p95_ms for slot in slots]
        highest = max((value for value in values if value is not None), default=None)
        if len(slots) > 2 and highest is not None and not side.steps:
            label = f"p95 over time, {name}: highest {msec(highest)}, {slots[-1].until_s:g} s"
            lines.append(Text.assemble((label, "bold"), "\n", (_spark(values), "cyan")))
    return Text("\n").join(lines) if lines else None


def _spark(values: Sequence[float | None]) -> str:
    return figures.sparkline(values, len(values))


def notes_of(report: Report) -> list[str]:
    """What else a reader has to know."""
    found = list(report.notes)
    test = report.test
    if test.statements > 1:
        found.append(f"{test.query}: {test.statements} statements, one transaction")
    if test.writes:
        found.append(f"{test.query} writes or locks rows: what it has written stays")
    return found


def verdict(report: Report) -> Text:
    """Whether it passed, and by which limits; what failed first."""
    if report.is_interrupted:
        return styled("interrupted: these are the results so far, not judged", "warning")
    judged = decisive(report.judgements)
    others = [each for each in report.judgements if each not in judged]
    if report.passed:
        # Of a ramp the last step, whose load was the highest.
        last = [each for each in judged if each.step == judged[-1].step]
        lines = [styled(f"passed{_at(report, last)}: {_join(last)}", "good")]
    else:
        lines = [styled(f"failed{at}", "error") for at in _failed(report, judged)]
    lines += [
        styled(f"direct, for comparison: failed{at}", "warning") for at in _failed(report, others)
    ]
    return Text("\n").join(lines)


def _failed(report: Report, judgements: Sequence[Judgement]) -> Iterator[str]:
    """A line for each step that has failed."""
    for step in dict.fromkeys(each.step for each in judgements):
        failed = [each for each in judgements if each.step == step and not each.passed]
        if failed:
            yield f"{_at(report, failed)}: {_join(failed)}"


def _at(report: Report, judgements: Sequence[Judgement]) -> str:
    if report.test.test_type is not LoadType.RAMP:
        return ""
    workers = judgements[0].workers
    return f" at {workers:,} worker{'' if workers == 1 else 's'}"


def _join(judgements: Sequence[Judgement]) -> str:
    return "; ".join(map(str, judgements))


def msec(value: float | None) -> str:
    """Milliseconds, in the unit that fits."""
    return figures.DASH if value is None else figures.time(value / 1000)


def percent(value: float | None, digits: int = 2) -> str:
    """100 % only where it is all."""
    if value is None:
        return figures.DASH
    if value == 100:
        return "100 %"
    return f"{min(value, 100 - 10.0**-digits):.{digits}f} %"


def times(value: float | None) -> str:
    """A ratio."""
    if value is None:
        return ""
    return f"{value:.2f}" if value < 9.995 else f"{value:,.0f}"
