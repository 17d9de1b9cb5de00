"""One pool: the clients and servers of one database and user, its limits, and how its last connect
went.

Source: PgBouncer's PgPool and launch_new_connection in outline. No sockets and no clock: `now` is
an argument, seconds of one monotonic clock. What is to be done is returned, and the caller does it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

from pgmux.config import Config, Database, PoolMode
from pgmux.pool._pool_cy import PoolLists
from pgmux.pool.limits import Quota
from pgmux.pool.states import SV_ACTIVE, SV_IDLE, SV_LOGIN, SV_TESTED, SV_USED

# Connections that one pool opens at the same time while its server answers; one at a time where the
# last connect failed.
MAX_LOGINS = 8


class PoolKey(NamedTuple):
    """Names a pool: an entry of [databases], and who its servers are logged in as."""

    database: str
    user: str


@dataclass(frozen=True, slots=True)
class PoolLimits:
    """What the configuration says for one pool; made anew at each RELOAD. Times in seconds, 0 is no
    limit.
    """

    pool_mode: PoolMode
    pool_size: int
    min_pool_size: int
    server_lifetime: float
    query_wait_timeout: float
    query_timeout: float
    idle_transaction_timeout: float
    transaction_timeout: float
    client_idle_timeout: float
    server_login_retry: float
    reserve_pool_size: int
    reserve_pool_timeout: float
    forced_user: bool
    links_at_login: bool = False


def limits_of(config: Config, database: Database, user: str) -> PoolLimits:
    """The limits of the pool of `database` and `user`."""
    return PoolLimits(
        pool_mode=config.pool_mode(database, user),
        links_at_login=config.links_at_login(database, user),
        pool_size=config.pool_size(database, user),
        min_pool_size=config.min_pool_size(database),
        server_lifetime=config.server_lifetime(database),
        query_wait_timeout=config.query_wait_timeout(database, user),
        query_timeout=config.query_timeout(user),
        idle_transaction_timeout=config.idle_transaction_timeout(user),
        transaction_timeout=config.transaction_timeout(user),
        client_idle_timeout=config.client_idle_timeout(user),
        server_login_retry=config.settings.server_login_retry,
        reserve_pool_size=config.reserve_pool_size(database, user),
        reserve_pool_timeout=config.settings.reserve_pool_timeout,
        forced_user=database.user == user,
    )


@dataclass(frozen=True, slots=True)
class Failure:
    """Why the last connect failed: for the log and SHOW; with a message also for clients,
    `from_server` in the server's own words.
    """

    reason: str
    sqlstate: str = ""
    message: str = ""
    from_server: bool = False


class Pool:
    """See the module. `lists` has the clients and servers; `logins` counts connects under way for
    the queue, `dedicated_logins` those for clients that get a server of their own; `quotas` are its
    database's and its user's.
    """

    def __init__(self, key: PoolKey, limits: PoolLimits, quotas: tuple[Quota, ...]) -> None:
        self.key = key
        self.limits = limits
        self.quotas = quotas
        self.lists = PoolLists()
        self.logins = self.dedicated_logins = 0
        self.last_connect_at = 0.0
        self.failure: Failure | None = None
        self.failed_at = 0.0
        self.last_lifetime_close_at = 0.0
        self.unused_since: float | None = None  # no client and no server
        self.keeps_none_until = 0.0  # its database is wanted free of servers that nobody uses

    # ---- connects

    def server_count(self) -> int:
        """Servers in all states, connects under way included."""
        return self.lists.total_servers() + self.logins + self.dedicated_logins

    def is_full(self) -> bool:
        """pool_size is reached; what comes now is of the reserve pool."""
        return 0 < self.limits.pool_size <= self.server_count()

    def most_servers(self) -> int:
        """How many servers the pool may have, its reserve included; 0: any number."""
        size = self.limits.pool_size
        return size + self.limits.reserve_pool_size if size > 0 else 0

    def wants_since(self, now: float) -> float | None:
        """Since when the client has waited that a connect is to begin for now, the quotas aside;
        None: there is none.
        """
        since = self._queue_wants_since(now)
        client = self.next_dedicated(now)
        if client is None:
            return since
        own: float = client.wait_start
        return own if since is None else min(own, since)

    def next_dedicated(self, now: float) -> Any:
        """The client whose own server is to be connected next, the quotas aside, or None. Where the
        pool is full an unused server is to go first: `find_unused_server`.
        """
        client = self.lists.next_dedicated()
        if client is None or self.lists.held or not self._may_connect(now):
            return None
        if not self.is_full() or self.find_unused_server() is not None:
            return client
        return client if self._may_use_reserve(now - client.wait_start) else None

    def _may_use_reserve(self, waited: float) -> bool:
        limits = self.limits
        return 0 < limits.reserve_pool_timeout <= waited and (
            self.server_count() < limits.pool_size + limits.reserve_pool_size
        )

    def find_unused_server(self) -> Any:
        """The pool's server that has been unused for longest, or None."""
        unused = [self.lists.oldest_server(SV_IDLE)]
        if not self.lists.waiting_count():  # else it is about to be checked for who waits
            unused.append(self.lists.oldest_server(SV_USED))
        found = [server for server in unused if server is not None]
        return min(found, key=lambda server: float(server.request_time), default=None)

    def yields_to_dedicated(self) -> bool:
        """Whether a server that has become free is to go so that a client can have one of its own,
        which has waited for longer than the queue.
        """
        client = self.lists.next_dedicated()
        if client is None or not (self.is_full() or any(q.is_full() for q in self.quotas)):
            return False
        first = self.lists.waiting_client(0)
        return first is None or bool(client.wait_start <= first.wait_start)

    def _queue_wants_since(self, now: float) -> float | None:
        lists, limits = self.lists, self.limits
        count = self.server_count()
        is_reserve = 0 < limits.pool_size <= count
        if is_reserve and not (
            limits.reserve_pool_timeout > 0 and count < limits.pool_size + limits.reserve_pool_size
        ):
            return None
        if lists.held or not self._may_connect(now):
            return None
        free_soon = sum(map(lists.server_count, (SV_LOGIN, SV_TESTED, SV_USED, SV_IDLE)))
        client = lists.waiting_client(self.logins + free_soon)
        if client is None:
            return None
        since: float = client.wait_start
        return None if is_reserve and now - since < limits.reserve_pool_timeout else since

    def wants_refill(self, now: float) -> bool:
        """Whether to begin a connect for min_pool_size: a pool that has a client or a forced user
        takes what nobody else wants.
        """
        if self.lists.held or not (self.lists.client_count() or self.limits.forced_user):
            return False
        return (
            now >= self.keeps_none_until
            and self.server_count() < self.limits.min_pool_size
            and self._may_connect(now)
            and not self.is_full()
            and not any(quota.is_full() or quota.contenders for quota in self.quotas)
        )

    def _may_connect(self, now: float) -> bool:
        if self.failure is None:
            return self.logins + self.dedicated_logins < MAX_LOGINS
        since = self.last_connect_at
        if any(quota.is_full() or quota.is_contended_by_others(self) for quota in self.quotas):
            # A server that keeps silent has held a place till now: others have it in between.
            since = self.failed_at
        return not self.is_connecting() and now - since >= self.limits.server_login_retry

    def is_connecting(self) -> bool:
        """Whether a connect is under way."""
        return self.logins > 0 or self.dedicated_logins > 0

    def is_contended(self) -> bool:
        """Whether servers that become free may have to go, for other pools or for a client that
        wants one of its own.
        """
        return self.lists.dedicated_count() > 0 or any(
            quota.is_contended_by_others(self) or quota.has_too_many() for quota in self.quotas
        )

    def on_connect(self, now: float, client: Any = None) -> None:
        """A connect begins; with `client`, here and below, it is for that one alone."""
        if client is None:
            self.logins += 1
        else:
            self.dedicated_logins += 1
            self.lists.set_connecting(client, True)
        self.last_connect_at = now
        for quota in self.quotas:
            quota.take(self)

    def on_connected(self, client: Any = None) -> None:
        """A connect has become a logged-in server."""
        self._connect_ended(client)
        self.failure = None

    def on_connect_failed(self, failure: Failure, now: float, client: Any = None) -> None:
        """A connect has failed; the next waits for server_login_retry."""
        self.on_connect_given_up(client)
        self.failure = failure
        self.failed_at = now

    def on_connect_given_up(self, client: Any = None) -> None:
        """A connect was ended by us, or for a reason of the client's own, which says nothing about
        the server.
        """
        self._connect_ended(client)
        self.on_server_gone()

    def _connect_ended(self, client: Any) -> None:
        if client is None:
            self.logins -= 1
        else:
            self.dedicated_logins -= 1
            self.lists.set_connecting(client, False)

    def on_server_gone(self) -> None:
        """A server has left the pool."""
        for quota in self.quotas:
            quota.give_back(self)

    def is_used(self) -> bool:
        """Whether it has a client or a server."""
        return self.lists.client_count() > 0 or self.server_count() > 0

    def is_down(self) -> bool:
        """The last connect failed and there is no server: a client that waits would wait for
        nothing.
        """
        return self.failure is not None and self.lists.total_servers() == 0

    # ---- lifetime

    def is_life_over(self, age: float, now: float) -> bool:
        """Whether a server of that age is to go; pool_size of them go spread over one lifetime, not
        all at once.
        """
        lifetime = self.limits.server_lifetime
        if age < lifetime:
            return False
        gap = lifetime / self.limits.pool_size if self.limits.pool_size > 0 else 0.0
        return now - self.last_lifetime_close_at >= gap

    def connected_count(self) -> int:
        """Servers that have logged in."""
        return self.lists.total_servers() - self.lists.server_count(SV_LOGIN)

    def surplus_count(self) -> int:
        """Servers beyond pool_size and the reserve, after an operator has lowered them."""
        most = self.most_servers()
        return max(0, self.connected_count() - most) if most else 0

    def busy_count(self) -> int:
        """Servers that a PAUSE has to wait for."""
        return self.lists.server_count(SV_ACTIVE) + self.lists.server_count(SV_TESTED)
