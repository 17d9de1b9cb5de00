"""What all clients' logins share, and the logins that are under way; each of these is a
`ClientConnection`.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from enum import Enum, auto
from itertools import takewhile
from typing import TYPE_CHECKING, Protocol

from pgmux.net.compute import Computer
from pgmux.net.verifier import Verifier
from pgmux.session._entry_cy import Entries
from pgmux.session.client import LoginContext
from pgmux.session.identity import Ends
from pgmux.session.login_steps import EnterConsole
from pgmux.session.lookups import Lookups
from pgmux.session.peers import Forward
from pgmux.session.pooler import OnCancelled, Pooler
from pgmux.session.turns import in_turns

if TYPE_CHECKING:
    from pgmux.net._client_connection_cy import ClientConnection


class Consoles(Protocol):
    """The admin console's side; `net.console_connection.Consoles`."""

    def __call__(
        self, transport: asyncio.Transport, addresses: Ends, step: EnterConsole, id_: int
    ) -> asyncio.Protocol:
        """The protocol that a console client's transport goes on with, welcome sent."""

    def cancel(self, pid: int, key: bytes) -> bool:
        """Cancel a console's waiting command; False where the key is not a console's."""


class Admission(Enum):
    """Whom the pooler lets in, besides the console's users."""

    OPEN = auto()
    LAST = auto()  # shutting down: who has come by now, and who still comes over TCP
    SHUT = auto()


class Door:
    """What all logins share, and the logins that are under way."""

    __slots__ = (
        "admission",
        "computer",
        "consoles",
        "context",
        "entries",
        "logins",
        "lookups",
        "pooler",
        "tls_context",
        "verifier",
    )

    def __init__(
        self,
        pooler: Pooler,
        context: LoginContext,
        computer: Computer,
        verifier: Verifier,
        consoles: Consoles,
        tls_context: Callable[[], ssl.SSLContext | None],
    ) -> None:
        self.pooler = pooler
        self.context = context
        self.entries = Entries(pooler, context.startups)
        self.tls_context = tls_context  # None where clients have no TLS
        self.computer = computer
        self.verifier = verifier
        self.consoles = consoles
        self.lookups = Lookups(pooler, lambda f: asyncio.get_running_loop().call_soon(f))
        self.logins: dict[ClientConnection, None] = {}
        self.admission = Admission.OPEN

    def expected_count(self) -> int:
        """Logins under way that may still become clients."""
        return sum(not connection.is_late for connection in self.logins)

    def cancel(self, pid: int, key: bytes, on_done: OnCancelled) -> Forward | None:
        """Do what a CancelRequest asks for; `on_done` is told why its connection closes."""
        if self.consoles.cancel(pid, key):
            on_done("cancel request for console client")
            return None
        return self.pooler.cancel(pid, key, on_done)

    def end_slow_logins(self, timeout: float, now: float) -> None:
        """client_login_timeout."""
        # They stand in the order in which they came.
        late = list(takewhile(lambda c: now - c.connect_time > timeout, self.logins))
        if late:
            in_turns(asyncio.get_running_loop().call_later, late, _close_slow)
        self.lookups.end_slow(timeout, now)


def _close_slow(connection: ClientConnection) -> None:
    connection.close("client_login_timeout")
