"""What the cycle collector looks at, and when."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator

import pytest

from pgmux.daemon.collector import FEW, PERIOD, Collector


class Node:
    """Part of a cycle with itself."""

    def __init__(self) -> None:
        self.me = self


@pytest.fixture
def collector() -> Iterator[Collector]:
    """One that has begun at 100 s; the process's own settings are put back."""
    before = gc.get_threshold()
    collector = Collector()
    collector.begin(100.0)
    yield collector
    gc.set_threshold(*before)
    gc.unfreeze()


def old_garbage() -> weakref.ref[Node]:
    """A cycle that became garbage when it was old."""
    node = Node()
    gc.collect(0)
    gc.collect(1)
    return weakref.ref(node)


def full_collections() -> int:
    return int(gc.get_stats()[2]["collections"])


def test_nobody_is_stopped_for_all_objects_however_many_come(collector: Collector) -> None:
    before = full_collections()
    kept = [Node() for _ in range(200_000)]
    assert full_collections() == before
    assert len(kept) == 200_000


def test_what_logins_leave_is_not_looked_at_twice(collector: Collector) -> None:
    logins = [[Node() for _ in range(4)] for _ in range(2000)]
    kept = [login.pop() for login in logins]
    del logins  # so that Python counts less than there is
    collector.maintain(100.3, FEW + 1)
    young = [*gc.get_objects(generation=0), *gc.get_objects(generation=1)]
    assert not any(isinstance(each, Node) for each in young) and kept


def test_what_is_garbage_while_it_is_young_is_collected_by_itself(collector: Collector) -> None:
    node = weakref.ref(Node())
    kept = [[Node()] for _ in range(20_000)]
    assert node() is None and kept


def test_what_became_garbage_later_is_collected_while_there_are_few(collector: Collector) -> None:
    node = old_garbage()
    collector.maintain(100.0 + PERIOD, FEW)
    assert node() is None


def test_it_waits_for_as_long_as_there_are_many(collector: Collector) -> None:
    node = old_garbage()
    for now in range(160, 1000):
        collector.maintain(float(now), FEW + 1)
    assert node() is not None
    collector.maintain(1000.0, FEW)
    assert node() is None


def test_that_comes_once_in_a_while(collector: Collector) -> None:
    before = full_collections()
    for now in range(100, 100 + 10 * int(PERIOD)):
        collector.maintain(float(now), 0)
    assert full_collections() - before == 9


def test_what_the_start_has_left_is_not_looked_at_again() -> None:
    before = gc.get_threshold()
    kept = [Node() for _ in range(1000)]
    try:
        Collector().begin(0.0)
        assert gc.get_freeze_count() >= len(kept)
    finally:
        gc.set_threshold(*before)
        gc.unfreeze()
