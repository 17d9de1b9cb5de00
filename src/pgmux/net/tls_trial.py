"""A handshake in memory, before anybody comes: settings may each be good and leave nothing
together, as ciphers for another kind of certificate do, or TLS 1.1 at OpenSSL's security level.

Errors: none; what went wrong is returned.
"""

from __future__ import annotations

import ssl

from pgmux.net.tls_reason import reason_of

_ROUNDS = 4  # two of them are for a key exchange that the client guessed wrong


def why_unusable(server: ssl.SSLContext) -> str:
    """What keeps every client out, whatever it offers; "" where one could come in."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    client_end = _anybody().wrap_bio(to_client, to_server, server_side=False)
    server_end = server.wrap_bio(to_server, to_client, server_side=True)
    for _ in range(_ROUNDS):
        for end in (client_end, server_end):
            try:
                end.do_handshake()
            except ssl.SSLWantReadError:
                continue
            except ssl.SSLError as error:
                is_asked_for_a_certificate = error.reason == "PEER_DID_NOT_RETURN_A_CERTIFICATE"
                return "" if is_asked_for_a_certificate else reason_of(error)
    return ""


def _anybody() -> ssl.SSLContext:
    """A client that takes whatever OpenSSL has, from whomever."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
    context.set_ciphers("ALL:@SECLEVEL=0")
    return context
