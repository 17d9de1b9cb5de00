"""One CancelRequest to a server, on a connection of its own: with TLS, where the connection has it
whose query it cancels.

Errors: none; `on_done` is told what went wrong.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from pgmux.net.dial import open_socket
from pgmux.net.loop import open_transport
from pgmux.net.server_opening import ServerOpening, ServerTls
from pgmux.net.sockets import Address
from pgmux.session.server import ServerLoginFailed

OnCancelSent = Callable[[str], None]


class CancelAttempt:
    """One CancelRequest on its way."""

    __slots__ = ("_address", "_loop", "_on_done", "_packet", "_protocol", "_task", "_tls")

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        address: Address,
        packet: bytes,
        tls: ServerTls | None,
        on_done: OnCancelSent,
    ) -> None:
        self._loop = loop
        self._address = address
        self._packet = packet
        self._tls = tls
        self._on_done: OnCancelSent | None = on_done
        self._protocol: _CancelProtocol | None = None
        self._task: asyncio.Task[None] | None = loop.create_task(self._run())

    def cancel(self, reason: str) -> None:
        """Close what is open and call nobody."""
        task, protocol = self._task, self._protocol
        self._on_done = self._task = self._protocol = None
        if protocol is not None:
            protocol.close()
        if task is not None:
            task.cancel(reason)

    async def _run(self) -> None:
        problem = ""
        try:
            problem = await self._send()
        except OSError as error:
            problem = f"cannot connect to {self._address.place}: {error.strerror or error}"
        on_done = self._on_done
        self._on_done = self._task = self._protocol = None
        if on_done is not None:
            on_done(problem)

    async def _send(self) -> str:
        """What went wrong, or "" once the server has closed. Raises: OSError."""
        sock = await open_socket(self._loop, self._address, None)
        protocol = self._protocol = _CancelProtocol(self._packet, self._tls)
        # The socket is the transport's from here on, whatever happens.
        await open_transport(self._loop, protocol, sock)
        return await protocol.ended


class _CancelProtocol(ServerOpening):
    """`ended` becomes what went wrong, or "" once the packet has been read."""

    __slots__ = ("_is_sent", "_packet", "ended")

    def __init__(self, packet: bytes, tls: ServerTls | None) -> None:
        super().__init__(tls)
        self._packet = packet
        self._is_sent = False
        self.ended: asyncio.Future[str] = asyncio.Future()

    def on_open(self) -> None:
        """PostgreSQL answers nothing and closes."""
        self._is_sent = True
        self.transport.write(self._packet)

    def on_data(self, data: bytes) -> None:
        """Whatever comes, it has read the packet."""
        self._end("")

    def on_failed(self, failure: ServerLoginFailed) -> None:
        """That it closes is how it should end."""
        self._end("" if self._is_sent else failure.detail or failure.reason)

    def close(self) -> None:
        """Give it up."""
        if self.transport is not None:
            self.transport.abort()

    def _end(self, problem: str) -> None:
        self.close()
        if not self.ended.done():
            self.ended.set_result(problem)
