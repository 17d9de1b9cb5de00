"""Latencies and errors over time, in as many slots however long it takes: where they don't suffice,
each becomes twice as long.
"""

from __future__ import annotations

from pgmux.ops.loadtest.histogram import Histogram

SLOTS = 60
_FIRST = 0.1  # seconds, a slot's length at first


class Slot:
    """What ended within it."""

    __slots__ = ("failed", "latencies")

    def __init__(self) -> None:
        self.latencies = Histogram()
        self.failed = 0


class Timeline:
    """`slots`, each `length` seconds long, from the beginning on; at most SLOTS."""

    def __init__(self) -> None:
        self.length = _FIRST
        self.slots: list[Slot] = []

    def at(self, seconds: float) -> Slot:
        """The slot of that moment, counted from the beginning."""
        while seconds >= self.length * SLOTS:
            self._double()
        number = int(max(seconds, 0.0) / self.length)
        while len(self.slots) <= number:
            self.slots.append(Slot())
        return self.slots[number]

    def _double(self) -> None:
        self.length *= 2
        for left, right in zip(self.slots[::2], self.slots[1::2], strict=False):
            left.latencies.add(right.latencies)
            left.failed += right.failed
        self.slots = self.slots[::2]
