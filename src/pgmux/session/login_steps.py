"""What a client's login asks of its caller, in the order in which it is to be done.

`session.client` returns these; `net._client_connection_cy` does them.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from pgmux.auth.credentials import Credentials
from pgmux.auth.outside import OutsideLogin
from pgmux.auth.scram import Pbkdf2, ScramKeys
from pgmux.auth.tls_info import TlsInfo
from pgmux.errors import PoolerError, ProtocolViolation, TlsError
from pgmux.session.login_method import Way
from pgmux.session.startup import Startup


@dataclass(frozen=True, slots=True)
class Answer:
    """Write this to the client."""

    data: bytes


@dataclass(frozen=True, slots=True)
class StartTls:
    """Begin TLS, with the ClientHello that has been received; it is the login's `tls` once it is
    established."""

    received: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Derive:
    """Compute this away from the event loop, then call `on_computed`; read nothing meanwhile."""

    job: Pbkdf2


@dataclass(frozen=True, slots=True)
class Verify:
    """Ask LDAP or PAM, then call `on_verified`."""

    job: OutsideLogin


@dataclass(frozen=True, slots=True)
class LookUp:
    """Ask auth_query for this user, then call `on_looked_up`."""

    database: str
    user: str


@dataclass(frozen=True, slots=True)
class Unknown:
    """Nobody knows this user; its login goes on and fails at its end."""

    user: str


@dataclass(frozen=True, slots=True)
class Cancel:
    """A CancelRequest: do it and close."""

    pid: int
    key: bytes


@dataclass(frozen=True, slots=True)
class Attempted:
    """The startup packet is in order, the user is known or not; authentication begins."""


ATTEMPTED = Attempted()


@dataclass(frozen=True, slots=True)
class Judged:
    """An HBA line is for this login; which, and what method it says."""

    place: str
    method: str


@dataclass(frozen=True, slots=True)
class Refuse:
    """End the login with this, once the steps before it have been done."""

    error: PoolerError | ProtocolViolation | TlsError


@dataclass(frozen=True, slots=True)
class Enter:
    """Authenticated: write `answer`, and let it into the pool; `way` is how others like it come
    in.
    """

    startup: Startup
    credentials: Credentials
    scram_keys: ScramKeys | None
    answer: bytes = b""
    way: Way | None = None


@dataclass(frozen=True, slots=True)
class EnterConsole:
    """Authenticated for the admin console."""

    user: str
    is_admin: bool
    application_name: str
    tls: TlsInfo | None = None


LoginStep = (
    Answer
    | StartTls
    | Derive
    | Verify
    | LookUp
    | Unknown
    | Cancel
    | Attempted
    | Judged
    | Refuse
    | Enter
    | EnterConsole
)
