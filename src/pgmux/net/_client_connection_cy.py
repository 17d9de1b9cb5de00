"""HOT: a client's connection until its login is done: the transport's protocol that drives
`session.client.ClientLogin`.

Where clients come for one transaction each this is a large part of what they cost, so it is
compiled; and who sends what others have sent and came in by, comes in without a `ClientLogin`, with
SCRAM as without a password.

At the end of the login the connection becomes the relay's (or the console's): `set_protocol`, and
what came behind the login goes with it. A connection that is still here after client_login_timeout
is closed by the janitor.

Errors: a PoolerError becomes a FATAL ErrorResponse; whatever else a hostile client brings about
closes its connection alone.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from pgmux.auth.client_auth import SCRAM_OFFER
from pgmux.auth.credentials import Credentials
from pgmux.config.tls import TLS_NEEDED
from pgmux.errors import SQLSTATE_INTERNAL_ERROR, PoolerError, ProtocolViolation, TlsError
from pgmux.metrics.snapshot import ConnectionRow
from pgmux.net.compute import TooManyJobs
from pgmux.net.door import Admission
from pgmux.net.rows import connection_row
from pgmux.net.sockets import AcceptedAddresses
from pgmux.net.tls import start_tls, tls_info
from pgmux.session._entry_cy import ClientInfo
from pgmux.session.client import UNTOLD, ClientLogin
from pgmux.session.farewell import close_with
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
from pgmux.session.reasons import CANCEL_REQUEST, LOGIN_FAILED, PROBE
from pgmux.session.tally import CLIENT
from pgmux.wire.build import build_error_response

if TYPE_CHECKING:
    from pgmux import _cython as cython
    from pgmux.net.door import Door
    from pgmux.net.verifier import Verification
    from pgmux.session.lookups import Lookup
    from pgmux.session.peers import Forward
else:
    try:
        import cython
    except ModuleNotFoundError:
        from pgmux import _cython as cython

# Kinds of lines that a client causes before it has authenticated; the log limits them.
_ATTEMPT = "login attempt"
_END = "closing because"
_TLS_ERROR = "TLS handshake error"

_LOST = "client unexpected eof"

_OFFER = cython.declare(bytes, SCRAM_OFFER.data)
_OPEN = cython.declare(object, Admission.OPEN)  # an Enum's member is slow to find

T = TypeVar("T")


@cython.cclass
class ClientConnection:
    """See the module. `begun` is its login, once there is one."""

    connect_time = cython.declare(cython.double, visibility="public")
    is_late = cython.declare(cython.bint, visibility="public")  # came when none is let in any more
    door: Door
    id: Any
    transport: Any
    addresses: Any
    begun: ClientLogin | None
    usual: Any  # `UsualScram`, while the client is asked without a login
    startup: Any  # likewise
    way: Any  # likewise
    asked: Lookup | Verification | None
    forward: Forward | None  # its cancel request, where that is for a peer
    closed: cython.bint
    attempt_unsaid: cython.bint
    is_held: cython.bint  # it said something while others were asked about it: read no further
    is_canceling: cython.bint

    def __init__(self, door: Door) -> None:
        self.door = door
        pooler = door.pooler
        self.id = next(pooler.ids)
        self.connect_time = pooler.clock()
        self.transport = self.addresses = self.begun = self.asked = self.forward = None
        self.usual = self.startup = self.way = None
        self.closed = self.attempt_unsaid = self.is_held = self.is_canceling = False
        self.is_late = False

    # ---- asyncio's protocol

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        door = self.door
        port = door.pooler.config.settings.listen_port
        self.addresses = AcceptedAddresses(transport, port)
        if door.admission is not _OPEN:
            # The Unix socket stays open in a shutdown, for the console alone.
            self.is_late = self.addresses.is_unix
        door.logins[self] = None

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.closed:
            self.closed = True
            if isinstance(exc, TlsError):
                self._log_tls_error(exc)
                self._log_end(_LOST)
            elif self.kept_len:  # else it may be a probe, of which nothing is said
                self._log_end(_LOST)
            else:
                self._leave_silently()
        self._leave()

    def eof_received(self) -> None:
        """The transport closes itself."""

    def pause_writing(self) -> None:
        """What is said during a login is short."""

    def resume_writing(self) -> None:
        """See above."""

    def data_received(self, data: bytes) -> None:
        if self.closed:
            return
        try:
            if self.usual is not None and self.begun is None:
                if not self._proves(data):
                    self._do(self.login.read_otherwise(data))
            elif not ((self.begun is None or self.begun.awaits_startup) and self._comes_in(data)):
                self._do(self.login.feed(data))
        except Exception as error:
            self._fail(error)
        if self.asked is not None:
            self._hold_while_asked()

    # ---- SHOW SOCKETS

    @property
    def kept_len(self) -> int:
        """Bytes received that are no whole message yet."""
        return 0 if self.begun is None else self.begun.kept_len

    @property
    def state(self) -> str:
        """As SHOW CLIENTS has it."""
        if not self.is_canceling:
            return "login"
        is_sent = self.forward is None or self.forward.is_sent
        return "active_cancel_req" if is_sent else "waiting_cancel_req"

    def row(self) -> ConnectionRow:
        """What is known of it so far."""
        return connection_row(
            self.door.pooler.clock,
            "C",
            self.id,
            self.addresses,
            user=self.login.user,
            database=self.login.database,
            state=self.state,
            connect_time=self.connect_time,
            request_time=self.connect_time,
            tls=self.login.tls,
            remote_pid=self.addresses.peer.pid,
            replication=self.login.replication.value,
        )

    # ---- the login

    @property
    def login(self) -> ClientLogin:
        """Made when something has to be found out or remembered."""
        if self.begun is None:
            self.begun = ClientLogin(self.door.context, self.addresses)
            if self.usual is not None:
                self.begun.resume(self.startup, self.way, self.usual)
        return self.begun

    @cython.cfunc
    def _comes_in(self, packet: bytes) -> cython.bint:
        """Let the client in, if others have come in with the same packet and weren't asked for
        anything, or ask for SCRAM as they were; who is to be refused goes the ordinary way.
        """
        door, login = self.door, self.begun
        pooler, entries = door.pooler, door.entries
        entry: Any = entries.find_unasked(packet)
        tls = None if login is None else login.tls
        startup = None if entry is not None or tls is not None else entries.find_asked(packet)
        if (entry is None and startup is None) or door.admission is not _OPEN:
            return False
        if pooler.client_count + len(door.logins) > entries.max_client_conn:
            return False
        if tls is None and door.context.tls_mode() in TLS_NEEDED and not self.addresses.is_unix:
            return False
        if startup is not None:
            self._ask(startup)
            return True
        if entries.log_connections or pooler.log.is_debug:
            login = self.login
            login.user, login.database = entry.user, entry.database_name
            self._note_attempt(ATTEMPTED)
        self._let_in(entry, tls, b"")
        return True

    @cython.cfunc
    def _ask(self, startup: Any) -> None:
        self.begun = None  # it asked for encryption before, maybe
        self.startup = startup
        self.way = way = startup.ways[None]
        self.usual = self.door.context.ask(way.scram)
        self._note_attempt(ATTEMPTED)
        self.transport.write(_OFFER)

    @cython.cfunc
    def _proves(self, message: bytes) -> cython.bint:
        """Do as the client's next message in SCRAM says, if it is as usual."""
        usual = self.usual
        if not usual.first:
            answer = usual.on_first(message)
            if answer is not None:
                self.transport.write(answer)
            return answer is not None
        answer = usual.on_final(message)
        if answer is None:
            return False
        startup, way, keys = self.startup, self.way, usual.known.keys
        entry = None
        if self.door.admission is _OPEN:
            entry = self.door.entries.find(startup, way, has_keys=keys is not None)
        if entry is None:
            self._enter(Enter(startup, way.found, keys, answer, way))
        else:
            self._let_in(entry, None, answer)
        return True

    @cython.cfunc
    def _let_in(self, entry: Any, tls: Any, answer: bytes) -> None:
        client = self.door.entries.let_in(
            entry, self.transport, self.id, self.addresses, tls, self.connect_time, answer
        )
        self._hand_over(client)

    def _on_tls(self) -> None:
        self.login.tls = tls_info(self.transport)

    def _on_computed(self, result: bytes) -> None:
        if not self.closed:
            self.transport.resume_reading()
            self._advance(self.login.on_computed, result)

    def _hold_while_asked(self) -> None:
        if self.login.kept_len > 0 and not self.is_held:
            self.is_held = True
            self.transport.pause_reading()

    def _on_looked_up(self, result: Credentials | PoolerError | None) -> None:
        self._on_answered(self._after_lookup, result)

    def _on_verified(self, problem: str) -> None:
        self._on_answered(self.login.on_verified, problem)

    def _on_answered(self, advance: Callable[[T], list[LoginStep]], answer: T) -> None:
        self.asked = None
        if self.is_held:
            self.is_held = False
            self.transport.resume_reading()
        self._advance(advance, answer)

    def _after_lookup(self, result: Credentials | PoolerError | None) -> list[LoginStep]:
        if isinstance(result, PoolerError):
            raise result
        return self.login.on_looked_up(result)

    def _advance(self, advance: Callable[[T], list[LoginStep]], what: T) -> None:
        """Do the steps that follow."""
        try:
            self._do(advance(what))
        except Exception as error:
            self._fail(error)

    @cython.cfunc
    def _do(self, steps: Any) -> None:
        for step in steps:
            _DO[type(step)](self, step)

    @cython.cfunc
    def _fail(self, error: Exception) -> None:
        """Whatever goes wrong ends this connection and no other."""
        if isinstance(error, PoolerError | ProtocolViolation | TlsError):
            self._refuse(error)
        elif isinstance(error, TooManyJobs):
            self.close("bouncer resources exhaustion", reason=str(error))
        else:
            self.door.pooler.log.exception("internal error", error, self._name())
            self.close("internal error", SQLSTATE_INTERNAL_ERROR)

    def _refuse(self, error: PoolerError | ProtocolViolation | TlsError) -> None:
        """End the connection as this says."""
        if isinstance(error, TlsError):
            self._log_tls_error(error)
            self.close(_LOST, tell=False)
        elif isinstance(error, ProtocolViolation):
            self.close(error.message, tell=error.message not in UNTOLD)
        else:
            self.close(error.message, error.sqlstate, reason=self.login.explain(error))

    # ---- the steps

    def _answer(self, step: Answer) -> None:
        self.transport.write(step.data)

    def _start_tls(self, step: StartTls) -> None:
        context = self.door.tls_context()
        if context is None:  # it was there when the client asked for it
            self.close("failed to accept SSL", tell=False)
            return
        self.transport = start_tls(
            self.transport,
            self,
            context,
            server_side=True,
            received=step.received,
            on_established=self._on_tls,
        )

    def _derive(self, step: Derive) -> None:
        self.transport.pause_reading()
        self.door.computer.submit(step.job, self._on_computed)

    def _verify(self, step: Verify) -> None:
        self.asked = self.door.verifier.submit(step.job, self._on_verified)

    def _look_up(self, step: LookUp) -> None:
        """Reading goes on, to see whether the client leaves; it has nothing to say till then."""
        self.asked = self.door.lookups.begin(step.database, step.user, self._on_looked_up)

    def _note_unknown(self, step: Unknown) -> None:
        text = f"no such user: {step.user}"
        self.door.pooler.log.log(text, self._name(), limit="no such user")

    def _note_attempt(self, _: Attempted) -> None:
        """In a flood of attempts the line waits till it is known whether this is one of them."""
        pooler = self.door.pooler
        if pooler.config.settings.log_connections:
            self.attempt_unsaid = pooler.log.is_flooded(_ATTEMPT)
            if not self.attempt_unsaid:
                self._log_attempt(_ATTEMPT)

    def _note_rule(self, step: Judged) -> None:
        if self.door.pooler.log.is_debug:
            text = f"HBA line {step.place} is matched: {step.method}"
            self.door.pooler.log.debug(text, self._name())

    def _refuse_as_said(self, step: Refuse) -> None:
        self._refuse(step.error)

    def _cancel(self, step: Cancel) -> None:
        self.transport.pause_reading()  # one request a connection
        self.is_canceling = True
        on_done = partial(self.close, tell=False)
        self.forward = self.door.cancel(step.pid, step.key, on_done)

    def _enter(self, step: Enter) -> None:
        if self.door.admission is Admission.SHUT or self.is_late:
            raise PoolerError("pooler is shutting down", sqlstate="57P01")
        pooler = self.door.pooler
        startup = step.startup
        entry = None
        if step.way is not None:
            has_keys = step.scram_keys is not None
            entry = self.door.entries.find(startup, step.way, has_keys=has_keys)
        if entry is not None:
            self._let_in(entry, self.login.tls, step.answer)
            return
        if step.answer:
            self.transport.write(step.answer)
        if pooler.find_database(startup.database) is None:
            self._log_unknown_database()
        user, parameters = self.login.user, startup.parameters
        info = ClientInfo(self.id, startup.database, user, self.addresses, parameters)
        info.replication = startup.replication
        info.tls = self.login.tls
        client = pooler.enter(
            self.transport, info, step.credentials, step.scram_keys, long_key=startup.long_key
        )
        client.connect_time = self.connect_time
        self._hand_over(client)

    def _enter_console(self, step: EnterConsole) -> None:
        self._hand_over(self.door.consoles(self.transport, self.addresses, step, self.id))

    @cython.cfunc
    def _hand_over(self, protocol: Any) -> None:
        if self.attempt_unsaid:
            self._log_attempt("")
        if self.door.pooler.log.is_debug:
            self.door.pooler.log.debug("logged in", self._name())
        rest = b"" if self.begun is None else self.begun.rest()
        self._leave()
        self.closed = True
        self.transport.set_protocol(protocol)
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
        if self.closed:
            return
        self.closed = True
        self._leave()
        log = self.door.pooler.log
        if reason:
            log.error(reason, self._name(), limit="login failed")
        self._log_end(message)
        if tell and self.door.pooler.config.settings.log_pooler_errors:
            log.warning(f"pooler error: {message}", self._name(), limit="pooler error")
        is_told = tell and not self.login.awaits_tls
        if is_told:
            self._count_error(sqlstate, message)
        last_words = build_error_response("FATAL", sqlstate, message) if is_told else b""
        close_with(self.transport, last_words)

    def _count_error(self, sqlstate: str, message: str) -> None:
        pooler = self.door.pooler
        pooler.tallies.find(self.login.database).on_told(sqlstate, message, pooler.clock())

    @cython.cfunc
    def _leave(self) -> None:
        """This is no login any more."""
        logins: dict[Any, None] = self.door.logins
        logins.pop(self, None)
        if self.asked is not None:
            self.asked.cancel()
            self.asked = None

    def _leave_silently(self) -> None:
        """It has gone, and its end is worth no line: a probe, or who is about to come back with a
        password.
        """
        tallies = self.door.pooler.tallies
        if self.begun is None and self.startup is None:
            tally = tallies.find("")
            tally.on_connect(CLIENT, PROBE)
            tally.on_end(CLIENT, PROBE)
            return
        tally = tallies.find(self.login.database)
        tally.on_connect(CLIENT, LOGIN_FAILED)
        tally.on_end(CLIENT, _LOST)
        if self.attempt_unsaid:
            self._log_attempt(_ATTEMPT)

    # ---- the log

    def _log_end(self, reason: str) -> None:
        if self.attempt_unsaid:
            self._log_attempt(_ATTEMPT)
        connect = CANCEL_REQUEST if self.is_canceling else LOGIN_FAILED
        pooler = self.door.pooler
        pooler.on_end(self._name(), reason, self.connect_time, limit=_END, connect=connect)

    def _log_tls_error(self, error: TlsError) -> None:
        self.door.pooler.log.warning(f"{_TLS_ERROR}: {error}", self._name(), limit=_TLS_ERROR)

    def _log_unknown_database(self) -> None:
        if self.door.pooler.config.settings.log_connections:
            text = f"login failed: db={self.login.database} user={self.login.user}"
            self.door.pooler.log.log(text, self._name(), limit="login failed")

    def _log_attempt(self, limit: str) -> None:
        login = self.login
        text = (
            f"login attempt: db={login.database} user={login.user} tls={login.tls or 'no'}"
            f" replication={login.replication.parameter}"
        )
        self.door.pooler.log.log(text, self._name(), limit=limit)
        self.attempt_unsaid = False

    def _name(self) -> Name:
        login = self.login
        peer_id = 0 if self.forward is None else self.forward.peer.id
        return Name("client", self.id, login.database, login.user, self.addresses.peer, peer_id)


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
