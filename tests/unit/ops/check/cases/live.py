"""A PostgreSQL and a console as they are asked, for cases: whatever isn't said is in order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from pgmux.monitor.sample import Sample
from pgmux.monitor.tables import DatabaseRow, Limits, PoolRow, Seconds
from pgmux.ops.activity import Activity, Connected
from pgmux.ops.check.evidence import Evidence
from pgmux.ops.check.facts import ConsoleFacts, ServerFacts
from pgmux.ops.check.facts.console import ClientGroup
from pgmux.ops.check.facts.server import Override, RoleFacts, Setting
from tests.unit.ops.check.cases.case import config_of

INI = "[databases]\nshop = host=db\n[pgbouncer]\nauth_file = userlist.txt\n"
SETTINGS = {
    "statement_timeout": Setting("30000", "ms"),
    "idle_in_transaction_session_timeout": Setting("600000", "ms"),
    "idle_session_timeout": Setting("0", "ms"),
    "tcp_keepalives_idle": Setting("60", "s"),
    "work_mem": Setting("4096", "kB"),
    "effective_cache_size": Setting("524288", "8kB"),
    "max_connections": Setting("100"),
    "password_encryption": Setting("scram-sha-256"),
}


def connected(
    application_name: str = "web", user: str = "app", connections: int = 1, **other: Any
) -> Connected:
    """Backends of one application, idle, not through the pooler."""
    found = Connected(
        application_name=application_name,
        user=user,
        address="10.0.0.5",
        database="shop",
        is_superuser=False,
        is_pooler=False,
        connections=connections,
        active=0,
        idle=connections,
        idle_in_transaction=0,
        hidden=0,
        longest_idle=1.0,
        longest_idle_in_transaction=0.0,
        longest_transaction=0.0,
    )
    return replace(found, **other)


def activity(groups: Sequence[Connected] = (), max_connections: int = 100) -> Activity:
    """These, at a server that reserves three connections."""
    return Activity(
        groups=tuple(groups),
        connections=sum(group.connections for group in groups),
        pooler_connections=sum(group.connections for group in groups if group.is_pooler),
        ungrouped=0,
        walsenders=0,
        background=5,
        max_connections=max_connections,
        superuser_reserved_connections=3,
        reserved_connections=0,
        is_partial=False,
    )


def server(
    groups: Sequence[Connected] = (),
    *,
    max_connections: int = 100,
    settings: Mapping[str, Setting] | None = None,
    overrides: Sequence[Override] = (),
    roles: Sequence[RoleFacts] = (RoleFacts("app"),),
    **other: Any,
) -> ServerFacts:
    """What `host=db` leads to."""
    found = ServerFacts(
        "db:5432",
        frozenset((("db", 5432),)),
        version=160004,
        settings={**SETTINGS, **(settings or {})},
        overrides=tuple(overrides),
        activity=activity(groups, max_connections),
        asked_roles=frozenset(role.name for role in roles),
        roles={role.name: role for role in roles},
    )
    return replace(found, **other)


def pool(database: str = "shop", user: str = "app", **other: Any) -> PoolRow:
    """A pool with one idle server and nobody waiting."""
    found = PoolRow(
        database=database,
        user=user,
        cl_active=1,
        cl_waiting=0,
        sv_active=0,
        sv_idle=1,
        sv_used=0,
        sv_tested=0,
        sv_login=0,
        maxwait=Seconds(0.0),
        pool_mode="transaction",
    )
    return replace(found, **other)


def database(name: str = "shop", **other: Any) -> DatabaseRow:
    """An entry that leads to db:5432."""
    found = DatabaseRow(
        name=name,
        host="db",
        port=5432,
        database=name,
        force_user=None,
        pool_size=20,
        reserve_pool_size=0,
        pool_mode=None,
        max_connections=0,
        current_connections=0,
        paused=False,
        disabled=False,
    )
    return replace(found, **other)


def console(
    pools: Sequence[PoolRow] | None = None,
    databases: Sequence[DatabaseRow] | None = None,
    *,
    version: str = "PgBouncer 1.25.2",
    state: str | None = "active",
    clients: Sequence[ClientGroup] = (),
    settings: Mapping[str, str] | None = None,
    max_client_conn: int = 100,
) -> ConsoleFacts:
    """One that tells of these."""
    limits = Limits(
        max_client_conn=max_client_conn,
        default_pool_size=20,
        min_pool_size=0,
        reserve_pool_size=0,
        reserve_pool_timeout=Seconds(5.0),
        max_db_connections=0,
        max_user_connections=0,
        query_wait_timeout=Seconds(120.0),
        pool_mode="transaction",
    )
    sample = Sample(
        taken_at=0.0,
        version=version,
        state=state,
        pools=tuple([pool()] if pools is None else pools),
        databases=tuple([database()] if databases is None else databases),
        stats=(),
        users=(),
        apps=(),
        histograms=(),
        errors=(),
        connects=(),
        waiters=(),
        hosts=(),
        readiness=(),
        lists={},
        limits=limits,
        not_told=frozenset(("APPS",)),
    )
    return ConsoleFacts("pooler:6432", version, sample, settings or {}, tuple(clients))


def evidence(
    *servers: ServerFacts,
    console: ConsoleFacts | None = None,
    ini: str = INI,
    userlist: str = '"app" "x"\n',
) -> Evidence:
    """With `userlist.txt` beside the ini."""
    config = config_of(ini, userlist)
    return Evidence("pgbouncer.ini", config=config, servers=servers or None, console=console)
