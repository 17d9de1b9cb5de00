"""SHOW WAITERS: of each pool where clients wait, who waits and who holds its servers.

Who is there is noted pool by pool, each row is made when it is asked for, as with SHOW CLIENTS: ten
thousand who wait hold nobody up.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain

from pgmux.metrics.snapshot import WaiterRow
from pgmux.net.rows import wall_time
from pgmux.pool import states
from pgmux.pool.waits import Wait
from pgmux.session._relay_cy import ClientRelay, ServerRelay
from pgmux.session.apps import application_name
from pgmux.session.control import PoolControl
from pgmux.session.pooler import Pooler

WAITING, HOLDING = "waiting", "holding"


def waiter_rows(pooler: Pooler) -> Iterator[WaiterRow]:
    """The rows, by database and user."""
    pools = sorted(pooler.pools.items())
    return chain.from_iterable(
        _rows(control) for _, control in pools if control.pool.lists.waiting_count()
    )


def _rows(control: PoolControl) -> Iterator[WaiterRow]:
    """One pool's; who is there is noted in this call."""
    lists = control.pool.lists
    holders = [
        (server, server.linked_client)
        for server in lists.servers(states.SV_ACTIVE)
        if server.linked_client is not None
    ]
    holders.sort(key=lambda holder: holder[1].link_start)
    return chain(
        _waiting(control, lists.waiting_clients(), Wait(control.pool)), _holding(control, holders)
    )


def _waiting(control: PoolControl, clients: list[ClientRelay], wait: Wait) -> Iterator[WaiterRow]:
    for index, client in enumerate(clients):
        if client.state == states.CL_WAITING:
            yield _row(control, client, WAITING, wait.reason(index), client.wait_start)


def _holding(
    control: PoolControl, holders: list[tuple[ServerRelay, ClientRelay]]
) -> Iterator[WaiterRow]:
    for server, client in holders:
        if server.linked_client is client:
            pid = server.owner.cancel_pid
            yield _row(control, client, HOLDING, _state(server), client.link_start, pid)


def _state(server: ServerRelay) -> str:
    if server.ready:
        return "idle"
    return "idle in transaction" if server.idle_tx else "active"


def _row(
    control: PoolControl,
    client: ClientRelay,
    role: str,
    state: str,
    since: float,
    server_pid: int | None = None,
) -> WaiterRow:
    info, key = client.owner, control.pool.key
    duration = control.pooler.clock() - since
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
