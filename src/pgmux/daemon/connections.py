"""SHOW CLIENTS, SHOW SERVERS, SHOW SOCKETS: one row a connection, by pool, then by state.

Who is there is noted at once, each row is made when it is asked for, and who has gone by then has
none: with thousands of clients all rows together would hold up everybody's queries.
Which states there are, what they are called, and their order are PgBouncer's (src/admin.c, 1.25.2):
SHOW SOCKETS has connections in the making, and none that is being canceled or has a cancel request.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Final

from pgmux.config.model import ADMIN_DATABASE
from pgmux.metrics.snapshot import ConnectionRow, SocketRow
from pgmux.net._client_connection_cy import ClientConnection
from pgmux.net.connector import Attempt
from pgmux.net.console_connection import ConsoleConnection, Consoles
from pgmux.net.door import Door
from pgmux.net.peer_request import PeerRequest
from pgmux.net.rows import connection_row
from pgmux.pool import states
from pgmux.pool.pool import PoolKey
from pgmux.session._relay_cy import ClientRelay, Relay, ServerRelay
from pgmux.session.control import PoolControl
from pgmux.session.pooler import Pooler
from pgmux.wire.replication import Replication

CONSOLE_POOL: Final = PoolKey(ADMIN_DATABASE, ADMIN_DATABASE)

# A server's states in the order of the rows, and their names in SHOW SERVERS.
_SERVERS: Final = {
    states.SV_ACTIVE: "active",
    states.SV_IDLE: "idle",
    states.SV_USED: "used",
    states.SV_TESTED: "tested",
    states.SV_LOGIN: "new",
    states.SV_BEING_CANCELED: "being_canceled",
}
# What SHOW SOCKETS calls a state otherwise than cl_active, and sv_ with the name above.
_SOCKETS: Final = {
    ("C", "waiting"): "cl_waiting",
    ("C", "login"): "cl_login",
    ("S", "new"): "sv_login",
}

_Client = ClientRelay | ConsoleConnection
_Server = ServerRelay | Attempt | PeerRequest
_Any = _Client | _Server | ClientConnection


class Connections:
    """The rows. A call notes who is there; its iterator makes them."""

    def __init__(self, pooler: Pooler, door: Door, consoles: Consoles) -> None:
        self._pooler = pooler
        self._door = door
        self._consoles = consoles

    def clients(self) -> Iterator[ConnectionRow]:
        """SHOW CLIENTS; consoles are clients too."""
        found: list[Iterable[_Any]] = [self._clients_of(key) for key in self._pool_keys()]
        found.append([c for c in self._door.logins if c.state != "login"])
        return self._rows(chain.from_iterable(found))

    def servers(self) -> Iterator[ConnectionRow]:
        """SHOW SERVERS, those in the making included."""
        found: list[_Any] = [s for key in self._pool_keys() for s in self._servers_of(key)]
        return self._rows(found + self._peer_requests())

    def sockets(self) -> Iterator[SocketRow]:
        """SHOW SOCKETS: pool by pool its clients and servers; last the clients that log in."""
        found: list[Iterable[_Any]] = []
        for key in self._pool_keys():
            found += (self._clients_of(key), self._servers_of(key))
        found.append([c for c in self._door.logins if c.state == "login"])
        return self._sockets(chain.from_iterable(found))

    # ---- who is there

    def _pool_keys(self) -> list[PoolKey]:
        return sorted([*self._pooler.pools, CONSOLE_POOL])

    def _clients_of(self, key: PoolKey) -> Iterable[_Client]:
        """Those of now; copied once and no more, as there may be thousands."""
        if key == CONSOLE_POOL:
            return list(self._consoles.open)
        lists = self._pooler.pools[key].pool.lists
        return chain(lists.active_clients(), lists.waiting_clients())

    def _servers_of(self, key: PoolKey) -> list[_Server]:
        control = self._pooler.pools.get(key)
        if control is None:
            return []
        found: list[_Server] = []
        lists = control.pool.lists
        for state in _SERVERS:
            # Of the idle ones the next to be used stands first.
            is_stack = state == states.SV_IDLE and not control.relay.round_robin
            found += lists.servers(state)[:: -1 if is_stack else 1]
            if state == states.SV_LOGIN:
                found += self._attempts(control)
        return found

    def _attempts(self, control: PoolControl) -> list[Attempt]:
        """Connects and logins under way."""
        attempts = self._pooler.connects.attempts.items()
        return [a for a, (owner, _) in attempts if owner is control and isinstance(a, Attempt)]

    def _peer_requests(self) -> list[_Any]:
        """Connections to other poolers, each with a cancel request."""
        pools = sorted(self._pooler.peers.pools.items())
        found = [forward.attempt for _, pool in pools for forward in pool.running]
        return [request for request in found if isinstance(request, PeerRequest)]

    # ---- rows

    def _rows(self, found: Iterable[_Any]) -> Iterator[ConnectionRow]:
        for connection in found:
            row = self._row(connection)
            if row is not None:
                yield row

    def _sockets(self, found: Iterable[_Any]) -> Iterator[SocketRow]:
        for connection in found:
            row = self._row(connection)
            if row is not None and row.state != "being_canceled":
                yield _socket(row, connection)

    def _row(self, connection: _Any) -> ConnectionRow | None:
        """None for one that has gone, and for a lookup: who waits for that is among the logins."""
        match connection:
            case ClientRelay():
                is_none = connection.state == states.CL_GONE or connection.owner.is_lookup
                return None if is_none else self._client(connection)
            case ServerRelay():
                return None if connection.state == states.SV_GONE else self._server(connection)
            case Attempt():
                is_running = connection in self._pooler.connects.attempts
                return self._attempt(connection) if is_running else None
            case PeerRequest():
                return self._peer_request(connection) if connection.is_running else None
            case ConsoleConnection():
                return connection.row() if connection in self._consoles.open else None
            case ClientConnection():
                return connection.row() if connection in self._door.logins else None

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
            tls=info.tls,
            remote_pid=info.addresses.peer.pid,
            wait=self._pooler.clock() - since if since else 0.0,
            link=None if server is None else server.owner.id,
            application_name=_application_name(client),
            prepared_statements=client.prepared_count,
            replication=info.replication.value,
        )

    def _server(self, server: ServerRelay) -> ConnectionRow:
        info, client = server.owner, server.linked_client
        return connection_row(
            self._pooler.clock,
            "S",
            info.id,
            info.addresses,
            user=info.user,
            database=info.database,
            state=_SERVERS[server.state],
            connect_time=server.connect_time,
            request_time=server.request_time,
            tls=info.tls,
            remote_pid=info.cancel_pid,
            close_needed=server.close_needed,
            link=None if client is None else client.owner.id,
            application_name=_application_name(server),
            prepared_statements=server.prepared_count,
            replication=info.replication.value,
        )

    def _attempt(self, attempt: Attempt) -> ConnectionRow:
        control, began_at = self._pooler.connects.attempts[attempt]
        key = control.pool.key
        client = self._pooler.connects.dedicated.get(attempt)
        return connection_row(
            self._pooler.clock,
            "S",
            attempt.id,
            attempt.ends,
            user=key.user,
            database=key.database,
            state="new",
            connect_time=began_at,
            request_time=began_at,
            replication=(client.owner.replication if client else Replication.NONE).value,
        )

    def _peer_request(self, request: PeerRequest) -> ConnectionRow:
        return connection_row(
            self._pooler.clock,
            "S",
            request.forward.id,
            request.ends,
            user="",
            database="",
            state="active_cancel" if request.forward.is_sent else "new",
            connect_time=request.started_at,
            request_time=request.started_at,
        )


def _application_name(relay: Relay) -> str:
    return (relay.vars and relay.vars.get("application_name")) or ""


def _socket(row: ConnectionRow, connection: _Any) -> SocketRow:
    """`send_avail` is what one side of a link has sent and the other has not taken; of a connection
    without a link, what it has not taken itself.
    """
    pkt_remain = send_avail = 0
    pkt_avail = 0 if isinstance(connection, Attempt | PeerRequest) else connection.kept_len
    if isinstance(connection, Relay):
        pkt_remain = connection.skip_len
        send_avail = _other_side(connection).transport.get_write_buffer_size()
    default = f"sv_{row.state}" if row.type == "S" else "cl_active"
    state = _SOCKETS.get((row.type, row.state), default)
    return SocketRow.of(
        row, state, pkt_remain=pkt_remain, pkt_avail=pkt_avail, send_avail=send_avail
    )


def _other_side(relay: Relay) -> Relay:
    if isinstance(relay, ClientRelay):
        return relay.linked_server or relay
    assert isinstance(relay, ServerRelay)
    return relay.linked_client or relay
