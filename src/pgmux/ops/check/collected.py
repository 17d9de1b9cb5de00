"""`Evidence` as it comes together: each part is kept as its gatherer answers it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, TypeVar

from pgmux.ops.check.evidence import Evidence, Unread

T = TypeVar("T")


class Collected:
    """`keep` each part under its name of `Evidence`; `evidence()` is all of it."""

    def __init__(self, config_file: str) -> None:
        self.config_file = config_file
        self._parts: dict[str, Any] = {}
        self._unread: list[Unread] = []

    def keep(self, part: str, found: T | Unread, besides: Iterable[Unread] = ()) -> T | None:
        """What was found, None of an `Unread`; `besides` is what of it couldn't be looked at."""
        self._unread += besides
        if isinstance(found, Unread):
            self._unread.append(found)
            return None
        self._parts[part] = found
        return found

    def evidence(self) -> Evidence:
        """All that was kept so far."""
        return Evidence(self.config_file, **self._parts, unread=tuple(self._unread))
