"""Why a client waits for a server, and for whose: for SHOW WAITERS, SHOW APPS and the log. Decides
nothing.

Errors: none.
"""

from __future__ import annotations

from pgmux.pool.limits import Quota
from pgmux.pool.pool import Pool
from pgmux.pool.states import SV_LOGIN, SV_TESTED, SV_USED


class Wait:
    """The reasons of one pool's waiting clients at one moment."""

    def __init__(self, pool: Pool) -> None:
        self._logins = pool.logins + pool.lists.server_count(SV_LOGIN)
        checks = pool.lists.server_count(SV_TESTED) + pool.lists.server_count(SV_USED)
        self._ready_soon = self._logins + checks
        self._is_held = pool.lists.held
        self._rest = _what_lacks(pool)

    def reason(self, index: int) -> str:
        """Why the client waits that has that place in the queue."""
        if self._is_held:
            return "paused"
        if index < self._logins:
            return "server login"
        return "server check" if index < self._ready_soon else self._rest


def full_quota(pool: Pool) -> Quota | None:
    """Whose servers the pool's clients wait for, others' too; None where it is the pool's own."""
    if pool.is_full():
        return None
    return next((quota for quota in pool.quotas if quota.is_full()), None)


def _what_lacks(pool: Pool) -> str:
    """What keeps the pool from another connect."""
    if pool.is_down():
        return "server_login_retry"
    if pool.is_full():
        return "pool_size"
    quota = full_quota(pool)
    if quota is None:
        return "server login"
    return "max_db_connections" if quota is pool.quotas[0] else "max_user_connections"
