"""What all consoles have in common: one question at a time, and what to remember of refusals."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from typing import TypeVar

from pgmux.monitor.errors import ConsoleGone, ConsoleRefused

TIMEOUT = 5.0  # seconds for an answer
COMMAND_TIMEOUT = 60.0  # PAUSE waits for transactions to end

Row = dict[str, str | None]
T = TypeVar("T")


class SharedConsole(ABC):
    """Puts the questions of many tasks, one after another, to the console that `_ask` knows."""

    def __init__(self, place: str, timeout: float) -> None:
        self.place = place
        self._timeout = timeout
        self._turn = asyncio.Lock()
        self._under_way: set[asyncio.Task[object]] = set()
        self._refused: set[str] = set()

    async def query(self, sql: str) -> list[Row]:
        """See `Console`."""
        return await self._in_turn(lambda: self._ask(sql))

    async def query_optional(self, sql: str) -> list[Row] | None:
        """See `Console`."""
        if sql in self._refused:
            return None
        try:
            return await self.query(sql)
        except ConsoleRefused:
            self._refused.add(sql)
            return None

    @abstractmethod
    async def _ask(self, sql: str) -> list[Row]:
        """One question and its answer. Not called before the last call has ended."""

    def _forget_refusals(self) -> None:
        """To be called where it may be another pooler from now on, or another version."""
        self._refused.clear()

    async def _in_turn(self, work: Callable[[], Awaitable[T]]) -> T:
        """The result of `work`, which goes on to its end also where the caller is cancelled.

        A conversation can't be left in the middle: the next caller would read that answer.
        """

        async def run() -> T:
            async with self._turn:
                return await work()

        task = asyncio.create_task(run())
        self._under_way.add(task)
        task.add_done_callback(self._on_done)
        return await asyncio.shield(task)

    def _on_done(self, task: asyncio.Task[object]) -> None:
        self._under_way.discard(task)
        if not task.cancelled():
            task.exception()  # seen, where nobody waits for it any more

    async def close(self) -> None:
        """See `Console`."""
        for task in tuple(self._under_way):
            task.cancel()


def not_in_time(place: str, timeout: float) -> ConsoleGone:
    """What is said where a console keeps silent."""
    return ConsoleGone(
        f"the console at {place} has not answered within {timeout:g} s: is the pooler stopped"
        " or overloaded?"
    )
