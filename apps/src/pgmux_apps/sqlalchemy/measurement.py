"""What is known of a pool that is measured, and of all pools of one name.

Engines of one name in one process are one: their numbers are added, as a label can't tell them
apart. An error would be worse: it would hit tests and reloaders, which make an engine again while
the old one isn't collected yet. A pool that has been disposed of and not been used since doesn't
count beside one that is used.
"""

from __future__ import annotations

import logging
import os
from functools import reduce
from operator import add
from threading import RLock
from time import monotonic
from typing import Any, Protocol
from weakref import ReferenceType, ref

from sqlalchemy import event
from sqlalchemy.engine import Engine
from sqlalchemy.pool import Pool

from pgmux_apps.environment import Environment, SettingError
from pgmux_apps.sqlalchemy.counts import Counts
from pgmux_apps.sqlalchemy.leaks import Holding, LeakFinder
from pgmux_apps.sqlalchemy.pools import (
    PoolState,
    find_measurement,
    gives_exclusively,
    measure_pool,
    read_state,
)

log = logging.getLogger("pgmux_apps.sqlalchemy")

LEAK_VARIABLE = "DB_POOL_LEAK_SECONDS"
MOST_LEAK_SECONDS = 86_400.0
MAX_NAME = 100  # characters

_HOLDING = "pgmux_holding"  # in the record_info of a connection that is checked out


class Publisher(Protocol):
    """Who has to be told of changes, as nobody in this process will ask."""

    def publish(self) -> None: ...
    def add_checkout(self, seconds: float) -> None: ...
    def add_checkin(self, seconds: float) -> None: ...
    def reset(self) -> None: ...


class NamedPools:
    """The pools of one name, what has happened in them, and in those before them."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.counts = Counts()
        self.publisher: Publisher | None = None
        self._members: list[ReferenceType[PoolMeasurement]] = []  # the newest last

    def add(self, measurement: PoolMeasurement) -> None:
        """One more; the caller has _lock. Others may go through the list meanwhile."""
        alive = [each for each in self._members if each() is not None]
        self._members = [*alive, ref(measurement)]

    def members(self) -> list[PoolMeasurement]:
        """Those whose pools there still are, the newest last."""
        found = [each() for each in self._members]
        return [each for each in found if each is not None and each.pool is not None]

    def state(self, *, used_only: bool = False) -> PoolState | None:
        """Their numbers, added; None where there is no pool left."""
        members = self.members()
        counted = [each for each in members if each.is_used]
        if not counted and not used_only:
            counted = members[-1:]
        pools = [pool for each in counted if (pool := each.pool) is not None]
        return reduce(add, map(read_state, pools)) if pools else None

    def look_for_leaks(self) -> None:
        """Logs what is held too long."""
        for each in self.members():
            each.look_for_leaks()


class PoolMeasurement:
    """One engine's pool, and those that follow it by `dispose()`; lives as long as they do."""

    def __init__(self, named: NamedPools) -> None:
        self.named = named
        self.leaks: LeakFinder | None = None
        self.held: set[Holding] = set()
        self.waiters = 0
        self.is_used = False  # since the pool was made
        self.timeout_at: float | None = None
        self.failure: tuple[float, str] | None = None  # of the last attempt: when, and what
        self._pool: ReferenceType[Pool] | None = None
        self._lock = RLock()
        self._is_exclusive = True

    @property
    def pool(self) -> Pool | None:
        """The pool that is measured now; None once it is gone."""
        return None if self._pool is None else self._pool()

    def follow(self, pool: Pool) -> None:
        """It is this pool now."""
        self._pool = ref(pool)
        self._is_exclusive = gives_exclusively(pool)
        self.is_used = False
        # recreate() hands the listeners on; one of a user's own may not.
        for name in ("connect", "close", "close_detached", "invalidate", "soft_invalidate"):
            listener = getattr(self, f"_on_{name}")
            if listener not in tuple(getattr(pool.dispatch, name)):
                event.listen(pool, name, listener)
        self.publish()

    def find_leaks(self, seconds: float) -> None:
        """What is held longer is named from now on; 0 ends that."""
        if not seconds:
            self.leaks = None
        elif self.leaks is None or self.leaks.limit != seconds:
            self.leaks = LeakFinder(self.named.name, seconds)

    def look_for_leaks(self) -> None:
        """Logs what is held too long."""
        if self.leaks is not None:
            self.leaks.look(self.held, monotonic())

    def on_checkout(self, connection: Any, asked_at: float, now: float) -> None:
        """Somebody has got a connection."""
        named, leaks = self.named, self.leaks
        named.counts.add_checkout(now - asked_at)
        if self._is_exclusive:
            holding = Holding(now, None) if leaks is None else leaks.hold(now)
            connection.record_info[_HOLDING] = holding
            self.held.add(holding)
        if leaks is not None:
            leaks.look(self.held, now)
        self.is_used = True
        self.failure = None
        if named.publisher is not None:
            named.publisher.add_checkout(now - asked_at)

    def on_checkin(self, record: Any, now: float) -> None:
        """A connection comes back, or is given up by the pool; what hadn't been given to anybody,
        or before the pool was measured, isn't counted.
        """
        if not self._is_exclusive:
            self.named.counts.add("checkins")
            return
        holding = record.record_info.pop(_HOLDING, None)
        if holding not in self.held:  # nobody's, or the parent process's
            return
        self.held.discard(holding)
        self.named.counts.add_checkin(now - holding.since)
        if self.leaks is not None:
            self.leaks.on_checkin(holding, now)
            self.leaks.look(self.held, now)
        if self.named.publisher is not None:
            self.named.publisher.add_checkin(now - holding.since)

    def on_waiting(self, step: int) -> None:
        """Somebody begins or ends to wait for a connection that others have."""
        with self._lock:
            self.waiters += step
        self.is_used = True
        self.publish()

    def on_timeout(self, now: float) -> None:
        """Somebody got none in time."""
        self.timeout_at = now
        self.named.counts.add("timeouts")
        if self.leaks is not None:
            self.leaks.look(self.held, now)
            self.leaks.list_holders(self.held, now)
        self.publish()

    def on_failure(self, error: Exception, now: float) -> None:
        """Somebody got none because of `error`; its text, as the error itself holds frames."""
        text = next((line.strip() for line in str(error).splitlines() if line.strip()), "")
        self.failure = (now, f"{type(error).__name__}: {text}" if text else type(error).__name__)
        self.publish()

    def publish(self) -> None:
        """Tells of changes, where somebody has to be told."""
        if self.named.publisher is not None:
            self.named.publisher.publish()

    def forget_parent(self) -> None:
        """In a forked process: who holds and who waits is in the parent."""
        self._lock = RLock()
        self.held = set()
        self.waiters = 0
        self.is_used = False
        self.timeout_at = self.failure = None

    def _on_connect(self, connection: Any, record: Any) -> None:
        self.named.counts.add("connects")

    def _on_close(self, connection: Any, record: Any) -> None:
        self.named.counts.add("disconnects")

    def _on_close_detached(self, connection: Any) -> None:
        self.named.counts.add("disconnects")

    def _on_invalidate(self, connection: Any, record: Any, error: Any) -> None:
        self.named.counts.add("invalidations")

    def _on_soft_invalidate(self, connection: Any, record: Any, error: Any) -> None:
        self.named.counts.add("invalidations")


_lock = RLock()
_named: dict[str, NamedPools] = {}


def measure(engine: Any, pool_name: str, leak_seconds: float | None = None) -> PoolMeasurement:
    """The engine's pool is measured from now on; an engine that is keeps the name that it has.

    `leak_seconds` None: by DB_POOL_LEAK_SECONDS. Raises: TypeError, SettingError.
    """
    pool = pool_of(engine)
    name = check_name(pool_name)
    with _lock:
        measurement = find_measurement(pool)
        if measurement is None:
            named = _named.setdefault(name, NamedPools(name))
            measurement = PoolMeasurement(named)
            measurement.find_leaks(leak_limit(leak_seconds))
            measure_pool(pool, measurement)
            named.add(measurement)
            return measurement
    if leak_seconds is not None:
        measurement.find_leaks(leak_limit(leak_seconds))
    if measurement.named.name != name:
        log.warning(
            "an engine is set up as pool_name=%r and again as %r: it stays %r",
            measurement.named.name,
            name,
            measurement.named.name,
        )
    return measurement


def pool_of(engine: Any) -> Pool:
    """The pool of an Engine or AsyncEngine. Raises: TypeError for anything else."""
    engine = getattr(engine, "sync_engine", engine)
    if not isinstance(engine, Engine):
        raise TypeError(
            f"an Engine or AsyncEngine of SQLAlchemy is needed, not {type(engine).__name__}"
        )
    return engine.pool


def check_name(pool_name: Any) -> str:
    """`pool_name`, which becomes a label. Raises: SettingError."""
    if not isinstance(pool_name, str) or not pool_name.strip() or not pool_name.isprintable():
        raise SettingError(f"pool_name={_shown(pool_name)}: a name of printable characters")
    if len(pool_name) > MAX_NAME:
        raise SettingError(f"pool_name={_shown(pool_name)}: at most {MAX_NAME} characters")
    return pool_name.strip()


def leak_limit(leak_seconds: float | None) -> float:
    """Seconds; 0 is off. None: by DB_POOL_LEAK_SECONDS. Raises: SettingError."""
    if leak_seconds is None:
        return Environment().seconds(LEAK_VARIABLE, 0.0, least=0.0, most=MOST_LEAK_SECONDS)
    if isinstance(leak_seconds, bool) or not isinstance(leak_seconds, int | float):
        raise SettingError(f"leak_seconds={_shown(leak_seconds)}: seconds, as a number")
    if not 0 <= leak_seconds <= MOST_LEAK_SECONDS:  # also NaN
        raise SettingError(
            f"leak_seconds={leak_seconds}: seconds from 0 (off) to {MOST_LEAK_SECONDS:g}"
        )
    return float(leak_seconds)


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:40]}…"


def _forget_parent() -> None:
    """In a forked process: numbers and locks of its own."""
    global _lock
    _lock = RLock()
    for named in _named.values():
        named.counts.reset()
        for measurement in named.members():
            measurement.forget_parent()
        if named.publisher is not None:
            named.publisher.reset()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_parent)
