"""Who asks how many queries in which round."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgmux.ops.loadtest.plan import Load, LoadType, Side, plan, ramp_steps

BOTH = (Side.DIRECT, Side.POOLER)
COUNTS = st.integers(1, 500)


@given(COUNTS, COUNTS, st.integers(1, 9), st.sampled_from([(Side.POOLER,), BOTH]))
def test_all_queries_are_asked_of_each_side_by_no_more_workers_than_were_asked_for(
    queries: int, workers: int, rounds: int, sides: tuple[Side, ...]
) -> None:
    load = Load(num_queries=queries, num_workers=workers, rounds=rounds)
    planned = plan(load, sides)
    for side in sides:
        assert sum(each.queries for each in planned if each.side is side) == queries
    assert all(0 < each.workers <= load.most_workers for each in planned)
    assert all(max(each.shares) - min(each.shares) <= 1 for each in planned)


@given(COUNTS, COUNTS)
def test_a_burst_is_one_query_of_each_worker(size: int, bursts: int) -> None:
    load = Load(LoadType.BURST, burst_size=size, num_bursts=bursts, burst_interval=0.5)
    planned = plan(load, BOTH)
    for side in BOTH:
        mine = [each for each in planned if each.side is side]
        assert sum(each.queries for each in mine) == size * bursts == load.total
        assert all(set(each.shares) == {each.shares[0]} for each in mine)
        assert all((each.workers, each.interval) == (size, 0.5) for each in mine)


def test_sides_alternate_and_take_turns_at_being_first() -> None:
    planned = plan(Load(num_queries=8, num_workers=1, rounds=4), BOTH)
    direct, pooler = BOTH
    assert [each.side for each in planned] == [direct, pooler, pooler, direct] * 2


def test_one_side_alone_has_one_round() -> None:
    assert len(plan(Load(rounds=4), (Side.POOLER,))) == 1


@pytest.mark.parametrize(
    ("workers", "steps"),
    [(1, [1]), (2, [1, 2]), (3, [1, 2, 3]), (50, [1, 2, 4, 8, 16, 32, 50]), (4, [1, 2, 4])],
)
def test_a_ramp_doubles_its_workers_until_there_are_all(workers: int, steps: list[int]) -> None:
    assert ramp_steps(workers) == steps


def test_every_worker_of_a_ramp_asks_at_least_once_in_each_step() -> None:
    planned = plan(Load(LoadType.RAMP, num_queries=20, num_workers=16), (Side.DIRECT,))
    assert [(each.step, each.workers) for each in planned] == [
        *((0, 1), (1, 2), (2, 4), (3, 8), (4, 16))
    ]
    assert planned[-1].shares == (1,) * 16


def test_a_ramp_with_fewer_queries_than_workers_ends_at_as_many_workers() -> None:
    load = Load(LoadType.RAMP, num_queries=5, num_workers=100)
    assert plan(load, (Side.DIRECT,))[-1].workers == load.most_workers == 5
