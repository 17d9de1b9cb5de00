"""What is due in a pool: who has waited, idled or run too long. Walks the lists; decides, and does
nothing.

Called every third of a second, so timeouts are late by up to that, as PgBouncer's are. A client is
any object with `request_time`, `query_start`, `xact_start`, `wait_start` and `linked_server`; a
server any with `request_time`, `connect_time`, `ready`, `idle_tx`, `close_needed` and
`linked_client`.
Source: PgBouncer's janitor.c in outline, and its reasons in its words.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pgmux.config import Settings
from pgmux.pool.pool import Pool
from pgmux.pool.states import SV_ACTIVE, SV_IDLE, SV_TESTED, SV_USED

# How often the janitor comes, in seconds: PgBouncer's period.
PERIOD = 1 / 3

REASON_SURPLUS = "too many servers in the pool"
QUEUE_NOTICE = "No server connection available in postgres backend, client being queued"


def due_clients(
    pool: Pool, settings: Settings, now: float, *, shutting_down: bool
) -> Iterator[tuple[Any, str]]:
    """Clients that are to be closed, with the reason that they are told."""
    idle_timeout = pool.limits.client_idle_timeout
    if idle_timeout > 0:
        for client in pool.lists.active_clients():
            if client.linked_server is None and now - client.request_time > idle_timeout:
                yield client, "client_idle_timeout"
    wait_timeout = pool.limits.query_wait_timeout
    query_timeout = pool.limits.query_timeout
    for client in pool.lists.waiting_clients():
        age = now - (client.query_start or client.wait_start)
        if shutting_down:
            yield client, "server shutting down"
        elif 0 < query_timeout < age:
            yield client, "query_timeout"
        elif 0 < wait_timeout < age:
            yield client, "query_wait_timeout"


def clients_to_notify(pool: Pool, settings: Settings, now: float) -> Iterator[Any]:
    """Clients that have waited for longer than query_wait_notify, in whole seconds as PgBouncer
    counts them.
    """
    if settings.query_wait_notify > 0:
        for client in pool.lists.waiting_clients():
            if int(now - client.wait_start) > settings.query_wait_notify:
                yield client


def due_active_servers(pool: Pool, settings: Settings, now: float) -> Iterator[tuple[Any, str]]:
    """Linked servers that are to be closed, with their client, and the reason."""
    limits = pool.limits
    for server in pool.lists.servers(SV_ACTIVE):
        client = server.linked_client
        if server.ready or client is None:
            if settings.server_fast_close and server.ready and server.close_needed:
                yield server, "database configuration changed"
            continue
        # Neither is so while a replication stream runs, which is no query and may last for ever.
        in_query, in_transaction = client.query_start > 0, client.xact_start > 0
        if in_query and 0 < limits.query_timeout < now - client.request_time:
            yield server, "query timeout"
        elif 0 < limits.idle_transaction_timeout < now - server.request_time and server.idle_tx:
            yield server, "idle transaction timeout"
        elif in_transaction and 0 < limits.transaction_timeout < now - client.xact_start:
            yield server, "transaction timeout"


def due_unused_servers(pool: Pool, settings: Settings, now: float) -> Iterator[tuple[Any, str]]:
    """Unlinked servers that are to be closed, and the reason; an empty reason: it needs the check
    query first.
    """
    keep = pool.limits.min_pool_size
    count = pool.connected_count()
    for state in (SV_USED, SV_TESTED, SV_IDLE):
        for server in pool.lists.servers(state):
            spare = keep == 0 or count > keep
            reason = _end_of_unused(pool, settings, server, now, spare=spare)
            if reason:
                count -= 1
                yield server, reason
            elif (
                state == SV_IDLE
                and settings.server_check_query
                and now - server.request_time > settings.server_check_delay
            ):
                yield server, ""


def _end_of_unused(pool: Pool, settings: Settings, server: Any, now: float, *, spare: bool) -> str:
    """Why an unlinked server is to be closed, or an empty string."""
    if server.close_needed:
        return "database configuration changed"
    if not server.ready and server.state != SV_TESTED:
        return f"SV_{'IDLE' if server.state == SV_IDLE else 'USED'} server got dirty"
    if 0 < settings.server_idle_timeout < now - server.request_time and spare:
        return "server idle timeout"
    if pool.is_life_over(now - server.connect_time, now):
        pool.last_lifetime_close_at = now
        return "server lifetime over"
    return ""


def surplus_servers(pool: Pool) -> Iterator[tuple[Any, str]]:
    """Unused servers that are too many; those in use go when they are released."""
    many = pool.surplus_count()
    if many > 0:
        unused = pool.lists.servers(SV_USED) + pool.lists.servers(SV_IDLE)
        for server in unused[:many]:
            yield server, REASON_SURPLUS
