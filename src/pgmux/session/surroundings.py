"""What a pool's control asks of the pooler around it: connects, and to be told of ends, which
concern more than its own pool. Errors: none.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from pgmux.config import Config
from pgmux.session.log import Log, Name
from pgmux.session.tally import Tallies

if TYPE_CHECKING:
    from pgmux.session._relay_cy import ClientRelay, ServerRelay
    from pgmux.session.apps import Apps
    from pgmux.session.control import PoolControl


class Surroundings(Protocol):
    """See the module; `session.pooler.Pooler` is one."""

    @property
    def config(self) -> Config:
        """The configuration in force."""

    @property
    def log(self) -> Log: ...
    @property
    def tallies(self) -> Tallies: ...

    @property
    def apps(self) -> Apps:
        """The applications of all pools."""

    def clock(self) -> float:
        """Seconds of the process's one monotonic clock."""

    def launch(self, control: PoolControl) -> None:
        """Get servers for the pool's queue."""

    def welcome_linked(self, client: ClientRelay, server: ServerRelay) -> None:
        """The client, linked at login, can be welcomed."""

    def on_database_ddl(self, control: PoolControl, statement: str) -> None:
        """A client of this pool is about to send this, which may need a database for itself."""

    def on_end(self, name: Name, reason: str, connect_time: float) -> None:
        """A connection ends: it is counted, and the log has "closing because"."""

    def on_client_gone(self, client: ClientRelay) -> None:
        """The client has left its pool."""

    def on_server_gone(self, control: PoolControl) -> None:
        """A server has left this pool."""

    def on_server_idle(self, control: PoolControl) -> None:
        """A server of this pool idles while other pools lack one."""
