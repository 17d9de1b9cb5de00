"""Samples of a console one after another, and what has happened in the times between them.

Whole samples of a thousand pools are large: three are kept besides the last. Of the last minute
only what applications and errors need.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass, replace

from pgmux.monitor.rates import CounterKey, Rates, difference
from pgmux.monitor.sample import Sample

LATELY = 10.0  # seconds that rates of pools are over
MINUTE = 60.0  # of applications
ERRORS = 300.0  # of errors
_STEP = 5.0  # seconds between two samples that are kept


@dataclass(frozen=True, slots=True)
class Reading:
    """A sample, and the rates up to it: since the one before, over about 10 s, over about a minute.

    Of the first sample there are no rates. `errors` are those of the last five minutes, by key.
    """

    sample: Sample
    last: Rates | None
    lately: Rates | None
    minute: Rates | None
    errors: Mapping[CounterKey, int]


class Readings:
    """Makes readings; forgets what is too old for any."""

    def __init__(self) -> None:
        self._previous: Sample | None = None
        self._lately: deque[Sample] = deque()
        self._minute: deque[Sample] = deque()
        self._errors: deque[tuple[float, Mapping[CounterKey, int]]] = deque()

    def add(self, sample: Sample) -> Reading:
        """What that sample, later than all before, tells."""
        last = _since(self._previous, sample)
        lately = _since(_oldest(self._lately, sample.taken_at - LATELY), sample)
        minute = _since(_oldest(self._minute, sample.taken_at - MINUTE), _light(sample))
        if last is not None and last.errors:
            self._errors.append((sample.taken_at, last.errors))
        while self._errors and self._errors[0][0] < sample.taken_at - ERRORS:
            self._errors.popleft()
        self._keep(sample)
        errors: Counter[CounterKey] = Counter()
        for _, counts in self._errors:
            errors.update(counts)
        return Reading(sample, last, lately, minute, errors)

    def _keep(self, sample: Sample) -> None:
        self._previous = sample
        for kept, one in ((self._lately, sample), (self._minute, _light(sample))):
            if not kept or kept[-1].taken_at <= sample.taken_at - _STEP:
                kept.append(one)


def _oldest(kept: deque[Sample], until: float) -> Sample | None:
    """The latest that isn't after `until`, else the first; those before it go."""
    while len(kept) > 1 and kept[1].taken_at <= until:
        kept.popleft()
    return kept[0] if kept else None


def _since(older: Sample | None, newer: Sample) -> Rates | None:
    return None if older is None else difference(older, newer)


def _light(sample: Sample) -> Sample:
    """Without what grows with the number of pools."""
    return replace(sample, pools=(), databases=(), stats=(), users=(), histograms=(), waiters=())
