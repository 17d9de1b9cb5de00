"""One CancelRequest to a server, on a connection of its own.

Errors: none; `on_done` is told what went wrong.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from pgmux.net.dial import open_socket, wait_for
from pgmux.net.sockets import Address

OnCancelSent = Callable[[str], None]


class CancelAttempt:
    """One CancelRequest on its way."""

    __slots__ = ("_address", "_loop", "_on_done", "_packet", "_task")

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        address: Address,
        packet: bytes,
        on_done: OnCancelSent,
    ) -> None:
        self._loop = loop
        self._address = address
        self._packet = packet
        self._on_done: OnCancelSent | None = on_done
        self._task: asyncio.Task[None] | None = loop.create_task(self._run())

    def cancel(self, reason: str) -> None:
        """Close what is open and call nobody."""
        task = self._task
        self._on_done = self._task = None
        if task is not None:
            task.cancel(reason)

    async def _run(self) -> None:
        problem = ""
        try:
            await self._send()
        except OSError as error:
            problem = f"cannot connect to {self._address.place}: {error.strerror or error}"
        on_done = self._on_done
        self._on_done = self._task = None
        if on_done is not None:
            on_done(problem)

    async def _send(self) -> None:
        loop = self._loop
        with await open_socket(loop, self._address, None) as sock:
            sock.send(self._packet)  # it fits: nothing else was ever sent
            # PostgreSQL answers nothing and closes. Whatever comes, it has read the packet.
            await wait_for(sock, loop.add_reader, loop.remove_reader)
