"""A replication client's own server: a connection that begins with what this client has asked for,
is linked to it from the client's login to the end of either, and is never anybody else's.

The client waits for it before its welcome, in a queue of its own (`PoolLists.dedicated`), and takes
a place in its pool as others do. What passes between them is the relay's in session mode, whatever
the pool's mode is (`PoolControl.dedicated_relay`).
Source: PgBouncer's objects.c and server.c, `replication`. Errors: none; who can't be served is
closed by its pool's control.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pgmux.pool.pool import Failure
from pgmux.pool.states import SV_ACTIVE
from pgmux.session import places
from pgmux.session._relay_cy import ClientRelay, ServerRelay
from pgmux.session.identity import ServerInfo
from pgmux.session.server import REASON_LOGIN_FAILED
from pgmux.session.varcache import VarSpace
from pgmux.wire.build import build_authentication_ok

if TYPE_CHECKING:
    from pgmux.session.control import PoolControl
    from pgmux.session.pooler import Pooler


def enter(pooler: Pooler, control: PoolControl, client: ClientRelay) -> None:
    """A client that has authenticated waits for its server."""
    client.hold()
    client.wait_start = pooler.clock()
    control.pool.lists.wait_dedicated(client)
    for server in control.pool.lists.all_servers():
        control.refresh_special(server)  # one of them may have to go for it
    client.owner.is_authenticated = True
    client.transport.write(build_authentication_ok())
    control.on_client_waits(client)


def leave(pooler: Pooler, client: ClientRelay) -> None:
    """A client has gone: nobody needs the server that was being connected for it."""
    for attempt, whose in list(pooler.connects.dedicated.items()):
        if whose is client:
            pooler.connects.drop(attempt, "replication client disconnected")
            control: PoolControl = client.pool_relay.control
            places.on_place_free(pooler, control)
            pooler.launch(control)  # the queue may have waited for that place


def take_in(client: ClientRelay, transport: Any, info: ServerInfo) -> ServerRelay:
    """The client's server has logged in, with the client's parameters: both carry the same."""
    control: PoolControl = client.pool_relay.control
    info.replication = client.owner.replication
    info.dedicated_to = client
    server = ServerRelay(client.pool_relay, transport, info)
    server.vars = VarSpace(info.reported, ()).from_reported(info.reported)
    control.pool.lists.add_server(server)
    return server


def link(pooler: Pooler, control: PoolControl, server: ServerRelay) -> None:
    """Welcome the client with what its server says, and let them talk."""
    client = server.owner.dedicated_to
    assert client is not None
    server.owner.dedicated_to = None
    control.pool.lists.stop_waiting(client)
    control.pool.lists.move_server(server, SV_ACTIVE)
    control.refresh_special(server)
    client.vars = server.vars
    pooler.welcome_linked(client, server)
    server.serve(client)
    if server.linked_client is None and not server.closed:
        control.on_release(server)  # what the client had sent was its goodbye


def refuse(control: PoolControl, client: ClientRelay, failure: Failure) -> None:
    """The server doesn't want this client, for a reason that need not concern others: it lacks
    REPLICATION, or pg_hba.conf its line.
    """
    told = f"{REASON_LOGIN_FAILED}: {failure.message}"
    control.close_client(client, REASON_LOGIN_FAILED, failure.sqlstate, told=told)
