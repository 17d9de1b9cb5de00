"""The pooler's numbers, read from its console by the application: of pgmux or PgBouncer.

The names are those of many runbooks, the raw columns of SHOW POOLS and SHOW DATABASES. Each series
has a label `pgbouncer`, host:port of the console. An exporter or `pgmux web` has much more; where
one is scraped, this isn't needed.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from threading import Lock
from time import monotonic
from typing import TYPE_CHECKING, Any

from pgmux_apps.console import ConsoleAddress, ConsoleError, Row, read_console
from pgmux_apps.environment import SettingError
from pgmux_apps.sqlalchemy.metrics import require_prometheus

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

log = logging.getLogger("pgmux_apps.sqlalchemy.pgbouncer")

POOL_LABELS = ("database", "user")
DATABASE_LABELS = ("name", "host", "port", "database", "force_user", "pool_mode")
QUERIES = ("SHOW POOLS", "SHOW DATABASES")
MOST_SECONDS = {"timeout": 3600, "stale_after": 86_400}


@dataclass(frozen=True, slots=True)
class Column:
    """A gauge, and how it is had of a row; `show` is the place in QUERIES."""

    metric: str
    help: str
    show: int
    labels: tuple[str, ...]
    value: Callable[[Row], float]


def _number(column: str) -> Callable[[Row], float]:
    return lambda row: float(row[column] or 0)


def _maxwait(row: Row) -> float:
    return float(row["maxwait"] or 0) + float(row.get("maxwait_us") or 0) / 1e6


def _pools(name: str, text: str, value: Callable[[Row], float] | None = None) -> Column:
    return Column(f"pgbouncer_pools_{name}", text, 0, POOL_LABELS, value or _number(name))


def _databases(name: str, text: str) -> Column:
    return Column(f"pgbouncer_databases_{name}", text, 1, DATABASE_LABELS, _number(name))


COLUMNS = (
    _pools("cl_active", "Clients that have a server, or no query"),
    _pools("cl_waiting", "Clients that wait for a server"),
    _pools("sv_active", "Servers that a client has"),
    _pools("sv_idle", "Servers that may be used at once"),
    _pools("maxwait", "Seconds that the first client in the queue has waited", _maxwait),
    _databases("current_connections", "Servers that the database has"),
    _databases("pool_size", "Servers that a pool may have"),
    _databases("max_connections", "Servers that the database may have, 0: any"),
)
UP = "pgbouncer_up"
UP_HELP = "1 where the console was read at the last attempt"

# metric -> (values of its labels, the console's included) -> value
Values = dict[str, dict[tuple[str, ...], float]]


@dataclass(frozen=True, slots=True)
class Reading:
    """What one console has said last; empty where it wasn't read."""

    read_at: float
    stale_after: float
    values: Values


def collect_pgbouncer_metrics(
    pgbouncer_host: str,
    pgbouncer_user: str,
    pgbouncer_password: str | None,
    pgbouncer_port: int = 6432,
    *,
    pgbouncer_sslmode: str | None = None,
    timeout: float = 2.0,
    stale_after: float = 300.0,
    registry: CollectorRegistry | None = None,
) -> bool:
    """Reads the console once, for at most about `timeout` seconds; whether that worked.

    A console that isn't read is logged when it begins and when it ends, its series go and
    `pgbouncer_up` is 0. After `stale_after` seconds without another call all of them go. It blocks:
    in a coroutine, `await asyncio.to_thread(collect_pgbouncer_metrics, …)`.
    Raises: SettingError, MetricsMissing, NameTaken (a ValueError): what no later call would mend.
    """
    require_prometheus()
    _check(pgbouncer_host, pgbouncer_user, pgbouncer_port, timeout, stale_after)
    from prometheus_client import REGISTRY

    from pgmux_apps.sqlalchemy.pgbouncer_exposition import readings_of

    _warn_in_event_loop()
    place = ConsoleAddress(
        pgbouncer_host,
        pgbouncer_port,
        pgbouncer_user,
        pgbouncer_password,
        sslmode=pgbouncer_sslmode,
    )
    readings = readings_of(REGISTRY if registry is None else registry)
    console = f"{place.host}:{place.port}"
    try:
        values = _values(console, read_console(place, QUERIES, timeout))
    except ConsoleError as error:
        _log_change(console, str(error))
        readings.put(console, Reading(monotonic(), stale_after, {UP: {(console,): 0.0}}))
        return False
    _log_change(console, "")
    readings.put(console, Reading(monotonic(), stale_after, values))
    return True


def _values(console: str, answers: list[list[Row]]) -> Values:
    """Raises: ConsoleError for something that answers and isn't a pooler."""
    values: Values = {UP: {(console,): 1.0}}
    try:
        for column in COLUMNS:
            values[column.metric] = {
                (console, *(row[label] or "" for label in column.labels)): column.value(row)
                for row in answers[column.show]
            }
    except (KeyError, ValueError) as error:
        raise ConsoleError(
            f"{console} isn't the console of a pooler: its answer has no usable {error}",
            is_refused=False,
        ) from error
    return values


def _check(host: Any, user: Any, port: Any, timeout: Any, stale_after: Any) -> None:
    """Raises: SettingError."""
    for name, value in (("pgbouncer_host", host), ("pgbouncer_user", user)):
        if not isinstance(value, str) or not value:
            raise SettingError(f"{name}={value!r}: a text that isn't empty")
        if not value.isprintable():
            raise SettingError(f"{name}: printable text")
    if "://" in host or "@" in host[1:]:  # not shown, which a URL's password would be
        raise SettingError("pgbouncer_host: a host's name or address, not a URL")
    if isinstance(port, bool) or not isinstance(port, int) or not 1 <= port <= 65535:
        raise SettingError(f"pgbouncer_port={port!r}: an integer from 1 to 65535")
    for name, value in (("timeout", timeout), ("stale_after", stale_after)):
        if not isinstance(value, int | float) or not 0 < value <= MOST_SECONDS[name]:
            raise SettingError(
                f"{name}={value!r}: seconds, more than 0, at most {MOST_SECONDS[name]}"
            )


_changes = Lock()
_failures: dict[str, str] = {}
_warned: set[str] = set()


def _log_change(console: str, failure: str) -> None:
    with _changes:
        before = _failures.get(console, "")
        _failures[console] = failure
    if failure and failure != before:
        log.warning("no metrics of the pooler: %s", failure)
    elif before and not failure:
        log.info("the console %s is read again", console)


def _warn_in_event_loop() -> None:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return
    if not _warned:
        _warned.add("loop")
        log.warning(
            "collect_pgbouncer_metrics blocks the event loop that it is called in: "
            "await asyncio.to_thread(collect_pgbouncer_metrics, …)"
        )


def fresh(readings: dict[str, Reading]) -> Iterator[tuple[str, dict[tuple[str, ...], float]]]:
    """Metric and series of those that aren't stale."""
    now = monotonic()
    for reading in tuple(readings.values()):
        if now - reading.read_at <= reading.stale_after:
            yield from reading.values.items()
