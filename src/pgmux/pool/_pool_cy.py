"""HOT: the lists of one pool.

A pool holds the clients and servers of one (database, user). It knows nothing of sockets, bytes or
clocks: clients and servers are any objects with a writable int attribute `state`, and decisions are
returned, for the caller to carry out.

A server that is `idle` and one that is active are in one list, and `idle` beside it has those that
may be linked: for each transaction the relay takes one from its end and puts it back, and sets the
state (`PoolRelay.find_server` and `release_server`). All other moves are made here.

Source: PgBouncer's objects.c in outline (a state is a list, one mover).
Errors: a move from a list that the connection is not in raises LocalProtocolError.
"""

from __future__ import annotations

from collections import OrderedDict
from itertools import islice
from typing import TYPE_CHECKING, Any

from pgmux.errors import LocalProtocolError
from pgmux.pool import states

if TYPE_CHECKING:
    from pgmux import _cython as cython
else:
    try:
        import cython
    except ModuleNotFoundError:
        from pgmux import _cython as cython

# C constants: an untyped module constant costs ten times as much.
CL_ACTIVE = cython.declare(cython.int, states.CL_ACTIVE)
CL_WAITING = cython.declare(cython.int, states.CL_WAITING)
CL_GONE = cython.declare(cython.int, states.CL_GONE)
SV_LOGIN = cython.declare(cython.int, states.SV_LOGIN)
SV_IDLE = cython.declare(cython.int, states.SV_IDLE)
SV_ACTIVE = cython.declare(cython.int, states.SV_ACTIVE)
SV_USED = cython.declare(cython.int, states.SV_USED)
SV_GONE = cython.declare(cython.int, states.SV_GONE)


@cython.cclass
class PoolLists:
    """The clients and servers of one pool, by state, in the order in which they came to it."""

    idle = cython.declare(list, visibility="readonly")  # the server released last is the last one
    waiting = cython.declare(object, visibility="readonly")  # the queue, an OrderedDict
    held = cython.declare(cython.bint, visibility="public")  # paused; set by PoolControl.hold
    lists: list[dict[Any, None]]
    clients: dict[Any, None]
    dedicated: dict[Any, bool]
    # Servers that the pool may have, with its reserve; 0: any number.
    most_servers = cython.declare(cython.longlong, visibility="public")

    def __init__(self) -> None:
        self.lists = [{} for _ in range(SV_GONE)]
        self.lists[SV_IDLE] = self.lists[SV_ACTIVE]
        self.idle = []
        self.clients = {}
        self.waiting = OrderedDict()
        # Clients that wait for a server of their own, and whether it is being connected.
        self.dedicated = {}
        self.held = False
        self.most_servers = 0

    # ---- servers

    def add_server(self, server: Any) -> None:
        """Take in a server that starts to connect."""
        server.state = SV_LOGIN
        self.lists[SV_LOGIN][server] = None

    def move_server(self, server: Any, state: cython.int) -> None:
        """Put a server into the list of `state`; SV_GONE takes it out of the pool."""
        old: cython.int = server.state
        if old == SV_GONE or server not in self.lists[old]:
            raise LocalProtocolError(
                f"server moves to {states.SERVER_STATES[state]},"
                f" but is not in {states.SERVER_STATES[old]}"
            )
        if old == SV_IDLE:
            self.idle.remove(server)
        del self.lists[old][server]
        server.state = state
        if state != SV_GONE:
            self.lists[state][server] = None
        if state == SV_IDLE:
            self.idle.append(server)

    def servers(self, state: int) -> list[Any]:
        """The servers in a state, oldest first; active ones as they came to the pool. A copy."""
        if state == SV_IDLE:
            return list(self.idle)
        return [server for server in self.lists[state] if server.state == state]

    def oldest_server(self, state: int) -> Any:
        """The first of them, or None: of unused ones the one that has been so for longest."""
        servers = self.servers(state)
        return servers[0] if servers else None

    def server_count(self, state: int) -> int:
        """How many servers are in a state."""
        if state == SV_IDLE:
            return len(self.idle)
        return len(self.lists[state]) - (len(self.idle) if state == SV_ACTIVE else 0)

    def all_servers(self) -> list[Any]:
        """Every server of the pool; a copy."""
        return [server for state in range(SV_GONE) for server in self.servers(state)]

    def total_servers(self) -> int:
        """Servers in all states together, those in login included."""
        return sum([self.server_count(state) for state in range(SV_GONE)])

    # ---- clients

    def add_client(self, client: Any) -> None:
        """Take in a client that has logged in."""
        client.state = CL_ACTIVE
        self.clients[client] = None

    def wait(self, client: Any) -> bool:
        """Put an active client at the end of the queue; False where nothing can be done for it but
        wait, as the pool has all its servers and they work.
        """
        if client.state != CL_ACTIVE or client not in self.clients:
            raise LocalProtocolError(f"client waits, but is {states.CLIENT_STATES[client.state]}")
        del self.clients[client]
        client.state = CL_WAITING
        self.waiting[client] = None
        active: cython.longlong = len(self.lists[SV_ACTIVE]) - len(self.idle)
        has_all: cython.bint = 0 < self.most_servers <= active
        return not has_all or bool(self.lists[SV_USED]) or bool(self.dedicated)

    def wait_dedicated(self, client: Any) -> None:
        """Have an active client wait for a server of its own, which no other server will do for."""
        if client.state != CL_ACTIVE or client not in self.clients:
            raise LocalProtocolError(f"client waits, but is {states.CLIENT_STATES[client.state]}")
        del self.clients[client]
        client.state = CL_WAITING
        self.dedicated[client] = False

    def set_connecting(self, client: Any, is_connecting: cython.bint) -> None:
        """Note whether a client's own server is being connected; nothing, if it waits no more."""
        if client in self.dedicated:
            self.dedicated[client] = is_connecting

    def next_dedicated(self) -> Any:
        """The client that has waited longest of those whose own server is not being connected yet,
        or None.
        """
        for client, is_connecting in self.dedicated.items():
            if not is_connecting:
                return client
        return None

    def stop_waiting(self, client: Any) -> None:
        """Take a client out of the queue, whatever its place: it waited for its welcome, or for a
        server of its own.
        """
        if client.state != CL_WAITING:
            raise LocalProtocolError(
                f"client stops waiting, but is {states.CLIENT_STATES[client.state]}"
            )
        self._leave_queue(client)
        client.state = CL_ACTIVE
        self.clients[client] = None

    def next_waiting(self) -> Any:
        """Take the longest-waiting client out of the queue, or None."""
        if not self.waiting:
            return None
        client = self.waiting.popitem(last=False)[0]
        client.state = CL_ACTIVE
        self.clients[client] = None
        return client

    def remove_client(self, client: Any) -> None:
        """Take a client out of the pool."""
        if client.state == CL_ACTIVE:
            del self.clients[client]
        elif client.state == CL_WAITING:
            self._leave_queue(client)
        else:
            raise LocalProtocolError(f"client leaves, but is {states.CLIENT_STATES[client.state]}")
        client.state = CL_GONE

    def _leave_queue(self, client: Any) -> None:
        if client in self.dedicated:
            del self.dedicated[client]
        else:
            del self.waiting[client]

    def active_clients(self) -> list[Any]:
        """Clients that don't wait, linked or idle; a copy."""
        return list(self.clients)

    def waiting_clients(self) -> list[Any]:
        """The queue, longest-waiting first; then who waits for a server of its own. A copy."""
        return [*self.waiting, *self.dedicated]

    def waiting_client(self, index: int) -> Any:
        """The client of that place in the queue, 0 is the longest-waiting; None beyond its end."""
        return next(islice(self.waiting, index, None), None)

    def client_count(self) -> int:
        """Clients of the pool, waiting ones included."""
        return len(self.clients) + len(self.waiting) + len(self.dedicated)

    def waiting_count(self) -> int:
        """Length of the queue, without those who wait for a server of their own."""
        return len(self.waiting)

    def dedicated_count(self) -> int:
        """Clients that wait for a server of their own."""
        return len(self.dedicated)

    def idle_count(self) -> int:
        """Servers that could be linked at once."""
        return len(self.idle)
