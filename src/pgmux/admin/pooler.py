"""What the console needs of the pooler, as protocols; the daemon is what implements them.

`Snapshot` says of rows only that they have the attributes which `show` reads: those of the classes
in metrics/snapshot.py, which this layer doesn't import.
Methods that take `database: str | None` act on all databases but the console's own for None.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from enum import Enum
from typing import Any, Protocol

from pgmux.config.model import Config


class ShutdownMode(Enum):
    """What to wait for before the process ends; the value is what follows SHUTDOWN."""

    IMMEDIATE = ""
    WAIT_FOR_SERVERS = "wait_for_servers"
    WAIT_FOR_CLIENTS = "wait_for_clients"


class Snapshot(Protocol):
    """Rows for SHOW; see metrics/snapshot.py."""

    def databases(self) -> Iterable[object]: ...
    def pools(self) -> Iterable[object]: ...
    def clients(self) -> Iterable[object]: ...
    def servers(self) -> Iterable[object]: ...
    def sockets(self) -> Iterable[Any]: ...
    def users(self) -> Iterable[object]: ...
    def stats(self) -> Iterable[object]: ...
    def averages(self) -> Iterable[object]: ...
    def apps(self) -> Iterable[object]: ...
    def histograms(self) -> Iterable[object]: ...
    def overall(self) -> tuple[object, object]: ...
    def errors(self) -> Iterable[object]: ...
    def connects(self) -> Iterable[object]: ...
    def waiters(self) -> Iterable[object]: ...
    def lists(self) -> object: ...
    def peers(self) -> Sequence[object]: ...
    def peer_pools(self) -> Sequence[object]: ...
    def mem(self) -> Sequence[object]: ...
    def dns_hosts(self) -> Sequence[object]: ...
    def dns_zones(self) -> Sequence[object]: ...
    def web(self) -> Sequence[object]: ...
    def readiness(self) -> Iterable[object]: ...
    def hosts(self) -> Iterable[object]: ...


class AdminPooler(Protocol):
    """The running pooler. Nothing blocks; PoolerError may be raised where it is said."""

    @property
    def config(self) -> Config:
        """The configuration in force."""

    @property
    def version_lines(self) -> Sequence[str]:
        """`PgBouncer 1.25.2`, then pgmux's own name, version and form."""

    @property
    def server_version(self) -> str:
        """What a client is told as its parameter of that name: `1.25.2/bouncer`."""

    @property
    def snapshot(self) -> Snapshot:
        """What SHOW tells."""

    @property
    def is_paused(self) -> bool:
        """PAUSE without a database, or SHUTDOWN WAIT_FOR_SERVERS, is in force or under way."""

    @property
    def is_shutting_down(self) -> bool:
        """SHUTDOWN was asked for, here or by a signal."""

    def has_database(self, name: str) -> bool:
        """Whether SHOW DATABASES has that row (the console's own is one)."""

    def register_database(self, name: str) -> bool:
        """The same, once `*`, if there is one, has given that name an entry."""

    def is_database_paused(self, name: str) -> bool:
        """PAUSE, or KILL, of this database is in force or under way."""

    def log(self, text: str) -> None:
        """A line of level LOG."""

    def reload(self) -> None:
        """Reads the files again. Raises: ConfigError, then nothing has changed."""

    def set(self, name: str, text: str) -> str:
        """Changes one setting until the next start; a NOTICE's text, or "".

        Raises: PoolerError, fatal=False.
        """

    def pause(self, database: str | None) -> bool:
        """Closes servers as they become free; True when none was left, so nothing to wait for."""

    def resume(self, database: str | None) -> None:
        """Ends a pause, done or under way."""

    def reconnect(self, database: str | None) -> None:
        """Servers are closed when they are released."""

    def wait_close(self, database: str | None) -> bool:
        """True when no server is left that RECONNECT or RELOAD marked, so nothing to wait for."""

    def kill(self, database: str | None) -> None:
        """Closes all clients and servers ("database removed") and leaves the databases paused."""

    def kill_client(self, client_id: int) -> bool:
        """Closes the client of that `id` ("admin forced disconnect"); False if there is none."""

    def set_disabled(self, database: str, disabled: bool) -> None:
        """Whether new clients of the database are refused."""

    def shutdown(self, mode: ShutdownMode) -> None:
        """Begins to end the process; listeners close at once."""
