"""The secret by which the pooler can let a user in and log in to PostgreSQL as that user.

A SCRAM verifier serves for both only if it is PostgreSQL's own: with another salt the client's keys
are of no use there. Nobody but a superuser reads it, but who knows the password can make it: the
login tells salt and iterations. So PostgreSQL is logged in to once, as the pooler will do it.
Source: PostgreSQL's "Message Flow" and "SASL Authentication"; `auth.server_auth`.
Errors: `SecretError`.
"""

from __future__ import annotations

import secrets
import socket
import ssl
import struct
from base64 import b64encode
from dataclasses import dataclass, field

from pgmux.auth.md5 import md5_secret
from pgmux.auth.scram import derive_secret
from pgmux.auth.secrets import SecretKind, encode_text, plain_secret
from pgmux.auth.server_auth import SaltedCache, ServerAuth
from pgmux.auth.steps import AuthenticationFailed, Compute, Done, Send
from pgmux.config.model import Settings, SslMode
from pgmux.errors import PgmuxError, ProtocolViolation
from pgmux.ops.console.output import printable
from pgmux.ops.userlist.secrets import make_secret, scram_text
from pgmux.wire import build, codes, parse

TIMEOUT = 10.0  # seconds, of each read
_MAX_MESSAGE = 30_000  # bytes; libpq's bound before the login
_WRONG_PASSWORD = "28P01"


class SecretError(PgmuxError):
    """No secret could be learnt; `is_refusal`: PostgreSQL doesn't take that password."""

    def __init__(self, message: str, *, is_refusal: bool = False) -> None:
        super().__init__(message)
        self.is_refusal = is_refusal


@dataclass(frozen=True, slots=True)
class ServerPlace:
    """Where the pooler logs in."""

    host: str  # or the directory of a Unix socket
    port: int
    dbname: str

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Learnt:
    """How PostgreSQL lets the user in; the secret to store, None where only the password does."""

    method: str
    secret: str | None = field(repr=False)


def learn_secret(place: ServerPlace, user: str, password: str, settings: Settings) -> Learnt:
    """Logs in as the pooler would. Raises: SecretError."""
    try:
        with _connect(place) as plain, _secured(plain, place, settings) as connection:
            connection.settimeout(TIMEOUT)
            return _log_in(connection, place, user, password)
    except TimeoutError as error:
        raise SecretError(f"PostgreSQL at {place} has not answered in {TIMEOUT:g} s") from error
    except OSError as error:
        reason = error.strerror or str(error)
        raise SecretError(f"no connection to PostgreSQL at {place}: {reason}") from error
    except (ProtocolViolation, AuthenticationFailed, struct.error) as error:
        raise SecretError(
            f"at {place} is no PostgreSQL that can be logged in to: {error}"
        ) from error


def _connect(place: ServerPlace) -> socket.socket:
    if not place.host.startswith(("/", "@")):
        return socket.create_connection((place.host, place.port), timeout=TIMEOUT)
    name = f"{place.host}/.s.PGSQL.{place.port}"
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(TIMEOUT)
    try:
        connection.connect("\0" + name[1:] if name.startswith("@") else name)
    except BaseException:
        connection.close()
        raise
    return connection


def _secured(plain: socket.socket, place: ServerPlace, settings: Settings) -> socket.socket:
    """With TLS, where server_tls_sslmode wants it and the server has it."""
    mode = settings.server_tls_sslmode
    if plain.family == socket.AF_UNIX or mode is SslMode.DISABLE:
        return plain
    plain.sendall(build.build_ssl_request())
    if plain.recv(1) != b"S":
        if mode in (SslMode.REQUIRE, SslMode.VERIFY_CA, SslMode.VERIFY_FULL):
            raise SecretError(f"PostgreSQL at {place} has no TLS: server_tls_sslmode wants it")
        return plain
    context = ssl.create_default_context(cafile=settings.server_tls_ca_file or None)
    context.check_hostname = mode is SslMode.VERIFY_FULL
    if mode not in (SslMode.VERIFY_CA, SslMode.VERIFY_FULL):
        context.verify_mode = ssl.CERT_NONE
    if settings.server_tls_cert_file:
        context.load_cert_chain(settings.server_tls_cert_file, settings.server_tls_key_file)
    return context.wrap_socket(plain, server_hostname=place.host)


def _log_in(connection: socket.socket, place: ServerPlace, user: str, password: str) -> Learnt:
    parameters = {"user": user, "database": place.dbname, "application_name": "pgmux"}
    connection.sendall(build.build_startup_message(parameters))
    cache: SaltedCache = {}
    nonce = b64encode(secrets.token_bytes(18)).decode()
    exchange = ServerAuth(user, plain_secret(password), None, nonce, cache)
    method = ""
    while True:
        body = _next_request(connection, place)
        code = parse.parse_authentication(body).code
        if code == codes.AUTH_REQ_PASSWORD:
            return Learnt("password", None)  # not sent: whether it is right, the trial tells
        step = exchange.on_authentication(body)  # refuses a server that hasn't proved itself
        if isinstance(step, Done):
            break
        method = "md5" if code == codes.AUTH_REQ_MD5 else "scram-sha-256"
        if isinstance(step, Compute):
            step = exchange.on_computed(step.job.run())
        if isinstance(step, Send) and step.data:
            connection.sendall(step.data)
    return Learnt(method or "trust", _learnt_secret(method, user, password, cache))


def _learnt_secret(method: str, user: str, password: str, cache: SaltedCache) -> str:
    if method == "md5":
        return md5_secret(encode_text(password), encode_text(user)).decode()
    for job, salted in cache.items():
        return scram_text(derive_secret(salted, job.salt, job.iterations))
    return make_secret(user, password, SecretKind.SCRAM)


def _next_request(connection: socket.socket, place: ServerPlace) -> bytes:
    """The body of the next Authentication message. Raises: SecretError for the server's refusal."""
    while True:
        type_byte, length = struct.unpack(">BI", _read(connection, 5))
        if not 4 <= length <= _MAX_MESSAGE:
            raise SecretError(f"at {place} is no PostgreSQL: a message of {length} bytes")
        body = _read(connection, length - 4)
        if type_byte == ord("R"):
            return body
        if type_byte == ord("E"):
            fields = parse.parse_error_response(body).fields
            said = printable(fields.get("M", "an error without a text"))
            refused = fields.get("C") == _WRONG_PASSWORD
            raise SecretError(f"PostgreSQL at {place}: {said}", is_refusal=refused)


def _read(connection: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        chunk = connection.recv(count - len(data))
        if not chunk:
            raise ConnectionResetError(0, "it has closed the connection")
        data += chunk
    return data
