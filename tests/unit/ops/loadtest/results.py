"""A load test's results without a load: what came of which queries."""

from __future__ import annotations

from collections.abc import Sequence

from pgmux.ops.loadtest.clients import Pooling
from pgmux.ops.loadtest.judge import Limits
from pgmux.ops.loadtest.plan import Load, LoadType, Side
from pgmux.ops.loadtest.report import Report, build_report
from pgmux.ops.loadtest.running import Course
from pgmux.ops.loadtest.statements import SIMPLE_QUERY, Query
from pgmux.ops.loadtest.tally import Tally
from pgmux.ops.loadtest.target import Target


def tally(
    latencies: Sequence[float], *, seconds: float = 1.0, errors: Sequence[Exception] = ()
) -> Tally:
    """Queries that took so long, one after the other, and some that failed."""
    made = Tally()
    at = 0.0
    for each in latencies:
        at += seconds / max(1, len(latencies))
        made.succeed(each, at)
    for error in errors:
        made.fail(error, at)
    made.connects.record(0.004)
    made.seconds = made.elapsed = seconds
    return made


def target(side: Side, host: str = "127.0.0.1", *, free_places: int | None = None) -> Target:
    return Target(
        *(side, host, 5432, "app", "me"),
        is_local=host == "127.0.0.1",
        version="17.2",
        free_places=free_places,
        arguments={"password": "s3cret"},
    )


def report_of(
    tallies: dict[Side, list[Tally]],
    *,
    load: Load | None = None,
    workers: Sequence[int] = (50,),
    query: Query = SIMPLE_QUERY,
    limits: Limits | None = None,
    is_interrupted: bool = False,
    writes: bool | None = None,
) -> Report:
    return build_report(
        Course(tallies, list(workers), is_interrupted=is_interrupted),
        load or Load(),
        query,
        writes,
        Pooling(),
        limits or Limits(),
        {side: target(side) for side in tallies},
    )


def ramp(*rates: float, latency: float = 0.01) -> list[Tally]:
    """Steps that got so many queries done a second."""
    return [tally([latency] * int(rate), seconds=1.0) for rate in rates]


RAMP = Load(LoadType.RAMP, num_queries=1000, num_workers=8)
