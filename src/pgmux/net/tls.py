"""TLS on a connection that is there already: in the middle of a conversation, as PostgreSQL's
SSLRequest has it, or from its first byte on, when that has been read.

Errors: those of the handshake and of TLS later are given to the protocol's `connection_lost`, as a
`TlsError`.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable
from typing import Any

from pgmux.net._tls_cy import TlsTransport


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
