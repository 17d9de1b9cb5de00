"""Connects under way: begun for a pool's queue or for one replication client alone, and what
becomes of them: a server that starts to work, or a failure that those who wait are told of.

Who may have a connect is decided in `places`; sockets are the caller's (`Outside.connect`).
Source: PgBouncer's launch_new_connection, activate_client and disconnect_server in outline.
Errors: none.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

from pgmux.pool.pool import Failure
from pgmux.pool.states import CL_WAITING
from pgmux.session import dedicated, places
from pgmux.session._relay_cy import ClientRelay, ServerRelay
from pgmux.session.identity import ServerInfo
from pgmux.session.reasons import LOGIN
from pgmux.session.release import make_available
from pgmux.session.tally import SERVER
from pgmux.session.turns import in_turns
from pgmux.session.varcache import VarSpace

if TYPE_CHECKING:
    from pgmux.session.control import PoolControl
    from pgmux.session.pooler import Pooler


class Attempt(Protocol):
    """A connect under way."""

    def cancel(self, reason: str) -> None:
        """Give up; nobody is called back."""


class Connects:
    """The connects of all pools; see the module."""

    def __init__(self, pooler: Pooler) -> None:
        self._pooler = pooler
        self.attempts: dict[Attempt, tuple[PoolControl, float]] = {}  # and when it began
        self.dedicated: dict[Attempt, ClientRelay] = {}  # whom alone an attempt is for

    def begin(self, control: PoolControl, client: ClientRelay | None = None) -> None:
        """Begin one connect, for the queue or for that client alone."""
        now = self._pooler.clock()
        control.pool.on_connect(now, client)
        attempt = self._pooler.outside.connect(control, None if client is None else client.owner)
        self.attempts[attempt] = (control, now)
        if client is not None:
            self.dedicated[attempt] = client

    def _pop(self, attempt: Attempt) -> tuple[PoolControl, ClientRelay | None]:
        """A connect is over: whose pool's it was, and whom it was for, if for one client alone."""
        return self.attempts.pop(attempt)[0], self.dedicated.pop(attempt, None)

    # ---- it has logged in

    def on_connected(
        self,
        attempt: Attempt,
        transport: Any,
        info: ServerInfo,
        reported: Mapping[str, str],
    ) -> ServerRelay:
        """A connect has logged in: the server joins its pool. The caller then sets the relay as the
        transport's protocol before it returns to the loop, and has it `admit`ted.
        """
        control, client = self._pop(attempt)
        control.pool.on_connected(client)
        control.tally.on_connect(SERVER, LOGIN)
        info.reported = reported
        if client is not None:
            return dedicated.take_in(client, transport, info)
        server = ServerRelay(control.relay, transport, info)
        names = {name.lower() for name in reported}
        if control.space is None or not names <= {n.lower() for n in control.space.reported}:
            control.space = VarSpace(reported, self._pooler.accepted_parameters(control))
        else:
            control.space.refresh(reported)
        server.vars = control.space.from_reported(reported)
        control.pool.lists.add_server(server)
        return server

    def admit(self, server: ServerRelay) -> None:
        """A logged-in server, whose relay now is its transport's protocol, starts to work."""
        pooler = self._pooler
        control: PoolControl = server.pool_relay.control
        if server.owner.replication:
            dedicated.link(pooler, control, server)
            pooler.launch(control)  # where the connect before it had failed, others have waited
            return
        if control.has_newcomers:
            self._welcome_all(control)
        make_available(control, server)
        pooler.launch(control)

    def _welcome_all(self, control: PoolControl) -> None:
        """Everybody who came before the pool's first server."""
        control.has_newcomers = False
        newcomers = [
            client
            for client in control.pool.lists.waiting_clients()
            if not (client.owner.welcomed or client.owner.links_at_login)
        ]
        for client in newcomers:  # at once: nobody is to be given a server before his welcome
            control.pool.lists.stop_waiting(client)
        in_turns(self._pooler.outside.later, newcomers, partial(self._welcome, control))

    def _welcome(self, control: PoolControl, client: ClientRelay) -> None:
        """A client that has waited for the pool's first server, and is held till now."""
        if client.closed:
            return
        waited = self._pooler.clock() - client.wait_start
        control.relay.counters.wait_time += waited
        client.app.wait_time += waited
        if waited >= control.relay.long_wait:
            control.on_long_wait(client, waited)
        self._pooler.welcome(control, client)
        client.proceed()

    # ---- it has not

    def on_failed(self, attempt: Attempt, failure: Failure, *, transient: bool) -> None:
        """A connect has failed. What the server said itself reaches everybody who waits, now,
        unless there are servers to wait for: one connection too many costs nobody his own.
        """
        pooler = self._pooler
        control, client = self._pop(attempt)
        if failure.from_server:
            control.tally.on_condition(failure.sqlstate, pooler.clock())
        if client is not None and failure.message and not transient:
            control.pool.on_connect_given_up(client)
            dedicated.refuse(control, client, failure)
        else:
            control.pool.on_connect_failed(failure, pooler.clock(), client)
            is_served = any(not server.close_needed for server in control.pool.lists.all_servers())
            if failure.message and not transient and not is_served:
                refuse = partial(_refuse_waiting, control, failure)
                in_turns(pooler.outside.later, control.pool.lists.waiting_clients(), refuse)
        places.on_place_free(pooler, control)
        pooler.launch(control)
        pooler.on_change()

    def give_up(self, attempt: Attempt, failure: Failure) -> None:
        """End a connect ourselves, because of its server."""
        control, client = self._pop(attempt)
        attempt.cancel(failure.reason)
        control.pool.on_connect_failed(failure, self._pooler.clock(), client)
        places.on_place_free(self._pooler, control)

    def drop(self, attempt: Attempt, reason: str) -> None:
        """End a connect, which says nothing about its server; its place is free."""
        control, client = self._pop(attempt)
        attempt.cancel(reason)
        control.pool.on_connect_given_up(client)

    def drop_all(self, control: PoolControl, reason: str) -> None:
        """The same for all of a pool; those who want the places get them."""
        of_pool = [attempt for attempt, (owner, _) in self.attempts.items() if owner is control]
        for attempt in of_pool:
            self.drop(attempt, reason)
        if of_pool:
            places.on_place_free(self._pooler, control)


def _refuse_waiting(control: PoolControl, failure: Failure, client: ClientRelay) -> None:
    """Unless it has been served before its turn came."""
    if client.state == CL_WAITING:
        control.close_client(client, failure.message, failure.sqlstate)
