"""Load whose right answer is known: transactions of a known time, so many a second on average.

`arriving` starts them by chance, whether those before have ended or not; `returning` has clients
that each begin the next when the last has ended and they have thought for a while.
"""

from __future__ import annotations

import asyncio
import random
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager

import psycopg

Work = Callable[[asyncio.Event], Awaitable[None]]


@contextmanager
def arriving(dsn: str, rate: float, seconds: float, connections: int = 30) -> Iterator[None]:
    """Transactions at random, `rate` a second, each for `seconds`: busy are rate x seconds."""
    statement = f"SELECT pg_sleep({seconds})"
    chance = random.Random(0)

    async def work(ended: asyncio.Event) -> None:
        async with _connected(dsn, connections) as free:
            running = set()

            async def run() -> None:
                connection = await free.get()
                await connection.execute(statement)
                free.put_nowait(connection)

            loop = asyncio.get_running_loop()
            due_at = loop.time()
            while not ended.is_set():
                running.add(asyncio.create_task(run()))
                # Where the machine has been busy, nothing is made up for: that would be a burst.
                due_at = max(due_at, loop.time()) + chance.expovariate(rate)
                await asyncio.sleep(max(0.0, due_at - loop.time()))
            await asyncio.gather(*running)

    yield from _in_thread(work)


@contextmanager
def returning(dsn: str, clients: int, seconds: float, thinking: float = 0.0) -> Iterator[None]:
    """Clients that are at it without end."""
    statement = f"SELECT pg_sleep({seconds})"

    async def work(ended: asyncio.Event) -> None:
        async with _connected(dsn, clients) as free:

            async def be_client(connection: psycopg.AsyncConnection) -> None:
                while not ended.is_set():
                    await connection.execute(statement)
                    await asyncio.sleep(thinking)

            await asyncio.gather(*(be_client(free.get_nowait()) for _ in range(clients)))

    yield from _in_thread(work)


@asynccontextmanager
async def _connected(
    dsn: str, number: int
) -> AsyncIterator[asyncio.Queue[psycopg.AsyncConnection]]:
    free: asyncio.Queue[psycopg.AsyncConnection] = asyncio.Queue()
    for _ in range(number):
        connect = psycopg.AsyncConnection.connect
        free.put_nowait(await connect(dsn, autocommit=True, prepare_threshold=None))
    connections = [free.get_nowait() for _ in range(number)]
    for connection in connections:
        free.put_nowait(connection)
    try:
        yield free
    finally:
        for connection in connections:
            await connection.close()


def _in_thread(work: Work) -> Iterator[None]:
    """Runs it until the block ends, and tells what has failed in it."""
    loop = asyncio.new_event_loop()
    ended = asyncio.Event()
    failures: list[BaseException] = []

    def run() -> None:
        try:
            loop.run_until_complete(work(ended))
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        yield
    finally:
        loop.call_soon_threadsafe(ended.set)
        thread.join(30)
        loop.close()
    assert not failures, failures
