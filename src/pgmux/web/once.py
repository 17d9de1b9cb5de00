"""Asking once for many: who comes while a question is under way shares its answer."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Once(Generic[T]):
    """`ask` never runs twice at a time, however many want its result."""

    def __init__(self, ask: Callable[[], Awaitable[T]]) -> None:
        self._ask = ask
        self._task: asyncio.Task[T] | None = None

    async def get(self, timeout: float) -> T:
        """The next result. Raises: what `ask` raises; TimeoutError, and `ask` goes on."""
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._run())
            self._task.add_done_callback(_see)
        async with asyncio.timeout(timeout):
            return await asyncio.shield(self._task)

    async def _run(self) -> T:
        return await self._ask()


def _see(task: asyncio.Task[T]) -> None:
    """Its error may have nobody left who waits for it."""
    if not task.cancelled():
        task.exception()
