"""Many who ask at the same time, and one question."""

from __future__ import annotations

import asyncio

import pytest

from pgmux.web.once import Once


def test_who_comes_while_a_question_is_under_way_shares_its_answer() -> None:
    count = 0

    async def ask() -> int:
        nonlocal count
        count += 1
        await asyncio.sleep(0)
        return count

    async def run() -> None:
        once = Once(ask)
        assert await asyncio.gather(*(once.get(10) for _ in range(5))) == [1] * 5
        assert await once.get(10) == 2

    asyncio.run(run())


def test_who_gives_up_leaves_the_others_waiting() -> None:
    async def run() -> None:
        gate = asyncio.Event()

        async def ask() -> str:
            await gate.wait()
            return "answer"

        once = Once(ask)
        other = asyncio.create_task(once.get(10))
        with pytest.raises(TimeoutError):
            await once.get(0.001)
        gate.set()
        assert await other == "answer"

    asyncio.run(run())
