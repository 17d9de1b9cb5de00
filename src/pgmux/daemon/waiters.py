"""SHOW WAITERS: of each pool where clients wait, who waits and who holds the servers for that: its
own, or where max_db_connections or max_user_connections is reached, all that count there.

Who is there is noted pool by pool, each row is made when it is asked for, as with SHOW CLIENTS: ten
thousand who wait hold nobody up.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from pgmux.metrics.snapshot import WaiterRow
from pgmux.net.rows import wall_time
from pgmux.pool import states
from pgmux.pool.pool import Pool, PoolKey
from pgmux.pool.waits import Wait, full_quota
from pgmux.session._relay_cy import ClientRelay, ServerRelay
from pgmux.session.apps import application_name
from pgmux.session.control import PoolControl
from pgmux.session.pooler import Pooler

WAITING, HOLDING = "waiting", "holding"

Holder = tuple[PoolKey, ServerRelay, ClientRelay]


def waiter_rows(pooler: Pooler) -> Iterator[WaiterRow]:
    """The rows, by database and user; each holder once, behind the first who wait for him."""
    seen: set[object] = set()  # pools and quotas whose holders have been shown
    for _, control in sorted(pooler.pools.items()):
        pool = control.pool
        if pool.lists.waiting_count():
            # Who is there is noted here, before the first row of this pool.
            quota = full_quota(pool)
            whose = pool if quota is None else quota
            pools = [pool] if quota is None else [p for p in quota.holders if p not in seen]
            holders = [] if whose in seen else _holders(pools)
            seen |= {whose, *pools}
            yield from _waiting(control, pool.lists.waiting_clients(), Wait(pool))
            yield from _holding(control, holders)


def _holders(pools: Iterable[Pool]) -> list[Holder]:
    """Longest first."""
    found: list[Holder] = [
        (pool.key, server, server.linked_client)
        for pool in pools
        for server in pool.lists.servers(states.SV_ACTIVE)
        if server.linked_client is not None
    ]
    found.sort(key=lambda holder: holder[2].link_start)
    return found


def _waiting(control: PoolControl, clients: list[ClientRelay], wait: Wait) -> Iterator[WaiterRow]:
    for index, client in enumerate(clients):
        if client.state == states.CL_WAITING:
            duration = control.pooler.clock() - client.wait_start
            yield _row(control.pool.key, client, WAITING, wait.reason(index), duration)


def _holding(control: PoolControl, holders: list[Holder]) -> Iterator[WaiterRow]:
    for key, server, client in holders:
        if server.linked_client is client:
            duration, pid = control.pooler.clock() - client.link_start, server.owner.cancel_pid
            yield _row(key, client, HOLDING, _state(server), duration, pid)


def _state(server: ServerRelay) -> str:
    if server.ready:
        return "idle"
    return "idle in transaction" if server.idle_tx else "active"


def _row(
    key: PoolKey,
    client: ClientRelay,
    role: str,
    state: str,
    duration: float,
    server_pid: int | None = None,
) -> WaiterRow:
    info = client.owner
    return WaiterRow(
        database=key.database,
        user=key.user,
        role=role,
        application_name=application_name(client),
        addr=info.addresses.peer.host,
        port=info.addresses.peer.port,
        state=state,
        since=wall_time(duration),
        duration=duration,
        client_id=info.id,
        server_pid=server_pid,
    )
