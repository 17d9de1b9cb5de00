"""The relay in either form, between transports that record and a control that decides simply.

A form that can't be loaded fails whatever asks for it: `compiled` is the extension module that the
package itself would import, `uncompiled` is the same source under another name.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path
from types import ModuleType
from typing import Any

import pgmux
from pgmux.errors import SQLSTATE_DUPLICATE_PREPARED_STATEMENT
from pgmux.pool.states import CL_GONE, SV_ACTIVE, SV_GONE, SV_IDLE
from pgmux.wire import build, parse

FORMS = ("compiled", "uncompiled")
SESSION, TRANSACTION, STATEMENT = range(3)

TIMES = ("xact_time", "query_time", "wait_time")
COUNTS = (
    "xact_count",
    "query_count",
    "client_bytes",
    "server_bytes",
    "client_parse_count",
    "server_parse_count",
    "bind_count",
)


def _compiled(name: str) -> ModuleType:
    module = importlib.import_module(name)
    assert str(module.__file__).endswith(tuple(EXTENSION_SUFFIXES)), f"{name} is not compiled"
    return module


def _uncompiled(name: str) -> ModuleType:
    source = Path(pgmux.__path__[0], *name.split(".")[1:]).with_suffix(".py")
    alias = f"uncompiled.{name}"
    spec = importlib.util.spec_from_file_location(alias, source)
    assert spec is not None and spec.loader is not None
    module = sys.modules[alias] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@dataclass(frozen=True)
class Form:
    relay: Any
    pool: Any


@cache
def load(form: str) -> Form:
    """The modules of one form."""
    load_module = _compiled if form == "compiled" else _uncompiled
    return Form(load_module("pgmux.session._relay_cy"), load_module("pgmux.pool._pool_cy"))


class Transport:
    """Records what is written; asks for a pause as long as `full`, as asyncio's transports do."""

    def __init__(self) -> None:
        self.written = bytearray()
        self.chunks: list[bytes] = []
        self.protocol: Any = None
        self.is_reading = True
        self.is_closed = False
        self.full = False

    def write(self, data: bytes) -> None:
        assert isinstance(data, bytes) and data
        assert not self.is_closed, "written to after its end"
        self.written += data
        self.chunks.append(data)
        if self.full:
            self.protocol.pause_writing()

    def pause_reading(self) -> None:
        assert self.is_reading, "paused twice"
        self.is_reading = False

    def resume_reading(self) -> None:
        assert not self.is_reading, "resumed twice"
        self.is_reading = True

    def close(self) -> None:
        self.is_closed = True
        self.protocol = None

    def take(self) -> bytes:
        """What was written since the last call."""
        data = bytes(self.written)
        self.written.clear()
        return data


class Statements:
    """`session.prepare.Statements` for either form."""

    def __init__(self, form: Form) -> None:
        self._make = form.relay.PreparedStatement
        self._by_query: dict[bytes, Any] = {}
        self._count = 0

    def find(self, query: bytes) -> Any:
        if query not in self._by_query:
            self._count += 1
            self._by_query[query] = self._make(b"PGBOUNCER_%d" % self._count, query)
        return self._by_query[query]

    def outdate(self) -> None:
        self._by_query.clear()


@dataclass
class Rig:
    """One pool; `control` of its relays."""

    form: Form
    mode: int = TRANSACTION
    max_prepared_statements: int = 200
    server_count: int = 1
    events: list[str] = field(default_factory=list)
    servers: list[Any] = field(default_factory=list)
    now: float = 100.0
    on_wait: Callable[[Any], None] = lambda client: None

    def __post_init__(self) -> None:
        self.lists = self.form.pool.PoolLists()
        self.statements = Statements(self.form)
        self.pool = self.form.relay.PoolRelay(self.lists, self, self.statements, lambda: self.now)
        self.pool.mode = self.mode
        self.pool.max_prepared_statements = self.max_prepared_statements
        for _ in range(self.server_count):
            self.add_server()

    def add_server(self) -> Any:
        server = self._relay(self.form.relay.ServerRelay)
        self.servers.append(server)
        self.lists.add_server(server)
        self.lists.move_server(server, SV_IDLE)
        return server

    def add_client(self) -> Any:
        client = self._relay(self.form.relay.ClientRelay)
        self.lists.add_client(client)
        return client

    def _relay(self, kind: Any) -> Any:
        transport = Transport()
        relay = transport.protocol = kind(self.pool, transport, None)
        relay.vars = "default"
        return relay

    def counts(self) -> dict[str, float]:
        return {name: getattr(self.pool.counters, name) for name in COUNTS + TIMES}

    def idle(self) -> list[Any]:
        return list(self.lists.servers(SV_IDLE))

    # ---- control

    def on_client_lost(self, client: Any, error: BaseException | None) -> None:
        self._close_client(client, "lost")

    def on_client_terminate(self, client: Any) -> None:
        self._close_client(client, "terminate")

    def on_client_violation(self, client: Any, message: str) -> None:
        client.transport.write(build.build_error_response("FATAL", "08P01", message))
        self._close_client(client, f"client: {message}")

    def on_client_waits(self, client: Any) -> None:
        self.on_wait(client)

    def on_server_error(self, body: bytes) -> None:
        pass

    def on_last_words(self, server: Any, body: bytes) -> None:
        pass

    def on_server_lost(self, server: Any, error: BaseException | None) -> None:
        self._close_server(server, "lost")

    def on_server_violation(self, server: Any, message: str) -> None:
        self._close_server(server, f"server: {message}")

    def on_vars_changed(self, client: Any) -> None:
        client.app_vars = client.vars

    def on_bug(self, relay: Any, error: Exception) -> None:
        raise AssertionError("a bug") from error

    def _close_client(self, client: Any, reason: str) -> None:
        if client.closed:
            return
        client.closed = True
        self.events.append(reason)
        client.transport.close()
        server = client.linked_server
        if server is not None:
            is_clean = server.ready and not client.mid_message
            server.unlink()
            if is_clean:
                server.release()
            else:
                self._close_server(server, "unclean")
        if client.state != CL_GONE:
            self.lists.remove_client(client)

    def _close_server(self, server: Any, reason: str) -> None:
        if server.closed:
            return
        server.closed = True
        self.events.append(reason)
        client = server.linked_client
        server.unlink()
        server.transport.close()
        self.lists.move_server(server, SV_GONE)
        if client is not None:
            client.transport.write(build.build_error_response("FATAL", "08P01", reason))
            self._close_client(client, "server gone")

    def on_release(self, server: Any) -> None:
        if server.close_needed:
            self._close_server(server, "close_needed")
            return
        client = self.lists.next_waiting()
        while client is not None:
            server.serve(client)
            if server.linked_client is not None or not server.ready:
                return
            client = self.lists.next_waiting()
        self.lists.move_server(server, SV_IDLE)

    def on_private_message(self, server: Any, kind: int, body: bytes) -> None:
        if not server.private and chr(kind) not in "NAS":
            self._close_server(server, "idle server got dirty")
        else:
            self.events.append(f"private {chr(kind)}")

    def on_private_ready(self, server: Any) -> None:
        self.events.append("private ready")

    def vars_message(self, client: Any, server: Any) -> bytes:
        return build.build_query(f"SET {client.vars}")

    def on_vars_set(self, server: Any, client: Any) -> None:
        server.vars = client.vars

    def on_parameter_status(self, server: Any, client: Any, body: bytes) -> bytes | None:
        status = parse.parse_parameter_status(body)
        if status.value == "own":
            return build.build_parameter_status(status.name, "client's own")
        return None

    def on_command_tag(self, server: Any, client: Any, tag: bytes) -> bool:
        self.events.append(tag.decode())
        if tag in (b"DISCARD ALL", b"DEALLOCATE ALL"):
            server.forget_prepared()
        return tag.startswith(b"ALTER")

    def is_stale_error(self, body: bytes) -> bool:
        return parse.parse_error_response(body).sqlstate == "0A000"

    def duplicate_error(self, body: bytes, name: bytes | None) -> bytes | None:
        error = parse.parse_error_response(body)
        if error.sqlstate != SQLSTATE_DUPLICATE_PREPARED_STATEMENT or name is None:
            return None
        return build.build_error_response("ERROR", error.sqlstate, b"taken: " + name)


def active(rig: Rig) -> list[Any]:
    """The servers that are linked."""
    return list(rig.lists.servers(SV_ACTIVE))


def cuts(steps: Sequence[bytes]) -> list[list[list[bytes]]]:
    """All ways to deliver some streams: whole, byte by byte, each cut once at every offset."""
    ways = [
        [[step] for step in steps],
        [[step[i : i + 1] for i in range(len(step))] for step in steps],
    ]
    for number, step in enumerate(steps):
        for at in range(1, len(step)):
            way = [[step] for step in steps]
            way[number] = [step[:at], step[at:]]
            ways.append(way)
    return ways
