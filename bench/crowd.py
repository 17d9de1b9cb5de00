"""Far more clients than servers, all of which ask as soon as they are answered.

pgbench would need five times as much CPU at so many clients, taken from the poolers, and would log
them in anew for each run: this is one loop over their sockets. What is measured begins when all
have been answered once, so neither logins nor the first rush are in it.
"""

from __future__ import annotations

import select
import time
from array import array
from contextlib import ExitStack
from dataclasses import dataclass

from bench import BenchError
from bench.client import QUERY, READY, Client, make_room, no_collection
from bench.poolers import Bed, Pooler, Setup
from bench.workload import Quantity, Sample, Workload, cpu_figures, latency_figures, part_of

_WARM_UP = 0.2  # seconds
_LONGER = 2  # than other runs, for each client to be answered several times
_BUFFER = 65536
_STUCK = 30.0  # seconds


@dataclass(frozen=True, slots=True)
class CrowdLoad(Workload):
    """`clients` that ask over TCP; a run is a number of transactions of all together."""

    name: str
    clients: int
    quantities: tuple[Quantity, ...]
    setup: Setup = Setup.TRUST

    def warm_up(self, bed: Bed, pooler: Pooler, seconds: float) -> float:
        make_room(self.clients)
        self.run(bed, pooler, min(_WARM_UP, seconds))
        return seconds

    def run(self, bed: Bed, pooler: Pooler, size: float) -> Sample:
        count = part_of(self.clients, size)
        with ExitStack() as stack, no_collection():
            clients = [stack.enter_context(Client(pooler, self.setup)) for _ in range(count)]
            crowd = _Crowd(pooler, clients)
            crowd.ask(0.0)
            start, before = time.perf_counter(), pooler.cpu()
            latencies = crowd.ask(size * _LONGER)
            after, end = pooler.cpu(), time.perf_counter()
        return {
            **cpu_figures(after - before, len(latencies)),
            "tps": len(latencies) / (end - start),
            **latency_figures(sorted(latencies)),
        }


class _Crowd:
    """All clients; each has a query under way from the beginning on."""

    def __init__(self, pooler: Pooler, clients: list[Client]) -> None:
        self._pooler = pooler
        self._epoll = select.epoll()
        self._sockets = {client.fileno(): client.socket for client in clients}
        for fd in self._sockets:
            self._epoll.register(fd, select.EPOLLIN)
        self._asked = dict.fromkeys(self._sockets, time.perf_counter())
        for client in clients:
            client.send(QUERY)

    def ask(self, seconds: float) -> array[float]:
        """For so long, at least till as many have been answered as there are; how many seconds each
        of them took.
        """
        clock, sockets, asked = time.perf_counter, self._sockets, self._asked
        latencies = array("d")
        end = clock() + seconds
        while clock() < end or len(latencies) < len(sockets):
            ready = self._epoll.poll(_STUCK)
            if not ready:
                raise BenchError(f"{self._pooler.name} keeps {len(sockets)} clients waiting")
            for fd, _ in ready:
                data = sockets[fd].recv(_BUFFER)
                if not data:
                    raise BenchError(f"{self._pooler.name} closed a client")
                if not data.endswith(READY):
                    continue
                now = clock()
                latencies.append(now - asked[fd])
                asked[fd] = now
                sockets[fd].sendall(QUERY)
        return latencies
