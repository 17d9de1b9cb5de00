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
from tests.cost.pooler import Relays, Sockets
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
    written: list[bytes] = []
    relays = Relays(written.append)
    relays.do(shape.begin)
    relays.do(shape.steps)
    written.clear()
    relays.rig.clock_reads = 0
    relays.do(shape.steps)
    clock_reads = relays.rig.clock_reads
    received = {id(data) for _, data in shape.steps}
    quiet = Relays(callable)  # which takes anything and allocates nothing
    quiet.do(shape.begin)
    exchange = partial(quiet.do, shape.steps)
    for _ in range(WARM_UP):
        exchange()
    return {
        "clock reads": clock_reads,
        "copied": sum(id(chunk) not in received for chunk in written),
        "bytes at a time": peak_in(exchange),
    }


def socket_counts(shape: Shape) -> Counts:
    """With real transports: writes, Python's calls, what is scheduled, what is left behind."""
    sockets = Sockets()
    sockets.do(shape.begin)
    exchange = partial(sockets.do, shape.steps)
    for _ in range(WARM_UP):
        exchange()
    sockets.loop.scheduled = 0
    counts: Counts = {"writes": exchange(), "calls": calls_in(exchange), **left_by(exchange)}
    counts["scheduled"] = sockets.loop.scheduled
    sockets.close()
    return counts


def login_counts() -> Counts:
    """A client that logs in, is idle, and leaves."""
    logins = Logins()
    for _ in range(WARM_UP):
        logins.come_and_go()
    return _one_login(logins) | _client_sizes(logins) | _left_by_clients(logins)


def _one_login(logins: Logins) -> Counts:
    """What it takes."""
    peer = logins.new_client()
    writes: list[int] = []
    logins.loop.scheduled = 0
    calls = calls_in(lambda: writes.append(logins.log_in(peer)))
    calls_at_end = calls_in(lambda: logins.leave(peer))
    return {
        "writes": writes[0],
        "calls": calls,
        "calls at its end": calls_at_end,
        "scheduled": logins.loop.scheduled,
    }


def _client_sizes(logins: Logins) -> Counts:
    """What one idle client is, in objects and memory."""
    peers = [logins.new_client() for _ in range(CLIENTS)]
    gc.collect()
    tracemalloc.start()
    objects, (allocated, _) = len(gc.get_objects()), tracemalloc.get_traced_memory()
    for peer in peers:
        logins.log_in(peer)
    gc.collect()
    objects = len(gc.get_objects()) - objects
    allocated = tracemalloc.get_traced_memory()[0] - allocated
    tracemalloc.stop()
    for peer in peers:
        logins.leave(peer)
    return {
        "objects of a client": round(objects / CLIENTS),
        "bytes of a client": round(allocated / CLIENTS),
    }


def _left_by_clients(logins: Logins) -> Counts:
    """What clients leave behind, and what of it is for the garbage collector."""
    gc.collect()
    gc.disable()
    try:
        objects = len(gc.get_objects())
        for _ in range(CLIENTS):
            logins.come_and_go()
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
