"""Before and after, side by side: for a terminal, as Markdown, and as JSON."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass

from rich.console import Console

from pgmux.ops import figures
from pgmux.ops.cutover import markdown
from pgmux.ops.cutover.names import App
from pgmux.ops.cutover.sample import timestamp
from pgmux.ops.cutover.screen import application
from pgmux.ops.cutover.summary import AppPeriod, Period, PoolerPeriod, Spread
from pgmux.ops.printing import printable, styled, table, to_json

COLUMNS = ("", "before", "after")
APP_COLUMNS = (
    *("Application", "User", "Database"),
    *("Direct before", "Direct after", "Pooler before", "Pooler after"),
)
MOST_APPS = 100


@dataclass(frozen=True, slots=True)
class Comparison:
    before: Period
    after: Period

    def rows(self) -> list[tuple[str, str, str]]:
        """A row for each thing that was measured, in the order in which one asks."""
        return [(name, show(self.before), show(self.after)) for name, show in _ROWS]

    def app_rows(self) -> list[tuple[str, ...]]:
        """Applications, the largest before first; connections at peak (normally)."""
        before = {each.app: each for each in self.before.apps}
        after = {each.app: each for each in self.after.apps}
        apps = [*before, *(app for app in after if app not in before)]
        return [_app_row(app, before.get(app), after.get(app)) for app in apps[:MOST_APPS]]

    def remarks(self) -> list[str]:
        """What to know when reading it."""
        return list(_remarks(self))


def _clock(at: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at))


def _period(period: Period) -> str:
    return f"{_clock(period.start)} to {_clock(period.end)}"


def _samples(period: Period) -> str:
    return f"{period.samples:,}, every {figures.time(period.interval)}"


def _connections(period: Period) -> str:
    peak, share = period.connections.peak, period.share.peak
    full = ", full" if period.full else ""
    return f"{peak:,.0f} of {period.max_connections:,} ({share:.0%}{full})"


def _normally(period: Period) -> str:
    return f"{period.connections.normally:g} ({period.share.normally:.0%})"


def _of_samples(count: Callable[[Period], int]) -> Callable[[Period], str]:
    def show(period: Period) -> str:
        found = count(period)
        return f"{found:,} of {period.samples:,} samples" if found else "none"

    return show


def _rate(spread: Spread | None) -> str:
    if spread is None:
        return figures.DASH
    return f"{figures.rate(spread.normally)} (peak {figures.rate(spread.peak)})"


def _at_pooler(show: Callable[[PoolerPeriod], str]) -> Callable[[Period], str]:
    return lambda period: figures.DASH if period.pooler is None else show(period.pooler)


def _waiting(pooler: PoolerPeriod) -> str:
    if not pooler.waiting:
        return "none"
    longest = f", up to {figures.time(pooler.maxwait)}" if pooler.maxwait else ""
    samples = f"{pooler.waiting_samples:,} of {pooler.samples:,} samples"
    return f"up to {pooler.waiting:,}, in {samples}{longest}"


def _errors(pooler: PoolerPeriod) -> str:
    return "not told by it" if pooler.errors is None else f"{pooler.errors:,}"


_ROWS: tuple[tuple[str, Callable[[Period], str]], ...] = (
    ("Period", _period),
    ("Samples", _samples),
    ("PostgreSQL connections at peak", _connections),
    ("PostgreSQL connections normally", _normally),
    ("No connection left", _of_samples(lambda period: period.full)),
    ("Refused: too many clients", _of_samples(lambda period: period.refused)),
    ("Other failed samples", _of_samples(lambda period: period.failed)),
    ("Idle in transaction at peak", lambda period: f"{period.idle_in_transaction:,}"),
    ("Transactions/s, PostgreSQL", lambda period: _rate(period.commits)),
    ("Transactions/s, pooler", _at_pooler(lambda pooler: _rate(pooler.transactions))),
    ("Clients at the pooler at peak", _at_pooler(lambda pooler: f"{pooler.clients.peak:,.0f}")),
    ("Clients waiting for a server", _at_pooler(_waiting)),
    ("Mean wait for a server", _at_pooler(lambda pooler: figures.time(pooler.wait))),
    ("Errors told by the pooler", _at_pooler(_errors)),
)


def _app_row(app: App, before: AppPeriod | None, after: AppPeriod | None) -> tuple[str, ...]:
    return (
        application(app.application),
        printable(app.user),
        printable(app.database),
        *(_count(each.direct if each else None) for each in (before, after)),
        *(_count(each.pooled if each else None) for each in (before, after)),
    )


def _count(found: Spread | None) -> str:
    if found is None or not found.peak:
        return figures.DASH
    return f"{found.peak:,.0f} ({found.normally:g})"


def _remarks(comparison: Comparison) -> Iterable[str]:
    before, after = comparison.before, comparison.after
    yield (
        "Connections are those of clients, the pooler's own among them; at peak is the most that a"
        " sample has seen, normally the median; of applications the median stands in brackets."
    )
    yield (
        "PostgreSQL counts transactions seconds late, those that touch no table perhaps only when"
        " their connection ends: the peak of its transactions/s may be too high."
    )
    if before.places != after.places:
        places = (printable(", ".join(each.places)) for each in (before, after))
        yield f"Not the same PostgreSQL: {' before, '.join(places)} after."
    if before.end > after.start:
        yield "The two periods overlap."
    for name, period in (("before", before), ("after", after)):
        if period.restarts:
            yield f"PostgreSQL was restarted {period.restarts:,} times {name}."
        if period.pooler is not None and period.pooler.failed:
            yield f"The pooler's console didn't answer in {period.pooler.failed:,} samples {name}."
        if period.is_partial:
            yield f"The role that recorded {name} could not see states and addresses of others."
    if len({each.app for each in (*before.apps, *after.apps)}) > MOST_APPS:
        yield f"Only the {MOST_APPS} largest applications are shown."


def print_report(comparison: Comparison, terminal: Console) -> None:
    """Two tables and the remarks."""
    terminal.print(table(COLUMNS, comparison.rows()))
    terminal.print()
    terminal.print(table(APP_COLUMNS, comparison.app_rows(), right=APP_COLUMNS[3:]))
    terminal.print()
    for remark in comparison.remarks():
        terminal.print(styled(remark, "dim"))


def to_markdown(comparison: Comparison) -> str:
    """As for a ticket."""
    apps = markdown.table(APP_COLUMNS, comparison.app_rows(), right=APP_COLUMNS[3:])
    remarks = "\n".join(f"- {markdown.escape(remark)}" for remark in comparison.remarks())
    parts = ["# Before and after", markdown.table(COLUMNS, comparison.rows())]
    parts += ["## By application", apps, "## Remarks", remarks]
    return "\n\n".join(parts) + "\n"


def json_of(comparison: Comparison) -> str:
    """Times as in a recording; shares 0 to 1."""
    content = asdict(comparison)
    for name, period in (("before", comparison.before), ("after", comparison.after)):
        content[name]["share"] = asdict(period.share)
        content[name]["seconds"] = period.end - period.start
        for key in ("start", "end"):
            content[name][key] = timestamp(content[name][key])
    content["remarks"] = comparison.remarks()
    return to_json(content)
