"""The exchange that we run as a client of PostgreSQL.

Source: PostgreSQL's chapter "Start-up". Answered: AuthenticationCleartextPassword, -MD5Password and
-SASL with SCRAM-SHA-256 (over TLS with SCRAM-SHA-256-PLUS, where it is offered), each once; a
server that asked for SCRAM has to prove itself before its AuthenticationOk counts. With a SCRAM
secret the keys of a client's login are passed through. A missing password is sent as an empty one:
the server then says in its own words what is wrong.

Errors: AuthenticationFailed, whose text is for the waiting clients; LocalProtocolError when the
caller breaks the order of calls.
"""

from __future__ import annotations

from enum import Enum

from pgmux.auth.md5 import md5_response, md5_secret
from pgmux.auth.saslprep import saslprep
from pgmux.auth.scram import (
    MECHANISM,
    MECHANISM_PLUS,
    BadServerSignature,
    Pbkdf2,
    ScramError,
    ScramKeys,
    ScramProver,
    derive_keys,
)
from pgmux.auth.secrets import Secret, SecretKind, encode_text
from pgmux.auth.steps import AuthenticationFailed, Compute, Done, Send, Step
from pgmux.errors import LocalProtocolError, ProtocolViolation
from pgmux.wire import build, codes, parse

SaltedCache = dict[Pbkdf2, bytes]

# libpq's bound. What PostgreSQL sends has about 100 bytes.
MAX_REQUEST_LEN = 2000

# The salt is the server's choice: one that changes it at every login must not grow our memory.
MAX_SALTED_CACHE = 1000

_WRONG_TYPE = "server login failed: wrong password type"
_BAD_SIGNATURE = "server login failed: invalid server signature"
_NO_SIGNATURE = "server login failed: failed to verify server signature"
_NO_MECHANISM = "none of the server's SASL authentication mechanisms are supported"
_EMPTY = Secret(SecretKind.PLAINTEXT, b"")
_ANSWERED = (
    codes.AUTH_REQ_OK,
    codes.AUTH_REQ_PASSWORD,
    codes.AUTH_REQ_MD5,
    codes.AUTH_REQ_SASL,
    codes.AUTH_REQ_SASL_CONT,
    codes.AUTH_REQ_SASL_FIN,
)


class _State(Enum):
    START = "before any request"
    PASSWORD_SENT = "after the password"
    FIRST_SENT = "after SASLInitialResponse"
    COMPUTING = "while the salted password is computed"
    FINAL_SENT = "after SASLResponse"
    VERIFIED = "after AuthenticationSASLFinal"
    OVER = "after the end"


class ServerAuth:
    """One login to a server. Feed it every Authentication message until it says Done."""

    __slots__ = ("_cache", "_job", "_keys", "_prover", "_secret", "_state", "_user", "end_point")

    def __init__(
        self,
        user: str,
        secret: Secret | None,
        scram_keys: ScramKeys | None,
        nonce: str,
        salted_cache: SaltedCache | None = None,
    ) -> None:
        """`nonce` is random for each login (printable, no comma). `salted_cache` belongs to the
        process, and saves PBKDF2 when the next connection logs in with the same password."""
        self._user = user
        self._secret = secret or _EMPTY
        self._keys = scram_keys
        self._prover = ScramProver(nonce)
        self._cache: SaltedCache = {} if salted_cache is None else salted_cache
        self._job: Pbkdf2 | None = None
        self._state = _State.START
        self.end_point = b""  # the channel binding, where the connection has one

    def on_authentication(self, body: bytes) -> Step:
        """The server has sent an 'R' message. A Send without data means: wait for the next one."""
        state, self._state = self._state, _State.OVER
        if len(body) > MAX_REQUEST_LEN:
            raise _protocol_error(f"Authentication message of {len(body)} bytes")
        try:
            request = parse.parse_authentication(body)
            return self._on_request(state, request.code, request.rest)
        except (ScramError, ProtocolViolation) as error:
            raise AuthenticationFailed(f"server login failed: {error}", str(error)) from error

    def on_computed(self, result: bytes) -> Step:
        """The job of the last Compute has returned `result`."""
        job = self._job
        if self._state is not _State.COMPUTING or job is None:
            raise LocalProtocolError(f"on_computed {self._state.value}")
        if len(self._cache) >= MAX_SALTED_CACHE:
            self._cache.clear()
        self._cache[job] = result
        return self._prove(derive_keys(result, job.salt, job.iterations))

    def _on_request(self, state: _State, code: int, data: bytes) -> Step:
        match state, code:
            case _State.START | _State.PASSWORD_SENT | _State.VERIFIED, codes.AUTH_REQ_OK:
                return Done()
            case _State.START, codes.AUTH_REQ_PASSWORD:
                return self._on_cleartext()
            case _State.START, codes.AUTH_REQ_MD5:
                return self._on_md5(data)
            case _State.START, codes.AUTH_REQ_SASL:
                return self._on_sasl(data)
            case _State.FIRST_SENT, codes.AUTH_REQ_SASL_CONT:
                return self._on_sasl_continue(data)
            case _State.FINAL_SENT, codes.AUTH_REQ_SASL_FIN:
                return self._on_sasl_final(data)
        if code in _ANSWERED:
            raise _protocol_error(f"Authentication message {code} {state.value}")
        raise AuthenticationFailed(f"unknown/unsupported auth method: {code}")

    def _on_cleartext(self) -> Step:
        if self._secret.kind is not SecretKind.PLAINTEXT:
            raise AuthenticationFailed(
                _WRONG_TYPE, "cannot do cleartext authentication: wrong password type"
            )
        return self._send_password(self._secret.text)

    def _on_md5(self, salt: bytes) -> Step:
        stored = self._secret.text
        if self._secret.kind is SecretKind.PLAINTEXT:
            stored = md5_secret(stored, encode_text(self._user))
        elif self._secret.kind is SecretKind.SCRAM:
            raise AuthenticationFailed(
                _WRONG_TYPE, "cannot do MD5 authentication: wrong password type"
            )
        return self._send_password(md5_response(stored, salt))

    def _on_sasl(self, mechanisms: bytes) -> Step:
        offered = parse.parse_sasl_mechanisms(mechanisms)
        is_plus = bool(self.end_point) and MECHANISM_PLUS in offered
        if not is_plus and MECHANISM not in offered:
            raise AuthenticationFailed(f"server login failed: {_NO_MECHANISM}", _NO_MECHANISM)
        if not self._has_password and self._keys is None:
            raise AuthenticationFailed(_WRONG_TYPE, self._why_no_scram())
        self._state = _State.FIRST_SENT
        first = self._prover.client_first(is_plus=is_plus, end_point=self.end_point)
        mechanism = MECHANISM_PLUS if is_plus else MECHANISM
        return Send(build.build_sasl_initial_response(mechanism, first))

    def _on_sasl_continue(self, server_first: bytes) -> Step:
        challenge = self._prover.on_server_first(server_first)
        if not self._has_password:
            return self._prove(self._keys_for(challenge.salt, challenge.iterations))
        job = Pbkdf2(saslprep(self._secret.text), challenge.salt, challenge.iterations)
        salted_password = self._cache.get(job)
        if salted_password is not None:
            return self._prove(derive_keys(salted_password, job.salt, job.iterations))
        self._job = job
        self._state = _State.COMPUTING
        return Compute(job)

    def _on_sasl_final(self, server_final: bytes) -> Step:
        try:
            self._prover.on_server_final(server_final)
        except BadServerSignature as error:
            raise AuthenticationFailed(_BAD_SIGNATURE, str(error)) from error
        except ScramError as error:
            raise AuthenticationFailed(_NO_SIGNATURE, str(error)) from error
        self._state = _State.VERIFIED
        return Send(b"")

    def _keys_for(self, salt: bytes, iterations: int) -> ScramKeys:
        """The passed-through keys, if they belong to the secret that the server has."""
        keys = self._keys
        if keys is None or (keys.salt, keys.iterations) != (salt, iterations):
            raise AuthenticationFailed(
                _WRONG_TYPE,
                "cannot do SCRAM authentication: the server's salt or iteration count is not that "
                f'of the secret that user "{self._user}" logged in with; copy the secret again',
            )
        return keys

    def _prove(self, keys: ScramKeys) -> Step:
        self._state = _State.FINAL_SENT
        return Send(build.build_sasl_response(self._prover.prove(keys)))

    def _send_password(self, password: bytes) -> Step:
        if 0 in password:
            raise AuthenticationFailed(_WRONG_TYPE, "a password with a NUL byte can't be sent")
        self._state = _State.PASSWORD_SENT
        return Send(build.build_password_message(password))

    @property
    def _has_password(self) -> bool:
        """A plaintext password is there to prove with; keys go before an empty one."""
        if self._secret.kind is not SecretKind.PLAINTEXT:
            return False
        return self._keys is None or not self._secret.is_empty

    def _why_no_scram(self) -> str:
        if self._secret.kind is SecretKind.SCRAM:
            return (
                "cannot do SCRAM authentication: password is SCRAM secret but client "
                "authentication did not provide SCRAM keys"
            )
        return "cannot do SCRAM authentication: wrong password type"


def _protocol_error(problem: str) -> AuthenticationFailed:
    reason = f"protocol error: {problem}"
    return AuthenticationFailed(f"server login failed: {reason}", reason)
