"""SHOW HOSTS: the servers that we are connected to, what they allow, and how much of it is ours."""

from __future__ import annotations

from collections.abc import Iterator

from pgmux.metrics.snapshot import HostRow
from pgmux.net.rows import wall_time
from pgmux.session.host_limits import Host, HostLimits, host_of
from pgmux.session.pooler import Pooler


def host_rows(pooler: Pooler, limits: HostLimits) -> Iterator[HostRow | None]:
    """By address, those that were asked once included; counting is a step a pool."""
    counts = dict.fromkeys(limits.found, 0)
    for control in list(pooler.pools.values()):
        yield None
        for server in control.pool.lists.all_servers():
            host = host_of(server)
            counts[host] = counts.get(host, 0) + 1
    for host, count in sorted(counts.items()):
        yield _row(pooler, limits, host, count)


def _row(pooler: Pooler, limits: HostLimits, host: Host, count: int) -> HostRow:
    found = limits.found.get(host)
    if found is None:
        return HostRow(host.host, host.port, None, None, count, None)
    asked_time = wall_time(pooler.clock() - found.asked_at)
    return HostRow(host.host, host.port, found.max_connections, found.reserved, count, asked_time)
