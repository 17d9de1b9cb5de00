"""What is known of a console that comes and goes."""

from __future__ import annotations

import asyncio

from pgmux.ops.top.watch import KEPT, Watch
from tests.fixtures.scripted_console import NEW, ScriptedConsole
from tests.unit.ops.top.pictures import changed, take_picture


def test_a_console_that_is_gone_leaves_the_last_picture() -> None:
    async def run() -> None:
        console = ScriptedConsole(NEW)
        watch = Watch(console)
        await watch.take(1.0)
        before = watch.picture
        console.gone = "no connection"
        await watch.take(2.0)
        assert (watch.picture, watch.failure) == (before, "no connection")
        assert await watch.take_connections(("app", "web")) is None

    asyncio.run(run())


def test_after_an_absence_rates_begin_anew() -> None:
    async def run() -> None:
        console = ScriptedConsole(NEW)
        watch = Watch(console)
        await watch.take(1.0)
        console.gone = "no connection"
        await watch.take(2.0)
        console.gone = None
        await watch.take(3.0)
        assert watch.failure is None
        assert watch.picture is not None
        assert watch.picture.rates is None
        await watch.take(4.0)
        assert watch.picture.rates is not None

    asyncio.run(run())


def test_nonsense_is_a_failure_and_no_end() -> None:
    async def run() -> None:
        console = ScriptedConsole(changed(NEW, "POOLS", sv_idle="many"))
        watch = Watch(console)
        await watch.take(1.0)
        assert watch.picture is None
        assert "sv_idle of row 1 is 'many'" in str(watch.failure)

    asyncio.run(run())


def test_history_is_bounded() -> None:
    picture = take_picture(*[NEW] * (KEPT + 5))
    assert len(picture.history) == KEPT
