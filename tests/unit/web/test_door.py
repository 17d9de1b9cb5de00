"""Connections that keep us waiting end; the others don't."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress

import pytest

from pgmux.web.door import Door

Scene = Callable[[Door, int], Awaitable[None]]
SOON, NEVER = 0.01, 1000.0


class Flood(asyncio.Protocol):
    """Answers the first bytes by more than the kernel takes."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._transport.write(b"x" * 50_000_000)


def play(scene: Scene, *, first_request: float, unread: float, connections: int = 10) -> None:
    async def run() -> None:
        door = Door(Flood, connections=connections, first_request=first_request, unread=unread)
        server = await asyncio.get_running_loop().create_server(door, "127.0.0.1", 0)
        async with server:
            await scene(door, server.sockets[0].getsockname()[1])

    asyncio.run(run())


def test_who_sends_no_request_is_disconnected() -> None:
    async def scene(door: Door, port: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        with suppress(ConnectionError):
            assert await reader.read() == b""
        writer.close()

    play(scene, first_request=SOON, unread=NEVER)


def test_who_takes_none_of_the_answer_is_disconnected() -> None:
    async def scene(door: Door, port: int) -> None:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.transport.pause_reading()  # type: ignore[attr-defined]
        while not door.count:
            await asyncio.sleep(0)
        writer.write(b"GET")
        while door.count:
            await asyncio.sleep(SOON)
        writer.close()

    play(scene, first_request=NEVER, unread=SOON)


def test_one_too_many_is_told_so_and_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    async def scene(door: Door, port: int) -> None:
        _, first = await asyncio.open_connection("127.0.0.1", port)
        while not door.count:
            await asyncio.sleep(0)
        for _ in range(3):
            reader, second = await asyncio.open_connection("127.0.0.1", port)
            assert (await reader.read()).startswith(b"HTTP/1.1 503 ")
            second.close()
        assert caplog.messages == ["a connection refused: 1 are open"]
        first.close()

    play(scene, first_request=NEVER, unread=NEVER, connections=1)
