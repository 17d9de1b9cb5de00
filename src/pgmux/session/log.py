"""Where log lines go, for the layers that have no log of their own: `daemon.log.Log` has these."""

from __future__ import annotations

from typing import Protocol


class Log(Protocol):
    """A line each; client-supplied text in it is made harmless by whoever writes it."""

    def error(self, text: str) -> None:
        """Something failed; the process goes on."""

    def warning(self, text: str) -> None:
        """Something that an operator should look at."""

    def log(self, text: str) -> None:
        """What happens in normal operation."""

    def exception(self, text: str, error: BaseException) -> None:
        """A bug of ours, with its traceback."""
