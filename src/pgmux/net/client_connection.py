"""A client's connection until its login is done: the transport's protocol that drives
`session.client.ClientLogin`.

At the end of the login the connection becomes the relay's (or the console's): `set_protocol`, and
what came behind the login goes with it. A connection that is still here after client_login_timeout
is closed by the janitor.

Errors: a PoolerError becomes a FATAL ErrorResponse; whatever else a hostile client brings about
closes its connection alone.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, TypeVar, cast

from pgmux.auth.credentials import Credentials
from pgmux.errors import SQLSTATE_INTERNAL_ERROR, PoolerError, ProtocolViolation, TlsError
from pgmux.metrics.snapshot import ConnectionRow
from pgmux.net.compute import TooManyJobs
from pgmux.net.door import Admission, Door
from pgmux.net.rows import connection_row
from pgmux.net.sockets import AcceptedAddresses
from pgmux.net.tls import start_tls, tls_info
from pgmux.net.verifier import Verification
from pgmux.session._entry_cy import Entry
from pgmux.session.client import UNTOLD, ClientLogin
from pgmux.session.farewell import close_with
from pgmux.session.identity import ClientInfo
from pgmux.session.log import Name
from pgmux.session.login_steps import (
    ATTEMPTED,
    Answer,
    Attempted,
    Cancel,
    Derive,
    Enter,
    EnterConsole,
    Judged,
    LoginStep,
    LookUp,
    Refuse,
    StartTls,
    Unknown,
    Verify,
)
from pgmux.session.lookups import Lookup
from pgmux.session.peers import Forward
from pgmux.wire.build import build_error_response

# Kinds of lines that a client causes before it has authenticated; the log limits them.
_ATTEMPT = "login attempt"
_END = "closing because"
_TLS_ERROR = "TLS handshake error"

_LOST = "client unexpected eof"

T = TypeVar("T")


class ClientConnection(asyncio.Protocol):
    """See the module."""

    __slots__ = (
        "_addresses",
        "_asked",
        "_attempt_unsaid",
        "_closed",
        "_door",
        "_forward",
        "_id",
        "_is_canceling",
        "_is_held",
        "_login",
        "_transport",
        "connect_time",
        "is_late",
    )

    def __init__(self, door: Door) -> None:
        self._door = door
        self._closed = False
        self._attempt_unsaid = False
        self._is_held = False  # it said something while others were asked about it: read no further
        self._asked: Lookup | Verification | None = None
        self._is_canceling = False
        self._forward: Forward | None = None  # its cancel request, where that is for a peer
        self._id = next(door.pooler.ids)
        self.connect_time = door.pooler.clock()

    # ---- asyncio's protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # No isinstance: a loop's transports have the methods, maybe not the base class.
        self._transport = cast(asyncio.Transport, transport)
        door = self._door
        port = door.pooler.config.settings.listen_port
        self._addresses = addresses = AcceptedAddresses(transport, port)
        self._login = ClientLogin(door.context, addresses)
        # The Unix socket stays open in a shutdown, for the console alone.
        self.is_late = door.admission is not Admission.OPEN and addresses.is_unix
        door.logins[self] = None

    def connection_lost(self, exc: Exception | None) -> None:
        if not self._closed:
            self._closed = True
            if isinstance(exc, TlsError):
                self._log_tls_error(exc)
                self._log_end(_LOST)
            elif self._login.kept_len:  # else it may be a probe, of which nothing is said
                self._log_end(_LOST)
            elif self._attempt_unsaid:
                self._log_attempt(_ATTEMPT)
        self._leave()

    def data_received(self, data: bytes) -> None:
        if not self._closed:
            login = self._login
            entry = self._door.entries.find_unasked(data) if login.awaits_startup else None
            if entry is None:
                self._advance(login.feed, data)
            else:
                self._advance(self._come_in, entry)
            if self._asked is not None:
                self._hold_while_asked()

    # ---- SHOW SOCKETS

    @property
    def kept_len(self) -> int:
        """Bytes received that are no whole message yet."""
        return self._login.kept_len

    @property
    def state(self) -> str:
        """As SHOW CLIENTS has it."""
        if not self._is_canceling:
            return "login"
        is_sent = self._forward is None or self._forward.is_sent
        return "active_cancel_req" if is_sent else "waiting_cancel_req"

    def row(self) -> ConnectionRow:
        """What is known of it so far."""
        return connection_row(
            self._door.pooler.clock,
            "C",
            self._id,
            self._addresses,
            user=self._login.user,
            database=self._login.database,
            state=self.state,
            connect_time=self.connect_time,
            request_time=self.connect_time,
            tls=self._login.tls,
            remote_pid=self._addresses.peer.pid,
            replication=self._login.replication.value,
        )

    # ---- the login

    def _come_in(self, entry: Entry) -> tuple[()]:
        """Where others have come in with the same packet and weren't asked for anything; nothing is
        left to do then. Raises: as `_enter`.
        """
        login = self._login
        login.user, login.database = entry.user, entry.database_name
        login.check_place(self._door.pooler.config)
        self._note_attempt(ATTEMPTED)
        self._check_admission()
        self._let_in(entry)
        return ()

    def _check_admission(self) -> None:
        if self._door.admission is Admission.SHUT or self.is_late:
            raise PoolerError("pooler is shutting down", sqlstate="57P01")

    def _let_in(self, entry: Entry, answer: bytes = b"") -> None:
        transport, tls = self._transport, self._login.tls
        client = self._door.entries.let_in(
            entry, transport, self._id, self._addresses, tls, self.connect_time, answer
        )
        self._hand_over(client)

    def _on_tls(self) -> None:
        self._login.tls = tls_info(self._transport)

    def _on_computed(self, result: bytes) -> None:
        if not self._closed:
            self._transport.resume_reading()
            self._advance(self._login.on_computed, result)

    def _hold_while_asked(self) -> None:
        if self._login.kept_len > 0 and not self._is_held:
            self._is_held = True
            self._transport.pause_reading()

    def _on_looked_up(self, result: Credentials | PoolerError | None) -> None:
        self._on_answered(self._after_lookup, result)

    def _on_verified(self, problem: str) -> None:
        self._on_answered(self._login.on_verified, problem)

    def _on_answered(self, advance: Callable[[T], list[LoginStep]], answer: T) -> None:
        self._asked = None
        if self._is_held:
            self._is_held = False
            self._transport.resume_reading()
        self._advance(advance, answer)

    def _after_lookup(self, result: Credentials | PoolerError | None) -> list[LoginStep]:
        if isinstance(result, PoolerError):
            raise result
        return self._login.on_looked_up(result)

    def _advance(self, advance: Callable[[T], Sequence[LoginStep]], what: T) -> None:
        """Do the steps that follow; whatever goes wrong ends this connection and no other."""
        try:
            for step in advance(what):
                _DO[type(step)](self, step)
        except (PoolerError, ProtocolViolation, TlsError) as error:
            self._refuse(error)
        except TooManyJobs as error:
            self.close("bouncer resources exhaustion", reason=str(error))
        except Exception as error:
            self._door.pooler.log.exception("internal error", error, self._name())
            self.close("internal error", SQLSTATE_INTERNAL_ERROR)

    def _refuse(self, error: PoolerError | ProtocolViolation | TlsError) -> None:
        """End the connection as this says."""
        if isinstance(error, TlsError):
            self._log_tls_error(error)
            self.close(_LOST, tell=False)
        elif isinstance(error, ProtocolViolation):
            self.close(error.message, tell=error.message not in UNTOLD)
        else:
            self.close(error.message, error.sqlstate, reason=self._login.explain(error))

    # ---- the steps

    def _answer(self, step: Answer) -> None:
        self._transport.write(step.data)

    def _start_tls(self, step: StartTls) -> None:
        context = self._door.tls_context()
        if context is None:  # it was there when the client asked for it
            self.close("failed to accept SSL", tell=False)
            return
        self._transport = start_tls(
            self._transport,
            self,
            context,
            server_side=True,
            received=step.received,
            on_established=self._on_tls,
        )

    def _derive(self, step: Derive) -> None:
        self._transport.pause_reading()
        self._door.computer.submit(step.job, self._on_computed)

    def _verify(self, step: Verify) -> None:
        self._asked = self._door.verifier.submit(step.job, self._on_verified)

    def _look_up(self, step: LookUp) -> None:
        """Reading goes on, to see whether the client leaves; it has nothing to say till then."""
        self._asked = self._door.lookups.begin(step.database, step.user, self._on_looked_up)

    def _note_unknown(self, step: Unknown) -> None:
        text = f"no such user: {step.user}"
        self._door.pooler.log.log(text, self._name(), limit="no such user")

    def _note_attempt(self, _: Attempted) -> None:
        """In a flood of attempts the line waits till it is known whether this is one of them."""
        pooler = self._door.pooler
        if pooler.config.settings.log_connections:
            self._attempt_unsaid = pooler.log.is_flooded(_ATTEMPT)
            if not self._attempt_unsaid:
                self._log_attempt(_ATTEMPT)

    def _note_rule(self, step: Judged) -> None:
        if self._door.pooler.log.is_debug:
            text = f"HBA line {step.place} is matched: {step.method}"
            self._door.pooler.log.debug(text, self._name())

    def _refuse_as_said(self, step: Refuse) -> None:
        self._refuse(step.error)

    def _cancel(self, step: Cancel) -> None:
        self._transport.pause_reading()  # one request a connection
        self._is_canceling = True
        on_done = partial(self.close, tell=False)
        self._forward = self._door.cancel(step.pid, step.key, on_done)

    def _enter(self, step: Enter) -> None:
        self._check_admission()
        pooler = self._door.pooler
        startup = step.startup
        entry = None
        if step.way is not None:
            has_keys = step.scram_keys is not None
            entry = self._door.entries.find(startup, step.way, has_keys=has_keys)
        if entry is not None:
            self._let_in(entry, step.answer)
            return
        if step.answer:
            self._transport.write(step.answer)
        if pooler.find_database(startup.database) is None:
            self._log_unknown_database()
        user, parameters = self._login.user, startup.parameters
        info = ClientInfo(self._id, startup.database, user, self._addresses, parameters)
        info.replication = startup.replication
        info.tls = self._login.tls
        client = pooler.enter(
            self._transport, info, step.credentials, step.scram_keys, long_key=startup.long_key
        )
        client.connect_time = self.connect_time
        self._hand_over(client)

    def _enter_console(self, step: EnterConsole) -> None:
        self._hand_over(self._door.consoles(self._transport, self._addresses, step, self._id))

    def _hand_over(self, protocol: Any) -> None:
        # Any: a compiled class can't inherit asyncio.Protocol, the relay just has its methods.
        if self._attempt_unsaid:
            self._log_attempt("")
        if self._door.pooler.log.is_debug:
            self._door.pooler.log.debug("logged in", self._name())
        rest = self._login.rest()
        self._leave()
        self._closed = True
        self._transport.set_protocol(protocol)
        if rest:
            protocol.data_received(rest)

    # ---- the end

    def close(
        self,
        message: str,
        sqlstate: str = "08P01",
        *,
        tell: bool = True,
        reason: str = "",
    ) -> None:
        """End the connection; the client is told `message`, the log alone `reason`, if any."""
        if self._closed:
            return
        self._closed = True
        self._leave()
        log = self._door.pooler.log
        if reason:
            log.error(reason, self._name(), limit="login failed")
        self._log_end(message)
        if tell and self._door.pooler.config.settings.log_pooler_errors:
            log.warning(f"pooler error: {message}", self._name(), limit="pooler error")
        is_told = tell and not self._login.awaits_tls
        last_words = build_error_response("FATAL", sqlstate, message) if is_told else b""
        close_with(self._transport, last_words)

    def _leave(self) -> None:
        """This is no login any more."""
        self._door.logins.pop(self, None)
        if self._asked is not None:
            self._asked.cancel()
            self._asked = None

    # ---- the log

    def _log_end(self, reason: str) -> None:
        if self._attempt_unsaid:
            self._log_attempt(_ATTEMPT)
        if self._door.pooler.config.settings.log_disconnections:
            self._door.pooler.log_end(self._name(), reason, self.connect_time, limit=_END)

    def _log_tls_error(self, error: TlsError) -> None:
        self._door.pooler.log.warning(f"{_TLS_ERROR}: {error}", self._name(), limit=_TLS_ERROR)

    def _log_unknown_database(self) -> None:
        if self._door.pooler.config.settings.log_connections:
            text = f"login failed: db={self._login.database} user={self._login.user}"
            self._door.pooler.log.log(text, self._name(), limit="login failed")

    def _log_attempt(self, limit: str) -> None:
        login = self._login
        text = (
            f"login attempt: db={login.database} user={login.user} tls={login.tls or 'no'}"
            f" replication={login.replication.parameter}"
        )
        self._door.pooler.log.log(text, self._name(), limit=limit)
        self._attempt_unsaid = False

    def _name(self) -> Name:
        login = self._login
        peer_id = 0 if self._forward is None else self._forward.peer.id
        return Name("client", self._id, login.database, login.user, self._addresses.peer, peer_id)


# What is done at each kind of step.
_DO: dict[type[LoginStep], Callable[[ClientConnection, Any], None]] = {
    Answer: ClientConnection._answer,
    StartTls: ClientConnection._start_tls,
    Derive: ClientConnection._derive,
    Verify: ClientConnection._verify,
    LookUp: ClientConnection._look_up,
    Unknown: ClientConnection._note_unknown,
    Attempted: ClientConnection._note_attempt,
    Judged: ClientConnection._note_rule,
    Refuse: ClientConnection._refuse_as_said,
    Cancel: ClientConnection._cancel,
    Enter: ClientConnection._enter,
    EnterConsole: ClientConnection._enter_console,
}
