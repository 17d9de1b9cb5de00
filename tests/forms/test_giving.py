"""Which server a client is given, and who gets one that is released."""

from __future__ import annotations

from typing import Any

import pytest

from pgmux.errors import LocalProtocolError
from pgmux.pool.states import CL_ACTIVE, CL_WAITING, SV_ACTIVE, SV_IDLE
from tests.forms.rig import Form, Rig


@pytest.fixture
def rig(form: Form) -> Rig:
    return Rig(form, server_count=3)


def clients(rig: Rig, count: int) -> list[Any]:
    return [rig.add_client() for _ in range(count)]


def test_the_server_released_last_is_given_first(rig: Rig) -> None:
    first, second, third = rig.servers
    assert rig.pool.find_server() is third
    assert third.state == SV_ACTIVE
    assert rig.pool.find_server() is second
    assert rig.pool.release_server(third) is None
    assert third.state == SV_IDLE
    assert rig.pool.find_server() is third
    assert rig.pool.find_server() is first
    assert rig.pool.find_server() is None


def test_round_robin_gives_the_server_that_idled_longest(rig: Rig) -> None:
    rig.pool.round_robin = True
    first, second, third = rig.servers
    assert rig.pool.find_server() is first
    assert rig.pool.release_server(first) is None
    assert [rig.pool.find_server() for _ in range(3)] == [second, third, first]


def test_round_robin_can_be_switched_while_servers_idle(rig: Rig) -> None:
    first, _, third = rig.servers
    rig.pool.round_robin = True
    assert rig.pool.find_server() is first
    rig.pool.round_robin = False
    rig.pool.release_server(first)
    assert rig.pool.find_server() is first
    assert rig.pool.find_server() is third


def test_a_held_pool_gives_nobody_a_server(rig: Rig) -> None:
    (client,) = clients(rig, 1)
    rig.pool.held = True
    assert rig.pool.find_server() is None
    rig.pool.held = False
    server = rig.pool.find_server()
    rig.lists.wait(client)
    rig.pool.held = True
    assert rig.pool.release_server(server) is None
    assert (server.state, client.state) == (SV_IDLE, CL_WAITING)


def test_who_waited_longest_gets_the_released_server(rig: Rig) -> None:
    one, two, three = clients(rig, 3)
    server = rig.pool.find_server()
    for client in (two, one, three):
        rig.lists.wait(client)
    assert [rig.pool.release_server(server) for _ in range(4)] == [two, one, three, None]
    assert (server.state, one.state) == (SV_IDLE, CL_ACTIVE)


def test_only_an_active_server_is_released(rig: Rig) -> None:
    with pytest.raises(LocalProtocolError, match="server released while idle"):
        rig.pool.release_server(rig.servers[0])
