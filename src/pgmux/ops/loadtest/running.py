"""A load test's rounds, one after the other, each with its workers.

A worker opens its connection and asks once before the round begins, which isn't counted: it is a
load's course that is measured, not its first moment. What is counted starts at once for all.
How long a query took: from the moment that it was to be asked, which is that of the burst where it
is one of a burst, else when its worker was free, to its last row, the commit, and the giving back
of the connection.
Errors: none of a query's, they are counted; `LoadError` before the load.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

import asyncpg
import uvloop

from pgmux.errors import PgmuxError
from pgmux.ops.loadtest.clients import CLOSE_TIMEOUT, Clients, Pooling, ask, close_all, make_clients
from pgmux.ops.loadtest.failures import NotConnected, failure_of
from pgmux.ops.loadtest.histogram import Histogram
from pgmux.ops.loadtest.plan import Round, Side
from pgmux.ops.loadtest.statements import Query
from pgmux.ops.loadtest.tally import Tally
from pgmux.ops.loadtest.target import COUNT_OURS, Target

MOST_REFUSALS = 5  # in a row: then a worker gives up, after some 3 seconds
_FIRST_PAUSE = 0.1  # seconds after a refused connection; twice as long after each further one
_WATCH = 0.05  # seconds, a timer that tells how late timers are
_TICK = 0.25  # seconds between two reports of progress
_GONE_TIMEOUT = 2.0  # seconds, for PostgreSQL to end what was closed
_CANNOT_BE_IN_TRANSACTION = "25001"


class LoadError(PgmuxError):
    """The query can't be run at all; the text says whose fault it is."""


@dataclass(slots=True)
class Course:
    """What is running, or was: each side's tallies by step, the last one growing."""

    tallies: dict[Side, list[Tally]] = field(default_factory=dict)
    workers: list[int] = field(default_factory=list)  # by step
    is_interrupted: bool = False
    started_at: float | None = None  # the round that is being measured
    cpu_share: float = 0.0  # of one processor: what this process took itself while it measured
    lateness: Histogram = field(default_factory=Histogram)  # how late its own timers were meanwhile

    @property
    def current_seconds(self) -> float:
        """How long the round that is being measured has taken so far."""
        return 0.0 if self.started_at is None else time.perf_counter() - self.started_at

    def tally(self, side: Side) -> Tally:
        """All steps of a side together."""
        whole = Tally()
        for each in self.tallies[side]:
            whole.add(each)
        return whole


OnTick = Callable[[Side, Course], None]


def try_query(targets: Sequence[Target], query: Query, pooling: Pooling) -> bool:
    """Runs the user's own query once at each, rolled back; answers whether it writes or locks.

    Raises: LoadError.
    """
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        found = [runner.run(_try_query(each, query, pooling)) for each in targets]
    return any(found)


async def _try_query(target: Target, query: Query, pooling: Pooling) -> bool:
    try:
        connection = await asyncpg.connect(
            **target.arguments,
            timeout=pooling.connect_timeout,
            command_timeout=pooling.query_timeout,
            statement_cache_size=0,
        )
        try:
            return await _writes(connection, query)
        finally:
            await close_all([connection])
    except Exception as error:  # a driver raises what it likes
        failure = failure_of(error)
        code = f" ({failure.code})" if failure.code else ""
        cure = f": {failure.cure}" if failure.cure else ""
        if failure.code == _CANNOT_BE_IN_TRANSACTION and len(query.statements) == 1:
            return True  # VACUUM and the like: can't be tried, but can be run
        raise LoadError(f"{query.name} at {target.place}: {failure.message}{code}{cure}") from error


async def _writes(connection: asyncpg.Connection, query: Query) -> bool:
    """Whether PostgreSQL gave the transaction an id, which it gives who writes or locks rows."""
    transaction = connection.transaction()
    try:
        await transaction.start()
    except asyncpg.PostgresError:
        if len(query.statements) > 1:
            raise
        return False  # a pooler in statement mode: nobody knows, but it can be run
    await ask(connection, query.statements)
    had_id = await connection.fetchval("SELECT txid_current_if_assigned() IS NOT NULL")
    await transaction.rollback()
    return bool(had_id)


def run(
    rounds: Sequence[Round],
    targets: Mapping[Side, Target],
    query: Query,
    pooling: Pooling,
    on_tick: OnTick,
) -> Course:
    """All rounds, or as many as there are before a KeyboardInterrupt, whose results are kept."""
    course = Course()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_run(course, rounds, targets, query, pooling, on_tick))
    return course


async def _run(
    course: Course,
    rounds: Sequence[Round],
    targets: Mapping[Side, Target],
    query: Query,
    pooling: Pooling,
    on_tick: OnTick,
) -> None:
    measured = _Measured(course.lateness)
    before: Round | None = None
    try:
        for each in rounds:
            if before is not None and before.side is Side.DIRECT:
                await _wait_until_gone(targets[before.side])
            tally = _tally_of(course, each)
            clients = make_clients(targets[each.side], query, pooling, tally.connects)
            await _run_round(each, clients, course, tally, measured, on_tick)
            before = each
    except asyncio.CancelledError:
        course.is_interrupted = True  # Ctrl-C, of which the runner has made this
    course.cpu_share = measured.cpu_share


def _tally_of(course: Course, each: Round) -> Tally:
    tallies = course.tallies.setdefault(each.side, [])
    if len(tallies) <= each.step:
        tallies.append(Tally())
    if len(course.workers) <= each.step:
        course.workers.append(each.workers)
    course.workers[each.step] = max(course.workers[each.step], each.workers)
    return tallies[each.step]


class _Measured:
    """How busy this process, and the machine, was while it measured; use it in a `with`."""

    def __init__(self, lateness: Histogram) -> None:
        self._lateness = lateness
        self._cpu = self._seconds = 0.0

    def __enter__(self) -> None:
        self._watcher = asyncio.create_task(self._watch())
        self._began = (time.process_time(), time.perf_counter())

    def __exit__(self, *exc: object) -> None:
        self._watcher.cancel()
        self._cpu += time.process_time() - self._began[0]
        self._seconds += time.perf_counter() - self._began[1]

    async def _watch(self) -> None:
        """An answer is noticed as late as a timer is."""
        while True:
            due = time.perf_counter() + _WATCH
            await asyncio.sleep(_WATCH)
            self._lateness.record(time.perf_counter() - due)

    @property
    def cpu_share(self) -> float:
        return self._cpu / self._seconds if self._seconds else 0.0


async def _run_round(
    each: Round,
    clients: Clients,
    course: Course,
    tally: Tally,
    measured: _Measured,
    on_tick: OnTick,
) -> None:
    ticker = asyncio.create_task(_tick(each.side, course, on_tick))
    try:
        await clients.open()
        await asyncio.gather(*(_warm_up(clients, i) for i in range(each.workers)))
        turn = _Turn(clients, tally, each.interval)
        course.started_at = turn.start
        try:
            with measured:
                await asyncio.gather(*(turn.work(i, share) for i, share in enumerate(each.shares)))
        finally:
            course.started_at = None
            seconds = time.perf_counter() - turn.start
            tally.elapsed += seconds
            tally.seconds += turn.last_success - turn.start if turn.last_success else seconds
    finally:
        ticker.cancel()
        await clients.close()
        on_tick(each.side, course)


async def _tick(side: Side, course: Course, on_tick: OnTick) -> None:
    while True:
        on_tick(side, course)
        await asyncio.sleep(_TICK)


async def _warm_up(clients: Clients, worker: int) -> None:
    with suppress(Exception):  # what fails now fails again when it counts
        await clients.ask(worker)


class _Turn:
    """One round while it is measured."""

    def __init__(self, clients: Clients, tally: Tally, interval: float) -> None:
        self._clients = clients
        self._tally = tally
        self._interval = interval
        self._offset = tally.elapsed  # by the side's earlier rounds
        self.start = time.perf_counter()
        self.last_success: float | None = None

    async def work(self, worker: int, share: int) -> None:
        """One worker's queries, to the last, or until it has given up."""
        refusals = 0
        for number in range(share):
            began = await self._begin(number)
            try:
                await self._clients.ask(worker)
            except Exception as error:  # a driver raises what it likes: each is counted
                refusals = refusals + 1 if isinstance(error, NotConnected) else 0
                self._tally.fail(error, self._now())
            else:
                refusals = 0
                self.last_success = now = time.perf_counter()
                self._tally.succeed(now - began, now - self.start + self._offset)
            if refusals == MOST_REFUSALS:
                self._tally.give_up(share - number - 1)
                return
            if refusals:
                await asyncio.sleep(_FIRST_PAUSE * 2 ** (refusals - 1))

    async def _begin(self, number: int) -> float:
        """The moment from which the worker's n-th query is measured; not before it."""
        if not self._interval:
            return time.perf_counter()
        planned = self.start + number * self._interval
        while (left := planned - time.perf_counter()) > 0:  # a loop's timer may be early
            await asyncio.sleep(left)
        return planned

    def _now(self) -> float:
        return time.perf_counter() - self.start + self._offset


async def _wait_until_gone(target: Target) -> None:
    """PostgreSQL ends a closed connection's process a moment later; till then it has its place."""
    with suppress(Exception):
        async with asyncio.timeout(_GONE_TIMEOUT):
            connection = await _connect_again(target)
            try:
                while await connection.fetchval(COUNT_OURS):
                    await asyncio.sleep(0.02)
            finally:
                await connection.close(timeout=CLOSE_TIMEOUT)


async def _connect_again(target: Target) -> asyncpg.Connection:
    while True:
        try:
            return await asyncpg.connect(**target.arguments, statement_cache_size=0)
        except asyncpg.TooManyConnectionsError:
            await asyncio.sleep(0.02)
