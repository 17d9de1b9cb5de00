"""Values -> whole messages: `build_x(...) -> bytes`, with type byte and length, both directions.

A message is Byte1 type, Int32 length (itself included, the type not), body; the packets that open
a connection have no type byte. Body layouts stand at each function in PostgreSQL's notation.
Texts are `bytes`, sent as they are, or `str`, sent as UTF-8 with surrogateescape, so what `parse`
and `startup` decoded goes out as it came in.

Source: PostgreSQL, "Message Formats" (55.7); PgBouncer's ErrorResponses have S, C and M only.
Errors: ValueError for a text with a NUL or one that can't be encoded; struct.error for a number
that its field can't hold. Both are the caller's bugs.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping, Sequence

from pgmux.wire import codes
from pgmux.wire.parse import Column

Text = str | bytes
Values = Sequence[bytes | None]


def _string(text: Text) -> bytes:
    raw = text.encode("utf-8", "surrogateescape") if isinstance(text, str) else text
    if 0 in raw:
        raise ValueError(f"a protocol String can't hold a NUL byte: {text!r}")
    return raw + b"\0"


def _message(message_type: int, *parts: bytes) -> bytes:
    body = b"".join(parts)
    return struct.pack(">BI", message_type, 4 + len(body)) + body


def _packet(code: int, *parts: bytes) -> bytes:
    body = b"".join(parts)
    return struct.pack(">II", 8 + len(body), code) + body


def _value(value: bytes | None) -> bytes:
    return struct.pack(">i", -1) if value is None else struct.pack(">i", len(value)) + value


def _values(values: Values) -> bytes:
    return struct.pack(">H", len(values)) + b"".join(map(_value, values))


def _formats(formats: Sequence[int]) -> bytes:
    return struct.pack(f">H{len(formats)}h", len(formats), *formats)


def _oids(oids: Sequence[int]) -> bytes:
    return struct.pack(f">H{len(oids)}I", len(oids), *oids)


# The connection's first packets, from a client


def build_startup_message(
    parameters: Mapping[str, str] | Iterable[tuple[Text, Text]],
    protocol: int = codes.PROTOCOL_3_0,
) -> bytes:
    """Int32 protocol, [String name, String value]*, Byte1(0)."""
    pairs = parameters.items() if isinstance(parameters, Mapping) else parameters
    strings: list[bytes] = []
    for name, value in pairs:
        if not name:
            # It would read as the terminator, and all that follows as garbage.
            raise ValueError("a startup parameter needs a name")
        strings += _string(name), _string(value)
    return _packet(protocol, *strings, b"\0")


def build_cancel_request(pid: int, key: bytes) -> bytes:
    """Int32 80877102, Int32 process id, Byte* key (all that BackendKeyData had)."""
    return _packet(codes.CANCEL_REQUEST, struct.pack(">I", pid), key)


def build_ssl_request() -> bytes:
    """Int32 80877103."""
    return _packet(codes.SSL_REQUEST)


def build_gssenc_request() -> bytes:
    """Int32 80877104."""
    return _packet(codes.GSSENC_REQUEST)


# Login, from a client


def build_password_message(password: Text) -> bytes:
    """String password, in clear or as `md5…`."""
    return _message(codes.PASSWORD_MESSAGE, _string(password))


def build_sasl_initial_response(mechanism: str, data: bytes | None) -> bytes:
    """String mechanism, Int32 length or -1, Byte* data."""
    return _message(codes.SASL_INITIAL_RESPONSE, _string(mechanism), _value(data))


def build_sasl_response(data: bytes) -> bytes:
    """Byte* data."""
    return _message(codes.SASL_RESPONSE, data)


# Queries, from a client


def build_query(query: Text) -> bytes:
    """String query."""
    return _message(codes.QUERY, _string(query))


def build_parse(name: Text, query: Text, oids: Sequence[int] | bytes = ()) -> bytes:
    """String name, String query, Int16 n, Int32 type oid[n]; `oids` as numbers or as in `Parse`."""
    raw = _oids(oids) if not isinstance(oids, bytes) else struct.pack(">H", len(oids) // 4) + oids
    return _message(codes.PARSE, _string(name), _string(query), raw)


def build_bind(
    portal: Text,
    statement: Text,
    parameters: Values = (),
    *,
    parameter_formats: Sequence[int] = (),
    result_formats: Sequence[int] = (),
) -> bytes:
    """String portal, String statement, formats, values, result formats.

    Formats: Int16 n, Int16[n]. Values: Int16 n, [Int32 length or -1, Byte*][n]; None is NULL.
    """
    names = _string(portal) + _string(statement)
    formats, values = _formats(parameter_formats), _values(parameters)
    return _message(codes.BIND, names, formats, values, _formats(result_formats))


def build_describe(kind: int, name: Text) -> bytes:
    """Byte1 kind (KIND_STATEMENT or KIND_PORTAL), String name."""
    return _message(codes.DESCRIBE, bytes((kind,)), _string(name))


def build_close(kind: int, name: Text) -> bytes:
    """Byte1 kind (KIND_STATEMENT or KIND_PORTAL), String name."""
    return _message(codes.CLOSE, bytes((kind,)), _string(name))


def build_execute(portal: Text = "", max_rows: int = 0) -> bytes:
    """String portal, Int32 maximum number of rows (0: all)."""
    return _message(codes.EXECUTE, _string(portal), struct.pack(">i", max_rows))


def build_sync() -> bytes:
    """Empty."""
    return _message(codes.SYNC)


def build_flush() -> bytes:
    """Empty."""
    return _message(codes.FLUSH)


def build_terminate() -> bytes:
    """Empty."""
    return _message(codes.TERMINATE)


def build_function_call(
    oid: int,
    arguments: Values = (),
    *,
    argument_formats: Sequence[int] = (),
    result_format: int = codes.FORMAT_TEXT,
) -> bytes:
    """Int32 function oid, formats and values as in Bind, Int16 result format."""
    formats, values = _formats(argument_formats), _values(arguments)
    result = struct.pack(">h", result_format)
    return _message(codes.FUNCTION_CALL, struct.pack(">I", oid), formats, values, result)


# COPY


def build_copy_data(data: bytes) -> bytes:
    """Byte* data; both directions."""
    return _message(codes.COPY_DATA, data)


def build_copy_done() -> bytes:
    """Empty; both directions."""
    return _message(codes.COPY_DONE)


def build_copy_fail(reason: Text) -> bytes:
    """String reason; from a client."""
    return _message(codes.COPY_FAIL, _string(reason))


def _copy_response(message_type: int, column_formats: Sequence[int]) -> bytes:
    overall = codes.FORMAT_BINARY if codes.FORMAT_BINARY in column_formats else codes.FORMAT_TEXT
    return _message(message_type, bytes((overall,)), _formats(column_formats))


def build_copy_in_response(column_formats: Sequence[int]) -> bytes:
    """Int8 overall format (binary if any column is), Int16 n, Int16 format[n]."""
    return _copy_response(codes.COPY_IN_RESPONSE, column_formats)


def build_copy_out_response(column_formats: Sequence[int]) -> bytes:
    """Int8 overall format (binary if any column is), Int16 n, Int16 format[n]."""
    return _copy_response(codes.COPY_OUT_RESPONSE, column_formats)


# Login, from a server


_pack_authentication = struct.Struct(">BII").pack


def _authentication(code: int, data: bytes = b"") -> bytes:
    return _pack_authentication(codes.AUTHENTICATION_REQUEST, 8 + len(data), code) + data


def build_authentication_ok() -> bytes:
    """Int32(0)."""
    return _authentication(codes.AUTH_REQ_OK)


def build_authentication_cleartext_password() -> bytes:
    """Int32(3)."""
    return _authentication(codes.AUTH_REQ_PASSWORD)


def build_authentication_md5_password(salt: bytes) -> bytes:
    """Int32(5), Byte4 salt."""
    return _authentication(codes.AUTH_REQ_MD5, struct.pack(">I", int.from_bytes(salt, "big")))


def build_authentication_sasl(mechanisms: Sequence[str]) -> bytes:
    """Int32(10), String mechanism*, Byte1(0)."""
    return _authentication(codes.AUTH_REQ_SASL, b"".join([*map(_string, mechanisms), b"\0"]))


def build_authentication_sasl_continue(data: bytes) -> bytes:
    """Int32(11), Byte* data."""
    return _authentication(codes.AUTH_REQ_SASL_CONT, data)


def build_authentication_sasl_final(data: bytes) -> bytes:
    """Int32(12), Byte* data."""
    return _authentication(codes.AUTH_REQ_SASL_FIN, data)


def build_negotiate_protocol_version(minor: int, options: Sequence[str] = ()) -> bytes:
    """Int32 newest protocol (3 << 16 | minor), Int32 n, String option[n] not recognized."""
    head = struct.pack(">II", codes.PROTOCOL_3_0 | minor, len(options))
    return _message(codes.NEGOTIATE_PROTOCOL_VERSION, head, *map(_string, options))


def build_parameter_status(name: Text, value: Text) -> bytes:
    """String name, String value."""
    return _message(codes.PARAMETER_STATUS, _string(name), _string(value))


def build_backend_key_data(pid: int, key: bytes) -> bytes:
    """Int32 process id, Byte* key: 4 bytes, from protocol 3.2 up to 256."""
    return _message(codes.BACKEND_KEY_DATA, struct.pack(">I", pid), key)


def build_ready_for_query(status: int = codes.TRANSACTION_IDLE) -> bytes:
    """Byte1 transaction status."""
    return _message(codes.READY_FOR_QUERY, bytes((status,)))


# Errors and notices, from a server


def _fields(fields: Iterable[tuple[str, Text]]) -> bytes:
    return b"".join(letter.encode() + _string(text) for letter, text in fields) + b"\0"


def build_error_response(
    severity: str,
    sqlstate: str,
    message: Text,
    *,
    with_v: bool = False,
    detail: Text = "",
    hint: Text = "",
) -> bytes:
    """[Byte1 field type, String]*, Byte1(0): S, C, M; V on demand; D and H unless empty."""
    fields: list[tuple[str, Text]] = [("S", severity)]
    if with_v:
        fields.append(("V", severity))
    fields += ("C", sqlstate), ("M", message)
    fields += [(letter, text) for letter, text in (("D", detail), ("H", hint)) if text]
    return _message(codes.ERROR_RESPONSE, _fields(fields))


def build_notice_response(severity: str, sqlstate: str, message: Text) -> bytes:
    """[Byte1 field type, String]*, Byte1(0): S, C and M."""
    fields = _fields((("S", severity), ("C", sqlstate), ("M", message)))
    return _message(codes.NOTICE_RESPONSE, fields)


# Results, from a server


def _column(column: Column) -> bytes:
    table = struct.pack(">Ih", column.table_oid, column.attnum)
    kind = struct.pack(">Ihih", column.type_oid, column.typlen, column.typmod, column.format)
    return _string(column.name) + table + kind


def build_row_description(columns: Sequence[Column]) -> bytes:
    """Int16 n, Column[n]: String name, Int32 table, Int16 attnum, Int32 type oid, Int16 typlen,
    Int32 typmod, Int16 format.
    """
    return _message(codes.ROW_DESCRIPTION, struct.pack(">H", len(columns)), *map(_column, columns))


def build_data_row(values: Values) -> bytes:
    """Int16 n, [Int32 length or -1, Byte*][n]; None is NULL."""
    return _message(codes.DATA_ROW, _values(values))


def build_command_complete(tag: Text) -> bytes:
    """String tag, e.g. "SELECT 1"."""
    return _message(codes.COMMAND_COMPLETE, _string(tag))


def build_empty_query_response() -> bytes:
    """Empty."""
    return _message(codes.EMPTY_QUERY_RESPONSE)


def build_parse_complete() -> bytes:
    """Empty."""
    return _message(codes.PARSE_COMPLETE)


def build_bind_complete() -> bytes:
    """Empty."""
    return _message(codes.BIND_COMPLETE)


def build_close_complete() -> bytes:
    """Empty."""
    return _message(codes.CLOSE_COMPLETE)


def build_no_data() -> bytes:
    """Empty."""
    return _message(codes.NO_DATA)


def build_portal_suspended() -> bytes:
    """Empty."""
    return _message(codes.PORTAL_SUSPENDED)


def build_parameter_description(oids: Sequence[int]) -> bytes:
    """Int16 n, Int32 type oid[n]."""
    return _message(codes.PARAMETER_DESCRIPTION, _oids(oids))


def build_notification_response(pid: int, channel: Text, payload: Text) -> bytes:
    """Int32 process id, String channel, String payload."""
    return _message(
        codes.NOTIFICATION_RESPONSE, struct.pack(">I", pid), _string(channel), _string(payload)
    )
