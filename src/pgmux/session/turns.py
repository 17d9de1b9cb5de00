"""What is done to many connections at once is done to some of them in each turn of the loop.

To close a client takes 20 to 30 µs: 10,000 of them at once (KILL, a server that refuses all who
wait, a timeout that all have reached) would hold up everybody else for a third of a second.
Errors: what `do` raises; the rest is not done then.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import islice
from typing import TypeVar

T = TypeVar("T")
Later = Callable[[float, Callable[[], None]], object]  # as `Outside.later`

SLICE = 32  # connections; their turn takes about a millisecond


def in_turns(later: Later, each: Iterable[T], do: Callable[[T], None]) -> None:
    """Do it for the first SLICE now, for the others in turns to come: what has become of them by
    then is for `do` to see.
    """
    _turn(later, iter(each), do)


def _turn(later: Later, rest: Iterator[T], do: Callable[[T], None]) -> None:
    count = 0
    for item in islice(rest, SLICE):
        do(item)
        count += 1
    if count == SLICE:
        later(0.0, partial(_turn, later, rest, do))
