"""What is said on stderr: of what anybody who reaches the port can cause, little and seldom."""

from __future__ import annotations

import logging
import time

from aiohttp.http_exceptions import HttpProcessingError

SELDOM = 60.0  # seconds


def set_up_log(name: str) -> None:
    """Lines as `name: LEVEL text`."""
    logging.basicConfig(level=logging.INFO, format=f"{name}: %(levelname)s %(message)s")
    logging.getLogger("aiohttp.server").addFilter(BadRequests())


class BadRequests(logging.Filter):
    """aiohttp's traceback of what isn't HTTP, as one line a minute that counts the others.

    A traceback of anything else is our bug and passes.
    """

    def __init__(self) -> None:
        super().__init__()
        self._again_at = 0.0
        self._unsaid = 0

    def filter(self, record: logging.LogRecord) -> bool:
        error = record.exc_info[1] if record.exc_info else None
        if not isinstance(error, HttpProcessingError):
            return True
        now = time.monotonic()
        if now < self._again_at:
            self._unsaid += 1
            return False
        unsaid, self._unsaid, self._again_at = self._unsaid, 0, now + SELDOM
        more = f" ({unsaid} more since the last such line)" if unsaid else ""
        record.levelno, record.levelname = logging.WARNING, "WARNING"
        record.msg = f"a request that is no HTTP, answered with {error.code}{more}"
        record.args, record.exc_info = (), None
        return True
