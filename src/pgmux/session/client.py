"""A client's login, from its first byte to the moment when it may be let in. Sans-IO: bytes in,
steps out.

TLS where it is asked for or begun with, startup packet (CancelRequest ends it), protocol version,
parameters, authentication. The caller does each step in order and brings back what was computed.
Everything a client can send before it has authenticated is bounded by `wire.startup` and
`MAX_PASSWORD_LEN`.

Source: PostgreSQL protocol, "Start-up"; PgBouncer's client.c for the order of checks and the texts.
Errors: PoolerError (the client is told), ProtocolViolation (closed; see `UNTOLD`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

from pgmux.auth.client_auth import ClientAuth, OutsideAuth, ScramCache, start_client_auth
from pgmux.auth.credentials import Credentials, find_client_login, is_looked_up
from pgmux.auth.hba import Attempt
from pgmux.auth.secrets import plain_secret
from pgmux.auth.steps import AuthenticationFailed, Compute, Done, Send, Step
from pgmux.auth.steps import Verify as VerifyStep
from pgmux.auth.tls_info import TlsInfo
from pgmux.config import AuthType, Config, Database
from pgmux.config.model import ADMIN_DATABASE, SslMode
from pgmux.config.tls import TLS_NEEDED
from pgmux.errors import PoolerError, ProtocolViolation
from pgmux.session.login_method import (
    ASKING_NOTHING,
    Method,
    Peer,
    check_outside,
    choose_method,
    find_console_user,
    is_refused_unasked,
    settle,
)
from pgmux.session.login_steps import (
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
    Unknown,
    Verify,
)
from pgmux.session.opening import SSL_INSIDE_SSL, Opening
from pgmux.session.startup import read_parameters
from pgmux.wire import codes
from pgmux.wire.build import build_negotiate_protocol_version
from pgmux.wire.messages import MessageReader
from pgmux.wire.replication import Replication, parse_replication
from pgmux.wire.startup import CancelRequest, StartupMessage

MAX_USERNAME = 128  # PgBouncer's, in bytes with the NUL
# A whole PasswordMessage; longer than any password may be, so that who sends a longer one is told
# that it is wrong.
MAX_PASSWORD_LEN = 1 << 17
# Of ProtocolViolations these close the connection without a word, as PgBouncer does.
UNTOLD = ("bad cancel request", "bad packet", SSL_INSIDE_SSL)
_SALT_LEN = 16
_NONCE_LEN = 18


@dataclass(slots=True)
class LoginContext:
    """What every login needs of the process; `mock_key` and `scram_cache` live as long."""

    config: Callable[[], Config]
    random: Callable[[int], bytes]
    connection_count: Callable[[], int]
    own_uid: int
    tls_mode: Callable[[], SslMode]  # client_tls_sslmode as it is in force
    os_user: Callable[[int], str | None]  # the name that belongs to a uid
    mock_key: bytes = field(repr=False)
    scram_cache: ScramCache = field(default_factory=dict, repr=False)


class ClientLogin:
    """One login. `user`, `database` and `replication` are what the client said, empty before it
    did; `tls` is for the caller to set once a `StartTls` has come to its end.
    """

    def __init__(self, context: LoginContext, peer: Peer) -> None:
        self._context = context
        self._peer = peer
        # no method of ours: a connection that ends before its startup packet would be a cycle
        self._opening: Opening | None = Opening(partial(_offers_tls, context, peer))
        self._messages = MessageReader(MAX_PASSWORD_LEN, "client")
        self._auth: ClientAuth | None = None
        self._credentials: Credentials | None = None
        self._method = Method("")
        self._judged = ""
        self._parameters: dict[str, str] = {}
        self._long_key = False
        self.tls: TlsInfo | None = None
        self._is_admin = False
        self._is_waiting = False  # for a `Derive`, a `Verify` or a `LookUp`
        self.user = ""
        self.database = ""
        self.replication = Replication.NONE
        self.is_done = False

    def feed(self, data: bytes) -> list[LoginStep]:
        """The steps that these bytes lead to. Raises: PoolerError, ProtocolViolation, TlsError."""
        steps: list[LoginStep] = []
        if self._opening is not None:
            steps = self._opening.feed(data)
            packet = self._opening.packet
            if packet is None:
                return steps
            if isinstance(packet, CancelRequest):
                return [*steps, Cancel(packet.pid, packet.key)]
            data = self._opening.rest()
            self._opening = None
            steps += self._on_startup(packet)
        self._messages.feed(data)
        return steps + self._read_answers()

    def on_computed(self, result: bytes) -> list[LoginStep]:
        """What follows the result of a `Derive`. Raises: PoolerError, ProtocolViolation."""
        auth = self._auth
        assert auth is not None
        return self._go_on(lambda: self._on_step(auth.on_computed(result)))

    def on_verified(self, problem: str) -> list[LoginStep]:
        """What follows the answer to a `Verify`; "" is that the password is right. Raises: as
        `on_computed`.
        """
        auth = self._auth
        assert auth is not None
        return self._go_on(lambda: self._on_step(auth.on_verified(problem)))

    def on_looked_up(self, found: Credentials | None) -> list[LoginStep]:
        """What follows a `LookUp`; None where there is no such user. Raises: as `on_computed`.

        Who is found counts from now on, also where that isn't who the client said it was.
        """
        is_hidden = self._context.config().pgmux.hide_unknown_users
        if found is None and (self._method.name in ASKING_NOTHING or not is_hidden):
            # where nobody is asked for a password there is nothing to hide
            raise AuthenticationFailed("no such user", f"no such user: {self.user}")
        if found is not None:
            self.user = found.user
            self._is_admin = self.user in self._context.config().settings.admin_users
        return self._go_on(lambda: self._authenticate(found or Credentials(self.user)))

    def _go_on(self, advance: Callable[[], list[LoginStep]]) -> list[LoginStep]:
        self._is_waiting = False
        steps = advance()
        self._messages.feed(b"")
        return steps + self._read_answers()

    def _read_answers(self) -> list[LoginStep]:
        """The client's password messages; what comes after the last of them is for `rest`."""
        steps: list[LoginStep] = []
        try:
            while not self.is_done and not self._is_waiting:
                message = next(self._messages, None)
                if message is None:
                    break
                steps += self._read_answer(*message)
        except (PoolerError, ProtocolViolation) as error:
            steps.append(_refusal(error))
        return steps

    def _read_answer(self, kind: int, body: bytes) -> list[LoginStep]:
        if self._auth is None or kind != codes.PASSWORD_MESSAGE:
            raise ProtocolViolation("client", "bad packet")
        return self._on_step(self._auth.on_password_message(body))

    def explain(self, error: PoolerError) -> str:
        """What the log alone is told of a refusal, if anything: the reason, and the HBA line."""
        if not isinstance(error, AuthenticationFailed):
            return ""
        if self._judged:
            return f"{error.reason} ({self._judged})"
        return "" if error.reason == error.message else error.reason

    @property
    def kept_len(self) -> int:
        """Bytes received that are no whole message yet."""
        return (self._opening or self._messages).kept_len

    @property
    def awaits_tls(self) -> bool:
        """Whether the client would take what is written now for TLS."""
        return self._opening is not None and self._opening.awaits_tls

    def rest(self) -> bytes:
        """What came behind the login: the client's first requests."""
        return self._messages.rest()

    # ---- the startup packet

    def _on_startup(self, message: StartupMessage) -> list[LoginStep]:
        self.user = message.user
        self.database = message.database
        if len(self.user.encode("utf-8", "surrogateescape")) >= MAX_USERNAME:
            raise PoolerError("username too long")
        config = self._context.config()
        is_exempt = self.tls is not None or self._peer.is_unix
        if self._context.tls_mode() in TLS_NEEDED and not is_exempt:
            raise PoolerError("SSL required")
        is_full = self._context.connection_count() > config.settings.max_client_conn
        if is_full and self.database != ADMIN_DATABASE:
            raise PoolerError("no more connections allowed (max_client_conn)")
        steps = self._negotiate(message)
        self.replication = parse_replication(message.parameters.get("replication", "no"))
        self._parameters = read_parameters(message, self.replication, config, str(self._peer))
        if self.database == ADMIN_DATABASE and self._may_skip_auth(config):
            self.is_done = True
            return [*steps, Attempted(), self._entered(None)]
        return steps + self._identify(config)

    def _negotiate(self, message: StartupMessage) -> list[LoginStep]:
        """3.2 differs from 3.0 in longer cancel keys; 3.1 was never in use; unknown `_pq_.` options
        are named.
        """
        self._long_key = message.minor >= 2
        unknown = list(message.extensions)
        if message.minor in (0, 2) and not unknown:
            return []
        return [Answer(build_negotiate_protocol_version(2 if self._long_key else 0, unknown))]

    # ---- authentication

    def _attempt(self) -> Attempt:
        """What HBA lines are matched with."""
        return Attempt(
            host=None if self._peer.is_unix else self._peer.host,
            is_tls=self.tls is not None,
            is_physical=self.replication is Replication.PHYSICAL,
            database=self.database,
            user=self.user,
        )

    def _may_skip_auth(self, config: Config) -> bool:
        """The console: who may come in without a password."""
        if (
            self._peer.is_unix
            and self._peer.uid == self._context.own_uid
            and self.user == ADMIN_DATABASE
        ):
            self._is_admin = True
            return True
        self._is_admin = self.user in config.settings.admin_users
        return config.settings.auth_type is AuthType.ANY

    def _identify(self, config: Config) -> list[LoginStep]:
        """Whose secret counts: auth_file's or the forced user's, else who is looked up."""
        attempt = self._attempt()
        self._method = choose_method(config, attempt)
        found = find_console_user(self._method, attempt)
        if found is not None:
            return self._authenticate(found)
        known = config.find_database(self.database)
        database = known or Database(self.database, self.database)
        if self._method.is_outside:
            check_outside(self._method, database)
            return self._authenticate(Credentials(self.user))
        if (
            (known is not None or self.database == ADMIN_DATABASE)
            and is_looked_up(self._method.name, self.user, config.userlist)
            and config.auth_user(database)
            and not is_refused_unasked(config, attempt)
        ):
            self._is_waiting = True
            return [LookUp(self.database, self.user)]
        found = find_client_login(self._method.name, self.user, database, config.userlist)
        return self._authenticate(found)

    def _authenticate(self, found: Credentials) -> list[LoginStep]:
        """Begin the exchange with who has been found, or not: that name is judged."""
        config = self._context.config()
        self._credentials = found
        self._method = choose_method(config, self._attempt())
        is_judged_here = self._method.name != AuthType.ANY and not self._method.is_outside
        is_unknown = found.secret is None and is_judged_here
        steps: list[LoginStep] = [Unknown(self.user)] if is_unknown else []
        steps.append(Attempted())
        self._judged = self._method.origin
        if self._method.rule is not None:
            steps.append(Judged(self._method.rule.place, self._method.rule.method))
        try:
            return steps + self._on_step(self._first_step(found, config))
        except PoolerError as error:
            return [*steps, _refusal(error)]

    def _first_step(self, found: Credentials, config: Config) -> Step:
        context = self._context
        settled = settle(self._method, found, self._peer, self.tls, context.os_user)
        if settled is not None:
            return settled
        if self._method.is_outside:
            self._auth = OutsideAuth(partial(self._method.outside_login, found.user, self._peer))
            return self._auth.first()
        self._auth = start_client_auth(
            self._method.name,
            found.user,
            found.secret,
            scram_iterations=config.settings.scram_iterations,
            salt=context.random(_SALT_LEN),
            nonce=context.random(_NONCE_LEN).hex(),
            mock_key=context.mock_key,
            # what is looked up isn't bounded by auth_file
            scram_cache={} if found.as_of else context.scram_cache,
            end_point=self.tls.end_point if self.tls is not None else b"",
        )
        return self._auth.first()

    def _on_step(self, step: Step | VerifyStep) -> list[LoginStep]:
        if isinstance(step, Send):
            return [Answer(step.data)] if step.data else []
        if isinstance(step, Compute):
            self._is_waiting = True
            return [Derive(step.job)]
        if isinstance(step, VerifyStep):
            self._is_waiting = True
            return [Verify(step.job)]
        self.is_done = True
        answer: list[LoginStep] = [Answer(step.send)] if step.send else []
        return [*answer, self._entered(step)]

    def _entered(self, done: Done | None) -> LoginStep:
        """Authenticated. Raises: PoolerError for who may not use the console."""
        if self.database == ADMIN_DATABASE:
            stats_users = self._context.config().settings.stats_users
            if done is not None and not self._is_admin and self.user not in stats_users:
                raise PoolerError("not allowed")
            name = self._parameters.get("application_name", "")
            return EnterConsole(self.user, self._is_admin, name, self.tls)
        assert self._credentials is not None and done is not None
        if self._method.is_outside:
            secret = plain_secret(done.password or "")
            self._credentials = Credentials(self.user, secret, is_verified=True)
        return Enter(
            self.database,
            self._credentials,
            done.scram_keys,
            self._parameters,
            self._long_key,
            self.replication,
        )


def _offers_tls(context: LoginContext, peer: Peer) -> bool:
    return not peer.is_unix and context.tls_mode() is not SslMode.DISABLE


def _refusal(error: PoolerError | ProtocolViolation) -> Refuse:
    """Without the traceback, whose frames would keep the connection alive in a cycle."""
    error.__traceback__ = error.__cause__ = error.__context__ = None
    return Refuse(error)
