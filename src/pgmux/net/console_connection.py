"""Console connections: the transport's protocol that drives `admin.console.Console`, that of a
client that has logged in, and all of these together. The web process's is in `web_console`.

A command that waits (PAUSE, WAIT_CLOSE) is looked at whenever a client or server has gone, and at
each of the janitor's rounds. What PAUSE has begun outlives its connection, as in PgBouncer: a
failover script relies on it, also where its `timeout 5 psql -c PAUSE` is killed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any

from pgmux.admin.console import Console, Errors, Reply
from pgmux.admin.pooler import AdminPooler
from pgmux.config.model import ADMIN_DATABASE
from pgmux.errors import SQLSTATE_INTERNAL_ERROR, SQLSTATE_PROTOCOL_VIOLATION
from pgmux.metrics.snapshot import ConnectionRow
from pgmux.net.rows import connection_row
from pgmux.session import operator
from pgmux.session._relay_cy import Counters
from pgmux.session.cancel import CancelKeys
from pgmux.session.farewell import close_with
from pgmux.session.identity import Ends
from pgmux.session.log import Name
from pgmux.session.login_steps import EnterConsole
from pgmux.session.pooler import Pooler
from pgmux.session.reasons import COMMAND_REFUSED
from pgmux.wire import build


class Consoles:
    """All console connections of the process, and how many queries they have run."""

    def __init__(self, pooler: Pooler, admin: AdminPooler) -> None:
        self.pooler = pooler
        self.admin = admin
        self.open: dict[ConsoleConnection, None] = {}
        self.keys: CancelKeys[ConsoleConnection] = CancelKeys()
        self.query_count = 0
        self.login_count = 0
        self._is_scheduled = False

    def __call__(
        self, transport: asyncio.Transport, addresses: Ends, step: EnterConsole, id_: int
    ) -> ConsoleConnection:
        """A console for a client that has logged in; it is welcomed. Raises: PoolerError for who
        may only look, and is one too many.
        """
        return ConsoleConnection(self, transport, addresses, step, id_)

    def on_query(self) -> None:
        """A console runs a query."""
        self.query_count += 1

    def on_change(self) -> None:
        """Something has ended: somebody may wait for that.

        Looked at in the loop's next turn: the commands behind one that waited (KILL, RELOAD) must
        not run in the middle of what has just ended.
        """
        if not self._is_scheduled and any(connection.is_waiting for connection in self.open):
            self._is_scheduled = True
            asyncio.get_running_loop().call_soon(self._check_waiting)

    def _check_waiting(self) -> None:
        self._is_scheduled = False
        for connection in list(self.open):
            connection.check_waiting()

    def cancel(self, pid: int, key: bytes) -> bool:
        """A CancelRequest for a console's waiting command; False where it is not for a console."""
        connection = self.keys.find(pid, key, passed_on=self.pooler.config.peer_id > 0)
        if connection is None:
            return False
        connection.cancel()
        return True

    def kill(self, id_: int) -> bool:
        """End the console of that id; False where there is none.

        In the loop's next turn: it may be the one that asks for it.
        """
        for connection in self.open:
            if connection.id == id_:
                asyncio.get_running_loop().call_soon(connection.kill)
                return True
        return False

    def counters(self) -> Counters:
        """What SHOW STATS says of the console: each query is a transaction of its own."""
        counters = Counters()
        counters.xact_count = counters.query_count = self.query_count
        counters.client_login_count = self.login_count
        return counters


class Conversation(asyncio.Protocol):
    """A console on a transport. `_name` says whose it is, `_on_end` that it is over."""

    def __init__(self, pooler: Pooler, console: Console) -> None:
        self._pooler = pooler
        self._console = console
        self._transport: Any = None
        self._reply = Reply()
        self._writable = True
        self._is_scheduled = False
        self.is_open = True

    def _on_end(self, reason: str) -> None:
        """It is over; it has been closed, or is about to be."""
        raise NotImplementedError

    def _note_errors(self, errors: Errors) -> None:
        """It has answered these errors."""
        raise NotImplementedError

    def _name(self) -> Name | None:
        """Who talks, for the log."""
        raise NotImplementedError

    # ---- asyncio's protocol

    def data_received(self, data: bytes) -> None:
        self._advance(partial(self._console.feed, data))

    def connection_lost(self, exc: Exception | None) -> None:
        self._end("client unexpected eof")

    def pause_writing(self) -> None:
        """It doesn't read its answers: ask it for no more questions."""
        self._writable = False
        self._transport.pause_reading()

    def resume_writing(self) -> None:
        self._writable = True
        if self._reply.more:
            self._schedule()
        else:
            self._transport.resume_reading()

    # ---- what the console answers

    def _advance(self, advance: Callable[[], Reply]) -> None:
        """What comes next; our own mistake in a command ends this console, the process goes on."""
        try:
            reply = advance()
        except Exception as error:
            self._pooler.log.exception("internal error", error, self._name())
            self._close("internal error", SQLSTATE_INTERNAL_ERROR)
        else:
            self._do(reply)

    def _do(self, reply: Reply) -> None:
        self._reply = reply
        if reply.errors:
            self._note_errors(reply.errors)
        if reply.data:
            self._transport.write(reply.data)
        if reply.reason:
            close_with(self._transport)
            self._end(reply.reason)
        elif reply.more:
            self._transport.pause_reading()
            self._schedule()
        elif self._writable and self._transport.is_reading() is False:
            self._transport.resume_reading()

    def _schedule(self) -> None:
        """Each part of a long reply takes a turn of the loop, so that others have theirs."""
        if self._reply.more and self._writable and not self._is_scheduled:
            self._is_scheduled = True
            asyncio.get_running_loop().call_soon(self._go_on)

    def _go_on(self) -> None:
        self._is_scheduled = False
        if self._writable and self.is_open:
            self._advance(partial(self._console.feed, b""))

    def _close(self, reason: str, sqlstate: str) -> None:
        """End it, and tell the other side why."""
        if self.is_open:
            self._end(reason)
            self._note_errors(((sqlstate, reason),))
            close_with(self._transport, build.build_error_response("FATAL", sqlstate, reason))

    def _end(self, reason: str) -> None:
        if self.is_open:
            self.is_open = False
            self._on_end(reason)


class ConsoleConnection(Conversation):
    """A client's that has logged in to database `pgbouncer`; see the module."""

    def __init__(
        self,
        consoles: Consoles,
        transport: asyncio.Transport,
        addresses: Ends,
        step: EnterConsole,
        id_: int,
    ) -> None:
        super().__init__(consoles.pooler, Console(consoles.admin, step.is_admin, consoles.on_query))
        self._consoles = consoles
        self._transport = transport
        self._addresses = addresses
        self._step = step
        self.id = id_
        self._connect_time = consoles.pooler.clock()
        self._request_time = self._connect_time
        quotas = consoles.pooler.quotas
        mine = quotas.check_client(quotas.console, step.user, is_exempt=step.is_admin)
        self._quotas = quotas.enter(*mine)
        self.key = consoles.pooler.give_key(consoles.keys, self, long=False)
        consoles.open[self] = None
        consoles.login_count += 1
        transport.write(
            build.build_authentication_ok()
            + self._console.welcome(step.application_name or None)
            + build.build_backend_key_data(*self.key)
            + build.build_ready_for_query()
        )

    def data_received(self, data: bytes) -> None:
        self._request_time = self._pooler.clock()
        super().data_received(data)

    # ---- commands

    @property
    def is_waiting(self) -> bool:
        """Whether a command waits."""
        return self._reply.waiting is not None

    def check_waiting(self) -> None:
        """Complete a waiting command whose condition has come true."""
        waiting = self._reply.waiting
        if waiting is None:
            return
        pooler = self._pooler
        if waiting.command == "PAUSE":
            if not operator.is_held(pooler, waiting.database):
                self._advance(partial(self._console.give_up, "PAUSE was ended by RESUME"))
                return
            is_done = operator.busy_count(pooler, waiting.database) == 0
        elif waiting.command == "WAIT_CLOSE":
            is_done = operator.close_needed_count(pooler, waiting.database) == 0
        else:
            is_done = False  # SHUTDOWN is over when the process is
        if is_done:
            self._advance(self._console.complete)

    def cancel(self) -> None:
        """A CancelRequest: a waiting command ends; what PAUSE has begun is taken back."""
        if self._reply.waiting is not None:
            self._advance(self._console.cancel)

    def kill(self) -> None:
        """KILL_CLIENT: end the connection, and tell the client why."""
        self._close(operator.CLIENT_KILLED, SQLSTATE_PROTOCOL_VIOLATION)

    def _on_end(self, reason: str) -> None:
        del self._consoles.open[self]
        self._consoles.keys.remove(*self.key)
        self._pooler.quotas.leave(*self._quotas)
        self._pooler.on_end(self._name(), reason, self._connect_time)

    def _note_errors(self, errors: Errors) -> None:
        """Count and say what the client is told."""
        pooler = self._pooler
        tally = pooler.tallies.find(ADMIN_DATABASE)
        for sqlstate, message in errors:
            tally.on_told(sqlstate, message, pooler.clock(), COMMAND_REFUSED)
            if pooler.config.settings.log_pooler_errors:
                text = f"pooler error: {message}"
                self._pooler.log.warning(text, self._name(), limit="pooler error")

    def _name(self) -> Name:
        peer = self._addresses.peer
        return Name("client", self.id, ADMIN_DATABASE, self._step.user, peer)

    # ---- SHOW CLIENTS

    @property
    def kept_len(self) -> int:
        """Bytes received and not yet processed."""
        return self._console.kept_len

    def row(self) -> ConnectionRow:
        """This console's row."""
        return connection_row(
            self._pooler.clock,
            "C",
            self.id,
            self._addresses,
            user=self._step.user,
            database=ADMIN_DATABASE,
            state="idle",
            connect_time=self._connect_time,
            request_time=self._request_time,
            tls=self._step.tls,
            remote_pid=self._addresses.peer.pid,
            application_name=self._step.application_name,
        )
