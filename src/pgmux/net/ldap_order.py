"""Which LDAP server of a list is asked first: not one that has left a question unanswered of late.

To find out that it hangs costs a login up to ten seconds, and its thread; so once in RETRY seconds
one login finds that out, and the others begin with another server. Used by all threads.
Errors: none.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

RETRY = 60.0  # seconds


class Order:
    """Remembers who didn't answer, by URL."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._silent_until: dict[str, float] = {}

    def arrange(self, urls: Sequence[str]) -> list[str]:
        """All of them, in the order to ask them. Of one whose time is over, this caller is to find
        out whether it answers again.
        """
        now = self._clock()
        with self._lock:
            silent = [url for url in urls if self._silent_until.get(url, now) > now]
            for url in urls:
                if url in self._silent_until and url not in silent:
                    self._silent_until[url] = now + RETRY
        return [url for url in urls if url not in silent] + silent

    def on_silence(self, url: str) -> None:
        """It didn't answer."""
        with self._lock:
            self._silent_until[url] = self._clock() + RETRY

    def on_answer(self, url: str) -> None:
        """It did, whatever it said."""
        with self._lock:
            self._silent_until.pop(url, None)
