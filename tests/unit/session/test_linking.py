"""session_link = login: a client gets its server before it is welcomed, and is told what that very
server says.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from pgmux.config import Config, PoolMode
from pgmux.config.model import SessionLink
from pgmux.pool.states import CL_ACTIVE, CL_WAITING, SV_ACTIVE, SV_IDLE, SV_TESTED
from pgmux.session import operator
from pgmux.session.cancel import find_peer_id
from pgmux.wire import build, parse
from tests.unit.session.rig import ClientEnd, Rig, ServerEnd, configure


def at_login(**settings: Any) -> Config:
    config = configure(PoolMode.SESSION, **settings)
    return replace(config, pgmux=replace(config.pgmux, session_link=SessionLink.LOGIN))


def welcomed(rig: Rig, **startup: str) -> tuple[ClientEnd, ServerEnd]:
    """A client that has logged in to a new server; nothing of it is left to read."""
    client = rig.enter(startup)
    server = rig.log_in(**startup)
    client.messages()
    server.messages()
    assert client.relay.linked_server is server.relay
    return client, server


def leave(rig: Rig, client: ClientEnd, server: ServerEnd) -> None:
    """The client goes, and its server is reset."""
    client.send(build.build_terminate())
    server.answer("DISCARD ALL")
    server.messages()


def key_of(client: ClientEnd) -> Any:
    (body,) = [body for kind, body in client.messages() if kind == "K"]
    return parse.parse_backend_key_data(body)


def test_a_client_is_welcomed_once_it_has_its_server() -> None:
    rig = Rig(at_login())
    client = rig.enter()
    assert (client.kinds(), client.relay.state) == ("R", CL_WAITING)
    server = rig.log_in()
    assert (client.kinds(), client.relay.state) == ("SSSKZ", CL_ACTIVE)
    assert client.relay.linked_server is server.relay
    assert rig.servers(SV_ACTIVE) == [server.relay]


def test_an_idle_server_is_had_at_once() -> None:
    rig = Rig(at_login())
    client, server = welcomed(rig)
    leave(rig, client, server)
    assert rig.servers(SV_IDLE) == [server.relay]
    second = rig.enter()
    assert second.kinds() == "RSSSKZ"
    assert second.relay.linked_server is server.relay


def test_it_waits_where_all_servers_are_taken() -> None:
    rig = Rig(at_login(default_pool_size=1, query_wait_notify=5))
    client, server = welcomed(rig)
    second = rig.enter()
    second.query("SELECT 2")
    rig.pass_time(7)
    assert second.kinds() == "RN"
    client.send(build.build_terminate())
    server.answer("DISCARD ALL")
    assert second.kinds() == "SSSKZ"
    assert server.asked() == ["DISCARD ALL", "SELECT 2"]


def test_who_waits_too_long_is_told_why() -> None:
    rig = Rig(at_login(default_pool_size=1, query_wait_timeout=30, client_login_timeout=5))
    welcomed(rig)
    second = rig.enter()
    rig.pass_time(29)
    assert not second.is_closed
    rig.pass_time(2)
    assert second.error()[2] == "query_wait_timeout"


def test_client_login_timeout_ends_the_wait_for_a_server_that_is_down() -> None:
    rig = Rig(at_login(client_login_timeout=5))
    client = rig.enter()
    rig.refuse()
    rig.pass_time(6)
    assert client.error()[2] == "client_login_timeout (server down)"


def test_the_servers_refusal_reaches_the_client() -> None:
    rig = Rig(at_login())
    client = rig.enter()
    rig.refuse("login failed", "53300", "sorry, too many clients already")
    assert client.error() == ("FATAL", "53300", "sorry, too many clients already")


def test_a_pool_whose_server_has_gone_is_said_to_be_down() -> None:
    rig = Rig(at_login())
    client, server = welcomed(rig)
    server.lose()
    assert client.is_closed
    waits = rig.enter()
    rig.refuse()
    assert not waits.is_closed
    late = rig.enter()
    assert "server login has been failing" in late.error()[2]


def test_who_leaves_while_it_waits_is_forgotten() -> None:
    rig = Rig(at_login(default_pool_size=1))
    client, server = welcomed(rig)
    second = rig.enter()
    second.lose()
    leave(rig, client, server)
    assert rig.servers(SV_IDLE) == [server.relay]
    assert (rig.pooler.client_count, len(rig.pooler.cancel_keys)) == (0, 0)


def test_a_pause_keeps_logins_waiting() -> None:
    rig = Rig(at_login())
    client, server = welcomed(rig)
    leave(rig, client, server)
    operator.hold(rig.pooler, None, held=True)
    second = rig.enter()
    assert (second.kinds(), rig.pending()) == ("R", [])
    operator.hold(rig.pooler, None, held=False)
    rig.log_in()
    assert second.kinds() == "SSSKZ"


def test_the_process_id_in_the_key_is_the_servers() -> None:
    rig = Rig(at_login())
    client, server = welcomed(rig)
    server.relay.owner.cancel_pid = 4711
    leave(rig, client, server)
    key = key_of(second := rig.enter())
    assert key.pid == 4711
    assert rig.pooler.cancel_keys.find(key.pid, key.key) is second.relay
    leave(rig, second, server)
    third = key_of(rig.enter(long_key=True))
    assert (third.pid, len(third.key)) == (4711, 32)
    assert rig.pooler.cancel_keys.find(key.pid, key.key) is None


def test_it_has_one_key_which_goes_with_it() -> None:
    rig = Rig(at_login(default_pool_size=1))
    client, server = welcomed(rig)
    waits = rig.enter()
    assert len(rig.pooler.cancel_keys) == 1  # who waits has none yet
    leave(rig, client, server)
    assert waits.kinds() == "RSSSKZ"
    assert len(rig.pooler.cancel_keys) == 1
    waits.lose()
    assert len(rig.pooler.cancel_keys) == 0


def test_among_peers_the_key_says_whose_client_it_is() -> None:
    config = at_login()
    rig = Rig(replace(config, settings=replace(config.settings, peer_id=7)))
    client = rig.enter(long_key=True)
    server = rig.log_in()
    server.relay.owner.cancel_pid = 4711
    key = key_of(client)
    assert (find_peer_id(key.pid), len(key.key)) == (7, 4)
    client.query()
    server.messages()
    rig.pooler.cancel(key.pid, key.key, lambda reason: None)
    assert [attempt.target for attempt in rig.cancels] == [server.relay.owner]


def test_a_cancel_request_with_the_key_of_who_had_the_server_before_hits_nobody() -> None:
    rig = Rig(at_login())
    first = rig.enter()
    server = rig.log_in()
    old = key_of(first)
    leave(rig, first, server)
    rig.enter().query()
    told: list[str] = []
    rig.pooler.cancel(old.pid, old.key, told.append)
    assert (told, rig.cancels) == (["failed cancel request"], [])


# The end, and the operator


@pytest.mark.parametrize("word", [b"", build.build_terminate()], ids=["loses", "says goodbye"])
def test_who_leaves_while_its_parameters_are_being_set_leaves_nothing_behind(word: bytes) -> None:
    rig = Rig(at_login())
    client, server = begun_with(rig, work_mem="7MB")
    if word:
        client.send(word)
        server.accept()
    else:
        client.lose()
    assert client.is_closed
    assert server.is_closed or rig.servers(SV_TESTED) == [server.relay]
    assert (rig.pooler.client_count, len(rig.pooler.cancel_keys)) == (0, 0)


def test_a_server_that_dies_before_the_welcome_takes_its_client_along() -> None:
    rig = Rig(at_login())
    client, server = begun_with(rig, work_mem="7MB")
    server.lose()
    assert client.error()[2] == "server conn crashed?"
    assert (rig.pooler.client_count, rig.control().pool.server_count()) == (0, 0)
    welcomed(rig)


def test_a_servers_last_words_end_an_idle_client_and_the_next_login_gets_another_server() -> None:
    rig = Rig(at_login())
    client, server = welcomed(rig)
    server.send(build.build_error_response("FATAL", "57P01", "terminating connection", with_v=True))
    server.lose()
    assert client.error() == ("FATAL", "57P01", "terminating connection")
    assert client.is_closed
    welcomed(rig)


def test_a_pause_waits_till_clients_that_ask_nothing_have_gone() -> None:
    rig = Rig(at_login())
    client, server = welcomed(rig)
    operator.hold(rig.pooler, None, held=True)
    assert operator.busy_count(rig.pooler) == 1
    client.query()
    assert server.asked() == ["SELECT 1"]
    server.answer()
    client.send(build.build_terminate())
    assert (server.is_closed, operator.busy_count(rig.pooler)) == (True, 0)


def test_kill_ends_who_has_its_server_and_who_waits_for_it() -> None:
    rig = Rig(at_login(default_pool_size=1))
    client, server = welcomed(rig)
    second = rig.enter()
    operator.kill(rig.pooler, "app", operator.CLIENT_KILLED)
    assert client.error()[2] == second.error()[2] == operator.CLIENT_KILLED
    assert server.is_closed
    assert (rig.pooler.client_count, len(rig.pooler.cancel_keys)) == (0, 0)


def test_an_end_that_waits_for_servers_waits_for_its_clients_and_lets_nobody_else_in() -> None:
    rig = Rig(at_login(default_pool_size=1))
    client, _ = welcomed(rig)
    second = rig.enter()
    rig.pass_time(1.0, shutting_down=True)
    assert (client.is_closed, second.error()[2]) == (False, "server shutting down")
    assert operator.busy_count(rig.pooler) == 1


def test_client_idle_timeout_closes_nobody_who_has_a_server() -> None:
    rig = Rig(at_login(client_idle_timeout=5.0))
    client, _ = welcomed(rig)
    rig.pass_time(60.0)
    assert not client.is_closed


# What a session begins with


def test_a_client_is_told_what_its_own_server_reports() -> None:
    rig = Rig(at_login())
    first = rig.enter()
    second = rig.enter()
    rig.log_in(rig.pending()[0], server_version="17.2")
    rig.log_in(rig.pending()[0], server_version="17.3")
    versions = [client.statuses()["server_version"] for client in (first, second)]
    assert versions == ["17.2", "17.3"]


def begun_with(rig: Rig, **startup: str) -> tuple[ClientEnd, ServerEnd]:
    """A client that begins with parameters that nobody follows; they are being set."""
    client = rig.enter(startup)
    server = rig.log_in()
    assert (client.kinds(), server.assigned()) == ("R", startup)
    return client, server


def test_what_a_client_begins_with_is_set_before_its_welcome() -> None:
    rig = Rig(at_login())
    client, server = begun_with(rig, work_mem="7MB")
    server.accept()
    assert client.kinds() == "SSSKZ"
    leave(rig, client, server)
    second = rig.enter()
    assert (second.kinds(), server.kinds()) == ("RSSSKZ", "")


def test_what_the_server_says_of_a_startup_parameter_is_the_answer_to_the_login() -> None:
    rig = Rig(at_login())
    client, server = begun_with(rig, nonsuch="1")
    server.fail("42704", "unrecognized configuration parameter")
    assert client.error() == ("FATAL", "42704", "unrecognized configuration parameter")
    assert client.is_closed
    assert server.is_closed


@pytest.mark.parametrize("reset_query", ["", "UNLISTEN *"])
def test_what_a_client_began_with_reaches_no_other(reset_query: str) -> None:
    rig = Rig(at_login(server_reset_query=reset_query))
    client, server = begun_with(rig, work_mem="7MB")
    server.accept()
    client.send(build.build_terminate())
    assert server.is_closed


@pytest.mark.parametrize("link", list(SessionLink))
def test_a_database_or_user_may_have_it_its_own_way(link: SessionLink) -> None:
    config = at_login()
    other = SessionLink.QUERY if link is SessionLink.LOGIN else SessionLink.LOGIN
    database = replace(config.databases["app"], session_link=link)
    config = replace(
        config,
        databases={"app": database},
        pgmux=replace(config.pgmux, session_link=other),
    )
    assert config.links_at_login(database, "bob") is (link is SessionLink.LOGIN)
    assert not replace(
        config, settings=replace(config.settings, pool_mode=PoolMode.TRANSACTION)
    ).links_at_login(database, "bob")
