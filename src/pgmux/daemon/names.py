"""Host names at run time: which are in use, and what happens to servers whose address is gone.

A name is looked up again while a pool has servers of it, though nobody connects: so servers of an
address that its answers no longer have are closed, idle ones at once, others when released.

Source: PgBouncer's tag_host_addr_dirty in outline.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection, Iterator

from pgmux.config import Database, Settings
from pgmux.net.dns import look_up, look_up_serial
from pgmux.net.hosts import is_name
from pgmux.net.resolver import Answer, Outside, Resolver
from pgmux.session import operator
from pgmux.session._relay_cy import ServerRelay
from pgmux.session.control import PoolControl
from pgmux.session.log import Log
from pgmux.session.pooler import Pooler

REASON_GONE = "obsolete connection"


class Names:
    """See the module. `resolver` is the process's; `pooler` is asked for when it is there."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, log: Log, pooler: Callable[[], Pooler]
    ) -> None:
        self._loop = loop
        self._log = log
        self._pooler = pooler
        outside = Outside(time.monotonic, self._settings, self._look_up, self._look_up_serial)
        self.resolver = Resolver(outside, log, self.on_gone)

    def maintain(self) -> None:
        """Have the names looked up again that are due; called thrice a second."""
        used = (c for c in self._pooler().pools.values() if c.pool.server_count() > 0)
        hosts = {host for control in used for host in self._database(control).hosts}
        self.resolver.refresh(host for host in hosts if is_name(host))

    def on_reload(self) -> None:
        """Forget what the configuration no longer names."""
        pooler = self._pooler()
        autodb = pooler.config.autodb
        databases = [*pooler.config.databases.values(), *([autodb] if autodb else [])]
        databases += [state.config for state in pooler.databases.values()]
        hosts = {host for database in databases for host in database.hosts}
        peers = pooler.config.peers.values()
        self.resolver.keep(hosts | {host for peer in peers for host in peer.hosts})

    def on_gone(self, name: str, addresses: Collection[str]) -> None:
        """Close the servers of these addresses, which the name no longer has."""
        closing: list[str] = []
        for control, server in list(self._servers_of(name)):
            host = server.owner.addresses.peer.host
            if host in addresses and not self._has(self._database(control), host):
                if not server.close_needed:
                    closing.append(host)
                operator.retire(control, server, REASON_GONE)
        for host in sorted(set(closing)):
            count = closing.count(host)
            self._log.log(f"{name} no longer has the address {host}: closing its servers ({count})")

    def _servers_of(self, name: str) -> Iterator[tuple[PoolControl, ServerRelay]]:
        for control in self._pooler().pools.values():
            if name in self._database(control).hosts:
                for server in control.pool.lists.all_servers():
                    yield control, server

    def _has(self, database: Database, address: str) -> bool:
        """Whether a host of the entry is, or has, that address."""
        return any(
            address == host or any(address == each.host for each in self.resolver.known(host))
            for host in database.hosts
        )

    def _database(self, control: PoolControl) -> Database:
        return self._pooler().databases[control.pool.key.database].config

    def _settings(self) -> Settings:
        return self._pooler().config.settings

    async def _look_up(self, name: str, settings: Settings) -> Answer:
        timeout = settings.server_connect_timeout
        return await look_up(self._loop, name, settings.resolv_conf, timeout)

    async def _look_up_serial(self, zone: str, settings: Settings) -> int | None:
        timeout = settings.server_connect_timeout
        return await look_up_serial(self._loop, zone, settings.resolv_conf, timeout)
