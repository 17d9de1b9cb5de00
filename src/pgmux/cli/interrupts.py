"""Ctrl-C and SIGTERM as one: what was begun ends by itself."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def interruptible() -> Iterator[None]:
    """Within, Ctrl-C and SIGTERM both raise KeyboardInterrupt, so what was started ends first."""

    def interrupt(signum: int, frame: FrameType | None) -> None:
        signal.raise_signal(signal.SIGINT)

    # Not only SIGTERM: what a shell starts in the background ignores SIGINT from birth.
    handlers = {signal.SIGINT: signal.default_int_handler, signal.SIGTERM: interrupt}
    previous = {signum: signal.signal(signum, handler) for signum, handler in handlers.items()}
    try:
        yield
    finally:
        for signum, handler in previous.items():
            signal.signal(signum, handler)
