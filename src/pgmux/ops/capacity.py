"""How many server connections a configuration can open, by the PostgreSQL that they go to.

A pool belongs to a database *and* a user, so a database whose clients log in as three users has
three pools. What max_db_connections and max_user_connections cut off is taken off. Infinite is
`math.inf`: a pool_size of 0. Source: PgBouncer's doc/config.md; `Config.pool_size` and its like.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass

from pgmux.config.model import Config, Database

Place = tuple[str, int]
"""Host (as [databases] has it, empty for the Unix socket) and port of a PostgreSQL."""
UsersOf = Callable[[Database], Collection[str]]


@dataclass(frozen=True, slots=True)
class PoolCapacity:
    """The most server connections of one pool: size, and what the reserve adds."""

    database: str
    user: str
    size: float
    reserve: int

    @property
    def most(self) -> float:
        return self.size + self.reserve


@dataclass(frozen=True, slots=True)
class ServerCapacity:
    """All pools of one PostgreSQL; `most` is what they can open together, limits applied."""

    place: Place
    pools: tuple[PoolCapacity, ...]
    most: float


def capacities(config: Config, users_of: UsersOf) -> tuple[ServerCapacity, ...]:
    """By place, in the order of [databases]. `users_of` says who uses a database that forces no
    user; of whom it names nobody, one pool is counted, of the user "".
    """
    by_place: dict[Place, list[Database]] = {}
    entries = [*config.databases.values(), *([config.autodb] if config.autodb else [])]
    for database in entries:
        by_place.setdefault((database.host or "", database.port), []).append(database)
    return tuple(
        _server(config, place, databases, users_of) for place, databases in by_place.items()
    )


def _server(
    config: Config, place: Place, databases: Iterable[Database], users_of: UsersOf
) -> ServerCapacity:
    pools: list[PoolCapacity] = []
    by_database = 0.0
    by_user: dict[str, float] = {}
    for database in databases:
        own = [_pool(config, database, user) for user in _users(database, users_of)]
        limit = config.max_db_connections(database) or math.inf
        by_database += min(limit, sum(min(pool.most, _limit(config, pool.user)) for pool in own))
        for pool in own:
            by_user[pool.user] = by_user.get(pool.user, 0.0) + min(pool.most, limit)
        pools += own
    return ServerCapacity(place, tuple(pools), min(by_database, _limited(config, by_user)))


def _users(database: Database, users_of: UsersOf) -> Collection[str]:
    return [database.user] if database.user else (sorted(users_of(database)) or [""])


def _pool(config: Config, database: Database, user: str) -> PoolCapacity:
    size = config.pool_size(database, user) or math.inf
    is_used = config.settings.reserve_pool_timeout > 0
    reserve = config.reserve_pool_size(database, user) if is_used else 0
    return PoolCapacity(database.name, user, size, reserve)


def _limited(config: Config, by_user: Mapping[str, float]) -> float:
    return sum(min(_limit(config, user), most) for user, most in by_user.items())


def _limit(config: Config, user: str) -> float:
    return config.max_user_connections(user) or math.inf
