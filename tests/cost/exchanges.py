"""`strace python -m tests.cost.exchanges`: each shape so often as COUNT, between two system calls
that name it, so that one can count those in between.
"""

from __future__ import annotations

import os

from tests.cost.pooler import SocketPair
from tests.cost.shapes import SHAPES

COUNT = 50
WARM_UP = 10
BEGIN, END = "/begin: ", "/end"


def main() -> None:
    """See the module."""
    for shape in SHAPES:
        pair = SocketPair()
        pair.begin(shape)
        for _ in range(WARM_UP):
            pair.exchange(shape)
        os.access(BEGIN + shape.name, os.F_OK)
        for _ in range(COUNT):
            pair.exchange(shape)
        os.access(END, os.F_OK)
        pair.close()


if __name__ == "__main__":
    main()
