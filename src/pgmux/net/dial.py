"""Connected sockets: opened one after the other to all addresses of all hosts of an entry.

The next address is tried at once where one refuses, and after STAGGER where one keeps silent, while
that one may still answer: a dropped SYN is sent again after one second, so one lost packet costs no
host its turn. A name whose look-up keeps silent counts as an address that does.

Source: RFC 8305 in outline. Errors: OSError of `open_socket`; a race returns its failures.
"""

from __future__ import annotations

import asyncio
import errno
import os
import socket
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass

from pgmux.config.model import Settings
from pgmux.net.resolver import LookupFailed
from pgmux.net.sockets import Address, tune
from pgmux.session.server import REASON_CONNECT_FAILED, ServerLoginFailed

STAGGER = 2.0  # seconds; less where server_connect_timeout leaves less for each
REASON_LOOKUP_FAILED = "server DNS lookup failed"


@dataclass(frozen=True, slots=True)
class Place:
    """An address of a host; without an address the host itself, still to be resolved."""

    host: str | None
    address: Address | None = None

    def __str__(self) -> str:
        return self.address.place if self.address is not None else self.host or "unix"


@dataclass(frozen=True, slots=True)
class Connected:
    """A socket that has connected; the receiver's to close."""

    place: Place
    sock: socket.socket


@dataclass(frozen=True, slots=True)
class Failed:
    """A place that doesn't let us connect."""

    place: Place
    failure: ServerLoginFailed


@dataclass(frozen=True, slots=True)
class Late:
    """A place that hasn't answered yet, though the next one's turn has come."""

    place: Place


# Addresses known at once, or None where the host is a name. Raises: ServerLoginFailed.
Literal = Callable[[str | None], Sequence[Address] | None]
Resolve = Callable[[str], Awaitable[Sequence[Address]]]
Open = Callable[[Address], Awaitable[socket.socket]]


class Race:
    """Call `next()` till it is None, or till a connection is good; then `close()`."""

    __slots__ = (
        "_left",
        "_literal",
        "_open",
        "_resolve",
        "_running",
        "_time_left",
        "_todo",
        "_wait",
    )

    def __init__(
        self,
        hosts: Iterable[str | None],
        literal: Literal,
        resolve: Resolve,
        open_: Open,
        time_left: Callable[[], float],
    ) -> None:
        self._literal = literal
        self._resolve = resolve
        self._open = open_
        self._time_left = time_left
        self._todo = deque(Place(host) for host in hosts)
        self._left = Counter(place.host for place in self._todo)
        self._running: dict[asyncio.Task[socket.socket | Sequence[Address]], Place] = {}
        self._wait = False  # for the last one started, before another is

    async def next(self) -> Connected | Failed | Late | None:
        """What happens next; None when no place is left."""
        while True:
            if self._todo and not self._wait:
                failed = self._start()
                if failed is not None:
                    return failed
                continue
            if not self._running:
                return None
            stagger = self.share(STAGGER) if self._todo else None
            done, _ = await asyncio.wait(
                self._running, timeout=stagger, return_when=asyncio.FIRST_COMPLETED
            )
            self._wait = False
            if not done:
                return Late(list(self._running.values())[-1])
            outcome = self._finish(done.pop())
            if outcome is not None:
                return outcome

    def share(self, most: float) -> float:
        """Seconds that one place may take, so that the others have their time, too."""
        return max(0.0, min(most, self._time_left() / (len(self._todo) + 1)))

    @property
    def next_place(self) -> Place | None:
        """What is tried next, or is being tried beside; None is nothing."""
        if self._todo:
            return self._todo[0]
        return next(iter(self._running.values()), None)

    def is_over_for(self, host: str | None) -> bool:
        """Whether no address of that host is left."""
        return self._left[host] == 0

    def late(self) -> list[Place]:
        """Those that have been tried and haven't answered."""
        return list(self._running.values())

    def close(self) -> None:
        """End what is under way."""
        for task in self._running:
            if not task.cancel() and not task.cancelled() and task.exception() is None:
                result = task.result()
                if isinstance(result, socket.socket):
                    result.close()
        self._running.clear()
        self._todo.clear()

    def _start(self) -> Failed | None:
        place = self._todo.popleft()
        try:
            if place.address is not None:
                self._run(place, self._open(place.address))
            else:
                addresses = self._literal(place.host)
                if addresses is not None:
                    self._put(place, addresses)
                else:
                    self._run(place, self._resolve(place.host or ""))
        except ServerLoginFailed as error:
            return self._fail(place, error)
        return None

    def _run(self, place: Place, work: Awaitable[socket.socket | Sequence[Address]]) -> None:
        self._running[asyncio.ensure_future(work)] = place
        self._wait = True

    def _put(self, place: Place, addresses: Sequence[Address]) -> None:
        """The addresses of a host take its place."""
        self._left[place.host] += len(addresses) - 1
        self._todo.extendleft(Place(place.host, address) for address in reversed(addresses))

    def _finish(
        self, task: asyncio.Task[socket.socket | Sequence[Address]]
    ) -> Connected | Failed | None:
        place = self._running.pop(task)
        error = task.exception()
        if error is not None:
            return self._fail(place, error)
        result = task.result()
        if isinstance(result, socket.socket):
            self._left[place.host] -= 1
            return Connected(place, result)
        self._put(place, result)
        return None

    def _fail(self, place: Place, error: BaseException) -> Failed:
        """Raises: the error, where it is none that a place can have."""
        self._left[place.host] -= 1
        if isinstance(error, ServerLoginFailed):
            return Failed(place, without_traceback(error))
        if isinstance(error, LookupFailed):  # the resolver has logged why
            return Failed(place, ServerLoginFailed(REASON_LOOKUP_FAILED))
        if isinstance(error, OSError):
            detail = f"cannot connect to {place}: {error.strerror or error}"
            return Failed(place, ServerLoginFailed(REASON_CONNECT_FAILED, detail=detail))
        raise error


async def open_socket(
    loop: asyncio.AbstractEventLoop, address: Address, settings: Settings | None
) -> socket.socket:
    """A connected socket. Raises: OSError."""
    sock = socket.socket(address.family, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        if settings is not None:
            tune(sock, settings)
        number = sock.connect_ex(address.sockaddr)
        if number == errno.EINPROGRESS:
            await wait_for(sock, loop.add_writer, loop.remove_writer)
            number = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if number:
            raise OSError(number, os.strerror(number))
    except BaseException:
        sock.close()
        raise
    return sock


async def wait_for(
    sock: socket.socket, add: Callable[..., object], remove: Callable[[int], object]
) -> None:
    """Return when `sock` can be written to or read from, as `add` says."""
    ready: asyncio.Future[None] = asyncio.Future()
    add(sock.fileno(), _wake, ready)
    try:
        await ready
    finally:
        remove(sock.fileno())


def without_traceback(error: ServerLoginFailed) -> ServerLoginFailed:
    """Its frames would keep the connection alive in a cycle."""
    error.__traceback__ = error.__cause__ = error.__context__ = None
    return error


def _wake(ready: asyncio.Future[None]) -> None:
    if not ready.done():
        ready.set_result(None)
