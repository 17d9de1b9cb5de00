"""What is said on stderr: of what anybody who reaches the port can cause, little and seldom."""

from __future__ import annotations

import errno
import logging
import time

from aiohttp.http_exceptions import HttpProcessingError

SELDOM = 60.0  # seconds
_LACKS = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)


def set_up_log(name: str) -> None:
    """Lines as `name: LEVEL text`."""
    logging.basicConfig(level=logging.INFO, format=f"{name}: %(levelname)s %(message)s")
    for logger in ("aiohttp.server", "asyncio"):
        logging.getLogger(logger).addFilter(OneLine())


class Seldom:
    """One line a minute, which counts the others."""

    def __init__(self) -> None:
        self._again_at = 0.0
        self._unsaid = 0

    def line(self, text: str) -> str | None:
        """What to say now; None is nothing."""
        now = time.monotonic()
        if now < self._again_at:
            self._unsaid += 1
            return None
        unsaid, self._unsaid, self._again_at = self._unsaid, 0, now + SELDOM
        return f"{text} ({unsaid} more since the last such line)" if unsaid else text


class OneLine(logging.Filter):
    """aiohttp's and asyncio's tracebacks of what strangers cause, as one line a minute.

    A traceback of anything else is our bug and passes.
    """

    def __init__(self) -> None:
        super().__init__()
        self._seldom = Seldom()

    def filter(self, record: logging.LogRecord) -> bool:
        text = describe(record.exc_info[1] if record.exc_info else None)
        if text is None:
            return True
        line = self._seldom.line(text)
        if line is None:
            return False
        record.levelno, record.levelname = logging.WARNING, "WARNING"
        record.msg, record.args, record.exc_info = line, (), None
        return True


def describe(error: BaseException | None) -> str | None:
    """What has happened, where it isn't our bug."""
    if isinstance(error, HttpProcessingError):
        return f"a request that is no HTTP, answered with {error.code}"
    if isinstance(error, OSError) and error.errno in _LACKS:
        return f"connections can't be accepted: {error.strerror}"
    return None
