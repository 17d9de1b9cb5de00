"""SHOW CLIENTS, SHOW SERVERS, SHOW SOCKETS: one row a connection, by pool, then by state.

Which states there are, what they are called, and their order are PgBouncer's (src/admin.c, 1.25.2):
SHOW SOCKETS has connections in the making, and has none that is being canceled.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from pgmux.config.model import ADMIN_DATABASE
from pgmux.metrics.snapshot import ConnectionRow, SocketRow
from pgmux.net.client_connection import Door
from pgmux.net.connector import Attempt
from pgmux.net.console_connection import Consoles
from pgmux.net.rows import connection_row
from pgmux.pool import states
from pgmux.pool.pool import PoolKey
from pgmux.session._relay_cy import ClientRelay, Relay, ServerRelay
from pgmux.session.control import PoolControl
from pgmux.session.pooler import Pooler

CONSOLE_POOL: Final = PoolKey(ADMIN_DATABASE, ADMIN_DATABASE)

# A server's states in the order of the rows, and their names in SHOW SERVERS and SHOW SOCKETS.
_SERVERS: Final = (
    (states.SV_ACTIVE, "active", "sv_active"),
    (states.SV_IDLE, "idle", "sv_idle"),
    (states.SV_USED, "used", "sv_used"),
    (states.SV_TESTED, "tested", "sv_tested"),
    (states.SV_LOGIN, "new", "sv_login"),
    (states.SV_BEING_CANCELED, "being_canceled", ""),
)


class Connections:
    """The rows, as they are at the moment of the call."""

    def __init__(self, pooler: Pooler, door: Door, consoles: Consoles) -> None:
        self._pooler = pooler
        self._door = door
        self._consoles = consoles

    def clients(self) -> list[ConnectionRow]:
        """SHOW CLIENTS; consoles are clients too."""
        return [row for key in self._pool_keys() for row in self._clients_of(key)]

    def servers(self) -> list[ConnectionRow]:
        """SHOW SERVERS, those in the making included."""
        return [row for key in self._pool_keys() for row, _ in self._servers_of(key)]

    def sockets(self) -> list[SocketRow]:
        """SHOW SOCKETS: pool by pool its clients and servers; last the clients that log in."""
        rows = [row for key in self._pool_keys() for row in self._sockets_of(key)]
        for login in self._door.logins:
            rows.append(_socket(login.row(), "cl_login", pkt_avail=login.kept_len))
        return rows

    def _pool_keys(self) -> list[PoolKey]:
        return sorted([*self._pooler.pools, CONSOLE_POOL])

    # ---- clients

    def _clients_of(self, key: PoolKey) -> Iterator[ConnectionRow]:
        if key == CONSOLE_POOL:
            for console in self._consoles.open:
                yield console.row()
            return
        for client in self._client_relays(key):
            yield self._client(client)

    def _client_relays(self, key: PoolKey) -> list[ClientRelay]:
        """Without those that run auth_query: who waits for one is in a list of its own."""
        lists = self._pooler.pools[key].pool.lists
        clients = [*lists.active_clients(), *lists.waiting_clients()]
        return [client for client in clients if not client.owner.is_lookup]

    def _client(self, client: ClientRelay) -> ConnectionRow:
        info, server = client.owner, client.linked_server
        waiting = client.state == states.CL_WAITING
        since = client.wait_start if waiting else client.query_start
        return connection_row(
            self._pooler.clock,
            "C",
            info.id,
            info.addresses,
            user=info.user,
            database=info.database,
            state="waiting" if waiting else "idle" if server is None else "active",
            connect_time=client.connect_time,
            request_time=client.request_time,
            remote_pid=info.addresses.peer.pid,
            wait=self._pooler.clock() - since if since else 0.0,
            link=None if server is None else server.owner.id,
            application_name=_application_name(client),
            prepared_statements=client.prepared_count,
        )

    # ---- servers

    def _servers_of(self, key: PoolKey) -> Iterator[tuple[ConnectionRow, ServerRelay | None]]:
        """Rows with their relays; None where it is still in the making."""
        control = self._pooler.pools.get(key)
        if control is None:
            return
        for state, name, _ in _SERVERS:
            for server in control.pool.lists.servers(state):
                yield self._server(server, name), server
            if state == states.SV_LOGIN:
                for row in self._attempts(control):
                    yield row, None

    def _server(self, server: ServerRelay, state: str) -> ConnectionRow:
        info, client = server.owner, server.linked_client
        return connection_row(
            self._pooler.clock,
            "S",
            info.id,
            info.addresses,
            user=info.user,
            database=info.database,
            state=state,
            connect_time=server.connect_time,
            request_time=server.request_time,
            remote_pid=info.cancel_pid,
            close_needed=server.close_needed,
            link=None if client is None else client.owner.id,
            application_name=_application_name(server),
            prepared_statements=server.prepared_count,
        )

    def _attempts(self, control: PoolControl) -> Iterator[ConnectionRow]:
        """Connects and logins under way."""
        key = control.pool.key
        for attempt, (owner, began_at) in self._pooler.attempts.items():
            if owner is control and isinstance(attempt, Attempt):
                yield connection_row(
                    self._pooler.clock,
                    "S",
                    attempt.id,
                    attempt.ends,
                    user=key.user,
                    database=key.database,
                    state="new",
                    connect_time=began_at,
                    request_time=began_at,
                )

    # ---- sockets

    def _sockets_of(self, key: PoolKey) -> Iterator[SocketRow]:
        if key == CONSOLE_POOL:
            for console in self._consoles.open:
                yield _socket(console.row(), "cl_active", pkt_avail=console.kept_len)
            return
        for client in self._client_relays(key):
            waiting = client.state == states.CL_WAITING
            state = "cl_waiting" if waiting else "cl_active"
            yield _relay_socket(self._client(client), state, client, client.linked_server)
        socket_states = {name: socket_state for _, name, socket_state in _SERVERS if socket_state}
        for row, server in self._servers_of(key):
            if row.state in socket_states:
                state = socket_states[row.state]
                linked = None if server is None else server.linked_client
                yield _relay_socket(row, state, server, linked)


def _application_name(relay: Relay) -> str:
    return (relay.vars and relay.vars.get("application_name")) or ""


def _socket(row: ConnectionRow, state: str, *, pkt_avail: int = 0) -> SocketRow:
    return SocketRow.of(row, state, pkt_remain=0, pkt_avail=pkt_avail, send_avail=0)


def _relay_socket(
    row: ConnectionRow, state: str, relay: Relay | None, linked: Relay | None
) -> SocketRow:
    """What one side of a link has sent and the other has not taken; of a connection without a
    link, what it has not taken itself.
    """
    if relay is None:
        return _socket(row, state)
    unsent_to = relay if linked is None else linked
    return SocketRow.of(
        row,
        state,
        pkt_remain=relay.skip_len,
        pkt_avail=relay.kept_len,
        send_avail=unsent_to.transport.get_write_buffer_size(),
    )
