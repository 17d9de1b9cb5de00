"""Quotas: what pools of one database or user may have together, and whose turn it is."""

from __future__ import annotations

import pytest

from pgmux.errors import PoolerError
from pgmux.pool.limits import (
    PATIENCE,
    QUIET,
    TURN,
    Quota,
    check_client,
    next_contender,
    yields_place,
)
from pgmux.pool.pool import Pool
from pgmux.pool.states import SV_ACTIVE, SV_IDLE, SV_TESTED, SV_USED
from tests.unit.pool.pools import Server, add_clients, add_servers, make_pool

NOW = 100.0


def make_waiting(*quotas: Quota, since: float) -> Pool:
    """A pool without a server whose client waits since then."""
    pool = make_pool(*quotas)
    add_clients(pool, waiting=True, wait_start=since)
    return pool


def hold_servers(pool: Pool, count: int, state: int = SV_ACTIVE, **fields: float) -> None:
    """Servers that are counted as connects are."""
    for _ in range(count):
        pool.on_connect(0.0)
        pool.on_connected()
        add_servers(pool, state, **fields)


def contend(*pools: Pool, quota: Quota) -> None:
    for pool in pools:
        since = pool.wants_since(NOW)
        assert since is not None
        quota.contend(pool, since)


def yields(pool: Pool, answered_at: float = NOW, connected_at: float = 0.0) -> bool:
    """Whether a server of the pool that has answered then, and is free now, goes."""
    return yields_place(pool, Server(request_time=answered_at, connect_time=connected_at), NOW)


# Counts


def test_a_connect_takes_a_place_of_each_quota_until_its_server_is_gone() -> None:
    database, user = Quota(2), Quota()
    pool = make_pool(database, user)
    pool.on_connect(NOW)
    pool.on_connect(NOW)
    assert (database.server_count, user.server_count, database.is_full()) == (2, 2, True)
    pool.on_connected()
    assert database.holders == {pool: 2}
    pool.on_server_gone()
    pool.on_connect_given_up()
    assert (database.server_count, user.server_count, database.holders) == (0, 0, {})


def test_a_quota_of_0_is_never_full() -> None:
    quota = Quota(0)
    hold_servers(make_pool(quota), 500)
    assert not quota.is_full()
    assert not quota.has_too_many()


@pytest.mark.parametrize(
    ("database", "user", "setting"),
    [(2, 9, "max_db_client_connections"), (0, 2, "max_user_client_connections")],
)
def test_one_client_too_many_is_told_which_limit_it_met(
    database: int, user: int, setting: str
) -> None:
    quotas = Quota(0, database), Quota(0, user)
    for quota in quotas:
        quota.client_count = 1
    check_client(*quotas)
    for quota in quotas:
        quota.client_count = 2
    with pytest.raises(PoolerError, match=rf"^client connections exceeded \({setting}\)$"):
        check_client(*quotas)


# Which server goes


def test_the_server_that_was_unused_for_longest_goes() -> None:
    quota = Quota(3)
    one, two = make_pool(quota), make_pool(quota)
    hold_servers(one, 1, SV_IDLE, request_time=20.0)
    hold_servers(two, 1, SV_IDLE, request_time=10.0)
    hold_servers(two, 1, SV_IDLE, request_time=15.0)
    assert quota.find_unused_server(NOW).request_time == 10.0


@pytest.mark.parametrize("state", [SV_USED, SV_TESTED])
def test_a_server_that_is_checked_goes_only_where_nobody_waits_for_it(state: int) -> None:
    quota = Quota(1)
    pool = make_pool(quota)
    hold_servers(pool, 1, state)
    assert quota.find_unused_server(NOW) is not None
    add_clients(pool, waiting=True)
    assert quota.find_unused_server(NOW) is None


def test_a_server_that_has_just_answered_is_in_use() -> None:
    quota = Quota(1)
    hold_servers(make_pool(quota), 1, SV_IDLE, request_time=NOW - QUIET / 2)
    assert quota.find_unused_server(NOW) is None
    assert quota.find_unused_server(NOW + 2 * QUIET) is not None


def test_a_server_at_work_does_not_go() -> None:
    quota = Quota(1)
    hold_servers(make_pool(quota), 1, SV_ACTIVE)
    assert quota.find_unused_server(NOW) is None


# Whose turn it is


def test_the_turn_is_of_the_pool_whose_client_has_waited_longest() -> None:
    quota = Quota(1)
    pools = [make_waiting(quota, since=since) for since in (30.0, 10.0, 20.0)]
    contend(*pools, quota=quota)
    found = []
    while (pool := next_contender(quota, NOW)) is not None:
        found.append(pool)
        quota.contenders.discard(pool)
    assert found == [pools[1], pools[2], pools[0]]


def test_a_pool_whose_clients_have_left_is_passed_over() -> None:
    quota = Quota(1)
    gone, here = make_waiting(quota, since=10.0), make_waiting(quota, since=20.0)
    contend(gone, here, quota=quota)
    gone.lists.remove_client(gone.lists.waiting_client(0))
    assert next_contender(quota, NOW) is here
    assert gone not in quota.contenders


def test_a_pool_whose_first_client_left_keeps_the_turn_of_its_next() -> None:
    quota = Quota(1)
    pool, other = make_waiting(quota, since=10.0), make_waiting(quota, since=20.0)
    add_clients(pool, waiting=True, wait_start=30.0)
    contend(pool, other, quota=quota)
    pool.lists.remove_client(pool.lists.waiting_client(0))
    assert next_contender(quota, NOW) is other
    quota.contenders.discard(other)
    assert next_contender(quota, NOW) is pool


def test_a_pool_whose_connect_failed_has_its_turn_again() -> None:
    quota = Quota(2)
    pool, other = make_waiting(quota, since=10.0), make_waiting(quota, since=20.0)
    contend(pool, other, quota=quota)
    pool.on_connect(NOW)
    assert next_contender(quota, NOW) is other
    pool.on_connect_given_up()
    contend(pool, quota=quota)
    assert next_contender(quota, NOW) is pool


def test_a_place_is_not_offered_to_who_lacks_one_elsewhere_too() -> None:
    database, user = Quota(1), Quota(1)
    hold_servers(make_pool(database), 1)
    hold_servers(make_pool(user), 1)
    both, one = make_waiting(database, user, since=10.0), make_waiting(database, since=20.0)
    contend(both, one, quota=database)
    assert next_contender(database, NOW) is one
    hold_servers(make_pool(user), 1, SV_IDLE)
    assert next_contender(database, NOW) is both


# What becomes of a server that is released


def test_a_server_that_is_not_in_use_goes_for_a_contender() -> None:
    quota = Quota(1)
    pool = make_pool(quota)
    hold_servers(pool, 1)
    assert not yields(pool, NOW - 2 * QUIET)
    contend(make_waiting(quota, since=NOW), quota=quota)
    assert yields(pool, NOW - 2 * QUIET)


@pytest.mark.parametrize(("wait", "expected"), [(PATIENCE / 2, False), (PATIENCE * 2, True)])
def test_a_server_whose_client_may_be_back_at_once_goes_for_who_has_waited(
    wait: float, expected: bool
) -> None:
    quota = Quota(1)
    pool = make_pool(quota)
    hold_servers(pool, 1)
    contend(make_waiting(quota, since=NOW - wait), quota=quota)
    assert yields(pool) is expected


@pytest.mark.parametrize(("lead", "expected"), [(PATIENCE / 2, False), (PATIENCE * 2, True)])
def test_a_server_that_is_needed_goes_for_who_has_waited_clearly_longer(
    lead: float, expected: bool
) -> None:
    quota = Quota(1)
    pool = make_waiting(quota, since=50.0)
    hold_servers(pool, 1)
    contend(make_waiting(quota, since=50.0 - lead), quota=quota)
    assert yields(pool) is expected


def test_needed_servers_go_one_at_a_time() -> None:
    quota = Quota(2)
    pool, rival = make_waiting(quota, since=50.0), make_waiting(quota, since=10.0)
    add_clients(rival, waiting=True, wait_start=10.0)
    hold_servers(pool, 1)
    rival.on_connect(NOW)
    contend(rival, quota=quota)
    assert not yields(pool)
    rival.on_connected()
    add_servers(rival, SV_ACTIVE)
    assert yields(pool)


def test_servers_go_after_the_limit_was_lowered() -> None:
    quota = Quota(5)
    pool = make_waiting(quota, since=10.0)
    hold_servers(pool, 3)
    quota.max_servers = 2
    assert yields(pool)
    pool.on_server_gone()
    assert not yields(pool)


def test_who_contends_is_considered_at_each_release_of_a_server_of_the_quota() -> None:
    quota = Quota(1)
    pool = make_pool(quota)
    hold_servers(pool, 1)
    (server,) = pool.lists.servers(SV_ACTIVE)
    contend(make_waiting(quota, since=10.0), quota=quota)
    assert server.special
    assert pool.is_contended()


def test_a_new_server_works_for_its_own_pool_for_a_turn() -> None:
    quota = Quota(1)
    own, rival = make_pool(quota), make_waiting(quota, since=NOW - 9)
    hold_servers(own, 1)
    add_clients(own, waiting=True, wait_start=NOW)
    contend(rival, quota=quota)
    assert not yields(own, connected_at=NOW - 0.5 * TURN)
    assert yields(own, connected_at=NOW - 1.01 * TURN)


def test_a_new_server_that_its_pool_does_not_use_goes_at_once() -> None:
    quota = Quota(1)
    own, rival = make_pool(quota), make_waiting(quota, since=NOW)
    hold_servers(own, 1)
    contend(rival, quota=quota)
    assert yields(own, answered_at=NOW - 2 * QUIET, connected_at=NOW - 2 * QUIET)
