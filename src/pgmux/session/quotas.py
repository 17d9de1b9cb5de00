"""The quotas of a running pooler: what the configuration says of each database's and each user's
connections, over all pools (`pool.limits`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol
from weakref import WeakValueDictionary

from pgmux.config import Config, Database
from pgmux.pool.limits import Quota, check_client


class HasQuota(Protocol):
    """A database at run time (`session.pooler.DatabaseState`)."""

    config: Database
    quota: Quota


class Quotas:
    """Those of users, by name, as long as a pool or a client has them, and the console's. A
    database has its own.
    """

    __slots__ = ("_config", "console", "users")

    def __init__(self, config: Config) -> None:
        self._config = config
        self.users: WeakValueDictionary[str, Quota] = WeakValueDictionary()
        self.console = Quota(0, config.settings.max_db_client_connections)

    def of_database(self, database: Database) -> Quota:
        """A new one."""
        config = self._config
        most = config.max_db_connections(database), config.max_db_client_connections(database)
        return Quota(*most)

    def of_user(self, name: str) -> Quota:
        """The one of all that belongs to the user."""
        quota = self.users.get(name)
        if quota is None:
            config = self._config
            most = config.max_user_connections(name), config.max_user_client_connections(name)
            quota = self.users[name] = Quota(*most)
        return quota

    def use_config(self, config: Config, databases: Mapping[str, HasQuota]) -> None:
        """Go by this configuration from now on."""
        self._config = config
        self.console.max_clients = config.settings.max_db_client_connections
        for state in databases.values():
            state.quota.max_servers = config.max_db_connections(state.config)
            state.quota.max_clients = config.max_db_client_connections(state.config)
        for name, quota in list(self.users.items()):
            quota.max_servers = config.max_user_connections(name)
            quota.max_clients = config.max_user_client_connections(name)

    # ---- clients

    def check_client(
        self, database: Quota, user: str, *, is_exempt: bool = False
    ) -> tuple[Quota, Quota]:
        """What a client that has authenticated will count for. Raises: PoolerError where its
        database or its user has as many clients as it may.
        """
        quotas = database, self.of_user(user)
        if not is_exempt:
            check_client(*quotas)
        return quotas

    def enter(self, *quotas: Quota) -> tuple[Quota, ...]:
        """A client has come in that counts for these; `leave` takes the same."""
        for quota in quotas:
            quota.client_count += 1
        return quotas

    def leave(self, *quotas: Quota) -> None:
        """The client has gone."""
        for quota in quotas:
            quota.client_count -= 1
