"""Servers whose address is gone from its name, on a pooler without sockets; all are at 10.0.0.9."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from pgmux.config import Config
from pgmux.daemon.names import Names
from pgmux.net.resolver import Answer
from pgmux.net.sockets import numeric_addresses
from tests.unit.session.rig import Rig, configure, linked


@pytest.fixture
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    loop = asyncio.new_event_loop()
    yield loop
    loop.close()


def at(*hosts: str) -> Config:
    return configure(database={"hosts": hosts})


def names_of(rig: Rig, loop: asyncio.AbstractEventLoop) -> Names:
    return Names(loop, rig.log, lambda: rig.pooler)


def test_an_idle_server_is_closed_at_once_and_this_is_logged_once(
    loop: asyncio.AbstractEventLoop,
) -> None:
    rig = Rig(at("db.test"))
    _, server = linked(rig)
    server.answer()
    for _ in range(2):
        names_of(rig, loop).on_gone("db.test", {"10.0.0.9"})
    assert server.is_closed
    text = "db.test no longer has the address 10.0.0.9: closing its servers (1)"
    assert rig.log.lines.count(text) == 1


def test_a_busy_server_is_closed_at_its_release(loop: asyncio.AbstractEventLoop) -> None:
    rig = Rig(at("db.test"))
    client, server = linked(rig)
    names_of(rig, loop).on_gone("db.test", {"10.0.0.9"})
    assert not server.is_closed
    server.answer()
    assert server.is_closed
    assert client.kinds() == "CZ"


@pytest.mark.parametrize(
    ("hosts", "name", "address"),
    [
        (("db.test",), "other.test", "10.0.0.9"),
        (("db.test",), "db.test", "10.0.0.8"),
        (("db.test", "10.0.0.9"), "db.test", "10.0.0.9"),
        (("db.test", "twin.test"), "db.test", "10.0.0.9"),
    ],
)
def test_a_server_of_another_name_or_address_stays(
    loop: asyncio.AbstractEventLoop,
    monkeypatch: pytest.MonkeyPatch,
    hosts: tuple[str, ...],
    name: str,
    address: str,
) -> None:
    async def look_up(*_: object) -> Answer:
        return Answer(tuple(numeric_addresses("10.0.0.9", 0)), 0.0)

    monkeypatch.setattr("pgmux.daemon.names.look_up", look_up)
    rig = Rig(at(*hosts))
    _, server = linked(rig)
    server.answer()
    names = names_of(rig, loop)

    loop.run_until_complete(names.resolver.resolve("twin.test"))
    names.on_gone(name, {address})
    assert not server.is_closed


def test_names_are_looked_up_while_their_servers_are_there(
    loop: asyncio.AbstractEventLoop,
) -> None:
    async def scenario() -> None:
        rig = Rig(at("db.test", "10.0.0.9", "/tmp"))
        names = names_of(rig, loop)
        names.maintain()
        assert names.resolver.entries() == []
        _, server = linked(rig)
        server.answer()
        names.maintain()
        assert [row.hostname for row in names.resolver.entries()] == ["db.test"]
        names.resolver.close()

    loop.run_until_complete(scenario())


def test_a_reload_forgets_names_that_are_gone(loop: asyncio.AbstractEventLoop) -> None:
    async def scenario() -> None:
        rig = Rig(at("db.test"))
        names = names_of(rig, loop)
        names.resolver.refresh(["db.test", "old.test"])
        names.on_reload()
        assert [row.hostname for row in names.resolver.entries()] == ["db.test"]
        names.resolver.close()

    loop.run_until_complete(scenario())
