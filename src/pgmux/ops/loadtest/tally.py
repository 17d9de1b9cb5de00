"""What has come of the queries so far, of one side's step, in bounded memory however many."""

from __future__ import annotations

from collections import Counter

from pgmux.ops.loadtest.failures import Failure, failure_of
from pgmux.ops.loadtest.histogram import Histogram
from pgmux.ops.loadtest.timeline import Timeline

MOST_FAILURES = 100  # different ones; the others count as OTHER
OTHER = Failure("other errors")
GIVEN_UP = Failure("not asked: the worker had been refused a connection too often in a row")


class Tally:
    """`latencies` are of the queries that succeeded. `seconds` is what the rounds took, each to its
    last success: behind it workers who aren't let in wait for nothing; `elapsed` has that, too.
    """

    def __init__(self) -> None:
        self.latencies = Histogram()
        self.connects = Histogram()
        self.failures: Counter[Failure] = Counter()
        self.failed = 0
        self.timeline = Timeline()
        self.seconds = 0.0
        self.elapsed = 0.0

    @property
    def done(self) -> int:
        """Queries with an outcome, whichever."""
        return self.latencies.count + self.failed

    def succeed(self, seconds: float, at: float) -> None:
        """One query took so long; `at`: seconds since the side's beginning."""
        self.latencies.record(seconds)
        self.timeline.at(at).latencies.record(seconds)

    def fail(self, error: BaseException, at: float) -> None:
        self._count(failure_of(error), 1)
        self.timeline.at(at).failed += 1

    def give_up(self, queries: int) -> None:
        """So many weren't even asked."""
        if queries:
            self._count(GIVEN_UP, queries)

    def _count(self, failure: Failure, count: int) -> None:
        is_known = failure in self.failures or len(self.failures) < MOST_FAILURES
        self.failures[failure if is_known else OTHER] += count
        self.failed += count

    def add(self, other: Tally) -> None:
        """The steps of a ramp together; the timeline stays as it is."""
        self.latencies.add(other.latencies)
        self.connects.add(other.connects)
        self.failures.update(other.failures)
        self.failed += other.failed
        self.seconds += other.seconds
        self.elapsed += other.elapsed
