"""What has happened in the pools of one name, in this process: numbers that only grow.

They are counted with and without prometheus-client: check_pool_health needs some of them, and a
scrape reads them as they are, so that a checkout costs two additions and no metric objects.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from threading import RLock

# Upper bounds in seconds. An idle pool answers within 0.1 ms; alerts ask for 0.1 and 0.5 s, and
# pool_timeout is 10 or 30 s as a rule.
CHECKOUT_BUCKETS = (
    *(0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1),
    *(0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0),
)
HOLD_BUCKETS = (
    *(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5),
    *(1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0),
)


class Durations:
    """A histogram: how many were within each bound, beyond the last one, and their sum."""

    __slots__ = ("bounds", "counts", "sum")

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.sum = 0.0

    def add(self, seconds: float) -> None:
        """The caller has the lock of the Counts."""
        self.counts[bisect_left(self.bounds, seconds)] += 1
        self.sum += seconds


class Counts:
    """Counters and durations; whoever changes or reads several of them takes `lock`.

    The lock is reentrant: the garbage collector may give a forgotten connection back, which is
    counted, in the middle of anything that the thread does.
    """

    COUNTERS = ("connects", "disconnects", "checkouts", "checkins", "invalidations", "timeouts")
    __slots__ = ("checkout_duration", "checkout_hold", "lock", *COUNTERS)

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Everything from zero, as in a process that has just been forked: with a new lock, as
        the old one may be some other thread's, which this process doesn't have.
        """
        self.lock = RLock()
        self.connects = self.disconnects = 0
        self.checkouts = self.checkins = 0
        self.invalidations = self.timeouts = 0
        self.checkout_duration = Durations(CHECKOUT_BUCKETS)
        self.checkout_hold = Durations(HOLD_BUCKETS)

    def add_checkout(self, seconds: float) -> None:
        """Somebody has a connection, `seconds` after asking for it."""
        with self.lock:
            self.checkouts += 1
            self.checkout_duration.add(seconds)

    def add_checkin(self, seconds: float) -> None:
        """A connection has come back, `seconds` after it was taken."""
        with self.lock:
            self.checkins += 1
            self.checkout_hold.add(seconds)

    def add(self, counter: str) -> None:
        """One more of `counter`, for what is rare."""
        with self.lock:
            setattr(self, counter, getattr(self, counter) + 1)
