"""What a query and a login may cost, in counts. `python -m tests.cost.limits` prints the tables of
docs/performance.md, which has to say the same.

A limit is what it costs today. Where a change makes it cost less, lower the limit in the same
commit; where it has to cost more, raise it, and let the commit say what that is good for.
"""

from __future__ import annotations

from dataclasses import dataclass

from tests.cost.shapes import BY_NAME, Shape

CALLS_PER_CHUNK = 3  # of the system: epoll_wait, read, write
LEFT = 4  # objects after 1,000 exchanges; the first ones may fill a cache
BLOCKS_LEFT = 20


@dataclass(frozen=True)
class Limit:
    """Calls of Python functions, and bytes that are allocated at a time."""

    calls: int
    allocated: int


# By form: compiled, uncompiled.
QUERIES = {
    "simple query": (Limit(0, 80), Limit(63, 112)),
    "extended query": (Limit(0, 80), Limit(83, 112)),
    "prepared statement": (Limit(0, 276), Limit(104, 276)),
    "transaction of 3 queries": (Limit(0, 80), Limit(163, 144)),
    "two clients, one of which waits": (Limit(0, 84), Limit(139, 176)),
    "pipeline of 10 prepared statements": (Limit(0, 5179), Limit(491, 5303)),
    "64 KiB of 100-byte rows": (Limit(0, 48), Limit(673, 140)),
    "64 KiB within one row": (Limit(0, 48), Limit(19, 108)),
    "64 KiB of COPY in": (Limit(0, 48), Limit(21, 108)),
}


LOGIN_SYSTEM_CALLS = {"TCP": 8, "Unix": 16}


@dataclass(frozen=True)
class LoginLimit:
    """Calls of Python functions at a login with auth_type trust, and at the client's end; and what
    it is between them, in objects and bytes.
    """

    calls: int
    calls_at_end: int
    objects: int
    allocated: int


# Uncompiled, the fields of a ClientInfo are in a dict, as other compiled classes' are.
LOGIN = (LoginLimit(27, 16, 10, 1260), LoginLimit(97, 41, 10, 1460))


def chunk_count(shape: Shape) -> int:
    """How many chunks are read: each is scanned once and written once."""
    return len(shape.steps)


def tables() -> str:
    """Markdown."""
    lines = [
        "| | system calls | writes | Python's calls: compiled | uncompiled | bytes: compiled"
        " | uncompiled |",
        "| - | -: | -: | -: | -: | -: | -: |",
    ]
    for name, (compiled, uncompiled) in QUERIES.items():
        chunks = chunk_count(BY_NAME[name])
        calls = (CALLS_PER_CHUNK * chunks, chunks, compiled.calls, uncompiled.calls)
        lines.append(_row(name, *calls, compiled.allocated, uncompiled.allocated))
    lines += ["", "| a client | compiled | uncompiled |", "| - | -: | -: |"]
    for kind, count in LOGIN_SYSTEM_CALLS.items():
        lines.append(
            _row(f"system calls from accept to end, epoll_wait aside, {kind}", count, count)
        )
    for name, field in (
        ("Python's calls at its login (trust, a startup packet seen before)", "calls"),
        ("Python's calls at its end", "calls_at_end"),
        ("objects while it is idle", "objects"),
        ("bytes of Python's memory while it is idle", "allocated"),
    ):
        lines.append(_row(name, *(getattr(limit, field) for limit in LOGIN)))
    return "\n".join(lines) + "\n"


def _row(name: str, *cells: int) -> str:
    return f"| {name} | {' | '.join(map(str, cells))} |"


if __name__ == "__main__":
    print(tables(), end="")
