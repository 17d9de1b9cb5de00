"""What an authentication exchange asks of its caller, and how it fails.

Both exchanges (`client_auth`, `server_auth`) answer every event with one `Step`:

* `Send`     write `data` and wait for the peer's next authentication message
* `Compute`  run `job.run()` off the event loop and hand its result to `on_computed()`;
             don't read from the peer meanwhile
* `Verify`   (clients only) ask LDAP or PAM and hand the answer to `on_verified()`
* `Done`     the peer is authenticated (or has authenticated us)

A refusal is an `AuthenticationFailed`; the exchange is over then.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from pgmux.auth.outside import OutsideLogin
from pgmux.auth.scram import Pbkdf2, ScramKeys
from pgmux.errors import PoolerError


@dataclass(frozen=True, slots=True)
class Send:
    """A whole message for the peer; empty when only its next message is to be waited for."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Compute:
    """A key derivation that is too slow for the event loop."""

    job: Pbkdf2


@dataclass(frozen=True, slots=True)
class Verify:
    """A question to somebody who may take long to answer."""

    job: OutsideLogin


@dataclass(frozen=True, slots=True)
class Done:
    """Authenticated. `send` goes out before AuthenticationOk.

    `scram_keys` logs in to a server whose secret for this user is the same; `password` is set
    where the client sent it in clear.
    """

    send: bytes = b""
    scram_keys: ScramKeys | None = None
    password: str | None = field(default=None, repr=False)


Step = Send | Compute | Done


class AuthenticationFailed(PoolerError):
    """A refused login. `message` is what a client is told, `reason` is for the log alone."""

    def __init__(self, message: str, reason: str = "") -> None:
        super().__init__(message)
        self.reason = reason or message
