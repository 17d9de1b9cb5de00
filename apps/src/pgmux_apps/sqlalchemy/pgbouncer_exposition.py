"""The poolers' numbers for Prometheus; needs prometheus-client.

In one process the last reading is what a scrape gets. Where several share PROMETHEUS_MULTIPROC_DIR
the youngest reading of any is; a series that is gone is NaN there, as files can't forget it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from threading import Lock
from weakref import WeakKeyDictionary

from prometheus_client import CollectorRegistry, Gauge
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from pgmux_apps.sqlalchemy.exposition import is_multiprocess, names_taken
from pgmux_apps.sqlalchemy.pgbouncer_metrics import COLUMNS, UP, UP_HELP, Reading, fresh

_LABELS = {UP: ("pgbouncer",)} | {
    column.metric: ("pgbouncer", *column.labels) for column in COLUMNS
}
_HELP = {UP: UP_HELP} | {column.metric: column.help for column in COLUMNS}


class Readings(Collector):
    """The last of each console, read at a scrape."""

    def __init__(self) -> None:
        self._readings: dict[str, Reading] = {}

    def put(self, console: str, reading: Reading) -> None:
        """In place of the console's last one, at once and whole."""
        self._readings[console] = reading

    def describe(self) -> Iterator[GaugeMetricFamily]:
        """The names, so that the registry can refuse those that it has."""
        yield from _families().values()

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """All families, empty where nothing was read."""
        families = _families()
        for metric, series in fresh(self._readings):
            for labels, value in series.items():
                families[metric].add_metric(labels, value)
        yield from families.values()


def _families() -> dict[str, GaugeMetricFamily]:
    return {
        metric: GaugeMetricFamily(metric, _HELP[metric], labels=labels)
        for metric, labels in _LABELS.items()
    }


class FileReadings:
    """The same in the process's files."""

    def __init__(self, registry: CollectorRegistry) -> None:
        """Raises: NameTaken."""
        self._lock = Lock()
        self._shown: dict[str, set[tuple[str, tuple[str, ...]]]] = {}
        with names_taken(registry, "pgbouncer_"):
            self._gauges = {
                metric: Gauge(
                    metric,
                    _HELP[metric],
                    labels,
                    registry=registry,
                    multiprocess_mode="livemostrecent",
                )
                for metric, labels in _LABELS.items()
            }

    def put(self, console: str, reading: Reading) -> None:
        """In place of the console's last one."""
        now = {
            (metric, labels): value
            for metric, series in reading.values.items()
            for labels, value in series.items()
        }
        with self._lock:
            for metric, labels in self._shown.get(console, set()) - now.keys():
                self._gauges[metric].labels(*labels).set(math.nan)
            for (metric, labels), value in now.items():
                self._gauges[metric].labels(*labels).set(value)
            self._shown.setdefault(console, set()).update(now)


_readings: WeakKeyDictionary[CollectorRegistry, Readings | FileReadings] = WeakKeyDictionary()


def readings_of(registry: CollectorRegistry) -> Readings | FileReadings:
    """Those that the registry has, made if need be. Raises: NameTaken."""
    readings = _readings.get(registry)
    if readings is None:
        if is_multiprocess():
            readings = FileReadings(registry)
        else:
            readings = Readings()
            with names_taken(registry, "pgbouncer_"):
                registry.register(readings)
        _readings[registry] = readings
    return readings
