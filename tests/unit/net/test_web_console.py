"""The console of the web process: what it may, with a token and without."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from pgmux.daemon.admin import DaemonAdmin, WebAdmin
from pgmux.errors import PoolerError
from pgmux.net.web_console import WebConsole
from pgmux.wire import build
from pgmux.wire.parse import parse_error_response
from tests.unit.net.test_console_connection import ConsoleTransport
from tests.unit.session.rig import Rig, linked

TOKEN = "open sesame"


def password(token: str) -> bytes:
    body = token.encode() + b"\0"
    return b"p" + (4 + len(body)).to_bytes(4, "big") + body


class Web:
    """A web process's end of its console."""

    def __init__(self, rig: Rig) -> None:
        self.rig = rig
        app: Any = SimpleNamespace(
            pooler=rig.pooler,
            log=rig.log,
            snapshot=None,
            is_shutting_down=False,
            consoles=SimpleNamespace(kill=lambda id_: False),
        )
        self.admin = WebAdmin(app)
        self.transport: Any = ConsoleTransport()
        self.console = WebConsole(rig.pooler, DaemonAdmin(app), self.elevate)
        self.console.connection_made(self.transport)

    def elevate(self, token: bytes) -> WebAdmin:
        if token != TOKEN.encode():
            raise PoolerError("wrong token", sqlstate="28P01", fatal=False)
        return self.admin

    def send(self, *messages: bytes) -> list[tuple[str, bytes]]:
        self.console.data_received(b"".join(messages))
        found: list[tuple[str, bytes]] = self.transport.answers()
        return found

    def kinds(self, *messages: bytes) -> str:
        return "".join(kind for kind, _ in self.send(*messages))

    def error(self, *messages: bytes) -> tuple[str, str]:
        """SQLSTATE and text of the one error, after which it goes on."""
        (kind, body), (end, _) = self.send(*messages)
        assert kind + end == "EZ"
        error = parse_error_response(body)
        return error.sqlstate, error.message


def test_nothing_is_said_before_it_asks() -> None:
    web = Web(Rig())
    assert web.transport.answers() == []
    assert web.kinds(build.build_query("SHOW VERSION")) == "TDCZ"


def test_it_may_look_and_no_more() -> None:
    web = Web(Rig())
    assert web.error(build.build_query("PAUSE")) == ("08P01", "admin access needed")
    assert not web.rig.pooler.paused


def test_a_right_token_lets_the_next_query_act_and_no_other() -> None:
    web = Web(Rig())
    assert web.kinds(password(TOKEN), build.build_query("PAUSE")) == "CZ"
    assert web.rig.pooler.paused
    assert web.error(build.build_query("RESUME"))[1] == "admin access needed"
    assert "PAUSE command issued (via the web process)" in web.rig.log.lines


def test_a_wrong_token_keeps_its_query_from_running() -> None:
    web = Web(Rig())
    assert web.error(password("guess"), build.build_query("PAUSE")) == ("28P01", "wrong token")
    assert web.error(password("guess"), build.build_query("SHOW VERSION"))[0] == "28P01"
    assert not web.rig.pooler.paused
    assert web.kinds(build.build_query("SHOW VERSION")) == "TDCZ"
    assert not any("guess" in line for line in web.rig.log.lines)


def test_a_token_is_spent_by_whatever_follows_it() -> None:
    web = Web(Rig())
    assert web.kinds(password(TOKEN), build.build_sync()) == "Z"
    assert web.error(build.build_query("PAUSE"))[1] == "admin access needed"
    parse = build.build_parse("", "PAUSE")
    bind, execute = build.build_bind("", "", []), build.build_execute()
    assert "E" in web.kinds(password(TOKEN), parse, bind, execute, build.build_sync())
    assert not web.rig.pooler.paused


def test_a_pause_that_would_wait_is_answered_at_once() -> None:
    rig = Rig()
    client, server = linked(rig)
    web = Web(rig)
    assert web.kinds(password(TOKEN), build.build_query("PAUSE")) == "CZ"
    assert web.kinds(build.build_query("SHOW VERSION")) == "TDCZ"
    server.answer()
    assert server.is_closed and not client.is_closed


def test_commands_that_consoles_dont_log_are_logged_here_without_values() -> None:
    web = Web(Rig())
    assert web.error(password(TOKEN), build.build_query("KILL_CLIENT 12"))[1] == "client not found"
    assert "KILL_CLIENT 12 command issued (via the web process)" in web.rig.log.lines


def test_it_is_no_client() -> None:
    rig = Rig()
    before = rig.pooler.client_count, rig.pooler.quotas.console.client_count
    web = Web(rig)
    web.send(build.build_query("SHOW VERSION"))
    assert (rig.pooler.client_count, rig.pooler.quotas.console.client_count) == before
