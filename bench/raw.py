"""Clients of our own that ask as soon as they are answered, in one loop over their sockets.

For what pgbench can't do without doing much else: at 2,000 clients it takes several times as much
CPU as this, which the poolers lack then, and a pipeline of prepared statements it prepares anew in
each run. What is measured begins when all have been answered once, so that logins, statements and
the first rush are not in it.
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
from bench.workload import CPU, Quantity, Sample, Workload, cpu_figures, latency_figures, part_of

_WARM_UP = 0.2  # seconds
_LONGER = 2  # than other runs, for each client to be answered several times
_BUFFER = 65536
_MANY = 100  # clients
_STUCK = 30.0  # seconds
_DONE = b"SELECT 1\0" + READY  # the end of an answer that is none of an error


@dataclass(frozen=True, slots=True)
class RawLoad(Workload):
    """`clients` that `ask` over TCP, having once said `begin`; a run's size is its seconds. Where
    they are many, a short run has fewer.
    """

    name: str
    clients: int
    ask: bytes = QUERY
    begin: bytes = b""
    is_prepared: bool = False
    setup: Setup = Setup.TRUST
    quantities: tuple[Quantity, ...] = (CPU,)

    @property
    def needs_prepared(self) -> bool:
        return self.is_prepared

    def warm_up(self, bed: Bed, pooler: Pooler, seconds: float) -> float:
        make_room(self.clients)
        with Client(pooler, self.setup) as client:
            client.say(self.begin)
            client.send(self.ask)
            answer = client.receive()
        if not answer.endswith(_DONE):
            raise BenchError(f"{self.name} on {pooler.name}: {answer!r}")
        self.run(bed, pooler, min(_WARM_UP, seconds))
        return seconds

    def run(self, bed: Bed, pooler: Pooler, size: float) -> Sample:
        count = part_of(self.clients, size) if self.clients > _MANY else self.clients
        with ExitStack() as stack, no_collection():
            clients = [stack.enter_context(Client(pooler, self.setup)) for _ in range(count)]
            for client in clients:
                client.say(self.begin)
            crowd = _Crowd(pooler, clients, self.ask)
            crowd.run(0.0)
            start, before = time.perf_counter(), pooler.cpu()
            latencies = crowd.run(size * _LONGER)
            after, end = pooler.cpu(), time.perf_counter()
        return {
            **cpu_figures(after - before, len(latencies)),
            "tps": len(latencies) / (end - start),
            **latency_figures(sorted(latencies)),
        }


class _Crowd:
    """All clients; each has a question under way from the beginning on."""

    def __init__(self, pooler: Pooler, clients: list[Client], ask: bytes) -> None:
        self._pooler = pooler
        self._ask = ask
        self._epoll = select.epoll()
        self._sockets = {client.fileno(): client.socket for client in clients}
        for fd in self._sockets:
            self._epoll.register(fd, select.EPOLLIN)
        self._asked = dict.fromkeys(self._sockets, time.perf_counter())
        for client in clients:
            client.send(ask)

    def run(self, seconds: float) -> array[float]:
        """For so long, at least till as many have been answered as there are; how many seconds each
        of them took.
        """
        clock, sockets, asked, ask = time.perf_counter, self._sockets, self._asked, self._ask
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
                sockets[fd].sendall(ask)
        return latencies
