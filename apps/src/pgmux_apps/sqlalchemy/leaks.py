"""Who holds a connection, since when, and where it was taken: for those that are held too long.

Off unless a limit is given. There is no thread that watches: whoever comes to the pool looks after
the others, and so do a scrape and a health check. Each holding is logged once.
"""

from __future__ import annotations

import asyncio
import logging
import math
import os
import re
import sys
import sysconfig
import threading
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from types import CodeType, FrameType
from typing import Any

log = logging.getLogger("pgmux_apps.sqlalchemy.leaks")

TIMEOUT_INTERVAL = 10.0  # seconds between two lists of all holders

# Between the application and its pool.
_NOT_THE_APPLICATION = frozenset(
    {"sqlalchemy", "pgmux_apps", "contextlib", "asyncio", "greenlet", "functools"}
)
_PATHS = sysconfig.get_paths()
_INSTALLED = (_PATHS["stdlib"] + os.sep, _PATHS["scripts"] + os.sep, "<frozen ")
_PACKAGES = re.compile(r"[\\/](site|dist)-packages[\\/]")
# How far an application is looked for behind a library, as pandas: further out is what started it.
_NEAR = 20


@dataclass(frozen=True, slots=True)
class Place:
    """Where a connection was taken, and by whom; `task` is empty outside of asyncio."""

    path: str
    line: int
    function: str
    thread: str
    task: str

    def __str__(self) -> str:
        task = f", task {self.task}" if self.task else ""
        return f"{self.path}:{self.line} in {self.function} (thread {self.thread}{task})"


class Holding:
    """A connection that is checked out; `place` is None where the leak finder is off."""

    __slots__ = ("is_told", "place", "since")

    def __init__(self, since: float, place: Place | None) -> None:
        self.since = since
        self.place = place
        self.is_told = False

    def as_json(self, now: float) -> dict[str, Any]:
        """What check_pool_health says of it."""
        told: dict[str, Any] = {"seconds": round(now - self.since, 3)}
        if self.place is not None:
            told["taken_at"] = f"{self.place.path}:{self.place.line}"
            told["function"] = self.place.function
            told["thread"] = self.place.thread
            told["task"] = self.place.task or None
        return told


class LeakFinder:
    """Of one pool: names the holdings that are older than `limit` seconds."""

    def __init__(self, pool_name: str, limit: float) -> None:
        self.limit = limit
        self._pool_name = pool_name
        self._look_at = -math.inf  # at once: there may be holdings from before
        self._list_at = -math.inf

    def hold(self, now: float) -> Holding:
        """A connection has just been taken by the caller's caller."""
        self._look_at = min(self._look_at, now + self.limit)
        return Holding(now, find_place())

    def look(self, held: Collection[Holding], now: float) -> None:
        """Logs who has held a connection for too long since the last look."""
        if now < self._look_at:
            return
        self._look_at = math.inf
        for holding in tuple(held):
            if holding.is_told:
                continue
            if now - holding.since > self.limit:
                self._tell(holding, now)
            else:
                self._look_at = min(self._look_at, holding.since + self.limit)

    def on_checkin(self, holding: Holding, now: float) -> None:
        """It is back; if nobody has looked in the meantime, it is told now."""
        if now - holding.since > self.limit and not holding.is_told:
            self._tell(holding, now, ", and has come back")

    def too_long(self, held: Collection[Holding], now: float) -> list[Holding]:
        """The longest first."""
        late = [each for each in tuple(held) if now - each.since > self.limit]
        return sorted(late, key=lambda each: each.since)

    def list_holders(self, held: Collection[Holding], now: float) -> None:
        """Somebody got no connection in time: logs who has them all, not for each of a crowd."""
        if now < self._list_at:
            return
        self._list_at = now + TIMEOUT_INTERVAL
        holdings = sorted(held, key=lambda each: each.since)  # of a copy, made at once
        lines = "".join(f"\n  {now - each.since:.1f} s: {_where(each)}" for each in holdings)
        log.warning(
            "pool %s: no connection became free in time; %d are held:%s",
            self._pool_name,
            len(holdings),
            lines,
        )

    def _tell(self, holding: Holding, now: float, outcome: str = "") -> None:
        holding.is_told = True
        log.warning(
            "pool %s: a connection has been held for %.1f s (limit %g s)%s, taken at %s",
            self._pool_name,
            now - holding.since,
            self.limit,
            outcome,
            _where(holding),
        )


def find_place() -> Place:
    """The innermost frame of the application's own code, of the running thread or task; of a
    library's, where the application is one or is far away.
    """
    code, line = _application_line()
    path, function = ("?", "?") if code is None else (code.co_filename, code.co_qualname)
    return Place(path, line, function, threading.current_thread().name, _task_name())


def _application_line() -> tuple[CodeType | None, int]:
    nearest: tuple[CodeType | None, int] = (None, 0)
    seen = 0
    for frame in _frames():
        if seen == 0 and _top_module(frame) in _NOT_THE_APPLICATION:
            continue
        if not _is_installed(frame.f_code.co_filename):
            return frame.f_code, frame.f_lineno
        if seen == 0:
            nearest = frame.f_code, frame.f_lineno
        seen += 1
        if seen == _NEAR:
            break
    return nearest


def _top_module(frame: FrameType) -> str:
    return str(frame.f_globals.get("__name__")).partition(".")[0]


def _is_installed(path: str) -> bool:
    return path.startswith(_INSTALLED) or _PACKAGES.search(path) is not None


def _frames() -> Iterator[FrameType]:
    """From here outwards. SQLAlchemy runs its synchronous core in a greenlet, whose stack ends at
    its own bottom: who awaits is on its parent's.
    """
    frame: FrameType | None = sys._getframe(1)
    greenlet = _current_greenlet()
    while True:
        while frame is not None:
            yield frame
            frame = frame.f_back
        greenlet = None if greenlet is None else greenlet.parent
        if greenlet is None:
            return
        frame = greenlet.gr_frame


def _current_greenlet() -> Any:
    module = sys.modules.get("greenlet")
    return None if module is None else module.getcurrent()


def _task_name() -> str:
    try:
        task = asyncio.current_task()
    except RuntimeError:  # no loop runs in this thread
        return ""
    return "" if task is None else task.get_name()


def _where(holding: Holding) -> str:
    return (
        "an unknown place, before the leak finder was on"
        if holding.place is None
        else str(holding.place)
    )
