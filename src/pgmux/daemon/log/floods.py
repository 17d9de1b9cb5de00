"""How many lines of one kind are written, where others can cause any number of them.

A token bucket for each kind: a burst goes through whole (an application server that comes back with
a wrong password), then RATE lines a second. Nothing of an ordinary day is near that; a scan from
many hosts at 10,000 connections a second writes 20 kB/s instead of 4 MB/s.

No clock: `now` is an argument, seconds of one monotonic clock.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

BURST = 1000
RATE = 50.0  # lines a second
PERIOD = 10.0  # seconds between two summaries of one kind


@dataclass(slots=True)
class _Kind:
    tokens: float
    filled_at: float
    held_back: int = 0
    since: float = 0.0  # of the first line that `held_back` counts


class Floods:
    """The kinds, and what of them has not been written."""

    def __init__(self) -> None:
        self._kinds: dict[str, _Kind] = {}

    def take(self, name: str, now: float) -> bool:
        """Whether a line of that kind may be written now; if not, it is counted."""
        kind = self._fill(name, now)
        if kind.tokens >= 1:
            kind.tokens -= 1
            return True
        if not kind.held_back:
            kind.since = now
        kind.held_back += 1
        return False

    def is_empty(self, name: str, now: float) -> bool:
        """Whether `take` would say no."""
        return self._fill(name, now).tokens < 1

    def due(self, now: float, *, all_: bool = False) -> Iterator[tuple[str, int, float]]:
        """(kind, lines, seconds) of what was held back and is to be said; then forgotten."""
        for name, kind in self._kinds.items():
            if kind.held_back and (all_ or now - kind.since >= PERIOD):
                count, kind.held_back = kind.held_back, 0
                yield name, count, now - kind.since

    def _fill(self, name: str, now: float) -> _Kind:
        kind = self._kinds.get(name)
        if kind is None:
            kind = self._kinds[name] = _Kind(BURST, now)
        kind.tokens = min(BURST, kind.tokens + (now - kind.filled_at) * RATE)
        kind.filled_at = now
        return kind
