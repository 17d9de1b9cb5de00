"""Messages as the cases write them, in PostgreSQL's letters."""

from __future__ import annotations

from pgmux.wire import build, codes
from pgmux.wire.parse import Column

STATEMENT, PORTAL = codes.KIND_STATEMENT, codes.KIND_PORTAL


def message(kind: bytes, body: bytes = b"") -> bytes:
    return kind + (len(body) + 4).to_bytes(4, "big") + body


# from clients
S = build.build_sync()
H = build.build_flush()
X = build.build_terminate()
E = build.build_execute()
c = build.build_copy_done()
f = build.build_copy_fail("no more")
F = build.build_function_call(1598, [])


def Q(sql: str = "SELECT 1") -> bytes:
    return build.build_query(sql)


def P(name: str = "", sql: str = "SELECT 1") -> bytes:
    return build.build_parse(name, sql)


def B(name: str = "", portal: str = "", value: bytes = b"7") -> bytes:
    return build.build_bind(portal, name, [value, None])


def D(name: str = "", kind: int = STATEMENT) -> bytes:
    return build.build_describe(kind, name)


def C(name: str = "", kind: int = STATEMENT) -> bytes:
    return build.build_close(kind, name)


def d(data: bytes = b"1\t2\n") -> bytes:
    return build.build_copy_data(data)


# from servers
IDLE, BLOCK, FAILED = (build.build_ready_for_query(status) for status in b"ITE")
one, two, three = message(b"1"), message(b"2"), message(b"3")
no_data = message(b"n")
parameters = build.build_parameter_description([25])
empty_query = message(b"I")
suspended = message(b"s")
result = message(b"V", b"\xff\xff\xff\xff")
copy_in = build.build_copy_in_response([0])
copy_out = build.build_copy_out_response([0])
copy_both = message(b"W", b"\0\0\0")
notification = build.build_notification_response(1, "channel", "payload")
notice = build.build_notice_response("NOTICE", "00000", "hark")
columns = build.build_row_description([Column("a", 25, -1)])


def row(value: bytes = b"1") -> bytes:
    return build.build_data_row([value])


def done(tag: str = "SELECT 1") -> bytes:
    return build.build_command_complete(tag)


def status(value: str = "x", name: str = "TimeZone") -> bytes:
    return build.build_parameter_status(name, value)


def error(sqlstate: str = "22012", text: str = "error") -> bytes:
    return build.build_error_response("ERROR", sqlstate, text)


def fatal(text: str) -> bytes:
    return build.build_error_response("FATAL", "08P01", text)


rows = columns + row() + done()
