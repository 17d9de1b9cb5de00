"""SQLAlchemy's pools, measured where they give, wait and take back.

Events don't tell how long a checkout took nor who waits: `checkout` is sent when it is over. So a
pool that exists takes on a subclass of its own class, and its queue likewise; an application's own
pool class goes on working. `Engine.dispose()` makes a new pool by `recreate()`, which is measured
as well. SQLAlchemy 1.4, 2.0 and 2.1.
"""

from __future__ import annotations

import logging
from contextlib import suppress
from dataclasses import dataclass
from time import monotonic
from typing import TYPE_CHECKING, Any
from weakref import WeakValueDictionary

from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.pool import Pool, QueuePool, SingletonThreadPool, StaticPool
from sqlalchemy.util.queue import Empty

if TYPE_CHECKING:
    from pgmux_apps.sqlalchemy.measurement import PoolMeasurement

log = logging.getLogger("pgmux_apps.sqlalchemy")


@dataclass(frozen=True, slots=True)
class PoolState:
    """A pool's numbers now, or those of several together. None: there is no such thing.

    `max_overflow` is None where there is no limit. `checked_out` counts connections that are just
    being made for somebody, too, as the pool itself does.
    """

    checked_out: int | None
    checked_in: int | None = None
    size: int | None = None
    overflow: int | None = None
    max_overflow: int | None = None
    waiters: int | None = None

    @property
    def capacity(self) -> int | None:
        """How many may be checked out at once; None where there is no limit."""
        if self.size is None or self.max_overflow is None:
            return None
        return self.size + self.max_overflow

    @property
    def utilization_ratio(self) -> float | None:
        """What part of the capacity is checked out, 0 to 1."""
        if not self.capacity or self.checked_out is None:
            return None
        return min(self.checked_out / self.capacity, 1.0)

    def __add__(self, other: PoolState) -> PoolState:
        """One unlimited pool makes both unlimited."""
        bounded = self.capacity is not None and other.capacity is not None
        return PoolState(
            checked_out=_sum(self.checked_out, other.checked_out),
            checked_in=_sum(self.checked_in, other.checked_in),
            size=_sum(self.size, other.size),
            overflow=_sum(self.overflow, other.overflow),
            max_overflow=_sum(self.max_overflow, other.max_overflow) if bounded else None,
            waiters=_sum(self.waiters, other.waiters),
        )


def _sum(one: int | None, other: int | None) -> int | None:
    return other if one is None else one if other is None else one + other


def read_state(pool: Pool) -> PoolState:
    """The pool's own numbers, put right: nothing is negative, as QueuePool's overflow is at first.

    Pools without a queue know no numbers; of those that are measured, it is known what is held.
    Who waits is known of measured pools only.
    """
    measurement = find_measurement(pool)
    if isinstance(pool, QueuePool):
        size = pool.size()
        most = pool._max_overflow  # there is no other way to it
        # Read one after the other while others come and go, so that the sum may be off by one.
        return PoolState(
            checked_out=max(0, pool.checkedout()),
            checked_in=pool.checkedin(),
            size=size,
            overflow=max(0, pool.overflow()),
            max_overflow=None if most < 0 else most,
            waiters=None if measurement is None else measurement.waiters,
        )
    if measurement is None or not gives_exclusively(pool):
        return PoolState(checked_out=None)
    return PoolState(checked_out=len(measurement.held))


def gives_exclusively(pool: Pool) -> bool:
    """Whether a connection has one holder at a time; else there is no telling who holds what."""
    return not isinstance(pool, StaticPool | SingletonThreadPool)


def find_measurement(pool: Pool) -> PoolMeasurement | None:
    """What measures the pool; None where nothing does."""
    return getattr(pool, "pgmux_measurement", None)


def measure_pool(pool: Pool, measurement: PoolMeasurement) -> None:
    """From now on `measurement` is told what the pool does. Raises: TypeError for a class whose
    instances can't change to a subclass of it.
    """
    pool.__class__ = _measured_class(type(pool), _POOL_METHODS)  # first: it may be refused
    queue = getattr(pool, "_pool", None)
    if isinstance(pool, QueuePool) and queue is not None:
        queue.__class__ = _measured_class(type(queue), _QUEUE_METHODS)
        queue.pgmux_measurement = measurement
    pool.pgmux_measurement = measurement  # type: ignore[attr-defined]
    measurement.follow(pool)


# The methods of a measured class. An instance can change to a subclass with one base only, as
# Python has it, so there is no mix-in with super(): `_unmeasured` is the class as it was.


class _Kept:
    """A mistake in here is logged, once: it must not cost the application its connection."""

    def __init__(self) -> None:
        self._is_told = False

    def __enter__(self) -> None: ...

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> bool:
        if not isinstance(error, Exception):
            return False
        if not self._is_told:
            self._is_told = True
            log.error("measuring a pool failed, this is only said once", exc_info=error)
        return True


_kept_from_the_application = _Kept()


def _connect(pool: Any) -> Any:
    """Pool.connect: a connection, and how long it took."""
    measurement: PoolMeasurement | None = pool.pgmux_measurement
    if measurement is None:
        return pool._unmeasured.connect(pool)
    asked_at = monotonic()
    try:
        connection = pool._unmeasured.connect(pool)
    except PoolTimeoutError:
        measurement.on_timeout(monotonic())
        raise
    except Exception as error:
        measurement.on_failure(error, monotonic())
        raise
    with _kept_from_the_application:
        measurement.on_checkout(connection, asked_at, monotonic())
    return connection


def _do_return_conn(pool: Any, record: Any) -> None:
    """Pool._do_return_conn: every way of a connection out of its holder's hands ends here."""
    measurement: PoolMeasurement | None = pool.pgmux_measurement
    if measurement is None:
        pool._unmeasured._do_return_conn(pool, record)
        return
    with _kept_from_the_application:
        measurement.on_checkin(record, monotonic())
    try:
        pool._unmeasured._do_return_conn(pool, record)
    finally:
        measurement.publish()


def _recreate(pool: Any) -> Any:
    """Pool.recreate: the new pool is measured as this one is."""
    new = pool._unmeasured.recreate(pool)
    if pool.pgmux_measurement is not None:
        measure_pool(new, pool.pgmux_measurement)
    return new


def _get(queue: Any, block: bool = True, timeout: float | None = None) -> Any:
    """The get of a pool's queue: who has to wait is counted meanwhile."""
    measurement: PoolMeasurement | None = queue.pgmux_measurement
    if measurement is None or not block:
        return queue._unmeasured.get(queue, block, timeout)
    with suppress(Empty):
        return queue._unmeasured.get(queue, False)
    measurement.on_waiting(+1)
    try:
        return queue._unmeasured.get(queue, True, timeout)
    finally:
        measurement.on_waiting(-1)


_POOL_METHODS = {"connect": _connect, "_do_return_conn": _do_return_conn, "recreate": _recreate}
_QUEUE_METHODS = {"get": _get}

_classes: WeakValueDictionary[type, type] = WeakValueDictionary()


def _measured_class(own: type, methods: dict[str, Any]) -> Any:
    """`own`, measured; the same for all its instances, and `own` itself if it is that already."""
    if hasattr(own, "_unmeasured"):
        return own
    measured = _classes.get(own)
    if measured is None:
        names = {
            "__module__": own.__module__,  # by which SQLAlchemy names the pool's logger
            "__qualname__": own.__qualname__,
            "_unmeasured": own,
            # Somebody may make a pool of a measured pool's class: that one isn't measured.
            "pgmux_measurement": None,
        }
        measured = _classes[own] = type(own.__name__, (own,), methods | names)
    return measured
