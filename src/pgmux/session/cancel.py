"""Cancel keys: what a client is told at login, and whom a CancelRequest means.

BackendKeyData (Int32 process id, Byte n key) is random for each client: it names the client, not a
server's process, as the client's server changes. Where it doesn't (session mode, linked at login)
the process id is the server's own, and the key as random as ever. Protocol 3.0 has 4 key bytes; 3.2
allows more, and clients that ask for 3.2 get 32.

Among peers (setting peer_id) it also says whose client that is, in PgBouncer's own format since
1.21, so that both can be peers of each other: of the 8 bytes of process id and key, bytes 1 and 2
are the peer's id, the lower first, and the 2 lowest bits of byte 7 are how many times a request may
be passed on, 3 at first. A PgBouncer takes 8 bytes and no more, so nobody gets 32 there.
Source: PostgreSQL protocol, "Canceling Requests in Progress"; PgBouncer's proto.c.
"""

from __future__ import annotations

import hmac
from typing import Generic, TypeVar

T = TypeVar("T")

KEY_LEN = 4
LONG_KEY_LEN = 32

_MAX_PID = 0x7FFFFFFF  # process ids are positive
_TTL = 0b11
_TTL_AT = 3  # in the key, whose first byte is byte 4


def build_key(random: bytes, peer_id: int = 0) -> tuple[int, bytes]:
    """Process id and key made of `random`: 4 bytes and the key's. `peer_id` 0 is no peering."""
    if peer_id:
        whole = bytearray(random)
        whole[1:3] = peer_id.to_bytes(2, "little")
        whole[4 + _TTL_AT] |= _TTL
        random = bytes(whole)
    return int.from_bytes(random[:4], "big") & _MAX_PID, random[4:]


def find_peer_id(pid: int) -> int:
    """Whose client a key with that process id means, among peers."""
    return int.from_bytes(pid.to_bytes(4, "big")[1:3], "little")


def spend_ttl(key: bytes) -> bytes | None:
    """The key to pass on with a request that came with `key`; None where that was once too many."""
    if not key[_TTL_AT] & _TTL:
        return None
    return key[:_TTL_AT] + bytes([key[_TTL_AT] - 1]) + key[_TTL_AT + 1 :]


def _as_given(key: bytes) -> bytes:
    """The key as its client was told it, however often the request has been passed on."""
    return key[:_TTL_AT] + bytes([key[_TTL_AT] | _TTL]) + key[_TTL_AT + 1 :]


class CancelKeys(Generic[T]):
    """The cancel keys of all clients of a kind.

    Clients may share a process id: among peers there are only 32768 of them, and servers on two
    hosts may have the same.
    """

    def __init__(self) -> None:
        self.by_pid: dict[int, tuple[tuple[bytes, T], ...]] = {}  # key and client

    def add(self, pid: int, key: bytes, client: T) -> bool:
        """Give `client` that key; False where it is taken: draw again."""
        others = self.by_pid.get(pid, ())
        if pid == 0 or (others and self.find(pid, key) is not None):
            return False
        self.by_pid[pid] = (*others, (key, client))
        return True

    def remove(self, pid: int, key: bytes) -> None:
        """Forget a client that has gone."""
        entries = self.by_pid.pop(pid, ())
        if len(entries) > 1 or (entries and entries[0][0] != key):
            self.by_pid[pid] = tuple(entry for entry in entries if entry[0] != key)

    def find(self, pid: int, key: bytes, *, passed_on: bool = False) -> T | None:
        """Whom a CancelRequest means, or None; keys are compared in constant time.

        `passed_on` is a request that peers may have passed on. A key that was given out before
        there were peers is found as well.
        """
        meant = [key, _as_given(key)] if passed_on else [key]
        for own, client in self.by_pid.get(pid, ()):
            if any(hmac.compare_digest(own, each) for each in meant):
                return client
        return None

    def __len__(self) -> int:
        return sum(map(len, self.by_pid.values()))
