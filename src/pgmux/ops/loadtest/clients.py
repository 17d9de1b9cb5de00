"""How the workers ask: raw asyncpg, each with a connection of its own or sharing asyncpg's pool, or
SQLAlchemy's async engine with its QueuePool.

One statement is asked as the driver asks it; several are one transaction. SQLAlchemy makes one of
a single statement too, as it does in an application. asyncpg's pool knows no overflow: its
max_size is pool_size + max_overflow.
Errors: the drivers', as they are; NotConnected around those of a new connection; NoneFree.
"""

from __future__ import annotations

import asyncio
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any

import asyncpg

from pgmux.ops.loadtest.failures import NoneFree, NotConnected
from pgmux.ops.loadtest.histogram import Histogram
from pgmux.ops.loadtest.statements import Query
from pgmux.ops.loadtest.target import Target

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncEngine

CLOSE_TIMEOUT = 3.0  # seconds, for what was being asked to be cancelled
CONNECTING = 100  # at the same time: more would wait in a listen backlog


class Driver(Enum):
    ASYNCPG = "asyncpg"
    SQLALCHEMY = "sqlalchemy"

    def __str__(self) -> str:
        return self.value


@dataclass(frozen=True, slots=True)
class Pooling:
    """The driver's side; `pool_size` None: each worker has a connection of its own, without a pool,
    which SQLAlchemy can't.
    """

    driver: Driver = Driver.ASYNCPG
    pool_size: int | None = None
    max_overflow: int = 10
    pool_timeout: float = 10.0
    connect_timeout: float = 10.0
    query_timeout: float = 30.0
    statement_cache_size: int = 100  # asyncpg's and SQLAlchemy's default

    def connections(self, workers: int) -> int:
        """At most, of so many workers."""
        if self.pool_size is None:
            return workers
        return min(workers, self.pool_size + self.max_overflow)


class Clients(ABC):
    """The workers' connections to one target. `connects` gets each new connection's time."""

    def __init__(self, target: Target, query: Query, pooling: Pooling, connects: Histogram) -> None:
        self._target = target
        self._statements = query.statements
        self._pooling = pooling
        self._connects = connects
        self._turns = asyncio.Semaphore(CONNECTING)

    @abstractmethod
    async def open(self) -> None:
        """Makes what is needed before anybody asks; connects nowhere yet."""

    @abstractmethod
    async def ask(self, worker: int) -> None:
        """One query, from waiting for a connection to giving it back."""

    @abstractmethod
    async def close(self) -> None:
        """Ends all connections; what is still being asked is cancelled."""

    async def connect(self, *args: object, **kwargs: object) -> asyncpg.Connection:
        """A new connection. Raises: NotConnected. What a pool says besides isn't needed."""
        async with self._turns:
            began = time.perf_counter()
            try:
                connection = await asyncpg.connect(
                    **self._target.arguments,
                    timeout=self._pooling.connect_timeout,
                    command_timeout=self._pooling.query_timeout,
                    statement_cache_size=self._pooling.statement_cache_size,
                    **kwargs,
                )
            except Exception as error:
                raise NotConnected from error
            self._connects.record(time.perf_counter() - began)
            return connection


class OwnConnections(Clients):
    """A connection for each worker, made anew where it was lost."""

    async def open(self) -> None:
        self._connections: dict[int, asyncpg.Connection] = {}

    async def ask(self, worker: int) -> None:
        connection = self._connections.get(worker)
        if connection is None or connection.is_closed():
            connection = self._connections[worker] = await self.connect()
        await ask(connection, self._statements)

    async def close(self) -> None:
        await close_all(list(self._connections.values()))
        self._connections.clear()


class AsyncpgPool(Clients):
    """Shared by all workers."""

    async def open(self) -> None:
        most = (self._pooling.pool_size or 0) + self._pooling.max_overflow
        self._pool = asyncpg.create_pool(
            min_size=0, max_size=most, connect=self._connect_for_pool, command_timeout=None
        )
        await self._pool

    async def _connect_for_pool(self, *args: object, **kwargs: Any) -> asyncpg.Connection:
        # The pool's own idea of whom to connect to, of which it has none; it needs its classes.
        classes = {key: kwargs[key] for key in ("connection_class", "record_class")}
        return await self.connect(loop=kwargs.get("loop"), **classes)

    async def ask(self, worker: int) -> None:
        try:
            connection = await self._pool.acquire(timeout=self._pooling.pool_timeout)
        except TimeoutError as error:
            raise NoneFree(self._pooling.pool_timeout) from error
        try:
            await ask(connection, self._statements)
        finally:
            await self._pool.release(connection)

    async def close(self) -> None:
        try:
            async with asyncio.timeout(CLOSE_TIMEOUT):
                await self._pool.close()
        except Exception:  # whatever it was, it is over
            self._pool.terminate()


class SqlAlchemyPool(Clients):
    """An engine, shared by all workers."""

    async def open(self) -> None:
        from sqlalchemy.ext.asyncio import create_async_engine

        self._engine: AsyncEngine = create_async_engine(
            "postgresql+asyncpg://",
            async_creator=self.connect,
            pool_size=self._pooling.pool_size,
            max_overflow=self._pooling.max_overflow,
            pool_timeout=self._pooling.pool_timeout,
            connect_args={
                "prepared_statement_cache_size": self._pooling.statement_cache_size,
            },
        )

    async def ask(self, worker: int) -> None:
        from sqlalchemy.exc import TimeoutError as NoConnectionFree

        try:
            connection = await self._engine.connect()
        except NoConnectionFree as error:
            raise NoneFree(self._pooling.pool_timeout) from error
        try:
            for statement in self._statements:
                result = await connection.exec_driver_sql(statement)
                if result.returns_rows:
                    result.fetchall()
            await connection.commit()
        finally:
            await connection.close()

    async def close(self) -> None:
        with suppress(Exception):
            async with asyncio.timeout(CLOSE_TIMEOUT):
                await self._engine.dispose()


def make_clients(target: Target, query: Query, pooling: Pooling, connects: Histogram) -> Clients:
    """Those that were asked for."""
    if pooling.driver is Driver.SQLALCHEMY:
        return SqlAlchemyPool(target, query, pooling, connects)
    kind = OwnConnections if pooling.pool_size is None else AsyncpgPool
    return kind(target, query, pooling, connects)


async def ask(connection: asyncpg.Connection, statements: Sequence[str]) -> None:
    """All statements, in one transaction where there are several; every row is read."""
    if len(statements) == 1:
        await connection.fetch(statements[0])
        return
    # Not `async with`: where the connection is lost its end would hide why.
    transaction = connection.transaction()
    await transaction.start()
    try:
        for statement in statements:
            await connection.fetch(statement)
    except BaseException:
        with suppress(Exception):
            await transaction.rollback()
        raise
    await transaction.commit()


async def close_all(connections: Sequence[asyncpg.Connection]) -> None:
    """Ends them; none takes longer than CLOSE_TIMEOUT."""
    closing = (each.close(timeout=CLOSE_TIMEOUT) for each in connections if not each.is_closed())
    await asyncio.gather(*closing, return_exceptions=True)
    for each in connections:
        each.terminate()
