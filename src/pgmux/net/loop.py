"""The event loop: asyncio's own, with a selector that serves pgmux's transports itself.

`open_transport` and `open_server` give a socket to whichever loop runs: here a `Transport`, on
another loop (uvloop, or asyncio's where there is no epoll) that loop's own.

Source: asyncio's documented extension points: a selector handed to `SelectorEventLoop`, and its
public methods. Errors: OSError.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from contextvars import Context
from typing import Protocol, TypeVarTuple

from pgmux.net._transport_cy import Poller, Transport, accept
from pgmux.session.log import Log

Ts = TypeVarTuple("Ts")

_ACCEPT_RETRY = 1.0  # seconds without accepting after an error: mostly descriptors have run out
_ACCEPTS = 64  # at a time, so that a flood of connects leaves others their turn


class Server(Protocol):
    """What listens; `asyncio.AbstractServer` as far as it is used."""

    def close(self) -> None:
        """Accept no more."""

    def accept_rest(self) -> None:
        """Accept at once what waits: closing the socket would reset it."""


class Loop(asyncio.SelectorEventLoop):
    """See the module."""

    def __init__(self) -> None:
        self.poller = Poller(self._on_protocol_error)
        super().__init__(self.poller)  # type: ignore[arg-type]  # has the methods

    def call_soon(
        self, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.Handle:
        """As asyncio's; the poller comes back to run it."""
        self.poller.wake = True
        return super().call_soon(callback, *args, context=context)

    def call_at(
        self,
        when: float,
        callback: Callable[[*Ts], object],
        *args: *Ts,
        context: Context | None = None,
    ) -> asyncio.TimerHandle:
        """As asyncio's; the poller comes back to wait no longer than for it."""
        self.poller.wake = True
        return super().call_at(when, callback, *args, context=context)

    def stop(self) -> None:
        """As asyncio's; the poller comes back for it."""
        self.poller.wake = True
        super().stop()

    def _on_protocol_error(self, protocol: object, error: Exception) -> None:
        message = f"a protocol failed: {type(protocol).__name__}"
        self.call_exception_handler({"message": message, "exception": error})


async def open_transport(
    loop: asyncio.AbstractEventLoop, protocol: asyncio.BaseProtocol, sock: socket.socket
) -> None:
    """Give a connected, non-blocking socket to `protocol`; the socket is the transport's then."""
    if isinstance(loop, Loop):
        Transport(loop.poller, loop, sock, protocol)
    elif sock.family == socket.AF_UNIX:
        await loop.create_unix_connection(lambda: protocol, sock=sock)
    else:
        await loop.create_connection(lambda: protocol, sock=sock)


async def open_server(
    loop: asyncio.AbstractEventLoop,
    factory: Callable[[], asyncio.BaseProtocol],
    sock: socket.socket,
    backlog: int,
    log: Log,
) -> Server:
    """Accept on a listening socket; each connection gets a protocol of its own."""
    if isinstance(loop, Loop):
        return Acceptor(loop, factory, sock, backlog, log)
    if sock.family == socket.AF_UNIX:
        return OtherServer(await loop.create_unix_server(factory, sock=sock, backlog=backlog))
    return OtherServer(await loop.create_server(factory, sock=sock, backlog=backlog))


class OtherServer:
    """Another loop's own server: it accepts in turns of its loop and never else."""

    def __init__(self, server: asyncio.AbstractServer) -> None:
        self.close = server.close

    def accept_rest(self) -> None:
        """Nothing that can be done here."""


class Acceptor:
    """Accepts on one listening socket until it is closed."""

    def __init__(
        self,
        loop: Loop,
        factory: Callable[[], asyncio.BaseProtocol],
        sock: socket.socket,
        backlog: int,
        log: Log,
    ) -> None:
        self._loop = loop
        self._backlog = backlog
        self._factory = factory
        self._sock = sock
        self._log = log
        self._retry: asyncio.TimerHandle | None = None
        sock.setblocking(False)
        # TCP_DEFER_ACCEPT: who is accepted has sent something. A look in vain costs little.
        self._has_spoken = sock.family != socket.AF_UNIX
        if sock.family != socket.AF_UNIX:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, True)  # what it accepts has it
        loop.poller.add_reader(sock, self._accept)

    def close(self) -> None:
        """Accept no more; the socket is its owner's to close."""
        self._stop()

    def accept_rest(self) -> None:
        """See `Server`."""
        self._accept_some(self._backlog + 1, has_spoken=False)  # what Linux's queue holds

    def _accept(self) -> None:
        self._accept_some(_ACCEPTS, has_spoken=self._has_spoken)

    def _accept_some(self, most: int, *, has_spoken: bool) -> None:
        try:
            accept(self._loop.poller, self._loop, self._sock, self._factory, most, has_spoken)
        except OSError as error:
            self._rest(error)

    def _rest(self, error: OSError) -> None:
        """The connections wait in the backlog, and are tried again soon."""
        self._log.error(f"accept() failed: {error.strerror}")
        self._stop()
        self._retry = self._loop.call_later(
            _ACCEPT_RETRY, self._loop.poller.add_reader, self._sock, self._accept
        )

    def _stop(self) -> None:
        self._loop.poller.remove_reader(self._sock)
        if self._retry is not None:
            self._retry.cancel()
