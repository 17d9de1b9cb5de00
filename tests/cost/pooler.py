"""A whole pooler in steady state, its clients and servers under the caller's control: on transports
that do nothing, or on the real ones, driven by hand through the poller.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import Any

from pgmux.auth.credentials import Credentials
from pgmux.net.loop import Loop, Transport
from pgmux.session.identity import ClientInfo, ServerInfo
from tests.cost.shapes import CHUNK_LEN, Shape
from tests.unit.session.rig import REPORTED, FakeEnds, Rig, configure


class CountingRig(Rig):
    """Counts how often the pooler asks what time it is; logs nothing."""

    def __init__(self, **settings: Any) -> None:
        self.clock_reads = 0
        super().__init__(configure(**settings))
        self.log.is_debug = False

    def _clock(self) -> float:
        self.clock_reads += 1
        return self.now


class Sink:
    """A transport that hands what is written to `write`."""

    def __init__(self, write: Callable[[bytes], Any]) -> None:
        self.write = write

    def get_write_buffer_size(self) -> int:
        return 0


def enter(rig: Rig, transport: Any) -> Any:
    """A client's relay."""
    info = ClientInfo(next(rig.pooler.ids), "app", "bob", FakeEnds(), {})
    credentials = Credentials("bob", None, 0)
    return rig.pooler.enter(transport, info, credentials, None, long_key=False)


def add_server(rig: Rig, transport: Any) -> Any:
    """The relay of a server that has logged in, for whoever waits."""
    info = ServerInfo(next(rig.pooler.ids), "app", "bob", FakeEnds())
    server = rig.pooler.connects.on_connected(rig.pending()[0], transport, info, REPORTED)
    if hasattr(transport, "set_protocol"):
        transport.set_protocol(server)
    rig.pooler.connects.admit(server)
    return server


class RelayPair:
    """A client and a server without sockets; `to_client` and `to_server` get what is written."""

    def __init__(
        self, to_client: Callable[[bytes], Any], to_server: Callable[[bytes], Any]
    ) -> None:
        self.rig = CountingRig()
        client = enter(self.rig, Sink(to_client))
        server = add_server(self.rig, Sink(to_server))
        self._ask = client.data_received
        self._answer = server.data_received

    def begin(self, shape: Shape) -> None:
        self._do(shape.begin)

    def exchange(self, shape: Shape) -> None:
        self._do(shape.exchanges)

    def _do(self, exchanges: tuple[tuple[bytes, bytes], ...]) -> None:
        for asked, answered in exchanges:
            if asked:
                self._ask(asked)
            if answered:
                self._answer(answered)


class CountingLoop(Loop):
    """Counts what is scheduled: callbacks, timers, tasks (which are callbacks)."""

    def __init__(self) -> None:
        self.scheduled = 0
        super().__init__()

    def call_soon(self, *args: Any, **named: Any) -> asyncio.Handle:
        self.scheduled += 1
        return super().call_soon(*args, **named)

    def call_at(self, *args: Any, **named: Any) -> asyncio.TimerHandle:
        self.scheduled += 1
        return super().call_at(*args, **named)

    def serve(self) -> None:
        """What transports have to do now is done; the loop itself stands still."""
        self.poller.select(0)

    def turn(self) -> None:
        """Let what is scheduled run."""
        for _ in range(3):
            self.run_until_complete(asyncio.sleep(0))


class _Newcomer(asyncio.Protocol):
    """The protocol of a transport before it has a relay."""


class SocketPair:
    """The same with real transports. Each write is one packet, so the peers see what was a write of
    its own.
    """

    def __init__(self) -> None:
        self.loop = CountingLoop()
        self.loop.set_exception_handler(_fail)
        self.rig = CountingRig()
        self.client_peer, transport = self._connect()
        transport.set_protocol(enter(self.rig, transport))
        self.server_peer, transport = self._connect()
        add_server(self.rig, transport)
        self._receive(self.client_peer)  # the welcome

    def close(self) -> None:
        self.client_peer.close()
        self.server_peer.close()
        self.loop.serve()
        self.loop.turn()
        self.loop.close()

    def _connect(self) -> tuple[socket.socket, Any]:
        ours, theirs = packet_sockets()
        protocol = _Newcomer()
        return theirs, Transport(self.loop.poller, self.loop, ours, protocol)

    def begin(self, shape: Shape) -> None:
        self._do(shape.begin)

    def exchange(self, shape: Shape) -> int:
        """The number of packets that arrived, which is that of the writes."""
        return self._do(shape.exchanges)

    def _do(self, exchanges: tuple[tuple[bytes, bytes], ...]) -> int:
        writes = 0
        for asked, answered in exchanges:
            if asked:
                self.client_peer.send(asked)
                self.loop.serve()
                writes += self._receive(self.server_peer)
            if answered:
                self.server_peer.send(answered)
                self.loop.serve()
                writes += self._receive(self.client_peer)
        return writes

    def _receive(self, sock: socket.socket) -> int:
        """How many packets have come; at least one has."""
        sock.recv(2 * CHUNK_LEN)
        count = 1
        while _is_readable(sock):
            sock.recv(2 * CHUNK_LEN)
            count += 1
        return count


def packet_sockets() -> tuple[socket.socket, socket.socket]:
    """Connected; what is sent at once is received at once. The first doesn't block."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ours.setblocking(False)
    for sock in (ours, theirs):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4 * CHUNK_LEN)
    return ours, theirs


def _is_readable(sock: socket.socket) -> bool:
    try:
        return bool(sock.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT))
    except BlockingIOError:
        return False


def _fail(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    raise context.get("exception") or AssertionError(context["message"])
