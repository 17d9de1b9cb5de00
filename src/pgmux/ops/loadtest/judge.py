"""Whether a load went well: its success, mean, p95 and p99 against limits.

With both sides the pooler decides; the direct side's judgement is shown beside it. In a ramp every
step has to pass.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pgmux.ops.loadtest.plan import Side
from pgmux.ops.loadtest.running import Course
from pgmux.ops.loadtest.tally import Tally

MEAN, P95, P99 = "mean", "p95", "p99"
SUCCESS = "success"


@dataclass(frozen=True, slots=True)
class Limits:
    """`success` has to be more, in per cent; the others less, in milliseconds."""

    success: float = 99.0
    mean: float = 50.0
    p95: float = 100.0
    p99: float = 500.0


@dataclass(frozen=True, slots=True)
class Judgement:
    """One limit, and what there was instead; `value` None: no query succeeded."""

    side: Side
    step: int
    workers: int
    name: str
    value: float | None
    limit: float
    passed: bool

    @property
    def unit(self) -> str:
        return "%" if self.name == SUCCESS else "ms"

    def __str__(self) -> str:
        """What was asked for, and what there was instead."""
        sign = ">" if self.name == SUCCESS else "<"
        asked = f"{self.name} {sign} {self.limit:g} {self.unit}"
        if self.value is None:
            return f"{asked}: nothing to measure"
        return f"{asked}: {number(self.value, self.limit)} {self.unit}"


def number(value: float, limit: float) -> str:
    """Two digits, or as many as tell it from the limit."""
    for digits in range(2, 9):
        if round(value, digits) != limit or value == limit:
            break
    return f"{value:,.{digits}f}".rstrip("0").rstrip(".")


def judge(course: Course, limits: Limits) -> list[Judgement]:
    """Every limit of every step of every side."""
    return [
        judgement
        for side, steps in course.tallies.items()
        for step, tally in enumerate(steps)
        for judgement in _judge(side, step, course.workers[step], tally, limits)
    ]


def _judge(
    side: Side, step: int, workers: int, tally: Tally, limits: Limits
) -> Sequence[Judgement]:
    success = success_percent(tally)
    found = [
        # More than 100 % nobody can have: there it means all.
        Judgement(
            *(side, step, workers, SUCCESS, success, limits.success),
            passed=success is not None and (success > limits.success or success == 100),
        )
    ]
    for name, value, limit in (
        (MEAN, tally.latencies.mean, limits.mean),
        (P95, tally.latencies.quantile(0.95), limits.p95),
        (P99, tally.latencies.quantile(0.99), limits.p99),
    ):
        msec = None if value is None else value * 1000
        passed = msec is not None and msec < limit
        found.append(Judgement(side, step, workers, name, msec, limit, passed))
    return found


def success_percent(tally: Tally) -> float | None:
    """Of the queries that have an outcome; None of none."""
    return 100 * tally.latencies.count / tally.done if tally.done else None


def decisive(judgements: Sequence[Judgement]) -> list[Judgement]:
    """Those that the exit code is made of: the pooler's where there is one."""
    side = Side.POOLER if any(j.side is Side.POOLER for j in judgements) else Side.DIRECT
    return [each for each in judgements if each.side is side]
