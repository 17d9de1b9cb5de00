"""What a TLS client says first, as far as one has to know it before TLS begins: which application
protocols it offers (ALPN), as Python's ssl accepts a client that offers none of ours.

A record is Byte1(22), Int16 version, Int16 length, fragment; a ClientHello, in one or more of
them, is Byte1(1), Int24 length, and its fields.

Source: RFC 8446, sections 4.1.2 and 5.1; RFC 7301. Errors: TlsError.
"""

from __future__ import annotations

from collections.abc import Iterator

from pgmux.errors import TlsError

HANDSHAKE = b"\x16"
ALPN = b"postgresql"
# An alert: fatal, no_application_protocol.
NO_APPLICATION_PROTOCOL = b"\x15\x03\x03\x00\x02\x02\x78"

_APPLICATION_LAYER_PROTOCOL_NEGOTIATION = 16
_MAX_LEN = 1 << 15  # with the largest keys there are, and a session ticket, it has a few thousand


class ClientHelloReader:
    """Assembles it from a stream that is cut anywhere."""

    __slots__ = ("_buffer", "_message", "_pos")

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._message = bytearray()  # of the records that are whole
        self._pos = 0  # where they end

    @property
    def kept_len(self) -> int:
        """Bytes that are no whole ClientHello yet."""
        return len(self._buffer)

    @property
    def is_refused(self) -> bool:
        """Whether the client offers application protocols, and PostgreSQL's is none of them."""
        try:
            offered = _offered(bytes(self._message))
        except IndexError:
            return False  # OpenSSL says what is wrong
        return offered is not None and ALPN not in offered

    def feed(self, data: bytes) -> bytes | None:
        """All bytes so far, for OpenSSL, once it is whole; None until then.

        What is none is for OpenSSL, too, which says what is wrong with it. Raises: TlsError.
        """
        self._buffer += data
        while self._pos < len(self._buffer):
            if self._buffer[self._pos] != HANDSHAKE[0]:
                return bytes(self._buffer)
            if not self._take_record():
                break
            is_hello = bytes(self._message[:1]) in (b"", b"\1")
            if not is_hello or len(self._message) >= self._message_len:
                return bytes(self._buffer)
        if len(self._buffer) > _MAX_LEN:
            raise TlsError("handshake failed: excessive message size")
        return None

    @property
    def _message_len(self) -> int:
        return 4 + int.from_bytes(self._message[1:4].ljust(3, b"\xff"), "big")

    def _take_record(self) -> bool:
        """Add the next record to the message; False where it isn't whole."""
        begin = self._pos + 5
        end = begin + int.from_bytes(self._buffer[begin - 2 : begin], "big")
        if len(self._buffer) < max(begin, end):
            return False
        self._message += self._buffer[begin:end]
        self._pos = end
        return True


def _offered(message: bytes) -> list[bytes] | None:
    """The names in the extension, if it is there. Raises: IndexError."""
    pos = 4 + 2 + 32  # header, version, random
    pos += 1 + message[pos]  # session
    pos += 2 + int.from_bytes(message[pos : pos + 2], "big")  # ciphers
    pos += 1 + message[pos]  # compression
    pos += 2  # length of the extensions, which are the rest
    while pos + 4 <= len(message):
        kind = int.from_bytes(message[pos : pos + 2], "big")
        end = pos + 4 + int.from_bytes(message[pos + 2 : pos + 4], "big")
        if kind == _APPLICATION_LAYER_PROTOCOL_NEGOTIATION:
            return list(_names(message[pos + 6 : end]))
        pos = end
    return None


def _names(data: bytes) -> Iterator[bytes]:
    pos = 0
    while pos < len(data):
        end = pos + 1 + data[pos]
        yield data[pos + 1 : end]
        pos = end
