"""What a watch remembers from sample to sample: who has moved, and since when nobody is direct."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum

from pgmux.ops.cutover.names import App, Exceptions
from pgmux.ops.cutover.sample import AppCount, Sample

IN_A_ROW = 3  # samples in which nobody connects directly: an application may be reconnecting
MOST_REMEMBERED = 1000


class State(Enum):
    """Where an application connects."""

    DIRECT = "direct"
    EXCEPTED = "direct, excepted"
    BOTH = "moving"
    POOLED = "through the pooler"
    AWAY = "not connected"

    def __str__(self) -> str:
        return self.value


_ORDER = tuple(State)


@dataclass(frozen=True, slots=True)
class Standing:
    """An application as of the last sample that told."""

    count: AppCount
    state: State


@dataclass(frozen=True, slots=True)
class Rates:
    """Between the last two samples; None where a part wasn't there in both, or began again."""

    commits: float | None = None
    transactions: float | None = None  # of the pooler
    errors: int | None = None


class Progress:
    """Takes one sample after another; see the module."""

    def __init__(self, exceptions: Exceptions) -> None:
        self._exceptions = exceptions
        self._seen: dict[App, Standing] = {}
        self._in_a_row = 0
        self.latest: Sample | None = None
        self.told: Sample | None = None  # the newest in which both sides are told
        self.rates = Rates()

    def add(self, sample: Sample) -> tuple[Standing, ...]:
        """What has changed since the sample before: applications whose state is another."""
        self.rates = _rates(self.latest, sample)
        self.latest = sample
        if not sample.is_told:
            self._in_a_row = 0
            return ()
        before = {app: standing.state for app, standing in self._seen.items()}
        is_first = self.told is None
        self.told = sample
        for count in sample.apps:
            self._seen[count.app] = Standing(count, self._state(count))
        self._leave({count.app for count in sample.apps})
        self._in_a_row = 0 if self.direct else self._in_a_row + 1
        if is_first:
            return ()
        return tuple(each for each in self.standings if before.get(each.count.app) != each.state)

    def _state(self, count: AppCount) -> State:
        if count.direct and self._exceptions.has(count.app):
            return State.EXCEPTED
        if count.direct:
            return State.BOTH if count.pooled else State.DIRECT
        return State.POOLED if count.pooled else State.AWAY

    def _leave(self, connected: set[App]) -> None:
        for app in set(self._seen) - connected:
            gone = replace(self._seen[app].count, direct=0, pooled=0, waiting=0)
            if len(self._seen) > MOST_REMEMBERED:
                del self._seen[app]
            else:
                self._seen[app] = Standing(gone, State.AWAY)

    @property
    def standings(self) -> tuple[Standing, ...]:
        """Who has to be moved comes first, then the larger ones."""
        return tuple(
            sorted(
                self._seen.values(),
                key=lambda each: (
                    _ORDER.index(each.state),
                    -each.count.direct - each.count.pooled,
                    each.count.app,
                ),
            )
        )

    @property
    def direct(self) -> int:
        """Connections that are direct and no exception, of the newest sample that told."""
        if self.told is None:
            return 0
        of_apps = sum(
            each.count.direct
            for each in self._seen.values()
            if each.state in (State.DIRECT, State.BOTH)
        )
        return of_apps + self.told.others

    @property
    def is_done(self) -> bool:
        """Whether nobody has connected directly for IN_A_ROW samples."""
        return self._in_a_row >= IN_A_ROW


def _rates(older: Sample | None, newer: Sample) -> Rates:
    if older is None or newer.at <= older.at:
        return Rates()
    seconds = newer.at - older.at
    commits = transactions = errors = None
    if older.server and newer.server and older.server.started == newer.server.started:
        commits = grown(older.server.commits, newer.server.commits)
    if older.pooler and newer.pooler:
        transactions = grown(older.pooler.transactions, newer.pooler.transactions)
        errors = grown(older.pooler.errors, newer.pooler.errors)
    return Rates(
        None if commits is None else commits / seconds,
        None if transactions is None else transactions / seconds,
        errors,
    )


def grown(older: int | None, newer: int | None) -> int | None:
    """How much a counter has grown; None where it isn't told, or has begun again."""
    return newer - older if older is not None and newer is not None and newer >= older else None
