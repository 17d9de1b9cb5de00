"""Our login to a PostgreSQL server, sans-IO: from StartupMessage to the first idle ReadyForQuery.

Write what `first()` returns, feed what the server sends, and do each `Step` that comes back, in
order. The last one is `LoggedIn`; bytes behind its ReadyForQuery are in `rest`. Where there is a
connect_query it has run by then, and its error is `LoggedIn.warning`.

Source: PostgreSQL, "Start-up" (55.2.1); PgBouncer's answers to what goes wrong. Stricter than it:
nothing but authentication is accepted before AuthenticationOk, so a server can't skip proving
itself, and a connect_query may not leave a transaction open.

Errors: `ServerLoginFailed`, whatever the server sends; LocalProtocolError for a call out of order.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

from pgmux.auth import credentials
from pgmux.auth.server_auth import SaltedCache, ServerAuth
from pgmux.auth.steps import AuthenticationFailed, Compute, Done, Send
from pgmux.config.model import Database
from pgmux.errors import (
    SQLSTATE_PROTOCOL_VIOLATION,
    LocalProtocolError,
    PgmuxError,
    ProtocolViolation,
)
from pgmux.wire import build, codes, parse
from pgmux.wire.messages import MessageReader

# The server is starting up or shutting down: the one error at login that waiting heals.
SQLSTATE_CANNOT_CONNECT_NOW = "57P03"

# What a server says at login has kilobytes; the largest may be a row of the connect_query.
MAX_MESSAGE_LEN = 1 << 20
MAX_PARAMETER_BYTES = 1 << 18

REASON_CONNECT_FAILED = "connect failed"
REASON_CONN_CRASHED = "server conn crashed?"
REASON_AUTH_FAILED = "failed to answer authreq"
REASON_LOGIN_FAILED = "login failed"


@dataclass(frozen=True, slots=True)
class LoggedIn:
    """The server takes queries.

    `parameters` are as last reported, in the order of their first report. `cancel_key` is empty
    where the server gave none. `warning` is a text for the log, or "".
    """

    parameters: dict[str, str]
    cancel_pid: int
    cancel_key: bytes
    rest: bytes
    warning: str


LoginStep = Send | Compute | LoggedIn


class ServerLoginFailed(PgmuxError):
    """No connection, or no login. Nothing more is to be sent on it.

    * `reason`        stands behind "closing because: " in the log
    * `detail`        what the log says besides; "" is nothing
    * `message`, `sqlstate`  for clients: the server's own where `from_server`
    * `is_transient`  another host, or time, may heal it; else all who wait are to be told at once
    """

    def __init__(
        self,
        reason: str,
        *,
        detail: str = "",
        message: str = "",
        sqlstate: str = SQLSTATE_PROTOCOL_VIOLATION,
        from_server: bool = False,
        is_transient: bool = True,
    ) -> None:
        super().__init__(reason)
        self.reason = reason
        self.detail = detail
        self.message = message or reason
        self.sqlstate = sqlstate
        self.from_server = from_server
        self.is_transient = is_transient


class _State(Enum):
    AUTHENTICATION = "before AuthenticationOk"
    COMPUTING = "while the salted password is computed"
    STARTUP = "after AuthenticationOk"
    CONNECT_QUERY = "during connect_query"
    OVER = "after the end"


class ServerLogin:
    """One login. Order of calls: `first`, then `feed`, and `on_computed` once after a Compute."""

    __slots__ = (
        "_auth",
        "_cancel",
        "_connect_query",
        "_parameter_bytes",
        "_parameters",
        "_reader",
        "_refusal",
        "_startup",
        "_state",
        "_warning",
    )

    def __init__(
        self,
        login: credentials.ServerLogin,
        parameters: Mapping[str, str],
        dbname: str,
        nonce: str,
        salted_cache: SaltedCache,
        connect_query: str | None,
        max_packet_size: int,
    ) -> None:
        """`parameters` go into StartupMessage behind user and database. `nonce` is random for each
        login (printable, no comma); `salted_cache` belongs to the process."""
        self._startup = {"user": login.user, "database": dbname, **parameters}
        # as PgBouncer calls it where the refusal concerns one client alone
        self._refusal = REASON_LOGIN_FAILED if "replication" in parameters else ""
        self._auth = ServerAuth(login.user, login.secret, login.scram_keys, nonce, salted_cache)
        self._connect_query = connect_query
        self._reader = MessageReader(min(max_packet_size, MAX_MESSAGE_LEN), "server")
        self._state = _State.AUTHENTICATION
        self._parameters: dict[str, str] = {}
        self._parameter_bytes = 0
        self._cancel = parse.BackendKeyData(0, b"")
        self._warning = ""

    @property
    def end_point(self) -> bytes:
        """The connection's channel binding; to be set before the server is answered."""
        return self._auth.end_point

    @end_point.setter
    def end_point(self, value: bytes) -> None:
        self._auth.end_point = value

    def first(self) -> bytes:
        """StartupMessage. Protocol 3.0: what 3.2 adds is of use to clients only."""
        return build.build_startup_message(self._startup)

    def feed(self, data: bytes) -> list[LoginStep]:
        """What is to be done now; nothing where a message isn't whole yet.

        A Compute or LoggedIn is the last. Raises: ServerLoginFailed.
        """
        if self._state is _State.OVER:
            raise LocalProtocolError(f"server login fed {self._state.value}")
        self._reader.feed(data)
        return self._read()

    def on_computed(self, result: bytes) -> list[LoginStep]:
        """The job of the last Compute has returned `result`. Raises: ServerLoginFailed."""
        if self._state is not _State.COMPUTING:
            raise LocalProtocolError(f"on_computed {self._state.value}")
        self._state = _State.AUTHENTICATION
        step = self._auth.on_computed(result)
        assert isinstance(step, Send)
        return [step, *self._read()]

    def _read(self) -> list[LoginStep]:
        steps: list[LoginStep] = []
        try:
            while self._state not in (_State.COMPUTING, _State.OVER):
                message = next(self._reader, None)
                if message is None:
                    break
                step = self._on_message(*message)
                if step is not None:
                    steps.append(step)
        except AuthenticationFailed as error:
            self._state = _State.OVER
            raise ServerLoginFailed(
                REASON_AUTH_FAILED, detail=error.reason, message=error.message, is_transient=False
            ) from error
        except ProtocolViolation as error:
            self._state = _State.OVER
            raise ServerLoginFailed(error.message) from error
        except ServerLoginFailed:
            self._state = _State.OVER
            raise
        return steps

    def _on_message(self, message_type: int, body: bytes) -> LoginStep | None:
        match self._state, message_type:
            case _State.AUTHENTICATION, codes.AUTHENTICATION_REQUEST:
                return self._on_authentication(body)
            case _State.AUTHENTICATION, codes.NEGOTIATE_PROTOCOL_VERSION:
                # We asked for 3.0 and no extension: whatever it can't do, we don't need.
                parse.parse_negotiate_protocol_version(body)
            case _State.STARTUP | _State.CONNECT_QUERY, codes.PARAMETER_STATUS:
                self._on_parameter_status(body)
            case _State.STARTUP | _State.CONNECT_QUERY, codes.READY_FOR_QUERY:
                return self._on_ready_for_query(body)
            case _State.STARTUP, codes.BACKEND_KEY_DATA:
                self._cancel = parse.parse_backend_key_data(body)
            case _State.CONNECT_QUERY, codes.ERROR_RESPONSE:
                self._warning = _connect_query_warning(parse.parse_error_response(body))
            case _, codes.ERROR_RESPONSE:
                raise _refused(parse.parse_error_response(body), self._refusal)
            case (_, codes.NOTICE_RESPONSE) | (_State.CONNECT_QUERY, _):
                pass
            case _:
                detail = f"unknown pkt from server: {chr(message_type)!r} {self._state.value}"
                raise ServerLoginFailed("unknown pkt from server", detail=detail)
        return None

    def _on_authentication(self, body: bytes) -> LoginStep | None:
        step = self._auth.on_authentication(body)
        if isinstance(step, Done):
            self._state = _State.STARTUP
            return None
        if isinstance(step, Compute):
            self._state = _State.COMPUTING
            return step
        return step if step.data else None

    def _on_parameter_status(self, body: bytes) -> None:
        self._parameter_bytes += len(body)
        if self._parameter_bytes > MAX_PARAMETER_BYTES:
            raise ProtocolViolation("server", "failed to store ParameterStatus")
        parameter = parse.parse_parameter_status(body)
        self._parameters[parameter.name] = parameter.value

    def _on_ready_for_query(self, body: bytes) -> LoginStep:
        status = parse.parse_ready_for_query(body)
        if self._state is _State.STARTUP and self._connect_query:
            self._state = _State.CONNECT_QUERY
            return Send(build.build_query(self._connect_query))
        if status != codes.TRANSACTION_IDLE:
            # The next client's work would be in it, and be lost when it is rolled back.
            raise ServerLoginFailed("connect_query left a transaction open", is_transient=False)
        self._state = _State.OVER
        pid, key = self._cancel.pid, self._cancel.key
        return LoggedIn(self._parameters, pid, key, self._reader.rest(), self._warning)


def startup_parameters(database: Database) -> dict[str, str]:
    """What an entry of [databases] puts into StartupMessage besides user and database."""
    values = {
        "client_encoding": database.client_encoding,
        "datestyle": database.datestyle,
        "timezone": database.timezone,
        "application_name": database.application_name,
    }
    return {name: value for name, value in values.items() if value is not None}


def _refused(error: parse.ServerMessage, reason: str) -> ServerLoginFailed:
    """The server's own refusal, also where it lacks what the protocol promises; `reason` is for the
    log, if not its text.
    """
    is_whole = error.severity and error.message
    message = error.message or "server login failed"
    return ServerLoginFailed(
        reason or message,
        message=message,
        detail="server login failed" + (f": {error.severity} {error.message}" if is_whole else ""),
        sqlstate=error.fields.get("C") or SQLSTATE_PROTOCOL_VIOLATION,
        from_server=True,
        is_transient=error.fields.get("C") == SQLSTATE_CANNOT_CONNECT_NOW,
    )


def _connect_query_warning(error: parse.ServerMessage) -> str:
    what = "partial error message, cannot log"
    if error.severity and error.message:
        what = f"{error.severity}: {error.message}"
    return f"S: error while executing exec_on_query: {what}"
