"""Who gets the next server connection: carries out what the limits of pools, databases and users
(`pool.limits`) decide.

A connect begins where a client waits and all limits have a place. Where a database's or a user's
places are taken, the server that has been unused for longest goes for it; where none is unused, the
pool contends for the next that becomes free.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pgmux.pool.limits import Quota, full_quotas, next_contender
from pgmux.pool.pool import Pool

if TYPE_CHECKING:
    from pgmux.session.control import PoolControl
    from pgmux.session.pooler import Pooler


def launch(pooler: Pooler, control: PoolControl) -> None:
    """Begin as many connects as the pool's queue wants and all limits allow; check used servers
    first.
    """
    control.recheck()
    pool = control.pool
    while (since := pool.wants_since(pooler.clock())) is not None:
        full = full_quotas(pool)
        if not full:
            _connect(pooler, pool)
        elif any(pool in quota.contenders for quota in full):
            return  # for the next that becomes free
        else:
            full[0].contend(pool, since)
            _settle(pooler, full[0])


def on_place_free(pooler: Pooler, control: PoolControl) -> None:
    """A server of the pool has gone, or a connect: where pools contend for its place, it goes to
    whose client has waited longest, our own included.
    """
    pool = control.pool
    for quota in pool.quotas:
        if quota.contenders:
            since = pool.wants_since(pooler.clock())
            if since is not None:
                quota.contend(pool, since)
            _settle(pooler, quota)


def refill(pooler: Pooler, control: PoolControl) -> None:
    """Begin one connect for min_pool_size, where nobody else wants the place."""
    if control.pool.wants_refill(pooler.clock()):
        pooler.connect(control)


def keep_limits(pooler: Pooler) -> None:
    """The janitor's part: unused servers beyond a limit that was lowered go, and who still contends
    is looked at again.
    """
    databases = [state.quota for state in pooler.databases.values()]
    for quota in (*databases, *list(pooler.quotas.users.values())):
        while quota.has_too_many() and _evict(quota):
            pass
        if quota.contenders:
            _settle(pooler, quota)


def _settle(pooler: Pooler, quota: Quota) -> None:
    """Give the quota's free places, and those of unused servers, to the contenders in turn."""
    if quota.is_settling:
        return  # who evicts, below us on the stack, goes on
    quota.is_settling = True
    try:
        while (pool := next_contender(quota, pooler.clock())) is not None:
            full = full_quotas(pool)
            if not full:
                _connect(pooler, pool)
            elif quota.is_full() and quota.find_unused_server() is None:
                return
            else:
                _evict(full[0])
    finally:
        quota.is_settling = False


def _evict(quota: Quota) -> bool:
    """Close the server that has been unused for longest; False where there is none."""
    server = quota.find_unused_server()
    if server is None:
        return False
    control: PoolControl = server.pool_relay.control
    control.close_server(server, "evicted")
    return True


def _connect(pooler: Pooler, pool: Pool) -> None:
    """Begin one connect for the pool's queue; if it wants more, it contends on for those."""
    control = pooler.pools[pool.key]
    if pool.is_full():
        client = pool.lists.waiting_client(0)
        pooler.log.warning("taking connection from reserve_pool", control.name(client))
    pooler.connect(control)
    since = pool.wants_since(pooler.clock())
    for quota in pool.quotas:
        if pool in quota.contenders:
            quota.contenders.discard(pool)
            if since is not None:
                quota.contenders.add(pool, since)
