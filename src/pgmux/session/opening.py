"""What a client says before its startup packet: it asks for TLS, or just begins with it, and for
GSSAPI encryption, which there is none of. Sans-IO: bytes in, steps out.

Source: PostgreSQL protocol, "SSL Session Encryption" (55.2.10); PgBouncer's client.c and sbuf.c.
Errors: PoolerError (the client is told), ProtocolViolation and TlsError (closed).
"""

from __future__ import annotations

from collections.abc import Callable

from pgmux.errors import ProtocolViolation, TlsError
from pgmux.session.login_steps import Answer, LoginStep, Refuse, StartTls
from pgmux.wire.client_hello import (
    HANDSHAKE,
    NO_APPLICATION_PROTOCOL,
    ClientHelloReader,
)
from pgmux.wire.startup import (
    CancelRequest,
    GSSENCRequest,
    SSLRequest,
    StartupMessage,
    StartupReader,
)

SSL_INSIDE_SSL = "SSL req inside SSL"


class Opening:
    """One connection's; `packet` is what it ends with."""

    __slots__ = ("_hello", "_is_fresh", "_offers_tls", "_startup", "is_tls", "packet")

    def __init__(self, offers_tls: Callable[[], bool]) -> None:
        self._offers_tls = offers_tls
        self._startup = StartupReader()
        self._hello: ClientHelloReader | None = None  # TLS has been agreed on, and has not begun
        self._is_fresh = True  # nothing has come yet
        self.is_tls = False
        self.packet: StartupMessage | CancelRequest | None = None

    def feed(self, data: bytes) -> list[LoginStep]:
        """The steps that these bytes lead to. Raises: PoolerError, ProtocolViolation, TlsError."""
        if self._is_fresh and data[:1] == HANDSHAKE and self._offers_tls():
            self._hello = ClientHelloReader()  # no startup packet is that long
        self._is_fresh = False
        if self._hello is not None:
            return self._read_hello(self._hello, data)
        steps: list[LoginStep] = []
        packet = self._startup.feed(data)
        while isinstance(packet, SSLRequest | GSSENCRequest):
            steps.append(self._answer(packet))
            packet = self._startup.feed(b"")  # nothing is there: it would have been an error
        self.packet = packet
        return steps

    @property
    def kept_len(self) -> int:
        """Bytes received that are nothing whole yet."""
        return (self._hello or self._startup).kept_len

    @property
    def is_between_packets(self) -> bool:
        """What comes next begins a packet, and not TLS."""
        return self._hello is None and self._startup.kept_len == 0

    @property
    def awaits_tls(self) -> bool:
        """Whether the client would take what is written now for TLS."""
        return self._hello is not None

    def rest(self) -> bytes:
        """What came behind `packet`."""
        return self._startup.rest()

    def _answer(self, packet: SSLRequest | GSSENCRequest) -> LoginStep:
        """Where it is no, the client may ask again, or go on without."""
        if isinstance(packet, SSLRequest):
            if self.is_tls:
                raise ProtocolViolation("client", SSL_INSIDE_SSL)
            if self._offers_tls():
                self._hello = ClientHelloReader()
                return Answer(b"S")
        return Answer(b"N")

    def _read_hello(self, reader: ClientHelloReader, data: bytes) -> list[LoginStep]:
        hello = reader.feed(data)
        if hello is None:
            return []
        if reader.is_refused:
            error = TlsError("handshake failed: no application protocol")
            return [Answer(NO_APPLICATION_PROTOCOL), Refuse(error)]
        self._hello = None
        self.is_tls = True
        return [StartTls(hello)]
