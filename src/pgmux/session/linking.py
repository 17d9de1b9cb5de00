"""Clients that get their server at login, as with a direct connection, and are welcomed with what
that very server says: session_link = login.

Such a client waits in the queue as one does that has asked something, but for its welcome. It is
told AuthenticationOk when it begins to wait: from then on it can take a NOTICE. Once it is linked,
`control` has its startup parameters set and the pooler welcomes it.
Errors: none; who can't be served is closed by `control`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pgmux.session._entry_cy import ClientInfo
from pgmux.session._relay_cy import ClientRelay, ServerRelay
from pgmux.session.identity import ServerInfo
from pgmux.session.release import make_available
from pgmux.session.varcache import Vars, VarSpace
from pgmux.wire.build import build_authentication_ok, build_parameter_status

if TYPE_CHECKING:
    from pgmux.session.control import PoolControl
    from pgmux.session.pooler import Pooler


def enter(pooler: Pooler, control: PoolControl, client: ClientRelay) -> None:
    """Give a client that has authenticated its server, or have it wait for one."""
    lists = control.pool.lists
    client.hold()
    client.wait_start = pooler.clock()
    lists.wait(client)
    server = control.relay.find_server()
    if server is not None:
        make_available(control, server)
        return
    client.owner.is_authenticated = True
    client.transport.write(build_authentication_ok())
    control.on_client_waits(client)


def startup_vars(client: ClientRelay, server: ServerRelay) -> Vars:
    """What the session is to begin with: the server's own startup values, and the client's."""
    space: VarSpace = server.vars.space
    info: ClientInfo = client.owner
    return space.from_reported(server.owner.reported).replace(space.spelled(info.startup))


def statuses(server: ServerRelay) -> bytes:
    """A ParameterStatus for all that the server reports, as it is now."""
    info: ServerInfo = server.owner
    return b"".join(
        build_parameter_status(name, server.vars.get(name) or value)
        for name, value in info.reported.items()
    )
