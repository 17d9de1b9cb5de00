"""Clients that have logged in and do nothing: their memory, and whether they slow down another.

They log in one after the other, so how long each takes is how long the pooler's loop was busy with
something else. Then one client asks, and now and again another one comes and goes: objects are made
and dropped, so that a garbage collector would have its turn.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import ClassVar

from bench.client import QUERY, Client, make_room, no_collection
from bench.poolers import Bed, Pooler, Setup
from bench.workload import MEGA, MS, Quantity, Sample, Workload, latency_figures, part_of

_FIRST = 200  # clients before those counted: they fill what is allocated once
_PROBED_SECONDS = 5.0  # where a run is a second
_QUERIES_PER_LOGIN = 20


@dataclass(frozen=True, slots=True)
class IdleLoad(Workload):
    """So many `clients`; once for each pooler, whose memory is to be that of its first ones."""

    name: str
    clients: int
    quantities: tuple[Quantity, ...]
    setup: Setup = Setup.TRUST
    most_rounds: ClassVar[int | None] = 1

    def warm_up(self, bed: Bed, pooler: Pooler, seconds: float) -> float:
        """The seconds of a run."""
        make_room(self.clients + _FIRST)
        return seconds

    def run(self, bed: Bed, pooler: Pooler, size: float) -> Sample:
        clients = part_of(self.clients, size)
        with ExitStack() as stack, no_collection():
            prober = stack.enter_context(Client(pooler))
            prober.say(QUERY)
            for _ in range(_FIRST):
                stack.enter_context(Client(pooler, self.setup))
            before = pooler.memory()
            logins = []
            for _ in range(clients):
                start = time.perf_counter()
                stack.enter_context(Client(pooler, self.setup))
                logins.append(time.perf_counter() - start)
            weight = max(0, pooler.memory() - before) / clients
            round_trips = sorted(_probe(pooler, prober, _PROBED_SECONDS * size))
        return {
            "start_mb": pooler.start_bytes / MEGA,
            "bytes_per_client": weight,
            "worst_login_ms": MS * max(logins),
            "worst_ms": MS * round_trips[-1],
            **latency_figures(round_trips),
        }


def _probe(pooler: Pooler, prober: Client, seconds: float) -> Iterator[float]:
    """How long each query took, and each login in between."""
    end = time.perf_counter() + seconds
    while (now := time.perf_counter()) < end:
        with Client(pooler):
            yield time.perf_counter() - now
        for _ in range(_QUERIES_PER_LOGIN):
            start = time.perf_counter()
            prober.say(QUERY)
            yield time.perf_counter() - start
