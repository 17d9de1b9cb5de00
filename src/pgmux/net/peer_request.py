"""One CancelRequest to another pooler, on a connection of its own, without TLS: it is the first and
only packet of it.

The peer's addresses are tried one after the other, a name's in turn; which of them took the request
doesn't matter, as whoever it isn't for passes it on. Whoever started this looks at the clock.

Source: PgBouncer's forward_cancel_request. Errors: none; `on_done` is told what went wrong.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from math import inf

from pgmux.config import Settings
from pgmux.net.dial import Connected, Failed, Race, open_socket, wait_for
from pgmux.net.hosts import Hosts
from pgmux.net.sockets import Address, Addresses, at_port, literal_addresses, read_addresses
from pgmux.session.log import Log, Name
from pgmux.session.peers import REASON_FAILED, REASON_SENT, Forward
from pgmux.wire.build import build_cancel_request

_CONNECTION = "new connection to server"


@dataclass(frozen=True, slots=True)
class Outside:
    """What requests to peers ask of the process around them."""

    loop: asyncio.AbstractEventLoop
    log: Log
    clock: Callable[[], float]
    settings: Callable[[], Settings]
    hosts: Hosts
    resolve: Callable[[str], Awaitable[Sequence[Address]]]
    on_end: Callable[[Name, str, float], None]  # whose, why, and when it was begun


class PeerRequest:
    """A request on its way. `ends` are the addresses of its connection, once it has one."""

    __slots__ = ("_address", "_on_done", "_outside", "_task", "ends", "forward", "started_at")

    def __init__(self, outside: Outside, forward: Forward, on_done: Callable[[str], None]) -> None:
        self._outside = outside
        self.forward = forward
        self._on_done = on_done
        self._address: Address | None = None
        self.started_at = outside.clock()
        self.ends: Addresses | None = None
        self._task: asyncio.Task[None] | None = outside.loop.create_task(self._run())

    @property
    def is_running(self) -> bool:
        """Whether it hasn't ended."""
        return self._task is not None

    def cancel(self, reason: str) -> None:
        """Close what is open and call nobody."""
        task, self._task = self._task, None
        if task is not None:
            self._end(reason)
            task.cancel(reason)

    async def _run(self) -> None:
        problem = REASON_FAILED
        try:
            if await self._send():
                problem = ""
        except OSError as error:
            self._warn(f"sending cancel request failed: {error.strerror or error}")
        except Exception as error:
            self._outside.log.exception("passing on a cancel request failed", error, self._name())
        if self._task is not None:
            self._task = None
            self._end(problem or REASON_SENT)
            self._on_done(problem)

    async def _send(self) -> bool:
        """Whether the peer has dealt with it. Raises: OSError."""
        sock = await self._connect()
        if sock is None:
            return False
        with sock:
            self.ends = read_addresses(sock, self.forward.peer.port)
            self._log_connected(self.ends)
            sock.send(build_cancel_request(self.forward.pid, self.forward.key))
            self.forward.is_sent = True
            # A peer answers nothing and closes, when the query has been stopped or can't be.
            loop = self._outside.loop
            await wait_for(sock, loop.add_reader, loop.remove_reader)
        return True

    async def _connect(self) -> socket.socket | None:
        hosts = self.forward.peer.hosts
        race = Race(hosts, self._literal, self._resolve, self._open, lambda: inf)
        try:
            while (outcome := await race.next()) is not None:
                self._address = outcome.place.address
                if isinstance(outcome, Connected):
                    return outcome.sock
                if isinstance(outcome, Failed):
                    self._warn(outcome.failure.detail or outcome.failure.reason)
        finally:
            race.close()
        return None

    def _literal(self, host: str | None) -> Sequence[Address] | None:
        """The addresses of what is no name."""
        assert host is not None
        return literal_addresses(host, self.forward.peer.port)

    async def _resolve(self, host: str) -> Sequence[Address]:
        """The addresses of a name. Raises: LookupFailed."""
        found = await self._outside.resolve(host)
        return self._outside.hosts.addresses(host, at_port(found, self.forward.peer.port))

    async def _open(self, address: Address) -> socket.socket:
        return await open_socket(self._outside.loop, address, self._outside.settings())

    # ---- the log; what a request leads to, anybody can cause

    def _name(self) -> Name:
        forward = self.forward
        return Name("server", forward.id, "", "", self._address, forward.peer.id)

    def _warn(self, text: str) -> None:
        self._outside.log.warning(text, self._name(), limit=REASON_FAILED)

    def _log_connected(self, ends: Addresses) -> None:
        if self._outside.settings().log_connections:
            origin = "" if ends.local.is_unix else f" (from {ends.local})"
            self._outside.log.log(f"{_CONNECTION}{origin}", self._name(), limit=_CONNECTION)

    def _end(self, reason: str) -> None:
        self._outside.on_end(self._name(), reason, self.started_at)
