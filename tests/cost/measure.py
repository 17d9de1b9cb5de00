"""`python -m tests.cost.measure`: what queries and logins cost, in counts, as JSON.

A process of its own, in the form that PGMUX_PURE chooses: nothing else calls, allocates or collects
meanwhile, so a count is the same at every run.
"""

from __future__ import annotations

import gc
import json
import sys
import tracemalloc
from collections.abc import Callable
from functools import partial
from types import FrameType
from typing import Any

from pgmux import _pure
from tests.cost.logins import Logins
from tests.cost.pooler import RelayPair, SocketPair, packet_sockets
from tests.cost.shapes import SHAPES, Shape

WARM_UP = 200
MANY = 1000
CLIENTS = 200

Counts = dict[str, Any]


def calls_in(work: Callable[[], object]) -> int:
    """Function calls that pgmux makes of Python's kind: its own functions that are called, and
    built-in ones that they call. What is compiled into C makes none.
    """
    count = 0
    ours = str(_pure.PACKAGE)

    def on_event(frame: FrameType, event: str, argument: object) -> None:
        nonlocal count
        if event in ("call", "c_call") and frame.f_code.co_filename.startswith(ours):
            count += 1

    sys.setprofile(on_event)
    try:
        work()
    finally:
        sys.setprofile(None)
    return count


def peak_in(work: Callable[[], object]) -> int:
    """Bytes that `work` has allocated at one time, at most."""
    tracemalloc.start()
    try:
        work()
        before, _ = tracemalloc.get_traced_memory()
        tracemalloc.reset_peak()
        work()
        return tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()


def left_by(work: Callable[[], object]) -> Counts:
    """Objects and blocks of memory that are there after many times `work`, and were not before."""

    def many() -> None:
        for _ in range(MANY):
            work()

    many()
    gc.collect()
    gc.disable()
    try:
        objects, blocks = len(gc.get_objects()), sys.getallocatedblocks()
        many()
        more_blocks = sys.getallocatedblocks() - blocks
        more_objects = len(gc.get_objects()) - objects
    finally:
        gc.enable()
    return {"objects left": more_objects, "blocks left": more_blocks}


def relay_counts(shape: Shape) -> Counts:
    """Without sockets: which chunks are passed on as they are, clock reads, memory."""
    to_client: list[bytes] = []
    to_server: list[bytes] = []
    pair = RelayPair(to_client.append, to_server.append)
    pair.begin(shape)
    pair.exchange(shape)
    to_client.clear()
    to_server.clear()
    pair.rig.clock_reads = 0
    pair.exchange(shape)
    clock_reads = pair.rig.clock_reads
    asked = [asked for asked, _ in shape.exchanges if asked]
    answered = [answered for _, answered in shape.exchanges if answered]
    quiet = RelayPair(callable, callable)  # which takes anything and allocates nothing
    quiet.begin(shape)
    exchange = partial(quiet.exchange, shape)
    for _ in range(WARM_UP):
        exchange()
    return {
        "clock reads": clock_reads,
        "asked as it is": _same(asked, to_server),
        "answered as it is": _same(answered, to_client),
        "bytes at a time": peak_in(exchange),
    }


def _same(received: list[bytes], written: list[bytes]) -> bool:
    """Whether the very objects were passed on."""
    return [id(chunk) for chunk in received] == [id(chunk) for chunk in written]


def socket_counts(shape: Shape) -> Counts:
    """With real transports: writes, Python's calls, what is scheduled, what is left behind."""
    pair = SocketPair()
    pair.begin(shape)
    exchange = partial(pair.exchange, shape)
    for _ in range(WARM_UP):
        exchange()
    pair.loop.scheduled = 0
    counts: Counts = {"writes": exchange(), "calls": calls_in(exchange), **left_by(exchange)}
    counts["scheduled"] = pair.loop.scheduled
    pair.close()
    return counts


def login_counts() -> Counts:
    """A client that logs in, is idle, and leaves."""
    logins = Logins()
    for _ in range(WARM_UP):
        _come_and_go(logins)
    return _one_login(logins) | _client_sizes(logins) | _left_by_clients(logins)


def _come_and_go(logins: Logins) -> None:
    ours, peer = packet_sockets()
    logins.log_in((ours, peer))
    logins.leave(peer)


def _one_login(logins: Logins) -> Counts:
    """What the login itself takes."""
    ours, peer = packet_sockets()
    writes: list[int] = []
    logins.loop.scheduled = 0
    calls = calls_in(lambda: writes.append(logins.log_in((ours, peer))))
    counts = {"writes": writes[0], "calls": calls, "scheduled": logins.loop.scheduled}
    logins.leave(peer)
    return counts


def _client_sizes(logins: Logins) -> Counts:
    """What one idle client is, in objects and memory, with its socket."""
    gc.collect()
    tracemalloc.start()
    start = _now()
    pairs = [packet_sockets() for _ in range(CLIENTS)]
    before = _now()
    for pair in pairs:
        logins.log_in(pair)
    gc.collect()
    after = _now()
    tracemalloc.stop()
    for _, peer in pairs:
        logins.leave(peer)
    names = ("objects of a client", "bytes of a client")
    return {  # half of the sockets are the clients' own
        name: round((end - began + (began - first) / 2) / CLIENTS)
        for name, first, began, end in zip(names, start, before, after, strict=True)
    }


def _now() -> tuple[int, int]:
    return len(gc.get_objects()), tracemalloc.get_traced_memory()[0]


def _left_by_clients(logins: Logins) -> Counts:
    """What clients leave behind, and what of it is for the garbage collector."""
    gc.collect()
    gc.disable()
    try:
        objects = len(gc.get_objects())
        for _ in range(CLIENTS):
            _come_and_go(logins)
        left = len(gc.get_objects()) - objects
        return {"objects left": left, "garbage": gc.collect()}
    finally:
        gc.enable()


def measure() -> Counts:
    """Everything."""
    queries = {shape.name: relay_counts(shape) | socket_counts(shape) for shape in SHAPES}
    return {"form": _pure.form(), "queries": queries, "login": login_counts()}


if __name__ == "__main__":
    json.dump(measure(), sys.stdout, indent=1)
