"""PG: PostgreSQL's own settings, as far as a pooler depends on them."""

from __future__ import annotations

from collections.abc import Iterator

from pgmux.ops.check.evidence import Evidence
from pgmux.ops.check.facts.server import ServerFacts
from pgmux.ops.check.pools import capacity_at, users_at
from pgmux.ops.check.rule import Found, rule
from pgmux.ops.check.rules.settings import seconds, seconds_for, size
from pgmux.ops.severity import Severity

LONG_KEEPALIVE = 900  # seconds
LARGE = 500  # max_connections
MIB = 1 << 20


@rule(
    "PG001",
    Severity.WARNING,
    "nothing ends a transaction that its client has forgotten",
    needs=("servers",),
)
def idle_transactions(evidence: Evidence) -> Iterator[Found]:
    name = "idle_in_transaction_session_timeout"
    for server, users in _unlimited(evidence, name, "idle_transaction_timeout"):
        yield Found(
            f"{name} = 0{_for(users)}, idle_transaction_timeout of the pooler = 0: a client that"
            " doesn't COMMIT keeps a server, and its locks, for good",
            f"ALTER SYSTEM SET {name} = '60s' (or ALTER ROLE … SET), or idle_transaction_timeout in"
            " pgbouncer.ini; longer for roles that migrate",
            server.place,
        )


@rule("PG002", Severity.NOTE, "no limit on how long a statement may run", needs=("servers",))
def long_statements(evidence: Evidence) -> Iterator[Found]:
    name = "statement_timeout"
    for server, users in _unlimited(evidence, name, "query_timeout"):
        yield Found(
            f"{name} = 0{_for(users)}, query_timeout of the pooler = 0: one bad query can hold a"
            " server of the pool for hours",
            "ALTER ROLE app SET statement_timeout = '30s' (what an application sends by options= is"
            " honoured by pgmux, PgBouncer drops it)",
            server.place,
        )


def _unlimited(
    evidence: Evidence, name: str, of_pooler: str
) -> Iterator[tuple[ServerFacts, list[str]]]:
    """Servers where neither PostgreSQL nor the pooler has such a limit, and for which users."""
    if _pooler_has(evidence, of_pooler):
        return
    for server in evidence.servers or ():
        users = sorted(users_at(evidence, server)) or [""]
        without = [user for user in users if seconds_for(server, name, user) == 0]
        if without:
            yield server, [] if without == users else [user for user in without if user]


def _pooler_has(evidence: Evidence, name: str) -> bool:
    if evidence.console is not None:
        return evidence.console.settings.get(name, "0").strip("0.") != ""
    return evidence.config is not None and getattr(evidence.config.settings, name) > 0


def _for(users: list[str]) -> str:
    return f" (for {', '.join(users[:5])}{' …' if len(users) > 5 else ''})" if users else ""


@rule(
    "PG003",
    Severity.NOTE,
    "PostgreSQL notices late that the pooler's host is gone",
    needs=("servers",),
)
def keepalives(evidence: Evidence) -> Iterator[Found]:
    for server in evidence.servers or ():
        idle = seconds(server, "tcp_keepalives_idle")
        if server.is_by_socket or idle is None or idle <= LONG_KEEPALIVE:
            continue
        yield Found(
            f"tcp_keepalives_idle is {idle:g} s: that long the connections of a pooler whose host"
            " or network is gone, and their locks, stay",
            "in postgresql.conf tcp_keepalives_idle = 60, tcp_keepalives_interval = 10,"
            " tcp_keepalives_count = 5, and the same in the pooler: tcp_keepidle, tcp_keepintvl,"
            " tcp_keepcnt",
            server.place,
        )


@rule(
    "PG004",
    Severity.WARNING,
    "work_mem of all connections together is more than the memory",
    needs=("servers",),
)
def memory(evidence: Evidence) -> Iterator[Found]:
    for server in evidence.servers or ():
        work_mem, most = size(server, "work_mem"), server.number("max_connections")
        believed = size(server, "effective_cache_size")
        total = server.memory or believed
        if not work_mem or not most or not total or work_mem * most <= total:
            continue
        held = "of memory" if server.memory else "effective_cache_size (the memory isn't known)"
        yield Found(
            f"work_mem {work_mem // MIB} MiB × max_connections {most:,} ="
            f" {work_mem * most // MIB:,} MiB, against {total // MIB:,} MiB {held}; a sort or hash"
            " takes work_mem each, a query may have several",
            "lower max_connections to what the pools need, or work_mem, and raise it for the roles"
            " that need it: ALTER ROLE report SET work_mem = …",
            server.place,
        )


@rule(
    "PG005",
    Severity.NOTE,
    "max_connections is far above what the pools and everybody else need",
    needs=("servers", "config|console"),
)
def too_many_connections(evidence: Evidence) -> Iterator[Found]:
    for server in evidence.servers or ():
        capacity, activity = capacity_at(evidence, server), server.activity
        if capacity is None or activity is None or evidence.console is None:
            continue
        direct = activity.connections - activity.pooler_connections
        needed = capacity.most + direct + activity.reserved
        if activity.max_connections <= max(LARGE, 4 * needed):
            continue
        yield Found(
            f"max_connections {activity.max_connections:,}; pools {capacity.most:,.0f} + past the"
            f" pooler {direct:,} + reserved {activity.reserved:,} = {needed:,.0f}",
            f"max_connections = {int(2 * needed):,} leaves as much again: a runaway application is"
            " refused sooner, and each slot costs shared memory",
            server.place,
        )


@rule(
    "PG006",
    Severity.WARNING,
    "PostgreSQL ends the pooler's idle servers",
    needs=("servers",),
)
def idle_sessions(evidence: Evidence) -> Iterator[Found]:
    for server in evidence.servers or ():
        users = users_at(evidence, server) or {""}
        limit = max(seconds_for(server, "idle_session_timeout", user) or 0 for user in users)
        if not limit:
            continue
        yield Found(
            f"idle_session_timeout is {limit:g} s: a pooled server that is idle that long is"
            " closed, perhaps in the moment in which a client gets it",
            "idle_session_timeout = 0 for the pooler's users (ALTER ROLE … SET); the pooler has"
            " server_idle_timeout for it",
            server.place,
        )


RULES = (
    idle_transactions,
    long_statements,
    keepalives,
    memory,
    too_many_connections,
    idle_sessions,
)
