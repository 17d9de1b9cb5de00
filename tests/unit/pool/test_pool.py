"""When a pool connects: for whom, how many at once, and when not."""

from __future__ import annotations

import pytest

from pgmux.config import Config, Database, PoolMode, Settings
from pgmux.config.model import User
from pgmux.pool.limits import Quota
from pgmux.pool.pool import MAX_LOGINS, Failure, Pool, limits_of
from pgmux.pool.states import (
    SV_ACTIVE,
    SV_BEING_CANCELED,
    SV_IDLE,
    SV_LOGIN,
    SV_TESTED,
    SV_USED,
)
from tests.unit.pool.pools import add_clients, add_servers, make_pool


def launch(pool: Pool, now: float = 0.0) -> int:
    """How many connects would begin for clients that wait; none has begun then."""
    last_connect_at, before = pool.last_connect_at, pool.logins
    while pool.wants_since(now) is not None:
        pool.on_connect(now)
    count = pool.logins - before
    for _ in range(count):
        pool.on_connect_given_up()
    pool.last_connect_at = last_connect_at
    return count


def refill(pool: Pool, now: float = 0.0) -> bool:
    return pool.wants_refill(now)


def begin(pool: Pool, count: int = 1, now: float = 0.0) -> None:
    for _ in range(count):
        pool.on_connect(now)


# Connects for clients that wait


def test_nobody_waits_and_nothing_is_begun() -> None:
    pool = make_pool()
    add_clients(pool, 5)
    assert launch(pool) == 0


@pytest.mark.parametrize("waiting", [1, 3])
def test_each_waiting_client_gets_a_connect(waiting: int) -> None:
    pool = make_pool()
    add_clients(pool, waiting, waiting=True)
    assert launch(pool) == waiting


def test_connects_under_way_are_for_those_who_wait_already() -> None:
    pool = make_pool()
    add_clients(pool, 3, waiting=True)
    begin(pool, 2)
    assert launch(pool) == 1
    begin(pool)
    assert launch(pool) == 0


@pytest.mark.parametrize("state", [SV_LOGIN, SV_TESTED, SV_USED, SV_IDLE])
def test_a_server_that_is_about_to_be_free_spares_a_connect(state: int) -> None:
    pool = make_pool()
    add_clients(pool, 3, waiting=True)
    add_servers(pool, state)
    assert launch(pool) == 2


@pytest.mark.parametrize("state", [SV_ACTIVE, SV_BEING_CANCELED])
def test_a_server_at_work_spares_no_connect(state: int) -> None:
    pool = make_pool()
    add_clients(pool, 1, waiting=True)
    add_servers(pool, state)
    assert launch(pool) == 1


def test_connects_stop_at_pool_size() -> None:
    pool = make_pool(pool_size=3)
    add_clients(pool, 10, waiting=True)
    add_servers(pool, SV_ACTIVE)
    begin(pool)
    assert launch(pool) == 1
    begin(pool)
    assert launch(pool) == 0


def test_a_pool_beyond_its_lowered_size_connects_no_more() -> None:
    pool = make_pool(pool_size=2)
    add_clients(pool, 1, waiting=True)
    add_servers(pool, SV_ACTIVE, 5)
    assert launch(pool) == 0


def test_pool_size_0_is_no_limit() -> None:
    pool = make_pool(pool_size=0)
    add_servers(pool, SV_ACTIVE, 500)
    add_clients(pool, 3, waiting=True)
    assert launch(pool) == 3


def test_only_so_many_connects_are_under_way_at_once() -> None:
    pool = make_pool(pool_size=100)
    add_clients(pool, 50, waiting=True)
    assert launch(pool) == MAX_LOGINS
    begin(pool, MAX_LOGINS)
    assert launch(pool) == 0
    pool.on_connected()
    assert launch(pool) == 1


def test_a_held_pool_connects_for_nobody() -> None:
    pool = make_pool(min_pool_size=2, forced_user=True)
    add_clients(pool, 3, waiting=True)
    pool.lists.held = True
    assert (launch(pool), refill(pool)) == (0, False)


# The reserve pool


def test_the_reserve_is_for_clients_that_have_waited_reserve_pool_timeout() -> None:
    pool = make_pool(pool_size=1, reserve_pool_size=5, reserve_pool_timeout=3.0)
    add_servers(pool, SV_ACTIVE)
    add_clients(pool, 2, waiting=True, wait_start=10.0)
    add_clients(pool, 1, waiting=True, wait_start=12.0)
    assert [launch(pool, now) for now in (12.9, 13.0, 14.9, 15.0)] == [0, 2, 2, 3]


def test_the_reserve_ends_at_its_size() -> None:
    pool = make_pool(pool_size=1, reserve_pool_size=2)
    add_servers(pool, SV_ACTIVE)
    add_clients(pool, 9, waiting=True)
    assert launch(pool, 100.0) == 2


@pytest.mark.parametrize(
    "limits", [{"reserve_pool_size": 0}, {"reserve_pool_timeout": 0.0}], ids=lambda d: min(d)
)
def test_without_size_or_timeout_there_is_no_reserve(limits: dict[str, float]) -> None:
    pool = make_pool(**{"pool_size": 1, "reserve_pool_size": 2} | limits)
    add_servers(pool, SV_ACTIVE)
    add_clients(pool, waiting=True)
    assert launch(pool, 1000.0) == 0


def test_a_pool_without_a_size_needs_no_reserve() -> None:
    pool = make_pool(pool_size=0, reserve_pool_size=2)
    add_servers(pool, SV_ACTIVE, 50)
    add_clients(pool, waiting=True)
    assert launch(pool) == 1
    assert not pool.is_full()


# After a failure


def test_after_a_failure_the_next_connect_waits_for_server_login_retry() -> None:
    pool = make_pool()
    add_clients(pool, 3, waiting=True)
    begin(pool, now=100.0)
    pool.on_connect_failed(Failure("connect failed"), 100.0)
    assert launch(pool, 114.9) == 0
    assert launch(pool, 115.0) == 1


def test_a_failed_pool_tries_one_connect_at_a_time() -> None:
    pool = make_pool(pool_size=20)
    add_clients(pool, 9, waiting=True)
    begin(pool, now=100.0)
    pool.on_connect_failed(Failure("connect failed"), 100.0)
    assert launch(pool, 120.0) == 1
    begin(pool, now=120.0)
    assert launch(pool, 140.0) == 0


def test_a_login_ends_the_failure() -> None:
    pool = make_pool(pool_size=20)
    add_clients(pool, 5, waiting=True)
    begin(pool, now=100.0)
    pool.on_connect_failed(Failure("connect failed"), 100.0)
    begin(pool, now=115.0)
    pool.on_connected()
    assert pool.failure is None
    assert launch(pool, 115.0) == 5


def test_a_connect_that_we_gave_up_is_no_failure() -> None:
    pool = make_pool()
    add_clients(pool, 1, waiting=True)
    begin(pool)
    pool.on_connect_given_up()
    assert (pool.logins, pool.failure, launch(pool)) == (0, None, 1)


def test_a_pool_is_down_while_its_failure_leaves_it_no_server() -> None:
    pool = make_pool()
    assert not pool.is_down()
    begin(pool)
    pool.on_connect_failed(Failure("connect failed"), 100.0)
    assert pool.is_down()
    add_servers(pool, SV_ACTIVE)
    assert not pool.is_down()


# min_pool_size


def test_min_pool_size_is_kept_for_a_pool_that_has_a_client() -> None:
    pool = make_pool(min_pool_size=2)
    assert not refill(pool)
    add_clients(pool)
    assert refill(pool)


def test_min_pool_size_is_kept_for_a_forced_user_without_clients() -> None:
    assert refill(make_pool(min_pool_size=2, forced_user=True))


def test_min_pool_size_counts_servers_in_all_states_and_connects() -> None:
    pool = make_pool(min_pool_size=3, forced_user=True)
    add_servers(pool, SV_ACTIVE)
    add_servers(pool, SV_TESTED)
    assert refill(pool)
    begin(pool)
    assert not refill(pool)


def test_min_pool_size_never_exceeds_pool_size() -> None:
    pool = make_pool(min_pool_size=5, pool_size=2, forced_user=True)
    add_servers(pool, SV_IDLE)
    assert refill(pool)
    begin(pool)
    assert not refill(pool)


def test_min_pool_size_waits_for_server_login_retry_too() -> None:
    pool = make_pool(min_pool_size=1, forced_user=True)
    begin(pool, now=50.0)
    pool.on_connect_failed(Failure("connect failed"), 100.0)
    assert (refill(pool, 64.0), refill(pool, 65.0)) == (False, True)


def test_min_pool_size_takes_only_what_nobody_else_wants() -> None:
    quota = Quota(2)
    pool = make_pool(quota, min_pool_size=2, forced_user=True)
    assert refill(pool)
    quota.server_count = 2
    assert not refill(pool)
    quota.server_count = 1
    quota.contend(make_pool(quota), 1.0)
    assert not refill(pool)


# server_lifetime


def test_a_server_lives_for_its_lifetime() -> None:
    pool = make_pool(server_lifetime=100.0, pool_size=10)
    assert not pool.is_life_over(99.9, now=1000.0)
    assert pool.is_life_over(100.0, now=1000.0)


def test_servers_go_spread_over_one_lifetime() -> None:
    pool = make_pool(server_lifetime=100.0, pool_size=10)
    pool.last_lifetime_close_at = 1000.0
    assert not pool.is_life_over(500.0, now=1009.9)
    assert pool.is_life_over(500.0, now=1010.0)


def test_without_a_pool_size_there_is_nothing_to_spread() -> None:
    pool = make_pool(server_lifetime=100.0, pool_size=0)
    pool.last_lifetime_close_at = 1000.0
    assert pool.is_life_over(100.0, now=1000.0)


def test_lifetime_0_is_over_at_once_and_for_all() -> None:
    pool = make_pool(server_lifetime=0.0)
    pool.last_lifetime_close_at = 1000.0
    assert pool.is_life_over(0.0, now=1000.0)


# Counts


def test_servers_are_connected_once_they_have_logged_in() -> None:
    pool = make_pool()
    begin(pool)
    add_servers(pool, SV_LOGIN)
    add_servers(pool, SV_IDLE, 2)
    assert (pool.connected_count(), pool.server_count()) == (2, 4)


def test_a_pause_waits_for_active_and_tested_servers() -> None:
    pool = make_pool()
    for state in (SV_LOGIN, SV_IDLE, SV_USED, SV_ACTIVE, SV_ACTIVE, SV_TESTED):
        add_servers(pool, state)
    assert pool.busy_count() == 3


# What the configuration says


def test_limits_come_from_user_database_and_settings() -> None:
    database = Database("db", "db", user="forced", pool_size=7, server_lifetime=60.0)
    config = Config(
        settings=Settings(min_pool_size=2, query_timeout=5.0, client_idle_timeout=9.0),
        users={
            "forced": User(
                "forced",
                pool_mode=PoolMode.TRANSACTION,
                transaction_timeout=3.0,
                idle_transaction_timeout=4.0,
                query_wait_timeout=6.0,
            )
        },
    )
    limits = limits_of(config, database, "forced")
    assert limits.pool_mode is PoolMode.TRANSACTION
    assert (limits.pool_size, limits.min_pool_size, limits.forced_user) == (7, 2, True)
    assert (limits.server_lifetime, limits.query_wait_timeout) == (60.0, 6.0)
    assert (limits.query_timeout, limits.client_idle_timeout) == (5.0, 9.0)
    assert (limits.transaction_timeout, limits.idle_transaction_timeout) == (3.0, 4.0)
