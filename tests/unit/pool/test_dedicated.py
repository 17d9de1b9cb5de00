"""Clients that get a server of their own: when a pool connects for them, and who makes room."""

from __future__ import annotations

import pytest

from pgmux.pool.limits import Quota, yields_place
from pgmux.pool.pool import MAX_LOGINS, Failure, Pool
from pgmux.pool.states import SV_ACTIVE, SV_IDLE, SV_TESTED, SV_USED
from tests.unit.pool.pools import add_clients, add_dedicated, add_servers, make_pool

NOW = 100.0


def test_idle_servers_are_of_no_use_to_it() -> None:
    pool = make_pool()
    add_servers(pool, SV_IDLE, 2)
    client = add_dedicated(pool, wait_start=90.0)
    assert pool.wants_since(NOW) == 90.0
    assert pool.next_dedicated(NOW) is client
    pool.on_connect(NOW, client)
    assert pool.wants_since(NOW) is None
    assert (pool.server_count(), pool.logins) == (3, 0)


def test_a_connect_that_came_to_nothing_is_begun_again() -> None:
    pool = make_pool()
    client = add_dedicated(pool)
    pool.on_connect(NOW, client)
    pool.on_connect_given_up(client)
    assert pool.next_dedicated(NOW) is client
    pool.on_connect(NOW, client)
    pool.on_connect_failed(Failure("connect failed"), NOW, client)
    assert pool.next_dedicated(NOW + 14) is None
    assert pool.next_dedicated(NOW + 15) is client


def test_its_connect_is_no_help_to_the_queue() -> None:
    pool = make_pool()
    pool.on_connect(NOW, add_dedicated(pool, wait_start=80.0))
    add_clients(pool, waiting=True, wait_start=90.0)
    assert pool.wants_since(NOW) == 90.0
    assert pool.next_dedicated(NOW) is None


def test_the_longer_wait_counts() -> None:
    pool = make_pool()
    add_clients(pool, waiting=True, wait_start=90.0)
    client = add_dedicated(pool, wait_start=95.0)
    assert pool.wants_since(NOW) == 90.0
    client.wait_start = 85.0
    assert pool.wants_since(NOW) == 85.0


def test_connects_at_a_time_are_bounded_together() -> None:
    pool = make_pool(pool_size=2 * MAX_LOGINS)
    for _ in range(MAX_LOGINS - 1):
        pool.on_connect(NOW, add_dedicated(pool))
    pool.on_connect(NOW)
    add_dedicated(pool)
    assert pool.next_dedicated(NOW) is None


@pytest.mark.parametrize("states", [(SV_IDLE, SV_IDLE), (SV_USED, SV_IDLE), (SV_IDLE, SV_USED)])
def test_in_a_full_pool_the_server_that_was_unused_for_longest_makes_room(
    states: tuple[int, int],
) -> None:
    pool = make_pool(pool_size=3)
    add_servers(pool, SV_ACTIVE)
    for state, used_at in zip(states, (40.0, 50.0), strict=True):
        add_servers(pool, state, request_time=used_at)
    client = add_dedicated(pool)
    assert pool.next_dedicated(NOW) is client
    assert pool.find_unused_server().request_time == 40.0


@pytest.mark.parametrize("state", [SV_ACTIVE, SV_TESTED])
def test_a_server_at_work_makes_no_room(state: int) -> None:
    pool = make_pool(pool_size=1)
    add_servers(pool, state)
    add_dedicated(pool)
    assert pool.wants_since(NOW) is None


def test_a_server_that_is_to_be_checked_for_the_queue_makes_no_room() -> None:
    pool = make_pool(pool_size=1)
    add_servers(pool, SV_USED)
    add_clients(pool, waiting=True)
    add_dedicated(pool)
    assert pool.next_dedicated(NOW) is None


def test_the_reserve_is_for_it_too_once_it_has_waited() -> None:
    pool = make_pool(pool_size=1, reserve_pool_size=1, reserve_pool_timeout=5.0)
    add_servers(pool, SV_ACTIVE)
    client = add_dedicated(pool, wait_start=NOW)
    assert pool.next_dedicated(NOW + 4) is None
    assert pool.next_dedicated(NOW + 5) is client


# Servers that become free


def yields(pool: Pool) -> bool:
    (server,) = add_servers(pool, SV_ACTIVE, request_time=NOW, connect_time=NOW)
    return yields_place(pool, server, NOW)


def test_a_server_that_becomes_free_goes_where_there_is_no_other_place() -> None:
    pool = make_pool(pool_size=1)
    add_dedicated(pool)
    assert pool.is_contended()
    assert yields(pool)


def test_it_goes_for_a_place_of_the_database_too() -> None:
    quota = Quota(1)
    pool = make_pool(quota)
    quota.take(pool)
    add_dedicated(pool)
    assert yields(pool)


def test_it_stays_where_there_is_a_place() -> None:
    pool = make_pool(pool_size=2)
    add_dedicated(pool)
    assert not yields(pool)


@pytest.mark.parametrize(("queued_at", "goes"), [(89.0, False), (91.0, True)])
def test_it_serves_the_queue_first_where_that_has_waited_longer(
    queued_at: float, goes: bool
) -> None:
    pool = make_pool(pool_size=1)
    add_clients(pool, waiting=True, wait_start=queued_at)
    add_dedicated(pool, wait_start=90.0)
    assert yields(pool) is goes
