"""The pools' numbers for Prometheus; needs prometheus-client.

In one process they are read when it is scraped. Where several share PROMETHEUS_MULTIPROC_DIR
(gunicorn, uwsgi), whoever is scraped answers for all out of files, so that each change is written;
a process counts from the first connection that it takes.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import accumulate
from threading import Lock
from typing import Literal
from weakref import WeakKeyDictionary

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client import values as prometheus_values
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from pgmux_apps.sqlalchemy.counts import CHECKOUT_BUCKETS, HOLD_BUCKETS, Counts, Durations
from pgmux_apps.sqlalchemy.measurement import NamedPools

log = logging.getLogger("pgmux_apps.sqlalchemy")

PREFIX = "sqlalchemy_pool_"
LABELS = ("pool_name",)


@dataclass(frozen=True, slots=True)
class GaugeOf:
    """An attribute of PoolState; `together` says what it is of several processes."""

    name: str
    help: str
    together: Literal["livesum", "livemax"] = "livesum"


GAUGES = (
    GaugeOf("size", "Connections that the pool keeps open"),
    GaugeOf("checked_in", "Connections that are open and free"),
    GaugeOf("checked_out", "Connections that are in use"),
    GaugeOf("overflow", "Connections open beyond size"),
    GaugeOf("max_overflow", "Connections that may be open beyond size; absent without a limit"),
    GaugeOf("capacity", "Connections that may be in use at once; absent without a limit"),
    # Of a single process: that of the others tells nobody who waits here.
    GaugeOf(
        "utilization_ratio",
        "checked_out of capacity, 0 to 1; of several processes the highest",
        "livemax",
    ),
    GaugeOf("waiters", "Threads or tasks that wait for a connection to be given back"),
)
COUNTERS = {
    "connects": "Connections made",
    "disconnects": "Connections closed",
    "checkouts": "Connections given to the application",
    "checkins": "Connections given back",
    "invalidations": "Connections found broken, or declared so",
    "timeouts": "Times that nobody gave a connection back within pool_timeout",
}
HISTOGRAMS = {
    "checkout_duration": "Seconds from asking for a connection to having it",
    "checkout_hold": "Seconds from having a connection to giving it back",
}


class NameTaken(ValueError):
    """The registry has metrics of these names already, and they aren't ours."""


def export(named: NamedPools, registry: CollectorRegistry) -> None:
    """`registry` has the pools of this name from now on. Raises: NameTaken."""
    if is_multiprocess():
        if named.publisher is None:
            instruments = _instruments.get(registry)
            if instruments is None:
                instruments = _instruments[registry] = Instruments(registry)
            named.publisher = FilePublisher(named, instruments)
        return
    collector = _collectors.get(registry)
    if collector is None:
        collector = PoolCollector()
        with names_taken(registry, PREFIX):
            registry.register(collector)
        _collectors[registry] = collector
    collector.add(named)


def is_multiprocess() -> bool:
    """Whether prometheus-client keeps its numbers in files, as it decides when it is imported."""
    return bool(getattr(prometheus_values.ValueClass, "_multiprocess", False))


class PoolCollector(Collector):
    """Reads the pools when it is asked."""

    def __init__(self) -> None:
        self._pools: dict[str, NamedPools] = {}

    def add(self, named: NamedPools) -> None:
        """From the next scrape on."""
        self._pools[named.name] = named

    def describe(self) -> Iterator[Metric]:
        """The names, so that the registry can refuse those that it has."""
        yield from Families()

    def collect(self) -> Iterator[Metric]:
        """All families; this is a look at the pools, so that leaks are told, too."""
        families = Families()
        for named in tuple(self._pools.values()):
            named.look_for_leaks()
            families.add(named)
        yield from families


class Families:
    """The families of one scrape."""

    def __init__(self) -> None:
        self.gauges = {
            gauge.name: GaugeMetricFamily(PREFIX + gauge.name, gauge.help, labels=LABELS)
            for gauge in GAUGES
        }
        self.counters = {
            name: CounterMetricFamily(PREFIX + name, text, labels=LABELS)
            for name, text in COUNTERS.items()
        }
        self.histograms = {
            name: HistogramMetricFamily(f"{PREFIX}{name}_seconds", text, labels=LABELS)
            for name, text in HISTOGRAMS.items()
        }

    def __iter__(self) -> Iterator[Metric]:
        yield from self.gauges.values()
        yield from self.counters.values()
        yield from self.histograms.values()

    def add(self, named: NamedPools) -> None:
        """The gauges of the pools that there are, and what has happened in all that there were."""
        label = [named.name]
        state = named.state()
        for name, gauge in self.gauges.items():
            value = getattr(state, name, None)
            if value is not None:
                gauge.add_metric(label, value)
        counts = named.counts
        with counts.lock:
            for name, counter in self.counters.items():
                counter.add_metric(label, getattr(counts, name))
            for name, histogram in self.histograms.items():
                durations: Durations = getattr(counts, name)
                histogram.add_metric(label, _buckets(durations), durations.sum)


def _buckets(durations: Durations) -> list[tuple[str, float]]:
    """Cumulative, as the text format has them."""
    bounds = [*map(str, durations.bounds), "+Inf"]
    return list(zip(bounds, accumulate(durations.counts), strict=True))


class Instruments:
    """prometheus-client's own metrics: what it keeps in the process's files."""

    def __init__(self, registry: CollectorRegistry) -> None:
        """Raises: NameTaken."""
        with names_taken(registry, PREFIX):
            self.gauges = {
                gauge.name: Gauge(
                    PREFIX + gauge.name,
                    gauge.help,
                    LABELS,
                    registry=registry,
                    multiprocess_mode=gauge.together,
                )
                for gauge in GAUGES
            }
            self.counters = {
                name: Counter(PREFIX + name, text, LABELS, registry=registry)
                for name, text in COUNTERS.items()
            }
            buckets = {"checkout_duration": CHECKOUT_BUCKETS, "checkout_hold": HOLD_BUCKETS}
            self.histograms = {
                name: Histogram(
                    f"{PREFIX}{name}_seconds",
                    text,
                    LABELS,
                    registry=registry,
                    buckets=buckets[name],
                )
                for name, text in HISTOGRAMS.items()
            }


class FilePublisher:
    """Writes what has changed in the pools of one name into the process's files.

    prometheus-client's lock isn't reentrant, and the garbage collector may give a connection back
    in the midst of it: so one writes at a time, and who comes meanwhile leaves it to that one.
    """

    def __init__(self, named: NamedPools, instruments: Instruments) -> None:
        self._named = named
        name = named.name
        self._instruments = instruments
        self._gauges: dict[str, Gauge] = {}
        self._counters = {key: each.labels(name) for key, each in instruments.counters.items()}
        self._durations = {key: each.labels(name) for key, each in instruments.histograms.items()}
        self.reset()

    def reset(self) -> None:
        """In a forked process, whose files are new."""
        self._writing = Lock()
        self._is_behind = self._has_failed = False
        self._observed: deque[tuple[Histogram, float]] = deque()
        self._written_counts = dict.fromkeys(COUNTERS, 0)
        self._written_gauges: dict[str, float] = {}

    def add_checkout(self, seconds: float) -> None:
        self._observed.append((self._durations["checkout_duration"], seconds))
        self.publish()

    def add_checkin(self, seconds: float) -> None:
        """The connection isn't in the pool yet: it will be published when it is."""
        self._observed.append((self._durations["checkout_hold"], seconds))

    def publish(self) -> None:
        """What has changed is in the files, or will be, by another thread, in a moment."""
        self._is_behind = True
        while self._is_behind and self._writing.acquire(blocking=False):
            try:
                self._is_behind = False
                self._write()
            except Exception:  # a full disk isn't to end the application's queries
                if not self._has_failed:
                    log.exception("the metrics of pool %s can't be written", self._named.name)
                self._has_failed = True
            finally:
                self._writing.release()

    def _write(self) -> None:
        while self._observed:
            histogram, seconds = self._observed.popleft()
            histogram.observe(seconds)
        counts: Counts = self._named.counts
        for name, counter in self._counters.items():
            count = getattr(counts, name)
            if more := count - self._written_counts[name]:
                counter.inc(more)
                self._written_counts[name] = count
        for name, value in self._values():
            if self._written_gauges.get(name) != value:
                self._gauge(name).set(value)
                self._written_gauges[name] = value

    def _gauge(self, name: str) -> Gauge:
        """Made when there is a value: a gauge that is made is a 0 in the files."""
        if name not in self._gauges:
            self._gauges[name] = self._instruments.gauges[name].labels(self._named.name)
        return self._gauges[name]

    def _values(self) -> Iterator[tuple[str, float]]:
        """The gauges; 0 for what this process had and hasn't any longer."""
        state = self._named.state(used_only=True)
        for gauge in GAUGES:
            value = getattr(state, gauge.name, None)
            if value is None and gauge.name in self._written_gauges:
                value = 0.0
            if value is not None:
                yield gauge.name, value


_collectors: WeakKeyDictionary[CollectorRegistry, PoolCollector] = WeakKeyDictionary()
_instruments: WeakKeyDictionary[CollectorRegistry, Instruments] = WeakKeyDictionary()


@contextmanager
def names_taken(registry: CollectorRegistry, prefix: str) -> Iterator[None]:
    """What prometheus-client says of a name that it has, made clear. Raises: NameTaken."""
    try:
        yield
    except ValueError as error:  # prometheus-client's "Duplicated timeseries"
        raise NameTaken(
            f"metrics named {prefix}… are in this registry already, of the application's own: "
            f"remove those, or pass another registry= ({error})"
        ) from error
