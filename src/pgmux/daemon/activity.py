"""What has been done, and how long it took: the rows of SHOW APPS and SHOW HISTOGRAMS.

Pool by pool, each when it is asked for: there may be thousands. What is under way is added to what
the relays have counted, which they do when it is over; so no number goes back.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from pgmux.metrics.snapshot import AppRow, HistogramRow
from pgmux.pool.states import SV_ACTIVE
from pgmux.session._relay_cy import AppCounters, ServerRelay
from pgmux.session.buckets import build_text, quantile
from pgmux.session.control import PoolControl
from pgmux.session.pooler import Pooler


@dataclass(slots=True)
class _UnderWay:
    """Of one application: its waiting clients, and the servers that it holds."""

    waiting: int = 0
    wait_time: float = 0.0
    servers: int = 0
    server_time: float = 0.0
    idle: int = 0
    idle_time: float = 0.0
    oldest_xact: float = 0.0


def _controls(pooler: Pooler) -> list[PoolControl]:
    return [pooler.pools[key] for key in sorted(pooler.pools)]


def app_rows(pooler: Pooler) -> Iterator[AppRow | None]:
    """By pool, login name and name; each pool is looked at once, so its rows agree."""
    for control in _controls(pooler):
        yield None
        under_way = _look_at(control, pooler.clock())
        for app in control.apps.all():
            yield _row(control.pool.key.database, app, under_way.get(app, _UnderWay()))


def _look_at(control: PoolControl, now: float) -> dict[AppCounters, _UnderWay]:
    found: dict[AppCounters, _UnderWay] = {}
    lists = control.pool.lists
    for client in lists.waiting_clients():
        app = found.setdefault(client.app, _UnderWay())
        app.waiting += 1
        app.wait_time += now - client.wait_start
    for server in lists.servers(SV_ACTIVE):
        _look_at_server(found, server, now)
    return found


def _look_at_server(found: dict[AppCounters, _UnderWay], server: ServerRelay, now: float) -> None:
    client = server.linked_client
    if client is None:
        return
    app = found.setdefault(client.app, _UnderWay())
    app.servers += 1
    app.server_time += now - client.link_start
    if server.idle_tx:
        app.idle += 1
        app.idle_time += now - server.request_time
    if client.xact_start:
        app.oldest_xact = max(app.oldest_xact, now - client.xact_start)


def _row(database: str, app: AppCounters, under_way: _UnderWay) -> AppRow:
    return AppRow(
        database=database,
        user=app.user,
        application_name=app.name,
        cl_active=app.client_count - under_way.waiting,
        cl_waiting=under_way.waiting,
        sv_active=under_way.servers,
        sv_idle_in_xact=under_way.idle,
        xact_count=app.xact_count,
        query_count=app.query_count,
        client_bytes=app.client_bytes,
        server_bytes=app.server_bytes,
        wait_time=app.wait_time + under_way.wait_time,
        server_time=app.server_time + under_way.server_time,
        idle_xact_time=app.idle_xact_time + under_way.idle_time,
        wait_caused_time=app.wait_caused_time,
        max_xact_time=max(app.max_xact_time, under_way.oldest_xact),
        open_xact_time=under_way.oldest_xact,
        error_count=app.error_count,
    )


def histogram_rows(pooler: Pooler) -> Iterator[HistogramRow]:
    """Who found a server at once has waited 0 µs; the relay counts only those who did wait."""
    for control in _controls(pooler):
        relay, counters = control.relay, control.relay.counters
        waits = relay.waits.values()
        waits[0] += counters.server_assignment_count - sum(waits)
        yield _histogram(control, "wait", waits, counters.wait_time)
        yield _histogram(control, "xact", relay.xacts.values(), counters.xact_time)
        yield _histogram(control, "query", relay.queries.values(), counters.query_time)


def _histogram(control: PoolControl, name: str, counts: list[int], sum_: float) -> HistogramRow:
    key = control.pool.key
    p50, p90, p99, most = (quantile(counts, share) for share in (0.5, 0.9, 0.99, 1.0))
    return HistogramRow(
        key.database, key.user, name, sum(counts), sum_, p50, p90, p99, most, build_text(counts)
    )
