"""What each PostgreSQL behind a pooler has room for: asked itself, or as the console tells it.

Errors: `ServerError`.
"""

from __future__ import annotations

from collections.abc import Collection

from pgmux.monitor.sample import Sample
from pgmux.ops.activity import read_activity
from pgmux.ops.server_connection import ServerConnection, ServerError
from pgmux.ops.sizing.plan import Place, places
from pgmux.ops.sizing.room import Room

_LOCAL = frozenset(("", "localhost", "127.0.0.1", "::1"))


class RoomReader:
    """Asks one PostgreSQL, at both ends of the time: others are the most that there were then."""

    def __init__(self, server: ServerConnection, keep_free: int) -> None:
        self._server = server
        self._keep_free = keep_free
        self.room: Room | None = None

    def ask(self, pids: Collection[int]) -> None:
        """With the process ids of the pooler's servers; the first time raises: ServerError."""
        try:
            activity = read_activity(self._server, pids)
        except ServerError:
            if self.room is None:
                raise
            return  # it was long ago, but better than nothing after all that observing
        others = activity.connections - activity.pooler_connections
        if self.room is not None:
            others = max(others, self.room.others or 0)
        self.room = Room(activity.max_connections, activity.reserved, others, self._keep_free)

    def place(self, sample: Sample) -> Place | None:
        """Which of the pooler's PostgreSQLs it is, None where that can't be told."""
        known = places(sample)
        host, _, port = self._server.place.rpartition(":")
        at_port = [place for place in known if str(place[1]) == port]
        same = [place for place in at_port if _same_host(host, place[0])]
        for candidates in (known, same, at_port):
            if len(candidates) == 1:
                return next(iter(candidates))
        return None


def rooms_told(sample: Sample, keep_free: int) -> dict[Place, Room]:
    """From SHOW HOSTS, which knows nobody but the pooler's own servers.

    It has addresses where databases have names: what is alone with its port is the same.
    """
    found = {}
    for place in places(sample):
        at_port = [row for row in sample.hosts if row.port == place[1]]
        same = [row for row in at_port if _same_host(row.host, place[0])]
        is_alone = len([other for other in places(sample) if other[1] == place[1]]) == 1
        rows = same or (at_port if is_alone and len(at_port) == 1 else [])
        for row in rows:
            if row.max_connections:
                reserved = row.reserved_connections or 0
                found[place] = Room(row.max_connections, reserved, None, keep_free)
    return found


def _same_host(one: str, other: str) -> bool:
    is_local = all(host in _LOCAL or host.startswith("/") for host in (one, other))
    return one == other or is_local
