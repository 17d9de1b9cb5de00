"""Samples as a look would have taken them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from pgmux.ops.cutover.sample import AppCount, PoolerPart, Sample, ServerPart

START = 1_800_000_000.0

SERVER = ServerPart(
    place="db1:5432",
    version=150004,
    started=START - 1000,
    max_connections=100,
    reserved=3,
    connections=40,
    pooler_connections=0,
    active=10,
    idle=28,
    idle_in_transaction=2,
    walsenders=0,
    commits=1000,
    rollbacks=1,
    is_partial=False,
)
POOLER = PoolerPart(
    place="p1:6432",
    version="PgBouncer 1.18.0",
    clients=30,
    waiting=0,
    maxwait=0.0,
    servers=5,
    unknown_servers=0,
    transactions=500,
    wait_time=1.0,
    errors=None,
)


def count(application: str, direct: int = 0, pooled: int = 0, user: str = "app") -> AppCount:
    return AppCount(application, user, "shop", direct, pooled, 0, False, ("10.0.0.7",))


def sample(
    seconds: float = 0.0,
    *apps: AppCount,
    server: dict[str, Any] | None = None,
    pooler: dict[str, Any] | None = None,
) -> Sample:
    """One of a running PostgreSQL; of a pooler only where `pooler` says what it has."""
    return Sample(
        at=START + seconds,
        server=replace(SERVER, **(server or {})),
        server_error="",
        is_refused=False,
        pooler=None if pooler is None else replace(POOLER, **pooler),
        pooler_error="",
        apps=apps,
        others=0,
    )


def refused(seconds: float) -> Sample:
    """One for which PostgreSQL had no connection left."""
    return replace(
        sample(seconds), server=None, server_error="too many clients already", is_refused=True
    )
