"""The lines above the tables: which pooler, what it does now and in the last minutes."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from rich.cells import cell_len
from rich.text import Text

from pgmux.config.model import ADMIN_DATABASE
from pgmux.monitor.sample import Sample
from pgmux.ops import figures
from pgmux.ops.console.output import printable
from pgmux.ops.top.watch import Picture, PoolKey

GAP = "   "
ALARM = "bold red"
_BEHIND = 14  # characters behind a sparkline
_NAMES = {
    "APPS": "applications",
    "HISTOGRAMS": "quantiles",
    "ERRORS": "errors",
    "CONNECTS": "connects",
    "WAITERS": "who waits for whom",
    "HOSTS": "PostgreSQL's limits",
}


def title(picture: Picture, place: str) -> Text:
    """The version, where it is, and whether it is paused."""
    sample = picture.sample
    line = Text.assemble((printable(sample.version), "bold"), f" at {printable(place)}")
    if sample.state not in (None, "active"):
        line.append(GAP + printable(str(sample.state)), ALARM)
    faults = [row for row in sample.readiness if not row.ready]
    if faults:
        reason = printable(f"not ready: {faults[0].name or faults[0].check}: {faults[0].reason}")
        line.append(GAP + reason, ALARM)
    return line


def work(picture: Picture) -> Text:
    """What is done a second, and how long it takes."""
    rates = picture.rates
    if rates is None:
        return Text("rates come with the next sample", "dim")
    total, pools = rates.total, rates.all_pools
    parts = [
        f"{figures.rate(total.xact_rate)} tx/s",
        f"{figures.rate(total.query_rate)} query/s",
        f"in {figures.size(total.received_rate)}/s out {figures.size(total.sent_rate)}/s",
    ]
    if pools is None:
        wait, xact = figures.time(total.wait_time), figures.time(total.xact_time)
        parts.append(f"mean wait {wait} tx {xact} query {figures.time(total.query_time)}")
    else:
        parts.append(f"wait p50 {figures.time(pools.wait.p50)} p99 {figures.time(pools.wait.p99)}")
        parts.append(f"tx p99 {figures.time(pools.xact.p99)}")
    return Text(GAP.join(parts))


def load(sample: Sample) -> Text:
    """Clients and servers against their limits."""
    pools = [pool for pool in sample.pools if pool.database != ADMIN_DATABASE]
    sizes = sample.pool_sizes()
    waiting = sum(pool.cl_waiting for pool in pools)
    longest = max((pool.maxwait for pool in pools), default=0.0)
    clients = sample.lists.get("used_clients", 0)
    line = Text(f"clients {clients} of {sample.limits.max_client_conn}")
    if waiting:
        line.append(f", {waiting} waiting up to {figures.time(longest)}", ALARM)
    active, all_ = sum(pool.sv_active for pool in pools), sum(pool.servers for pool in pools)
    room = sum(sizes[pool.key] for pool in pools)
    line.append(f"{GAP}servers {all_} of {room}, {active} active")
    for host in sample.hosts[:2]:
        if host.max_connections is not None:
            free = host.max_connections - (host.reserved_connections or 0)
            where = printable(f"{host.host}:{host.port}")
            line.append(f"{GAP}{where} {host.server_connections} of {free}")
    return line


def past(picture: Picture, width: int) -> Text:
    """Transactions and waits of the last minutes, as wide as it may be."""
    history = picture.history
    if not history:
        return Text("")
    rates = [point.xact_rate for point in history]
    waits = [point.wait_p99 for point in history if point.wait_p99 is not None]
    if not waits:
        return _draw("tx/s", rates, width, figures.rate)
    line = _draw("tx/s", rates, width // 2, figures.rate)
    return line.append_text(_draw("wait p99", waits, width // 2, figures.time))


def _draw(name: str, values: Sequence[float], width: int, show: Callable[[float], str]) -> Text:
    """A sparkline between its name and its highest value, at most so wide."""
    room = max(1, width - cell_len(name) - _BEHIND)
    shown = values[-room:]
    drawn = (figures.sparkline(shown, room), "cyan")
    return Text.assemble(f"{name} ", drawn, (f" ≤ {show(max(shown))}{GAP}", "dim"))


def not_told(sample: Sample) -> str:
    """What this console doesn't tell, as half a sentence; "" where it tells everything."""
    names = [name for table, name in _NAMES.items() if table in sample.not_told]
    return f"{printable(sample.version)} doesn't tell: {', '.join(names)}" if names else ""


def pool_title(picture: Picture, pool: PoolKey) -> Text:
    """An opened pool's name and counts."""
    sample = picture.sample
    name = printable(f"{pool[0]} as {pool[1]}")
    row = next((row for row in sample.pools if row.key == pool), None)
    if row is None:
        return Text.assemble((name, "bold"), f"{GAP}there is no such pool any more")
    size = sample.pool_sizes()[pool]
    mode = printable(row.pool_mode or "")
    line = Text.assemble((name, "bold"), f"{GAP}{mode}{GAP}clients {row.cl_active}")
    if row.cl_waiting:
        line.append(f", {row.cl_waiting} waiting up to {figures.time(row.maxwait)}", ALARM)
    return line.append(f"{GAP}servers {row.servers} of {size}, {row.sv_active} active")
