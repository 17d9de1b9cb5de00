"""The report of `pgmux size`, for people and for programs."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from pgmux.ops import figures
from pgmux.ops.printing import STYLES, printable, styled, to_json
from pgmux.ops.sizing.advice import MIN_XACTS, Estimate
from pgmux.ops.sizing.arithmetic import caveat, duration, lines, size
from pgmux.ops.sizing.demand import Saturation
from pgmux.ops.sizing.plan import Plan, PoolPlan, ServerPlan
from pgmux.ops.sizing.room import Step

SHORT = 290.0  # seconds: less than five minutes isn't anybody's day
_BAR = 40  # characters
_INDENT = (0, 0, 0, 2)
_TODO = "What should change: each line instead of that name's in pgbouncer.ini, then RELOAD:"


def print_report(plan: Plan, fragment: str, terminal: Console) -> None:
    """What was seen, what follows for each pool and why, and the settings that should change."""
    terminal.print(Text(printable(_head(plan)), "bold"))
    for note in notes(plan):
        terminal.print(styled(note, "dim"))
    for pool in plan.judged:
        terminal.print()
        terminal.print(_pool(pool, plan))
    lacking = [pool for pool in plan.pools if pool.advice.wanted is None]
    if lacking:
        terminal.print()
        terminal.print(Text("Too little was seen of, and so nothing is said of:", "bold"))
        for pool in lacking:
            text = f"  {_name(pool)}: {pool.advice.lacking}"
            terminal.print(styled(text, "dim"))
    terminal.print()
    for text, style in (*_servers(plan), *_process(plan)):
        terminal.print(styled(text, style))
    terminal.print()
    if fragment:
        terminal.print(Text(_TODO, "bold"))
        # As it is, so that it can be copied: no line is folded.
        terminal.print(Text(fragment), soft_wrap=True, end="")
    else:
        terminal.print(styled("Nothing has to change.", "good"))


def _head(plan: Plan) -> str:
    return (
        f"{plan.version} at {plan.place}, observed for {duration(plan.seconds)} in"
        f" {plan.samples} samples; 99 of 100 transactions are to wait for a server"
        f" {duration(plan.wishes.target)} at most"
    )


def notes(plan: Plan) -> Iterable[str]:
    """What bounds all that is said."""
    if plan.seconds < SHORT:
        yield (
            f"{duration(plan.seconds)} is short: this fits what was going on then, and your busiest"
            " hour only if that was it."
        )
    if not plan.has_histograms:
        yield (
            "This console tells sums by database: no p99 of waits, and not how unevenly long"
            " transactions are. A long tail of them needs more servers than the model says."
        )
    if plan.restarts:
        yield f"The pooler began again {plan.restarts} times; those intervals are left out."
    if plan.absences:
        yield f"The console didn't answer {plan.absences} times; those intervals are left out."
    for user, limit, needed in plan.user_limits:
        yield f"max_user_connections bounds {user} to {limit} servers, where {needed} are needed."
    if plan.paused:
        yield f"Paused or disabled, and left out for that time: {', '.join(plan.paused)}."


def _name(pool: PoolPlan) -> str:
    return "/".join(pool.key)


def _pool(pool: PoolPlan, plan: Plan) -> RenderableType:
    demand = pool.advice.demand
    full = demand.saturation is not Saturation.NONE
    grows = pool.after.pool_size > pool.advice.now.pool_size
    head = Text.assemble(
        (printable(_name(pool)), "bold"),
        (f"  {demand.pool_mode} mode", "dim"),
        ("  full" if full else "  too small" if grows else "", STYLES["warning"]),
    )
    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(no_wrap=True)
    grid.add_column(justify="right", no_wrap=True)
    grid.add_column(overflow="fold")
    for line in lines(pool, plan):
        style = "bold" if line.name.endswith("_size") else ""
        grid.add_row(Text(line.name, style), Text(line.value, style), Text(line.how, "dim"))
    parts: list[RenderableType] = [head, Padding(grid, _INDENT)]
    if said := caveat(pool.advice):
        parts.append(Padding(styled(said, "warning"), _INDENT))
    for plot in _plots(pool):
        parts += [Text(), Padding(plot, _INDENT)]
    return Group(*parts)


def _plots(pool: PoolPlan) -> Iterable[Text]:
    demand = pool.advice.demand
    if len(demand.history) > 1 and demand.needed_peak:
        line = figures.sparkline(demand.history, len(demand.history))
        yield Text.assemble(
            ("needed at once, up to ", "dim"),
            f"{demand.needed_peak}  ",
            (line, "cyan"),
        )
    if pool.advice.curve:
        yield _curve(pool)


def _curve(pool: PoolPlan) -> Text:
    """Estimated p99 of the wait against servers, a bar each."""
    waits = [each.wait_p99 for each in pool.advice.curve]
    full = waits[1] or waits[0]  # the first is near the load, and would make all others small
    rows = [Text("servers   wait of 99 in 100, estimated", "dim")]
    for each in pool.advice.curve:
        rows.append(
            Text.assemble(
                f"{each.servers:>7}  {duration(each.wait_p99):>8}  ",
                (figures.bar(min(each.wait_p99, full), full, _BAR), "cyan"),
                ("…" if each.wait_p99 > full else "", "cyan"),
                (_mark(each, pool), "bold"),
            )
        )
    return Text("\n").join(rows)


def _mark(each: Estimate, pool: PoolPlan) -> str:
    marks = []
    if each.servers == pool.advice.now.pool_size:
        marks.append("now")
    if pool.advice.wanted and each.servers == pool.advice.wanted.pool_size:
        marks.append("advised")
    return f" <- {', '.join(marks)}" if marks else ""


# PostgreSQL and the process

_STEPS = {
    Step.RAISED: "",
    Step.NEEDED: "; for that, pools that need less than they have are lowered",
    Step.UNKNOWN_CUT: "; for that, also pools of which too little was seen get what they had",
}


def _servers(plan: Plan) -> Iterable[tuple[str, str]]:
    for server in plan.servers:
        yield _server(server)


def _server(server: ServerPlan) -> tuple[str, str]:
    host, port = server.place
    where = f"PostgreSQL {host or 'at the local socket'}:{port}"
    fit, room = server.fit, server.room
    opens = f"the pools may open {size(fit.after)}"
    if fit.before != fit.after:
        opens += f" (now {size(fit.before)})"
    if room is None:
        said = "max_connections isn't known, so nobody checks that sum: --postgres tells it"
        return f"{where}: {opens}; {said}", "warning"
    others = "unknown others" if room.others is None else f"{room.others} around the pooler"
    kept = f" - {room.keep_free} kept free" if room.keep_free else ""
    has = f"{room.max_connections} - {room.reserved} reserved - {others}{kept} = {room.left}"
    if not server.is_short:
        return f"{where}: max_connections {has}; {opens}{_STEPS[fit.step]}", ""
    return (
        f"{where}: max_connections {has} is less than the pools need: shared by need, {opens}."
        " More waiting is to be expected; raise max_connections, move others behind the pooler, or"
        " shorten transactions.",
        "error",
    )


def _process(plan: Plan) -> Iterable[tuple[str, str]]:
    process = plan.process
    said = f"Clients: {process.clients_peak} at once at most, max_client_conn"
    if process.max_client_conn == process.max_client_conn_after:
        yield f"{said} {process.max_client_conn}", ""
    else:
        yield (
            f"{said} {process.max_client_conn}: too close, {process.max_client_conn_after}",
            ("warning"),
        )
    if process.refused_clients:
        yield f"{process.refused_clients} clients were refused by max_client_conn.", "error"
    if process.timed_out:
        yield f"{process.timed_out} clients were told query_wait_timeout.", "error"


def too_little(plan: Plan) -> str:
    """Why nothing can be said, and how much is needed."""
    if not plan.pools:
        return (
            f"nobody has used a pool in {duration(plan.seconds)}: observe while there is load"
            " (--for)"
        )
    found = "; ".join(f"{_name(pool)}: {pool.advice.lacking}" for pool in plan.pools[:5])
    more = f"; and {len(plan.pools) - 5} more pools" if len(plan.pools) > 5 else ""
    return (
        f"too little was seen in {duration(plan.seconds)} to advise"
        f" ({MIN_XACTS} transactions of a pool are needed; observe longer, by --for): {found}{more}"
    )


# For programs


def json_of(plan: Plan, fragment: str) -> str:
    """Times in seconds; null is unknown, and for a size unlimited."""
    content = {
        "version": plan.version,
        "place": plan.place,
        "seconds": plan.seconds,
        "samples": plan.samples,
        "target_wait": plan.wishes.target,
        "growth": plan.wishes.growth,
        "notes": list(notes(plan)),
        "pools": [_pool_json(pool, plan) for pool in plan.pools],
        "servers": [_server_json(server) for server in plan.servers],
        "process": asdict(plan.process),
        "fragment": fragment,
    }
    return to_json(_finite(content))


def _pool_json(pool: PoolPlan, plan: Plan) -> dict[str, Any]:
    advice = pool.advice
    demand = asdict(advice.demand)
    demand["saturation"] = str(advice.demand.saturation)
    demand["needed_history"] = demand.pop("history")
    del demand["database"], demand["user"]
    is_judged = advice.wanted is not None
    return {
        "database": pool.key[0],
        "user": pool.key[1],
        "demand": demand,
        "setting": asdict(pool.setting),
        "now": asdict(advice.now),
        "wanted": asdict(advice.wanted) if advice.wanted else None,
        "after": asdict(pool.after),
        "by_model": advice.by_model,
        "by_samples": advice.by_samples,
        "is_measured": advice.is_measured,
        "estimates": [asdict(each) for each in advice.curve],
        "lacking": advice.lacking,
        "arithmetic": [asdict(line) for line in lines(pool, plan)] if is_judged else [],
        "caveat": caveat(advice) if is_judged else "",
    }


def _server_json(server: ServerPlan) -> dict[str, Any]:
    room = server.room
    return {
        "host": server.place[0],
        "port": server.place[1],
        "room": None if room is None else {**asdict(room), "left": room.left},
        "step": str(server.fit.step),
        "before": server.fit.before,
        "after": server.fit.after,
        "max_db_connections": dict(server.fit.limits),
    }


def _finite(value: Any) -> Any:
    """JSON has no infinity."""
    if isinstance(value, dict):
        return {key: _finite(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
