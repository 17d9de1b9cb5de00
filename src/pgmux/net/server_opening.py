"""How a connection to a server begins: with SSLRequest, a byte of answer, and TLS; or without.

`ServerOpening` is the base of the protocols that talk to a server first. The host name goes into
TLS in every mode (SNI), as libpq has it; it is what `host=` says, never an address that it was
resolved to.

Source: PostgreSQL, "SSL Session Encryption" (55.2.10); PgBouncer's reasons (src/server.c).
Errors: `ServerLoginFailed`, given to `on_failed`.
"""

from __future__ import annotations

import asyncio
import ssl
from dataclasses import dataclass, field
from typing import Any

from pgmux.config.model import SslMode
from pgmux.config.tls import TLS_NEEDED
from pgmux.errors import TlsError
from pgmux.net.dial import without_traceback
from pgmux.net.tls import start_tls
from pgmux.net.tls_context import TlsSide
from pgmux.session.server import REASON_CONN_CRASHED, ServerLoginFailed
from pgmux.wire import build

REASON_TLS_FAILED = "TLS startup failed"


@dataclass(frozen=True, slots=True)
class ServerTls:
    """TLS as it is asked for from one host; `name` is None where the host can't be one in TLS."""

    mode: SslMode
    context: ssl.SSLContext = field(repr=False)
    name: str | None


def server_tls(side: TlsSide, host: str | None) -> ServerTls | None:
    """What is asked of that `host=`; None where it is a Unix socket, or TLS is off."""
    if side.context is None or host is None or host[0] in "/@":
        return None
    return ServerTls(side.mode, side.context, _tls_name(host))


def is_tls_agreed(answer: bytes, mode: SslMode) -> bool:
    """What the server has answered to SSLRequest. Raises: ServerLoginFailed.

    What comes behind the answer came before encryption: anybody may have put it there, and who
    took it for the server's first encrypted bytes would believe it (CVE-2021-23222).
    """
    if answer[:1] not in (b"S", b"N"):
        # Also an ErrorResponse: its text is nobody's yet, so it isn't repeated.
        detail = f"bad sslreq answer: {answer[:1]!r} where S or N is expected"
        raise ServerLoginFailed("bad sslreq answer", detail=detail)
    if len(answer) > 1:
        raise ServerLoginFailed("received unencrypted data after SSL response")
    if answer == b"N" and mode in TLS_NEEDED:
        raise ServerLoginFailed("server refused SSL")
    return answer == b"S"


class ServerOpening(asyncio.Protocol):
    """See the module. `tls` is None, too, once the server has said that it goes without."""

    __slots__ = ("_is_asked", "tls", "transport")

    def __init__(self, tls: ServerTls | None) -> None:
        self.tls = tls
        self.transport: Any = None  # has the methods of a loop's transport, maybe not the class
        self._is_asked = False

    def on_open(self) -> None:
        """The server can be talked to on `transport`."""
        raise NotImplementedError

    def on_data(self, data: bytes) -> None:
        """The server has said this, after `on_open`."""
        raise NotImplementedError

    def on_failed(self, failure: ServerLoginFailed) -> None:
        """There will be no more; the transport is still to be closed where there is one."""
        raise NotImplementedError

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        if self.tls is None:
            self.on_open()
        else:
            self._is_asked = True
            self.transport.write(build.build_ssl_request())

    def data_received(self, data: bytes) -> None:
        if not self._is_asked:
            self.on_data(data)
            return
        self._is_asked = False
        assert self.tls is not None
        try:
            if is_tls_agreed(data, self.tls.mode):
                self._start_tls(self.tls)
            else:
                self.tls = None
                self.on_open()
        except ServerLoginFailed as error:
            self.on_failed(without_traceback(error))

    def connection_lost(self, error: Exception | None) -> None:
        if isinstance(error, TlsError):
            detail = f"TLS handshake error: {error}"
            self.on_failed(ServerLoginFailed(REASON_TLS_FAILED, detail=detail))
            return
        detail = f"{REASON_CONN_CRASHED} {error}" if error else ""
        self.on_failed(ServerLoginFailed(REASON_CONN_CRASHED, detail=detail))

    def _start_tls(self, tls: ServerTls) -> None:
        """Raises: ServerLoginFailed."""
        if tls.name is None and tls.context.check_hostname:
            # Python's ssl would look at no name at all then.
            detail = "TLS connect error: host is no name that a certificate can have"
            raise ServerLoginFailed(REASON_TLS_FAILED, detail=detail)
        try:
            self.transport = start_tls(
                self.transport,
                self,
                tls.context,
                server_side=False,
                server_hostname=tls.name,
                on_established=self.on_open,
            )
        except ValueError as error:  # what else OpenSSL has against the name; an SSLError is one
            detail = f"TLS connect error: {error}"
            raise ServerLoginFailed(REASON_TLS_FAILED, detail=detail) from error


def _tls_name(host: str) -> str | None:
    name = host.removesuffix(".")
    try:
        name.encode("idna")
    except UnicodeError:
        return None
    return None if not name or name.startswith(".") else name
