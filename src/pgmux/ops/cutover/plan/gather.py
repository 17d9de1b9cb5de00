"""PostgreSQL looked at again and again for a while: one look misses peaks.

Errors: `ServerError`.
"""

from __future__ import annotations

import statistics
import time
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from pgmux.ops.activity import Activity, Connected
from pgmux.ops.cutover.look import Looker
from pgmux.ops.cutover.names import App
from pgmux.ops.cutover.plan.signs import (
    Replica,
    Sign,
    read_replicas,
    read_signs,
    read_temporary,
)
from pgmux.ops.server_connection import ServerConnection

MOST_ADDRESSES = 4


@dataclass(frozen=True, slots=True)
class AppObserved:
    """An application's direct connections over the period; times in seconds, the longest seen."""

    app: App
    addresses: tuple[str, ...]
    is_superuser: bool
    peak: int
    normally: float
    idle_in_transaction: int
    longest_idle: float
    longest_idle_in_transaction: float


@dataclass(frozen=True, slots=True)
class Observed:
    """`connections`: of everybody at peak; `others` of applications that aren't told one by one.

    `follows_prepared`: whether the pooler tracks prepared statements; None where it isn't known.
    """

    place: str
    seconds: float
    samples: int
    max_connections: int
    reserved: int
    connections: int
    connections_normally: float
    pooler_connections: int
    others: int
    is_partial: bool
    apps: tuple[AppObserved, ...]
    signs: tuple[Sign, ...]
    replicas: tuple[Replica, ...]
    unread_databases: tuple[str, ...]
    pooler_error: str
    follows_prepared: bool | None


def observe(looker: Looker, server: ServerConnection, seconds: float, interval: float) -> Observed:
    """Looks for so long, at least once. Raises: ServerError."""
    start = time.monotonic()
    looks: list[Activity] = []
    signs: dict[tuple[object, ...], Sign] = {}
    while True:
        due = time.monotonic() + interval
        activity, pids = looker.read(server)
        looks.append(activity)
        for sign in read_signs(server, pids):
            key = (sign.kind, sign.app)
            signs[key] = max(sign, signs.get(key, sign), key=lambda each: each.count)
        if due > start + seconds:
            break
        time.sleep(max(0.0, due - time.monotonic()))
    apps = tuple(_apps(looks))
    temporary, unread = read_temporary(server, {each.app.database for each in apps} - {""})
    last = looks[-1]
    return Observed(
        place=server.place,
        seconds=time.monotonic() - start,
        samples=len(looks),
        max_connections=last.max_connections,
        reserved=last.reserved,
        connections=max(look.connections for look in looks),
        connections_normally=statistics.median(look.connections for look in looks),
        pooler_connections=max(look.pooler_connections for look in looks),
        others=max(look.ungrouped for look in looks),
        is_partial=any(look.is_partial for look in looks),
        apps=apps,
        signs=(*signs.values(), *temporary),
        replicas=read_replicas(server),
        unread_databases=tuple(unread),
        pooler_error=looker.error,
        follows_prepared=looker.follows_prepared(),
    )


def _apps(looks: Iterable[Activity]) -> Iterable[AppObserved]:
    """By application, what all looks together say."""
    looks = list(looks)
    groups: dict[App, list[Connected]] = defaultdict(list)
    counts: dict[App, list[int]] = defaultdict(lambda: [0] * len(looks))
    in_transaction: dict[App, list[int]] = defaultdict(lambda: [0] * len(looks))
    for number, look in enumerate(looks):
        for group in look.groups:
            if not group.is_pooler:
                app = App(group.application_name, group.user, group.database)
                groups[app].append(group)
                counts[app][number] += group.connections
                in_transaction[app][number] += group.idle_in_transaction
    for app, found in groups.items():
        addresses = sorted({group.address or "local" for group in found if not group.hidden})
        yield AppObserved(
            app=app,
            addresses=tuple(addresses[:MOST_ADDRESSES]),
            is_superuser=any(group.is_superuser for group in found),
            peak=max(counts[app]),
            normally=statistics.median(counts[app]),
            idle_in_transaction=max(in_transaction[app]),
            longest_idle=max(group.longest_idle for group in found),
            longest_idle_in_transaction=max(g.longest_idle_in_transaction for g in found),
        )
