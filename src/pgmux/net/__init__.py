"""Sockets, the event loop, threads: the only place that has them, and what is right of it."""

from __future__ import annotations

from typing import Protocol


class Log(Protocol):
    """Where this layer's log lines go (`pgmux.daemon.log.Log`)."""

    def error(self, text: str) -> None:
        """Something failed; the process goes on."""

    def warning(self, text: str) -> None:
        """Something that an operator should look at."""

    def log(self, text: str) -> None:
        """What happens in normal operation."""

    def exception(self, text: str, error: BaseException) -> None:
        """A bug of ours, with its traceback."""
