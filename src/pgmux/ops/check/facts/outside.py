"""What answers at an address, as somebody sees it who can't log in."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import Enum


class Answers(Enum):
    """Who answers."""

    POSTGRESQL = "PostgreSQL"
    PGBOUNCER = "PgBouncer"
    PGMUX = "pgmux, or a PgBouncer newer than 1.25.2"
    POOLER = "a pooler: PgBouncer or pgmux"
    UNKNOWN = "something that speaks PostgreSQL's protocol"
    ELSE = "something else"
    SILENT = "something that accepts connections and says nothing"
    CLOSED = "nobody: the port is closed (refused)"
    FILTERED = "nobody: no answer at all (filtered, or the host is off)"
    UNREACHABLE = "nobody: there is no way there"


SPEAKS = frozenset(
    (Answers.POSTGRESQL, Answers.PGBOUNCER, Answers.PGMUX, Answers.POOLER, Answers.UNKNOWN)
)


class Asks(Enum):
    """What a login is asked for."""

    NOTHING = "nothing: it is let in (trust)"
    CLEARTEXT = "the password in clear"
    MD5 = "a password by MD5"
    SCRAM = "a password by SCRAM-SHA-256"
    GSS = "Kerberos (GSSAPI or SSPI)"
    REFUSED = "nothing: it is refused"
    UNKNOWN = "something unknown"


@dataclass(frozen=True, slots=True)
class CertificateFacts:
    """`fault`: why a client that verifies it would refuse, "" where it wouldn't."""

    fault: str
    not_after: datetime | None
    days_left: int | None


@dataclass(frozen=True, slots=True)
class OutsideFacts:
    """`address` is host:port that was reached, `detail` what was said, or why nothing was.

    `asks`: what `user` is asked for on the best way that is offered; `asks_in_clear`: without TLS,
    None where that wasn't tried. `is_direct_tls`: TLS from the first byte on alone.
    """

    asked: str
    user: str
    address: str
    is_loopback: bool
    answers: Answers
    detail: str = ""
    version: str = ""
    has_tls: bool = False
    is_direct_tls: bool = False
    tls_version: str = ""
    wants_certificate: bool = False
    certificate: CertificateFacts | None = None
    asks: Asks | None = None
    asks_in_clear: Asks | None = None
    refusal: str = ""
    connections: int = 0

    @property
    def insists_on_tls(self) -> bool:
        """Whether nobody comes in without it."""
        return self.has_tls and (self.is_direct_tls or self.asks_in_clear is Asks.REFUSED)
