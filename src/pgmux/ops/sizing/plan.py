"""What should change in a pooler's configuration, from what was observed and what PostgreSQL has.

`make_plan` is the whole of it: each pool's advice, fitted into its PostgreSQL, and the settings of
the process. Nothing here connects or prints.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from pgmux.config.model import ADMIN_DATABASE
from pgmux.monitor.sample import Sample
from pgmux.monitor.tables import DatabaseRow, Limits
from pgmux.ops.severity import Severity
from pgmux.ops.sizing.advice import PoolAdvice, Sizes, Wishes, advise
from pgmux.ops.sizing.demand import Saturation, demands
from pgmux.ops.sizing.observation import Observation, PoolKey
from pgmux.ops.sizing.room import Fit, Pool, Room, Setting, Step, fit

CROWDED = 0.8  # of max_client_conn: above, there is no room for a peak
HEADROOM = 1.5  # what max_client_conn should have of the clients that were there at most
DEFAULT_QUERY_WAIT_TIMEOUT = 120.0

Place = tuple[str, int]
"""Host and port of a PostgreSQL, as SHOW DATABASES has them."""


@dataclass(frozen=True, slots=True)
class PoolPlan:
    """`after` is what the pool is to have; its pool_size stands in `setting`."""

    advice: PoolAdvice
    setting: Setting
    place: Place
    after: Sizes

    @property
    def key(self) -> PoolKey:
        return self.advice.demand.key


@dataclass(frozen=True, slots=True)
class ServerPlan:
    """A PostgreSQL and all pools that lead there."""

    place: Place
    room: Room | None
    fit: Fit

    @property
    def is_short(self) -> bool:
        """Whether the pools need more than there is."""
        return self.fit.step is Step.SHARED


@dataclass(frozen=True, slots=True)
class ProcessPlan:
    """Settings of the whole pooler: now, after, and why."""

    clients_peak: int
    refused_clients: int
    timed_out: int
    max_client_conn: int
    max_client_conn_after: int
    query_wait_timeout: float
    query_wait_timeout_after: float


@dataclass(frozen=True, slots=True)
class Plan:
    """See the module. `version` and `place` are the pooler's; `user_limits` are users whose
    max_user_connections is less than their pools are to have: user, limit, and how many.
    """

    version: str
    place: str
    seconds: float
    samples: int
    restarts: int
    absences: int
    paused: tuple[str, ...]
    has_histograms: bool
    wishes: Wishes
    slice_seconds: float
    limits: Limits
    databases: tuple[DatabaseRow, ...]
    pools: tuple[PoolPlan, ...]
    servers: tuple[ServerPlan, ...]
    process: ProcessPlan
    user_limits: tuple[tuple[str, int, int], ...]

    @property
    def judged(self) -> tuple[PoolPlan, ...]:
        return tuple(pool for pool in self.pools if pool.advice.wanted is not None)

    @property
    def database_limits(self) -> Mapping[str, int]:
        """max_db_connections that change, by database."""
        return {name: n for server in self.servers for name, n in server.fit.limits.items()}

    def severities(self) -> Iterable[Severity]:
        """Of all that is to be said: short of servers is worse than badly set."""
        process = self.process
        if process.timed_out or process.refused_clients:
            yield Severity.ERROR
        if process.max_client_conn != process.max_client_conn_after:
            yield Severity.WARNING
        for server in self.servers:
            if server.is_short:
                yield Severity.ERROR
            elif server.room and server.fit.before > server.room.left:
                yield Severity.WARNING
        for pool in self.judged:
            is_full = pool.advice.demand.saturation is not Saturation.NONE
            if is_full or pool.after.pool_size > pool.advice.now.pool_size:
                yield Severity.WARNING


def make_plan(
    observation: Observation,
    place: str,
    rooms: Mapping[Place, Room],
    wishes: Wishes,
    *,
    lower: bool = False,
) -> Plan:
    """The plan; of an observation that has at least one sample."""
    sample = observation.last
    assert sample is not None
    tables = _Tables(sample)
    pools = [
        Pool(
            advise(demand, tables.sizes(demand.key), wishes, sample.limits.reserve_pool_timeout),
            tables.setting(demand.key),
            tables.max_db_connections(demand.database),
        )
        for demand in demands(observation)
    ]
    servers, plans = _fit_all(pools, tables, rooms, lower=lower)
    return Plan(
        version=sample.version,
        place=place,
        seconds=observation.seconds,
        samples=observation.samples,
        restarts=observation.restarts,
        absences=observation.absences,
        paused=tuple(sorted(observation.paused)),
        has_histograms="HISTOGRAMS" not in sample.not_told,
        wishes=wishes,
        slice_seconds=observation.slice_seconds,
        limits=sample.limits,
        databases=sample.databases,
        pools=plans,
        servers=servers,
        process=_process(observation, sample, wishes),
        user_limits=tuple(_user_limits(sample, plans)),
    )


def places(sample: Sample) -> set[Place]:
    """The PostgreSQLs that the pooler's databases are at; the console's own is none."""
    return {(row.host or "", row.port) for row in sample.databases if row.name != ADMIN_DATABASE}


class _Tables:
    """What a sample says of each pool's settings."""

    def __init__(self, sample: Sample) -> None:
        self._sample = sample
        self._sizes = sample.pool_sizes()
        self._databases = {row.name: row for row in sample.databases}
        self._users = {row.name: row for row in sample.users}

    def sizes(self, key: PoolKey) -> Sizes:
        database, user = self._databases.get(key[0]), self._users.get(key[1])
        limits = self._sample.limits
        size = self._sizes.get(key, database.pool_size if database else limits.default_pool_size)
        reserve = user.reserve_pool_size if user else None
        if reserve is None:
            reserve = database.reserve_pool_size if database else limits.reserve_pool_size
        minimum = database.min_pool_size if database else None
        return Sizes(
            size or math.inf, reserve, limits.min_pool_size if minimum is None else minimum
        )

    def setting(self, key: PoolKey) -> Setting:
        user = self._users.get(key[1])
        if user is not None and user.pool_size is not None:
            return Setting("users", key[1])
        return Setting("databases", key[0])

    def max_db_connections(self, name: str) -> int:
        row = self._databases.get(name)
        return row.max_connections if row else self._sample.limits.max_db_connections

    def place(self, name: str) -> Place:
        row = self._databases.get(name)
        return (row.host or "", row.port) if row else ("", 0)


def _fit_all(
    pools: Sequence[Pool], tables: _Tables, rooms: Mapping[Place, Room], *, lower: bool
) -> tuple[tuple[ServerPlan, ...], tuple[PoolPlan, ...]]:
    by_place: dict[Place, list[Pool]] = {}
    for pool in pools:
        by_place.setdefault(tables.place(pool.advice.demand.database), []).append(pool)
    servers, plans = [], []
    for place, own in by_place.items():
        room = rooms.get(place)
        fitted = fit(own, None if room is None else room.left, lower=lower)
        servers.append(ServerPlan(place, room, fitted))
        plans += [
            PoolPlan(pool.advice, pool.setting, place, sizes)
            for pool, sizes in zip(own, fitted.sizes, strict=True)
        ]
    order = {pool.advice.demand.key: number for number, pool in enumerate(pools)}
    return tuple(servers), tuple(sorted(plans, key=lambda plan: order[plan.key]))


def _user_limits(sample: Sample, plans: Sequence[PoolPlan]) -> Iterable[tuple[str, int, int]]:
    own = {row.name: row.max_user_connections for row in sample.users}
    for user in sorted({plan.key[1] for plan in plans}):
        limit = own.get(user)
        if limit is None:
            limit = sample.limits.max_user_connections
        wanted = [plan.advice.wanted for plan in plans if plan.key[1] == user]
        needed = round(sum(each.pool_size for each in wanted if each is not None))
        if 0 < limit < needed:
            yield user, limit, needed


def _process(observation: Observation, sample: Sample, wishes: Wishes) -> ProcessPlan:
    limits, peak = sample.limits, math.ceil(observation.most_clients * wishes.growth)
    refused = sum(count for text, count in observation.errors.items() if "max_client_conn" in text)
    is_crowded = peak > CROWDED * limits.max_client_conn or refused > 0
    timeout = limits.query_wait_timeout
    return ProcessPlan(
        clients_peak=observation.most_clients,
        refused_clients=refused,
        timed_out=observation.errors["query_wait_timeout"],
        max_client_conn=limits.max_client_conn,
        max_client_conn_after=(
            max(limits.max_client_conn, _round_up(peak * HEADROOM))
            if is_crowded
            else limits.max_client_conn
        ),
        query_wait_timeout=timeout,
        query_wait_timeout_after=timeout or DEFAULT_QUERY_WAIT_TIMEOUT,
    )


def _round_up(number: float) -> int:
    """To two digits, as people write limits."""
    step: int = 10 ** max(1, len(str(int(number))) - 2)
    return math.ceil(number / step) * step
