"""The packets that open a connection, and the `options` parameter inside one of them.

A packet is Int32 length (itself included), Int32 code, rest; there is no type byte. StartupMessage:
code 3 << 16 | minor, [String name, String value]*, Byte1(0). SSLRequest, GSSENCRequest: no rest.
CancelRequest: Int32 process id, Byte4..256 key. Strings need not be UTF-8: they are decoded with
surrogateescape, so encoding them the same way restores their bytes.

PgBouncer takes packets up to 65535 bytes (the length's upper half must be zero), PostgreSQL up to
10000; PgBouncer's bound holds here, as a login that works through it must not fail.

Source: PostgreSQL, "Message Formats" (55.7), `pg_split_opts`; PgBouncer's answers.
Errors: PoolerError in PgBouncer's words where it answers the client,
ProtocolViolation("client", …) where it closes without a word.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from pgmux.errors import PoolerError, ProtocolViolation
from pgmux.wire import codes
from pgmux.wire.parse import decode_text

MAX_PACKET_LEN = 0xFFFF
HEADER_LEN = 8
TYPED_HEADER_LEN = 5
EXTENSION_PREFIX = "_pq_."

# Whitespace as C's isspace() has it; a backslash takes away any character's meaning.
_WORD = re.compile(r"(?:[^\\\s]|\\.?)+", re.ASCII | re.DOTALL)
_ESCAPE = re.compile(r"\\(.?)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class StartupMessage:
    """A login; `parameters` in the client's order, of equal names the last value."""

    major: int
    minor: int
    parameters: Mapping[str, str]

    @property
    def user(self) -> str:
        """Never empty."""
        return self.parameters["user"]

    @property
    def database(self) -> str:
        """The database asked for, else the user's name."""
        return self.parameters.get("database") or self.user

    @property
    def extensions(self) -> tuple[str, ...]:
        """Names of the protocol extensions asked for, for NegotiateProtocolVersion."""
        return tuple(name for name in self.parameters if name.startswith(EXTENSION_PREFIX))


@dataclass(frozen=True, slots=True)
class SSLRequest:
    """To be answered with `S` or `N`."""


@dataclass(frozen=True, slots=True)
class GSSENCRequest:
    """To be answered with `N`."""


@dataclass(frozen=True, slots=True)
class CancelRequest:
    """Never answered; `pid` and `key` are what BackendKeyData told some client."""

    pid: int
    key: bytes


StartupPacket = StartupMessage | SSLRequest | GSSENCRequest | CancelRequest


def _bad_header(head: bytes) -> PoolerError:
    return PoolerError(f"bad packet header: '{head[:HEADER_LEN].hex()}'")


def _packet_len(head: bytes) -> int:
    """The whole packet's bytes, from its first 8 (5 of a typed message, which is refused)."""
    if head[0] == codes.PASSWORD_MESSAGE:
        raise PoolerError("client password pkt before startup packet")
    length = int.from_bytes(head[:4], "big")
    if not HEADER_LEN <= length <= MAX_PACKET_LEN:
        raise _bad_header(head)
    _check_code(head, length)
    return length


def _check_code(head: bytes, length: int) -> None:
    """Refuses unknown codes at once, before a body that may never come."""
    code = int.from_bytes(head[4:HEADER_LEN], "big")
    if code == codes.PROTOCOL_2_0:
        raise PoolerError("old V2 protocol not supported")
    if code in (codes.SSL_REQUEST, codes.GSSENC_REQUEST):
        known = length == HEADER_LEN
    else:
        known = code == codes.CANCEL_REQUEST or code >> 16 == codes.PROTOCOL_3_0 >> 16
    if not known:
        raise _bad_header(head)


def parse_startup(packet: bytes) -> StartupPacket:
    """One whole packet, its length included."""
    if len(packet) < HEADER_LEN or _packet_len(packet) != len(packet):
        raise _bad_header(packet)
    code = int.from_bytes(packet[4:HEADER_LEN], "big")
    if code == codes.SSL_REQUEST:
        return SSLRequest()
    if code == codes.GSSENC_REQUEST:
        return GSSENCRequest()
    if code == codes.CANCEL_REQUEST:
        return _parse_cancel_request(packet)
    return StartupMessage(code >> 16, code & 0xFFFF, _parse_parameters(packet[HEADER_LEN:]))


def _parse_cancel_request(packet: bytes) -> CancelRequest:
    pid, key = packet[HEADER_LEN : HEADER_LEN + 4], packet[HEADER_LEN + 4 :]
    if not codes.MIN_CANCEL_KEY_LEN <= len(key) <= codes.MAX_CANCEL_KEY_LEN:
        raise ProtocolViolation("client", "bad cancel request")
    return CancelRequest(int.from_bytes(pid, "big"), key)


def _parse_parameters(body: bytes) -> dict[str, str]:
    # "a\0b\0\0" splits into a, b and two empty strings: the terminator's and what follows it.
    strings = body.split(b"\0")
    names, values = strings[0:-2:2], strings[1:-2:2]
    if len(strings) < 2 or strings[-2:] != [b"", b""] or len(names) != len(values) or b"" in names:
        raise PoolerError("invalid startup packet layout: expected terminator as last byte")
    parameters = dict(zip(map(decode_text, names), map(decode_text, values), strict=True))
    if not parameters.get("user"):
        raise PoolerError("no username supplied")
    return parameters


class StartupReader:
    """Assembles one packet after another from a stream that is cut anywhere."""

    __slots__ = ("_buffer",)

    def __init__(self) -> None:
        self._buffer = bytearray()

    @property
    def kept_len(self) -> int:
        """Bytes that are no whole packet yet."""
        return len(self._buffer)

    def feed(self, data: bytes) -> StartupPacket | None:
        """The next packet, or None until it is whole; feed the answer to SSLRequest's next bytes.

        Bytes behind an SSLRequest or GSSENCRequest are an error: they came before encryption, so
        anybody may have put them there. Bytes behind other packets wait in `rest()`.
        """
        self._buffer += data
        # A first byte other than zero is a message's type: nothing that follows can heal it.
        typed = self._buffer[:1] > b"\0"
        if len(self._buffer) < (TYPED_HEADER_LEN if typed else HEADER_LEN):
            return None
        length = _packet_len(bytes(self._buffer[:HEADER_LEN]))
        if len(self._buffer) < length:
            return None
        packet = parse_startup(bytes(self._buffer[:length]))
        del self._buffer[:length]
        if self._buffer and isinstance(packet, SSLRequest):
            raise PoolerError("received unencrypted data after SSL request")
        if self._buffer and isinstance(packet, GSSENCRequest):
            raise PoolerError("received unencrypted data after GSSAPI encryption request")
        return packet

    def rest(self) -> bytes:
        """Hands over the bytes behind the last packet; the reader is empty afterwards."""
        unread = bytes(self._buffer)
        self._buffer.clear()
        return unread


def parse_options(text: str) -> list[tuple[str, str]]:
    """The settings in an `options` parameter, in order.

    They are written `-c name=value`, `-cname=value` or `--name=value`. As in PostgreSQL, words
    end at whitespace unless a backslash precedes it, and dashes in a name are underscores.
    Raises: PoolerError for anything else, an empty name included.
    """
    settings: list[tuple[str, str]] = []
    words = iter(_WORD.findall(text))
    for word in words:
        if not word.startswith(("-c", "--")):
            raise _bad_options()
        assignment = next(words, "") if word == "-c" else word[2:]
        name, equals, value = _ESCAPE.sub(r"\1", assignment).partition("=")
        if not name or not equals:
            raise _bad_options()
        settings.append((name.replace("-", "_"), value))
    return settings


def _bad_options() -> PoolerError:
    return PoolerError(
        "unsupported options startup parameter: only '-c config=val' and '--config=val' are allowed"
    )
