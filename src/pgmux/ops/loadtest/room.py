"""Whether a load can be run from here, and whether it may without being asked about.

Errors: `NoRoom`, before anything has begun.
"""

from __future__ import annotations

import resource
import sys
from collections.abc import Sequence
from dataclasses import dataclass

from pgmux.errors import PgmuxError
from pgmux.ops.files import read_text
from pgmux.ops.loadtest.plan import Load
from pgmux.ops.loadtest.target import Target

OTHER_FILES = 64  # descriptors besides the connections'
ASK_CONNECTIONS = 100  # elsewhere than on this machine more need a yes
ASK_QUERIES = 20_000
_PORTS = "/proc/sys/net/ipv4/ip_local_port_range"
_ALL_PORTS = 28_000  # about: where the system doesn't tell


class NoRoom(PgmuxError):
    """This machine hasn't what the load needs; the text says what and how to get it."""


@dataclass(frozen=True, slots=True)
class Room:
    """What this machine has: descriptors (soft and hard limit), ports for connections."""

    soft: int
    hard: int
    ports: int


def this_machine() -> Room:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = sys.maxsize if hard == resource.RLIM_INFINITY else hard
    try:
        first, last = map(int, read_text(_PORTS).split())
    except (OSError, ValueError):
        return Room(soft, most, _ALL_PORTS)
    return Room(soft, most, last - first + 1)


def descriptors_for(connections: int, room: Room, *, by_tcp: bool) -> int:
    """The soft limit that is needed. Raises: NoRoom."""
    if by_tcp and connections > room.ports:
        raise NoRoom(
            f"{connections:,} connections to one address need as many local ports, and there are"
            f" {room.ports:,}: net.ipv4.ip_local_port_range, or fewer workers"
        )
    needed = connections + OTHER_FILES
    if needed > room.hard:
        raise NoRoom(
            f"{connections:,} connections need {needed:,} file descriptors, and this process may"
            f" have {room.hard:,}: ulimit -Hn, or fewer workers"
        )
    return max(room.soft, needed)


def allow_descriptors(connections: int, targets: Sequence[Target]) -> None:
    """Takes as many as are needed. Raises: NoRoom."""
    room = this_machine()
    by_tcp = any(not target.host.startswith("/") for target in targets)
    wanted = descriptors_for(connections, room, by_tcp=by_tcp)
    if wanted > room.soft:
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def doubts(load: Load, connections: int, targets: Sequence[Target]) -> list[str]:
    """Why somebody should have agreed to it; empty where nobody else can suffer much."""
    found = []
    for target in targets:
        if not target.is_local and (connections > ASK_CONNECTIONS or load.total > ASK_QUERIES):
            found.append(
                f"{target.place} is another machine: {connections:,} connections and"
                f" {load.total:,} queries (without a question: up to {ASK_CONNECTIONS} and"
                f" {ASK_QUERIES:,})"
            )
        if target.free_places is not None and connections > target.free_places:
            found.append(
                f"{connections:,} connections, but PostgreSQL at {target.host}:{target.port} has"
                f" {max(target.free_places, 0):,} left of max_connections: it will refuse the rest,"
                " and other applications, until the test ends"
            )
    return found
