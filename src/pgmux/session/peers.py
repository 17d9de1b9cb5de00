"""Other poolers of the group: a cancel request for a client of theirs is passed on to them.

A load balancer, or the kernel with so_reuseport, gives a request to any pooler of the group; whose
client is meant is in the key (`session/cancel.py`). Each request goes on a connection of its own,
at most pool_size of them a peer; more wait, for cancel_wait_timeout. A request is one connection
in and one out, however hostile its key, and three times passed on is the end of it: so neither a
loop of peers nor an entry that points at ourselves makes more of it.

Source: PgBouncer's objects.c and janitor.c; its reasons. That a request fails where its peer can't
be reached, instead of waiting, is ours. Errors: none; `on_done` is told why.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from pgmux.config import Config, Peer
from pgmux.session.cancel import find_peer_id, spend_ttl
from pgmux.session.log import Log

REASON_NO_PEER = "could not find peer to forward request to"
REASON_TTL = "failed to forward cancel request because its TTL was exhausted"
REASON_FAILED = "failed to forward cancel request"
REASON_SENT = "successfully sent cancel request"
_REASON_FULL = "too many cancel requests for this peer"
_REASON_REMOVED = "peer removed"

# Requests that wait for a place at one peer, and places where pool_size is no limit. A client may
# send one and leave, so nothing else bounds them.
MAX_WAITING = 1000

OnDone = Callable[[str], None]


class Attempt(Protocol):
    """A connection to a peer."""

    def cancel(self, reason: str) -> None:
        """Close it; nobody is called back."""


@dataclass(slots=True, eq=False)
class Forward:
    """A cancel request for a peer, from its coming to its end. `pid` and `key` are what is sent."""

    id: int  # of the connection to the peer
    peer: Peer
    pid: int
    key: bytes
    came_at: float
    on_done: OnDone
    attempt: Attempt | None = None
    connects_since: float = 0.0
    is_sent: bool = False


class Surroundings(Protocol):
    """What this asks of the pooler (`session.pooler.Pooler`)."""

    @property
    def config(self) -> Config: ...
    @property
    def log(self) -> Log: ...
    @property
    def ids(self) -> Iterator[int]: ...
    def clock(self) -> float: ...
    def connect_to_peer(self, forward: Forward, on_done: OnDone) -> Attempt:
        """Send it; `on_done("")` once the peer has dealt with it, else with why it hasn't."""


class PeerPool:
    """The requests for one peer: those that have a connection, and those that wait for one."""

    def __init__(self) -> None:
        self.running: dict[Forward, None] = {}
        self.waiting: deque[Forward] = deque()

    def sent_count(self) -> int:
        """Requests that the peer has, and deals with."""
        return sum(forward.is_sent for forward in self.running)


class Peers:
    """The pools of all peers, made at their first use."""

    def __init__(self, pooler: Surroundings) -> None:
        self._pooler = pooler
        self._known = set(pooler.config.peers)
        self.pools: dict[int, PeerPool] = {}

    def has_client(self, pid: int) -> bool:
        """Whether a key with that process id is another pooler's."""
        own = self._pooler.config.peer_id
        return own != 0 and find_peer_id(pid) != own

    def forward(self, pid: int, key: bytes, on_done: OnDone) -> Forward | None:
        """Pass a cancel request on; None where `on_done` has been told already why not."""
        left = spend_ttl(key)
        if left is None:
            on_done(REASON_TTL)
            return None
        peer = self._pooler.config.peers.get(find_peer_id(pid))
        if peer is None:
            on_done(REASON_NO_PEER)
            return None
        pool = self.pools.setdefault(peer.id, PeerPool())
        if len(pool.waiting) >= MAX_WAITING:
            on_done(_REASON_FULL)
            return None
        number = next(self._pooler.ids)
        forward = Forward(number, peer, pid, left, self._pooler.clock(), on_done)
        pool.waiting.append(forward)
        self._launch(pool)
        return forward

    def end_slow(self, now: float) -> None:
        """cancel_wait_timeout and server_connect_timeout."""
        settings = self._pooler.config.settings
        for pool in self.pools.values():
            for forward in [*pool.running, *pool.waiting]:
                is_connecting = forward.attempt is not None and not forward.is_sent
                if 0 < settings.cancel_wait_timeout < now - forward.came_at:
                    self._end(pool, forward, "cancel_wait_timeout")
                elif is_connecting and (
                    0 < settings.server_connect_timeout < now - forward.connects_since
                ):
                    self._end(pool, forward, "connect timeout")
            self._launch(pool)

    def use_config(self) -> None:
        """Go by the configuration in force: what is for a peer that it lacks ends."""
        peers = self._pooler.config.peers
        for peer_id in sorted(self._known - peers.keys()):
            self._pooler.log.warning(f"dropping peer {peer_id} as it does not exist anymore")
            pool = self.pools.pop(peer_id, PeerPool())
            for forward in [*pool.waiting, *pool.running]:
                self._end(pool, forward, _REASON_REMOVED)
        self._known = set(peers)
        for pool in self.pools.values():
            self._launch(pool)

    def _launch(self, pool: PeerPool) -> None:
        """Give connections to who waits, as far as there are places."""
        while pool.waiting and len(pool.running) < self._places(pool.waiting[0].peer.id):
            forward = pool.waiting.popleft()
            pool.running[forward] = None
            forward.connects_since = self._pooler.clock()
            on_done = partial(self._on_done, pool, forward)
            forward.attempt = self._pooler.connect_to_peer(forward, on_done)

    def _places(self, peer_id: int) -> int:
        config = self._pooler.config
        peer = config.peers.get(peer_id)
        size = None if peer is None else peer.pool_size
        size = config.settings.default_pool_size if size is None else size
        return size if 0 < size < MAX_WAITING else MAX_WAITING

    def _on_done(self, pool: PeerPool, forward: Forward, problem: str) -> None:
        del pool.running[forward]
        forward.on_done(problem or REASON_SENT)
        self._launch(pool)

    def _end(self, pool: PeerPool, forward: Forward, reason: str) -> None:
        if forward.attempt is None:
            pool.waiting.remove(forward)
        else:
            del pool.running[forward]
            forward.attempt.cancel(reason)
        forward.on_done(reason)
