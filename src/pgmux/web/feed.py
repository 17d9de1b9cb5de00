"""Asks the console again and again, keeps the last hour, and wakes those who look at it.

Every INTERVAL seconds while somebody looks, else every CALM_INTERVAL; and never so often that more
than an eighth of the time is spent on asking.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from pgmux.monitor.console import Console, ConsoleGone, ConsoleRefused
from pgmux.monitor.reading import UnreadableAnswer
from pgmux.monitor.sample import take_sample
from pgmux.web.history import History, Key, Point
from pgmux.web.readings import Readings
from pgmux.web.view import (
    Json,
    PoolFigures,
    pool_points,
    rank_pools,
    total_point,
    us,
    view_pools,
    view_reading,
)

log = logging.getLogger("pgmux.web")

INTERVAL = 2.0  # seconds
CALM_INTERVAL = 10.0
_EASE = 8  # times as long as asking took, at least, is the time until it begins again


def find_spacing(interval: float, took: float, *, is_gone: bool) -> float:
    """Seconds from one asking, which took so many, to the next."""
    spacing = max(interval, _EASE * took)
    # An answer that was waited for in vain was no work, and the page wants to see the pooler again.
    return min(spacing, CALM_INTERVAL) if is_gone else spacing


class Feed:
    """The latest reading as JSON, the history, and who looks."""

    def __init__(self, console: Console, interval: float) -> None:
        self._console = console
        self._interval = interval
        self._readings = Readings()
        self._history = History()
        self._watched: Counter[Key | None] = Counter()
        self._is_watched = asyncio.Event()
        self._changed = asyncio.Condition()
        self._number = 0  # of the sample
        self._view: Json = {}
        self._figures: list[PoolFigures] = []
        self._point: tuple[float, Point, dict[Key, Point]] | None = None
        self._texts: dict[str, str] = {}  # what was made of the sample, by the text looked for
        self._spacing = interval
        self._version = ""
        self.is_closed = False

    # ---- asking

    async def run(self) -> None:
        """Until it is cancelled."""
        while True:
            began = time.monotonic()
            await self._take(began)
            took = time.monotonic() - began
            self._spacing = find_spacing(self._interval, took, is_gone=self.is_gone)
            async with self._changed:
                self._number += 1
                self._changed.notify_all()
            await self._pause(self._spacing - took)

    async def _pause(self, seconds: float) -> None:
        """That long; where nobody looks, until somebody does or CALM_INTERVAL has passed."""
        await asyncio.sleep(max(0.0, seconds))
        if not self._watched:
            self._is_watched.clear()
            try:
                async with asyncio.timeout(CALM_INTERVAL - self._interval):
                    await self._is_watched.wait()
            except TimeoutError:
                pass

    async def _take(self, now: float) -> None:
        self._point = None
        self._texts.clear()
        try:
            reading = self._readings.add(await take_sample(self._console, now))
            if "HISTOGRAMS" not in reading.sample.not_told:
                self._version = await self._ask_version() or self._version
            version = self._version or reading.sample.version
        except (ConsoleGone, ConsoleRefused, UnreadableAnswer) as error:
            self._view, self._figures = {"gone": str(error)}, []
            return
        except Exception:  # our bug: the process goes on, and so does /metrics
            log.exception("the dashboard can't read the console")
            self._view, self._figures = {"gone": "an internal error, see the log"}, []
            return
        self._figures = rank_pools(reading)
        self._view = {"gone": None, "version": version, **view_reading(reading)}
        points = pool_points(reading.sample, reading.last)
        self._point = (time.time(), total_point(reading.last), points)
        self._history.add(*self._point, [key for key in self._watched if key is not None])

    async def _ask_version(self) -> str:
        """pgmux's own, behind that of the PgBouncer that it stands in for."""
        rows = await self._console.query_optional("SELECT version()") or [{}]
        return (rows[0].get("version") or "").rpartition(" on ")[2]

    # ---- looking

    @contextmanager
    def watch(self, key: Key | None) -> Iterator[None]:
        """Somebody looks, at that pool's history too."""
        self._watched[key] += 1
        self._is_watched.set()
        try:
            yield
        finally:
            self._watched[key] -= 1
            if not self._watched[key]:
                del self._watched[key]

    async def wait(self, seen: int) -> int:
        """The number of a sample that isn't `seen`; 0, where there is none yet, is never new."""
        async with self._changed:
            await self._changed.wait_for(lambda: self._number != seen or self.is_closed)
        return self._number

    async def close(self) -> None:
        """Nobody waits any longer."""
        self.is_closed = True
        async with self._changed:
            self._changed.notify_all()

    @property
    def watchers(self) -> int:
        """How many look."""
        return self._watched.total()

    @property
    def is_gone(self) -> bool:
        """Whether the console has not answered the last time."""
        return self._view.get("gone") is not None

    def history_text(self, key: Key | None) -> str:
        """The last hour, as JSON."""
        columns = self._history.of(key)
        for name in ("p50", "p99", "mean"):
            columns[name] = [us(value) for value in columns[name]]
        return json.dumps(columns)

    def sample_text(self, key: Key | None, text: str, more: Json) -> str:
        """The latest sample as JSON: pools with that text in their names, charts of that pool."""
        if text not in self._texts:
            view = self._view
            if not self.is_gone:
                view = view | {"pools": view_pools(self._figures, text)}
            self._texts[text] = json.dumps(view)[1:-1]
        own = {"interval": self._spacing, "point": self._chart_point(key), **more}
        return f"{json.dumps(own)[:-1]}, {self._texts[text]}}}"

    def _chart_point(self, key: Key | None) -> Json | None:
        if self._point is None:
            return None
        at, total, pools = self._point
        point = total if key is None else pools.get(key, Point())
        waits = {name: us(getattr(point, name)) for name in ("p50", "p99", "mean")}
        return {"t": at, "xacts": point.xacts, **waits}
