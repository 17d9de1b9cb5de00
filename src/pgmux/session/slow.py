"""The log's lines about transactions and waits that take longer than pgmux.ini allows
(log_min_transaction_duration, log_min_wait_duration): who, for how long, what it does, and how the
pool is off.

A transaction has one line while it runs, by the janitor, and one at its end; a wait one at its end.
Texts of statements are kept only while a threshold is set, and shown without their literals unless
log_statement_literals says otherwise. Errors: none.
"""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING

from pgmux.pool.states import CL_WAITING, SV_ACTIVE
from pgmux.session._relay_cy import ClientRelay, PoolRelay, ServerRelay
from pgmux.session.apps import application_name
from pgmux.session.literals import hide_literals
from pgmux.session.log import Fields
from pgmux.wire import codes
from pgmux.wire.messages import HEADER_LEN

if TYPE_CHECKING:
    from pgmux.config.model import PgmuxSettings
    from pgmux.session.control import PoolControl

MAX_STATEMENT = 1000  # characters that are logged
_READ_MAX = 8192  # bytes of a statement that are looked at
_LONG_XACT, _LONG_WAIT = "long transaction", "long wait"  # kinds of lines that may be a flood
_MESSAGES_MAX = 1000
_PREPARED = b"(a prepared statement)"  # whose text isn't known here
_COPY_DATA = b"(data of a COPY)"


def tune(relay: PoolRelay, settings: PgmuxSettings) -> None:
    """What the relay is to show, and to keep; nothing stays of what was kept till now."""
    relay.slow_xact = _threshold(settings.log_min_transaction_duration)
    relay.long_wait = _threshold(settings.log_min_wait_duration)
    keeps, relay.keeps_requests = relay.keeps_requests, relay.slow_xact < inf
    if keeps and not relay.keeps_requests:
        for client in relay.lists.active_clients():
            client.request = None


def _threshold(seconds: float) -> float:
    return seconds if seconds > 0 else inf


class SlowLog:
    """One pool's lines."""

    def __init__(self, control: PoolControl) -> None:
        self._control = control
        self._said: dict[ClientRelay, float] = {}  # of a transaction that runs: since when it does

    # ---- waits

    def on_served(self, client: ClientRelay, seconds: float) -> None:
        """A client has waited that long, and has its server."""
        self._say_wait(client, seconds, "")

    def on_wait_over(self, client: ClientRelay, since: float) -> None:
        """A client that has waited since then leaves the queue without a server."""
        waited = self._control.pooler.clock() - since
        if waited >= client.pool_relay.long_wait:
            self._say_wait(client, waited, ", in vain")

    def on_client_gone(self, client: ClientRelay) -> None:
        """A client leaves, maybe from the middle of its transaction."""
        if client.state != CL_WAITING and client.xact_start:
            self.on_slow_xact(client, self._control.pooler.clock() - client.xact_start)

    def _say_wait(self, client: ClientRelay, seconds: float, outcome: str) -> None:
        text = f"long wait: {seconds:.1f} s for a server{outcome} ({self._circumstances(client)})"
        fields = {**self._fields(client), "wait": round(seconds, 3)}
        self._write(client, text, fields, _LONG_WAIT)

    # ---- transactions

    def look(self, now: float) -> None:
        """Say which transactions are slow by now; each once."""
        said, self._said = self._said, {}
        for server in self._control.pool.lists.servers(SV_ACTIVE):
            client: ClientRelay | None = server.linked_client
            if client is None or not client.xact_start:
                continue
            seconds = _without_wait(client, now - client.xact_start)
            if seconds >= client.pool_relay.slow_xact:
                if said.get(client) != client.xact_start:
                    self._say_running(server, client, seconds)
                self._said[client] = client.xact_start

    def on_slow_xact(self, client: ClientRelay, seconds: float) -> None:
        """A transaction is over that took that long, its wait for a server included."""
        self._said.pop(client, None)
        seconds = _without_wait(client, seconds)
        if seconds >= client.pool_relay.slow_xact:
            self._say_xact(client, seconds, "over", "in all")

    def _say_running(self, server: ServerRelay, client: ClientRelay, seconds: float) -> None:
        state, how = "active", "so far, active"
        if server.idle_tx:
            state = "idle in transaction"
            idle = self._control.pooler.clock() - server.request_time
            how = f"so far, {state} for {idle:.1f} s"
        self._say_xact(client, seconds, state, how)

    def _say_xact(self, client: ClientRelay, seconds: float, state: str, how: str) -> None:
        log, settings = self._control.pooler.log, self._control.pooler.config.pgmux
        # half a millisecond each; in a flood nobody sees it
        statement = "" if log.is_flooded(_LONG_XACT) else read_statement(client)
        if not settings.log_statement_literals:
            statement = hide_literals(statement, MAX_STATEMENT)
        statement = statement[: MAX_STATEMENT + 1]
        text = f"long transaction: {seconds:.1f} s {how} ({self._circumstances(client)})"
        fields = {**self._fields(client), "duration": round(seconds, 3), "state": state}
        if statement:
            text += f": {statement}"
            fields["statement"] = statement
        self._write(client, text, fields, _LONG_XACT)

    # ---- what all lines have

    def _circumstances(self, client: ClientRelay) -> str:
        lists = self._control.pool.lists
        pool = (
            f"{lists.server_count(SV_ACTIVE)} active, {lists.idle_count()} idle,"
            f" {lists.waiting_count()} waiting"
        )
        return f'application "{application_name(client)}"; pool: {pool}'

    def _fields(self, client: ClientRelay) -> dict[str, object]:
        lists = self._control.pool.lists
        return {
            "application_name": application_name(client),
            "pool_active": lists.server_count(SV_ACTIVE),
            "pool_idle": lists.idle_count(),
            "pool_waiting": lists.waiting_count(),
        }

    def _write(self, client: ClientRelay, text: str, fields: Fields, kind: str) -> None:
        if not client.owner.is_lookup:
            self._control.pooler.log.log(text, self._control.name(client), fields, limit=kind)


def _without_wait(client: ClientRelay, seconds: float) -> float:
    """What a transaction of that age has taken since it has its server."""
    return seconds - max(0.0, client.link_start - client.xact_start)


def read_statement(client: ClientRelay) -> str:
    """The last statement of what the client has sent last, or the beginning of it; "" where that
    had none, or nothing is kept.
    """
    data, pos, text = client.request or b"", 0, b""
    for _ in range(_MESSAGES_MAX):
        if len(data) - pos <= HEADER_LEN:
            break
        start = pos + HEADER_LEN
        pos += 1 + int.from_bytes(data[pos + 1 : start], "big")
        kind, body = data[start - HEADER_LEN], data[start : min(pos, start + _READ_MAX)]
        if kind == codes.QUERY:
            text = body
        elif kind == codes.PARSE:
            text = body.partition(b"\0")[2]
        elif kind == codes.BIND:
            text = _bound(client, body) or text
        elif kind == codes.COPY_DATA:
            text = _COPY_DATA
        if pos < start:
            break  # which the relay has refused
    return text.partition(b"\0")[0].decode("utf-8", "surrogateescape")


def _bound(client: ClientRelay, body: bytes) -> bytes:
    """The text of the statement that a Bind names; empty for the unnamed one."""
    name = body.partition(b"\0")[2].partition(b"\0")[0]
    if not name:
        return b""
    return client.find_prepared(name) or _PREPARED
