"""All that a load test has found, as values that JSON, the terminal and the page are made of.

Times in milliseconds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pgmux.ops.loadtest.clients import Pooling
from pgmux.ops.loadtest.histogram import Histogram
from pgmux.ops.loadtest.judge import Judgement, Limits, decisive, judge, success_percent
from pgmux.ops.loadtest.plan import Load, LoadType, Side, plan
from pgmux.ops.loadtest.running import Course
from pgmux.ops.loadtest.statements import Query
from pgmux.ops.loadtest.tally import Tally
from pgmux.ops.loadtest.target import Target

_BEND = 0.9  # of the highest throughput
_BUSY = 0.85  # of one processor
_MANY = 95.0  # per cent
_LATE = 0.003  # seconds: a timer is a millisecond late as it is
_LATE_SHARE = 0.2  # of the mean latency


@dataclass(frozen=True, slots=True)
class Latency:
    """Of what succeeded; each None where nothing did."""

    mean_ms: float | None
    median_ms: float | None
    p95_ms: float | None
    p99_ms: float | None
    max_ms: float | None


@dataclass(frozen=True, slots=True)
class Error:
    """`code` is an SQLSTATE, or the operating system's name of the error."""

    message: str
    code: str
    count: int
    cure: str


@dataclass(frozen=True, slots=True)
class Slot:
    """A piece of the time line: until `until_s` seconds after the side's beginning."""

    until_s: float
    succeeded: int
    failed: int
    median_ms: float | None
    p95_ms: float | None


@dataclass(frozen=True, slots=True)
class Summary:
    """One side, or one step of it. `histogram`: upper bounds in µs, each with its count."""

    workers: int
    queries: int
    succeeded: int
    failed: int
    success_percent: float | None
    seconds: float
    queries_per_second: float
    latency: Latency
    connections: int
    connect: Latency
    errors: tuple[Error, ...]
    histogram: tuple[tuple[int, int], ...]
    timeline: tuple[Slot, ...]


@dataclass(frozen=True, slots=True)
class SideReport:
    """`bend`: the workers from which on more of them don't get more done; None: not reached."""

    place: str
    version: str
    whole: Summary
    steps: tuple[Summary, ...]
    bend: int | None


@dataclass(frozen=True, slots=True)
class Asked:
    """What was asked for."""

    test_type: LoadType
    query: str
    statements: int
    writes: bool | None
    driver: str
    pool_size: int | None
    max_overflow: int | None
    load: Load
    limits: Limits


@dataclass(frozen=True, slots=True)
class Report:
    """`passed` None: interrupted, so nobody can say."""

    test: Asked
    sides: dict[str, SideReport]
    ratio: dict[str, float | None]
    judgements: tuple[Judgement, ...]
    passed: bool | None
    is_interrupted: bool
    notes: tuple[str, ...]


def build_report(
    course: Course,
    load: Load,
    query: Query,
    writes: bool | None,
    pooling: Pooling,
    limits: Limits,
    targets: Mapping[Side, Target],
) -> Report:
    sides = {
        str(side): _side(course, side, load, target)
        for side, target in targets.items()
        if side in course.tallies
    }
    judgements = judge(course, limits)
    overflow = None if pooling.pool_size is None else pooling.max_overflow
    return Report(
        test=Asked(
            *(load.test_type, query.name, len(query.statements), writes, str(pooling.driver)),
            *(pooling.pool_size, overflow, load, limits),
        ),
        sides=sides,
        ratio=_ratio(list(sides.values())),
        judgements=tuple(judgements),
        passed=None if course.is_interrupted else all(j.passed for j in decisive(judgements)),
        is_interrupted=course.is_interrupted,
        notes=tuple(_notes(course, load, list(sides.values()))),
    )


def _side(course: Course, side: Side, load: Load, target: Target) -> SideReport:
    tallies = course.tallies[side]
    is_ramp = load.test_type is LoadType.RAMP
    steps = [summarize(tally, course.workers[n]) for n, tally in enumerate(tallies)]
    whole = summarize(course.tally(side), max(course.workers)) if is_ramp else steps[0]
    return SideReport(
        place=target.place,
        version=target.version,
        whole=whole,
        steps=tuple(steps) if is_ramp else (),
        bend=find_bend(steps) if is_ramp and not course.is_interrupted else None,
    )


def summarize(tally: Tally, workers: int) -> Summary:
    """A tally's figures."""
    count = tally.latencies.count
    return Summary(
        workers=workers,
        queries=tally.done,
        succeeded=count,
        failed=tally.failed,
        success_percent=success_percent(tally),
        seconds=tally.seconds,
        queries_per_second=count / tally.seconds if tally.seconds else 0.0,
        latency=_latency(tally.latencies),
        connections=tally.connects.count,
        connect=_latency(tally.connects),
        errors=tuple(
            Error(each.message, each.code, number, each.cure)
            for each, number in tally.failures.most_common()
        ),
        histogram=tuple(tally.latencies.buckets()),
        timeline=_timeline(tally),
    )


def _latency(of: Histogram) -> Latency:
    longest = of.longest if of.count else None
    values = (of.mean, of.quantile(0.5), of.quantile(0.95), of.quantile(0.99), longest)
    return Latency(*(None if value is None else value * 1000 for value in values))


def _timeline(tally: Tally) -> tuple[Slot, ...]:
    found = []
    for number, slot in enumerate(tally.timeline.slots, 1):
        latency = _latency(slot.latencies)
        counts = (slot.latencies.count, slot.failed)
        until = number * tally.timeline.length
        found.append(Slot(round(until, 3), *counts, latency.median_ms, latency.p95_ms))
    return tuple(found)


def find_bend(steps: Sequence[Summary]) -> int | None:
    """The fewest workers who got nearly as much done as any number of them; None: the most did."""
    highest = max((each.queries_per_second for each in steps), default=0.0)
    enough = (each.workers for each in steps if each.queries_per_second >= _BEND * highest)
    found = next(enough, None)
    return found if highest and found != steps[-1].workers else None


def _ratio(sides: Sequence[SideReport]) -> dict[str, float | None]:
    """The pooler's to the direct side's; empty of one side."""
    if len(sides) < 2:
        return {}
    direct, pooler = sides[0].whole, sides[1].whole
    pairs = {
        "mean": (pooler.latency.mean_ms, direct.latency.mean_ms),
        "median": (pooler.latency.median_ms, direct.latency.median_ms),
        "p95": (pooler.latency.p95_ms, direct.latency.p95_ms),
        "p99": (pooler.latency.p99_ms, direct.latency.p99_ms),
        "max": (pooler.latency.max_ms, direct.latency.max_ms),
        "queries_per_second": (pooler.queries_per_second, direct.queries_per_second),
        "connect": (pooler.connect.mean_ms, direct.connect.mean_ms),
    }
    return {name: a / b if a is not None and b else None for name, (a, b) in pairs.items()}


def _notes(course: Course, load: Load, sides: Sequence[SideReport]) -> list[str]:
    found = []
    if len(sides) > 1:
        found.append(
            f"Both sides in turns, {len(plan(load, tuple(Side))) // 2} rounds each"
            if load.test_type is not LoadType.RAMP
            else "Both sides in turns, at every step of the ramp"
        )
    for side in course.tallies:
        whole = course.tally(side)
        success = success_percent(whole)
        if success is not None and success < _MANY and whole.latencies.count:
            found.append(
                f"{side}: its latencies are of the {success:.1f} % that succeeded; the fewer are at"
                " work, the faster each is"
            )
    return found + _doubts(course)


def _doubts(course: Course) -> list[str]:
    """How far the figures are of this command and its machine rather than of what it asked."""
    found = []
    if course.cpu_share > _BUSY:
        found.append(
            f"This process itself was at work {course.cpu_share:.0%} of the time: what is measured"
            " is in part its own; fewer workers, or several of it on other machines, tell more"
        )
    late = course.lateness.quantile(0.95) or 0.0
    means = [course.tally(side).latencies.mean or 0.0 for side in course.tallies]
    if late > max(_LATE, _LATE_SHARE * min(means, default=0.0)):
        found.append(
            f"This machine is busy: an answer was noticed up to {late * 1000:.0f} ms late (p95),"
            " which every latency contains"
        )
    return found
