"""Clients that remember what they asked, and servers that do what PostgreSQL does with a few
statements: what an answer must be is known to both.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from pgmux.wire import build, codes, parse
from pgmux.wire.messages import MessageReader
from pgmux.wire.parse import Column
from tests.unit.session.rig import ClientEnd, Message, ServerEnd

DEFAULT_ZONE = "UTC"
QUERY_CANCELED = "57014"
SYNTAX_ERROR = "42601"
AUTH_QUERY = "SELECT name, secret FROM secret_of($1)"


@dataclass
class Request:
    """`text` is what its one row has to be; None: there is no row."""

    text: str | None
    sets_name: str | None = None
    closes_name: tuple[str, str] | None = None
    is_reset: bool = False
    answers: list[str] = field(default_factory=list)


class SimulatedClient:
    """Sends requests, and checks that each answer is its own."""

    def __init__(self, id_: int, end: ClientEnd, startup: dict[str, str]) -> None:
        self.id = id_
        self.end = end
        self.timeout = startup.get("statement_timeout")
        self.zone = ""
        self.is_welcomed = False
        self.outstanding: list[Request] = []
        self.names: dict[str, str] = {}
        self._serial = 0
        self._startup_zone = ""

    @property
    def is_open(self) -> bool:
        return not self.end.is_closed

    @property
    def may_send(self) -> bool:
        """Whether it may ask for more; behind a RESET it has to wait for the values."""
        resets = any(request.is_reset for request in self.outstanding)
        return self.is_open and len(self.outstanding) < 3 and not resets

    def query(self, verb: str) -> None:
        """A simple query."""
        self._serial += 1
        text = f"{verb} {self.id} {self._serial}"
        is_reset = verb in ("RESET", "DISCARD")
        self.outstanding.append(Request(text, is_reset=is_reset))
        self.end.send(build.build_query(text))

    def prepare(self, name: str, sql: str) -> None:
        """Parse, Bind, Execute, Sync; the name must be free."""
        self.outstanding.append(Request(sql, sets_name=name))
        self.names[name] = sql
        self.end.send(build.build_parse(name, sql), *self._run(name))

    def execute(self, name: str) -> None:
        """Bind, Describe, Execute, Sync of a statement that it has."""
        self.outstanding.append(Request(self.names[name]))
        self.end.send(*self._run(name))

    def close_statement(self, name: str) -> None:
        self.outstanding.append(Request(None, closes_name=(name, self.names.pop(name))))
        self.end.send(build.build_close(codes.KIND_STATEMENT, name), build.build_sync())

    def _run(self, name: str) -> list[bytes]:
        return [build.build_bind("", name, []), build.build_execute(), build.build_sync()]

    def read(self) -> None:
        """Check what has come."""
        for kind, body in self.end.messages():
            if kind == "S":
                status = parse.parse_parameter_status(body)
                if status.name == "TimeZone":
                    self.zone = status.value
            elif kind == "Z":
                self._on_ready()
            elif kind == "D":
                (value,) = parse.parse_data_row(body)
                assert value is not None
                self.outstanding[0].answers.append(value.decode())
            elif kind == "3":
                self.outstanding[0].closes_name = None
            elif kind == "E":
                self._on_error(parse.parse_error_response(body))

    def _on_ready(self) -> None:
        if not self.is_welcomed:
            self.is_welcomed = True
            self._startup_zone = self.zone
            return
        request = self.outstanding.pop(0)
        wanted = [] if request.text is None else [request.text]
        assert request.answers in (wanted, ["error"]), (request, self.id)
        if (request.text or "").startswith("DISCARD") and request.answers == wanted:
            self.names.clear()
            self.zone = self._startup_zone  # not told where the server had it all along

    def _on_error(self, error: parse.ServerMessage) -> None:
        if error.severity == "FATAL":
            assert self.end.is_closed
            return
        request = self.outstanding[0]
        request.answers.append("error")
        is_undone = error.sqlstate == QUERY_CANCELED  # it never reached a server
        if request.sets_name is not None and (is_undone or error.sqlstate == SYNTAX_ERROR):
            self.names.pop(request.sets_name, None)
        if request.closes_name is not None and is_undone:
            self.names.setdefault(*request.closes_name)


class SimulatedServer:
    """Answers the oldest whole request each time it is told to. `startup` is what the one client
    wants that it is for, if it is.
    """

    def __init__(self, end: ServerEnd, startup: Mapping[str, str]) -> None:
        self.end = end
        self._startup = startup
        self.zone = startup.get("TimeZone", DEFAULT_ZONE)
        self.timeout = startup.get("statement_timeout")
        self.prepared: dict[str, str] = {}
        self.in_transaction = False
        self.asked: list[Message] = []
        self._reader = MessageReader(2**31, "client")
        self._reported: list[bytes] = []

    @property
    def is_open(self) -> bool:
        return not self.end.is_closed

    def read(self) -> None:
        """Take in what has come."""
        data = bytes(self.end.transport.written)
        self.end.transport.written.clear()
        self.asked += [(chr(kind), body) for kind, body in self._reader.feed(data)]

    @property
    def is_asked(self) -> bool:
        return any(kind in "QS" for kind, _ in self.asked)

    def answer(self, clients: dict[int, SimulatedClient]) -> None:
        """Do one request, and send all of its answer at once."""
        kind, body = self.asked[0]
        if kind == "Q":
            del self.asked[0]
            parts = self._simple(parse.parse_query(body).decode(), clients)
        else:
            parts = self._batch(clients)
        status = codes.TRANSACTION_BLOCK if self.in_transaction else codes.TRANSACTION_IDLE
        reports, self._reported = self._reported, []
        self.end.send(*parts, *reports, build.build_ready_for_query(status))

    def _row(self, text: str, tag: str) -> list[bytes]:
        return [build.build_data_row([text.encode()]), build.build_command_complete(tag)]

    def _simple(self, sql: str, clients: dict[int, SimulatedClient]) -> list[bytes]:
        if sql == "":
            return [build.build_empty_query_response()]
        verb, *rest = sql.split()
        if rest and rest[0].isdigit():
            self._check(clients[int(rest[0])])
        if verb == "FAIL":
            return [build.build_error_response("ERROR", "22P02", "error")]
        if verb in ("BEGIN", "COMMIT"):
            self.in_transaction = verb == "BEGIN"
        elif verb.startswith("SET:") and not self.in_transaction:
            self._set_zone(verb[4:])
            return self._row(sql, "SET")
        elif verb == "RESET":
            self._reset()
            return self._row(sql, "RESET")
        elif verb == "DISCARD" and not self.in_transaction:
            self._reset()
            self.prepared.clear()
            return self._row(sql, "DISCARD ALL")
        elif verb == "CREATE":
            return self._row(sql, "CREATE TABLE")
        return self._row(sql, "SELECT 1")

    def _check(self, client: SimulatedClient) -> None:
        """It is that client's query, and the server carries what the client wants."""
        assert self.end.relay.linked_client is client.end.relay
        carried, wanted = (self.zone.lower(), self.timeout), (client.zone.lower(), client.timeout)
        assert carried == wanted

    def _set_zone(self, zone: str) -> None:
        if zone != self.zone:
            self.zone = zone
            self._reported.append(build.build_parameter_status("TimeZone", zone))

    def _reset(self) -> None:
        self._set_zone(self._startup.get("TimeZone", DEFAULT_ZONE))
        self.timeout = self._startup.get("statement_timeout")

    def _batch(self, clients: dict[int, SimulatedClient]) -> list[bytes]:
        parts: list[bytes] = []
        failed, bound = False, b""
        parameters: tuple[bytes | None, ...] = ()
        while True:
            kind, body = self.asked.pop(0)
            if kind == "S":
                return parts
            if failed:
                continue
            if kind == "P":
                parts.append(self._parse(parse.parse_parse(body)))
            elif kind == "B":
                bind = parse.parse_bind(body)
                bound, parameters = bind.statement, bind.parameters
                assert bound.decode() in self.prepared
                parts.append(build.build_bind_complete())
            elif kind == "D":
                parts.append(build.build_row_description([Column("c", 25, -1)] * 2))
            elif kind == "E":
                parts += self._execute(self.prepared[bound.decode()], parameters)
            else:
                assert kind == "C", kind
                del self.prepared[parse.parse_close(body).name.decode()]
                parts.append(build.build_close_complete())
            failed = parts[-1][:1] == b"E"

    def _parse(self, message: parse.Parse) -> bytes:
        name, sql = message.name.decode(), message.query.decode()
        assert name == "" or name not in self.prepared, "prepared twice"
        if sql.startswith("bad"):
            return build.build_error_response("ERROR", SYNTAX_ERROR, "error")
        self.prepared[name] = sql
        return build.build_parse_complete()

    def _execute(self, sql: str, parameters: tuple[bytes | None, ...]) -> list[bytes]:
        if sql.startswith("fail"):
            return [build.build_error_response("ERROR", "22012", "error")]
        if sql == AUTH_QUERY:
            return self._find_secret(parameters[0] or b"")
        if "set_config(" in sql:
            texts = [None if v is None else v.decode() for v in parameters]
            for name, value in zip(texts[::2], texts[1::2], strict=True):
                if name == "TimeZone":
                    self._set_zone(value or DEFAULT_ZONE)
                elif name == "statement_timeout":
                    self.timeout = value
        return self._row(sql, "SELECT 1")

    def _find_secret(self, user: bytes) -> list[bytes]:
        """It is a lookup's query, and runs in a session that nobody has touched."""
        assert self.end.relay.linked_client.owner.is_lookup
        assert (self.zone, self.timeout) == (DEFAULT_ZONE, None)
        if user == b"nobody":
            return [build.build_command_complete("SELECT 0")]
        row = build.build_data_row([user, b"secret of " + user])
        return [row, build.build_command_complete("SELECT 1")]
