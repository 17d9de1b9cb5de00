"""Which method a client has to pass to log in: auth_type's, or that of an HBA line.

Source: PgBouncer's client.c finish_set_pool.
Errors: PoolerError, mostly AuthenticationFailed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from pgmux.auth.credentials import Credentials
from pgmux.auth.external import check_certificate, check_peer
from pgmux.auth.hba import Attempt, find_rule, is_refused_anyway
from pgmux.auth.outside import LdapLogin, OutsideLogin, PamLogin
from pgmux.auth.scram_usual import KnownScram
from pgmux.auth.secrets import parse_secret
from pgmux.auth.steps import AuthenticationFailed, Done
from pgmux.auth.tls_info import TlsInfo
from pgmux.config import AuthType, Config, Database
from pgmux.config.hba import ConnectionType, HbaMethod, HbaRule
from pgmux.config.ldap_options import LdapOptions
from pgmux.config.model import ADMIN_DATABASE

if TYPE_CHECKING:
    from pgmux.session._entry_cy import Entry
    from pgmux.session.login_steps import LoginStep

NONE = "none"  # no HBA line is for this login
ASKING_NOTHING = ("trust", "peer", "cert")
UNASKED = (AuthType.TRUST, AuthType.ANY)  # these ask nobody else, either
# Those that are no more than an exchange of messages with the client.
_EXCHANGES = frozenset(("any", "trust", "plain", "md5", "scram-sha-256"))
_NAMES = {HbaMethod.PASSWORD: "plain"}  # where auth_type has another word for it


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
    """`name` is NONE or auth_type's word, `peer` or `reject`; `rule` is the HBA line behind it,
    `origin` says for the log which line it is, or that none is for this login. `ldap` is what
    LDAP needs.
    """

    name: str
    rule: HbaRule | None = None
    origin: str = ""
    ldap: LdapOptions | None = None

    @property
    def is_outside(self) -> bool:
        """Whether it isn't decided here: LDAP or PAM is given the password."""
        return self.name in (AuthType.LDAP, AuthType.PAM)

    def outside_login(self, user: str, peer: Peer, password: bytes) -> OutsideLogin:
        """What LDAP or PAM is asked; `settle` has let it pass."""
        if self.name == AuthType.PAM:
            return PamLogin(user, password, peer.host)
        assert self.ldap is not None
        return LdapLogin(self.ldap, user, password)


@dataclass(slots=True)
class Way:
    """How a client is let in of whom nothing has to be asked of others: the method, and whose
    secret counts. `steps` are all there is to do, where the client isn't asked for anything;
    `question` is what to do up to its answer where that is SCRAM, and has been right before:
    `scram`.
    """

    method: Method
    found: Credentials
    steps: tuple[LoginStep, ...] = ()
    question: tuple[LoginStep, ...] = ()
    scram: KnownScram | None = field(default=None, repr=False)
    entry: Entry | None = None  # where they come in


def choose_method(config: Config, attempt: Attempt) -> Method:
    """The method for one login."""
    settings = config.settings
    if settings.auth_type is AuthType.LDAP:
        return Method(AuthType.LDAP, ldap=settings.auth_ldap_options)
    if settings.auth_type is not AuthType.HBA:
        return Method(settings.auth_type)
    rule = find_rule(config.hba, attempt)
    if rule is None:
        return Method(NONE, origin=f"no line of {settings.auth_hba_file} is for it: {attempt}")
    name = _NAMES.get(rule.method, rule.method)
    return Method(name, rule, f"by {rule.place}", rule.ldap)


def check_outside(method: Method, database: Database) -> None:
    """Raises: AuthenticationFailed where the database has other ways to know its users."""
    if database.auth_user is not None:
        reason = f"{method.name.upper()} can't be used together with database authentication"
        raise AuthenticationFailed("bouncer config error", reason)


def is_refused_unasked(config: Config, attempt: Attempt) -> bool:
    """Whether auth_query's answer can't help it."""
    return config.settings.auth_type is AuthType.HBA and is_refused_anyway(config.hba, attempt)


def find_console_user(method: Method, attempt: Attempt) -> Credentials | None:
    """User pgbouncer on the console, whom an HBA line may let in without a password and without an
    entry in auth_file.

    As before PgBouncer 1.23. A `trust` line must be meant: for Unix sockets, or with the user's
    name in it, not one for whoever comes over the network.
    """
    rule = method.rule
    if rule is None or (attempt.database, attempt.user) != (ADMIN_DATABASE, ADMIN_DATABASE):
        return None
    is_meant = rule.type is ConnectionType.LOCAL or ADMIN_DATABASE in rule.users.names
    if method.name in ("peer", "cert") or (method.name == "trust" and is_meant):
        return Credentials(ADMIN_DATABASE, parse_secret(""))
    return None


def settle(
    method: Method,
    login: Credentials,
    peer: Peer,
    tls: TlsInfo | None,
    os_user: Callable[[int], str | None],
) -> Done | None:
    """Do what takes no exchange with the client; None where one is to follow.

    `os_user` is the name that belongs to a uid. Raises: AuthenticationFailed.
    """
    if method.name in _EXCHANGES:
        return None
    ident = None if method.rule is None else method.rule.ident
    match method.name:
        case AuthType.LDAP if method.ldap is None:
            if method.rule is None:
                raise AuthenticationFailed("auth_ldap_options is null")
            raise AuthenticationFailed("bouncer config error", "the line's LDAP options are wrong")
        case "none":
            raise AuthenticationFailed("no authentication method is found")
        case "reject":
            raise AuthenticationFailed("login rejected")
        case "cert":
            check_certificate(login, tls, ident)
        case "peer":
            check_peer(login, os_user(peer.uid) if peer.is_unix else None, ident)
        case _:
            return None
    return Done()
