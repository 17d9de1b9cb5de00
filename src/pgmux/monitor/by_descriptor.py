"""The console at the other end of an inherited socket: the simple query protocol after login.

We send Query, the pooler answers RowDescription, DataRow, CommandComplete or ErrorResponse, and
ReadyForQuery; nothing else comes first. Its rights are SHOW's. A PasswordMessage right before a
Query carries the token that gives this one Query an administrator's rights.

An answer that comes too late is read and dropped, and no question is sent before that: there is no
second connection to be had. What isn't the protocol ends the connection, as the pooler's end does.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Sequence

from pgmux.errors import ProtocolViolation
from pgmux.monitor.errors import ConsoleGone, ConsoleRefused
from pgmux.monitor.shared import COMMAND_TIMEOUT, Row, SharedConsole, not_in_time
from pgmux.wire import build, codes
from pgmux.wire.messages import MessageReader
from pgmux.wire.parse import parse_data_row, parse_error_response, parse_row_description

MAX_MESSAGE = 1 << 24  # bytes: far more than a row of the console has
PLACE = "the pooler"
_ENDED = "the pooler has ended the connection that it gave to this process"

Message = tuple[int, bytes]


class DescriptorConsole(SharedConsole):
    """See the module and `Console`."""

    def __init__(self, fd: int, timeout: float) -> None:
        super().__init__(PLACE, timeout)
        self._fd: int | None = fd
        self._answers = _Answers()
        self._transport: asyncio.Transport | None = None

    async def wait_ended(self) -> None:
        """Returns when the pooler has closed its end. Raises: ConsoleGone where it is no socket."""
        if self._transport is None:
            await self._in_turn(self._connected)
        await self._answers.ended.wait()

    async def _ask(self, sql: str) -> list[Row]:
        return await self._run(build.build_query(sql.replace("\0", "")), self._timeout)

    async def execute(self, sql: str, *, token: str | None = None) -> None:
        """See `Console`."""
        message = build.build_query(sql.replace("\0", ""))
        if token is not None:
            message = build.build_password_message(token.replace("\0", "")) + message
        await self._in_turn(lambda: self._run(message, COMMAND_TIMEOUT))

    async def _run(self, message: bytes, timeout: float) -> list[Row]:
        transport = await self._connected()
        try:
            async with asyncio.timeout(timeout):
                await self._answers.caught_up()
                answer = self._answers.expect()
                transport.write(message)
                return _rows(await answer)
        except TimeoutError as error:
            raise not_in_time(self.place, timeout) from error
        except ProtocolViolation as error:
            transport.abort()
            raise ConsoleGone(f"the pooler has sent what isn't the protocol: {error}") from error

    async def _connected(self) -> asyncio.Transport:
        """The transport; the socket is taken over at the first call. Raises: ConsoleGone."""
        if self._transport is None and self._fd is not None:
            fd, self._fd = self._fd, None
            loop = asyncio.get_running_loop()
            try:
                end = socket.socket(fileno=fd)
                end.setblocking(False)
                self._transport, _ = await loop.create_unix_connection(
                    lambda: self._answers, sock=end
                )
            except (OSError, ValueError) as error:
                self._answers.ended.set()
                raise ConsoleGone(f"file descriptor {fd} is no socket: {error}") from error
        if self._transport is None or self._answers.ended.is_set():
            raise ConsoleGone(_ENDED)
        return self._transport

    async def close(self) -> None:
        """See `Console`."""
        await super().close()
        if self._transport is not None:
            self._transport.close()


class _Answers(asyncio.Protocol):
    """Bytes to answers: the messages up to each ReadyForQuery, for whoever expects them."""

    def __init__(self) -> None:
        self.ended = asyncio.Event()
        self._reader = MessageReader(MAX_MESSAGE, "server")
        self._messages: list[Message] = []
        self._expected: asyncio.Future[Sequence[Message]] | None = None
        self._idle = asyncio.Event()
        self._idle.set()
        self._transport: asyncio.BaseTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def expect(self) -> asyncio.Future[Sequence[Message]]:
        """The next answer. Who gives up waiting for it leaves it to `caught_up`."""
        self._idle.clear()
        self._expected = asyncio.get_running_loop().create_future()
        return self._expected

    async def caught_up(self) -> None:
        """Returns when all answers have come. Raises: ConsoleGone."""
        await self._idle.wait()
        if self.ended.is_set():
            raise ConsoleGone(_ENDED)

    def data_received(self, data: bytes) -> None:
        try:
            for message_type, body in self._reader.feed(data):
                self._on_message(message_type, body)
        except ProtocolViolation as error:
            self._fail(error)

    def _on_message(self, message_type: int, body: bytes) -> None:
        if message_type != codes.READY_FOR_QUERY:
            self._messages.append((message_type, body))
            return
        messages, self._messages = self._messages, []
        expected, self._expected = self._expected, None
        self._idle.set()
        if expected is not None and not expected.done():
            expected.set_result(messages)

    def _fail(self, error: Exception) -> None:
        if self._expected is not None and not self._expected.done():
            self._expected.set_exception(error)
        if self._transport is not None:
            self._transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self.ended.set()
        self._idle.set()
        self._fail(ConsoleGone(_ENDED))


def _rows(messages: Sequence[Message]) -> list[Row]:
    """Raises: ConsoleRefused, ProtocolViolation."""
    names: list[str] = []
    rows: list[Row] = []
    for message_type, body in messages:
        if message_type == codes.DATA_ROW:
            rows.append(dict(zip(names, map(_text, parse_data_row(body)), strict=False)))
        elif message_type == codes.ROW_DESCRIPTION:
            names = [column.name for column in parse_row_description(body)]
        elif message_type == codes.ERROR_RESPONSE:
            error = parse_error_response(body)
            raise ConsoleRefused(error.message, error.sqlstate)
    return rows


def _text(value: bytes | None) -> str | None:
    return None if value is None else value.decode("utf-8", "backslashreplace")
