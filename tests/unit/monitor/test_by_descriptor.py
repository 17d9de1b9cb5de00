"""The console on an inherited socket, the pooler's end being the test's."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable

import pytest

from pgmux.monitor.by_descriptor import DescriptorConsole
from pgmux.monitor.console import ConsoleGone, ConsoleRefused
from pgmux.wire import build
from pgmux.wire.parse import Column

READY = build.build_ready_for_query()
Play = Callable[[DescriptorConsole, "PoolerEnd"], Awaitable[None]]


class PoolerEnd:
    """The other end of the socket pair."""

    def __init__(self, end: socket.socket) -> None:
        end.setblocking(False)
        self._end = end

    async def read(self) -> bytes:
        return await asyncio.get_running_loop().sock_recv(self._end, 65536)

    async def send(self, *messages: bytes) -> None:
        await asyncio.get_running_loop().sock_sendall(self._end, b"".join(messages))

    async def answer(self, **values: str | None) -> None:
        await self.send(
            build.build_row_description([Column(name, 25, -1) for name in values]),
            build.build_data_row([v if v is None else v.encode() for v in values.values()]),
            build.build_command_complete("SHOW"),
            READY,
        )

    def close(self) -> None:
        self._end.close()


def play(scene: Play, timeout: float = 10.0) -> None:
    """Runs the scene with both ends."""

    async def run() -> None:
        ours, theirs = socket.socketpair()
        console, pooler = DescriptorConsole(ours.detach(), timeout), PoolerEnd(theirs)
        try:
            await scene(console, pooler)
        finally:
            await console.close()
            pooler.close()

    asyncio.run(run())


def test_rows_come_by_column_as_text() -> None:
    async def scene(console: DescriptorConsole, pooler: PoolerEnd) -> None:
        asked = asyncio.create_task(console.query("SHOW POOLS"))
        assert await pooler.read() == build.build_query("SHOW POOLS")
        await pooler.answer(database="a\u0394", cl_active="3", load=None)
        assert await asked == [{"database": "a\u0394", "cl_active": "3", "load": None}]

    play(scene)


def test_an_answer_may_come_byte_by_byte() -> None:
    async def scene(console: DescriptorConsole, pooler: PoolerEnd) -> None:
        asked = asyncio.create_task(console.query("SHOW X"))
        await pooler.read()
        message = build.build_row_description([Column("n", 25, -1)])
        message += build.build_data_row([b"1"]) + READY
        for byte in message:
            await pooler.send(bytes([byte]))
            await asyncio.sleep(0)
        assert await asked == [{"n": "1"}]

    play(scene)


def test_an_error_leaves_the_connection_usable_and_is_remembered_for_what_is_optional() -> None:
    async def scene(console: DescriptorConsole, pooler: PoolerEnd) -> None:
        asked = asyncio.create_task(console.query_optional("SHOW APPS"))
        await pooler.read()
        await pooler.send(build.build_error_response("ERROR", "42601", "no such"), READY)
        assert await asked is None
        assert await console.query_optional("SHOW APPS") is None  # and nothing was sent:
        again = asyncio.create_task(console.query("SHOW STATE"))
        assert await pooler.read() == build.build_query("SHOW STATE")
        await pooler.answer(key="active")
        assert await again == [{"key": "active"}]

    play(scene)


def test_a_token_goes_right_before_its_command_and_a_wrong_one_is_told() -> None:
    async def scene(console: DescriptorConsole, pooler: PoolerEnd) -> None:
        asked = asyncio.create_task(console.execute("PAUSE", token="secret"))
        sent = build.build_password_message("secret") + build.build_query("PAUSE")
        assert await pooler.read() == sent
        await pooler.send(build.build_error_response("ERROR", "28P01", "wrong token"), READY)
        with pytest.raises(ConsoleRefused, match="wrong token") as caught:
            await asked
        assert caught.value.sqlstate == "28P01"

    play(scene)


def test_two_questions_go_one_after_the_other() -> None:
    async def scene(console: DescriptorConsole, pooler: PoolerEnd) -> None:
        first = asyncio.create_task(console.query("SHOW A"))
        second = asyncio.create_task(console.query("SHOW B"))
        assert await pooler.read() == build.build_query("SHOW A")
        await pooler.answer(n="1")
        assert await pooler.read() == build.build_query("SHOW B")
        await pooler.answer(n="2")
        assert (await first, await second) == ([{"n": "1"}], [{"n": "2"}])

    play(scene)


def test_who_is_cancelled_leaves_its_answer_to_nobody() -> None:
    async def scene(console: DescriptorConsole, pooler: PoolerEnd) -> None:
        first = asyncio.create_task(console.query("SHOW A"))
        await pooler.read()
        first.cancel()
        second = asyncio.create_task(console.query("SHOW B"))
        await pooler.answer(n="1")
        assert await pooler.read() == build.build_query("SHOW B")
        await pooler.answer(n="2")
        assert await second == [{"n": "2"}]

    play(scene)


def test_an_answer_that_is_late_is_dropped_before_the_next_question() -> None:
    async def scene(console: DescriptorConsole, pooler: PoolerEnd) -> None:
        with pytest.raises(ConsoleGone, match=r"has not answered within 0\.05 s"):
            await console.query("SHOW A")
        console._timeout = 10.0
        second = asyncio.create_task(console.query("SHOW B"))
        await pooler.read()
        await pooler.answer(n="1")
        assert await pooler.read() == build.build_query("SHOW B")
        await pooler.answer(n="2")
        assert await second == [{"n": "2"}]

    play(scene, timeout=0.05)


def test_the_end_of_the_pooler_is_seen_by_who_asks_and_by_who_waits_for_it() -> None:
    async def scene(console: DescriptorConsole, pooler: PoolerEnd) -> None:
        asked = asyncio.create_task(console.query("SHOW A"))
        await pooler.read()
        pooler.close()
        with pytest.raises(ConsoleGone, match="has ended"):
            await asked
        await console.wait_ended()
        with pytest.raises(ConsoleGone, match="has ended"):
            await console.query("SHOW A")

    play(scene)


@pytest.mark.parametrize("noise", [b"HTTP/1.1 400", b"D\xff\xff\xff\xff", b"D\0\0\0\x05\0" + READY])
def test_what_is_not_the_protocol_ends_the_connection(noise: bytes) -> None:
    async def scene(console: DescriptorConsole, pooler: PoolerEnd) -> None:
        asked = asyncio.create_task(console.query("SHOW A"))
        await pooler.read()
        await pooler.send(noise)
        with pytest.raises(ConsoleGone, match="isn't the protocol"):
            await asked
        await console.wait_ended()

    play(scene)


def test_a_descriptor_that_is_no_socket_is_said_to_be_none() -> None:
    async def run() -> None:
        with open("/dev/null") as null, pytest.raises(ConsoleGone, match="no socket"):
            await DescriptorConsole(null.fileno(), 1.0).query("SHOW A")

    asyncio.run(run())
