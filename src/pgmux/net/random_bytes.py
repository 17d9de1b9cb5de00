"""Random bytes for keys, salts and nonces: the operating system's, drawn in bulk, as each login
needs a few and asking for them is a system call.
"""

from __future__ import annotations

import secrets

BULK = 4096


class RandomBytes:
    """Call it with how many; no byte is handed out twice."""

    __slots__ = ("_at", "_drawn")

    def __init__(self) -> None:
        self._drawn = b""
        self._at = 0

    def __call__(self, size: int) -> bytes:
        start = self._at
        end = start + size
        if end > len(self._drawn):
            self._drawn = secrets.token_bytes(max(size, BULK))
            start, end = 0, size
        self._at = end
        return self._drawn[start:end]
