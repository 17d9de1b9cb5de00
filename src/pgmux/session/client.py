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

from pgmux.auth.client_auth import (
    SCRAM_OFFER,
    ClientAuth,
    OutsideAuth,
    ScramCache,
    resume_scram,
    start_client_auth,
)
from pgmux.auth.credentials import Credentials, find_client_login, is_looked_up
from pgmux.auth.hba import Attempt
from pgmux.auth.scram_usual import KnownScram, UsualScram
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
    UNASKED,
    Method,
    Peer,
    Way,
    check_outside,
    choose_method,
    find_console_user,
    is_refused_unasked,
    settle,
)
from pgmux.session.login_steps import (
    ATTEMPTED,
    Answer,
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
from pgmux.session.startup import Startup, read_startup
from pgmux.session.startup_cache import MAX_WAYS, StartupCache
from pgmux.wire import codes
from pgmux.wire.messages import MessageReader, split_whole_message
from pgmux.wire.replication import Replication
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
    startups: StartupCache = field(default_factory=StartupCache, repr=False)

    def ask(self, known: KnownScram) -> UsualScram:
        """An exchange with who seems to be known."""
        return UsualScram(known, self.random(_NONCE_LEN).hex())


class ClientLogin:
    """One login. `user`, `database` and `replication` are what the client said, empty before it
    did; `tls` is for the caller to set once a `StartTls` has come to its end.
    """

    # Most logins never need most of these, and there is one of this for each connection.
    tls: TlsInfo | None = None
    user = ""
    database = ""
    replication = Replication.NONE
    is_done = False
    _opening: Opening | None = None  # till the startup packet, where that doesn't come at once
    _startup: Startup | None = None
    _messages: MessageReader | None = None
    _unseen: tuple[bytes, Config] | None = None  # its packet, to be remembered if it gets in
    _auth: ClientAuth | None = None
    _usual: UsualScram | None = None  # instead, as long as the client does as others have
    _credentials: Credentials | None = None
    _way: Way | None = None
    _method = Method("")
    _judged = ""
    _is_admin = False
    _is_waiting = False  # for a `Derive`, a `Verify` or a `LookUp`

    def __init__(self, context: LoginContext, peer: Peer) -> None:
        self._context = context
        self._peer = peer

    def feed(self, data: bytes) -> list[LoginStep]:
        """The steps that these bytes lead to. Raises: PoolerError, ProtocolViolation, TlsError."""
        if self._usual is not None:
            return self._read_usual_answer(self._usual, data)
        if self._startup is not None:
            return self._read_answers(data)
        config = self._context.config()
        is_first = self._opening is None or self._opening.is_between_packets
        known = self._context.startups.find(data, config) if is_first else None
        if known is None:
            return self._open(data, config, is_first=is_first)
        self._opening = None
        self.user, self.database = known.user, known.database
        self._check_place(config)
        return self._begin(known, config)

    def _open(self, data: bytes, config: Config, *, is_first: bool) -> list[LoginStep]:
        """What comes up to the startup packet, and that one."""
        opening = self._opening
        if opening is None:
            # no method of ours: a connection that ends before its startup packet would be a cycle
            opening = self._opening = Opening(partial(_offers_tls, self._context, self._peer))
        steps = opening.feed(data)
        packet = opening.packet
        if packet is None:
            return steps
        if isinstance(packet, CancelRequest):
            return [*steps, Cancel(packet.pid, packet.key)]
        self._opening = None
        rest = opening.rest()
        if is_first and not rest:
            self._unseen = data, config
        steps += self._on_startup(packet, config)
        return steps + self._read_answers(rest)

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
        return self._go_on(lambda: self._on_found(found or Credentials(self.user)))

    def _on_found(self, found: Credentials) -> list[LoginStep]:
        """That name is judged."""
        config = self._context.config()
        self._method = choose_method(config, self._attempt())
        return self._authenticate(found, config)

    def _go_on(self, advance: Callable[[], list[LoginStep]]) -> list[LoginStep]:
        self._is_waiting = False
        steps = advance()
        return steps + self._read_answers(b"")

    def _read_answers(self, data: bytes) -> list[LoginStep]:
        """The client's password messages; what comes after the last of them is for `rest`."""
        steps: list[LoginStep] = []
        try:
            message = self._next_message(data)
            while message is not None:
                steps += self._read_answer(*message)
                # where nothing is kept it was the last one
                message = None if self._messages is None else self._next_message(b"")
        except (PoolerError, ProtocolViolation) as error:
            steps.append(_refusal(error))
        return steps

    def _read_usual_answer(self, usual: UsualScram, data: bytes) -> list[LoginStep]:
        """One of SCRAM's messages; anything else is read as everybody's."""
        startup, credentials = self._startup, self._credentials
        assert startup is not None and credentials is not None
        if not usual.first:
            challenge = usual.on_first(data)
            if challenge is not None:
                return [Answer(challenge)]
        else:
            signature = usual.on_final(data)
            if signature is not None:
                self._usual = None
                self.is_done = True
                return [Enter(startup, credentials, usual.known.keys, signature, self._way)]
        return self.read_otherwise(data)

    def read_otherwise(self, data: bytes) -> list[LoginStep]:
        """These bytes are not what a client usually says there."""
        usual, credentials = self._usual, self._credentials
        assert usual is not None and credentials is not None
        self._usual = None
        self._auth = resume_scram(credentials.user, usual)
        return self._read_answers(data)

    def resume(self, startup: Startup, way: Way, usual: UsualScram) -> None:
        """Go on where the client has been asked for SCRAM by its packet alone."""
        self.user, self.database = startup.user, startup.database
        self._startup = startup
        self.replication = startup.replication
        self._usual = usual
        self._way = way
        self._method = way.method
        self._judged = way.method.origin
        self._credentials = way.found

    def _next_message(self, data: bytes) -> tuple[int, bytes] | None:
        """The next one to be read now, `data` behind what is kept."""
        is_wanted = not (self.is_done or self._is_waiting)
        if self._messages is None:
            whole = split_whole_message(data, MAX_PASSWORD_LEN) if is_wanted else None
            if whole is not None or not data:
                return whole
            self._messages = MessageReader(MAX_PASSWORD_LEN, "client")
        if data:
            self._messages.feed(data)
        return next(self._messages, None) if is_wanted else None

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
        reader = self._opening or self._messages
        return 0 if reader is None else reader.kept_len

    @property
    def awaits_startup(self) -> bool:
        """Whether its startup packet is still to come, to the first byte."""
        opening = self._opening
        return self._startup is None and (opening is None or opening.is_between_packets)

    @property
    def awaits_tls(self) -> bool:
        """Whether the client would take what is written now for TLS."""
        return self._opening is not None and self._opening.awaits_tls

    def rest(self) -> bytes:
        """What came behind the login: the client's first requests."""
        return b"" if self._messages is None else self._messages.rest()

    # ---- the startup packet

    def _on_startup(self, message: StartupMessage, config: Config) -> list[LoginStep]:
        self.user = message.user
        self.database = message.database
        if len(self.user.encode("utf-8", "surrogateescape")) >= MAX_USERNAME:
            raise PoolerError("username too long")
        self._check_place(config)
        startup = read_startup(message, config, str(self._peer))
        if config.settings.application_name_add_host:
            self._unseen = None  # it holds for this address alone
        return self._begin(startup, config)

    def _check_place(self, config: Config) -> None:
        """Whether anybody may log in there now, in that way. Raises: PoolerError.

        Whom this refuses, `ClientConnection._comes_in` has to send here.
        """
        needs_tls = self.tls is None and self._context.tls_mode() in TLS_NEEDED
        if needs_tls and not self._peer.is_unix:
            raise PoolerError("SSL required")
        is_full = self._context.connection_count() > config.settings.max_client_conn
        if is_full and self.database != ADMIN_DATABASE:
            raise PoolerError("no more connections allowed (max_client_conn)")

    def _begin(self, startup: Startup, config: Config) -> list[LoginStep]:
        """With a startup packet that is in order."""
        self._startup = startup
        self.replication = startup.replication
        steps: list[LoginStep] = []
        if startup.negotiation:
            steps.append(Answer(startup.negotiation))
        if self.database == ADMIN_DATABASE and self._may_skip_auth(config):
            self.is_done = True
            return [*steps, ATTEMPTED, self._entered(None)]
        return steps + self._identify(startup, config)

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

    def _identify(self, startup: Startup, config: Config) -> list[LoginStep]:
        """Whose secret counts: auth_file's or the forced user's, else who is looked up."""
        origin = None
        if config.settings.auth_type is AuthType.HBA:
            origin = (None if self._peer.is_unix else self._peer.host, self.tls is not None)
        way = startup.ways.get(origin)
        if way is None:
            attempt = self._attempt()
            method = self._method = choose_method(config, attempt)
            found = find_console_user(method, attempt)
            if found is not None:
                return self._authenticate(found, config)
            known = config.find_database(self.database)
            database = known or Database(self.database, self.database)
            if method.is_outside:
                check_outside(method, database)
                return self._authenticate(Credentials(self.user), config)
            is_there = known is not None or self.database == ADMIN_DATABASE
            if is_there and self._is_looked_up(attempt, database, config):
                self._is_waiting = True
                return [LookUp(self.database, self.user)]
            found = find_client_login(method.name, self.user, database, config.userlist)
            while len(startup.ways) >= MAX_WAYS:  # the oldest goes
                del startup.ways[next(iter(startup.ways))]
            way = startup.ways[origin] = Way(method, found)
        return self._go(way, config)

    def _is_looked_up(self, attempt: Attempt, database: Database, config: Config) -> bool:
        """Whether auth_query is to be asked."""
        return (
            is_looked_up(self._method.name, self.user, config.userlist)
            and bool(config.auth_user(database))
            and not is_refused_unasked(config, attempt)
        )

    def _go(self, way: Way, config: Config) -> list[LoginStep]:
        """Do what the way says: the same each time, where the client isn't asked for anything."""
        self._way = way
        self._method = way.method
        self._credentials = way.found
        if way.steps:
            self.is_done = True
            return list(way.steps)
        if way.scram is not None and (self.tls is None or not self.tls.end_point):
            self._judged = way.method.origin
            self._usual = self._context.ask(way.scram)
            return list(way.question)
        steps = self._authenticate(way.found, config)
        if self.is_done and way.method.name in UNASKED and self.database != ADMIN_DATABASE:
            way.steps = tuple(steps)
        return steps

    def _authenticate(self, found: Credentials, config: Config) -> list[LoginStep]:
        """Begin the exchange with who has been found, or not."""
        method = self._method
        self._credentials = found
        steps: list[LoginStep] = []
        if found.secret is None and method.name != AuthType.ANY and not method.is_outside:
            steps.append(Unknown(self.user))
        steps.append(ATTEMPTED)
        self._judged = method.origin
        if method.rule is not None:
            steps.append(Judged(method.rule.place, method.rule.method))
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
        entered = self._entered(step)
        if step.send and isinstance(entered, EnterConsole):
            return [Answer(step.send), entered]
        return [entered]

    def _entered(self, done: Done | None) -> LoginStep:
        """Authenticated. Raises: PoolerError for who may not use the console."""
        assert self._startup is not None
        if self.database == ADMIN_DATABASE:
            stats_users = self._context.config().settings.stats_users
            if done is not None and not self._is_admin and self.user not in stats_users:
                raise PoolerError("not allowed")
            name = self._startup.parameters.get("application_name", "")
            return EnterConsole(self.user, self._is_admin, name, self.tls)
        assert self._credentials is not None and done is not None
        if self._method.is_outside:
            secret = plain_secret(done.password or "")
            self._credentials = Credentials(self.user, secret, is_verified=True)
        if self._unseen is not None:
            packet, config = self._unseen
            if config is self._context.config():
                self._context.startups.add(packet, config, self._startup)
        way, auth = self._way, self._auth
        is_console = self.database == ADMIN_DATABASE  # where more is to be asked each time
        if way is not None and auth is not None and way.scram is None and not is_console:
            _learn_scram(way, auth, done)
        keys, answer = done.scram_keys, done.send
        return Enter(self._startup, self._credentials, keys, answer, self._way)


def _offers_tls(context: LoginContext, peer: Peer) -> bool:
    return not peer.is_unix and context.tls_mode() is not SslMode.DISABLE


def _learn_scram(way: Way, auth: ClientAuth, done: Done) -> None:
    """The next who come this way are asked at once, if they are asked for SCRAM."""
    way.scram = auth.known_scram(done)
    rule = way.method.rule
    judged = () if rule is None else (Judged(rule.place, rule.method),)
    way.question = (ATTEMPTED, *judged, Answer(SCRAM_OFFER.data))


def _refusal(error: PoolerError | ProtocolViolation) -> Refuse:
    """Without the traceback, whose frames would keep the connection alive in a cycle."""
    error.__traceback__ = error.__cause__ = error.__context__ = None
    return Refuse(error)
