"""Links, releases, ends: what becomes of clients and servers, without a socket."""

from __future__ import annotations

from typing import Any

import pytest

from pgmux.config import PoolMode
from pgmux.pool.states import (
    CL_ACTIVE,
    CL_GONE,
    CL_WAITING,
    SV_ACTIVE,
    SV_BEING_CANCELED,
    SV_GONE,
    SV_IDLE,
    SV_TESTED,
    SV_USED,
)
from pgmux.session import operator
from pgmux.wire import build, codes
from tests.unit.session.rig import Rig, ServerEnd, configure, linked

IN_TRANSACTION = codes.TRANSACTION_BLOCK


def session(**settings: Any) -> Rig:
    return Rig(configure(PoolMode.SESSION, **settings))


def idle_server(rig: Rig) -> ServerEnd:
    """A server that somebody has used, and that is idle now."""
    client, server = linked(rig)
    server.answer()
    client.lose()
    return server


# One query


def test_a_query_goes_to_a_server_and_its_answer_back() -> None:
    rig = Rig()
    client = rig.enter()
    client.query("SELECT 2")
    server = rig.log_in()
    assert server.asked() == ["SELECT 2"]
    client.messages()
    server.answer("SELECT 2")
    assert client.messages() == [("C", b"SELECT 2\0"), ("Z", b"I")]


def test_after_a_transaction_the_server_is_idle_and_the_client_linked_no_more() -> None:
    rig = Rig()
    client, server = linked(rig)
    server.answer(status=IN_TRANSACTION)
    assert client.relay.linked_server is server.relay
    client.query("COMMIT")
    server.answer("COMMIT")
    assert (client.relay.linked_server, server.relay.linked_client) == (None, None)
    assert rig.servers(SV_IDLE) == [server.relay]


def test_the_released_server_goes_to_who_waited_longest() -> None:
    rig = Rig(configure(default_pool_size=1))
    client, server = linked(rig)
    second, third = rig.enter(), rig.enter()
    for waiting in (third, second):
        waiting.query("SELECT 2")
    assert (second.relay.state, third.relay.state) == (CL_WAITING, CL_WAITING)
    server.messages()
    server.answer()
    assert third.relay.linked_server is server.relay
    assert server.asked() == ["SELECT 2"]
    assert client.relay.state == CL_ACTIVE


def test_a_session_keeps_its_server_till_the_client_goes() -> None:
    rig = session(server_reset_query="")
    client, server = linked(rig)
    server.answer()
    assert client.relay.linked_server is server.relay
    client.send(build.build_terminate())
    assert client.is_closed
    assert rig.servers(SV_IDLE) == [server.relay]


def test_a_statement_may_not_leave_a_transaction_open() -> None:
    rig = Rig(configure(PoolMode.STATEMENT))
    client, server = linked(rig)
    server.answer("BEGIN", IN_TRANSACTION)
    message = "transaction blocks not allowed in statement pooling mode"
    assert client.error() == ("FATAL", "08P01", message)
    assert (client.is_closed, server.is_closed) == (True, True)


# Clients go


def test_why_postgresql_ended_a_connection_is_in_the_log_before_its_end() -> None:
    rig = Rig()
    client, server = linked(rig)
    words = ("FATAL", "25P03", "terminating connection due to idle-in-transaction timeout")
    server.send(build.build_error_response(*words, with_v=True))
    server.lose()
    assert client.error() == words
    lines = [line for line in rig.log.lines if "S-" in line]
    why = next(i for i, line in enumerate(lines) if f"server error: {' '.join(words)}" in line)
    assert "closing because: server conn crashed?" in lines[why + 1]


@pytest.mark.parametrize("mode", [PoolMode.SESSION, PoolMode.TRANSACTION])
def test_a_client_that_leaves_its_query_behind_takes_the_server_with_it(mode: PoolMode) -> None:
    rig = Rig(configure(mode))
    client, server = linked(rig)
    client.lose()
    assert (client.relay.state, server.relay.state) == (CL_GONE, SV_GONE)
    assert server.messages() == [("X", b"")]
    assert any("client disconnect while server was not ready" in line for line in rig.log.lines)


def test_a_client_that_leaves_its_transaction_open_takes_the_server_with_it() -> None:
    rig = Rig()
    client, server = linked(rig)
    server.answer("BEGIN", IN_TRANSACTION)
    client.lose()
    assert server.is_closed


def test_a_client_that_waits_leaves_the_queue() -> None:
    rig = Rig(configure(default_pool_size=1))
    _, server = linked(rig)
    waiting = rig.enter()
    waiting.query()
    waiting.lose()
    server.answer()
    assert (waiting.relay.state, server.relay.state) == (CL_GONE, SV_IDLE)
    assert rig.pooler.client_count == len(rig.pooler.cancel_keys) == 1


def test_garbage_ends_its_client_alone() -> None:
    rig = Rig()
    client, server = linked(rig)
    server.answer()
    other = rig.enter()
    other.messages()
    client.messages()
    client.send(b"Q\0\0\0\3")
    assert client.error() == ("FATAL", "08P01", "bad packet header: '5100000003'")
    assert not other.is_closed
    assert rig.servers(SV_IDLE) == [server.relay]


def test_the_end_of_a_client_is_told_once() -> None:
    rig = Rig()
    client, _ = linked(rig)
    client.send(build.build_terminate())
    client.lose()
    client.query()
    assert len([line for line in rig.log.lines if "C-" in line and "closing" in line]) == 1


def test_pooler_errors_are_logged_unless_that_is_off() -> None:
    for wanted in (True, False):
        rig = Rig(configure(log_pooler_errors=wanted, log_disconnections=wanted))
        rig.enter()
        rig.log_in()
        rig.log.lines.clear()
        rig.control().close_client(rig.control().pool.lists.active_clients()[0], "reasons")
        assert any("pooler error: reasons" in line for line in rig.log.lines) is wanted
        assert any("closing because: reasons" in line for line in rig.log.lines) is wanted


# Servers go


def test_a_server_that_dies_tells_its_client() -> None:
    rig = Rig()
    client, server = linked(rig)
    server.lose()
    assert client.error() == ("FATAL", "08P01", "server conn crashed?")
    assert rig.control().pool.server_count() == 0


def test_a_server_that_says_why_it_ends_has_told_its_client() -> None:
    rig = Rig()
    client, server = linked(rig)
    server.send(build.build_error_response("FATAL", "57P01", "terminating", with_v=True))
    server.lose()
    assert client.error() == ("FATAL", "57P01", "terminating")
    assert client.is_closed
    assert "closing because: server conn crashed?" in rig.log.lines[-1]


@pytest.mark.parametrize("who", ["the server", "the client"])
def test_a_client_that_has_half_a_row_gets_no_error_for_its_other_half(who: str) -> None:
    rig = Rig()
    client, server = linked(rig)
    half = b"D\0\0\1\0half"
    server.send(half)
    if who == "the server":
        server.lose()
    else:
        operator.kill_client(rig.pooler, client.relay.owner.id)
    assert bytes(client.transport.written) == half
    assert client.is_closed and server.is_closed


def test_an_idle_server_that_dies_is_nobodys_loss() -> None:
    rig = Rig()
    client, server = linked(rig)
    server.answer()
    server.lose()
    assert (client.is_closed, server.relay.state) == (False, SV_GONE)
    client.query()
    assert len(rig.pending()) == 1


def test_the_place_of_a_server_that_died_is_filled_for_who_waits() -> None:
    rig = Rig(configure(default_pool_size=1))
    _, server = linked(rig)
    waiting = rig.enter()
    waiting.query()
    assert rig.pending() == []
    server.lose()
    assert len(rig.pending()) == 1
    assert rig.log_in().asked() == ["SELECT 1"]


def test_garbage_from_a_server_ends_it_and_its_client() -> None:
    rig = Rig()
    client, server = linked(rig)
    server.send(b"?\0\0\0\4")
    assert client.error()[2] == "unknown pkt"
    assert server.is_closed


@pytest.mark.parametrize("kind", [codes.NOTICE_RESPONSE, codes.NOTIFICATION_RESPONSE])
def test_an_idle_server_may_give_notice(kind: int) -> None:
    rig = Rig()
    server = idle_server(rig)
    server.send(bytes([kind]) + b"\0\0\0\5\0")
    assert not server.is_closed


def test_an_idle_server_that_answers_nobody_is_closed() -> None:
    rig = Rig()
    server = idle_server(rig)
    server.answer()
    assert server.is_closed
    assert any("idle server got dirty" in line for line in rig.log.lines)


def test_an_idle_server_that_says_goodbye_is_closed() -> None:
    rig = Rig()
    server = idle_server(rig)
    server.fail("57P01", "terminating connection due to administrator command")
    assert server.is_closed
    assert any("57P01 terminating connection" in line for line in rig.log.lines)


# Release


def test_the_reset_query_cleans_a_server_between_sessions() -> None:
    rig = session()
    client, server = linked(rig)
    server.answer()
    client.lose()
    assert (server.asked(), server.relay.state) == (["DISCARD ALL"], SV_TESTED)
    server.answer("DISCARD ALL")
    assert server.relay.state == SV_IDLE


def test_who_waits_gets_the_server_after_its_reset() -> None:
    rig = session(default_pool_size=1, server_reset_query="RESET ALL")
    client, server = linked(rig)
    waiting = rig.enter()
    waiting.query("SELECT 2")
    server.answer()
    client.lose()
    assert server.asked() == ["RESET ALL"]
    assert waiting.relay.state == CL_WAITING
    server.answer("RESET")
    assert server.asked() == ["SELECT 2"]


def test_a_reset_query_that_fails_ends_the_server() -> None:
    rig = session()
    client, server = linked(rig)
    server.answer()
    client.lose()
    server.fail()
    assert server.is_closed
    assert rig.control().pool.server_count() == 0


def test_a_reset_query_that_leaves_a_transaction_open_ends_the_server() -> None:
    rig = session(server_reset_query="BEGIN")
    client, server = linked(rig)
    server.answer()
    client.lose()
    server.answer("BEGIN", IN_TRANSACTION)
    assert server.is_closed


def test_transactions_need_no_reset_unless_it_is_always_wanted() -> None:
    rig = Rig()
    _, server = linked(rig)
    server.answer()
    assert server.asked() == []
    rig = Rig(configure(server_reset_query_always=True))
    _, server = linked(rig)
    server.answer()
    assert server.asked() == ["DISCARD ALL"]


def test_a_server_that_idled_for_long_is_checked_before_its_next_use() -> None:
    rig = Rig(configure(server_check_query="SELECT 'alive'"))
    client, server = linked(rig)
    server.answer()
    rig.pass_time(31.0)
    assert server.relay.state == SV_USED
    client.query("SELECT 2")
    assert (server.asked(), server.relay.state) == (["SELECT 'alive'"], SV_TESTED)
    assert rig.pending() == []
    server.answer()
    assert server.asked() == ["SELECT 2"]


def test_the_empty_check_query_is_an_empty_query() -> None:
    rig = Rig()
    client, server = linked(rig)
    server.answer()
    rig.pass_time(31.0)
    client.query()
    assert server.asked() == [""]
    server.send(build.build_empty_query_response(), build.build_ready_for_query())
    assert server.asked() == ["SELECT 1"]


def test_a_failed_check_makes_room_for_a_new_server() -> None:
    rig = Rig(configure(default_pool_size=1))
    client, server = linked(rig)
    server.answer()
    rig.pass_time(31.0)
    client.query("SELECT 2")
    server.lose()
    assert client.relay.state == CL_WAITING
    assert rig.log_in().asked() == ["SELECT 2"]


def test_one_used_server_a_waiting_client_is_checked() -> None:
    rig = Rig()
    pairs = [linked(rig) for _ in range(3)]
    for _, server in pairs:
        server.answer()
    rig.pass_time(31.0)
    pairs[0][0].query()
    rig.pass_time(0.3)
    rig.pass_time(0.3)
    assert len(rig.servers(SV_TESTED)) == 1
    pairs[1][0].query()
    assert len(rig.servers(SV_TESTED)) == 2


def test_server_check_delay_0_checks_before_each_use() -> None:
    rig = Rig(configure(server_check_delay=0.0, server_check_query="SELECT 'alive'"))
    client, server = linked(rig)
    server.answer()
    assert server.asked() == []
    client.query("SELECT 2")
    assert server.asked() == ["SELECT 'alive'"]
    server.answer()
    assert server.asked() == ["SELECT 2"]


def test_a_server_goes_at_its_release_when_its_lifetime_is_over() -> None:
    rig = Rig(configure(server_lifetime=100.0))
    client, server = linked(rig)
    rig.pass_time(100.0)
    assert not server.is_closed
    server.answer()
    assert (server.is_closed, client.is_closed) == (True, False)
    assert any("server lifetime over" in line for line in rig.log.lines)


def test_lifetime_0_uses_a_server_once() -> None:
    rig = Rig(configure(server_lifetime=0.0))
    _, server = linked(rig)
    server.answer()
    assert server.is_closed


# Cancel requests


def cancel(rig: Rig, client: Any) -> list[str]:
    """Why its connection closes, once it does."""
    info = client.relay.owner
    told: list[str] = []
    rig.pooler.cancel(info.cancel_pid, info.cancel_key, told.append)
    return told


def test_a_cancel_request_goes_to_the_linked_server() -> None:
    rig = Rig()
    client, server = linked(rig)
    assert cancel(rig, client) == []
    assert [attempt.target for attempt in rig.cancels] == [server.relay.owner]


def test_a_cancel_request_s_connection_closes_once_the_server_has_stopped_the_query() -> None:
    rig = Rig()
    client, _ = linked(rig)
    told = cancel(rig, client)
    assert told == []
    rig.cancels[0].done()
    assert told == ["successfully sent cancel request"]


def test_a_released_server_waits_for_its_cancel_requests() -> None:
    rig = Rig()
    client, server = linked(rig)
    cancel(rig, client)
    cancel(rig, client)
    server.answer()
    assert server.relay.state == SV_BEING_CANCELED
    rig.cancels[0].done()
    assert server.relay.state == SV_BEING_CANCELED
    rig.cancels[1].done()
    assert server.relay.state == SV_IDLE


def test_a_server_at_work_when_its_cancel_request_is_through_is_released_as_ever() -> None:
    rig = Rig()
    client, server = linked(rig)
    cancel(rig, client)
    rig.cancels[0].done()
    assert server.relay.state == SV_ACTIVE
    server.answer()
    assert server.relay.state == SV_IDLE


def test_who_waits_gets_a_server_whose_cancel_request_is_through() -> None:
    rig = Rig(configure(default_pool_size=1))
    client, server = linked(rig)
    waiting = rig.enter()
    waiting.query("SELECT 2")
    cancel(rig, client)
    server.answer()
    assert waiting.relay.state == CL_WAITING
    rig.cancels[0].done()
    assert server.asked() == ["SELECT 2"]


def test_a_reset_query_waits_for_the_cancel_request() -> None:
    rig = session()
    client, server = linked(rig)
    cancel(rig, client)
    server.answer()
    client.lose()
    assert (server.relay.state, server.asked()) == (SV_BEING_CANCELED, [])
    rig.cancels[0].done()
    assert (server.relay.state, server.asked()) == (SV_TESTED, ["DISCARD ALL"])


def test_a_server_that_died_misses_no_cancel_request() -> None:
    rig = Rig()
    client, server = linked(rig)
    cancel(rig, client)
    server.lose()
    rig.cancels[0].done()
    assert (server.relay.state, rig.pooler.cancels) == (SV_GONE, {})


def test_two_cancel_requests_at_once_are_enough() -> None:
    rig = Rig()
    client, _ = linked(rig)
    answers = [cancel(rig, client) for _ in range(3)]
    assert answers == [[], [], ["cancel request already on its way"]]
    assert len(rig.cancels) == 2


def test_a_cancel_request_that_hangs_is_given_up() -> None:
    rig = Rig(configure(cancel_wait_timeout=10.0))
    client, server = linked(rig)
    told = cancel(rig, client)
    server.answer()
    rig.pass_time(10.0)
    assert server.relay.state == SV_BEING_CANCELED
    rig.pass_time(0.1)
    assert rig.cancels[0].canceled == "cancel_wait_timeout"
    assert told == ["cancel_wait_timeout"]
    assert server.relay.state == SV_IDLE


@pytest.mark.parametrize("right", ["pid", "key", "neither"])
def test_a_wrong_key_cancels_nothing(right: str) -> None:
    rig = Rig()
    client, _ = linked(rig)
    info = client.relay.owner
    pid = info.cancel_pid if right == "pid" else info.cancel_pid + 1
    key = info.cancel_key if right == "key" else b"nope"
    told: list[str] = []
    rig.pooler.cancel(pid, key, told.append)
    assert told == ["failed cancel request"]
    assert rig.cancels == []


def test_an_idle_client_has_nothing_to_cancel() -> None:
    rig = Rig()
    client, server = linked(rig)
    server.answer()
    assert cancel(rig, client) == ["cancel request for idle client"]


def test_a_session_between_queries_has_nothing_to_cancel() -> None:
    rig = session()
    client, server = linked(rig)
    server.answer()
    assert cancel(rig, client) == ["cancel request for idle client"]


def test_a_waiting_query_is_cancelled_without_a_server() -> None:
    rig = Rig(configure(default_pool_size=1))
    _, server = linked(rig)
    waiting = rig.enter()
    waiting.messages()
    waiting.query()
    assert cancel(rig, waiting) == ["canceled a waiting client"]
    assert waiting.relay.state == CL_ACTIVE
    assert waiting.error() == ("ERROR", "57014", "canceling statement due to user request")
    server.messages()
    waiting.query("SELECT 2")
    server.answer()
    assert server.asked() == ["SELECT 2"]


def test_two_waiting_queries_are_not_cancelled_as_one() -> None:
    rig = Rig(configure(default_pool_size=1))
    linked(rig)
    waiting = rig.enter()
    waiting.query()
    waiting.query()
    assert cancel(rig, waiting) == ["cancel request for idle client"]
    assert waiting.relay.state == CL_WAITING


def test_a_client_that_waits_for_its_welcome_has_nothing_to_cancel() -> None:
    rig = Rig()
    client = rig.enter()
    client.query()
    assert cancel(rig, client) == ["cancel request for idle client"]
    assert rig.log_in().asked() == ["SELECT 1"]


def test_parameters_being_set_are_not_cancelled() -> None:
    rig = Rig()
    client = rig.enter({"TimeZone": "CET"})
    client.query()
    rig.log_in()
    assert cancel(rig, client) == ["cancel request for idle client"]


# Errors inside


def test_our_own_mistake_ends_one_connection() -> None:
    rig = Rig()
    client, server = linked(rig)
    other = rig.enter()
    rig.control().on_bug(client.relay, ValueError("mistake"))
    assert client.error() == ("FATAL", "XX000", "internal error")
    assert (server.is_closed, other.is_closed) == (True, False)
    assert [str(error) for error in rig.log.exceptions] == ["mistake"]


def test_our_own_mistake_with_a_server_ends_it_and_its_client() -> None:
    rig = Rig()
    client, server = linked(rig)
    rig.control().on_bug(server.relay, ValueError("mistake"))
    assert (client.is_closed, server.is_closed) == (True, True)


def test_an_idle_server_whose_postgres_stops_has_crashed() -> None:
    rig = Rig()
    server = idle_server(rig)
    server.send(build.build_error_response("FATAL", "57P01", "terminating connection", with_v=True))
    assert server.is_closed
    assert "server error: FATAL 57P01 terminating connection" in rig.log.lines[-2]
    assert "closing because: server conn crashed? (age=" in rig.log.lines[-1]
