"""A watch as a reader sees it: a table that is drawn anew, or lines where no terminal is."""

from __future__ import annotations

import time
from collections.abc import Iterable

from rich.console import Group, RenderableType
from rich.text import Text

from pgmux.ops import figures
from pgmux.ops.cutover.progress import Progress, Standing, State
from pgmux.ops.cutover.sample import PoolerPart, Sample, ServerPart
from pgmux.ops.printing import printable, styled, table

GAP = "   "
_STYLES = {
    State.DIRECT: "warning",
    State.EXCEPTED: "dim",
    State.BOTH: "note",
    State.POOLED: "good",
    State.AWAY: "dim",
}
COLUMNS = ("Application", "User", "Database", "Direct", "Pooler", "Waiting", "", "From")


def draw(progress: Progress, message: str = "") -> RenderableType:
    """Both sides, then application by application; `message` is the last line."""
    sample = progress.latest
    if sample is None:
        return Text("")
    parts: list[RenderableType] = [_summary(progress, sample.at), *_sides(progress, sample)]
    rows = [_row(each) for each in progress.standings]
    if rows:
        parts += [Text(""), table(COLUMNS, rows, right=("Direct", "Pooler", "Waiting"))]
    told = progress.told
    if told is not None and told.others:
        parts.append(Text(f"and {told.others:,} connections of more applications", "dim"))
    if message:
        parts += [Text(""), Text(printable(message), "dim")]
    return Group(*parts)


def application(name: str) -> str:
    """An application's name, or that it has none."""
    return printable(name) or "(no name)"


def _row(each: Standing) -> tuple[Text, ...]:
    count, style = each.count, _STYLES[each.state]
    user = printable(count.user) + (" (superuser)" if count.is_superuser else "")
    return (
        styled(application(count.application), "dim" if style == "dim" else ""),
        Text(user),
        Text(printable(count.database)),
        styled(f"{count.direct:,}", style if count.direct else "dim"),
        styled(f"{count.pooled:,}", "" if count.pooled else "dim"),
        styled(f"{count.waiting:,}", "error" if count.waiting else "dim"),
        styled(str(each.state), style),
        styled(printable(", ".join(count.addresses)) if count.direct else "", "dim"),
    )


def _summary(progress: Progress, at: float) -> Text:
    clock = time.strftime("%H:%M:%S", time.localtime(at))
    return Text.assemble((f"{clock}  ", "dim"), (_sentence(progress), "bold"))


def _sentence(progress: Progress) -> str:
    if progress.told is None:
        return "it isn't known yet who connects directly"
    known = [each for each in progress.standings if each.state is not State.EXCEPTED]
    moved = sum(each.state is State.POOLED for each in known)
    away = sum(each.state is State.AWAY for each in known)
    connections = f"{progress.direct:,} connections" if progress.direct != 1 else "1 connection"
    what = f"{connections} still direct" if progress.direct else "nobody connects directly"
    more = f", {away} not connected" if away else ""
    return f"{what}; {moved} of {len(known)} applications through the pooler{more}"


def _sides(progress: Progress, sample: Sample) -> Iterable[Text]:
    if sample.server is not None:
        yield _server(sample.server, progress)
        if sample.server.is_partial:
            yield styled(
                "this role sees no addresses and states of others: GRANT pg_monitor to it",
                "warning",
            )
    else:
        yield styled(sample.server_error, "error")
    if sample.pooler is not None:
        yield _pooler(sample.pooler, progress)
        if sample.pooler.servers and sample.pooler.unknown_servers == sample.pooler.servers:
            yield styled(
                f"none of the pooler's {sample.pooler.servers} servers is a backend of this"
                " PostgreSQL: is it another one, or another pooler in between?",
                "warning",
            )
    elif sample.pooler_error:
        yield styled(f"{sample.pooler_error}; what is below is of before", "error")


def _server(part: ServerPart, progress: Progress) -> Text:
    share = part.connections / part.max_connections if part.max_connections else 0.0
    line = Text.assemble(
        f"PostgreSQL at {printable(part.place)}{GAP}",
        styled(
            f"{part.connections:,} of {part.max_connections:,} connections ({share:.0%})",
            "error" if part.is_full else "",
        ),
        f"{GAP}{part.pooler_connections:,} of the pooler",
        f"{GAP}active {part.active:,}, idle {part.idle:,},"
        f" in transaction {part.idle_in_transaction:,}",
    )
    if progress.rates.commits is not None:
        line.append(f"{GAP}{figures.rate(progress.rates.commits)} tx/s")
    return line


def _pooler(part: PoolerPart, progress: Progress) -> Text:
    line = Text(f"{printable(part.version)} at {printable(part.place)}{GAP}")
    line.append(f"{part.clients:,} clients, ")
    waiting = f"{part.waiting:,} waiting" + (
        f" up to {figures.time(part.maxwait)}" if part.waiting else ""
    )
    line.append_text(styled(waiting, "error" if part.waiting else ""))
    if progress.rates.transactions is not None:
        line.append(f"{GAP}{figures.rate(progress.rates.transactions)} tx/s")
    if progress.rates.errors is not None:
        errors = progress.rates.errors
        line.append_text(styled(f"{GAP}{errors:,} errors", "error" if errors else ""))
    return line


# Lines, where no terminal is


def line_of(progress: Progress) -> str:
    """A sample as one line."""
    sample = progress.latest
    assert sample is not None
    clock = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(sample.at))
    if not sample.is_told:
        return f"{clock}  {printable(sample.server_error or sample.pooler_error)}"
    parts = [_sentence(progress)]
    if sample.server is not None:
        parts.append(f"{sample.server.connections} of {sample.server.max_connections} connections")
    if sample.pooler is not None:
        parts.append(f"{sample.pooler.clients} clients, {sample.pooler.waiting} waiting")
    return f"{clock}  {'; '.join(parts)}"


def changes_of(changed: Iterable[Standing]) -> list[str]:
    """A line for each application that has moved, or left, or come."""
    return [
        f"  {application(each.count.application)} as {printable(each.count.user)}"
        f" on {printable(each.count.database)}: {each.state}"
        f" (direct {each.count.direct}, pooler {each.count.pooled})"
        for each in changed
    ]
