"""A time line has as many slots however long it gets, and loses nothing."""

from __future__ import annotations

from pgmux.ops.loadtest.timeline import SLOTS, Timeline


def test_slots_become_longer_where_they_do_not_suffice_and_keep_what_is_in_them() -> None:
    timeline = Timeline()
    for second in range(1000):
        timeline.at(float(second)).latencies.record(0.001)
        timeline.at(float(second)).failed += 1
    assert len(timeline.slots) <= SLOTS
    assert timeline.length * len(timeline.slots) >= 999
    assert sum(slot.latencies.count for slot in timeline.slots) == 1000
    assert sum(slot.failed for slot in timeline.slots) == 1000


def test_what_happens_at_a_moment_is_in_its_slot() -> None:
    timeline = Timeline()
    timeline.at(0.55).failed += 1
    assert [slot.failed for slot in timeline.slots] == [0, 0, 0, 0, 0, 1]
    timeline.at(6.0)  # 60 slots of 0.1 s are over
    assert [slot.failed for slot in timeline.slots[:4]] == [0, 0, 1, 0]
