"""A reading as the page shows it, as JSON: what is first, how much of it, and what isn't told.

Times are µs. None is what this console, or this moment, doesn't tell; a table that the console
doesn't have is None as a whole. Names are as the console has them: the page makes them harmless.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from pgmux.config.model import ADMIN_DATABASE
from pgmux.monitor.rates import AppRate, Rates
from pgmux.monitor.sample import Sample
from pgmux.monitor.tables import DatabaseRow, PoolRow, WaiterRow
from pgmux.web.history import Key, Point
from pgmux.web.readings import Reading

MAX_POOLS, MAX_APPS, MAX_WAITERS, MAX_OF_A_POOL, MAX_ERRORS, MAX_HOSTS = 50, 25, 60, 15, 30, 50
MAX_TROUBLES = 5
USEC = 1_000_000

Json = dict[str, object]


def us(seconds: float | None) -> int | None:
    """Seconds as the page wants them."""
    return None if seconds is None else round(seconds * USEC)


@dataclass(frozen=True, slots=True)
class PoolFigures:
    """One pool: its row, its limit, its rates."""

    row: PoolRow
    limit: int | None
    point: Point
    database: DatabaseRow | None

    def as_json(self) -> Json:
        row, point = self.row, self.point
        return {
            "database": row.database,
            "user": row.user,
            "mode": row.pool_mode,
            "paused": self.database is not None and self.database.paused,
            "disabled": self.database is not None and self.database.disabled,
            "cl_active": row.cl_active,
            "cl_waiting": row.cl_waiting,
            "sv_active": row.sv_active,
            "sv_idle": row.sv_idle + row.sv_used,
            "sv_other": max(0, row.servers - row.sv_active - row.sv_idle - row.sv_used),
            "limit": self.limit,
            "maxwait": us(row.maxwait),
            "wait_p99": us(point.p99),
            "xacts": point.xacts,
        }


# Figures


def total_point(rates: Rates | None) -> Point:
    """All pools together."""
    if rates is None:
        return Point()
    wait = rates.all_pools.wait if rates.all_pools else None
    return Point(
        rates.total.xact_rate,
        wait.p50 if wait else None,
        wait.p99 if wait else None,
        rates.total.wait_time,
    )


def pool_points(sample: Sample, rates: Rates | None) -> dict[Key, Point]:
    """By pool; where the console tells rates by database alone, of those that are a database's
    only pool.
    """
    if rates is None:
        return {}
    if "HISTOGRAMS" not in sample.not_told:
        return {
            key: Point(pool.xact_rate, pool.wait.p50, pool.wait.p99, pool.wait.mean)
            for key, pool in rates.pools.items()
            if key[0] != ADMIN_DATABASE
        }
    pools_of = Counter(pool.database for pool in sample.pools)
    return {
        pool.key: Point(xacts=stats.xact_rate, mean=stats.wait_time)
        for pool in sample.pools
        if pool.database != ADMIN_DATABASE
        and pools_of[pool.database] == 1
        and (stats := rates.databases.get(pool.database))
    }


def rank_pools(reading: Reading) -> list[PoolFigures]:
    """Who waits first, longest first; then by servers at work and by transactions."""
    sample = reading.sample
    sizes = sample.pool_sizes()
    databases = {row.name: row for row in sample.databases}
    points = pool_points(sample, reading.lately)
    figures = [
        PoolFigures(
            pool,
            sizes[pool.key] if sizes[pool.key] > 0 else None,
            points.get(pool.key, Point()),
            databases.get(pool.database),
        )
        for pool in sample.pools
        if pool.database != ADMIN_DATABASE
    ]
    figures.sort(key=_rank)
    return figures


def _rank(figures: PoolFigures) -> tuple[float, float, float, Key]:
    row = figures.row
    waits = row.maxwait + 1.0 if row.cl_waiting else 0.0
    return (-waits, -row.sv_active, -(figures.point.xacts or 0.0), row.key)


# The page's parts


def view_reading(reading: Reading) -> Json:
    """All but the pools, which depend on what is looked for."""
    sample = reading.sample
    return {
        "is_pgmux": "HISTOGRAMS" not in sample.not_told,
        "condition": _condition(sample),
        "totals": _totals(reading),
        "apps": _apps(reading),
        "waiters": _waiters(sample),
        "errors": _errors(reading),
        "hosts": _hosts(sample),
        "readiness": _readiness(sample),
    }


def view_pools(figures: list[PoolFigures], text: str) -> Json:
    """The first pools of those whose database or user has that text in it."""
    text = text.casefold()
    found = [
        each
        for each in figures
        if not text or text in each.row.database.casefold() or text in each.row.user.casefold()
    ]
    rows = [each.as_json() for each in found[:MAX_POOLS]]
    return {"rows": rows, "matching": len(found), "all": len(figures)}


def _condition(sample: Sample) -> Json:
    """One word or two, whether it is good, and what is wrong."""
    troubles = [
        f"{row.check} {row.name}: {row.reason}." if row.name else f"{row.check}: {row.reason}."
        for row in sample.readiness
        if not row.ready
    ]
    paused = [row.name for row in sample.databases if row.paused]
    unready = {row.check: row.reason for row in sample.readiness if not row.ready}
    if sample.state not in (None, "active"):
        text = str(sample.state)
    elif "listening" in unready:
        is_ending = "shutting down" in unready["listening"]
        text = "shutting down" if is_ending else "not listening"
    elif "configuration" in unready:
        text = "configuration not ready"
    elif paused:
        text = f"{len(paused)} paused"
    else:
        text = f"{len(troubles)} not ready" if troubles else "ready"
    if len(troubles) > MAX_TROUBLES:
        troubles[MAX_TROUBLES:] = [f"And {len(troubles) - MAX_TROUBLES} more."]
    return {"text": text, "kind": "good" if text == "ready" else "bad", "trouble": troubles}


def _totals(reading: Reading) -> Json:
    pools = [row for row in reading.sample.pools if row.database != ADMIN_DATABASE]
    rates = reading.lately
    wait = total_point(rates)
    return {
        "cl_active": sum(row.cl_active for row in pools),
        "cl_waiting": sum(row.cl_waiting for row in pools),
        "sv_active": sum(row.sv_active for row in pools),
        "sv_idle": sum(row.sv_idle + row.sv_used for row in pools),
        "xacts": rates.total.xact_rate if rates else None,
        "queries": rates.total.query_rate if rates else None,
        "received": rates.total.received_rate if rates else None,
        "sent": rates.total.sent_rate if rates else None,
        "wait_p50": us(wait.p50),
        "wait_p99": us(wait.p99),
        "wait_mean": us(wait.mean),
    }


def _apps(reading: Reading) -> Json | None:
    if "APPS" in reading.sample.not_told:
        return None
    rates = reading.minute
    apps = [each for each in rates.apps if _is_there(each)] if rates else []
    rows = [_app(each) for each in apps[:MAX_APPS]]
    return {"rows": rows, "all": len(apps), "seconds": round(rates.seconds) if rates else 0}


def _is_there(app: AppRate) -> bool:
    """Whether it has clients, or had some within the minute; not the console's own."""
    row = app.row
    does = row.cl_active or row.cl_waiting or app.servers_held or app.xact_rate
    return row.database != ADMIN_DATABASE and bool(does)


def _app(app: AppRate) -> Json:
    row = app.row
    return {
        "database": row.database,
        "user": row.user,
        "application_name": row.application_name,
        "held": app.servers_held,
        "share": app.server_share,
        "idle_share": app.servers_idle_in_xact / app.servers_held if app.servers_held else None,
        "caused": app.waits_caused,
        "waited": app.clients_waiting,
        "clients": row.cl_active + row.cl_waiting,
        "xacts": app.xact_rate,
        "open_xact": us(row.open_xact_time) or None,
        "max_xact": us(row.max_xact_time),
        "errors": row.error_count,
    }


def _waiters(sample: Sample) -> Json | None:
    if "WAITERS" in sample.not_told:
        return None
    rows = [*_first_of_each(sample.waiters)][:MAX_WAITERS]
    waiting = sum(row.role == "waiting" for row in sample.waiters)
    return {
        "rows": [_waiter(row) for row in rows],
        "all": len(sample.waiters),
        "waiting": waiting,
        "holding": len(sample.waiters) - waiting,
    }


def _first_of_each(rows: Iterable[WaiterRow]) -> Iterable[WaiterRow]:
    """Of each pool the first of each role, so that one long queue doesn't hide who holds."""
    counts: dict[tuple[str, str, str], int] = {}
    for row in rows:
        key = (row.database, row.user, row.role)
        counts[key] = counts.get(key, 0) + 1
        if counts[key] <= MAX_OF_A_POOL:
            yield row


def _waiter(row: WaiterRow) -> Json:
    return {
        "database": row.database,
        "user": row.user,
        "role": row.role,
        "application_name": row.application_name,
        "addr": row.addr,
        "port": row.port,
        "state": row.state,
        "duration": us(row.duration),
        "client_id": row.client_id,
        "server_pid": row.server_pid,
    }


def _errors(reading: Reading) -> Json | None:
    """Those of the last minutes first."""
    if "ERRORS" in reading.sample.not_told:
        return None
    lately = reading.errors
    rows = sorted(reading.sample.errors, key=lambda row: (-lately.get(row.key, 0), -row.count))
    shown = [
        {
            "database": row.database,
            "source": row.source,
            "sqlstate": row.sqlstate,
            "error": row.error,
            "count": row.count,
            "lately": lately.get(row.key, 0),
            "last": row.last_time,
        }
        for row in rows[:MAX_ERRORS]
    ]
    return {"rows": shown, "all": len(rows), "lately": sum(lately.values())}


def _hosts(sample: Sample) -> Json | None:
    """The fullest first."""
    if "HOSTS" in sample.not_told:
        return None
    rows = []
    for row in sample.hosts:
        usable = None
        if row.max_connections is not None:
            usable = max(0, row.max_connections - (row.reserved_connections or 0))
        rows.append(
            {
                "host": row.host,
                "port": row.port,
                "connections": row.server_connections,
                "max_connections": row.max_connections,
                "usable": usable,
            }
        )
    rows.sort(key=lambda row: -(row["connections"] / (row["usable"] or 1)))  # type: ignore[operator]
    return {"rows": rows[:MAX_HOSTS], "all": len(rows)}


def _readiness(sample: Sample) -> str | None:
    """A sentence; what isn't ready is among the troubles."""
    if "READINESS" in sample.not_told:
        return None
    databases = [row for row in sample.readiness if row.check == "database"]
    ready = sum(row.ready for row in databases)
    others = [
        f"{row.check}: {'yes' if row.ready else 'no'}"
        for row in sample.readiness
        if row.check != "database"
    ]
    return "Ready: " + ", ".join([*others, f"databases: {ready} of {len(databases)}"])
