"""A plan for people, for a ticket as Markdown, and for programs."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import asdict

from rich.console import Console
from rich.text import Text

from pgmux.ops import figures
from pgmux.ops.cutover import markdown
from pgmux.ops.cutover.plan.judge import Item, Plan, as_number, counted
from pgmux.ops.cutover.plan.signs import UNSEEN, Kind, Step
from pgmux.ops.cutover.screen import application
from pgmux.ops.printing import printable, styled, table, to_json

_HEADINGS = {
    Step.MOVE: "Move, in this order",
    Step.LOOK: "Look first, then move",
    Step.SESSION: "Session mode, or leave them direct",
    Step.STAY: "Leave them direct",
}
_STYLES = {Step.MOVE: "good", Step.LOOK: "note", Step.SESSION: "warning", Step.STAY: "dim"}
COLUMNS = ("", "Application", "User", "Database", "Peak", "Median", "Idle up to", "From", "")
_NUMBERS = ("", "Peak", "Median", "Idle up to")


def _name(item: Item) -> str:
    return application(item.observed.app.application)


def _user(item: Item) -> str:
    user = printable(item.observed.app.user)
    return f"{user} (superuser)" if item.observed.is_superuser else user


def _period(plan: Plan) -> str:
    seen = plan.observed
    return f"{counted(seen.samples, 'look')} in {figures.time(seen.seconds)}"


def _shares(plan: Plan) -> list[tuple[str, str, str]]:
    """What there is, now, and after all that can have moved."""
    seen, most = plan.observed, plan.most_after
    if most is None:
        after = "unknown without a configuration"
    elif math.isinf(most):
        after = "without a limit: a pool_size or max_db_connections is 0"
    else:
        after = f"at most {_of_all(plan, most)}, of which {plan.staying:,} stay direct"
    now = f"{_of_all(plan, seen.connections)} at peak, {seen.connections_normally:g} normally"
    return [("Connections to PostgreSQL", now, after)]


def _of_all(plan: Plan, connections: float) -> str:
    return f"{connections:,.0f} of {plan.observed.max_connections:,}" + (
        f" ({connections / plan.observed.max_connections:.0%})"
    )


def _remarks(plan: Plan) -> Iterable[str]:
    seen = plan.observed
    if plan.fits is False:
        yield (
            f"That doesn't fit: ordinary users have {plan.available:,} of max_connections."
            " See pgmux size and pgmux check."
        )
    if seen.samples < 10:
        yield f"Only {_period(plan)}: peaks are missed. --for 1h says more."
    if seen.is_partial:
        yield (
            "This role sees neither addresses nor states nor statements of others:"
            " GRANT pg_monitor to it. Much of what follows isn't known therefore."
        )
    if seen.pooler_error:
        yield (
            f"The pooler's console: {seen.pooler_error}. Its own connections are counted as"
            " direct ones."
        )
    if seen.follows_prepared is False:
        yield (
            "The pooler doesn't track prepared statements: in its transaction and statement pools"
            " asyncpg, JDBC, psycopg 3 and others fail that prepare by themselves. Before they"
            " move: max_prepared_statements = 200 (pgmux, PgBouncer from 1.21 on), or off in the"
            " driver."
        )
    if seen.unread_databases:
        names = ", ".join(map(printable, seen.unread_databases))
        yield f"Not looked into for temporary tables: {names}."
    if seen.others:
        yield f"{seen.others:,} connections of more applications aren't told one by one."
    for sign in seen.signs:
        if sign.kind is Kind.TWO_PHASE:
            whose = f"by {printable(sign.app.user)} on {printable(sign.app.database)}"
            yield f"{counted(sign.count, 'transaction')} {whose}: {sign.kind.meaning}."
    if not plan.items:
        yield "Nobody connects directly."
    yield f"What can't be seen from outside: {UNSEEN}."


def _replicas(plan: Plan) -> list[str]:
    return [
        f"{application(each.application)} as {printable(each.user)} from"
        f" {each.address or 'local'}: {counted(each.count, 'walsender')}; replication needs"
        " PostgreSQL itself"
        for each in plan.observed.replicas
    ]


# On a terminal


def print_plan(plan: Plan, terminal: Console) -> None:
    """A table in the order of the moves, then what to know of each."""
    terminal.print(Text(f"PostgreSQL at {printable(plan.observed.place)}, {_period(plan)}", "bold"))
    for what, now, after in _shares(plan):
        terminal.print(Text(printable(f"{what}: {now}; after: {after}")))
    rows = [_row(number, item) for number, item in enumerate(plan.items, 1)]
    if rows:
        terminal.print("", table(COLUMNS, rows, right=_NUMBERS), "", sep="\n")
    for number, item in enumerate(plan.items, 1):
        _print_item(number, item, terminal)
    for line in _replicas(plan):
        terminal.print(styled(line, "dim"))
    for remark in _remarks(plan):
        terminal.print(styled(remark, ""))


def _row(number: int, item: Item) -> tuple[str | Text, ...]:
    seen = item.observed
    return (
        str(number),
        _name(item),
        _user(item),
        printable(seen.app.database),
        f"{seen.peak:,}",
        f"{seen.normally:g}",
        figures.time(seen.longest_idle),
        ", ".join(seen.addresses),
        styled(str(item.step), _STYLES[item.step]),
    )


def _print_item(number: int, item: Item, terminal: Console) -> None:
    lines = [*_change(item), *item.reasons]
    if lines:
        terminal.print(Text(f"{number}. {_name(item)}", "bold"))
    for line in lines:
        terminal.print(Text(f"   {printable(line)}"))


def _change(item: Item) -> Iterable[str]:
    """What to change, after what has to be there before."""
    if item.change is None:
        return
    for line in item.change.first:
        yield f"before: {line}"
    change = item.change
    database = item.observed.app.database
    same = "same database, user and password"
    if change.database != database:
        same = f"database {database} → {change.database}, same user and password"
    yield f"{change.before} → {change.after} ({same})"


# As Markdown


def to_markdown(plan: Plan) -> str:
    """A checklist."""
    parts = [
        "# Moving to the pooler",
        f"PostgreSQL at {markdown.escape(plan.observed.place)},"
        f" {_period(plan)}; pooler at {markdown.escape(plan.pooler)}.",
        markdown.table(("", "now", "after all have moved"), _shares(plan)),
    ]
    for step, heading in _HEADINGS.items():
        items = [item for item in plan.items if item.step is step]
        if items:
            parts += [f"## {heading}", "\n".join(_markdown_item(item) for item in items)]
    replicas = _replicas(plan)
    if replicas:
        parts += ["## Replication", "\n".join(f"- {markdown.escape(line)}" for line in replicas)]
    parts += ["## Remarks", "\n".join(f"- {markdown.escape(line)}" for line in _remarks(plan))]
    return "\n\n".join(parts) + "\n"


def _markdown_item(item: Item) -> str:
    seen = item.observed
    facts = [f"{counted(seen.peak, 'connection')} at peak", f"{seen.normally:g} normally"]
    if seen.longest_idle:
        facts.append(f"idle for up to {figures.time(seen.longest_idle)}")
    if seen.addresses:
        facts.append(f"from {', '.join(map(markdown.escape, seen.addresses))}")
    box = "" if item.step is Step.STAY else "[ ] "
    head = (
        f"- {box}**{markdown.escape(_name(item))}** as {markdown.escape(_user(item))} on"
        f" {markdown.escape(printable(seen.app.database)) or '(no database)'}: {', '.join(facts)}"
    )
    lines = [f"  - {markdown.escape(line)}" for line in (*_change(item), *item.reasons)]
    return "\n".join([head, *lines])


# For programs


def json_of(plan: Plan) -> str:
    """Steps and signs by name; what is unknown or unlimited is null."""
    content = asdict(plan)
    for item, of_plan in zip(content["items"], plan.items, strict=True):
        item["step"] = of_plan.step.name.lower()
    for sign, of_plan_sign in zip(content["observed"]["signs"], plan.observed.signs, strict=True):
        sign["kind"] = str(of_plan_sign.kind)
    content["most_servers"] = as_number(plan.most_servers)
    content["most_after"] = as_number(plan.most_after)
    content["fits"] = plan.fits
    return to_json(content)
