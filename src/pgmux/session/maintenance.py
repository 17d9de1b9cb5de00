"""The janitor's round: carry out what is due in all pools, three times a second.

`pool.janitor` decides; here connections are closed, tested, launched. Timeouts are compared here
and nowhere else, so no query costs a timer.
Source: PgBouncer's janitor.c in outline.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from itertools import islice
from math import inf

from pgmux.errors import SQLSTATE_SUCCESSFUL_COMPLETION
from pgmux.pool import janitor
from pgmux.pool.limits import Quota
from pgmux.pool.pool import Failure, Pool
from pgmux.pool.states import SV_ACTIVE, SV_IDLE, SV_USED
from pgmux.pool.waits import full_quota
from pgmux.session import operator, places
from pgmux.session._entry_cy import ClientInfo
from pgmux.session._relay_cy import ClientRelay
from pgmux.session.control import PoolControl
from pgmux.session.pooler import Pooler
from pgmux.session.turns import SLICE
from pgmux.wire.build import build_notice_response

LONGEST_ROUND = 1.0  # seconds; where the process was stopped for longer, nobody held anything up


def maintain(pooler: Pooler, *, waiting_clients_end: bool) -> None:
    """One round. `waiting_clients_end` is SHUTDOWN WAIT_FOR_SERVERS: nobody who waits gets a server
    any more.
    """
    now = pooler.clock()
    since_last = min(now - pooler.maintained_at, LONGEST_ROUND)
    pooler.maintained_at = now
    _keep_forced_pools(pooler)
    for control in list(pooler.pools.values()):
        lists = control.pool.lists  # there may be thousands of pools: only what is needed
        if _has_timed_clients(control) and not control.is_behind:
            _maintain_clients(pooler, control, waiting_clients_end=waiting_clients_end)
        if lists.total_servers():
            _maintain_servers(control, now)
        if lists.waiting_count() or lists.dedicated_count():
            pooler.launch(control)
    _charge_waits(pooler, since_last)
    places.keep_limits(pooler)
    for control in list(pooler.pools.values()):
        places.refill(pooler, control)
    _end_slow_attempts(pooler, now)
    _drop_idle_pools(pooler, now)
    _drop_unused_databases(pooler, now)


def _charge_waits(pooler: Pooler, seconds: float) -> None:
    """That long clients have waited: who holds the servers for that shares it. Those of a limit
    that many pools have in common are looked at once.
    """
    by_quota: dict[Quota, float] = {}
    for control in pooler.pools.values():
        pool = control.pool
        if not pool.lists.waiting_count() or pool.lists.held:  # a PAUSE is nobody's fault
            continue
        waited, quota = seconds * pool.lists.waiting_count(), full_quota(pool)
        if quota is None:
            _charge(waited, [pool])
        else:
            by_quota[quota] = by_quota.get(quota, 0.0) + waited
    for quota, waited in by_quota.items():
        _charge(waited, quota.holders)


def _charge(seconds: float, pools: Iterable[Pool]) -> None:
    """To all who hold a server of these pools, in equal parts."""
    servers = [server for pool in pools for server in pool.lists.servers(SV_ACTIVE)]
    apps = [server.linked_client.app for server in servers if server.linked_client is not None]
    for app in apps:
        app.wait_caused_time += seconds / len(apps)


def _keep_forced_pools(pooler: Pooler) -> None:
    """A database with a forced user has its min_pool_size before the first client comes."""
    for state in list(pooler.databases.values()):
        if state.config.user and pooler.config.min_pool_size(state.config) > 0:
            pooler.find_pool(state, state.config.user)


def _has_timed_clients(control: PoolControl) -> bool:
    """Whether any of the pool's clients could be due: idle ones seldom are."""
    lists = control.pool.lists
    if lists.waiting_count() or lists.dedicated_count():
        return True
    return control.pool.limits.client_idle_timeout > 0 and lists.client_count() > 0


def _maintain_clients(pooler: Pooler, control: PoolControl, *, waiting_clients_end: bool) -> None:
    """What is due for the pool's clients: for SLICE of them a turn of the loop."""
    control.is_behind = False
    now = pooler.clock()
    count = max(
        _close_due(control, now, waiting_clients_end=waiting_clients_end),
        _notify(control, now),
        _end_logins(control, now),
    )
    control.is_behind = count == SLICE
    if control.is_behind:
        go_on = partial(_maintain_clients, pooler, control, waiting_clients_end=waiting_clients_end)
        pooler.outside.later(0.0, go_on)


def _close_due(control: PoolControl, now: float, *, waiting_clients_end: bool) -> int:
    settings = control.pooler.config.settings
    due = janitor.due_clients(control.pool, settings, now, shutting_down=waiting_clients_end)
    found = list(islice(due, SLICE))
    for client, reason in found:
        control.close_client(client, reason)
    return len(found)


def _notify(control: PoolControl, now: float) -> int:
    """query_wait_notify: each is told once a wait."""
    due = janitor.clients_to_notify(control.pool, control.pooler.config.settings, now)
    found = list(islice(filter(_can_be_notified, due), SLICE))
    for client in found:
        client.owner.notified_wait = client.wait_start
        client.transport.write(
            build_notice_response("NOTICE", SQLSTATE_SUCCESSFUL_COMPLETION, janitor.QUEUE_NOTICE)
        )
    return len(found)


def _can_be_notified(client: ClientRelay) -> bool:
    info: ClientInfo = client.owner
    return info.notified_wait != client.wait_start and (info.welcomed or info.is_authenticated)


def _end_logins(control: PoolControl, now: float) -> int:
    """client_login_timeout, for clients that wait for their welcome."""
    timeout = control.pooler.config.settings.client_login_timeout
    if timeout <= 0:
        return 0
    late = (
        client
        for client in control.pool.lists.waiting_clients()
        if not client.owner.welcomed
        and now - client.connect_time > timeout
        # Who waits for one of the servers that there are has query_wait_timeout.
        and (not client.owner.links_at_login or control.pool.is_down())
    )
    found = list(islice(late, SLICE))
    for client in found:
        control.close_client(client, "client_login_timeout (server down)")
    return len(found)


def _maintain_servers(control: PoolControl, now: float) -> None:
    if control.relay.slow_xact < inf:
        control.slow.look(now)
    settings = control.pooler.config.settings
    for server, reason in list(janitor.due_active_servers(control.pool, settings, now)):
        control.close_server(server, reason)
    for server, reason in list(janitor.due_unused_servers(control.pool, settings, now)):
        if reason:
            control.close_server(server, reason)
        elif server.state == SV_IDLE:
            control.pool.lists.move_server(server, SV_USED)
    for server, reason in list(janitor.surplus_servers(control.pool)):
        control.close_server(server, reason)
    for server in control.pool.lists.servers(SV_ACTIVE):
        control.refresh_special(server)  # its lifetime may be over by now


def _end_slow_attempts(pooler: Pooler, now: float) -> None:
    settings = pooler.config.settings
    timeout = settings.server_connect_timeout
    if timeout > 0:
        for attempt, (_, started_at) in list(pooler.connects.attempts.items()):
            if now - started_at > timeout:
                pooler.connects.give_up(attempt, Failure("connect timeout"))
    if settings.cancel_wait_timeout > 0:
        for attempt, (started_at, done) in list(pooler.cancels.items()):
            if now - started_at > settings.cancel_wait_timeout:
                attempt.cancel("cancel_wait_timeout")
                done("cancel_wait_timeout")
    pooler.peers.end_slow(now)


def _drop_idle_pools(pooler: Pooler, now: float) -> None:
    """pool_idle_timeout: a pool without clients and servers goes, unless it is to have servers."""
    timeout = pooler.config.settings.pool_idle_timeout
    for control in list(pooler.pools.values()):
        pool = control.pool
        keeps = pool.limits.forced_user and pool.limits.min_pool_size > 0
        if pool.is_used() or keeps:
            pool.unused_since = None
        elif pool.unused_since is None:
            pool.unused_since = now
        elif 0 < timeout < (age := now - pool.unused_since):
            pooler.log.log(
                f"cleaning up idle pool for user {pool.key.user} on db {pool.key.database}"
                f" because: pool idle timeout (age= {int(age)}s)"
            )
            pooler.drop_pool(control)


def _drop_unused_databases(pooler: Pooler, now: float) -> None:
    """autodb_idle_timeout: what a client named once, and `*` serves, is not kept for ever."""
    timeout = pooler.config.settings.autodb_idle_timeout
    used = {key.database for key, control in pooler.pools.items() if control.pool.is_used()}
    for state in list(pooler.databases.values()):
        if not state.is_auto or state.name in used or state.paused or state.disabled:
            state.unused_since = None
        elif state.unused_since is None:
            state.unused_since = now
        elif 0 < timeout < now - state.unused_since:
            operator.drop_database(pooler, state.name)
