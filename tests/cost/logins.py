"""Clients that log in and leave through the door, on real transports; their server is a sink."""

from __future__ import annotations

import os
import socket
from collections import deque

from pgmux.config import AuthType
from pgmux.config.model import SslMode
from pgmux.net.client_connection import ClientConnection
from pgmux.net.door import Door
from pgmux.net.loop import Transport
from pgmux.session.client import LoginContext
from pgmux.wire.build import build_startup_message
from tests.cost.pooler import CountingLoop, CountingRig, Sink, add_server, packet_sockets
from tests.forms import messages as m

STARTUP = build_startup_message(
    {"user": "bob", "database": "app", "application_name": "psql", "client_encoding": "UTF8"}
)


class Logins:
    """A pooler with auth_type trust, and one client and one server so that the next is welcomed."""

    def __init__(self) -> None:
        self.loop = CountingLoop()
        self.rig = CountingRig(auth_type=AuthType.TRUST)
        self.rig.log.lines = deque(maxlen=0)  # type: ignore[assignment]  # they are made, not kept
        context = LoginContext(
            config=lambda: self.rig.pooler.config,
            random=os.urandom,
            connection_count=lambda: 0,
            own_uid=os.geteuid(),
            tls_mode=lambda: SslMode.DISABLE,
            os_user=lambda uid: None,
            mock_key=b"",
        )
        nobody: object = None
        self.door = Door(self.rig.pooler, context, nobody, nobody, nobody, lambda: None)
        self._first = self._send(packet_sockets())
        add_server(self.rig, Sink(callable))
        self._first.recv(4096)

    def log_in(self, pair: tuple[socket.socket, socket.socket]) -> int:
        """The number of packets that the client was sent; it is idle then."""
        peer = self._send(pair)
        count = 0
        try:
            while peer.recv(4096, socket.MSG_DONTWAIT):
                count += 1
        except BlockingIOError:
            return count
        raise AssertionError("the login was refused")

    def leave(self, peer: socket.socket) -> None:
        """As a client that says Terminate and closes."""
        peer.send(m.X)
        self.loop.serve()
        self.loop.turn()
        peer.close()

    def _send(self, pair: tuple[socket.socket, socket.socket]) -> socket.socket:
        ours, peer = pair
        Transport(self.loop.poller, self.loop, ours, ClientConnection(self.door))
        peer.send(STARTUP)
        self.loop.serve()
        return peer
