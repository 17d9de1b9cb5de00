"""An event loop of each kind, and a log that is read back."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import pytest
import uvloop

from pgmux.net.loop import Loop
from pgmux.session.log import NONE, Fields, Log, Name

Run = Callable[[Coroutine[Any, Any, Any]], None]


class RecordingLog(Log):
    """Remembers what it is told, as (level, text)."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, str]] = []

    @property
    def warnings(self) -> list[str]:
        return [text for level, text in self.lines if level == "WARNING"]

    def _add(self, level: str, text: str, about: Name | None) -> None:
        self.lines.append((level, f"{about} {text}" if about else text))

    def error(
        self, text: str, about: Name | None = None, fields: Fields = NONE, *, limit: str = ""
    ) -> None:
        self._add("ERROR", text, about)

    def warning(
        self, text: str, about: Name | None = None, fields: Fields = NONE, *, limit: str = ""
    ) -> None:
        self._add("WARNING", text, about)

    def log(
        self, text: str, about: Name | None = None, fields: Fields = NONE, *, limit: str = ""
    ) -> None:
        self._add("LOG", text, about)

    def debug(self, text: str, about: Name | None = None) -> None:
        pass

    def exception(self, text: str, error: BaseException, about: Name | None = None) -> None:
        raise error


@pytest.fixture
def log() -> RecordingLog:
    return RecordingLog()


@pytest.fixture(
    params=[Loop, asyncio.new_event_loop, uvloop.new_event_loop], ids=["epoll", "asyncio", "uvloop"]
)
def run(request: pytest.FixtureRequest) -> Iterator[Run]:
    """`run(coroutine)` runs it to its end; what fails in a callback fails the test as well."""
    failed: list[dict[str, Any]] = []
    with asyncio.Runner(loop_factory=request.param) as runner:
        loop = runner.get_loop()
        loop.set_exception_handler(lambda _, context: failed.append(context))
        yield lambda coroutine: runner.run(asyncio.wait_for(coroutine, 10))
    assert failed == []
