"""Message bodies -> values: `parse_x(body) -> X`, the body being what follows the Int32 length.

Layouts stand at each function in PostgreSQL's notation (Int32, String, Byte1; `[n]`: n times).
Counts are unsigned Int16, as the server reads them. What a server says about itself is `str`,
decoded as UTF-8 with surrogateescape because its encoding is the client's choice: encoding it the
same way gives back the very bytes. A client's statement names, query texts and passwords stay
`bytes`: they are compared and forwarded, and only the console reads them (`decode_text`).

Source: PostgreSQL, "Message Formats" (55.7), "Error and Notice Message Fields" (55.8).
Errors: ProtocolViolation("client" or "server", "broken NAME packet"), PgBouncer's words.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar

from pgmux.errors import SQLSTATE_INTERNAL_ERROR, ProtocolViolation
from pgmux.wire import codes

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class ServerMessage:
    """An ErrorResponse or NoticeResponse; `fields` maps the field's letter to its text."""

    fields: Mapping[str, str]

    @property
    def severity(self) -> str:
        """Severity as the server's language has it, "" when absent."""
        return self.fields.get("S", "")

    @property
    def sqlstate(self) -> str:
        """SQLSTATE, never empty: XX000 for a server that sends none (CVE-2026-6666)."""
        return self.fields.get("C") or SQLSTATE_INTERNAL_ERROR

    @property
    def message(self) -> str:
        """The primary message, "" when absent."""
        return self.fields.get("M", "")


@dataclass(frozen=True, slots=True)
class ParameterStatus:
    name: str
    value: str


@dataclass(frozen=True, slots=True)
class BackendKeyData:
    """What a CancelRequest must repeat; `key` has 4 bytes before protocol 3.2, 4 to 256 with it."""

    pid: int
    key: bytes


@dataclass(frozen=True, slots=True)
class Authentication:
    """`code` is an AUTH_REQ_*; `rest` is the salt (MD5), the mechanisms (SASL) or the SASL data."""

    code: int
    rest: bytes


@dataclass(frozen=True, slots=True)
class NegotiateProtocolVersion:
    """`minor`: the newest 3.x that the server speaks; `options`: the `_pq_.` names new to it."""

    minor: int
    options: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class NotificationResponse:
    pid: int
    channel: str
    payload: str


@dataclass(frozen=True, slots=True)
class Column:
    """One field of a RowDescription; the defaults are those of a column that is in no table."""

    name: str
    type_oid: int
    typlen: int
    format: int = codes.FORMAT_TEXT
    typmod: int = -1
    table_oid: int = 0
    attnum: int = 0


@dataclass(frozen=True, slots=True)
class Parse:
    """`oids` are the parameter types as they came, 4 bytes each."""

    name: bytes
    query: bytes
    oids: bytes


@dataclass(frozen=True, slots=True)
class BindNames:
    """The start of a Bind; `rest_at` is where in the body the parameter formats begin."""

    portal: bytes
    statement: bytes
    rest_at: int


@dataclass(frozen=True, slots=True)
class Bind:
    portal: bytes
    statement: bytes
    parameter_formats: tuple[int, ...]
    parameters: tuple[bytes | None, ...]
    result_formats: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Target:
    """What a Describe or Close is about; `kind` is KIND_STATEMENT or KIND_PORTAL."""

    kind: int
    name: bytes


@dataclass(frozen=True, slots=True)
class Execute:
    """`max_rows` 0 means all."""

    portal: bytes
    max_rows: int


@dataclass(frozen=True, slots=True)
class SASLInitialResponse:
    """`data` is None when the client sends its first data later."""

    mechanism: str
    data: bytes | None


def decode_text(raw: bytes) -> str:
    """`raw` as text; no bytes are refused and encoding with surrogateescape restores them."""
    return raw.decode("utf-8", "surrogateescape")


class _Body:
    """A cursor over one body; whatever is missing or left over raises in the message's name."""

    __slots__ = ("_body", "_name", "_side", "at")

    def __init__(self, body: bytes, side: str, name: str) -> None:
        self._body = body
        self._side = side
        self._name = name
        self.at = 0

    def broken(self) -> ProtocolViolation:
        return ProtocolViolation(self._side, f"broken {self._name} packet")

    def take(self, length: int) -> bytes:
        start, end = self.at, self.at + length
        # A negative length would move the cursor backwards, and a loop might never end.
        if length < 0 or end > len(self._body):
            raise self.broken()
        self.at = end
        return self._body[start:end]

    def rest(self) -> bytes:
        return self.take(len(self._body) - self.at)

    def byte(self) -> int:
        return self.take(1)[0]

    def uint16(self) -> int:
        return int.from_bytes(self.take(2), "big")

    def int16(self) -> int:
        return int.from_bytes(self.take(2), "big", signed=True)

    def uint32(self) -> int:
        return int.from_bytes(self.take(4), "big")

    def int32(self) -> int:
        return int.from_bytes(self.take(4), "big", signed=True)

    def string(self) -> bytes:
        start = self.at
        end = self._body.find(0, start)
        if end < 0:
            raise self.broken()
        self.at = end + 1
        return self._body[start:end]

    def text(self) -> str:
        return decode_text(self.string())

    def value(self) -> bytes | None:
        """Int32 length, or -1 for NULL, and as many bytes."""
        length = self.int32()
        return None if length == -1 else self.take(length)

    def formats(self) -> tuple[int, ...]:
        return tuple(self.int16() for _ in range(self.uint16()))

    def end(self, parsed: T) -> T:
        """`parsed`, once it is sure that nothing is left over."""
        if self.at != len(self._body):
            raise self.broken()
        return parsed


def _parse_string(body: bytes, side: str, name: str) -> bytes:
    reader = _Body(body, side, name)
    return reader.end(reader.string())


def _parse_fields(body: bytes, name: str) -> ServerMessage:
    reader = _Body(body, "server", name)
    fields: dict[str, str] = {}
    while field_type := reader.byte():
        fields[chr(field_type)] = reader.text()
    return reader.end(ServerMessage(fields))


def parse_error_response(body: bytes) -> ServerMessage:
    """[Byte1 field type, String]*, Byte1(0). Any may be absent; of equal ones the last counts."""
    return _parse_fields(body, "ErrorResponse")


def parse_notice_response(body: bytes) -> ServerMessage:
    """[Byte1 field type, String]*, Byte1(0)."""
    return _parse_fields(body, "NoticeResponse")


def parse_parameter_status(body: bytes) -> ParameterStatus:
    """String name, String value."""
    reader = _Body(body, "server", "ParameterStatus")
    return reader.end(ParameterStatus(reader.text(), reader.text()))


def parse_backend_key_data(body: bytes) -> BackendKeyData:
    """Int32 process id, Byte4..256 key."""
    reader = _Body(body, "server", "BackendKeyData")
    parsed = BackendKeyData(reader.uint32(), reader.rest())
    if not codes.MIN_CANCEL_KEY_LEN <= len(parsed.key) <= codes.MAX_CANCEL_KEY_LEN:
        raise reader.broken()
    return parsed


def parse_authentication(body: bytes) -> Authentication:
    """Int32 code, and what that code needs; an MD5 request always has its 4 bytes of salt."""
    reader = _Body(body, "server", "AuthenticationRequest")
    parsed = Authentication(reader.uint32(), reader.rest())
    if parsed.code == codes.AUTH_REQ_MD5 and len(parsed.rest) != 4:
        raise reader.broken()
    return parsed


def parse_sasl_mechanisms(rest: bytes) -> tuple[str, ...]:
    """The mechanisms of an AuthenticationSASL: String*, and an empty String as the end."""
    reader = _Body(rest, "server", "AuthenticationSASL")
    mechanisms: list[str] = []
    while mechanism := reader.text():
        mechanisms.append(mechanism)
    return reader.end(tuple(mechanisms))


def parse_ready_for_query(body: bytes) -> int:
    """Byte1: TRANSACTION_IDLE, TRANSACTION_BLOCK or TRANSACTION_FAILED."""
    reader = _Body(body, "server", "ReadyForQuery")
    status = reader.end(reader.byte())
    if status not in (codes.TRANSACTION_IDLE, codes.TRANSACTION_BLOCK, codes.TRANSACTION_FAILED):
        raise reader.broken()
    return status


def parse_command_complete(body: bytes) -> str:
    """String tag, e.g. "SELECT 1"."""
    return decode_text(_parse_string(body, "server", "CommandComplete"))


def parse_negotiate_protocol_version(body: bytes) -> NegotiateProtocolVersion:
    """Int32 newest protocol (3 << 16 | minor), Int32 n, String[n]."""
    reader = _Body(body, "server", "NegotiateProtocolVersion")
    protocol = reader.uint32()
    if protocol >> 16 != codes.PROTOCOL_3_0 >> 16:
        raise reader.broken()
    options = tuple(reader.text() for _ in range(reader.uint32()))
    return reader.end(NegotiateProtocolVersion(protocol & 0xFFFF, options))


def parse_notification_response(body: bytes) -> NotificationResponse:
    """Int32 process id, String channel, String payload."""
    reader = _Body(body, "server", "NotificationResponse")
    return reader.end(NotificationResponse(reader.uint32(), reader.text(), reader.text()))


def _parse_column(reader: _Body) -> Column:
    name, table_oid, attnum = reader.text(), reader.uint32(), reader.int16()
    type_oid, typlen = reader.uint32(), reader.int16()
    typmod, format_ = reader.int32(), reader.int16()
    return Column(name, type_oid, typlen, format_, typmod, table_oid, attnum)


def parse_row_description(body: bytes) -> tuple[Column, ...]:
    """Int16 n, Column[n]: String name, Int32 table, Int16 attnum, Int32 type oid, Int16 typlen,
    Int32 typmod, Int16 format.
    """
    reader = _Body(body, "server", "RowDescription")
    return reader.end(tuple(_parse_column(reader) for _ in range(reader.uint16())))


def parse_data_row(body: bytes) -> tuple[bytes | None, ...]:
    """Int16 n, [Int32 length or -1, Byte*][n]; None is NULL."""
    reader = _Body(body, "server", "DataRow")
    return reader.end(tuple(reader.value() for _ in range(reader.uint16())))


def parse_parameter_description(body: bytes) -> tuple[int, ...]:
    """Int16 n, Int32 type oid[n]."""
    reader = _Body(body, "server", "ParameterDescription")
    return reader.end(tuple(reader.uint32() for _ in range(reader.uint16())))


def parse_query(body: bytes) -> bytes:
    """String query."""
    return _parse_string(body, "client", "Query")


def parse_parse(body: bytes) -> Parse:
    """String name, String query, Int16 n, Int32 type oid[n]."""
    reader = _Body(body, "client", "Parse")
    return reader.end(Parse(reader.string(), reader.string(), reader.take(4 * reader.uint16())))


def parse_bind_names(body: bytes) -> BindNames:
    """String portal, String statement; the body may be cut anywhere after these."""
    reader = _Body(body, "client", "Bind")
    return BindNames(reader.string(), reader.string(), reader.at)


def parse_bind(body: bytes) -> Bind:
    """String portal, String statement, formats, values, result formats.

    Formats: Int16 n, Int16[n]. Values: Int16 n, [Int32 length or -1, Byte*][n]; None is NULL.
    """
    reader = _Body(body, "client", "Bind")
    portal, statement, parameter_formats = reader.string(), reader.string(), reader.formats()
    parameters = tuple(reader.value() for _ in range(reader.uint16()))
    return reader.end(Bind(portal, statement, parameter_formats, parameters, reader.formats()))


def _parse_target(body: bytes, name: str) -> Target:
    reader = _Body(body, "client", name)
    parsed = reader.end(Target(reader.byte(), reader.string()))
    if parsed.kind not in (codes.KIND_STATEMENT, codes.KIND_PORTAL):
        raise reader.broken()
    return parsed


def parse_describe(body: bytes) -> Target:
    """Byte1 'S' or 'P', String name."""
    return _parse_target(body, "Describe")


def parse_close(body: bytes) -> Target:
    """Byte1 'S' or 'P', String name."""
    return _parse_target(body, "Close")


def parse_execute(body: bytes) -> Execute:
    """String portal, Int32 maximum number of rows."""
    reader = _Body(body, "client", "Execute")
    return reader.end(Execute(reader.string(), reader.int32()))


def parse_password_message(body: bytes) -> bytes:
    """String password."""
    return _parse_string(body, "client", "PasswordMessage")


def parse_sasl_initial_response(body: bytes) -> SASLInitialResponse:
    """String mechanism, Int32 length or -1, Byte* data."""
    start = body.find(0) + 5
    if start > 4 and len(body) == start + int.from_bytes(body[start - 4 : start], "big"):
        return SASLInitialResponse(decode_text(body[: start - 5]), body[start:])
    reader = _Body(body, "client", "SASLInitialResponse")
    return reader.end(SASLInitialResponse(reader.text(), reader.value()))
