"""Whose pools go to a PostgreSQL, as they are in force: by the console where it was asked (which
users each database has had since the pooler's start), else by the file and auth_file's names.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from pgmux.config.model import Config, Database
from pgmux.ops.capacity import PoolCapacity, ServerCapacity, UsersOf, capacities
from pgmux.ops.check.evidence import Evidence
from pgmux.ops.check.facts.server import ServerFacts
from pgmux.ops.check.gather.targets import entries_of, places_of


def config_in_force(evidence: Evidence) -> Config | None:
    """What the pooler runs with, as far as pools go; the file's where the console wasn't asked.

    [users] is the file's also of PgBouncer: its SHOW USERS repeats pool_size and reserve_pool_size
    of one user for those after it that have none.
    """
    console, config = evidence.console, evidence.config
    if console is None:
        return config
    if config is not None and not console.is_pgmux:
        return replace(console.config(), users=config.users)
    return console.config()


def capacity_at(evidence: Evidence, server: ServerFacts) -> ServerCapacity | None:
    """All pools that lead there; None where none does, or nothing is known of any."""
    config = config_in_force(evidence)
    if config is None:
        return None
    entries = entries_at(config, server)
    if not entries:
        return None
    here = {each.name: replace(each, host=None, hosts=(), port=0) for each in entries}
    only = replace(config, databases=here, autodb=None)
    return capacities(only, _users_of(evidence, server))[0]


def entries_at(config: Config, server: ServerFacts) -> list[Database]:
    """Those of [databases] that lead there."""
    return [each for each in entries_of(config) if server.places.intersection(places_of(each))]


def _users_of(evidence: Evidence, server: ServerFacts) -> UsersOf:
    if evidence.console is not None:
        seen = evidence.console.users_by_database()
        return lambda database: seen.get(database.name, ())
    names = _by_userlist(evidence, server)
    return lambda database: names


def _by_userlist(evidence: Evidence, server: ServerFacts) -> Collection[str]:
    """Names of auth_file that may log in to PostgreSQL; all of them where that can't be told."""
    names = evidence.config.userlist if evidence.config else {}
    if server.roles is None:
        return list(names)
    return [name for name in names if name in server.roles and server.roles[name].can_login]


def users_at(evidence: Evidence, server: ServerFacts) -> frozenset[str]:
    """Everybody whose pools lead there; "" is somebody who isn't known by name."""
    capacity = capacity_at(evidence, server)
    return frozenset(pool.user for pool in capacity.pools) if capacity else frozenset()


def sizes_by_user(pools: Collection[PoolCapacity]) -> dict[str, float]:
    """Of each user, what all its pools can open."""
    found: dict[str, float] = {}
    for pool in pools:
        found[pool.user] = found.get(pool.user, 0.0) + pool.most
    return found


def is_looked_up(config: Config, database: Database) -> bool:
    """Whether users that auth_file doesn't have may come in."""
    return bool(config.auth_user(database)) and database.user is None
