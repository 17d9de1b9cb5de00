"""What several pools share: the servers and clients that one database, or one user, may have over
all its pools, and whose turn it is where there is no place for all.

A pool has two quotas, its database's and its user's; a connect takes a place of both and keeps it
till its server has gone. A pool that finds no place contends for one: places go to whose client has
waited longest, and servers that become free give theirs up for it, see `yields_place`.
Counts are kept, not recounted: there may be thousands of pools. Decides, and does nothing; `now` is
an argument.
Source: PgBouncer's launch_new_connection and evict_connection in outline; whose turn it is, is ours
(docs/decisions/0010).
"""

from __future__ import annotations

from heapq import heappop, heappush
from itertools import count
from math import inf
from typing import TYPE_CHECKING, Any

from pgmux.errors import PoolerError
from pgmux.pool.states import SV_ACTIVE, SV_IDLE, SV_TESTED, SV_USED

if TYPE_CHECKING:
    from pgmux.pool.pool import Pool

# How much longer another pool's client has to have waited than our own before a server that our own
# clients use goes for it. It bounds how often two busy pools take places from each other.
PATIENCE = 0.1
# A server that has answered within that time is in use, though nobody waits for it: its client is
# about to ask again. Shorter than a connect takes, so that who waits loses little.
QUIET = 0.005
# How long a server works for the pool that has connected it, as long as that one uses it: else a
# place that many busy pools share would be spent on connects.
TURN = 0.05
LOOK_AGAIN = 1.2 * QUIET  # when it is quiet by any clock


class Contenders:
    """Pools that lack a place, the one whose client has waited longest first.

    Entries are checked when they come up, not when clients come and go: a pool whose clients have
    left drops out by itself.
    """

    __slots__ = ("_heap", "_numbers", "_since")

    def __init__(self) -> None:
        self._since: dict[Pool, float] = {}
        self._heap: list[tuple[float, int, Pool]] = []
        self._numbers = count()

    def __len__(self) -> int:
        return len(self._since)

    def __contains__(self, pool: Pool) -> bool:
        return pool in self._since

    def add(self, pool: Pool, since: float) -> None:
        """The pool lacks a place, for a client that waits since then."""
        if self._since.get(pool) != since:
            self._since[pool] = since
            heappush(self._heap, (since, next(self._numbers), pool))

    def discard(self, pool: Pool) -> None:
        """The pool needs none any more, or lacks one elsewhere."""
        self._since.pop(pool, None)
        if not self._since:
            self._heap.clear()  # nothing is kept alive by what was in it

    def first(self, now: float) -> Pool | None:
        """Whose turn it is; None: nobody wants a place any more."""
        while self._heap:
            since, _, pool = self._heap[0]
            is_current = self._since.get(pool) == since
            actual = pool.wants_since(now) if is_current else None
            if is_current and actual == since:
                return pool
            heappop(self._heap)
            if is_current:
                del self._since[pool]
            if actual is not None:
                self.add(pool, actual)
        return None


class Quota:
    """The servers and clients of one database, or of one user, over all its pools. 0 is no limit.

    `holders` are the pools that have servers, connects under way included, and how many.
    """

    __slots__ = (
        "__weakref__",
        "client_count",
        "contenders",
        "holders",
        "is_settling",
        "is_watched",
        "max_clients",
        "max_servers",
        "server_count",
    )

    def __init__(self, max_servers: int = 0, max_clients: int = 0) -> None:
        self.max_servers = max_servers
        self.max_clients = max_clients
        self.server_count = 0
        self.client_count = 0
        self.holders: dict[Pool, int] = {}
        self.contenders = Contenders()
        self.is_settling = False  # its places are being given out: not again within that
        self.is_watched = False  # it will be looked at again, soon

    def is_full(self) -> bool:
        """No place for another server."""
        return 0 < self.max_servers <= self.server_count

    def is_full_of_clients(self) -> bool:
        """No place for another client."""
        return 0 < self.max_clients <= self.client_count

    def has_too_many(self) -> bool:
        """The limit was lowered below what was there."""
        return 0 < self.max_servers < self.server_count

    def take(self, pool: Pool) -> None:
        """A connect of the pool begins."""
        self.server_count += 1
        self.holders[pool] = self.holders.get(pool, 0) + 1

    def give_back(self, pool: Pool) -> None:
        """A server of the pool has gone, or a connect has come to nothing."""
        self.server_count -= 1
        left = self.holders[pool] - 1
        if left:
            self.holders[pool] = left
        else:
            del self.holders[pool]

    def contend(self, pool: Pool, since: float) -> None:
        """The pool lacks a place: from now on it is considered when a server of another pool of the
        quota is released.
        """
        if pool not in self.contenders and len(self.contenders) < 2:
            for holder in self.holders:
                if holder is not pool:
                    for state in (SV_ACTIVE, SV_IDLE):
                        for server in holder.lists.servers(state):
                            server.special = True
        self.contenders.add(pool, since)

    def is_contended_by_others(self, pool: Pool) -> bool:
        """Whether another pool than this lacks a place."""
        return len(self.contenders) > (pool in self.contenders)

    def find_unused_server(self, now: float) -> Any:
        """The server that has been unused for longest, or None; one that has to be checked or is
        being tested only where nobody waits for it.
        """
        found: Any = None
        for pool in self.holders:
            for state in (SV_IDLE, SV_USED, SV_TESTED):
                if state == SV_IDLE or not pool.lists.waiting_count():
                    server = pool.lists.oldest_server(state)
                    if server and (found is None or server.request_time < found.request_time):
                        found = server
        return found if found is not None and is_quiet(found, now) else None

    def is_worth_a_look(self, now: float) -> bool:
        """Whether somebody lacks a place while a server idles that is not quiet yet."""
        return bool(self.contenders) and any(
            not is_quiet(server, now)
            for pool in self.holders
            for server in pool.lists.servers(SV_IDLE)
        )


def is_quiet(server: Any, now: float) -> bool:
    """Whether a server that nobody has is not in use, either."""
    return bool(now - server.request_time >= QUIET)


def full_quotas(pool: Pool) -> list[Quota]:
    """Those of the pool's quotas that have no place for another server of it."""
    return [quota for quota in pool.quotas if quota.is_full()]


def check_client(database: Quota, user: Quota) -> None:
    """Raises: PoolerError where one client more would be one too many."""
    if database.is_full_of_clients():
        raise PoolerError("client connections exceeded (max_db_client_connections)")
    if user.is_full_of_clients():
        raise PoolerError("client connections exceeded (max_user_client_connections)")


def yields_place(pool: Pool, server: Any, now: float) -> bool:
    """Whether a server of the pool that has just become free is to go, so that a pool that contends
    for its place may connect: if it isn't in use, or has worked for its turn and our own clients
    have waited clearly less. Or so that a client of this pool can have a server of its own.
    """
    if pool.yields_to_dedicated():
        return True
    own = pool.lists.waiting_client(0)
    for quota in pool.quotas:
        if quota.has_too_many():
            return True
        rival = next_contender(quota, now)
        if rival is None or rival is pool:
            continue
        if own is None and is_quiet(server, now):
            return True
        since = rival.wants_since(now)
        own_since = now if own is None else own.wait_start
        # One at a time: what a first server does for the rival's clients is seen before the next.
        is_next = since is not None and since + PATIENCE < own_since and not rival.is_connecting()
        if is_next and now - server.connect_time >= TURN:
            return True
    return False


def next_contender(quota: Quota, now: float) -> Pool | None:
    """Whom one place of the quota would let connect, the longest-waiting first; who lacks a place
    of its other quota, too, is passed over.
    """
    passed = []
    while (pool := quota.contenders.first(now)) is not None:
        elsewhere = (full for full in full_quotas(pool) if full is not quota)
        if all(full.find_unused_server(now) for full in elsewhere):
            break
        passed.append((pool, pool.wants_since(now)))
        quota.contenders.discard(pool)
    for other, since in passed:
        assert since is not None
        quota.contenders.add(other, since)
    return pool


def longest_wait(quota: Quota, now: float) -> float:
    """Since when the client waits that the quota's next place is for; inf where there is none."""
    pool = next_contender(quota, now)
    since = None if pool is None else pool.wants_since(now)
    return inf if since is None else since
