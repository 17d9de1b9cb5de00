"""Our login to a server on a transport: carries out the steps of `session.server.ServerLogin`.

Errors: none; `ended` says how it went.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from pgmux.auth.steps import Compute, Send
from pgmux.auth.tls_info import TlsInfo
from pgmux.net.compute import Computer, TooManyJobs
from pgmux.net.dial import without_traceback
from pgmux.net.server_opening import ServerOpening, ServerTls
from pgmux.net.sockets import Addresses, read_addresses
from pgmux.net.tls import tls_info
from pgmux.session.server import LoggedIn, LoginStep, ServerLogin, ServerLoginFailed

OnLoggedIn = Callable[[asyncio.Transport, LoggedIn], None]


class LoginProtocol(ServerOpening):
    """Carries out a ServerLogin on a transport. `ended` becomes None, or why there is no login.

    `on_tls` is called once TLS is established.
    """

    __slots__ = ("_computer", "_login", "_on_logged_in", "_on_tls", "ended")

    def __init__(
        self,
        login: ServerLogin,
        computer: Computer,
        tls: ServerTls | None,
        on_tls: Callable[[TlsInfo], None],
        on_logged_in: OnLoggedIn,
    ) -> None:
        super().__init__(tls)
        self._on_tls = on_tls
        self._on_logged_in: OnLoggedIn | None = on_logged_in
        self._computer = computer
        self._login: ServerLogin | None = login
        self.ended: asyncio.Future[ServerLoginFailed | None] = asyncio.Future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        if self._login is None:
            self.transport.abort()

    def on_open(self) -> None:
        """Begin the login."""
        if self._login is None:
            return
        if self.tls is not None:
            info = tls_info(self.transport)
            self._login.end_point = info.end_point
            self._on_tls(info)
        self.transport.write(self._login.first())

    def ends(self, port: int) -> Addresses | None:
        """Both addresses, while the connection is open; `port` names a Unix socket's."""
        transport = self.transport
        if transport is None or transport.is_closing():
            return None
        return read_addresses(transport.get_extra_info("socket"), port)

    def on_data(self, data: bytes) -> None:
        """The server's messages."""
        if self._login is not None:
            self._advance(self._login.feed, data)

    def abandon(self) -> None:
        """Close, unless the login is over."""
        self._login = self._on_logged_in = None
        if self.transport is not None:
            self.transport.abort()
            self.transport = None

    def _on_computed(self, result: bytes) -> None:
        if self._login is not None and self.transport is not None:
            self.transport.resume_reading()
            self._advance(self._login.on_computed, result)

    def _advance(self, advance: Callable[[bytes], list[LoginStep]], data: bytes) -> None:
        try:
            for step in advance(data):
                self._do(step)
        except ServerLoginFailed as error:
            self.on_failed(without_traceback(error))
        except TooManyJobs as error:
            self.on_failed(ServerLoginFailed(str(error)))

    def _do(self, step: LoginStep) -> None:
        transport = self.transport
        assert transport is not None
        if isinstance(step, Send):
            transport.write(step.data)
        elif isinstance(step, Compute):
            transport.pause_reading()
            self._computer.submit(step.job, self._on_computed)
        else:
            on_logged_in = self._on_logged_in
            self._login = self._on_logged_in = self.transport = None
            self.ended.set_result(None)
            if on_logged_in is not None:
                on_logged_in(transport, step)

    def on_failed(self, failure: ServerLoginFailed) -> None:
        """Close, and say so in `ended`."""
        if self._login is not None:
            self.abandon()
            self.ended.set_result(failure)
