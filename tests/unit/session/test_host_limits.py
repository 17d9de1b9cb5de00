"""Servers are asked how many connections they allow: by one that is idle, seldom, never waiting."""

from __future__ import annotations

from typing import Any

from pgmux.pool.states import SV_IDLE
from pgmux.session.host_limits import (
    ASK_PERIOD,
    FORGET_PERIOD,
    LOOK_PERIOD,
    PATIENCE,
    QUERY,
    Host,
    HostLimits,
)
from pgmux.wire import build
from tests.unit.session.rig import Rig, ServerEnd, linked

HOST = Host("10.0.0.9", 4711)


class Asking:
    """A pool with one server, which is idle unless told otherwise."""

    def __init__(self, *, idle: bool = True) -> None:
        self.rig = Rig()
        self.soon: list[Any] = []
        self.limits = HostLimits(self.rig.pooler, self.soon.append)
        self.client, self.server = linked(self.rig)
        if idle:
            self.server.answer()
            self.client.messages()
        self.server.asked()

    def maintain(self, after: float = 0.0) -> list[str]:
        """What the server is asked then."""
        self.rig.pass_moment(after)
        self.limits.maintain()
        return self.asked()

    def asked(self) -> list[str]:
        while self.soon:
            self.soon.pop(0)()
        return self.server.asked()

    def answer(self, *values: bytes | None) -> None:
        answer_row(self.server, *values)
        self.asked()


def answer_row(server: ServerEnd, *values: bytes | None) -> None:
    server.send(
        build.build_parse_complete(),
        build.build_bind_complete(),
        build.build_data_row(values),
        build.build_command_complete("SELECT 1"),
        build.build_ready_for_query(),
    )


def test_an_idle_server_is_asked_and_is_idle_again() -> None:
    asking = Asking()
    assert asking.maintain() == [QUERY]
    asking.answer(b"100", b"3", b"2")
    found = asking.limits.found[HOST]
    assert (found.max_connections, found.reserved) == (100, 5)
    assert asking.server.relay.state == SV_IDLE
    asking.client.query()
    assert asking.server.asked() == ["SELECT 1"]


def test_before_postgresql_16_none_is_reserved_for_others() -> None:
    asking = Asking()
    asking.maintain()
    asking.answer(b"100", b"3", None)
    assert asking.limits.found[HOST].reserved == 3


def test_it_is_asked_again_only_after_a_long_time() -> None:
    asking = Asking()
    asking.maintain()
    asking.answer(b"100", b"3", b"0")
    assert asking.maintain(LOOK_PERIOD) == []
    assert asking.maintain(ASK_PERIOD - LOOK_PERIOD - 1) == []
    assert asking.maintain(LOOK_PERIOD) == [QUERY]
    asking.answer(b"200", b"3", b"0")
    assert asking.limits.found[HOST].max_connections == 200


def test_a_pool_whose_servers_work_is_left_alone_till_one_is_idle() -> None:
    asking = Asking(idle=False)
    assert asking.maintain() == []
    asking.server.answer()
    assert asking.maintain() == [], "it looks now and then"
    assert asking.maintain(LOOK_PERIOD) == [QUERY]


def test_nothing_is_connected_for_it() -> None:
    asking = Asking()
    asking.server.lose()
    connects = len(asking.rig.connects)
    assert asking.maintain(LOOK_PERIOD) == []
    assert len(asking.rig.connects) == connects


def test_a_client_that_comes_meanwhile_waits_no_longer_than_the_answer() -> None:
    asking = Asking()
    asking.maintain()
    asking.client.query("SELECT 2")
    answer_row(asking.server, b"100", b"3", b"0")
    assert asking.asked() == ["SELECT 2"]


def test_an_error_leaves_the_server_to_its_pool() -> None:
    asking = Asking()
    asking.maintain()
    asking.server.fail()
    asking.server.send(build.build_ready_for_query())
    asking.asked()
    found = asking.limits.found[HOST]
    assert (found.max_connections, found.reserved) == (None, None)
    assert asking.server.relay.state == SV_IDLE


def test_an_answer_that_makes_no_sense_is_none() -> None:
    asking = Asking()
    asking.maintain()
    asking.answer(b"many", b"3", b"0")
    assert asking.limits.found[HOST].max_connections is None
    assert asking.server.relay.state == SV_IDLE


def test_a_server_that_keeps_silent_is_given_up() -> None:
    asking = Asking()
    asking.maintain()
    asking.maintain(PATIENCE + 1)
    assert asking.server.is_closed
    assert asking.limits.found[HOST].max_connections is None


def test_a_server_that_breaks_off_is_no_failure_of_ours() -> None:
    asking = Asking()
    asking.maintain()
    asking.server.lose()
    asking.asked()
    assert asking.rig.log.exceptions == []
    assert asking.limits.found[HOST].max_connections is None


def test_a_host_that_has_gone_for_good_is_forgotten() -> None:
    asking = Asking()
    asking.maintain()
    asking.answer(b"100", b"3", b"0")
    asking.server.lose()
    asking.maintain(FORGET_PERIOD)
    assert HOST in asking.limits.found
    asking.maintain(LOOK_PERIOD)
    assert asking.limits.found == {}
