"""A whole pooler in steady state, its clients and servers under the caller's control: on transports
that do nothing, or on the real ones, driven by hand through the poller.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable, Sequence
from typing import Any

from pgmux.auth.credentials import Credentials
from pgmux.net.loop import Loop, Transport
from pgmux.session._entry_cy import ClientInfo
from pgmux.session.identity import ServerInfo
from tests.cost.shapes import CHUNK_LEN, CLIENT, OTHER_CLIENT, Step
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


class Relays:
    """Two clients and their server without sockets; `write` gets all that is written."""

    def __init__(self, write: Callable[[bytes], Any]) -> None:
        self.rig = CountingRig(default_pool_size=1)
        clients = [enter(self.rig, Sink(write)) for _ in (CLIENT, OTHER_CLIENT)]
        relays = [*clients, add_server(self.rig, Sink(write))]
        self._receive = [relay.data_received for relay in relays]

    def do(self, steps: Sequence[Step]) -> None:
        """Have each chunk come from whom it is."""
        for who, data in steps:
            self._receive[who](data)


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
        """Transports do what they can do now; the loop itself stands still."""
        self.poller.select(0)

    def turn(self) -> None:
        """Let what is scheduled run."""
        for _ in range(3):
            self.run_until_complete(asyncio.sleep(0))


class _Newcomer(asyncio.Protocol):
    """The protocol of a transport before it has a relay."""


class Sockets:
    """The same on real transports. Each write is one packet, so the peers see what was a write of
    its own. They use sendmsg and recvmsg, which pgmux doesn't: strace can tell who did what.
    """

    def __init__(self) -> None:
        self.loop = CountingLoop()
        self.loop.set_exception_handler(fail)
        self.rig = CountingRig(default_pool_size=1)
        self._peers: list[socket.socket] = []
        for _ in (CLIENT, OTHER_CLIENT):
            transport = self._connect()
            transport.set_protocol(enter(self.rig, transport))
        add_server(self.rig, self._connect())
        self._receive()  # the welcome

    def close(self) -> None:
        """All connections."""
        for peer in self._peers:
            peer.close()
        self.loop.serve()
        self.loop.turn()
        self.loop.close()

    def do(self, steps: Sequence[Step]) -> int:
        """Have each chunk come from whom it is; returns the number of packets that arrived, which
        is that of the writes.
        """
        writes = 0
        for who, data in steps:
            self._peers[who].sendmsg([data])
            self.loop.serve()
            writes += self._receive()
        return writes

    def _connect(self) -> Any:
        ours, peer = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.setblocking(False)
        for sock in (ours, peer):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4 * CHUNK_LEN)
        self._peers.append(peer)
        return Transport(self.loop.poller, self.loop, ours, _Newcomer())

    def _receive(self) -> int:
        return sum(map(packets_of, self._peers))


def packets_of(peer: socket.socket) -> int:
    """How many have come, which are received. Raises: EOFError."""
    count = 0
    with contextlib.suppress(BlockingIOError):
        while peer.recvmsg(2 * CHUNK_LEN, 0, socket.MSG_DONTWAIT)[0]:
            count += 1
        raise EOFError
    return count


def fail(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """A loop's exception handler."""
    raise context.get("exception") or AssertionError(context["message"])
