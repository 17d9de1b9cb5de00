"""Samples of a pooler that doesn't exist: what its console would tell, second by second."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pgmux.monitor.sample import Sample
from pgmux.monitor.tables import (
    Buckets,
    DatabaseRow,
    ErrorRow,
    HistogramRow,
    HostRow,
    Limits,
    PoolRow,
    Seconds,
    StatsRow,
    UserRow,
)
from pgmux.ops.sizing.observation import Observation

LIMITS = Limits(
    max_client_conn=100,
    default_pool_size=20,
    min_pool_size=0,
    reserve_pool_size=0,
    reserve_pool_timeout=Seconds(5.0),
    max_db_connections=0,
    max_user_connections=0,
    query_wait_timeout=Seconds(120.0),
    pool_mode="transaction",
)
ALL = ("USERS", "APPS", "HISTOGRAMS", "ERRORS", "CONNECTS", "WAITERS", "HOSTS", "READINESS")


def pool(database: str = "app", user: str = "web", **more: Any) -> PoolRow:
    """A row of SHOW POOLS; what isn't named is 0, and ten clients are idle."""
    counts = dict.fromkeys(("cl_waiting", "sv_active", "sv_idle", "sv_used"), 0)
    counts |= dict.fromkeys(("sv_tested", "sv_login"), 0)
    rest = {"cl_active": 10, "maxwait": Seconds(0.0), "pool_mode": None}
    return PoolRow(database, user, **{**counts, **rest, **more})


def database(name: str = "app", **more: Any) -> DatabaseRow:
    """A row of SHOW DATABASES."""
    usual: dict[str, Any] = {
        "host": "db1",
        "port": 5432,
        "database": name,
        "force_user": None,
        "pool_size": 20,
        "reserve_pool_size": 0,
        "pool_mode": None,
        "max_connections": 0,
        "current_connections": 0,
        "paused": False,
        "disabled": False,
    }
    return DatabaseRow(name, **{**usual, **more})


@dataclass
class Pooler:
    """What counts up, by database or by pool where `by_pool`; `at` makes the next sample."""

    databases: Sequence[DatabaseRow] = (database(),)
    users: Sequence[UserRow] = ()
    hosts: Sequence[HostRow] = ()
    limits: Limits = LIMITS
    by_pool: bool = False
    counted: dict[tuple[str, str], list[float]] = field(default_factory=dict)
    errors: Mapping[str, int] = field(default_factory=dict)
    clients: int = 12

    def do(
        self,
        xacts: float,
        held: float,
        waited: float = 0.0,
        key: tuple[str, str] = ("app", "web"),
    ) -> None:
        """So many transactions have ended, that held servers and waited for so long, each."""
        counts = self.counted.setdefault(key, [0.0, 0.0, 0.0])
        for number, value in enumerate((xacts, xacts * (held + waited), xacts * waited)):
            counts[number] += value

    def restart(self) -> None:
        """Everything counts from 0."""
        for counts in self.counted.values():
            counts[:] = [0.0, 0.0, 0.0]

    def at(self, now: float, *pools: PoolRow) -> Sample:
        """The sample of that second."""
        return Sample(
            taken_at=now,
            version="PgBouncer 1.25.2",
            state=None,
            pools=pools or (pool(),),
            databases=tuple(self.databases),
            stats=tuple(self._stats()),
            users=tuple(self.users),
            apps=(),
            histograms=tuple(self._histograms()) if self.by_pool else (),
            errors=tuple(
                ErrorRow("app", "pooler", "08P01", text, n) for text, n in self.errors.items()
            ),
            connects=(),
            waiters=(),
            hosts=tuple(self.hosts),
            readiness=(),
            lists={"used_clients": self.clients},
            limits=self.limits,
            not_told=frozenset() if self.by_pool else frozenset(ALL),
        )

    def _stats(self) -> list[StatsRow]:
        sums: dict[str, list[float]] = {}
        for (name, _), counts in self.counted.items():
            old = sums.get(name, [0.0, 0.0, 0.0])
            sums[name] = [a + b for a, b in zip(old, counts, strict=True)]
        return [
            StatsRow(name, int(n), int(n), 0, 0, Seconds(time), Seconds(time), Seconds(waited))
            for name, (n, time, waited) in sums.items()
        ]

    def _histograms(self) -> list[HistogramRow]:
        rows = []
        for (name, user), (n, time, waited) in self.counted.items():
            for kind, total in (("xact", time), ("wait", waited)):
                buckets = Buckets(((57344 if total else 0, int(n)),)) if n else Buckets(())
                rows.append(
                    HistogramRow(name, user, kind, int(n), Seconds(total), Seconds(0.1), buckets)
                )
        return rows


def steady(
    pooler: Pooler,
    *rows: PoolRow,
    seconds: int = 60,
    rate: float = 40,
    held: float = 0.05,
    waited: float = 0.0,
) -> Observation:
    """A pool that does the same in each second, and looks the same in each sample."""
    observation = Observation(seconds, 1.0)
    observation.add(pooler.at(0.0, *rows))
    for second in range(1, seconds + 1):
        pooler.do(rate, held, waited)
        observation.add(pooler.at(float(second), *rows))
    return observation
