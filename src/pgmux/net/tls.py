"""TLS on a connection that is there already: in the middle of a conversation, as PostgreSQL's
SSLRequest has it, or from its first byte on, when that has been read.

Errors: those of the handshake and of TLS later are given to the protocol's `connection_lost`, as a
`TlsError`.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable, Mapping
from typing import Any

from pgmux.auth.tls_info import TlsInfo
from pgmux.net._tls_cy import TlsTransport
from pgmux.net.tls_context import OwnContext
from pgmux.net.x509 import read_certificate

# As OpenSSL abbreviates them; Python has the long names.
_SHORT = {
    "commonName": "CN",
    "countryName": "C",
    "localityName": "L",
    "organizationName": "O",
    "organizationalUnitName": "OU",
    "stateOrProvinceName": "ST",
}


def start_tls(
    transport: Any,
    protocol: Any,
    context: ssl.SSLContext,
    *,
    server_side: bool,
    server_hostname: str | None = None,
    received: bytes = b"",
    on_established: Callable[[], object] | None = None,
) -> Any:
    """Put TLS between a connected transport and `protocol`; the transport that this is for it.

    `received` is what has come already and belongs to TLS. When the handshake is done
    `on_established` is called, or without one `protocol.connection_made`; what is written before is
    dropped. `protocol` is never called before this returns, save by these where `received` holds
    the whole handshake.
    """
    # Any: the transports of the loops have the methods, maybe not asyncio's base class.
    tls = TlsTransport(
        transport,
        protocol,
        context,
        server_side=server_side,
        server_hostname=server_hostname,
        on_established=on_established,
    )
    tls.data_received(received)
    return tls


def tls_info(transport: Any) -> TlsInfo:
    """What is known of an established connection, and of who is at its other end."""
    tls: ssl.SSLObject = transport.get_extra_info("ssl_object")
    cipher = tls.cipher()
    subject, names = _certificate(tls.getpeercert() or {})
    name = cipher[0] if cipher else ""
    return TlsInfo(tls.version() or "", name, subject, names, _end_point(tls))


def _end_point(tls: ssl.SSLObject) -> bytes:
    """The binding to the certificate of whichever side is the TLS server."""
    if tls.server_side:
        context = tls.context
        return context.end_point if isinstance(context, OwnContext) else b""
    try:
        return read_certificate(tls.getpeercert(binary_form=True) or b"").end_point()
    except ValueError:
        return b""


def _certificate(certificate: Mapping[str, Any]) -> tuple[str | None, tuple[str, ...]]:
    """A certificate's subject, as `/O=Example/CN=bob`, and its names; see `TlsInfo`."""
    if not certificate:
        return None, ()
    subject = [pair for rdn in certificate.get("subject", ()) for pair in rdn]
    common = [value for kind, value in subject if kind == "commonName"][:1]
    other = [
        name
        for kind, name in certificate.get("subjectAltName", ())
        if kind in ("DNS", "IP Address")
    ]
    text = "".join(f"/{_SHORT.get(kind, kind)}={value}" for kind, value in subject)
    return text, tuple(name for name in (*common, *other) if "\0" not in name)
