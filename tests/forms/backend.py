"""A PostgreSQL backend's side of the protocol, sans-IO, with queries that are tokens."""

from __future__ import annotations

from collections import deque

from pgmux.wire import parse
from tests.forms import messages as m


class Backend:
    """Answers what it is sent, one message at a time.

    SQL: BEGIN, COMMIT, FAIL, COPY (in), DEALLOCATE ALL, or anything else, which is one row of it. A
    text that holds BAD can't be parsed.
    """

    def __init__(self) -> None:
        self.asked: deque[tuple[str, bytes]] = deque()
        self.answer = bytearray()
        self._data = bytearray()
        self._prepared: dict[bytes, bytes] = {}
        self._portals: dict[bytes, bytes] = {}
        self._state = b"I"
        self._skipping = False
        self._copying = ""  # Q or E: what began it

    def receive(self, data: bytes) -> None:
        """Take in bytes; whole messages are to be handled by `step`."""
        self._data += data
        while len(self._data) >= 5:
            end = 1 + int.from_bytes(self._data[1:5], "big")
            if len(self._data) < end:
                break
            self.asked.append((chr(self._data[0]), bytes(self._data[5:end])))
            del self._data[:end]

    def step(self) -> None:
        """Handle the oldest message; what it answers is added to `answer`."""
        kind, body = self.asked.popleft()
        if self._copying:
            self._copy(kind)
        elif self._skipping and kind != "S":
            pass
        elif kind not in "dcfH":
            getattr(self, f"_on_{kind}")(body)

    def take(self) -> bytes:
        """What it has answered since the last call."""
        answer = bytes(self.answer)
        self.answer.clear()
        return answer

    def _ready(self) -> None:
        if self._state == b"I":
            self._portals.clear()
        self.answer += m.message(b"Z", self._state)

    def _fail(self, sqlstate: str, text: str, *, simple: bool = False) -> None:
        self.answer += m.error(sqlstate, text)
        if self._state == b"T":
            self._state = b"E"
        self._skipping = not simple
        if simple:
            self._ready()

    def _run(self, sql: bytes, *, simple: bool) -> bool:
        """Whether ReadyForQuery is due, for a simple query."""
        if self._state == b"E" and sql != b"COMMIT":
            self._fail("25P02", "aborted", simple=simple)
            return False
        if sql == b"FAIL":
            self._fail("22012", "failed", simple=simple)
            return False
        if sql == b"COPY":
            self.answer += m.copy_in
            self._copying = "Q" if simple else "E"
            return False
        if sql in (b"BEGIN", b"COMMIT"):
            self._state = b"T" if sql == b"BEGIN" else b"I"
        elif sql == b"DEALLOCATE ALL":
            self._prepared.clear()
        else:
            self.answer += m.row(sql)
        self.answer += m.done(sql.decode())
        return simple

    def _copy(self, kind: str) -> None:
        if kind not in "cf":
            assert kind in "dHS", kind
            return
        simple, self._copying = self._copying == "Q", ""
        if kind == "f":
            self._fail("57014", "COPY given up", simple=simple)
            return
        self.answer += m.done("COPY 1")
        if simple:
            self._ready()

    def _on_Q(self, body: bytes) -> None:
        sql = parse.parse_query(body)
        if b"BAD" in sql:
            self._fail("42601", "bad", simple=True)
        elif self._run(sql, simple=True):
            self._ready()

    def _on_S(self, body: bytes) -> None:
        self._skipping = False
        self._ready()

    def _on_P(self, body: bytes) -> None:
        message = parse.parse_parse(body)
        if b"BAD" in message.query:
            self._fail("42601", "bad")
        elif message.name and message.name in self._prepared:
            self._fail("42P05", "taken")
        else:
            self._prepared[message.name] = message.query
            self.answer += m.one

    def _on_B(self, body: bytes) -> None:
        names = parse.parse_bind_names(body)
        if names.statement not in self._prepared:
            self._fail("26000", "no such statement")
        else:
            self._portals[names.portal] = self._prepared[names.statement]
            self.answer += m.two

    def _on_D(self, body: bytes) -> None:
        target = parse.parse_describe(body)
        if target.name not in (self._prepared if target.kind == m.STATEMENT else self._portals):
            self._fail("26000", "no such statement")
        else:
            self.answer += m.parameters if target.kind == m.STATEMENT else b""
            self.answer += m.columns

    def _on_E(self, body: bytes) -> None:
        portal = body.partition(b"\0")[0]
        if portal not in self._portals:
            self._fail("34000", "no such portal")
        else:
            self._run(self._portals[portal], simple=False)

    def _on_C(self, body: bytes) -> None:
        target = parse.parse_close(body)
        if target.kind == m.STATEMENT:
            self._prepared.pop(target.name, None)
        self.answer += m.three
