"""Clients that log in and leave through the door; their server is a sink."""

from __future__ import annotations

import os
import socket
from collections import deque
from functools import partial

from pgmux.config import AuthType
from pgmux.config.model import SslMode
from pgmux.net._client_connection_cy import ClientConnection
from pgmux.net.door import Door
from pgmux.net.loop import Acceptor
from pgmux.session.client import LoginContext
from pgmux.wire.build import build_startup_message
from tests.cost.pooler import CountingLoop, CountingRig, Sink, add_server, packets_of
from tests.forms import messages as m

Kind = tuple[socket.AddressFamily, socket.SocketKind]
PACKETS: Kind = (socket.AF_UNIX, socket.SOCK_SEQPACKET)
TCP: Kind = (socket.AF_INET, socket.SOCK_STREAM)
STARTUP = build_startup_message(
    {"user": "bob", "database": "app", "application_name": "psql", "client_encoding": "UTF8"}
)


class Logins:
    """A pooler with auth_type trust, and one client and one server so that the next is welcomed."""

    def __init__(self, kind: Kind = PACKETS) -> None:
        self._kind = kind
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
        door = Door(self.rig.pooler, context, nobody, nobody, nobody, lambda: None)
        self._listening = listening = socket.socket(*kind)
        # A port, or an abstract name, of the kernel's choice.
        listening.bind(b"" if kind is PACKETS else ("127.0.0.1", 0))
        listening.listen()
        self._name = listening.getsockname()
        factory = partial(ClientConnection, door)
        Acceptor(self.loop, factory, listening, 128, self.rig.log)  # type: ignore[arg-type]
        self._first = self.new_client()
        self._come(self._first)
        while not self.rig.pending():
            self.loop.serve()
        add_server(self.rig, Sink(callable))
        packets_of(self._first)

    def new_client(self) -> socket.socket:
        """A client's socket, not connected yet."""
        return socket.socket(*self._kind)

    def log_in(self, peer: socket.socket) -> int:
        """The number of packets that the client was sent; it is idle then."""
        self._come(peer)
        count = 0
        while not count:  # TCP's may take a moment
            self.loop.serve()
            count = packets_of(peer)
        return count

    def leave(self, peer: socket.socket) -> None:
        """As a client that says Terminate and closes."""
        peer.sendmsg([m.X])
        self.loop.serve()
        peer.close()

    def come_and_go(self) -> None:
        """One client."""
        peer = self.new_client()
        self.log_in(peer)
        self.leave(peer)

    def _come(self, peer: socket.socket) -> None:
        peer.connect(self._name)
        peer.sendmsg([STARTUP])
