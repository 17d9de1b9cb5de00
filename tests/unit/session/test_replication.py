"""Replication clients: each has a server of its own, from its login to the end of either."""

from __future__ import annotations

from typing import Any

import pytest

from pgmux.config import PoolMode
from pgmux.pool.states import CL_WAITING
from pgmux.session import operator
from pgmux.wire import build
from pgmux.wire.replication import Replication
from tests.unit.session.rig import ClientEnd, Rig, ServerEnd, configure, idle, linked

LOGICAL, PHYSICAL = Replication.LOGICAL, Replication.PHYSICAL
COPY_BOTH = b"W\0\0\0\x07\0\0\0"


def come(rig: Rig, **startup: str) -> ClientEnd:
    """A replication client, that waits for its server."""
    return rig.enter(startup, replication=LOGICAL)


def replicating(rig: Rig) -> tuple[ClientEnd, ServerEnd]:
    """One that has it."""
    client = come(rig)
    server = rig.log_in()
    client.messages()
    return client, server


def streaming(rig: Rig) -> tuple[ClientEnd, ServerEnd]:
    client, server = replicating(rig)
    client.query("START_REPLICATION")
    server.send(COPY_BOTH)
    for end in (client, server):
        end.messages()
    return client, server


# Its server


def test_it_is_welcomed_with_what_its_own_server_says() -> None:
    rig = Rig()
    idle(rig)
    client = come(rig, application_name="walker", options="-c geqo=off")
    assert client.relay.state == CL_WAITING  # though a server is idle
    (attempt,) = rig.pending()
    assert attempt.client is client.relay.owner
    assert attempt.client.startup == {"application_name": "walker", "options": "-c geqo=off"}
    server = rig.log_in(application_name="walker")
    assert client.relay.linked_server is server.relay
    assert server.relay.owner.dedicated_to is None  # nor do they hold each other in a cycle
    assert client.statuses()["application_name"] == "walker"
    assert server.asked() == []  # nothing had to be set
    assert rig.enter().statuses()["application_name"] == ""  # nor is it what others are told


@pytest.mark.parametrize("mode", PoolMode)
def test_it_keeps_its_server_whatever_the_pool_mode(mode: PoolMode) -> None:
    rig = Rig(configure(mode))
    client, server = replicating(rig)
    client.query("BEGIN")
    server.answer("BEGIN", ord("T"))
    client.query("COMMIT")
    server.answer("COMMIT")
    assert client.kinds() == "CZCZ"
    assert client.relay.linked_server is server.relay
    other = rig.enter()
    other.query()
    assert other.relay.linked_server is None


def test_what_it_sends_before_its_welcome_is_kept() -> None:
    rig = Rig()
    client = come(rig)
    client.query("IDENTIFY_SYSTEM")
    assert rig.log_in().asked() == ["IDENTIFY_SYSTEM"]


def test_its_counters_are_the_pool_s() -> None:
    rig = Rig()
    client, server = replicating(rig)
    client.query()
    server.answer()
    counters = rig.control().relay.counters
    assert (counters.query_count, counters.server_assignment_count) == (1, 1)


def test_a_reload_reaches_it_and_leaves_its_mode() -> None:
    rig = Rig()
    client, server = replicating(rig)
    rig.reload(max_packet_size=50, pool_mode=PoolMode.STATEMENT)
    client.query("BEGIN")
    server.answer("BEGIN", ord("T"))
    assert client.kinds() == "CZ"
    client.query("x" * 50)
    assert client.error()[2].startswith("bad packet header")


def test_reset_brings_back_what_it_began_with() -> None:
    rig = Rig()
    client = come(rig, application_name="walker")
    server = rig.log_in(application_name="walker")
    client.messages()
    client.query("SET application_name = 'x'; RESET application_name")
    server.report("application_name", "x")
    server.send(build.build_command_complete("SET"))
    server.report("application_name", "walker")
    server.answer("RESET")
    assert client.statuses() == {"application_name": "walker"}
    assert server.asked() == ["SET application_name = 'x'; RESET application_name"]


# Streams


def test_days_of_a_stream_are_no_query_s_time() -> None:
    rig = Rig()
    client, server = streaming(rig)
    rig.now += 86_400
    client.send(build.build_copy_done())
    server.send(build.build_copy_done())
    server.answer("COPY 0")
    counters = rig.control().relay.counters
    assert (counters.query_time, counters.xact_time) == (0, 0)
    assert client.relay.linked_server is server.relay
    client.query()
    rig.now += 1
    server.answer()
    assert (counters.query_time, counters.query_count) == (1, 2)


@pytest.mark.parametrize(
    "timeout", ["query_timeout", "transaction_timeout", "idle_transaction_timeout"]
)
def test_no_timeout_ends_a_stream(timeout: str) -> None:
    rig = Rig(configure(**{timeout: 10.0}))
    client, _ = streaming(rig)
    rig.pass_time(1000)
    assert not client.is_closed


def test_a_query_has_its_timeout_as_everybody_s() -> None:
    rig = Rig(configure(query_timeout=10.0))
    client, _ = replicating(rig)
    client.query("BASE_BACKUP")
    rig.pass_time(11)
    assert client.error()[2] == "query timeout"


def test_a_slow_client_pauses_its_server_and_a_slow_server_its_client() -> None:
    rig = Rig()
    client, server = streaming(rig)
    for slow, other in ((client, server), (server, client)):
        slow.relay.pause_writing()
        assert not other.transport.is_reading
        slow.relay.resume_writing()
        assert other.transport.is_reading


# The end


def test_its_server_goes_with_it() -> None:
    rig = Rig()
    client, server = replicating(rig)
    client.send(build.build_terminate())
    assert server.is_closed
    assert "closing because: replication client was closed (age=0s)" in rig.log.lines[-1]


def test_who_goes_in_the_middle_of_a_stream_takes_its_server_along() -> None:
    rig = Rig()
    client, server = streaming(rig)
    client.lose()
    assert server.is_closed
    assert "client disconnect while server was not ready" in rig.log.lines[-1]


def test_it_goes_with_its_server() -> None:
    rig = Rig()
    client, server = streaming(rig)
    server.lose()
    assert client.error()[2] == "server conn crashed?"


def test_who_goes_before_its_server_has_come_leaves_no_connect() -> None:
    rig = Rig()
    client = come(rig)
    (attempt,) = rig.pending()
    client.lose()
    assert attempt.canceled == "replication client disconnected"
    assert not rig.control().pool.is_used()
    assert (rig.pooler.connects.dedicated, rig.pooler.connects.attempts) == ({}, {})


@pytest.mark.parametrize("word", [build.build_terminate(), b"Q\xff\xff\xff\xff"])
def test_who_says_its_last_word_before_its_welcome_leaves_no_server(word: bytes) -> None:
    rig = Rig()
    client = come(rig)
    client.send(word)
    server = rig.log_in()
    assert client.is_closed
    assert server.is_closed
    assert not rig.control().pool.is_used()


def test_a_server_that_is_to_be_closed_goes_at_once() -> None:
    rig = Rig()
    client, server = streaming(rig)
    operator.reconnect(rig.pooler, None)
    assert server.is_closed
    assert client.error()[2] == "database configuration changed"


def test_its_lifetime_ends_no_stream() -> None:
    rig = Rig(configure(server_lifetime=10.0))
    client, _ = streaming(rig)
    rig.pass_time(100)
    assert not client.is_closed


def test_a_pause_waits_for_it_as_for_a_session() -> None:
    rig = Rig()
    client, _ = replicating(rig)
    operator.hold(rig.pooler, None, held=True)
    assert operator.busy_count(rig.pooler) == 1
    client.send(build.build_terminate())
    assert operator.busy_count(rig.pooler) == 0


def test_who_comes_during_a_pause_waits_for_its_end() -> None:
    rig = Rig()
    replicating(rig)
    operator.hold(rig.pooler, None, held=True)
    client = come(rig)
    assert rig.pending() == []
    operator.hold(rig.pooler, None, held=False)
    rig.log_in()
    assert client.kinds()[-1] == "Z"


def test_a_cancel_request_for_a_stream_goes_to_its_server() -> None:
    rig = Rig()
    client, server = streaming(rig)
    info = client.relay.owner
    rig.pooler.cancel(info.cancel_pid, info.cancel_key, lambda reason: None)
    assert [attempt.target for attempt in rig.cancels] == [server.relay.owner]
    client.lose()
    assert server.is_closed


def test_a_server_that_was_being_cancelled_when_its_client_went_is_nobody_s() -> None:
    rig = Rig()
    client, server = replicating(rig)
    client.query()
    info = client.relay.owner
    rig.pooler.cancel(info.cancel_pid, info.cancel_key, lambda reason: None)
    server.answer()
    client.send(build.build_terminate())
    assert not server.is_closed
    rig.cancels[0].done()
    assert server.is_closed


# A refusal


def refuse(rig: Rig, sqlstate: str = "42501", message: str = "permission denied") -> None:
    rig.refuse("login failed", sqlstate, message)


def test_a_refusal_is_told_in_the_server_s_words_and_concerns_nobody_else() -> None:
    rig = Rig()
    client = come(rig)
    other = rig.enter()
    refuse(rig)
    assert client.error() == ("FATAL", "42501", "login failed: permission denied")
    assert any(line.endswith("closing because: login failed (age=0s)") for line in rig.log.lines)
    assert rig.control().pool.failure is None
    rig.log_in()
    assert other.kinds()[-1] == "Z"


def test_a_server_that_starts_up_is_waited_for() -> None:
    rig = Rig()
    client = come(rig)
    rig.refuse()
    assert not client.is_closed
    rig.pass_time(15)
    rig.log_in()
    assert client.kinds()[-1] == "Z"


def test_what_keeps_everybody_out_is_told_to_it_too() -> None:
    rig = Rig()
    other = rig.enter()
    client = come(rig)
    refuse(rig, "28P01", "password authentication failed")
    assert [end.error()[1] for end in (other, client)] == ["28P01", "28P01"]


def test_after_a_failure_the_first_server_that_logs_in_lets_others_connect() -> None:
    rig = Rig()
    clients = [come(rig) for _ in range(3)]
    for _ in clients:
        rig.refuse()
    rig.pass_time(15)
    assert len(rig.pending()) == 1  # to see whether it is well again
    rig.log_in()
    assert len(rig.pending()) == 2


def test_a_connect_that_takes_too_long_is_tried_again() -> None:
    rig = Rig(configure(server_connect_timeout=5.0, server_login_retry=1.0))
    client = come(rig)
    rig.pass_time(6)
    rig.pass_time(2)
    rig.log_in()
    assert client.kinds()[-1] == "Z"


# Places


def full(mode: PoolMode = PoolMode.TRANSACTION, **settings: Any) -> Rig:
    return Rig(configure(mode, default_pool_size=1, **settings))


def test_an_idle_server_makes_room_for_it() -> None:
    rig = full()
    _, server = idle(rig)
    client = come(rig)
    assert server.is_closed
    assert any("closing because: evicted" in line for line in rig.log.lines)
    rig.log_in()
    assert client.kinds()[-1] == "Z"


def test_a_busy_server_makes_room_at_its_release() -> None:
    rig = full()
    busy, server = linked(rig)
    client = come(rig)
    assert rig.pending() == []
    server.answer()
    assert server.is_closed
    assert busy.kinds() == "CZ"
    assert [attempt.client for attempt in rig.pending()] == [client.relay.owner]


def test_a_queue_that_has_waited_longer_comes_first() -> None:
    rig = full()
    _, server = linked(rig)
    first = rig.enter()
    first.query()
    rig.now += 1
    client = come(rig)
    rig.now += 1
    last = rig.enter()
    last.query()
    server.answer()
    assert first.relay.linked_server is server.relay
    server.answer()
    assert server.is_closed
    dedicated = rig.log_in()
    assert client.relay.linked_server is dedicated.relay
    client.send(build.build_terminate())
    rig.log_in()
    assert last.relay.linked_server is not None


def test_a_full_pool_of_streams_has_others_wait() -> None:
    rig = full()
    client, _ = streaming(rig)
    other, second = rig.enter(), come(rig)
    other.query()
    rig.pass_time(1)
    assert rig.pending() == []
    client.lose()
    assert len(rig.pending()) == 1
    assert second.relay.state == other.relay.state == CL_WAITING


@pytest.mark.parametrize("how", ["refused", "left"])
def test_the_place_of_a_connect_that_nobody_needs_is_the_queue_s_at_once(how: str) -> None:
    rig = full()
    client = come(rig)
    other = rig.enter()
    assert [attempt.client for attempt in rig.pending()] == [client.relay.owner]
    if how == "left":
        client.lose()
    else:
        refuse(rig)
    rig.log_in()
    assert other.kinds()[-1] == "Z"


def test_it_takes_a_place_of_its_database() -> None:
    rig = Rig(configure(max_db_connections=1))
    _, server = idle(rig)
    rig.pass_moment(1)
    client = come(rig)
    assert server.is_closed
    rig.log_in()
    assert client.kinds()[-1] == "Z"
    assert rig.pooler.databases["app"].quota.server_count == 1
    client.lose()
    assert rig.pooler.databases["app"].quota.server_count == 0


def test_it_has_as_long_to_wait_for_a_place_as_others() -> None:
    rig = full(query_wait_timeout=30.0)
    linked(rig)
    client = come(rig)
    rig.pass_time(31)
    assert client.error()[2] == "query_wait_timeout"


def test_one_connects_for_each_at_a_time() -> None:
    rig = Rig()
    ends = [come(rig) for _ in range(3)]
    assert [a.client for a in rig.pending()] == [end.relay.owner for end in ends]
    for attempt in reversed(rig.pending()):
        server = rig.log_in(attempt)
        assert server.relay.linked_client.owner is attempt.client


def test_a_server_that_says_its_last_word_with_its_welcome_is_replaced() -> None:
    rig = Rig()
    client = come(rig)
    rig.log_in(rest=build.build_error_response("FATAL", "57P01", "going down"))
    rig.pass_time(1)
    assert client.relay.state == CL_WAITING
    rig.log_in()
    assert client.kinds()[-1] == "Z"


def test_kill_ends_who_waits_and_who_streams() -> None:
    rig = Rig()
    client, server = streaming(rig)
    second = come(rig)
    operator.kill(rig.pooler, "app", "killed")
    assert client.is_closed and server.is_closed and second.is_closed
    assert rig.pending() == []
