"""What a pool asked for, of poolers whose load is known."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from pgmux.monitor.tables import Seconds
from pgmux.ops.sizing.demand import Saturation, demands
from pgmux.ops.sizing.observation import Observation
from tests.unit.ops.sizing.consoles import LIMITS, Pooler, database, pool, steady


@pytest.mark.parametrize("by_pool", [True, False], ids=["pgmux", "PgBouncer"])
def test_servers_busy_are_arrivals_times_time_without_the_wait(by_pool: bool) -> None:
    pooler = Pooler(by_pool=by_pool)
    observation = Observation(60, 1.0)
    observation.add(pooler.at(0.0, pool(sv_active=2)))
    for second in range(1, 61):
        pooler.do(xacts=40, held=0.05, waited=0.02)
        observation.add(pooler.at(float(second), pool(sv_active=2)))
    [demand] = demands(observation)
    assert demand.rate == pytest.approx(40)
    assert demand.time == pytest.approx(0.05)
    assert demand.load == pytest.approx(2.0)
    assert demand.waiting == pytest.approx(0.8)
    assert demand.mean_wait == pytest.approx(0.02)
    assert (demand.wait_p99 is None) is not by_pool


def test_users_of_a_database_get_their_part_of_its_counters_as_servers_were_busy() -> None:
    rows = pool(user="web", sv_active=3), pool(user="batch", sv_active=1)
    web, batch = demands(steady(Pooler(), *rows, rate=80))
    assert (web.user, batch.user) == ("web", "batch")
    assert web.is_split and batch.is_split
    assert web.load == pytest.approx(3.0) and batch.load == pytest.approx(1.0)
    assert web.rate == pytest.approx(60) and web.time == batch.time


def test_the_waits_of_a_database_are_those_of_the_pool_whose_clients_waited() -> None:
    rows = pool(user="web", sv_active=4, cl_waiting=6), pool(user="batch", sv_active=1)
    web, batch = demands(steady(Pooler(), *rows, rate=100, waited=0.06))
    assert web.mean_wait == pytest.approx(0.06 / 0.8)
    assert batch.mean_wait == batch.waiting == 0.0


def test_pgmux_tells_each_pool_its_own() -> None:
    pooler = Pooler(by_pool=True)
    observation = Observation(30, 1.0)
    rows = pool(user="web", sv_active=1), pool(user="batch", sv_active=1)
    for second in range(31):
        observation.add(pooler.at(float(second), *rows))
        pooler.do(100, 0.01, key=("app", "web"))
        pooler.do(2, 0.5, key=("app", "batch"))
    times = {demand.user: demand.time for demand in demands(observation)}
    assert times == {"web": pytest.approx(0.01), "batch": pytest.approx(0.5)}


def test_transactions_that_are_not_over_are_seen_in_samples() -> None:
    [demand] = demands(steady(Pooler(), pool(sv_active=9), rate=40, held=0.05))
    assert demand.is_by_samples
    assert demand.by_counters == pytest.approx(2.0) and demand.load == 9


def test_what_chance_makes_of_samples_isn_t_taken_for_long_transactions() -> None:
    chance = random.Random(1)
    pooler, observation = Pooler(), Observation(60, 1.0)
    for second in range(61):
        busy = sum(chance.random() < 0.2 for _ in range(11))  # 2.2 on average, where 2 are right
        observation.add(pooler.at(float(second), pool(sv_active=busy)))
        pooler.do(40, 0.05)
    [demand] = demands(observation)
    assert not demand.is_by_samples and demand.load == pytest.approx(2.0)


def test_the_busiest_part_is_found_in_a_calm_period() -> None:
    pooler, observation = Pooler(), Observation(600, 1.0)
    for second in range(601):
        observation.add(pooler.at(float(second), pool(sv_active=1)))
        pooler.do(200 if 300 <= second < 360 else 20, 0.05)
    [demand] = demands(observation)
    assert demand.busiest_seconds == 60
    assert demand.load == pytest.approx(1.9, rel=0.02)
    assert demand.busiest == pytest.approx(10.0, rel=0.02)


def test_peaks_are_who_had_a_server_and_who_waited_for_one() -> None:
    pooler, observation = Pooler(), Observation(200, 1.0)
    for second in range(201):
        row = pool(sv_active=5, cl_waiting=7) if second == 100 else pool(sv_active=2, sv_idle=3)
        observation.add(pooler.at(float(second), row))
        pooler.do(40, 0.05)
    [demand] = demands(observation)
    assert (demand.needed_usual, demand.needed_p99, demand.needed_peak) == (2, 2, 12)
    assert demand.saturation is Saturation.NONE


def full(observation: Observation, pooler: Pooler, waiting: int, second: int) -> None:
    row = pool(cl_active=10, sv_active=5, cl_waiting=waiting)
    observation.add(pooler.at(float(second), row))
    pooler.do(100, 0.05, waited=waiting / 100)


def test_a_full_pool_hides_its_demand_between_two_bounds() -> None:
    pooler, observation = Pooler(), Observation(60, 1.0)
    for second in range(61):
        full(observation, pooler, 10, second)
    [demand] = demands(observation)
    assert demand.saturation is Saturation.FULL
    assert demand.load == pytest.approx(5.0)
    # 20 clients, each 50 ms at a server, 100 ms waiting and 50 ms thinking: 10 without the wait.
    assert demand.likely == pytest.approx(10.0)
    assert demand.needed_p99 == 15


def test_a_queue_that_grows_has_no_end_to_be_seen() -> None:
    pooler, observation = Pooler(), Observation(60, 1.0)
    for second in range(61):
        full(observation, pooler, 5 * second, second)
    assert demands(observation)[0].saturation is Saturation.GROWING


def test_who_waits_for_a_login_doesn_t_make_a_pool_full() -> None:
    [demand] = demands(steady(Pooler(), pool(sv_login=1, cl_waiting=1), rate=1))
    assert demand.saturation is Saturation.NONE
    assert demand.starting_share == 1.0


def test_an_interval_with_a_restart_is_left_out() -> None:
    pooler, observation = Pooler(), Observation(60, 1.0)
    for second in range(61):
        if second == 30:
            pooler.restart()
        observation.add(pooler.at(float(second)))
        pooler.do(40, 0.05)
    [demand] = demands(observation)
    assert observation.restarts == 1
    assert demand.rate == pytest.approx(40) and demand.seconds == 59


def test_while_the_console_is_away_nothing_counts() -> None:
    pooler, observation = Pooler(), Observation(60, 1.0)
    for second in range(61):
        if 20 <= second < 40:
            observation.miss()
        else:
            observation.add(pooler.at(float(second)))
        pooler.do(40, 0.05)
    [demand] = demands(observation)
    assert observation.absences == 20
    assert demand.rate == pytest.approx(40) and demand.seconds == 39


def test_while_a_database_is_paused_nobody_waits_for_its_size() -> None:
    pooler, observation = Pooler(), Observation(60, 1.0)
    for second in range(61):
        is_paused = 20 <= second < 40
        pooler.databases = (database(paused=is_paused),)
        row = pool(sv_active=0, cl_waiting=50) if is_paused else pool(sv_active=2)
        observation.add(pooler.at(float(second), row))
        pooler.do(0 if is_paused else 40, 0.05)
    [demand] = demands(observation)
    assert observation.paused == {"app"}
    assert demand.needed_peak == 2
    assert demand.rate == pytest.approx(40, rel=0.03)


@pytest.mark.parametrize("by_pool", [True, False], ids=["pgmux", "PgBouncer"])
def test_a_pool_that_comes_later_counts_from_then_on(by_pool: bool) -> None:
    pooler = Pooler([database(), database("late")], by_pool=by_pool)
    observation = Observation(60, 1.0)
    late = pool("late", sv_active=1)
    for second in range(61):
        rows = (pool(), late) if second >= 30 else (pool(),)
        observation.add(pooler.at(float(second), *rows))
        pooler.do(40, 0.05)
        if second >= 29:
            pooler.do(10, 0.1, key=("late", "web"))
    found = {demand.database: demand for demand in demands(observation)}
    assert found["late"].rate == pytest.approx(10)
    assert found["late"].samples == 31


def test_in_session_mode_the_pool_s_mode_is_that_of_its_database() -> None:
    pooler = Pooler([database(pool_mode="session")])
    [demand] = demands(steady(pooler, pool(sv_active=10, pool_mode=None)))
    assert demand.is_session and demand.clients_peak == 10
    process = Pooler(limits=replace(LIMITS, pool_mode="session"))
    assert demands(steady(process))[0].is_session


def test_servers_that_are_opened_again_and_again_are_counted() -> None:
    pooler, observation = Pooler(), Observation(60, 1.0)
    for second in range(61):
        observation.add(pooler.at(float(second), pool(sv_idle=1 + second % 2)))
    [demand] = demands(observation)
    assert demand.servers_peak == 2
    assert demand.relogins == 29  # 30 times there was one more, the first time as never before


def test_the_console_s_own_database_is_no_pool() -> None:
    assert not demands(steady(Pooler(), pool("pgbouncer", "pgbouncer")))


def test_what_was_longest_waited_is_kept() -> None:
    row = pool(cl_waiting=1, sv_active=1, maxwait=Seconds(1.5))
    assert demands(steady(Pooler(), row))[0].longest_wait == 1.5
