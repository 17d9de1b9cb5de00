"""Our login to a server on a transport: carries out the steps of `session.server.ServerLogin`.

Errors: none; `ended` says how it went.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import cast

from pgmux.auth.steps import Compute, Send
from pgmux.net.compute import Computer, TooManyJobs
from pgmux.net.dial import without_traceback
from pgmux.net.sockets import Addresses, read_addresses
from pgmux.session.server import (
    REASON_CONN_CRASHED,
    LoggedIn,
    LoginStep,
    ServerLogin,
    ServerLoginFailed,
)

OnLoggedIn = Callable[[asyncio.Transport, LoggedIn], None]


class LoginProtocol(asyncio.Protocol):
    """Carries out a ServerLogin on a transport. `ended` becomes None, or why there is no login."""

    __slots__ = ("_computer", "_login", "_on_logged_in", "_transport", "ended")

    def __init__(self, login: ServerLogin, computer: Computer, on_logged_in: OnLoggedIn) -> None:
        self._on_logged_in: OnLoggedIn | None = on_logged_in
        self._computer = computer
        self._login: ServerLogin | None = login
        self._transport: asyncio.Transport | None = None
        self.ended: asyncio.Future[ServerLoginFailed | None] = asyncio.Future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # No isinstance: a loop's transports have the methods, maybe not the base class.
        self._transport = transport = cast(asyncio.Transport, transport)
        if self._login is None:
            transport.abort()
            return
        transport.write(self._login.first())

    def ends(self, port: int) -> Addresses | None:
        """Both addresses, while the connection is open; `port` names a Unix socket's."""
        transport = self._transport
        if transport is None or transport.is_closing():
            return None
        return read_addresses(transport.get_extra_info("socket"), port)

    def data_received(self, data: bytes) -> None:
        if self._login is not None:
            self._advance(self._login.feed, data)

    def connection_lost(self, error: Exception | None) -> None:
        detail = f"{REASON_CONN_CRASHED} {error}" if error else ""
        self._fail(ServerLoginFailed(REASON_CONN_CRASHED, detail=detail))

    def abandon(self) -> None:
        """Close, unless the login is over."""
        self._login = self._on_logged_in = None
        if self._transport is not None:
            self._transport.abort()
            self._transport = None

    def _on_computed(self, result: bytes) -> None:
        if self._login is not None and self._transport is not None:
            self._transport.resume_reading()
            self._advance(self._login.on_computed, result)

    def _advance(self, advance: Callable[[bytes], list[LoginStep]], data: bytes) -> None:
        try:
            for step in advance(data):
                self._do(step)
        except ServerLoginFailed as error:
            self._fail(without_traceback(error))
        except TooManyJobs as error:
            self._fail(ServerLoginFailed(str(error)))

    def _do(self, step: LoginStep) -> None:
        transport = self._transport
        assert transport is not None
        if isinstance(step, Send):
            transport.write(step.data)
        elif isinstance(step, Compute):
            transport.pause_reading()
            self._computer.submit(step.job, self._on_computed)
        else:
            on_logged_in = self._on_logged_in
            self._login = self._on_logged_in = self._transport = None
            self.ended.set_result(None)
            if on_logged_in is not None:
                on_logged_in(transport, step)

    def _fail(self, failure: ServerLoginFailed) -> None:
        if self._login is not None:
            self.abandon()
            self.ended.set_result(failure)
