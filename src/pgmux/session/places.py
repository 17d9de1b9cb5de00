"""Who gets the next server connection: carries out what the limits of pools, databases and users
(`pool.limits`) decide.

A connect begins where a client waits and all limits have a place. Where a database's or a user's
places are taken, the server that has been unused for longest goes for it; where none is unused, the
pool contends for the next that becomes free.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pgmux.pool.limits import LOOK_AGAIN, Quota, full_quotas, longest_wait, next_contender
from pgmux.pool.pool import Pool
from pgmux.session.release import recheck

if TYPE_CHECKING:
    from pgmux.session.control import PoolControl
    from pgmux.session.pooler import Pooler


def launch(pooler: Pooler, control: PoolControl) -> None:
    """Begin as many connects as the pool's queue wants and all limits allow; check used servers
    first.
    """
    recheck(control)
    pool = control.pool
    while pool.wants_since(pooler.clock()) is not None:
        full = full_quotas(pool)
        if not full:
            _connect(pooler, pool)
            continue
        lacking = [quota for quota in full if pool not in quota.contenders]
        if not lacking:
            return  # it is known, and gets what becomes free
        _contend(pooler, pool, lacking)
        for quota in lacking:
            _settle(pooler, quota)


def launch_all(pooler: Pooler) -> None:
    """The same for all pools; whose client has waited longest comes first where they share."""
    controls = list(pooler.pools.values())
    for control in controls:
        recheck(control)
        _contend(
            pooler, control.pool, [quota for quota in control.pool.quotas if quota.max_servers]
        )
    for control in controls:
        for quota in control.pool.quotas:
            if quota.contenders:
                _settle(pooler, quota)
        launch(pooler, control)


def on_place_free(pooler: Pooler, control: PoolControl) -> None:
    """A server of the pool has gone, or a connect: where pools contend for its place, it goes to
    whose client has waited longest, our own included.
    """
    contended = [quota for quota in control.pool.quotas if quota.contenders]
    _contend(pooler, control.pool, contended)
    now = pooler.clock()
    # Else who has waited less would take as the database's place what was given up as the user's.
    for quota in sorted(contended, key=lambda quota: longest_wait(quota, now)):
        _settle(pooler, quota)


def on_server_idle(pooler: Pooler, control: PoolControl) -> None:
    """A server of the pool idles: where other pools contend, not for long."""
    for quota in control.pool.quotas:
        if quota.contenders:
            _watch(pooler, quota)


def refill(pooler: Pooler, control: PoolControl) -> None:
    """Begin one connect for min_pool_size, where nobody else wants the place."""
    if control.pool.wants_refill(pooler.clock()):
        pooler.connects.begin(control)


def keep_limits(pooler: Pooler) -> None:
    """The janitor's part: unused servers beyond a limit that was lowered go, and who still contends
    is looked at again.
    """
    databases = [state.quota for state in pooler.databases.values()]
    for quota in (*databases, *list(pooler.quotas.users.values())):
        while quota.has_too_many() and _evict(pooler, quota):
            pass
        if quota.contenders:
            _settle(pooler, quota)


def _contend(pooler: Pooler, pool: Pool, quotas: list[Quota]) -> None:
    """Have the pool's turn come in these quotas, if it wants a connect at all."""
    since = pool.wants_since(pooler.clock())
    if since is not None:
        for quota in quotas:
            quota.contend(pool, since)


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
            elif quota in full and quota.find_unused_server(pooler.clock()) is None:
                break
            else:
                for each in full:
                    _evict(pooler, each)
    finally:
        quota.is_settling = False
    _watch(pooler, quota)


def _watch(pooler: Pooler, quota: Quota) -> None:
    """Look again soon where a server idles that its client may yet come back to."""
    if quota.is_watched or not quota.is_worth_a_look(pooler.clock()):
        return
    quota.is_watched = True

    def look() -> None:
        quota.is_watched = False
        _settle(pooler, quota)

    pooler.outside.later(LOOK_AGAIN, look)


def _evict(pooler: Pooler, quota: Quota) -> bool:
    """Close the server that has been unused for longest; False where there is none."""
    server = quota.find_unused_server(pooler.clock())
    if server is None:
        return False
    control: PoolControl = server.pool_relay.control
    control.close_server(server, "evicted")
    return True


def _connect(pooler: Pooler, pool: Pool) -> None:
    """Begin one connect for the pool; if it wants more, it contends on for those."""
    now = pooler.clock()
    control = pooler.pools[pool.key]
    dedicated = pool.next_dedicated(now)
    if dedicated is not None and dedicated.wait_start != pool.wants_since(now):
        dedicated = None  # it isn't its turn
    unused = None if dedicated is None else pool.find_unused_server()
    if unused is not None and pool.is_full():
        control.close_server(unused, "evicted")
        return  # there is a place now, if nobody has it already
    if pool.is_full():
        client = dedicated or pool.lists.waiting_client(0)
        pooler.log.warning("taking connection from reserve_pool", control.name(client))
    pooler.connects.begin(control, dedicated)
    since = pool.wants_since(pooler.clock())
    for quota in pool.quotas:
        if pool in quota.contenders:
            quota.contenders.discard(pool)
            if since is not None:
                quota.contenders.add(pool, since)
