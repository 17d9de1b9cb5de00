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
    "simple query": (Limit(0, 80), Limit(60, 80)),
    "extended query": (Limit(0, 80), Limit(80, 80)),
    "prepared statement": (Limit(0, 276), Limit(101, 276)),
    "transaction of 3 queries": (Limit(0, 80), Limit(158, 80)),
    "pipeline of 10 prepared statements": (Limit(0, 5209), Limit(488, 5303)),
    "64 KiB of 100-byte rows": (Limit(0, 48), Limit(673, 140)),
    "64 KiB within one row": (Limit(0, 48), Limit(19, 108)),
    "64 KiB of COPY in": (Limit(0, 48), Limit(21, 108)),
}


@dataclass(frozen=True)
class LoginLimit:
    """Of a login with auth_type trust; and what the client is then, objects and bytes."""

    calls: int
    objects: int
    allocated: int


LOGIN = (LoginLimit(40, 10, 1270), LoginLimit(78, 10, 1400))


def chunk_count(shape: Shape) -> int:
    """How many chunks an exchange is: each is read once, scanned once and written once."""
    return sum(bool(asked) + bool(answered) for asked, answered in shape.exchanges)


def tables() -> str:
    """Markdown."""
    lines = [
        "| | system calls | writes | Python's calls: compiled | uncompiled | bytes: compiled"
        " | uncompiled |",
        "| - | -: | -: | -: | -: | -: | -: |",
    ]
    for name, (compiled, uncompiled) in QUERIES.items():
        chunks = chunk_count(BY_NAME[name])
        cells = (
            name,
            CALLS_PER_CHUNK * chunks,
            chunks,
            compiled.calls,
            uncompiled.calls,
            compiled.allocated,
            uncompiled.allocated,
        )
        lines.append(f"| {' | '.join(map(str, cells))} |")
    lines += ["", "| a client | compiled | uncompiled |", "| - | -: | -: |"]
    compiled_login, uncompiled_login = LOGIN
    for name, field in (
        ("Python's calls at its login (trust)", "calls"),
        ("objects while it is idle, its socket among them", "objects"),
        ("bytes of Python's memory while it is idle", "allocated"),
    ):
        values = (getattr(compiled_login, field), getattr(uncompiled_login, field))
        lines.append(f"| {name} | {values[0]} | {values[1]} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    print(tables(), end="")
