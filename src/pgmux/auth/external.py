"""Methods in which somebody else vouches for who the client is: `cert`, a CA; `peer`, the kernel.

With a map, one of its lines must lead from a name that is vouched for to the user; without one, the
name must be the user's. Source: PgBouncer's client.c login_via_cert and login_as_unix_peer. A
certificate's names count without regard to case, as there; unlike there, a name with `*` is no
user's.
Errors: AuthenticationFailed.
"""

from __future__ import annotations

from collections.abc import Callable

from pgmux.auth.credentials import Credentials
from pgmux.auth.steps import AuthenticationFailed
from pgmux.auth.tls_info import TlsInfo
from pgmux.config.hba import IdentMap

_CERT_FAILED = "certificate authentication failed"
_PEER_FAILED = "unix socket login rejected"


def check_certificate(login: Credentials, tls: TlsInfo | None, ident: IdentMap | None) -> None:
    """Returns where the client's certificate is the user's. Raises: AuthenticationFailed."""
    if tls is None:
        raise AuthenticationFailed(_CERT_FAILED, "TLS connection required")
    if tls.subject is None:
        raise AuthenticationFailed(_CERT_FAILED, "TLS client certificate required")
    if login.secret is None:
        raise AuthenticationFailed(_CERT_FAILED)
    names = {_folded(name) for name in tls.names if "*" not in name}
    if _is_vouched(login.user, lambda name: _folded(name) in names, ident):
        return
    if ident is None:
        reason = f"TLS certificate name mismatch: it is {tls.subject}"
    else:
        reason = f"ident map: {ident.name} does not have a match for {tls.subject}"
    raise AuthenticationFailed(_CERT_FAILED, reason)


def check_peer(login: Credentials, os_user: str | None, ident: IdentMap | None) -> None:
    """Returns where the process at the other end is of the user; `os_user` is whose it is, None
    where that isn't known. Raises: AuthenticationFailed.
    """
    if os_user is None:
        raise AuthenticationFailed(_PEER_FAILED, "peer: the operating system's user is not known")
    if login.secret is None:
        raise AuthenticationFailed(_PEER_FAILED)
    if _is_vouched(login.user, lambda name: name == os_user, ident):
        return
    if ident is None:
        reason = f"peer: the operating system's user is {os_user}"
    else:
        reason = f"ident map {ident.name} cannot be matched for {os_user}"
    raise AuthenticationFailed(_PEER_FAILED, reason)


def _is_vouched(user: str, is_proved: Callable[[str], bool], ident: IdentMap | None) -> bool:
    if ident is None:
        return is_proved(user)
    return any(
        is_proved(mapping.system_user) and mapping.user in (None, user)
        for mapping in ident.mappings
    )


def _folded(name: str) -> bytes:
    """ASCII letters alone are folded: elsewhere two names could become one."""
    return name.encode("utf-8", "surrogateescape").lower()
