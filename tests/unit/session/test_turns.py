"""What concerns thousands of clients at once takes turns of the loop, a slice of them in each."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import pytest

from pgmux.config import Database, PoolMode
from pgmux.pool.pool import Failure
from pgmux.pool.states import SV_ACTIVE
from pgmux.session import operator
from pgmux.session.connects import Connects
from pgmux.session.turns import SLICE, in_turns
from tests.unit.session.rig import ClientEnd, Rig, configure, linked, with_databases

MANY = 3 * SLICE + 7


def each_turn(rig: Rig, is_done: Callable[[], int]) -> list[int]:
    """How many more are done after each turn of the loop, beginning with what is done by now."""
    counts = [0, is_done()]
    while rig.alarms and len(counts) < 100:
        rig.pass_moment(0.0)
        counts.append(is_done())
    return [after - before for before, after in pairwise(counts)]


def welcomed_clients(rig: Rig, count: int) -> list[ClientEnd]:
    clients = [rig.enter() for _ in range(count)]
    for client in clients:
        client.messages()
    return clients


def closed_count(clients: list[ClientEnd]) -> int:
    return sum(client.is_closed for client in clients)


def test_it_is_done_for_a_slice_now_and_for_the_others_in_turn() -> None:
    done: list[int] = []
    turns: list[Callable[[], None]] = []
    in_turns(lambda _, call: turns.append(call), range(2 * SLICE + 1), done.append)
    assert done == list(range(SLICE))
    for turn in turns:  # which grows
        turn()
    assert done == list(range(2 * SLICE + 1))
    assert len(turns) == 2


def test_a_few_take_no_turn() -> None:
    done: list[int] = []
    in_turns(lambda _, call: pytest.fail("later"), range(SLICE - 1), done.append)
    assert len(done) == SLICE - 1


def test_kill_ends_thousands_of_clients_in_turns() -> None:
    rig = Rig(configure(default_pool_size=1))
    linked(rig)
    clients = welcomed_clients(rig, MANY)
    for client in clients[::2]:
        client.query()
    operator.hold(rig.pooler, "app", held=True)
    operator.kill(rig.pooler, "app", "admin forced disconnect")
    counts = each_turn(rig, lambda: closed_count(clients))
    assert max(counts) <= SLICE + 1  # and the server's own
    assert sum(counts) == MANY
    assert clients[0].error() == ("FATAL", "08P01", "admin forced disconnect")
    assert rig.pending() == []


def test_kill_takes_no_more_at_a_time_where_there_are_many_pools() -> None:
    databases = [Database(f"d{i}", "d") for i in range(8)]
    rig = Rig(with_databases(*databases))
    clients = [rig.enter(database=f"d{i % 8}") for i in range(MANY)]
    for attempt in rig.pending():
        rig.log_in(attempt)
    operator.hold(rig.pooler, None, held=True)
    operator.kill(rig.pooler, None, "admin forced disconnect")
    counts = each_turn(rig, lambda: closed_count(clients))
    assert (max(counts), sum(counts)) == (SLICE, MANY)
    assert rig.pooler.client_count == 0


def test_clients_of_a_database_that_is_removed_get_nothing_until_they_end() -> None:
    rig = Rig(configure(database={"pool_mode": PoolMode.TRANSACTION}))
    linked(rig)
    clients = welcomed_clients(rig, MANY)
    operator.drop_database(rig.pooler, "app")
    clients[-1].query()
    assert rig.pending() == []
    each_turn(rig, lambda: closed_count(clients))
    assert closed_count(clients) == MANY
    assert (rig.pooler.pools, rig.pooler.client_count) == ({}, 0)


def test_the_welcome_of_all_who_waited_for_the_first_server_takes_turns() -> None:
    rig = Rig(configure(default_pool_size=1))
    clients = [rig.enter() for _ in range(MANY)]
    clients[-1].query("SELECT 2")
    clients[-2].lose()
    server = rig.log_in()
    counts = each_turn(rig, lambda: sum(bool(client.transport.written) for client in clients))
    assert max(counts) == SLICE
    assert [client.kinds() for client in clients] == [*["RSSSKZ"] * (MANY - 2), "", "RSSSKZ"]
    assert server.asked() == ["SELECT 2"]
    assert rig.control().pool.lists.waiting_count() == 0


def test_a_servers_login_looks_through_no_queue_where_all_are_welcomed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rig = Rig(configure(default_pool_size=2))
    linked(rig)
    for client in welcomed_clients(rig, 2):
        client.query()
    looked: list[object] = []
    monkeypatch.setattr(Connects, "_welcome_all", lambda _, control: looked.append(control))
    server = rig.log_in()
    assert server.relay.linked_client is not None
    assert looked == []


def test_a_server_is_not_given_to_who_has_yet_to_be_welcomed() -> None:
    rig = Rig(configure(default_pool_size=1))
    clients = [rig.enter() for _ in range(MANY)]
    clients[0].query("SELECT 2")
    server = rig.log_in()
    assert server.relay.linked_client is clients[0].relay
    server.answer()
    assert server.relay.linked_client is None
    assert rig.servers(SV_ACTIVE) == []


def test_the_servers_refusal_of_thousands_takes_turns() -> None:
    rig = Rig(configure(default_pool_size=1))
    clients = [rig.enter() for _ in range(MANY)]
    (attempt,) = rig.pending()
    failure = Failure("login failed", "3D000", 'database "app" does not exist')
    rig.pooler.connects.on_failed(attempt, failure, transient=False)
    counts = each_turn(rig, lambda: closed_count(clients))
    assert (max(counts), sum(counts)) == (SLICE, MANY)
    assert clients[-1].error() == ("FATAL", "3D000", 'database "app" does not exist')


def test_timeouts_of_thousands_take_turns() -> None:
    rig = Rig(configure(default_pool_size=1, query_wait_timeout=10.0))
    linked(rig)
    clients = welcomed_clients(rig, MANY)
    for client in clients:
        client.query()
    rig.pass_time(10.1)
    counts = each_turn(rig, lambda: closed_count(clients))
    assert (max(counts), sum(counts)) == (SLICE, MANY)


def test_the_janitor_comes_in_between_and_doubles_no_slice() -> None:
    rig = Rig(configure(client_idle_timeout=10.0))
    linked(rig)
    clients = welcomed_clients(rig, MANY)
    rig.pass_time(10.1)
    rig.pass_time(0.0)  # a turn, and a round
    assert closed_count(clients) == 2 * SLICE
    assert len(rig.alarms) == 1


def test_notices_to_thousands_who_wait_take_turns() -> None:
    rig = Rig(configure(default_pool_size=1))
    linked(rig)
    clients = welcomed_clients(rig, MANY)
    for client in clients:
        client.query()
    rig.pass_time(6.1)
    counts = each_turn(rig, lambda: sum(bool(client.transport.written) for client in clients))
    assert (max(counts), sum(counts)) == (SLICE, MANY)
