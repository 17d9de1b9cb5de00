"""The pooler's side of a sample: its clients by application, its servers by pid.

SHOW CLIENTS of ten thousand is a long answer, so that pgmux is asked for SHOW APPS instead; any
PgBouncer from 1.18 on is asked for its clients. Errors: as `pgmux.monitor.console` and `reading`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from pgmux.config.model import ADMIN_DATABASE
from pgmux.monitor.console import Console, ConsoleGone, ConsoleRefused
from pgmux.monitor.reading import UnreadableAnswer, read_pairs, read_rows
from pgmux.monitor.tables import (
    AppRow,
    ConnectionRow,
    DatabaseRow,
    ErrorRow,
    PoolRow,
    StatsRow,
)
from pgmux.ops.cutover.sample import PoolerPart

FAILURES = (ConsoleGone, ConsoleRefused, UnreadableAnswer)
_OWN_QUESTIONS = frozenset(("auth_query", "host_limits"))  # pgmux's, in SHOW APPS

Place = tuple[str, int]


@dataclass(frozen=True, slots=True)
class Server:
    """One server connection: where to, whose backend there."""

    place: Place
    user: str
    pid: int
    database: str  # as the pooler calls it


@dataclass(frozen=True, slots=True)
class Clients:
    """So many clients of one application; `database` as the pooler calls it."""

    application: str
    user: str
    database: str
    count: int
    waiting: int


@dataclass(frozen=True, slots=True)
class PoolerLook:
    """`databases`: by the pooler's name, PostgreSQL's. `adds_host`: to each application's name."""

    part: PoolerPart
    clients: tuple[Clients, ...]
    servers: tuple[Server, ...]
    databases: Mapping[str, str]
    adds_host: bool


async def look_at_pooler(console: Console) -> PoolerLook:
    """One reading. Raises: one of FAILURES."""
    version = await console.query("SHOW VERSION")
    pools = read_rows("POOLS", PoolRow, await console.query("SHOW POOLS"))
    stats = read_rows("STATS_TOTALS", StatsRow, await console.query("SHOW STATS_TOTALS"))
    databases = read_rows("DATABASES", DatabaseRow, await console.query("SHOW DATABASES"))
    settings = read_pairs("CONFIG", await console.query("SHOW CONFIG"), "key", "value")
    clients = await _read_clients(console)
    servers = await read_servers(console)
    ours = [row for row in pools if row.database != ADMIN_DATABASE]
    counted = [row for row in stats if row.database != ADMIN_DATABASE]
    part = PoolerPart(
        place=console.place,
        version=(version[0].get("version") if version else None) or "unknown version",
        clients=sum(each.count for each in clients),
        waiting=sum(row.cl_waiting for row in ours),
        maxwait=max((row.maxwait for row in ours), default=0.0),
        servers=len(servers),
        unknown_servers=0,
        transactions=sum(row.xact_count for row in counted),
        wait_time=sum(row.wait_time for row in counted),
        errors=await _read_errors(console),
    )
    names = {row.name: row.database for row in databases}
    adds_host = settings.get("application_name_add_host", "0") not in ("0", "")
    return PoolerLook(part, clients, servers, names, adds_host)


async def read_servers(console: Console) -> tuple[Server, ...]:
    """Those that PostgreSQL has let in. Raises: one of FAILURES."""
    rows = read_rows("SERVERS", ConnectionRow, await console.query("SHOW SERVERS"))
    return tuple(
        Server((row.addr, row.port), row.user, row.remote_pid, row.database)
        for row in rows
        if row.remote_pid > 0
    )


async def follows_prepared(console: Console) -> bool:
    """Whether it tracks what clients prepare by the protocol, as its transaction pools need: from
    PgBouncer 1.21 on, and not where max_prepared_statements is 0. Raises: one of FAILURES.
    """
    settings = read_pairs("CONFIG", await console.query("SHOW CONFIG"), "key", "value")
    return settings.get("max_prepared_statements", "0") != "0"


async def _read_errors(console: Console) -> int | None:
    """What clients were told since the start; None where the console doesn't tell."""
    rows = await console.query_optional("SHOW ERRORS")
    if rows is None:
        return None
    return sum(row.count for row in read_rows("ERRORS", ErrorRow, rows))


async def _read_clients(console: Console) -> tuple[Clients, ...]:
    rows = await console.query_optional("SHOW APPS")
    if rows is None:
        found = read_rows("CLIENTS", ConnectionRow, await console.query("SHOW CLIENTS"))
        return tuple(_grouped(row for row in found if row.database != ADMIN_DATABASE))
    return tuple(
        Clients(row.application_name, row.user, row.database, count, row.cl_waiting)
        for row in read_rows("APPS", AppRow, rows)
        if (count := row.cl_active + row.cl_waiting) and row.application_name not in _OWN_QUESTIONS
    )


def _grouped(rows: Iterable[ConnectionRow]) -> Iterable[Clients]:
    counts: dict[tuple[str, str, str], list[int]] = defaultdict(lambda: [0, 0])
    for row in rows:
        count = counts[row.application_name, row.user, row.database]
        count[0] += 1
        count[1] += row.state.startswith("waiting")
    return [Clients(*key, *count) for key, count in counts.items()]


def servers_at(
    servers: Iterable[Server], backends: Iterable[tuple[int, str]]
) -> tuple[set[int], set[str]]:
    """The pids of the servers at one PostgreSQL, of which `backends` are pids and users; and the
    databases, as the pooler calls them, that are at another one alone.

    A pooler may serve several, whose pids may be the same: a place where most of the servers aren't
    known to this PostgreSQL is another one.
    """
    known = set(backends)
    by_place: dict[Place, list[Server]] = defaultdict(list)
    for server in servers:
        by_place[server.place].append(server)
    here: list[Server] = []
    there: set[str] = set()
    for found in by_place.values():
        ours = [server for server in found if (server.pid, server.user) in known]
        if 2 * len(ours) > len(found):
            here += ours
        else:
            there |= {server.database for server in found}
    return {server.pid for server in here}, there - {server.database for server in here}
