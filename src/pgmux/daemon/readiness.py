"""SHOW READINESS: whether a client that came now could work, and why not.

A database is ready where a server can be had, as far as is known: nobody connects only to find out.
That all servers are busy is no reason, for that is what waiting is for. What a client alone has
made up is none either: the name of a database that only `*` serves, and that isn't on the server.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from pgmux.metrics.snapshot import ReadinessRow
from pgmux.session.control import PoolControl
from pgmux.session.database import DatabaseState
from pgmux.session.pooler import Pooler

UNTRIED = "no server asked for yet"
_MADE_UP = ("3D000", "28000", "28P01")  # no such database, or not for this user


class Readiness:
    """`why_not_listening` and `reload_problem` answer "" where all is well."""

    def __init__(
        self,
        pooler: Pooler,
        why_not_listening: Callable[[], str],
        reload_problem: Callable[[], str],
    ) -> None:
        self._pooler = pooler
        self._why_not_listening = why_not_listening
        self._reload_problem = reload_problem

    def rows(self) -> Iterator[ReadinessRow]:
        """The process, its configuration, then each database by name."""
        for check, reason in (
            ("listening", self._why_not_listening()),
            ("configuration", self._reload_problem()),
        ):
            yield ReadinessRow(check, "", not reason, reason)
        by_database: dict[str, list[PoolControl]] = {}
        for key, control in self._pooler.pools.items():
            by_database.setdefault(key.database, []).append(control)
        for name, state in sorted(self._pooler.databases.items()):
            controls = by_database.get(name, [])
            reason = _why_not(self._pooler, state, controls)
            note = "" if any(c.pool.last_connect_at for c in controls) else UNTRIED
            yield ReadinessRow("database", name, not reason, reason or note)


def _why_not(pooler: Pooler, state: DatabaseState, controls: Iterable[PoolControl]) -> str:
    """Why no server of a database can be had, or ""."""
    if state.disabled:
        return "disabled"
    if pooler.paused or state.paused:
        return "paused"
    reason = ""
    for control in controls:
        pool = control.pool
        if pool.lists.total_servers() > 0:
            return ""
        failure = pool.failure
        if failure is not None and not (state.is_auto and failure.sqlstate in _MADE_UP):
            reason = failure.message or failure.reason
    return reason
