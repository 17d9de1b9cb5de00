"""A pool with given limits, and connections as the lists and the janitor see them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pgmux.config import PoolMode
from pgmux.pool.limits import Quota
from pgmux.pool.pool import Pool, PoolKey, PoolLimits
from pgmux.pool.states import SV_ACTIVE, SV_IDLE


@dataclass(eq=False)
class Client:
    state: int = -1
    request_time: float = 0.0
    query_start: float = 0.0
    xact_start: float = 0.0
    wait_start: float = 0.0
    linked_server: Server | None = None


@dataclass(eq=False)
class Server:
    state: int = -1
    request_time: float = 0.0
    connect_time: float = 0.0
    ready: bool = True
    idle_tx: bool = False
    close_needed: bool = False
    special: bool = False
    linked_client: Client | None = None


def make_pool(*quotas: Quota, **limits: Any) -> Pool:
    """Session mode, ten servers, nothing else limited, unless `limits` say otherwise."""
    values: dict[str, Any] = {
        "pool_mode": PoolMode.SESSION,
        "pool_size": 10,
        "min_pool_size": 0,
        "server_lifetime": 3600.0,
        "query_wait_timeout": 0.0,
        "query_timeout": 0.0,
        "idle_transaction_timeout": 0.0,
        "transaction_timeout": 0.0,
        "client_idle_timeout": 0.0,
        "server_login_retry": 15.0,
        "reserve_pool_size": 0,
        "reserve_pool_timeout": 5.0,
        "forced_user": False,
    }
    return Pool(PoolKey("db", "bob"), PoolLimits(**values | limits), quotas)


def add_servers(pool: Pool, state: int, count: int = 1, **fields: Any) -> list[Server]:
    """Servers that are in `state`."""
    servers = [Server(**fields) for _ in range(count)]
    for server in servers:
        pool.lists.add_server(server)
        if state != server.state:
            pool.lists.move_server(server, state)
    return servers


def add_clients(
    pool: Pool, count: int = 1, *, waiting: bool = False, **fields: Any
) -> list[Client]:
    """Clients that wait, or don't."""
    clients = [Client(**fields) for _ in range(count)]
    for client in clients:
        pool.lists.add_client(client)
        if waiting:
            pool.lists.wait(client)
    return clients


def add_dedicated(pool: Pool, **fields: Any) -> Client:
    """A client that waits for a server of its own."""
    (client,) = add_clients(pool, **fields)
    pool.lists.wait_dedicated(client)
    return client


def add_link(pool: Pool, client: Client, server: Server) -> None:
    """A client with a server of its own."""
    pool.lists.add_client(client)
    pool.lists.add_server(server)
    pool.lists.move_server(server, SV_IDLE)
    pool.lists.move_server(server, SV_ACTIVE)
    client.linked_server, server.linked_client = server, client
