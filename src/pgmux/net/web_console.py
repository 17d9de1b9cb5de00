"""The web process's console, on the socket pair that it has inherited: nobody logs in on it.

It may only look, and a command that has a token in front may do what that allows. It is one
connection for all who look at metrics and dashboard, so nothing waits on it: PAUSE and WAIT_CLOSE
are answered when they have begun. It is no client: no limit counts it, SHOW CLIENTS doesn't have
it (SHOW WEB does), and its queries aren't in SHOW STATS.
"""

from __future__ import annotations

import asyncio

from pgmux.admin.console import Console, Elevate, Errors, Reply
from pgmux.admin.pooler import AdminPooler
from pgmux.net.console_connection import Conversation
from pgmux.session.log import Name
from pgmux.session.pooler import Pooler


class WebConsole(Conversation):
    """See the module; `elevate` decides about tokens."""

    def __init__(self, pooler: Pooler, admin: AdminPooler, elevate: Elevate) -> None:
        super().__init__(pooler, Console(admin, is_admin=False, elevate=elevate))

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def close(self) -> None:
        """End it from our side."""
        if self.is_open and self._transport is not None:
            self._transport.abort()
        self.is_open = False

    def _do(self, reply: Reply) -> None:
        super()._do(reply)
        if reply.waiting is not None and reply.waiting.command != "SHUTDOWN":
            self._advance(self._console.complete)

    def _on_end(self, reason: str) -> None:
        """Its process has ended, or is about to: that is looked at by who started it."""

    def _note_errors(self, errors: Errors) -> None:
        for _, message in errors:
            text = f"pooler error: {message} (the web process's console)"
            self._pooler.log.warning(text, limit="pooler error")

    def _name(self) -> Name | None:
        return None
