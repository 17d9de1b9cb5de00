"""The exchange that we run with a client that logs in, one class an auth_type.

Source: PostgreSQL's chapter "Start-up", PgBouncer's auth_type. `any` takes everybody, `trust` every
known user, `plain` asks for the password itself and checks it against any kind of secret, `md5`
becomes SCRAM where the secret is one, `scram-sha-256` fails where the secret is an MD5 one.

An unknown user (no secret) and one whose stored password is empty go through the messages of
their auth_type and fail at the end, with the text of a wrong password.
Errors: AuthenticationFailed; LocalProtocolError when the caller breaks the order of calls.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable
from enum import Enum

from pgmux.auth.md5 import SALT_LEN, md5_response, md5_secret
from pgmux.auth.outside import OutsideLogin
from pgmux.auth.saslprep import saslprep
from pgmux.auth.scram import (
    MECHANISM,
    MECHANISM_PLUS,
    Pbkdf2,
    ScramError,
    ScramSecret,
    ScramVerifier,
    derive_secret,
)
from pgmux.auth.scram_usual import KnownScram, UsualScram
from pgmux.auth.secrets import Secret, SecretKind, encode_text
from pgmux.auth.steps import AuthenticationFailed, Compute, Done, Send, Step, Verify
from pgmux.errors import LocalProtocolError, ProtocolViolation
from pgmux.wire import build, parse
from pgmux.wire.messages import HEADER_LEN

ScramCache = dict[str, tuple[Secret, ScramSecret]]

# PostgreSQL's PG_MAX_AUTH_TOKEN_LENGTH and PG_MAX_SASL_MESSAGE_LENGTH.
MAX_PASSWORD_LEN = 65535
MAX_SASL_LEN = 1024

_SALT_LEN = 16
_PASSWORD_FAILED = "password authentication failed"
_SASL_FAILED = "SASL authentication failed"


class ClientAuth:
    """One client's login. Call `first()`, then whatever the last Step asks for."""

    __slots__ = ()

    def first(self) -> Step:
        """What to do once the client's user is known."""
        raise NotImplementedError

    def on_password_message(self, body: bytes) -> Step | Verify:
        """The client has sent a 'p' message: PasswordMessage or one of SASL's."""
        raise LocalProtocolError(f"{type(self).__name__} waits for no password message")

    def on_computed(self, result: bytes) -> Step:
        """The job of the last Compute has returned `result`."""
        raise LocalProtocolError(f"{type(self).__name__} waits for no computation")

    def on_verified(self, problem: str) -> Step:
        """Who was asked by the last Verify says what is wrong; "" is that the password is right."""
        raise LocalProtocolError(f"{type(self).__name__} waits for nobody's answer")

    def known_scram(self, done: Done) -> KnownScram | None:
        """What this user's next logins may go by, after the Done of a SCRAM exchange."""
        del done
        return None


def start_client_auth(
    auth_type: str,
    user: str,
    secret: Secret | None,
    *,
    scram_iterations: int,
    salt: bytes,
    nonce: str,
    mock_key: bytes,
    scram_cache: ScramCache,
    end_point: bytes = b"",
) -> ClientAuth:
    """The exchange for this client.

    `secret` None means an unknown user. `salt` (16 bytes) and `nonce` (printable, no comma) are
    random for each login, `mock_key` for each process. `scram_cache` belongs to the process and
    holds what SCRAM needs of plaintext secrets; it has at most one entry a known user. Logins of
    one user ask for equal jobs, so the caller may run one for all that wait. `end_point` is the
    channel binding of the client's connection; where there is one SCRAM-SHA-256-PLUS is offered.
    """
    is_scram_secret = secret is not None and secret.kind is SecretKind.SCRAM
    if auth_type == "any":
        return _Unasked()
    if auth_type == "trust":
        return _Unasked() if secret is not None else _Untrusted()
    if auth_type == "plain":
        return _Plain(user, secret, salt, scram_iterations)
    if auth_type == "md5" and not is_scram_secret:
        return _Md5(user, secret, salt[:SALT_LEN])
    if auth_type in ("md5", "scram-sha-256"):
        return _Scram(user, secret, scram_iterations, nonce, mock_key, scram_cache, end_point)
    raise LocalProtocolError(f"no password exchange for auth_type {auth_type!r}")


def resume_scram(user: str, usual: UsualScram) -> ClientAuth:
    """The exchange where `usual` doesn't go on: with the same secret and nonce, so that what has
    been said so far holds.
    """
    auth = _Scram(user, usual.known.secret, 0, usual.nonce, b"", {}, b"")
    if usual.first:
        auth.on_password_message(usual.first[HEADER_LEN:])
    return auth


class _Unasked(ClientAuth):
    """Let in without a question."""

    __slots__ = ()

    def first(self) -> Step:
        return Done()


class _Untrusted(ClientAuth):
    """auth_type=trust and an unknown user."""

    __slots__ = ()

    def first(self) -> Step:
        raise AuthenticationFailed('"trust" authentication failed')


class _Plain(ClientAuth):
    """AuthenticationCleartextPassword, checked against whatever kind of secret there is."""

    __slots__ = ("_iterations", "_password", "_salt", "_secret", "_user")

    def __init__(self, user: str, secret: Secret | None, salt: bytes, iterations: int) -> None:
        self._user = user
        self._secret = secret
        self._salt = salt
        self._iterations = iterations
        self._password: bytes | None = None

    def first(self) -> Step:
        return Send(build.build_authentication_cleartext_password())

    def on_password_message(self, body: bytes) -> Step:
        if self._password is not None:
            raise AuthenticationFailed(_PASSWORD_FAILED, "second password message")
        self._password = password = _read_password(body)
        secret = self._secret
        if secret is not None and secret.scram is not None:
            return self._compute(password, secret.scram.salt, secret.scram.iterations)
        if secret is not None and _matches(password, secret, self._user):
            return self._done(password)
        # Every refusal costs one PBKDF2, so that its time doesn't tell who exists.
        return self._compute(password, self._salt, self._iterations)

    def on_computed(self, result: bytes) -> Step:
        if self._password is None:
            raise LocalProtocolError("on_computed before the password")
        scram = self._secret.scram if self._secret is not None else None
        if scram is None:
            raise AuthenticationFailed(_PASSWORD_FAILED)
        derived = derive_secret(result, scram.salt, scram.iterations)
        if not hmac.compare_digest(derived.server_key, scram.server_key):
            raise AuthenticationFailed(_PASSWORD_FAILED)
        return self._done(self._password)

    @staticmethod
    def _compute(password: bytes, salt: bytes, iterations: int) -> Step:
        try:
            return Compute(Pbkdf2(saslprep(password), salt, iterations))
        except ScramError as error:
            raise AuthenticationFailed(_PASSWORD_FAILED, str(error)) from error

    @staticmethod
    def _done(password: bytes) -> Step:
        return Done(password=password.decode("utf-8", "surrogateescape"))


class OutsideAuth(ClientAuth):
    """AuthenticationCleartextPassword, checked by LDAP or PAM."""

    __slots__ = ("_job", "_make_job")

    def __init__(self, make_job: Callable[[bytes], OutsideLogin]) -> None:
        self._make_job = make_job
        self._job: OutsideLogin | None = None

    def first(self) -> Step:
        return Send(build.build_authentication_cleartext_password())

    def on_password_message(self, body: bytes) -> Verify:
        self._job = self._make_job(_read_password(body))
        return Verify(self._job)

    def on_verified(self, problem: str) -> Step:
        if self._job is None:
            raise LocalProtocolError("on_verified before the password")
        job, self._job = self._job, None
        if problem:
            raise AuthenticationFailed(job.refusal, problem)
        return Done(password=job.password.decode("utf-8", "surrogateescape"))


class _Md5(ClientAuth):
    """AuthenticationMD5Password, checked against a plaintext or an MD5 secret."""

    __slots__ = ("_salt", "_secret", "_user")

    def __init__(self, user: str, secret: Secret | None, salt: bytes) -> None:
        self._user = user
        self._secret = secret
        self._salt = salt

    def first(self) -> Step:
        return Send(build.build_authentication_md5_password(self._salt))

    def on_password_message(self, body: bytes) -> Step:
        response = _read_password(body)
        secret = self._secret
        stored = secret.text if secret is not None else b""
        if secret is None or secret.kind is SecretKind.PLAINTEXT:
            stored = md5_secret(stored, encode_text(self._user))
        is_right = hmac.compare_digest(response, md5_response(stored, self._salt))
        if not is_right or secret is None or secret.is_empty:
            raise AuthenticationFailed(_PASSWORD_FAILED)
        return Done()


SCRAM_OFFER = Send(build.build_authentication_sasl([MECHANISM]))
_OFFER_WITH_BINDING = Send(build.build_authentication_sasl([MECHANISM_PLUS, MECHANISM]))


class _ScramState(Enum):
    INITIAL_RESPONSE = "waits for SASLInitialResponse"
    COMPUTING = "waits for the salted password"
    RESPONSE = "waits for SASLResponse"
    OVER = "is over"


class _Scram(ClientAuth):
    """AuthenticationSASL with SCRAM-SHA-256, and SCRAM-SHA-256-PLUS where it can be."""

    __slots__ = (
        "_cache",
        "_end_point",
        "_iterations",
        "_mock_key",
        "_nonce",
        "_secret",
        "_state",
        "_user",
        "_verifier",
    )

    def __init__(
        self,
        user: str,
        secret: Secret | None,
        iterations: int,
        nonce: str,
        mock_key: bytes,
        cache: ScramCache,
        end_point: bytes,
    ) -> None:
        self._user = user
        self._secret = None if secret is None or secret.is_empty else secret
        self._iterations = iterations
        self._nonce = nonce
        self._mock_key = mock_key
        self._cache = cache
        self._end_point = end_point
        self._verifier: ScramVerifier | None = None
        self._state = _ScramState.INITIAL_RESPONSE

    def first(self) -> Step:
        return _OFFER_WITH_BINDING if self._end_point else SCRAM_OFFER

    def on_password_message(self, body: bytes) -> Step:
        state, self._state = self._state, _ScramState.OVER
        if len(body) > MAX_SASL_LEN:
            raise AuthenticationFailed(_SASL_FAILED, f"SASL message of {len(body)} bytes")
        try:
            if state is _ScramState.INITIAL_RESPONSE:
                return self._on_initial_response(body)
            if state is _ScramState.RESPONSE:
                return self._on_response(body)
        except (ScramError, ProtocolViolation) as error:
            raise AuthenticationFailed(_SASL_FAILED, str(error)) from error
        raise AuthenticationFailed(_SASL_FAILED, f"password message while SCRAM {state.value}")

    def on_computed(self, result: bytes) -> Step:
        if self._state is not _ScramState.COMPUTING or self._secret is None:
            raise LocalProtocolError(f"on_computed while SCRAM {self._state.value}")
        adhoc = derive_secret(result, self._own_salt(), self._iterations)
        self._cache[self._user] = (self._secret, adhoc)
        return self._challenge(adhoc)

    def known_scram(self, done: Done) -> KnownScram | None:
        scram = None if self._verifier is None else self._verifier.secret
        if self._secret is None or scram is None:
            return None
        return KnownScram(self._secret, scram, done.scram_keys)

    def _on_initial_response(self, body: bytes) -> Step:
        response = parse.parse_sasl_initial_response(body)
        is_plus = bool(self._end_point) and response.mechanism == MECHANISM_PLUS
        if not is_plus and response.mechanism != MECHANISM:
            raise AuthenticationFailed("client selected an invalid SASL authentication mechanism")
        self._verifier = ScramVerifier(
            self._nonce, response.data or b"", is_plus=is_plus, end_point=self._end_point
        )
        secret = self._secret
        if secret is None:
            return self._challenge(self._mock_secret())
        if secret.kind is SecretKind.MD5:
            raise ScramError("SCRAM authentication failed: user has MD5 secret")
        if secret.scram is not None:
            return self._challenge(secret.scram)
        return self._challenge_with_password(secret)

    def _challenge_with_password(self, secret: Secret) -> Step:
        """Challenge with the secret made of a plaintext one; made once for all logins."""
        cached_from, adhoc = self._cache.get(self._user, (None, None))
        # A reload may have changed the password or scram_iterations since.
        if adhoc is not None and cached_from == secret and adhoc.iterations == self._iterations:
            return self._challenge(adhoc)
        step = Compute(Pbkdf2(saslprep(secret.text), self._own_salt(), self._iterations))
        self._state = _ScramState.COMPUTING
        return step

    def _challenge(self, secret: ScramSecret) -> Step:
        assert self._verifier is not None
        challenge = self._verifier.challenge(secret)
        self._state = _ScramState.RESPONSE
        return Send(build.build_authentication_sasl_continue(challenge))

    def _on_response(self, body: bytes) -> Step:
        assert self._verifier is not None
        server_final, keys = self._verifier.verify(body)
        if self._secret is None:
            raise ScramError("password authentication failed")
        # A plaintext secret logs in to the server by itself, and its keys have our own salt.
        return Done(
            send=build.build_authentication_sasl_final(server_final),
            scram_keys=keys if self._secret.kind is SecretKind.SCRAM else None,
        )

    def _mock_secret(self) -> ScramSecret:
        """A secret that nobody knows, for a user that doesn't exist."""
        keys = self._derive(b"stored "), self._derive(b"server ")
        return ScramSecret(self._iterations, self._own_salt(), *keys)

    def _own_salt(self) -> bytes:
        """The salt of secrets that we make up: unknown users' and plaintext ones look the same."""
        return self._derive(b"salt ")[:_SALT_LEN]

    def _derive(self, purpose: bytes) -> bytes:
        return hmac.digest(self._mock_key, purpose + encode_text(self._user), "sha256")


def _read_password(body: bytes) -> bytes:
    """The client's password or MD5 response."""
    if len(body) > MAX_PASSWORD_LEN:
        raise AuthenticationFailed(_PASSWORD_FAILED, f"password message of {len(body)} bytes")
    try:
        password = parse.parse_password_message(body)
    except ProtocolViolation as error:
        raise AuthenticationFailed(_PASSWORD_FAILED, str(error)) from error
    if not password:
        raise AuthenticationFailed("empty password returned by client")
    return password


def _matches(password: bytes, secret: Secret, user: str) -> bool:
    """Check a password in clear against a plaintext or an MD5 secret."""
    if secret.kind is SecretKind.MD5:
        password = md5_secret(password, encode_text(user))
    return hmac.compare_digest(password, secret.text)
