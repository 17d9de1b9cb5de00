"""The end of a connection: last words, and then no waiting.

A transport that is closed the ordinary way stays till its buffer is empty. Where the peer reads
nothing that is never, and the connection would outlive all limits and timeouts.
Source: PgBouncer, which closes at once whatever has not gone out yet.
"""

from __future__ import annotations

from typing import Any


def close_with(transport: Any, last_words: bytes = b"") -> None:
    """Write `last_words`, and close; what the peer does not take at once is dropped."""
    if last_words:
        transport.write(last_words)
    if transport.get_write_buffer_size() > 0:
        transport.abort()
    else:
        transport.close()
