"""One sample of both sides: PostgreSQL's connections, and which of them are the pooler's.

PostgreSQL is logged in to for each sample: so a look also tells whether it still lets one in, keeps
no connection between two, and minds no restart. The pooler's servers are told by their pids (SHOW
SERVERS), asked before PostgreSQL and after, as one may come in between.
"""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Self

from pgmux.monitor.console import Console, open_console
from pgmux.ops.activity import Activity, Connected, read_activity
from pgmux.ops.cutover.names import App, as_postgres_shows
from pgmux.ops.cutover.pooler_look import (
    FAILURES,
    PoolerLook,
    Server,
    follows_prepared,
    look_at_pooler,
    read_servers,
    servers_at,
)
from pgmux.ops.cutover.sample import MOST_ADDRESSES, MOST_APPS, AppCount, Sample, ServerPart
from pgmux.ops.server_connection import Row, ServerConnection, ServerError

_TOO_MANY = "53300"
_REFUSALS = ("too many clients", "remaining connection slots", "too many connections")

_COUNTERS = """
SELECT sum(xact_commit)::bigint AS commits, sum(xact_rollback)::bigint AS rollbacks,
       extract(epoch FROM pg_postmaster_start_time())::float8 AS started
FROM pg_catalog.pg_stat_database"""
_BACKENDS = """
SELECT pid, usename AS user FROM pg_catalog.pg_stat_activity WHERE pid = ANY (%s::bigint[])"""


class Looker:
    """Takes samples of one PostgreSQL and, where `console` is given, of the pooler before it."""

    def __init__(self, parameters: dict[str, str], console: str | None) -> None:
        """`parameters` are libpq's, `console` is a conninfo."""
        self._parameters = parameters
        self._console = open_console(console) if console is not None else None
        self._runner = asyncio.Runner()
        self._servers: tuple[Server, ...] = ()  # as last told
        self.error = ""  # why the pooler's servers aren't known, of the last `read`

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        if self._console is not None:
            self._runner.run(self._console.close())
        self._runner.close()

    @property
    def has_pooler(self) -> bool:
        return self._console is not None

    def take(self) -> Sample:
        """A sample, in which what couldn't be read is said."""
        pooler, pooler_error = self._ask_pooler()
        if pooler is not None:
            self._servers = pooler.servers
        at = time.time()
        try:
            # In one transaction PostgreSQL tells one moment, and counts one commit of ours.
            with ServerConnection(self._parameters) as server, server.transaction():
                activity, foreign = self._read(server, is_told=pooler is not None)
                part = _server_part(server, activity)
                version = server.version
        except ServerError as error:
            part_of_pooler = None if pooler is None else pooler.part
            refused = is_refusal(error)
            return Sample(at, None, str(error), refused, part_of_pooler, pooler_error, (), others=0)
        clients = () if pooler is None else _clients(pooler, foreign, version)
        apps = count_apps(activity.groups, clients)
        others = activity.ungrouped + sum(app.direct + app.pooled for app in apps[MOST_APPS:])
        if pooler is not None:
            unknown = max(0, len(self._servers) - activity.pooler_connections)
            pooler = replace(pooler, part=replace(pooler.part, unknown_servers=unknown))
        told = None if pooler is None else pooler.part
        return Sample(at, part, "", False, told, pooler_error, apps[:MOST_APPS], others)

    def read(self, server: ServerConnection) -> tuple[Activity, set[int]]:
        """Who is connected, and the pids of the pooler's servers. Raises: ServerError."""
        if self._console is not None:
            self._servers = self._ask_servers(self._console)
        pids, _ = _of_pooler(server, self._servers)
        return read_activity(server, pids), pids

    def follows_prepared(self) -> bool | None:
        """Whether the pooler tracks prepared statements; None where it can't be asked."""
        if self._console is None:
            return None
        try:
            return self._runner.run(follows_prepared(self._console))
        except FAILURES:
            return None  # `read` says why

    def _ask_pooler(self) -> tuple[PoolerLook | None, str]:
        if self._console is None:
            return None, ""
        try:
            return self._runner.run(look_at_pooler(self._console)), ""
        except FAILURES as error:
            return None, str(error)

    def _read(self, server: ServerConnection, *, is_told: bool) -> tuple[Activity, set[str]]:
        """Who is connected, and which of the pooler's databases are at another PostgreSQL."""
        pids, foreign = _of_pooler(server, self._servers)
        activity = read_activity(server, pids)
        if is_told and self._console is not None:
            newer = self._ask_servers(self._console)
            if set(newer) - set(self._servers):
                self._servers = tuple({*self._servers, *newer})
                pids, foreign = _of_pooler(server, self._servers)
                activity = read_activity(server, pids)
        return activity, foreign

    def _ask_servers(self, console: Console) -> tuple[Server, ...]:
        try:
            found = self._runner.run(read_servers(console))
        except FAILURES as error:
            self.error = str(error)
            return ()  # a sample is told by the next one that it has ended
        self.error = ""
        return found


def is_refusal(error: ServerError) -> bool:
    """Whether PostgreSQL had no connection left for us."""
    return error.sqlstate == _TOO_MANY or any(text in str(error) for text in _REFUSALS)


def _of_pooler(server: ServerConnection, servers: Sequence[Server]) -> tuple[set[int], set[str]]:
    """The pids of its servers here, and the databases that are elsewhere."""
    pids = [[each.pid for each in servers]]
    backends = [(row["pid"], row["user"]) for row in server.rows(_BACKENDS, pids)]
    return servers_at(servers, backends)


def _server_part(server: ServerConnection, activity: Activity) -> ServerPart:
    counters: Row = server.rows(_COUNTERS)[0]
    groups = activity.groups
    return ServerPart(
        place=server.place,
        version=server.version,
        max_connections=activity.max_connections,
        reserved=activity.reserved,
        connections=activity.connections,
        pooler_connections=activity.pooler_connections,
        active=sum(group.active for group in groups),
        idle=sum(group.idle for group in groups),
        idle_in_transaction=sum(group.idle_in_transaction for group in groups),
        walsenders=activity.walsenders,
        is_partial=activity.is_partial,
        **counters,
    )


AtPooler = tuple[App, int, int]
"""An application, how many clients it has at the pooler, and how many of them wait."""


def _clients(pooler: PoolerLook, foreign: set[str], version: int) -> list[AtPooler]:
    """By what PostgreSQL would call them, those whose database is there."""
    found = []
    for each in pooler.clients:
        if each.database in foreign:
            continue
        name = as_postgres_shows(each.application, version, has_host=pooler.adds_host)
        database = pooler.databases.get(each.database, each.database)
        found.append((App(name, each.user, database), each.count, each.waiting))
    return found


def count_apps(groups: Iterable[Connected], clients: Iterable[AtPooler]) -> tuple[AppCount, ...]:
    """By application: those that connect directly most come first, then those at the pooler."""
    direct: dict[App, list[Connected]] = defaultdict(list)
    pooled: dict[App, list[tuple[int, int]]] = defaultdict(list)
    for group in groups:
        if not group.is_pooler:
            direct[App(group.application_name, group.user, group.database)].append(group)
    for app, count, waiting in clients:
        pooled[app].append((count, waiting))
    counts = [_app_count(app, direct[app], pooled[app]) for app in {*direct, *pooled}]
    return tuple(sorted(counts, key=lambda each: (-each.direct, -each.pooled, each.app)))


def _app_count(
    app: App, groups: Sequence[Connected], pooled: Sequence[tuple[int, int]]
) -> AppCount:
    addresses = sorted({group.address or "local" for group in groups if not group.hidden})
    return AppCount(
        application=app.application,
        user=app.user,
        database=app.database,
        direct=sum(group.connections for group in groups),
        pooled=sum(count for count, _ in pooled),
        waiting=sum(waiting for _, waiting in pooled),
        is_superuser=any(group.is_superuser for group in groups),
        addresses=tuple(addresses[:MOST_ADDRESSES]),
    )
