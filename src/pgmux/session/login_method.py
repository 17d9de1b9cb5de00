"""Which method a client has to pass to log in.

Source: PgBouncer's client.c finish_set_pool.
Errors: PoolerError.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from pgmux.auth.outside import LdapLogin, OutsideLogin, PamLogin
from pgmux.auth.steps import AuthenticationFailed
from pgmux.config import AuthType, Config, Database
from pgmux.config.ldap_options import LdapOptions
from pgmux.errors import PoolerError

_SUPPORTED = (
    *(AuthType.ANY, AuthType.TRUST, AuthType.PLAIN, AuthType.MD5, AuthType.SCRAM_SHA_256),
    *(AuthType.LDAP, AuthType.PAM),
)


class Peer(Protocol):
    """Where a client comes from; `net.sockets.Address` is one. `str()` of it is as in the log.

    `uid` is that of the process at the other end of a Unix socket, -1 where unknown.
    """

    @property
    def host(self) -> str: ...
    @property
    def is_unix(self) -> bool: ...
    @property
    def uid(self) -> int: ...


@dataclass(frozen=True, slots=True)
class Method:
    """`name` is one that `auth.client_auth` knows, or "ldap", with its options, or "pam"."""

    name: str
    ldap: LdapOptions | None = None

    @property
    def is_outside(self) -> bool:
        """Whether it isn't decided here: LDAP or PAM is given the password."""
        return self.name in (AuthType.LDAP, AuthType.PAM)

    def outside_login(self, user: str, peer: Peer, password: bytes) -> OutsideLogin:
        """What LDAP or PAM is asked."""
        if self.ldap is not None:
            return LdapLogin(self.ldap, user, password)
        return PamLogin(user, password, peer.host)


def choose_method(config: Config) -> Method:
    """The method for one login. Raises: PoolerError for what can't be done."""
    auth_type = config.settings.auth_type
    if auth_type not in _SUPPORTED:
        raise PoolerError(f"not yet supported: auth_type = {auth_type}")
    if auth_type is AuthType.LDAP:
        if config.settings.auth_ldap_options is None:
            raise PoolerError("auth_ldap_options is null")
        return Method(auth_type, config.settings.auth_ldap_options)
    return Method(auth_type)


def check_outside(method: Method, database: Database) -> None:
    """Raises: AuthenticationFailed where the database has other ways to know its users."""
    if database.auth_user is not None:
        reason = f"{method.name.upper()} can't be used together with database authentication"
        raise AuthenticationFailed("bouncer config error", reason)
