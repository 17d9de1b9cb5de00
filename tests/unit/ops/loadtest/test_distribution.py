"""Latencies are shown in few classes with round bounds, of which none is lost."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from pgmux.ops.loadtest.distribution import class_bounds, classify
from pgmux.ops.loadtest.histogram import Histogram

DURATIONS = st.lists(st.floats(0, 100_000), min_size=1, max_size=60)


def buckets(*durations: float) -> list[tuple[int, int]]:
    histogram = Histogram()
    for each in durations:
        histogram.record(each)
    return list(histogram.buckets())


@given(DURATIONS, DURATIONS)
def test_every_value_is_in_the_class_that_it_belongs_to(
    one: list[float], other: list[float]
) -> None:
    bounds = class_bounds([buckets(*one), buckets(*other)])
    assert bounds == sorted(set(bounds))
    for durations in (one, other):
        histogram = buckets(*durations)
        counts = classify(histogram, bounds)
        assert sum(counts) == len(durations)
        assert histogram[-1][0] <= bounds[-1]


def test_classes_are_fine_where_most_values_are() -> None:
    close = [0.010, 0.012, 0.014, 0.018, 0.022, 0.026, 0.03, 0.035] * 50
    bounds = class_bounds([buckets(*close, 0.0001, 9.0)])
    assert bounds[0] == 12_000
    assert bounds[-1] == 10_000_000
    assert sum(1 for bound in bounds if 10_000 <= bound <= 40_000) >= 6


def test_classes_are_few_where_values_are_far_apart() -> None:
    bounds = class_bounds([buckets(*(10.0**power for power in range(-6, 4)))])
    assert len(bounds) <= 31
    assert {str(bound)[0] for bound in bounds} <= {"1", "2", "5"}


def test_a_single_value_is_in_one_class_and_none_in_none() -> None:
    assert classify([(1000, 3)], class_bounds([[(1000, 3)]])) == [3]
    assert class_bounds([[], []]) == []
