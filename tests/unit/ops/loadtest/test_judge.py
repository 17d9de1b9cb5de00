"""Limits, and what is said where one isn't kept."""

from __future__ import annotations

import pytest

from pgmux.ops.loadtest.judge import Judgement, Limits, judge, number
from pgmux.ops.loadtest.plan import Side
from pgmux.ops.loadtest.running import Course
from pgmux.ops.loadtest.tally import Tally
from tests.unit.ops.loadtest.results import RAMP, ramp, report_of, tally

FAILURE = ValueError("no")


def judged(made: Tally, limits: Limits | None = None) -> dict[str, Judgement]:
    course = Course({Side.DIRECT: [made]}, [50])
    return {each.name: each for each in judge(course, limits or Limits())}


def test_the_limits_are_those_of_the_teams_that_had_a_load_test() -> None:
    assert Limits() == Limits(success=99, mean=50, p95=100, p99=500)


@pytest.mark.parametrize(
    ("latencies", "failed", "names"),
    [
        ([0.01] * 100, 0, set()),
        ([0.01] * 99, 1, {"success"}),  # 99 % is not more than 99 %
        ([0.01] * 199, 1, set()),
        ([0.06] * 100, 0, {"mean"}),
        ([0.01] * 94 + [0.2] * 6, 0, {"p95"}),
        ([0.001] * 98 + [0.6] * 2, 0, {"p99"}),
        ([1.0] * 10, 0, {"mean", "p95", "p99"}),
        ([], 5, {"success", "mean", "p95", "p99"}),
    ],
)
def test_what_is_beyond_a_limit_fails_and_nothing_else(
    latencies: list[float], failed: int, names: set[str]
) -> None:
    found = judged(tally(latencies, errors=[FAILURE] * failed))
    assert {name for name, each in found.items() if not each.passed} == names


def test_a_minimum_of_all_is_reached_by_all() -> None:
    assert judged(tally([0.01]), Limits(success=100))["success"].passed
    assert not judged(tally([0.01], errors=[FAILURE]), Limits(success=100))["success"].passed


def test_a_judgement_says_what_was_asked_for_and_what_there_was() -> None:
    found = judged(tally([0.06] * 99, errors=[FAILURE]))
    assert str(found["success"]) == "success > 99 %: 99 %"
    assert str(found["mean"]) == "mean < 50 ms: 60 ms"
    assert str(judged(tally([], errors=[FAILURE]))["p95"]) == "p95 < 100 ms: nothing to measure"


@pytest.mark.parametrize(
    ("value", "limit", "text"),
    [
        (98.999, 99, "98.999"),  # 99.00 would look as if it had passed
        (99.98, 99, "99.98"),
        (50.00003, 50, "50.00003"),
        (99, 99, "99"),
        (1503.456, 500, "1,503.46"),
    ],
)
def test_no_rounding_hides_on_which_side_of_the_limit_it_was(
    value: float, limit: float, text: str
) -> None:
    assert number(value, limit) == text


def test_with_both_sides_the_pooler_decides() -> None:
    good, bad = tally([0.01] * 100), tally([0.01] * 50, errors=[FAILURE] * 50)
    assert report_of({Side.DIRECT: [bad], Side.POOLER: [good]}).passed is True
    assert report_of({Side.DIRECT: [good], Side.POOLER: [bad]}).passed is False
    assert report_of({Side.DIRECT: [bad]}).passed is False


def test_every_step_of_a_ramp_has_to_pass() -> None:
    good, bad = ramp(100, 100), [*ramp(100), *ramp(100, latency=0.3)]
    assert report_of({Side.POOLER: good}, load=RAMP, workers=(1, 2)).passed is True
    assert report_of({Side.POOLER: bad}, load=RAMP, workers=(1, 2)).passed is False


def test_what_was_interrupted_is_not_judged() -> None:
    assert report_of({Side.POOLER: [tally([0.01])]}, is_interrupted=True).passed is None
