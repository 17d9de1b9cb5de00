"""SCRAM-SHA-256, both sides: the verifier (a client logs in to us) and the prover (we log in).

Source: RFC 5802 and RFC 7677, PostgreSQL's chapter "SASL Authentication".

    client-first   GS2,n=USER,r=CNONCE
    server-first   r=CNONCE SNONCE,s=SALT,i=ITERATIONS
    client-final   c=BASE64(GS2, BINDING),r=CNONCE SNONCE,p=PROOF
    server-final   v=SIGNATURE   or   e=ERROR

GS2 is "p=tls-server-end-point," with SCRAM-SHA-256-PLUS, whose BINDING is a hash of the server's
certificate; else "n,", or "y," from a client that could bind and thinks that the server can't.

Salted passwords come in as arguments: PBKDF2 never runs here. Every malformed message, wrong
proof or wrong signature is a `ScramError`, whose text is for the log.
"""

from __future__ import annotations

import binascii
import hashlib
import hmac
import re
from dataclasses import dataclass, field

MECHANISM = "SCRAM-SHA-256"
MECHANISM_PLUS = "SCRAM-SHA-256-PLUS"
KEY_LEN = 32

# PBKDF2 costs about 0.4 us an iteration: 4 s for this many, while PostgreSQL's default is 4,096.
# A peer may choose the count (a server in its challenge, a role's owner in its stored secret), so
# without a bound it could keep a thread busy for a quarter of an hour per login.
MAX_ITERATIONS = 10_000_000

_MAX_ITERATIONS_DIGITS = 10
_BINDING_FAILED = "SCRAM channel binding check failed: is somebody between us and the client?"
_BOUND = b"p=tls-server-end-point"
_UNBOUND = (b"n", b"y")
_BAD_PROOF = "malformed proof in client-final-message"
# What all clients send, taken apart at once; anything else is looked at part by part, so that it
# can be said what is wrong with it.
_USUAL_CLIENT_FIRST = re.compile(rb"([ny]),,(n=[^,\0]*,r=([!-+\--~]+))").fullmatch
_USUAL_CLIENT_FINAL = re.compile(rb"(c=([^,\0]*),r=([^,\0]*)),p=([^,\0]*)").fullmatch
_PRINTABLE = bytes(byte for byte in range(0x21, 0x7F) if byte != 0x2C)


class ScramError(ValueError):
    """The SCRAM exchange can't go on; the text says why, for the log."""


class BadServerSignature(ScramError):
    """The server could not show that it knows the user's secret."""


@dataclass(frozen=True, slots=True)
class Pbkdf2:
    """A key derivation to run off the event loop. Raises ScramError above MAX_ITERATIONS."""

    password: bytes = field(repr=False)  # after SASLprep
    salt: bytes
    iterations: int

    def __post_init__(self) -> None:
        if not 1 <= self.iterations <= MAX_ITERATIONS:
            raise ScramError(
                f"SCRAM iteration count {self.iterations} is not within 1..{MAX_ITERATIONS}"
            )

    def run(self) -> bytes:
        """The SaltedPassword, 32 bytes. Takes milliseconds, and releases the interpreter's lock."""
        return hashlib.pbkdf2_hmac("sha256", self.password, self.salt, self.iterations)


@dataclass(frozen=True, slots=True)
class ScramSecret:
    """What a verifier stores for a user instead of the password."""

    iterations: int
    salt: bytes
    stored_key: bytes = field(repr=False)
    server_key: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class ScramKeys:
    """What a prover needs instead of the password, valid for this salt and iteration count only."""

    client_key: bytes = field(repr=False)
    server_key: bytes = field(repr=False)
    salt: bytes
    iterations: int


def derive_secret(salted_password: bytes, salt: bytes, iterations: int) -> ScramSecret:
    """The secret to verify against, from a SaltedPassword."""
    keys = derive_keys(salted_password, salt, iterations)
    return ScramSecret(iterations, salt, _sha256(keys.client_key), keys.server_key)


def derive_keys(salted_password: bytes, salt: bytes, iterations: int) -> ScramKeys:
    """The keys to prove with, from a SaltedPassword."""
    client_key = _hmac(salted_password, b"Client Key")
    return ScramKeys(client_key, _hmac(salted_password, b"Server Key"), salt, iterations)


class ScramVerifier:
    """The server's side: read client-first, challenge, read client-final."""

    __slots__ = ("_binding", "_client_first", "_nonce", "_server_first", "secret")

    def __init__(
        self, nonce: str, client_first: bytes, *, is_plus: bool = False, end_point: bytes = b""
    ) -> None:
        """`nonce` is our random part: printable, no comma. `is_plus`: the client has chosen
        SCRAM-SHA-256-PLUS, which it was offered where there is an `end_point`. Raises ScramError.
        """
        self._client_first = parse_client_first(client_first)
        _check_binding(self._client_first.flag, is_plus=is_plus, is_offered=bool(end_point))
        self._binding = _binding(self._client_first.flag, end_point)
        self._nonce = self._client_first.nonce + nonce.encode()
        self.secret: ScramSecret | None = None  # what the challenge was made with
        self._server_first = b""

    def challenge(self, secret: ScramSecret) -> bytes:
        """server-first for a user with this secret."""
        self.secret = secret
        salt = _encode_base64(secret.salt)
        self._server_first = b"r=%b,s=%b,i=%d" % (self._nonce, salt, secret.iterations)
        return self._server_first

    def verify(self, client_final: bytes) -> tuple[bytes, ScramKeys]:
        """server-final, and the keys that the client has shown to have. Raises ScramError."""
        secret = self.secret
        if secret is None:
            raise ScramError("client-final-message before the challenge")
        final = parse_client_final(client_final)
        if not hmac.compare_digest(final.channel_binding, self._binding):
            if self._client_first.flag == _BOUND:
                raise ScramError(_BINDING_FAILED)
            raise ScramError("unexpected SCRAM channel-binding attribute in client-final-message")
        if not hmac.compare_digest(final.nonce, self._nonce):
            raise ScramError("invalid SCRAM response (nonce does not match)")
        auth_message = b",".join((self._client_first.bare, self._server_first, final.without_proof))
        client_key = _xor(final.proof, _hmac(secret.stored_key, auth_message))
        if not hmac.compare_digest(_sha256(client_key), secret.stored_key):
            raise ScramError("password authentication failed")
        signature = _encode_base64(_hmac(secret.server_key, auth_message))
        keys = ScramKeys(client_key, secret.server_key, secret.salt, secret.iterations)
        return b"v=" + signature, keys


class ScramProver:
    """The client's side: send client-first, answer the challenge, check the server's signature."""

    __slots__ = (
        "_auth_message",
        "_bare",
        "_binding",
        "_nonce",
        "_server_first",
        "_server_key",
    )

    def __init__(self, nonce: str) -> None:
        """`nonce` is our random part: printable, no comma."""
        self._nonce = nonce.encode()
        self._bare = b"n=,r=" + self._nonce  # PostgreSQL takes the user from StartupMessage
        self._binding = b""
        self._server_first = b""
        self._auth_message = b""
        self._server_key = b""

    def client_first(self, *, is_plus: bool = False, end_point: bytes = b"") -> bytes:
        """client-first. `is_plus`: with SCRAM-SHA-256-PLUS; else an `end_point` says that we could
        have, had the server offered it.
        """
        flag = _BOUND if is_plus else b"y" if end_point else b"n"
        self._binding = _binding(flag, end_point)
        return flag + b",," + self._bare

    def on_server_first(self, server_first: bytes) -> ServerFirst:
        """Read the challenge; it says the salt and the iteration count. Raises ScramError."""
        challenge = parse_server_first(server_first)
        if not challenge.nonce.startswith(self._nonce):
            raise ScramError("invalid SCRAM response (nonce mismatch)")
        self._nonce = challenge.nonce
        self._server_first = server_first
        return challenge

    def prove(self, keys: ScramKeys) -> bytes:
        """client-final, after `on_server_first()`."""
        without_proof = b"c=" + self._binding + b",r=" + self._nonce
        self._auth_message = b",".join((self._bare, self._server_first, without_proof))
        self._server_key = keys.server_key
        signature = _hmac(_sha256(keys.client_key), self._auth_message)
        return without_proof + b",p=" + _encode_base64(_xor(keys.client_key, signature))

    def on_server_final(self, server_final: bytes) -> None:
        """Check the server's signature. Raises BadServerSignature, or ScramError if malformed."""
        signature = parse_server_final(server_final)
        if not hmac.compare_digest(signature, _hmac(self._server_key, self._auth_message)):
            raise BadServerSignature("invalid server signature")


@dataclass(frozen=True, slots=True)
class ClientFirst:
    """client-first, parsed."""

    flag: bytes  # of channel binding: "n", "y" or _BOUND
    bare: bytes
    nonce: bytes


@dataclass(frozen=True, slots=True)
class ServerFirst:
    """server-first, parsed."""

    nonce: bytes
    salt: bytes
    iterations: int


@dataclass(frozen=True, slots=True)
class ClientFinal:
    """client-final, parsed."""

    channel_binding: bytes
    nonce: bytes
    proof: bytes = field(repr=False)
    without_proof: bytes


def parse_client_first(data: bytes) -> ClientFirst:
    """Parse client-first. The user name in it is ignored, as PostgreSQL does."""
    usual = _USUAL_CLIENT_FIRST(data)
    if usual is not None:
        return ClientFirst(usual[1], usual[2], usual[3])
    flag, authzid, bare = _split_gs2_header(data)
    if flag.startswith(b"p=") and flag != _BOUND:
        name = flag[2:].decode("ascii", "backslashreplace")
        raise ScramError(f'unsupported SCRAM channel-binding type "{name}"')
    if flag not in (*_UNBOUND, _BOUND):
        raise ScramError("malformed SCRAM message (unexpected channel-binding flag)")
    if authzid.startswith(b"a"):
        raise ScramError("client uses authorization identity, but it is not supported")
    if authzid:
        raise ScramError("malformed SCRAM message (unexpected attribute in client-first-message)")
    if bare.startswith(b"m"):
        raise ScramError("client requires an unsupported SCRAM extension")
    attributes = _attributes(bare)
    _value(attributes, 0, b"n")
    nonce = _value(attributes, 1, b"r")
    if not nonce or not _is_printable(nonce):
        raise ScramError("non-printable characters in SCRAM nonce")
    return ClientFirst(flag, bare, nonce)


def parse_server_first(data: bytes) -> ServerFirst:
    """Parse server-first; nothing may follow the iteration count."""
    attributes = _attributes(data)
    nonce = _value(attributes, 0, b"r")
    salt = _decode_base64(_value(attributes, 1, b"s"), "invalid salt")
    iterations = _value(attributes, 2, b"i")
    if len(attributes) > 3:
        raise ScramError("malformed SCRAM message (garbage at end of server-first-message)")
    if not iterations.isdigit() or len(iterations) > _MAX_ITERATIONS_DIGITS or not int(iterations):
        raise ScramError("malformed SCRAM message (invalid iteration count)")
    return ServerFirst(nonce, salt, int(iterations))


def parse_client_final(data: bytes) -> ClientFinal:
    """Parse client-final; extensions between the nonce and the proof are allowed."""
    usual = _USUAL_CLIENT_FINAL(data)
    if usual is not None:
        proof = _decode_base64(usual[4], _BAD_PROOF, KEY_LEN)
        return ClientFinal(usual[2], usual[3], proof, usual[1])
    attributes = _attributes(data)
    channel_binding = _value(attributes, 0, b"c")
    nonce = _value(attributes, 1, b"r")
    proof = _value(attributes, len(attributes) - 1, b"p")
    return ClientFinal(
        channel_binding,
        nonce,
        _decode_base64(proof, _BAD_PROOF, KEY_LEN),
        data[: -len(b",p=") - len(proof)],
    )


def parse_server_final(data: bytes) -> bytes:
    """Parse server-final into the server's signature, 32 bytes."""
    attributes = _attributes(data)
    if data.startswith(b"e="):
        error = attributes[0][2:].decode("ascii", "backslashreplace")
        raise ScramError(f"error received from server in SCRAM exchange: {error}")
    signature = _value(attributes, 0, b"v")
    if len(attributes) > 1:
        raise ScramError("malformed SCRAM message (garbage at end of server-final-message)")
    return _decode_base64(signature, "malformed server signature", KEY_LEN)


def _check_binding(flag: bytes, *, is_plus: bool, is_offered: bool) -> None:
    """Raises ScramError where the client's words don't agree with its choice, or show that somebody
    has hidden from it what we offer.
    """
    if is_plus and flag != _BOUND:
        raise ScramError("client selected SCRAM-SHA-256-PLUS without channel binding data")
    if not is_plus and flag == _BOUND:
        raise ScramError("client requires SCRAM channel binding, but it is not supported")
    if is_offered and flag == b"y":
        raise ScramError(
            "SCRAM channel binding negotiation error: the client thinks that it isn't offered"
        )


def _binding(flag: bytes, end_point: bytes) -> bytes:
    """The value of attribute "c"."""
    return _encode_base64(flag + b",," + (end_point if flag == _BOUND else b""))


def _split_gs2_header(data: bytes) -> tuple[bytes, bytes, bytes]:
    parts = data.split(b",", 2)
    if len(parts) < 3:
        raise ScramError("malformed SCRAM message (comma expected)")
    return parts[0], parts[1], parts[2]


def _attributes(data: bytes) -> list[bytes]:
    """The comma-separated parts, each checked to be a letter, "=", and a value without NUL."""
    attributes = data.split(b",")
    for attribute in attributes:
        if not attribute[:1].isalpha() or attribute[1:2] != b"=":
            raise ScramError("malformed SCRAM message (attribute expected)")
    if 0 in data:
        raise ScramError("malformed SCRAM message (length mismatch)")
    return attributes


def _value(attributes: list[bytes], index: int, name: bytes) -> bytes:
    """The value of the attribute that must stand at this place."""
    if index >= len(attributes) or attributes[index][:1] != name:
        raise ScramError(f'malformed SCRAM message (attribute "{name.decode()}" expected)')
    return attributes[index][2:]


def _encode_base64(value: bytes) -> bytes:
    return binascii.b2a_base64(value, newline=False)


def _decode_base64(value: bytes, problem: str, expected_len: int | None = None) -> bytes:
    try:
        decoded = binascii.a2b_base64(value, strict_mode=True)
    except ValueError:
        decoded = None
    if decoded is None or (expected_len is not None and len(decoded) != expected_len):
        raise ScramError(f"malformed SCRAM message ({problem})")
    return decoded


def _is_printable(value: bytes) -> bool:
    return not value.translate(None, _PRINTABLE)


def _hmac(key: bytes, data: bytes) -> bytes:
    return hmac.digest(key, data, "sha256")


def _sha256(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


def _xor(left: bytes, right: bytes) -> bytes:
    """Of two of KEY_LEN bytes."""
    return (int.from_bytes(left, "big") ^ int.from_bytes(right, "big")).to_bytes(KEY_LEN, "big")
