"""The connections, bounded in number and in what they may keep waiting.

aiohttp bounds the size of a request, and how long a connection may be idle after one. What it
leaves open is here: how many connections there are, how long the first request may take to come,
and how long an answer may stay unread.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from pgmux.web.log import Seldom

log = logging.getLogger("pgmux.web")

MAX_CONNECTIONS = 100
FIRST_REQUEST_TIMEOUT = 10.0  # seconds
UNREAD_TIMEOUT = 20.0  # seconds that a reader may take none of what is sent
_FULL = (
    b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n"
    b"Retry-After: 1\r\nConnection: close\r\n\r\n"
)

MakeProtocol = Callable[[], asyncio.Protocol]


class Door:
    """Makes protocols for a server: aiohttp's, each behind a guard."""

    def __init__(
        self,
        make: MakeProtocol,
        *,
        connections: int = MAX_CONNECTIONS,
        first_request: float = FIRST_REQUEST_TIMEOUT,
        unread: float = UNREAD_TIMEOUT,
    ) -> None:
        self._make = make
        self._max_connections = connections
        self.first_request = first_request
        self.unread = unread
        self._guards: dict[object, Guard] = {}  # by aiohttp's protocol
        self._refused = Seldom()

    def __call__(self) -> Guard:
        return Guard(self, self._make())

    @property
    def count(self) -> int:
        """How many connections there are."""
        return len(self._guards)

    def enter(self, guard: Guard) -> bool:
        """Whether there is room for one more."""
        if len(self._guards) >= self._max_connections:
            if line := self._refused.line(f"a connection refused: {len(self._guards)} are open"):
                log.warning("%s", line)
            return False
        self._guards[guard.inner] = guard
        return True

    def leave(self, guard: Guard) -> None:
        self._guards.pop(guard.inner, None)

    def on_request(self, protocol: object) -> None:
        """A whole request head has come on the connection of aiohttp's `protocol`."""
        guard = self._guards.get(protocol)
        if guard is not None:
            guard.stop_clock()


class Guard(asyncio.Protocol):
    """One connection; everything is passed on to `inner`."""

    def __init__(self, door: Door, inner: asyncio.Protocol) -> None:
        self.inner = inner
        self._door = door
        self._transport: asyncio.Transport | None = None
        self._clock: asyncio.TimerHandle | None = None
        self._is_inside = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._is_inside = self._door.enter(self)
        if not self._is_inside:
            transport.write(_FULL)
            transport.close()
            return
        self._start_clock(self._door.first_request)
        self.inner.connection_made(transport)

    def data_received(self, data: bytes) -> None:
        if self._is_inside:
            self.inner.data_received(data)

    def eof_received(self) -> bool | None:
        return self.inner.eof_received() if self._is_inside else None

    def connection_lost(self, exc: Exception | None) -> None:
        self.stop_clock()
        if self._is_inside:
            self._door.leave(self)
            self.inner.connection_lost(exc)

    def pause_writing(self) -> None:
        self._start_clock(self._door.unread)
        self.inner.pause_writing()

    def resume_writing(self) -> None:
        self.stop_clock()
        self.inner.resume_writing()

    def _start_clock(self, seconds: float) -> None:
        """Unless it is stopped by then, the connection ends."""
        assert self._transport is not None
        self.stop_clock()
        loop = asyncio.get_running_loop()
        self._clock = loop.call_later(seconds, self._transport.abort)

    def stop_clock(self) -> None:
        if self._clock is not None:
            self._clock.cancel()
            self._clock = None
