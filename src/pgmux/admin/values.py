"""The types of SHOW's columns, and their values as PostgreSQL sends them, text and binary.

    Int4     text: decimal    binary: Int32
    Int8     text: decimal    binary: Int64
    Numeric  text: decimal    binary: Int16 ndigits, Int16 weight, Int16 sign, Int16 dscale,
                                      Int16 digit[ndigits] (base 10000); here whole and positive
    Oid      text: decimal    binary: Int32
    Text     text = binary    Void is an empty one

Source: PostgreSQL's numeric_send; PgBouncer's src/pktbuf.c (1.25.2) for which types there are.
Errors: none; an integer that its type can't hold wraps, as PgBouncer's do.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from enum import Enum
from typing import Any

from pgmux.wire.codes import FORMAT_BINARY, FORMAT_TEXT


class Type(Enum):
    """A column's type: its oid and its length in RowDescription."""

    TEXT = (25, -1)
    INT4 = (23, 4)
    INT8 = (20, 8)
    NUMERIC = (1700, -1)
    OID = (26, 4)
    VOID = (2278, 4)

    @property
    def oid(self) -> int:
        return self.value[0]

    @property
    def typlen(self) -> int:
        return self.value[1]


Encoder = Callable[[Any], bytes]


def find_encoder(type_: Type, format_: int) -> Encoder:
    """What turns a value that isn't None into the bytes of that type and format."""
    return _ENCODERS[type_, format_]


def _text(value: str) -> bytes:
    """UTF-8, as the console's client_encoding says, whatever bytes a client has for a name: one
    that isn't text is shown as `\\xff`, or drivers would refuse the whole table.
    """
    try:
        return value.encode()
    except UnicodeEncodeError:
        raw = value.encode("utf-8", "surrogateescape")
        return raw.decode("utf-8", "backslashreplace").encode()


def _decimal(value: int) -> bytes:
    return b"%d" % value


def _wrap(value: int, bits: int) -> int:
    half: int = 1 << (bits - 1)
    return (value + half) % (2 * half) - half


def _int4_text(value: int) -> bytes:
    return b"%d" % _wrap(value, 32)


def _int4_binary(value: int) -> bytes:
    return struct.pack(">i", _wrap(value, 32))


def _int8_text(value: int) -> bytes:
    return b"%d" % _wrap(value, 64)


def _int8_binary(value: int) -> bytes:
    return struct.pack(">q", _wrap(value, 64))


def _numeric_binary(value: int) -> bytes:
    digits: list[int] = []
    while value:
        value, digit = divmod(value, 10000)
        digits.insert(0, digit)
    weight = max(0, len(digits) - 1)
    while digits and digits[-1] == 0:
        digits.pop()
    return struct.pack(f">HhHH{len(digits)}H", len(digits), weight, 0, 0, *digits)


def _oid_binary(value: int) -> bytes:
    return struct.pack(">I", value)


_ENCODERS: dict[tuple[Type, int], Encoder] = {
    (Type.TEXT, FORMAT_TEXT): _text,
    (Type.TEXT, FORMAT_BINARY): _text,
    (Type.INT4, FORMAT_TEXT): _int4_text,
    (Type.INT4, FORMAT_BINARY): _int4_binary,
    (Type.INT8, FORMAT_TEXT): _int8_text,
    (Type.INT8, FORMAT_BINARY): _int8_binary,
    (Type.NUMERIC, FORMAT_TEXT): _decimal,
    (Type.NUMERIC, FORMAT_BINARY): _numeric_binary,
    (Type.OID, FORMAT_TEXT): _decimal,
    (Type.OID, FORMAT_BINARY): _oid_binary,
    (Type.VOID, FORMAT_TEXT): _text,
    (Type.VOID, FORMAT_BINARY): _text,
}
