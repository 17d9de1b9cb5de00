"""Cancel keys: what a client is told at login, and whom a CancelRequest means.

BackendKeyData (Int32 process id, Byte n key) is random for each client: it names the client, not a
server's process, as the client's server changes. Protocol 3.0 has 4 key bytes; 3.2 allows more, and
clients that ask for 3.2 get 32.
Source: PostgreSQL protocol, "Canceling Requests in Progress".
"""

from __future__ import annotations

import hmac
from typing import Generic, TypeVar

T = TypeVar("T")

KEY_LEN = 4
LONG_KEY_LEN = 32


class CancelKeys(Generic[T]):
    """The cancel keys of all logged-in clients."""

    def __init__(self) -> None:
        self._by_pid: dict[int, tuple[bytes, T]] = {}

    def add(self, random: bytes, client: T) -> tuple[int, bytes] | None:
        """Give `client` the key made of `random` (4 bytes and the key); None where its process id
        is taken: draw again.
        """
        pid = int.from_bytes(random[:4], "big") & 0x7FFFFFFF
        if pid in self._by_pid or pid == 0:
            return None
        self._by_pid[pid] = (random[4:], client)
        return pid, random[4:]

    def remove(self, pid: int) -> None:
        """Forget a client that has gone."""
        self._by_pid.pop(pid, None)

    def find(self, pid: int, key: bytes) -> T | None:
        """Whom a CancelRequest means, or None; the key is compared in constant time."""
        entry = self._by_pid.get(pid)
        if entry is None or not hmac.compare_digest(entry[0], key):
            return None
        return entry[1]

    def __len__(self) -> int:
        return len(self._by_pid)
