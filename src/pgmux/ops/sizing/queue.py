"""How long clients wait for one of k servers: Erlang's C formula, with Allen and Cunneen's factor.

Erlang (1917) has arrivals at random and times spread exponentially; Allen and Cunneen (1978) scale
his mean wait by (ca² + cs²) / 2, the squared coefficients of variation of the times between
arrivals and of the times themselves, which are 1 in Erlang's case. Who waits is taken to wait
exponentially long, which is exact in Erlang's case and right in heavy traffic for others.
It is a queue that is in balance: with no more servers than load there is none, waits are infinite.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count

MOST = 100_000  # servers: nobody has more, and the search has an end


def erlang_b(load: float, servers: int) -> float:
    """The share of arrivals that find all servers busy, where nobody waits."""
    blocked = 1.0
    for k in range(1, servers + 1):
        blocked = load * blocked / (k + load * blocked)
    return blocked


def erlang_c(load: float, servers: int) -> float:
    """The share of arrivals that has to wait; 1 where there are no more servers than load."""
    return 1.0 if servers <= load else _delayed(load, servers, erlang_b(load, servers))


def _delayed(load: float, servers: int, blocked: float) -> float:
    return blocked / (1.0 - load / servers * (1.0 - blocked))


@dataclass(frozen=True, slots=True)
class Queue:
    """Who comes to a pool: `load` servers are busy on average, each for `time` seconds at once.

    `variability` is (ca² + cs²) / 2.
    """

    load: float
    time: float
    variability: float = 1.0

    def mean_wait(self, servers: int) -> float:
        """Seconds, of all who come."""
        if servers <= self.load:
            return math.inf
        return erlang_c(self.load, servers) * self._scale(servers)

    def wait(self, servers: int, share: float) -> float:
        """Seconds that this share (0 to 1) of all who come don't exceed."""
        if servers <= self.load:
            return math.inf
        return self._quantile(servers, share, erlang_c(self.load, servers))

    def servers_for(self, target: float, share: float) -> int:
        """The least number of servers with which that share waits for `target` seconds at most."""
        if self.load <= 0:
            return 0
        for servers, delayed in self._delays():
            if self._quantile(servers, share, delayed) <= target or servers >= MOST:
                return servers
        raise AssertionError("there is always a next number of servers")

    def _delays(self) -> Iterator[tuple[int, float]]:
        """Each number of servers that bears the load, with the share that has to wait."""
        first = math.floor(self.load) + 1
        blocked = erlang_b(self.load, first)
        for servers in count(first):
            yield servers, _delayed(self.load, servers, blocked)
            blocked = self.load * blocked / (servers + 1 + self.load * blocked)

    def _scale(self, servers: int) -> float:
        """The mean wait of those who have to wait."""
        return self.time * self.variability / (servers - self.load)

    def _quantile(self, servers: int, share: float, delayed: float) -> float:
        rest = 1.0 - share
        return self._scale(servers) * math.log(delayed / rest) if delayed > rest else 0.0


def servers_for_burst(at_once: int, time: float, target: float) -> int:
    """With how many servers `at_once` transactions that come together wait `target` s at most.

    With k servers one of them is free every time / k seconds, so the last of n gets its own after
    (n - k) * time / k.
    """
    if at_once <= 0:
        return 0
    return min(at_once, max(1, math.ceil(at_once * time / (target + time) - 1e-9))) if time else 1
