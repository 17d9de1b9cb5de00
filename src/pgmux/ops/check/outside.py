"""`pgmux check --from HOST:PORT`: who answers there, and what it asks for, without logging in.

Two connections as a rule, five at most, one after the other; none sends a password. The first asks
for TLS and begins a login, with protocol 3.9999, which says how new the other side is; a second one
without TLS sends a parameter that PostgreSQL ignores before a login and poolers refuse at once.
Source: PostgreSQL's "Message Flow" (54.2); PgBouncer's src/client.c handle_client_startup.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from pgmux.errors import PgmuxError
from pgmux.net.x509 import read_certificate
from pgmux.ops.check.facts.outside import Answers, Asks, CertificateFacts, OutsideFacts
from pgmux.ops.check.line import Address, Line, LineError, Why, is_loopback, resolve
from pgmux.ops.console.output import printable
from pgmux.wire import build, codes
from pgmux.wire.messages import MessageReader
from pgmux.wire.parse import (
    parse_authentication,
    parse_error_response,
    parse_negotiate_protocol_version,
    parse_parameter_status,
    parse_sasl_mechanisms,
)

PATIENCE = 5.0  # seconds, of one connection
IN_ALL = 20.0  # seconds
DEFAULT_PORT = 6432
_NEWEST = codes.PROTOCOL_3_0 + 9999
_UNKNOWN_PARAMETER = "pgmux.check"
_MOST_MESSAGE = 8192
_SHOWN = 60  # bytes of what isn't understood
_MOST_SAID = 200  # characters of an error
_GREETINGS = (
    (b"SSH-", "an SSH server"),
    (b"HTTP/", "an HTTP server"),
    (b"220 ", "a mail or FTP server"),
    (b"-ERR", "Redis"),
    (b"-DENIED", "Redis"),
    (b"\x15\x03", "a TLS server"),
)


class OutsideError(PgmuxError):
    """That is no HOST:PORT."""


def parse_place(text: str) -> tuple[str, int]:
    """`db`, `db:5432`, `[::1]:6432`. Raises: OutsideError."""
    host, colon, port = text.rpartition(":")
    if not colon or "]" in port or (":" in host and not host.startswith("[")):
        host, port = text, str(DEFAULT_PORT)
    host = host.removeprefix("[").removesuffix("]")
    if (
        not host
        or not port.isdecimal()
        or not port.isascii()
        or not 0 < int(port) < 65536
        or "/" in host
    ):
        raise OutsideError(f"not HOST:PORT: {printable(text)} (write db.example.com:6432)")
    return host, int(port)


@dataclass(frozen=True, slots=True)
class Heard:
    """What a login has been answered; `error` and `fields` of an ErrorResponse."""

    asks: Asks | None = None
    minor: int | None = None
    error: str = ""
    fields: frozenset[str] = frozenset()
    version: str = ""
    junk: bytes = b""
    wants_certificate: bool = False


def look(place: str, user: str = "postgres", *, patience: float = PATIENCE) -> OutsideFacts:
    """Who answers there; a connection takes `patience` seconds at most. Raises: OutsideError."""
    host, port = parse_place(place)
    probe = _Probe(host, user, f"{host}:{port}", patience)
    try:
        return probe.run(resolve(host, port, patience))
    except LineError as error:
        return probe.nobody(error)


class _Probe:
    """The connections to one place, in order."""

    def __init__(self, host: str, user: str, asked: str, patience: float) -> None:
        self._patience = patience
        self._host = host
        self._user = user
        self._ends_at = time.monotonic() + IN_ALL
        self._address: Address | None = None
        self._facts = OutsideFacts(asked, user, asked, False, Answers.UNKNOWN)
        self._connections = 0

    def run(self, addresses: list[Address]) -> OutsideFacts:
        """Raises: LineError, where no address lets one connect."""
        first = self._find_open(addresses)
        assert self._address is not None
        address = self._address[1]
        self._set(address=f"{address[0]}:{address[1]}", is_loopback=is_loopback(address[0]))
        with first:
            heard = self._begin(first)
        if heard is not None:
            self._judge(heard)
        return replace(self._facts, connections=self._connections)

    def nobody(self, error: LineError) -> OutsideFacts:
        """That no connection was to be had."""
        kinds = {Why.REFUSED: Answers.CLOSED, Why.NO_ANSWER: Answers.FILTERED}
        answers = kinds.get(error.why, Answers.UNREACHABLE)
        return replace(self._facts, answers=answers, detail=str(error))

    def _set(self, **values: Any) -> None:
        self._facts = replace(self._facts, **values)

    def _find_open(self, addresses: list[Address]) -> Line:
        """Raises: LineError, that of the last address."""
        error = LineError(Why.UNREACHABLE, "the name has no address")
        for address in addresses:
            try:
                line = self._connect(address)
            except LineError as failure:
                error = failure
                self._address = address
                continue
            self._address = address
            return line
        raise error

    def _connect(self, address: Address) -> Line:
        self._connections += 1
        left = self._ends_at - time.monotonic()
        if left <= 0:
            raise LineError(Why.NO_ANSWER, "no answer in time")
        return Line(address, min(self._patience, left))

    def _again(self) -> Line:
        assert self._address is not None
        return self._connect(self._address)

    # The first connection: TLS, and what a login is asked for

    def _begin(self, line: Line) -> Heard | None:
        """What was heard of a login; None where that is no PostgreSQL, which is noted."""
        try:
            line.send(build.build_ssl_request())
            answer = line.receive()
        except LineError as error:
            self._not_understood(b"", error)
            return None
        if answer == b"S":
            self._set(has_tls=True)
            return self._over_tls(line)
        if answer == b"N":
            return self._log_in(line, _NEWEST)
        if answer[:1] == b"E" and (heard := hear(answer)).error:
            return heard
        if answer == b"" or answer.startswith(b"\x15\x03"):
            return self._directly(answer)
        self._not_understood(answer, None)
        return None

    def _over_tls(self, line: Line) -> Heard | None:
        """The certificate, verified; where it fails, once more without."""
        fault = ""
        try:
            line.start_tls(self._host, verify=True)
        except LineError as error:
            if error.why is not Why.TLS:
                self._not_understood(b"", error)
                return None
            fault = str(error)
        if not fault:
            self._note_tls(line, "")
            return self._log_in(line, _NEWEST)
        try:
            with self._again() as other:
                other.send(build.build_ssl_request())
                if other.receive() == b"S":
                    other.start_tls(self._host, verify=False)
                    self._note_tls(other, fault)
                    return self._log_in(other, _NEWEST)
        except LineError as error:
            fault = f"{fault}; {error}"
        self._set(detail=f"TLS fails: {fault}")
        return Heard()

    def _directly(self, answer: bytes) -> Heard | None:
        """TLS from the first byte on, as who doesn't understand the question may want it."""
        try:
            with self._again() as line:
                line.start_tls(self._host, verify=False)
                self._set(has_tls=True, is_direct_tls=True)
                self._note_tls(line, "")
                heard = self._log_in(line, _NEWEST)
        except LineError as error:
            self._not_understood(answer, error)
            return None
        if heard.asks is None and not heard.error:
            self._not_understood(heard.junk or answer, None)
            return None
        return heard

    def _note_tls(self, line: Line, fault: str) -> None:
        until = days = None
        try:
            until = read_certificate(line.certificate).not_after
            days = (until - datetime.now(UTC)).days
        except ValueError:
            fault = fault or "that is no certificate"
        certificate = CertificateFacts(fault, until, days)
        self._set(tls_version=line.tls_version, certificate=certificate)

    def _log_in(self, line: Line, protocol: int, **parameters: str) -> Heard:
        """Begins a login and hears what comes, up to the question for a password."""
        names = {"user": self._user, "database": "postgres", **parameters}
        received = b""
        try:
            line.send(build.build_startup_message(names, protocol))
            while data := line.receive():
                received += data
                heard = hear(received)
                if heard.asks is not None and (heard.asks is not Asks.NOTHING or heard.version):
                    break
                if heard.junk:
                    break
        except LineError as error:
            heard = hear(received)
            if error.why is Why.TLS and "CERTIFICATE" in str(error).upper():
                return replace(heard, wants_certificate=True)
            return heard
        heard = hear(received)
        if heard.asks is Asks.NOTHING:
            _leave(line)
        return heard

    # The others: who that is, and whether it does without TLS

    def _judge(self, heard: Heard) -> None:
        if heard.wants_certificate:
            self._set(wants_certificate=True)
        if heard.error.startswith("bad packet header") and not heard.fields & _ONLY_POSTGRES:
            heard = replace(self._old_login(), minor=None, fields=heard.fields)
            self._set(answers=Answers.PGBOUNCER, detail="older than 1.23")
        clear = None
        if not self._facts.is_direct_tls:
            clear = self._in_clear(codes.PROTOCOL_3_0, **{_UNKNOWN_PARAMETER: "1"})
        self._name(heard, clear)
        is_pooler = self._facts.answers in (Answers.PGBOUNCER, Answers.PGMUX, Answers.POOLER)
        if is_pooler and self._facts.has_tls and clear and "SSL required" not in clear.error:
            clear = self._in_clear(codes.PROTOCOL_3_0)
        self._set(
            asks=heard.asks,
            refusal=printable(heard.error[:_MOST_SAID]),
            version=printable(heard.version[:_MOST_SAID]),
            asks_in_clear=clear.asks if clear else None,
        )

    def _old_login(self) -> Heard:
        """As older PgBouncers understand it."""
        try:
            with self._again() as line:
                if self._facts.has_tls:
                    line.send(build.build_ssl_request())
                    line.receive()
                    line.start_tls(self._host, verify=False)
                return self._log_in(line, codes.PROTOCOL_3_0)
        except LineError:
            return Heard()

    def _in_clear(self, protocol: int, **parameters: str) -> Heard | None:
        try:
            with self._again() as line:
                return self._log_in(line, protocol, **parameters)
        except LineError:
            return None

    def _name(self, heard: Heard, clear: Heard | None) -> None:
        """Who it is, by what only one of them says."""
        if self._facts.answers is Answers.PGBOUNCER:
            return
        fields = heard.fields | (clear.fields if clear else frozenset())
        refused = clear.error if clear else ""
        if fields & _ONLY_POSTGRES:
            self._set(answers=Answers.POSTGRESQL)
        elif "unsupported startup parameter" in refused or "SSL required" in refused:
            by_minor = {0: Answers.PGBOUNCER, 2: Answers.PGMUX}
            self._set(
                answers=by_minor.get(-1 if heard.minor is None else heard.minor, Answers.POOLER)
            )
        elif clear is not None and clear.asks not in (None, Asks.REFUSED):
            self._set(answers=Answers.POSTGRESQL)

    def _not_understood(self, answer: bytes, error: LineError | None) -> None:
        if answer:
            name = next((name for start, name in _GREETINGS if answer.startswith(start)), "")
            shown = ascii(answer[:_SHOWN].decode("latin-1"))
            self._set(answers=Answers.ELSE, detail=f"{name}: {shown}" if name else shown)
        elif error is not None and error.why is Why.NO_ANSWER:
            self._set(answers=Answers.SILENT, detail=f"for {self._patience:g} s")
        else:
            self._set(answers=Answers.ELSE, detail="it closes the connection without a word")


_ONLY_POSTGRES = frozenset("FLRV")  # fields of an error that poolers don't send


def hear(data: bytes) -> Heard:
    """What whole messages of a server say, up to the first that isn't one."""
    heard = Heard()
    reader = MessageReader(_MOST_MESSAGE, "server")
    try:
        for message_type, body in reader.feed(data):
            heard = _take(heard, message_type, body)
    except (PgmuxError, ValueError):
        return heard if heard.asks or heard.minor is not None else Heard(junk=data[:_SHOWN])
    return heard


def _take(heard: Heard, message_type: int, body: bytes) -> Heard:
    """Raises: PgmuxError."""
    if message_type == codes.NEGOTIATE_PROTOCOL_VERSION:
        return replace(heard, minor=parse_negotiate_protocol_version(body).minor)
    if message_type == codes.AUTHENTICATION_REQUEST:
        return replace(heard, asks=_asked(body))
    if message_type == codes.PARAMETER_STATUS:
        status = parse_parameter_status(body)
        return replace(heard, version=status.value) if status.name == "server_version" else heard
    if message_type == codes.ERROR_RESPONSE:
        error = parse_error_response(body)
        asks = heard.asks or Asks.REFUSED
        return replace(heard, asks=asks, error=error.message, fields=frozenset(error.fields))
    return heard


_ASKS = {
    codes.AUTH_REQ_OK: Asks.NOTHING,
    codes.AUTH_REQ_PASSWORD: Asks.CLEARTEXT,
    codes.AUTH_REQ_MD5: Asks.MD5,
    codes.AUTH_REQ_GSS: Asks.GSS,
    codes.AUTH_REQ_SSPI: Asks.GSS,
}


def _asked(body: bytes) -> Asks:
    request = parse_authentication(body)
    if request.code == codes.AUTH_REQ_SASL:
        is_scram = any(name.startswith("SCRAM-") for name in parse_sasl_mechanisms(request.rest))
        return Asks.SCRAM if is_scram else Asks.UNKNOWN
    return _ASKS.get(request.code, Asks.UNKNOWN)


def _leave(line: Line) -> None:
    """As a client does that is let in and wants nothing."""
    try:
        line.send(build.build_terminate())
    except LineError:
        return
