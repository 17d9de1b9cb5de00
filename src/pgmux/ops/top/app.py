"""The application of `pgmux top`: asks the console again and again, and has the screen follow.

One task asks, so that a slow console holds up no key; what it couldn't get it says, and goes on
with the last picture until the console answers again.
"""

from __future__ import annotations

import asyncio
import time
import traceback
from collections.abc import Awaitable
from contextlib import suppress
from typing import ClassVar

from rich.text import Text
from textual.app import App
from textual.binding import Binding, BindingType

from pgmux.ops import figures
from pgmux.ops.console.output import printable
from pgmux.ops.top import head
from pgmux.ops.top.screens import HelpScreen, PoolerScreen, PoolScreen, TableScreen
from pgmux.ops.top.watch import PoolKey, Watch

INTERVALS = (0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0)  # seconds; + and - go through them


class TopApp(App[None]):
    """See the module."""

    TITLE = "pgmux top"
    ENABLE_COMMAND_PALETTE = False
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("p,space", "pause", "Pause", key_display="p"),
        Binding("plus,equals_sign", "interval(1)", "Slower", key_display="+", show=False),
        Binding("minus", "interval(-1)", "Faster", key_display="-", show=False),
        Binding("question_mark", "help", "Help", key_display="?"),
        Binding("q", "quit", "Quit"),
        Binding("ctrl+c", "quit", "Quit", show=False, priority=True),
    ]

    def __init__(self, pooler: Watch, interval: float) -> None:
        super().__init__()
        self.pooler = pooler
        self.interval = interval
        self.is_following = True
        self._asked_at: float | None = None  # when the newest picture was taken
        self._changed = asyncio.Event()  # something that the waiting depends on

    def on_mount(self) -> None:
        self.push_screen(PoolerScreen())
        self.run_worker(self._guard(self._follow()))
        self.set_interval(1.0, self._draw_message)

    async def on_unmount(self) -> None:
        await self.pooler.console.close()

    # Asking

    async def _follow(self) -> None:
        """Takes a sample every `interval` seconds for as long as it isn't paused."""
        while True:
            asked_at = time.monotonic()
            await self.pooler.take(asked_at)
            if self.pooler.failure is None:
                self._asked_at = asked_at
                await self._ask_connections()
            self._draw()
            await self._until_due(asked_at)

    async def _guard(self, work: Awaitable[None]) -> None:
        """A bug ends the application with its traceback. Textual's own has the value of every
        variable, of which one may be a password.
        """
        try:
            await work
        except Exception:
            self.exit(return_code=1, message=Text(traceback.format_exc()))

    async def _until_due(self, asked_at: float) -> None:
        """Returns when the next sample is due, by what the keys have made of the interval."""
        while (left := asked_at + self.interval - time.monotonic()) > 0 or not self.is_following:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._changed.wait(), left if self.is_following else None)
            self._changed.clear()

    async def _ask_connections(self) -> None:
        """Whoever is connected to the pool that is open."""
        for screen in self.screen_stack:
            if isinstance(screen, PoolScreen):
                connections = await self.pooler.take_connections(screen.pool)
                screen.connections = connections or screen.connections

    def open_pool(self, pool: PoolKey) -> None:
        """Shows that pool, and asks for its connections at once."""

        async def ask() -> None:
            await self._ask_connections()
            self._draw()

        self.push_screen(PoolScreen(pool))
        self.run_worker(self._guard(ask()))

    # Saying

    def _draw(self) -> None:
        for screen in self.screen_stack:
            if isinstance(screen, TableScreen):
                screen.draw()

    def _draw_message(self) -> None:
        for screen in self.screen_stack:
            if isinstance(screen, TableScreen):
                screen.draw_message()

    def message(self, wanted: str) -> Text:
        """How new the picture is, and what of it isn't shown."""
        parts = []
        failure, picture = self.pooler.failure, self.pooler.picture
        if failure is not None:
            age = "" if self._asked_at is None else figures.time(time.monotonic() - self._asked_at)
            first_line = printable(failure.strip().split("\n")[0])
            parts.append(f"stale {age}: {first_line}" if age else first_line)
        if not self.is_following:
            parts.append("paused (p)")
        else:
            parts.append(f"every {self.interval:g} s")
        if wanted:
            parts.append(f"only rows with {printable(wanted)} (Esc: all)")
        if picture is not None and (untold := head.not_told(picture.sample)):
            parts.append(untold)
        style = head.ALARM if failure is not None else "dim"
        return Text("; ".join(parts), style, no_wrap=True, overflow="ellipsis")

    # Keys

    def action_pause(self) -> None:
        self.is_following = not self.is_following
        self._changed.set()
        self._draw_message()

    def action_interval(self, by: int) -> None:
        """The next longer or shorter interval of INTERVALS."""
        others = [each for each in INTERVALS if (each - self.interval) * by > 0]
        if others:
            self.interval = min(others, key=lambda each: abs(each - self.interval))
            self._changed.set()
            self._draw_message()

    def action_help(self) -> None:
        """The keys, and what this console doesn't tell."""
        picture = self.pooler.picture
        self.push_screen(HelpScreen(head.not_told(picture.sample) if picture else ""))
