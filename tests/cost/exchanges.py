"""`strace python -m tests.cost.exchanges`: each shape COUNT times, and as many clients that
come and go, between two system calls
that name it, so that one can count those in between.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial

from tests.cost.logins import PACKETS, TCP, Logins
from tests.cost.pooler import Sockets
from tests.cost.shapes import SHAPES

COUNT = 50
WARM_UP = 10
BEGIN, END = "/begin: ", "/end"
LOGINS = {"TCP": TCP, "Unix": PACKETS}


def main() -> None:
    """See the module."""
    for shape in SHAPES:
        sockets = Sockets()
        sockets.do(shape.begin)
        _count(shape.name, partial(sockets.do, shape.steps))
        sockets.close()
    for name, kind in LOGINS.items():
        _count(name, Logins(kind).come_and_go)


def _count(name: str, work: Callable[[], object]) -> None:
    for _ in range(WARM_UP):
        work()
    os.access(BEGIN + name, os.F_OK)
    for _ in range(COUNT):
        work()
    os.access(END, os.F_OK)


if __name__ == "__main__":
    main()
