"""The two tables as rows of text: what the poolers are compared by, and what else was seen.

The first name is the yardstick's; every other pooler has its ratio to it, with the spread of the
rounds.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

from bench.measure import Measured, Row
from bench.workload import Goal

UNITS = {
    "cpu_us": "",
    "p99_to_p50": "",
    "mb_per_s": "MB/s",
    "cpu_ms_per_gb": "ms/GB",
    "bytes_per_client": "bytes",
    "start_mb": "MB",
    "worst_login_ms": "ms",
    "worst_ms": "ms",
}
CAPTION = (
    "µs of CPU per transaction, where no other unit stands; a ratio is to {yardstick}, the median "
    "of {rounds} rounds and their spread, and less is better but at ↑"
)
SHORTER = "; runs of {seconds:g} s: of what is copied and connected only that part"
DETAIL_CAPTION = (
    "transactions/s, median/99th percentile of their latency, the share of the CPU time in user "
    "space, the most memory"
)
MISSING = "–"
_MEGA = 1e6

Cells = list[list[str]]  # the headings, and a line for each row


def comparison(results: Sequence[Measured]) -> Cells:
    """The figure of each pooler, and its ratio to the first one's."""
    first, *others = results[0].samples
    headings = ["load", first]
    for name in others:
        headings += [name, "ratio [spread]"]
    has_goals = any(row.quantity.goal for result in results for row in result.rows())
    lines = [headings + (["goal"] if has_goals else [])]
    for row in (row for result in results for row in result.rows()):
        line = [_label(row), _figure(row, first)]
        for name in others:
            line += [_figure(row, name), _ratio(row.ratios(name))]
        lines.append(line + ([_goal(row)] if has_goals else []))
    return lines


def details(results: Sequence[Measured]) -> Cells:
    """What else was seen of each pooler: empty where there is no figure of any."""
    names = list(results[0].samples)
    lines = [["load", *names]]
    for result in results:
        parts = [_detail(result, name) for name in names]
        lines.append([result.workload.name, *parts])
    return lines


def _label(row: Row) -> str:
    return f"{row.name}{' ↑' if row.quantity.more_is_better else ''}"


def _figure(row: Row, name: str) -> str:
    value = row.median(name)
    if value is None:
        return "fails" if name in row.measured.failures else MISSING
    return f"{number(value)} {UNITS[row.quantity.figure]}".rstrip()


def _ratio(ratios: list[float]) -> str:
    if not ratios:
        return MISSING
    spread = f" [{ratios[0]:.2f}–{ratios[-1]:.2f}]" if len(ratios) > 1 else ""
    return f"{median(ratios):.2f}{spread}"


def _goal(row: Row) -> str:
    """Of each form of pgmux that was measured, in their order."""
    names = [name for name in row.measured.samples if name.startswith("pgmux")]
    goals = [goal for goal in map(row.goal, names) if goal is not None]
    return " / ".join(dict.fromkeys(_limit(row, goal) for goal in goals))


def _limit(row: Row, goal: Goal) -> str:
    sign = "≥" if row.quantity.more_is_better else "≤"
    if goal.is_ratio:
        return f"{sign} {goal.limit:.2f}"
    return f"{sign} {number(goal.limit)} {UNITS[row.quantity.figure]}"


def _detail(result: Measured, name: str) -> str:
    """As "12345/s, 0.61/1.20 ms, 12%, 45 MB"; parts that the load hasn't are left out."""
    parts = []
    tps, p50, p99 = (result.median(name, figure) for figure in ("tps", "p50_ms", "p99_ms"))
    if tps is not None:
        parts.append(f"{tps:.0f}/s")
    if p50 is not None and p99 is not None:
        parts.append(f"{number(p50)}/{number(p99)} ms")
    connect = result.median(name, "connect_ms")
    if connect is not None:
        parts.append(f"{number(connect)} ms to connect")
    user, cpu = result.median(name, "user_us"), result.median(name, "cpu_us")
    if user is not None and cpu:
        parts.append(f"{user / cpu:.0%}")
    if name in result.peaks and result.samples[name]:
        parts.append(f"{result.peaks[name] / _MEGA:.0f} MB")
    return ", ".join(parts) or MISSING


def number(value: float) -> str:
    """Three significant digits or so."""
    if value >= 1000:
        return f"{value:.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"
