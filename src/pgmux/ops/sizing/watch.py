"""Observing a console for a while: samples one after another, till the time is over or it is told
to stop.

Errors: those of `take_sample` for the first sample; after that a console that doesn't answer is
missed, and asked again.
"""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from pgmux.monitor.console import Console
from pgmux.monitor.sample import take_sample
from pgmux.ops.sizing.observation import Observation
from pgmux.ops.top.watch import FAILURES

OnSample = Callable[[Observation, float], None]
"""Told after each sample: what there is by now, and the seconds since the first."""
OnServers = Callable[[frozenset[int]], None]
"""Told at both ends: the process ids that the pooler's servers have in PostgreSQL."""


@dataclass(frozen=True, slots=True)
class Observed:
    """`is_stopped`: by Ctrl-C."""

    observation: Observation
    is_stopped: bool


def run_observing(
    console: Console, period: float, every: float, on_sample: OnSample, on_servers: OnServers
) -> Observed:
    """Samples for `period` seconds, or up to Ctrl-C; closes the console. Raises: see the module."""
    early: list[int] = []  # asyncio doesn't like to be interrupted while it starts
    previous = signal.signal(signal.SIGINT, lambda signum, frame: early.append(signum))
    try:
        return asyncio.run(_observe(console, period, every, on_sample, on_servers, early))
    finally:
        signal.signal(signal.SIGINT, previous)


async def _observe(
    console: Console,
    period: float,
    every: float,
    on_sample: OnSample,
    on_servers: OnServers,
    early: list[int],
) -> Observed:
    observation = Observation(period, every)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGINT, stop.set)
    if early:
        stop.set()
    try:
        started_at = time.monotonic()
        observation.add(await take_sample(console, started_at))
        on_servers(await read_pids(console))
        end, due_at = started_at + period, started_at + every
        on_sample(observation, 0.0)
        while not stop.is_set() and due_at < end + every / 2:
            with suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), max(0.0, due_at - time.monotonic()))
            await _take(console, observation)
            due_at = max(due_at + every, time.monotonic())
            on_sample(observation, time.monotonic() - started_at)
        on_servers(await read_pids(console))
        return Observed(observation, stop.is_set())
    finally:
        await console.close()


async def _take(console: Console, observation: Observation) -> None:
    try:
        sample = await take_sample(console, time.monotonic())
    except FAILURES:
        observation.miss()
    else:
        observation.add(sample)


async def read_pids(console: Console) -> frozenset[int]:
    """The process ids of the pooler's servers in PostgreSQL; none where that isn't told."""
    try:
        rows = await console.query("SHOW SERVERS")
    except FAILURES:
        return frozenset()
    pids = (row.get("remote_pid") or "0" for row in rows)
    return frozenset(int(pid) for pid in pids if pid.isdecimal() and pid != "0")
