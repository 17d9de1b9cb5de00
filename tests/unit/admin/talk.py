"""Talking to a console: queries in, messages out."""

from __future__ import annotations

from dataclasses import replace

from pgmux.admin.console import Console, Reply
from pgmux.wire import build
from pgmux.wire.messages import MessageReader
from pgmux.wire.parse import parse_data_row, parse_error_response
from tests.unit.admin.pooler import FakePooler

READY = b"Z\0\0\0\5I"
IN_BLOCK = b"Z\0\0\0\5T"


def new_console(pooler: FakePooler | None = None, *, is_admin: bool = True) -> Console:
    return Console(pooler or FakePooler(), is_admin)


def messages(data: bytes) -> list[tuple[str, bytes]]:
    """The messages in `data`, which must hold nothing else."""
    reader = MessageReader(1 << 30, "server").feed(data)
    found = [(chr(message_type), body) for message_type, body in reader]
    assert reader.rest() == b""
    return found


def types(data: bytes) -> str:
    """The messages' types, e.g. "TDCZ"."""
    return "".join(message_type for message_type, _ in messages(data))


def ask(query: str, pooler: FakePooler | None = None, *, is_admin: bool = True) -> Reply:
    """The reply to one simple query on a console of its own, in one piece."""
    console = new_console(pooler, is_admin=is_admin)
    reply = console.feed(build.build_query(query))
    while reply.more:
        rest = console.feed(b"")
        reply = replace(rest, data=reply.data + rest.data, errors=reply.errors + rest.errors)
    return reply


def rows(data: bytes) -> list[tuple[str | None, ...]]:
    """The DataRows in `data`, as texts."""
    return [
        tuple(None if value is None else value.decode() for value in parse_data_row(body))
        for message_type, body in messages(data)
        if message_type == "D"
    ]


def tag(data: bytes) -> str:
    """The one CommandComplete in `data`."""
    (found,) = (body for message_type, body in messages(data) if message_type == "C")
    return found.rstrip(b"\0").decode()


def error(data: bytes) -> dict[str, str]:
    """The fields of the one ErrorResponse in `data`."""
    (found,) = (body for message_type, body in messages(data) if message_type == "E")
    return dict(parse_error_response(found).fields)


def refusal(query: str, pooler: FakePooler | None = None, *, is_admin: bool = True) -> str:
    """The message with which a query is refused, everything else being as PgBouncer has it."""
    reply = ask(query, pooler, is_admin=is_admin)
    fields = error(reply.data)
    assert (fields["S"], fields["C"]) == ("ERROR", "08P01")
    assert reply.data.endswith(READY)
    assert reply.errors == ((fields["C"], fields["M"]),)
    assert reply.reason is None
    return fields["M"]
