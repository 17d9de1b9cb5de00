"""SIZE, as far as PostgreSQL itself has to be asked: what the pools can open against its limits."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

from pgmux.ops.activity import Activity, Connected
from pgmux.ops.capacity import ServerCapacity
from pgmux.ops.check.evidence import Evidence
from pgmux.ops.check.facts.console import ClientGroup
from pgmux.ops.check.facts.server import ServerFacts
from pgmux.ops.check.pools import capacity_at, config_in_force, is_looked_up, sizes_by_user
from pgmux.ops.check.rule import Found, rule
from pgmux.ops.check.rules.settings import seconds
from pgmux.ops.printing import printable
from pgmux.ops.severity import Severity

SHOWN = 8  # pools, and applications, that are named one by one
NEAR = 0.9  # of what there is
SHORT_FOR_MIGRATIONS = 300  # seconds
_INDENT = " " * 10
_HELP = "lower default_pool_size or set max_db_connections"


@rule(
    "SIZE001",
    Severity.ERROR,
    "all pools together against PostgreSQL's max_connections",
    needs=("servers", "config|console"),
)
def pools_against_max_connections(evidence: Evidence) -> Iterator[Found]:
    for server in evidence.servers or ():
        capacity = capacity_at(evidence, server)
        if capacity is None or server.activity is None:
            continue
        left = _left(evidence, server.activity)
        if capacity.most <= left * NEAR:
            continue
        text = _arithmetic(evidence, server, capacity, server.activity)
        advice, severity = _judged(capacity, server.activity, left)
        if severity is Severity.ERROR and not _is_sure(evidence, capacity, server.activity):
            severity = Severity.WARNING
        yield Found(text, advice, server.place, severity)


def _is_sure(evidence: Evidence, capacity: ServerCapacity, activity: Activity) -> bool:
    """Not where it takes that each user of auth_file comes to every database."""
    largest: dict[str, float] = {}
    for pool in capacity.pools:
        largest[pool.database] = max(pool.most, largest.get(pool.database, 0.0))
    ordinary = activity.max_connections - activity.reserved
    return evidence.console is not None or sum(largest.values()) > ordinary


def _left(evidence: Evidence, activity: Activity) -> int:
    """What there is for the pools. Who bypasses is known only where the pooler's servers are."""
    direct = _direct(evidence, activity)
    return activity.max_connections - activity.reserved - (direct or 0)


def _direct(evidence: Evidence, activity: Activity) -> int | None:
    if evidence.console is None:
        return None
    return activity.connections - activity.pooler_connections


def _judged(capacity: ServerCapacity, activity: Activity, left: int) -> tuple[str, Severity]:
    """Advice, severity."""
    if math.isinf(capacity.most):
        return ("a pool_size of 0 is no limit: give each database one", Severity.ERROR)
    ordinary = activity.max_connections - activity.reserved
    if capacity.most > ordinary:
        return (
            f"{_HELP}: all pools together at most {ordinary:,}, less those who bypass; or raise"
            " max_connections (a restart of PostgreSQL); pgmux size says what is needed",
            Severity.ERROR,
        )
    if capacity.most > left:
        advice = (
            f"have those who bypass go through the pooler, or {_HELP}: at most {max(left, 0):,}"
        )
        return advice, Severity.WARNING
    return (f"it fits, with {left - int(capacity.most):,} to spare", Severity.NOTE)


def _arithmetic(
    evidence: Evidence, server: ServerFacts, capacity: ServerCapacity, activity: Activity
) -> str:
    """Line by line: what there is, who takes of it, what is left, what the pools can open."""
    left = _left(evidence, activity)
    lines = [_line(" ", activity.max_connections, "max_connections")]
    lines.append(_line("−", activity.superuser_reserved_connections, "reserved for superusers"))
    if activity.reserved_connections:
        lines.append(_line("−", activity.reserved_connections, "reserved_connections"))
    lines += _bypassing(evidence, activity)
    lines.append(_line("=", left, "left for the pools, which can open"))
    lines += _pools(capacity)
    lines += _assumptions(evidence, capacity)
    return "\n".join(lines)


def _bypassing(evidence: Evidence, activity: Activity) -> Iterator[str]:
    direct = _direct(evidence, activity)
    if direct is None:
        who = f"({activity.connections:,} are connected now; who of them bypasses the pooler,"
        yield f"{_INDENT}{who} its console would tell: --console)"
        return
    yield _line("−", direct, "connected now, past the pooler")
    groups = [group for group in activity.groups if not group.is_pooler]
    yield from (_share(count, name) for name, count in by_application(groups, SHOWN))


def by_application(groups: Iterable[Connected | ClientGroup], most: int) -> list[tuple[str, int]]:
    """The largest first, and what is left of them as one."""
    counts: dict[str, int] = {}
    for group in groups:
        name = name_of(group)
        counts[name] = counts.get(name, 0) + group.connections
    ordered = sorted(counts.items(), key=lambda each: (-each[1], each[0]))
    rest = sum(count for _, count in ordered[most:])
    return ordered[:most] + ([(f"in {len(ordered) - most} others", rest)] if rest else [])


def name_of(group: Connected | ClientGroup) -> str:
    """Who that is, whatever the database and the address."""
    return printable(f"{group.application_name or 'without application_name'} as {group.user}")


def _pools(capacity: ServerCapacity) -> Iterator[str]:
    total = sum(pool.most for pool in capacity.pools)
    limits = f", which max_db_connections and max_user_connections cut from {_n(total)}"
    yield _line(" ", capacity.most, f"all pools{limits if capacity.most < total else ''}")
    pools = sorted(capacity.pools, key=lambda pool: -pool.most)
    for pool in pools[:SHOWN]:
        reserve = f" + reserve {pool.reserve}" if pool.reserve else ""
        user = f" of {pool.user}" if pool.user else ""
        name = printable(f"{pool.database}{user}")
        yield _share(pool.most, f"{name}: {_n(pool.size)}{reserve}")
    if rest := pools[SHOWN:]:
        yield _share(sum(pool.most for pool in rest), f"in {len(rest)} more pools")


def _assumptions(evidence: Evidence, capacity: ServerCapacity) -> Iterator[str]:
    if evidence.console is not None:
        yield f"{_INDENT}(a pool per database and user, as seen since the pooler's start)"
        return
    yield f"{_INDENT}(a pool per database and user, if every user of auth_file comes to each;"
    yield f"{_INDENT}which do, the console would tell: --console)"
    config = config_in_force(evidence)
    entries = [config.databases.get(pool.database) for pool in capacity.pools] if config else []
    if config and any(entry and is_looked_up(config, entry) for entry in entries):
        yield f"{_INDENT}(and there are those whom auth_query lets in)"


def _line(sign: str, number: float, label: str) -> str:
    return f"{sign} {_n(number, 6)}  {label}"


def _share(number: float, label: str) -> str:
    return f"{_INDENT}{_n(number, 6)}  {label}"


def _n(number: float, width: int = 0) -> str:
    text = "∞" if math.isinf(number) else f"{number:,.0f}"
    return text.rjust(width)


@rule(
    "SIZE006",
    Severity.NOTE,
    "a timeout of idle transactions that is shorter than migrations can be",
    needs=("servers",),
)
def timeout_against_migrations(evidence: Evidence) -> Iterator[Found]:
    for server in evidence.servers or ():
        limit = seconds(server, "idle_in_transaction_session_timeout")
        if limit is None or not 0 < limit < SHORT_FOR_MIGRATIONS:
            continue
        airflow = _airflow(evidence, server)
        yield Found(
            f"idle_in_transaction_session_timeout is {limit:g} s"
            + (f"; {airflow} looks like Airflow's" if airflow else ""),
            "migrations that hold a lock in an open transaction (airflow db migrate, alembic) are"
            " cut off: ALTER ROLE … SET idle_in_transaction_session_timeout = 0 for the role that"
            " migrates, which goes past the pooler",
            server.place,
            Severity.WARNING if airflow else None,
        )


def _airflow(evidence: Evidence, server: ServerFacts) -> str:
    """What names Airflow: a database, a role or an application; empty where nothing does."""
    capacity, activity = capacity_at(evidence, server), server.activity
    names = [pool.database for pool in capacity.pools] if capacity else []
    names += [group.application_name for group in activity.groups] if activity else []
    return next((name for name in [*names, *sorted(server.asked_roles)] if "airflow" in name), "")


@rule(
    "SIZE009",
    Severity.ERROR,
    "a CONNECTION LIMIT of PostgreSQL below what the pools can open",
    needs=("servers", "config|console"),
)
def connection_limits(evidence: Evidence) -> Iterator[Found]:
    for server in evidence.servers or ():
        capacity = capacity_at(evidence, server)
        if capacity is None:
            continue
        advice = f"{_HELP}, or raise the limit: the pooler's logins beyond it are refused"
        for user, most in sizes_by_user(capacity.pools).items():
            role = (server.roles or {}).get(user)
            if role and 0 <= role.connection_limit < most and not role.is_superuser:
                text = f"role {user}: CONNECTION LIMIT {role.connection_limit}, pools {_n(most)}"
                yield Found(text, advice, server.place)
        for name, limit in server.limits.items():
            most = _to_database(evidence, capacity, name)
            if limit < most:
                text = f"database {name}: CONNECTION LIMIT {limit}, pools {_n(most)}"
                yield Found(text, advice, server.place)


def _to_database(evidence: Evidence, capacity: ServerCapacity, dbname: str) -> float:
    """What all pools of entries that lead to that database can open."""
    config = config_in_force(evidence)
    assert config is not None
    found = 0.0
    for name in {pool.database for pool in capacity.pools}:
        entry = config.databases.get(name)
        if entry is not None and entry.dbname == dbname:
            own = sum(pool.most for pool in capacity.pools if pool.database == name)
            found += min(own, config.max_db_connections(entry) or math.inf)
    return found


RULES = (pools_against_max_connections, timeout_against_migrations, connection_limits)
