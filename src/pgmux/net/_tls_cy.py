"""HOT: TLS between a connected transport and a protocol: `TlsTransport` is the one's protocol and
the other's transport, with the methods that `net._transport_cy.Transport` has.

OpenSSL works on memory, as what a direct TLS client says first has been read when one knows that it
is TLS. A chunk that comes is decrypted as a whole and handed on in one call, so nothing readable
ever waits inside; what is written is encrypted at once and sent in one write, so what can't be sent
waits in the transport below, whose water marks these are.

Source: RFC 8446 and 5246; OpenSSL's SSL_read and SSL_write as the `ssl` module has them.
Errors: `TlsError`, given to `connection_lost`; a peer that goes away without close_notify has ended
well, as for PgBouncer.
"""

from __future__ import annotations

import contextlib
import ssl
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from pgmux.errors import TlsError
from pgmux.net.tls_reason import reason_of

if TYPE_CHECKING:
    from pgmux import _cython as cython
else:
    try:
        import cython
    except ModuleNotFoundError:
        from pgmux import _cython as cython

RECORD_LEN = cython.declare(cython.int, 16384)  # of plaintext, at most
# Bytes of TLS's own answers (to KeyUpdates, renegotiations) that wait for a peer that doesn't read;
# beyond that it is cut off, as nothing else bounds what it can ask for.
MAX_ANSWERS_LEN = cython.declare(cython.int, 65536)

# Where OpenSSL reads and writes, for all connections: both are empty whenever none is in the middle
# of a call. A pair of its own would keep, for each connection, room for the longest chunk it ever
# had.
_INCOMING = cython.declare(object, ssl.MemoryBIO())
_OUTGOING = cython.declare(object, ssl.MemoryBIO())


@cython.cclass
class TlsTransport:
    """One side of a TLS connection. The transport below it (`raw`) gets it as its protocol.

    It begins with `data_received` of what has come already, maybe nothing. Until the handshake is
    done nothing can be written; then `on_established` is called, or `protocol.connection_made`.
    """

    established: cython.bint
    partial: cython.bint  # OpenSSL may have the beginning of a record
    over: cython.bint  # close_notify has come, or an error
    closing: cython.bint
    answers_len: cython.Py_ssize_t  # since the transport below was last seen empty
    tls: Any  # an ssl.SSLObject
    stream: Any  # what that is around: the same methods, without a Python call each
    raw: Any
    protocol: Any
    receive: Callable[[bytes], None]
    on_established: Callable[[], object] | None
    error: TlsError | None
    __weakref__ = cython.declare(object)

    def __init__(
        self,
        raw: Any,
        protocol: Any,
        context: ssl.SSLContext,
        *,
        server_side: bool,
        server_hostname: str | None,
        on_established: Callable[[], object] | None,
    ) -> None:
        self.tls = context.wrap_bio(_INCOMING, _OUTGOING, server_side, server_hostname)
        self.stream = getattr(self.tls, "_sslobj", self.tls)
        self.established = self.partial = self.over = self.closing = False
        self.answers_len = 0
        self.error = None
        self.raw = raw
        self.on_established = on_established
        self.set_protocol(protocol)
        raw.set_protocol(self)

    # ---- the transport

    def set_protocol(self, protocol: Any) -> None:
        """What is received from now on goes to `protocol`."""
        self.protocol = protocol
        self.receive = protocol.data_received

    def get_protocol(self) -> Any:
        return self.protocol

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """The connection's "ssl_object", "cipher", "peercert" under asyncio's names, else what the
        transport below knows.
        """
        tls, raw = self.tls, self.raw
        if raw is None:
            return default
        if name == "ssl_object":
            return tls
        if name == "cipher":
            return tls.cipher()
        if name == "peercert":
            return tls.getpeercert() if self.established else default
        return raw.get_extra_info(name, default)

    def is_closing(self) -> bool:
        return self.closing or self.raw is None or self.raw.is_closing()

    def is_reading(self) -> bool:
        return not self.closing and self.raw is not None and self.raw.is_reading()

    def pause_reading(self) -> None:
        if self.raw is not None:
            self.raw.pause_reading()

    def resume_reading(self) -> None:
        if self.raw is not None:
            self.raw.resume_reading()

    def get_write_buffer_size(self) -> int:
        """Bytes, encrypted, that are not on the wire yet."""
        return 0 if self.raw is None else self.raw.get_write_buffer_size()

    def write(self, data: bytes) -> None:
        """Encrypt and send. Before the handshake is done it is dropped: nobody could read it."""
        if self.closing or not self.established or not data:
            return
        try:
            sent: cython.Py_ssize_t = self.stream.write(data)
            if sent < len(data):
                self._encrypt(data, sent)
        except ssl.SSLError as error:
            self._fail("write", error)
            self._send()
            self._end()
            return
        except Exception:
            _OUTGOING.read()  # or the next connection would send it
            self.abort()
            raise
        self.raw.write(_OUTGOING.read())

    def close(self) -> None:
        """Send what is unsent and close_notify, and close; `connection_lost` comes later."""
        if self.closing:
            return
        self.closing = True
        raw = self.raw
        if raw is None:
            return
        if self.established and self.error is None and not raw.is_closing():
            # Its peer need not answer, which is what the error is that always comes.
            with contextlib.suppress(ssl.SSLError):
                self.tls.unwrap()
            self._send()
        raw.close()

    def abort(self) -> None:
        """Close without sending what is unsent; `connection_lost` comes later."""
        self.closing = True
        if self.raw is not None:
            self.raw.abort()

    # ---- the protocol of the transport below

    def connection_made(self, transport: Any) -> None:
        """Never called: it takes over a transport that is connected."""

    def eof_received(self) -> None:
        """The transport closes itself."""

    def pause_writing(self) -> None:
        self.protocol.pause_writing()

    def resume_writing(self) -> None:
        self.protocol.resume_writing()

    def data_received(self, data: bytes) -> None:
        """Encrypted bytes: what can be read after them goes on in one call."""
        if self.closing:
            return
        was_established: cython.bint = self.established
        plain = self._decrypt(data)
        if _OUTGOING.pending:
            self._answer()
        if self.established and not was_established:
            on_established, self.on_established = self.on_established, None
            if on_established is None:
                self.protocol.connection_made(self)
            else:
                on_established()
        if plain and not self.closing:
            self.receive(plain)
        if self.over and not self.closing:
            self._end()

    def connection_lost(self, error: Exception | None) -> None:
        """The transport below is gone."""
        if self.error is None and not self.established and not self.closing:
            reason = "unexpected eof while reading" if error is None else reason_of(error)
            self.error = TlsError(f"handshake failed: {reason}")
        if self.error is not None:
            error = self.error
        protocol = self.protocol
        self.closing = True
        self.protocol = self.raw = self.tls = self.stream = None
        self.on_established = self.error = None
        self.receive = _nobody
        protocol.connection_lost(error)

    # ---- inside

    @cython.cfunc
    def _decrypt(self, data: bytes) -> bytes:
        """All that can be read now; the beginning of a record stays in OpenSSL."""
        pieces: list[bytes] | None = None
        plain = b""
        stream = self.stream
        # Plaintext is shorter than its record; asking for no more than can come costs less.
        size: cython.Py_ssize_t = len(data)
        if self.partial or size > RECORD_LEN:
            size = RECORD_LEN
        self.partial = False
        is_empty: cython.bint = not data  # _INCOMING is known to be
        _INCOMING.write(data)
        try:
            if not self.established:
                stream.do_handshake()
                self.established = True
                is_empty = not _INCOMING.pending
            while not is_empty:
                piece: bytes = stream.read(size)
                if not piece:
                    self.over = True
                    break
                if not plain:
                    plain = piece
                elif pieces is None:
                    pieces = [plain, piece]
                else:
                    pieces.append(piece)
                is_empty = not _INCOMING.pending
        except ssl.SSLWantReadError:
            self.partial = True
        except ssl.SSLError as error:
            self._fail("read" if self.established else "handshake", error)
        except Exception:  # ends this connection; the next one is not to send what it had to say
            _OUTGOING.read()
            raise
        finally:
            if not is_empty and _INCOMING.pending:
                _INCOMING.read()
        return plain if pieces is None else b"".join(pieces)

    @cython.cfunc
    def _encrypt(self, data: bytes, sent: cython.Py_ssize_t) -> None:
        """The rest of what is longer than a record, from `sent` on. Raises: SSLError."""
        view = memoryview(data)
        size: cython.Py_ssize_t = len(data)
        while sent < size:
            sent += self.stream.write(view[sent:])

    @cython.cfunc
    def _send(self) -> None:
        """Send what OpenSSL has written."""
        if _OUTGOING.pending:
            self.raw.write(_OUTGOING.read())

    @cython.cfunc
    def _answer(self) -> None:
        """Send what OpenSSL has to say by itself, unless it is too much for who doesn't read."""
        answer: bytes = _OUTGOING.read()
        if self.raw.get_write_buffer_size() == 0:
            self.answers_len = 0
        self.answers_len += len(answer)
        if self.answers_len <= MAX_ANSWERS_LEN:
            self.raw.write(answer)
        else:
            self.error = TlsError("write failed: the peer asks for answers and reads none")
            self.over = True

    @cython.cfunc
    def _fail(self, what: str, error: Exception) -> None:
        """TLS is broken for good; the alert that says so to the peer is in _OUTGOING."""
        self.error = TlsError(f"{what} failed: {reason_of(error)}")
        self.over = True

    @cython.cfunc
    def _end(self) -> None:
        """The peer has ended TLS, or we can't go on: close, whatever is still unsent."""
        if self.raw.get_write_buffer_size() > 0:
            self.abort()
        else:
            self.close()


def _nobody(data: bytes) -> None:
    """Where bytes go that a closed connection still had."""
