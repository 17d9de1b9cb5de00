"""What can be told of a histogram's counts."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from pgmux.session._relay_cy import Histogram
from pgmux.session.buckets import BUCKET_COUNT, UPPER_BOUNDS, build_text, quantile


def counted(*micros: int) -> list[int]:
    histogram = Histogram()
    for value in micros:
        histogram.add((value + 0.5) / 1e6)
    return histogram.values()


def test_bounds_are_of_whole_microseconds_then_four_to_an_octave() -> None:
    assert UPPER_BOUNDS[:14] == (1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 14, 16, 20, 24)
    assert len(UPPER_BOUNDS) == BUCKET_COUNT
    assert UPPER_BOUNDS[-1] == 2**33  # µs, 2.4 hours


@given(st.integers(0, 2**33 - 1))
def test_what_is_counted_is_below_its_buckets_bound_and_not_below_the_one_before(us: int) -> None:
    (index,) = (i for i, count in enumerate(counted(us)) if count)
    assert us < UPPER_BOUNDS[index]
    assert index == 0 or us >= UPPER_BOUNDS[index - 1]
    assert UPPER_BOUNDS[index] <= us + 1 + us / 4


def test_what_is_too_long_is_in_the_last_bucket_and_less_than_nothing_in_the_first() -> None:
    histogram = Histogram()
    for seconds in (2**33 / 1e6, 1e9, 9e12):
        histogram.add(seconds)
    histogram.add(-1.0)
    assert build_text(histogram.values()) == f"1:1,{2**33}:3"


@given(st.lists(st.integers(0, 10**9), min_size=1, max_size=60), st.sampled_from([0.5, 0.9, 0.99]))
def test_a_quantile_is_at_most_a_quarter_above_the_exact_one(
    values: list[int], share: float
) -> None:
    exact = next(v for i, v in enumerate(sorted(values), 1) if i >= share * len(values))
    assert exact < quantile(counted(*values), share) <= exact + 1 + exact / 4


def test_nothing_has_no_quantile_and_no_text() -> None:
    assert (quantile([0] * BUCKET_COUNT, 0.99), build_text([0] * BUCKET_COUNT)) == (0, "")


def test_the_text_names_filled_buckets_by_their_bounds() -> None:
    assert build_text(counted(0, 0, 9, 100)) == "1:2,10:1,112:1"
