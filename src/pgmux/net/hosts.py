"""Which host of a list, and which address of a name, a connect begins with.

They are taken in turn, or kept till one fails (`load_balance_hosts`). Whatever has failed within
the last server_login_retry stands at the end: a dead host costs its delay once in that time, not
once a connect.

Source: PgBouncer's load_balance_hosts; that what has failed comes last is ours. Errors: none.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import TypeVar

from pgmux.config.model import Database, LoadBalanceHosts
from pgmux.net.sockets import Address, numeric_addresses

T = TypeVar("T")


class Hosts:
    """Keeps the turns and the failures of the process."""

    __slots__ = ("_clock", "_failed_until", "_turns")

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._turns: dict[Hashable, int] = {}
        self._failed_until: dict[tuple[Hashable, int], float] = {}  # of host and port

    def hosts(self, database: Database) -> list[str | None]:
        """All hosts of an entry, in the order to try them; None is unix_socket_dir."""
        hosts: Sequence[str | None] = database.hosts or (None,)
        if len(hosts) < 2:
            return list(hosts)
        first = self._turns.get(hosts, 0)
        if database.load_balance_hosts is LoadBalanceHosts.ROUND_ROBIN:
            self._turns[hosts] = first + 1
        return self._failed_last(_from(hosts, first), database.port, str)

    def addresses(self, host: str, addresses: Sequence[Address]) -> list[Address]:
        """All addresses of a name, in the order to try them.

        Of several families the resolver's first goes first, and only those of one family take
        turns: RFC 6724 has its reasons, an IPv6 that leads nowhere for one.
        """
        if len(addresses) < 2:
            return list(addresses)
        first = self._turns.get(host, 0)
        self._turns[host] = first + 1
        families = dict.fromkeys(address.family for address in addresses)
        turned = [
            address
            for family in families
            for address in _from([each for each in addresses if each.family == family], first)
        ]
        return self._failed_last(turned, turned[0].port, lambda address: address.host)

    def on_failed(
        self, database: Database, host: str | None, address: Address | None, retry: float
    ) -> bool:
        """An address, or (without one) all of a host, doesn't let us in; it comes last for `retry`
        seconds. Returns whether that is news.
        """
        is_news = self._mark(host if address is None else address.host, database.port, retry)
        hosts = database.hosts
        if address is None and database.load_balance_hosts is LoadBalanceHosts.DISABLE and hosts:
            first = self._turns.get(hosts, 0)
            if hosts[first % len(hosts)] == host:
                self._turns[hosts] = first + 1
        return is_news

    def on_late(
        self, database: Database, host: str | None, address: Address | None, retry: float
    ) -> bool:
        """It has kept silent so far: others better begin with another. Returns whether that is
        news.
        """
        return self._mark(host if address is None else address.host, database.port, retry)

    def on_connected(self, database: Database, host: str | None, address: Address | None) -> None:
        """It lets us in again."""
        for each in (host, address and address.host):
            self._failed_until.pop((each, database.port), None)

    def _mark(self, place: Hashable, port: int, retry: float) -> bool:
        now = self._clock()
        for old in [key for key, until in self._failed_until.items() if until <= now]:
            del self._failed_until[old]  # addresses come and go
        is_news = (place, port) not in self._failed_until
        self._failed_until[place, port] = now + retry
        return is_news

    def _failed_last(self, places: list[T], port: int, name: Callable[[T], Hashable]) -> list[T]:
        now = self._clock()
        failed = [each for each in places if self._failed_until.get((name(each), port), now) > now]
        return [each for each in places if each not in failed] + failed


def is_name(host: str) -> bool:
    """Whether it has to be looked up; else it is an address, or a Unix socket's directory."""
    if host[0] in "/@":
        return False
    try:
        numeric_addresses(host, 0)
    except (OSError, UnicodeError):
        return True
    return False


def _from(items: Sequence[T], first: int) -> list[T]:
    first %= len(items)
    return [*items[first:], *items[:first]]
