"""A stream of typed messages, cut anywhere -> whole messages, one at a time.

For login, the console and tests; a linked client's traffic goes through the scan instead, which
never assembles a message. A message is Byte1 type, Int32 length (itself included), body.

    for message_type, body in reader.feed(data):
        if done: break
    relay(reader.rest())        # exactly from the next message's first byte

Source: PostgreSQL, "Messaging Overview" (55.1.1). Errors: ProtocolViolation(side, …) in PgBouncer's
words: `bad packet header: '%s'` (hex of the first 8 bytes, as far as they are here) for a length
below 4 or a message over `max_len`, `client re-sent startup pkt` for a second StartupMessage.
"""

from __future__ import annotations

from pgmux.errors import ProtocolViolation
from pgmux.wire import codes

HEADER_LEN = 5


def split_whole_message(data: bytes, max_len: int) -> tuple[int, bytes] | None:
    """The type and body of the one message that `data` is, to the last byte; None where it is
    anything else, that a `MessageReader` is to look at.
    """
    length = len(data)
    if not HEADER_LEN <= length <= max_len or data[0] == 0:
        return None
    if int.from_bytes(data[1:HEADER_LEN], "big") + 1 != length:
        return None
    return data[0], data[HEADER_LEN:]


class MessageReader:
    """Keeps less than `max_len` bytes once drained; a whole message has at most `max_len`."""

    __slots__ = ("_at", "_buffer", "_max_len", "_side")

    def __init__(self, max_len: int, side: str) -> None:
        self._buffer = bytearray()
        self._at = 0
        self._max_len = max_len
        self._side = side

    def feed(self, data: bytes) -> MessageReader:
        """Takes `data`, then iterates over the whole messages; drain it before feeding again."""
        del self._buffer[: self._at]
        self._at = 0
        self._buffer += data
        return self

    @property
    def kept_len(self) -> int:
        """Bytes not yet returned as messages."""
        return len(self._buffer) - self._at

    def rest(self) -> bytes:
        """Hands over all bytes not yet returned as messages; the reader is empty afterwards."""
        unread = bytes(self._buffer[self._at :])
        self._buffer.clear()
        self._at = 0
        return unread

    def __iter__(self) -> MessageReader:
        return self

    def __next__(self) -> tuple[int, bytes]:
        start = self._at
        if len(self._buffer) - start < HEADER_LEN:
            raise StopIteration
        end = start + self._message_len()
        if len(self._buffer) < end:
            raise StopIteration
        self._at = end
        return self._buffer[start], bytes(memoryview(self._buffer)[start + HEADER_LEN : end])

    def _message_len(self) -> int:
        """Bytes of the next message with its type byte, checked before any of its body is here."""
        start = self._at
        if self._buffer[start] == 0:
            return self._packet_without_type()
        length = int.from_bytes(self._buffer[start + 1 : start + HEADER_LEN], "big")
        if length < 4 or length + 1 > self._max_len:
            raise self._bad_header()
        return length + 1

    def _packet_without_type(self) -> int:
        """A zero type byte can only be a startup packet's length, which has no place here."""
        head = bytes(self._buffer[self._at : self._at + 8])
        if len(head) < 8:
            return 8  # wait: the code that says what it is comes last
        protocol_major = int.from_bytes(head[4:6], "big")
        if self._side == "client" and protocol_major == codes.PROTOCOL_3_0 >> 16:
            raise ProtocolViolation(self._side, "client re-sent startup pkt")
        raise self._bad_header()

    def _bad_header(self) -> ProtocolViolation:
        head = bytes(self._buffer[self._at : self._at + 8])
        return ProtocolViolation(self._side, f"bad packet header: '{head.hex()}'")
