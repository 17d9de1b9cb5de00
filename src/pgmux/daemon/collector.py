"""When Python's cycle collector looks for garbage: never through everybody's objects at once.

What it looks at it looks at as a whole, while nobody is served: 20 ms for the objects of 10,000
clients. No connection is part of a reference cycle (tests hold that), its objects go with the last
reference. So the collector keeps to what is new since the janitor's last round; it looks at what is
old only while there is little of it, and never again at what the start has left.

Source: Python's gc module; docs/decisions/0015.
"""

from __future__ import annotations

import gc

FEW = 500  # connections and pools: what these have takes about a millisecond
PERIOD = 60.0  # seconds
_YOUNG = 1  # the older of the two generations that are young
_NEVER = 2**31 - 1  # a threshold that is not reached


class Collector:
    """The collector of this process."""

    def __init__(self) -> None:
        self._looked_at = 0.0

    def begin(self, now: float) -> None:
        """The start is over: what exists by now stays."""
        gc.collect()
        gc.freeze()
        young, middle, _ = gc.get_threshold()
        gc.set_threshold(young, middle, _NEVER)
        self._looked_at = now

    def maintain(self, now: float, count: int) -> None:
        """The janitor's round. Look at what is old, too, now and then, if `count` connections and
        pools are few enough for that.

        Python itself comes late: a client's login leaves less than it takes away, and Python counts
        but the difference. After 10,000 logins all that these have left would be due at once.
        """
        if count <= FEW and now - self._looked_at >= PERIOD:
            self._looked_at = now
            gc.collect()
        else:
            gc.collect(_YOUNG)
