"""Console connections: commands that wait while others are behind them, and clients that don't
read.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from pgmux.daemon.admin import DaemonAdmin
from pgmux.net.console_connection import ConsoleConnection, Consoles
from pgmux.session.login_steps import EnterConsole
from pgmux.wire import build
from pgmux.wire.messages import MessageReader
from tests.unit.session.rig import FakeEnds, FakeTransport, Rig, linked


class ConsoleTransport(FakeTransport):
    """Also says whether it reads, and bears what asyncio's transports bear."""

    is_reading: Any

    def __init__(self) -> None:
        super().__init__()
        self.reads = True
        self.is_reading = lambda: self.reads

    def pause_reading(self) -> None:
        self.reads = False

    def resume_reading(self) -> None:
        self.reads = True

    def answers(self) -> list[tuple[str, bytes]]:
        """What has come since the last look."""
        reader = MessageReader(2**31, "server")
        found = [(chr(kind), body) for kind, body in reader.feed(bytes(self.written))]
        self.written.clear()
        return found


def make_consoles(rig: Rig) -> Consoles:
    app: Any = SimpleNamespace(
        pooler=rig.pooler,
        log=rig.log,
        snapshot=None,
        is_shutting_down=False,
        shut_down=lambda mode: None,
    )
    consoles = app.consoles = Consoles(rig.pooler, DaemonAdmin(app))
    rig.pooler.on_change = consoles.on_change
    return consoles


def open_console(
    rig: Rig, consoles: Consoles | None = None, id_: int = 1
) -> tuple[ConsoleConnection, ConsoleTransport]:
    consoles = consoles or make_consoles(rig)
    transport: Any = ConsoleTransport()
    ends: Any = FakeEnds()
    connection = consoles(transport, ends, EnterConsole("root", True, ""), id_)
    transport.answers()
    return connection, transport


def in_a_loop(run: Callable[[], None]) -> None:
    """`run`, and what it has left for the loop to do."""

    async def main() -> None:
        run()
        await asyncio.sleep(0)

    asyncio.run(main())


def test_commands_behind_one_that_waits_are_answered_after_it_each_once() -> None:
    rig = Rig()
    client, server = linked(rig)
    console, transport = open_console(rig)

    def run() -> None:
        commands = ["PAUSE", "RESUME", "KILL app", "RESUME app", "SHOW VERSION"]
        console.data_received(b"".join(map(build.build_query, commands)))
        assert transport.answers() == []
        server.answer()

    in_a_loop(run)
    tags = [body for kind, body in transport.answers() if kind == "C"]
    assert tags == [b"PAUSE\0", b"RESUME\0", b"KILL\0", b"RESUME\0", b"SHOW\0"]
    assert rig.log.exceptions == []
    assert client.is_closed and server.is_closed


def test_a_console_command_is_not_run_in_the_middle_of_another_connection_s_work() -> None:
    rig = Rig()
    _, server = linked(rig)
    console, transport = open_console(rig)

    def run() -> None:
        console.data_received(build.build_query("PAUSE") + build.build_query("RESUME"))
        server.answer()
        assert transport.answers() == []

    in_a_loop(run)
    assert [body for kind, body in transport.answers() if kind == "C"] == [b"PAUSE\0", b"RESUME\0"]


@pytest.mark.parametrize("what", ["", " app"])
def test_a_pause_that_is_resumed_meanwhile_ends_with_an_error(what: str) -> None:
    rig = Rig()
    linked(rig)
    consoles = make_consoles(rig)
    pausing, transport = open_console(rig, consoles)
    resuming, _ = open_console(rig, consoles)

    def run() -> None:
        pausing.data_received(build.build_query(f"PAUSE{what}"))
        assert transport.answers() == []
        resuming.data_received(build.build_query(f"RESUME{what}"))

    in_a_loop(run)
    kinds = dict(transport.answers())
    assert "".join(kinds) == "EZ"
    assert b"C57014\0MPAUSE was ended by RESUME\0" in kinds["E"]


def test_a_console_client_that_does_not_read_its_answers_is_read_no_further() -> None:
    rig = Rig()
    console, transport = open_console(rig)

    def run() -> None:
        console.pause_writing()
        assert not transport.reads
        console.data_received(build.build_query("SHOW VERSION"))
        assert not transport.reads
        console.resume_writing()
        assert transport.reads

    in_a_loop(run)


@pytest.mark.parametrize("target", [901, 902], ids=["another's", "its own"])
def test_kill_client_ends_a_console(target: int) -> None:
    rig = Rig()
    consoles = make_consoles(rig)
    other, _ = open_console(rig, consoles, 901)
    asking, _ = open_console(rig, consoles, 902)
    killed = other if target == 901 else asking

    in_a_loop(lambda: asking.data_received(build.build_query(f"KILL_CLIENT {target}")))
    transports: Any = {each: each._transport for each in (other, asking)}
    answers = transports[asking].answers()
    assert ("C", b"KILL_CLIENT\0") in answers
    last = answers[-1] if killed is asking else transports[killed].answers()[-1]
    assert last[0] == "E" and b"SFATAL\0C08P01\0Madmin forced disconnect\0" in last[1]
    assert transports[killed].is_closed
    assert list(consoles.open) == [each for each in (other, asking) if each is not killed]


def test_a_pause_outlives_the_console_that_waits_for_it() -> None:
    rig = Rig()
    linked(rig)
    console, _ = open_console(rig)

    def run() -> None:
        console.data_received(build.build_query("PAUSE"))
        console.connection_lost(None)

    in_a_loop(run)
    assert rig.pooler.paused


def test_nothing_is_answered_to_shutdown_whatever_happens_before_the_process_has_ended() -> None:
    rig = Rig()
    consoles = make_consoles(rig)
    console, transport = open_console(rig, consoles)

    def run() -> None:
        console.data_received(build.build_query("SHUTDOWN"))
        consoles.on_change()

    in_a_loop(run)
    assert transport.answers() == []


def test_a_console_that_has_gone_counts_for_no_limit_any_more() -> None:
    rig = Rig()
    console, _ = open_console(rig)
    quotas = rig.pooler.quotas
    assert (quotas.console.client_count, quotas.of_user("root").client_count) == (1, 1)
    console.connection_lost(None)
    assert (quotas.console.client_count, quotas.of_user("root").client_count) == (0, 0)


def test_a_bug_in_a_command_ends_its_console_which_is_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rig = Rig()
    consoles = make_consoles(rig)
    console, transport = open_console(rig, consoles)
    other, _ = open_console(rig, consoles, id_=2)
    bug = ZeroDivisionError("a bug")

    def reconnect(*_: object) -> None:
        raise bug

    monkeypatch.setattr(consoles.admin, "reconnect", reconnect)
    in_a_loop(lambda: console.data_received(build.build_query("RECONNECT")))
    (answer,) = transport.answers()
    assert answer[0] == "E" and b"CXX000\0Minternal error\0" in answer[1]
    assert rig.log.exceptions == [bug]
    assert transport.is_closed
    assert list(consoles.open) == [other]
