"""Databases, pools, clients coming in, connects, and the janitor's rounds."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from pgmux.config import Database
from pgmux.errors import PoolerError
from pgmux.pool.pool import MAX_LOGINS, Failure, PoolKey
from pgmux.pool.states import (
    CL_ACTIVE,
    CL_WAITING,
    SV_ACTIVE,
    SV_GONE,
    SV_IDLE,
)
from pgmux.session import operator
from pgmux.session.cancel import find_peer_id
from pgmux.wire import build, parse
from tests.unit.session.rig import Rig, configure, idle, linked, with_databases

HOPELESS = ("28P01", "28000", "3D000")


# Coming in


def test_the_first_client_waits_for_the_first_servers_welcome() -> None:
    rig = Rig()
    client = rig.enter()
    assert (client.messages(), client.relay.state) == ([], CL_WAITING)
    assert len(rig.pending()) == 1
    rig.log_in()
    assert client.kinds() == "RSSSKZ"
    assert client.relay.state == CL_ACTIVE
    assert len(rig.servers(SV_IDLE)) == 1


def test_later_clients_are_welcomed_at_once() -> None:
    rig = Rig()
    idle(rig)
    assert rig.enter().kinds() == "RSSSKZ"
    assert rig.pending() == []


def test_all_who_waited_for_their_welcome_get_it_at_once() -> None:
    rig = Rig(configure(default_pool_size=1))
    clients = [rig.enter() for _ in range(3)]
    assert len(rig.pending()) == 1
    rig.log_in()
    assert [client.kinds() for client in clients] == ["RSSSKZ"] * 3
    assert rig.control().pool.lists.waiting_count() == 0


def test_a_query_sent_before_the_welcome_is_kept() -> None:
    rig = Rig()
    client = rig.enter()
    client.query("SELECT 2")
    server = rig.log_in()
    assert client.kinds() == "RSSSKZ"
    assert server.asked() == ["SELECT 2"]
    assert rig.pending() == []


def test_what_a_server_says_behind_its_login_is_its_own() -> None:
    rig = Rig()
    client = rig.enter()
    rig.log_in(rest=build.build_parameter_status("TimeZone", "CET"))
    client.messages()
    client.query("SELECT 2")
    (server,) = rig.servers(SV_ACTIVE)
    assert server.vars.get("TimeZone") == "CET"


def test_a_server_that_is_dirty_at_its_login_is_closed_and_replaced() -> None:
    rig = Rig()
    client = rig.enter()
    server = rig.log_in(rest=build.build_error_response("FATAL", "57P01", "bye"))
    assert server.is_closed
    assert len(rig.pending()) == 1
    rig.log_in()
    assert client.kinds() == "RSSSKZ"


def test_a_client_is_told_its_cancel_key() -> None:
    rig = Rig()
    for long_key, length in ((False, 4), (True, 32)):
        client = rig.enter(long_key=long_key)
        if rig.pending():
            rig.log_in()
        (body,) = [body for kind, body in client.messages() if kind == "K"]
        key = parse.parse_backend_key_data(body)
        assert len(key.key) == length
        assert rig.pooler.cancel_keys.find(key.pid, key.key) is client.relay


def test_a_cancel_key_that_is_taken_is_drawn_again(monkeypatch: pytest.MonkeyPatch) -> None:
    rig = Rig()
    drawn = iter([b"\0\0\0\7KEY1", b"\0\0\0\7KEY1", b"\0\0\0\0KEY3", b"\0\0\0\x08KEY4"])
    monkeypatch.setattr(rig.pooler.outside, "random", lambda size: next(drawn))
    assert rig.enter().relay.owner.cancel_pid == 7
    assert rig.enter().relay.owner.cancel_key == b"KEY4"


@pytest.mark.parametrize("long_key", [False, True])
def test_among_peers_every_cancel_key_is_one_that_all_of_them_can_pass_on(long_key: bool) -> None:
    info = Rig(configure(peer_id=5)).enter(long_key=long_key).relay.owner
    assert (find_peer_id(info.cancel_pid), len(info.cancel_key)) == (5, 4)


@pytest.mark.parametrize("peer_id", [-1, 0x10000])
def test_a_peer_id_that_no_key_has_room_for_is_none(peer_id: int) -> None:
    info = Rig(configure(peer_id=peer_id)).enter(long_key=True).relay.owner
    assert len(info.cancel_key) == 32


def test_login_notify_message_comes_with_the_welcome() -> None:
    rig = Rig(configure(login_notify_message="hello"))
    client = rig.enter()
    rig.log_in()
    assert client.kinds() == "RSSSKNZ"


def test_clients_are_counted() -> None:
    rig = Rig()
    clients = [rig.enter(), rig.enter(user="eve")]
    assert rig.pooler.client_count == 2
    for client in clients:
        client.lose()
    assert (rig.pooler.client_count, len(rig.pooler.cancel_keys)) == (0, 0)


def test_each_database_and_user_has_its_own_pool() -> None:
    rig = Rig(with_databases(Database("a", "x"), Database("b", "x")))
    rig.enter(database="a")
    rig.enter(database="b")
    rig.enter(database="a", user="eve")
    assert set(rig.pooler.pools) == {
        PoolKey("a", "bob"),
        PoolKey("b", "bob"),
        PoolKey("a", "eve"),
    }


def test_a_forced_user_has_one_pool_for_all() -> None:
    rig = Rig(configure(database={"user": "owner", "password": "pw"}))
    rig.enter()
    rig.enter(user="eve")
    assert set(rig.pooler.pools) == {PoolKey("app", "owner")}
    assert rig.pooler.server_login(rig.control(user="owner")).user == "owner"


def test_an_unknown_database_is_refused() -> None:
    rig = Rig()
    with pytest.raises(PoolerError, match="no such database: nowhere"):
        rig.enter(database="nowhere")
    assert (rig.pooler.client_count, len(rig.pooler.cancel_keys)) == (0, 0)


def test_a_disabled_database_is_refused() -> None:
    rig = Rig()
    rig.pooler.databases["app"].disabled = True
    with pytest.raises(PoolerError, match='database "app" is disabled'):
        rig.enter()


def test_a_database_of_the_star_is_registered_at_its_first_use() -> None:
    rig = Rig(with_databases(autodb=Database("*", "*")))
    assert rig.pooler.databases == {}
    rig.enter(database="any")
    rig.enter(database="any")
    assert rig.pooler.databases["any"].is_auto
    assert rig.log.lines.count("registered new auto-database: any") == 1


@pytest.mark.parametrize(("what", "stays"), [("", False), ("paused", True), ("disabled", True)])
def test_an_unused_database_of_the_star_goes_unless_an_operator_holds_it(
    what: str, stays: bool
) -> None:
    config = configure(autodb_idle_timeout=10.0)
    rig = Rig(replace(config, databases={}, autodb=Database("*", "*")))
    client = rig.enter(database="any")
    rig.refuse()
    client.lose()
    if what:
        setattr(rig.pooler.databases["any"], what, True)
    rig.pass_time(1.0)
    rig.pass_time(11.0)
    assert ("any" in rig.pooler.databases) == stays


def test_a_server_reports_what_new_clients_are_told() -> None:
    rig = Rig()
    _, server = idle(rig)
    server.lose()
    rig.enter().query()
    rig.log_in(server_version="18.0")
    assert rig.enter().statuses()["server_version"] == "18.0"


def test_a_server_that_reports_more_makes_it_tracked() -> None:
    rig = Rig()
    client, server = idle(rig)
    server.lose()
    client.query()
    server = rig.log_in(search_path="public")
    assert server.asked() == ["SELECT 1"]
    server.answer()
    assert rig.enter({"search_path": "mine"}).statuses()["search_path"] == "mine"


def test_what_a_client_wants_outlives_a_change_of_the_tracked_parameters() -> None:
    rig = Rig()
    rig.enter({"TimeZone": "CET"}).query()
    server = rig.log_in()
    server.lose()
    client = rig.enter({"TimeZone": "CET"})
    client.query()
    server = rig.log_in(search_path="public")
    assert server.assigned() == {"TimeZone": "CET"}


# Connects that fail


def test_after_a_connect_that_failed_new_clients_wait_for_their_welcome() -> None:
    rig = Rig()
    client = rig.enter()
    rig.refuse()
    late = rig.enter()
    assert not client.is_closed
    assert not late.is_closed
    assert rig.pending() == []
    rig.pass_time(14.9)
    assert rig.pending() == []
    rig.pass_time(0.2)
    rig.log_in()
    assert (client.kinds(), late.kinds()) == ("RSSSKZ", "RSSSKZ")


def test_after_a_connect_that_failed_welcomed_clients_fail_at_once() -> None:
    rig = Rig()
    client, server = idle(rig)
    other = rig.enter()
    other.messages()
    server.lose()
    client.query()
    rig.refuse()
    assert client.relay.state == CL_WAITING
    other.query()
    assert other.error() == (
        "FATAL",
        "08P01",
        "server login has been failing, cached error: connect failed (server_login_retry)",
    )


def test_a_welcomed_client_waits_where_a_connect_is_under_way_again() -> None:
    rig = Rig()
    client, server = idle(rig)
    other = rig.enter()
    server.lose()
    client.query()
    rig.refuse()
    rig.pass_time(15.0)
    assert len(rig.pending()) == 1
    other.query()
    assert other.relay.state == CL_WAITING


def test_a_welcomed_client_tries_again_after_server_login_retry() -> None:
    rig = Rig()
    client, server = idle(rig)
    server.lose()
    client.query()
    rig.refuse()
    client.lose()
    other = rig.enter()
    rig.now += 15.0
    other.query()
    assert (other.relay.state, len(rig.pending())) == (CL_WAITING, 1)


def test_a_pool_that_has_a_server_is_not_down() -> None:
    rig = Rig()
    _, server = linked(rig)
    waiting = rig.enter()
    waiting.query()
    rig.refuse()
    late = rig.enter()
    late.query()
    assert (waiting.relay.state, late.relay.state) == (CL_WAITING, CL_WAITING)
    server.answer()
    assert waiting.relay.linked_server is server.relay


@pytest.mark.parametrize("sqlstate", HOPELESS)
def test_what_no_waiting_heals_is_told_to_all_at_once(sqlstate: str) -> None:
    rig = Rig()
    clients = [rig.enter() for _ in range(3)]
    for _ in range(len(rig.pending())):
        rig.refuse("login failed", sqlstate, "no way in")
    assert [client.error() for client in clients] == [("FATAL", sqlstate, "no way in")] * 3
    late = rig.enter()
    assert late.error() == ("FATAL", sqlstate, "no way in")
    assert rig.pooler.client_count == 0


def test_a_hopeless_pool_is_tried_again_after_server_login_retry() -> None:
    rig = Rig()
    rig.enter()
    rig.refuse("login failed", "28P01", "password authentication failed")
    rig.now += 15.0
    client = rig.enter()
    rig.log_in()
    assert client.kinds() == "RSSSKZ"


def test_a_refusal_ends_nobody_who_can_wait_for_another_server() -> None:
    rig = Rig()
    _, server = linked(rig)
    other = rig.enter()
    other.query()
    rig.refuse("login failed", "53300", "sorry, too many clients already")
    server.answer()
    assert other.relay.linked_server is server.relay


def test_a_refusal_ends_who_waits_where_the_other_servers_are_to_be_closed() -> None:
    rig = Rig()
    linked(rig)
    other = rig.enter()
    other.messages()
    other.query()
    operator.reconnect(rig.pooler, None)
    rig.refuse("login failed", "28P01", "password authentication failed")
    assert other.error() == ("FATAL", "28P01", "password authentication failed")


def test_the_servers_other_refusals_reach_who_waits_and_are_cached() -> None:
    rig = Rig()
    client, server = idle(rig)
    other = rig.enter()
    other.messages()
    server.lose()
    client.query()
    rig.refuse("login failed", "53300", "too many connections")
    assert client.error() == ("FATAL", "53300", "too many connections")
    other.query()
    assert other.error()[2] == (
        "server login has been failing, cached error: too many connections (server_login_retry)"
    )


def test_a_connect_that_takes_too_long_is_given_up() -> None:
    rig = Rig()
    client = rig.enter()
    attempt = rig.connects[0]
    rig.pass_time(15.0)
    assert attempt.canceled is None
    rig.pass_time(0.1)
    assert attempt.canceled == "connect timeout"
    assert rig.control().pool.failure == Failure("connect timeout")
    assert not client.is_closed


def test_connects_begin_together_up_to_a_bound() -> None:
    rig = Rig(configure(default_pool_size=50))
    for _ in range(30):
        rig.enter()
    assert len(rig.pending()) == MAX_LOGINS
    rig.log_in()
    assert rig.control().pool.lists.waiting_count() == 0


def test_servers_never_exceed_pool_size() -> None:
    rig = Rig(configure(default_pool_size=3))
    idle(rig)
    for _ in range(10):
        rig.enter().query()
    assert len(rig.pending()) == 2
    for _ in range(2):
        rig.log_in()
    assert rig.pending() == []
    assert rig.control().pool.server_count() == 3


# The janitor's round


def test_clients_that_wait_too_long_are_told_so() -> None:
    rig = Rig(configure(default_pool_size=1, query_wait_timeout=10.0))
    linked(rig)
    waiting = rig.enter()
    waiting.messages()
    waiting.query()
    rig.pass_time(10.0)
    assert not waiting.is_closed
    rig.pass_time(0.1)
    assert waiting.error() == ("FATAL", "08P01", "query_wait_timeout")


def test_a_queued_client_is_told_once_a_wait() -> None:
    rig = Rig(configure(default_pool_size=1))
    linked(rig)
    waiting = rig.enter()
    waiting.messages()
    waiting.query()
    rig.pass_time(6.0)
    (message,) = waiting.messages()
    notice = parse.parse_notice_response(message[1])
    assert (notice.severity, notice.sqlstate) == ("NOTICE", "00000")
    assert notice.message.startswith("No server connection available in postgres backend")
    rig.pass_time(6.0)
    assert waiting.messages() == []


def test_who_waits_for_its_welcome_is_told_nothing_but_its_login_timeout() -> None:
    rig = Rig(configure(server_connect_timeout=0.0, query_wait_timeout=0.0))
    client = rig.enter()
    rig.pass_time(60.0)
    assert (client.messages(), client.is_closed) == ([], False)
    rig.pass_time(0.1)
    assert client.error()[2] == "client_login_timeout (server down)"


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"query_timeout": 5.0}, "query timeout"),
        ({"transaction_timeout": 5.0}, "transaction timeout"),
    ],
)
def test_a_query_that_takes_too_long_ends_with_its_server(
    settings: dict[str, Any], reason: str
) -> None:
    rig = Rig(configure(**settings))
    client, server = linked(rig)
    rig.pass_time(5.1)
    assert client.error() == ("FATAL", "08P01", reason)
    assert server.relay.state == SV_GONE


def test_an_idle_client_ends_alone() -> None:
    rig = Rig(configure(client_idle_timeout=5.0))
    client, server = idle(rig)
    rig.pass_time(5.1)
    assert client.error()[2] == "client_idle_timeout"
    assert not server.is_closed


def test_who_joins_the_queue_of_a_full_pool_that_works_costs_no_decision(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rig = Rig(configure(default_pool_size=1))
    _, server = linked(rig)
    asked: list[Any] = []
    monkeypatch.setattr(rig.control(), "on_client_waits", asked.append)
    client = rig.enter()
    client.messages()
    client.query("SELECT 2")
    assert (client.relay.state, asked) == (CL_WAITING, [])
    server.answer()
    assert server.relay.linked_client is client.relay
    operator.reload(rig.pooler, configure(default_pool_size=2))
    other = rig.enter()
    other.query("SELECT 3")
    assert asked == [other.relay]


def test_min_pool_size_is_filled_one_connect_a_round() -> None:
    rig = Rig(configure(min_pool_size=3))
    idle(rig)
    for _ in range(5):
        rig.pass_time(0.3)
    assert len(rig.pending()) == 2


def test_a_forced_users_pool_is_filled_before_its_first_client() -> None:
    rig = Rig(configure(min_pool_size=1, database={"user": "owner", "password": "pw"}))
    rig.pass_time(0.3)
    server = rig.log_in()
    assert server.relay.state == SV_IDLE
    assert rig.enter().kinds() == "RSSSKZ"


def test_a_lowered_pool_size_closes_unused_servers() -> None:
    rig = Rig()
    pairs = [linked(rig) for _ in range(3)]
    for _, server in pairs:
        server.answer()
    rig.reload(default_pool_size=1)
    rig.pass_time(0.3)
    assert rig.control().pool.server_count() == 1


def test_idle_servers_end_after_server_idle_timeout() -> None:
    rig = Rig()
    client, server = idle(rig)
    rig.pass_time(600.1)
    assert (server.is_closed, client.is_closed) == (True, False)
    assert any("server idle timeout" in line for line in rig.log.lines)


def test_while_servers_are_waited_for_who_waits_ends() -> None:
    rig = Rig(configure(default_pool_size=1))
    client, server = linked(rig)
    waiting = rig.enter()
    waiting.messages()
    waiting.query()
    operator.hold(rig.pooler, None, held=True)
    rig.pass_time(0.3, shutting_down=True)
    assert waiting.error()[2] == "server shutting down"
    assert not client.is_closed
    server.answer()
    assert operator.busy_count(rig.pooler) == 0


def test_the_wait_for_the_first_server_is_counted() -> None:
    rig = Rig()
    rig.enter()
    rig.pass_time(2.5)
    rig.log_in()
    assert rig.control().relay.counters.wait_time == 2.5
